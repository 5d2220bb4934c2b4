//! Writes the envelope of an answer, as text around a result that is text already.
//!
//! Keys are in the contract's order, and a key that does not apply is absent.

use super::json_members::push_text;
use std::time::Duration;
use tally_engine::engine::{Evaluated, History, Preview};
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
        Envelope::ended(begun(name, params, &evaluated.result), evaluated)
    }

    /// Puts an envelope around the answer of a metric that nobody serves, over so many records: the
    /// schemas of params and result are in it, because nothing else tells them.
    pub(crate) fn of_preview(plugin: &str, params: &str, preview: &Preview) -> Envelope {
        let Preview { evaluated, records, params_schema } = preview;
        let mut out = begun(plugin, params, &evaluated.result);
        out.push_str(",\"params_schema\":");
        out.push_str(&params_schema.to_string());
        out.push_str(",\"result_schema\":");
        out.push_str(&evaluated.result_schema.to_string());
        let mut envelope = Envelope::ended(out, evaluated);
        envelope.text.insert_str(envelope.took, &format!(",\"records\":{records}"));
        envelope
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

/// The beginning, up to the result.
fn begun(name: &str, params: &str, result: &str) -> String {
    let mut out = String::with_capacity(384 + params.len() + result.len());
    out.push_str("{\"name\":");
    push_text(&mut out, name);
    out.push_str(",\"params\":");
    out.push_str(params);
    out.push_str(",\"result\":");
    out.push_str(result);
    out
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
