//! What may be asked of a client, also from within a rebalance: positions, times, offsets, the
//! topic.
//!
//! Promises: each question ends within the wait that it is given; what C hands out for it is
//! destroyed on every way out. Changes nothing of the client.
#![allow(unsafe_code)] // several of these questions exist only in librdkafka's C interface

use super::fault::{Fault, checked};
use super::millis;
use super::objects::{List, result_of, text};
use crate::kafka::skipped_offsets::ClientPosition;
use rdkafka_sys as rds;
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char};
use std::ptr;
use std::time::{Duration, Instant};

/// The calls that a rebalance may make.
#[derive(Clone, Copy)]
pub(in crate::kafka) struct Client<'a> {
    pub(super) client: *mut rds::rd_kafka_t,
    pub(super) topic: &'a CStr,
}

/// What a log holds of a partition.
#[derive(Clone, Copy, Debug)]
pub(in crate::kafka) struct Extent {
    pub(in crate::kafka) partition: u32,
    pub(in crate::kafka) start: u64,
    /// Offset before which no transaction is open: the last stable offset.
    pub(in crate::kafka) stable: u64,
    /// Offset after the last record, of open transactions too.
    pub(in crate::kafka) end: u64,
}

impl Client<'_> {
    /// Offset after the last message that the batch call has returned or, being a transaction's
    /// marker, taken off the queue itself; 0 where there was none yet. Asks no broker;
    /// `skipped_offsets` says when it is wrong.
    pub(in crate::kafka) fn reached(
        self,
        partitions: impl Iterator<Item = u32>,
    ) -> Vec<(u32, u64)> {
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
    pub(in crate::kafka) fn position_of_taken_up(self, partition: u32) -> ClientPosition {
        let reached = self.reached(std::iter::once(partition));
        ClientPosition::taken_up(reached.first().map_or(0, |(_, reached)| *reached))
    }

    /// Offset of the first record with this timestamp or a later one; `None`: there is none.
    pub(in crate::kafka) fn offset_at(
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
    pub(in crate::kafka) fn fatal(self) -> Option<String> {
        let mut reason = [0 as c_char; 512];
        // SAFETY: the client is alive; the call writes at most the length given, ending with a
        // zero.
        unsafe {
            let code = rds::rd_kafka_fatal_error(self.client, reason.as_mut_ptr(), reason.len());
            (code != Code::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| text(reason.as_ptr()))
        }
    }

    /// How many partitions the topic has.
    pub(in crate::kafka) fn partitions(self, wait: Duration) -> Result<u32, Fault> {
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
    pub(in crate::kafka) fn extents(
        self,
        partitions: &[u32],
        wait: Duration,
    ) -> Result<Vec<Extent>, Fault> {
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
    pub(in crate::kafka) fn topic_id(self, wait: Duration) -> Result<Option<String>, Fault> {
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
