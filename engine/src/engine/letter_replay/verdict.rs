//! What becomes of a dead letter that is judged again?
//!
//! By today's `[events]`, by what the log holds and by what the metrics have counted of what it no
//! longer holds. Nothing is read from the log here, and nothing is written.

use super::super::counted_records::{CountedFate, CountedRecords};
use crate::database::DatabaseError;
use crate::dead_letter::{DeadLetter, DeadLetters};
use crate::decode::{Decoder, Reason};
use crate::log::Bounds;
use std::collections::BTreeMap;

/// What becomes of a letter.
pub(super) enum LetterVerdict {
    /// It is no event today, either, or is not kept whole.
    Refused,
    /// The log holds its record or a copy of it, or it was counted.
    InLog,
    /// A metric may still count its record.
    Undecided,
    /// It is an event, with this key of its record.
    Event(Box<str>),
}

/// Judges letters.
pub(super) struct LetterJudge<'a> {
    /// The name of the log.
    pub(super) log: &'a str,
    pub(super) letters: &'a DeadLetters,
    pub(super) decoder: &'a Decoder,
    /// By partition, what the log held when the call began.
    pub(super) held: BTreeMap<u32, Bounds>,
    /// What the metrics had counted after that.
    pub(super) counted: CountedRecords,
}

impl LetterJudge<'_> {
    /// Judges one letter.
    pub(super) fn verdict(&self, letter: &DeadLetter) -> Result<LetterVerdict, DatabaseError> {
        let is_of_log = *letter.topic == *self.log;
        let held = self.held.get(&letter.partition).filter(|_| is_of_log);
        let is_held =
            held.is_some_and(|held| (held.start..held.end + held.open).contains(&letter.offset));
        // A copy was an event once.
        let is_copy = letter.origin.is_some();
        if is_held || is_copy || self.letters.was_copied(letter.place())? {
            return Ok(LetterVerdict::InLog);
        }
        if letter.bytes.len() as u64 != letter.length {
            return Ok(LetterVerdict::Refused);
        }
        let Ok(checked) = self.decoder.check(&letter.bytes, letter.timestamp_ms) else {
            return Ok(LetterVerdict::Refused);
        };
        let event = LetterVerdict::Event(checked.user_id.unwrap_or_default());
        if !is_of_log {
            return Ok(event);
        }
        // Only what lies before the start was in this log: other places are those of an earlier
        // topic of its name.
        let was_in_log = held.is_some_and(|held| letter.offset < held.start);
        Ok(match self.counted.fate(letter.partition, letter.offset) {
            CountedFate::Counted => LetterVerdict::InLog,
            CountedFate::Undecided if was_in_log => LetterVerdict::Undecided,
            CountedFate::Undecided | CountedFate::Never => event,
        })
    }
}

/// Whether letters of a reason are judged again: those of verdicts on records, of the one reason
/// that is wanted, if one is.
pub(super) fn is_replayed(reason: &str, wanted: Option<&str>) -> bool {
    Reason::is_word(reason) && wanted.is_none_or(|wanted| reason == wanted)
}
