//! Updates, refusals and connections that are lost, in front of a server that says what a test
//! tells it to.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use super::*;
use crate::cli::args::Engine;
use crate::cli::engine_args::Expand;
use crate::cli::following::follow;
use crate::cli::following_tests::{AT_ONCE, error, server};
use serde_json::Value;
use std::time::Duration;

fn query(params: Value) -> Query {
    Query {
        name: "m".into(),
        params,
        watch: true,
        interval: None,
        expand: None,
        limit: None,
        engine: Engine { url: None },
        json: false,
    }
}

/// An update with this total, window and list of warnings.
fn update(total: u64, to: &str, warnings: &str) -> String {
    format!(
        "{{\"type\":\"update\",\"id\":\"q\",\"seq\":1,\"result\":{{\"total\":{total}}},\
         \"meta\":{{\"window\":{{\"from\":\"a\",\"to\":\"{to}\"}},\"as_of\":\"now\"}},\"warnings\":{warnings}}}"
    )
}

/// How it ended, the lines of output, those for people.
type Watched = (Result<(), Failure>, Vec<String>, Vec<String>);

/// Watches until so many updates came; `form`: of the lines.
async fn watched(url: &str, left: Option<u64>, form: LineForm) -> Watched {
    let (mut lines, mut notes) = (Vec::new(), Vec::new());
    let mut out = |line: &str| {
        lines.push(line.to_owned());
        true
    };
    let mut say = |line: &str| notes.push(line.to_owned());
    let mut output = LineOutput::new(form, &mut out, &mut say);
    let ended = follow(&mut watching(left, &mut output), (url, "here"), AT_ONCE).await;
    (ended, lines, notes)
}

fn watching(left: Option<u64>, output: &mut dyn WatchOutput) -> Watching<'_> {
    let subscription = subscription(&query(json!({"limit": 5})));
    let asked = Some(Duration::from_millis(10));
    Watching { subscription, asked, left, shown: None, told: None, output }
}

#[tokio::test]
async fn each_answer_is_a_line_and_one_that_is_known_is_none_after_a_break() {
    let warning = r#"[{"code":"unknown_user","detail":"nobody"}]"#;
    let (url, served) = server(vec![
        vec![update(1, "b", "[]"), update(2, "b", "[]")],
        vec![update(2, "b", "[]"), update(2, "c", "[]"), update(2, "c", warning)],
    ])
    .await;
    let (ended, lines, notes) = watched(&url, Some(4), LineForm::Result).await;
    assert!(ended.is_ok(), "{ended:?}");
    let total = |n: u64| format!("{{\"total\":{n}}}");
    assert_eq!(lines, [total(1), total(2), total(2), total(2)]);
    let (broken, said): (Vec<_>, Vec<_>) =
        notes.into_iter().partition(|note| note.contains("; connecting to here again in "));
    assert_eq!(broken.len(), 1);
    let warned = ["window: a to c", "warning: nobody (unknown_user)"];
    assert_eq!(said, [&["window: a to b", "window: a to c"][..], &warned].concat());
    let asked = json!({"type": "subscribe", "id": "q", "metric": "m", "params": {"limit": 5}});
    assert_eq!(served.await.unwrap(), [asked.clone(), asked]);
}

#[tokio::test]
async fn answers_are_whole_where_that_is_wished() {
    let (url, _served) = server(vec![vec![update(1, "b", "[]")]]).await;
    let form = LineForm::Whole { question: "\"name\":\"m\",\"params\":{\"limit\":5}".into() };
    let (ended, lines, notes) = watched(&url, Some(1), form).await;
    let whole = "{\"name\":\"m\",\"params\":{\"limit\":5},\"result\":{\"total\":1},\
                 \"meta\":{\"window\":{\"from\":\"a\",\"to\":\"b\"},\"as_of\":\"now\"},\"warnings\":[]}";
    assert!(ended.is_ok() && lines == [whole] && notes.is_empty(), "{lines:?} {notes:?}");
}

#[tokio::test]
async fn a_question_that_is_wrong_ends_it_with_the_words_of_a_question() {
    let refused = r#"{"type":"error","id":"q","code":"invalid_params","detail":"2 faults","errors":[{"pointer":"/params/limit","detail":"0 is less than 1"},{"pointer":"/params/x","detail":"unknown"}]}"#;
    let words = "Invalid params: 2 faults\n  /params/limit: 0 is less than 1\n  /params/x: unknown";
    for (message, words) in [
        (refused.to_owned(), words),
        (error("metric_not_found"), "Metric not found: because"),
        (error("out_of_stock"), "Out of stock: because"),
    ] {
        let (url, served) = server(vec![vec![message]]).await;
        let (ended, lines, notes) = watched(&url, None, LineForm::Result).await;
        assert!(matches!(&ended, Err(Failure::Failed(why)) if why == words), "{ended:?}");
        assert!(lines.is_empty() && notes.is_empty(), "{lines:?} {notes:?}");
        assert_eq!(served.await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_only_keeps_the_engine_from_answering_is_said_once_and_waited_for() {
    let (url, served) = server(vec![
        vec![error("backfilling"), error("backfilling"), update(1, "b", "[]")],
        // Its metric is away for a moment, and the engine is busy for another.
        vec![update(2, "b", "[]"), error("metric_not_found")],
        vec![error("overloaded")],
        vec![error("store_unavailable"), update(3, "b", "[]")],
    ])
    .await;
    let (ended, lines, notes) = watched(&url, Some(3), LineForm::Result).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(lines, ["{\"total\":1}", "{\"total\":2}", "{\"total\":3}"]);
    let said = |words: &str| notes.iter().filter(|note| note.starts_with(words)).count();
    let waits = "no answer now: Backfilling: because; waiting for one";
    let store = "no answer now: Store unavailable: because; ";
    assert_eq!((said(waits), said(store)), (1, 1), "{notes:?}");
    assert_eq!((said("Metric not found: because; "), said("because; ")), (1, 1), "{notes:?}");
    assert_eq!(served.await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_screen_keeps_the_last_answer_and_says_below_what_is_wrong() {
    let (url, _served) =
        server(vec![vec![update(1, "b", "[]")], vec![update(1, "b", "[]"), update(2, "b", "[]")]])
            .await;
    let mut screens: Vec<Vec<String>> = Vec::new();
    let mut draw = |lines: &[String]| {
        screens.push(lines.to_vec());
        true
    };
    let mut size = || (200_usize, 24_usize);
    let mut output = ScreenOutput::new("m {}".into(), &mut size, &mut draw);
    let ended = follow(&mut watching(Some(2), &mut output), (&url, "here"), AT_ONCE).await;
    assert!(ended.is_ok(), "{ended:?}");
    let of = |total: &str| ["m {}   now", "", total, "", "window: a to b"].map(str::to_owned);
    assert_eq!(screens[0], of("total  1"));
    let (broken, rest) = (&screens[1], &screens[2..]);
    assert_eq!(broken[..5], of("total  1"));
    assert!(broken[5].contains("connecting to here again in"), "{broken:?}");
    assert_eq!(rest, [of("total  1").to_vec(), of("total  2").to_vec()]);
}

#[test]
fn that_updates_come_less_often_than_asked_for_is_said_once() {
    let hello = |more: &str| {
        format!("{{\"type\":\"hello\",\"protocol\":1,\"position\":\"\",\"metrics\":[]{more}}}")
    };
    let told = |hellos: &[String]| {
        let (mut notes, mut out) = (Vec::new(), |_: &str| true);
        let mut say = |line: &str| notes.push(line.to_owned());
        let mut output = LineOutput::new(LineForm::Result, &mut out, &mut say);
        let mut watching = watching(None, &mut output);
        for hello in hellos {
            assert!(matches!(watching.take(hello), FollowStep::Say(_)));
        }
        notes
    };
    let least = |ms: u64| hello(&format!(",\"min_interval_ms\":{ms}"));
    let note =
        "note: --interval 10 ms counts as 50 ms, the engine's least ([live] min_interval_ms)";
    assert_eq!(told(&[least(50), least(50)]), [note]);
    assert_eq!(told(&[least(10)]), [""; 0]);
    assert_eq!(told(&[hello("")]), [""; 0]);

    // On a screen it stays.
    let mut screens: Vec<Vec<String>> = Vec::new();
    let mut draw = |lines: &[String]| {
        screens.push(lines.to_vec());
        true
    };
    let mut size = || (200_usize, 24_usize);
    let mut output = ScreenOutput::new("m {}".into(), &mut size, &mut draw);
    let mut watching = watching(None, &mut output);
    for message in [least(50), update(1, "b", "[]"), update(2, "b", "[]")] {
        watching.take(&message);
    }
    assert_eq!(screens.len(), 2);
    assert!(screens.iter().all(|screen| screen.iter().any(|line| line == note)), "{screens:?}");
}

#[tokio::test]
async fn it_ends_when_nobody_reads_it() {
    let (url, _served) = server(vec![vec![update(1, "b", "[]"), update(2, "b", "[]")]]).await;
    let (mut lines, mut say) = (0, |_: &str| {});
    let mut out = |_: &str| {
        lines += 1;
        false
    };
    let mut output = LineOutput::new(LineForm::Result, &mut out, &mut say);
    assert!(follow(&mut watching(None, &mut output), (&url, "here"), AT_ONCE).await.is_ok());
    assert_eq!(lines, 1);
}

#[test]
fn the_message_says_how_often_and_one_that_is_too_long_is_not_sent() {
    let asked = Query { interval: Some(Duration::from_secs(2)), ..query(json!({})) };
    let message: Value = serde_json::from_str(&subscription(&asked)).unwrap();
    assert_eq!(message["min_interval_ms"], 2_000);
    assert_eq!(message.get("expand"), None);
    let named = Query { expand: Some(Expand::Names), ..asked };
    let message: Value = serde_json::from_str(&subscription(&named)).unwrap();
    assert_eq!(message["expand"], json!(["names"]));
    let long = Query { json: true, ..query(json!({"x": "y".repeat(LONGEST_MESSAGE)})) };
    let refused = run(&long);
    assert!(
        matches!(&refused, Err(Failure::Failed(why)) if why.contains("too long to be watched")),
        "{refused:?}"
    );
}
