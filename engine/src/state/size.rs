//! What metrics take of memory: their own tables, and a part of the ids and keys that they share.
//!
//! Lists that are long are counted as far as they are used: what they reserve beyond is address space, not memory. Each piece
//! of memory is counted with what the allocator adds to it.

use super::metric::MetricState;
use super::{MetricId, State};

/// Length from which on a list has pages of its own.
const LONG: usize = 128 << 10;

/// Bytes of memory that a list takes.
pub(crate) fn list<T>(list: &Vec<T>) -> usize {
    let reserved = list.capacity() * size_of::<T>();
    if reserved >= LONG { size_of_val(list.as_slice()) } else { piece(reserved) }
}

/// Bytes that a piece of memory of so many takes.
pub(crate) fn piece(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { ((bytes + 8).next_multiple_of(16)).max(32) }
}

impl State {
    /// Rows × cells of a metric, and the bytes that it takes: its tables, and its part of the ids and keys that it shares with others.
    pub fn size(&self, metric: MetricId) -> (u64, u64) {
        let (cells, bytes) = self.metrics[metric.0].size();
        (cells, bytes + self.shared()[metric.0])
    }

    /// The bytes that each metric takes, as [`State::size`] says.
    pub fn sizes(&self) -> Vec<(MetricId, u64)> {
        let sizes = self.metrics.iter().zip(self.shared()).enumerate();
        sizes.map(|(number, (metric, shared))| (MetricId(number), metric.size().1 + shared)).collect()
    }

    /// Of ids and keys the part of each metric: a keyspace is divided evenly among the tables that count by it, texts as
    /// keyspaces are.
    fn shared(&self) -> Vec<u64> {
        let names = self.names.read();
        let tables = |metric: &MetricState| if metric.is_empty { 0 } else { metric.tables.len() };
        let keyspaces = |metric: &MetricState| {
            metric.tables.iter().take(tables(metric)).map(|table| table.read().keyspace).collect()
        };
        let used: Vec<Vec<usize>> = self.metrics.iter().map(keyspaces).collect();
        let mut users = vec![0_u64; names.keyspaces.len()];
        used.iter().flatten().for_each(|keyspace| users[*keyspace] += 1);
        let sizes: Vec<u64> = names.keyspaces.iter().map(|keys| keys.memory() as u64).collect();
        let own =
            |used: &Vec<usize>| used.iter().map(|keyspace| sizes[*keyspace] / users[*keyspace].max(1)).sum::<u64>();
        let (texts, all) = (names.texts.memory() as u128, u128::from(sizes.iter().sum::<u64>().max(1)));
        used.iter().map(own).map(|own| own + (texts * u128::from(own) / all) as u64).collect()
    }
}
