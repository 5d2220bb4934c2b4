//! To which pane of a table a time belongs: the shortest that is still held there.

use super::time;
use serde::Deserialize;

/// The length of a pane, shorter ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) enum Length {
    #[serde(rename = "1m")]
    Minute,
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "1d")]
    Day,
    /// Everything before the panes that are held.
    #[serde(rename = "older")]
    Older,
}

/// Length and start, Unix milliseconds; what is older starts at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Pane(pub(super) Length, pub(super) i64);

/// The panes that a table holds, shorter ones first, each from a time on (`None`: from the
/// beginning). None at all: only totals.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Panes(Vec<(Length, Option<i64>)>);

impl Panes {
    /// The pane of an event; `None`: there are none.
    pub(super) fn of(&self, time: i64) -> Option<Pane> {
        let held = self.0.iter().find(|(_, from)| from.is_none_or(|from| time >= from));
        let pane = held.map_or(Pane(Length::Older, 0), |(length, _)| length.around(time));
        (!self.0.is_empty()).then_some(pane)
    }

    /// Where the rows of a pane belong: those of one that is no longer held have moved, or will, to
    /// a longer one.
    pub(super) fn settle(&self, pane: Pane) -> Pane {
        self.of(pane.1).filter(|now| now.0 > pane.0).unwrap_or(pane)
    }
}

impl Length {
    fn around(self, time: i64) -> Pane {
        let millis = match self {
            Length::Minute => 60_000,
            Length::Hour => 3_600_000,
            Length::Day => 86_400_000,
            Length::Older => return Pane(self, 0),
        };
        Pane(self, time.div_euclid(millis) * millis)
    }
}

impl Pane {
    /// For people.
    pub(super) fn shown(self) -> String {
        let length = match self.0 {
            Length::Minute => "minute",
            Length::Hour => "hour",
            Length::Day => "day",
            Length::Older => return "older".into(),
        };
        format!("{length} {}", time::shown(self.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Length::{Day, Hour, Minute, Older};

    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_time_belongs_to_the_shortest_pane_held_there() {
        let panes =
            Panes(vec![(Minute, Some(98 * HOUR)), (Hour, Some(48 * HOUR)), (Day, Some(24 * HOUR))]);
        assert_eq!(panes.of(98 * HOUR + 61_000), Some(Pane(Minute, 98 * HOUR + 60_000)));
        assert_eq!(panes.of(98 * HOUR - 1), Some(Pane(Hour, 97 * HOUR)));
        assert_eq!(panes.of(48 * HOUR - 1), Some(Pane(Day, 24 * HOUR)));
        assert_eq!(panes.of(24 * HOUR - 1), Some(Pane(Older, 0)));
        assert_eq!(Panes(vec![(Day, None)]).of(-1), Some(Pane(Day, -24 * HOUR)));
        assert_eq!(Panes::default().of(5), None);
    }

    #[test]
    fn rows_only_move_to_longer_panes() {
        let panes = Panes(vec![(Minute, Some(98 * HOUR)), (Hour, Some(48 * HOUR))]);
        assert_eq!(panes.settle(Pane(Minute, 97 * HOUR)), Pane(Hour, 97 * HOUR));
        assert_eq!(
            panes.settle(Pane(Hour, 98 * HOUR)),
            Pane(Hour, 98 * HOUR),
            "too long, and stays so: it is wrong"
        );
        assert_eq!(panes.settle(Pane(Hour, 40 * HOUR)), Pane(Older, 0));
        assert_eq!(panes.settle(Pane(Older, 0)), Pane(Older, 0));
    }

    #[test]
    fn people_are_told_when() {
        assert_eq!(Pane(Minute, 1_767_225_660_000).shown(), "minute 2026-01-01T00:01:00Z");
        assert_eq!(Pane(Older, 0).shown(), "older");
    }
}
