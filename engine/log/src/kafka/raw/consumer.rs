//! A consumer over librdkafka's batch call.
//!
//! Promises: callbacks run inside `poll`, on the polling thread, and a panic of theirs goes on
//! there; the client is destroyed exactly once, before what its callbacks point to. Closing it may
//! leave it behind where librdkafka hangs.
#![allow(unsafe_code)] // the batch call exists only in librdkafka's C interface

use super::callbacks::{FAULTS, Hook, Rebalance, on_error, on_log, on_rebalance};
use super::client::Client;
use super::fault::{Fault, checked};
use super::millis;
use super::objects::{Batch, List, result_of, text};
use crate::kafka::settings::Settings;
use rdkafka_sys as rds;
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use std::ffi::{CString, c_char};
use std::panic::resume_unwind;
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

/// A consumer. Closed by `close`; dropping it closes it too.
pub(in crate::kafka) struct Consumer {
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

impl Consumer {
    pub(in crate::kafka) fn new(settings: &Settings, topic: &str) -> Result<Consumer, String> {
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

    pub(in crate::kafka) fn client(&self) -> Client<'_> {
        Client { client: self.client, topic: &self.topic }
    }

    /// Joins the group.
    pub(in crate::kafka) fn subscribe(&mut self) -> Result<(), Fault> {
        let list = List::new(&self.topic, [(-1, i64::from(rds::RD_KAFKA_OFFSET_INVALID))]);
        // SAFETY: client and list are alive; the list is copied.
        checked(unsafe { rds::rd_kafka_subscribe(self.client, list.0) })
    }

    /// Wakes librdkafka to go on joining the group. By itself its main thread does so once a second
    /// while nothing else wakes it, though the broker has long answered; any question about the
    /// group wakes it.
    pub(in crate::kafka) fn nudge(&self) {
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
    pub(in crate::kafka) fn assign(&mut self, partitions: &[(u32, i64)]) -> Result<(), Fault> {
        let list = self.list(partitions);
        // SAFETY: as for `subscribe`.
        checked(unsafe { rds::rd_kafka_assign(self.client, list.0) })
    }

    /// Reads these partitions too, outside any group.
    pub(in crate::kafka) fn add(&mut self, partitions: &[(u32, i64)]) -> Result<(), Fault> {
        if partitions.is_empty() {
            return Ok(());
        }
        let list = self.list(partitions);
        // SAFETY: as for `subscribe`; the call returns an error object or null.
        unsafe { result_of(rds::rd_kafka_incremental_assign(self.client, list.0)) }
    }

    /// Stops reading these.
    pub(in crate::kafka) fn unassign(&mut self, partitions: &[u32]) -> Result<(), Fault> {
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
    pub(in crate::kafka) fn poll(
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

    pub(in crate::kafka) fn pause(&mut self, partition: u32) -> Result<(), Fault> {
        let list = self.list(&[(partition, i64::from(rds::RD_KAFKA_OFFSET_INVALID))]);
        // SAFETY: as for `subscribe`.
        checked(unsafe { rds::rd_kafka_pause_partitions(self.client, list.0) })
    }

    pub(in crate::kafka) fn resume(&mut self, partition: u32) -> Result<(), Fault> {
        let list = self.list(&[(partition, i64::from(rds::RD_KAFKA_OFFSET_INVALID))]);
        // SAFETY: as for `subscribe`.
        checked(unsafe { rds::rd_kafka_resume_partitions(self.client, list.0) })
    }

    /// Takes a held partition up again at `offset`. Not `seek`, which fails after an offset was out
    /// of range. Where giving it up fails because an earlier restart got no further than that,
    /// taking it up is what counts.
    pub(in crate::kafka) fn restart(&mut self, partition: u32, offset: i64) -> Result<(), Fault> {
        let list = self.list(&[(partition, offset)]);
        // SAFETY: as for `subscribe`; both calls return an error object or null.
        unsafe {
            let given_up = result_of(rds::rd_kafka_incremental_unassign(self.client, list.0));
            result_of(rds::rd_kafka_incremental_assign(self.client, list.0))
                .map_err(|fault| given_up.err().unwrap_or(fault))
        }
    }

    /// Tells the broker offsets, without waiting.
    pub(in crate::kafka) fn commit(&mut self, offsets: &[(u32, i64)]) -> Result<(), Fault> {
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
    pub(in crate::kafka) fn close(mut self, limit: Duration) -> bool {
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
