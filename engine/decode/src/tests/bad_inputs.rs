//! The table of bad inputs: the verdict on each, in words, and that the good event after it is
//! counted.

use super::*;

/// Rows of the table: number, whole record, verdict.
const RECORDS: &[(u32, &[u8], &str)] = &[
    (3, b"   ", "invalid_json"),
    (4, b"null", "not_an_object"),
    (5, b"[1,{}]", "not_an_object"),
    (5, b"[1,", "invalid_json"),
    (6, b"\"text\"", "not_an_object"),
    (6, b"1", "not_an_object"),
    (7, b"{\"user_id\":1,", "invalid_json"),
    (7, b"{\"user_id\":\"1", "invalid_json"),
    (8, b"{}{}", "trailing_data"),
    (10, b"{\"user_id\":1,}", "invalid_json"),
    (11, b"{/*x*/\"user_id\":1}", "invalid_json"),
    (12, b"{'user_id':1}", "invalid_json"),
    (14, b"\xFF\xFE{\0}\0", "invalid_utf8"),
    (14, b"{\0}\0", "invalid_json"),
    (15, b"{\"user_id\":\"\xFF\"}", "invalid_utf8"),
    (16, b"{\"ignored\":\"\xFF\"}", "invalid_utf8"),
    (17, b"{\"a\":\"\xC0\xAF\"}", "invalid_utf8"),
    (17, b"{\"a\":\"\xED\xA0\x80\"}", "invalid_utf8"),
    (21, b"{\"product_id\":10,\"event_type\":\"view\"}", "missing_field:user_id"),
    (21, b"{\"user_id\":10,\"event_type\":\"view\"}", "missing_field:product_id"),
    (31, b"{\"user_id\":1,\"product_id\":1}", "missing_field:event_type"),
    (49, b"\x1F\x8B\x08\0", "invalid_utf8"),
    (50, b"\0\0\0\0\x01abc", "invalid_json"),
];

/// Rows of the table: number, what a good event has besides or in place of a member, verdict.
const MEMBERS: &[(u32, &str, &str)] = &[
    (10, "\"x\":[1,]", "invalid_json"),
    (18, "\"user_id\":\"\\ud800\"", "invalid_json"),
    (18, "\"ignored\":\"\\ud800\"", "accepted"),
    (19, "\"event_id\":\"a\\u0000\"", "event_id_invalid"),
    (20, "\"ignored\":\"a\nb\"", "invalid_json"),
    (21, "\"a\":1", "accepted"),
    (22, "\"event_id\":\"\"", "event_id_invalid"),
    (24, "\"event_id\":null", "accepted"),
    (24, "\"event_id\":7", "wrong_type:event_id"),
    (25, "\"user_id\":-1", "id_out_of_range:user_id"),
    (26, "\"user_id\":18446744073709551616", "id_out_of_range:user_id"),
    (27, "\"user_id\":9223372036854775808", "id_out_of_range:user_id"),
    (27, "\"user_id\":9007199254740992", "id_out_of_range:user_id"),
    (27, "\"user_id\":9007199254740991", "accepted"),
    (28, "\"user_id\":1.0", "accepted"),
    (28, "\"user_id\":1.5", "wrong_type:user_id"),
    (28, "\"user_id\":1e16", "id_out_of_range:user_id"),
    (28, "\"user_id\":-1.0", "id_out_of_range:user_id"),
    (28, "\"user_id\":1e400", "id_out_of_range:user_id"),
    (28, "\"user_id\":1e3", "accepted"),
    (28, "\"user_id\":-0", "accepted"),
    (28, "\"user_id\":null", "missing_field:user_id"),
    (28, "\"user_id\":null,\"user_id\":1", "duplicate_field"),
    (28, "\"user_id\":nul", "invalid_json"),
    (28, "\"user_id\":{}", "wrong_type:user_id"),
    (29, "\"user_id\":\"1\"", "accepted"),
    (29, "\"user_id\":\"01\"", "accepted"),
    (29, "\"user_id\":\"\"", "id_out_of_range:user_id"),
    (29, "\"user_id\":\"a\\u0007\"", "id_out_of_range:user_id"),
    (29, "\"user_id\":\"a\u{7f}\"", "id_out_of_range:user_id"),
    (29, "\"user_id\":\"a\u{85}\"", "id_out_of_range:user_id"),
    (29, "\"user_id\":\"__other__\"", "id_out_of_range:user_id"),
    (30, "\"user_id\":NaN", "invalid_json"),
    (30, "\"user_id\":01", "invalid_json"),
    (31, "\"event_type\":null", "missing_field:event_type"),
    (32, "\"event_type\":\"hover\"", "accepted"),
    (33, "\"event_type\":\"😀\"", "event_type_invalid"),
    (33, "\"event_type\":\"VIEW!\"", "event_type_invalid"),
    (34, "\"timestamp\":0", "timestamp_too_early"),
    (34, "\"timestamp\":-1", "timestamp_too_early"),
    (34, "\"timestamp\":631151999999", "timestamp_too_early"),
    (34, "\"timestamp\":631152000000", "accepted"),
    (34, "\"timestamp\":\"0001-01-01T00:00:00Z\"", "timestamp_too_early"),
    (35, "\"timestamp\":1700000000", "timestamp_too_early"),
    (35, "\"timestamp\":1.7e12", "accepted"),
    (37, "\"timestamp\":9223372036854775807", "timestamp_in_future"),
    (37, "\"timestamp\":9223372036854775808", "timestamp_invalid"),
    (37, "\"timestamp\":99999999999999999999", "timestamp_invalid"),
    (37, "\"timestamp\":-9223372036854775808", "timestamp_too_early"),
    (37, "\"timestamp\":9e18", "timestamp_in_future"),
    (37, "\"timestamp\":9e400", "timestamp_invalid"),
    (37, "\"timestamp\":1.5", "wrong_type:timestamp"),
    (37, "\"timestamp\":null", "accepted"),
    (38, "\"timestamp\":\"2023-06-01T12:00:00+02:00\"", "accepted"),
    (38, "\"timestamp\":\"2023-06-01T12:00:00\"", "timestamp_invalid"),
    (39, "\"timestamp\":\"2024-02-30T12:00:00Z\"", "timestamp_invalid"),
    (40, "\"timestamp\":\"2016-12-31T23:59:60Z\"", "accepted"),
    (46, "\"event_id\":\"a\",\"event_id\":\"a\"", "duplicate_field"),
    (46, "\"event_id\":\"a\",\"event\\u005fid\":\"b\"", "duplicate_field"),
    (46, "\"event_id\":\"a\",\"event_id\":", "invalid_json"),
    (47, "\"x\":1,\"x\":2", "accepted"),
    (48, "\"event\\u005fid\":\"\"", "event_id_invalid"),
    (53, "\"event_id\":\"__proto__\"", "accepted"),
    (53, "\"event_id\":\"../../x\"", "accepted"),
    (53, "\"event_id\":\"'; DROP TABLE users; --\"", "accepted"),
    (53, "\"event_id\":\"a\\r\\nb\"", "event_id_invalid"),
    (53, "\"event_id\":\"\\u001b[31m\"", "event_id_invalid"),
];

/// Rows of the table whose records are long, or made of others.
fn built() -> Vec<(u32, Vec<u8>, &'static str)> {
    let huge = |length: usize| format!("{{\"x\":\"{}\"}}", "x".repeat(length - 8));
    let nested =
        |depth: usize| event(&format!("\"x\":{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1)));
    let mut many_keys = String::from("\"k\":1");
    (0..6_000).for_each(|n| many_keys += &format!(",\"{n}\":1"));
    let mut exact = event("\"x\":\"\"");
    exact.insert_str(exact.len() - 2, &"x".repeat(MAX_BYTES - exact.len()));
    let long = |length: usize| "x".repeat(length);
    vec![
        (2, vec![], "empty_payload"),
        (9, [event("\"a\":1"), event("\"a\":2")].join("\n").into(), "trailing_data"),
        (13, [b"\xEF\xBB\xBF", event("\"a\":1").as_bytes()].concat(), "accepted"),
        (23, event(&format!("\"event_id\":\"{}\"", long(65))).into(), "event_id_invalid"),
        (23, event(&format!("\"event_id\":\"{}\"", long(64))).into(), "accepted"),
        (
            29,
            event(&format!("\"product_id\":\"{}\"", long(65))).into(),
            "id_out_of_range:product_id",
        ),
        (33, event(&format!("\"event_type\":\"{}\"", long(33))).into(), "event_type_invalid"),
        (36, event(&format!("\"timestamp\":{}", NOW + 86_400_000)).into(), "timestamp_in_future"),
        (36, event(&format!("\"timestamp\":{}", NOW + AHEAD)).into(), "accepted"),
        (36, event(&format!("\"timestamp\":{}", NOW + AHEAD + 1)).into(), "timestamp_in_future"),
        (41, huge(MAX_BYTES + 1).into(), "payload_too_large"),
        (41, exact.into(), "accepted"),
        (42, huge(10_000_000).into(), "payload_too_large"),
        (43, nested(32).into(), "accepted"),
        (43, nested(33).into(), "too_deep"),
        (44, nested(30_000).into(), "too_deep"),
        (44, "[".repeat(30_000).into(), "too_deep"),
        (44, "{\"a\":".repeat(10_000).into(), "too_deep"),
        (45, event(&many_keys).into(), "accepted"),
    ]
}

/// The verdict on a record, in words, and that the good event after it is counted.
fn verdict(payload: Option<&[u8]>) -> String {
    let good = event("\"event_id\":\"good\"");
    let records = [Record::new(5, NOW, payload), Record::new(9, NOW, Some(good.as_bytes()))];
    let (mut out, mut refused) = (EventBatch::default(), Vec::new());
    decoder().decode(0, &records, &mut DedupeWindow::new(100), 0, &mut out, &mut refused);
    assert_eq!(out.offsets.last(), Some(&9), "the next good event is counted");
    assert_eq!(out.records, 2);
    assert_eq!(
        out.len() as u64 + out.duplicates + refused.len() as u64,
        2,
        "one verdict per record"
    );
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
    assert_eq!(verdict(None), "empty_payload", "row 1");
    let records =
        RECORDS.iter().map(|(row, payload, expected)| (*row, payload.to_vec(), *expected));
    let events =
        MEMBERS.iter().map(|(row, member, expected)| (*row, event(member).into_bytes(), *expected));
    for (row, payload, expected) in records.chain(events).chain(built()) {
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(200)]).into_owned();
        assert_eq!(verdict(Some(&payload)), expected, "row {row}: {shown}");
        let checked = decoder()
            .check(&payload, NOW)
            .map_or_else(|reason| reason.to_string(), |_| "accepted".into());
        assert_eq!(checked, expected, "row {row}, checked before it is appended: {shown}");
    }
}
