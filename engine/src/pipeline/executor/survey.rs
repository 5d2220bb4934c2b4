//! Questions to the log: what it is and what it holds. One is on its way at a time, and nobody waits for the answer.

use super::Shared;
use super::workers::{Answered, Worker, surveyor};
use crate::event::Position;
use crate::pipeline::board::Board;
use crate::progress::{Bounds, Event, Ticket};
use crate::source::{self, SourceError, Survey, Surveyed};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A log that did not answer is asked again after so long, twice as long each time.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Longest pause before a log that does not answer is asked again.
const ASK_AGAIN_AT_MOST: Duration = Duration::from_secs(8);

/// The thread that asks the log, and what it is to ask.
pub(super) struct Surveys {
    worker: Worker<u64, Answered>,
    /// Number of the last question sent, and of the last one answered.
    sent: u64,
    answered: u64,
    /// How often state was loaded, in all and until the last question: bounds must not be older than what they are compared with.
    loads: u64,
    loads_at_question: u64,
    /// How far was counted at the last question: the log holds no less.
    counted: Position,
    /// Whether the next question is waited for.
    wanted: bool,
    /// Requests for bounds: after which question, ticket, partitions.
    tickets: Vec<(u64, Ticket, Vec<u32>)>,
    /// Nothing is asked before this moment, after so many failures in a row.
    again: Option<Instant>,
    failures: u32,
}

/// What the log answered.
pub(in crate::pipeline) struct LogAnswer {
    /// What the ledger is told.
    pub(in crate::pipeline) events: Vec<Event>,
    /// What the log holds, and how far was counted when it was asked; or why it did not answer.
    pub(in crate::pipeline) held: Result<(Vec<source::Bounds>, Position), SourceError>,
}

impl Surveys {
    pub(super) fn start(survey: Arc<dyn Survey>, board: Arc<Board>) -> std::io::Result<Surveys> {
        Ok(Surveys {
            worker: surveyor(survey, board)?,
            sent: 0,
            answered: 0,
            loads: 0,
            loads_at_question: 0,
            counted: Position::default(),
            wanted: false,
            tickets: Vec::new(),
            again: None,
            failures: 0,
        })
    }

    /// State is being loaded: bounds asked before are too old for it.
    pub(super) fn note_load(&mut self) {
        self.loads += 1;
    }

    /// Bounds are waited for. The question that is on its way will do, unless something was loaded since.
    pub(super) fn ask_bounds(&mut self, ticket: Ticket, partitions: Vec<u32>) {
        let fresh = self.sent != self.answered && self.loads_at_question == self.loads;
        self.wanted |= !fresh;
        self.tickets.push((if fresh { self.sent } else { self.sent + 1 }, ticket, partitions));
    }

    /// See [`super::Executor::ask_log`].
    pub(super) fn ask(&mut self, shared: &mut Shared, due: bool, position: impl FnOnce() -> Position) {
        let paused = self.again.is_some_and(|again| Instant::now() < again);
        if (due || self.wanted) && self.sent == self.answered && !paused {
            (self.sent, self.loads_at_question, self.wanted) = (self.sent + 1, self.loads, false);
            self.counted = position();
            self.worker.send(self.sent).unwrap_or_else(|fault| shared.note_end(fault));
        }
    }

    /// What the log answered, if it did since the last call.
    pub(super) fn take(&mut self, shared: &mut Shared) -> Option<LogAnswer> {
        let (question, answer) = shared.heard(self.worker.take())?;
        self.answered = question;
        let (due, later) = std::mem::take(&mut self.tickets).into_iter().partition(|(after, ..)| *after <= question);
        self.tickets = later;
        let Surveyed { topic, bounds } = match answer {
            Ok(surveyed) => surveyed,
            Err(fault) => {
                // What was due is asked for again when the next checkpoint is.
                self.failures += 1;
                let pause = ASK_AGAIN.saturating_mul(1 << self.failures.min(10)).min(ASK_AGAIN_AT_MOST);
                self.again = Some(Instant::now() + pause);
                return Some(LogAnswer { events: Vec::new(), held: Err(fault) });
            }
        };
        (self.again, self.failures) = (None, 0);
        let mut events: Vec<Event> = topic.map(Event::Topic).into_iter().collect();
        for (_, ticket, partitions) in due {
            let asked = bounds.iter().filter(|bounds| partitions.contains(&bounds.partition));
            let told = |b: &source::Bounds| Bounds { partition: b.partition, start: b.start, end: b.end };
            events.push(Event::Bounds(ticket, asked.map(told).collect()));
        }
        Some(LogAnswer { events, held: Ok((bounds, std::mem::take(&mut self.counted))) })
    }
}
