//! The boundary itself, on a plugin that is linked in: entry points, fences, reads. The layout
//! check runs here too.
#![allow(clippy::unwrap_used, clippy::panic)] // a refused call is a failed test, and the probe must panic

use super::super::metric::{AnswerFailure, Delta, Metric, Read, ReadFault};
use super::*;
use crate::test_plugin::metric;
use serde_json::{Value, json};
use tally_event::EventBatch;
use tally_plugin::ask::{Ask, Reply, Window};
use tally_plugin::description::Description;
use tally_plugin::prelude::*;
use tally_plugin::read::{ReadAnswer, ReadRequest};

/// Counts the bytes of text ids; does as it is told.
struct Probe {
    factor: i64,
}

#[derive(Deserialize, JsonSchema)]
struct Config {
    #[serde(default)]
    factor: i64,
}

#[derive(Deserialize, JsonSchema)]
struct Params {
    then: String,
}

impl tally_plugin::Metric for Probe {
    const ABOUT: About = about!("probe", revision = 3);
    type Config = Config;
    type Params = Params;
    type Answer = i64;

    fn new(config: Config) -> Result<Self, String> {
        if config.factor < 0 {
            Err("the factor is negative".into())
        } else {
            Ok(Probe { factor: config.factor })
        }
    }

    fn describe(&self) -> Description {
        Description::new("A probe")
            .table(table("t").key([USER_ID]).cell("n", sum(ONE)).cell("bytes", sum(UPDATE)))
    }

    fn update(&self, batch: &Batch<'_>, deltas: &mut Deltas<'_>) {
        let bytes = deltas.cell("t", "bytes");
        for row in 0..batch.len() {
            match batch.user(row) {
                Some(Id::Text(text)) if text == "poison" => panic!("poisoned at row {row}"),
                Some(Id::Text(text)) if text == "beyond" => deltas.merge(row + 1, bytes, 1),
                Some(Id::Text(text)) => deltas.merge(row, bytes, text.len() as i64 * self.factor),
                _ => {}
            }
        }
    }

    fn answer(&self, asked: &Request<Params>, read: &Reader<'_>) -> Result<i64, Refusal> {
        match asked.params.then.as_str() {
            "panic" => panic!("asked to"),
            "panic with a bomb" => std::panic::panic_any(Bomb),
            "refuse" => Err(Refusal::invalid("/params/then", "no")),
            "swallow" => {
                Ok(read.table("t").run().map_or(-1, |found| found.total().count("n") as i64))
            }
            _ => {
                asked.warn("probed", "it was");
                Ok(read.table("t").run()?.total().count("n") as i64)
            }
        }
    }
}

/// A payload whose destructor panics in turn.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a payload that panics when it is dropped");
    }
}

static HEADER: LibHeader = tally_plugin::export::header::<Probe>();

fn library() -> Library {
    Library::of(&HEADER, Path::new("linked in")).unwrap()
}

fn probe() -> Metric {
    metric(library(), library().create(r#"{"factor":2}"#, &"probe").unwrap(), "{}")
}

fn batch(users: &[&str]) -> EventBatch {
    let mut batch = EventBatch { kind_names: vec!["view".into()], ..EventBatch::default() };
    for (offset, user) in users.iter().enumerate() {
        let id = batch.push_text(user.as_bytes());
        batch.users.push(id);
        batch.products.push(tally_event::ABSENT);
        batch.kinds.push(0);
        batch.times.push(0);
        batch.offsets.push(offset as u64);
    }
    batch
}

/// Answers each read with one row that counts 7, or not at all.
struct Fixed(Option<ReadFault>);

impl Read for Fixed {
    fn read(&self, request: &ReadRequest) -> Result<ReadAnswer, ReadFault> {
        assert_eq!(request.table, "t");
        match &self.0 {
            Some(fault) => Err(fault.clone()),
            None => {
                let part =
                    tally_plugin::read::Part { cells: vec![7, i128::MAX], ..Default::default() };
                Ok(ReadAnswer { total: vec![part], groups_total: 1, groups: vec![] })
            }
        }
    }
}

fn answer(then: &str, reader: &Fixed) -> Result<Reply, AnswerFailure> {
    let ask = Ask {
        params: json!({"then": then}),
        window: Window::default(),
        steps: None,
        event_types: None,
        as_of: 0,
    };
    let answered = probe().answer(&ask, reader)?;
    Ok(answered.into_reply().expect("the result is JSON"))
}

#[test]
fn a_plugin_says_what_it_is() {
    let about: Value = serde_json::from_str(&library().about(&"probe").unwrap()).unwrap();
    assert_eq!((&about["name"], &about["revision"]), (&json!("probe"), &json!(3)));
    assert_eq!(
        library().create(r#"{"factor":-1}"#, &"probe").err().unwrap(),
        "the factor is negative"
    );
    assert!(library().describe("{", &"probe").unwrap_err().contains("unreadable"));
    assert!(probe().needs_update());
}

#[test]
fn deltas_cross_and_texts_are_looked_up() {
    let mut deltas = Vec::new();
    probe().update(&batch(&["abc", "ü"]), &mut deltas).unwrap();
    let delta = |row, value| Delta { row, table: 0, cell: 1, value };
    assert_eq!(deltas, [delta(0, 6), delta(1, 4)]);
}

#[test]
fn a_batch_that_fails_leaves_no_deltas_and_the_next_one_works() {
    let (metric, mut deltas) = (probe(), Vec::new());
    let fault = metric.update(&batch(&["abc", "poison"]), &mut deltas).unwrap_err();
    assert!(fault.contains("panicked: poisoned at row 1"), "{fault}");
    let fault = metric.update(&batch(&["abc", "beyond"]), &mut deltas).unwrap_err();
    assert!(fault.contains("fits no event"), "{fault}");
    assert_eq!(deltas, []);
    assert_eq!(metric.update(&batch(&["a"]), &mut deltas), Ok(vec![]));
    assert_eq!(deltas.len(), 1);
}

#[test]
fn answers_warnings_and_refusals_cross() {
    let Ok(Reply::Answer { result, warnings }) = answer("read", &Fixed(None)) else {
        panic!("no answer")
    };
    assert_eq!((result, warnings.len()), (json!(7), 1));
    let Ok(Reply::Refusal(refusal)) = answer("refuse", &Fixed(None)) else { panic!("no refusal") };
    assert_eq!(refusal.errors[0].pointer, "/params/then");
}

#[test]
fn why_a_read_failed_survives_whatever_the_plugin_makes_of_it() {
    for fault in
        [ReadFault::Deadline, ReadFault::Store("away".into()), ReadFault::Request("no".into())]
    {
        for then in ["read", "swallow"] {
            assert_eq!(
                answer(then, &Fixed(Some(fault.clone()))),
                Err(AnswerFailure::Read(fault.clone())),
                "{then}"
            );
        }
    }
}

#[test]
fn a_panic_while_answering_is_a_failure_of_the_plugin() {
    let failed = |then| match answer(then, &Fixed(None)) {
        Err(AnswerFailure::Plugin(text)) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(failed("panic"), "panicked: asked to");
    assert_eq!(failed("panic with a bomb"), "panicked: without a text");
    assert!(answer("read", &Fixed(None)).is_ok());
}

#[test]
fn the_loaders_reason_is_told_whole() {
    assert_eq!(one_line(&"\nCould not:\n\t/a\n because:\n\n"), "Could not: /a because:");
    assert!(one_line(&"x".repeat(5_000)).len() < 1_100);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("a.so");
    std::fs::write(&copy, "no shared object").unwrap();
    let told = Library::open(&copy).err().unwrap().to_string();
    assert!(told.starts_with("cannot be loaded: ") && told.contains("file too short"), "{told}");
    assert!(!told.contains(&copy.display().to_string()), "{told}");
}

#[test]
fn quiet_ends_with_a_panic_too() {
    let outcome = catch_unwind(|| quietly(|| panic!("inside")));
    assert!(outcome.is_err() && !QUIET.get());
}
