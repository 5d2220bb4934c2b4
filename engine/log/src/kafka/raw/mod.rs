//! librdkafka's C interface: a consumer over its batch call with its own rebalance callback. All
//! unsafe code of the log is here.
//!
//! `consumer` is the client that reads and `client` what may be asked of it, also from within a
//! rebalance; `callbacks` is what librdkafka calls, `objects` what it hands out and somebody has to
//! destroy, `fault` what it reports. This file and `fault` hold nothing unsafe.
//!
//! Promises: nothing unwinds into C; each message is destroyed exactly once, after the call that
//! sees it; rebalances run inside `poll`, on the polling thread. No policy: `source` decides where
//! an assignment starts, `errors` what a fault means. Why not the consumer of rust-rdkafka: one
//! call per message costs twice as much, and its consumers answer rebalances as events, which the
//! batch call does not deliver: in a group it then gets no message at all.

mod callbacks;
mod client;
mod consumer;
mod fault;
mod objects;

pub(super) use callbacks::Rebalance;
pub(super) use client::{Client, Extent};
pub(super) use consumer::Consumer;
pub(super) use fault::{Fault, Kind, Right, fault_of};
pub(super) use objects::{Batch, Message, is_unwritten};

use std::ffi::c_int;
use std::time::Duration;

fn millis(wait: Duration) -> c_int {
    // Rounded up: a part of a millisecond would be no wait at all, and a caller that waits for a
    // deadline would spin.
    wait.as_micros().div_ceil(1_000).min(i32::MAX as u128) as c_int
}
