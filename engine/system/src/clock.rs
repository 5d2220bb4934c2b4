//! The time by which something is given up for good: minutes and hours that are rolled up, records
//! that retention drops.
//!
//! One reading of the wall clock moves nothing. A clock that is ahead of what the time since boot
//! allows (at a start: ahead of the newest time that was written down) is not believed before it
//! has been so for an hour, or a person confirms it; meanwhile time goes on from the last reading
//! that was believed. A clock that goes back is believed at once: it gives nothing up. What only
//! shows or compares times reads the wall clock itself.

use parking_lot::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far the wall clock may be ahead before it is doubted, milliseconds: daily corrections are
/// far below.
const TOLERANCE: i64 = 5 * 60_000;

/// How long a doubted clock must go on before it is believed, milliseconds of the time since boot.
const PROBATION: i64 = 3_600_000;

/// The wall clock now, Unix milliseconds; negative before 1970.
#[must_use]
pub fn wall_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => {
            i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |before| -before)
        }
    }
}

/// Milliseconds since boot, those asleep included; nobody sets this clock.
fn boot_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.saturating_mul(1_000).saturating_add(now.tv_nsec / 1_000_000)
}

/// Processor time that this thread has used so far: what it does, without what it waits for.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).unwrap_or(0))
}

/// A number that nobody else has, later ones mostly larger: a UUID of version 7, also where the
/// clock stands before 1970.
#[must_use]
pub fn unique() -> u128 {
    let now = wall_ms().max(0).unsigned_abs();
    let time =
        uuid::Timestamp::from_unix(uuid::NoContext, now / 1_000, (now % 1_000) as u32 * 1_000_000);
    uuid::Uuid::new_v7(time).as_u128()
}

/// A wall clock that is doubted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// What it says, Unix milliseconds.
    pub wall: i64,
    /// What is believed instead.
    pub believed: i64,
    /// How much longer it must go on to be believed, milliseconds.
    pub left: i64,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: i64,
    boot: i64,
}

#[derive(Default)]
struct State {
    /// The last reading that was believed; none: the next one is.
    believed: Option<Reading>,
    /// Since when the wall clock is ahead, by the time since boot.
    doubted: Option<i64>,
}

/// The believed time. Shared by all that give something up by time.
pub struct Clock {
    read: fn() -> (i64, i64),
    state: Mutex<State>,
}

/// Of this machine, with nothing known of before.
impl Default for Clock {
    fn default() -> Clock {
        Clock::of_machine(None)
    }
}

impl Clock {
    /// Of this machine. `newest`: the newest time that was believed before, if any is known.
    #[must_use]
    pub fn of_machine(newest: Option<i64>) -> Clock {
        Clock::reading(|| (wall_ms(), boot_ms()), newest)
    }

    fn reading(read: fn() -> (i64, i64), newest: Option<i64>) -> Clock {
        let (_, boot) = read();
        let believed = newest.map(|wall| Reading { wall, boot });
        Clock { read, state: Mutex::new(State { believed, doubted: None }) }
    }

    /// The believed time, Unix milliseconds.
    pub fn now(&self) -> i64 {
        let (wall, boot) = (self.read)();
        self.state.lock().at(Reading { wall, boot })
    }

    /// Whether the wall clock is doubted.
    pub fn doubt(&self) -> Option<Doubt> {
        let (wall, boot) = (self.read)();
        let mut state = self.state.lock();
        let believed = state.at(Reading { wall, boot });
        state.doubted.map(|since| Doubt {
            wall,
            believed,
            left: (PROBATION - (boot - since)).max(0),
        })
    }

    /// Believes the wall clock as it is: a person says so. What it says.
    pub fn accept(&self) -> i64 {
        let (wall, boot) = (self.read)();
        let mut state = self.state.lock();
        *state = State { believed: Some(Reading { wall, boot }), doubted: None };
        wall
    }
}

impl State {
    fn at(&mut self, now: Reading) -> i64 {
        let Some(before) = self.believed else {
            self.believed = Some(now);
            return now.wall;
        };
        let expected = before.wall.saturating_add((now.boot - before.boot).max(0));
        if now.wall <= expected.saturating_add(TOLERANCE) {
            *self = State { believed: Some(now), doubted: None };
            return now.wall;
        }
        let since = *self.doubted.get_or_insert(now.boot);
        if now.boot - since >= PROBATION {
            *self = State { believed: Some(now), doubted: None };
            return now.wall;
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;
    const YEAR: i64 = 365 * 24 * HOUR;

    fn at(state: &mut State, wall: i64, boot: i64) -> i64 {
        state.at(Reading { wall, boot })
    }

    #[test]
    fn a_jump_ahead_is_believed_after_an_hour_and_a_jump_back_at_once() {
        let mut state = State::default();
        assert_eq!(at(&mut state, YEAR, 0), YEAR, "the first reading of a new engine");
        assert_eq!(at(&mut state, YEAR + 1_000, 1_000), YEAR + 1_000);
        assert_eq!(at(&mut state, 2 * YEAR, 2_000), YEAR + 2_000, "ahead");
        assert_eq!(
            at(&mut state, YEAR + 3_000, 3_000),
            YEAR + 3_000,
            "and back: nothing has happened"
        );
        assert_eq!(at(&mut state, 2 * YEAR, 4_000), YEAR + 4_000);
        assert_eq!(at(&mut state, 2 * YEAR + HOUR - 1, 4_000 + HOUR - 1), YEAR + 4_000 + HOUR - 1);
        assert_eq!(at(&mut state, 2 * YEAR + HOUR, 4_000 + HOUR), 2 * YEAR + HOUR, "it has lasted");
        assert_eq!(at(&mut state, -YEAR, 5_000 + HOUR), -YEAR, "before 1970");
        assert_eq!(
            at(&mut state, TOLERANCE - YEAR, 5_000 + HOUR),
            TOLERANCE - YEAR,
            "a correction"
        );
    }

    #[test]
    fn a_start_compares_with_what_was_written_down_and_a_person_may_confirm() {
        let clock = Clock::reading(|| (YEAR, 7), Some(1_000));
        assert_eq!(clock.now(), 1_000);
        assert_eq!(clock.doubt(), Some(Doubt { wall: YEAR, believed: 1_000, left: PROBATION }));
        assert_eq!(clock.accept(), YEAR);
        assert_eq!((clock.now(), clock.doubt()), (YEAR, None));
        assert_eq!(
            Clock::reading(|| (5, 7), Some(YEAR)).now(),
            5,
            "a clock that is behind gives nothing up"
        );
        assert!(Clock::of_machine(None).doubt().is_none());
        assert_ne!(unique(), unique());
    }

    proptest! {
        /// However often it is read: within an hour a wrong clock brings the believed time no
        /// further than time itself went on.
        #[test]
        fn no_readings_within_an_hour_move_time_further_than_it_went(steps in prop::collection::vec((0..60_000_i64, -YEAR..10 * YEAR), 1..50)) {
            let (mut state, mut boot) = (State::default(), 0);
            let start = at(&mut state, YEAR, 0);
            let mut highest = start;
            for (later, off) in steps {
                boot += later;
                if boot >= HOUR { break; }
                let before = highest;
                highest = highest.max(at(&mut state, YEAR + boot + off, boot));
                // Each small step ahead within the tolerance is a correction; nothing larger is.
                prop_assert!(highest - before <= later + TOLERANCE, "{} after {}", highest, before);
            }
        }
    }
}
