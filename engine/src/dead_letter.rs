//! Dead letters: records that were refused, with the reason and the bytes, so that nothing is
//! dropped in silence.
//!
//! [`DeadLetters`] keeps the newest in the embedded database and counts all of them by reason;
//! beside them it keeps which records were copied to the log (`copy_marks`). It does not decide what
//! is refused and never interprets the bytes.

mod copy_marks;

pub use copy_marks::{CopyNotes, LetterPage, LookedThrough};

use crate::config::Durability;
use crate::database::{Database, DatabaseError, Keyspace, ReadFault, Shape};
use crate::event::{Record, RecordPlace};
use copy_marks::ChangedRows;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A payload longer than this is kept only in part.
pub const WHOLE: usize = 64 << 10;
/// How much is kept of one that is longer.
pub const PART: usize = 1 << 10;

/// Reasons that begin so are no verdict on a record: a metric's own code failed on an event.
pub const PLUGIN_FAILED: &str = "plugin_failed:";
/// No verdict on a record, either: the engine's own work on an event failed.
pub const INTERNAL_ERROR: &str = "internal_error";

/// A refused record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The stable word: `invalid_json`, `plugin_failed:<metric>` …
    pub reason: Box<str>,
    /// Where it was read.
    pub topic: Box<str>,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// The record's own timestamp, Unix milliseconds.
    pub timestamp_ms: i64,
    /// SHA-256 of the whole payload.
    pub sha256: [u8; 32],
    /// The payload; of one over [`WHOLE`] bytes the first [`PART`].
    pub bytes: Box<[u8]>,
    /// Length of the whole payload, bytes.
    pub length: u64,
    /// Where its record first was, as text, if that is a copy.
    pub origin: Option<Box<str>>,
}

/// Stored form: this byte, then partition (4), offset (8), timestamp (8), length (8), hash (32),
/// lengths of reason (2) and topic (2), all big-endian; then reason, topic, bytes to the end.
const FORMAT: u8 = 1;
/// The same with an origin: before the bytes stand its length (2) and the origin.
const OF_COPY: u8 = 2;
const HEAD: usize = 65;

impl DeadLetter {
    /// A letter of a payload (`None`: a tombstone).
    #[must_use]
    pub fn new(
        reason: &str,
        topic: &str,
        partition: u32,
        offset: u64,
        timestamp_ms: i64,
        payload: Option<&[u8]>,
    ) -> DeadLetter {
        let payload = payload.unwrap_or_default();
        let kept = if payload.len() > WHOLE { &payload[..PART] } else { payload };
        DeadLetter {
            reason: reason.into(),
            topic: topic.into(),
            partition,
            offset,
            timestamp_ms,
            sha256: Sha256::digest(payload).into(),
            bytes: kept.into(),
            length: payload.len() as u64,
            origin: None,
        }
    }

    /// A letter of a record.
    #[must_use]
    pub fn of(reason: &str, topic: &str, partition: u32, record: &Record<'_>) -> DeadLetter {
        let Record { offset, timestamp_ms, payload, origin } = *record;
        let letter = DeadLetter::new(reason, topic, partition, offset, timestamp_ms, payload);
        DeadLetter { origin: origin.map(|origin| origin.place.into()), ..letter }
    }

    /// Where its record was.
    #[must_use]
    pub fn place(&self) -> RecordPlace<'_> {
        RecordPlace { topic: &self.topic, partition: self.partition, offset: self.offset }
    }

    /// Memory it takes, bytes, about.
    #[must_use]
    pub fn size(&self) -> usize {
        let origin = self.origin.as_ref().map_or(0, |origin| origin.len());
        size_of::<DeadLetter>() + self.reason.len() + self.topic.len() + self.bytes.len() + origin
    }

    /// The stored form. Reason and topic beyond 65,535 bytes (Kafka allows 249) are cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let cut = |text: &str| text.len().min(usize::from(u16::MAX)) as u16;
        let (reason, topic) = (cut(&self.reason), cut(&self.topic));
        let mut out = Vec::with_capacity(HEAD + self.size());
        out.push(if self.origin.is_some() { OF_COPY } else { FORMAT });
        out.extend_from_slice(&self.partition.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&self.timestamp_ms.to_be_bytes());
        out.extend_from_slice(&self.length.to_be_bytes());
        out.extend_from_slice(&self.sha256);
        out.extend_from_slice(&reason.to_be_bytes());
        out.extend_from_slice(&topic.to_be_bytes());
        out.extend_from_slice(&self.reason.as_bytes()[..usize::from(reason)]);
        out.extend_from_slice(&self.topic.as_bytes()[..usize::from(topic)]);
        if let Some(origin) = &self.origin {
            let length = cut(origin);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(&origin.as_bytes()[..usize::from(length)]);
        }
        out.extend_from_slice(&self.bytes);
        out
    }

    /// Reads the stored form; `None` if it is damaged or of an unknown format.
    #[must_use]
    pub fn decode(stored: &[u8]) -> Option<DeadLetter> {
        let mut rest = stored;
        let [format @ (FORMAT | OF_COPY)] = take(&mut rest)? else { return None };
        let partition = u32::from_be_bytes(take(&mut rest)?);
        let offset = u64::from_be_bytes(take(&mut rest)?);
        let timestamp_ms = i64::from_be_bytes(take(&mut rest)?);
        let length = u64::from_be_bytes(take(&mut rest)?);
        let sha256 = take(&mut rest)?;
        let reason = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let topic = usize::from(u16::from_be_bytes(take(&mut rest)?));
        let (reason, rest) = rest.split_at_checked(reason)?;
        let (topic, mut bytes) = rest.split_at_checked(topic)?;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(Box::from);
        let mut origin = None;
        if format == OF_COPY {
            let length = usize::from(u16::from_be_bytes(take(&mut bytes)?));
            let (found, rest) = bytes.split_at_checked(length)?;
            (origin, bytes) = (Some(text(found)?), rest);
        }
        Some(DeadLetter {
            reason: text(reason)?,
            topic: text(topic)?,
            partition,
            offset,
            timestamp_ms,
            sha256,
            bytes: bytes.into(),
            length,
            origin,
        })
    }

    /// The key of its row.
    fn row(&self) -> Vec<u8> {
        letter_row(&self.reason, self.place())
    }
}

/// The key of the row of a letter: what makes it this one and no other, so that a record that is
/// read again makes the same one.
fn letter_row(reason: &str, place: RecordPlace<'_>) -> Vec<u8> {
    let RecordPlace { topic, partition, offset } = place;
    let mut key = Vec::with_capacity(14 + reason.len() + topic.len());
    key.push(IDENTITY);
    key.extend_from_slice(&partition.to_be_bytes());
    key.extend_from_slice(&offset.to_be_bytes());
    key.extend_from_slice(reason.as_bytes());
    key.push(0);
    key.extend_from_slice(topic.as_bytes());
    key.truncate(usize::from(u16::MAX));
    key
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

/// Letters that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newest {
    /// Newest first.
    pub letters: Vec<DeadLetter>,
    /// Whether older ones were not looked at, because there was too much in between.
    pub partial: bool,
}

/// Stored bytes that one question looks through at most, about: some tenths of a second.
pub const SEARCH: usize = 64 << 20;

/// The newest letters on disk, and how many there were.
pub struct DeadLetters {
    database: Database,
    /// Sequence number → letter.
    letters: Keyspace,
    /// Identity → sequence number, of those kept; under [`COUNT`] the counters; and what
    /// `copy_marks` has.
    rows: Keyspace,
    capacity: u64,
    state: Mutex<LetterIndex>,
}

/// Sequence numbers `first..next` are kept.
#[derive(Clone, Default)]
struct LetterIndex {
    first: u64,
    next: u64,
    counts: BTreeMap<Box<str>, u64>,
    /// A write failed and may have been applied: this is read again before the next one.
    stale: bool,
}

const IDENTITY: u8 = b'i';
const COUNT: u8 = b'c';

impl DeadLetters {
    /// Opens the letters of a database; keeps the newest `capacity`.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn open(database: &Database, capacity: u64) -> Result<DeadLetters, DatabaseError> {
        let letters = database.keyspace("dead-letters", Shape::Values)?;
        let rows = database.keyspace("dead-letters-rows", Shape::Rows)?;
        let state = Mutex::new(stored(database, &letters, &rows)?);
        Ok(DeadLetters { database: database.clone(), letters, rows, capacity, state })
    }

    /// Stores letters, the oldest beyond the capacity make room. A letter that is still kept (the
    /// same record, or the one of which it is a copy, with the same reason) is neither stored nor
    /// counted again. Survives the end of the process. How many are new, by reason.
    ///
    /// # Errors
    /// [`DatabaseError`]: letters may be put again.
    pub fn put(&self, letters: &[DeadLetter]) -> Result<BTreeMap<Box<str>, u64>, DatabaseError> {
        let mut state = self.state.lock();
        self.database.mended()?;
        if state.stale {
            *state = stored(&self.database, &self.letters, &self.rows)?;
        }
        let before = state.counts.clone();
        // No group makes room for itself, so what is removed is always on disk already.
        let group = usize::try_from(self.capacity).unwrap_or(usize::MAX).clamp(1, 1_000);
        for group in letters.chunks(group) {
            match self.put_group(&state, group) {
                Ok(put) => *state = put,
                Err(fault) => {
                    state.stale = !fault.wrote_nothing();
                    return Err(fault);
                }
            }
        }
        let known = |reason: &str| before.get(reason).copied().unwrap_or(0);
        let counts =
            state.counts.iter().map(|(reason, count)| (reason.clone(), count - known(reason)));
        Ok(counts.filter(|(_, new)| *new > 0).collect())
    }

    fn put_group(
        &self,
        state: &LetterIndex,
        letters: &[DeadLetter],
    ) -> Result<LetterIndex, DatabaseError> {
        let mut state = state.clone();
        let mut batch = self.database.batch();
        let mut rows = ChangedRows::default();
        let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
        for letter in letters {
            let row = letter.row();
            let is_kept = self.rows.contains_key(&row)? || self.keeps_origin(letter)?;
            if is_kept || !rows.added.insert(row.clone()) {
                continue;
            }
            *counted.entry(&letter.reason).or_default() += 1;
            if self.capacity > 0 {
                batch.insert(&self.letters, state.next.to_be_bytes(), letter.encode());
                batch.insert(&self.rows, row, state.next.to_be_bytes());
                state.next += 1;
            }
        }
        for (reason, more) in counted {
            let count = state.counts.entry(reason.into()).or_default();
            *count += more;
            batch.insert(&self.rows, [&[COUNT], reason.as_bytes()].concat(), count.to_be_bytes());
        }
        while state.next - state.first > self.capacity {
            let oldest = state.first.to_be_bytes();
            if let Some(letter) =
                self.letters.get(oldest)?.and_then(|stored| DeadLetter::decode(&stored))
            {
                let row = letter.row();
                batch.remove(&self.rows, row.clone());
                rows.removed.insert(row);
                self.forget_marks(&letter, &rows, &mut batch)?;
            }
            batch.remove(&self.letters, oldest);
            state.first += 1;
        }
        if !batch.is_empty() {
            self.database.commit(batch, Durability::Process)?;
        }
        Ok(state)
    }

    /// Whether the letter of the record of which this one's is a copy is kept, with the same reason
    /// and bytes. Headers are whatever somebody wrote: a copy with other bytes is none.
    fn keeps_origin(&self, letter: &DeadLetter) -> Result<bool, DatabaseError> {
        let origin = letter.origin.as_deref().and_then(RecordPlace::parse);
        let Some(origin) = origin else { return Ok(false) };
        let Some(kept) = self.rows.get(letter_row(&letter.reason, origin))? else {
            return Ok(false);
        };
        let kept = self.letters.get(&kept)?.and_then(|stored| DeadLetter::decode(&stored));
        Ok(kept.is_some_and(|kept| kept.sha256 == letter.sha256))
    }

    /// The newest letters (of one reason, if told), newest first, at most `limit`. Looks through
    /// [`SEARCH`] bytes and no more.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn newest(&self, limit: usize, reason: Option<&str>) -> Result<Newest, DatabaseError> {
        let mut newest = Newest { letters: Vec::new(), partial: false };
        let mut searched = 0;
        for row in self.letters.iter()?.rev() {
            if newest.letters.len() >= limit {
                break;
            }
            if searched > SEARCH {
                newest.partial = true;
                break;
            }
            let stored = row.value().map_err(|reason| self.database.failed(&reason))?;
            searched += stored.len();
            match DeadLetter::decode(&stored) {
                Some(letter) if reason.is_none_or(|reason| *letter.reason == *reason) => {
                    newest.letters.push(letter)
                }
                Some(_) => {}
                None => tracing::warn!(
                    "a stored dead letter cannot be read (damaged, or written by a newer version); \
                     it is left out"
                ),
            }
        }
        Ok(newest)
    }

    /// How many there were by reason since the database was created, those no longer kept included.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Box<str>, u64> {
        self.state.lock().counts.clone()
    }

    /// How many are kept.
    #[must_use]
    pub fn kept(&self) -> u64 {
        let state = self.state.lock();
        state.next - state.first
    }

    /// How many are no longer kept.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        let state = self.state.lock();
        state.counts.values().sum::<u64>().saturating_sub(state.next - state.first)
    }
}

/// What the rows say.
fn stored(
    database: &Database,
    letters: &Keyspace,
    rows: &Keyspace,
) -> Result<LetterIndex, DatabaseError> {
    let fault = |reason: ReadFault| database.failed(&reason);
    let mut state = LetterIndex::default();
    if let Some(last) = letters.iter()?.next_back() {
        state.next = number(&last.key().map_err(fault)?) + 1;
        state.first = state.next;
    }
    if let Some(first) = letters.iter()?.next() {
        state.first = number(&first.key().map_err(fault)?);
    }
    for row in rows.prefix([COUNT])? {
        let (key, value) = row.into_inner().map_err(fault)?;
        state.counts.insert(String::from_utf8_lossy(&key[1..]).into(), number(&value));
    }
    Ok(state)
}

/// A stored number; one of a wrong length is 0.
fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_be_bytes)
}

#[cfg(test)]
#[path = "dead_letter_tests.rs"]
mod tests;
