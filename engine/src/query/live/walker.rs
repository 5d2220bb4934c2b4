//! Finds which questions to a metric are concerned by what came to it since the last look.
//!
//! It keeps what the questions look at and how far the metric had come, and no row. Where it cannot
//! tell it says so, and every question is evaluated.

use super::types::InterestChange;
use crate::state::{ChangeCursor, HeldRange, Interests, Reading};

/// Most rows that are looked at for one look; where more came, every question is evaluated.
const ROWS: usize = 1_000_000;

/// One watched metric.
#[derive(Default)]
pub struct Walker {
    interests: Interests,
    /// Where the last look ended.
    last: Option<LastLook>,
}

struct LastLook {
    cursor: ChangeCursor,
    version: u64,
    held: HeldRange,
    /// Smallest event time counted, and the largest where it lies ahead of the clock: by these a
    /// series may begin and end.
    ends: (Option<i64>, Option<i64>),
}

/// What came to a metric between two looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// The version of the metric up to which was looked.
    pub version: u64,
    /// Whether every row was looked at.
    pub reading: Reading,
    /// The questions that rows concern; none where that is unknown.
    pub hits: Vec<u64>,
    /// Whether something is held less finely than before, which every window may show.
    pub coarser: bool,
}

impl Walker {
    /// Whether it has not looked yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.last.is_none()
    }

    /// Whether something came since the last look.
    #[must_use]
    pub fn is_behind(&self, version: u64, held: &HeldRange) -> bool {
        self.last.as_ref().is_none_or(|last| last.version != version || last.held != *held)
    }

    /// Whether series that are open at an end may begin or end elsewhere than at the last look.
    #[must_use]
    pub fn ends_moved(&self, held: &HeldRange, now_ms: i64) -> bool {
        self.last.as_ref().is_some_and(|last| last.ends != ends(held, now_ms))
    }

    /// Takes over what questions look at.
    pub fn change(&mut self, changes: &[InterestChange]) {
        for change in changes {
            match change {
                InterestChange::Set(question, footprint) => {
                    let interests = footprint.interests().map(<[_]>::to_vec);
                    self.interests.set(*question, interests);
                }
                InterestChange::Remove(question) => self.interests.remove(*question),
            }
        }
    }

    /// Looks at what came up to this cursor, which was taken at `now_ms`. `idle`: every question
    /// waits to be evaluated and will be, from this moment on or a later one.
    pub fn walk(
        &mut self,
        (version, cursor): (u64, ChangeCursor),
        held: HeldRange,
        now_ms: i64,
        idle: bool,
    ) -> Walked {
        let floors = |held: &HeldRange| (held.minute_floor, held.hour_floor, held.day_floor);
        let (mut hits, mut reading, mut coarser) = (Vec::new(), Reading::Unknown, false);
        if let Some(last) = &self.last {
            coarser = floors(&last.held) != floors(&held);
            reading = if idle {
                Reading::Exact
            } else {
                self.interests.touched(&last.cursor, &cursor, ROWS, &mut |hit| hits.push(hit))
            };
        }
        let ends = ends(&held, now_ms);
        self.last = Some(LastLook { cursor, version, held, ends });
        Walked { version, reading, hits, coarser }
    }
}

fn ends(held: &HeldRange, now_ms: i64) -> (Option<i64>, Option<i64>) {
    (held.first, held.last.filter(|last| *last >= now_ms))
}
