//! A [`KafkaSource`] outside the group: it reads the partitions that another reader of this process
//! holds, from the offsets that its sink gives. So history is replayed beside the main consumer,
//! and the group does not notice.
//!
//! Everything else is as in the group: gaps are reported, nothing is skipped, order is kept. No
//! progress is published.

use super::errors::describe;
use super::raw::Rebalance;
use super::source::{KafkaSource, RebalanceHandler};
use crate::{LogError, Sink, Wanted};
use std::sync::Arc;
use tally_config::KafkaConfig;

impl KafkaSource {
    /// A reader of the partitions that are `wanted`, asked at each poll.
    ///
    /// # Errors
    /// [`LogError::Fatal`]: a setting of `[kafka]` cannot be used.
    pub fn replay(config: &KafkaConfig, wanted: Wanted) -> Result<KafkaSource, LogError> {
        // only the source in the group asks about the topic
        KafkaSource::new(config, Some(wanted), Arc::default())
    }

    /// Gives up partitions that are no longer wanted and takes up those that are.
    pub(super) fn follow_wanted(&mut self, sink: &mut dyn Sink) -> Result<(), LogError> {
        let Some(wanted) = self.wanted.as_ref().map(|wanted| wanted()) else { return Ok(()) };
        let gone: Vec<u32> =
            self.held.keys().copied().filter(|held| !wanted.contains(held)).collect();
        let new: Vec<u32> =
            wanted.into_iter().filter(|wanted| !self.held.contains_key(wanted)).collect();
        if gone.is_empty() && new.is_empty() {
            return Ok(());
        }
        let mut handler = RebalanceHandler {
            sink,
            held: &mut self.held,
            left_paused: &mut self.left_paused,
            fault: None,
        };
        if !gone.is_empty() {
            handler.revoked(&gone, false);
        }
        let starts = if new.is_empty() {
            Vec::new()
        } else {
            handler.assigned(self.consumer.client(), &new)
        };
        if let Some(reason) = handler.fault {
            return Err(LogError::Fatal(reason));
        }
        let starts: Vec<(u32, i64)> = new.iter().copied().zip(starts).collect();
        let taken_up = self.consumer.unassign(&gone).and_then(|()| self.consumer.add(&starts));
        taken_up.map_err(|fault| {
            // The next polls take them up one by one.
            self.held
                .iter_mut()
                .filter(|(held, _)| new.contains(held))
                .for_each(|(_, held)| held.astray = true);
            describe(&self.config, &fault)
        })
    }
}
