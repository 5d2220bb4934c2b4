//! Collects refused records, writes them together to the dead letters, and retries; bounded in
//! number and bytes.

use super::lane_status::LaneStatus;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::telemetry;
use std::sync::Arc;

/// Number of letters that are written together.
const MANY: usize = 1_000;

/// Bytes of letters that are written together.
const LARGE: usize = 4 << 20;

/// How many times as much is kept in memory while letters cannot be written.
const AT_MOST: usize = 4;

/// Writes dead letters, many at a time.
pub(super) struct DeadLetterBuffer {
    letters: Arc<DeadLetters>,
    status: Arc<LaneStatus>,
    waiting: WaitingLetters,
}

/// Letters that wait.
#[derive(Default)]
struct WaitingLetters {
    letters: Vec<DeadLetter>,
    bytes: usize,
    /// Writes that failed since the last one that succeeded, at most `AT_MOST - 1`. With each, the
    /// next write waits for as much again.
    tries: usize,
}

impl WaitingLetters {
    fn push(&mut self, letter: DeadLetter) {
        self.bytes += letter.size();
        self.letters.push(letter);
    }

    fn clear(&mut self) {
        *self = WaitingLetters::default();
    }

    /// Whether `times` as many wait as are written together.
    fn reach(&self, times: usize) -> bool {
        self.letters.len() >= times * MANY || self.bytes >= times * LARGE
    }

    fn is_due(&self) -> bool {
        self.reach(self.tries + 1)
    }
}

impl DeadLetterBuffer {
    pub(super) fn new(letters: Arc<DeadLetters>, status: Arc<LaneStatus>) -> DeadLetterBuffer {
        DeadLetterBuffer { letters, status, waiting: WaitingLetters::default() }
    }

    /// Whether letters have to be written before more come.
    pub(super) fn is_due(&self) -> bool {
        self.waiting.is_due()
    }

    /// Adds refused records, and writes once there are many.
    pub(super) fn add(&mut self, letters: impl IntoIterator<Item = DeadLetter>) {
        for letter in letters {
            self.waiting.push(letter);
            if self.waiting.is_due() {
                self.write();
            }
        }
    }

    /// Writes what waits. Letters are identified by their offset, so a second write changes
    /// nothing.
    pub(super) fn write(&mut self) {
        if self.waiting.letters.is_empty() {
            return;
        }
        match self.letters.put(&self.waiting.letters) {
            Ok(new) => {
                self.waiting.clear();
                // Each letter is counted once, however often its record is read.
                new.into_iter().for_each(|(reason, records)| telemetry::refused(&reason, records));
            }
            Err(fault) => {
                tracing::error!("dead letters could not be written, trying again: {fault}");
                self.waiting.tries = (AT_MOST - 1).min(self.waiting.tries + 1);
                self.status.update(|status| status.store_trouble = Some(fault.to_string()));
                // Dropped letters are counted and reported; the records stay in the log.
                if self.waiting.reach(AT_MOST) {
                    telemetry::letters_lost(self.waiting.letters.len() as u64);
                    self.waiting.clear();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_due_by_number_and_by_size() {
        let letter =
            |size: usize| DeadLetter::new("invalid_json", "t", 0, 0, 0, Some(&vec![b'x'; size]));
        for (size, due, most) in [(10, MANY, AT_MOST * MANY), (64 << 10, 64, AT_MOST * 64)] {
            let mut letters = WaitingLetters::default();
            let pushed = |letters: &mut WaitingLetters, times: usize| {
                while !letters.reach(times) {
                    letters.push(letter(size));
                }
                letters.letters.len()
            };
            assert_eq!(pushed(&mut letters, 1), due, "{size}");
            assert!(letters.is_due());
            assert_eq!(pushed(&mut letters, AT_MOST), most, "{size}");
            letters.clear();
            assert!(!letters.is_due() && letters.bytes == 0);
        }
    }
}
