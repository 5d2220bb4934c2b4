//! What librdkafka hands out: texts, error objects, lists of partitions, messages.
//!
//! Promises: what has to be destroyed is destroyed exactly once, by what owns it here. Asks no
//! broker.
#![allow(unsafe_code)] // they are pointers into C

use super::fault::{Fault, Kind, kind};
use rdkafka::message::BorrowedMessage;
use rdkafka_sys as rds;
use rdkafka_sys::rd_kafka_resp_err_t as Code;
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr;

/// What librdkafka calls a fault of this number.
pub(super) fn describe(code: Code) -> String {
    // SAFETY: returns a static text for every code, ending with a zero.
    unsafe { text(rds::rd_kafka_err2str(code)) }
}

/// A copy of a text of librdkafka's; empty for none.
///
/// # Safety
/// `text` is null or points to a text that ends with a zero and stays during the call.
pub(super) unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and as promised.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The result that an error object stands for; destroys it.
///
/// # Safety
/// `error` is null or an error object that is ours to destroy; it is used no more afterwards.
pub(super) unsafe fn result_of(error: *mut rds::rd_kafka_error_t) -> Result<(), Fault> {
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
pub(super) struct List(pub(super) *mut rds::rd_kafka_topic_partition_list_t);

impl List {
    pub(super) fn new(topic: &CStr, partitions: impl IntoIterator<Item = (i32, i64)>) -> List {
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

/// A message, valid until the batch it came in is dropped.
#[derive(Clone, Copy)]
pub(in crate::kafka) struct Message<'a> {
    raw: &'a rds::rd_kafka_message_t,
}

/// The headers of a message, which lasts longer.
#[derive(Clone, Copy)]
pub(in crate::kafka) struct MessageHeaders<'a> {
    list: ptr::NonNull<rds::rd_kafka_headers_t>,
    of: PhantomData<Message<'a>>,
}

impl<'a> MessageHeaders<'a> {
    /// The value of the last header of a name; `None` where there is no such header, or it has no
    /// value.
    pub(in crate::kafka) fn last(self, name: &CStr) -> Option<&'a [u8]> {
        let (mut value, mut size) = (ptr::null(), 0);
        // SAFETY: the list is the message's, which is alive; the name ends with a zero, and the
        // call writes only value and size.
        let code = unsafe {
            rds::rd_kafka_header_get_last(self.list.as_ptr(), name.as_ptr(), &mut value, &mut size)
        };
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR || value.is_null() {
            return None;
        }
        // SAFETY: not null; librdkafka keeps `size` bytes there until the message is destroyed,
        // which `'a` precedes.
        Some(unsafe { std::slice::from_raw_parts(value.cast(), size) })
    }
}

/// Whether a message that a producer could not deliver is certainly not in the log: of no attempt
/// at it the outcome is unknown.
pub(in crate::kafka) fn is_unwritten(message: &BorrowedMessage<'_>) -> bool {
    // SAFETY: the message is alive while it is borrowed, and the call only reads it.
    let status = unsafe { rds::rd_kafka_message_status(message.ptr()) };
    status == rds::rd_kafka_msg_status_t::RD_KAFKA_MSG_STATUS_NOT_PERSISTED
}

/// Messages in the order fetched; destroyed when dropped.
pub(in crate::kafka) struct Batch<'a> {
    pub(super) messages: &'a mut [*mut rds::rd_kafka_message_t],
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
    pub(in crate::kafka) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(in crate::kafka) fn iter(&self) -> impl Iterator<Item = Message<'_>> {
        // SAFETY: as for `drop`; they live as long as the batch is borrowed.
        self.messages.iter().map(|message| Message { raw: unsafe { &**message } })
    }
}

impl<'a> Message<'a> {
    pub(in crate::kafka) fn partition(self) -> u32 {
        self.raw.partition as u32
    }

    pub(in crate::kafka) fn offset(self) -> u64 {
        self.raw.offset as u64
    }

    pub(in crate::kafka) fn timestamp_ms(self) -> i64 {
        let mut kind = rds::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, and the call writes only `kind`.
        unsafe { rds::rd_kafka_message_timestamp(self.raw, &mut kind) }
    }

    /// `None` is a tombstone.
    pub(in crate::kafka) fn payload(self) -> Option<&'a [u8]> {
        if self.raw.payload.is_null() {
            return None;
        }
        // SAFETY: not null; librdkafka keeps `len` bytes there until the message is destroyed,
        // which `'a` precedes.
        Some(unsafe { std::slice::from_raw_parts(self.raw.payload.cast(), self.raw.len) })
    }

    /// Its headers; `None` where it has none, which costs one look at the message.
    #[inline]
    pub(in crate::kafka) fn headers(self) -> Option<MessageHeaders<'a>> {
        let mut headers = ptr::null_mut();
        // SAFETY: the message is alive, and the call writes only `headers`: what it takes apart
        // belongs to the message and stays until that is destroyed, which `'a` precedes.
        let code = unsafe { rds::rd_kafka_message_headers(self.raw, &mut headers) };
        let found = code == Code::RD_KAFKA_RESP_ERR_NO_ERROR;
        found
            .then(|| ptr::NonNull::new(headers))
            .flatten()
            .map(|list| MessageHeaders { list, of: PhantomData })
    }

    pub(in crate::kafka) fn fault(self) -> Option<Fault> {
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
