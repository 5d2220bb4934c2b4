//! Routes and sockets tried from outside, over a fake engine and a real catalogue file.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod batch;
mod boards;
mod documented_answers;
mod documented_messages;
mod documents;
mod enrich;
mod errors;
mod events_back;
mod export;
mod fake;
mod fields;
mod held;
mod letter_replay;
mod live;
mod mcp;
mod middleware;
mod orders;
mod origin_check;
mod page;
mod plugins;
mod preview;
mod problems;
mod routes;
mod rows;
mod sections;
mod sockets;
mod status;
mod streams;
mod subscriptions;
mod tags;
mod waiting;
mod watched;
