//! The rules of a batch, and of records one by one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_inputs;
mod clocks;
mod copies;
mod differential;

use super::*;
use serde_json::value::Value as Json;
use tally_event::{ABSENT, OTHER};

/// The broker timestamp of every record here: 2024-01-01T00:00:00Z.
const NOW: i64 = 1_704_067_200_000;
/// `[events] max_ahead` by default, milliseconds.
const AHEAD: i64 = 300_000;

fn decoder() -> Decoder {
    Decoder::new(&EventsConfig::default()).unwrap()
}

fn configured(change: impl FnOnce(&mut EventsConfig)) -> Decoder {
    let mut events = EventsConfig::default();
    change(&mut events);
    Decoder::new(&events).unwrap()
}

/// A good event with one member more or another one.
fn event(member: &str) -> String {
    let mut event = String::from("{");
    for (key, value) in [("user_id", "1"), ("product_id", "10"), ("event_type", "\"view\"")] {
        if !member.contains(&format!("\"{key}\":")) {
            event += &format!("\"{key}\":{value},");
        }
    }
    event + member + "}"
}

/// Decodes records at the given offsets.
fn decode(
    decoder: &mut Decoder,
    window: u64,
    count_from: u64,
    events: &[(u64, &str)],
) -> (EventBatch, Vec<Refused>) {
    let records: Vec<Record<'_>> = events
        .iter()
        .map(|(offset, text)| Record::new(*offset, NOW, Some(text.as_bytes())))
        .collect();
    let (mut out, mut refused) = (EventBatch::default(), Vec::new());
    decoder.decode(3, &records, &mut DedupeWindow::new(window), count_from, &mut out, &mut refused);
    (out, refused)
}

#[test]
fn values_become_columns() {
    let (batch, refused) = decode(
        &mut decoder(),
        10,
        0,
        &[
            (
                4,
                r#"{"user_id":7,"product_id":"p1","event_type":"view","timestamp":"1999-12-31T23:59:59.999Z"}"#,
            ),
            (5, r#" { "event_type" : "buy" , "product_id" : "ü\n" , "user_id" : "x" } "#),
            (
                8,
                r#"{"user_id":"7","product_id":"\u0070\ud83d\ude00","event_type":"view","timestamp":946684800005}"#,
            ),
        ],
    );
    assert_eq!(
        refused,
        [Refused { index: 1, offset: 5, reason: Reason::InvalidJson }].map(|mut r| {
            r.reason = Reason::IdOutOfRange(Field::ProductId);
            r
        })
    );
    assert_eq!(
        (batch.partition, batch.from, batch.to, batch.records, batch.duplicates),
        (3, 4, 9, 3, 0)
    );
    assert_eq!((batch.min_time, batch.max_time), (946_684_799_999, 946_684_800_005));
    assert_eq!(batch.last_timestamp_ms, NOW);
    assert_eq!(batch.users, [7, 7]);
    let texts: Vec<&[u8]> = batch
        .products
        .iter()
        .map(|id| batch.text((id & !tally_event::TEXT_BIT) as usize))
        .collect();
    assert_eq!(texts, [&b"p1"[..], "p😀".as_bytes()]);
    assert_eq!(batch.times, [946_684_799_999, 946_684_800_005]);
    assert_eq!(batch.kinds, [0, 0]);
    assert_eq!(&*batch.kind_names[0], "view");
}

#[test]
fn duplicates_are_taken_out_and_refresh() {
    let a = event("\"event_id\":\"a\"");
    let b = event("\"event_id\":\"b\",\"timestamp\":1000000000000");
    let refused_c = event("\"event_id\":\"c\",\"timestamp\":\"x\"");
    let c = event("\"event_id\":\"c\"");
    let none = event("\"x\":1");
    let (batch, refused) = decode(
        &mut decoder(),
        10,
        0,
        &[
            (0, &a),
            (10, &a),
            (20, &a),
            (21, &b),
            (31, &a),
            (32, &refused_c),
            (33, &c),
            (34, &none),
            (35, &none),
        ],
    );
    assert_eq!(batch.offsets, [0, 21, 31, 33, 34, 35]);
    assert_eq!(batch.times, [NOW, 1_000_000_000_000, NOW, NOW, NOW, NOW]);
    assert_eq!((batch.duplicates, refused.len(), batch.records), (2, 1, 9));
    assert_eq!(batch.users.len(), 6);
}

/// Row 52. Content is what is mapped: another order of members or another ignored one is none.
#[test]
fn a_duplicate_that_says_something_else_is_a_conflict() {
    let told = |first: &str, second: &str| {
        let with_id = |members: &str| event(&format!("{members},\"event_id\":\"a\""));
        let (first, second) = (with_id(first), with_id(second));
        let (batch, _) =
            decode(&mut decoder(), 100, 0, &[(0, &first), (1, &event("\"x\":1")), (2, &second)]);
        assert_eq!(
            (batch.duplicates, batch.offsets.as_slice()),
            (1, &[0, 1][..]),
            "{second} is counted once"
        );
        batch.conflicts
    };
    let base = "\"user_id\":7,\"timestamp\":1000000000005";
    for other in [
        "\"user_id\":8,\"timestamp\":1000000000005",
        "\"user_id\":\"x7\",\"timestamp\":1000000000005",
        "\"user_id\":7,\"timestamp\":1000000000006",
    ] {
        assert_eq!(told(base, other), 1, "{other}");
    }
    assert_eq!(told(base, &format!("{base},\"product_id\":11")), 1);
    assert_eq!(told(base, &format!("{base},\"event_type\":\"buy\"")), 1);
    assert_eq!(
        told("\"user_id\":\"a\",\"product_id\":\"b\"", "\"user_id\":\"b\",\"product_id\":\"a\""),
        1
    );
    let same = "\"timestamp\":\"2001-09-09T01:46:40.005Z\",\"user_id\":\"7\",\"ignored\":[1]";
    assert_eq!(told(base, same), 0, "the same, written otherwise");
}

#[test]
fn a_retry_without_a_time_of_its_own_is_no_conflict_and_numbers_of_types_are_no_content() {
    let mut decoder = decoder();
    let mut window = DedupeWindow::new(100);
    let mut conflicts = |offset, timestamp_ms, events: &[&str]| {
        let records: Vec<Record<'_>> = (offset..)
            .zip(events)
            .map(|(offset, event)| Record::new(offset, timestamp_ms, Some(event.as_bytes())))
            .collect();
        let (mut out, mut refused) = (EventBatch::default(), Vec::new());
        decoder.decode(0, &records, &mut window, 0, &mut out, &mut refused);
        (out.duplicates, out.conflicts)
    };
    let buy = event("\"event_type\":\"buy\",\"event_id\":\"a\"");
    assert_eq!(conflicts(0, NOW, &[&buy]), (0, 0));
    // "buy" is the second type of this batch.
    assert_eq!(conflicts(1, NOW + 1, &[&event("\"x\":1"), &buy]), (1, 0));
    assert_eq!(conflicts(3, NOW + 2, &[&event("\"event_id\":\"a\"")]), (1, 1));
}

#[test]
fn records_before_the_start_only_fill_the_window() {
    let a = event("\"event_id\":\"a\"");
    let b = event("\"event_id\":\"b\"");
    let (batch, refused) =
        decode(&mut decoder(), 10, 6, &[(0, "x"), (4, &a), (7, &a), (8, "x"), (9, &b)]);
    assert_eq!((batch.from, batch.to, batch.records, batch.duplicates), (7, 10, 3, 1));
    assert_eq!(batch.offsets, [9]);
    assert_eq!(refused, [Refused { index: 3, offset: 8, reason: Reason::InvalidJson }]);
    let (batch, refused) = decode(&mut decoder(), 10, 6, &[(0, "x"), (4, &a)]);
    assert_eq!((batch.from, batch.to, batch.records, batch.len(), refused.len()), (6, 6, 0, 0, 0));
}

#[test]
fn aliases_and_types() {
    let mut decoder = configured(|events| {
        events.aliases = [
            ("VIEW!".into(), "view".into()),
            ("com.shop.events.v2.ProductHasBeenViewed".into(), "view".into()),
        ]
        .into();
        events.types = vec!["view".into(), "buy".into()];
    });
    let long = event(r#""event_type":"com.shop.events.v2.ProductHasBeenViewed""#);
    let events = [
        &event("\"event_type\":\"VIEW!\""),
        &event("\"event_type\":\"hover\""),
        &event("\"event_type\":\"buy\""),
        &event("\"event_type\":\"Nope\""),
        &long,
        &event("\"event_type\":\"v\\u0069ew\""),
    ];
    for _ in 0..2 {
        let (batch, refused) = decode(
            &mut decoder,
            0,
            0,
            &std::array::from_fn::<_, 6, _>(|n| (n as u64, events[n].as_str())),
        );
        let names: Vec<&str> =
            batch.kinds.iter().map(|kind| &*batch.kind_names[usize::from(*kind)]).collect();
        assert_eq!(names, ["view", OTHER, "buy", "view", "view"]);
        assert_eq!(refused.len(), 1);
    }
}

#[test]
fn pointers_lead_into_objects_and_arrays() {
    let mut decoder = configured(|events| {
        events.fields.user_id = "/actor/id".into();
        events.fields.product_id = "/items/1/sku~1id".into();
        events.fields.event_type = "/actor/verb".into();
        events.required = vec!["user_id".into(), "event_type".into()];
    });
    let (batch, refused) = decode(
        &mut decoder,
        0,
        0,
        &[
            (
                0,
                r#"{"user_id":null,"items":[{"sku/id":1},{"sku/id":2,"x":[]}],"actor":{"id":3,"x":{"id":9},"verb":"view"}}"#,
            ),
            (1, r#"{"items":[],"actor":{"id":3,"verb":"view"}}"#),
            (2, r#"{"items":7,"actor":[1]}"#),
            (3, r#"{"actor":{"id":3,"id":4,"verb":"view"}}"#),
            (4, r#"{"actor":{"id":3},"actor":{"verb":"view"}}"#),
        ],
    );
    assert_eq!((batch.users, batch.products), (vec![3, 3], vec![2, ABSENT]));
    let reasons: Vec<String> = refused.iter().map(|refused| refused.reason.to_string()).collect();
    assert_eq!(reasons, ["missing_field:user_id", "duplicate_field", "duplicate_field"]);
}

#[test]
fn an_event_type_that_may_be_absent_counts_under_other() {
    let mut decoder = configured(|events| events.required = Vec::new());
    let (batch, _) = decode(&mut decoder, 0, 0, &[(0, "{}")]);
    assert_eq!(
        (batch.users[0], batch.products[0], batch.times[0], &*batch.kind_names[0]),
        (ABSENT, ABSENT, NOW, OTHER)
    );
}

#[test]
fn what_is_checked_says_who_and_what() {
    let checked = decoder()
        .check(
            event("\"user_id\":\"7\",\"event_id\":\"e\\u0041\",\"timestamp\":1e12").as_bytes(),
            NOW,
        )
        .unwrap();
    assert_eq!(
        checked,
        Checked {
            user_id: Some("7".into()),
            event_id: Some("eA".into()),
            time_ms: 1_000_000_000_000
        }
    );
}

#[test]
fn the_feed_shows_the_event_as_mapped() {
    let decoder = configured(|events| {
        events.fields.user_id = "/uid".into();
        events.aliases = [("PV".into(), "view".into())].into();
    });
    let text = "{\"uid\":\"7\",\n\"user_id\":\"shadow\",\"product_id\":\"p\\\"1\",\"event_type\":\"PV\",\"timestamp\":1000000000005,\"big\":123456789012345678901234567890,\n\"o\":{\"a\":[1,\n2]},\"half\":\"\\ud800\"}";
    let fed = decoder.feed_event(text.as_bytes(), NOW).unwrap();
    let expected = FeedFields {
        event: r#"{"user_id":7,"product_id":"p\"1","event_type":"view","timestamp":"2001-09-09T01:46:40.005Z","big":123456789012345678901234567890,"o":{"a":[1, 2]},"half":"\ud800"}"#.into(),
        event_type: "view".into(),
        user: Some(tally_plugin::read::Id::Integer(7)),
        product: Some(tally_plugin::read::Id::Text("p\"1".into())),
    };
    assert_eq!(fed, expected);
    assert_eq!(decoder.feed_event(b"{", NOW), Err(Reason::InvalidJson));
    let plain = super::tests::decoder()
        .feed_event(event("\"event_id\":\"e\",\"x\":\"y\"").as_bytes(), NOW)
        .unwrap();
    assert_eq!(serde_json::from_str::<Json>(&plain.event).unwrap()["x"], "y");
}
