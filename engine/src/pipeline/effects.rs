//! Carries out what the machine says: loads, commits, compactions, rewinds; and tells it what came of them.
//!
//! Over 400 lines: one match of effects, and each arm's few lines, in the order in which the protocol names them.

use super::board::Board;
use super::compacting::{SPLIT, SPLIT_SHARED, UNFOLDED};
use super::counting::Counting;
use super::deaths::contained;
use super::fatal::Thread;
use super::halts;
use super::origin::Origin;
use super::room::Room;
use super::stored::{accounts, counted_partitions, found, whole};
use super::view::{Counted, View};
use super::workers::{
    Answered, CommitDone, CommitJob, CompactDone, CompactJob, Ended, Unsent, Worker, committer, compactor, surveyor,
    tell,
};
use crate::event::Position;
use crate::failpoint::point;
use crate::outage::Said;
use crate::progress::{
    Advance, Answer, Bounds, Effect, Event, Found, Progress, Quarantine, ReadFrom, RevisionNo, Ticket, Trouble,
};
use crate::source::{self, SourceError, Start, Survey, Surveyed};
use crate::state::MetricId;
use crate::state::Sealed;
use crate::store::{
    self, Bucket, BucketRead, Commit, CommitAnswer, Life, Store, StoreError, StoredProgress, StoredRevision,
};
use crate::telemetry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer of the store is waited for before what is due is sent again, while partitions are given up.
const RETRY: Duration = Duration::from_millis(100);

/// A log that did not answer is asked again after so long, twice as long each time.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Longest pause before a log that does not answer is asked again.
const ASK_AGAIN_AT_MOST: Duration = Duration::from_secs(8);

/// Makes a metric's view of all that is stored; only once all of it is found to be there it may be read.
fn rebuild_view(
    counted: &mut Counted,
    room: &Room,
    metric: MetricId,
    buckets: &[Bucket],
    read: Vec<BucketRead>,
    revision: &StoredRevision,
) -> Result<(), Trouble> {
    let held: Vec<(u16, u32)> = buckets.iter().map(|bucket| (bucket.table, bucket.bucket)).collect();
    let laid_out = counted.state.lay_out(metric, &held);
    laid_out.map_err(|fault| Trouble::Corrupt(format!("which buckets there are: {fault}")))?;
    let require_room = |counted: &Counted| {
        let sizes = counted.state.sizes();
        let takes = sizes[metric.0].1;
        room.note_others(metric, sizes);
        room.refuses(metric, takes).map_or(Ok(takes), |why| Err(Trouble::Stopped(why)))
    };
    let (mut rows, mut unseen) = (0, 0);
    let mut loading = counted.state.loading(metric);
    for (bucket, frames) in buckets.iter().zip(read) {
        let (BucketRead::Whole(frames) | BucketRead::Tail(frames)) = frames else { continue };
        for frame in frames {
            let load = loading.frame(usize::from(bucket.table), &frame.bytes);
            rows += load.map_err(|fault| Trouble::Corrupt(format!("{fault} (bucket {bucket:?})")))?;
            unseen += frame.bytes.len();
            if unseen >= room.step() {
                drop(loading);
                require_room(counted)?;
                (loading, unseen) = (counted.state.loading(metric), 0);
            }
        }
    }
    drop(loading);
    counted.state.end_load(metric);
    room.note(metric, require_room(counted)?);
    let found = found(revision)?;
    accounts(&found, rows)?;
    let place = &mut counted.metrics[metric.0];
    place.position.0 = counted_partitions(revision).collect();
    place.origins = found.progress.iter().map(|(p, progress)| (*p, Origin::of(progress))).collect();
    place.in_doubt = false;
    Ok(())
}

/// Carries out effects. Those that need the source wait until the lane serves it.
pub(super) struct Driver {
    pub(super) store: Arc<dyn Store>,
    /// Asks the log what it is and holds.
    surveys: Worker<u64, Answered>,
    survey: Asking,
    pub(super) view: Arc<View>,
    pub(super) board: Arc<Board>,
    pub(super) room: Arc<Room>,
    pub(super) commits: Worker<CommitJob, CommitDone>,
    pub(super) compactions: Worker<CompactJob, CompactDone>,
    pub(super) compacting: BTreeSet<(RevisionNo, Bucket)>,
    /// Buckets that may hold expired panes and found no room at the compactor; bounded by the buckets there are.
    pub(super) expiring: VecDeque<(RevisionNo, Bucket)>,
    /// A thread beside the lane that has ended: then the lane does too.
    pub(super) ended: Option<Thread>,
    pub(super) lives: BTreeMap<RevisionNo, Life>,
    /// Revisions that were created and that nobody has made sure of to be answered from.
    unpointed: BTreeSet<RevisionNo>,
    pub(super) expired: BTreeMap<RevisionNo, Instant>,
    /// Where the store is shared: what was due of each table when expired panes were last looked for.
    pub(super) floors: BTreeMap<RevisionNo, Vec<[i64; 3]>>,
    /// Whether panes may wait to be rolled up: after a start, and whenever floors rose.
    pub(super) rolling: bool,
    /// Partitions of which the source did not do what it was told: when it is told again.
    pub(super) again: BTreeMap<u32, Instant>,
    /// Why the source is of no more use, once it is not: then the lane ends.
    pub(super) unusable: Option<String>,
    /// Whether anything ever stood still.
    pub(super) halted: bool,
    /// Where partitions were told to start when they were assigned.
    pub(super) starts: BTreeMap<u32, Start>,
    /// Whether other engines read and write the store: then nothing is answered from this lane's state.
    pub(super) shared: bool,
    /// How often state was loaded.
    loads: u64,
    /// What was said of store and log.
    said: Said,
    /// Revisions whose state in memory is in doubt: loaded afresh after what is being carried out, and why they then stand still,
    /// if they do.
    doubtful: Vec<(RevisionNo, Option<Quarantine>)>,
    /// When a bucket was last given to the compactor.
    pub(super) given: BTreeMap<(RevisionNo, Bucket), Instant>,
}

/// What the log is asked. One question is on its way at a time.
#[derive(Default)]
struct Asking {
    /// Number of the last question sent, and of the last one answered.
    sent: u64,
    answered: u64,
    /// How often state was loaded until the last one was sent: bounds must not be older than what they are compared with.
    loads: u64,
    /// How far was counted when it was sent: what the log holds is no less.
    counted: Position,
    /// The next question is waited for.
    wanted: bool,
    /// Requests of the machine for bounds: after which question, ticket, partitions.
    tickets: Vec<(u64, Ticket, Vec<u32>)>,
    /// Not before this moment, after so many failures in a row.
    again: Option<Instant>,
    failures: u32,
}

impl Driver {
    pub(super) fn new(
        store: Arc<dyn Store>,
        survey: Arc<dyn Survey>,
        (view, board, room): (Arc<View>, Arc<Board>, Arc<Room>),
        shared: bool,
    ) -> std::io::Result<Driver> {
        Ok(Driver {
            commits: committer(store.clone(), survey.clone(), board.clone())?,
            surveys: surveyor(survey, board.clone())?,
            survey: Asking::default(),
            loads: 0,
            said: Said::default(),
            compactions: match shared {
                true => compactor(store.clone(), UNFOLDED, SPLIT_SHARED, board.clone())?,
                false => compactor(store.clone(), 0, SPLIT, board.clone())?,
            },
            shared,
            given: BTreeMap::new(),
            doubtful: Vec::new(),
            store,
            view,
            board,
            room,
            compacting: BTreeSet::new(),
            expiring: VecDeque::new(),
            ended: None,
            lives: BTreeMap::new(),
            unpointed: BTreeSet::new(),
            expired: BTreeMap::new(),
            floors: BTreeMap::new(),
            rolling: true,
            again: BTreeMap::new(),
            unusable: None,
            halted: false,
            starts: BTreeMap::new(),
        })
    }

    /// Tells the machine what happened and carries out what it says; what needs the source waits for `serve`.
    pub(super) fn tell(&mut self, counting: &mut Counting, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in counting.machine.on(event) {
                events.extend(self.carry_out(counting, effect));
            }
        }
        for (no, why) in std::mem::take(&mut self.doubtful) {
            self.load_afresh(counting, no, why);
        }
        if self.halted {
            halts::show(counting);
        }
    }

    /// What is in memory of a revision is in doubt: it is loaded from what is stored, and counted on from there, unless `why` says why
    /// it stands still.
    pub(super) fn load_afresh(&mut self, counting: &mut Counting, no: RevisionNo, why: Option<Quarantine>) {
        let Some(history) = counting.metric(no).map(|metric| metric.history.clone()) else { return };
        self.tell(counting, Event::Left(no));
        self.forget(no);
        counting.unstored.retain(|(of, _), _| *of != no);
        self.tell(counting, Event::Joined(no, history, None));
        let stands = why.map(|why| Event::Quarantined(no, why)).or_else(|| counting.blame(no));
        if let Some(stands) = stands {
            self.tell(counting, stands);
        }
    }

    fn carry_out(&mut self, counting: &mut Counting, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Load { revision, ticket, rebuild } => {
                Some(Event::Loaded(revision, ticket, self.find(counting, revision, rebuild)))
            }
            Effect::Create(revision, ticket) => Some(Event::Created(revision, ticket, self.create(counting, revision))),
            Effect::Commit { revision, ticket, life, advances } => {
                let sent = self.commit(counting, revision, ticket, Life(life), &advances);
                // Sent again when the next checkpoint is due.
                sent.err().map(|_| Event::Answered(revision, ticket, Answer::Failed(Trouble::Unavailable)))
            }
            Effect::Forget(revision, partition, to) => {
                if let Some(unstored) = counting.unstored.get_mut(&(revision, partition)) {
                    unstored.sent.take_if(|(sent, _)| *sent <= to);
                }
                None
            }
            Effect::Stands(revision, partition, at) => {
                if let Some(metric) = counting.metric(revision) {
                    let place = &mut self.view.write().metrics[metric.id.0];
                    place.stand_at(partition, at);
                }
                self.view.announce();
                None
            }
            Effect::Drop(revision, partition) => {
                counting.unstored.remove(&(revision, partition));
                if self.shared
                    && let Some(metric) = counting.metric(revision)
                {
                    self.view.write().state.drop_tail(metric.id, partition);
                }
                None
            }
            Effect::Compact(revision, ticket, table, bucket) => {
                let given = self.compact(counting, revision, Some(ticket), Bucket { table, bucket }, false);
                given.err().map(|_| Event::Compacted(revision, ticket, Err(Trouble::Unavailable)))
            }
            Effect::Halted(revision, partition, halt) => {
                let name = counting.metric(revision).map(|metric| metric.plugin.name());
                tracing::error!(metric = name, ?partition, "counting stands still: {halt}");
                self.halted = true;
                None
            }
            Effect::Bounds(ticket, partitions) => {
                // One that is on its way will do, unless something was loaded since.
                let asking = &mut self.survey;
                let fresh = asking.sent != asking.answered && asking.loads == self.loads;
                asking.wanted |= !fresh;
                asking.tickets.push((if fresh { asking.sent } else { asking.sent + 1 }, ticket, partitions));
                None
            }
            Effect::Read { partition, from, epoch, fresh } => {
                counting.deliveries.read(partition, ReadFrom { from, epoch, fresh });
                None
            }
            Effect::Pause(partition) => {
                counting.deliveries.pause(partition, true);
                None
            }
            Effect::Resume(partition) => {
                counting.deliveries.pause(partition, false);
                None
            }
        }
    }

    /// What is stored of a revision, and of its view, where told so.
    fn find(&mut self, counting: &mut Counting, no: RevisionNo, rebuild: bool) -> Result<Option<Found>, Trouble> {
        self.loads += 1;
        if rebuild {
            // It belongs to what was in memory before.
            counting.unstored.retain(|(of, _), _| *of != no);
        }
        let found = contained(|| self.load(counting, no, rebuild)).unwrap_or_else(|what| {
            Err(Trouble::Corrupt(format!("loading it panicked, which is a fault of Tally, please report it: {what}")))
        });
        if !self.shared
            && matches!(found, Ok(None) | Err(Trouble::Corrupt(_)))
            && let Some(metric) = counting.metric(no)
        {
            // Nothing was loaded, and nothing more will be.
            self.room.note(metric.id, 0);
        }
        found
    }

    /// Loads progress and, where told so, the view at the same moment.
    fn load(&mut self, counting: &mut Counting, no: RevisionNo, rebuild: bool) -> Result<Option<Found>, Trouble> {
        let Some(metric) = counting.metric(no) else { return Ok(None) };
        point("load.begin");
        let stored = if rebuild {
            let read = whole(&*self.store, &metric.revision);
            let (buckets, reading) = read.map_err(|fault| self.store_fault(&fault))?;
            let mut counted = self.view.write();
            counted.let_go(metric.id);
            let Some(reading) = reading else {
                counted.metrics[metric.id.0].in_doubt = false;
                return Ok(None);
            };
            if let Err(trouble) =
                rebuild_view(&mut counted, &self.room, metric.id, &buckets, reading.buckets, &reading.revision)
            {
                // Half of it may be in memory: it stays in doubt, and nobody reads it.
                counted.state.clear(metric.id);
                self.room.note(metric.id, 0);
                return Err(trouble);
            }
            reading.revision
        } else {
            let stored = self.store.stored(&metric.revision);
            match stored.map_err(|fault| self.store_fault(&fault))? {
                Some(stored) => {
                    if self.shared {
                        // Nobody reads it, but who joins the main lane is compared by it.
                        let place = &mut self.view.write().metrics[metric.id.0];
                        place.position.0.extend(counted_partitions(&stored));
                    }
                    stored
                }
                None => return Ok(None),
            }
        };
        point("load.read");
        self.lives.insert(no, stored.life);
        Ok(Some(found(&stored)?))
    }

    /// Shows a fault of the store, says it in the log, and what it is to the protocol.
    fn store_fault(&mut self, fault: &StoreError) -> Trouble {
        self.board.stand(|standing| standing.store_trouble = Some(fault.to_string()));
        tell(&mut self.said, fault)
    }

    fn create(&mut self, counting: &Counting, no: RevisionNo) -> Result<(), Trouble> {
        let Some(metric) = counting.metric(no) else { return Ok(()) };
        // Also if it is not known whether it was created.
        self.unpointed.insert(no);
        let created = self.store.create(&metric.revision, &metric.meta);
        let life = created.map_err(|fault| self.store_fault(&fault))?;
        point("create.made");
        self.lives.insert(no, life);
        self.point_out(counting);
        point("create.pointed");
        Ok(())
    }

    /// Has the store note that new revisions answer for their metrics, where none does: one that answers goes on until a newer
    /// revision has counted its history. What the store does not do is done with the next heartbeat.
    pub(super) fn point_out(&mut self, counting: &Counting) {
        let (store, said, lives) = (&self.store, &mut self.said, &self.lives);
        self.unpointed.retain(|no| {
            let Some(metric) = counting.metric(*no) else { return false };
            if !lives.contains_key(no) {
                return true;
            }
            let pointed = || match store.current(&metric.revision.metric)? {
                Some(_) => Ok(true),
                None => store.point(None, &metric.revision),
            };
            pointed().map_err(|fault: StoreError| tell(said, &fault)) != Ok(true)
        });
    }

    fn commit(
        &mut self,
        counting: &mut Counting,
        no: RevisionNo,
        ticket: Ticket,
        life: Life,
        advances: &[Advance],
    ) -> Result<(), Unsent> {
        point("commit.due");
        counting.flush_letters();
        point("commit.letters");
        let Some(metric) = counting.metrics.iter().find(|metric| metric.no == no) else { return Ok(()) };
        let moved: Vec<&Advance> = advances.iter().filter(|advance| advance.to.next > advance.from).collect();
        let view = &self.view;
        let frames = contained(|| {
            for advance in &moved {
                let unstored = counting.unstored.entry((no, advance.partition)).or_default();
                // Sent before and not answered: the same range again, so the same deltas.
                if unstored.sent.as_ref().is_none_or(|(to, _)| *to != advance.to.next) {
                    let mut all = std::mem::take(&mut unstored.open);
                    // Worked out beside readers; nobody else changes state, so it still holds when it is put into force.
                    let sealing = view.read().state.sealing(metric.id, advance.partition);
                    all.push(view.write().state.sealed(sealing));
                    unstored.sent = Some((advance.to.next, all));
                }
            }
            let sent =
                moved.iter().filter_map(|advance| counting.unstored.get(&(no, advance.partition))?.sent.as_ref());
            let sealed: Vec<&Sealed> = sent.flat_map(|(_, sealed)| sealed).collect();
            let frames = view.read().state.frames(metric.id, &sealed).into_iter();
            frames
                .map(|frame| (Bucket { table: frame.table, bucket: frame.bucket }, frame.bytes))
                .collect::<Vec<(Bucket, Vec<u8>)>>()
        });
        let frames = match frames {
            Ok(frames) => frames,
            Err(what) => {
                tracing::error!(metric = metric.plugin.name(), "writing what was counted panicked: {what}");
                view.write().let_go(metric.id);
                // Counted one by one it is sealed one by one: so the record is found.
                let panicked: Vec<(u32, Range<u64>)> =
                    moved.iter().map(|advance| (advance.partition, advance.from..advance.to.next)).collect();
                let why = counting.deaths.note(no, &panicked).err();
                self.doubtful.push((no, why));
                return Ok(());
            }
        };
        let stored = |progress: &Progress| StoredProgress { next: progress.next, bytes: progress.encode() };
        let advances = advances
            .iter()
            .map(|advance| store::Advance {
                partition: advance.partition,
                from: advance.from,
                base: advance.base.as_ref().map(Progress::encode),
                to: stored(&advance.to),
            })
            .collect();
        let commit = Commit { revision: metric.revision.clone(), life, advances, frames };
        let topic = counting.machine.topic().to_owned();
        point("commit.folded");
        let sent = self.commits.send(CommitJob { revision: no, ticket, commit, topic });
        sent.inspect_err(|fault| self.note_end(*fault))
    }

    /// Takes what the threads beside the lane have answered.
    pub(super) fn answers(&mut self, counting: &mut Counting) {
        while let Some(done) = self.heard(|driver| driver.commits.take()) {
            self.answered(counting, done);
        }
        while let Some(done) = self.heard(|driver| driver.compactions.take()) {
            self.compacted(counting, done);
        }
        self.compact_expiring(counting);
    }

    /// What a thread beside the lane answers; that it has ended is noted.
    fn heard<T>(&mut self, listen: impl FnOnce(&mut Driver) -> Result<Option<T>, Ended>) -> Option<T> {
        listen(self).unwrap_or_else(|Ended(thread)| {
            self.ended.get_or_insert(thread);
            None
        })
    }

    pub(super) fn note_end(&mut self, fault: Unsent) {
        if let Unsent::Ended(thread) = fault {
            self.ended.get_or_insert(thread);
        }
    }

    fn answered(&mut self, counting: &mut Counting, done: CommitDone) {
        let CommitDone { revision, ticket, answer, topic } = done;
        point("commit.answered");
        let answer = match answer {
            Ok(CommitAnswer::Applied(sizes)) => {
                let now = jiff::Timestamp::now().as_millisecond();
                telemetry::committed(now);
                self.view.announce();
                self.board.stand(|standing| {
                    standing.last_commit = Some(now);
                    standing.store_trouble = None;
                });
                self.look_for_compaction(counting, revision, &sizes);
                Answer::Applied
            }
            Ok(CommitAnswer::Mismatch(stored)) => Answer::Mismatch(stored.into_iter().collect()),
            Ok(CommitAnswer::OtherLife(_)) => Answer::OtherLife,
            Ok(CommitAnswer::Full(bucket)) => Answer::Full(bucket.table, bucket.bucket),
            Ok(CommitAnswer::Layout(_)) => match self.look_up_buckets(counting, revision) {
                Ok(()) => Answer::Layout,
                Err(trouble) => Answer::Failed(trouble),
            },
            Ok(CommitAnswer::Broken(what)) => Answer::Failed(Trouble::Corrupt(what)),
            Err(fault) => Answer::Failed(self.store_fault(&fault)),
        };
        let applied = answer == Answer::Applied;
        self.tell(counting, Event::Answered(revision, ticket, answer));
        if applied {
            counting.show_done();
        }
        point("commit.settled");
        if let Some(topic) = topic {
            self.tell(counting, Event::Topic(topic));
        }
    }

    /// Asks the log what it holds, if that is `due` or waited for and no question is on its way. Blocks nobody.
    pub(super) fn ask_log(&mut self, counting: &Counting, due: bool) {
        let asking = &mut self.survey;
        let paused = asking.again.is_some_and(|again| Instant::now() < again);
        if (due || asking.wanted) && asking.sent == asking.answered && !paused {
            (asking.sent, asking.loads, asking.wanted) = (asking.sent + 1, self.loads, false);
            asking.counted = counting.position();
            let sent = self.surveys.send(asking.sent);
            sent.unwrap_or_else(|fault| self.note_end(fault));
        }
    }

    /// What the log answered, if it did since the last call, and how far was counted when it was asked.
    pub(super) fn log_answered(
        &mut self,
        counting: &mut Counting,
    ) -> Option<Result<(Vec<source::Bounds>, Position), SourceError>> {
        let (question, answer) = self.heard(|driver| driver.surveys.take())?;
        let asking = &mut self.survey;
        asking.answered = question;
        let (due, later) = std::mem::take(&mut asking.tickets).into_iter().partition(|(after, ..)| *after <= question);
        asking.tickets = later;
        let Surveyed { topic, bounds } = match answer {
            Ok(surveyed) => surveyed,
            Err(fault) => {
                // What was due is asked for again when the next checkpoint is.
                asking.failures += 1;
                let pause = ASK_AGAIN.saturating_mul(1 << asking.failures.min(10)).min(ASK_AGAIN_AT_MOST);
                asking.again = Some(Instant::now() + pause);
                return Some(Err(fault));
            }
        };
        (asking.again, asking.failures) = (None, 0);
        let counted = std::mem::take(&mut asking.counted);
        if let Some(topic) = topic {
            self.tell(counting, Event::Topic(topic));
        }
        counting.note_lag(&bounds);
        for (_, ticket, partitions) in due {
            let asked = bounds.iter().filter(|bounds| partitions.contains(&bounds.partition));
            let told = |b: &source::Bounds| Bounds { partition: b.partition, start: b.start, end: b.end };
            self.tell(counting, Event::Bounds(ticket, asked.map(told).collect()));
        }
        Some(Ok((bounds, counted)))
    }

    /// Where a partition starts that is being assigned, so that the source fetches the right records from the first moment.
    pub(super) fn start_of(&mut self, counting: &Counting, partition: u32) -> Start {
        let start = counting.machine.start(partition).map_or(Start::Earliest, Start::At);
        self.starts.insert(partition, start);
        start
    }

    pub(super) fn source_trouble(&mut self, fault: &SourceError) {
        match fault {
            SourceError::Transient(_, what) if self.said.due("source") => tracing::warn!("{what}"),
            SourceError::Transient(..) => {}
            SourceError::Fatal(what) => self.unusable = Some(what.clone()),
        }
        self.board.stand(|standing| standing.source_trouble = Some(fault.to_string()));
    }

    /// Waits for the compactions of a revision that are on their way: what they raise belongs to its views. Whether all are
    /// answered.
    pub(super) fn settle_compactions(&mut self, counting: &mut Counting, no: RevisionNo, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        self.expiring.retain(|(of, _)| *of != no);
        while self.compacting.iter().any(|(of, _)| *of == no) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.heard(|driver| driver.compactions.wait(left)) {
                Some(done) => self.compacted(counting, done),
                None => return false,
            }
        }
        true
    }

    /// Lets go of a revision.
    pub(super) fn forget(&mut self, no: RevisionNo) {
        self.lives.remove(&no);
        self.expired.remove(&no);
        self.compacting.retain(|(of, _)| *of != no);
        self.expiring.retain(|(of, _)| *of != no);
        self.floors.remove(&no);
        self.given.retain(|(of, _), _| *of != no);
    }

    /// Waits until nothing of these partitions is uncommitted, at most `limit`. Missing it is safe: the rest is counted
    /// again from the log by whoever comes next.
    pub(super) fn flush(&mut self, counting: &mut Counting, partitions: &[u32], limit: Duration) {
        let deadline = Instant::now() + limit;
        while !counting.machine.flushed(partitions) {
            if Instant::now() >= deadline {
                tracing::warn!("the last records were not committed in time; they will be counted again");
                return;
            }
            match self.heard(|driver| driver.commits.wait(RETRY)) {
                Some(done) => self.answered(counting, done),
                // Nobody commits any more.
                None if self.ended.is_some() => return,
                // Nothing is on its way, or the store does not answer: what is due is sent (again).
                None => self.tell(counting, Event::CheckpointDue),
            }
        }
    }
}
