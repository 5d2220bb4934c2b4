//! What is read of a record, and that no verdict depends on it.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::{Decoder, DedupeWindow};
use proptest::prelude::*;
use tally_config::EventsConfig;
use tally_event::{EventBatch, PropertySource, Record};
use tally_plugin::description::PropertyType;

fn source(pointer: &str, kind: PropertyType) -> PropertySource {
    PropertySource { pointer: pointer.into(), kind }
}

fn decode(decoder: &mut Decoder, records: &[String]) -> (EventBatch, Vec<String>) {
    let record = |(n, text): (usize, &String)| (n as u64, text.clone().into_bytes());
    let payloads: Vec<(u64, Vec<u8>)> = records.iter().enumerate().map(record).collect();
    let records: Vec<Record<'_>> = payloads
        .iter()
        .map(|(offset, payload)| Record::new(*offset, 1_704_067_200_000, Some(payload)))
        .collect();
    let (mut out, mut refused) = (EventBatch::default(), Vec::new());
    decoder.decode(0, &records, &mut DedupeWindow::new(100), 0, &mut out, &mut refused);
    (out, refused.iter().map(|refused| format!("{} {}", refused.offset, refused.reason)).collect())
}

/// What one property of one event with this member is read as.
fn read(member: &str, pointer: &str, kind: PropertyType) -> Option<String> {
    let mut decoder = Decoder::new(&EventsConfig::default()).unwrap();
    decoder.read_properties(&[source(pointer, kind)]).unwrap();
    let event = format!(r#"{{"user_id":"u1","product_id":10,"event_type":"buy",{member}}}"#);
    // Between two others, so that a value of another row would show.
    let other = r#"{"user_id":2,"product_id":2,"event_type":"buy"}"#.to_string();
    let (batch, refused) = decode(&mut decoder, &[other.clone(), event, other]);
    assert_eq!(refused, Vec::<String>::new(), "{member}");
    let column = &batch.properties[0];
    let there = u8::from(pointer == "/product_id");
    assert_eq!((column.present[0], column.present[2], column.low.len()), (there, there, 3));
    column.value(1).map(|value| match kind {
        PropertyType::Text => String::from_utf8(batch.text(value as usize).to_vec()).unwrap(),
        PropertyType::Float => f64::from_bits(value as u64).to_string(),
        _ => value.to_string(),
    })
}

#[test]
fn values_are_read_as_declared() {
    use PropertyType::{Bool, Decimal, Float, Integer, Text, Time};
    for (member, pointer, kind, value) in [
        (r#""price":12.5"#, "/price", Decimal(2), Some("1250")),
        (r#""price":"12.50""#, "/price", Decimal(2), Some("1250")),
        (r#""price":-1e27"#, "/price", Decimal(0), Some("-1000000000000000000000000000")),
        (r#""price":1e28"#, "/price", Decimal(0), None),
        (r#""price":"twelve""#, "/price", Decimal(2), None),
        (r#""price":null"#, "/price", Decimal(2), None),
        (r#""price":[1]"#, "/price", Decimal(2), None),
        (r#""cost":1"#, "/price", Decimal(2), None),
        (r#""n":-5"#, "/n", Integer, Some("-5")),
        (r#""n":5.0"#, "/n", Integer, Some("5")),
        (r#""n":5.5"#, "/n", Integer, None),
        (r#""n":"5""#, "/n", Integer, None),
        (r#""n":9223372036854775808"#, "/n", Integer, None),
        (r#""f":0.1"#, "/f", Float, Some("0.1")),
        (r#""f":1e999"#, "/f", Float, None),
        (r#""f":"NaN""#, "/f", Float, None),
        (r#""s":"a\u00fcb\n""#, "/s", Text, Some("aüb\n")),
        (r#""s":"""#, "/s", Text, Some("")),
        (r#""s":"\ud800""#, "/s", Text, None),
        (r#""s":7"#, "/s", Text, None),
        (r#""b":true"#, "/b", Bool, Some("1")),
        (r#""b":false"#, "/b", Bool, Some("0")),
        (r#""b":"true""#, "/b", Bool, None),
        (r#""t":"2024-01-01T00:00:00+01:00""#, "/t", Time, Some("1704063600000")),
        (r#""t":1704063600000"#, "/t", Time, Some("1704063600000")),
        (r#""t":-1"#, "/t", Time, Some("-1")),
        (r#""t":"today""#, "/t", Time, None),
        (
            r#""a" : { "x" : [ 1 , {"b\"":"no"}, { "b" : "yes" } ] , "b":"no" }"#,
            "/a/x/2/b",
            Text,
            Some("yes"),
        ),
        (r#""a":{"b/c":"x","b":{"c":"no"}}"#, "/a/b~1c", Text, Some("x")),
        (r#""a":{"\u0062":"escaped"}"#, "/a/b", Text, Some("escaped")),
        (r#""a":{"b":1,"b":"last"}"#, "/a/b", Text, Some("last")),
        (r#""s":"first","s":"last""#, "/s", Text, Some("last")),
        (r#""a":[]"#, "/a/0", Text, None),
        (r#""a":{}"#, "/a/b", Text, None),
        (r#""x":1"#, "/user_id", Text, Some("u1")),
        (r#""x":1"#, "/product_id", Integer, Some("10")),
    ] {
        let time = if kind == Time || kind == Integer {
            value.map(unsigned)
        } else {
            value.map(String::from)
        };
        assert_eq!(read(member, pointer, kind), time, "{member} at {pointer}");
    }
    let (longest, longer) = ("ü".repeat(127) + "x", "ü".repeat(128));
    assert_eq!(read(&format!(r#""s":"{longest}""#), "/s", Text), Some(longest));
    assert_eq!(read(&format!(r#""s":"{longer}""#), "/s", Text), None);
}

/// Integers and times are shown as the 64 bits of their column.
fn unsigned(value: &str) -> String {
    value.parse::<i64>().map(|value| (value as u64).to_string()).unwrap()
}

#[test]
fn removed_rows_take_their_values_with_them() {
    let mut decoder = Decoder::new(&EventsConfig::default()).unwrap();
    decoder
        .read_properties(&[
            source("/p", PropertyType::Decimal(0)),
            source("/s", PropertyType::Text),
        ])
        .unwrap();
    let event = |id: &str, p: u32| {
        format!(
            r#"{{"event_id":"{id}","user_id":1,"product_id":2,"event_type":"buy","p":{p},"s":"s{p}"}}"#
        )
    };
    let (batch, _) =
        decode(&mut decoder, &[event("a", 1), event("a", 2), "{".into(), event("b", 3)]);
    let texts = (0..2)
        .map(|row| batch.text(batch.properties[1].value(row).unwrap() as usize))
        .collect::<Vec<_>>();
    assert_eq!((batch.properties[0].value(0), batch.properties[0].value(1)), (Some(1), Some(3)));
    assert_eq!((batch.properties[0].high.len(), texts), (2, vec![&b"s1"[..], b"s3"]));
}

#[test]
fn a_pointer_that_is_none_is_named() {
    let mut decoder = Decoder::new(&EventsConfig::default()).unwrap();
    let fault = decoder.read_properties(&[source("price", PropertyType::Float)]).unwrap_err();
    let said = fault.to_string();
    assert!(said.contains("\"price\"") && said.contains("begin with"), "{said}");
}

/// Pieces of records: right ones, and such that are refused for all kinds of reasons.
fn member() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("1"),
        Just("-1.5e3"),
        Just("\"x\""),
        Just("\"\\ud800\""),
        Just("\"a\\u00e9\""),
        Just("{\"b\":1,\"b\":2}"),
        Just("{\"\\ud800\":1}"),
        Just("{\"b\":{\"c\":[1,2,{\"d\":\"e\"}]}}"),
        Just("[[[1]]]"),
        Just("null"),
        Just("tru"),
        Just("01"),
        Just("{\"b\":1,}"),
        Just("\"2024-01-01T00:00:00Z\""),
    ];
    let key = prop_oneof![
        Just("\"user_id\""),
        Just("\"product_id\""),
        Just("\"event_type\""),
        Just("\"timestamp\""),
        Just("\"event_id\""),
        Just("\"a\""),
        Just("\"price\""),
        Just("\"\\u0070rice\""),
        Just("price"),
    ];
    (key, value).prop_map(|(key, value)| format!("{key}:{value}"))
}

proptest! {
    /// The same records are accepted and refused, for the same reasons, whatever is read beside.
    #[test]
    fn no_verdict_depends_on_properties(records in prop::collection::vec((prop::collection::vec(member(), 0..5), any::<bool>()), 1..12)) {
        let records: Vec<String> = records
            .into_iter()
            .map(|(members, good)| {
                let base = if good { "\"user_id\":1,\"product_id\":2,\"event_type\":\"buy\"," } else { "" };
                format!("{{{base}{}}}", members.join(","))
            })
            .collect();
        let mut plain = Decoder::new(&EventsConfig::default()).unwrap();
        let mut reading = Decoder::new(&EventsConfig::default()).unwrap();
        let pointers = ["/price", "/a", "/a/b", "/a/b/c/2/d", "/user_id", "/user_id/b", "/timestamp", "/a/0/0/0"];
        let kinds = [PropertyType::Text, PropertyType::Decimal(2), PropertyType::Float, PropertyType::Time];
        let sources: Vec<PropertySource> =
            pointers.iter().flat_map(|pointer| kinds.map(|kind| source(pointer, kind))).collect();
        reading.read_properties(&sources).unwrap();
        let (a, refused_a) = decode(&mut plain, &records);
        let (b, refused_b) = decode(&mut reading, &records);
        prop_assert_eq!(refused_a, refused_b);
        prop_assert_eq!((&a.offsets, &a.kinds, &a.times), (&b.offsets, &b.kinds, &b.times));
        prop_assert!(b.properties.iter().all(|column| column.low.len() == b.len() && column.present.len() == b.len()));
        // What was read once is no longer read when nobody declares it.
        reading.read_properties(&[]).unwrap();
        let (c, _) = decode(&mut reading, &records);
        prop_assert!(c.properties.is_empty());
        prop_assert_eq!(&a.users, &c.users);
    }
}

/// What is absent, or null, is no failure; what stands there and cannot be read is, by row,
/// whatever duplicates are taken out.
#[test]
fn null_by_failure_is_told_from_null_by_absence() {
    let mut decoder = Decoder::new(&EventsConfig::default()).unwrap();
    let sources = [
        source("/price", PropertyType::Decimal(2)),
        source("/context/session", PropertyType::Text),
        source("/at", PropertyType::Time),
    ];
    decoder.read_properties(&sources).unwrap();
    let event = |id: &str, more: &str| {
        format!(r#"{{"event_id":"{id}","user_id":1,"product_id":2,"event_type":"buy"{more}}}"#)
    };
    let records = [
        event("a", ""),
        event("b", r#","price":null,"context":null,"at":null"#),
        event("c", r#","price":"1,234.50","context":{"session":7},"at":"soon""#),
        event("c", r#","price":"twelve""#),
        event("d", r#","price":1e28,"context":{"session":null},"at":1.5"#),
        event("e", r#","price":1,"context":{},"at":5"#),
        event("f", r#","price":[],"context":9"#),
    ];
    let (batch, refused) = decode(&mut decoder, &records);
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(batch.offsets, [0, 1, 2, 4, 5, 6]);
    let unreadable: Vec<&[u32]> =
        batch.properties.iter().map(|column| column.unreadable.as_slice()).collect();
    assert_eq!(unreadable, [&[2, 3, 5][..], &[2], &[2, 3]]);
    let part: Vec<Vec<u32>> =
        batch.rows(3..6).properties.into_iter().map(|column| column.unreadable).collect();
    assert_eq!(part, [vec![0, 2], vec![], vec![0]]);
}
