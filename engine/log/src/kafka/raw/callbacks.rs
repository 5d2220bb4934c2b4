//! What librdkafka calls: rebalances, errors, lines of its log.
//!
//! Promises: nothing unwinds into C; an assignment is answered whatever the callback does. What
//! callbacks find is left in the [`Hook`] for the polling thread, which owns it.
#![allow(unsafe_code)] // the rebalance callback exists only in librdkafka's C interface

use super::client::Client;
use super::fault::{Fault, Kind, checked};
use super::objects::{List, result_of, text};
use rdkafka_sys as rds;
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use std::any::Any;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

/// Called back from within [`Consumer::poll`](super::Consumer::poll).
pub(in crate::kafka) trait Rebalance {
    /// Returns the offset that each partition starts at.
    fn assigned(&mut self, client: Client<'_>, partitions: &[u32]) -> Vec<i64>;
    /// Before they are given up.
    fn revoked(&mut self, partitions: &[u32], lost: bool);
}

/// What callbacks leave for the polling thread; on the heap, so that its address stays valid as
/// long as the client.
pub(super) struct Hook {
    /// Set only during `poll`; the lifetime is that of the call.
    pub(super) sink: Option<*mut (dyn Rebalance + 'static)>,
    pub(super) revoked: Vec<u32>,
    pub(super) panicked: Option<Box<dyn Any + Send>>,
    /// Bounded by [`FAULTS`]: further ones within one poll add nothing.
    pub(super) faults: Vec<Fault>,
}

pub(super) const FAULTS: usize = 16;

/// Called inside the batch call. Answers the assignment itself, whatever the sink does.
pub(super) unsafe extern "C" fn on_rebalance(
    client: *mut rds::rd_kafka_t,
    code: Code,
    list: *mut rds::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: `opaque` is the hook, `list` is librdkafka's and valid during the call; elements are
    // distinct memory.
    unsafe {
        let hook = &mut *opaque.cast::<Hook>();
        let elements: &mut [rds::rd_kafka_topic_partition_t] = match (*list).cnt {
            count if count > 0 => std::slice::from_raw_parts_mut((*list).elems, count as usize),
            _ => &mut [],
        };
        let partitions: Vec<u32> =
            elements.iter().map(|element| element.partition as u32).collect();
        let together =
            CStr::from_ptr(rds::rd_kafka_rebalance_protocol(client)).to_bytes() != b"COOPERATIVE";
        let assigning = code == Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let called = match (hook.sink, assigning) {
            (Some(sink), true) => {
                let topic = elements.first().map_or(c"", |first| CStr::from_ptr(first.topic));
                let offsets = catch_unwind(AssertUnwindSafe(|| {
                    (*sink).assigned(Client { client, topic }, &partitions)
                }));
                offsets.map(|offsets| {
                    for (element, offset) in elements.iter_mut().zip(offsets) {
                        element.offset = offset;
                    }
                })
            }
            (Some(sink), false) => {
                let lost = rds::rd_kafka_assignment_lost(client) != 0;
                catch_unwind(AssertUnwindSafe(|| (*sink).revoked(&partitions, lost)))
            }
            // closing: nothing is taken up any more, and giving up needs no sink
            (None, _) => Ok(()),
        };
        let nothing = List::new(c"", []);
        let refuse = called.is_err() || (assigning && hook.sink.is_none());
        if let Err(panic) = called {
            hook.panicked.get_or_insert(panic);
        }
        let answered = match (assigning && !refuse, together) {
            (true, false) => result_of(rds::rd_kafka_incremental_assign(client, list)),
            (true, true) => checked(rds::rd_kafka_assign(client, list)),
            (false, false) if !assigning => {
                result_of(rds::rd_kafka_incremental_unassign(client, list))
            }
            (false, false) => result_of(rds::rd_kafka_incremental_assign(client, nothing.0)),
            (false, true) => checked(rds::rd_kafka_assign(client, ptr::null())),
        };
        // What could not be taken up is restarted, as is what was given up and came back within one
        // poll.
        if !assigning || answered.is_err() {
            hook.revoked.extend_from_slice(&partitions);
        }
        if let Err(fault) = answered {
            hook.faults.push(fault);
        }
    }
}

pub(super) unsafe extern "C" fn on_error(
    client: *mut rds::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: as for `on_rebalance`; an error callback of the same poll.
    let hook = unsafe { &mut *opaque.cast::<Hook>() };
    if hook.faults.len() >= FAULTS {
        return;
    }
    let code = Code::try_from(code).unwrap_or(Code::RD_KAFKA_RESP_ERR_UNKNOWN);
    // SAFETY: the reason is librdkafka's text of this call.
    let mut fault = Fault { text: unsafe { text(reason) }, ..Fault::of(code) };
    if fault.kind == Kind::Fatal {
        let mut reason = [0 as c_char; 512];
        // SAFETY: writes at most the length given, ending with a zero.
        fault.text = unsafe {
            rds::rd_kafka_fatal_error(client, reason.as_mut_ptr(), reason.len());
            text(reason.as_ptr())
        };
    }
    hook.faults.push(fault);
}

/// From any of librdkafka's threads. A subscriber that panics must not unwind into C.
pub(super) unsafe extern "C" fn on_log(
    _client: *const rds::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: both are librdkafka's texts of this call.
    let (facility, line) = unsafe { (text(facility), text(line)) };
    let _ = catch_unwind(|| match level {
        // What breaks a connection also arrives in the error callback, and is reported from there.
        _ if facility == "FAIL" => tracing::debug!(target: "kafka", %facility, "{line}"),
        0..=3 => tracing::error!(target: "kafka", %facility, "{line}"),
        4 => tracing::warn!(target: "kafka", %facility, "{line}"),
        5 | 6 => tracing::info!(target: "kafka", %facility, "{line}"),
        _ => tracing::debug!(target: "kafka", %facility, "{line}"),
    });
}
