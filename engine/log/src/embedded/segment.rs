//! A segment of the log: one keyspace that holds consecutive batches of every partition and is
//! dropped as a whole.
//!
//! Also the rows that describe segments in the keyspace `log`, written in the same batch as the
//! records: `c` partition count · `n` partition → next offset · `s` segment → bytes, newest
//! timestamp, when begun · `r` segment, partition → first and next offset. Numbers big-endian, so
//! that keys sort by value.

use tally_database::{Batch, Database, DatabaseError, Keyspace, Shape};

/// Offsets `[start, next)` of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) next: u64,
}

impl Range {
    pub(super) fn is_empty(self) -> bool {
        self.start == self.next
    }

    pub(super) fn contains(self, offset: u64) -> bool {
        (self.start..self.next).contains(&offset)
    }
}

/// A segment that is held.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) keyspace: Keyspace,
    /// Bytes of its values.
    pub(super) bytes: u64,
    /// Largest record timestamp, Unix milliseconds.
    pub(super) newest: i64,
    /// When it was begun, Unix milliseconds.
    pub(super) begun: i64,
    /// By partition.
    pub(super) ranges: Vec<Range>,
}

/// Key of a batch within its segment.
pub(super) fn key(partition: u32, base: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&partition.to_be_bytes());
    key[4..].copy_from_slice(&base.to_be_bytes());
    key
}

/// The base offset in a batch's key.
pub(super) fn base(key: &[u8]) -> u64 {
    number(key.get(4..).unwrap_or_default())
}

fn number(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

fn row(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    std::iter::once(kind).chain(parts.concat()).collect()
}

impl Segment {
    /// A new, empty segment. It exists for a later start only once records are committed to it.
    pub(super) fn begin(
        database: &Database,
        number: u64,
        partitions: usize,
        now: i64,
    ) -> Result<Segment, DatabaseError> {
        let keyspace = database.keyspace(&name(number), Shape::Values)?;
        Ok(Segment {
            number,
            keyspace,
            bytes: 0,
            newest: i64::MIN,
            begun: now,
            ranges: vec![Range::default(); partitions],
        })
    }

    /// Adds the rows that describe it; of the ranges only those of `touched` partitions.
    pub(super) fn describe(
        &self,
        meta: &Keyspace,
        touched: impl Iterator<Item = u32>,
        batch: &mut Batch,
    ) {
        let number = self.number.to_be_bytes();
        let value = [self.bytes.to_be_bytes(), self.newest.to_be_bytes(), self.begun.to_be_bytes()]
            .concat();
        batch.insert(meta, row(b's', &[&number]), value);
        for partition in touched {
            let range = self.ranges[partition as usize];
            let value = [range.start.to_be_bytes(), range.next.to_be_bytes()].concat();
            batch.insert(meta, row(b'r', &[&number, &partition.to_be_bytes()]), value);
            batch.insert(meta, row(b'n', &[&partition.to_be_bytes()]), range.next.to_be_bytes());
        }
    }

    /// Removes the rows that describe it. Its keyspace is deleted after that is committed: a crash
    /// in between leaves a keyspace that nobody names, which [`load`] deletes.
    pub(super) fn forget(&self, meta: &Keyspace, batch: &mut Batch) {
        let number = self.number.to_be_bytes();
        batch.remove(meta, row(b's', &[&number]));
        for partition in 0..self.ranges.len() as u32 {
            batch.remove(meta, row(b'r', &[&number, &partition.to_be_bytes()]));
        }
    }
}

/// What is stored of a log.
pub(super) struct Stored {
    /// Next offset by partition; empty: there is no log yet.
    pub(super) next: Vec<u64>,
    /// Oldest first.
    pub(super) segments: Vec<Segment>,
}

/// Reads what is stored, and deletes what a crash left half begun or half dropped.
pub(super) fn load(database: &Database, meta: &Keyspace) -> Result<Stored, DatabaseError> {
    let failed = |fault| database.failed(&fault);
    let Some(count) = meta.get(b"c")? else {
        return Ok(Stored { next: Vec::new(), segments: Vec::new() });
    };
    let mut next = vec![0; number(&count) as usize];
    for (partition, next) in next.iter_mut().enumerate() {
        *next = meta
            .get(row(b'n', &[&(partition as u32).to_be_bytes()]))?
            .map_or(0, |value| number(&value));
    }
    let mut segments: Vec<Segment> = Vec::new();
    for guard in meta.prefix(b"s")? {
        let (key, value) = guard.into_inner().map_err(failed)?;
        let mut segment = Segment::begin(
            database,
            number(&key[1..]),
            next.len(),
            number(value.get(16..).unwrap_or_default()) as i64,
        )?;
        segment.bytes = number(&value);
        segment.newest = number(value.get(8..).unwrap_or_default()) as i64;
        for (partition, range) in segment.ranges.iter_mut().enumerate() {
            let key =
                row(b'r', &[&segment.number.to_be_bytes(), &(partition as u32).to_be_bytes()]);
            if let Some(value) = meta.get(key)? {
                *range = Range {
                    start: number(&value),
                    next: number(value.get(8..).unwrap_or_default()),
                };
            }
        }
        segments.push(segment);
    }
    for orphan in database.keyspaces("log-")? {
        if !segments.iter().any(|segment| name(segment.number) == orphan) {
            database.delete(database.keyspace(&orphan, Shape::Values)?)?;
        }
    }
    Ok(Stored { next, segments })
}

/// Fixes the number of partitions of a new log.
pub(super) fn create(meta: &Keyspace, partitions: u32, batch: &mut Batch) {
    batch.insert(meta, *b"c", u64::from(partitions).to_be_bytes());
}

fn name(number: u64) -> String {
    format!("log-{number:012}")
}
