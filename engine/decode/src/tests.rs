//! The table of bad inputs and the rules of a batch.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clocks;
mod differential;

use super::*;
use serde_json::value::Value as Json;
use tally_event::OTHER;

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

/// The verdict on a record, in words, and that the good event after it is counted.
fn verdict(payload: Option<&[u8]>) -> String {
    let good = event("\"event_id\":\"good\"");
    let records = [
        Record { offset: 5, timestamp_ms: NOW, payload },
        Record { offset: 9, timestamp_ms: NOW, payload: Some(good.as_bytes()) },
    ];
    let (mut out, mut refused) = (EventBatch::default(), Vec::new());
    decoder().decode(0, &records, &mut DedupeWindow::new(100), 0, &mut out, &mut refused);
    assert_eq!(out.offsets.last(), Some(&9), "the next good event is counted");
    assert_eq!(out.records, 2);
    assert_eq!(out.len() as u64 + out.duplicates + refused.len() as u64, 2, "one verdict per record");
    match refused.as_slice() {
        [] => "accepted".into(),
        [refused] => {
            assert_eq!((refused.index, refused.offset), (0, 5));
            refused.reason.to_string()
        }
        _ => panic!("two refusals"),
    }
}

#[test]
fn bad_inputs() {
    let huge = |length: usize| format!("{{\"x\":\"{}\"}}", "x".repeat(length - 8));
    let nested = |depth: usize| event(&format!("\"x\":{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1)));
    let mut many_keys = String::from("\"k\":1");
    (0..6_000).for_each(|n| many_keys += &format!(",\"{n}\":1"));
    let mut exact = event("\"x\":\"\"");
    exact.insert_str(exact.len() - 2, &"x".repeat(MAX_BYTES - exact.len()));
    let long = |length: usize| "x".repeat(length);
    let rows: Vec<(u32, Vec<u8>, &str)> = vec![
        (2, vec![], "empty_payload"),
        (3, b"   ".into(), "invalid_json"),
        (4, b"null".into(), "not_an_object"),
        (5, b"[1,{}]".into(), "not_an_object"),
        (5, b"[1,".into(), "invalid_json"),
        (6, b"\"text\"".into(), "not_an_object"),
        (6, b"1".into(), "not_an_object"),
        (7, b"{\"user_id\":1,".into(), "invalid_json"),
        (7, b"{\"user_id\":\"1".into(), "invalid_json"),
        (8, b"{}{}".into(), "trailing_data"),
        (9, [event("\"a\":1"), event("\"a\":2")].join("\n").into(), "trailing_data"),
        (10, b"{\"user_id\":1,}".into(), "invalid_json"),
        (10, event("\"x\":[1,]").into(), "invalid_json"),
        (11, b"{/*x*/\"user_id\":1}".into(), "invalid_json"),
        (12, b"{'user_id':1}".into(), "invalid_json"),
        (13, [b"\xEF\xBB\xBF", event("\"a\":1").as_bytes()].concat(), "accepted"),
        (14, b"\xFF\xFE{\0}\0".into(), "invalid_utf8"),
        (14, b"{\0}\0".into(), "invalid_json"),
        (15, b"{\"user_id\":\"\xFF\"}".into(), "invalid_utf8"),
        (16, b"{\"ignored\":\"\xFF\"}".into(), "invalid_utf8"),
        (17, b"{\"a\":\"\xC0\xAF\"}".into(), "invalid_utf8"),
        (17, b"{\"a\":\"\xED\xA0\x80\"}".into(), "invalid_utf8"),
        (18, event("\"user_id\":\"\\ud800\"").into(), "invalid_json"),
        (18, event("\"ignored\":\"\\ud800\"").into(), "accepted"),
        (19, event("\"event_id\":\"a\\u0000\"").into(), "event_id_invalid"),
        (20, event("\"ignored\":\"a\nb\"").into(), "invalid_json"),
        (21, event("\"a\":1").into(), "accepted"),
        (21, b"{\"product_id\":10,\"event_type\":\"view\"}".into(), "missing_field:user_id"),
        (21, b"{\"user_id\":10,\"event_type\":\"view\"}".into(), "missing_field:product_id"),
        (22, event("\"event_id\":\"\"").into(), "event_id_invalid"),
        (23, event(&format!("\"event_id\":\"{}\"", long(65))).into(), "event_id_invalid"),
        (23, event(&format!("\"event_id\":\"{}\"", long(64))).into(), "accepted"),
        (24, event("\"event_id\":null").into(), "accepted"),
        (24, event("\"event_id\":7").into(), "wrong_type:event_id"),
        (25, event("\"user_id\":-1").into(), "id_out_of_range:user_id"),
        (26, event("\"user_id\":18446744073709551616").into(), "id_out_of_range:user_id"),
        (27, event("\"user_id\":9223372036854775808").into(), "id_out_of_range:user_id"),
        (27, event("\"user_id\":9007199254740992").into(), "id_out_of_range:user_id"),
        (27, event("\"user_id\":9007199254740991").into(), "accepted"),
        (28, event("\"user_id\":1.0").into(), "accepted"),
        (28, event("\"user_id\":1.5").into(), "wrong_type:user_id"),
        (28, event("\"user_id\":1e16").into(), "id_out_of_range:user_id"),
        (28, event("\"user_id\":-1.0").into(), "id_out_of_range:user_id"),
        (28, event("\"user_id\":1e400").into(), "id_out_of_range:user_id"),
        (28, event("\"user_id\":1e3").into(), "accepted"),
        (28, event("\"user_id\":-0").into(), "accepted"),
        (28, event("\"user_id\":null").into(), "missing_field:user_id"),
        (28, event("\"user_id\":null,\"user_id\":1").into(), "duplicate_field"),
        (28, event("\"user_id\":nul").into(), "invalid_json"),
        (28, event("\"user_id\":{}").into(), "wrong_type:user_id"),
        (29, event("\"user_id\":\"1\"").into(), "accepted"),
        (29, event("\"user_id\":\"01\"").into(), "accepted"),
        (29, event("\"user_id\":\"\"").into(), "id_out_of_range:user_id"),
        (29, event(&format!("\"product_id\":\"{}\"", long(65))).into(), "id_out_of_range:product_id"),
        (29, event("\"user_id\":\"a\\u0007\"").into(), "id_out_of_range:user_id"),
        (29, event("\"user_id\":\"a\u{7f}\"").into(), "id_out_of_range:user_id"),
        (29, event("\"user_id\":\"a\u{85}\"").into(), "id_out_of_range:user_id"),
        (29, event("\"user_id\":\"__other__\"").into(), "id_out_of_range:user_id"),
        (30, event("\"user_id\":NaN").into(), "invalid_json"),
        (30, event("\"user_id\":01").into(), "invalid_json"),
        (31, b"{\"user_id\":1,\"product_id\":1}".into(), "missing_field:event_type"),
        (31, event("\"event_type\":null").into(), "missing_field:event_type"),
        (32, event("\"event_type\":\"hover\"").into(), "accepted"),
        (33, event(&format!("\"event_type\":\"{}\"", long(33))).into(), "event_type_invalid"),
        (33, event("\"event_type\":\"😀\"").into(), "event_type_invalid"),
        (33, event("\"event_type\":\"VIEW!\"").into(), "event_type_invalid"),
        (34, event("\"timestamp\":0").into(), "timestamp_too_early"),
        (34, event("\"timestamp\":-1").into(), "timestamp_too_early"),
        (34, event("\"timestamp\":631151999999").into(), "timestamp_too_early"),
        (34, event("\"timestamp\":631152000000").into(), "accepted"),
        (34, event("\"timestamp\":\"0001-01-01T00:00:00Z\"").into(), "timestamp_too_early"),
        (35, event("\"timestamp\":1700000000").into(), "timestamp_too_early"),
        (35, event("\"timestamp\":1.7e12").into(), "accepted"),
        (36, event(&format!("\"timestamp\":{}", NOW + 86_400_000)).into(), "timestamp_in_future"),
        (36, event(&format!("\"timestamp\":{}", NOW + AHEAD)).into(), "accepted"),
        (36, event(&format!("\"timestamp\":{}", NOW + AHEAD + 1)).into(), "timestamp_in_future"),
        (37, event("\"timestamp\":9223372036854775807").into(), "timestamp_in_future"),
        (37, event("\"timestamp\":9223372036854775808").into(), "timestamp_invalid"),
        (37, event("\"timestamp\":99999999999999999999").into(), "timestamp_invalid"),
        (37, event("\"timestamp\":-9223372036854775808").into(), "timestamp_too_early"),
        (37, event("\"timestamp\":9e18").into(), "timestamp_in_future"),
        (37, event("\"timestamp\":9e400").into(), "timestamp_invalid"),
        (37, event("\"timestamp\":1.5").into(), "wrong_type:timestamp"),
        (37, event("\"timestamp\":null").into(), "accepted"),
        (38, event("\"timestamp\":\"2023-06-01T12:00:00+02:00\"").into(), "accepted"),
        (38, event("\"timestamp\":\"2023-06-01T12:00:00\"").into(), "timestamp_invalid"),
        (39, event("\"timestamp\":\"2024-02-30T12:00:00Z\"").into(), "timestamp_invalid"),
        (40, event("\"timestamp\":\"2016-12-31T23:59:60Z\"").into(), "accepted"),
        (41, huge(MAX_BYTES + 1).into(), "payload_too_large"),
        (41, exact.into(), "accepted"),
        (42, huge(10_000_000).into(), "payload_too_large"),
        (43, nested(32).into(), "accepted"),
        (43, nested(33).into(), "too_deep"),
        (44, nested(30_000).into(), "too_deep"),
        (44, "[".repeat(30_000).into(), "too_deep"),
        (44, "{\"a\":".repeat(10_000).into(), "too_deep"),
        (45, event(&many_keys).into(), "accepted"),
        (46, event("\"event_id\":\"a\",\"event_id\":\"a\"").into(), "duplicate_field"),
        (46, event("\"event_id\":\"a\",\"event\\u005fid\":\"b\"").into(), "duplicate_field"),
        (46, event("\"event_id\":\"a\",\"event_id\":").into(), "invalid_json"),
        (47, event("\"x\":1,\"x\":2").into(), "accepted"),
        (48, event("\"event\\u005fid\":\"\"").into(), "event_id_invalid"),
        (49, b"\x1F\x8B\x08\0".into(), "invalid_utf8"),
        (50, b"\0\0\0\0\x01abc".into(), "invalid_json"),
        (53, event("\"event_id\":\"__proto__\"").into(), "accepted"),
        (53, event("\"event_id\":\"../../x\"").into(), "accepted"),
        (53, event("\"event_id\":\"'; DROP TABLE users; --\"").into(), "accepted"),
        (53, event("\"event_id\":\"a\\r\\nb\"").into(), "event_id_invalid"),
        (53, event("\"event_id\":\"\\u001b[31m\"").into(), "event_id_invalid"),
    ];
    assert_eq!(verdict(None), "empty_payload", "row 1");
    for (row, payload, expected) in rows {
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(200)]).into_owned();
        assert_eq!(verdict(Some(&payload)), expected, "row {row}: {shown}");
        let checked = decoder().check(&payload, NOW).map_or_else(|reason| reason.to_string(), |_| "accepted".into());
        assert_eq!(checked, expected, "row {row}, checked before it is appended: {shown}");
    }
}

/// Decodes records at the given offsets.
fn decode(decoder: &mut Decoder, window: u64, count_from: u64, events: &[(u64, &str)]) -> (EventBatch, Vec<Refused>) {
    let records: Vec<Record<'_>> = events
        .iter()
        .map(|(offset, text)| Record { offset: *offset, timestamp_ms: NOW, payload: Some(text.as_bytes()) })
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
            (4, r#"{"user_id":7,"product_id":"p1","event_type":"view","timestamp":"1999-12-31T23:59:59.999Z"}"#),
            (5, r#" { "event_type" : "buy" , "product_id" : "ü\n" , "user_id" : "x" } "#),
            (8, r#"{"user_id":"7","product_id":"\u0070\ud83d\ude00","event_type":"view","timestamp":946684800005}"#),
        ],
    );
    assert_eq!(
        refused,
        [Refused { index: 1, offset: 5, reason: Reason::InvalidJson }].map(|mut r| {
            r.reason = Reason::IdOutOfRange(Field::ProductId);
            r
        })
    );
    assert_eq!((batch.partition, batch.from, batch.to, batch.records, batch.duplicates), (3, 4, 9, 3, 0));
    assert_eq!((batch.max_time, batch.last_timestamp_ms), (946_684_800_005, NOW));
    assert_eq!(batch.users, [7, 7]);
    let texts: Vec<&[u8]> =
        batch.products.iter().map(|id| batch.text((id & !tally_event::TEXT_BIT) as usize)).collect();
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
        &[(0, &a), (10, &a), (20, &a), (21, &b), (31, &a), (32, &refused_c), (33, &c), (34, &none), (35, &none)],
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
        let (batch, _) = decode(&mut decoder(), 100, 0, &[(0, &first), (1, &event("\"x\":1")), (2, &second)]);
        assert_eq!((batch.duplicates, batch.offsets.as_slice()), (1, &[0, 1][..]), "{second} is counted once");
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
    assert_eq!(told("\"user_id\":\"a\",\"product_id\":\"b\"", "\"user_id\":\"b\",\"product_id\":\"a\""), 1);
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
            .map(|(offset, event)| Record { offset, timestamp_ms, payload: Some(event.as_bytes()) })
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
    let (batch, refused) = decode(&mut decoder(), 10, 6, &[(0, "x"), (4, &a), (7, &a), (8, "x"), (9, &b)]);
    assert_eq!((batch.from, batch.to, batch.records, batch.duplicates), (7, 10, 3, 1));
    assert_eq!(batch.offsets, [9]);
    assert_eq!(refused, [Refused { index: 3, offset: 8, reason: Reason::InvalidJson }]);
    let (batch, refused) = decode(&mut decoder(), 10, 6, &[(0, "x"), (4, &a)]);
    assert_eq!((batch.from, batch.to, batch.records, batch.len(), refused.len()), (6, 6, 0, 0, 0));
}

#[test]
fn aliases_and_types() {
    let mut decoder = configured(|events| {
        events.aliases =
            [("VIEW!".into(), "view".into()), ("com.shop.events.v2.ProductHasBeenViewed".into(), "view".into())].into();
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
        let (batch, refused) =
            decode(&mut decoder, 0, 0, &std::array::from_fn::<_, 6, _>(|n| (n as u64, events[n].as_str())));
        let names: Vec<&str> = batch.kinds.iter().map(|kind| &*batch.kind_names[usize::from(*kind)]).collect();
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
        .check(event("\"user_id\":\"7\",\"event_id\":\"e\\u0041\",\"timestamp\":1e12").as_bytes(), NOW)
        .unwrap();
    assert_eq!(checked, Checked { user_id: Some("7".into()), event_id: Some("eA".into()), time_ms: 1_000_000_000_000 });
}

#[test]
fn the_feed_shows_the_event_as_mapped() {
    let decoder = configured(|events| {
        events.fields.user_id = "/uid".into();
        events.aliases = [("PV".into(), "view".into())].into();
    });
    let text = "{\"uid\":\"7\",\n\"user_id\":\"shadow\",\"product_id\":\"p\\\"1\",\"event_type\":\"PV\",\"timestamp\":1000000000005,\"big\":123456789012345678901234567890,\n\"o\":{\"a\":[1,\n2]},\"half\":\"\\ud800\"}";
    let fed = decoder.feed_text(text.as_bytes(), 2, 18, NOW).unwrap();
    assert_eq!(
        fed,
        r#"{"type":"event","position":"2:18","event":{"user_id":7,"product_id":"p\"1","event_type":"view","timestamp":"2001-09-09T01:46:40.005Z","big":123456789012345678901234567890,"o":{"a":[1, 2]},"half":"\ud800"}}"#
    );
    assert_eq!(decoder.feed_text(b"{", 0, 1, NOW), Err(Reason::InvalidJson));
    let plain =
        super::tests::decoder().feed_text(event("\"event_id\":\"e\",\"x\":\"y\"").as_bytes(), 0, 1, NOW).unwrap();
    assert_eq!(serde_json::from_str::<Json>(&plain).unwrap()["event"]["x"], "y");
}
