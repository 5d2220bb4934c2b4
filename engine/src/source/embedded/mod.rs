//! The embedded log: a partitioned, durable log in the data directory, and the source that reads it.
//!
//! Twin of the Kafka source for one engine. `log` appends and drops, `group` is what is committed together, `lookup` is
//! what readers ask, `source` reads, `value` is the form in which a batch of records is stored, `segment` a stretch of the
//! log that is dropped as a whole.

mod group;
mod log;
mod lookup;
mod segment;
mod source;
mod value;

pub use log::{Log, LogError, MAX_RECORD, Part};
pub use source::EmbeddedSource;
