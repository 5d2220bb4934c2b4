//! Event ids that a second run makes again: same input, same ids, so that what is sent twice counts
//! once.

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The id of event `number` of a generator: shaped like UUIDv7, growing with the number, different
/// for every seed.
///
/// Time is `number` as microseconds: a generator that starts numbering at the current microsecond
/// carries real times.
pub(crate) fn generated(seed: u64, number: u64) -> Uuid {
    let (millis, micros) = (number / 1_000, number % 1_000);
    let tail = mix(mix(seed) ^ number);
    let high = (millis << 16) | 0x7000 | micros;
    let low = (0b10 << 62) | (tail >> 2);
    Uuid::from_u64_pair(high, low)
}

/// The id of a row of a file (UUIDv8): `content` is the digest of the whole file, so that a renamed
/// copy is the same file and two files that share a line do not share an id.
pub(crate) fn of_line(content: &[u8; 32], line: u64) -> Uuid {
    let digest = Sha256::new().chain_update(content).chain_update(line.to_be_bytes()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    Uuid::from_bytes(bytes)
}

/// SplitMix64's finaliser (Steele, Lea, Flood 2014): a bijection that spreads every bit.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn generated_ids_are_unique_ordered_and_shaped() {
        let ids: Vec<Uuid> = (0..20_000).map(|n| generated(42, n)).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(
            ids.iter()
                .all(|id| id.get_version_num() == 7 && id.get_variant() == uuid::Variant::RFC4122)
        );
        assert_eq!(generated(42, 7), ids[7]);
        assert_ne!(generated(43, 7), ids[7]);
        let now = 1_790_000_000_000_000;
        assert_eq!(generated(1, now).get_timestamp().map(|at| at.to_unix().0), Some(1_790_000_000));
    }

    #[test]
    fn line_ids_depend_on_content_and_line() {
        assert_eq!(of_line(&[1; 32], 5), of_line(&[1; 32], 5));
        assert_ne!(of_line(&[1; 32], 5), of_line(&[1; 32], 6));
        assert_ne!(of_line(&[1; 32], 5), of_line(&[2; 32], 5));
        assert_eq!(of_line(&[1; 32], 5).get_version_num(), 8);
    }
}
