//! The latest value: that of the larger time, of equal times the one with the larger bytes.
//!
//! Bytes begin with what the value is, so that a number is never taken for a text: 0 an integer id,
//! 1 a text, 2 a whole number, 3 a float. Within a kind larger values have larger bytes.

use super::{IdBytes, varint};
use tally_plugin::read::Scalar;

/// Longest value, bytes, with the byte for its kind.
const LONGEST: usize = 256;

/// A value and when it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    time: i64,
    bytes: Box<[u8]>,
}

pub(super) fn id_bytes(id: IdBytes<'_>, out: &mut Vec<u8>) {
    out.clear();
    match id {
        IdBytes::Integer(number) => {
            out.push(0);
            out.extend_from_slice(&number.to_be_bytes());
        }
        IdBytes::Text(text) => {
            out.push(1);
            out.extend_from_slice(&text[..text.len().min(LONGEST - 1)]);
        }
    }
}

pub(super) fn number_bytes(value: i128) -> [u8; 17] {
    let mut bytes = [2; 17];
    // The sign's bit turned over, so that negative numbers come first.
    bytes[1..].copy_from_slice(&(value as u128 ^ 1 << 127).to_be_bytes());
    bytes
}

/// All 17 bytes, of which the last 8 are 0: one length for both.
pub(super) fn float_bytes(value: f64) -> [u8; 17] {
    let value = if value == 0.0 { 0.0 } else { value };
    let bits = value.to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    let mut bytes = [0; 17];
    bytes[0] = 3;
    bytes[1..9].copy_from_slice(&ordered.to_be_bytes());
    bytes
}

impl Latest {
    /// A value, given at `time` (Unix milliseconds).
    #[must_use]
    pub fn new(time: i64, bytes: &[u8]) -> Latest {
        Latest { time, bytes: bytes.into() }
    }

    /// Takes a value if it is later.
    pub fn add(&mut self, time: i64, bytes: &[u8]) {
        if (time, bytes) > (self.time, &*self.bytes) {
            *self = Latest::new(time, bytes);
        }
    }

    /// The later of both.
    pub fn merge(&mut self, other: &Latest) {
        self.add(other.time, &other.bytes);
    }

    /// When, Unix milliseconds.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.time
    }

    /// What.
    #[must_use]
    pub fn value(&self) -> Scalar {
        let (kind, rest) = self.bytes.split_first().unwrap_or((&1, &[]));
        let eight = rest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        match kind {
            0 => Scalar::Integer(eight.into()),
            2 => Scalar::Integer(
                rest.first_chunk().map_or(0, |b| (u128::from_be_bytes(*b) ^ 1 << 127) as i128),
            ),
            3 => Scalar::Float(f64::from_bits(if eight >> 63 == 1 {
                eight ^ 1 << 63
            } else {
                !eight
            })),
            _ => Scalar::Text(String::from_utf8_lossy(rest).into_owned()),
        }
    }

    /// Appends the encoding: the time, then the value.
    pub fn write(&self, out: &mut Vec<u8>) {
        varint::put(out, varint::zigzag(self.time));
        out.extend_from_slice(&self.bytes);
    }

    /// Reads what `write` wrote. `None`: the bytes are no such thing.
    #[must_use]
    pub fn read(mut bytes: &[u8]) -> Option<Latest> {
        let time = varint::unzigzag(varint::take(&mut bytes)?);
        let fits = match bytes.first()? {
            0 => bytes.len() == 9,
            1 => bytes.len() <= LONGEST && std::str::from_utf8(&bytes[1..]).is_ok(),
            2 => bytes.len() == 17,
            3 => bytes.len() == 17 && bytes[9..].iter().all(|byte| *byte == 0),
            _ => false,
        };
        fits.then(|| Latest::new(time, bytes))
    }

    pub(super) fn memory(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test fails by panicking

    use super::super::{Given, Sketch};
    use super::*;
    use tally_plugin::description::Merge;

    /// Values of every kind at three times.
    fn all() -> Vec<Latest> {
        let mut all = Vec::new();
        for time in [-5, 0, 7] {
            for value in [i128::MIN, -1, 0, 1, i128::MAX] {
                all.push(Latest::new(time, &number_bytes(value)));
            }
            for value in [-2.5, 0.0, 1e300] {
                all.push(Latest::new(time, &float_bytes(value)));
            }
            for id in [
                IdBytes::Integer(0),
                IdBytes::Integer(1 << 52),
                IdBytes::Text(b""),
                IdBytes::Text("ü".as_bytes()),
            ] {
                let mut bytes = Vec::new();
                id_bytes(id, &mut bytes);
                all.push(Latest::new(time, &bytes));
            }
        }
        all
    }

    #[test]
    fn merging_is_associative_commutative_and_idempotent() {
        let merged = |a: &Latest, b: &Latest| {
            let mut a = a.clone();
            a.merge(b);
            a
        };
        for a in &all() {
            for b in &all() {
                assert_eq!(merged(a, b), merged(b, a));
                for c in all().iter().step_by(5) {
                    assert_eq!(merged(&merged(a, b), c), merged(a, &merged(b, c)));
                }
            }
            assert_eq!(merged(a, a), *a);
        }
    }

    #[test]
    fn later_wins_then_larger() {
        let mut latest = Latest::new(5, &number_bytes(1));
        latest.add(5, &number_bytes(2));
        latest.add(5, &number_bytes(-3));
        latest.add(4, &number_bytes(9));
        assert_eq!((latest.time(), latest.value()), (5, Scalar::Integer(2)));
        latest.add(6, &number_bytes(-7));
        assert_eq!(latest.value(), Scalar::Integer(-7));
    }

    #[test]
    fn values_and_encodings_come_back() {
        for latest in all() {
            let mut bytes = Vec::new();
            latest.write(&mut bytes);
            assert_eq!(Latest::read(&bytes).unwrap(), latest);
            let cut = Latest::read(&bytes[..bytes.len() - 1]);
            assert!(
                cut.is_none_or(|cut| matches!(cut.value(), Scalar::Text(_))),
                "a cut number is no number"
            );
        }
        let mut buffer = [0; 17];
        let given = Given::of_float(Merge::Latest, -2.5, 3, &mut buffer).unwrap();
        let Some(Sketch::Latest(latest)) = Sketch::of(&given) else { panic!("another kind") };
        assert_eq!((latest.time(), latest.value()), (3, Scalar::Float(-2.5)));
        assert!(matches!(given, Given::Latest(3, _)));
        assert_eq!(Latest::read(&[]), None);
        assert_eq!(Latest::read(&[0, 9]), None);
    }
}
