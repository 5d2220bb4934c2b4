//! Questions that are watched, of an engine in this process: what its threads publish is what a
//! question gets, and comes with what concerns it.

use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tally_engine::config::Config;
use tally_engine::engine::{
    Engine, EvaluateError, Evaluated, LiveQuestion, Options, Question, WatchRequest,
};
use tally_engine::event::Position;
use tally_tests::tally::binary;
use tokio::runtime::Runtime;

/// How long a machine that has much else to do may take for what takes no time.
const LIMIT: Duration = Duration::from_secs(60);

fn engine(folder: &Path) -> Engine {
    let mut config = Config::default();
    config.store.data_dir = folder.join("data");
    config.log.partitions = 1;
    // Beside the binary lie other shared objects too: the first folder may hold plugins only.
    let plugin_dirs = vec![folder.join("own"), binary().unwrap().parent().unwrap().to_owned()];
    let options = Options { config, plugin_dirs, config_file: None, disabled: Vec::new() };
    Engine::start(options).unwrap()
}

fn watch(engine: &Engine, metric: &str, params: Value) -> Result<LiveQuestion, EvaluateError> {
    engine.watch(&WatchRequest { name: metric.into(), params, min_interval: Duration::ZERO })
}

/// The first update that is wanted.
fn told(question: &mut LiveQuestion, wanted: impl Fn(&Evaluated) -> bool) -> Evaluated {
    let runtime = Runtime::new().unwrap();
    let until = async {
        loop {
            let told = question.changed().await.expect("the engine runs");
            if let Ok(answer) = &told.outcome
                && wanted(answer)
            {
                return answer.clone();
            }
        }
    };
    runtime.block_on(async { tokio::time::timeout(LIMIT, until).await }).unwrap()
}

fn total(answer: &Evaluated) -> u64 {
    let result: Value = serde_json::from_str(&answer.result).unwrap();
    result["total"].as_u64().unwrap()
}

/// The answer at this position or a later one.
fn asked(engine: &Engine, metric: &str, params: Value, at: &Position) -> Evaluated {
    let question = Question {
        name: metric.into(),
        params,
        at_least: Some(at.clone()),
        wait: LIMIT,
        allow_partial: false,
        calling: Arc::default(),
    };
    engine.evaluate(&question).unwrap()
}

fn append(engine: &Engine, user: u64, kind: &str) -> Position {
    let event = json!({"user_id": user, "product_id": 7, "event_type": kind}).to_string();
    let appended = engine.append(&[event.as_bytes()]).unwrap();
    assert_eq!(appended.accepted, 1);
    appended.position
}

#[test]
fn updates_are_what_a_question_gets_and_come_with_what_concerns_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let mut all = watch(&engine, "event_frequencies", json!({})).unwrap();
    let mut user = watch(&engine, "user_activities", json!({"user_id": 1})).unwrap();
    assert_eq!((told(&mut all, |_| true).as_of > 0, total(&told(&mut user, |_| true))), (true, 0));
    // With the first event of all, every answer says since when there are any.
    append(&engine, 2, "view");
    told(&mut user, |answer| answer.history.from.is_some());
    for n in 2..=20 {
        append(&engine, 2, "view");
        let answer = told(&mut all, |answer| total(answer) == n);
        let now = asked(&engine, "event_frequencies", json!({}), &answer.position);
        assert_eq!((&answer.result, &answer.position), (&now.result, &now.position));
        assert_eq!((answer.window, &answer.history), (now.window, &now.history));
    }
    let before = user.latest().unwrap();
    let at = append(&engine, 1, "buy");
    let answer = told(&mut user, |answer| total(answer) == 1);
    assert!(answer.position.reaches(&at));
    assert_eq!(user.latest().unwrap().number, before.number + 1, "others' events changed nothing");
    let now = asked(&engine, "user_activities", json!({"user_id": 1}), &at);
    assert_eq!((&answer.result, &answer.position), (&now.result, &now.position));
    engine.stop(LIMIT);
    let runtime = Runtime::new().unwrap();
    let ended = async {
        // What was published last may not have been taken.
        while all.changed().await.is_some() {}
    };
    runtime.block_on(async { tokio::time::timeout(LIMIT, ended).await }).unwrap();
}

#[test]
fn what_cannot_be_asked_cannot_be_watched_and_equal_questions_are_one() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let missing = watch(&engine, "user_activitys", json!({})).err();
    assert!(
        matches!(&missing, Some(EvaluateError::NotFound { suggestions, .. }) if suggestions[0] == "user_activities"),
        "{missing:?}"
    );
    let faults = watch(&engine, "user_activities", json!({"limit": 0, "windw": 1})).err();
    assert!(
        matches!(&faults, Some(EvaluateError::Invalid { errors, .. }) if errors.len() == 3),
        "{faults:?}"
    );
    let one = watch(&engine, "user_activities", json!({"user_id": 1, "limit": 5})).unwrap();
    let same = watch(&engine, "user_activities", json!({"limit": 5.0, "user_id": 1})).unwrap();
    let other = watch(&engine, "user_activities", json!({"limit": 6, "user_id": 1})).unwrap();
    assert_eq!(one.canonical(), same.canonical());
    assert_ne!(one.canonical(), other.canonical());
    engine.stop(LIMIT);
    assert!(watch(&engine, "user_activities", json!({"user_id": 1})).is_err());
}
