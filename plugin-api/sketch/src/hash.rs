//! Stable hashes of values: the same on every machine and for ever (SipHash-1-3 with a zero key),
//! since they are state.
//!
//! The key is no secret: who chooses the values can choose them to collide, and so count fewer.
//! Nothing else follows from it.

use siphasher::sip::SipHasher13;
use std::hash::Hasher;

/// Of an integer id.
#[must_use]
pub fn hash_id(id: u64) -> u64 {
    tagged(0, &id.to_le_bytes())
}

/// Of a text.
#[must_use]
pub fn hash_text(text: &[u8]) -> u64 {
    tagged(1, text)
}

/// Of a whole number: an integer, a scaled decimal, a time, 0 or 1.
#[must_use]
pub fn hash_number(value: i128) -> u64 {
    tagged(2, &value.to_le_bytes())
}

/// Of a float; both zeros are one.
#[must_use]
pub fn hash_float(value: f64) -> u64 {
    let value = if value == 0.0 { 0.0 } else { value };
    tagged(3, &value.to_bits().to_le_bytes())
}

fn tagged(tag: u8, bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write_u8(tag);
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored state depends on these numbers.
    #[test]
    fn hashes_are_what_they_always_were() {
        let all = [hash_id(7), hash_text(b"7"), hash_number(7), hash_float(7.0), hash_text(b"")];
        assert_eq!(all, EXPECTED, "{all:?}");
        assert_eq!(hash_float(0.0), hash_float(-0.0));
    }

    const EXPECTED: [u64; 5] = [
        2_385_165_658_784_093_366,
        16_898_313_633_847_468_807,
        11_097_638_194_800_186_865,
        14_846_797_975_465_087_339,
        4_952_851_536_318_644_461,
    ];
}
