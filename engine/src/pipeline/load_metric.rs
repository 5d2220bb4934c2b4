//! Loads what is stored of a metric into the lane's view.
//!
//! The view is locked for one piece at a time. From the first piece to the last the metric is in doubt: no reader takes a part of it
//! for the whole; one that is stored in one piece is replaced under one lock. What there is no room for is loaded no further, and what
//! was loaded of it is dropped, before more is read of the store. So a load needs, beside what it leaves in memory, one piece
//! ([`Room::piece`]) or one bucket.

use super::origin::Origin;
use super::read_pieces::{Fold, read_pieces};
use super::room::Room;
use super::stored::{accounts, counted_partitions, found};
use super::view::View;
use crate::progress::Trouble;
use crate::state::{MetricId, State};
use crate::store::{Bucket, RevisionId, Store, StoreError, StoredFrame, StoredRevision};
use std::time::{Duration, Instant};

/// How many times as long as it took to measure the other metrics it is waited before they are measured again.
const SELDOM: u32 = 50;

/// Why a metric is not loaded.
pub(super) enum LoadFault {
    /// The store failed.
    Store(StoreError),
    /// What is stored cannot be loaded.
    Trouble(Trouble),
}

impl From<StoreError> for LoadFault {
    fn from(fault: StoreError) -> LoadFault {
        LoadFault::Store(fault)
    }
}

/// Loads a metric anew. `None`: nothing is stored of it, and it is empty. Where it fails half-way, also by a panic, the metric is
/// empty and stays in doubt; where it fails before, it stays as it was.
pub(super) fn load_metric(
    store: &dyn Store,
    (view, room): (&View, &Room),
    metric: MetricId,
    revision: &RevisionId,
) -> Result<Option<StoredRevision>, LoadFault> {
    room.begin_load(metric);
    let mut load = Load { view, room, metric, begun: None, rows: 0, is_half: false, others: Others::default() };
    let whole = read_pieces(store, revision, room.piece(), &mut load)?;
    load.end(whole.as_ref()).map_err(LoadFault::Trouble)?;
    Ok(whole)
}

struct Load<'a> {
    view: &'a View,
    room: &'a Room,
    metric: MetricId,
    /// Reading has begun with these buckets, and what was in memory before is there yet.
    begun: Option<Vec<(u16, u32)>>,
    /// Updates that frames say they hold.
    rows: u64,
    /// Some of it is loaded.
    is_half: bool,
    others: Others,
}

/// What other metrics hold by themselves, as last measured.
#[derive(Default)]
struct Others {
    own: Vec<u64>,
    measured: Option<(Instant, Duration)>,
}

impl Others {
    /// Takes note of what all hold. What the metric holds; an error where that is too much.
    fn require_room(&mut self, room: &Room, state: &State, metric: MetricId) -> Result<u64, Trouble> {
        if self.measured.is_none_or(|(at, took)| at.elapsed() >= took * SELDOM) {
            let begun = Instant::now();
            self.own = state.own_sizes();
            self.measured = Some((Instant::now(), begun.elapsed()));
        }
        let sizes = state.sizes_while_loading(metric, &self.own);
        let takes = sizes[metric.0].1;
        room.note_others(metric, sizes);
        room.refuses(metric, takes).map_or(Ok(takes), |why| Err(Trouble::Stopped(why)))
    }
}

impl Load<'_> {
    /// All of it is loaded: from now on it may be read.
    fn end(&mut self, stored: Option<&StoredRevision>) -> Result<(), Trouble> {
        let mut counted = self.view.write();
        let counted = &mut *counted;
        match stored {
            None => counted.let_go(self.metric),
            Some(stored) => {
                counted.state.end_load(self.metric);
                self.room.note(self.metric, self.others.require_room(self.room, &counted.state, self.metric)?);
                let found = found(stored)?;
                accounts(&found, self.rows)?;
                let place = &mut counted.metrics[self.metric.0];
                place.position.0 = counted_partitions(stored).collect();
                place.origins = found.progress.iter().map(|(p, progress)| (*p, Origin::of(progress))).collect();
            }
        }
        counted.metrics[self.metric.0].in_doubt = false;
        self.is_half = false;
        Ok(())
    }
}

impl Fold for Load<'_> {
    type Fault = LoadFault;

    fn begin(&mut self, held: Vec<Bucket>) -> Result<Vec<Bucket>, LoadFault> {
        self.begun = Some(held.iter().map(|bucket| (bucket.table, bucket.bucket)).collect());
        Ok(held)
    }

    fn admit(&mut self, bytes: u64) -> Result<(), LoadFault> {
        // What is there before the first piece goes with it.
        let takes = if self.begun.is_some() { 0 } else { self.view.read().state.loaded_size(self.metric) };
        let refused = self.room.refuses_piece(self.metric, takes, bytes);
        refused.map_or(Ok(()), |why| Err(LoadFault::Trouble(Trouble::Stopped(why))))
    }

    fn fold(&mut self, piece: Vec<(Bucket, Vec<StoredFrame>)>, _: &StoredRevision) -> Result<(), LoadFault> {
        let mut counted = self.view.write();
        let counted = &mut *counted;
        if let Some(buckets) = self.begun.take() {
            counted.let_go(self.metric);
            (self.rows, self.is_half) = (0, true);
            let laid_out = counted.state.lay_out(self.metric, &buckets);
            laid_out.map_err(|fault| corrupt(format!("which buckets there are: {fault}")))?;
        }
        let mut loading = counted.state.loading(self.metric);
        let mut unseen = 0;
        for (bucket, frames) in piece {
            for frame in frames {
                let load = loading.frame(usize::from(bucket.table), &frame.bytes);
                self.rows += load.map_err(|fault| corrupt(format!("{fault} (bucket {bucket:?})")))?;
                unseen += frame.bytes.len();
                if unseen >= self.room.step() {
                    drop(loading);
                    let room = self.others.require_room(self.room, &counted.state, self.metric);
                    room.map_err(LoadFault::Trouble)?;
                    (loading, unseen) = (counted.state.loading(self.metric), 0);
                }
            }
        }
        Ok(())
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        if self.is_half {
            self.view.write().let_go(self.metric);
            self.room.note_emptied(self.metric);
        }
    }
}

fn corrupt(what: String) -> LoadFault {
    LoadFault::Trouble(Trouble::Corrupt(what))
}

#[cfg(test)]
#[path = "load_metric_tests.rs"]
mod tests;
