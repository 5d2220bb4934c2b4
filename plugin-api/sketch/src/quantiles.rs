//! How values are spread: a histogram whose buckets grow with the values, 64 to each doubling.
//!
//! Any quantile it tells is within 0.8 % of the exact one. It is a DDSketch (C. Masson, J. Rim, H.
//! Lee, 2019) with the mapping that needs no logarithm: the bucket of a value is its exponent and
//! the first six bits behind, which every machine computes alike. Counts are integers, so merging
//! is exact. Magnitudes below 2⁻³² count as zero, beyond 2⁹⁶ as that: at most 16,385 buckets,
//! usually some hundred.

use super::varint;

/// Buckets to each doubling: 1 ÷ 128 is the largest error of their middle.
const STEPS: i32 = 64;
const BITS: u32 = 6;
/// Exponents that are told apart.
const FIRST: i32 = -32;
const LAST: i32 = 95;
/// Bucket of the smallest positive value: 1.
const OFFSET: i32 = 1 - FIRST * STEPS;
/// Bucket of the largest value.
const LARGEST: i32 = LAST * STEPS + STEPS - 1 + OFFSET;

/// A histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Bucket and number of values, in order of the values; none is 0.
    buckets: Vec<(i32, u64)>,
}

/// The bucket of a whole number (of a decimal its scaled value).
#[must_use]
pub fn bucket_of_integer(value: i128) -> i32 {
    let magnitude = value.unsigned_abs();
    if magnitude == 0 {
        return 0;
    }
    let exponent = 127 - magnitude.leading_zeros() as i32;
    let shifted = if exponent >= BITS as i32 {
        magnitude >> (exponent - BITS as i32)
    } else {
        magnitude << (BITS as i32 - exponent)
    };
    signed(value < 0, exponent, (shifted & (STEPS as u128 - 1)) as i32)
}

/// The bucket of a float. One that is not a number is taken for zero; nothing that comes from an
/// event is such.
#[must_use]
pub fn bucket_of_float(value: f64) -> i32 {
    if value.is_nan() {
        return 0;
    }
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32 - 1_023;
    signed(value < 0.0, exponent, (bits >> (52 - BITS)) as i32 & (STEPS - 1))
}

fn signed(negative: bool, exponent: i32, step: i32) -> i32 {
    if exponent < FIRST {
        return 0;
    }
    let bucket = if exponent > LAST { LARGEST } else { exponent * STEPS + step + OFFSET };
    if negative { -bucket } else { bucket }
}

/// The value that stands for a bucket: its middle; of whole numbers up to 127 the number itself.
fn middle(bucket: i32, whole: bool) -> f64 {
    if bucket == 0 {
        return 0.0;
    }
    let place = bucket.abs() - OFFSET;
    let (exponent, step) = (place.div_euclid(STEPS), place.rem_euclid(STEPS));
    let half = if whole && exponent <= BITS as i32 { 0.0 } else { 0.5 };
    let power = f64::from_bits(((exponent + 1_023) as u64) << 52);
    let value = power * (1.0 + (f64::from(step) + half) / f64::from(STEPS));
    if bucket < 0 { -value } else { value }
}

impl Quantiles {
    /// Adds `count` values of a bucket.
    pub fn add(&mut self, bucket: i32, count: u64) {
        if count == 0 {
            return;
        }
        let bucket = bucket.clamp(-LARGEST, LARGEST);
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 = self.buckets[at].1.wrapping_add(count),
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    /// The values of both.
    pub fn merge(&mut self, other: &Quantiles) {
        if other.buckets.len() < 4 {
            other.buckets.iter().for_each(|(bucket, count)| self.add(*bucket, *count));
            return;
        }
        let mut all = Vec::with_capacity(self.buckets.len() + other.buckets.len());
        let (mut a, mut b) = (self.buckets.iter().peekable(), other.buckets.iter().peekable());
        while let Some((x, n)) = a.peek() {
            match b.peek() {
                Some((y, more)) if y == x => {
                    all.push((*x, n.wrapping_add(*more)));
                    a.next();
                    b.next();
                }
                Some((y, more)) if y < x => {
                    all.push((*y, *more));
                    b.next();
                }
                _ => {
                    all.push((*x, *n));
                    a.next();
                }
            }
        }
        all.extend(b);
        self.buckets = all;
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, (_, count)| sum.wrapping_add(*count))
    }

    /// The value below which a share `q` (0 to 1) of the values lies: of the sorted values the one
    /// at `⌊q · (n − 1)⌋`, within 0.8 %. `whole`: the values are whole numbers, so that small ones
    /// are exact. `None` where there are none.
    #[must_use]
    pub fn quantile(&self, q: f64, whole: bool) -> Option<f64> {
        let rank = (q.clamp(0.0, 1.0) * (self.count().checked_sub(1)? as f64)).floor() as u64;
        let mut before = 0_u64;
        let reached = |(_, count): &&(i32, u64)| {
            before = before.saturating_add(*count);
            before > rank
        };
        let found = self.buckets.iter().find(reached).or(self.buckets.last());
        found.map(|(bucket, _)| middle(*bucket, whole))
    }

    /// Appends the encoding: differences of the buckets, and their counts.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut last = i64::from(-LARGEST - 1);
        for (bucket, count) in &self.buckets {
            varint::put(out, (i64::from(*bucket) - last) as u64);
            varint::put(out, *count);
            last = i64::from(*bucket);
        }
    }

    /// Reads what `write` wrote. `None`: the bytes are no such thing.
    #[must_use]
    pub fn read(mut bytes: &[u8]) -> Option<Quantiles> {
        let mut buckets = Vec::with_capacity(bytes.len().min(4_096) / 2);
        let (mut last, mut sum) = (-LARGEST - 1, 0_u64);
        while !bytes.is_empty() {
            let step = i32::try_from(varint::take(&mut bytes)?).ok().filter(|step| *step > 0)?;
            last = last.checked_add(step).filter(|bucket| *bucket <= LARGEST)?;
            let count = varint::take(&mut bytes).filter(|count| *count > 0)?;
            sum = sum.checked_add(count)?;
            buckets.push((last, count));
        }
        Some(Quantiles { buckets })
    }

    pub(super) fn memory(&self) -> usize {
        self.buckets.capacity() * size_of::<(i32, u64)>()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test fails by panicking

    use super::*;
    use crate::random::Random;

    fn bytes(quantiles: &Quantiles) -> Vec<u8> {
        let mut out = Vec::new();
        quantiles.write(&mut out);
        out
    }

    /// Values over many orders of magnitude, both signs, with repetitions.
    fn values(random: &mut Random, count: usize) -> Vec<i128> {
        let value = |random: &mut Random| {
            let bits = random.below(60) as u32;
            let magnitude = i128::from(random.below(1 << bits.max(1)));
            if random.below(4) == 0 { -magnitude } else { magnitude }
        };
        (0..count).map(|_| value(random)).collect()
    }

    fn of(values: &[i128]) -> Quantiles {
        let mut quantiles = Quantiles::default();
        values.iter().for_each(|value| quantiles.add(bucket_of_integer(*value), 1));
        quantiles
    }

    #[test]
    fn quantiles_are_within_one_per_cent_of_the_exact_ones() {
        let mut random = Random(5);
        for count in [1, 2, 3, 10, 1_000, 20_000] {
            let mut values = values(&mut random, count);
            let histogram = of(&values);
            values.sort_unstable();
            for q in [0.0, 0.01, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0] {
                let exact = values[(q * (count - 1) as f64).floor() as usize] as f64;
                let told = histogram.quantile(q, true).unwrap();
                assert!(
                    (told - exact).abs() <= exact.abs() * 0.01,
                    "{q} of {count}: {told} for {exact}"
                );
                if exact.abs() <= 127.0 {
                    assert_eq!(told, exact, "small whole numbers are exact");
                }
            }
        }
        assert_eq!(Quantiles::default().quantile(0.5, true), None);
    }

    #[test]
    fn floats_have_the_bucket_of_the_number_they_are() {
        for value in (0..2_000).chain([65_535, 65_536, 1 << 40, (1 << 52) + 1]) {
            assert_eq!(bucket_of_float(value as f64), bucket_of_integer(value), "{value}");
            assert_eq!(bucket_of_float(-(value as f64)), bucket_of_integer(-value), "-{value}");
        }
        let mut random = Random(9);
        for _ in 0..10_000 {
            let value = (random.below(1 << 52) as f64) * 2_f64.powi(random.below(40) as i32 - 70);
            let told = middle(bucket_of_float(value), false);
            let small = value < 2_f64.powi(FIRST);
            assert!(
                if small { told == 0.0 } else { (told - value).abs() <= value * 0.008 },
                "{value}: {told}"
            );
        }
        assert_eq!(bucket_of_float(f64::MAX), LARGEST);
        assert_eq!(bucket_of_float(f64::MIN_POSITIVE / 2.0), 0);
        assert_eq!(bucket_of_integer(i128::MIN), -LARGEST);
    }

    #[test]
    fn any_split_and_order_gives_the_same_bytes() {
        let mut random = Random(1);
        for count in [0, 1, 3, 50, 3_000] {
            let values = values(&mut random, count);
            let whole = of(&values);
            let (left, right) = values.split_at(random.below(count as u64 + 1) as usize);
            let (middle, right) = right.split_at(right.len() / 3);
            let [a, b, c] = [of(left), of(middle), of(right)];
            let merged = |parts: &[&Quantiles]| {
                let mut all = Quantiles::default();
                parts.iter().for_each(|part| all.merge(part));
                all
            };
            assert_eq!(bytes(&merged(&[&a, &b, &c])), bytes(&whole));
            assert_eq!(bytes(&merged(&[&c, &a, &b])), bytes(&whole));
            assert_eq!(bytes(&merged(&[&a, &merged(&[&b, &c])])), bytes(&whole));
            assert_eq!(whole.count(), count as u64);
        }
    }

    #[test]
    fn it_comes_back_and_damage_is_noticed() {
        let mut random = Random(2);
        let histogram = of(&values(&mut random, 500));
        let good = bytes(&histogram);
        assert_eq!(Quantiles::read(&good).unwrap(), histogram);
        for _ in 0..2_000 {
            let mut bad = good[..random.below(good.len() as u64 + 1) as usize].to_vec();
            if let Some(last) = bad.len().checked_sub(1) {
                bad[random.below(last as u64 + 1) as usize] ^= 1 << random.below(8);
            }
            if let Some(read) = Quantiles::read(&bad) {
                assert_eq!(bytes(&read), bad);
            }
        }
        assert_eq!(Quantiles::read(&[0, 1]), None, "no step");
        assert_eq!(Quantiles::read(&[1, 0]), None, "a bucket of nothing");
        let twice = [&[1][..], &[0xff; 9], &[1, 1], &[0xff; 9], &[1]].concat();
        assert_eq!(Quantiles::read(&twice), None, "more values than can be counted");
    }
}
