//! A question as people put it: own params and time params in one object.
//!
//! Windows are snapped outward to minutes, as if every minute were still held.

use super::events::moment;
use serde_json::{Map, Value};
use tally_plugin::ask::{Ask, Refusal, Steps, Window};

const MINUTE: i64 = 60_000;

/// A question to a metric in a test.
#[derive(Clone, Debug)]
pub struct Question {
    params: Map<String, Value>,
    as_of: i64,
}

/// A question with these params, at the end of [`day_of_events`](super::day_of_events):
/// 2026-01-01T02:00Z.
#[must_use]
pub fn ask(params: Value) -> Question {
    let params = match params {
        Value::Object(params) => params,
        other => Map::from_iter([("(not an object)".to_string(), other)]),
    };
    Question { params, as_of: 1_767_232_800_000 }
}

impl Question {
    /// At another time, Unix milliseconds.
    #[must_use]
    pub fn at(mut self, as_of: i64) -> Self {
        self.as_of = as_of;
        self
    }

    /// As the host hands it over. `first` is where an unbounded series starts.
    ///
    /// # Errors
    /// What is wrong with the time params.
    pub(super) fn ask(&self, first: Option<i64>) -> Result<Ask, Refusal> {
        let mut params = self.params.clone();
        let time = |name: &str, value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::String(text)) => {
                moment(&text).map(Some).map_err(|fault| Refusal::invalid(name, fault))
            }
            Some(value) => {
                value.as_i64().map(Some).ok_or_else(|| Refusal::invalid(name, "not a time"))
            }
        };
        let mut from = time("/params/from", params.remove("from"))?;
        let mut to = time("/params/to", params.remove("to"))?;
        let window = match params.remove("window") {
            Some(window) => length("/params/window", &window)?,
            None => None,
        };
        if let Some(length) = window {
            to = to.or(Some(self.as_of));
            from = to.map(|to| to - length);
        }
        let window = Window {
            from: from.map(|from| from.div_euclid(MINUTE) * MINUTE),
            to: to.map(|to| -(-to).div_euclid(MINUTE) * MINUTE),
        };
        let steps = match params.remove("bucket") {
            Some(bucket) => length("/params/bucket", &bucket)?.map(|step_ms| {
                let to = window.to.unwrap_or(-(-self.as_of).div_euclid(MINUTE) * MINUTE);
                Steps { step_ms, from: window.from.or(first).unwrap_or(to), to }
            }),
            None => None,
        };
        let event_types = match params.remove("event_types") {
            Some(types) => Some(
                serde_json::from_value(types)
                    .map_err(|fault| Refusal::invalid("/params/event_types", fault.to_string()))?,
            ),
            None => None,
        };
        Ok(Ask { params: Value::Object(params), window, steps, event_types, as_of: self.as_of })
    }
}

/// `"15m"`, `"1h"`, `"7d"`, `"2w"` in milliseconds; `"all"` is none.
fn length(pointer: &str, value: &Value) -> Result<Option<i64>, Refusal> {
    let fault = || Refusal::invalid(pointer, format!("{value} is not a duration"));
    let text = value.as_str().ok_or_else(fault)?;
    if text == "all" {
        return Ok(None);
    }
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(fault)?;
    let minutes = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 1_440,
        "w" => 10_080,
        _ => return Err(fault()),
    };
    let number: i64 = number.parse().map_err(|_| fault())?;
    Ok(Some(number * minutes * MINUTE))
}
