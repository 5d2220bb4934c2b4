//! How the world asks: HTTP, WebSocket, the command line, and the catalogue that gives ids their
//! names.
//!
//! All of the `tally` binary but its `main`. It knows the engine only by its façade and never names
//! a log or a store.

mod boards;
pub mod bounded;
pub mod catalogue;
pub mod cli;
pub mod http;
mod produce;
pub mod text;
