//! `tally dead-letters`: what a running engine could not count, and why; with `--replay` it judges
//! them again.
//!
//! The table shows the beginning of each payload; `--json` prints everything that is kept. A replay
//! asks until the engine has gone through all letters, and says how far it is after each answer.

use super::args::DeadLetters;
use super::client::Body;
use super::output::{tame, thousands};
use super::query::{ask, lines, text};
use super::{Failure, output};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

/// Characters of a payload that the table shows.
const SHOWN: usize = 80;

pub(crate) fn run(args: &DeadLetters) -> Result<(), Failure> {
    if args.replay {
        return replay(args);
    }
    let reason = args.reason.as_ref().map_or(String::new(), |reason| format!("&reason={reason}"));
    let path = format!("/api/dead-letters?limit={}{reason}", args.limit);
    let client = args.engine.client()?;
    let answer = ask(async { client.get(&path).await })?;
    if args.json {
        output::data(&answer.to_string());
        return Ok(());
    }
    output::data(&listing(&answer));
    if answer.get("partial") == Some(&Value::Bool(true)) {
        output::note(
            "warning: older ones were not searched: too many dead letters of other reasons lie in \
             between",
        );
    }
    Ok(())
}

fn replay(args: &DeadLetters) -> Result<(), Failure> {
    let reason = args.reason.as_ref();
    let body = reason.map_or_else(|| json!({}), |reason| json!({"reason": reason})).to_string();
    let mut all = ReplayTotals::default();
    loop {
        // A call takes seconds, so each has its own connection.
        let client = args.engine.client()?;
        let body = Body::Json(body.clone().into());
        let answer = ask(async { client.post("/api/dead-letters/replay", body).await });
        let answer = answer.inspect_err(|_| {
            if all != ReplayTotals::default() {
                output::note(&format!("until then: {}", all.text()));
            }
        })?;
        all.add(&answer);
        if let Some(undecided) = answer.get("undecided").and_then(Value::as_u64) {
            output::note(&format!(
                "warning: {} wait until a metric has counted as far as their records were; run \
                 this again then",
                thousands(undecided)
            ));
            break;
        }
        if answer.get("more") != Some(&Value::Bool(true)) {
            break;
        }
        output::note(&format!("so far: {}", all.text()));
    }
    output::data(&if args.json { all.json().to_string() } else { all.text() });
    Ok(())
}

/// What became of the letters of several calls.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct ReplayTotals {
    appended: u64,
    still_refused: u64,
    in_log: u64,
}

impl ReplayTotals {
    fn add(&mut self, answer: &Value) {
        let of = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or_default();
        self.appended += of("appended");
        self.still_refused += of("still_refused");
        self.in_log += of("in_log");
    }

    fn text(self) -> String {
        let [appended, still_refused, in_log] =
            [self.appended, self.still_refused, self.in_log].map(thousands);
        format!(
            "{appended} appended, {still_refused} still refused, {in_log} in the log or counted \
             before"
        )
    }

    fn json(self) -> Value {
        let ReplayTotals { appended, still_refused, in_log } = self;
        json!({"appended": appended, "still_refused": still_refused, "in_log": in_log})
    }
}

/// The letters, then how many there were in all of each reason.
fn listing(answer: &Value) -> String {
    let items =
        answer.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut listing = String::from("no dead letters");
    if !items.is_empty() {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "TIME",
            "REASON",
            "TOPIC",
            "PARTITION",
            "OFFSET",
            "BYTES",
            "PAYLOAD",
        ]);
        for item in items {
            let number =
                |key: &str| item.get(key).and_then(Value::as_u64).unwrap_or_default().to_string();
            table.add_row([
                text(item, "time"),
                text(item, "reason"),
                text(item, "topic"),
                number("partition"),
                number("offset"),
                number("length"),
                payload(item),
            ]);
        }
        listing = lines(&table);
    }
    for (reason, count) in answer.get("counts").and_then(Value::as_object).into_iter().flatten() {
        let count = output::thousands(count.as_u64().unwrap_or_default());
        listing.push_str(&format!("\ntotal  {}: {count}", tame(reason)));
    }
    listing
}

fn payload(item: &Value) -> String {
    let whole = match item.get("text").and_then(Value::as_str) {
        Some(text) => tame(text),
        None => format!("base64 {}", text(item, "bytes_base64")),
    };
    let mut shown: String = whole.chars().take(SHOWN).collect();
    if shown.len() < whole.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_a_replay_add_up() {
        let mut all = ReplayTotals::default();
        all.add(&json!({"appended": 1_000, "still_refused": 0, "in_log": 2, "more": true}));
        all.add(&json!({"appended": 204, "still_refused": 3, "in_log": 0}));
        assert_eq!(all.text(), "1,204 appended, 3 still refused, 2 in the log or counted before");
        assert_eq!(all.json(), json!({"appended": 1_204, "still_refused": 3, "in_log": 2}));
    }

    #[test]
    fn the_listing_shows_place_reason_and_the_beginning_of_the_payload() {
        let item = |rest: Value| {
            let mut item = json!({"reason": "invalid_json", "topic": "events", "partition": 2, "offset": 41,
                "time": "2026-01-01T00:00:00.000Z", "length": 1234});
            item.as_object_mut()
                .expect("an object")
                .extend(rest.as_object().expect("an object").clone());
            item
        };
        let answer = json!({"items": [item(json!({"text": format!("{{\u{1b}[31m\n{}", "ü".repeat(100))})),
            item(json!({"bytes_base64": "//4="}))], "counts": {"invalid_json": 1234}});
        let shown = listing(&answer);
        for words in [
            "REASON",
            "invalid_json",
            "events",
            "41",
            "1234",
            "{\\u{1b}[31m\\nü",
            "ü…",
            "base64 //4=",
            "\ntotal  invalid_json: 1,234",
        ] {
            assert!(shown.contains(words), "{words:?}: {shown}");
        }
        assert!(!shown.contains('\u{1b}'), "nothing foreign reaches the terminal");
        assert_eq!(listing(&json!({"items": [], "counts": {}})), "no dead letters");
    }
}
