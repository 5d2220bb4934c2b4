//! Answers kept for the next equal question, of all metrics of an engine together: so many bytes,
//! the least used go first.
//!
//! An answer holds for one version of its metric. Long answers are not kept: what would be saved is
//! little beside writing them. Losing an answer costs time, never a number.

use super::Answer;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest result that is kept.
const LONGEST: usize = 256 << 10;

/// What an entry takes besides its texts, about.
const ENTRY: usize = 256;

/// By metric and question.
pub struct Answers {
    kept: Cache<(u64, String), Kept, Bytes>,
    numbers: AtomicU64,
}

#[derive(Clone)]
struct Kept {
    /// Of the state that it was read from.
    version: u64,
    answer: Arc<Answer>,
}

/// Weighs entries.
#[derive(Clone)]
struct Bytes;

impl Weighter<(u64, String), Kept> for Bytes {
    fn weight(&self, (_, question): &(u64, String), kept: &Kept) -> u64 {
        let Answer { result, warnings, position, footprint, .. } = &*kept.answer;
        let warnings: usize =
            warnings.iter().map(|warning| 128 + warning.code.len() + warning.detail.len()).sum();
        let texts = question.len() + result.len() + warnings + footprint.bytes();
        (ENTRY + texts + position.0.len() * 24) as u64
    }
}

impl Answers {
    /// Keeps at most so many bytes.
    #[must_use]
    pub fn new(bytes: u64) -> Answers {
        let kept = Cache::with_weighter((bytes / 4096) as usize, bytes, Bytes);
        Answers { kept, numbers: AtomicU64::new(0) }
    }

    /// A number for one who asks: its answers are its own.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn known(&self, of: u64, version: u64, question: &str) -> Option<Arc<Answer>> {
        self.kept
            .get(&AnswerKey(of, question))
            .filter(|kept| kept.version == version)
            .map(|kept| kept.answer)
    }

    pub(super) fn remember(&self, of: u64, version: u64, question: String, answer: &Arc<Answer>) {
        // One that took long may be of an earlier version than what is kept.
        let later =
            self.kept.get(&AnswerKey(of, &question)).is_some_and(|kept| kept.version > version);
        if later {
            return;
        }
        if answer.result.len() > LONGEST {
            self.kept.remove(&AnswerKey(of, &question));
            return;
        }
        self.kept.insert((of, question), Kept { version, answer: Arc::clone(answer) });
    }
}

/// A key to look up, without a copy of the question.
#[derive(Hash)]
struct AnswerKey<'q>(u64, &'q str);

impl quick_cache::Equivalent<(u64, String)> for AnswerKey<'_> {
    fn equivalent(&self, (of, question): &(u64, String)) -> bool {
        (self.0, self.1) == (*of, question.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;

    fn answer(bytes: usize) -> Arc<Answer> {
        let (window, position) = ((None, None), Position::default());
        Arc::new(Answer {
            result: "x".repeat(bytes).into(),
            window,
            warnings: Vec::new(),
            position,
            footprint: Arc::default(),
        })
    }

    #[test]
    fn an_answer_is_known_at_its_version_alone_and_an_earlier_one_takes_no_later_ones_place() {
        let answers = Answers::new(1 << 20);
        assert!(answers.known(0, 1, "a").is_none());
        answers.remember(0, 1, "a".into(), &answer(1));
        assert!(answers.known(0, 1, "a").is_some());
        assert!(answers.known(0, 2, "a").is_none() && answers.known(0, 1, "b").is_none());
        assert!(answers.known(1, 1, "a").is_none(), "of another metric");
        answers.remember(0, 3, "a".into(), &answer(1));
        answers.remember(0, 2, "a".into(), &answer(1));
        assert!(answers.known(0, 3, "a").is_some() && answers.known(0, 2, "a").is_none());
    }

    #[test]
    fn answers_are_bounded_in_bytes_and_one_more_takes_the_place_of_few() {
        let bytes = 64 << 20;
        let answers = Answers::new(bytes);
        for n in 0..2_000 {
            answers.remember(0, 1, n.to_string(), &answer(100 << 10));
            assert!(answers.kept.weight() <= bytes);
        }
        assert!(answers.kept.weight() > bytes * 3 / 4, "{} are kept", answers.kept.weight());
        answers.remember(0, 1, "long".into(), &answer(LONGEST + 1));
        assert!(answers.known(0, 1, "long").is_none());
    }
}
