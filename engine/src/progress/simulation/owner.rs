//! An engine of the simulated world: it drives the real machine as the pipeline does, with a fold that only remembers
//! which records it was given.

use super::super::*;
use super::model::{Commit, Log, Record, Tally, WINDOW, agree, fold};
use super::{Mutant, REVISIONS};
use rand::Rng;
use rand::rngs::SmallRng;
use std::collections::{BTreeMap, VecDeque};

/// Asked of the store or the log.
#[derive(Clone)]
pub(super) enum Request {
    Load(RevisionNo, Ticket),
    Create(RevisionNo, Ticket),
    Commit(Ticket, Commit),
    Compact(RevisionNo, Ticket),
    Bounds(Ticket, Vec<u32>),
    /// The other half of a commit that a broken store left behind.
    Second(Commit),
}

/// Where a partition is being read.
#[derive(Default)]
struct Reader {
    epoch: u64,
    at: u64,
    paused: bool,
    window: VecDeque<(u64, u64)>,
}

struct Batch {
    partition: u32,
    epoch: u64,
    to: u64,
    records: Vec<Record>,
}

pub(super) struct Owner {
    pub(super) machine: Machine,
    /// Counts restarts: answers to an earlier one are not delivered.
    pub(super) incarnation: u32,
    resident: bool,
    mutant: Mutant,
    readers: BTreeMap<u32, Reader>,
    queue: VecDeque<Batch>,
    /// Uncommitted: end of the range and the records in it.
    deltas: BTreeMap<(RevisionNo, u32), Vec<(u64, Vec<u64>)>>,
    views: BTreeMap<RevisionNo, Tally>,
    loading: BTreeMap<RevisionNo, (Ticket, bool)>,
    pub(super) outbox: Vec<Request>,
}

impl Owner {
    pub(super) fn new(incarnation: u32, settings: Settings, mutant: Mutant) -> Self {
        Self {
            resident: settings.memory == Memory::Resident,
            machine: Machine::new(settings),
            incarnation,
            mutant,
            readers: BTreeMap::new(),
            queue: VecDeque::new(),
            deltas: BTreeMap::new(),
            views: BTreeMap::new(),
            loading: BTreeMap::new(),
            outbox: Vec::new(),
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        if let Event::Lost(partitions) = &event {
            self.readers.retain(|partition, _| !partitions.contains(partition));
        }
        for effect in self.machine.on(event) {
            self.perform(effect);
        }
    }

    /// A revision leaves a lane and joins one: what its view holds stays good where all of it is stored.
    pub(super) fn change_lanes(&mut self, no: RevisionNo) {
        let shown = self.machine.shown(no);
        self.tell(Event::Left(no));
        self.loading.remove(&no);
        self.tell(Event::Joined(no, History::Whole, shown));
    }

    /// What was loaded; with it the view, if it was to be made anew.
    pub(super) fn loaded(
        &mut self,
        no: RevisionNo,
        ticket: Ticket,
        found: Result<Option<Found>, Trouble>,
        tally: Tally,
    ) {
        // As the machine does: only the first answer to the latest request counts.
        let asked = self
            .loading
            .get(&no)
            .is_some_and(|(latest, _)| *latest == ticket)
            .then(|| self.loading.remove(&no))
            .flatten();
        if asked == Some((ticket, true)) && found.is_ok() {
            self.views.insert(no, tally);
            self.deltas.retain(|(revision, _), _| *revision != no);
        }
        self.tell(Event::Loaded(no, ticket, found));
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Load { revision, ticket, rebuild } => {
                self.loading.insert(revision, (ticket, rebuild));
                self.outbox.push(Request::Load(revision, ticket));
            }
            Effect::Create(revision, ticket) => self.outbox.push(Request::Create(revision, ticket)),
            Effect::Bounds(ticket, partitions) => self.outbox.push(Request::Bounds(ticket, partitions)),
            Effect::Compact(revision, ticket, ..) => self.outbox.push(Request::Compact(revision, ticket)),
            Effect::Read { partition, from, epoch, fresh } => {
                let reader = self.readers.entry(partition).or_default();
                (reader.epoch, reader.at) = (epoch, from);
                if fresh {
                    reader.window.clear();
                }
            }
            Effect::Pause(partition) => self.readers.entry(partition).or_default().paused = true,
            Effect::Resume(partition) => self.readers.entry(partition).or_default().paused = false,
            Effect::Commit { revision, ticket, life, advances } => {
                let steps = advances.iter().map(|advance| {
                    let chunks = self.deltas.get(&(revision, advance.partition)).into_iter().flatten();
                    let deltas = chunks
                        .filter(|(to, _)| *to <= advance.to.next)
                        .flat_map(|(_, offsets)| offsets.clone())
                        .collect();
                    (
                        advance.partition,
                        advance.from,
                        advance.base.as_ref().map(Progress::encode),
                        advance.to.encode(),
                        deltas,
                    )
                });
                let steps = steps.collect();
                self.outbox.push(Request::Commit(ticket, Commit { revision: revision.0, life, steps }));
            }
            Effect::Forget(revision, partition, to) => {
                if let Some(chunks) = self.deltas.get_mut(&(revision, partition)) {
                    chunks.retain(|(end, _)| *end > to);
                }
            }
            Effect::Drop(revision, partition) => drop(self.deltas.remove(&(revision, partition))),
            Effect::Halted(..) => {}
        }
    }

    /// Takes some records from the log into the queue, or meets a gap.
    pub(super) fn read(&mut self, logs: &[Log], rng: &mut SmallRng) {
        let ready: Vec<u32> = self
            .readers
            .iter()
            .filter(|(_, reader)| reader.epoch > 0 && !reader.paused)
            .map(|(partition, _)| *partition)
            .collect();
        if ready.is_empty() || self.queue.len() > 3 {
            return;
        }
        let partition = ready[rng.random_range(0..ready.len())];
        let (log, reader) = (&logs[partition as usize], self.readers.get_mut(&partition).expect("it was just listed"));
        let epoch = reader.epoch;
        if reader.at < log.start {
            let gap = Span { from: reader.at, to: log.start };
            return self.tell(Event::Gap(partition, epoch, gap));
        }
        if reader.at >= log.end {
            return;
        }
        let to = (reader.at + rng.random_range(1..8)).min(log.end);
        let records = log.records[reader.at as usize..to as usize].iter().flatten().copied().collect();
        reader.at = to;
        self.queue.push_back(Batch { partition, epoch, to, records });
    }

    /// Counts the oldest batch of the queue.
    pub(super) fn count(&mut self, rng: &mut SmallRng) {
        let Some(batch) = self.queue.pop_front() else { return };
        let Some(reader) = self.readers.get_mut(&batch.partition).filter(|reader| reader.epoch == batch.epoch) else {
            return;
        };
        let warm_up = self.machine.due(batch.partition, batch.epoch, u64::MAX).map(|(_, from)| from).min().unwrap_or(0);
        let mut accepted = Vec::new();
        for record in &batch.records {
            let offset = record.anchor.offset;
            let Some(id) = record.id else { continue };
            reader.window.retain(|(seen, _)| *seen + WINDOW >= offset);
            let duplicate = reader.window.iter().any(|(_, seen)| *seen == id);
            if self.mutant != Mutant::NoWarmUp || offset >= warm_up {
                reader.window.push_back((offset, id));
            }
            if !duplicate {
                accepted.push(offset);
            }
        }
        for offset in self.machine.anchors(batch.partition, batch.to).collect::<Vec<_>>() {
            if let Some(record) = batch.records.iter().find(|record| record.anchor.offset == offset) {
                self.tell(Event::Anchor(batch.partition, batch.epoch, record.anchor));
            }
        }
        let mut counts = Vec::new();
        for (revision, from) in self.machine.due(batch.partition, batch.epoch, batch.to).collect::<Vec<_>>() {
            if rng.random_bool(0.02) {
                continue;
            }
            let offsets: Vec<u64> = accepted.iter().copied().filter(|offset| *offset >= from).collect();
            counts.push(Count {
                revision,
                rows: offsets.len() as u64,
                watermark: offsets.last().map(|offset| *offset as i64),
            });
            if self.resident {
                fold(self.views.entry(revision).or_default(), batch.partition, &offsets);
            }
            self.deltas.entry((revision, batch.partition)).or_default().push((batch.to, offsets));
        }
        let last = batch.records.last().map(|record| record.anchor);
        self.tell(Event::Counted(Counted {
            partition: batch.partition,
            epoch: batch.epoch,
            to: batch.to,
            last,
            counts,
        }));
    }

    /// Resident views show exactly what was counted. Gaps that are not stored yet are beyond what can be asked here.
    pub(super) fn check(&self, logs: &[Log]) -> Result<(), String> {
        if !self.resident || logs.iter().any(|log| log.start > 0) {
            return Ok(());
        }
        for revision in (0..REVISIONS).map(RevisionNo) {
            for (partition, next) in self.machine.position(revision).0 {
                let progress = Progress { next, ..Progress::default() };
                let counts = self.views.get(&revision).and_then(|view| view.get(&partition));
                agree(&logs[partition as usize], &progress, counts)
                    .map_err(|fault| format!("view of revision {}, partition {partition}: {fault}", revision.0))?;
            }
        }
        Ok(())
    }
}
