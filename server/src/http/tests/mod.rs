//! Routes and sockets tried from outside, over a fake engine and a real catalogue file.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod decoration;
mod door;
mod errors;
mod fake;
mod live;
mod routes;
mod sockets;
mod waiting;
