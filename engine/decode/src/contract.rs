//! What every format promises, as tests: an event has the same verdict, columns and properties in
//! any format. A format runs it on records that it writes itself. Failures panic with what was
//! seen.

#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]

use super::format::{FormatKind, Number, Value};
use super::property::PropertyValue;
use super::*;
use tally_event::TEXT_BIT;
use tally_plugin::description::PropertyType;
use tally_plugin::read::Id;

/// Writes a record of the format under test: the fields by their own names, then properties.
/// `None`: the format has no such value.
pub(super) type Write = fn(&[(Field, Value<'_>)], &[(&str, PropertyValue<'_>)]) -> Option<Vec<u8>>;

/// The timestamp of every record: 2024-01-01T00:00:00Z.
const NOW: i64 = 1_704_067_200_000;

const GOOD: [(Field, Value<'_>); 4] = [
    (Field::UserId, natural(7)),
    (Field::ProductId, Value::Text(b"p1")),
    (Field::EventType, Value::Text(b"view")),
    (Field::Timestamp, natural(1_700_000_000_005)),
];

/// A field of a good event that is something else, and the verdict.
const CASES: &[(Field, Value<'_>, &str)] = &[
    (Field::EventId, Value::Absent, "accepted"),
    (Field::EventId, Value::Text(b"a"), "accepted"),
    (Field::EventId, Value::Text(b""), "event_id_invalid"),
    (Field::EventId, Value::Text(b"a\x07"), "event_id_invalid"),
    (Field::EventId, Value::Text(b"a\x7F"), "event_id_invalid"),
    (Field::EventId, Value::Text("a\u{85}".as_bytes()), "event_id_invalid"),
    (Field::EventId, Value::Text(&[b'x'; 64]), "accepted"),
    (Field::EventId, Value::Text(&[b'x'; 65]), "event_id_invalid"),
    (Field::EventId, natural(7), "wrong_type:event_id"),
    (Field::UserId, Value::Absent, "missing_field:user_id"),
    (Field::UserId, Value::Text("ü\"\\".as_bytes()), "accepted"),
    (Field::UserId, Value::Text(b"a\x07"), "id_out_of_range:user_id"),
    (Field::UserId, Value::Text(b"__other__"), "id_out_of_range:user_id"),
    (Field::UserId, natural((1 << 53) - 1), "accepted"),
    (Field::UserId, natural(1 << 53), "id_out_of_range:user_id"),
    (Field::UserId, Value::Number(Number::Negative(-1)), "id_out_of_range:user_id"),
    (Field::UserId, Value::Number(Number::Huge), "id_out_of_range:user_id"),
    (Field::UserId, Value::Number(Number::Other), "wrong_type:user_id"),
    (Field::UserId, Value::Other, "wrong_type:user_id"),
    (Field::ProductId, Value::Absent, "missing_field:product_id"),
    (Field::EventType, Value::Absent, "missing_field:event_type"),
    (Field::EventType, Value::Text(b"VIEW!"), "event_type_invalid"),
    (Field::EventType, Value::Text("é".as_bytes()), "event_type_invalid"),
    (Field::EventType, natural(1), "wrong_type:event_type"),
    (Field::Timestamp, Value::Absent, "accepted"),
    (Field::Timestamp, Value::Text(b"2023-06-01T12:00:00.5+02:00"), "accepted"),
    (Field::Timestamp, Value::Text(b"2023-06-01"), "timestamp_invalid"),
    (Field::Timestamp, natural(1_700_000_000), "timestamp_too_early"),
    (Field::Timestamp, Value::Number(Number::Negative(-1)), "timestamp_too_early"),
    (Field::Timestamp, natural(NOW as u64 + 86_400_000), "timestamp_in_future"),
    (Field::Timestamp, Value::Number(Number::Huge), "timestamp_invalid"),
    (Field::Timestamp, Value::Number(Number::Other), "wrong_type:timestamp"),
];

const fn natural(integer: u64) -> Value<'static> {
    Value::Number(Number::Natural(integer))
}

/// A good event with this field in place of its own.
fn changed(field: Field, value: Value<'static>) -> Vec<(Field, Value<'static>)> {
    GOOD.into_iter().filter(|(of, _)| *of != field).chain([(field, value)]).collect()
}

fn decoder(kind: &FormatKind) -> Decoder {
    let events = EventsConfig::default();
    Decoder::of((kind.open)(&events).unwrap(), Rules::new(&events).unwrap(), Keys::new())
}

/// Decodes these payloads at the offsets from 0 on.
fn decode(decoder: &mut Decoder, payloads: &[&[u8]]) -> (EventBatch, Vec<Refused>) {
    let record = |(offset, payload)| Record::new(offset, NOW, Some(payload));
    let records: Vec<Record<'_>> = (0..).zip(payloads.iter().copied()).map(record).collect();
    let (mut out, mut refused) = (EventBatch::default(), Vec::new());
    decoder.decode(0, &records, &mut DedupeWindow::new(0), 0, &mut out, &mut refused);
    (out, refused)
}

/// The whole suite. `cannot_write`: the cases for which the format has no value, by their names and
/// in their order; a failure prints the names.
pub(super) fn run(kind: &FormatKind, write: Write, cannot_write: &[&str]) {
    let mut skipped = verdicts_are_those_of_the_event(kind, write);
    bounds_come_before_content(kind);
    values_become_columns(kind, write);
    skipped.extend(properties_become_columns(kind, write));
    the_feed_shows_the_fields(kind, write);
    assert_eq!(skipped, cannot_write, "cases that the format cannot write");
}

/// The name of a case: `user_id "a\x07"`, `timestamp Number(Huge)`.
fn case_name(field: Field, value: Value<'_>) -> String {
    match value {
        Value::Text(text) => format!("{} \"{}\"", field.name(), text.escape_ascii()),
        other => format!("{} {other:?}", field.name()),
    }
}

/// Each alone, and all with one decoder in either order: what was read before changes no verdict.
/// Returns the cases that the format cannot write.
fn verdicts_are_those_of_the_event(kind: &FormatKind, write: Write) -> Vec<String> {
    let mut cases: Vec<(Vec<u8>, &str)> = Vec::new();
    let mut skipped = Vec::new();
    for (field, value, expected) in CASES {
        let Some(payload) = write(&changed(*field, *value), &[]) else {
            skipped.push(case_name(*field, *value));
            continue;
        };
        let checked = decoder(kind)
            .check(&payload, NOW)
            .map_or_else(|reason| reason.to_string(), |_| "accepted".into());
        assert_eq!(checked, *expected, "{field:?} {value:?}");
        cases.push((payload, *expected));
    }
    let mut decoder = decoder(kind);
    for _ in 0..2 {
        cases.reverse();
        let payloads: Vec<&[u8]> = cases.iter().map(|(payload, _)| &payload[..]).collect();
        let (batch, refused) = decode(&mut decoder, &payloads);
        let mut verdicts = vec!["accepted".to_owned(); cases.len()];
        refused.iter().for_each(|refused| verdicts[refused.index] = refused.reason.to_string());
        assert!(verdicts.iter().eq(cases.iter().map(|(_, expected)| expected)), "{verdicts:?}");
        assert_eq!(batch.len() + refused.len(), cases.len());
    }
    skipped
}

fn bounds_come_before_content(kind: &FormatKind) {
    let decoder = decoder(kind);
    assert_eq!(decoder.check(b"", NOW), Err(Reason::EmptyPayload));
    assert_eq!(decoder.check(&vec![0; MAX_BYTES + 1], NOW), Err(Reason::PayloadTooLarge));
}

/// An integer and the text that writes it are one id; a time is one time.
fn values_become_columns(kind: &FormatKind, write: Write) {
    let texts = [
        (Field::UserId, Value::Text(b"7")),
        (Field::ProductId, Value::Text("\"ü\"".as_bytes())),
        (Field::EventType, Value::Text(b"buy")),
        (Field::Timestamp, Value::Text(b"2023-11-14T22:13:20.005Z")),
    ];
    let payloads = [&GOOD, &texts].map(|fields| write(fields, &[]).unwrap());
    let (batch, refused) = decode(&mut decoder(kind), &[&payloads[0], &payloads[1]]);
    assert_eq!(
        (&batch.users[..], &batch.times[..], &refused[..]),
        (&[7, 7][..], &[1_700_000_000_005; 2][..], &[][..])
    );
    let text = |id: u64| batch.text((id & !TEXT_BIT) as usize).to_vec();
    let products: Vec<Vec<u8>> = batch.products.iter().map(|id| text(*id)).collect();
    assert_eq!(products, [&b"p1"[..], "\"ü\"".as_bytes()]);
    let names: Vec<&str> =
        batch.kinds.iter().map(|kind| &*batch.kind_names[usize::from(*kind)]).collect();
    assert_eq!(names, ["view", "buy"]);
}

/// What is there and cannot be read as declared is told from what is absent. Returns the cases that
/// the format cannot write.
fn properties_become_columns(kind: &FormatKind, write: Write) -> Vec<String> {
    let mut skipped = Vec::new();
    let text = |text: &'static str| PropertyValue::Text(text.as_bytes().into());
    let cases = [
        (PropertyType::Decimal(2), PropertyValue::Number(b"12.5"), Some(1_250), false),
        (PropertyType::Decimal(2), text("12.50"), Some(1_250), false),
        (PropertyType::Integer, PropertyValue::Number(b"5"), Some(5), false),
        (PropertyType::Integer, text("5"), None, true),
        (PropertyType::Bool, PropertyValue::Bool(true), Some(1), false),
        (PropertyType::Text, PropertyValue::Other, None, true),
        (PropertyType::Time, text("1970-01-01T00:00:01Z"), Some(1_000), false),
        (PropertyType::Text, PropertyValue::Absent, None, false),
    ];
    for (declared, value, expected, unreadable) in cases {
        let seen = format!("{value:?} as {declared:?}");
        let Some(payload) = write(&GOOD, &[("p", value)]) else {
            skipped.push(seen);
            continue;
        };
        let mut decoder = decoder(kind);
        decoder
            .read_properties(&[PropertySource { pointer: "/p".into(), kind: declared }])
            .unwrap();
        let (batch, _) = decode(&mut decoder, &[&payload, &write(&GOOD, &[]).unwrap()]);
        let column = &batch.properties[0];
        assert_eq!(
            (column.value(0), !column.unreadable.is_empty()),
            (expected, unreadable),
            "{seen}"
        );
        assert_eq!((column.value(1), column.low.len()), (None, 2), "{seen}");
    }
    skipped
}

fn the_feed_shows_the_fields(kind: &FormatKind, write: Write) {
    let payload =
        write(&changed(Field::EventId, Value::Text(b"e\"1")), &[("p", PropertyValue::Bool(true))])
            .unwrap();
    let fed = decoder(kind).feed_event(&payload, NOW).unwrap();
    assert!(!fed.event.contains('\n'), "{fed:?}");
    let shown: serde_json::Value = serde_json::from_str(&fed.event).unwrap();
    let event = serde_json::json!({
        "event_id": "e\"1", "user_id": 7, "product_id": "p1", "event_type": "view", "timestamp": "2023-11-14T22:13:20.005Z", "p": true
    });
    assert_eq!(shown, event);
    let ids = (Some(Id::Integer(7)), Some(Id::Text("p1".into())));
    assert_eq!((fed.event_type.as_str(), (fed.user, fed.product)), ("view", ids));
}
