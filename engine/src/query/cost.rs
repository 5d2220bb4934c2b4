//! What one answer may cost: points, bytes and time, judged before they are spent.
//!
//! A read with a series is judged by what it declares (its limit, the ids it names) before it looks
//! at anything, one that declares nothing by the number of its groups before their steps are read;
//! the reads of an answer are added up. What they return and what they hold meanwhile comes out of
//! the share that all answers have together.

use super::footprint::{Footprint, FootprintNotes};
use crate::host::{Read, ReadFault};
use crate::memory::{Held, Share};
use crate::state::{Allowance, Moment, ReadError};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_plugin::ask::{Ask, Fault};
use tally_plugin::description::{Key, Table};
use tally_plugin::read::{ReadAnswer, ReadRequest};

/// Points of all series of an answer.
pub(super) const MOST_POINTS: u64 = 100_000;

/// How much longer than an answer what is read for it may be: it names each column again for each
/// part.
const READ: usize = 4;

/// Bytes of memory that a byte of text costs which is read, while it is at once a value here, a
/// text, and a value there.
const HEAVY: usize = 6;

/// Bytes of memory that a byte of a reply costs while it is copied from one to the other.
const COPIES: usize = 3;

/// What all answers of an engine may cost.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `[server] evaluation_deadline_ms`.
    pub deadline: Duration,
    /// `[limits] answer_bytes`.
    pub answer_bytes: usize,
    /// What answers hold while they are made.
    pub memory: Arc<Share>,
}

/// Reads for one answer, all at one moment.
pub(super) struct Reads<'a> {
    moment: &'a Moment,
    ask: &'a Ask,
    limits: &'a Limits,
    deadline: Instant,
    /// Whether the metric has a param `limit`: where fewer groups would do, that is what to change.
    has_limit: bool,
    points: Cell<u64>,
    /// Bytes of text read so far.
    read: Cell<usize>,
    held: RefCell<Held>,
    footprint: FootprintNotes<'a>,
}

impl<'a> Reads<'a> {
    /// `tables`: those of the metric.
    pub(super) fn new(
        (moment, tables): (&'a Moment, &'a [Table]),
        (ask, has_limit): (&'a Ask, bool),
        limits: &'a Limits,
        deadline: Instant,
    ) -> Result<Reads<'a>, ReadFault> {
        let held = limits.memory.take(0).map_err(|_| ReadFault::Memory)?;
        let (points, read, held) = (Cell::new(0), Cell::new(0), RefCell::new(held));
        let footprint = FootprintNotes::new(tables);
        Ok(Reads { moment, ask, limits, deadline, has_limit, points, read, held, footprint })
    }

    /// What was read so far.
    pub(super) fn footprint(&self) -> Footprint {
        self.footprint.footprint()
    }

    fn note(&self, request: &ReadRequest) {
        let open = request.from.is_none() || request.to.is_none();
        if request.step_ms.is_some() && open && !self.is_asked(request) {
            // How many points it is judged by grows with whatever is counted.
            self.footprint.note_everything();
        } else {
            self.footprint.note(request);
        }
    }

    fn hold(&self, bytes: usize) -> Result<(), ReadError> {
        self.held.borrow_mut().resize(bytes as u64).map_err(|_| ReadError::Memory)
    }

    /// Steps of one series of a read.
    fn steps(&self, request: &ReadRequest) -> u64 {
        let Some(step) = request.step_ms.filter(|step| *step > 0) else { return 0 };
        if let Some(steps) = self.ask.steps.filter(|_| self.is_asked(request)) {
            return span(steps.step_ms, steps.from, steps.to);
        }
        let held = self.moment.held();
        let from = request.from.or(held.first);
        let to = request.to.or(held.last.map(|last| last + 1));
        from.zip(to).map_or(0, |(from, to)| span(step, from, to))
    }

    /// Whether a series is the one that was asked for.
    fn is_asked(&self, request: &ReadRequest) -> bool {
        let window = self.ask.window;
        let same = self.ask.steps.map(|steps| steps.step_ms) == request.step_ms;
        same && (request.from, request.to) == (window.from, window.to)
    }

    /// Adds the points of so many series, if there may be as many.
    fn spend(&self, groups: u64, steps: u64) -> Result<(), ReadError> {
        let (spent, points) = (self.points.get(), groups.saturating_mul(steps));
        let left = MOST_POINTS.saturating_sub(spent);
        if points > left {
            let fits = if spent == 0 { left / steps.max(1) } else { 0 };
            return Err(ReadError::TooManyPoints {
                groups,
                points: points.saturating_add(spent),
                fits,
            });
        }
        self.points.set(spent + points);
        Ok(())
    }

    fn fault(&self, error: ReadError, ranked: bool) -> ReadFault {
        match error {
            ReadError::Deadline => ReadFault::Deadline,
            ReadError::Bad(what) => ReadFault::Request(what),
            ReadError::Memory => ReadFault::Memory,
            ReadError::Gone => ReadFault::Store(error.to_string()),
            ReadError::TooLarge => too_large(self.limits.answer_bytes),
            ReadError::TooManyPoints { groups, points, fits } => {
                let fewer = ranked && self.has_limit && fits > 0;
                let (param, fewer) = match fewer {
                    true => ("limit", format!("a limit of at most {fits}, ")),
                    false => ("bucket", String::new()),
                };
                let detail = format!(
                    "{points} points in {groups} series are more than {MOST_POINTS}: choose \
                     {fewer}a longer bucket or a shorter window"
                );
                ReadFault::Refused(
                    "too_many_points",
                    Fault { pointer: format!("/params/{param}"), detail },
                )
            }
        }
    }
}

/// Steps of a grid that `[from, to)` touches.
fn span(step: i64, from: i64, to: i64) -> u64 {
    let last = to.saturating_sub(1).div_euclid(step);
    u64::try_from(last.saturating_sub(from.div_euclid(step)).saturating_add(1)).unwrap_or(0)
}

/// How many groups a read returns at most, by what it says itself; and whether that is its limit
/// alone.
fn declared(request: &ReadRequest) -> (Option<u64>, bool) {
    let named = |column: &Key| {
        request.only.iter().find(|only| only.column == *column).map(|only| only.ids.len() as u64)
    };
    let ids = request
        .group_by
        .iter()
        .try_fold(1_u64, |all, column| Some(all.saturating_mul(named(column)?)));
    let limit = request.rank.as_ref().map(|rank| rank.limit as u64);
    match (ids, limit) {
        (Some(ids), Some(limit)) => (Some(ids.min(limit)), limit < ids),
        (ids, limit) => (ids.or(limit), limit.is_some()),
    }
}

fn too_large(answer_bytes: usize) -> ReadFault {
    let detail = format!(
        "the answer would have more than {answer_bytes} bytes ([limits] answer_bytes): ask for \
         less (a lower limit, a longer bucket, a shorter window, fewer event_types)"
    );
    ReadFault::Refused("answer_too_large", Fault { pointer: "/params".into(), detail })
}

impl Read for Reads<'_> {
    fn read(&self, request: &ReadRequest) -> Result<ReadAnswer, ReadFault> {
        self.note(request);
        let steps = self.steps(request);
        let (declared, ranked) = declared(request);
        let declared = declared.filter(|_| steps > 0);
        let judged = declared.map_or(Ok(()), |groups| self.spend(groups, steps));
        let one = One {
            reads: self,
            steps,
            undeclared: declared.is_none(),
            asked: self.is_asked(request),
        };
        let answer = judged.and_then(|()| self.moment.read(request, &one));
        // What the read held besides its answer is free again.
        let after = self.hold(self.read.get() * HEAVY);
        answer.and_then(|answer| after.map(|()| answer)).map_err(|error| self.fault(error, ranked))
    }

    fn writing(&self, bytes: usize) -> Result<(), ReadFault> {
        if bytes > self.limits.answer_bytes {
            return Err(too_large(self.limits.answer_bytes));
        }
        if Instant::now() >= self.deadline {
            return Err(ReadFault::Deadline);
        }
        self.hold(self.read.get() * HEAVY + bytes * COPIES).map_err(|_| ReadFault::Memory)
    }
}

/// What one of the reads may cost.
struct One<'a> {
    reads: &'a Reads<'a>,
    steps: u64,
    /// Whether it says nothing of how many groups there are.
    undeclared: bool,
    /// Whether its series is the one asked for.
    asked: bool,
}

impl Allowance for One<'_> {
    fn late(&self) -> bool {
        Instant::now() >= self.reads.deadline
    }

    fn hold(&self, bytes: usize) -> Result<(), ReadError> {
        self.reads.hold(self.reads.read.get() * HEAVY + bytes)
    }

    fn take(&self, bytes: usize) -> Result<(), ReadError> {
        let read = self.reads.read.get().saturating_add(bytes);
        if read > self.reads.limits.answer_bytes.saturating_mul(READ) {
            return Err(ReadError::TooLarge);
        }
        self.reads.read.set(read);
        let held = self.reads.held.borrow().bytes() as usize;
        self.reads.hold(held + bytes * HEAVY)
    }

    fn series(&self, groups: u64) -> Result<(), ReadError> {
        if self.undeclared { self.reads.spend(groups, self.steps) } else { Ok(()) }
    }

    fn steps(&self) -> Option<(i64, i64)> {
        let steps = self.reads.ask.steps.filter(|_| self.asked)?;
        Some((steps.from, steps.to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_plugin::read::{Id, Only, Order, Rank};

    fn request(ids: Option<u64>, limit: Option<usize>, by: bool) -> ReadRequest {
        let only = ids
            .map(|ids| Only { column: Key::ProductId, ids: (0..ids).map(Id::Integer).collect() });
        ReadRequest {
            only: only.into_iter().collect(),
            group_by: if by { vec![Key::ProductId] } else { Vec::new() },
            rank: limit.map(|limit| Rank { by: Vec::new(), order: Order::Desc, limit }),
            ..ReadRequest::default()
        }
    }

    #[test]
    fn what_a_read_declares_is_its_limit_or_the_ids_it_names() {
        for (ids, limit, by, expected) in [
            (None, None, false, (Some(1), false)),
            (Some(7), None, false, (Some(1), false)),
            (None, None, true, (None, false)),
            (Some(7), None, true, (Some(7), false)),
            (None, Some(5), true, (Some(5), true)),
            (Some(7), Some(5), true, (Some(5), true)),
            (Some(7), Some(7), true, (Some(7), false)),
            (Some(7), Some(50), true, (Some(7), false)),
        ] {
            assert_eq!(declared(&request(ids, limit, by)), expected, "{ids:?} {limit:?} {by}");
        }
    }

    #[test]
    fn a_grid_has_the_steps_that_its_range_touches() {
        for (from, to, steps) in
            [(0, 10, 1), (0, 11, 2), (9, 11, 2), (-1, 1, 2), (5, 5, 1), (11, 1, 0)]
        {
            assert_eq!(span(10, from, to), steps, "{from} {to}");
        }
        assert_eq!(span(1, i64::MIN, i64::MAX), i64::MAX as u64, "no overflow");
    }
}
