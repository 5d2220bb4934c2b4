//! Mapping, stable ids and bad rows.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

use super::*;
use tally_engine::config::FieldsConfig;

/// Head of a shop's public event log, as it is published.
const SHOP: &str = "event_time,event_type,product_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:00 UTC,view,44600062,,shiseido,35.79,541312140,72d76fde
2019-10-01 00:00:01 UTC,purchase,1307067,computers.notebook,lenovo,251.74,u-7,7c90fc70
";

fn pairs(text: &str) -> Vec<(String, String)> {
    text.split(',')
        .filter_map(|pair| pair.split_once('='))
        .map(|(a, b)| (a.into(), b.into()))
        .collect()
}

fn replay_with(
    name: &str,
    content: &str,
    map: &str,
    alias: &str,
    events: &EventsConfig,
) -> Result<Vec<Result<Outgoing, String>>, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    let mut replay =
        Replay::open(&path, Mapping::new(&pairs(map), &pairs(alias)).unwrap(), events)?;
    replay.name = name.into();
    Ok(std::iter::from_fn(|| replay.next()).collect())
}

fn replay(name: &str, content: &str, map: &str, alias: &str) -> Vec<Result<Outgoing, String>> {
    replay_with(name, content, map, alias, &EventsConfig::default()).unwrap()
}

fn json(event: &Result<Outgoing, String>) -> Value {
    serde_json::from_slice(&event.as_ref().unwrap().json).unwrap()
}

#[test]
fn a_published_csv_becomes_events() {
    let events = replay("a.csv", SHOP, "timestamp=event_time", "purchase=buy");
    assert_eq!(events.len(), 2);
    let first = json(&events[0]);
    assert_eq!(first["timestamp"], "2019-10-01T00:00:00.000Z");
    assert_eq!(
        (&first["user_id"], &first["product_id"]),
        (&541_312_140.into(), &44_600_062.into())
    );
    assert_eq!(
        (&first["price"], &first["brand"], &first["user_session"]),
        (&"35.79".into(), &"shiseido".into(), &"72d76fde".into())
    );
    assert!(first.get("event_time").is_none() && first.get("category_code").is_none(), "{first}");
    let second = json(&events[1]);
    assert_eq!((&second["event_type"], &second["user_id"]), (&"buy".into(), &"u-7".into()));
    assert_eq!(events[1].as_ref().unwrap().key, "u-7");
    assert_eq!(events[1].as_ref().unwrap().line, 3);
}

#[test]
fn ids_are_the_same_again_and_other_for_another_file() {
    let ids = |name: &str, content: &str| -> Vec<Value> {
        replay(name, content, "timestamp=event_time", "")
            .iter()
            .map(|event| json(event)["event_id"].clone())
            .collect()
    };
    let first = ids("a.csv", SHOP);
    assert_ne!(first[0], first[1]);
    assert_eq!(first, ids("renamed.csv", SHOP));
    let other = ids("a.csv", &SHOP.replace("lenovo", "dell"));
    assert_ne!(first[0], other[0]);
    let own = replay(
        "a.ndjson",
        r#"{"event_id":"mine","user_id":1,"product_id":2,"event_type":"view"}"#,
        "",
        "",
    );
    assert_eq!(json(&own[0])["event_id"], "mine");
}

#[test]
fn bad_rows_are_named_by_line_and_do_not_end_the_run() {
    let csv = "user_id,product_id,event_type,timestamp\n1,2,view,never\n1,2,view\n,2,view,1569888000000\n1,2,view,1569888000000\n";
    let events = replay("b.csv", csv, "", "");
    let faults: Vec<&String> = events.iter().filter_map(|event| event.as_ref().err()).collect();
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults[0].starts_with("b.csv:2: \"never\" is not a time"), "{faults:?}");
    assert!(faults[1].starts_with("b.csv:3: has 3 columns, the header has 4"), "{faults:?}");
    assert!(faults[2].starts_with("b.csv:4: has no user_id"), "{faults:?}");
    assert_eq!(json(&events[3])["timestamp"], "2019-10-01T00:00:00.000Z");

    let long = format!(
        "{{\"user_id\":1,\"product_id\":2,\"event_type\":\"view\",\"x\":\"{}\"}}",
        "x".repeat(1 << 20)
    );
    let lines =
        format!("\n[1]\n{{\n{long}\n{{\"user_id\":1,\"product_id\":2,\"event_type\":\"view\"}}");
    let events = replay("b.ndjson", &lines, "", "");
    let faults: Vec<&String> = events.iter().filter_map(|event| event.as_ref().err()).collect();
    assert!(faults[0].starts_with("b.ndjson:2: is not a JSON object"), "{faults:?}");
    assert!(faults[1].starts_with("b.ndjson:3: is not JSON"), "{faults:?}");
    assert!(faults[2].starts_with("b.ndjson:4: is longer"), "{faults:?}");
    assert_eq!((events.len(), events[3].as_ref().unwrap().line), (4, 5));
}

#[test]
fn mapped_columns_may_bear_names_of_fields_and_fields_may_be_nested() {
    let swapped = r#"{"user_id":1,"product_id":2,"event_type":"view"}"#;
    let event = json(&replay("c.ndjson", swapped, "user_id=product_id,product_id=user_id", "")[0]);
    assert_eq!((&event["user_id"], &event["product_id"]), (&2.into(), &1.into()));

    let events = EventsConfig {
        fields: FieldsConfig { user_id: "/user/id".into(), ..FieldsConfig::default() },
        ..EventsConfig::default()
    };
    let flat = replay_with("d.ndjson", swapped, "", "", &events).unwrap();
    assert_eq!(json(&flat[0])["user"]["id"], 1);
    let nested = r#"{"user":{"id":"9","name":"x"},"product_id":2,"event_type":"view"}"#;
    let nested = json(&replay_with("e.ndjson", nested, "", "", &events).unwrap()[0]);
    assert_eq!(nested["user"], serde_json::json!({"id": 9, "name": "x"}));
}

#[test]
fn a_column_that_is_not_there_and_a_field_that_is_none_are_refused_at_once() {
    let fault =
        replay_with("a.csv", SHOP, "timestamp=time", "", &EventsConfig::default()).unwrap_err();
    assert!(
        fault.contains("no column \"time\" for timestamp; it has event_time, event_type"),
        "{fault}"
    );
    assert!(Mapping::new(&pairs("user=uid"), &[]).unwrap_err().contains("\"user\" is not a field"));
}

/// The same events, however the file is written: with a byte order mark, blanks around cells, other
/// line ends, as lines or as an array over several of them.
#[test]
fn what_a_file_says_does_not_depend_on_how_it_is_written() {
    let expected = [(523, 611, "view"), (524, 612, "buy")];
    let seen = |name: &str, content: &str| -> Vec<(u64, u64, String)> {
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let event = |event: &Result<Outgoing, String>| {
            let event = json(event);
            (
                number(&event["user_id"]),
                number(&event["product_id"]),
                event["event_type"].as_str().unwrap().to_owned(),
            )
        };
        replay(name, content, "", "").iter().map(event).collect()
    };
    let expected = expected.map(|(user, product, kind)| (user, product, kind.to_owned()));
    for ends in ["\n", "\r\n", "\r"] {
        let csv = [
            "\u{feff}user_id, product_id ,event_type",
            "523, 611,view",
            "   ",
            "524,612 ,\tbuy",
            "",
        ]
        .join(ends);
        assert_eq!(seen("a.csv", &csv), expected, "{csv:?}");
        let [first, second] =
            [(523, 611, "view"), (524, 612, "buy")].map(|(user, product, kind)| {
                format!(r#"{{"user_id":{user},"product_id":{product},"event_type":"{kind}"}}"#)
            });
        let lines = format!("\u{feff}{first}{ends}  {ends}{ends} {second} {ends}");
        assert_eq!(seen("a.ndjson", &lines), expected, "{lines:?}");
        let array = format!(
            "\u{feff} [{ends}{first},{ends} {}{ends}]{ends}",
            second.replace(',', &format!(",{ends}"))
        );
        assert_eq!(seen("a.json", &array), expected, "{array:?}");
    }
}

#[test]
fn rows_that_say_nothing_certain_are_named() {
    let csv = "user_id,product_id,event_type,\n1,2,view,\nuser_id,product_id,event_type,\n1,2,view,x\n3,4,\"buy\",\n";
    let events = replay("a.csv", csv, "", "");
    let faults: Vec<&String> = events.iter().filter_map(|event| event.as_ref().err()).collect();
    assert_eq!((events.len(), faults.len()), (4, 2), "{events:?}");
    assert!(faults[0].starts_with("a.csv:3: repeats the header"), "{faults:?}");
    assert!(
        faults[1].starts_with("a.csv:4: has a value in column 4, which has no name"),
        "{faults:?}"
    );
    let doubled = "user_id,product_id,event_type,price,price\n1,2,view,3,4\n";
    let fault = replay_with("a.csv", doubled, "", "", &EventsConfig::default()).unwrap_err();
    assert!(fault.contains("the header names price twice"), "{fault}");
    let lines = "{\"user_id\":1,\"user_id\":2,\"product_id\":3,\"event_type\":\"view\"}\n[{\"user_id\":1,\n";
    let events = replay("a.ndjson", lines, "", "");
    let faults: Vec<&String> = events.iter().filter_map(|event| event.as_ref().err()).collect();
    assert!(faults[0].starts_with("a.ndjson:1: names \"user_id\" twice"), "{faults:?}");
    assert!(faults[1].contains("ends within an array"), "{faults:?}");
    let unzoned = replay(
        "a.csv",
        "user_id,product_id,event_type,timestamp\n1,2,view,2019-10-01 00:00:00\n",
        "",
        "",
    );
    assert!(unzoned[0].as_ref().unwrap_err().contains("is not a time"), "{unzoned:?}");
}

/// Members that are not mapped arrive as they are written, elements of one line are different
/// events, and one user has one key.
#[test]
fn numbers_keep_their_digits_and_events_their_own_ids() {
    let event =
        |more: &str| format!(r#"{{"user_id":7.0,"product_id":2,"event_type":"view"{more}}}"#);
    let text = format!(
        "[{},{}]\n{}",
        event(""),
        event(""),
        event(r#","price":12.345678901234567890,"at":{"x":[1e2]}"#)
    );
    let events = replay("a.json", &text, "", "");
    let sent: Vec<&Outgoing> = events.iter().map(|event| event.as_ref().unwrap()).collect();
    let last = String::from_utf8(sent[2].json.clone()).unwrap();
    assert!(last.contains(r#""price":12.345678901234567890,"at":{"x":[1e2]}"#), "{last}");
    assert!(sent.iter().all(|sent| sent.key == "7"), "{sent:?}");
    let ids: std::collections::BTreeSet<String> =
        events.iter().map(|event| json(event)["event_id"].to_string()).collect();
    assert_eq!(ids.len(), 3);
}
