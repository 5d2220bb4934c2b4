//! Refused records on their way to where dead letters are kept: gathered, written together, tried again, never held without bound.

use super::counting::Counting;
use crate::dead_letter::DeadLetter;
use crate::telemetry;

/// Dead letters that are kept in memory before they are written.
const MANY: usize = 1_000;

/// Bytes of them, likewise.
const LARGE: usize = 4 << 20;

/// How many times as much is kept where they cannot be written.
const AT_MOST: usize = 4;

/// Letters that wait.
#[derive(Default)]
pub(super) struct Letters {
    waiting: Vec<DeadLetter>,
    bytes: usize,
    /// How many times as much as is due there must be before they are written by the way: more once they could not be.
    tries: usize,
}

impl Letters {
    fn push(&mut self, letter: DeadLetter) {
        self.bytes += letter.size();
        self.waiting.push(letter);
    }

    fn clear(&mut self) {
        self.waiting.clear();
        (self.bytes, self.tries) = (0, 0);
    }

    /// Whether there are so many, or so many times as many, that they have to be written.
    fn are(&self, times: usize) -> bool {
        self.waiting.len() >= times * MANY || self.bytes >= times * LARGE
    }

    /// Whether they have to be written before more come.
    pub(super) fn are_due(&self) -> bool {
        self.are(self.tries + 1)
    }
}

impl Counting {
    /// Takes refused records, and writes them down once there are many.
    pub(super) fn refuse(&mut self, letters: impl IntoIterator<Item = DeadLetter>) {
        for letter in letters {
            self.letters.push(letter);
            if self.letters.are_due() {
                self.flush_letters();
            }
        }
    }

    /// Writes refused records down. They are named by their place in the log, so a second time changes nothing.
    pub(super) fn flush_letters(&mut self) {
        if self.letters.waiting.is_empty() {
            return;
        }
        match self.dead_letters.put(&self.letters.waiting) {
            Ok(new) => {
                self.letters.clear();
                // Each once, however often its record is read.
                new.into_iter().for_each(|(reason, records)| telemetry::refused(&reason, records));
            }
            Err(fault) => {
                tracing::error!("dead letters could not be written, trying again: {fault}");
                self.letters.tries = (AT_MOST - 1).min(self.letters.tries + 1);
                self.board.stand(|standing| standing.store_trouble = Some(fault.to_string()));
                // What waits stays bounded: what cannot be written is counted and said, the records stay in the log.
                if self.letters.are(AT_MOST) {
                    telemetry::letters_lost(self.letters.waiting.len() as u64);
                    self.letters.clear();
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
        let letter = |size: usize| DeadLetter::new("invalid_json", "t", 0, 0, 0, Some(&vec![b'x'; size]));
        for (size, due, most) in [(10, MANY, AT_MOST * MANY), (64 << 10, 64, AT_MOST * 64)] {
            let mut letters = Letters::default();
            let pushed = |letters: &mut Letters, times: usize| {
                while !letters.are(times) {
                    letters.push(letter(size));
                }
                letters.waiting.len()
            };
            assert_eq!(pushed(&mut letters, 1), due, "{size}");
            assert!(letters.are_due());
            assert_eq!(pushed(&mut letters, AT_MOST), most, "{size}");
            letters.clear();
            assert!(!letters.are_due() && letters.bytes == 0);
        }
    }
}
