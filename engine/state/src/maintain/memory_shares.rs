//! What part of the memory of shared ids and keys each metric accounts for.

use crate::write::metric::MetricState;
use crate::write::names::Names;

/// By metric, its share of the names in bytes: a keyspace is divided evenly among the tables that
/// use it, texts in the proportion of keyspaces.
pub(crate) fn of_names(metrics: &[MetricState], names: &Names) -> Vec<u64> {
    let tables = |metric: &MetricState| if metric.is_empty { 0 } else { metric.tables.len() };
    let keyspaces = |metric: &MetricState| {
        metric.tables.iter().take(tables(metric)).map(|table| table.read().keyspace).collect()
    };
    let used: Vec<Vec<usize>> = metrics.iter().map(keyspaces).collect();
    let mut users = vec![0_u64; names.keyspaces.len()];
    used.iter().flatten().for_each(|keyspace| users[*keyspace] += 1);
    let sizes: Vec<u64> = names.keyspaces.iter().map(|keys| keys.memory() as u64).collect();
    let own = |used: &Vec<usize>| {
        used.iter().map(|keyspace| sizes[*keyspace] / users[*keyspace].max(1)).sum::<u64>()
    };
    let (texts, all) = (names.texts.memory() as u128, u128::from(sizes.iter().sum::<u64>().max(1)));
    used.iter().map(own).map(|own| own + (texts * u128::from(own) / all) as u64).collect()
}
