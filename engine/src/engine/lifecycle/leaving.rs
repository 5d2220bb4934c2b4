//! Metrics on their way out of a lane. Only the lane itself can say that it no longer counts one;
//! until then the metric's views are not emptied, no other lane counts it, and its stored state is
//! not removed.
//!
//! A timeout is not an answer: the request to a lane stays open until it answers. A lane that takes
//! no more commands is asked again later; one that has ended counts nothing any more.

use crate::pipeline::{Command, CommandError, Handle, Left};
use crate::progress::RevisionNo;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// After so long without an answer, the log says so.
const LONG: Duration = Duration::from_secs(10);

/// A lane that can be asked to release a metric.
pub(super) trait CommandTarget {
    /// As [`Handle::send`].
    fn send(&self, command: Command) -> Result<(), CommandError>;
}

impl CommandTarget for Handle {
    fn send(&self, command: Command) -> Result<(), CommandError> {
        Handle::send(self, command)
    }
}

/// A metric that is leaving, and what happens to it then.
pub(super) struct Leaving<T> {
    pub(super) no: RevisionNo,
    pub(super) what: T,
    /// Kept until it has answered.
    lane: Arc<dyn CommandTarget + Send + Sync>,
    request: Request,
    since: Instant,
    /// Whether the log says that it takes long.
    is_logged: bool,
}

/// The request to the lane.
enum Request {
    /// Not sent: the lane took no more commands.
    NotSent,
    /// Sent; the answer arrives here.
    Sent(Receiver<Left>),
    Answered(Left),
}

impl<T> Leaving<T> {
    pub(super) fn new(
        no: RevisionNo,
        lane: Arc<dyn CommandTarget + Send + Sync>,
        what: T,
    ) -> Leaving<T> {
        Leaving {
            no,
            what,
            lane,
            request: Request::NotSent,
            since: Instant::now(),
            is_logged: false,
        }
    }

    /// How it left, once the lane has answered; waits for the answer at most `limit`.
    pub(super) fn left(&mut self, limit: Duration) -> Option<Left> {
        if matches!(self.request, Request::NotSent) {
            let (answer, left) = sync_channel(1);
            match self.lane.send(Command::Leave(self.no, answer)) {
                Ok(()) => self.request = Request::Sent(left),
                Err(CommandError::Busy) => {}
                // It is unknown whether what its views show is stored.
                Err(CommandError::Ended) => self.request = Request::Answered(Left::default()),
            }
        }
        if let Request::Sent(answer) = &self.request {
            match answer.recv_timeout(limit) {
                Ok(left) => self.request = Request::Answered(left),
                // It ended before it reached this command.
                Err(RecvTimeoutError::Disconnected) => {
                    self.request = Request::Answered(Left::default())
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        match &self.request {
            Request::Answered(left) => Some(left.clone()),
            Request::NotSent | Request::Sent(_) => None,
        }
    }

    /// Whether it takes so long that the log should say so; true only once.
    pub(super) fn takes_long(&mut self) -> bool {
        let long = !matches!(self.request, Request::Answered(_)) && self.since.elapsed() >= LONG;
        long && !std::mem::replace(&mut self.is_logged, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;
    use parking_lot::Mutex;
    use std::sync::mpsc::SyncSender;

    /// A lane that answers when the test has it answer.
    #[derive(Default)]
    struct Slow {
        refuses: Mutex<Option<CommandError>>,
        asked: Mutex<Vec<SyncSender<Left>>>,
    }

    impl CommandTarget for Slow {
        fn send(&self, command: Command) -> Result<(), CommandError> {
            if let Some(untold) = *self.refuses.lock() {
                return Err(untold);
            }
            if let Command::Leave(_, answer) = command {
                self.asked.lock().push(answer);
            }
            Ok(())
        }
    }

    fn leaving() -> (Arc<Slow>, Leaving<()>) {
        let lane = Arc::new(Slow::default());
        (lane.clone(), Leaving::new(RevisionNo(1), lane, ()))
    }

    #[test]
    fn only_an_answer_of_the_lane_is_one() {
        let (lane, mut leaving) = leaving();
        for _ in 0..3 {
            assert!(leaving.left(Duration::from_millis(1)).is_none(), "no answer is no answer");
        }
        assert_eq!(lane.asked.lock().len(), 1, "it is asked once: the request stays open");
        let shown = Some(Position([(0, 7)].into()));
        lane.asked.lock()[0].send(Left { shown: shown.clone() }).expect("somebody waits for it");
        assert_eq!(leaving.left(Duration::ZERO).map(|left| left.shown), Some(shown.clone()));
        assert_eq!(
            leaving.left(Duration::ZERO).map(|left| left.shown),
            Some(shown),
            "it stays an answer"
        );
    }

    #[test]
    fn a_lane_that_takes_no_commands_is_asked_later_and_one_that_ended_counts_no_more() {
        let (lane, mut leaving) = leaving();
        *lane.refuses.lock() = Some(CommandError::Busy);
        assert!(leaving.left(Duration::ZERO).is_none());
        *lane.refuses.lock() = None;
        assert!(leaving.left(Duration::ZERO).is_none());
        assert_eq!(lane.asked.lock().len(), 1);
        lane.asked.lock().clear();
        let left = leaving.left(Duration::ZERO).map(|left| left.shown);
        assert_eq!(left, Some(None), "it ended before it answered: its views are made anew");

        let (lane, mut leaving) = self::leaving();
        *lane.refuses.lock() = Some(CommandError::Ended);
        assert_eq!(leaving.left(Duration::ZERO).map(|left| left.shown), Some(None));
    }
}
