//! Leads the source to where each partition is to be read, and pauses and resumes it, until it has done so.
//!
//! What is due and what is in force is kept by the ledger; here the source is told, and told again what it did not do. Decides nowhere
//! where to read.

use super::ledger::Ledger;
use crate::progress::Step;
use crate::source::{Source, SourceError, Start};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// After how long the source is told again what it did not do.
const AGAIN: Duration = Duration::from_millis(100);

/// What is known of the source.
#[derive(Default)]
pub(super) struct Steering {
    /// Partitions of which the source did not do what it was told: when it is told again.
    again: BTreeMap<u32, Instant>,
    /// Where partitions were told to start when they were assigned.
    starts: BTreeMap<u32, Start>,
}

/// What the source did.
#[derive(Debug, Default)]
pub(super) struct Steered {
    /// Partitions whose dedupe window starts empty.
    pub(super) fresh: Vec<u32>,
    /// What it did not do, and why.
    pub(super) faults: Vec<SourceError>,
}

impl Steering {
    /// A partition that is being assigned starts here.
    pub(super) fn starts_at(&mut self, partition: u32, start: Start) {
        self.starts.insert(partition, start);
    }

    /// Partitions are to be read again: the source is somewhere else than where it was told to start.
    pub(super) fn begin_again(&mut self, partitions: &[u32]) {
        self.starts.retain(|partition, _| !partitions.contains(partition));
    }

    /// Tells the source all that is due now.
    pub(super) fn steer(&mut self, ledger: &mut Ledger, source: &mut dyn Source) -> Steered {
        let mut steered = Steered::default();
        // A partition is resumed once it is where it is to be read.
        while self.steer_once(ledger, source, &mut steered) {}
        steered
    }

    /// Whether the source did anything of what is due.
    fn steer_once(&mut self, ledger: &mut Ledger, source: &mut dyn Source, steered: &mut Steered) -> bool {
        let mut did = false;
        for step in ledger.steps() {
            let (Step::Pause(partition) | Step::Read { partition, .. } | Step::Resume(partition)) = step;
            let waits = |due: &Instant| *due > Instant::now();
            if !matches!(step, Step::Pause(_)) && self.again.get(&partition).is_some_and(waits) {
                continue;
            }
            match self.take(step, ledger, source, steered) {
                Ok(()) => did = true,
                Err(fault) => {
                    self.again.insert(partition, Instant::now() + AGAIN);
                    steered.faults.push(fault);
                }
            }
        }
        did
    }

    fn take(
        &mut self,
        step: Step,
        ledger: &mut Ledger,
        source: &mut dyn Source,
        steered: &mut Steered,
    ) -> Result<(), SourceError> {
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
                let there = self.starts.remove(&partition) == Some(Start::At(read.from));
                if strayed || !there {
                    source.rewind(partition, read.from).inspect_err(|_| ledger.read_failed(partition))?;
                }
                if ledger.took_over(partition, read) {
                    steered.fresh.push(partition);
                }
            }
        }
        Ok(())
    }
}
