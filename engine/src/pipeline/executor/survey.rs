//! Asks the log which one it is and what it holds. One question is under way at a time, and the
//! lane does not block for the answer.

use super::Shared;
use super::workers::{SurveyAnswer, Worker, surveyor};
use crate::event::Position;
use crate::log::{self, LogError, Survey, Surveyed};
use crate::outage::Pauses;
use crate::pipeline::lane_status::LaneStatus;
use crate::progress::{Bounds, Event, Ticket};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Before a log that did not answer is asked again.
const ASK_AGAIN: Pauses = Pauses { first: Duration::from_secs(1), longest: Duration::from_secs(8) };

/// The thread that asks the log, and the questions that are due.
pub(super) struct Surveys {
    worker: Worker<u64, SurveyAnswer>,
    /// Number of the last question sent, and of the last one answered.
    sent: u64,
    answered: u64,
    /// Number of loads, in all and before the last question: bounds must not be older than the
    /// state they are compared with.
    loads: u64,
    loads_at_question: u64,
    /// How far the lane had counted at the last question: the log holds no less.
    counted: Position,
    /// Whether a request waits for the next question.
    wanted: bool,
    /// Requests for bounds: the question that answers them, ticket, partitions.
    tickets: Vec<(u64, Ticket, Vec<u32>)>,
    /// After failures: no question before this moment.
    ask_at: Option<Instant>,
    /// Failures in a row.
    failures: u32,
}

/// An answer of the log.
pub(in crate::pipeline) struct LogAnswer {
    /// Events for the ledger.
    pub(in crate::pipeline) events: Vec<Event>,
    /// What the log holds, and how far the lane had counted when it was asked; or why it did not
    /// answer.
    pub(in crate::pipeline) held: Result<(Vec<log::Bounds>, Position), LogError>,
}

impl Surveys {
    pub(super) fn start(
        survey: Arc<dyn Survey>,
        status: Arc<LaneStatus>,
    ) -> std::io::Result<Surveys> {
        Ok(Surveys {
            worker: surveyor(survey, status)?,
            sent: 0,
            answered: 0,
            loads: 0,
            loads_at_question: 0,
            counted: Position::default(),
            wanted: false,
            tickets: Vec::new(),
            ask_at: None,
            failures: 0,
        })
    }

    /// Notes that state is loaded: bounds asked for before are too old for it.
    pub(super) fn note_load(&mut self) {
        self.loads += 1;
    }

    /// Requests bounds. The question that is under way will do, unless something was loaded since.
    pub(super) fn ask_bounds(&mut self, ticket: Ticket, partitions: Vec<u32>) {
        let fresh = self.sent != self.answered && self.loads_at_question == self.loads;
        self.wanted |= !fresh;
        self.tickets.push((if fresh { self.sent } else { self.sent + 1 }, ticket, partitions));
    }

    /// See [`super::Executor::ask_log`].
    pub(super) fn ask(
        &mut self,
        shared: &mut Shared,
        due: bool,
        position: impl FnOnce() -> Position,
    ) {
        let paused = self.ask_at.is_some_and(|at| Instant::now() < at);
        if (due || self.wanted) && self.sent == self.answered && !paused {
            (self.sent, self.loads_at_question, self.wanted) = (self.sent + 1, self.loads, false);
            self.counted = position();
            self.worker.send(self.sent).unwrap_or_else(|fault| shared.note_end(fault));
        }
    }

    /// The answer of the log, if there is a new one.
    pub(super) fn take(&mut self, shared: &mut Shared) -> Option<LogAnswer> {
        let (question, answer) = shared.received(self.worker.take())?;
        self.answered = question;
        let (due, later) = std::mem::take(&mut self.tickets)
            .into_iter()
            .partition(|(after, ..)| *after <= question);
        self.tickets = later;
        let Surveyed { topic, bounds } = match answer {
            Ok(surveyed) => surveyed,
            Err(fault) => {
                // The requests are repeated with the next checkpoint.
                self.ask_at = Some(Instant::now() + ASK_AGAIN.doubled(self.failures));
                self.failures += 1;
                return Some(LogAnswer { events: Vec::new(), held: Err(fault) });
            }
        };
        (self.ask_at, self.failures) = (None, 0);
        let mut events: Vec<Event> = topic.map(Event::Topic).into_iter().collect();
        for (_, ticket, partitions) in due {
            let asked = bounds.iter().filter(|bounds| partitions.contains(&bounds.partition));
            let bounds_of =
                |b: &log::Bounds| Bounds { partition: b.partition, start: b.start, end: b.end };
            events.push(Event::Bounds(ticket, asked.map(bounds_of).collect()));
        }
        Some(LogAnswer { events, held: Ok((bounds, std::mem::take(&mut self.counted))) })
    }
}
