//! Tells the source where each partition is to be read and whether it is paused, until it has done so.
//!
//! What is due and what is in force is kept by [`Deliveries`](crate::progress::Deliveries); here the source is told, and told again
//! what it did not do. Nothing here decides where to read.

use super::counting::Counting;
use super::effects::Driver;
use crate::progress::Step;
use crate::source::{Source, SourceError, Start};
use std::time::{Duration, Instant};

/// After how long the source is told again what it did not do.
const AGAIN: Duration = Duration::from_millis(100);

impl Driver {
    /// Tells the source all that is due now.
    pub(super) fn steer(&mut self, counting: &mut Counting, source: &mut dyn Source) {
        // A partition is resumed once it stands where it is to be read.
        while self.steer_once(counting, source) {}
    }

    /// Whether the source did anything of what is due.
    fn steer_once(&mut self, counting: &mut Counting, source: &mut dyn Source) -> bool {
        let mut did = false;
        for step in counting.deliveries.steps() {
            let (Step::Pause(partition) | Step::Read { partition, .. } | Step::Resume(partition)) = step;
            let waits = |due: &Instant| *due > Instant::now();
            if !matches!(step, Step::Pause(_)) && self.again.get(&partition).is_some_and(waits) {
                continue;
            }
            match self.lead(counting, source, step) {
                Ok(()) => did = true,
                Err(fault) => {
                    self.again.insert(partition, Instant::now() + AGAIN);
                    self.source_trouble(&fault);
                }
            }
        }
        did
    }

    fn lead(&mut self, counting: &mut Counting, source: &mut dyn Source, step: Step) -> Result<(), SourceError> {
        match step {
            Step::Pause(partition) => {
                source.pause(partition);
                counting.deliveries.has_paused(partition, true);
            }
            Step::Resume(partition) => {
                source.resume(partition)?;
                counting.deliveries.has_paused(partition, false);
            }
            Step::Read { partition, read, strayed } => {
                let there = self.starts.remove(&partition) == Some(Start::At(read.from));
                if strayed || !there {
                    source.rewind(partition, read.from).inspect_err(|_| counting.deliveries.failed(partition))?;
                }
                counting.took_over(partition, read);
            }
        }
        Ok(())
    }
}
