//! Events that were, backwards from a position; and one record as it came, with its verdict.
//!
//! Everything here reads the log anew and judges by today's `[events]`. A page reads only so far
//! and so long: what it has found by then is the answer, and says where the next one goes on. It
//! shows accepted records as the log holds them; whether one repeats another is told of a single
//! record only, for which all of the dedupe window before it is read.

use super::{Engine, ReadLogError};
use crate::decode::{Decoder, DedupeWindow, FeedFields, MAX_RECORDS};
use crate::event::{EventBatch, Position, Record};
use crate::feed::FeedFilter;
use crate::log::{Log, LogError, LogRecord};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Records that a page reads at most.
const RECORDS: u64 = 200_000;

/// How long a page may be read for.
const PAGE_TIME: Duration = Duration::from_secs(2);

/// Bytes of events in a page, and at most one event more.
const PAGE_BYTES: usize = 4 << 20;

/// Bytes of events of all partitions that wait for their place in a page.
const WAITING_BYTES: usize = 16 << 20;

/// Records of a partition that are read first, and at most, at a time.
const FIRST_STEP: u64 = 256;
const LONGEST_STEP: u64 = 8_192;

/// Bytes of records that are read at a time, and at most a batch more: beyond it fewer records are.
const STEP_BYTES: usize = 8 << 20;

/// How long the dedupe window before a record may be read for.
const WINDOW_TIME: Duration = Duration::from_secs(5);

/// Which events a page is to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// Those before this position; of a partition that it does not name, all. `None`: of none.
    pub before: Option<Position>,
    /// Most events.
    pub limit: usize,
    /// Which.
    pub filter: FeedFilter,
}

/// An event that was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEvent {
    /// Its partition.
    pub partition: u32,
    /// The offset after its record.
    pub next: u64,
    /// The record's own timestamp, Unix milliseconds.
    pub timestamp_ms: i64,
    /// The event as mapped, a JSON object without line breaks.
    pub event: String,
}

/// Some events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPage {
    /// Newest first by their records' timestamps; in a partition always in the order of the log. If
    /// not even a little of each partition could be read in time: of those that were read.
    pub events: Vec<PastEvent>,
    /// `before` of the next page; `None`: there is nothing before these.
    pub next: Option<Position>,
}

/// What there is at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundRecord {
    /// A record.
    Judged(JudgedRecord),
    /// None. The partition holds the offsets from `start` to `end`, some of which have no record.
    NotHeld {
        /// First offset held.
        start: u64,
        /// Offset after the last.
        end: u64,
    },
}

/// A record with its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgedRecord {
    /// The record as it came.
    pub record: LogRecord,
    /// Name of its topic.
    pub topic: String,
    /// What it is.
    pub verdict: RecordVerdict,
}

/// What a record is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordVerdict {
    /// An event, as mapped.
    Event(String),
    /// An event whose `event_id`, or the record that it is a copy of, stands within the dedupe
    /// window before it.
    Duplicate,
    /// No event, for this reason.
    Refused(String),
}

impl Engine {
    /// Events before a position, newest first. Blocks for some seconds at most.
    ///
    /// # Errors
    /// [`ReadLogError::Log`].
    pub fn events_before(&self, request: &PageRequest) -> Result<EventPage, ReadLogError> {
        let until = Instant::now() + PAGE_TIME;
        let left = PageBudget { records: RECORDS, until, step_bytes: STEP_BYTES };
        Ok(page(&*self.log, &self.checker, request, left)?)
    }

    /// One record with its verdict. Blocks for some seconds at most.
    ///
    /// # Errors
    /// [`ReadLogError`].
    pub fn record(&self, partition: u32, offset: u64) -> Result<FoundRecord, ReadLogError> {
        let (log, window) = (&*self.log, self.events.dedupe_window);
        judged(log, &self.checker, window, (partition, offset))
    }
}

/// What a page may still cost.
struct PageBudget {
    records: u64,
    until: Instant,
    step_bytes: usize,
}

/// Reads partitions backwards.
struct BackwardReader<'a> {
    log: &'a dyn Log,
    decoder: &'a Decoder,
    filter: &'a FeedFilter,
    left: PageBudget,
    /// Bytes of events of one partition that may wait.
    waiting: usize,
    /// Whether something was read for this page: until then its time does not end it.
    any: bool,
}

/// A partition that is read backwards.
struct BackwardPart {
    partition: u32,
    start: u64,
    /// What comes before it was not read.
    unread: u64,
    step: u64,
    /// What was read and is in no page yet, the newest last.
    ready: VecDeque<PastEvent>,
}

impl BackwardPart {
    /// Whether its newest event, or that there is none, is still to be found.
    fn is_open(&self) -> bool {
        self.ready.is_empty() && self.unread > self.start
    }

    /// Where the next page goes on.
    fn next(&self) -> u64 {
        self.ready.back().map_or(self.unread, |event| event.next)
    }

    fn is_done(&self) -> bool {
        self.ready.is_empty() && self.unread <= self.start
    }
}

fn page(
    log: &dyn Log,
    decoder: &Decoder,
    request: &PageRequest,
    left: PageBudget,
) -> Result<EventPage, LogError> {
    let bounds = log.bounds()?;
    let before = |partition| request.before.as_ref().and_then(|at| at.0.get(partition)).copied();
    let mut parts: Vec<BackwardPart> = bounds
        .iter()
        .map(|held| BackwardPart {
            partition: held.partition,
            start: held.start,
            unread: before(&held.partition).unwrap_or(held.end).clamp(held.start, held.end),
            step: FIRST_STEP,
            ready: VecDeque::new(),
        })
        .collect();
    let waiting = WAITING_BYTES / parts.len().max(1);
    let filter = &request.filter;
    let mut reader = BackwardReader { log, decoder, filter, left, waiting, any: false };
    let begun: Vec<u64> = parts.iter().map(BackwardPart::next).collect();
    let (mut page, mut bytes) = (EventPage::default(), 0);
    while page.events.len() < request.limit && bytes < PAGE_BYTES {
        // Which one is the newest is known once the newest of each partition is.
        let known = reader.fill(&mut parts)?;
        // A page that stood where it began would be read again and again.
        let stands = !known && parts.iter().map(BackwardPart::next).eq(begun.iter().copied());
        let newest = parts.iter_mut().max_by_key(|part| {
            part.ready.back().map(|event| (event.timestamp_ms, Reverse(part.partition)))
        });
        let newest = newest.filter(|_| known || stands);
        let Some(event) = newest.and_then(|part| part.ready.pop_back()) else { break };
        bytes += event.event.len();
        page.events.push(event);
    }
    if !parts.iter().all(BackwardPart::is_done) {
        let next = parts.iter().map(|part| (part.partition, part.next()));
        page.next = Some(Position(next.collect()));
    }
    Ok(page)
}

impl BackwardReader<'_> {
    /// Reads until the newest event of each partition is known, or that there is none, a step of
    /// each in turn. Returns whether it is.
    fn fill(&mut self, parts: &mut [BackwardPart]) -> Result<bool, LogError> {
        loop {
            let mut read = false;
            for part in parts.iter_mut().filter(|part| part.is_open()) {
                // Each partition is read a little for each page, so that pages always come to an
                // end: but for its time.
                if self.is_late() || (self.left.records == 0 && part.step > FIRST_STEP) {
                    continue;
                }
                self.step(part)?;
                read = true;
            }
            if !read {
                return Ok(!parts.iter().any(BackwardPart::is_open));
            }
        }
    }

    /// Whether the time of the page is over, and it has something.
    fn is_late(&self) -> bool {
        self.any && Instant::now() >= self.left.until
    }

    /// Reads some records before those that were read. If they are too many bytes, or there is no
    /// time for all of them, what was read of them is of no use: the newest come last. Then fewer
    /// are to be read.
    fn step(&mut self, part: &mut BackwardPart) -> Result<(), LogError> {
        let (partition, to, step) = (part.partition, part.unread, part.step);
        let from = to.saturating_sub(step).max(part.start);
        part.unread = from;
        part.step = (step * 2).min(LONGEST_STEP);
        let mut reader = self.log.range(partition, from, to)?;
        let (mut bytes, mut all) = (0, 0);
        loop {
            let records = reader.batch()?;
            let Some(last) = records.last() else {
                self.any = true;
                return Ok(());
            };
            let payloads = records.iter().filter_map(|record| record.payload.as_ref());
            all += payloads.map(Vec::len).sum::<usize>();
            let rest = to.saturating_sub(last.offset + 1);
            if rest > 0 && (all > self.left.step_bytes || self.is_late()) {
                part.ready.clear();
                (part.unread, part.step) = (to, ((to - from - rest) / 2).clamp(1, rest));
                return Ok(());
            }
            self.left.records = self.left.records.saturating_sub(records.len() as u64);
            for event in records.iter().filter_map(|record| self.event(partition, record)) {
                bytes += event.event.len();
                part.ready.push_back(event);
                // The oldest are read again when it is their turn.
                while bytes > self.waiting && part.ready.len() > 1 {
                    let Some(oldest) = part.ready.pop_front() else { break };
                    bytes -= oldest.event.len();
                    part.unread = oldest.next;
                }
            }
        }
    }

    fn event(&self, partition: u32, record: &LogRecord) -> Option<PastEvent> {
        let payload = record.payload.as_deref()?;
        let fields = self.decoder.feed_event(payload, record.borrowed().event_ms()).ok()?;
        let FeedFields { event, event_type, user, product } = fields;
        let wanted = self.filter.wants(&event_type, &user, &product);
        let (next, timestamp_ms) = (record.offset + 1, record.timestamp_ms);
        wanted.then_some(PastEvent { partition, next, timestamp_ms, event })
    }
}

fn judged(
    log: &dyn Log,
    decoder: &Decoder,
    window: u64,
    (partition, offset): (u32, u64),
) -> Result<FoundRecord, ReadLogError> {
    let held = log.bounds()?.into_iter().find(|held| held.partition == partition);
    let held = held.ok_or(ReadLogError::NoPartition(partition))?;
    let not_held = FoundRecord::NotHeld { start: held.start, end: held.end };
    if !(held.start..held.end).contains(&offset) {
        return Ok(not_held);
    }
    let records = log.range(partition, offset, offset + 1)?.batch()?;
    let Some(record) = records.into_iter().find(|record| record.offset == offset) else {
        return Ok(not_held);
    };
    let payload = record.payload.as_deref().unwrap_or_default();
    let event_ms = record.borrowed().event_ms();
    let checked = decoder.check(payload, event_ms);
    let verdict = match decoder.feed_event(payload, event_ms) {
        Err(reason) => RecordVerdict::Refused(reason.to_string()),
        Ok(fields) => {
            let has_id =
                record.origin.is_some() || checked.is_ok_and(|checked| checked.event_id.is_some());
            let from = offset.saturating_sub(window).max(held.start);
            if has_id && window > 0 && repeats(log, decoder, window, (partition, from, offset))? {
                RecordVerdict::Duplicate
            } else {
                RecordVerdict::Event(fields.event)
            }
        }
    };
    let topic = log.name().to_owned();
    Ok(FoundRecord::Judged(JudgedRecord { record, topic, verdict }))
}

/// Whether an event repeats one of the records from `from` on before it.
fn repeats(
    log: &dyn Log,
    decoder: &Decoder,
    window: u64,
    (partition, from, offset): (u32, u64, u64),
) -> Result<bool, ReadLogError> {
    let until = Instant::now() + WINDOW_TIME;
    let (mut decoder, mut seen) = (decoder.fresh(), DedupeWindow::new(window));
    let (mut batch, mut refused) = (EventBatch::default(), Vec::new());
    let mut reader = log.range(partition, from, offset + 1)?;
    loop {
        let records = reader.batch()?;
        if records.is_empty() {
            return Ok(!batch.offsets.contains(&offset));
        }
        if Instant::now() >= until {
            return Err(ReadLogError::TooSlow);
        }
        let records: Vec<Record<'_>> = records.iter().map(LogRecord::borrowed).collect();
        for records in records.chunks(MAX_RECORDS) {
            refused.clear();
            decoder.decode(partition, records, &mut seen, offset, &mut batch, &mut refused);
        }
    }
}

#[cfg(test)]
#[path = "events_back_tests.rs"]
mod tests;
