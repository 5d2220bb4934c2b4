//! How events become answers: sources, decode, plugins, pipeline, state, stores, queries, feed.
//!
//! Each line may use only the lines below it, and neighbours never name each other:
//!
//! ```text
//! engine                                        the façade
//! pipeline | query | revision                   pipeline: the one place where records move through all of the next line
//! source | plugin | store | feed
//! decode | state | dead_letter
//! telemetry | database
//! config | event | failpoint | descriptors
//! memory | progress | slots | time | outage
//! clock | files | terminal
//! ```
//! The engine knows no HTTP and no SQL; `tally-server` does.

pub mod clock;
pub mod config;
pub mod database;
pub mod dead_letter;
pub mod decode;
pub mod descriptors;
pub mod engine;
pub mod event;
mod failpoint;
pub mod feed;
pub mod files;
pub mod memory;
pub mod outage;
pub mod pipeline;
pub mod plugin;
pub mod query;
mod revision;
mod slots;
pub mod source;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod terminal;
pub mod time;

pub use tally_progress as progress;
