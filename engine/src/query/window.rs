//! The time params that every metric with a time axis has: parsing, checking, snapping to what is
//! held.
//!
//! Pure: "now" and what is held are handed in. All faults are collected, none stops the next check.
//! Counts are exact for the window returned, because its bounds were moved outward to panes that
//! exist.

mod edges;

pub(super) use edges::next_edge;

use crate::state::HeldRange;
pub(super) use crate::time::to_text as text;
use crate::time::{FIRST_MS, LAST_MS, rfc3339};
use serde_json::{Map, Value, json};
use tally_plugin::ask::{Fault, Steps, Window};
use tally_plugin::description::Pane;

/// Names of the params that the host owns.
pub(super) const TIME_PARAMS: [&str; 5] = ["window", "from", "to", "bucket", "event_types"];

/// Points of a series at most.
const MAX_POINTS: i64 = 10_000;

/// The grammar of a type in words.
const EVENT_TYPE: &str = "an event type: a-z first, then a-z, 0-9 or _, at most 32 characters";

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// What the time params come to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimeParams {
    /// Snapped outward.
    pub window: Window,
    /// The grid of the series, if one is asked for.
    pub steps: Option<Steps>,
    /// Whether the grid leaves out events that the window holds.
    pub shortened: bool,
    /// The filter, if there is one.
    pub event_types: Option<Vec<String>>,
}

/// A fault with its code: `too_many_points` has a code of its own.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimeFaults {
    /// `invalid_params` or `too_many_points`.
    pub code: &'static str,
    /// All of them.
    pub faults: Vec<Fault>,
}

/// Whether the same params may mean another window, or another series, when they are asked later.
#[must_use]
pub fn looks_at_the_clock(params: &Value) -> bool {
    ["window", "from", "to", "bucket"].iter().any(|name| params.get(name).is_some())
}

/// Whether the series that is asked for may begin or end with what is counted, or be refused by what
/// is held: then the same params may mean another one although their window stays.
pub(super) fn follows_held(params: &Map<String, Value>) -> bool {
    params.contains_key("bucket")
}

/// JSON Schema of the time params, to be merged into a metric's own.
pub(super) fn schema() -> Map<String, Value> {
    let time = |what: &str| json!({"description": what, "anyOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}]});
    let properties = json!({
        "window": {"description": "a number and m, h, d or w, such as 2h, or all: the length of the \
                                   window, which ends at `to`, else now; not together with `from`",
            "type": "string", "pattern": "^([1-9][0-9]{0,8}[mhdw]|all)$", "default": "all"},
        "from": time("start, inclusive: RFC 3339 or Unix milliseconds"),
        "to": time("end, exclusive: RFC 3339 or Unix milliseconds"),
        "bucket": {"description": "steps of the chart; they begin at whole UTC times", "enum": ["1m", "5m", "15m", "1h", "6h", "1d"]},
        "event_types": {"description": "counts only these", "type": "array", "minItems": 1, "maxItems": 64,
            "uniqueItems": true, "items": {"description": EVENT_TYPE, "type": "string", "pattern": "^([a-z][a-z0-9_]{0,31}|__other__)$"}},
    });
    let Value::Object(properties) = properties else { return Map::new() };
    properties
}

/// Reads the time params of a question whose shape the schema has already accepted.
///
/// # Errors
/// Every fault that the schema cannot see.
pub(super) fn parse(
    params: &Map<String, Value>,
    as_of: i64,
    held: &HeldRange,
) -> Result<TimeParams, TimeFaults> {
    let mut faults = Vec::new();
    let bounds = bounds(params, as_of, &mut faults);
    let step_ms = params.get("bucket").and_then(Value::as_str).and_then(step_ms);
    let event_types = params.get("event_types").and_then(Value::as_array);
    let event_types =
        event_types.map(|types| types.iter().filter_map(Value::as_str).map(String::from).collect());
    if !faults.is_empty() {
        return Err(TimeFaults { code: "invalid_params", faults });
    }
    let (steps, shortened) = match step_ms {
        Some(step_ms) => steps(step_ms, bounds, as_of, held)
            .map(|(steps, shortened)| (Some(steps), shortened))?,
        None => (None, false),
    };
    Ok(TimeParams { window: snap(bounds, held), steps, shortened, event_types })
}

/// What is wrong with the window, whatever the schema says of the same values.
pub(super) fn faults(params: &Map<String, Value>, now: i64) -> Vec<Fault> {
    let mut faults = Vec::new();
    bounds(params, now, &mut faults);
    faults
}

/// The window as asked for. A value that cannot be read is one fault, and nothing is concluded from
/// it.
fn bounds(params: &Map<String, Value>, as_of: i64, faults: &mut Vec<Fault>) -> Window {
    let mut time = |name: &str| {
        let value = params.get(name)?;
        let time = time_of(value);
        if time.is_none() {
            let detail = format!(
                "{name} is neither an RFC 3339 time with zone nor Unix milliseconds of the years \
                 0000 to 9999"
            );
            faults.push(Fault { pointer: format!("/params/{name}"), detail });
        }
        time
    };
    let (from, to) = (time("from"), time("to"));
    let length = params.get("window").and_then(Value::as_str);
    if length.is_some() && params.contains_key("from") {
        let detail = "give either window or from, not both".into();
        faults.push(Fault { pointer: "/params/window".into(), detail });
        return Window { from, to };
    }
    let from = match length.filter(|length| *length != "all") {
        Some(length) => {
            let millis = length_ms(length);
            if millis.is_none() {
                let detail = format!("\"{length}\" is longer than all of time");
                faults.push(Fault { pointer: "/params/window".into(), detail });
            }
            millis.map(|millis| to.unwrap_or(as_of).saturating_sub(millis).max(FIRST_MS))
        }
        None => from,
    };
    let bounded = from.is_some();
    let readable = to.is_some() || !params.contains_key("to");
    if let (Some(from), Some(to)) = (from, to.or(bounded.then_some(as_of)))
        && readable
        && from >= to
    {
        let detail = "from must be before to (or before now)".into();
        faults.push(Fault { pointer: "/params/from".into(), detail });
    }
    Window { from, to: to.or(bounded.then_some(as_of)) }
}

/// Unix milliseconds of an RFC 3339 text or an integer, as in events; only times that RFC 3339 can
/// write.
fn time_of(value: &Value) -> Option<i64> {
    let millis = match value {
        Value::String(text) => rfc3339(text.as_bytes())?,
        value => value.as_i64()?,
    };
    (FIRST_MS..=LAST_MS).contains(&millis).then_some(millis)
}

fn length_ms(length: &str) -> Option<i64> {
    let (count, unit) = length.split_at_checked(length.len().checked_sub(1)?)?;
    let unit = match unit {
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return None,
    };
    count.parse::<i64>().ok().filter(|count| *count > 0)?.checked_mul(unit)
}

fn step_ms(bucket: &str) -> Option<i64> {
    Some(match bucket {
        "1m" => MINUTE,
        "5m" => 5 * MINUTE,
        "15m" => 15 * MINUTE,
        "1h" => HOUR,
        "6h" => 6 * HOUR,
        "1d" => DAY,
        _ => return None,
    })
}

/// The grid of the series, or why there is none; and whether it leaves out events of the window. An
/// open start begins with the bucket of the first event counted, but what would be more than the
/// most points is shortened to the newest up to `as_of`: one event with a wrong time must not take
/// the series from all others.
fn steps(
    step_ms: i64,
    asked: Window,
    as_of: i64,
    held: &HeldRange,
) -> Result<(Steps, bool), TimeFaults> {
    let fault = |code, detail| {
        Err(TimeFaults { code, faults: vec![Fault { pointer: "/params/bucket".into(), detail }] })
    };
    let align = |time: i64| time.div_euclid(step_ms) * step_ms;
    let window = snap(asked, held);
    let open_end = as_of.max(held.last.map_or(i64::MIN, |last| last + 1));
    let to = window.to.unwrap_or_else(|| snap_up(open_end, held));
    // Where nothing is held so early, in whole minutes: a start that follows the clock is not
    // another one with each millisecond.
    let whole = |from: i64| from.div_euclid(MINUTE) * MINUTE;
    let from = window
        .from
        .or(asked.from.map(whole))
        .unwrap_or_else(|| align(held.first.unwrap_or(to - 1).min(to - 1)));
    let points = |from: i64, to: i64| (align(to - 1) - align(from)) / step_ms + 1;
    let open = window.from.is_none() && asked.from.is_none();
    let shortened = open && points(from, to) > MAX_POINTS;
    let to = if shortened { to.min(snap_up(as_of + 1, held)) } else { to };
    let newest = |step_ms: i64| (to - 1).div_euclid(step_ms) * step_ms - (MAX_POINTS - 1) * step_ms;
    let from = if shortened { from.min(align(to - 1)).max(newest(step_ms)) } else { from };
    let points = points(from, to);
    if points > MAX_POINTS {
        let detail = format!(
            "{points} points are more than {MAX_POINTS}: choose a longer bucket or a shorter window"
        );
        return fault("too_many_points", detail);
    }
    let needed = if step_ms < HOUR {
        Pane::Minute
    } else if step_ms < DAY {
        Pane::Hour
    } else {
        Pane::Day
    };
    let first = window.from.or(held.first).unwrap_or(from);
    // Where its series begins, if it has steps of this length.
    let start = |step_ms: i64| if open { first.max(newest(step_ms)) } else { first };
    if start(step_ms) < floor(needed, held) {
        let finest = [Pane::Minute, Pane::Hour, Pane::Day].into_iter();
        let finest = finest
            .filter(|pane| pane.millis() > step_ms)
            .find(|pane| start(pane.millis()) >= floor(*pane, held));
        let name = match finest {
            Some(Pane::Minute) => "1m",
            Some(Pane::Hour) => "1h",
            Some(Pane::Day) => "1d",
            None => {
                return fault(
                    "invalid_params",
                    "this part of the past is held only as a total".into(),
                );
            }
        };
        return fault(
            "invalid_params",
            format!("the window is not held that finely: the finest possible is {name}"),
        );
    }
    Ok((Steps { step_ms, from, to }, shortened))
}

fn floor(pane: Pane, held: &HeldRange) -> i64 {
    match pane {
        Pane::Minute => held.minute_floor,
        Pane::Hour => held.hour_floor,
        Pane::Day => held.day_floor,
    }
}

/// Bounds moved outward to the panes that are held where they lie.
fn snap(window: Window, held: &HeldRange) -> Window {
    let from = window.from.and_then(|from| {
        let pane = finest_at(from, held)?;
        Some(from.div_euclid(pane.millis()) * pane.millis())
    });
    Window { from, to: window.to.map(|to| snap_up(to, held)) }
}

fn snap_up(to: i64, held: &HeldRange) -> i64 {
    // Before all floors there is one open pane: everything up to the first floor.
    let Some(pane) = finest_at(to - 1, held) else {
        return [held.minute_floor, held.hour_floor, held.day_floor]
            .into_iter()
            .min()
            .unwrap_or(to)
            .max(to);
    };
    ((to - 1).div_euclid(pane.millis()) + 1) * pane.millis()
}

fn finest_at(time: i64, held: &HeldRange) -> Option<Pane> {
    [Pane::Minute, Pane::Hour, Pane::Day].into_iter().find(|pane| time >= floor(*pane, held))
}

#[cfg(test)]
mod tests {
    use super::*;

    mod edges;
    mod ranges;

    const NOW: i64 = 1_767_233_000_000; // 2026-01-01T02:03:20Z

    fn held() -> HeldRange {
        HeldRange {
            minute_floor: i64::MIN,
            hour_floor: i64::MIN,
            day_floor: i64::MIN,
            first: Some(NOW - 3 * HOUR),
            last: Some(NOW),
        }
    }

    fn ask(params: Value, held: &HeldRange) -> Result<TimeParams, TimeFaults> {
        parse(params.as_object().expect("an object"), NOW, held)
    }

    fn pointers(result: Result<TimeParams, TimeFaults>) -> Vec<String> {
        result.expect_err("a fault").faults.into_iter().map(|fault| fault.pointer).collect()
    }

    /// Asked later, with more events: what is said not to look at the clock means the same.
    #[test]
    fn what_does_not_look_at_the_clock_means_the_same_later() {
        let later = NOW + 90 * DAY;
        for (params, looks) in [
            (json!(null), false),
            (json!({}), false),
            (json!({"event_types": ["buy"], "limit": 1}), false),
            (json!({"window": "1h"}), true),
            (json!({"from": NOW - HOUR}), true),
            (json!({"bucket": "1d"}), true),
        ] {
            assert_eq!(looks_at_the_clock(&params), looks, "{params}");
            let Some(given) = params.as_object() else { continue };
            let same = parse(given, NOW, &held()) == parse(given, later, &held());
            assert_eq!(same, !looks, "{params}");
        }
    }

    #[test]
    fn all_is_open_and_a_length_ends_now() {
        assert_eq!(ask(json!({}), &held()).map(|t| t.window), Ok(Window { from: None, to: None }));
        let window = ask(json!({"window": "2h"}), &held()).expect("valid").window;
        assert_eq!(window.from, Some((NOW - 2 * HOUR).div_euclid(MINUTE) * MINUTE));
        assert_eq!(window.to, Some((NOW / MINUTE + 1) * MINUTE));
    }

    #[test]
    fn bounds_snap_outward_to_what_is_held() {
        let held =
            HeldRange { minute_floor: NOW / HOUR * HOUR, hour_floor: NOW / DAY * DAY, ..held() };
        let window =
            ask(json!({"from": NOW - HOUR, "to": NOW - HOUR + 1}), &held).expect("valid").window;
        assert_eq!(
            window,
            Window { from: Some((NOW - HOUR) / HOUR * HOUR), to: Some(NOW / HOUR * HOUR) }
        );
        let window = ask(json!({"from": NOW - DAY, "to": NOW}), &held).expect("valid").window;
        assert_eq!(window.from, Some((NOW - DAY) / DAY * DAY));
    }

    #[test]
    fn faults_point_where_api_says() {
        assert_eq!(pointers(ask(json!({"window": "1h", "from": 0}), &held())), ["/params/window"]);
        assert_eq!(pointers(ask(json!({"from": 5, "to": 5}), &held())), ["/params/from"]);
        assert_eq!(pointers(ask(json!({"from": NOW + 1}), &held())), ["/params/from"]);
        assert_eq!(
            pointers(ask(json!({"from": "yesterday", "to": "2026-01-01T00:00:00"}), &held())),
            ["/params/from", "/params/to"]
        );
        assert!(
            ask(json!({"window": "999999999w"}), &held()).is_ok(),
            "before all time is from its beginning"
        );
    }

    #[test]
    fn too_many_points_is_judged_before_what_is_held() {
        let held = HeldRange { minute_floor: NOW, ..held() };
        let fault = ask(json!({"window": "52w", "bucket": "1m"}), &held).expect_err("too many");
        assert_eq!(
            (fault.code, fault.faults[0].pointer.as_str()),
            ("too_many_points", "/params/bucket")
        );
        let fault = ask(json!({"window": "2h", "bucket": "1m"}), &held).expect_err("not held");
        assert_eq!(fault.code, "invalid_params");
        assert!(fault.faults[0].detail.ends_with("1h"), "{fault:?}");
    }

    #[test]
    fn an_open_series_starts_with_the_first_event_and_ends_now() {
        let steps = ask(json!({"bucket": "1h"}), &held()).expect("valid").steps.expect("steps");
        assert_eq!(steps.from, (NOW - 3 * HOUR) / HOUR * HOUR);
        assert_eq!(steps.to, (NOW / MINUTE + 1) * MINUTE);
        let cut: Vec<bool> = steps.iter().map(|(_, partial)| partial).collect();
        assert_eq!(cut, [false, false, false, true]);
    }
}
