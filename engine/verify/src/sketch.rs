//! Sets, histograms and latest values counted again: what a cell that is more than a number should
//! hold, to the byte.
//!
//! Written a second time from what `tally_sketch` documents: SipHash-1-3 with a zero key over a tag
//! and the value; 2²⁶ places, from 2,049 on 2¹⁴ registers; 64 buckets to each doubling. Plain maps,
//! nothing shared but the hash function of the same public crate. Found cells come as they are
//! stored and are taken apart here.

use super::property::Scalar;
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hasher;

/// Most places of a set before it becomes registers.
const PLACES: usize = 2_048;
const REGISTERS: usize = 1 << 14;

/// Bucket of the largest magnitude: 128 doublings from 2⁻³² on.
const LARGEST: i32 = 128 * 64;

/// A set of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// Per 26 bits of hash the largest rank of the other 38.
    Few(BTreeMap<u32, u8>),
    /// Per 14 bits of hash the largest rank of the other 50.
    Many(Vec<u8>),
}

/// How values are spread: how many in each bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Spread(BTreeMap<i32, u64>);

/// The latest value: when, and its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Last(i64, Vec<u8>);

/// The place of the first 1 among the first `bits` of a hash whose front is cut off, from 1 on.
fn rank(hash: u64, bits: u32) -> u8 {
    ((hash << (64 - bits)).leading_zeros().min(bits) + 1) as u8
}

/// A hash that has this place and rank: it stands for all of them.
fn standing(place: u32, rank: u8) -> u64 {
    u64::from(place) << 38 | 1 << 38 >> rank
}

impl Set {
    pub(super) fn add(&mut self, value: &Scalar) {
        self.put(hash(value));
    }

    fn put(&mut self, hash: u64) {
        match self {
            Set::Few(places) => {
                let place = places.entry((hash >> 38) as u32).or_insert(0);
                *place = rank(hash, 38).max(*place);
                if places.len() > PLACES {
                    let mut many = Set::Many(vec![0; REGISTERS]);
                    places.iter().for_each(|(place, rank)| many.put(standing(*place, *rank)));
                    *self = many;
                }
            }
            Set::Many(registers) => {
                let register = &mut registers[(hash >> 50) as usize];
                *register = rank(hash, 50).max(*register);
            }
        }
    }

    /// The values of both.
    pub(super) fn merge(&mut self, mut other: Set) {
        // The larger form takes in the smaller.
        if matches!(self, Set::Few(_)) && matches!(other, Set::Many(_)) {
            std::mem::swap(self, &mut other);
        }
        match (self, other) {
            (own, Set::Few(places)) => {
                places.iter().for_each(|(place, rank)| own.put(standing(*place, *rank)))
            }
            (Set::Many(own), Set::Many(other)) => {
                own.iter_mut().zip(other).for_each(|(own, rank)| *own = rank.max(*own))
            }
            (Set::Few(_), Set::Many(_)) => {}
        }
    }

    /// As it is stored: 0 and the differences of `place · 64 + rank`, or 1 and six bits a register,
    /// the lowest first.
    pub(super) fn of(bytes: &[u8]) -> Option<Set> {
        let (form, mut rest) = bytes.split_first()?;
        if *form == 0 {
            let (mut places, mut entry) = (BTreeMap::new(), 0_u64);
            while !rest.is_empty() {
                entry = entry.checked_add(number(&mut rest)?)?;
                places.insert(u32::try_from(entry / 64).ok()?, (entry % 64) as u8);
            }
            return Some(Set::Few(places));
        }
        let bit = |n: usize| rest[n / 8] >> (n % 8) & 1;
        let register = |n: usize| (0..6).map(|place| bit(n * 6 + place) << place).sum();
        (*form == 1 && rest.len() == REGISTERS * 6 / 8)
            .then(|| Set::Many((0..REGISTERS).map(register).collect()))
    }
}

impl Spread {
    pub(super) fn add(&mut self, value: &Scalar) {
        if let Some(bucket) = bucket(value) {
            *self.0.entry(bucket).or_insert(0) += 1;
        }
    }

    /// The values of both.
    pub(super) fn merge(&mut self, other: Spread) {
        other.0.into_iter().for_each(|(bucket, count)| *self.0.entry(bucket).or_insert(0) += count);
    }

    /// As it is stored: the difference of each bucket to the one before, and how many.
    pub(super) fn of(mut bytes: &[u8]) -> Option<Spread> {
        let (mut buckets, mut last) = (BTreeMap::new(), -i64::from(LARGEST) - 1);
        while !bytes.is_empty() {
            last = last.checked_add_unsigned(number(&mut bytes)?)?;
            buckets.insert(i32::try_from(last).ok()?, number(&mut bytes)?);
        }
        Some(Spread(buckets))
    }
}

impl Last {
    pub(super) fn new(time: i64, value: &Scalar) -> Last {
        Last(time, bytes(value))
    }

    /// As it is stored: the time (its sign last), the value.
    pub(super) fn of(mut bytes: &[u8]) -> Option<Last> {
        let time = number(&mut bytes)?;
        let magnitude = (time / 2) as i64;
        Some(Last(if time % 2 == 0 { magnitude } else { -magnitude - 1 }, bytes.to_vec()))
    }
}

/// Seven bits a byte, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u128;
    for n in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u128::from(byte & 0x7f) << (7 * n);
        if *byte < 0x80 {
            return u64::try_from(value).ok();
        }
    }
    None
}

/// A tag for what the value is, then its bytes, little-endian.
fn hash(value: &Scalar) -> u64 {
    let (tag, bytes) = match value {
        Scalar::Id(id) => (0, id.to_le_bytes().to_vec()),
        Scalar::Text(text) => (1, text.as_bytes().to_vec()),
        Scalar::Whole(value) => (2, value.to_le_bytes().to_vec()),
        Scalar::Bool(value) => (2, i128::from(*value).to_le_bytes().to_vec()),
        Scalar::Float(value) => (3, no_sign(*value).to_le_bytes().to_vec()),
    };
    let mut hasher = SipHasher13::new();
    hasher.write(&[tag]);
    hasher.write(&bytes);
    hasher.finish()
}

/// Both zeros are one.
fn no_sign(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { value }
}

/// 0 for nothing, else sign and magnitude: 64 to each doubling, from 1 on at 2⁻³².
fn bucket(value: &Scalar) -> Option<i32> {
    let (negative, doubling, step) = match value {
        Scalar::Whole(0) => return Some(0),
        Scalar::Whole(value) => {
            let magnitude = value.unsigned_abs();
            let doubling = magnitude.ilog2();
            // The six bits behind the first.
            let step = if doubling < 6 {
                magnitude << (6 - doubling)
            } else {
                magnitude >> (doubling - 6)
            };
            (*value < 0, doubling as i32, step as i32 & 63)
        }
        Scalar::Float(value) => {
            let bits = value.abs().to_bits();
            (*value < 0.0, (bits >> 52) as i32 - 1_023, (bits >> 46) as i32 & 63)
        }
        Scalar::Id(_) | Scalar::Text(_) | Scalar::Bool(_) => return None,
    };
    let magnitude = match doubling {
        ..-32 => 0,
        -32..96 => (doubling + 32) * 64 + step + 1,
        _ => LARGEST,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// Its kind, then bytes that are ordered as the values are.
fn bytes(value: &Scalar) -> Vec<u8> {
    let of = |kind: u8, bytes: &[u8]| [&[kind], bytes].concat();
    let whole = |value: i128| of(2, &(value as u128).wrapping_add(1 << 127).to_be_bytes());
    match value {
        Scalar::Id(id) => of(0, &id.to_be_bytes()),
        Scalar::Text(text) => of(1, text.as_bytes()),
        Scalar::Whole(value) => whole(*value),
        Scalar::Bool(value) => whole((*value).into()),
        Scalar::Float(value) => {
            let bits = no_sign(*value).to_bits();
            let ordered = if *value < 0.0 { !bits } else { bits + (1 << 63) };
            of(3, &[ordered.to_be_bytes(), [0; 8]].concat())
        }
    }
}

/// So that two of them that differ look different.
fn mark(bytes: impl Iterator<Item = u64>) -> u32 {
    let mut hasher = SipHasher13::new();
    bytes.for_each(|byte| hasher.write_u64(byte));
    hasher.finish() as u32
}

impl fmt::Display for Set {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Set::Few(places) => {
                let mark = mark(
                    places.iter().map(|(place, rank)| u64::from(*place) << 6 | u64::from(*rank)),
                );
                write!(out, "{} values ({mark:08x})", places.len())
            }
            // The estimate of P. Flajolet and others (2007), for people: what is compared are the
            // registers.
            Set::Many(registers) => {
                let size = REGISTERS as f64;
                let empty = registers.iter().filter(|rank| **rank == 0).count() as f64;
                let sum: f64 = registers.iter().map(|rank| 0.5_f64.powi((*rank).into())).sum();
                let raw = 0.7213 / (1.0 + 1.079 / size) * size * size / sum;
                let about =
                    if raw <= 2.5 * size && empty > 0.0 { size * (size / empty).ln() } else { raw };
                write!(
                    out,
                    "about {about:.0} values ({:08x})",
                    mark(registers.iter().map(|rank| u64::from(*rank)))
                )
            }
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = mark(self.0.iter().flat_map(|(bucket, count)| [*bucket as u64, *count]));
        let count: u128 = self.0.values().map(|count| u128::from(*count)).sum();
        write!(out, "{count} values in {} buckets ({mark:08x})", self.0.len())
    }
}

impl fmt::Display for Last {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Last(time, value) = self;
        let (kind, rest) = value.split_first().unwrap_or((&1, &[]));
        let eight = rest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let sixteen = rest.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes));
        match kind {
            0 => write!(out, "{eight}"),
            2 => write!(out, "{}", sixteen.wrapping_sub(1 << 127) as i128),
            3 if eight >> 63 == 1 => write!(out, "{:?}", f64::from_bits(eight - (1 << 63))),
            3 => write!(out, "{:?}", f64::from_bits(!eight)),
            _ => write!(out, "{:?}", String::from_utf8_lossy(rest)),
        }?;
        write!(out, " at {time}")
    }
}

#[cfg(test)]
#[path = "sketch_tests.rs"]
mod tests;
