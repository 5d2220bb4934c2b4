//! Programs that others wrote judge a running engine: its documents, whether it keeps them, the
//! clients that are generated from them, the tools of MCP, the figures. And the programs that
//! docs/watching.md shows are run.
//!
//! Each test starts an engine of its own, with the shipped plugins, the embedded log and store, and
//! (but for `programs`) the known day; a judge is a process with an end. What they say is printed,
//! one line for each, also by a test that passes. `cargo test --release -p tally-tests --test
//! judges` runs all of them. They are installed by the first who needs them, each in one version,
//! into `target/judges` (`tools.rs`): that needs the registries of pip, npm and Maven once. What the
//! engine answers in detail is not judged here but in `system`.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod broken;
mod clients;
mod documents;
mod figures;
mod fuzz;
mod live;
mod mcp;
mod programs;
mod tools;
mod world;
