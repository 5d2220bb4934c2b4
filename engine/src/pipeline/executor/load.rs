//! Loads: what is stored of a revision, and, where told so, the view of all of it at the same moment.
//!
//! A view may be read only once all of it is found to be there; until then its metric is in doubt and answers for nothing.

use super::Shared;
use crate::failpoint::point;
use crate::pipeline::members::{LaneMetric, Members};
use crate::pipeline::origin::Origin;
use crate::pipeline::panicking_records::contained;
use crate::pipeline::room::Room;
use crate::pipeline::stored::{accounts, counted_partitions, found, whole};
use crate::pipeline::view::Counted;
use crate::progress::{Found, RevisionNo, Trouble};
use crate::state::MetricId;
use crate::store::{Bucket, BucketRead, StoredRevision};

impl Shared {
    /// What is stored of a revision; `rebuild`: its view is made anew.
    pub(super) fn load(&mut self, members: &Members, no: RevisionNo, rebuild: bool) -> Result<Option<Found>, Trouble> {
        let Some(metric) = members.get(no) else { return Ok(None) };
        let loaded = contained(|| self.load_metric(metric, rebuild)).unwrap_or_else(|what| {
            Err(Trouble::Corrupt(format!("loading it panicked; this is a bug in Tally, please report it: {what}")))
        });
        if !self.engines_share && matches!(loaded, Ok(None) | Err(Trouble::Corrupt(_))) {
            // Nothing was loaded, and nothing more will be.
            self.room.note(metric.id, 0);
        }
        loaded
    }

    fn load_metric(&mut self, metric: &LaneMetric, rebuild: bool) -> Result<Option<Found>, Trouble> {
        point("load.begin");
        let stored = if rebuild { self.rebuild(metric)? } else { self.look_up(metric)? };
        let Some(stored) = stored else { return Ok(None) };
        point("load.read");
        self.lives.insert(metric.no, stored.life);
        found(&stored).map(Some)
    }

    /// Progress alone: the view holds what it should.
    fn look_up(&mut self, metric: &LaneMetric) -> Result<Option<StoredRevision>, Trouble> {
        let stored = self.store.stored(&metric.revision).map_err(|fault| self.store_fault(&fault))?;
        if self.engines_share
            && let Some(stored) = &stored
        {
            // Nobody reads it, but metrics that join the main lane are compared by it.
            let place = &mut self.view.write().metrics[metric.id.0];
            place.position.0.extend(counted_partitions(stored));
        }
        Ok(stored)
    }

    fn rebuild(&mut self, metric: &LaneMetric) -> Result<Option<StoredRevision>, Trouble> {
        let read = whole(&*self.store, &metric.revision);
        let (buckets, reading) = read.map_err(|fault| self.store_fault(&fault))?;
        let mut counted = self.view.write();
        counted.let_go(metric.id);
        let Some(reading) = reading else {
            counted.metrics[metric.id.0].in_doubt = false;
            return Ok(None);
        };
        let view = Rebuild { counted: &mut counted, room: &self.room, metric: metric.id };
        view.fill(&buckets, reading.buckets, &reading.revision).inspect_err(|_| {
            // Half of it may be in memory: it stays in doubt, and nobody reads it.
            counted.state.clear(metric.id);
            self.room.note(metric.id, 0);
        })?;
        Ok(Some(reading.revision))
    }
}

/// A metric's view that is made of all that is stored.
struct Rebuild<'a> {
    counted: &'a mut Counted,
    room: &'a Room,
    metric: MetricId,
}

impl Rebuild<'_> {
    fn fill(self, buckets: &[Bucket], read: Vec<BucketRead>, revision: &StoredRevision) -> Result<(), Trouble> {
        let held: Vec<(u16, u32)> = buckets.iter().map(|bucket| (bucket.table, bucket.bucket)).collect();
        let laid_out = self.counted.state.lay_out(self.metric, &held);
        laid_out.map_err(|fault| Trouble::Corrupt(format!("which buckets there are: {fault}")))?;
        let (mut rows, mut unseen) = (0, 0);
        let mut loading = self.counted.state.loading(self.metric);
        for (bucket, frames) in buckets.iter().zip(read) {
            let (BucketRead::Whole(frames) | BucketRead::Tail(frames)) = frames else { continue };
            for frame in frames {
                let load = loading.frame(usize::from(bucket.table), &frame.bytes);
                rows += load.map_err(|fault| Trouble::Corrupt(format!("{fault} (bucket {bucket:?})")))?;
                unseen += frame.bytes.len();
                if unseen >= self.room.step() {
                    drop(loading);
                    self.require_room()?;
                    (loading, unseen) = (self.counted.state.loading(self.metric), 0);
                }
            }
        }
        drop(loading);
        self.counted.state.end_load(self.metric);
        self.room.note(self.metric, self.require_room()?);
        let found = found(revision)?;
        accounts(&found, rows)?;
        let place = &mut self.counted.metrics[self.metric.0];
        place.position.0 = counted_partitions(revision).collect();
        place.origins = found.progress.iter().map(|(p, progress)| (*p, Origin::of(progress))).collect();
        place.in_doubt = false;
        Ok(())
    }

    /// What the metric takes so far, if there is room for it.
    fn require_room(&self) -> Result<u64, Trouble> {
        let sizes = self.counted.state.sizes();
        let takes = sizes[self.metric.0].1;
        self.room.note_others(self.metric, sizes);
        self.room.refuses(self.metric, takes).map_or(Ok(takes), |why| Err(Trouble::Stopped(why)))
    }
}
