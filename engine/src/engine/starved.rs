//! Revisions that stopped for lack of memory: each goes on from where it is stored, in the role that it has, once there is room.
//!
//! One whose stored state did not fit is tried again ever more seldom, or when others have given much back. Who stops, and why, is
//! `pipeline::room`'s.

use super::life::Work;
use super::roster::Served;
use crate::progress::{Halt, Quarantine};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long one that did not fit waits at first.
const AGAIN: Duration = Duration::from_secs(60);

/// And at most.
const AGAIN_AT_MOST: Duration = Duration::from_secs(3_600);

/// When a revision was last let go on, or found not to fit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    at: Instant,
    pause: Duration,
    /// Bytes that metrics held then.
    held: u64,
}

impl Work {
    /// Lets one of them go on, if there is room for it.
    pub(super) fn let_go_on(&mut self) {
        let is_starved = |served: &&Arc<Served>| {
            matches!(served.halt(&self.parts.board), Some(Halt::Quarantined(Quarantine::OverMemory { .. })))
        };
        let starved: Vec<Arc<Served>> = self.parts.roster.read().all().filter(is_starved).cloned().collect();
        // What is in memory is let go of first: it answers for as long as it would only wait.
        if starved.is_empty() || self.lanes_taken().is_some() || !self.parts.waiting.is_empty() {
            return;
        }
        for served in starved {
            self.look_at_room(&served);
            let (held, limit) = self.parts.lanes.room.used();
            let tried = self.tried.get(&served.revision).copied();
            let due = match tried {
                Some(tried) => tried.at.elapsed() >= tried.pause || held.saturating_add(limit / 10) < tried.held,
                // What was too large to be loaded is not tried again at once.
                None => self.holds_some(&served),
            };
            let in_memory = self.holds_some(&served);
            // Of one that is not in memory it is not known how much it takes: one of them at a time.
            let turn = in_memory || !self.is_any_on_its_way();
            let goes_on = due && turn && self.parts.lanes.room.has_room(in_memory);
            if tried.is_none() || goes_on {
                let pause = tried.map_or(AGAIN, |tried| tried.pause.saturating_mul(2).min(AGAIN_AT_MOST));
                self.tried.insert(served.revision.clone(), Tried { at: Instant::now(), pause, held });
            }
            if goes_on {
                tracing::info!(metric = served.askable.plugin.name(), "there is memory again");
                return self.begin_again(&served, &served.askable.plugin.clone());
            }
        }
    }

    /// Whether one that was let go on has not joined yet, or another waits.
    fn is_any_on_its_way(&self) -> bool {
        let mut counted = self.backfills.iter().flat_map(|lane| &lane.metrics);
        !self.parts.beside.is_empty() || counted.any(|served| self.tried.contains_key(&served.revision))
    }

    /// Where nothing comes no lane looks.
    fn look_at_room(&self, served: &Served) {
        if served.follower.is_none() {
            self.parts.lanes.room.look(served.id, || self.parts.view.read().state.sizes());
        }
    }

    fn holds_some(&self, served: &Served) -> bool {
        match &served.follower {
            None => !self.parts.view.read().metrics[served.id.0].position.0.is_empty(),
            Some(follower) => !follower.read().position.0.is_empty(),
        }
    }
}
