//! Frames as they stand in a bucket's string, one after the other. No I/O.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | format, 1 |
//! | 1 | kind: 0 frame, 1 snapshot |
//! | 2 + 4 | table, bucket |
//! | 4 | length of the payload |
//! | 4 | CRC-32 over the bucket's key and all of the frame but this field and the stamp |
//! | 8 | a snapshot only: logical end |
//! | … | payload |
//! | 16 | stamp: seconds and microseconds of the server, nonce of the request |
//!
//! Numbers are little endian. The stamp is the frame's id; the script that appends writes it, all
//! else comes from the client. It stands at the end, so that whether a frame ends at a place is
//! seen there without reading what is before it: therefore nothing else in a bucket may hold an id,
//! not even a snapshot that of the last frame it folds.

use super::keys::corrupt;
use crate::{Bucket, FrameId, StoreError, StoredFrame};

const FORMAT: u8 = 1;
const HEAD: usize = 16;
const SNAPSHOT: usize = 8;
pub(super) const STAMP: usize = 16;

/// Bytes that a frame takes beyond its payload.
pub const FRAME_OVERHEAD: u64 = (HEAD + STAMP) as u64;
/// Bytes that a snapshot takes beyond its payload.
pub const SNAPSHOT_OVERHEAD: u64 = (HEAD + SNAPSHOT + STAMP) as u64;

/// A frame to be appended, without the stamp.
pub(super) fn frame(key: &str, bucket: Bucket, payload: &[u8]) -> Result<Vec<u8>, StoreError> {
    build(key, bucket, None, payload)
}

/// A snapshot, without the stamp: `end` is that of the last frame it folds.
pub(super) fn snapshot(
    key: &str,
    bucket: Bucket,
    end: u64,
    payload: &[u8],
) -> Result<Vec<u8>, StoreError> {
    build(key, bucket, Some(end), payload)
}

fn build(
    key: &str,
    bucket: Bucket,
    folds: Option<u64>,
    payload: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let length = u32::try_from(payload.len()).ok().filter(|length| *length <= 256 << 20);
    let length = length.ok_or_else(|| {
        StoreError::Unavailable(format!(
            "a frame of {} bytes does not fit into Redis: make commits smaller",
            payload.len()
        ))
    })?;
    let mut out = Vec::with_capacity(HEAD + SNAPSHOT + payload.len());
    out.extend_from_slice(&[FORMAT, u8::from(folds.is_some())]);
    out.extend_from_slice(&bucket.table.to_le_bytes());
    out.extend_from_slice(&bucket.bucket.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    if let Some(end) = folds {
        out.extend_from_slice(&end.to_le_bytes());
    }
    out.extend_from_slice(payload);
    let crc = checksum(key, &out);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    Ok(out)
}

/// Over a frame without its stamp.
fn checksum(key: &str, frame: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in [key.as_bytes(), &frame[..12], &frame[16..]] {
        crc.update(part);
    }
    crc.finalize()
}

/// What could be read of a piece of a bucket.
pub(super) struct Piece {
    /// Whole frames, in order.
    pub(super) frames: Vec<StoredFrame>,
    /// Length of the snapshot that the piece begins with; 0 without one.
    pub(super) snapshot: u64,
    /// Bytes that the piece would need to hold the frame that was cut; 0 where the cut fell between
    /// two.
    pub(super) cut: u64,
}

/// Reads frames. `end` is the logical end before the piece; `None`: the piece begins the bucket,
/// and may begin with a snapshot. `whole`: nothing of the bucket is left out, so that a cut frame
/// is damage.
pub(super) fn parse(
    key: &str,
    bucket: Bucket,
    mut bytes: &[u8],
    end: Option<u64>,
    whole: bool,
) -> Result<Piece, StoreError> {
    let fault = |why: &str| corrupt(key, why);
    let mut piece = Piece { frames: Vec::new(), snapshot: 0, cut: 0 };
    let (mut at, mut first) = (end.unwrap_or(0), end.is_none());
    while !bytes.is_empty() {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
            piece.cut = HEAD as u64;
            break;
        };
        let [format, kind, t0, t1, b0, b1, b2, b3, l0, l1, l2, l3, c0, c1, c2, c3] = *head;
        if format != FORMAT || kind > 1 {
            return Err(fault(&format!(
                "a frame has format {format}, kind {kind}; this engine reads {FORMAT}"
            )));
        }
        if kind == 1 && !first {
            return Err(fault("a snapshot follows frames"));
        }
        let extra = if kind == 1 { SNAPSHOT } else { 0 };
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let total = HEAD + extra + length + STAMP;
        if bytes.len() < total {
            piece.cut = total as u64;
            break;
        }
        let (unstamped, stamp) = bytes[..total].split_at(total - STAMP);
        if checksum(key, unstamped) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(fault("the checksum of a frame differs"));
        }
        let stands_in = Bucket {
            table: u16::from_le_bytes([t0, t1]),
            bucket: u32::from_le_bytes([b0, b1, b2, b3]),
        };
        if stands_in != bucket {
            return Err(fault("a frame is another bucket's"));
        }
        if kind == 1 {
            let end = rest.first_chunk::<8>().ok_or_else(|| fault("a snapshot is too short"))?;
            (at, piece.snapshot) = (u64::from_le_bytes(*end), total as u64);
        } else {
            at += total as u64;
        }
        let id = stamp.first_chunk::<STAMP>().ok_or_else(|| fault("a frame has no timestamp"))?;
        let payload = unstamped[HEAD + extra..].to_vec();
        piece.frames.push(StoredFrame {
            id: FrameId(u128::from_le_bytes(*id)),
            end: at,
            bytes: payload,
        });
        (bytes, first) = (&bytes[total..], false);
    }
    if whole && piece.cut > 0 {
        return Err(fault("its last frame is cut off"));
    }
    Ok(piece)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]
    use super::*;

    const AT: Bucket = Bucket { table: 2, bucket: 9 };

    fn bucket() -> Vec<u8> {
        let mut bytes = snapshot("k", AT, 500, b"snapshot").unwrap();
        bytes.extend_from_slice(&[1; STAMP]);
        for n in 2..4u8 {
            bytes.extend(frame("k", AT, &[n; 5]).unwrap());
            bytes.extend_from_slice(&[n; STAMP]);
        }
        bytes
    }

    #[test]
    fn frames_come_back_with_their_logical_ends() {
        let piece = parse("k", AT, &bucket(), None, true).unwrap();
        let ends: Vec<u64> = piece.frames.iter().map(|frame| frame.end).collect();
        assert_eq!(ends, [500, 500 + 5 + FRAME_OVERHEAD, 500 + 2 * (5 + FRAME_OVERHEAD)]);
        assert_eq!((piece.snapshot, piece.cut), (8 + SNAPSHOT_OVERHEAD, 0));
        assert_eq!(piece.frames[1].id, FrameId(u128::from_le_bytes([2; 16])));
        assert_eq!(piece.frames[0].bytes, b"snapshot");
        let tail = parse("k", AT, &bucket()[piece.snapshot as usize..], Some(500), true).unwrap();
        assert_eq!(tail.frames, piece.frames[1..]);
    }

    #[test]
    fn a_cut_says_what_it_needs_and_damage_is_noticed() {
        let bytes = bucket();
        for at in 0..bytes.len() {
            let piece = parse("k", AT, &bytes[..at], None, false).unwrap();
            assert!(piece.frames.len() < 3);
            assert!(
                at == 0 || parse("k", AT, &bytes[..at], None, true).is_err() || piece.cut == 0,
                "{at}"
            );
            let mut bad = bytes.clone();
            bad[at] ^= 0x11;
            let stamps = [48, 48 + 37, 48 + 74].map(|end| end - STAMP..end);
            let unprotected = stamps.iter().any(|stamp| stamp.contains(&at));
            assert_eq!(parse("k", AT, &bad, None, true).is_err(), !unprotected, "byte {at}");
        }
        assert!(parse("other", AT, &bytes, None, true).is_err());
        assert!(parse("k", Bucket { bucket: 8, ..AT }, &bytes, None, true).is_err());
        assert!(parse("k", AT, &bytes, Some(3), true).is_err(), "a snapshot where none can be");
    }
}
