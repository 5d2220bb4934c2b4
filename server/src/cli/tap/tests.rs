//! Connections that are lost, refused and slow, in front of a server that says what a test tells it
//! to.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use super::*;
use crate::cli::following::follow;
use crate::cli::following_tests::{AT_ONCE, error, server};
use tokio::net::TcpListener;

fn event(n: u64) -> String {
    format!(
        "{{\"type\":\"event\",\"id\":\"e\",\"position\":\"0:{n}\",\"cursor\":\"0:{n}\",\"event\":{{\"n\": {n}}}}}"
    )
}

/// What came of it: how it ended, the lines of output and those for people, where it stopped.
async fn tapped(
    url: &str,
    wanted: (Value, Option<u64>, bool),
) -> (Result<(), Failure>, Vec<String>, Vec<String>, Option<String>) {
    let (mut lines, mut notes) = (Vec::new(), Vec::new());
    let (events, left, whole) = wanted;
    let mut out = |line: &str| {
        lines.push(line.to_owned());
        true
    };
    let mut note = |line: &str| notes.push(line.to_owned());
    let mut tapping = Tapping { events, since: None, left, whole, out: &mut out, note: &mut note };
    let ended = follow(&mut tapping, (url, "here"), AT_ONCE).await;
    let since = tapping.since;
    (ended, lines, notes, since)
}

#[tokio::test]
async fn it_goes_on_from_its_last_cursor_and_says_what_it_missed() {
    let (url, served) = server(vec![
        // Lost before anything came: from where the engine was.
        vec![],
        vec![event(6), r#"{"type":"skipped","id":"e","count":1200}"#.into(), event(9)],
        vec![r#"{"type":"gap","id":"e","from":"0:9","to":"0:20"}"#.into(), event(21), event(22)],
    ])
    .await;
    let wanted = json!({"event_types": ["buy"], "user_id": 1});
    let (ended, lines, notes, since) = tapped(&url, (wanted.clone(), Some(3), false)).await;
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(lines, ["{\"n\": 6}", "{\"n\": 9}", "{\"n\": 21}"]);
    assert_eq!(since.as_deref(), Some("0:21"));
    let asked = served.await.unwrap();
    let asks = |since: Option<&str>| {
        let mut message = json!({"type": "subscribe", "id": "e", "events": wanted});
        if let Some(since) = since {
            message["since"] = json!(since);
        }
        message
    };
    assert_eq!(asked, [asks(None), asks(Some("0:5")), asks(Some("0:9"))]);
    let said = |words: &str| notes.iter().any(|note| note.contains(words));
    assert!(said("skipped 1,200 events") && said("from 0:9 to 0:20"), "{notes:?}");
    assert_eq!(notes.iter().filter(|note| note.contains("connecting to here again in")).count(), 2);
}

#[tokio::test]
async fn messages_are_printed_whole_where_that_is_wished() {
    let (url, _served) = server(vec![vec![event(6)]]).await;
    let (ended, lines, _, _) = tapped(&url, (json!({}), Some(1), true)).await;
    assert!(ended.is_ok() && lines == [event(6)], "{lines:?}");
}

#[tokio::test]
async fn a_refusal_ends_it_and_a_busy_engine_is_asked_again() {
    let (url, served) =
        server(vec![vec![error("overloaded")], vec![error("position_invalid")]]).await;
    let (ended, lines, notes, since) = tapped(&url, (json!({}), None, false)).await;
    assert_eq!(since, None, "nothing goes on from there");
    assert!(
        matches!(&ended, Err(Failure::Failed(why)) if why == "the engine refuses: because (position_invalid)"),
        "{ended:?}"
    );
    assert!(lines.is_empty() && notes.len() == 1 && notes[0].starts_with("because; "), "{notes:?}");
    assert_eq!(served.await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_engine_that_is_not_there_at_first_is_said_at_once() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (ended, _, notes, _) =
        tapped(&format!("ws://{address}/ws"), (json!({}), None, false)).await;
    assert!(
        matches!(&ended, Err(Failure::Failed(why)) if why.starts_with("no engine answers at here")),
        "{ended:?}"
    );
    assert!(notes.is_empty(), "{notes:?}");
}

#[tokio::test]
async fn it_ends_when_nobody_reads_it() {
    let (url, _served) = server(vec![vec![event(6), event(7)]]).await;
    let (mut lines, mut note) = (0, |_: &str| {});
    let mut out = |_: &str| {
        lines += 1;
        false
    };
    let mut tapping = Tapping {
        events: json!({}),
        since: None,
        left: None,
        whole: false,
        out: &mut out,
        note: &mut note,
    };
    assert!(follow(&mut tapping, (&url, "here"), AT_ONCE).await.is_ok());
    assert_eq!(lines, 1);
}
