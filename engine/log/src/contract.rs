//! What every [`Log`] and its sources must do, as one suite: run on the embedded log in the unit
//! tests, on real Kafka in `tests`.
//!
//! A [`World`] is a log that the suite may write to and truncate. Failures panic with what was
//! expected and seen. What concerns sources is here, the rest in `log`.

mod log;

use super::{Bounds, Log, LogError, Sink, Source, Start};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_event::Record;

/// A log under test. New for each check, or emptied of nothing: the suite asks for bounds first.
pub trait World {
    /// The log itself.
    fn log(&mut self) -> Arc<dyn Log>;

    /// Its number of partitions, at least 2.
    fn partitions(&self) -> u32;

    /// Appends payloads to a partition, durable when it returns.
    fn append(&mut self, partition: u32, payloads: &[Vec<u8>]);

    /// A new source on it, in the group of the others it gave out.
    fn source(&mut self) -> Box<dyn Source> {
        self.log().source().expect("a source")
    }

    /// Drops the oldest records of a partition, so that at least one is gone and at least one is
    /// kept. Whether this world can.
    fn truncate(&mut self, partition: u32) -> bool;

    /// Leaves a hole in the offsets of a partition. Whether this world can.
    fn hole(&mut self, partition: u32) -> bool;

    /// Whether a second source in the group takes partitions from the first.
    fn shares(&self) -> bool;
}

/// How long anything may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing must come for it to count as nothing.
const QUIET: Duration = Duration::from_millis(400);
const WAIT: Duration = Duration::from_millis(50);

/// A sink that writes down everything, and checks order as it comes.
struct Recorder {
    starts: BTreeMap<u32, Start>,
    otherwise: Start,
    held: BTreeSet<u32>,
    seen: BTreeMap<u32, Vec<(u64, Vec<u8>)>>,
    gaps: Vec<(u32, u64, u64)>,
    /// Up to where holes were told of.
    passed: BTreeMap<u32, u64>,
    revoked: BTreeSet<u32>,
    largest: usize,
    in_poll: usize,
}

impl Recorder {
    fn new(otherwise: Start) -> Recorder {
        Recorder {
            starts: BTreeMap::new(),
            otherwise,
            held: BTreeSet::new(),
            seen: BTreeMap::new(),
            gaps: Vec::new(),
            passed: BTreeMap::new(),
            revoked: BTreeSet::new(),
            largest: 0,
            in_poll: 0,
        }
    }

    fn at(starts: &[(u32, u64)], otherwise: Start) -> Recorder {
        let mut recorder = Recorder::new(otherwise);
        recorder.starts =
            starts.iter().map(|(partition, offset)| (*partition, Start::At(*offset))).collect();
        recorder
    }

    fn of(&self, partition: u32) -> &[(u64, Vec<u8>)] {
        self.seen.get(&partition).map(Vec::as_slice).unwrap_or_default()
    }

    fn count(&self) -> usize {
        self.seen.values().map(Vec::len).sum()
    }
}

impl Sink for Recorder {
    fn assigned(&mut self, partitions: &[u32]) -> Vec<Start> {
        for partition in partitions {
            assert!(self.held.insert(*partition), "partition {partition} was assigned twice");
            self.revoked.remove(partition);
        }
        // as an engine does: what was seen of a partition is not asked for again
        let start = |partition: &u32| match self.of(*partition).last() {
            Some((last, _)) => Start::At(last + 1),
            None => self.starts.get(partition).copied().unwrap_or(self.otherwise),
        };
        partitions.iter().map(start).collect()
    }

    fn revoked(&mut self, partitions: &[u32], _lost: bool) {
        for partition in partitions {
            assert!(self.held.remove(partition), "partition {partition} was revoked but not held");
            self.revoked.insert(*partition);
        }
    }

    fn records(&mut self, partition: u32, records: &[Record<'_>]) {
        assert!(
            self.held.contains(&partition),
            "records of partition {partition}, which is not held (revoked: {})",
            self.revoked.contains(&partition)
        );
        assert!(!records.is_empty(), "a call without records");
        let seen = self.seen.entry(partition).or_default();
        let passed = self.passed.get(&partition).copied().unwrap_or(0);
        for record in records {
            assert!(
                record.offset >= passed,
                "partition {partition}: offset {} after {passed} was passed",
                record.offset
            );
            if let Some((last, _)) = seen.last() {
                assert!(
                    record.offset > *last,
                    "partition {partition}: offset {} after {last}",
                    record.offset
                );
            }
            assert!(
                record.timestamp_ms > 1_600_000_000_000,
                "partition {partition}: timestamp {}",
                record.timestamp_ms
            );
            seen.push((record.offset, record.payload.unwrap_or(b"(tombstone)").to_vec()));
        }
        self.in_poll += records.len();
        self.largest = self.largest.max(self.in_poll);
    }

    fn passed(&mut self, partition: u32, to: u64) {
        assert!(self.held.contains(&partition), "partition {partition} is not held and is passed");
        assert!(
            self.of(partition).last().is_none_or(|(last, _)| *last < to),
            "partition {partition}: passed up to {to} again"
        );
        self.passed.insert(partition, to);
    }

    fn gap(&mut self, partition: u32, from: u64, to: u64) {
        self.gaps.push((partition, from, to));
    }
}

fn poll(source: &mut dyn Source, sink: &mut Recorder, max_records: usize) {
    sink.in_poll = 0;
    match source.poll(WAIT, max_records, sink) {
        Ok(()) | Err(LogError::Transient(..)) => {}
        Err(fatal) => panic!("the source ended: {fatal}"),
    }
}

/// Polls until `done`, or fails saying what was awaited.
fn until(
    source: &mut dyn Source,
    sink: &mut Recorder,
    what: &str,
    done: impl Fn(&Recorder) -> bool,
) {
    let started = Instant::now();
    while !done(sink) {
        assert!(
            started.elapsed() < PATIENCE,
            "{what}: not in {PATIENCE:?}; {} records, gaps {:?}, held {:?}",
            sink.count(),
            sink.gaps,
            sink.held
        );
        poll(source, sink, 1_000);
    }
}

fn quiet(source: &mut dyn Source, sink: &mut Recorder, what: &str) {
    let (started, before) = (Instant::now(), sink.count());
    while started.elapsed() < QUIET {
        poll(source, sink, 1_000);
        assert_eq!(sink.count(), before, "{what}");
    }
}

fn texts(prefix: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|n| format!("{prefix}{n}").into_bytes()).collect()
}

/// What the log holds of each partition now.
fn all_bounds(world: &mut dyn World) -> Vec<Bounds> {
    world.log().bounds().expect("the log answers")
}

fn bounds(world: &mut dyn World, partition: u32) -> Bounds {
    let bounds = all_bounds(world);
    *bounds.iter().find(|bounds| bounds.partition == partition).expect("every partition has bounds")
}

/// Where a reader starts that wants nothing old.
fn ends(world: &mut dyn World) -> Vec<(u32, u64)> {
    all_bounds(world).iter().map(|bounds| (bounds.partition, bounds.end)).collect()
}

fn close(source: Box<dyn Source>) {
    let started = Instant::now();
    source.close(Duration::from_secs(5));
    assert!(started.elapsed() < Duration::from_secs(8), "closing took {:?}", started.elapsed());
}

/// The whole suite, on one world.
pub fn run(world: &mut dyn World) {
    order_and_exact_starts(world);
    at_most_max_records(world);
    pause_and_resume(world);
    rewind(world);
    holes_are_no_gaps(world);
    gap_is_reported_and_rewind_goes_on(world);
    nothing_after_revoke(world);
    log::run(world);
}

fn order_and_exact_starts(world: &mut dyn World) {
    let all: Vec<u32> = (0..world.partitions()).collect();
    for partition in &all {
        world.append(*partition, &texts(&format!("a{partition}-"), 500));
    }
    let (mut source, mut sink) = (world.source(), Recorder::new(Start::Earliest));
    let expected = 500 * all.len();
    until(&mut *source, &mut sink, "all records from the earliest", |sink| {
        sink.count() >= expected
    });
    for partition in &all {
        let payloads: Vec<Vec<u8>> =
            sink.of(*partition).iter().map(|(_, payload)| payload.clone()).collect();
        assert_eq!(
            payloads,
            texts(&format!("a{partition}-"), 500),
            "partition {partition}: what was written, in order"
        );
    }
    let middle = sink.of(0)[123].clone();
    let ends: Vec<(u32, u64)> = ends(world);
    close(source);

    let mut starts = ends;
    starts[0].1 = middle.0;
    let (mut source, mut sink) = (world.source(), Recorder::at(&starts, Start::Earliest));
    until(&mut *source, &mut sink, "the rest of partition 0", |sink| sink.of(0).len() >= 500 - 123);
    assert_eq!(sink.of(0)[0], middle, "it starts at exactly the offset given");
    quiet(&mut *source, &mut sink, "partitions that start at their end have nothing");
    assert_eq!(sink.count(), 500 - 123);
    world.append(1, &texts("new-", 1));
    until(&mut *source, &mut sink, "the new record", |sink| sink.count() == 500 - 123 + 1);
    close(source);
}

fn at_most_max_records(world: &mut dyn World) {
    let (mut source, mut sink) = (world.source(), Recorder::new(Start::Earliest));
    let started = Instant::now();
    while sink.count() < 700 {
        assert!(started.elapsed() < PATIENCE, "700 records in portions of 7");
        poll(&mut *source, &mut sink, 7);
    }
    assert!(sink.largest <= 7, "{} records in a poll of at most 7", sink.largest);
    close(source);
}

fn pause_and_resume(world: &mut dyn World) {
    let starts = ends(world);
    let (mut source, mut sink) = (world.source(), Recorder::at(&starts, Start::Earliest));
    let all = world.partitions() as usize;
    until(&mut *source, &mut sink, "all partitions", |sink| sink.held.len() == all);
    source.pause(0);
    source.pause(9_999); // unknown: ignored
    world.append(0, &texts("p", 50));
    world.append(1, &texts("q", 50));
    until(&mut *source, &mut sink, "partition 1 goes on", |sink| sink.of(1).len() == 50);
    quiet(&mut *source, &mut sink, "a paused partition delivers nothing");
    assert!(sink.of(0).is_empty());
    source.resume(0).expect("a partition that is held is resumed");
    until(&mut *source, &mut sink, "partition 0 goes on where it stood", |sink| {
        sink.of(0).len() >= 50
    });
    let payloads: Vec<&[u8]> = sink.of(0).iter().map(|(_, payload)| payload.as_slice()).collect();
    assert_eq!(payloads, texts("p", 50), "nothing is lost or doubled by a pause");
    close(source);
}

fn rewind(world: &mut dyn World) {
    let (mut source, mut sink) = (world.source(), Recorder::new(Start::Earliest));
    until(&mut *source, &mut sink, "a good part", |sink| {
        sink.of(0).len() >= 300 && sink.of(1).len() >= 300
    });
    let at = sink.of(0)[100].clone();
    let others = sink.of(1).len();
    sink.seen.remove(&0);
    source.rewind(0, at.0).expect("a held partition can be rewound");
    source.rewind(9_999, 0).expect("one that is not held is ignored");
    until(&mut *source, &mut sink, "again", |sink| sink.of(0).len() >= 200);
    assert_eq!(sink.of(0)[0], at, "it goes on at exactly the offset given");
    assert!(sink.of(1).len() >= others);

    source.pause(0);
    sink.seen.remove(&0);
    source.rewind(0, at.0).expect("as above");
    quiet_partition(&mut *source, &mut sink, 0);
    source.resume(0).expect("a partition that is held is resumed");
    until(&mut *source, &mut sink, "once more", |sink| !sink.of(0).is_empty());
    assert_eq!(sink.of(0)[0], at, "paused, rewound, resumed");
    close(source);
}

fn quiet_partition(source: &mut dyn Source, sink: &mut Recorder, partition: u32) {
    let started = Instant::now();
    while started.elapsed() < QUIET {
        poll(source, sink, 1_000);
        assert!(sink.of(partition).is_empty(), "a paused partition that is rewound stays paused");
    }
}

fn holes_are_no_gaps(world: &mut dyn World) {
    let (all, end) = (world.partitions() as usize, bounds(world, 0).end);
    let starts = ends(world);
    if !world.hole(0) {
        return;
    }
    let held = bounds(world, 0);
    let (mut source, mut sink) = (world.source(), Recorder::at(&starts, Start::Earliest));
    let passed = |sink: &Recorder| sink.passed.get(&0).copied();
    // The hole in this log ends with offsets of which no record tells.
    until(&mut *source, &mut sink, "the end is passed", |sink| {
        sink.held.len() == all && passed(sink) == Some(held.end)
    });
    sink.passed.remove(&0);
    sink.seen.remove(&0);
    source.rewind(0, end).expect("a held partition can be rewound");
    until(&mut *source, &mut sink, "the end is passed once more", |sink| {
        passed(sink) == Some(held.end)
    });
    close(source);

    world.append(0, &texts("after-the-hole-", 2));
    let (mut source, mut sink) = (world.source(), Recorder::at(&starts, Start::Earliest));
    until(&mut *source, &mut sink, "records after the hole", |sink| {
        sink.held.len() == all
            && sink.of(0).iter().any(|(_, payload)| payload == b"after-the-hole-1")
    });
    assert!(
        sink.of(0).windows(2).any(|pair| pair[1].0 > pair[0].0 + 1) || sink.of(0)[0].0 > end,
        "there is a hole: {:?}",
        sink.of(0)
    );
    assert!(sink.gaps.is_empty(), "a hole is no gap: {:?}", sink.gaps);
    close(source);
}

fn gap_is_reported_and_rewind_goes_on(world: &mut dyn World) {
    let before = bounds(world, 0);
    if !world.truncate(0) {
        return;
    }
    let mut starts = ends(world);
    let after = bounds(world, 0);
    assert!(
        before.start < after.start && after.start < after.end,
        "the world truncates: {before:?} {after:?}"
    );
    starts[0].1 = before.start;
    let (mut source, mut sink) = (world.source(), Recorder::at(&starts, Start::Earliest));
    until_gap(world, &mut *source, &mut sink, "a gap");
    assert_eq!(sink.gaps, [(0, before.start, after.start)]);
    quiet(&mut *source, &mut sink, "nothing is delivered past a gap");
    source.rewind(0, after.start).expect("the partition is held");
    until(&mut *source, &mut sink, "delivery after the rewind", |sink| !sink.of(0).is_empty());
    assert_eq!(sink.of(0)[0].0, after.start);
    assert_eq!(sink.gaps.len(), 1, "reported once");
    close(source);

    starts[0].1 = after.end + 1_000;
    let (mut source, mut sink) = (world.source(), Recorder::at(&starts, Start::Earliest));
    until_gap(world, &mut *source, &mut sink, "an offset past the end is told");
    assert_eq!(sink.gaps, [(0, after.end + 1_000, after.start)]);
    close(source);
}

/// Polls until a gap is told, and has the log surveyed where the source wants that.
fn until_gap(world: &mut dyn World, source: &mut dyn Source, sink: &mut Recorder, what: &str) {
    let started = Instant::now();
    while sink.gaps.is_empty() {
        assert!(started.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}; held {:?}", sink.held);
        poll(source, sink, 1_000);
        if source.wants_survey() {
            source.surveyed(&all_bounds(world), sink).expect("nothing is asked");
        }
    }
}

fn nothing_after_revoke(world: &mut dyn World) {
    if !world.shares() {
        return;
    }
    let all = world.partitions();
    let (mut first, mut a) = (world.source(), Recorder::new(Start::Earliest));
    until(&mut *first, &mut a, "the first has all", |sink| sink.held.len() == all as usize);
    let starts = ends(world);
    let (mut second, mut b) = (world.source(), Recorder::at(&starts, Start::Earliest));
    let started = Instant::now();
    // the sink of each asserts that nothing comes of what it does not hold
    while a.held.len() + b.held.len() != all as usize || b.held.is_empty() {
        assert!(started.elapsed() < PATIENCE, "shared: {:?} and {:?}", a.held, b.held);
        world.append(started.elapsed().as_millis() as u32 % all, &texts("shared-", 20));
        poll(&mut *first, &mut a, 50);
        poll(&mut *second, &mut b, 50);
    }
    assert!(a.held.is_disjoint(&b.held), "{:?} and {:?}", a.held, b.held);
    close(second);
    until(&mut *first, &mut a, "the first gets them back", |sink| sink.held.len() == all as usize);
    close(first);
}
