//! An engine of the simulated world: it drives the real machine as the pipeline does, with a fold
//! that only remembers which records it was given, and a source that does not always do what it is
//! told.

use super::super::*;
use super::model::{Commit, FAILING, LENGTH, Log, Record, Tally, WINDOW, agree, fold, times_of};
use super::{Failing, Faults, Mutant, REVISIONS};
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

/// Where the source stands in a partition, and what the engine knows of it.
#[derive(Default)]
struct Reader {
    at: u64,
    paused: bool,
    /// The source did not take the assignment on yet.
    astray: bool,
    /// A gap was reported: nothing comes before a rewind.
    halted: bool,
    window: VecDeque<(u64, u64)>,
}

/// Fetched by the source, not delivered yet.
struct Batch {
    partition: u32,
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
    deliveries: Deliveries,
    /// Where the source was told to begin at the assignment.
    starts: BTreeMap<u32, u64>,
    queue: VecDeque<Batch>,
    /// Uncommitted: end of the range and the records in it.
    deltas: BTreeMap<(RevisionNo, u32), Vec<(u64, Vec<u64>)>>,
    views: BTreeMap<RevisionNo, Tally>,
    /// Resident: where readers are told that views stand.
    shown: BTreeMap<(RevisionNo, u32), u64>,
    /// Failures since the last success, where there are any.
    runs: BTreeMap<(RevisionNo, u32), Vec<u64>>,
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
            deliveries: Deliveries::default(),
            starts: BTreeMap::new(),
            queue: VecDeque::new(),
            deltas: BTreeMap::new(),
            views: BTreeMap::new(),
            shown: BTreeMap::new(),
            runs: BTreeMap::new(),
            loading: BTreeMap::new(),
            outbox: Vec::new(),
        }
    }

    pub(super) fn tell(&mut self, event: Event) {
        for effect in self.machine.on(event) {
            self.perform(effect);
        }
    }

    /// The source takes partitions on, and begins each where it was told before anything was known;
    /// or begins it later.
    pub(super) fn assign(&mut self, partitions: &[u32], rng: &mut SmallRng, faults: &mut Faults) {
        for partition in partitions {
            let at = if rng.random_bool(0.5) { 0 } else { rng.random_range(0..LENGTH) };
            let astray = faults.strikes(Failing::Assignment, rng);
            self.queue.retain(|batch| batch.partition != *partition);
            self.readers.insert(*partition, Reader { at, astray, ..Reader::default() });
            self.starts.insert(*partition, at);
            self.deliveries.end(*partition);
            self.deliveries.begin(*partition);
        }
        self.tell(Event::Assigned(partitions.to_vec()));
    }

    /// The source no longer holds a partition.
    pub(super) fn lose(&mut self, partition: u32) {
        self.queue.retain(|batch| batch.partition != partition);
        self.readers.remove(&partition);
        self.deliveries.end(partition);
        self.tell(Event::Lost(vec![partition]));
    }

    /// What is stored of a partition is compared with its log as at an assignment; the source
    /// stands where it stands.
    pub(super) fn compare(&mut self, partition: u32) {
        if let Some(reader) = self.readers.get_mut(&partition) {
            reader.window.clear();
            self.tell(Event::Lost(vec![partition]));
            self.deliveries.begin(partition);
            self.tell(Event::Assigned(vec![partition]));
        }
    }

    /// Tells the source what is due, as the lane does; it does not do all of it.
    pub(super) fn steer(&mut self, rng: &mut SmallRng, faults: &mut Faults) {
        // What is taken over can be resumed.
        for _ in 0..2 {
            for step in self.deliveries.steps() {
                let (Step::Pause(partition)
                | Step::Read { partition, .. }
                | Step::Resume(partition)) = step;
                let Some(reader) = self.readers.get_mut(&partition) else { continue };
                match step {
                    Step::Pause(_) => {
                        reader.paused = true;
                        self.deliveries.has_paused(partition, true);
                    }
                    Step::Resume(_) if faults.strikes(Failing::Resume, rng) => {}
                    Step::Resume(_) => {
                        reader.paused = false;
                        self.deliveries.has_paused(partition, false);
                    }
                    Step::Read { read, strayed, .. } => {
                        let there = self.starts.remove(&partition) == Some(read.from) && !strayed;
                        let failed = !there && faults.strikes(Failing::Rewind, rng);
                        if failed && self.mutant != Mutant::EpochBeforeRewind {
                            if rng.random_bool(0.5) {
                                reader.at = rng.random_range(0..LENGTH);
                            }
                            self.deliveries.failed(partition);
                            continue;
                        }
                        if !there && !failed {
                            (reader.at, reader.astray, reader.halted) = (read.from, false, false);
                            self.queue.retain(|batch| batch.partition != partition);
                        }
                        if self.deliveries.took_over(partition, read.epoch) && read.fresh {
                            reader.window.clear();
                        }
                    }
                }
            }
        }
    }

    /// A revision leaves a lane and joins one: what its view holds stays good where all of it is
    /// stored.
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
            self.shown.retain(|(revision, _), _| *revision != no);
            let progress = found.iter().flatten().flat_map(|found| &found.progress);
            self.shown
                .extend(progress.map(|(partition, progress)| ((no, *partition), progress.next)));
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
            Effect::Bounds(ticket, partitions) => {
                self.outbox.push(Request::Bounds(ticket, partitions))
            }
            Effect::Compact(revision, ticket, ..) => {
                self.outbox.push(Request::Compact(revision, ticket))
            }
            Effect::Read { partition, from, epoch, fresh } => {
                self.deliveries.read(partition, ReadFrom { from, epoch, fresh });
            }
            Effect::Pause(partition) => self.deliveries.pause(partition, true),
            Effect::Resume(partition) => self.deliveries.pause(partition, false),
            Effect::Commit { revision, ticket, life, advances } => {
                let steps = advances.iter().map(|advance| {
                    let chunks =
                        self.deltas.get(&(revision, advance.partition)).into_iter().flatten();
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
                self.outbox
                    .push(Request::Commit(ticket, Commit { revision: revision.0, life, steps }));
            }
            Effect::Forget(revision, partition, to) => {
                if let Some(chunks) = self.deltas.get_mut(&(revision, partition)) {
                    chunks.retain(|(end, _)| *end > to);
                }
            }
            Effect::Drop(revision, partition) => drop(self.deltas.remove(&(revision, partition))),
            Effect::Stands(revision, partition, at) => {
                self.shown.insert((revision, partition), at);
            }
            Effect::Halted(..) => {}
        }
    }

    /// Fetches some records from the log, or meets a gap.
    pub(super) fn read(&mut self, logs: &[Log], rng: &mut SmallRng, faults: &mut Faults) {
        self.steer(rng, faults);
        for reader in self.readers.values_mut().filter(|reader| reader.astray) {
            reader.astray = faults.strikes(Failing::Assignment, rng);
        }
        let hasty = rng.random_bool(0.1);
        let ready: Vec<u32> = self
            .readers
            .iter()
            .filter(|(_, reader)| !reader.astray && !reader.halted && !reader.paused)
            // What comes before it is wanted comes now and then.
            .filter(|(partition, _)| hasty || self.deliveries.in_force(**partition).is_some())
            .map(|(partition, _)| *partition)
            .collect();
        if ready.is_empty() || self.queue.len() > 3 {
            return;
        }
        let partition = ready[rng.random_range(0..ready.len())];
        let (log, reader) = (
            &logs[partition as usize],
            self.readers.get_mut(&partition).expect("it was just listed"),
        );
        if reader.at < log.start {
            reader.halted = true;
            let gap = Span { from: reader.at, to: log.start };
            let epoch = self.deliveries.comes(partition);
            return epoch
                .into_iter()
                .for_each(|epoch| self.tell(Event::Gap(partition, epoch, gap)));
        }
        if reader.at >= log.end {
            return;
        }
        let to = (reader.at + rng.random_range(1..8)).min(log.end);
        let records =
            log.records[reader.at as usize..to as usize].iter().flatten().copied().collect();
        reader.at = to;
        self.queue.push_back(Batch { partition, to, records });
    }

    /// Counts the oldest batch that was fetched and is not paused.
    pub(super) fn count(&mut self, rng: &mut SmallRng, faults: &mut Faults) {
        self.steer(rng, faults);
        let flows =
            |batch: &Batch| self.readers.get(&batch.partition).is_some_and(|reader| !reader.paused);
        let Some(batch) = self.queue.iter().position(flows).and_then(|at| self.queue.remove(at))
        else {
            return;
        };
        let Some(epoch) = self.deliveries.comes(batch.partition) else { return };
        let Some(accepted) = self.deduplicate(&batch, epoch) else { return };
        for offset in self.machine.anchors(batch.partition, batch.to).collect::<Vec<_>>() {
            if let Some(record) = batch.records.iter().find(|record| record.anchor.offset == offset)
            {
                self.tell(Event::Anchor(batch.partition, epoch, record.anchor));
            }
        }
        let mut counts = Vec::new();
        for (revision, from) in
            self.machine.due(batch.partition, epoch, batch.to).collect::<Vec<_>>()
        {
            if rng.random_bool(0.02) {
                continue;
            }
            counts.push(self.count_revision(revision, from, &batch, &accepted));
        }
        let last = batch.records.last().map(|record| record.anchor);
        self.tell(Event::Counted(Counted {
            partition: batch.partition,
            epoch,
            to: batch.to,
            last,
            counts,
        }));
    }

    /// The offsets of a batch whose records repeat none in the window; they join it. `None`: the
    /// source does not hold the partition.
    fn deduplicate(&mut self, batch: &Batch, epoch: u64) -> Option<Vec<u64>> {
        let reader = self.readers.get_mut(&batch.partition)?;
        let warm_up = self
            .machine
            .due(batch.partition, epoch, u64::MAX)
            .map(|(_, from)| from)
            .min()
            .unwrap_or(0);
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
        Some(accepted)
    }

    /// Counts what was accepted of a batch for a revision, from an offset on.
    fn count_revision(
        &mut self,
        revision: RevisionNo,
        from: u64,
        batch: &Batch,
        accepted: &[u64],
    ) -> Count {
        let poison = |offset: &u64| {
            batch.records.iter().any(|record| record.anchor.offset == *offset && record.poison)
        };
        // As the pipeline does with what a plugin fails on.
        let key = (revision, batch.partition);
        let held_at = self.machine.held_at(revision, batch.partition);
        let mut run = self
            .runs
            .remove(&key)
            .filter(|run| run.first().copied() == held_at)
            .unwrap_or_default();
        let (mut offsets, mut failed) = (Vec::new(), 0);
        for offset in accepted.iter().copied().filter(|offset| *offset >= from) {
            if revision.0 == FAILING && poison(&offset) {
                run.push(offset);
            } else {
                failed += run.len() as u64;
                run.clear();
                offsets.push(offset);
            }
        }
        match run.first() {
            Some(first) => self.tell(Event::Held(revision, batch.partition, *first)),
            None => self.tell(Event::Released(revision, batch.partition)),
        }
        // What is counted lies before a run that has not ended, and is committed up to it.
        let upto = run.first().copied().unwrap_or(batch.to);
        self.runs.insert(key, run);
        let times = times_of(offsets.iter().copied());
        let count = Count { revision, rows: offsets.len() as u64, times, failed };
        if self.resident {
            fold(self.views.entry(revision).or_default(), batch.partition, &offsets);
            self.shown.insert((revision, batch.partition), batch.to);
        }
        self.deltas.entry((revision, batch.partition)).or_default().push((upto, offsets));
        count
    }

    /// Resident views show exactly what was counted. Gaps that are not stored yet are beyond what
    /// can be asked here.
    pub(super) fn check(&self, logs: &[Log]) -> Result<(), String> {
        if !self.resident {
            return Ok(());
        }
        for revision in (0..REVISIONS).map(RevisionNo) {
            for (partition, next) in self.machine.position(revision).0 {
                let shown = self.shown.get(&(revision, partition)).copied().unwrap_or(0);
                if shown != next {
                    let no = revision.0;
                    return Err(format!(
                        "revision {no}, partition {partition} stands at {next}, readers are told \
                         {shown}"
                    ));
                }
            }
        }
        if logs.iter().any(|log| log.start > 0) {
            return Ok(());
        }
        for revision in (0..REVISIONS).map(RevisionNo) {
            for (partition, next) in self.machine.position(revision).0 {
                let progress = Progress { next, ..Progress::default() };
                let counts = self.views.get(&revision).and_then(|view| view.get(&partition));
                agree(&logs[partition as usize], revision.0, &progress, counts).map_err(
                    |fault| {
                        format!("view of revision {}, partition {partition}: {fault}", revision.0)
                    },
                )?;
            }
        }
        Ok(())
    }
}
