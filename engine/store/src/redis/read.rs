//! Reading: large buckets in pieces, then everything that follows in one script, which gives the
//! position.
//!
//! No reply is larger than [`PIECE`], unless a single frame is. While others write, the last step
//! may find more than fits; then it begins again with what is new, a bounded number of times.

use super::RedisStore;
use super::answers::{self, Reply, array, bytes, number, strange};
use super::frame::{self, Piece};
use super::hints::Entry;
use super::keys::{self, RevisionKeys, corrupt};
use super::scripts::{Call, Name};
use crate::{
    BEGUN, Bucket, BucketRead, FrameId, Known, Reading, RevisionId, StoreError, StoredFrame,
    StoredRevision,
};
use redis::Value;
use std::borrow::Cow;

/// Bytes of buckets in one reply: what a server copies in about a millisecond.
const PIECE: u64 = 1 << 20;
/// Buckets asked for at once while catching up.
pub(super) const TOGETHER: usize = 256;
/// How often the last step may find more than fits.
const ROUNDS: usize = 16;

/// What is known of a bucket so far.
struct Cursor {
    bucket: Bucket,
    key: String,
    /// The reader's own frame stood whenever it was looked for: what follows it is a tail.
    tail: bool,
    last: Option<(FrameId, u64)>,
    frames: Vec<StoredFrame>,
    /// It was split: what both halves begin with.
    split: Option<(FrameId, u64)>,
    /// What the index is believed to say of it, and whether that was seen just now.
    hint: Option<Entry>,
    seen: bool,
    /// Bytes left out of the last reply.
    rest: u64,
    /// Bytes that its next frame needs.
    needs: u64,
}

impl RedisStore {
    /// One moment of the named buckets.
    pub(super) fn moment(
        &self,
        id: &RevisionId,
        known: &[Known],
    ) -> Result<Option<Reading>, StoreError> {
        let keys = &self.keys(id);
        let hints = self.hints.of(id, known.iter().map(|known| known.bucket));
        let mut cursors: Vec<Cursor> = known
            .iter()
            .zip(hints)
            .map(|(known, hint)| Cursor {
                bucket: known.bucket,
                key: keys.bucket(known.bucket),
                tail: known.last.is_some(),
                last: known.last,
                frames: Vec::new(),
                split: None,
                hint,
                seen: false,
                rest: 0,
                needs: 0,
            })
            .collect();
        let everything: Vec<usize> = (0..cursors.len()).collect();
        for _ in 0..ROUNDS {
            let Some(revision) = self.ask(keys, &mut cursors, &everything)? else {
                return Ok(None);
            };
            let mut behind: Vec<usize> =
                everything.iter().copied().filter(|at| cursors[*at].rest > 0).collect();
            if behind.is_empty() {
                let seen = cursors
                    .iter()
                    .filter(|cursor| cursor.seen)
                    .map(|cursor| (cursor.bucket, cursor.hint));
                self.hints.set(id, seen);
                return Ok(Some(Reading {
                    revision,
                    buckets: cursors.into_iter().map(Cursor::read).collect(),
                }));
            }
            while !behind.is_empty() {
                let together = &behind[..behind.len().min(TOGETHER)];
                if self.ask(keys, &mut cursors, together)?.is_none() {
                    return Ok(None);
                }
                behind.retain(|at| cursors[*at].rest > 0);
            }
        }
        Err(StoreError::Unavailable(format!(
            "Redis at {}: state grew faster than it could be read, {ROUNDS} times in a row: \
             retrying",
            self.pool.at
        )))
    }

    /// Asks for what follows the named cursors. The first gets at least a frame, so that this comes
    /// to an end.
    fn ask(
        &self,
        keys: &RevisionKeys,
        cursors: &mut [Cursor],
        which: &[usize],
    ) -> Result<Option<StoredRevision>, StoreError> {
        let at = &self.pool.at;
        let budget = which.first().map_or(0, |first| cursors[*first].needs).max(PIECE);
        let mut call = Call {
            script: Name::Read,
            keys: vec![keys.state.clone(), keys.index.clone()],
            args: vec![Cow::Owned(budget.to_string().into_bytes())],
        };
        for cursor in which.iter().map(|at| &cursors[*at]) {
            call.keys.push(cursor.key.clone());
            call.args.extend(match cursor.last {
                None => [""; 3].map(|nothing| Cow::Borrowed(nothing.as_bytes())),
                Some((id, end)) => {
                    let place =
                        cursor.hint.and_then(|hint| hint.place(end)).map(|place| place.to_string());
                    let place = place.unwrap_or_default().into_bytes();
                    [place, end.to_string().into_bytes(), id.0.to_le_bytes().to_vec()]
                        .map(Cow::Owned)
                }
            });
        }
        let answer =
            self.pool.calls(&self.scripts, &[call], true)?.pop().ok_or_else(|| strange(at))?;
        let mut reply = Reply::new(at, answer)?;
        match &reply.word[..] {
            b"NONE" => return Ok(None),
            b"OK" => {}
            b"FOREIGN" | b"LOST" => {
                let names: Vec<String> = which.iter().map(|at| cursors[*at].key.clone()).collect();
                return Err(reply.broken(at, &names));
            }
            _ => return Err(strange(at)),
        }
        let (state, buckets) = reply.array().zip(reply.array()).ok_or_else(|| strange(at))?;
        if buckets.len() != which.len() {
            return Err(strange(at));
        }
        for (cursor, value) in which.iter().zip(buckets) {
            cursors[*cursor].absorb(at, value)?;
        }
        answers::revision(at, keys, state).map(Some)
    }
}

impl Cursor {
    fn read(self) -> BucketRead {
        match self.split {
            Some(begin) => BucketRead::Split { tail: self.tail.then_some(self.frames), begin },
            None if self.tail => BucketRead::Tail(self.frames),
            // A bucket that is made by a split begins with its snapshot.
            None if self.frames.is_empty() && self.bucket.bucket >= BEGUN => BucketRead::None,
            None => BucketRead::Whole(self.frames),
        }
    }

    /// Takes what a reply says of the bucket.
    fn absorb(&mut self, at: &str, value: Value) -> Result<(), StoreError> {
        if let Value::BulkString(piece) = value {
            // All that follows what is known.
            self.split = None;
            let end = self.last.map(|(_, end)| end).ok_or_else(|| strange(at))?;
            return self.take(frame::parse(&self.key, self.bucket, &piece, Some(end), true)?, 0);
        }
        let mut items = array(value).ok_or_else(|| strange(at))?.into_iter();
        let mut next = || items.next().ok_or_else(|| strange(at));
        let (stands, rest) = (number(&next()?), number(&next()?));
        let (stands, rest) = stands.zip(rest).ok_or_else(|| strange(at))?;
        let (piece, index) =
            (bytes(next()?).ok_or_else(|| strange(at))?, items.next().and_then(bytes));
        if stands == 0 {
            // What was folded, by the reader or here, no longer stands.
            (self.tail, self.last) = (false, None);
            self.frames.clear();
        }
        self.split = index.as_ref().and_then(|index| keys::split_entry(index));
        (self.hint, self.seen) = (index.and_then(|index| keys::index_entry(&index)), true);
        let begins = self.last.map(|(_, end)| end);
        let read = frame::parse(&self.key, self.bucket, &piece, begins, rest == 0)?;
        if begins.is_none() && self.split.is_none() && !read.frames.is_empty() {
            let end = if read.snapshot > 0 { read.frames[0].end } else { 0 };
            let entry = Entry::new(read.snapshot, end);
            if self.hint != Some(entry) {
                return Err(corrupt(&self.key, "its snapshot is not the one named by the index"));
            }
        }
        self.take(read, rest)
    }

    fn take(&mut self, read: Piece, rest: u64) -> Result<(), StoreError> {
        (self.rest, self.needs) = (rest, read.cut);
        if let Some(last) = read.frames.last() {
            self.last = Some((last.id, last.end));
        }
        self.frames.extend(read.frames);
        Ok(())
    }
}
