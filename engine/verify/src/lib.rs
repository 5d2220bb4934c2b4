//! Counting everything again: an audit of a running engine by code that shares nothing with it.
//!
//! Read are the engine's log, its `[events]` and its state at exact positions, through an
//! [`Engine`] that the caller reaches. From there on nothing of the engine is used: `record` has
//! its own verdict, `property` its own values, `dedupe` its own window, `panes` its own sense of
//! which time lies where, `types` its own rule of which event types stand for themselves, `table`
//! plain maps, `held` and `sketch` its own cells, sets and histograms, `compare` says what differs,
//! `report` how it is shown. It writes nothing, and never says "equal" of what it did not recount:
//! that is named.
//!
//! A metric whose beginning the log still holds is counted from there. Of one whose beginning is
//! gone, the state is taken twice, and what came in between is counted on top of the first. Memory:
//! every row of totals and panes twice, some 400 bytes each.

mod compare;
mod dedupe;
mod held;
mod members;
mod panes;
mod property;
mod record;
mod remote;
mod report;
mod sketch;
mod table;
mod time;
mod types;

pub use remote::{Engine, Refused};
pub use report::Outcome;

use dedupe::Window;
use property::Property;
use record::Judge;
use remote::{Bounds, CountedPartition, FoundRow, Header, Part, Record, Remote};
use report::{Audited, Read};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use table::Table;

/// How long the log is let move on where only a difference can be checked.
const MOVE_ON: Duration = Duration::from_secs(5);

/// Who is told how far it is.
pub trait Watch {
    /// Something of unknown length begins.
    fn step(&mut self, what: &str);

    /// So many offsets will be read.
    fn reads(&mut self, offsets: u64);

    /// So much more is done.
    fn done(&mut self, more: u64);
}

/// A metric under audit.
struct Metric {
    name: String,
    tables: Vec<Table>,
    /// Whether it is counted from its beginning.
    whole: bool,
    /// Why not: partition, where it began, where the log does.
    begins: Vec<(u32, u64, u64)>,
    /// Per partition what is recounted: from, to.
    ranges: BTreeMap<u32, (u64, u64)>,
    /// Per partition what it passed over because it was gone.
    gaps: BTreeSet<(u32, u64, u64)>,
    /// Per partition the events of what is recounted that it says are in no cell, for its own code
    /// failed on them.
    failed: BTreeMap<u32, u64>,
    /// Whether it reads events by an earlier `[events]`: nothing of it can be counted again.
    reads_otherwise: bool,
}

/// Counts the metrics of these names (none: all) again and compares.
///
/// # Errors
/// A sentence: something cannot be read, or changed under the count.
pub async fn verify(
    engine: &impl Engine,
    names: &[String],
    watch: &mut dyn Watch,
) -> Result<Outcome, String> {
    let engine = &Remote::new(engine);
    let mut judge = Judge::new(engine.events().await?)?;
    let names = if names.is_empty() { engine.metrics().await? } else { names.to_vec() };
    let held = by_partition(engine.bounds().await?);
    let mut metrics = Vec::new();
    for name in &names {
        watch.step(&format!("reading {name}"));
        metrics.push(begin(engine, name, &held, &mut judge, watch).await?);
    }
    if metrics.iter().any(|metric| !metric.whole && !metric.reads_otherwise) {
        watch.step("waiting for the log to grow");
        engine.pause(MOVE_ON).await;
        for metric in metrics.iter_mut().filter(|metric| !metric.whole && !metric.reads_otherwise) {
            watch.step(&format!("reading {} again", metric.name));
            metric.take_again(engine, watch).await?;
        }
    }
    let read = recount(engine, &judge, &mut metrics, watch).await?;
    Ok(Outcome::new(read, metrics.into_iter().map(Metric::compare).collect()))
}

fn by_partition(bounds: Vec<Bounds>) -> BTreeMap<u32, Bounds> {
    bounds.into_iter().map(|bounds| (bounds.partition, bounds)).collect()
}

/// Takes the state of a metric: what is to be found, or what to count on.
async fn begin(
    engine: &Remote<'_, impl Engine>,
    name: &str,
    held: &BTreeMap<u32, Bounds>,
    judge: &mut Judge,
    watch: &mut dyn Watch,
) -> Result<Metric, String> {
    let mut taken: Option<Metric> = None;
    let take = &mut |part: Part| match (part, &mut taken) {
        (Part::Header(header), _) => {
            taken = Some(Metric::new(name, header, held, judge)?);
            Ok(())
        }
        (Part::Row(row), Some(metric)) => {
            watch.done(1);
            let whole = metric.whole;
            let table = metric.table(row.table)?;
            let FoundRow { pane, key, cells, .. } = row;
            if whole { table.find(pane, key, cells) } else { table.begin(pane, key, cells) }
        }
        (Part::Row(_), None) => Err(format!("{name}: a row was sent before the tables")),
    };
    engine.state(name, take).await?;
    taken.ok_or_else(|| format!("{name}: no state was sent"))
}

/// Reads the log once, each partition from where the first metric needs it, and counts for all of
/// them.
async fn recount(
    engine: &Remote<'_, impl Engine>,
    judge: &Judge,
    metrics: &mut [Metric],
    watch: &mut dyn Watch,
) -> Result<Read, String> {
    let held = by_partition(engine.bounds().await?);
    let mut stretches: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for (partition, (from, to)) in metrics.iter().flat_map(|metric| &metric.ranges) {
        let all = stretches.entry(*partition).or_insert((*from, *to));
        *all = (all.0.min(*from), all.1.max(*to));
    }
    let mut read = Read {
        position: stretches.iter().map(|(partition, (_, to))| (*partition, *to)).collect(),
        ..Read::default()
    };
    stretches.retain(|_, (from, to)| from < to);
    watch.reads(stretches.values().map(|(from, to)| to - from).sum());
    for (partition, (from, to)) in stretches {
        let start = held.get(&partition).map_or(0, |bounds| bounds.start);
        let warm = from.saturating_sub(judge.window).max(start);
        let mut window = Window::new(judge.window);
        let mut first = None;
        let mut at = from;
        let count = &mut |record: Record| {
            let offset = record.offset;
            let first = *first.get_or_insert(offset);
            let counts = offset >= from;
            if counts {
                watch.done(offset + 1 - at);
                at = offset + 1;
                read.records += 1;
            }
            let Some(event) = judge.event(record.payload.as_deref(), record.event_time()) else {
                read.refused += u64::from(counts);
                return Ok(());
            };
            let (id, origin) = (event.event_id.as_deref(), record.origin.as_ref());
            if window.repeats(offset, id, origin.map(|origin| origin.place.as_str())) {
                read.duplicates += u64::from(counts);
                return Ok(());
            }
            read.events += u64::from(counts);
            let identified = id.is_some() || origin.is_some();
            let known = !identified || offset.saturating_sub(judge.window) >= first;
            for metric in metrics.iter_mut().filter(|metric| metric.counts(partition, offset)) {
                let certain = known || metric.whole;
                metric.tables.iter_mut().for_each(|table| table.count(&event, certain));
            }
            Ok(())
        };
        engine.records(partition, warm, to, count).await?;
        // What was dropped while it was read is missing from the count.
        let start = engine
            .bounds()
            .await?
            .iter()
            .find(|bounds| bounds.partition == partition)
            .map(|bounds| bounds.start);
        if start.is_none_or(|start| start > from) {
            return Err(format!(
                "the log dropped records of partition {partition} that were being recounted (from \
                 offset {from}): run the command again"
            ));
        }
    }
    Ok(read)
}

impl Metric {
    fn new(
        name: &str,
        header: Header,
        held: &BTreeMap<u32, Bounds>,
        judge: &mut Judge,
    ) -> Result<Metric, String> {
        let read = |property: &Property| Ok((property.name.clone(), judge.read(property)?));
        let places: BTreeMap<String, usize> =
            header.properties.iter().map(read).collect::<Result<_, String>>()?;
        let tables = header.tables.into_iter().zip(header.held);
        let mut metric = Metric {
            name: name.into(),
            tables: tables
                .map(|(table, held)| Table::new(table, held, places.clone(), judge.types()))
                .collect(),
            whole: true,
            begins: Vec::new(),
            ranges: BTreeMap::new(),
            gaps: BTreeSet::new(),
            failed: BTreeMap::new(),
            reads_otherwise: header.reads_otherwise,
        };
        let partitions = if header.reads_otherwise { Vec::new() } else { header.partitions };
        for place in partitions {
            let Some(bounds) = held.get(&place.partition) else {
                return Err(format!(
                    "{name} counted partition {}, which the log does not have",
                    place.partition
                ));
            };
            if place.start < bounds.start && place.start < place.next {
                metric.whole = false;
                metric.begins.push((place.partition, place.start, bounds.start));
            }
            metric.ranges.insert(place.partition, (place.start, place.next));
            metric.failed.insert(place.partition, place.failed);
        }
        Ok(metric)
    }

    /// Takes the state again: what came in between is what is counted again.
    async fn take_again(
        &mut self,
        engine: &Remote<'_, impl Engine>,
        watch: &mut dyn Watch,
    ) -> Result<(), String> {
        let name = self.name.clone();
        let take = &mut |part: Part| match part {
            Part::Header(header) => self.goes_on(header),
            Part::Row(row) => {
                watch.done(1);
                self.table(row.table)?.find(row.pane, row.key, row.cells)
            }
        };
        engine.state(&name, take).await
    }

    /// The second state must be a later one of the first.
    fn goes_on(&mut self, header: Header) -> Result<(), String> {
        let mut first = std::mem::take(&mut self.ranges);
        for CountedPartition { partition, start, next, gaps, failed } in header.partitions {
            let (began, from) = first.remove(&partition).unwrap_or((start, start));
            if began != start || next < from {
                return Err(anew(&self.name));
            }
            self.ranges.insert(partition, (from, next));
            let before = self.failed.remove(&partition).unwrap_or(0);
            self.failed
                .insert(partition, failed.checked_sub(before).ok_or_else(|| anew(&self.name))?);
            self.gaps.extend(gaps.iter().map(|[from, to]| (partition, *from, *to)));
        }
        if !first.is_empty() || header.held.len() != self.tables.len() {
            return Err(anew(&self.name));
        }
        self.tables.iter_mut().zip(header.held).for_each(|(table, held)| table.holds(held));
        Ok(())
    }

    fn counts(&self, partition: u32, offset: u64) -> bool {
        self.ranges.get(&partition).is_some_and(|(from, to)| (*from..*to).contains(&offset))
    }

    fn table(&mut self, number: usize) -> Result<&mut Table, String> {
        let fault =
            || format!("{}: a row belongs to table {number}, which is not described", self.name);
        if number < self.tables.len() { Ok(&mut self.tables[number]) } else { Err(fault()) }
    }

    fn compare(self) -> Audited {
        let mut not_checked = Vec::new();
        if self.reads_otherwise {
            let what = "anything: it reads events by an earlier configuration, until a newer \
                        revision replaces it";
            return Audited {
                metric: self.name,
                not_checked: vec![what.into()],
                ..Audited::default()
            };
        }
        if !self.whole {
            let ranges = self.ranges.iter().filter(|(_, (from, to))| from < to);
            let ranges: Vec<String> = ranges
                .map(|(partition, (from, to))| format!("{partition}:[{from}, {to})"))
                .collect();
            for (partition, start, held) in &self.begins {
                not_checked.push(format!(
                    "what was counted before: partition {partition} was counted from offset \
                     {start} on, the log begins at {held}"
                ));
            }
            not_checked.push(match ranges.as_slice() {
                [] => {
                    "anything: nothing was counted meanwhile; run the command while events arrive"
                        .into()
                }
                ranges => format!(
                    "anything but the difference of two states, offsets {}",
                    ranges.join(" ")
                ),
            });
        }
        for (partition, from, to) in &self.gaps {
            not_checked.push(format!(
                "partition {partition}: offsets [{from}, {to}) were gone before they were counted"
            ));
        }
        let ranges = self.ranges.into_iter().collect();
        let failed = self.failed.values().sum();
        let mut audited = Audited {
            metric: self.name,
            whole: self.whole,
            ranges,
            not_checked,
            failed,
            ..Audited::default()
        };
        self.tables.into_iter().for_each(|table| audited.add(table.compare(failed)));
        audited.close();
        audited
    }
}

fn anew(name: &str) -> String {
    format!("the state of {name} was rebuilt during the check: run the command again")
}
