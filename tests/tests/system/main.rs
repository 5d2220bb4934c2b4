//! The built binary, its plugins and its servers, each crossed for real: one program, so that it is
//! linked once and tests of different parts run side by side.
//!
//! `cargo test --release -p tally-tests --test system kafka::` runs one part. What reads the
//! sources is `house`; what compares speeds or processor time is `alone`, for nothing else may run
//! beside it.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

mod api;
mod asking;
mod boards;
mod cli;
mod clock;
mod configuration;
mod containment;
mod crash;
mod deaths;
mod descriptors;
mod disk;
mod documents;
mod engines;
mod events;
mod feed;
mod generations;
mod guide;
mod kafka;
mod kit;
mod lanes;
mod letters;
mod life;
mod limits;
mod live;
mod mcp;
mod memory;
mod nginx;
mod place;
mod plugins;
mod postgres;
mod preview;
mod prometheus;
mod purge;
mod query_watch;
mod recording;
mod reloads;
mod sections;
mod sources;
mod state;
mod status;
mod stores;
mod strangers;
mod tap;
mod targets;
mod trust;
mod upgrade;
mod verify;
mod watching;
