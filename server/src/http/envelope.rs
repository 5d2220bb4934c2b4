//! Writes the envelope of an answer, as text around a result that is text already.
//!
//! Keys are in the contract's order, and a key that does not apply is absent.

use super::json_members::push_text;
use std::time::Duration;
use tally_engine::engine::{Evaluated, History};
use tally_engine::time::to_text;

/// The body of a 200 to `POST /api/metrics`, or its end, without the time of asking and the
/// duration.
pub(crate) struct Envelope {
    text: String,
    /// Where the time of asking is inserted.
    as_of: usize,
    /// Where the duration in microseconds is inserted.
    took: usize,
}

impl Envelope {
    /// Puts an envelope around the result of `evaluated`.
    pub(crate) fn new(name: &str, params: &str, evaluated: &Evaluated) -> Envelope {
        let result = &evaluated.result;
        let mut out = String::with_capacity(384 + params.len() + result.len());
        out.push_str("{\"name\":");
        push_text(&mut out, name);
        out.push_str(",\"params\":");
        out.push_str(params);
        out.push_str(",\"result\":");
        out.push_str(result);
        Envelope::ended(out, evaluated)
    }

    /// What follows the result of `evaluated` in its envelope.
    pub(crate) fn behind_result(evaluated: &Evaluated) -> Envelope {
        Envelope::ended(String::with_capacity(384), evaluated)
    }

    /// Adds what follows the result.
    fn ended(mut out: String, evaluated: &Evaluated) -> Envelope {
        let Evaluated { window: (from, to), position, version, history, warnings, .. } = evaluated;
        out.push_str(",\"meta\":{");
        if from.is_some() || to.is_some() {
            out.push_str("\"window\":{");
            if let Some(from) = from {
                push_time(&mut out, "from", *from);
            }
            if let Some(to) = to {
                if from.is_some() {
                    out.push(',');
                }
                push_time(&mut out, "to", *to);
            }
            out.push_str("},");
        }
        out.push_str("\"position\":");
        push_text(&mut out, &position.to_string());
        out.push_str(",\"as_of\":\"");
        let as_of = out.len();
        out.push_str("\",\"version\":");
        push_text(&mut out, version);
        out.push_str(",\"history\":{\"state\":");
        push_text(&mut out, history_state(history));
        if let Some(from) = history.from {
            out.push(',');
            push_time(&mut out, "from", from);
        }
        out.push_str("},\"took_us\":");
        let took = out.len();
        out.push_str("},\"warnings\":");
        match warnings.as_slice() {
            [] => out.push_str("[]"),
            // Warnings always serialise.
            _ => out.push_str(&serde_json::to_string(warnings).unwrap_or_else(|_| "[]".into())),
        }
        out.push('}');
        Envelope { text: out, as_of, took }
    }

    /// All of it.
    pub(crate) fn text(&self, as_of: i64, took: Duration) -> String {
        let Envelope { text, as_of: first, took: second } = self;
        // Room for both.
        let mut out = String::with_capacity(text.len() + 48);
        out.push_str(&text[..*first]);
        out.push_str(&to_text(as_of));
        out.push_str(&text[*first..*second]);
        out.push_str(&took.as_micros().to_string());
        out.push_str(&text[*second..]);
        out
    }

    /// Bytes, without the two times.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    #[cfg(test)]
    pub(crate) fn around(text: &str) -> Envelope {
        Envelope { text: text.to_owned(), as_of: 0, took: 0 }
    }
}

/// `complete` or `partial`.
pub(crate) fn history_state(history: &History) -> &'static str {
    if history.complete { "complete" } else { "partial" }
}

fn push_time(out: &mut String, key: &str, unix_ms: i64) {
    out.push('"');
    out.push_str(key);
    out.push_str("\":\"");
    out.push_str(&to_text(unix_ms));
    out.push('"');
}
