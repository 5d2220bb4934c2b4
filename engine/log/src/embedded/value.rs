//! The stored form of a batch of records of one partition. Pure: bytes in, bytes out.
//!
//! ```text
//! version | reserved [u8; 3] | crc32 of the rest u32 | count u32 | then per record: length u32 | timestamp ms i64 | payload
//! ```
//! All little-endian. Offsets are not stored: a batch's records are consecutive from the base
//! offset in its key. Read without copying: the payloads handed out are slices of the value.
//!
//! A batch is of version 1, unless it holds a copy. Then it is of version 2, and its checksum begins
//! with that byte. A length with bit 31 set is that of a copy, whose payload follows its origin:
//! `length of place u16 | place | timestamp ms i64`.

use crc32fast::Hasher;
use tally_event::{Record, RecordOrigin};

const VERSION: u8 = 1;
const WITH_COPIES: u8 = 2;
const HEADER: usize = 12;

/// In the length of a record: it is a copy. The largest payload is far below.
const COPY: u32 = 1 << 31;

/// Largest payload of a record, bytes.
pub const MAX_RECORD: usize = 8 << 20;

/// Bytes that a record takes beside its payload.
pub(super) const PER_RECORD: usize = 12;

/// Bytes that a copy takes more than other records, beside its origin.
pub(super) const PER_COPY: usize = 10;

/// A batch being written.
pub(super) struct Writer {
    bytes: Vec<u8>,
    count: u32,
    /// Largest timestamp written.
    pub(super) newest: i64,
}

impl Writer {
    pub(super) fn new() -> Writer {
        let mut bytes = vec![0; HEADER];
        bytes[0] = VERSION;
        Writer { bytes, count: 0, newest: i64::MIN }
    }

    /// The payload must be shorter than 4 GiB; the log's limit is far below.
    pub(super) fn push(&mut self, payload: &[u8], timestamp_ms: i64) {
        self.head(payload.len() as u32, timestamp_ms);
        self.bytes.extend_from_slice(payload);
    }

    /// The same of a copy. Its origin must be shorter than 64 KiB; those that there are have some
    /// hundred bytes at most.
    pub(super) fn push_copy(
        &mut self,
        payload: &[u8],
        timestamp_ms: i64,
        origin: RecordOrigin<'_>,
    ) {
        self.bytes[0] = WITH_COPIES;
        self.head(payload.len() as u32 | COPY, timestamp_ms);
        self.bytes.extend_from_slice(&(origin.place.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(origin.place.as_bytes());
        self.bytes.extend_from_slice(&origin.timestamp_ms.to_le_bytes());
        self.bytes.extend_from_slice(payload);
    }

    fn head(&mut self, length: u32, timestamp_ms: i64) {
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(&timestamp_ms.to_le_bytes());
        self.count += 1;
        self.newest = self.newest.max(timestamp_ms);
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes[8..HEADER].copy_from_slice(&self.count.to_le_bytes());
        let sum = checksum(self.bytes[0], &self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        self.bytes
    }
}

/// Of a batch of a version: what follows the checksum, and before it the version, but for the first
/// one.
fn checksum(version: u8, body: &[u8]) -> u32 {
    if version == VERSION {
        return crc32fast::hash(body);
    }
    let mut hasher = Hasher::new();
    hasher.update(&[version]);
    hasher.update(body);
    hasher.finalize()
}

/// Number of records of a stored batch, checksum verified.
pub(super) fn verify(bytes: &[u8]) -> Result<u32, &'static str> {
    let (head, body) = bytes.split_at_checked(8).ok_or("it is too short")?;
    if !matches!(head[0], VERSION | WITH_COPIES) {
        return Err("it was written by another version of Tally");
    }
    if checksum(head[0], body) != word(&head[4..]) {
        return Err("its checksum is wrong");
    }
    body.get(..4).map(word).ok_or("it is too short")
}

/// The records of a verified batch.
pub(super) struct Records<'a> {
    rest: &'a [u8],
    offset: u64,
}

/// Reads a batch that [`verify`] has accepted.
pub(super) fn records(bytes: &[u8], base: u64) -> Records<'_> {
    Records { rest: bytes.get(HEADER..).unwrap_or_default(), offset: base }
}

impl Records<'_> {
    /// Bytes not yet read: where a later [`resume`] goes on.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }
}

/// Reads on where `left` bytes were left, the next record being `offset`.
pub(super) fn resume(bytes: &[u8], left: usize, offset: u64) -> Records<'_> {
    Records { rest: &bytes[bytes.len().saturating_sub(left)..], offset }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let (head, rest) = self.rest.split_first_chunk::<PER_RECORD>()?;
        let length = word(&head[..4]);
        let (origin, rest) = match length & COPY {
            0 => (None, rest),
            _ => origin(rest).map(|(origin, rest)| (Some(origin), rest))?,
        };
        let (payload, rest) = rest.split_at_checked((length & !COPY) as usize)?;
        self.rest = rest;
        let timestamp_ms = i64::from_le_bytes([
            head[4], head[5], head[6], head[7], head[8], head[9], head[10], head[11],
        ]);
        let record = Record { offset: self.offset, timestamp_ms, payload: Some(payload), origin };
        self.offset += 1;
        Some(record)
    }
}

/// The origin of a copy, and what follows.
#[cold]
fn origin(rest: &[u8]) -> Option<(RecordOrigin<'_>, &[u8])> {
    let (length, rest) = rest.split_first_chunk()?;
    let (place, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let (time, rest) = rest.split_first_chunk()?;
    let place = std::str::from_utf8(place).ok()?;
    Some((RecordOrigin { place, timestamp_ms: i64::from_le_bytes(*time) }, rest))
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test fails by panicking
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_any_flipped_bit_is_seen() {
        let mut writer = Writer::new();
        let payloads: [&[u8]; 4] = [b"one", b"", b"three", &[0xff; 300]];
        for (n, payload) in payloads.iter().enumerate() {
            writer.push(payload, 1_000 + n as i64);
        }
        assert_eq!((writer.count(), writer.newest), (4, 1_003));
        let mut bytes = writer.finish();
        assert_eq!(verify(&bytes), Ok(4));
        let read: Vec<_> = records(&bytes, 70)
            .map(|record| (record.offset, record.timestamp_ms, record.payload.unwrap().to_vec()))
            .collect();
        let written: Vec<_> = payloads
            .iter()
            .enumerate()
            .map(|(n, payload)| (70 + n as u64, 1_000 + n as i64, payload.to_vec()))
            .collect();
        assert_eq!(read, written);

        let mut first = records(&bytes, 70);
        first.next();
        let left = first.left();
        assert_eq!(resume(&bytes, left, 71).next().unwrap().offset, 71);
        assert_eq!(resume(&bytes, left, 71).count(), 3);

        for bit in 0..bytes.len() * 8 {
            if (8..32).contains(&bit) {
                continue; // reserved, not covered
            }
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        assert!(verify(&bytes[..7]).is_err() && verify(&[]).is_err());
    }

    #[test]
    fn a_batch_without_copies_is_as_it_always_was() {
        let mut writer = Writer::new();
        writer.push(b"one", 7);
        let body = [&1_u32.to_le_bytes()[..], &[3, 0, 0, 0], &7_i64.to_le_bytes(), b"one"].concat();
        let sum = crc32fast::hash(&body).to_le_bytes();
        assert_eq!(writer.finish(), [&[1, 0, 0, 0][..], &sum, &body].concat());
    }

    #[test]
    fn copies_state_their_origin_and_stand_among_others() {
        let origin = RecordOrigin { place: "log/0/41", timestamp_ms: -1 };
        let mut writer = Writer::new();
        writer.push(b"one", 1);
        writer.push_copy(b"two", 2, origin);
        writer.push_copy(b"", 3, RecordOrigin { place: "shop.events/7/0", timestamp_ms: 9 });
        writer.push(b"four", 4);
        assert_eq!((writer.count(), writer.newest), (4, 4));
        let mut bytes = writer.finish();
        assert_eq!((bytes[0], verify(&bytes)), (2, Ok(4)));
        let read: Vec<Record<'_>> = records(&bytes, 10).collect();
        let expected = [
            Record::new(10, 1, Some(b"one")),
            Record { origin: Some(origin), ..Record::new(11, 2, Some(b"two")) },
            Record {
                origin: Some(RecordOrigin { place: "shop.events/7/0", timestamp_ms: 9 }),
                ..Record::new(12, 3, Some(b""))
            },
            Record::new(13, 4, Some(b"four")),
        ];
        assert_eq!(format!("{read:?}"), format!("{expected:?}"));
        let mut some = records(&bytes, 10);
        some.nth(1);
        let left = some.left();
        assert_eq!(
            resume(&bytes, left, 12).map(|record| record.offset).collect::<Vec<_>>(),
            [12, 13]
        );

        for bit in (0..bytes.len() * 8).filter(|bit| !(8..32).contains(bit)) {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        bytes[0] = VERSION;
        assert!(verify(&bytes).is_err(), "a batch of the first version has no copies");
        assert_eq!(PER_RECORD + PER_COPY + origin.place.len(), 30, "what the second one takes");
    }
}
