//! When a question comes to mean another window or another series, although nothing was counted: a
//! window that ends now, and a series that is open at an end, move from pane to pane.
//!
//! Where it may turn is worked out from how bounds are snapped; whether it does, [`super::parse`]
//! says. What is added there needs its turns here, which `tests/edges.rs` notices.

use super::{MINUTE, TimeParams, bounds, finest_at, length_ms, parse, snap_up};
use crate::state::HeldRange;
use serde_json::{Map, Value};

/// Turns at which nothing changes that are passed over; after as many the next is taken for one.
const PASSED: usize = 64;

/// The first time after `as_of` at which the same params mean something else, as long as what is
/// held stays the same; `None`: they never do, or mean nothing now.
pub(in crate::query) fn next_edge(
    params: &Map<String, Value>,
    as_of: i64,
    held: &HeldRange,
) -> Option<i64> {
    let now = parse(params, as_of, held).ok()?;
    let mut at = as_of;
    for _ in 0..PASSED {
        at = turns(params, at, held, &now).into_iter().filter(|turn| *turn > at).min()?;
        if parse(params, at, held).as_ref() != Ok(&now) {
            break;
        }
    }
    Some(at)
}

/// Times after `at` at which the params may come to mean something else than they do (`now`). The
/// first time at which they do is among them, or after the first of them.
fn turns(params: &Map<String, Value>, at: i64, held: &HeldRange, now: &TimeParams) -> Vec<i64> {
    let mut turns = Vec::new();
    let asked = bounds(params, at, &mut Vec::new());
    let has_series = params.contains_key("bucket");
    let ends_now = !params.contains_key("to");
    if let Some(from) = asked.from.filter(|_| ends_now) {
        turns.extend(ends(at, held));
        if let Some(length) = params.get("window").and_then(Value::as_str).and_then(length_ms) {
            let starts = starts(from, held, has_series).into_iter();
            turns.extend(starts.map(|start| start.saturating_add(length)));
        }
    }
    if has_series && asked.to.is_none() {
        let counted = held.last.map_or(i64::MIN, |last| last.saturating_add(1));
        turns.extend(ends(at.max(counted), held));
    }
    // One that leaves something out ends with the minute of the clock, if not before.
    let end = now.steps.filter(|_| now.shortened).map(|steps| steps.to);
    if end == Some(snap_up(at.saturating_add(1), held)) {
        turns.extend(ends(at.saturating_add(1), held).into_iter().map(|end| end - 1));
    }
    turns
}

/// Where an end that lies at `to` is snapped to another one.
fn ends(to: i64, held: &HeldRange) -> Vec<i64> {
    let beyond = floors(held).into_iter().filter(|floor| *floor >= to);
    beyond.chain([snap_up(to, held)]).map(|end| end.saturating_add(1)).collect()
}

/// Where a start that lies at `from` is snapped to another one. Where nothing is held, a series
/// begins with a minute.
fn starts(from: i64, held: &HeldRange, has_series: bool) -> Vec<i64> {
    let beyond = floors(held).into_iter().filter(|floor| *floor > from);
    let pane = match finest_at(from, held) {
        Some(pane) => Some(pane.millis()),
        None => has_series.then_some(MINUTE),
    };
    let next = pane.map(|length| (from.div_euclid(length) + 1) * length);
    beyond.chain(next).collect()
}

/// The times from which on something is held more finely.
fn floors(held: &HeldRange) -> Vec<i64> {
    let all = [held.minute_floor, held.hour_floor, held.day_floor];
    all.into_iter().filter(|floor| *floor > i64::MIN && *floor < i64::MAX).collect()
}
