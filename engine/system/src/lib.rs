//! What the machine gives an engine, and what an engine asks of it: time, files, memory,
//! descriptors, threads.
//!
//! Each module stands alone, but that a draft of a file has a stamp as files have. None knows events, metrics or configuration.

pub mod clock;
pub mod descriptors;
pub mod file_draft;
pub mod files;
pub mod memory;
pub mod outage;
pub mod terminal;
pub mod threads;
