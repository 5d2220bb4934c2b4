//! Golden cases: events, questions, and the answers that are expected.
//!
//! A case is a folder with three files, each one JSON value per line; empty lines and lines that
//! begin with `#` are skipped:
//!
//! ```text
//! tests/golden/CASE/events.ndjson      events as POST /api/events takes them
//! tests/golden/CASE/questions.ndjson   params, one question per line
//! tests/golden/CASE/answers.ndjson     the answer to the question on the same line; {"refused": [...]} where it is refused
//! ```
//!
//! An `event_id` counts once. "Now" is the first whole minute after the last event. `tally plugin
//! test` runs the same folders against a built file, and writes `answers.ndjson` with `--update`.
//! No file is read here: the texts are given.

use super::conformance::own_params;
use super::events::{Event, moment};
use super::fits::fits;
use super::question::ask;
use super::state::State;
use super::subject::Subject;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tally_plugin::ask::Refusal;
use tally_plugin::description::Description;
use tally_plugin::metric::Metric;
use tally_plugin::read::Id;

const MINUTE: i64 = 60_000;

/// A case, read.
#[derive(Clone, Debug)]
pub struct Golden {
    /// With the text of each, for the properties that a metric declares.
    events: Vec<(Event, Value)>,
    questions: Vec<Value>,
}

/// An answer that is not the expected one.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The params.
    pub question: Value,
    /// What `answers.ndjson` says; null where it has no such line.
    pub expected: Value,
    /// What was answered; null where nothing was asked.
    pub answered: Value,
}

impl Golden {
    /// Reads events and questions.
    ///
    /// # Errors
    /// A sentence with file and line.
    pub fn read(events: &str, questions: &str) -> Result<Golden, String> {
        let mut seen = BTreeSet::new();
        let mut read = Vec::new();
        for (line, value) in lines("events.ndjson", events)? {
            if value.get("event_id").is_some_and(|id| !seen.insert(id.to_string())) {
                continue;
            }
            let event = event(&value).map_err(|fault| format!("events.ndjson:{line}: {fault}"))?;
            read.push((event, value));
        }
        let questions: Vec<Value> =
            lines("questions.ndjson", questions)?.into_iter().map(|(_, params)| params).collect();
        if questions.is_empty() {
            return Err(
                "questions.ndjson has no questions (write params, one question per line: {})"
                    .into(),
            );
        }
        Ok(Golden { events: read, questions })
    }

    /// What a metric answers: one value per question. What it refuses is `{"refused": [faults]}`.
    ///
    /// # Errors
    /// A sentence: it cannot count the events.
    pub fn answers<S: Subject>(&self, metric: S) -> Result<Vec<Value>, String> {
        let mut state = State::of(metric);
        let events: Vec<Event> =
            self.events.iter().map(|event| with_properties(event, state.description())).collect();
        state.feed(&events)?;
        let last = events.iter().map(|event| event.time).max().unwrap_or_default();
        let now = (last.div_euclid(MINUTE) + 1) * MINUTE;
        let description = state.description();
        let asked = |params: &Value| {
            let own = own_params(params, description.time);
            fits(&description.params_schema, &own)
                .map_err(|fault| Refusal::invalid("/params", fault))?;
            state.answer(&ask(params.clone()).at(now))
        };
        let answer =
            |params| asked(params).unwrap_or_else(|refusal| json!({"refused": refusal.errors}));
        Ok(self.questions.iter().map(answer).collect())
    }

    /// Where answers differ from those of `answers.ndjson`.
    ///
    /// # Errors
    /// A sentence with file and line: the file is unreadable.
    pub fn compare(&self, answered: &[Value], expected: &str) -> Result<Vec<Difference>, String> {
        let expected: Vec<Value> =
            lines("answers.ndjson", expected)?.into_iter().map(|(_, value)| value).collect();
        let longest = expected.len().max(self.questions.len());
        let at = |values: &[Value], n: usize| values.get(n).cloned().unwrap_or_default();
        let pairs = (0..longest).map(|n| Difference {
            question: at(&self.questions, n),
            expected: at(&expected, n),
            answered: at(answered, n),
        });
        Ok(pairs.filter(|pair| pair.expected != pair.answered).collect())
    }

    /// How many questions it asks.
    #[must_use]
    pub fn questions(&self) -> usize {
        self.questions.len()
    }

    /// How many events it counts.
    #[must_use]
    pub fn events(&self) -> usize {
        self.events.len()
    }
}

/// Answers as `answers.ndjson` holds them.
#[must_use]
pub fn as_lines(answers: &[Value]) -> String {
    answers.iter().map(|answer| format!("{answer}\n")).collect()
}

/// Holds a metric to a golden case. Use [`golden!`](macro@crate::golden), which reads the folder.
///
/// # Panics
/// If the case is unreadable or an answer is another.
pub fn holds<M: Metric>(config: &Value, [events, questions, answers]: [&str; 3]) {
    let run = || {
        let metric: M = tally_plugin::metric::create(&config.to_string())?;
        let golden = Golden::read(events, questions)?;
        golden.compare(&golden.answers(metric)?, answers)
    };
    let differences = run().unwrap_or_else(|fault: String| panic!("{fault}"));
    let told: String = differences
        .iter()
        .map(|Difference { question, expected, answered }| {
            format!("asked    {question}\nexpected {expected}\nanswered {answered}\n")
        })
        .collect();
    assert!(
        differences.is_empty(),
        "other answers than expected (`tally plugin test --update` writes new ones):\n{told}"
    );
}

/// Holds a metric to a golden case, a folder relative to the crate: `golden!(MyMetric,
/// "tests/golden/day");`, with a configuration as third argument where there is one.
#[macro_export]
macro_rules! golden {
    ($metric:ty, $folder:literal) => {
        $crate::golden!($metric, $folder, $crate::json!({}))
    };
    ($metric:ty, $folder:literal, $config:expr) => {
        $crate::golden::holds::<$metric>(
            &$config,
            [
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/events.ndjson")),
                include_str!(concat!(
                    env!("CARGO_MANIFEST_DIR"),
                    "/",
                    $folder,
                    "/questions.ndjson"
                )),
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/answers.ndjson")),
            ],
        )
    };
}

/// The values of a file with the numbers of their lines.
fn lines(file: &str, text: &str) -> Result<Vec<(usize, Value)>, String> {
    let lines = (1..).zip(text.lines().map(str::trim));
    let meant = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let read = |(number, line): (usize, &str)| match serde_json::from_str(line) {
        Ok(value) => Ok((number, value)),
        Err(fault) => Err(format!("{file}:{number}: not JSON: {fault}")),
    };
    meant.map(read).collect()
}

/// An event of the default fields. Without `timestamp` there is no time to count it at.
fn event(value: &Value) -> Result<Event, String> {
    let id = |name: &str| match value.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(Id::of_text(text))),
        Some(number) => number
            .as_u64()
            .map(|number| Some(Id::Integer(number)))
            .ok_or_else(|| format!("{name} is not an id: {number}")),
    };
    let event_type =
        value.get("event_type").and_then(Value::as_str).ok_or("event_type is missing")?;
    let time = match value.get("timestamp") {
        Some(Value::String(text)) => {
            moment(text).map_err(|fault| format!("timestamp {text:?}: {fault}"))?
        }
        Some(number) => {
            number.as_i64().ok_or_else(|| format!("timestamp {number} is not a time"))?
        }
        None => return Err("timestamp is missing".into()),
    };
    let (user, product) = (id("user_id")?, id("product_id")?);
    Ok(Event { user, product, event_type: event_type.into(), time, properties: Vec::new() })
}

/// An event with the properties that its text has where a description says.
fn with_properties((event, text): &(Event, Value), of: &Description) -> Event {
    let mut event = event.clone();
    for property in &of.properties {
        if let Some(value) = text.pointer(&property.pointer) {
            event.properties.push((property.pointer.clone(), value.clone()));
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_plugin::prelude::*;

    struct Total;

    impl tally_plugin::Metric for Total {
        const ABOUT: About = about!("total", revision = 1);
        type Config = ();
        type Params = ();
        type Answer = u64;

        fn new((): ()) -> Result<Self, String> {
            Ok(Total)
        }

        fn describe(&self) -> Description {
            let tiers = [MINUTES.keep(hours(48)), DAYS.keep_all()];
            Description::new("x")
                .table(table("t").cell("n", sum(ONE)).tiers(tiers))
                .time()
                .example(json!({}), "all")
        }

        fn answer(&self, asked: &Request<()>, read: &Reader<'_>) -> Result<u64, Refusal> {
            Ok(read.table("t").within(asked.window).run()?.total().count("n"))
        }
    }

    const EVENTS: &str = r#"
# two hours
{"event_id":"a","user_id":1,"product_id":"7","event_type":"view","timestamp":"2026-01-01T00:00:30Z"}
{"event_id":"a","user_id":1,"product_id":"7","event_type":"view","timestamp":"2026-01-01T00:00:30Z"}
{"user_id":"u","product_id":null,"event_type":"buy","timestamp":1767232799999}
"#;

    #[test]
    fn a_case_is_counted_asked_and_compared() {
        let questions = "{}\n{\"window\":\"1m\"}\n{\"window\":\"2h\"}\n{\"windov\":1}\n";
        let answers = "2\n1\n2\n{\"refused\":[{\"pointer\":\"/params\",\"detail\":\"x\"}]}\n";
        let golden = Golden::read(EVENTS, questions).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!((golden.events(), golden.questions()), (2, 4));
        let answered = golden.answers(Total).unwrap_or_default();
        assert_eq!(answered[..3], [json!(2), json!(1), json!(2)]);
        assert!(answered[3]["refused"][0]["pointer"] == "/params", "{answered:?}");
        let differences = golden.compare(&answered, answers).unwrap_or_default();
        assert_eq!(differences.len(), 1, "only the text of the refusal differs: {differences:?}");
        assert_eq!(golden.compare(&answered, &as_lines(&answered)), Ok(vec![]));
        let more =
            golden.compare(&answered, &format!("{}3\n", as_lines(&answered))).unwrap_or_default();
        assert_eq!((more[0].expected.clone(), more[0].question.clone()), (json!(3), Value::Null));
        assert_eq!(golden.compare(&answered, "").map(|all| all.len()), Ok(4), "no answers yet");
    }

    #[test]
    fn what_is_unreadable_is_said_with_its_line() {
        for (events, questions, words) in [
            ("{}\n", "{}", "events.ndjson:1: event_type is missing"),
            ("\n{\"event_type\":\"a\"}\n", "{}", "events.ndjson:2: timestamp is missing"),
            (
                "{\"event_type\":\"a\",\"timestamp\":\"x\"}",
                "{}",
                "events.ndjson:1: timestamp \"x\"",
            ),
            (
                "{\"event_type\":\"a\",\"timestamp\":1,\"user_id\":-1}",
                "{}",
                "user_id is not an id: -1",
            ),
            ("", "{", "questions.ndjson:1: not JSON"),
            ("", "", "questions.ndjson has no questions"),
        ] {
            let fault = Golden::read(events, questions).err().unwrap_or_default();
            assert!(fault.contains(words), "{fault:?}");
        }
    }
}
