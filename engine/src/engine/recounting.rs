//! What the log held when this engine began to count, and how much of it is still to be counted.
//!
//! After a crash the last moments are counted again from the log. Until then answers are right for
//! the position that they state, but they lie before what was answered, and acknowledged, before
//! the crash; so the engine is not ready. It waits so long and no longer: where much has gathered
//! while nobody counted, answers with a known lag are worth more than none. Nobody is refused an
//! answer here.

use crate::event::Position;
use crate::pipeline::StatusSnapshot;
use std::time::{Duration, Instant};

/// How long an engine that counts what it found in the log is not ready for that.
const LONGEST: Duration = Duration::from_secs(10);

/// Why an engine that has counted up to `position` is not ready yet: a sentence on the records that
/// the log held at its start. `None`: they are counted, or took too long.
pub(super) fn recounting(
    status: &StatusSnapshot,
    position: &Position,
    now: Instant,
) -> Option<String> {
    let Some(first) = &status.first_bounds else {
        return Some("the log has not said yet how much it holds that is to be counted".to_owned());
    };
    if now.duration_since(first.since) >= LONGEST {
        return None;
    }
    let held = first.bounds.iter().filter(|bounds| status.held.contains(&bounds.partition));
    let left: u64 = held
        .map(|bounds| {
            let counted = position.0.get(&bounds.partition).copied().unwrap_or(0);
            bounds.end.saturating_sub(counted.max(bounds.start))
        })
        .sum();
    (left > 0).then(|| {
        format!(
            "{left} records that the log held at the start are still to be counted; answers do \
             not have them (the engine is ready when they are counted, after {} s in any case)",
            LONGEST.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::Bounds;
    use crate::pipeline::FirstBounds;

    fn status(since: Instant) -> StatusSnapshot {
        let bounds = |partition, start, end| Bounds { partition, start, end, open: 0 };
        let bounds = vec![bounds(0, 5, 10), bounds(1, 0, 3), bounds(2, 7, 7)];
        let first_bounds = Some(FirstBounds { since, bounds });
        StatusSnapshot { held: vec![0, 2], first_bounds, ..StatusSnapshot::default() }
    }

    fn position(parts: &[(u32, u64)]) -> Position {
        Position(parts.iter().copied().collect())
    }

    #[test]
    fn what_the_log_held_at_the_start_is_waited_for() {
        let now = Instant::now();
        let left = |parts: &[(u32, u64)]| recounting(&status(now), &position(parts), now);
        assert!(left(&[]).is_some_and(|what| what.starts_with("5 records")));
        assert!(left(&[(0, 9)]).is_some_and(|what| what.starts_with("1 records")));
        assert_eq!(left(&[(0, 10)]), None);
        assert_eq!(left(&[(0, 12)]), None, "what came later is not waited for");
    }

    #[test]
    fn nothing_is_waited_for_without_end() {
        let now = Instant::now();
        let late = now + LONGEST;
        assert_eq!(recounting(&status(now), &position(&[]), late), None);
    }

    #[test]
    fn a_log_that_has_not_answered_is_waited_for() {
        let status = StatusSnapshot { first_bounds: None, ..status(Instant::now()) };
        assert!(recounting(&status, &position(&[(0, 10)]), Instant::now()).is_some());
    }
}
