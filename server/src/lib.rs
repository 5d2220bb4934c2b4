//! How the world asks: HTTP, WebSocket, and the catalogue that gives ids their names.
//!
//! The library part of the `tally` binary. It knows the engine only by its façade and never names a
//! log or a store.

pub mod bounded;
pub mod catalogue;
pub mod http;
pub mod text;
