//! Refused records on their way to where dead letters are kept: gathered, written together, tried again, bounded in number and bytes.

use super::board::Board;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::telemetry;
use std::sync::Arc;

/// Dead letters that are kept in memory before they are written.
const MANY: usize = 1_000;

/// Bytes of them that are.
const LARGE: usize = 4 << 20;

/// How many times as much is kept while they cannot be written.
const AT_MOST: usize = 4;

/// Writes dead letters down, many at a time.
pub(super) struct DeadLetterBuffer {
    letters: Arc<DeadLetters>,
    board: Arc<Board>,
    waiting: Waiting,
}

/// Letters that wait.
#[derive(Default)]
struct Waiting {
    letters: Vec<DeadLetter>,
    bytes: usize,
    /// Writes that failed since the last one that did not, at most `AT_MOST - 1`: so many times as much more is due.
    tries: usize,
}

impl Waiting {
    fn push(&mut self, letter: DeadLetter) {
        self.bytes += letter.size();
        self.letters.push(letter);
    }

    fn clear(&mut self) {
        *self = Waiting::default();
    }

    /// Whether so many times as many wait as are written together.
    fn are(&self, times: usize) -> bool {
        self.letters.len() >= times * MANY || self.bytes >= times * LARGE
    }

    fn are_due(&self) -> bool {
        self.are(self.tries + 1)
    }
}

impl DeadLetterBuffer {
    pub(super) fn new(letters: Arc<DeadLetters>, board: Arc<Board>) -> DeadLetterBuffer {
        DeadLetterBuffer { letters, board, waiting: Waiting::default() }
    }

    /// Whether letters have to be written before more come.
    pub(super) fn is_due(&self) -> bool {
        self.waiting.are_due()
    }

    /// Takes refused records, and writes them down once there are many.
    pub(super) fn add(&mut self, letters: impl IntoIterator<Item = DeadLetter>) {
        for letter in letters {
            self.waiting.push(letter);
            if self.waiting.are_due() {
                self.write();
            }
        }
    }

    /// Writes down what waits. Letters are identified by their place in the log, so a second write changes nothing.
    pub(super) fn write(&mut self) {
        if self.waiting.letters.is_empty() {
            return;
        }
        match self.letters.put(&self.waiting.letters) {
            Ok(new) => {
                self.waiting.clear();
                // Each is counted once, however often its record is read.
                new.into_iter().for_each(|(reason, records)| telemetry::refused(&reason, records));
            }
            Err(fault) => {
                tracing::error!("dead letters could not be written, trying again: {fault}");
                self.waiting.tries = (AT_MOST - 1).min(self.waiting.tries + 1);
                self.board.stand(|standing| standing.store_trouble = Some(fault.to_string()));
                // What cannot be written is counted and reported; the records stay in the log.
                if self.waiting.are(AT_MOST) {
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
        let letter = |size: usize| DeadLetter::new("invalid_json", "t", 0, 0, 0, Some(&vec![b'x'; size]));
        for (size, due, most) in [(10, MANY, AT_MOST * MANY), (64 << 10, 64, AT_MOST * 64)] {
            let mut letters = Waiting::default();
            let pushed = |letters: &mut Waiting, times: usize| {
                while !letters.are(times) {
                    letters.push(letter(size));
                }
                letters.letters.len()
            };
            assert_eq!(pushed(&mut letters, 1), due, "{size}");
            assert!(letters.are_due());
            assert_eq!(pushed(&mut letters, AT_MOST), most, "{size}");
            letters.clear();
            assert!(!letters.are_due() && letters.bytes == 0);
        }
    }
}
