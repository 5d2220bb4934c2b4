//! The `error` message, the same on `/ws` and as a server-sent event.

use super::json_members::push_text;
use super::problem::Problem;
use tally_plugin::ask::Fault;

/// An `error` message; `id`: of the subscription that it is about, if there is one.
pub(crate) fn error_message(
    id: Option<&str>,
    code: &str,
    detail: &str,
    errors: &[Fault],
) -> String {
    let mut text = String::from("{\"type\":\"error\"");
    for (key, value) in [("id", id), ("code", Some(code)), ("detail", Some(detail))] {
        if let Some(value) = value {
            text.push(',');
            push_text(&mut text, key);
            text.push(':');
            push_text(&mut text, value);
        }
    }
    if !errors.is_empty() {
        text.push_str(",\"errors\":");
        // Faults always serialise.
        text.push_str(&serde_json::to_string(errors).unwrap_or_else(|_| "[]".into()));
    }
    text.push('}');
    text
}

/// The message of a problem whose paths were taken out.
pub(crate) fn problem_message(id: Option<&str>, problem: &Problem) -> String {
    error_message(id, problem.code(), problem.detail(), problem.errors())
}
