//! Follows a metric's state in a store that other engines write to: a view of what is committed,
//! refreshed when asked.
//!
//! Promises: an answer uses one moment of the store, with the position of that moment, read
//! together; a tail is folded only onto the view whose frames were sent with the read; if a
//! compaction went past the view, or the store went back or has another life, the view is loaded
//! again and never answers wrong. The number of updates in the frames must be the number that
//! progress records. A follower writes nothing, and holds all tables of its metric. Until a lane
//! has told it what the log holds, it is unknown whether it has all history, and again where what
//! was stored is gone.
//!
//! Over 480 lines: one view from its first read to its last, with the promise of each step.

use super::coverage::Coverage;
use super::memory_share::MemoryShare;
use super::read_pieces::{Fold, read_pieces};
use super::stored::{check_updates, counted_partitions, decode_progress, recorded_times};
use super::target::{LogEnds, Target};
use crate::event::Position;
use crate::failpoint::point;
use crate::progress::{Found, Quarantine, Trouble};
use crate::state::{Buckets, Folds, Loading, MetricId, State, Threshold, TypeLimit, halves};
use crate::store::{
    Bucket, BucketRead, FrameId, Known, Life, Reading, RevisionId, Store, StoreError, StoredFrame,
    StoredRevision,
};
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tally_plugin::description::Description;

/// The metric's number in a follower's own state.
pub const FOLLOWED: MetricId = MetricId(0);

/// Most reads of one refresh, each of which may find that buckets were split.
const READS: usize = 16;

/// Rows rolled up after each read, so that expired panes are removed little by little.
const ROLL: usize = 20_000;

/// A metric's state, as committed by any engines.
pub struct Follower {
    store: Arc<dyn Store>,
    revision: RevisionId,
    description: Description,
    types: TypeLimit,
    /// Locked while the store is read: one thread reads at a time, and those that waited need not
    /// read again.
    folded: Mutex<Folded>,
    followed: RwLock<Followed>,
    /// Why it is not refreshed any more, if so.
    stopped: OnceLock<Quarantine>,
    /// Whether it was released: then it holds nothing.
    gone: AtomicBool,
    /// Bytes of frames folded since the last measurement of the memory that they take.
    unmeasured: AtomicUsize,
    folds: Arc<Folds>,
    /// The share of memory that it takes from, and the number of its metric there.
    memory_share: Option<(Arc<MemoryShare>, MetricId)>,
    /// Why it was not loaded, if there was no room.
    refused: OnceLock<Quarantine>,
}

/// What readers see.
pub struct Followed {
    /// The view; its only metric is [`FOLLOWED`].
    pub state: State,
    /// The exact position of the view.
    pub position: Position,
    /// Grows with every change.
    pub version: u64,
    /// Up to where engines have to count before its history is complete.
    pub target: Target,
    /// Per partition where counting began, and what it missed.
    pub coverages: BTreeMap<u32, Coverage>,
    /// What the log held when it last said so.
    log: Option<LogEnds>,
}

/// The result of a refresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The view shows a moment not before the one that was asked for; a released one is empty.
    Current,
    /// The view stays at an earlier moment, for lack of memory: answers from it must say so.
    Behind(Quarantine),
}

/// What is folded into the view.
#[derive(Default)]
struct Folded {
    life: Option<Life>,
    /// All buckets of the revision, empty ones too. None: nothing is folded.
    buckets: Vec<Bucket>,
    /// Per bucket its last frame, with the end of its sequence.
    last: BTreeMap<Bucket, (FrameId, u64)>,
    rows: u64,
    /// When the last read began: the view shows everything that was stored before.
    begun: Option<Instant>,
}

/// The followers of all metrics that are served.
#[derive(Default)]
pub struct Followers(RwLock<Vec<Arc<Follower>>>);

impl Followers {
    /// Adds a follower.
    pub fn add(&self, follower: Arc<Follower>) {
        self.0.write().push(follower);
    }

    /// Removes a follower.
    pub fn remove(&self, follower: &Arc<Follower>) {
        self.0.write().retain(|other| !Arc::ptr_eq(other, follower));
    }

    /// All followers.
    pub fn all(&self) -> Vec<Arc<Follower>> {
        self.0.read().clone()
    }

    /// Per partition the furthest position of any follower.
    pub fn furthest(&self) -> Position {
        Position::furthest(self.all().iter().map(|follower| follower.read().position.clone()))
    }

    /// The same with what they have yet to count before their history is complete; `None`: of one
    /// of them that is unknown, or none has counted anything.
    pub fn ahead(&self) -> Option<Position> {
        let mut ahead = Vec::new();
        for follower in self.all() {
            let followed = follower.read();
            if followed.target.is_unknown() {
                return None;
            }
            ahead.push(followed.position.clone());
            ahead.extend(followed.target.to_end().cloned());
        }
        let ahead = Position::furthest(ahead.into_iter());
        (!ahead.0.is_empty()).then_some(ahead)
    }
}

impl Follower {
    /// A follower of a revision, empty until [`Follower::refresh`] reads the first time.
    pub fn new(store: Arc<dyn Store>, revision: RevisionId, description: &Description) -> Follower {
        Follower::with_types(store, revision, description, TypeLimit::default())
    }

    /// The same with a limit on the event types that are counted by name.
    pub fn with_types(
        store: Arc<dyn Store>,
        revision: RevisionId,
        description: &Description,
        types: TypeLimit,
    ) -> Follower {
        let folds = Arc::new(Folds::default());
        let followed = Followed::new(empty(description, &types, &folds));
        Follower {
            store,
            revision,
            description: description.clone(),
            types,
            folded: Mutex::default(),
            followed: RwLock::new(followed),
            stopped: OnceLock::new(),
            gone: AtomicBool::new(false),
            unmeasured: AtomicUsize::new(0),
            folds,
            memory_share: None,
            refused: OnceLock::new(),
        }
    }

    /// The same follower with a limit: it takes memory from this share.
    #[must_use]
    pub fn with_memory_share(self, memory_share: Arc<MemoryShare>, metric: MetricId) -> Follower {
        Follower { memory_share: Some((memory_share, metric)), ..self }
    }

    /// The same follower with folds from a shared cache.
    #[must_use]
    pub fn with_folds(self, folds: Arc<Folds>) -> Follower {
        let followed = Followed::new(empty(&self.description, &self.types, &folds));
        Follower { followed: RwLock::new(followed), folds, ..self }
    }

    /// Why it was not loaded; `None`: there was room for it.
    #[must_use]
    pub fn refused(&self) -> Option<Quarantine> {
        self.refused.get().cloned()
    }

    /// Keeps the view at its present moment from now on, because there is no room for more.
    pub fn stop(&self, why: &Quarantine) {
        self.stopped.get_or_init(|| why.clone());
    }

    /// Drops the view for good: later reads find it empty.
    pub fn release(&self) {
        self.gone.store(true, Ordering::Release);
        self.followed.write().clear(self.empty());
    }

    /// Refreshes the view to a moment not before `asked`, if there is memory for that.
    ///
    /// # Errors
    /// [`StoreError`]: the view is unchanged, or, where there is no room for it, empty.
    pub fn refresh(&self, asked: Instant) -> Result<Refreshed, StoreError> {
        self.refresh_with(asked, || Some(self.folded.lock()))
    }

    /// The same without waiting beyond `until` while another thread reads.
    ///
    /// # Errors
    /// As [`Follower::refresh`]; and if another thread still reads at `until`.
    pub fn refresh_until(&self, asked: Instant, until: Instant) -> Result<Refreshed, StoreError> {
        self.refresh_with(asked, || self.folded.try_lock_until(until))
    }

    fn refresh_with<'a>(
        &'a self,
        asked: Instant,
        lock: impl FnOnce() -> Option<MutexGuard<'a, Folded>>,
    ) -> Result<Refreshed, StoreError> {
        if let Some(why) = self.refused.get() {
            // A view that was loaded before can still answer.
            let loaded = !self.read().position.0.is_empty();
            return if loaded {
                Ok(Refreshed::Behind(why.clone()))
            } else {
                Err(StoreError::Unavailable(why.to_string()))
            };
        }
        if self.gone.load(Ordering::Acquire) {
            return Ok(Refreshed::Current);
        }
        if let Some(why) = self.stop_reason() {
            return Ok(Refreshed::Behind(why));
        }
        let Some(mut folded) = lock() else {
            let metric = &self.revision.metric;
            return Err(StoreError::Unavailable(format!(
                "the state of {metric} is still being read from it, try again"
            )));
        };
        if folded.begun.is_some_and(|begun| begun >= asked) {
            return Ok(Refreshed::Current);
        }
        let begun = Instant::now();
        point("follow.begin");
        if folded.buckets.is_empty() || !self.read_tails(&mut folded)? {
            self.load(&mut folded)?;
        }
        folded.begun = Some(begun);
        point("follow.folded");
        Ok(Refreshed::Current)
    }

    /// Reads what was appended since, also to the halves of buckets that were split meanwhile.
    /// Returns whether all of it continues the view; if not, the view must be loaded again.
    fn read_tails(&self, folded: &mut Folded) -> Result<bool, StoreError> {
        let last =
            |bucket: &Bucket| Known { bucket: *bucket, last: folded.last.get(bucket).copied() };
        let mut known: Vec<Known> = folded.buckets.iter().map(last).collect();
        let mut ended = Vec::new();
        for _ in 0..READS {
            let Some(reading) = self.store.read(&self.revision, &known)? else {
                self.forget(folded, &mut self.followed.write());
                return Ok(true);
            };
            if folded.life != Some(reading.revision.life) {
                return Ok(false);
            }
            let mut next = Vec::with_capacity(known.len());
            for (known, read) in known.iter().zip(&reading.buckets) {
                match read {
                    BucketRead::Tail(_) => next.push(*known),
                    // The first frames of a bucket that was empty are all of it.
                    BucketRead::Whole(_) if known.last.is_none() => next.push(*known),
                    BucketRead::Split { tail, begin } if known.last.is_none() || tail.is_some() => {
                        ended.extend(tail.clone().map(|frames| (known.bucket, frames)));
                        let last = known.last.map(|_| *begin);
                        next.extend(
                            self.halves(known.bucket)?.map(|bucket| Known { bucket, last }),
                        );
                    }
                    BucketRead::Whole(_) | BucketRead::Split { .. } | BucketRead::None => {
                        return Ok(false);
                    }
                }
            }
            if next.len() == known.len() {
                self.add(folded, &ended, &known, reading)?;
                return Ok(true);
            }
            known = next;
        }
        Ok(false)
    }

    fn halves(&self, bucket: Bucket) -> Result<[Bucket; 2], StoreError> {
        let table = self.description.tables.get(usize::from(bucket.table));
        let halves = table.and_then(|table| halves(table, bucket.bucket)).ok_or_else(|| {
            let (table, bucket, metric) = (bucket.table, bucket.bucket, &self.revision.metric);
            StoreError::Corrupt(format!(
                "{metric}: bucket {bucket} of table {table} is recorded as split, but cannot be"
            ))
        });
        halves.map(|halves| halves.map(|half| Bucket { bucket: half, ..bucket }))
    }

    /// Loads the view from all buckets; readers see the old one meanwhile.
    fn load(&self, folded: &mut Folded) -> Result<(), StoreError> {
        let Some((memory_share, metric)) = &self.memory_share else {
            return self.load_pieces(folded);
        };
        memory_share.begin_load(*metric);
        let loaded = self.load_pieces(folded);
        // A store that does not answer is asked again: until then the memory stays reserved.
        if !matches!(loaded, Err(StoreError::Unavailable(_))) {
            self.record_memory();
            memory_share.end_load(*metric);
        }
        loaded
    }

    fn load_pieces(&self, folded: &mut Folded) -> Result<(), StoreError> {
        let mut fresh =
            Fresh { of: self, state: self.empty(), folded: Folded::default(), unmeasured: 0 };
        let most = self
            .memory_share
            .as_ref()
            .map_or(u64::MAX, |(memory_share, _)| memory_share.piece_bytes());
        let Some(moment) = read_pieces(&*self.store, &self.revision, most, &mut fresh)? else {
            self.forget(folded, &mut self.followed.write());
            return Ok(());
        };
        let Fresh { mut state, folded: fresh, .. } = fresh;
        state.end_load(FOLLOWED);
        self.require_room(&state)?;
        while state.roll(ROLL) {}
        let found = self.check_progress(&fresh, &moment)?;
        let (first, last) = recorded_times(&found);
        state.set_times(FOLLOWED, first, last);
        let is_other = folded.life.is_some_and(|life| life != moment.life);
        *folded = fresh;
        let mut followed = self.followed.write();
        if self.gone.load(Ordering::Acquire) {
            return Ok(());
        }
        followed.state = state;
        followed.version += 1;
        followed.load(&moment, Coverage::all(&found), is_other);
        Ok(())
    }

    fn empty(&self) -> State {
        empty(&self.description, &self.types, &self.folds)
    }

    /// Locks the view for reading: what was committed at one moment.
    pub fn read(&self) -> RwLockReadGuard<'_, Followed> {
        self.followed.read()
    }

    /// Counts keys together until no table holds more than `max` cells. Returns which keys each
    /// table keeps.
    pub(super) fn narrow(&self, max: u64) -> Vec<Threshold> {
        let mut followed = self.followed.write();
        let to = followed.state.thresholds_for(FOLLOWED, max);
        followed.state.narrow(FOLLOWED, &to);
        followed.version += 1;
        to
    }

    /// Sets the position at which the history is complete, unless the view has reached it.
    pub fn set_target(&self, target: &Position) {
        let mut followed = self.followed.write();
        followed.target = Target::end(target.clone(), &followed.position);
    }

    /// Sets what has to be counted at least, where the log has yet to say how far that is.
    pub fn set_least(&self, least: &Position) {
        let mut followed = self.followed.write();
        if followed.target.is_unknown() {
            followed.target = Target::Unknown(least.clone());
        }
    }

    /// The log says what it holds: how far the metric has to count where that was unknown, and that
    /// less is left to count of a log of which something was cut off. `failing`: by partition the
    /// last records that the lane has counted, on all of which the metric's own code fails; they
    /// are not committed before it succeeds on one, which may never come.
    pub(super) fn set_bounds(&self, log: LogEnds, failing: &[(u32, Range<u64>)]) {
        let mut followed = self.followed.write();
        let mut position = followed.position.clone();
        for (partition, records) in failing {
            let at = position.0.entry(*partition).or_default();
            if *at >= records.start {
                *at = records.end.max(*at);
            }
        }
        if let Some(target) = followed.target.bounded(&log, &position, &followed.coverages) {
            followed.target = target;
        }
        followed.log = Some(log);
    }

    /// Adds tails to the view, and the last frames of buckets that ended (`ended`); state and
    /// position change together.
    fn add(
        &self,
        folded: &mut Folded,
        ended: &[(Bucket, Vec<StoredFrame>)],
        known: &[Known],
        reading: Reading,
    ) -> Result<(), StoreError> {
        let mut followed = self.followed.write();
        if self.gone.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut loading = followed.state.loading(FOLLOWED);
        let mut bytes = 0;
        let mut added = ended.iter().try_for_each(|(bucket, frames)| {
            frames.iter().try_for_each(|frame| {
                bytes += frame.bytes.len();
                fold_one(folded, &mut loading, *bucket, frame)
            })
        });
        folded.buckets = known.iter().map(|known| known.bucket).collect();
        folded.last = known.iter().filter_map(|known| Some((known.bucket, known.last?))).collect();
        for (known, read) in known.iter().zip(&reading.buckets) {
            added = added
                .and_then(|()| fold(folded, &mut loading, *known, read))
                .map(|more| bytes += more);
        }
        drop(loading);
        match added.and_then(|()| self.check_progress(folded, &reading.revision)) {
            Ok(found) => {
                let (first, last) = recorded_times(&found);
                followed.state.set_times(FOLLOWED, first, last);
                followed.state.roll(ROLL);
                followed.set_position(&reading.revision, Coverage::all(&found));
                self.measure_memory(&followed.state, bytes);
                Ok(())
            }
            Err(fault) => {
                // A part may be folded: the view cannot be trusted, and the next refresh loads it
                // again.
                self.forget(folded, &mut followed);
                Err(fault)
            }
        }
    }

    /// Why the view must not be refreshed: it was stopped, or takes as much memory as it may (its
    /// lane finds that by itself).
    fn stop_reason(&self) -> Option<Quarantine> {
        let over = || {
            self.memory_share
                .as_ref()
                .and_then(|(memory_share, metric)| memory_share.limit_exceeded(*metric))
        };
        let loaded = |_: &Quarantine| !self.read().position.0.is_empty();
        self.stopped.get().cloned().or_else(|| over().filter(loaded))
    }

    /// Measures from time to time what the view holds, because not every follower has a lane that
    /// does.
    fn measure_memory(&self, state: &State, more: usize) {
        let Some((memory_share, metric)) = &self.memory_share else { return };
        if self.unmeasured.fetch_add(more, Ordering::Relaxed) + more >= memory_share.step_bytes() {
            self.unmeasured.store(0, Ordering::Relaxed);
            memory_share.record_followed(*metric, state.loaded_size(FOLLOWED));
        }
    }

    /// Measures what the view holds. A lane does so while its metric counts.
    pub fn record_memory(&self) {
        if let Some((memory_share, metric)) = &self.memory_share {
            memory_share.record_followed(*metric, self.followed.read().state.loaded_size(FOLLOWED));
        }
    }

    /// Checks that what is loaded so far fits into the share of memory.
    fn require_room(&self, state: &State) -> Result<(), StoreError> {
        let Some((memory_share, metric)) = &self.memory_share else { return Ok(()) };
        self.require(memory_share.refuse_load(*metric, state.loaded_size(FOLLOWED)))
    }

    fn require(&self, refused: Option<Quarantine>) -> Result<(), StoreError> {
        let Some(why) = refused else { return Ok(()) };
        Err(StoreError::Unavailable(self.refused.get_or_init(|| why).to_string()))
    }

    /// Empties the view: the store holds nothing of this revision, or the view cannot be trusted.
    fn forget(&self, folded: &mut Folded, followed: &mut Followed) {
        *folded = Folded::default();
        followed.clear(self.empty());
    }

    /// Compares the updates that are folded with those that progress records. Returns what progress
    /// records.
    fn check_progress(
        &self,
        folded: &Folded,
        revision: &StoredRevision,
    ) -> Result<Found, StoreError> {
        let fault = |fault| match fault {
            Trouble::Corrupt(what) => {
                StoreError::Corrupt(format!("{}: {what}", self.revision.metric))
            }
            Trouble::Stopped(why) => StoreError::Unavailable(why.to_string()),
            Trouble::Unavailable => StoreError::Unavailable(fault.to_string()),
        };
        let found = decode_progress(revision).map_err(fault)?;
        check_updates(&found, folded.rows).map_err(fault)?;
        Ok(found)
    }
}

impl Followed {
    /// One that was never read: the log has not said yet what it holds.
    fn new(state: State) -> Followed {
        Followed {
            state,
            position: Position::default(),
            version: 0,
            target: Target::Unknown(Position::default()),
            coverages: BTreeMap::new(),
            log: None,
        }
    }

    /// Replaces the view by an empty one, of which nothing is stored.
    fn clear(&mut self, state: State) {
        self.state = state;
        self.position = Position::default();
        self.version += 1;
        // Where nothing was stored before either, nothing is lost.
        if !std::mem::take(&mut self.coverages).is_empty() {
            self.begin_again();
        }
    }

    /// All history has to be counted again, as far as the log went when it last said so.
    fn begin_again(&mut self) {
        self.target = match &self.log {
            Some(log) => Target::of_stored(log, &self.position, &self.coverages),
            None => Target::Unknown(Position::default()),
        };
    }

    /// What is stored was loaded. `is_other`: it is another state than was loaded before.
    fn load(
        &mut self,
        revision: &StoredRevision,
        coverages: BTreeMap<u32, Coverage>,
        is_other: bool,
    ) {
        // A store that went back may have held a partition that it does not hold now.
        let is_less = self.coverages.keys().any(|partition| !coverages.contains_key(partition));
        let had_some = !self.coverages.is_empty();
        self.set_position(revision, coverages);
        self.target.load(&self.position, &self.coverages);
        if had_some && (is_other || is_less) {
            self.begin_again();
        }
    }

    fn set_position(&mut self, revision: &StoredRevision, coverages: BTreeMap<u32, Coverage>) {
        let position = Position(counted_partitions(revision).collect());
        self.version += u64::from(self.position != position || self.coverages != coverages);
        (self.position, self.coverages) = (position, coverages);
        self.target.reach(&self.position);
    }
}

/// A view that is being loaded.
struct Fresh<'a> {
    of: &'a Follower,
    state: State,
    folded: Folded,
    /// Bytes of frames folded since the last measurement of the memory that they take.
    unmeasured: usize,
}

impl Fold for Fresh<'_> {
    type Fault = StoreError;

    fn begin(&mut self, held: Vec<Bucket>) -> Result<Vec<Bucket>, StoreError> {
        self.state = self.of.empty();
        let mut all = Vec::new();
        for (n, table) in self.of.description.tables.iter().enumerate() {
            let of = held
                .iter()
                .filter(|bucket| usize::from(bucket.table) == n)
                .map(|bucket| bucket.bucket);
            let metric = &self.of.revision.metric;
            let fault =
                |fault| StoreError::Corrupt(format!("{metric}, table {}: {fault}", table.name));
            let buckets = Buckets::new(table, of).map_err(fault)?;
            all.extend(
                buckets.leaves().iter().map(|bucket| Bucket { table: n as u16, bucket: *bucket }),
            );
        }
        (self.folded, self.unmeasured) = (Folded { buckets: all.clone(), ..Folded::default() }, 0);
        Ok(all)
    }

    fn admit(&mut self, bytes: u64) -> Result<(), StoreError> {
        let Some((memory_share, metric)) = &self.of.memory_share else { return Ok(()) };
        self.of.require(memory_share.refuse_piece(*metric, self.state.loaded_size(FOLLOWED), bytes))
    }

    fn fold(
        &mut self,
        piece: Vec<(Bucket, Vec<StoredFrame>)>,
        of: &StoredRevision,
    ) -> Result<(), StoreError> {
        self.folded.life = Some(of.life);
        for (bucket, frames) in piece {
            let mut loading = self.state.loading(FOLLOWED);
            frames
                .iter()
                .try_for_each(|frame| fold_one(&mut self.folded, &mut loading, bucket, frame))?;
            drop(loading);
            self.unmeasured += frames.iter().map(|frame| frame.bytes.len()).sum::<usize>();
            if self
                .of
                .memory_share
                .as_ref()
                .is_some_and(|(memory_share, _)| self.unmeasured >= memory_share.step_bytes())
            {
                self.unmeasured = 0;
                self.of.require_room(&self.state)?;
            }
        }
        Ok(())
    }
}

fn empty(description: &Description, types: &TypeLimit, folds: &Arc<Folds>) -> State {
    let mut state = State::default().with_types(types.clone()).keeping(folds.clone());
    state.add(description);
    state
}

/// Folds what was read of a bucket. Returns the number of bytes.
fn fold(
    folded: &mut Folded,
    loading: &mut Loading<'_>,
    known: Known,
    read: &BucketRead,
) -> Result<usize, StoreError> {
    let (BucketRead::Whole(frames) | BucketRead::Tail(frames)) = read else { return Ok(0) };
    frames.iter().try_for_each(|frame| fold_one(folded, loading, known.bucket, frame))?;
    Ok(frames.iter().map(|frame| frame.bytes.len()).sum())
}

fn fold_one(
    folded: &mut Folded,
    loading: &mut Loading<'_>,
    bucket: Bucket,
    frame: &StoredFrame,
) -> Result<(), StoreError> {
    let fault = |fault| {
        StoreError::Corrupt(format!("table {} bucket {}: {fault}", bucket.table, bucket.bucket))
    };
    folded.rows += loading.frame(usize::from(bucket.table), &frame.bytes).map_err(fault)?;
    folded.last.insert(bucket, (frame.id, frame.end));
    Ok(())
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
