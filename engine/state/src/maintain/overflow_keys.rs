//! Chooses which keys a table keeps once it has too many: the rest count together under
//! `__other__`.
//!
//! It happens each time a table's keys have about doubled. The rows are then moved by
//! `write::metric` (`narrow`).

use crate::write::keyspace::Keyspace;
use crate::write::metric::MetricState;
use crate::write::names::Names;
use crate::write::texts::Texts;
use crate::write::threshold::{Folding, Threshold};
use std::collections::HashSet;

/// A table with more cells than `max`: its name and how many it has.
pub(crate) fn table_over(metric: &MetricState, max: u64) -> Option<(String, u64)> {
    let mut tables = metric.tables.iter().map(|table| table.read());
    tables.find_map(|table| {
        let cells = (table.len() * table.layout.len()) as u64;
        (cells > max).then(|| (table.description.name.clone(), cells))
    })
}

/// By table, the lowest threshold at which it has no more than `max` cells; the highest if none is
/// enough.
pub(crate) fn thresholds_for(metric: &MetricState, names: &mut Names, max: u64) -> Vec<Threshold> {
    let Names { texts, keyspaces } = names;
    let tables = metric.tables.iter().map(|table| table.read());
    let lowest = tables.map(|table| {
        let keys = &keyspaces[table.keyspace];
        let rows = max / table.layout.len().max(1) as u64;
        if table.len() as u64 <= rows {
            return keys.threshold();
        }
        let folding = Folding::of_groups(&table.description, texts);
        lowest(keys, &table.keys().collect::<Vec<_>>(), rows as usize, folding, texts)
    });
    lowest.collect()
}

/// Empties the keyspaces that no table uses any more.
pub(crate) fn release(names: &mut Names, metrics: &[MetricState]) {
    let Names { texts, keyspaces } = names;
    let tables = metrics.iter().filter(|metric| !metric.is_empty).flat_map(|metric| &metric.tables);
    let used: HashSet<usize> = tables.map(|table| table.read().keyspace).collect();
    for (number, keyspace) in keyspaces.iter_mut().enumerate() {
        if !used.contains(&number) && !keyspace.is_leased() && keyspace.len() > 0 {
            *keyspace = keyspace.emptied(texts);
        }
    }
}

/// The lowest threshold under which these keys become at most `rows`; the highest if there is none.
fn lowest(keys: &Keyspace, of: &[u32], rows: usize, folding: Folding, texts: &Texts) -> Threshold {
    let types = keys.threshold().types();
    let kept: Vec<Option<u8>> =
        of.iter().map(|key| folding.keeps(keys.key(*key), types, texts)).collect();
    let mut last = keys.threshold();
    for threshold in keys.threshold().above() {
        last = threshold;
        let (mut whole, mut together) = (0, HashSet::new());
        for (key, most) in of.iter().zip(&kept) {
            let key = keys.key(*key);
            if most.is_none_or(|most| most >= threshold.bits()) && !folding.is_folded(key) {
                whole += 1;
                if whole > rows {
                    break;
                }
            } else {
                let mut under = [0; 3];
                under[..key.len()].copy_from_slice(key);
                // Types that are not kept are no longer among the keys.
                folding.settle_groups(threshold, &mut under[..key.len()], texts);
                together.insert(under);
            }
        }
        if whole + together.len() <= rows {
            break;
        }
    }
    last
}
