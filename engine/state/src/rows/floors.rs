//! Panes, the times from which on each resolution is held (floors), and the range of a read.
//!
//! Floors are state: compaction sets them from the watermark, snapshots store them, and they never
//! fall. A row is in exactly one pane: that of the finest tier whose floor is not above it; rows
//! below all floors are in one open pane, "older".

use tally_event::time::{FIRST_MS, LAST_MS};
use tally_plugin::description::{Pane, Tier};

/// Milliseconds of a minute.
pub(crate) const MINUTE: i64 = 60_000;

/// The half-open range of times that a read asks for, in Unix milliseconds; `None`: no bound on
/// that side.
pub(crate) type TimeBounds = (Option<i64>, Option<i64>);

/// A pane: a resolution and the number of the pane since 1970; `None` is the open pane before all
/// floors.
pub(crate) type PaneId = (Option<Pane>, i64);

/// Start of a pane in Unix milliseconds; 0 for the open one, which has no start.
pub(crate) fn start(pane: PaneId) -> i64 {
    pane.0.map_or(0, |tier| pane.1 * tier.millis())
}

/// Whether such a pane exists: its times can be written by RFC 3339. Arithmetic on other panes
/// could overflow.
pub(crate) fn exists(pane: PaneId) -> bool {
    match pane.0 {
        None => pane.1 == 0,
        Some(tier) => (FIRST_MS.div_euclid(tier.millis())..=LAST_MS.div_euclid(tier.millis()))
            .contains(&pane.1),
    }
}

/// Whether a pane lies in a range. Ranges consist of whole panes that are held, so a pane lies in a
/// range entirely or not at all.
pub(crate) fn overlaps(pane: PaneId, (from, to): TimeBounds) -> bool {
    match pane.0 {
        None => from.is_none(),
        Some(tier) => {
            let begin = start(pane);
            to.is_none_or(|to| begin < to) && from.is_none_or(|from| begin + tier.millis() > from)
        }
    }
}

/// The time from which on each tier is held, in Unix milliseconds; `i64::MAX`: the table has no
/// such tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Floors {
    pub(crate) minute: i64,
    pub(crate) hour: i64,
    pub(crate) day: i64,
}

impl Floors {
    /// Nothing has expired yet.
    pub(crate) fn new(tiers: &[Tier]) -> Floors {
        let floor =
            |pane| if tiers.iter().any(|tier| tier.pane == pane) { i64::MIN } else { i64::MAX };
        Floors { minute: floor(Pane::Minute), hour: floor(Pane::Hour), day: floor(Pane::Day) }
    }

    pub(crate) fn of(&self, pane: Pane) -> i64 {
        match pane {
            Pane::Minute => self.minute,
            Pane::Hour => self.hour,
            Pane::Day => self.day,
        }
    }

    /// The floors once events up to `watermark` have been counted. A floor is a multiple of the
    /// next coarser pane, so that no coarse pane is partly in fine ones.
    pub(crate) fn raised(&self, tiers: &[Tier], watermark: i64) -> Floors {
        let raise = |pane: Pane, coarser: Pane| {
            let keep = tiers.iter().find(|tier| tier.pane == pane).and_then(|tier| tier.keep_ms);
            let due = keep.map_or(i64::MIN, |keep| {
                let end = watermark.saturating_sub(keep);
                end.div_euclid(coarser.millis()).saturating_mul(coarser.millis())
            });
            self.of(pane).max(due)
        };
        Floors {
            minute: raise(Pane::Minute, self.coarser_than(Pane::Minute)),
            hour: raise(Pane::Hour, Pane::Day),
            day: raise(Pane::Day, Pane::Day),
        }
    }

    fn coarser_than(&self, _minute: Pane) -> Pane {
        if self.hour == i64::MAX { Pane::Day } else { Pane::Hour }
    }

    /// The higher floor of both, tier by tier.
    pub(crate) fn max(&self, other: &Floors) -> Floors {
        Floors {
            minute: self.minute.max(other.minute),
            hour: self.hour.max(other.hour),
            day: self.day.max(other.day),
        }
    }

    /// The pane of an event in this minute.
    #[inline]
    pub(crate) fn pane(&self, minute: i64) -> PaneId {
        let time = minute * MINUTE;
        for pane in [Pane::Minute, Pane::Hour, Pane::Day] {
            if time >= self.of(pane) {
                return (Some(pane), time.div_euclid(pane.millis()));
            }
        }
        (None, 0)
    }

    /// The pane that the rows of a stored pane belong to now: the same, or a coarser one if the
    /// floors rose.
    pub(crate) fn settle(&self, pane: PaneId) -> PaneId {
        let Some(stored) = pane.0 else { return pane };
        let now = self.pane(start(pane).div_euclid(MINUTE));
        // A coarse row is never split again, whatever the floors are.
        if now.0.is_none_or(|tier| tier >= stored) { now } else { pane }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn tiers() -> Vec<Tier> {
        vec![
            Tier { pane: Pane::Minute, keep_ms: Some(2 * HOUR) },
            Tier { pane: Pane::Hour, keep_ms: Some(48 * HOUR) },
            Tier { pane: Pane::Day, keep_ms: None },
        ]
    }

    #[test]
    fn floors_rise_to_whole_coarser_panes_and_never_fall() {
        let floors = Floors::new(&tiers()).raised(&tiers(), 100 * HOUR + 59 * MINUTE);
        assert_eq!((floors.minute, floors.hour, floors.day), (98 * HOUR, 48 * HOUR, i64::MIN));
        assert_eq!(floors.raised(&tiers(), 0), floors);
        assert_eq!(
            Floors::new(&tiers()).raised(&tiers(), i64::MIN),
            Floors::new(&tiers()),
            "nothing was counted"
        );
    }

    #[test]
    fn an_event_lands_in_the_finest_pane_held() {
        let floors = Floors::new(&tiers()).raised(&tiers(), 100 * HOUR);
        assert_eq!(floors.pane(98 * 60), (Some(Pane::Minute), 98 * 60));
        assert_eq!(floors.pane(98 * 60 - 1), (Some(Pane::Hour), 97));
        assert_eq!(floors.pane(47 * 60), (Some(Pane::Day), 1));
        assert_eq!(floors.pane(-1), (Some(Pane::Day), -1));
        assert_eq!(Floors::new(&[]).pane(5), (None, 0));
    }

    #[test]
    fn stored_rows_only_move_to_coarser_panes() {
        let floors = Floors::new(&tiers()).raised(&tiers(), 100 * HOUR);
        assert_eq!(floors.settle((Some(Pane::Minute), 97 * 60)), (Some(Pane::Hour), 97));
        assert_eq!(floors.settle((Some(Pane::Day), 4)), (Some(Pane::Day), 4));
        assert_eq!(floors.settle((None, 0)), (None, 0));
    }
}
