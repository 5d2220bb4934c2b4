//! Routes and sockets tried from outside, over a fake engine and a real catalogue file.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod enrich;
mod errors;
mod fake;
mod live;
mod middleware;
mod origin_check;
mod routes;
mod sockets;
mod waiting;
