//! What the scripts' replies say, as the store's answers. No I/O.

use super::fault::fault;
use super::keys::{self, RevisionKeys, corrupt};
use crate::{
    Bucket, BucketSize, Commit, CommitAnswer, CompactAnswer, Compaction, FrameId, SplitAnswer,
    StoreError, StoredRevision,
};
use redis::{RedisResult, Value};
use std::collections::BTreeMap;

/// A reply, taken apart: the word it begins with, and the rest.
pub(super) struct Reply {
    pub(super) word: Vec<u8>,
    pub(super) rest: std::vec::IntoIter<Value>,
}

impl Reply {
    pub(super) fn new(at: &str, value: RedisResult<Value>) -> Result<Self, StoreError> {
        let items = match value {
            Ok(value) => array(value),
            Err(error) => return Err(fault(at, &error)),
        };
        let mut rest = items.ok_or_else(|| strange(at))?.into_iter();
        let word = rest.next().and_then(bytes).ok_or_else(|| strange(at))?;
        Ok(Self { word, rest })
    }

    pub(super) fn array(&mut self) -> Option<Vec<Value>> {
        array(self.rest.next()?)
    }

    fn number(&mut self) -> Option<u64> {
        number(&self.rest.next()?)
    }

    /// Of `FOREIGN` and `LOST`: what is wrong with which bucket.
    pub(super) fn broken(&mut self, at: &str, names: &[String]) -> StoreError {
        let which = self
            .number()
            .and_then(|number| names.get(usize::try_from(number).ok()?.checked_sub(1)?));
        let Some(key) = which else { return strange(at) };
        let number = self.number();
        match (&self.word[..], number) {
            (b"FOREIGN", _) => {
                corrupt(key, "it is not a string: something else writes into Tally's keys")
            }
            (b"LOST", Some(0)) => {
                corrupt(key, "it is gone, though the index lists it: it was evicted or deleted")
            }
            (b"LOST", Some(_)) => corrupt(key, "it is there, though the index does not list it"),
            _ => strange(at),
        }
    }
}

/// Of a server that answers what no script of ours does.
pub(super) fn strange(at: &str) -> StoreError {
    StoreError::Unavailable(format!(
        "Redis at {at} sent an answer that is not understood: is it Redis, without a proxy?"
    ))
}

pub(super) fn array(value: Value) -> Option<Vec<Value>> {
    if let Value::Array(items) = value { Some(items) } else { None }
}

pub(super) fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.into_bytes()),
        Value::Okay => Some(b"OK".to_vec()),
        _ => None,
    }
}

pub(super) fn number(value: &Value) -> Option<u64> {
    if let Value::Int(number) = value { u64::try_from(*number).ok() } else { None }
}

/// `names`: the keys of the commit's buckets, in order. Sizes are not yet split: all of a bucket is
/// in `tail`.
pub(super) fn committed(
    at: &str,
    commit: &Commit,
    keys: &RevisionKeys,
    names: &[String],
    value: RedisResult<Value>,
) -> Result<CommitAnswer, StoreError> {
    let mut reply = Reply::new(at, value)?;
    let strange = || strange(at);
    Ok(match &reply.word[..] {
        b"OK" => {
            let lengths = reply.rest.next().and_then(bytes).and_then(|text| keys::numbers(&text));
            let lengths = lengths
                .filter(|lengths| lengths.len() == commit.frames.len())
                .ok_or_else(strange)?;
            let size = |((bucket, _), length): (&(Bucket, _), u64)| BucketSize {
                bucket: *bucket,
                snapshot: 0,
                tail: length,
            };
            CommitAnswer::Applied(commit.frames.iter().zip(lengths).map(size).collect())
        }
        b"MISMATCH" => {
            let stored = reply
                .array()
                .filter(|stored| stored.len() == commit.advances.len())
                .ok_or_else(strange)?;
            let mut next = BTreeMap::new();
            for (advance, stored) in commit.advances.iter().zip(stored) {
                let stored = match bytes(stored) {
                    Some(value) => keys::progress_of(keys, advance.partition, &value)?.next,
                    None => 0,
                };
                next.insert(advance.partition, stored);
            }
            CommitAnswer::Mismatch(next)
        }
        b"LIFE" => {
            let life = reply.rest.next().and_then(bytes);
            CommitAnswer::OtherLife(life.map(|life| keys::life_of(keys, &life)).transpose()?)
        }
        b"FULL" => {
            let which =
                reply.number().and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
            let (bucket, _) =
                which.and_then(|which| commit.frames.get(which)).ok_or_else(strange)?;
            CommitAnswer::Full(*bucket)
        }
        b"LAYOUT" => {
            let which =
                reply.number().and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
            let (bucket, _) =
                which.and_then(|which| commit.frames.get(which)).ok_or_else(strange)?;
            CommitAnswer::Layout(*bucket)
        }
        _ => return Err(reply.broken(at, names)),
    })
}

pub(super) fn compacted(
    at: &str,
    compaction: &Compaction,
    keys: &RevisionKeys,
    value: RedisResult<Value>,
) -> Result<CompactAnswer, StoreError> {
    let mut reply = Reply::new(at, value)?;
    match &reply.word[..] {
        b"DONE" => Ok(CompactAnswer::Done),
        b"STALE" => Ok(CompactAnswer::Stale),
        _ => Err(reply.broken(at, &[keys.bucket(compaction.bucket)])),
    }
}

/// `names`: the keys of the bucket and its halves.
pub(super) fn split(
    at: &str,
    names: &[String],
    value: RedisResult<Value>,
) -> Result<SplitAnswer, StoreError> {
    let mut reply = Reply::new(at, value)?;
    match &reply.word[..] {
        b"DONE" => {
            let stamp = reply.rest.next().and_then(bytes);
            let stamp =
                stamp.as_ref().and_then(|stamp| stamp.first_chunk()).ok_or_else(|| strange(at))?;
            Ok(SplitAnswer::Done(FrameId(u128::from_le_bytes(*stamp))))
        }
        b"STALE" => Ok(SplitAnswer::Stale),
        _ => Err(reply.broken(at, names)),
    }
}

/// A revision from the fields of its state: names and values in turn.
pub(super) fn revision(
    at: &str,
    keys: &RevisionKeys,
    fields: Vec<Value>,
) -> Result<StoredRevision, StoreError> {
    let (mut life, mut meta, mut format, mut progress) = (None, None, None, BTreeMap::new());
    let mut fields = fields.into_iter().map(bytes);
    while let Some(field) = fields.next() {
        let (field, value) = field.zip(fields.next().flatten()).ok_or_else(|| strange(at))?;
        match &field[..] {
            b"life" => life = Some(keys::life_of(keys, &value)?),
            b"meta" => meta = Some(keys::meta_of(keys, &value)?),
            b"format" => format = Some(value),
            _ => {
                let partition = keys::partition_of(&field).ok_or_else(|| {
                    corrupt(
                        &keys.state,
                        &format!(
                            "field {:.40} was not written by Tally",
                            String::from_utf8_lossy(&field)
                        ),
                    )
                })?;
                progress.insert(partition, keys::progress_of(keys, partition, &value)?);
            }
        }
    }
    if format.as_deref() != Some(keys::FORMAT.as_bytes()) {
        let found = format
            .map_or("none".to_owned(), |format| String::from_utf8_lossy(&format).into_owned());
        let why = format!("its format is {found:.16}; this engine reads {}", keys::FORMAT);
        return Err(corrupt(&keys.state, &why));
    }
    let (life, meta) =
        life.zip(meta).ok_or_else(|| corrupt(&keys.state, "its life or meta is missing"))?;
    Ok(StoredRevision { life, meta, progress })
}
