//! Times of questions: their grammar, and the ends of every range.

use super::*;
use crate::time::EVENT_TIMES;
use proptest::prelude::*;

/// The grammar of questions is that of events: what RFC 3339 writes, to its ends, and nothing that
/// only looks like it.
#[test]
fn times_are_those_of_events() {
    let at = |time: Value| ask(json!({"from": 0, "to": time}), &held()).map(|of| of.window.to);
    let minute = |ms: i64| Ok(Some((ms.div_euclid(MINUTE) + 1) * MINUTE));
    for (text, ms) in [
        ("9999-12-31T23:59:59Z", 253_402_300_799_000),
        ("2026-01-01T00:00:00.123456789012Z", 1_767_225_600_123),
        ("2026-01-01 00:00:30z", 1_767_225_630_000),
        ("2026-01-01T02:00:30+02:00", 1_767_225_630_000),
        ("2016-12-31T23:59:60Z", 1_483_228_799_999),
    ] {
        assert_eq!(at(json!(text)), minute(ms), "{text}");
    }
    assert_eq!(at(json!(1_767_225_630_000_i64)), minute(1_767_225_630_000));
    for text in [
        "2026-01-01T00:00Z",
        "20260101T000000Z",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00+01",
        "2026-01-01T00:00:00,5Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00Z[UTC]",
        "2026-01-01T24:00:00Z",
        "+002026-01-01T00:00:00Z",
        "2026-W01-1T00:00:00Z",
        "2026-01-01",
        "1767225600000",
        "9999-12-31T23:59:59-01:00",
        " 2026-01-01T00:00:00Z",
    ] {
        assert_eq!(
            pointers(ask(json!({"from": 0, "to": text}), &held())),
            ["/params/to"],
            "{text}"
        );
    }
}

/// A time at the ends of some range, or anywhere.
fn any_time() -> impl Strategy<Value = i64> {
    let ends = vec![
        i64::MIN,
        i64::MAX,
        FIRST_MS,
        LAST_MS,
        EVENT_TIMES.start,
        EVENT_TIMES.end - 1,
        NOW,
        0,
        -1,
    ];
    prop_oneof![prop::sample::select(ends), any::<i64>(), FIRST_MS..=LAST_MS]
}

fn event_time() -> impl Strategy<Value = i64> {
    prop_oneof![Just(EVENT_TIMES.start), Just(EVENT_TIMES.end - 1), EVENT_TIMES]
}

proptest! {
    /// Whatever is asked of whatever was counted: a window that holds what was asked for, or
    /// faults; never a panic.
    #[test]
    fn no_time_breaks_a_window(
        (from, to) in (prop::option::of(any_time()), prop::option::of(any_time())),
        window in prop::option::of(prop::sample::select(vec!["1m", "999999999w", "52w", "all"])),
        bucket in prop::option::of(prop::sample::select(vec!["1m", "15m", "6h", "1d"])),
        (first, last) in (prop::option::of(event_time()), prop::option::of(event_time())),
        floors in prop::collection::vec(prop::option::of(event_time()), 3),
        as_of in FIRST_MS..=LAST_MS,
    ) {
        let mut params = Map::new();
        params.extend(from.map(|from| ("from".to_owned(), json!(from))));
        params.extend(to.map(|to| ("to".to_owned(), json!(to))));
        params.extend(window.map(|window| ("window".to_owned(), json!(window))));
        params.extend(bucket.map(|bucket| ("bucket".to_owned(), json!(bucket))));
        let floor = |n: usize| floors[n].map_or(i64::MIN, |time| time.div_euclid(DAY) * DAY);
        let held = HeldRange { minute_floor: floor(0), hour_floor: floor(1), day_floor: floor(2), first, last };
        faults(&params, as_of);
        if let Ok(TimeParams { window, steps, .. }) = parse(&params, as_of, &held) {
            prop_assert!(window.from.is_none_or(|start| from.is_none_or(|from| start <= from)));
            prop_assert!(window.to.is_none_or(|end| to.is_none_or(|to| end >= to)));
            prop_assert!(steps.is_none_or(|steps| steps.iter().count() as i64 <= MAX_POINTS));
        }
    }
}
