//! Which records of dead letters were copied to the log: marks beside the letters, and how far the
//! log was looked through for copies that others appended.
//!
//! A mark is of the origin of a copy, and is kept as long as a letter of that record: both fall out
//! together, so there are no more marks than letters. It is written before the copy is appended
//! (*intended*) and after it is there (*done*). If the process ends in between, the caller finds out
//! what is in the log. Nothing is decided here.

use super::{DeadLetter, DeadLetters, IDENTITY, number};
use crate::config::Durability;
use crate::database::{Batch, DatabaseError, ReadFault};
use crate::event::RecordPlace;
use std::collections::{BTreeMap, HashSet};

/// Before the text of an origin: a copy of it is about to be appended.
const INTENDED: u8 = b'p';
/// Before the text of an origin: a copy of it was appended.
const DONE: u8 = b'r';
/// Before a partition and the name of a topic: the offset up to which it was looked through.
const LOOKED_THROUGH: u8 = b's';

/// Some letters, oldest first.
#[derive(Debug)]
pub struct LetterPage {
    /// The letters.
    pub letters: Vec<DeadLetter>,
    /// The number that the next page begins with; `None`: there are no more.
    pub next: Option<u64>,
}

/// What is to be written down in one step.
#[derive(Clone, Debug, Default)]
pub struct CopyNotes<'a> {
    /// The origins of copies that are about to be appended.
    pub intended: Vec<RecordPlace<'a>>,
    /// The origins of copies that are in the log. Those of which no letter is kept are not noted.
    pub done: Vec<RecordPlace<'a>>,
    /// The origins of copies that were intended, and are not in the log.
    pub dropped: Vec<RecordPlace<'a>>,
    /// How far a topic was looked through.
    pub looked_through: Option<LookedThrough<'a>>,
}

/// How far a topic was looked through for copies.
#[derive(Clone, Copy, Debug)]
pub struct LookedThrough<'a> {
    /// Its name.
    pub topic: &'a str,
    /// Per partition the offset up to which it was.
    pub offsets: &'a BTreeMap<u32, u64>,
}

/// Rows of letters that one batch writes.
#[derive(Default)]
pub(super) struct ChangedRows {
    /// Of the letters that come.
    pub(super) added: HashSet<Vec<u8>>,
    /// Of the letters that fall out.
    pub(super) removed: HashSet<Vec<u8>>,
}

impl DeadLetters {
    /// Letters from a number on (0: the oldest), at most `limit`, and of `bytes` at most one more
    /// than fits.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn page(&self, from: u64, limit: usize, bytes: usize) -> Result<LetterPage, DatabaseError> {
        let mut page = LetterPage { letters: Vec::new(), next: None };
        let (mut read, mut taken) = (0, 0);
        for row in self.letters.range(from.to_be_bytes()..)? {
            let (key, stored) = row.into_inner().map_err(|reason| self.database.failed(&reason))?;
            if read >= limit || taken >= bytes {
                page.next = Some(number(&key));
                break;
            }
            (read, taken) = (read + 1, taken + stored.len());
            match DeadLetter::decode(&stored) {
                Some(letter) => page.letters.push(letter),
                None => tracing::warn!(
                    "a stored dead letter cannot be read (damaged, or written by a newer version); \
                     it is not replayed"
                ),
            }
        }
        Ok(page)
    }

    /// Whether a copy of a record was appended.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn was_copied(&self, origin: RecordPlace<'_>) -> Result<bool, DatabaseError> {
        self.rows.contains_key(row(DONE, origin))
    }

    /// The origins of copies that were about to be appended, as [`RecordPlace`] writes them: whether
    /// the copies are in the log is not known.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn intended(&self) -> Result<Vec<String>, DatabaseError> {
        let mut origins = Vec::new();
        for row in self.rows.prefix([INTENDED])? {
            let key = row.key().map_err(|reason| self.database.failed(&reason))?;
            origins.push(String::from_utf8_lossy(&key[1..]).into_owned());
        }
        Ok(origins)
    }

    /// Per partition the offset up to which a topic was looked through for copies; partitions that
    /// never were are not there.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn looked_through(&self, topic: &str) -> Result<BTreeMap<u32, u64>, DatabaseError> {
        let mut offsets = BTreeMap::new();
        for row in self.rows.prefix([LOOKED_THROUGH])? {
            let (key, offset) = row.into_inner().map_err(|reason| self.database.failed(&reason))?;
            if let Some((partition, name)) = key[1..].split_first_chunk()
                && name == topic.as_bytes()
            {
                offsets.insert(u32::from_be_bytes(*partition), number(&offset));
            }
        }
        Ok(offsets)
    }

    /// Whether a letter of a record is kept.
    ///
    /// # Errors
    /// [`DatabaseError`].
    pub fn keeps(&self, place: RecordPlace<'_>) -> Result<bool, DatabaseError> {
        self.keeps_beside(place, &HashSet::new())
    }

    /// Writes notes down. Survives the end of the process.
    ///
    /// # Errors
    /// [`DatabaseError`]: the same notes may be written again.
    pub fn note(&self, notes: &CopyNotes<'_>) -> Result<(), DatabaseError> {
        // Meanwhile no letter falls out, which would leave its mark behind.
        let _letters = self.state.lock();
        self.database.mended()?;
        let mut batch = self.database.batch();
        for origin in &notes.intended {
            batch.insert(&self.rows, row(INTENDED, *origin), b"");
        }
        for origin in &notes.done {
            batch.remove(&self.rows, row(INTENDED, *origin));
            if self.keeps(*origin)? {
                batch.insert(&self.rows, row(DONE, *origin), b"");
            }
        }
        for origin in &notes.dropped {
            batch.remove(&self.rows, row(INTENDED, *origin));
        }
        if let Some(LookedThrough { topic, offsets }) = notes.looked_through {
            for (partition, offset) in offsets {
                let key =
                    [&[LOOKED_THROUGH][..], &partition.to_be_bytes(), topic.as_bytes()].concat();
                batch.insert(&self.rows, key, offset.to_be_bytes());
            }
        }
        if batch.is_empty() { Ok(()) } else { self.database.commit(batch, Durability::Process) }
    }

    /// Removes the marks of a letter that falls out, unless another one of its record is kept or
    /// comes in the same batch, whose rows these are.
    pub(super) fn forget_marks(
        &self,
        letter: &DeadLetter,
        rows: &ChangedRows,
        batch: &mut Batch,
    ) -> Result<(), DatabaseError> {
        let place = letter.place();
        let (done, intended) = (row(DONE, place), row(INTENDED, place));
        if !self.rows.contains_key(&done)? && !self.rows.contains_key(&intended)? {
            return Ok(());
        }
        let comes = |row: &Vec<u8>| is_of(row, place) && !rows.removed.contains(row);
        if !rows.added.iter().any(comes) && !self.keeps_beside(place, &rows.removed)? {
            batch.remove(&self.rows, done);
            batch.remove(&self.rows, intended);
        }
        Ok(())
    }

    /// Whether a letter of a record is kept whose row is not among those that are removed.
    fn keeps_beside(
        &self,
        place: RecordPlace<'_>,
        removed: &HashSet<Vec<u8>>,
    ) -> Result<bool, DatabaseError> {
        let failed = |reason: ReadFault| self.database.failed(&reason);
        for row in self.rows.prefix(identity_prefix(place))? {
            let key = row.key().map_err(failed)?;
            if is_of(&key, place) && !removed.contains(&key[..]) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The key of a mark.
fn row(kind: u8, place: RecordPlace<'_>) -> Vec<u8> {
    [&[kind][..], place.to_string().as_bytes()].concat()
}

/// How the rows of all letters of a record begin, and of records at its place in other topics.
fn identity_prefix(place: RecordPlace<'_>) -> Vec<u8> {
    [&[IDENTITY][..], &place.partition.to_be_bytes(), &place.offset.to_be_bytes()].concat()
}

/// Whether a row is of a letter of this record.
fn is_of(row: &[u8], place: RecordPlace<'_>) -> bool {
    let reason = row.strip_prefix(&identity_prefix(place)[..]);
    let reason = reason.and_then(|rest| rest.strip_suffix(place.topic.as_bytes()));
    reason.is_some_and(|reason| reason.last() == Some(&0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::database::Database;

    fn letter(reason: &str, topic: &str, offset: u64) -> DeadLetter {
        DeadLetter::new(reason, topic, 3, offset, 0, Some(b"{"))
    }

    fn place(topic: &str, offset: u64) -> RecordPlace<'_> {
        RecordPlace { topic, partition: 3, offset }
    }

    #[test]
    fn pages_are_oldest_first_and_go_on_where_they_ended() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::open(&Database::open(folder.path()).unwrap(), 5).unwrap();
        let all: Vec<DeadLetter> = (0..7).map(|offset| letter("a", "t", offset)).collect();
        letters.put(&all).unwrap();
        let offsets = |page: &LetterPage| -> Vec<u64> {
            page.letters.iter().map(|letter| letter.offset).collect()
        };
        let first = letters.page(0, 2, 1 << 20).unwrap();
        assert_eq!((offsets(&first), first.next), (vec![2, 3], Some(4)), "two fell out");
        let last = letters.page(4, 9, 1 << 20).unwrap();
        assert_eq!((offsets(&last), last.next), (vec![4, 5, 6], None));
        assert_eq!(letters.page(0, 9, 1).unwrap().next, Some(3), "one more than fits");
        assert!(letters.page(7, 9, 1).unwrap().letters.is_empty());
    }

    #[test]
    fn marks_outlive_the_process_and_go_with_the_last_letter_of_their_record() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        let letters = DeadLetters::open(&database, 3).unwrap();
        letters.put(&[letter("a", "t", 0), letter("a", "t", 1), letter("b", "t", 0)]).unwrap();
        let (ours, other) = (place("t", 0), place("u", 0));
        assert!(letters.keeps(ours).unwrap() && !letters.keeps(other).unwrap());
        assert!(!letters.keeps(place("t", 2)).unwrap());

        let intended = vec![ours, place("t", 1), other];
        letters.note(&CopyNotes { intended, ..CopyNotes::default() }).unwrap();
        assert_eq!(letters.intended().unwrap(), ["t/3/0", "t/3/1", "u/3/0"]);
        assert!(!letters.was_copied(ours).unwrap());
        let offsets = BTreeMap::from([(0, 7), (300, 9)]);
        let notes = CopyNotes {
            done: vec![ours, other],
            dropped: vec![place("t", 1)],
            looked_through: Some(LookedThrough { topic: "t", offsets: &offsets }),
            ..CopyNotes::default()
        };
        letters.note(&notes).unwrap();
        drop(letters);

        let letters = DeadLetters::open(&database, 3).unwrap();
        assert!(letters.intended().unwrap().is_empty());
        let copied = |origin| letters.was_copied(origin).unwrap();
        assert!(copied(ours) && !copied(place("t", 1)));
        assert!(!copied(other), "no letter of it is kept");
        assert_eq!(letters.looked_through("t").unwrap(), offsets);
        assert!(letters.looked_through("u").unwrap().is_empty());
        assert_eq!(letters.counts().len(), 2, "marks are no counters");

        letters.put(&[letter("a", "t", 5)]).unwrap();
        assert!(copied(ours), "its other letter is kept");
        letters.put(&[letter("a", "t", 6)]).unwrap();
        assert!(copied(ours));
        letters.put(&[letter("a", "t", 7)]).unwrap();
        assert!(!copied(ours) && letters.rows.prefix([DONE]).unwrap().next().is_none());
    }

    #[test]
    fn a_letter_that_comes_as_another_goes_keeps_the_mark() {
        let folder = tempfile::tempdir().unwrap();
        let letters = DeadLetters::open(&Database::open(folder.path()).unwrap(), 1).unwrap();
        letters.put(&[letter("a", "t", 0)]).unwrap();
        letters.note(&CopyNotes { done: vec![place("t", 0)], ..CopyNotes::default() }).unwrap();
        letters.put(&[letter("b", "t", 0)]).unwrap();
        assert!(letters.was_copied(place("t", 0)).unwrap());
    }
}
