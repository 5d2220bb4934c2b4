//! Makes the source read each partition from where the ledger says, and pauses and resumes
//! partitions, with retries.
//!
//! The ledger keeps which steps are due and which the source has taken; this module calls the
//! source and repeats what failed. It does not decide where to read.

use super::ledger::Ledger;
use crate::log::{LogError, Source, Start};
use crate::progress::Step;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Pause before a step that failed is repeated.
const RETRY: Duration = Duration::from_millis(100);

/// The steps under way.
#[derive(Default)]
pub(super) struct Steering {
    /// Partitions with a failed step: when it is repeated.
    retry_at: BTreeMap<u32, Instant>,
    /// Where the source starts each partition that it was just assigned.
    starts: BTreeMap<u32, Start>,
}

/// The result of steering.
#[derive(Debug, Default)]
pub(super) struct Steered {
    /// Partitions whose dedupe window starts empty.
    pub(super) fresh: Vec<u32>,
    /// Steps that failed, to be repeated.
    pub(super) faults: Vec<LogError>,
}

impl Steering {
    /// The source starts a partition that it is being assigned at `start`.
    pub(super) fn starts_at(&mut self, partition: u32, start: Start) {
        self.starts.insert(partition, start);
    }

    /// Partitions are to be read again: the source is no longer where it started.
    pub(super) fn forget_starts(&mut self, partitions: &[u32]) {
        self.starts.retain(|partition, _| !partitions.contains(partition));
    }

    /// Takes all steps that are due now.
    pub(super) fn steer(&mut self, ledger: &mut Ledger, source: &mut dyn Source) -> Steered {
        let mut steered = Steered::default();
        // A rewind makes a resume due.
        while self.steer_once(ledger, source, &mut steered) {}
        steered
    }

    /// Takes each due step once. Returns whether any succeeded.
    fn steer_once(
        &mut self,
        ledger: &mut Ledger,
        source: &mut dyn Source,
        steered: &mut Steered,
    ) -> bool {
        let mut succeeded = false;
        for step in ledger.steps() {
            let (Step::Pause(partition) | Step::Read { partition, .. } | Step::Resume(partition)) =
                step;
            let waits = |due: &Instant| *due > Instant::now();
            if !matches!(step, Step::Pause(_)) && self.retry_at.get(&partition).is_some_and(waits) {
                continue;
            }
            match self.carry_out(step, ledger, source, steered) {
                Ok(()) => succeeded = true,
                Err(fault) => {
                    self.retry_at.insert(partition, Instant::now() + RETRY);
                    steered.faults.push(fault);
                }
            }
        }
        succeeded
    }

    fn carry_out(
        &mut self,
        step: Step,
        ledger: &mut Ledger,
        source: &mut dyn Source,
        steered: &mut Steered,
    ) -> Result<(), LogError> {
        match step {
            Step::Pause(partition) => {
                source.pause(partition);
                ledger.has_paused(partition, true);
            }
            Step::Resume(partition) => {
                source.resume(partition)?;
                ledger.has_paused(partition, false);
            }
            Step::Read { partition, read, strayed } => {
                let is_there = self.starts.remove(&partition) == Some(Start::At(read.from));
                if strayed || !is_there {
                    source
                        .rewind(partition, read.from)
                        .inspect_err(|_| ledger.read_failed(partition))?;
                }
                if ledger.took_over(partition, read) {
                    steered.fresh.push(partition);
                }
            }
        }
        Ok(())
    }
}
