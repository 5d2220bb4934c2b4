//! `[export.prometheus.NAME]`: what `/metrics` shows of answers, and what a scrape costs.

use super::fake::{World, evaluated};
use crate::http::{Limits, export};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_engine::engine::{EvaluateError, Evaluated, LiveAnswer, LivePublisher, WatchRequest};
use tally_engine::memory::Share;
use tally_plugin::ask::{Fault, Warning};
use tokio::task::yield_now;
use tokio::time::timeout;

/// Far longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

const TYPES: &str = "[shop_events]\nmetric = \"event_frequencies\"\nparams = { window = \"1h\" }\n\
                     rows = \"/by_type\"\nlabels = { type = \"@key\" }\nevery = \"1s\"\n";

/// Answers from now on with this result.
fn answers(world: &World, result: &str) {
    let result = result.to_owned();
    world.fake.answers(move |_| Ok(evaluated(&result, json!({}))));
    world.fake.changed();
}

fn fails(world: &World, fault: EvaluateError) {
    world.fake.answers(move |_| Err(fault.clone()));
    world.fake.changed();
}

/// Whether what is read has this line.
fn has(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

/// Reads `/metrics` until it has a line.
async fn shown(world: &World, line: &str) -> String {
    let begun = Instant::now();
    loop {
        let text = world.get("/metrics").await.text;
        if has(&text, line) {
            return text;
        }
        assert!(begun.elapsed() < LONG, "no {line}:\n{text}");
        yield_now().await;
    }
}

/// What a text has of the exports, without their age.
fn exported(text: &str) -> String {
    let from = text.find("# HELP tally_export_up").unwrap();
    let lines = text[from..].lines().filter(|line| !line.starts_with("tally_export_age_seconds{"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Begins to export, and lets it come as far as it does without waiting.
async fn begin(world: &World) {
    export::start(world.app());
    for _ in 0..10 {
        yield_now().await;
    }
}

/// Of an export that leaves nothing out.
fn left_out(export: &str) -> String {
    let reasons = ["max_series", "value", "label", "duplicate"];
    let line =
        |reason| format!("tally_export_left_out{{export=\"{export}\",reason=\"{reason}\"}} 0\n");
    reasons.map(line).concat()
}

/// Of an export with two.
fn warnings(export: &str) -> String {
    let line = |code| format!("tally_export_warning{{export=\"{export}\",code=\"{code}\"}} 1\n");
    ["a\\\"b", "partial"].map(line).concat()
}

#[tokio::test]
async fn an_answer_is_series_and_says_how_it_is() {
    let two = format!(
        "{TYPES}[shop_total]\nmetric = \"event_frequencies\"\nvalue = \"/total\"\nevery = \"1s\"\n"
    );
    let world = World::of_exports(Limits::default(), &two);
    world.fake.answers(|_| {
        let result = r#"{"total":9007199254740993,"by_type":{"view":8,"b\"u\\y":2.50}}"#;
        let warnings = ["partial", "partial", "a\"b"].map(|code| Warning::new(code, "for people"));
        Ok(Evaluated { warnings: warnings.into(), ..evaluated(result, json!({})) })
    });
    let text = world.get("/metrics").await.text;
    assert!(has(&text, "tally_export_up{export=\"shop_events\"} 0"), "{text}");
    assert!(!text.contains("\nshop_events"), "{text}");
    export::start(world.app());
    shown(&world, "tally_export_up{export=\"shop_events\"} 1").await;
    let text = shown(&world, "tally_export_up{export=\"shop_total\"} 1").await;
    let mut expected = String::from(
        "# HELP tally_export_up 1 while an export has an answer, else 0: then the log says why.\n\
         # TYPE tally_export_up gauge\n\
         tally_export_up{export=\"shop_events\"} 1\n\
         tally_export_up{export=\"shop_total\"} 1\n\
         # HELP tally_export_age_seconds Time since the exported answer last changed.\n\
         # TYPE tally_export_age_seconds gauge\n\
         # HELP tally_export_left_out Rows of the exported answer that are no series, by reason.\n\
         # TYPE tally_export_left_out gauge\n",
    );
    for export in ["shop_events", "shop_total"] {
        expected.push_str(&left_out(export));
    }
    expected.push_str(
        "# HELP tally_export_warning 1 for each warning that the exported answer has.\n\
         # TYPE tally_export_warning gauge\n",
    );
    for export in ["shop_events", "shop_total"] {
        expected.push_str(&warnings(export));
    }
    expected.push_str(
        "# HELP shop_events From the answer of the metric event_frequencies.\n\
         # TYPE shop_events gauge\n\
         shop_events{type=\"view\"} 8\n\
         shop_events{type=\"b\\\"u\\\\y\"} 2.50\n\
         # HELP shop_total From the answer of the metric event_frequencies.\n\
         # TYPE shop_total gauge\n\
         shop_total 9007199254740993\n",
    );
    assert_eq!(exported(&text), expected);
    assert!(text.contains("\ntally_export_age_seconds{export=\"shop_total\"} 0."), "{text}");
}

#[tokio::test]
async fn an_export_watches_one_question_and_a_scrape_evaluates_nothing() {
    let world = World::of_exports(Limits::default(), TYPES);
    answers(&world, r#"{"by_type":{"view":1}}"#);
    export::start(world.app());
    shown(&world, "shop_events{type=\"view\"} 1").await;
    for _ in 0..20 {
        world.get("/metrics").await;
    }
    let asked: Vec<_> = {
        let watched = world.fake.watched.lock();
        let asked = |(request, _): &(WatchRequest, LivePublisher)| {
            (request.name.clone(), request.params.clone(), request.min_interval)
        };
        watched.iter().map(asked).collect()
    };
    // `every` and `params` are what the engine is told.
    let expected =
        ("event_frequencies".to_owned(), json!({"window": "1h"}), Duration::from_secs(1));
    assert_eq!(asked, [expected]);
    assert!(world.fake.asked.lock().is_empty(), "nothing is evaluated for a scrape");
    // Who watches the same question more often does not have it exported more often.
    answers(&world, r#"{"by_type":{"view":2}}"#);
    shown(&world, "shop_events{type=\"view\"} 2").await;
    let begun = Instant::now();
    answers(&world, r#"{"by_type":{"view":3}}"#);
    shown(&world, "shop_events{type=\"view\"} 3").await;
    assert!(begun.elapsed() > Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_is_left_out_is_told() {
    let few = format!("{TYPES}max_series = 2\n");
    let world = World::of_exports(Limits::default(), &few);
    let long = "x".repeat(129);
    let result = format!(r#"{{"by_type":{{"{long}":1,"a":"none","b":2,"c":3,"d":4,"e":5}}}}"#);
    answers(&world, &result);
    export::start(world.app());
    let text = shown(&world, "shop_events{type=\"b\"} 2").await;
    for (reason, count) in [("max_series", 2), ("value", 1), ("label", 1), ("duplicate", 0)] {
        let labels = format!("export=\"shop_events\",reason=\"{reason}\"");
        assert!(has(&text, &format!("tally_export_left_out{{{labels}}} {count}")), "{text}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("shop_events{")).count(), 2, "{text}");
    assert!(has(&text, "tally_export_up{export=\"shop_events\"} 1"), "{text}");
}

#[tokio::test]
async fn without_an_answer_there_are_no_series_and_up_is_0() {
    let up = |value: u8| format!("tally_export_up{{export=\"shop_events\"}} {value}");
    let world = World::of_exports(Limits::default(), TYPES);
    // What the engine does not watch is tried again.
    let missing = EvaluateError::NotFound { suggestions: Vec::new(), detail: "none".into() };
    fails(&world, missing);
    begin(&world).await;
    assert!(world.fake.watched.lock().is_empty(), "it was refused");
    let invalid = vec![Fault { pointer: "/params/window".into(), detail: "no".into() }];
    let text = shown(&world, &up(0)).await;
    assert!(!text.contains("tally_export_age_seconds"), "{text}");
    assert!(!text.contains("# TYPE shop_events"), "{text}");
    answers(&world, r#"{"by_type":{"view":1}}"#);
    shown(&world, &up(1)).await;
    fails(&world, EvaluateError::Invalid { code: "invalid_params".into(), errors: invalid });
    let text = shown(&world, &up(0)).await;
    assert!(!text.contains("# TYPE shop_events"), "{text}");
    answers(&world, r#"{"by_type":{"view":2}}"#);
    shown(&world, "shop_events{type=\"view\"} 2").await;
    // An answer that has nothing where the rows should be.
    answers(&world, r#"{"total":1}"#);
    shown(&world, &up(0)).await;
    // And one that has none of them.
    answers(&world, r#"{"by_type":{}}"#);
    let text = shown(&world, &up(1)).await;
    assert!(!text.contains("# TYPE shop_events"), "{text}");
}

#[tokio::test]
async fn an_export_takes_its_share_of_memory_or_waits_for_room() {
    let watched = Arc::new(Share::new(1_000));
    let limits = Limits { watched: Arc::clone(&watched), ..Limits::default() };
    let world = World::of_exports(limits, TYPES);
    answers(&world, r#"{"by_type":{"view":1}}"#);
    let others = watched.take(1_000).unwrap();
    begin(&world).await;
    let text = shown(&world, "tally_export_up{export=\"shop_events\"} 0").await;
    assert!(!text.contains("# TYPE shop_events"), "{text}");
    drop(others);
    shown(&world, "shop_events{type=\"view\"} 1").await;
    assert_eq!(watched.used() as usize, "shop_events{type=\"view\"} 1\n".len());
}

#[tokio::test]
async fn an_answer_that_is_shown_is_not_held_until_the_next_one() {
    let world = World::of_exports(Limits::default(), TYPES);
    answers(&world, r#"{"by_type":{"view":1}}"#);
    begin(&world).await;
    shown(&world, "shop_events{type=\"view\"} 1").await;
    let outcome = Ok(evaluated(r#"{"by_type":{"view":2}}"#, json!({})));
    let answer = Arc::new(LiveAnswer::new(2, outcome, Instant::now()));
    world.fake.watched.lock()[0].1.publish(Arc::clone(&answer));
    shown(&world, "shop_events{type=\"view\"} 2").await;
    // This test and the publisher.
    assert_eq!(Arc::strong_count(&answer), 2);
}

#[tokio::test]
async fn an_export_without_room_waits_for_an_answer_that_the_engine_makes_anew() {
    let watched = Arc::new(Share::new(1_000));
    let limits = Limits { watched: Arc::clone(&watched), ..Limits::default() };
    let world = World::of_exports(limits, TYPES);
    answers(&world, r#"{"by_type":{"view":1}}"#);
    let others = watched.take(1_000).unwrap();
    begin(&world).await;
    shown(&world, "tally_export_up{export=\"shop_events\"} 0").await;
    world.fake.watched.lock()[0].1.forget();
    drop(others);
    // It is tried again after a second, and there is nothing to try.
    let early =
        timeout(Duration::from_secs(2), shown(&world, "shop_events{type=\"view\"} 1")).await;
    assert!(early.is_err(), "the engine had let it go");
    answers(&world, r#"{"by_type":{"view":2}}"#);
    shown(&world, "shop_events{type=\"view\"} 2").await;
}

#[tokio::test]
async fn a_large_answer_takes_from_the_share_of_answers_while_it_is_read() {
    let answers_share = Arc::new(Share::new(16 << 20));
    let limits = Limits { answers: Arc::clone(&answers_share), ..Limits::default() };
    let world = World::of_exports(limits, TYPES);
    let rows: Vec<String> = (0..20_000).map(|n| format!("\"t{n}\":{n}")).collect();
    answers(&world, &format!(r#"{{"by_type":{{{}}}}}"#, rows.join(",")));
    let others = answers_share.take(16 << 20).unwrap();
    begin(&world).await;
    shown(&world, "tally_export_up{export=\"shop_events\"} 0").await;
    drop(others);
    let text = shown(&world, "shop_events{type=\"t99\"} 99").await;
    let left_out = "tally_export_left_out{export=\"shop_events\",reason=\"max_series\"} 19900";
    assert!(has(&text, left_out), "{text}");
    assert_eq!(answers_share.used(), 0);
}

#[tokio::test]
async fn a_server_that_listens_exports_and_a_stop_ends_it() {
    let mut world = World::of_exports(Limits::default(), TYPES);
    answers(&world, r#"{"by_type":{"view":1}}"#);
    let mut server = world.listen().await;
    let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let begun = Instant::now();
    while !server.exchange(request).await.contains("shop_events{type=\"view\"} 1\n") {
        assert!(begun.elapsed() < LONG, "nothing is exported");
    }
    server.stop();
    let ended = timeout(LONG, server.end()).await.expect("it ends");
    assert_eq!(ended.cut, 0);
}
