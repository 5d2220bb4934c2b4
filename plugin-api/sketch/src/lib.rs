//! Cells that hold more than a number: how many different values, how they are spread, which was
//! the latest.
//!
//! Each merges associatively and commutatively down to the byte: equal contents have one encoding,
//! whatever way they came together, on every machine. So they keep the promise of all cells: any
//! split, order and replay of the log gives the same state. Reading checks everything and never
//! panics. They know nothing of keys, time axes and stores.

mod distinct;
mod hash;
mod latest;
mod quantiles;
#[cfg(test)]
mod random;
mod varint;

pub use distinct::Distinct;
pub use hash::{hash_float, hash_id, hash_number, hash_text};
pub use latest::Latest;
pub use quantiles::{Quantiles, bucket_of_float, bucket_of_integer};

use tally_plugin::description::Merge;

/// What a cell with one of these merges holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sketch {
    /// Of `Distinct`.
    Distinct(Distinct),
    /// Of `Quantiles`.
    Quantiles(Quantiles),
    /// Of `Latest`.
    Latest(Latest),
}

/// A value on its way into a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Given<'a> {
    /// The number itself, for `Sum`, `Min` and `Max`.
    Number(i128),
    /// Its stable hash, for `Distinct`.
    Hash(u64),
    /// Its bucket, for `Quantiles`.
    Bucket(i32),
    /// When, and its bytes, for `Latest`.
    Latest(i64, &'a [u8]),
}

impl Sketch {
    /// One that holds this value alone. `None` for a number: it needs no sketch.
    #[must_use]
    pub fn of(given: &Given<'_>) -> Option<Sketch> {
        Some(match given {
            Given::Number(_) => return None,
            Given::Hash(hash) => {
                let mut distinct = Distinct::default();
                distinct.add(*hash);
                Sketch::Distinct(distinct)
            }
            Given::Bucket(bucket) => {
                let mut quantiles = Quantiles::default();
                quantiles.add(*bucket, 1);
                Sketch::Quantiles(quantiles)
            }
            Given::Latest(time, bytes) => Sketch::Latest(Latest::new(*time, bytes)),
        })
    }

    /// Adds a value; one of another merge changes nothing.
    pub fn add(&mut self, given: &Given<'_>) {
        match (self, given) {
            (Sketch::Distinct(distinct), Given::Hash(hash)) => distinct.add(*hash),
            (Sketch::Quantiles(quantiles), Given::Bucket(bucket)) => quantiles.add(*bucket, 1),
            (Sketch::Latest(latest), Given::Latest(time, bytes)) => latest.add(*time, bytes),
            _ => {}
        }
    }

    /// Merges; one of another kind changes nothing.
    pub fn merge(&mut self, other: &Sketch) {
        match (self, other) {
            (Sketch::Distinct(own), Sketch::Distinct(other)) => own.merge(other),
            (Sketch::Quantiles(own), Sketch::Quantiles(other)) => own.merge(other),
            (Sketch::Latest(own), Sketch::Latest(other)) => own.merge(other),
            _ => {}
        }
    }

    /// Appends the one encoding of this content.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Sketch::Distinct(distinct) => distinct.write(out),
            Sketch::Quantiles(quantiles) => quantiles.write(out),
            Sketch::Latest(latest) => latest.write(out),
        }
    }

    /// Reads what `write` wrote. `None`: the bytes are no such thing, or the merge holds a number.
    #[must_use]
    pub fn read(merge: Merge, bytes: &[u8]) -> Option<Sketch> {
        match merge {
            Merge::Distinct => Distinct::read(bytes).map(Sketch::Distinct),
            Merge::Quantiles => Quantiles::read(bytes).map(Sketch::Quantiles),
            Merge::Latest => Latest::read(bytes).map(Sketch::Latest),
            Merge::Sum | Merge::Min | Merge::Max => None,
        }
    }

    /// As one number: how many different values (estimated), how many values, or the time of the
    /// latest (Unix milliseconds).
    #[must_use]
    pub fn number(&self) -> i128 {
        match self {
            Sketch::Distinct(distinct) => distinct.estimate().into(),
            Sketch::Quantiles(quantiles) => quantiles.count().into(),
            Sketch::Latest(latest) => latest.time().into(),
        }
    }

    /// Bytes in memory beside its own, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        match self {
            Sketch::Distinct(distinct) => distinct.memory(),
            Sketch::Quantiles(quantiles) => quantiles.memory(),
            Sketch::Latest(latest) => latest.memory(),
        }
    }
}

impl<'a> Given<'a> {
    /// What a whole number, handed over by `update` or read from an event at `time` (Unix
    /// milliseconds), gives to a cell.
    #[inline]
    #[must_use]
    pub fn of_number(merge: Merge, value: i128, time: i64, buffer: &'a mut [u8; 17]) -> Given<'a> {
        match merge {
            Merge::Sum | Merge::Min | Merge::Max => Given::Number(value),
            Merge::Distinct => Given::Hash(hash_number(value)),
            Merge::Quantiles => Given::Bucket(bucket_of_integer(value)),
            Merge::Latest => {
                *buffer = latest::number_bytes(value);
                Given::Latest(time, buffer)
            }
        }
    }

    /// What a float gives to a cell; `None` where the cell takes none.
    #[inline]
    #[must_use]
    pub fn of_float(
        merge: Merge,
        value: f64,
        time: i64,
        buffer: &'a mut [u8; 17],
    ) -> Option<Given<'a>> {
        match merge {
            Merge::Sum | Merge::Min | Merge::Max => None,
            Merge::Distinct => Some(Given::Hash(hash_float(value))),
            Merge::Quantiles => Some(Given::Bucket(bucket_of_float(value))),
            Merge::Latest => {
                *buffer = latest::float_bytes(value);
                Some(Given::Latest(time, buffer))
            }
        }
    }

    /// What an id gives to a cell; `None` where the cell takes none.
    #[inline]
    #[must_use]
    pub fn of_id(
        merge: Merge,
        id: IdBytes<'a>,
        time: i64,
        buffer: &'a mut Vec<u8>,
    ) -> Option<Given<'a>> {
        match (merge, id) {
            (Merge::Distinct, IdBytes::Integer(number)) => Some(Given::Hash(hash_id(number))),
            (Merge::Distinct, IdBytes::Text(text)) => Some(Given::Hash(hash_text(text))),
            (Merge::Latest, id) => {
                latest::id_bytes(id, buffer);
                Some(Given::Latest(time, buffer))
            }
            _ => None,
        }
    }
}

/// An id or a text as it stands in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdBytes<'a> {
    /// 0…2⁵³−1.
    Integer(u64),
    /// Its bytes.
    Text(&'a [u8]),
}
