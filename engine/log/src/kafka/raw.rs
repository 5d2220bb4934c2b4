//! A consumer over librdkafka's batch call with its own rebalance callback: the only unsafe code of
//! the log.
//!
//! Promises: nothing unwinds into C; each message is destroyed exactly once, after the call that
//! sees it; rebalances run inside `poll`, on the polling thread. No policy: `source` decides where
//! an assignment starts, `errors` what a fault means. Why not the consumer of rust-rdkafka: one
//! call per message costs twice as much, and its consumers answer rebalances as events, which the
//! batch call does not deliver: in a group it then gets no message at all.
//!
//! Over 480 lines: all unsafe code is in one file, so that one reading covers it.
#![allow(unsafe_code)] // the batch call and the rebalance callback exist only in librdkafka's C interface

use super::settings::Settings;
use super::skipped_offsets::ClientPosition;
use rdkafka_sys as rds;
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};
use tally_system::outage::Cause;

/// Called back from within [`Consumer::poll`].
pub(super) trait Rebalance {
    /// Returns the offset that each partition starts at.
    fn assigned(&mut self, client: Client<'_>, partitions: &[u32]) -> Vec<i64>;
    /// Before they are given up.
    fn revoked(&mut self, partitions: &[u32], lost: bool);
}

/// A message, valid until the batch it came in is dropped.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    raw: &'a rds::rd_kafka_message_t,
}

/// A fault that librdkafka reports.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) partition: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A start offset that the broker does not hold.
    OutOfRange,
    /// The client is dead.
    Fatal,
    /// Something stands between us and the brokers; of a missing right, on what.
    Outage(Cause, Option<Right>),
}

/// On what a right is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Topic,
    Group,
    Cluster,
}

/// What callbacks leave for the polling thread; on the heap, so that its address stays valid as
/// long as the client.
struct Hook {
    /// Set only during `poll`; the lifetime is that of the call.
    sink: Option<*mut (dyn Rebalance + 'static)>,
    revoked: Vec<u32>,
    panicked: Option<Box<dyn Any + Send>>,
    /// Bounded by [`FAULTS`]: further ones within one poll add nothing.
    faults: Vec<Fault>,
}

const FAULTS: usize = 16;

/// A fault by its number in librdkafka.
pub(super) fn fault_of(code: i32) -> Fault {
    Fault::of(Code::try_from(code).unwrap_or(Code::RD_KAFKA_RESP_ERR_UNKNOWN))
}

impl Fault {
    fn of(code: Code) -> Fault {
        Fault { kind: kind(code), text: describe(code), partition: None }
    }
}

/// A consumer. Closed by `close`; dropping it closes it too.
pub(super) struct Consumer {
    client: *mut rds::rd_kafka_t,
    queue: *mut rds::rd_kafka_queue_t,
    topic: CString,
    /// Ours from [`Box::into_raw`] until the client is destroyed; callbacks reach it by the same
    /// pointer.
    hook: NonNull<Hook>,
    messages: Vec<*mut rds::rd_kafka_message_t>,
    /// How long dropping it serves the group's leave.
    limit: Duration,
}

// SAFETY: librdkafka's handles may be used from any thread; callbacks run only inside calls made
// with `&mut self`, and everything the hook points to is set up and torn down within one such call.
unsafe impl Send for Consumer {}

/// The calls that a rebalance may make.
#[derive(Clone, Copy)]
pub(super) struct Client<'a> {
    client: *mut rds::rd_kafka_t,
    topic: &'a CStr,
}

/// Messages in the order fetched; destroyed when dropped.
pub(super) struct Batch<'a> {
    messages: &'a mut [*mut rds::rd_kafka_message_t],
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        for message in self.messages.iter_mut() {
            // SAFETY: each pointer came from the batch call, is not null and is destroyed only
            // here.
            unsafe { rds::rd_kafka_message_destroy(*message) };
            *message = ptr::null_mut();
        }
    }
}

impl Batch<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        // SAFETY: as for `drop`; they live as long as the batch is borrowed.
        self.messages.iter().map(|message| Message { raw: unsafe { &**message } })
    }
}

impl<'a> Message<'a> {
    pub(super) fn partition(self) -> u32 {
        self.raw.partition as u32
    }

    pub(super) fn offset(self) -> u64 {
        self.raw.offset as u64
    }

    pub(super) fn timestamp_ms(self) -> i64 {
        let mut kind = rds::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, and the call writes only `kind`.
        unsafe { rds::rd_kafka_message_timestamp(self.raw, &mut kind) }
    }

    /// `None` is a tombstone.
    pub(super) fn payload(self) -> Option<&'a [u8]> {
        if self.raw.payload.is_null() {
            return None;
        }
        // SAFETY: not null; librdkafka keeps `len` bytes there until the message is destroyed,
        // which `'a` precedes.
        Some(unsafe { std::slice::from_raw_parts(self.raw.payload.cast(), self.raw.len) })
    }

    pub(super) fn fault(self) -> Option<Fault> {
        if self.raw.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let text = self.payload().map_or_else(
            || describe(self.raw.err),
            |text| String::from_utf8_lossy(text).into_owned(),
        );
        Some(Fault {
            kind: kind(self.raw.err),
            text,
            partition: u32::try_from(self.raw.partition).ok(),
        })
    }
}

fn kind(code: Code) -> Kind {
    use Code as E;
    let cause = match code {
        E::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
        | E::RD_KAFKA_RESP_ERR__LOG_TRUNCATION
        | E::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => return Kind::OutOfRange,
        E::RD_KAFKA_RESP_ERR__FATAL => return Kind::Fatal,
        E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => {
            return Kind::Outage(Cause::Authorization, Some(Right::Topic));
        }
        E::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED => {
            return Kind::Outage(Cause::Authorization, Some(Right::Group));
        }
        E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
        | E::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | E::RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_AUTHORIZATION_FAILED => {
            return Kind::Outage(Cause::Authorization, Some(Right::Cluster));
        }
        E::RD_KAFKA_RESP_ERR__AUTHENTICATION
        | E::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED
        | E::RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM
        | E::RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE => Cause::Authentication,
        E::RD_KAFKA_RESP_ERR__SSL => Cause::Tls,
        E::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
        | E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
        | E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID
        | E::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION => Cause::Missing,
        E::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        | E::RD_KAFKA_RESP_ERR__TRANSPORT
        | E::RD_KAFKA_RESP_ERR__RESOLVE
        | E::RD_KAFKA_RESP_ERR__TIMED_OUT
        | E::RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE
        | E::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT
        | E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT => Cause::Network,
        E::RD_KAFKA_RESP_ERR__INVALID_ARG
        | E::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
        | E::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION
        | E::RD_KAFKA_RESP_ERR_UNSUPPORTED_ASSIGNOR
        | E::RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL
        | E::RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT
        | E::RD_KAFKA_RESP_ERR_INVALID_CONFIG
        | E::RD_KAFKA_RESP_ERR_POLICY_VIOLATION => Cause::Misconfigured,
        E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
        | E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION
        | E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS
        | E::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
        | E::RD_KAFKA_RESP_ERR_NOT_COORDINATOR
        | E::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS
        | E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS
        | E::RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE => Cause::Passing,
        _ => Cause::Unclear,
    };
    Kind::Outage(cause, None)
}

fn describe(code: Code) -> String {
    // SAFETY: returns a static text for every code, ending with a zero.
    unsafe { text(rds::rd_kafka_err2str(code)) }
}

/// A copy of a text of librdkafka's; empty for none.
///
/// # Safety
/// `text` is null or points to a text that ends with a zero and stays during the call.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and as promised.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn checked(code: Code) -> Result<(), Fault> {
    match code {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(Fault::of(code)),
    }
}

/// The result that an error object stands for; destroys it.
///
/// # Safety
/// `error` is null or an error object that is ours to destroy; it is used no more afterwards.
unsafe fn result_of(error: *mut rds::rd_kafka_error_t) -> Result<(), Fault> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null, and as promised; its text lasts as long as it does.
    unsafe {
        let fatal = rds::rd_kafka_error_is_fatal(error) != 0;
        let kind = if fatal { Kind::Fatal } else { kind(rds::rd_kafka_error_code(error)) };
        let fault = Fault { kind, text: text(rds::rd_kafka_error_string(error)), partition: None };
        rds::rd_kafka_error_destroy(error);
        Err(fault)
    }
}

/// A list of partitions of one topic.
struct List(*mut rds::rd_kafka_topic_partition_list_t);

impl List {
    fn new(topic: &CStr, partitions: impl IntoIterator<Item = (i32, i64)>) -> List {
        // SAFETY: the list is ours until dropped; `add` returns a valid element of it.
        unsafe {
            let list = rds::rd_kafka_topic_partition_list_new(8);
            for (partition, offset) in partitions {
                (*rds::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition)).offset =
                    offset;
            }
            List(list)
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: made by `new`, destroyed once.
        unsafe { rds::rd_kafka_topic_partition_list_destroy(self.0) };
    }
}

impl Client<'_> {
    /// Offset after the last message that the batch call has returned or, being a transaction's
    /// marker, taken off the queue itself; 0 where there was none yet. Asks no broker;
    /// `skipped_offsets` says when it is wrong.
    pub(super) fn reached(self, partitions: impl Iterator<Item = u32>) -> Vec<(u32, u64)> {
        let invalid = i64::from(rds::RD_KAFKA_OFFSET_INVALID);
        let list = List::new(self.topic, partitions.map(|partition| (partition as i32, invalid)));
        // SAFETY: client and list are alive; the call writes the offsets of the list's elements, of
        // which there are `cnt`.
        unsafe {
            if checked(rds::rd_kafka_position(self.client, list.0)).is_err() || (*list.0).cnt <= 0 {
                return Vec::new();
            }
            let elements = std::slice::from_raw_parts((*list.0).elems, (*list.0).cnt as usize);
            elements
                .iter()
                .map(|element| (element.partition as u32, element.offset.max(0) as u64))
                .collect()
        }
    }

    /// The client's position in a partition that is being taken up.
    pub(super) fn position_of_taken_up(self, partition: u32) -> ClientPosition {
        let reached = self.reached(std::iter::once(partition));
        ClientPosition::taken_up(reached.first().map_or(0, |(_, reached)| *reached))
    }

    /// Offset of the first record with this timestamp or a later one; `None`: there is none.
    pub(super) fn offset_at(
        self,
        partition: u32,
        time_ms: i64,
        wait: Duration,
    ) -> Result<Option<u64>, Fault> {
        // Later than every time that a broker knows.
        if time_ms == i64::MAX {
            return Ok(None);
        }
        let list = List::new(self.topic, [(partition as i32, time_ms)]);
        // SAFETY: client and list are alive; the list has the one element that was added, which the
        // call fills in.
        unsafe {
            checked(rds::rd_kafka_offsets_for_times(self.client, list.0, millis(wait)))?;
            let found = &*(*list.0).elems;
            checked(found.err)?;
            Ok(u64::try_from(found.offset).ok())
        }
    }

    /// Why librdkafka declared the client dead, if it did. Asks no broker.
    pub(super) fn fatal(self) -> Option<String> {
        let mut reason = [0 as c_char; 512];
        // SAFETY: the client is alive; the call writes at most the length given, ending with a
        // zero.
        unsafe {
            let code = rds::rd_kafka_fatal_error(self.client, reason.as_mut_ptr(), reason.len());
            (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| text(reason.as_ptr()))
        }
    }

    /// How many partitions the topic has.
    pub(super) fn partitions(self, wait: Duration) -> Result<u32, Fault> {
        // SAFETY: the topic handle and the metadata are destroyed on every way out; the array has
        // `topic_cnt` elements.
        unsafe {
            let topic = rds::rd_kafka_topic_new(self.client, self.topic.as_ptr(), ptr::null_mut());
            if topic.is_null() {
                return checked(rds::rd_kafka_last_error()).map(|()| 0);
            }
            let mut metadata = ptr::null();
            let code = rds::rd_kafka_metadata(self.client, 0, topic, &mut metadata, millis(wait));
            rds::rd_kafka_topic_destroy(topic);
            checked(code)?;
            let found = match (*metadata).topic_cnt {
                1 if (*(*metadata).topics).partition_cnt > 0
                    || (*(*metadata).topics).err != Code::RD_KAFKA_RESP_ERR_NO_ERROR =>
                {
                    checked((*(*metadata).topics).err)
                        .map(|()| (*(*metadata).topics).partition_cnt as u32)
                }
                _ => Err(Fault::of(Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC)),
            };
            rds::rd_kafka_metadata_destroy(metadata);
            found
        }
    }

    /// Of each of these partitions the first offset held, the offset before which nothing is
    /// undecided, and the end. Three questions to each leader, whatever the number of partitions.
    pub(super) fn extents(self, partitions: &[u32], wait: Duration) -> Result<Vec<Extent>, Fault> {
        use rds::rd_kafka_IsolationLevel_t::{
            RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED as COMMITTED,
            RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED as ALL,
        };
        let (first, end) =
            (i64::from(rds::RD_KAFKA_OFFSET_BEGINNING), i64::from(rds::RD_KAFKA_OFFSET_END));
        let deadline = Instant::now() + wait;
        // The first offset is asked for last and the end first: so a partition never seems to begin
        // behind its end, and what was open when the end was asked may only be less when it is
        // asked what is stable.
        let mut found = Vec::with_capacity(3);
        for (offset, isolation) in [(end, ALL), (end, COMMITTED), (first, ALL)] {
            found.push(self.offsets(partitions, offset, isolation, deadline)?);
        }
        let extent = |partition: &u32| {
            let of = |n: usize| found.get(n).and_then(|found| found.get(partition)).copied();
            let (end, stable, start) = (of(0)?, of(1)?, of(2)?);
            Some(Extent {
                partition: *partition,
                start,
                stable: stable.max(start),
                end: end.max(stable),
            })
        };
        Ok(partitions.iter().filter_map(extent).collect())
    }

    /// One `ListOffsets` for all of these partitions.
    fn offsets(
        self,
        partitions: &[u32],
        offset: i64,
        isolation: rds::rd_kafka_IsolationLevel_t,
        deadline: Instant,
    ) -> Result<BTreeMap<u32, u64>, Fault> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list =
            List::new(self.topic, partitions.iter().map(|partition| (*partition as i32, offset)));
        let kind = rds::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let ask = |options: *mut rds::rd_kafka_AdminOptions_t,
                   queue: *mut rds::rd_kafka_queue_t| {
            // SAFETY: client, list, options and queue are alive during the call, which copies what
            // it needs of the first three.
            unsafe {
                result_of(rds::rd_kafka_AdminOptions_set_isolation_level(options, isolation))?;
                rds::rd_kafka_ListOffsets(self.client, list.0, options, queue);
            }
            Ok(())
        };
        // SAFETY: `read` looks at the event only while it is there, as `asked` promises.
        self.asked(kind, deadline, ask, |event| unsafe { listed(event) })
    }

    /// The id of the topic's present incarnation; `None` where the brokers give topics none (before
    /// Kafka 2.8).
    pub(super) fn topic_id(self, wait: Duration) -> Result<Option<String>, Fault> {
        let kind = rds::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let ask = |options: *mut rds::rd_kafka_AdminOptions_t,
                   queue: *mut rds::rd_kafka_queue_t| {
            let mut names = [self.topic.as_ptr()];
            // SAFETY: all are alive during the call; the collection is copied by it and destroyed
            // here, once.
            unsafe {
                let topics =
                    rds::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
                rds::rd_kafka_DescribeTopics(self.client, topics, options, queue);
                rds::rd_kafka_TopicCollection_destroy(topics);
            }
            Ok(())
        };
        // SAFETY: `read` looks at the event only while it is there, as `asked` promises.
        self.asked(kind, Instant::now() + wait, ask, |event| unsafe { described(event) })
    }

    /// Sends an administrative question and waits for its answer, an event without an error that is
    /// there while `read` runs.
    fn asked<T>(
        self,
        kind: rds::rd_kafka_admin_op_t,
        deadline: Instant,
        ask: impl FnOnce(
            *mut rds::rd_kafka_AdminOptions_t,
            *mut rds::rd_kafka_queue_t,
        ) -> Result<(), Fault>,
        read: impl FnOnce(*mut rds::rd_kafka_event_t) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let wait = millis(deadline.saturating_duration_since(Instant::now())).max(1);
        let mut reason = [0 as c_char; 512];
        // SAFETY: the client is alive; queue, options and event are ours and destroyed here once,
        // after their last use.
        unsafe {
            let options = rds::rd_kafka_AdminOptions_new(self.client, kind);
            rds::rd_kafka_AdminOptions_set_request_timeout(
                options,
                wait,
                reason.as_mut_ptr(),
                reason.len(),
            );
            let queue = rds::rd_kafka_queue_new(self.client);
            let sent = ask(options, queue);
            rds::rd_kafka_AdminOptions_destroy(options);
            let found = sent.and_then(|()| {
                let event = rds::rd_kafka_queue_poll(queue, wait);
                if event.is_null() {
                    return Err(Fault::of(Code::RD_KAFKA_RESP_ERR__TIMED_OUT));
                }
                let found = match rds::rd_kafka_event_error(event) {
                    Code::RD_KAFKA_RESP_ERR_NO_ERROR => read(event),
                    code => {
                        let reason = text(rds::rd_kafka_event_error_string(event));
                        Err(Fault { text: reason, ..Fault::of(code) })
                    }
                };
                rds::rd_kafka_event_destroy(event);
                found
            });
            rds::rd_kafka_queue_destroy(queue);
            found
        }
    }
}

/// What a log holds of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) partition: u32,
    pub(super) start: u64,
    /// Offset before which no transaction is open: the last stable offset.
    pub(super) stable: u64,
    /// Offset after the last record, of open transactions too.
    pub(super) end: u64,
}

/// Offset by partition of the answer to a `ListOffsets`.
///
/// # Safety
/// `event` is not null and not destroyed yet.
unsafe fn listed(event: *mut rds::rd_kafka_event_t) -> Result<BTreeMap<u32, u64>, Fault> {
    let mut found = BTreeMap::new();
    // SAFETY: as promised; the result, its infos and their parts belong to the event, `count` is
    // their number.
    unsafe {
        let result = rds::rd_kafka_event_ListOffsets_result(event);
        if result.is_null() {
            return Ok(found);
        }
        let mut count = 0;
        let infos = rds::rd_kafka_ListOffsets_result_infos(result, &mut count);
        for n in 0..count {
            let place = &*rds::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(n));
            checked(place.err).map_err(|fault| Fault {
                partition: u32::try_from(place.partition).ok(),
                ..fault
            })?;
            found.insert(place.partition as u32, place.offset.max(0) as u64);
        }
    }
    Ok(found)
}

/// What the answer to a `DescribeTopics` of one topic says of its id.
///
/// # Safety
/// `event` is not null and not destroyed yet.
unsafe fn described(event: *mut rds::rd_kafka_event_t) -> Result<Option<String>, Fault> {
    // SAFETY: as promised; the result, its topics and their parts belong to the event. The text of
    // an id is kept in the id.
    unsafe {
        let result = rds::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        if result.is_null() {
            return Ok(None);
        }
        let topics = rds::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if count == 0 {
            return Ok(None);
        }
        let error = rds::rd_kafka_TopicDescription_error(*topics);
        if !error.is_null() {
            checked(rds::rd_kafka_error_code(error))?;
        }
        let id = rds::rd_kafka_TopicDescription_topic_id(*topics);
        let none = id.is_null()
            || (rds::rd_kafka_Uuid_most_significant_bits(id) == 0
                && rds::rd_kafka_Uuid_least_significant_bits(id) == 0);
        Ok((!none).then(|| text(rds::rd_kafka_Uuid_base64str(id))))
    }
}

fn millis(wait: Duration) -> c_int {
    // Rounded up: a part of a millisecond would be no wait at all, and a caller that waits for a
    // deadline would spin.
    wait.as_micros().div_ceil(1_000).min(i32::MAX as u128) as c_int
}

impl Consumer {
    pub(super) fn new(settings: &Settings, topic: &str) -> Result<Consumer, String> {
        let topic =
            CString::new(topic).map_err(|_| "the topic's name contains a zero byte".to_owned())?;
        let hook = Hook { sink: None, revoked: Vec::new(), panicked: None, faults: Vec::new() };
        let mut reason = [0 as c_char; 512];
        // SAFETY: `conf` is ours until `rd_kafka_new` succeeds, and destroyed where that does not
        // happen; the hook is leaked there and freed where the client is destroyed, or where none
        // is made.
        unsafe {
            let conf = rds::rd_kafka_conf_new();
            for (name, value) in settings {
                let pair = CString::new(name.as_str())
                    .and_then(|name| Ok((name, CString::new(value.as_str())?)));
                let result = pair.map(|(name, value)| {
                    rds::rd_kafka_conf_set(
                        conf,
                        name.as_ptr(),
                        value.as_ptr(),
                        reason.as_mut_ptr(),
                        reason.len(),
                    )
                });
                if !matches!(result, Ok(rds::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK)) {
                    rds::rd_kafka_conf_destroy(conf);
                    return Err(format!(
                        "setting \"{name}\" = \"{value}\": {}",
                        text(reason.as_ptr())
                    ));
                }
            }
            rds::rd_kafka_conf_set_rebalance_cb(conf, Some(on_rebalance));
            rds::rd_kafka_conf_set_error_cb(conf, Some(on_error));
            rds::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            let hook = NonNull::from(Box::leak(Box::new(hook)));
            rds::rd_kafka_conf_set_opaque(conf, hook.as_ptr().cast());
            let client = rds::rd_kafka_new(
                rds::rd_kafka_type_t::RD_KAFKA_CONSUMER,
                conf,
                reason.as_mut_ptr(),
                reason.len(),
            );
            if client.is_null() {
                rds::rd_kafka_conf_destroy(conf);
                drop(Box::from_raw(hook.as_ptr()));
                return Err(text(reason.as_ptr()));
            }
            rds::rd_kafka_poll_set_consumer(client);
            let queue = rds::rd_kafka_queue_get_consumer(client);
            Ok(Consumer {
                client,
                queue,
                topic,
                hook,
                messages: Vec::new(),
                limit: Duration::from_secs(2),
            })
        }
    }

    pub(super) fn client(&self) -> Client<'_> {
        Client { client: self.client, topic: &self.topic }
    }

    /// Joins the group.
    pub(super) fn subscribe(&mut self) -> Result<(), Fault> {
        let list = List::new(&self.topic, [(-1, i64::from(rds::RD_KAFKA_OFFSET_INVALID))]);
        // SAFETY: client and list are alive; the list is copied.
        checked(unsafe { rds::rd_kafka_subscribe(self.client, list.0) })
    }

    /// Wakes librdkafka to go on joining the group. By itself its main thread does so once a second
    /// while nothing else wakes it, though the broker has long answered; any question about the
    /// group wakes it.
    pub(super) fn nudge(&self) {
        let mut held = ptr::null_mut();
        // SAFETY: the client is alive; where the call succeeds the list is ours.
        unsafe {
            if rds::rd_kafka_assignment(self.client, &mut held) == Code::RD_KAFKA_RESP_ERR_NO_ERROR
                && !held.is_null()
            {
                rds::rd_kafka_topic_partition_list_destroy(held);
            }
        }
    }

    /// Reads these partitions, outside any group.
    pub(super) fn assign(&mut self, partitions: &[(u32, i64)]) -> Result<(), Fault> {
        let list = self.list(partitions);
        // SAFETY: as for `subscribe`.
        checked(unsafe { rds::rd_kafka_assign(self.client, list.0) })
    }

    /// Reads these partitions too, outside any group.
    pub(super) fn add(&mut self, partitions: &[(u32, i64)]) -> Result<(), Fault> {
        if partitions.is_empty() {
            return Ok(());
        }
        let list = self.list(partitions);
        // SAFETY: as for `subscribe`; the call returns an error object or null.
        unsafe { result_of(rds::rd_kafka_incremental_assign(self.client, list.0)) }
    }

    /// Stops reading these.
    pub(super) fn unassign(&mut self, partitions: &[u32]) -> Result<(), Fault> {
        if partitions.is_empty() {
            return Ok(());
        }
        let invalid = i64::from(rds::RD_KAFKA_OFFSET_INVALID);
        let list = self
            .list(&partitions.iter().map(|partition| (*partition, invalid)).collect::<Vec<_>>());
        // SAFETY: as for `add`.
        unsafe { result_of(rds::rd_kafka_incremental_unassign(self.client, list.0)) }
    }

    /// Waits for a first message up to `wait`, then takes what is queued, at most `most`.
    /// librdkafka's own call would wait until `most` have arrived or the time is over, which would
    /// delay the first by up to that. Also returns what was revoked meanwhile: messages of those
    /// partitions must not be used.
    ///
    /// A panic in the rebalance callbacks is carried over C and goes on here.
    pub(super) fn poll(
        &mut self,
        wait: Duration,
        most: usize,
        sink: &mut (dyn Rebalance + '_),
    ) -> (Batch<'_>, Vec<u32>, Vec<Fault>) {
        let most = most.clamp(1, 100_000);
        if self.messages.len() < most {
            self.messages.resize(most, ptr::null_mut());
        }
        // SAFETY: only the lifetime changes; the pointer is taken back below, before `sink`'s
        // borrow ends.
        let erased: *mut (dyn Rebalance + 'static) =
            unsafe { std::mem::transmute(ptr::from_mut(sink)) };
        self.hook().sink = Some(erased);
        let mut count = self.take(0, 1, wait);
        if count == 1 {
            count += self.take(1, most - 1, Duration::ZERO);
        }
        let hook = self.hook();
        hook.sink = None;
        let (panicked, revoked) = (hook.panicked.take(), std::mem::take(&mut hook.revoked));
        let faults = std::mem::take(&mut hook.faults);
        let batch = Batch { messages: &mut self.messages[..count] };
        if let Some(panic) = panicked {
            drop(batch);
            resume_unwind(panic);
        }
        (batch, revoked, faults)
    }

    /// What the callbacks left; no callback runs while it is borrowed.
    fn hook(&mut self) -> &mut Hook {
        // SAFETY: it is there as long as the client, and callbacks use it only inside calls of the
        // batch call, of which none is made while the borrow lasts.
        unsafe { self.hook.as_mut() }
    }

    /// Takes messages into the slots from `from` on; how many. A failure is left with the faults.
    fn take(&mut self, from: usize, most: usize, wait: Duration) -> usize {
        if most == 0 {
            return 0;
        }
        let slots = &mut self.messages[from..from + most];
        // SAFETY: `slots` has room for `most` pointers; callbacks run inside and use the hook,
        // which is not borrowed here.
        let count = unsafe {
            rds::rd_kafka_consume_batch_queue(self.queue, millis(wait), slots.as_mut_ptr(), most)
        };
        usize::try_from(count).unwrap_or_else(|_| {
            // SAFETY: the code of the call before, on this thread.
            let fault = Fault::of(unsafe { rds::rd_kafka_last_error() });
            let faults = &mut self.hook().faults;
            if faults.len() < FAULTS {
                faults.push(fault);
            }
            0
        })
    }

    pub(super) fn pause(&mut self, partition: u32) -> Result<(), Fault> {
        let list = self.list(&[(partition, i64::from(rds::RD_KAFKA_OFFSET_INVALID))]);
        // SAFETY: as for `subscribe`.
        checked(unsafe { rds::rd_kafka_pause_partitions(self.client, list.0) })
    }

    pub(super) fn resume(&mut self, partition: u32) -> Result<(), Fault> {
        let list = self.list(&[(partition, i64::from(rds::RD_KAFKA_OFFSET_INVALID))]);
        // SAFETY: as for `subscribe`.
        checked(unsafe { rds::rd_kafka_resume_partitions(self.client, list.0) })
    }

    /// Takes a held partition up again at `offset`. Not `seek`, which fails after an offset was out
    /// of range. Where giving it up fails because an earlier restart got no further than that,
    /// taking it up is what counts.
    pub(super) fn restart(&mut self, partition: u32, offset: i64) -> Result<(), Fault> {
        let list = self.list(&[(partition, offset)]);
        // SAFETY: as for `subscribe`; both calls return an error object or null.
        unsafe {
            let given_up = result_of(rds::rd_kafka_incremental_unassign(self.client, list.0));
            result_of(rds::rd_kafka_incremental_assign(self.client, list.0))
                .map_err(|fault| given_up.err().unwrap_or(fault))
        }
    }

    /// Tells the broker offsets, without waiting.
    pub(super) fn commit(&mut self, offsets: &[(u32, i64)]) -> Result<(), Fault> {
        let list = self.list(offsets);
        // SAFETY: as for `subscribe`.
        checked(unsafe { rds::rd_kafka_commit(self.client, list.0, 1) })
    }

    fn list(&self, partitions: &[(u32, i64)]) -> List {
        List::new(
            &self.topic,
            partitions.iter().map(|(partition, offset)| (*partition as i32, *offset)),
        )
    }

    /// Leaves the group and destroys the client, on a thread of its own: librdkafka may hang in
    /// either, and then the thread and the client are left behind. Whether it was done within
    /// `limit`.
    pub(super) fn close(mut self, limit: Duration) -> bool {
        self.limit = limit;
        let (done, closed) = std::sync::mpsc::sync_channel(1);
        let closing = std::thread::Builder::new().name("kafka-close".into()).spawn(move || {
            drop(self);
            // the receiver is gone if the limit has passed
            let _ = done.send(());
        });
        closing.is_ok() && closed.recv_timeout(limit).is_ok()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let deadline = Instant::now() + self.limit;
        self.messages.resize(256, ptr::null_mut());
        // SAFETY: the last use of the client; the hook is freed after it, and the message slots
        // after this returns.
        unsafe {
            let closing =
                result_of(rds::rd_kafka_consumer_close_queue(self.client, self.queue)).is_ok();
            while closing
                && rds::rd_kafka_consumer_closed(self.client) == 0
                && Instant::now() < deadline
            {
                let count = self.take(0, 256, Duration::from_millis(20));
                drop(Batch { messages: &mut self.messages[..count] });
            }
            rds::rd_kafka_queue_destroy(self.queue);
            rds::rd_kafka_destroy_flags(self.client, rds::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
            drop(Box::from_raw(self.hook.as_ptr()));
        }
    }
}

/// Called inside the batch call. Answers the assignment itself, whatever the sink does.
unsafe extern "C" fn on_rebalance(
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

unsafe extern "C" fn on_error(
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
unsafe extern "C" fn on_log(
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
