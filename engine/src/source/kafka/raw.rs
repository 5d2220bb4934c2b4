//! A consumer over librdkafka's batch call with its own rebalance callback: the only unsafe code of the sources.
//!
//! Promises: nothing unwinds into C; each message is destroyed exactly once, after the call that sees it; rebalances run
//! inside `poll`, on the polling thread. No policy: what an assignment starts at, what an error means, is `mod`'s.
//! Why not the consumer of rust-rdkafka: one call per message costs twice as much, and its consumers answer rebalances as
//! events, which the batch call does not deliver: in a group it then gets no message at all.
//!
//! Over 400 lines: all that is unsafe stands in one file, so that one reading covers it.
#![allow(unsafe_code)] // the batch call and the rebalance callback exist only in librdkafka's C interface

use super::settings::Settings;
use rdkafka_sys as rds;
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use std::any::Any;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::time::{Duration, Instant};

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

/// What librdkafka has to say.
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
    UnknownTopic,
    /// No broker answers.
    Down,
    /// The client is of no more use.
    Fatal,
    Other,
}

/// What callbacks leave for the polling thread; boxed so that its address holds as long as the client.
struct Hook {
    /// Set only during `poll`; the lifetime is that of the call.
    sink: Option<*mut (dyn Rebalance + 'static)>,
    revoked: Vec<u32>,
    panicked: Option<Box<dyn Any + Send>>,
    /// Bounded by [`FAULTS`]: further ones within one poll say the same.
    faults: Vec<Fault>,
}

const FAULTS: usize = 16;

/// A consumer. Closed by `close`; dropping it closes it too.
pub(super) struct Consumer {
    client: *mut rds::rd_kafka_t,
    queue: *mut rds::rd_kafka_queue_t,
    topic: CString,
    hook: Box<Hook>,
    messages: Vec<*mut rds::rd_kafka_message_t>,
    /// How long dropping it serves the group's leave.
    limit: Duration,
}

// SAFETY: librdkafka's handles may be used from any thread; callbacks run only inside calls made with `&mut self`, and
// everything the hook points to is set up and torn down within one such call.
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
            // SAFETY: each pointer came from the batch call, is not null and is destroyed only here.
            unsafe { rds::rd_kafka_message_destroy(*message) };
            *message = ptr::null_mut();
        }
    }
}

impl Batch<'_> {
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
        // SAFETY: not null; librdkafka keeps `len` bytes there until the message is destroyed, which `'a` precedes.
        Some(unsafe { std::slice::from_raw_parts(self.raw.payload.cast(), self.raw.len) })
    }

    pub(super) fn fault(self) -> Option<Fault> {
        if self.raw.err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let text =
            self.payload().map_or_else(|| describe(self.raw.err), |text| String::from_utf8_lossy(text).into_owned());
        Some(Fault { kind: kind(self.raw.err), text, partition: u32::try_from(self.raw.partition).ok() })
    }
}

fn kind(code: Code) -> Kind {
    match code {
        Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
        | Code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION
        | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => Kind::OutOfRange,
        Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC | Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => Kind::UnknownTopic,
        Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        | Code::RD_KAFKA_RESP_ERR__TRANSPORT
        | Code::RD_KAFKA_RESP_ERR__RESOLVE => Kind::Down,
        Code::RD_KAFKA_RESP_ERR__FATAL => Kind::Fatal,
        _ => Kind::Other,
    }
}

fn describe(code: Code) -> String {
    // SAFETY: returns a static text for every code.
    text(unsafe { rds::rd_kafka_err2str(code) })
}

fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and librdkafka's texts end with a zero.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn checked(code: Code) -> Result<(), Fault> {
    match code {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(Fault { kind: kind(code), text: describe(code), partition: None }),
    }
}

/// Takes the error object, if there is one.
fn taken(error: *mut rds::rd_kafka_error_t) -> Result<(), Fault> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null, ours to read and to destroy, once.
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
                (*rds::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition)).offset = offset;
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
    /// First offset held and the offset after the last.
    pub(super) fn watermarks(self, partition: u32, wait: Duration) -> Result<(u64, u64), Fault> {
        let (mut low, mut high) = (0, 0);
        // SAFETY: the client is alive, the topic ends with a zero, the numbers outlive the call.
        checked(unsafe {
            rds::rd_kafka_query_watermark_offsets(
                self.client,
                self.topic.as_ptr(),
                partition as i32,
                &mut low,
                &mut high,
                millis(wait),
            )
        })?;
        Ok((low.max(0) as u64, high.max(0) as u64))
    }

    /// Offset of the first record with this timestamp or a later one; `None`: there is none.
    pub(super) fn offset_at(self, partition: u32, time_ms: i64, wait: Duration) -> Result<Option<u64>, Fault> {
        // Beyond every time that a broker knows.
        if time_ms == i64::MAX {
            return Ok(None);
        }
        let list = List::new(self.topic, [(partition as i32, time_ms)]);
        // SAFETY: client and list are alive; the list has the one element that was added, which the call fills in.
        unsafe {
            checked(rds::rd_kafka_offsets_for_times(self.client, list.0, millis(wait)))?;
            let found = &*(*list.0).elems;
            checked(found.err)?;
            Ok(u64::try_from(found.offset).ok())
        }
    }

    /// The id of the topic's present incarnation; `None` where the brokers give topics none (before Kafka 2.8).
    pub(super) fn topic_id(self, wait: Duration) -> Result<Option<String>, Fault> {
        let mut reason = [0 as c_char; 512];
        let mut names = [self.topic.as_ptr()];
        // SAFETY: the client is alive; queue, options and collection are ours, copied from or kept by the request and
        // destroyed here once; the answer is valid until its event is destroyed, which is after it was read.
        unsafe {
            let kind = rds::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
            let options = rds::rd_kafka_AdminOptions_new(self.client, kind);
            rds::rd_kafka_AdminOptions_set_request_timeout(options, millis(wait), reason.as_mut_ptr(), reason.len());
            let topics = rds::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
            let queue = rds::rd_kafka_queue_new(self.client);
            rds::rd_kafka_DescribeTopics(self.client, topics, options, queue);
            rds::rd_kafka_TopicCollection_destroy(topics);
            rds::rd_kafka_AdminOptions_destroy(options);
            let event = rds::rd_kafka_queue_poll(queue, millis(wait));
            let found = described(event);
            if !event.is_null() {
                rds::rd_kafka_event_destroy(event);
            }
            rds::rd_kafka_queue_destroy(queue);
            found
        }
    }
}

/// What the answer to a `DescribeTopics` of one topic says of its id.
///
/// # Safety
/// `event` is null or an event that is not destroyed yet.
unsafe fn described(event: *mut rds::rd_kafka_event_t) -> Result<Option<String>, Fault> {
    if event.is_null() {
        return checked(Code::RD_KAFKA_RESP_ERR__TIMED_OUT).map(|()| None);
    }
    // SAFETY: as promised; the result, its topics and their parts belong to the event. The text of an id is kept in the id.
    unsafe {
        checked(rds::rd_kafka_event_error(event))?;
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
    wait.as_millis().min(i32::MAX as u128) as c_int
}

impl Consumer {
    pub(super) fn new(settings: &Settings, topic: &str) -> Result<Consumer, String> {
        let topic = CString::new(topic).map_err(|_| "the topic's name contains a zero byte".to_owned())?;
        let mut hook = Box::new(Hook { sink: None, revoked: Vec::new(), panicked: None, faults: Vec::new() });
        let mut reason = [0 as c_char; 512];
        // SAFETY: `conf` is ours until `rd_kafka_new` succeeds, and destroyed where that does not happen; the hook is
        // boxed and outlives the client (`close` destroys the client first, or leaks both).
        unsafe {
            let conf = rds::rd_kafka_conf_new();
            for (name, value) in settings {
                let pair = CString::new(name.as_str()).and_then(|name| Ok((name, CString::new(value.as_str())?)));
                let result = pair.map(|(name, value)| {
                    rds::rd_kafka_conf_set(conf, name.as_ptr(), value.as_ptr(), reason.as_mut_ptr(), reason.len())
                });
                if !matches!(result, Ok(rds::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK)) {
                    rds::rd_kafka_conf_destroy(conf);
                    return Err(format!("setting \"{name}\" = \"{value}\": {}", text(reason.as_ptr())));
                }
            }
            rds::rd_kafka_conf_set_rebalance_cb(conf, Some(on_rebalance));
            rds::rd_kafka_conf_set_error_cb(conf, Some(on_error));
            rds::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            rds::rd_kafka_conf_set_opaque(conf, ptr::from_mut(&mut *hook).cast());
            let client =
                rds::rd_kafka_new(rds::rd_kafka_type_t::RD_KAFKA_CONSUMER, conf, reason.as_mut_ptr(), reason.len());
            if client.is_null() {
                rds::rd_kafka_conf_destroy(conf);
                return Err(text(reason.as_ptr()));
            }
            rds::rd_kafka_poll_set_consumer(client);
            let queue = rds::rd_kafka_queue_get_consumer(client);
            Ok(Consumer { client, queue, topic, hook, messages: Vec::new(), limit: Duration::from_secs(2) })
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

    /// Has librdkafka look at how joining goes on. By itself its main thread does so once a second while nothing else wakes it,
    /// though the broker has long answered; asking anything of the group wakes it.
    pub(super) fn nudge(&self) {
        let mut held = ptr::null_mut();
        // SAFETY: the client is alive; where the call succeeds the list is ours.
        unsafe {
            if rds::rd_kafka_assignment(self.client, &mut held) == Code::RD_KAFKA_RESP_ERR_NO_ERROR && !held.is_null() {
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
        unsafe { taken(rds::rd_kafka_incremental_assign(self.client, list.0)) }
    }

    /// Reads these no longer.
    pub(super) fn unassign(&mut self, partitions: &[u32]) -> Result<(), Fault> {
        if partitions.is_empty() {
            return Ok(());
        }
        let invalid = i64::from(rds::RD_KAFKA_OFFSET_INVALID);
        let list = self.list(&partitions.iter().map(|partition| (*partition, invalid)).collect::<Vec<_>>());
        // SAFETY: as for `add`.
        unsafe { taken(rds::rd_kafka_incremental_unassign(self.client, list.0)) }
    }

    /// Waits for a first message up to `wait`, then takes what is there, at most `most`. librdkafka's own call would
    /// wait until `most` have come or the time is over, which would delay the first by up to that.
    /// Also returns what was revoked meanwhile: messages of those partitions must not be used.
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
        // SAFETY: only the lifetime changes; the pointer is taken back below, before `sink`'s borrow ends.
        let erased: *mut (dyn Rebalance + 'static) = unsafe { std::mem::transmute(ptr::from_mut(sink)) };
        self.hook.sink = Some(erased);
        let mut count = self.take(0, 1, wait);
        if count == 1 {
            count += self.take(1, most - 1, Duration::ZERO);
        }
        self.hook.sink = None;
        let batch = Batch { messages: &mut self.messages[..count] };
        if let Some(panic) = self.hook.panicked.take() {
            drop(batch);
            resume_unwind(panic);
        }
        (batch, std::mem::take(&mut self.hook.revoked), std::mem::take(&mut self.hook.faults))
    }

    fn take(&mut self, from: usize, most: usize, wait: Duration) -> usize {
        if most == 0 {
            return 0;
        }
        let slots = &mut self.messages[from..from + most];
        // SAFETY: `slots` has room for `most` pointers; callbacks run inside and use the hook, which is not borrowed here.
        let count = unsafe { rds::rd_kafka_consume_batch_queue(self.queue, millis(wait), slots.as_mut_ptr(), most) };
        count.max(0) as usize
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

    /// Takes a held partition up again at `offset`. Not `seek`, which fails after an offset was out of range. Where giving it up
    /// fails because an earlier restart got no further than that, taking it up is what counts.
    pub(super) fn restart(&mut self, partition: u32, offset: i64) -> Result<(), Fault> {
        let list = self.list(&[(partition, offset)]);
        // SAFETY: as for `subscribe`; both calls return an error object or null.
        unsafe {
            let given_up = taken(rds::rd_kafka_incremental_unassign(self.client, list.0));
            taken(rds::rd_kafka_incremental_assign(self.client, list.0))
                .map_err(|fault| given_up.err().unwrap_or(fault))
        }
    }

    /// Tells the broker offsets, without waiting.
    pub(super) fn commit(&mut self, offsets: &[(u32, i64)]) -> Result<(), Fault> {
        let list = self.list(offsets);
        // SAFETY: as for `subscribe`.
        checked(unsafe { rds::rd_kafka_commit(self.client, list.0, 1) })
    }

    /// Offset after the last message that the batch call has returned or, being a transaction's marker, taken off the queue
    /// itself; 0 where there was none yet. Asks nobody.
    pub(super) fn reached(&self, partitions: impl Iterator<Item = u32>) -> Vec<(u32, u64)> {
        let invalid = i64::from(rds::RD_KAFKA_OFFSET_INVALID);
        let list = List::new(&self.topic, partitions.map(|partition| (partition as i32, invalid)));
        // SAFETY: client and list are alive; the call writes the offsets of the list's elements, of which there are `cnt`.
        unsafe {
            if checked(rds::rd_kafka_position(self.client, list.0)).is_err() || (*list.0).cnt <= 0 {
                return Vec::new();
            }
            let elements = std::slice::from_raw_parts((*list.0).elems, (*list.0).cnt as usize);
            elements.iter().map(|element| (element.partition as u32, element.offset.max(0) as u64)).collect()
        }
    }

    /// How many partitions the topic has.
    pub(super) fn partitions(&self, wait: Duration) -> Result<u32, Fault> {
        // SAFETY: the topic handle and the metadata are destroyed on every way out; the array has `topic_cnt` elements.
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
                1 => checked((*(*metadata).topics).err).map(|()| (*(*metadata).topics).partition_cnt as u32),
                _ => Ok(0),
            };
            rds::rd_kafka_metadata_destroy(metadata);
            found
        }
    }

    fn list(&self, partitions: &[(u32, i64)]) -> List {
        List::new(&self.topic, partitions.iter().map(|(partition, offset)| (*partition as i32, *offset)))
    }

    /// Leaves the group and destroys the client, on a thread of its own: librdkafka may hang in either, and then the
    /// thread and the client are left behind. Whether it was done within `limit`.
    pub(super) fn close(mut self, limit: Duration) -> bool {
        self.limit = limit;
        let (done, closed) = std::sync::mpsc::sync_channel(1);
        let closing = std::thread::Builder::new().name("kafka-close".into()).spawn(move || {
            drop(self);
            // nobody waits any more if the limit has passed
            let _ = done.send(());
        });
        closing.is_ok() && closed.recv_timeout(limit).is_ok()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let deadline = Instant::now() + self.limit;
        self.messages.resize(256, ptr::null_mut());
        // SAFETY: the last use of the client; the hook and the message slots are dropped after this returns.
        unsafe {
            let closing = taken(rds::rd_kafka_consumer_close_queue(self.client, self.queue)).is_ok();
            while closing && rds::rd_kafka_consumer_closed(self.client) == 0 && Instant::now() < deadline {
                let count = self.take(0, 256, Duration::from_millis(20));
                drop(Batch { messages: &mut self.messages[..count] });
            }
            rds::rd_kafka_queue_destroy(self.queue);
            rds::rd_kafka_destroy_flags(self.client, rds::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
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
    // SAFETY: `opaque` is the boxed hook, `list` is librdkafka's and valid during the call; elements are distinct memory.
    unsafe {
        let hook = &mut *opaque.cast::<Hook>();
        let elements: &mut [rds::rd_kafka_topic_partition_t] = match (*list).cnt {
            count if count > 0 => std::slice::from_raw_parts_mut((*list).elems, count as usize),
            _ => &mut [],
        };
        let partitions: Vec<u32> = elements.iter().map(|element| element.partition as u32).collect();
        let together = CStr::from_ptr(rds::rd_kafka_rebalance_protocol(client)).to_bytes() != b"COOPERATIVE";
        let assigning = code == Code::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let called = match (hook.sink, assigning) {
            (Some(sink), true) => {
                let topic = elements.first().map_or(c"", |first| CStr::from_ptr(first.topic));
                let offsets =
                    catch_unwind(AssertUnwindSafe(|| (*sink).assigned(Client { client, topic }, &partitions)));
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
            // closing: nothing is taken on any more, giving up needs no one
            (None, _) => Ok(()),
        };
        let nothing = List::new(c"", []);
        let refuse = called.is_err() || (assigning && hook.sink.is_none());
        if let Err(panic) = called {
            hook.panicked.get_or_insert(panic);
        }
        let answered = match (assigning && !refuse, together) {
            (true, false) => taken(rds::rd_kafka_incremental_assign(client, list)),
            (true, true) => checked(rds::rd_kafka_assign(client, list)),
            (false, false) if !assigning => taken(rds::rd_kafka_incremental_unassign(client, list)),
            (false, false) => taken(rds::rd_kafka_incremental_assign(client, nothing.0)),
            (false, true) => checked(rds::rd_kafka_assign(client, ptr::null())),
        };
        if !assigning {
            hook.revoked.extend_from_slice(&partitions);
        }
        if let Err(fault) = answered {
            hook.faults.push(fault);
        }
    }
}

unsafe extern "C" fn on_error(client: *mut rds::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: as for `on_rebalance`; an error callback of the same poll.
    let hook = unsafe { &mut *opaque.cast::<Hook>() };
    if hook.faults.len() >= FAULTS {
        return;
    }
    let mut fault = Fault { kind: Kind::Other, text: text(reason), partition: None };
    fault.kind = match code {
        code if code == Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int => Kind::Down,
        code if code == Code::RD_KAFKA_RESP_ERR__TRANSPORT as c_int => Kind::Down,
        code if code == Code::RD_KAFKA_RESP_ERR__RESOLVE as c_int => Kind::Down,
        code if code == Code::RD_KAFKA_RESP_ERR__FATAL as c_int => {
            let mut reason = [0 as c_char; 512];
            // SAFETY: writes at most the length given, ending with a zero.
            unsafe { rds::rd_kafka_fatal_error(client, reason.as_mut_ptr(), reason.len()) };
            fault.text = text(reason.as_ptr());
            Kind::Fatal
        }
        _ => Kind::Other,
    };
    hook.faults.push(fault);
}

/// From any of librdkafka's threads. A subscriber that panics must not unwind into C.
unsafe extern "C" fn on_log(
    _client: *const rds::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    let (facility, line) = (text(facility), text(line));
    let _ = catch_unwind(|| match level {
        0..=3 => tracing::error!(target: "kafka", %facility, "{line}"),
        4 => tracing::warn!(target: "kafka", %facility, "{line}"),
        5 | 6 => tracing::info!(target: "kafka", %facility, "{line}"),
        _ => tracing::debug!(target: "kafka", %facility, "{line}"),
    });
}
