//! What a server says on `/ws`, as far as one who follows events or a metric needs it.
//!
//! Reads one message at a time and remembers nothing; what it does not know it passes over, so that
//! a newer server may say more.

use super::client::Pointed;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard<'m> {
    /// The first one: how far the engine has counted, and the least time between two updates, if
    /// it says so.
    Hello { position: String, least_ms: Option<u64> },
    /// An event as it was written, and the position from which what follows it can be asked for.
    Event { cursor: Option<String>, event: &'m str },
    /// So many events were dropped, because they were not taken in time.
    Skipped(u64),
    /// These positions are no longer in the log.
    Gap { from: String, to: String },
    /// The answer of a metric, and on what it rests; each as it was written.
    Update { result: &'m str, meta: &'m str, warnings: &'m str },
    /// What was asked for is refused, or there is no answer now.
    Refused { code: String, detail: String, errors: Vec<Pointed> },
    /// Nothing that concerns who follows.
    Other,
}

/// The keys of all messages.
#[derive(Default, Deserialize)]
#[serde(default)]
struct AnyMessage<'m> {
    r#type: String,
    position: String,
    cursor: Option<String>,
    #[serde(borrow)]
    event: Option<&'m RawValue>,
    count: u64,
    min_interval_ms: Option<u64>,
    from: String,
    to: String,
    code: String,
    detail: String,
    errors: Vec<Pointed>,
    #[serde(borrow)]
    result: Option<&'m RawValue>,
    #[serde(borrow)]
    meta: Option<&'m RawValue>,
    #[serde(borrow)]
    warnings: Option<&'m RawValue>,
}

/// Reads a message.
pub(super) fn hear(text: &str) -> Heard<'_> {
    let Ok(message) = serde_json::from_str::<AnyMessage<'_>>(text) else { return Heard::Other };
    let AnyMessage { position, cursor, event, count, from, to, code, detail, errors, .. } = message;
    match (message.r#type.as_str(), event, message.result) {
        ("hello", ..) => Heard::Hello { position, least_ms: message.min_interval_ms },
        ("event", Some(event), _) => Heard::Event { cursor, event: event.get() },
        ("update", _, Some(result)) => Heard::Update {
            result: result.get(),
            meta: message.meta.map_or("{}", RawValue::get),
            warnings: message.warnings.map_or("[]", RawValue::get),
        },
        ("skipped", ..) => Heard::Skipped(count),
        ("gap", ..) => Heard::Gap { from, to },
        ("error", ..) => Heard::Refused { code, detail, errors },
        _ => Heard::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_the_contract_is_understood_and_all_else_is_passed_over() {
        let text = |text: &str| text.to_owned();
        for (message, heard) in [
            (
                r#"{"type":"hello","protocol":1,"position":"0:1204,1:998","metrics":["a"]}"#,
                Heard::Hello { position: text("0:1204,1:998"), least_ms: None },
            ),
            (
                r#"{"type":"hello","protocol":1,"position":"","metrics":[],"min_interval_ms":50}"#,
                Heard::Hello { position: String::new(), least_ms: Some(50) },
            ),
            (
                r#"{"type":"event","id":"e","position":"0:17","cursor":"0:17,1:9","event":{"user_id": 1.0}}"#,
                Heard::Event { cursor: Some(text("0:17,1:9")), event: r#"{"user_id": 1.0}"# },
            ),
            (r#"{"type":"skipped","id":"e","count":120}"#, Heard::Skipped(120)),
            (
                r#"{"type":"gap","id":"e","from":"0:5","to":"0:900"}"#,
                Heard::Gap { from: text("0:5"), to: text("0:900") },
            ),
            (
                r#"{"type":"error","id":"e","code":"position_invalid","detail":"no","errors":[]}"#,
                Heard::Refused {
                    code: text("position_invalid"),
                    detail: text("no"),
                    errors: Vec::new(),
                },
            ),
            (
                r#"{"type":"error","id":"q","code":"invalid_params","detail":"no","errors":[{"pointer":"/params/x","detail":"why"}]}"#,
                Heard::Refused {
                    code: text("invalid_params"),
                    detail: text("no"),
                    errors: vec![Pointed { pointer: text("/params/x"), detail: text("why") }],
                },
            ),
            (
                r#"{"type":"update","id":"q","seq":1,"result":{"n": 1.0},"meta":{"as_of":"x"},"warnings":[]}"#,
                Heard::Update { result: r#"{"n": 1.0}"#, meta: r#"{"as_of":"x"}"#, warnings: "[]" },
            ),
            (r#"{"type":"update","meta":{}}"#, Heard::Other),
            (r#"{"type":"pong"}"#, Heard::Other),
            (r#"{"type":"event"}"#, Heard::Other),
            (r#"{"type":7}"#, Heard::Other),
            ("[]", Heard::Other),
            ("nothing", Heard::Other),
        ] {
            assert_eq!(hear(message), heard, "{message}");
        }
    }
}
