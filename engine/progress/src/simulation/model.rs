//! The log and the store of the simulated world, and the one sentence that must always hold between
//! them.

use super::super::{Anchor, Answer, Progress};
use super::Mutant;
use rand::Rng;
use rand::rngs::SmallRng;
use std::collections::BTreeMap;

/// The dedupe window of the world.
pub(super) const WINDOW: u64 = 6;
/// Offsets up to which retention may delete; no duplicate lies across one, so verdicts do not
/// depend on retention.
pub(super) const RETENTION: [u64; 2] = [9, 22];
/// Records of a partition.
pub(super) const LENGTH: u64 = 36;

/// A record: its event id, `None` for one that is refused.
#[derive(Clone, Copy)]
pub(super) struct Record {
    pub(super) id: Option<u64>,
    pub(super) anchor: Anchor,
    /// Whether the code of [`FAILING`] fails on it.
    pub(super) poison: bool,
}

/// The revision whose code fails on some events.
pub(super) const FAILING: u32 = 1;

/// One partition. Offsets without a record are holes.
pub(super) struct Log {
    pub(super) records: Vec<Option<Record>>,
    /// By the log alone: whether the record at this offset is the first of its event.
    unique: Vec<bool>,
    pub(super) start: u64,
    pub(super) end: u64,
}

impl Log {
    pub(super) fn new(rng: &mut SmallRng) -> Self {
        let mut records: Vec<Option<Record>> = Vec::new();
        let mut unique = Vec::new();
        for offset in 0..LENGTH {
            let region = |offset: u64| RETENTION.iter().filter(|at| offset >= **at).count();
            let mut id = Some(1000 + offset);
            if rng.random_bool(0.25) {
                let from = offset.saturating_sub(rng.random_range(1..WINDOW + 4));
                id = records
                    .get(from as usize)
                    .copied()
                    .flatten()
                    .and_then(|record| record.id)
                    .filter(|_| region(from) == region(offset))
                    .or(id);
            }
            if rng.random_bool(0.05) {
                id = None;
            }
            let anchor = Anchor { offset, timestamp_ms: offset as i64, crc32: rng.random() };
            // In runs, as failures come.
            let run = records.last().copied().flatten().is_some_and(|record: Record| record.poison);
            let poison = rng.random_bool(if run { 0.5 } else { 0.15 });
            records.push(rng.random_bool(0.85).then_some(Record { id, anchor, poison }));
            let seen = |id| {
                (offset.saturating_sub(WINDOW)..offset)
                    .any(|o| records[o as usize].is_some_and(|record| record.id == Some(id)))
            };
            unique.push(
                records[offset as usize].and_then(|record| record.id).is_some_and(|id| !seen(id)),
            );
        }
        Self { records, unique, start: 0, end: rng.random_range(0..LENGTH) }
    }

    pub(super) fn length(&self) -> u64 {
        LENGTH
    }

    /// Whether the record at `offset` is an event that a state with this progress has come by.
    fn met(&self, progress: &Progress, offset: u64) -> bool {
        let gone = progress.gaps.iter().any(|gap| (gap.from..gap.to).contains(&offset));
        (progress.start..progress.next).contains(&offset) && !gone && self.unique[offset as usize]
    }

    /// Whether the code of a revision fails on it.
    fn fails(&self, revision: u32, offset: u64) -> bool {
        revision == FAILING && self.records[offset as usize].is_some_and(|record| record.poison)
    }

    /// Whether a state with this progress must contain the record at `offset`, once.
    fn counts(&self, revision: u32, progress: &Progress, offset: u64) -> bool {
        self.met(progress, offset) && !self.fails(revision, offset)
    }

    /// How many events this progress must say are left out.
    fn failed(&self, revision: u32, progress: &Progress) -> u64 {
        let all = 0..self.length();
        all.filter(|offset| self.met(progress, *offset) && self.fails(revision, *offset)).count()
            as u64
    }

    /// Whether everything that counts lies before `next`: behind it are at most failures that no
    /// success has ended.
    pub(super) fn is_counted(&self, revision: u32, next: u64) -> bool {
        let behind =
            Progress { start: next.max(self.start), next: self.end, ..Progress::default() };
        next == self.end
            || (next < self.end
                && (next..self.end).all(|offset| !self.counts(revision, &behind, offset)))
    }
}

/// How often each record is in a state, by partition and offset.
pub(super) type Tally = BTreeMap<u32, Vec<u8>>;

/// The smallest and the largest event time of records; times do not grow with offsets.
pub(super) fn times_of(offsets: impl Iterator<Item = u64>) -> Option<(i64, i64)> {
    let times = offsets.map(|offset| (offset * 7 % LENGTH) as i64);
    times
        .map(|time| (time, time))
        .reduce(|(first, last), (time, _)| (first.min(time), last.max(time)))
}

/// Adds records.
pub(super) fn fold(tally: &mut Tally, partition: u32, offsets: &[u64]) {
    let counts = tally.entry(partition).or_insert_with(|| vec![0; LENGTH as usize]);
    for offset in offsets {
        counts[*offset as usize] = counts[*offset as usize].saturating_add(1);
    }
}

/// One revision as stored.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) life: u128,
    pub(super) tally: Tally,
    pub(super) progress: BTreeMap<u32, Vec<u8>>,
}

/// The store.
#[derive(Clone, Default)]
pub(super) struct Store {
    pub(super) states: BTreeMap<u32, State>,
    pub(super) lives: u128,
}

/// One partition of a commit on the wire: partition, from, record it rests on, record, deltas.
pub(super) type Step = (u32, u64, Option<Vec<u8>>, Vec<u8>, Vec<u64>);

/// A commit on the wire.
#[derive(Clone)]
pub(super) struct Commit {
    pub(super) revision: u32,
    pub(super) life: u128,
    pub(super) steps: Vec<Step>,
}

fn next(bytes: &[u8]) -> u64 {
    Progress::decode(bytes).expect("the world stores only what was encoded").next
}

impl Store {
    pub(super) fn create(&mut self, revision: u32) {
        self.lives += 1;
        self.states.insert(revision, State { life: self.lives, ..State::default() });
    }

    /// Executes a commit. A broken protocol leaves a second half behind, to be executed later.
    pub(super) fn commit(&mut self, commit: &Commit, mutant: Mutant) -> (Answer, Option<Commit>) {
        let Some(state) = self.states.get_mut(&commit.revision) else {
            return (Answer::OtherLife, None);
        };
        if state.life != commit.life {
            return (Answer::OtherLife, None);
        }
        let stored: Vec<(u32, u64)> = commit
            .steps
            .iter()
            .map(|(partition, ..)| {
                (*partition, state.progress.get(partition).map_or(0, |bytes| next(bytes)))
            })
            .collect();
        let holds = |(partition, from, base, ..): &Step| {
            let record = state.progress.get(partition);
            let same = record == base.as_ref() || mutant == Mutant::NoRecordCheck;
            same && record.map_or(0, |bytes| next(bytes)) == *from
        };
        if !commit.steps.iter().all(holds) && mutant != Mutant::NoOffsetCheck {
            return (Answer::Mismatch(stored), None);
        }
        for (partition, _, _, record, deltas) in &commit.steps {
            if mutant != Mutant::OffsetFirst {
                fold(&mut state.tally, *partition, deltas);
            }
            if mutant != Mutant::StateFirst {
                state.progress.insert(*partition, record.clone());
            }
        }
        (
            Answer::Applied,
            matches!(mutant, Mutant::OffsetFirst | Mutant::StateFirst).then(|| commit.clone()),
        )
    }

    /// The second half of a broken commit.
    pub(super) fn second(&mut self, commit: &Commit, mutant: Mutant) {
        let Some(state) = self.states.get_mut(&commit.revision) else { return };
        for (partition, _, _, record, deltas) in &commit.steps {
            if mutant == Mutant::OffsetFirst {
                fold(&mut state.tally, *partition, deltas);
            } else {
                state.progress.insert(*partition, record.clone());
            }
        }
    }

    /// The promise: what is stored of a revision and a partition is the fold of the log up to the
    /// stored offset, each unique event once.
    pub(super) fn check(&self, logs: &[Log]) -> Result<(), String> {
        for (revision, state) in &self.states {
            for (partition, log) in (0..).zip(logs) {
                let progress = state
                    .progress
                    .get(&partition)
                    .map(|bytes| Progress::decode(bytes).map_err(|error| error.to_string()))
                    .transpose()?;
                let progress = progress.unwrap_or_default();
                let counts = state.tally.get(&partition);
                agree(log, *revision, &progress, counts).map_err(|fault| {
                    format!("stored revision {revision}, partition {partition}: {fault}")
                })?;
                let rows =
                    counts.map_or(0, |counts| counts.iter().map(|count| u64::from(*count)).sum());
                if rows != progress.rows {
                    return Err(format!(
                        "stored revision {revision}, partition {partition}: {rows} rows, {} in the \
                         progress",
                        progress.rows
                    ));
                }
                let failed = log.failed(*revision, &progress);
                if failed != progress.failed {
                    return Err(format!(
                        "stored revision {revision}, partition {partition}: {failed} events \
                         failed, {} in the progress, next is {}",
                        progress.failed, progress.next
                    ));
                }
                let is_counted =
                    |offset: &u64| counts.is_some_and(|counts| counts[*offset as usize] > 0);
                let times = times_of((0..LENGTH).filter(is_counted));
                if times != progress.first.zip(progress.watermark) {
                    return Err(format!(
                        "stored revision {revision}, partition {partition}: its events are of \
                         {times:?}, by the progress of {:?} to {:?}",
                        progress.first, progress.watermark
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Whether exactly the records that `progress` covers were counted, once each.
pub(super) fn agree(
    log: &Log,
    revision: u32,
    progress: &Progress,
    counts: Option<&Vec<u8>>,
) -> Result<(), String> {
    for offset in 0..log.length() {
        let count = counts.map_or(0, |counts| counts[offset as usize]);
        let expected = u8::from(log.counts(revision, progress, offset));
        if count != expected {
            return Err(format!(
                "offset {offset} counted {count} times instead of {expected}, next is {}",
                progress.next
            ));
        }
    }
    Ok(())
}
