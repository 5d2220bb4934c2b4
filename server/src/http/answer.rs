//! The envelope of an answer, written as text around a result that is text already.
//!
//! Keys stand in the contract's order, and a key that does not apply is absent.

use super::raw::push_text;
use super::time;
use tally_engine::engine::{Evaluated, History};
use tally_plugin::ask::Warning;

/// The body of a 200 to `POST /api/metrics`.
pub(crate) fn envelope(
    name: &str,
    params: &str,
    result: &str,
    evaluated: &Evaluated,
    warnings: &[Warning],
    took_us: u128,
) -> String {
    let Evaluated { window: (from, to), position, as_of, version, history, .. } = evaluated;
    let mut out = String::with_capacity(384 + params.len() + result.len());
    out.push_str("{\"name\":");
    push_text(&mut out, name);
    out.push_str(",\"params\":");
    out.push_str(params);
    out.push_str(",\"result\":");
    out.push_str(result);
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
    out.push(',');
    push_time(&mut out, "as_of", *as_of);
    out.push_str(",\"version\":");
    push_text(&mut out, version);
    out.push_str(",\"history\":{\"state\":");
    push_text(&mut out, state(history));
    if let Some(from) = history.from {
        out.push(',');
        push_time(&mut out, "from", from);
    }
    out.push_str("},\"took_us\":");
    out.push_str(&took_us.to_string());
    out.push_str("},\"warnings\":");
    match warnings {
        [] => out.push_str("[]"),
        // Warnings always serialise.
        _ => out.push_str(&serde_json::to_string(warnings).unwrap_or_else(|_| "[]".into())),
    }
    out.push('}');
    out
}

/// `complete` or `partial`.
pub(crate) fn state(history: &History) -> &'static str {
    if history.complete { "complete" } else { "partial" }
}

fn push_time(out: &mut String, key: &str, unix_ms: i64) {
    out.push('"');
    out.push_str(key);
    out.push_str("\":\"");
    out.push_str(&time::text(unix_ms));
    out.push('"');
}
