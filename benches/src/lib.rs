//! What the measurement programs share: events and what they add up to, a log full of them, servers
//! and clients, CPU time, the table.
//!
//! Each program in `bin` prints one table and one JSON line. A figure is the median of interleaved
//! rounds, a ratio is taken within one run, and what was counted is checked against an oracle: a
//! fast wrong answer ends the program with exit code 1.

pub mod bare;
pub mod broadcast;
pub mod engine;
pub mod events;
pub mod http;
pub mod measure;
pub mod posts;
pub mod sockets;
pub mod topics;
