//! Refused records on their way to where dead letters are kept: gathered, written together, tried again, never held without bound.

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
                // Each once, however often its record is read.
                new.into_iter().for_each(|(reason, records)| telemetry::refused(&reason, records));
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
