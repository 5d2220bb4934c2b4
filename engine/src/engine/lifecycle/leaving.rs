//! Metrics on their way out of a lane. Only the lane itself says when it no longer counts one; until then its views are not
//! emptied, no other lane gets it, and what is stored of it is not removed.
//!
//! No time that passes counts as an answer: a lane that has not answered is asked on. One that takes no more commands is told later;
//! one that has ended counts nothing any more.

use crate::pipeline::{Command, Handle, Left, Untold};
use crate::progress::RevisionNo;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// After so long without an answer it is worth a line in the log.
const LONG: Duration = Duration::from_secs(10);

/// A lane that can be told to let a metric go.
pub(super) trait Lane {
    /// As [`Handle::tell`].
    fn tell(&self, command: Command) -> Result<(), Untold>;
}

impl Lane for Handle {
    fn tell(&self, command: Command) -> Result<(), Untold> {
        Handle::tell(self, command)
    }
}

/// A metric that is leaving, and what becomes of it then.
pub(super) struct Leaving<T> {
    pub(super) no: RevisionNo,
    pub(super) what: T,
    /// Lives until it has answered.
    lane: Arc<dyn Lane + Send + Sync>,
    told: Told,
    since: Instant,
    said: bool,
}

enum Told {
    /// It took no more commands.
    NotYet,
    /// Its answer comes here.
    Asked(Receiver<Left>),
    Answered(Left),
}

impl<T> Leaving<T> {
    pub(super) fn new(no: RevisionNo, lane: Arc<dyn Lane + Send + Sync>, what: T) -> Leaving<T> {
        Leaving { no, what, lane, told: Told::NotYet, since: Instant::now(), said: false }
    }

    /// How it left, once the lane has said so; waits for that at most `limit`.
    pub(super) fn left(&mut self, limit: Duration) -> Option<Left> {
        if matches!(self.told, Told::NotYet) {
            let (answer, left) = sync_channel(1);
            match self.lane.tell(Command::Leave(self.no, answer)) {
                Ok(()) => self.told = Told::Asked(left),
                Err(Untold::Busy) => {}
                // What its views show is not known to be stored.
                Err(Untold::Ended) => self.told = Told::Answered(Left::default()),
            }
        }
        if let Told::Asked(answer) = &self.told {
            match answer.recv_timeout(limit) {
                Ok(left) => self.told = Told::Answered(left),
                // It ended before it came to this command.
                Err(RecvTimeoutError::Disconnected) => self.told = Told::Answered(Left::default()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        match &self.told {
            Told::Answered(left) => Some(left.clone()),
            Told::NotYet | Told::Asked(_) => None,
        }
    }

    /// Whether it takes so long that it should be said; only once.
    pub(super) fn is_worth_a_word(&mut self) -> bool {
        let long = !matches!(self.told, Told::Answered(_)) && self.since.elapsed() >= LONG;
        long && !std::mem::replace(&mut self.said, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Position;
    use parking_lot::Mutex;
    use std::sync::mpsc::SyncSender;

    /// A lane that answers when it is told to.
    #[derive(Default)]
    struct Slow {
        refuses: Mutex<Option<Untold>>,
        asked: Mutex<Vec<SyncSender<Left>>>,
    }

    impl Lane for Slow {
        fn tell(&self, command: Command) -> Result<(), Untold> {
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
        assert_eq!(lane.asked.lock().len(), 1, "it is asked once: the question stands");
        let shown = Some(Position([(0, 7)].into()));
        lane.asked.lock()[0].send(Left { shown: shown.clone() }).expect("somebody waits for it");
        assert_eq!(leaving.left(Duration::ZERO).map(|left| left.shown), Some(shown.clone()));
        assert_eq!(leaving.left(Duration::ZERO).map(|left| left.shown), Some(shown), "it stays an answer");
    }

    #[test]
    fn a_lane_that_takes_no_commands_is_told_later_and_one_that_ended_counts_no_more() {
        let (lane, mut leaving) = leaving();
        *lane.refuses.lock() = Some(Untold::Busy);
        assert!(leaving.left(Duration::ZERO).is_none());
        *lane.refuses.lock() = None;
        assert!(leaving.left(Duration::ZERO).is_none());
        assert_eq!(lane.asked.lock().len(), 1);
        lane.asked.lock().clear();
        let left = leaving.left(Duration::ZERO).map(|left| left.shown);
        assert_eq!(left, Some(None), "it ended before it answered: its views are made anew");

        let (lane, mut leaving) = self::leaving();
        *lane.refuses.lock() = Some(Untold::Ended);
        assert_eq!(leaving.left(Duration::ZERO).map(|left| left.shown), Some(None));
    }
}
