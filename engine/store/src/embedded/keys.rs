//! The rows of the embedded store: which key holds what, and their binary forms. No I/O.
//!
//! Every value begins with a format byte; another one is refused. A frame's row carries a CRC-32
//! over key and value, so that a row that was moved or damaged is noticed when it is read, whatever
//! the frame itself contains.

use crate::{Bucket, FrameId, Life, RevisionId, StoreError};
use std::io::Read;
use tally_database::Slice;

const FORMAT: u8 = 1;
const FRAME_HEAD: usize = 1 + 4 + 1 + 16 + 8;

/// Number of a stored revision: short keys. Not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number(pub(super) u64);

/// What a row of a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A frame.
    Frame = 0,
    /// Frames folded into one; the first row of its bucket.
    Snapshot = 1,
    /// The bucket was split: the only row of its bucket. Its id is that of the halves' snapshots,
    /// its bytes are the id of the last frame there was.
    Split = 2,
}

/// One frame's row; `B`: its bytes, or where they lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FrameRow<B = Vec<u8>> {
    pub(super) kind: Kind,
    pub(super) id: FrameId,
    pub(super) end: u64,
    pub(super) bytes: B,
}

pub(super) fn corrupt(what: &str, why: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "{what}: {why}; restore the data directory from a copy, or delete it to count the log again"
    ))
}

/// Key of a revision by name: fingerprint after the name, which ends at its length.
pub(super) fn revision_key(revision: &RevisionId) -> Vec<u8> {
    let mut key = vec![b'r'];
    key.extend_from_slice(revision.metric.as_bytes());
    key.extend_from_slice(&revision.fingerprint.to_be_bytes());
    key
}

pub(super) fn current_key(metric: &str) -> Vec<u8> {
    [b"c", metric.as_bytes()].concat()
}

/// Key of how counting begins.
pub(super) const BEGUN_KEY: &[u8] = b"b";

pub(super) fn progress_key(number: Number, partition: u32) -> Vec<u8> {
    let mut key = progress_prefix(number);
    key.extend_from_slice(&partition.to_be_bytes());
    key
}

pub(super) fn progress_prefix(number: Number) -> Vec<u8> {
    let mut key = vec![b'p'];
    key.extend_from_slice(&number.0.to_be_bytes());
    key
}

pub(super) fn partition_of(key: &[u8]) -> Result<u32, StoreError> {
    let tail = key.last_chunk::<4>().filter(|_| key.len() == 13);
    tail.map(|tail| u32::from_be_bytes(*tail))
        .ok_or_else(|| corrupt("a progress key", "it has the wrong length"))
}

/// Key of a frame: revision, table, bucket, sequence.
pub(super) fn frame_key(number: Number, bucket: Bucket, sequence: u64) -> Vec<u8> {
    let mut key = bucket_prefix(number, bucket);
    key.extend_from_slice(&sequence.to_be_bytes());
    key
}

pub(super) fn bucket_prefix(number: Number, bucket: Bucket) -> Vec<u8> {
    let mut key = number.0.to_be_bytes().to_vec();
    key.extend_from_slice(&bucket.table.to_be_bytes());
    key.extend_from_slice(&bucket.bucket.to_be_bytes());
    key
}

pub(super) fn frame_place(key: &[u8]) -> Result<(Number, Bucket, u64), StoreError> {
    let fault = || corrupt("a frame's key", "it has the wrong length");
    let key: &[u8; 22] = key.try_into().map_err(|_| fault())?;
    let (number, rest) = key.split_first_chunk::<8>().ok_or_else(fault)?;
    let (table, rest) = rest.split_first_chunk::<2>().ok_or_else(fault)?;
    let (bucket, rest) = rest.split_first_chunk::<4>().ok_or_else(fault)?;
    let sequence = rest.first_chunk::<8>().ok_or_else(fault)?;
    let bucket = Bucket { table: u16::from_be_bytes(*table), bucket: u32::from_be_bytes(*bucket) };
    Ok((Number(u64::from_be_bytes(*number)), bucket, u64::from_be_bytes(*sequence)))
}

/// Copies the bytes once: what is stored of frames is most of what a commit writes.
pub(super) fn frame_value(key: &[u8], row: &FrameRow<&[u8]>) -> Slice {
    let mut head = [0; FRAME_HEAD];
    head[0] = FORMAT;
    head[5] = row.kind as u8;
    head[6..22].copy_from_slice(&row.id.0.to_le_bytes());
    head[22..].copy_from_slice(&row.end.to_le_bytes());
    let mut crc = crc32fast::Hasher::new();
    [key, &head[5..], row.bytes].into_iter().for_each(|part| crc.update(part));
    head[1..5].copy_from_slice(&crc.finalize().to_le_bytes());
    let parts = &mut (&head[..]).chain(row.bytes);
    Slice::from_reader(parts, FRAME_HEAD + row.bytes.len())
        .expect("two slices are as long as they are")
}

pub(super) fn frame_row(key: &[u8], value: &[u8]) -> Result<FrameRow, StoreError> {
    let what = || {
        frame_place(key).map_or("a frame".to_owned(), |(_, at, sequence)| {
            format!("frame {sequence} of table {}, bucket {}", at.table, at.bucket)
        })
    };
    let rest = versioned(value, what)?;
    let fault = || corrupt(&what(), "it is too short");
    let (crc, rest) = rest.split_first_chunk::<4>().ok_or_else(fault)?;
    if checksum(key, rest) != u32::from_le_bytes(*crc) {
        return Err(corrupt(&what(), "its checksum differs"));
    }
    let ([kind], rest) = rest.split_first_chunk::<1>().ok_or_else(fault)?;
    let (id, rest) = rest.split_first_chunk::<16>().ok_or_else(fault)?;
    let (end, bytes) = rest.split_first_chunk::<8>().ok_or_else(fault)?;
    let kind = match kind {
        0 => Kind::Frame,
        1 => Kind::Snapshot,
        2 => Kind::Split,
        _ => return Err(corrupt(&what(), "this engine does not know its kind")),
    };
    Ok(FrameRow {
        kind,
        id: FrameId(u128::from_le_bytes(*id)),
        end: u64::from_le_bytes(*end),
        bytes: bytes.to_vec(),
    })
}

fn checksum(key: &[u8], rest: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(rest);
    crc.finalize()
}

/// Revision row: number, life, meta.
pub(super) fn revision_value(key: &[u8], number: Number, life: Life, meta: &[u8]) -> Vec<u8> {
    sealed(key, &[&number.0.to_le_bytes(), &life.0.to_le_bytes(), meta])
}

pub(super) fn revision_row(
    key: &[u8],
    value: &[u8],
) -> Result<(Number, Life, Vec<u8>), StoreError> {
    let rest = unsealed(key, value, "a revision's record")?;
    let fault = || corrupt("a revision's record", "it is too short");
    let (number, rest) = rest.split_first_chunk::<8>().ok_or_else(fault)?;
    let (life, meta) = rest.split_first_chunk::<16>().ok_or_else(fault)?;
    Ok((Number(u64::from_le_bytes(*number)), Life(u128::from_le_bytes(*life)), meta.to_vec()))
}

/// Progress row: next, record.
pub(super) fn progress_value(key: &[u8], next: u64, bytes: &[u8]) -> Vec<u8> {
    sealed(key, &[&next.to_le_bytes(), bytes])
}

pub(super) fn progress_row(key: &[u8], value: &[u8]) -> Result<(u64, Vec<u8>), StoreError> {
    let rest = unsealed(key, value, "a progress record")?;
    let (next, bytes) = rest
        .split_first_chunk::<8>()
        .ok_or_else(|| corrupt("a progress record", "it is too short"))?;
    Ok((u64::from_le_bytes(*next), bytes.to_vec()))
}

/// Which revision answers: fingerprint.
pub(super) fn current_value(key: &[u8], fingerprint: u64) -> Vec<u8> {
    sealed(key, &[&fingerprint.to_le_bytes()])
}

pub(super) fn begun_value(how: &[u8]) -> Vec<u8> {
    sealed(BEGUN_KEY, &[how])
}

pub(super) fn begun_row(value: &[u8]) -> Result<Vec<u8>, StoreError> {
    unsealed(BEGUN_KEY, value, "how counting begins").map(<[u8]>::to_vec)
}

pub(super) fn current_row(key: &[u8], value: &[u8]) -> Result<u64, StoreError> {
    let rest = unsealed(key, value, "a metric's pointer")?;
    let fingerprint: [u8; 8] =
        rest.try_into().map_err(|_| corrupt("a metric's pointer", "it has the wrong length"))?;
    Ok(u64::from_le_bytes(fingerprint))
}

fn sealed(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = vec![FORMAT];
    out.extend_from_slice(&checksum(key, &body).to_le_bytes());
    out.extend_from_slice(&body);
    out
}

fn unsealed<'a>(key: &[u8], value: &'a [u8], what: &str) -> Result<&'a [u8], StoreError> {
    let rest = versioned(value, || what.to_owned())?;
    let (crc, body) =
        rest.split_first_chunk::<4>().ok_or_else(|| corrupt(what, "it is too short"))?;
    if checksum(key, body) == u32::from_le_bytes(*crc) {
        Ok(body)
    } else {
        Err(corrupt(what, "its checksum differs"))
    }
}

fn versioned(value: &[u8], what: impl Fn() -> String) -> Result<&[u8], StoreError> {
    match value.split_first() {
        Some((&FORMAT, rest)) => Ok(rest),
        Some((other, _)) => {
            Err(corrupt(&what(), &format!("it has format {other}; this engine reads {FORMAT}")))
        }
        None => Err(corrupt(&what(), "it is empty")),
    }
}
