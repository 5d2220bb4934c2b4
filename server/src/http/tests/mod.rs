//! Routes and sockets tried from outside, over a fake engine and a real catalogue file.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod batch;
mod documented_answers;
mod documented_messages;
mod documents;
mod enrich;
mod errors;
mod events_back;
mod export;
mod fake;
mod held;
mod letter_replay;
mod live;
mod mcp;
mod middleware;
mod origin_check;
mod problems;
mod routes;
mod rows;
mod sockets;
mod status;
mod streams;
mod subscriptions;
mod tags;
mod waiting;
mod watched;
