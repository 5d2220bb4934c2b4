//! A [`KafkaSource`] outside the group: it reads the partitions that another reader of this process holds, from the offsets
//! that its sink gives. So history is replayed beside the main consumer without a word to the group.
//!
//! Everything else is as in the group: gaps are told, nothing is skipped, order is kept. Nothing is published.

use super::{Callback, KafkaSource, raw, told};
use crate::config::KafkaConfig;
use crate::source::{Sink, SourceError};
use raw::Rebalance;

/// Which partitions are to be read now.
pub type Wanted = Box<dyn Fn() -> Vec<u32> + Send>;

impl KafkaSource {
    /// A reader of whatever partitions are `wanted`, asked at each poll.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] for settings that cannot be.
    pub fn replay(config: &KafkaConfig, wanted: Wanted) -> Result<KafkaSource, SourceError> {
        KafkaSource::new(config, Some(wanted))
    }

    /// Gives up what is no longer wanted and takes on what is.
    pub(super) fn follow(&mut self, sink: &mut dyn Sink) -> Result<(), SourceError> {
        let Some(wanted) = self.wanted.as_ref().map(|wanted| wanted()) else { return Ok(()) };
        let gone: Vec<u32> = self.held.keys().copied().filter(|held| !wanted.contains(held)).collect();
        let new: Vec<u32> = wanted.into_iter().filter(|wanted| !self.held.contains_key(wanted)).collect();
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        let mut callback = Callback { sink, held: &mut self.held, left_paused: &mut self.left_paused, fault: None };
        if !gone.is_empty() {
            callback.revoked(&gone, false);
        }
        let starts = if new.is_empty() { Vec::new() } else { callback.assigned(self.consumer.client(), &new) };
        if let Some(reason) = callback.fault {
            return Err(SourceError::Fatal(reason));
        }
        let starts: Vec<(u32, i64)> = new.iter().copied().zip(starts).collect();
        let taken_on = self.consumer.unassign(&gone).and_then(|()| self.consumer.add(&starts));
        taken_on.map_err(|fault| {
            // Taken on one by one by the polls to come.
            self.held.iter_mut().filter(|(held, _)| new.contains(held)).for_each(|(_, place)| place.astray = true);
            told(&self.config, &fault)
        })
    }
}
