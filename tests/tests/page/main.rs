//! The page in a real Chromium: its numbers are those of the engine, it says how things are, it can be
//! used by everyone, and it stays right and small while it is left open.
//!
//! Each test starts an engine of its own behind a proxy, so that the page keeps its address when the
//! engine ends and comes back, and a script of Node.js (`*.mjs`) that drives Debian's Chromium by
//! playwright-core. The script asks for what only the harness can do (`world.rs`, `script.rs`).
//! axe-core judges every view and every state. Both are installed by lock file into
//! `target/judges`. `cargo test --release -p tally-tests --test page` runs all of it; what Chromium
//! is not needed for is tested in `server/ui/src`, and the answers themselves in `system`.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod built;
mod journeys;
mod pictures;
mod script;
mod world;
