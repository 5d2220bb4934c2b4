//! Adding events to the log on behalf of a caller: judged one by one, keyed by user, acknowledged.

use super::{AppendError, Appended, Engine};
use crate::event::Position;
use crate::failpoint::point;
use crate::source::embedded::Log;
use crate::source::kafka::Producer;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where appended events go.
pub(super) enum Appender {
    Log(Arc<Log>),
    Kafka(Box<Producer>),
}

impl Appender {
    /// Whether events can be appended, as far as is known without appending any; why not.
    pub(super) fn writing(&self) -> Result<String, String> {
        match self {
            Appender::Log(log) => log.writable().map(|()| String::new()).map_err(|fault| fault.to_string()),
            Appender::Kafka(producer) => producer.writing(),
        }
    }
}

impl Engine {
    /// Validates events, then appends those that pass to the log, keyed by user, and waits until they are durable there.
    /// Blocks.
    ///
    /// # Errors
    /// [`AppendError`]: none, or an unknown part of them, was written.
    pub fn append(&self, events: &[&[u8]]) -> Result<Appended, AppendError> {
        let now = jiff::Timestamp::now().as_millisecond();
        let mut appended = Appended::default();
        let mut passed: Vec<(Box<str>, &[u8])> = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            match self.checker.check(event, now) {
                Ok(checked) => passed.push((checked.user_id.unwrap_or_default(), event)),
                Err(reason) => appended.rejected.push((index, reason.to_string())),
            }
        }
        appended.accepted = passed.len() as u64;
        if passed.is_empty() {
            return Ok(appended);
        }
        point("append.begin");
        appended.position = match &self.appender {
            Appender::Log(log) => append_to_log(log, &passed, now)?,
            Appender::Kafka(producer) => {
                let records: Vec<(&[u8], &[u8])> =
                    passed.iter().map(|(user, event)| (user.as_bytes(), *event)).collect();
                Position(producer.send(&records).map_err(|fault| AppendError(fault.to_string()))?)
            }
        };
        point("append.done");
        Ok(appended)
    }
}

fn append_to_log(log: &Log, events: &[(Box<str>, &[u8])], now: i64) -> Result<Position, AppendError> {
    let mut parts: BTreeMap<u32, Vec<(&[u8], i64)>> = BTreeMap::new();
    for (user, event) in events {
        parts.entry(log.partition_of(user.as_bytes())).or_default().push((event, now));
    }
    let slices: Vec<(u32, &[(&[u8], i64)])> =
        parts.iter().map(|(partition, events)| (*partition, events.as_slice())).collect();
    let ends = log.append_all(&slices).map_err(|fault| AppendError(fault.to_string()))?;
    Ok(Position(slices.iter().map(|(partition, _)| *partition).zip(ends).collect()))
}
