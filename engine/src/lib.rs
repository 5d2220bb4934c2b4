//! How events become answers: sources, decode, plugins, pipeline, state, stores, queries, feed.
//!
//! Each line may use only the lines below it, and neighbours never name each other:
//!
//! ```text
//! engine                                        the façade
//! pipeline | query | revision                   pipeline: the one place where records move through all of the next line
//! log | host | store | feed
//! decode | state | dead_letter
//! telemetry | database
//! config | failpoint
//! event | progress | schema | system
//! ```
//! The engine knows no HTTP and no SQL; `tally-server` does.

pub mod dead_letter;
pub mod engine;
pub mod feed;
pub mod pipeline;
pub mod query;
mod revision;
pub mod telemetry;

pub use tally_config as config;
pub use tally_database as database;
pub use tally_decode as decode;
pub use tally_event::time;
pub(crate) use tally_failpoint as failpoint;
pub use tally_host as host;
pub use tally_log as log;
pub use tally_progress as progress;
pub use tally_schema as schema;
pub use tally_state as state;
pub use tally_store as store;
pub use tally_system::{clock, descriptors, file_draft, files, memory, outage, terminal, threads};

/// Events, and the place in the log up to which they are counted.
pub mod event {
    pub use tally_event::*;
    pub use tally_progress::Position;
}
