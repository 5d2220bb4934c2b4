//! The stored form of a batch of records of one partition. Pure: bytes in, bytes out.
//!
//! ```text
//! version 1 | reserved [u8; 3] | crc32 of the rest u32 | count u32 | then per record: length u32 | timestamp ms i64 | payload
//! ```
//! All little-endian. Offsets are not stored: a batch's records are consecutive from the base
//! offset in its key. Read without copying: the payloads handed out are slices of the value.

use tally_event::Record;

const VERSION: u8 = 1;
const HEADER: usize = 12;

/// Largest payload of a record, bytes.
pub const MAX_RECORD: usize = 8 << 20;

/// Bytes that a record takes beside its payload.
pub(super) const PER_RECORD: usize = 12;

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
        self.bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&timestamp_ms.to_le_bytes());
        self.bytes.extend_from_slice(payload);
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
        let sum = crc32fast::hash(&self.bytes[8..]);
        self.bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        self.bytes
    }
}

/// Number of records of a stored batch, checksum verified.
pub(super) fn verify(bytes: &[u8]) -> Result<u32, &'static str> {
    let (head, body) = bytes.split_at_checked(8).ok_or("it is too short")?;
    if head[0] != VERSION {
        return Err("it was written by another version of Tally");
    }
    if crc32fast::hash(body) != word(&head[4..]) {
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
        let (payload, rest) = rest.split_at_checked(word(&head[..4]) as usize)?;
        self.rest = rest;
        let timestamp_ms = i64::from_le_bytes([
            head[4], head[5], head[6], head[7], head[8], head[9], head[10], head[11],
        ]);
        let record = Record { offset: self.offset, timestamp_ms, payload: Some(payload) };
        self.offset += 1;
        Some(record)
    }
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
}
