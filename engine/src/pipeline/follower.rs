//! Follows a metric's state in a store that others write to: a view of what is committed, brought up to date when asked.
//!
//! Promises: an answer uses one moment of the store, and its position is that moment's, read with it; a tail is folded
//! only onto the view whose frames were sent with the read; a compaction that went past a view, a store that went back or
//! lives another life make it load anew, never answer wrong. The updates that the frames say they hold must be those that
//! progress says were made. It writes nothing, and holds the whole of its metric's tables.
//!
//! Over 400 lines: one view from its first read to its last, with what each step promises.

use super::origin::Origin;
use super::read_pieces::{Fold, read_pieces};
use super::room::Room;
use super::stored::{accounts, counted_partitions, found};
use crate::event::Position;
use crate::failpoint::point;
use crate::progress::{Quarantine, Trouble};
use crate::state::{Buckets, Folds, Loading, MetricId, State, Threshold, TypeLimit, halves};
use crate::store::{
    Bucket, BucketRead, FrameId, Known, Life, Reading, RevisionId, Store, StoreError, StoredFrame, StoredRevision,
};
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tally_plugin::description::Description;

/// The metric's number in a follower's own state.
pub const FOLLOWED: MetricId = MetricId(0);

/// How often buckets may be split while they are read.
const LOOKS: usize = 16;

/// Rows rolled up after each look at the store, so that expired panes go by and by.
const ROLL: usize = 20_000;

/// A metric's state, as committed by whichever engines.
pub struct Follower {
    store: Arc<dyn Store>,
    revision: RevisionId,
    description: Description,
    types: TypeLimit,
    /// Held while the store is read: one at a time, and who waited need not read again.
    folded: Mutex<Folded>,
    followed: RwLock<Followed>,
    /// Why it stays where it is.
    stopped: OnceLock<Quarantine>,
    /// Whether nobody asks it any more: then it holds nothing.
    gone: AtomicBool,
    /// Bytes folded since it was last looked how much memory they take.
    unseen: AtomicUsize,
    folds: Arc<Folds>,
    /// How much memory there is, and the metric for which it is taken.
    room: Option<(Arc<Room>, MetricId)>,
    /// Why it was not loaded.
    refused: OnceLock<Quarantine>,
}

/// What readers see.
#[derive(Default)]
pub struct Followed {
    /// The view; the metric in it is [`FOLLOWED`].
    pub state: State,
    /// Exactly what is counted in it.
    pub position: Position,
    /// Grows with every change.
    pub version: u64,
    /// Where it must come to before its history is complete, if others were ahead when this engine started.
    pub target: Option<Position>,
    /// Per partition where counting began, and what it passed over.
    pub origins: BTreeMap<u32, Origin>,
}

/// What a look at the store came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The view shows a moment not before the one that was asked for; of one that was let go of, nothing.
    Current,
    /// The view stays at an earlier moment, for lack of memory: what is answered from it must say so.
    Behind(Quarantine),
}

/// What of the store is folded into the view.
#[derive(Default)]
struct Folded {
    life: Option<Life>,
    /// All there are, empty ones too. None: nothing is folded.
    buckets: Vec<Bucket>,
    last: BTreeMap<Bucket, (FrameId, u64)>,
    rows: u64,
    /// When the last read began: it shows everything that was stored before.
    begun: Option<Instant>,
}

/// The followers of all metrics that are served.
#[derive(Default)]
pub struct Followers(RwLock<Vec<Arc<Follower>>>);

impl Followers {
    /// One more.
    pub fn add(&self, follower: Arc<Follower>) {
        self.0.write().push(follower);
    }

    /// One less.
    pub fn remove(&self, follower: &Arc<Follower>) {
        self.0.write().retain(|other| !Arc::ptr_eq(other, follower));
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Follower>> {
        self.0.read().clone()
    }

    /// Per partition the furthest that any of them has seen counted.
    pub fn furthest(&self) -> Position {
        Position::furthest(self.all().iter().map(|follower| follower.read().position.clone()))
    }
}

impl Follower {
    /// Follows a revision from nothing; [`Follower::refresh`] reads the first time.
    pub fn new(store: Arc<dyn Store>, revision: RevisionId, description: &Description) -> Follower {
        Follower::with_types(store, revision, description, TypeLimit::default())
    }

    /// The same, with another rule of which event types stand for themselves.
    pub fn with_types(
        store: Arc<dyn Store>,
        revision: RevisionId,
        description: &Description,
        types: TypeLimit,
    ) -> Follower {
        let folds = Arc::new(Folds::default());
        let followed = Followed { state: empty(description, &types, &folds), ..Followed::default() };
        Follower {
            store,
            revision,
            description: description.clone(),
            types,
            folded: Mutex::default(),
            followed: RwLock::new(followed),
            stopped: OnceLock::new(),
            gone: AtomicBool::new(false),
            unseen: AtomicUsize::new(0),
            folds,
            room: None,
            refused: OnceLock::new(),
        }
    }

    /// The same, of a metric whose state takes memory of this share.
    #[must_use]
    pub fn within(self, room: Arc<Room>, metric: MetricId) -> Follower {
        Follower { room: Some((room, metric)), ..self }
    }

    /// The same, with folds that are kept beside those of others.
    #[must_use]
    pub fn keeping(self, folds: Arc<Folds>) -> Follower {
        let followed = Followed { state: empty(&self.description, &self.types, &folds), ..Followed::default() };
        Follower { followed: RwLock::new(followed), folds, ..self }
    }

    /// Why it was not loaded, if there was no room for it.
    #[must_use]
    pub fn refused(&self) -> Option<Quarantine> {
        self.refused.get().cloned()
    }

    /// From now on it stays at the moment where it is: there is no room for more.
    pub fn stop(&self, why: &Quarantine) {
        self.stopped.get_or_init(|| why.clone());
    }

    /// Lets go of what it holds, for good: whoever still asks it learns nothing.
    pub fn let_go(&self) {
        self.gone.store(true, Ordering::Release);
        self.followed.write().empty(self.empty());
    }

    /// Brings the view to a moment not before `asked`, if there is memory for that.
    ///
    /// # Errors
    /// [`StoreError`]: the view is then as old as it was, or, where there is no room for it, empty.
    pub fn refresh(&self, asked: Instant) -> Result<Refreshed, StoreError> {
        self.bring_up(asked, || Some(self.folded.lock()))
    }

    /// The same for somebody who does not wait beyond `until` while others read.
    ///
    /// # Errors
    /// As [`Follower::refresh`]; and where others still read then.
    pub fn refresh_until(&self, asked: Instant, until: Instant) -> Result<Refreshed, StoreError> {
        self.bring_up(asked, || self.folded.try_lock_until(until))
    }

    fn bring_up<'a>(
        &'a self,
        asked: Instant,
        lock: impl FnOnce() -> Option<MutexGuard<'a, Folded>>,
    ) -> Result<Refreshed, StoreError> {
        if let Some(why) = self.refused.get() {
            // One that was loaded before answers from there.
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
        if let Some(why) = self.stays() {
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
        if folded.buckets.is_empty() || !self.follow(&mut folded)? {
            self.anew(&mut folded)?;
        }
        folded.begun = Some(begun);
        point("follow.folded");
        Ok(Refreshed::Current)
    }

    /// Reads what came since; of a bucket that was split in between the rest, and what its halves hold more. Whether all of
    /// that goes on from the view.
    fn follow(&self, folded: &mut Folded) -> Result<bool, StoreError> {
        let last = |bucket: &Bucket| Known { bucket: *bucket, last: folded.last.get(bucket).copied() };
        let mut known: Vec<Known> = folded.buckets.iter().map(last).collect();
        let mut ended = Vec::new();
        for _ in 0..LOOKS {
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
                    // A bucket that was empty is whole when something comes.
                    BucketRead::Whole(_) if known.last.is_none() => next.push(*known),
                    BucketRead::Split { tail, begin } if known.last.is_none() || tail.is_some() => {
                        ended.extend(tail.clone().map(|frames| (known.bucket, frames)));
                        let last = known.last.map(|_| *begin);
                        next.extend(self.halves(known.bucket)?.map(|bucket| Known { bucket, last }));
                    }
                    BucketRead::Whole(_) | BucketRead::Split { .. } | BucketRead::None => return Ok(false),
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
                "{metric}: bucket {bucket} of table {table} is said to be split, and cannot be"
            ))
        });
        halves.map(|halves| halves.map(|half| Bucket { bucket: half, ..bucket }))
    }

    /// Reads all buckets there are; readers see the old view meanwhile.
    fn anew(&self, folded: &mut Folded) -> Result<(), StoreError> {
        if let Some((room, metric)) = &self.room {
            room.begin_load(*metric);
        }
        let mut fresh = Fresh { of: self, state: self.empty(), folded: Folded::default(), unseen: 0 };
        let most = self.room.as_ref().map_or(u64::MAX, |(room, _)| room.piece());
        let Some(moment) = read_pieces(&*self.store, &self.revision, most, &mut fresh)? else {
            self.forget(folded, &mut self.followed.write());
            return Ok(());
        };
        let Fresh { mut state, folded: fresh, .. } = fresh;
        state.end_load(FOLLOWED);
        self.require_room(&state)?;
        while state.roll(ROLL) {}
        let origins = self.account(&fresh, &moment)?;
        *folded = fresh;
        let mut followed = self.followed.write();
        if self.gone.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Some((room, metric)) = &self.room {
            room.note_followed(*metric, state.loaded_size(FOLLOWED));
        }
        followed.state = state;
        followed.version += 1;
        followed.stand_at(&moment, origins);
        Ok(())
    }

    fn empty(&self) -> State {
        empty(&self.description, &self.types, &self.folds)
    }

    /// What is committed, at one moment.
    pub fn read(&self) -> RwLockReadGuard<'_, Followed> {
        self.followed.read()
    }

    /// Counts keys together until no table holds more than `max` cells; which each table keeps then.
    pub(super) fn narrow(&self, max: u64) -> Vec<Threshold> {
        let mut followed = self.followed.write();
        let to = followed.state.thresholds_for(FOLLOWED, max);
        followed.state.narrow(FOLLOWED, &to);
        followed.version += 1;
        to
    }

    /// Sets where the history must come to before it is complete.
    pub fn aim(&self, target: &Position) {
        let mut followed = self.followed.write();
        followed.target = (!followed.position.reaches(target)).then(|| target.clone());
    }

    /// Adds tails to the view, and what was the end of buckets; state and position change together.
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
            added = added.and_then(|()| fold(folded, &mut loading, *known, read)).map(|more| bytes += more);
        }
        drop(loading);
        match added.and_then(|()| self.account(folded, &reading.revision)) {
            Ok(origins) => {
                followed.state.roll(ROLL);
                followed.stand_at(&reading.revision, origins);
                self.look_at_room(&followed.state, bytes);
                Ok(())
            }
            Err(fault) => {
                // Half of it may be folded: nothing of the view can be trusted, the next read loads it whole.
                self.forget(folded, &mut followed);
                Err(fault)
            }
        }
    }

    /// Why it stays where it is: it was told so, or takes as much memory as it may, which its lane learns by itself.
    fn stays(&self) -> Option<Quarantine> {
        let over = || self.room.as_ref().and_then(|(room, metric)| room.over(*metric));
        let loaded = |_: &Quarantine| !self.read().position.0.is_empty();
        self.stopped.get().cloned().or_else(|| over().filter(loaded))
    }

    /// Takes note of what it holds, every now and then: not every follower has a lane that looks.
    fn look_at_room(&self, state: &State, more: usize) {
        let Some((room, metric)) = &self.room else { return };
        if self.unseen.fetch_add(more, Ordering::Relaxed) + more >= room.step() {
            self.unseen.store(0, Ordering::Relaxed);
            room.note_followed(*metric, state.loaded_size(FOLLOWED));
        }
    }

    /// What is loaded fits, so far.
    fn require_room(&self, state: &State) -> Result<(), StoreError> {
        let Some((room, metric)) = &self.room else { return Ok(()) };
        self.require(room.refuses(*metric, state.loaded_size(FOLLOWED)))
    }

    fn require(&self, refused: Option<Quarantine>) -> Result<(), StoreError> {
        let Some(why) = refused else { return Ok(()) };
        Err(StoreError::Unavailable(self.refused.get_or_init(|| why).to_string()))
    }

    /// The store holds nothing of this revision.
    fn forget(&self, folded: &mut Folded, followed: &mut Followed) {
        *folded = Folded::default();
        followed.empty(self.empty());
    }

    /// Compares what is folded with what progress says was made; the origins that progress records.
    fn account(&self, folded: &Folded, revision: &StoredRevision) -> Result<BTreeMap<u32, Origin>, StoreError> {
        let fault = |fault| match fault {
            Trouble::Corrupt(what) => StoreError::Corrupt(format!("{}: {what}", self.revision.metric)),
            Trouble::Stopped(why) => StoreError::Unavailable(why.to_string()),
            Trouble::Unavailable => StoreError::Unavailable(fault.to_string()),
        };
        let found = found(revision).map_err(fault)?;
        accounts(&found, folded.rows).map_err(fault)?;
        Ok(found.progress.iter().map(|(partition, progress)| (*partition, Origin::of(progress))).collect())
    }
}

impl Followed {
    /// Nothing is known any more.
    fn empty(&mut self, state: State) {
        self.state = state;
        self.position = Position::default();
        self.origins = BTreeMap::new();
        self.version += 1;
    }

    fn stand_at(&mut self, revision: &StoredRevision, origins: BTreeMap<u32, Origin>) {
        let position = Position(counted_partitions(revision).collect());
        self.version += u64::from(self.position != position || self.origins != origins);
        (self.position, self.origins) = (position, origins);
        if self.target.as_ref().is_some_and(|target| self.position.reaches(target)) {
            self.target = None;
        }
    }
}

/// A view in the making.
struct Fresh<'a> {
    of: &'a Follower,
    state: State,
    folded: Folded,
    /// Bytes folded since it was last looked how much memory they take.
    unseen: usize,
}

impl Fold for Fresh<'_> {
    type Fault = StoreError;

    fn begin(&mut self, held: Vec<Bucket>) -> Result<Vec<Bucket>, StoreError> {
        self.state = self.of.empty();
        let mut all = Vec::new();
        for (n, table) in self.of.description.tables.iter().enumerate() {
            let of = held.iter().filter(|bucket| usize::from(bucket.table) == n).map(|bucket| bucket.bucket);
            let metric = &self.of.revision.metric;
            let fault = |fault| StoreError::Corrupt(format!("{metric}, table {}: {fault}", table.name));
            let buckets = Buckets::new(table, of).map_err(fault)?;
            all.extend(buckets.leaves().iter().map(|bucket| Bucket { table: n as u16, bucket: *bucket }));
        }
        (self.folded, self.unseen) = (Folded { buckets: all.clone(), ..Folded::default() }, 0);
        Ok(all)
    }

    fn admit(&mut self, bytes: u64) -> Result<(), StoreError> {
        let Some((room, metric)) = &self.of.room else { return Ok(()) };
        self.of.require(room.refuses_piece(*metric, self.state.loaded_size(FOLLOWED), bytes))
    }

    fn fold(&mut self, piece: Vec<(Bucket, Vec<StoredFrame>)>, of: &StoredRevision) -> Result<(), StoreError> {
        self.folded.life = Some(of.life);
        for (bucket, frames) in piece {
            let mut loading = self.state.loading(FOLLOWED);
            frames.iter().try_for_each(|frame| fold_one(&mut self.folded, &mut loading, bucket, frame))?;
            drop(loading);
            self.unseen += frames.iter().map(|frame| frame.bytes.len()).sum::<usize>();
            if self.of.room.as_ref().is_some_and(|(room, _)| self.unseen >= room.step()) {
                self.unseen = 0;
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

/// Folds what was read of a bucket; how many bytes that was.
fn fold(folded: &mut Folded, loading: &mut Loading<'_>, known: Known, read: &BucketRead) -> Result<usize, StoreError> {
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
    let fault = |fault| StoreError::Corrupt(format!("table {} bucket {}: {fault}", bucket.table, bucket.bucket));
    folded.rows += loading.frame(usize::from(bucket.table), &frame.bytes).map_err(fault)?;
    folded.last.insert(bucket, (frame.id, frame.end));
    Ok(())
}

#[cfg(test)]
#[path = "follower_tests.rs"]
mod tests;
