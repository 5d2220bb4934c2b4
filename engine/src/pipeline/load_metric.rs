//! Loads what is stored of a metric into the lane's view.
//!
//! The view is locked for one piece at a time. From the first piece to the last the metric is in
//! doubt, so that no reader takes a part of it for the whole; a metric that is stored in one piece
//! is replaced under one lock. A load for which there is no room ends, and drops what it loaded,
//! before it reads more of the store. So beside what it leaves in memory a load needs one piece
//! ([`MemoryShare::piece_bytes`]) or one bucket. What is loaded says how much of its history is
//! ahead of a metric; where nothing is stored, all that the log holds.

use super::coverage::Coverage;
use super::memory_share::{MemoryShare, SELDOM};
use super::read_pieces::{Fold, read_pieces};
use super::stored::{check_updates, counted_partitions, decode_progress, recorded_times};
use super::target::Target;
use super::view::View;
use crate::event::Position;
use crate::progress::Trouble;
use crate::state::{MetricId, State};
use crate::store::{Bucket, RevisionId, Store, StoreError, StoredFrame, StoredRevision};
use std::time::{Duration, Instant};

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

/// Loads a metric, replacing its state. `None`: nothing is stored of it, and it is empty.
/// `replays`: its lane replays history, which says by itself how far that is.
///
/// # Errors
/// [`LoadFault`]. After the first piece, also by a panic, the metric is then empty and in doubt;
/// before it, unchanged.
pub(super) fn load_metric(
    store: &dyn Store,
    (view, memory_share): (&View, &MemoryShare),
    metric: MetricId,
    revision: &RevisionId,
    replays: bool,
) -> Result<Option<StoredRevision>, LoadFault> {
    memory_share.begin_load(metric);
    let mut load = Load {
        view,
        memory_share,
        metric,
        replays,
        begun: None,
        rows: 0,
        is_half: false,
        others: Others::default(),
    };
    let whole = read_pieces(store, revision, memory_share.piece_bytes(), &mut load)?;
    load.end(whole.as_ref()).map_err(LoadFault::Trouble)?;
    Ok(whole)
}

struct Load<'a> {
    view: &'a View,
    memory_share: &'a MemoryShare,
    metric: MetricId,
    replays: bool,
    /// The buckets, once reading has begun, until the first piece replaces what was in memory
    /// before.
    begun: Option<Vec<(u16, u32)>>,
    /// Number of updates in the frames.
    rows: u64,
    /// Whether a part is loaded.
    is_half: bool,
    others: Others,
}

/// Bytes that all metrics hold by themselves, as last measured.
#[derive(Default)]
struct Others {
    own: Vec<u64>,
    measured: Option<(Instant, Duration)>,
}

impl Others {
    /// Records what all metrics hold. Returns the bytes that the loaded metric holds.
    ///
    /// # Errors
    /// [`Trouble::Stopped`]: that is too much.
    fn require_room(
        &mut self,
        memory_share: &MemoryShare,
        state: &State,
        metric: MetricId,
    ) -> Result<u64, Trouble> {
        if self.measured.is_none_or(|(at, took)| at.elapsed() >= took * SELDOM) {
            let begun = Instant::now();
            self.own = state.own_sizes();
            self.measured = Some((Instant::now(), begun.elapsed()));
        }
        let sizes = state.sizes_while_loading(metric, &self.own);
        let takes = sizes[metric.0].1;
        memory_share.record_others(metric, sizes);
        memory_share.refuse_load(metric, takes).map_or(Ok(takes), |why| Err(Trouble::Stopped(why)))
    }
}

impl Load<'_> {
    /// Ends the load: readers may read the metric from now on.
    fn end(&mut self, stored: Option<&StoredRevision>) -> Result<(), Trouble> {
        let mut counted = self.view.write();
        let counted = &mut *counted;
        match stored {
            None => counted.discard(self.metric),
            Some(stored) => {
                counted.state.end_load(self.metric);
                self.memory_share.record_held(
                    self.metric,
                    self.others.require_room(self.memory_share, &counted.state, self.metric)?,
                );
                let found = decode_progress(stored)?;
                check_updates(&found, self.rows)?;
                let (first, last) = recorded_times(&found);
                counted.state.set_times(self.metric, first, last);
                let progress = &mut counted.metrics[self.metric.0];
                progress.position.0 = counted_partitions(stored).collect();
                progress.coverages = Coverage::all(&found);
            }
        }
        let progress = &mut counted.metrics[self.metric.0];
        progress.in_doubt = false;
        if !self.replays {
            if progress.position.0.is_empty() && !progress.target.is_unknown() {
                progress.target = Target::Unknown(Position::default());
            }
            progress.target.load(&progress.position, &progress.coverages);
        }
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
        // The first piece replaces what is in memory.
        let takes =
            if self.begun.is_some() { 0 } else { self.view.read().state.loaded_size(self.metric) };
        let refused = self.memory_share.refuse_piece(self.metric, takes, bytes);
        refused.map_or(Ok(()), |why| Err(LoadFault::Trouble(Trouble::Stopped(why))))
    }

    fn fold(
        &mut self,
        piece: Vec<(Bucket, Vec<StoredFrame>)>,
        _: &StoredRevision,
    ) -> Result<(), LoadFault> {
        let mut counted = self.view.write();
        let counted = &mut *counted;
        if let Some(buckets) = self.begun.take() {
            counted.discard(self.metric);
            (self.rows, self.is_half) = (0, true);
            let laid_out = counted.state.lay_out(self.metric, &buckets);
            laid_out.map_err(|fault| {
                corrupt(format!("the buckets of the store do not fit its tables: {fault}"))
            })?;
        }
        let mut loading = counted.state.loading(self.metric);
        let mut unseen = 0;
        for (bucket, frames) in piece {
            for frame in frames {
                let load = loading.frame(usize::from(bucket.table), &frame.bytes);
                self.rows +=
                    load.map_err(|fault| corrupt(format!("{fault} (bucket {bucket:?})")))?;
                unseen += frame.bytes.len();
                if unseen >= self.memory_share.step_bytes() {
                    drop(loading);
                    let fits =
                        self.others.require_room(self.memory_share, &counted.state, self.metric);
                    fits.map_err(LoadFault::Trouble)?;
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
            self.view.write().discard(self.metric);
            self.memory_share.record_emptied(self.metric);
        }
    }
}

fn corrupt(what: String) -> LoadFault {
    LoadFault::Trouble(Trouble::Corrupt(what))
}

#[cfg(test)]
#[path = "load_metric_tests.rs"]
mod tests;
