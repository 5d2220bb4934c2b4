//! Refused records on their way to where dead letters are kept: gathered, written together, tried again, never held without bound.

use super::contain::PLUGIN_FAILED;
use super::counting::Counting;
use crate::telemetry;

/// Dead letters kept in memory at most before they are written.
pub(super) const LETTERS: usize = 1_000;

impl Counting {
    /// Writes refused records down. They are named by their place in the log, so a second time changes nothing.
    pub(super) fn flush_letters(&mut self) {
        if self.letters.is_empty() {
            return;
        }
        match self.dead_letters.put(&self.letters) {
            Ok(new) => {
                self.letters.clear();
                // Those of records are counted when they are decoded.
                let of_plugins = new.into_iter().filter(|(reason, _)| reason.starts_with(PLUGIN_FAILED));
                of_plugins.for_each(|(reason, events)| telemetry::failed(&reason, events));
            }
            Err(fault) => {
                tracing::error!("dead letters could not be written, trying again: {fault}");
                self.board.stand(|standing| standing.store_trouble = Some(fault.to_string()));
                // The queue stays bounded: what cannot be written is counted and said, the records stay in the log.
                if self.letters.len() > 10 * LETTERS {
                    telemetry::letters_lost(self.letters.len() as u64);
                    self.letters.clear();
                }
            }
        }
    }
}
