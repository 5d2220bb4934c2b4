//! How many different values: HyperLogLog with 2¹⁴ registers, and a sparse form of 2²⁶ for small
//! sets.
//!
//! Up to [`SPARSE`] values it is exact but for values whose hashes agree in 26 bits (one is lost
//! among 2,048 in 3 % of all cases, among 200 in 0.03 %). Beyond, the standard error is 1.04 ÷ √2¹⁴
//! = 0.81 %: within 1.6 % in 95 % of all cases. The form is a function of the values alone, not of
//! the order they came in: sparse while that has at most `SPARSE` entries, dense from then on.
//! Estimator: O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017),
//! algorithm 6, without tables and without thresholds. Sparse form after S. Heule and others,
//! "HyperLogLog in practice" (2013).

use super::varint;

/// Most entries of the sparse form: 8 KiB in memory.
pub(super) const SPARSE: usize = 2_048;
/// Registers of the dense form: 16 KiB in memory, 12 KiB stored.
const REGISTERS: usize = 1 << DENSE_BITS;
const DENSE_BITS: u32 = 14;
const SPARSE_BITS: u32 = 26;
/// An entry of the sparse form is index and rank.
const RANK_BITS: u32 = 6;
/// Largest rank of the 38 bits that a sparse index leaves, and of the 50 that a dense one leaves.
const SPARSE_RANK: u8 = (64 - SPARSE_BITS + 1) as u8;
const DENSE_RANK: u8 = (64 - DENSE_BITS + 1) as u8;

/// A set of values, of which only the number is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distinct(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// `index << 6 | rank`, in order, each index once with its largest rank.
    Sparse(Vec<u32>),
    /// The largest rank of each register.
    Dense(Box<[u8]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Distinct(Form::Sparse(Vec::new()))
    }
}

impl Distinct {
    /// Adds a value by its stable hash.
    #[inline]
    pub fn add(&mut self, hash: u64) {
        let index = (hash >> (64 - SPARSE_BITS)) as u32;
        let rank = ((hash << SPARSE_BITS).leading_zeros() + 1).min(u32::from(SPARSE_RANK));
        self.put(index << RANK_BITS | rank);
    }

    fn put(&mut self, entry: u32) {
        match &mut self.0 {
            Form::Dense(registers) => raise(registers, entry),
            Form::Sparse(entries) => {
                let at = entries.partition_point(|other| other >> RANK_BITS < entry >> RANK_BITS);
                if entries.get(at).is_some_and(|other| *other >> RANK_BITS == entry >> RANK_BITS) {
                    entries[at] = entries[at].max(entry);
                } else if entries.len() < SPARSE {
                    entries.insert(at, entry);
                } else {
                    let mut registers = dense(entries);
                    raise(&mut registers, entry);
                    self.0 = Form::Dense(registers);
                }
            }
        }
    }

    /// The union of both.
    pub fn merge(&mut self, other: &Distinct) {
        match (&mut self.0, &other.0) {
            (_, Form::Sparse(others)) if others.len() < 8 => {
                others.iter().for_each(|entry| self.put(*entry))
            }
            (Form::Dense(own), Form::Sparse(others)) => {
                others.iter().for_each(|entry| raise(own, *entry))
            }
            (Form::Dense(own), Form::Dense(others)) => {
                own.iter_mut().zip(others).for_each(|(own, other)| *own = (*own).max(*other));
            }
            (Form::Sparse(own), Form::Dense(others)) => {
                let mut registers = others.clone();
                own.iter().for_each(|entry| raise(&mut registers, *entry));
                self.0 = Form::Dense(registers);
            }
            (Form::Sparse(own), Form::Sparse(others)) => {
                let all = united(own, others);
                self.0 =
                    if all.len() > SPARSE { Form::Dense(dense(&all)) } else { Form::Sparse(all) };
            }
        }
    }

    /// How many different values there are, about.
    #[must_use]
    pub fn estimate(&self) -> u64 {
        match &self.0 {
            // Linear counting over 2²⁶ places differs from the number of entries by less than 0.04
            // up to 2,048.
            Form::Sparse(entries) => entries.len() as u64,
            Form::Dense(registers) => estimate(registers).round() as u64,
        }
    }

    /// Appends the encoding: 0 and the differences of the entries, or 1 and six bits a register.
    pub fn write(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Form::Sparse(entries) => {
                out.push(0);
                let mut last = 0;
                for entry in entries {
                    varint::put(out, u64::from(entry - last));
                    last = *entry;
                }
            }
            Form::Dense(registers) => {
                out.push(1);
                for four in registers.chunks_exact(4) {
                    let bits =
                        four.iter().rev().fold(0u32, |bits, rank| bits << 6 | u32::from(*rank));
                    out.extend_from_slice(&bits.to_le_bytes()[..3]);
                }
            }
        }
    }

    /// Reads what `write` wrote. `None`: the bytes are no such thing.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Distinct> {
        let (form, mut rest) = bytes.split_first()?;
        match form {
            0 => {
                let mut entries: Vec<u32> = Vec::with_capacity(rest.len().min(SPARSE * 4) / 2);
                while !rest.is_empty() {
                    let last = entries.last().copied();
                    let entry = u32::try_from(varint::take(&mut rest)?)
                        .ok()?
                        .checked_add(last.unwrap_or(0))?;
                    let rank = entry & ((1 << RANK_BITS) - 1);
                    let grows = last.is_none_or(|last| entry >> RANK_BITS > last >> RANK_BITS);
                    if entries.len() == SPARSE
                        || !grows
                        || !(1..=u32::from(SPARSE_RANK)).contains(&rank)
                    {
                        return None;
                    }
                    entries.push(entry);
                }
                Some(Distinct(Form::Sparse(entries)))
            }
            1 if rest.len() == REGISTERS / 4 * 3 => {
                let four = |three: &[u8]| {
                    let bits =
                        u32::from(three[0]) | u32::from(three[1]) << 8 | u32::from(three[2]) << 16;
                    [0, 6, 12, 18].map(|shift| (bits >> shift & 63) as u8)
                };
                let registers: Box<[u8]> = rest.chunks_exact(3).flat_map(four).collect();
                registers
                    .iter()
                    .all(|rank| *rank <= DENSE_RANK)
                    .then_some(Distinct(Form::Dense(registers)))
            }
            _ => None,
        }
    }

    pub(super) fn memory(&self) -> usize {
        match &self.0 {
            Form::Sparse(entries) => entries.capacity() * 4,
            Form::Dense(registers) => registers.len(),
        }
    }
}

/// Two sorted lists as one; of an index the larger rank.
fn united(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut all = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x >> RANK_BITS == y >> RANK_BITS => {
                let larger = *x.max(y);
                a.next();
                b.next();
                larger
            }
            (Some(x), Some(y)) if y < x => {
                let y = *y;
                b.next();
                y
            }
            (Some(x), _) => {
                let x = *x;
                a.next();
                x
            }
            (None, Some(y)) => {
                let y = *y;
                b.next();
                y
            }
            (None, None) => return all,
        };
        all.push(next);
    }
}

/// The registers that these entries make: the same as if their values had been added to them.
fn dense(entries: &[u32]) -> Box<[u8]> {
    let mut registers = vec![0; REGISTERS].into_boxed_slice();
    entries.iter().for_each(|entry| raise(&mut registers, *entry));
    registers
}

fn raise(registers: &mut [u8], entry: u32) {
    const MORE: u32 = SPARSE_BITS - DENSE_BITS;
    let index = entry >> RANK_BITS;
    // The bits that the shorter index leaves begin with those that only the longer one has.
    let middle = index & ((1 << MORE) - 1);
    let rank = match middle {
        0 => MORE + (entry & ((1 << RANK_BITS) - 1)),
        _ => middle.leading_zeros() - (32 - MORE) + 1,
    };
    let register = &mut registers[(index >> MORE) as usize];
    *register = (*register).max(rank as u8);
}

fn estimate(registers: &[u8]) -> f64 {
    let mut counts = [0u32; 64];
    registers.iter().for_each(|rank| counts[usize::from(*rank & 63)] += 1);
    let m = REGISTERS as f64;
    let share = |rank: u8| f64::from(counts[usize::from(rank)]) / m;
    let mut z = m * tau(1.0 - share(DENSE_RANK));
    for rank in (1..DENSE_RANK).rev() {
        z = 0.5 * (z + f64::from(counts[usize::from(rank)]));
    }
    z += m * sigma(share(0));
    // 1 ÷ (2 ln 2)
    m * m / z * 0.721_347_520_444_481_7
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
#[path = "distinct_tests.rs"]
mod tests;
