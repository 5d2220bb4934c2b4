//! Follows a metric's state in a store that others write to: a view of what is committed, brought up to date when asked.
//!
//! Promises: an answer uses one moment of the store, and its position is that moment's, read with it; a tail is folded
//! only onto the view whose frames were sent with the read; a compaction that went past a view, a store that went back or
//! lives another life make it load anew, never answer wrong. The updates that the frames say they hold must be those that
//! progress says were made. It writes nothing, and holds the whole of its metric's tables.

use super::origin::Origin;
use super::stored::{accounts, counted_partitions, found};
use crate::event::Position;
use crate::failpoint::point;
use crate::progress::Trouble;
use crate::state::{MetricId, State, buckets};
use crate::store::{Bucket, BucketRead, FrameId, Known, Life, Reading, RevisionId, Store, StoreError, StoredRevision};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tally_plugin::description::Description;

/// The metric's number in a follower's own state.
pub const FOLLOWED: MetricId = MetricId(0);

/// Rows rolled up after each look at the store, so that expired panes go by and by.
const ROLL: usize = 20_000;

/// A metric's state, as committed by whichever engines.
pub struct Follower {
    store: Arc<dyn Store>,
    revision: RevisionId,
    description: Description,
    /// Held while the store is read: one at a time, and who waited need not read again.
    folded: Mutex<Folded>,
    followed: RwLock<Followed>,
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

/// What of the store is folded into the view.
#[derive(Default)]
struct Folded {
    life: Option<Life>,
    last: BTreeMap<Bucket, (FrameId, u64)>,
    rows: u64,
    /// When the last read began: it shows everything that was stored before.
    begun: Option<Instant>,
}

impl Follower {
    /// Follows a revision from nothing; [`Follower::refresh`] reads the first time.
    pub fn new(store: Arc<dyn Store>, revision: RevisionId, description: &Description) -> Follower {
        let followed = Followed { state: empty(description), ..Followed::default() };
        Follower {
            store,
            revision,
            description: description.clone(),
            folded: Mutex::default(),
            followed: RwLock::new(followed),
        }
    }

    /// Brings the view to a moment not before `asked`.
    ///
    /// # Errors
    /// [`StoreError`]: the view is then as old as it was.
    pub fn refresh(&self, asked: Instant) -> Result<(), StoreError> {
        let mut folded = self.folded.lock();
        if folded.begun.is_some_and(|begun| begun >= asked) {
            return Ok(());
        }
        let begun = Instant::now();
        let known: Vec<Known> =
            self.buckets().map(|bucket| Known { bucket, last: folded.last.get(&bucket).copied() }).collect();
        let whole = folded.last.is_empty();
        point("follow.begin");
        match self.store.read(&self.revision, &known)? {
            Some(reading) if whole => self.load(&mut folded, &known, reading)?,
            Some(reading) if follows(&folded, &known, &reading) => self.add(&mut folded, &known, reading)?,
            Some(_) => {
                let known: Vec<Known> = self.buckets().map(|bucket| Known { bucket, last: None }).collect();
                match self.store.read(&self.revision, &known)? {
                    Some(reading) => self.load(&mut folded, &known, reading)?,
                    None => self.forget(&mut folded),
                }
            }
            None => self.forget(&mut folded),
        }
        folded.begun = Some(begun);
        point("follow.folded");
        Ok(())
    }

    fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let tables = self.description.tables.iter().enumerate();
        tables.flat_map(|(n, table)| (0..buckets(table)).map(move |bucket| Bucket { table: n as u16, bucket }))
    }

    /// What is committed, at one moment.
    pub fn read(&self) -> RwLockReadGuard<'_, Followed> {
        self.followed.read()
    }

    /// Sets where the history must come to before it is complete.
    pub fn aim(&self, target: &Position) {
        let mut followed = self.followed.write();
        followed.target = (!followed.position.reaches(target)).then(|| target.clone());
    }

    /// Makes a view of whole buckets; readers see the old one meanwhile.
    fn load(&self, folded: &mut Folded, known: &[Known], reading: Reading) -> Result<(), StoreError> {
        let mut fresh = Folded { life: Some(reading.revision.life), ..Folded::default() };
        let mut state = empty(&self.description);
        fold(&mut fresh, &mut state, known, &reading)?;
        while state.roll(ROLL) {}
        let origins = self.account(&fresh, &reading.revision)?;
        *folded = fresh;
        let mut followed = self.followed.write();
        followed.state = state;
        followed.version += 1;
        followed.stand_at(&reading.revision, origins);
        Ok(())
    }

    /// Adds tails to the view; state and position change together.
    fn add(&self, folded: &mut Folded, known: &[Known], reading: Reading) -> Result<(), StoreError> {
        let mut followed = self.followed.write();
        let added = fold(folded, &mut followed.state, known, &reading);
        match added.and_then(|()| self.account(folded, &reading.revision)) {
            Ok(origins) => {
                followed.state.roll(ROLL);
                followed.stand_at(&reading.revision, origins);
                Ok(())
            }
            Err(fault) => {
                // Half of it may be folded: nothing of the view can be trusted, the next read loads it whole.
                drop(followed);
                self.forget(folded);
                Err(fault)
            }
        }
    }

    /// The store holds nothing of this revision.
    fn forget(&self, folded: &mut Folded) {
        *folded = Folded::default();
        let mut followed = self.followed.write();
        followed.state = empty(&self.description);
        followed.position = Position::default();
        followed.origins = BTreeMap::new();
        followed.version += 1;
    }

    /// Compares what is folded with what progress says was made; the origins that progress records.
    fn account(&self, folded: &Folded, revision: &StoredRevision) -> Result<BTreeMap<u32, Origin>, StoreError> {
        let fault = |fault| match fault {
            Trouble::Corrupt(what) => StoreError::Corrupt(format!("{}: {what}", self.revision.metric)),
            Trouble::Unavailable => StoreError::Unavailable(fault.to_string()),
        };
        let found = found(revision).map_err(fault)?;
        accounts(&found, folded.rows).map_err(fault)?;
        Ok(found.progress.iter().map(|(partition, progress)| (*partition, Origin::of(progress))).collect())
    }
}

impl Followed {
    fn stand_at(&mut self, revision: &StoredRevision, origins: BTreeMap<u32, Origin>) {
        self.origins = origins;
        let position = Position(counted_partitions(revision).collect());
        self.version += u64::from(self.position != position);
        self.position = position;
        if self.target.as_ref().is_some_and(|target| self.position.reaches(target)) {
            self.target = None;
        }
    }
}

fn empty(description: &Description) -> State {
    let mut state = State::default();
    state.add(description);
    state
}

/// Whether a reading goes on from what is folded.
fn follows(folded: &Folded, known: &[Known], reading: &Reading) -> bool {
    folded.life == Some(reading.revision.life)
        && known.iter().zip(&reading.buckets).all(|(known, read)| match read {
            BucketRead::Tail(_) => true,
            // A bucket that was empty is whole when something comes.
            BucketRead::Whole(_) => known.last.is_none(),
        })
}

fn fold(folded: &mut Folded, state: &mut State, known: &[Known], reading: &Reading) -> Result<(), StoreError> {
    for (Known { bucket, .. }, read) in known.iter().zip(&reading.buckets) {
        let (BucketRead::Whole(frames) | BucketRead::Tail(frames)) = read;
        for frame in frames {
            let fault =
                |fault| StoreError::Corrupt(format!("table {} bucket {}: {fault}", bucket.table, bucket.bucket));
            folded.rows += state.load(FOLLOWED, usize::from(bucket.table), &frame.bytes).map_err(fault)?;
            folded.last.insert(*bucket, (frame.id, frame.end));
        }
    }
    Ok(())
}
