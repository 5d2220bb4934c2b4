//! What a stored record means for what is in memory, and where counting begins with it.
//!
//! Pure comparisons of records, bounds and memory; when they are made and what follows is `load`'s.

use super::cell::Cell;
use super::protocol::*;
use super::record::{Progress, Span};
use super::topic::same_log;

/// What a stored record means for memory.
pub(super) enum Comparison {
    /// What we rest on is stored: memory stays.
    Kept,
    /// Our frozen range is stored, by an earlier try or by another engine: what follows it stays.
    Committed,
    /// Anything else: memory is void.
    Void,
}

pub(super) fn compare(cell: &Cell, found: Option<&Progress>, memory: Memory) -> Comparison {
    // A record of the same offset may differ where another engine met other gaps or began
    // elsewhere. The range in the store is then that engine's, which a view in this process does
    // not show.
    let same = |ours: &Progress, found: &Progress| memory == Memory::Apart || ours == found;
    match (found, &cell.sent) {
        _ if cell.untouched => Comparison::Void,
        (None, _) if !cell.stored => Comparison::Kept,
        (Some(found), Some(sent))
            if sent.record.next == found.next && (!cell.stored || cell.base.next != found.next) =>
        {
            if same(&sent.record, found) {
                Comparison::Committed
            } else {
                Comparison::Void
            }
        }
        // A frozen range carries a record made from our base: it stands only on exactly that one.
        (Some(found), sent) if cell.stored && cell.base.next == found.next => {
            if cell.base == *found || (sent.is_none() && memory == Memory::Apart) {
                Comparison::Kept
            } else {
                Comparison::Void
            }
        }
        _ => Comparison::Void,
    }
}

impl History {
    /// The first offset that counts of a partition that was never counted.
    #[must_use]
    pub fn first(&self, bounds: Bounds) -> u64 {
        let Bounds { partition, start, end } = bounds;
        match self {
            History::Whole => start,
            History::From(starts) => {
                starts.get(&partition).map_or(start, |first| (*first).clamp(start, end))
            }
        }
    }
}

/// Starts counting where the store stands; what forbids it, if anything does.
pub(super) fn begin(
    cell: &mut Cell,
    found: Option<Progress>,
    bounds: Bounds,
    history: &History,
    settings: &Settings,
) -> Option<Halt> {
    let partition = bounds.partition;
    let Some(found) = found else {
        let start = history.first(bounds);
        let topic = settings.topic.clone();
        let history_to = Some(bounds.end).filter(|end| *end > start);
        let base = Progress { topic, start, next: start, history_to, ..Progress::default() };
        cell.begin(base, false);
        return None;
    };
    let (topic, next, start) = (found.topic.clone(), found.next, found.start);
    cell.begin(found, true);
    if !same_log(&topic, &settings.topic) {
        return Some(Halt::OtherTopic { partition, stored: topic, found: settings.topic.clone() });
    }
    if next > bounds.end {
        return Some(Halt::BeyondEnd { partition, next, end: bounds.end });
    }
    if next < bounds.start {
        let gap = Span { from: next, to: bounds.start };
        if settings.on_gap == OnGap::Halt {
            return Some(Halt::Gap { partition, gap });
        }
        cell.jump(gap);
    }
    let warm = start.max(next.saturating_sub(settings.dedupe_window));
    if warm < bounds.start.min(next) {
        cell.open.dedupe_gap = Some(Span { from: warm, to: bounds.start.min(next) });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_begins_within_what_the_log_holds() {
        let bounds = |partition| Bounds { partition, start: 10, end: 20 };
        assert_eq!(History::Whole.first(bounds(0)), 10);
        let from = History::From([(0, 5), (1, 15), (2, 25)].into());
        let firsts = [0, 1, 2, 3].map(|partition| from.first(bounds(partition)));
        assert_eq!(firsts, [10, 15, 20, 10], "a partition that is not named came later");
    }

    #[test]
    fn what_is_stored_says_where_history_ends_until_all_of_it_is_stored() {
        let settings = Settings {
            dedupe_window: 0,
            on_gap: OnGap::Halt,
            on_state_loss: OnStateLoss::Rebuild,
            memory: Memory::Resident,
            max_pending_rows: 1_000,
            topic: String::new(),
        };
        let bounds = |start, end| Bounds { partition: 0, start, end };
        let mut cell = Cell::new();
        assert_eq!(begin(&mut cell, None, bounds(10, 20), &History::Whole, &settings), None);
        let mut stored = |to, hold| {
            (cell.open.to, cell.hold) = (to, hold);
            cell.freeze(Ticket(1));
            let record = cell.sent.take().map(|sent| sent.record).unwrap_or_default();
            cell.advance(record.clone());
            // The next engine begins with what is stored, however long the log is by then.
            let mut next = Cell::new();
            let begun = begin(&mut next, Some(record), bounds(10, 90), &History::Whole, &settings);
            assert_eq!(begun, None);
            (next.base.next, next.base.history_to)
        };
        assert_eq!(stored(10, None), (10, Some(20)));
        assert_eq!(stored(25, Some(19)), (19, Some(20)), "the rest is counted and not stored");
        assert_eq!(stored(20, None), (20, None));
        assert_eq!(stored(25, None), (25, None));
        // Where nothing is held there is no history.
        let mut empty = Cell::new();
        assert_eq!(begin(&mut empty, None, bounds(20, 20), &History::Whole, &settings), None);
        assert_eq!(empty.base.history_to, None);
    }
}
