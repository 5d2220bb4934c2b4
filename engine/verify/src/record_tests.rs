//! The second verdict is the first one: on inputs that are hard, and on mutations of them.
//! Only here are the two in one place.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tally_config::EventsConfig;
use tally_decode::{Decoder, DedupeWindow};
use tally_event::{EventBatch, Record as TheirRecord, RecordOrigin};

/// 2024-01-01T00:00:00Z.
const NOW: i64 = 1_704_067_200_000;

/// What records may be stamped with.
const CLOCKS: [i64; 8] =
    [NOW, -1, 0, NOW / 1_000, 631_152_000_000, 7_258_118_400_000, i64::MIN, i64::MAX];

fn judge(events: &EventsConfig) -> Judge {
    Judge::new(serde_json::from_value(serde_json::to_value(events).unwrap()).unwrap()).unwrap()
}

fn plain() -> Judge {
    judge(&EventsConfig::default())
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

/// Records that are hard.
const RECORDS: &[&str] = &[
    "",
    "   ",
    "null",
    "[1,{}]",
    "\"text\"",
    "1",
    "{\"user_id\":1,",
    "{}{}",
    "{'user_id':1}",
    "{/*x*/\"user_id\":1}",
    "{",
    "{\"user_id\":1,}",
];

/// What a good event may have besides, or in place of a member, that is hard.
const MEMBERS: &[&str] = &[
    "\"a\":1",
    "\"a\":1e999",
    "\"a\":123456789012345678901234567890",
    "\"x\":[1,]",
    "\"a\":01",
    "\"a\":-",
    "\"a\":nul",
    "\"event_id\":\"a\"",
    "\"event_id\":\"\"",
    "\"event_id\":null",
    "\"event_id\":7",
    "\"event_id\":\"a\\u0000\"",
    "\"event_id\":\"a\",\"event_id\":\"a\"",
    "\"event_id\":\"a\",\"event\\u005fid\":\"b\"",
    "\"x\":1,\"x\":2",
    "\"user_id\":\"\\ud800\"",
    "\"ignored\":\"\\ud800\"",
    "\"\\ud800\":1",
    "\"x\":{\"\\ud800\":1}",
    "\"ignored\":\"a\nb\"",
    "\"user_id\":-1",
    "\"user_id\":18446744073709551616",
    "\"user_id\":9007199254740992",
    "\"user_id\":9007199254740991",
    "\"user_id\":1.0",
    "\"user_id\":1e3",
    "\"user_id\":1.5",
    "\"user_id\":1e400",
    "\"user_id\":-1.0",
    "\"user_id\":9007199254740992.0",
    "\"user_id\":null,\"user_id\":1",
    "\"product_id\":{\"id\":null}",
    "\"user_id\":-0",
    "\"user_id\":null",
    "\"user_id\":{}",
    "\"user_id\":[1]",
    "\"user_id\":\"1\"",
    "\"user_id\":\"01\"",
    "\"user_id\":\"\"",
    "\"user_id\":\"+1\"",
    "\"user_id\":\"9007199254740992\"",
    "\"user_id\":\"a\\u0007\"",
    "\"user_id\":\"a\u{7f}\"",
    "\"user_id\":\"a\u{85}\"",
    "\"user_id\":\"__other__\"",
    "\"user_id\":\"\\u0031\"",
    "\"user_id\":\"ü😀\"",
    "\"user_id\":\"\\ud83d\\ude00\"",
    "\"event_type\":null",
    "\"event_type\":\"hover\"",
    "\"event_type\":\"VIEW\"",
    "\"event_type\":\"\"",
    "\"event_type\":\"_a\"",
    "\"event_type\":\"\\u0062uy\"",
    "\"event_type\":\"é\"",
    "\"timestamp\":0",
    "\"timestamp\":-1",
    "\"timestamp\":-0",
    "\"timestamp\":null",
    "\"timestamp\":1.5",
    "\"timestamp\":1.7e12",
    "\"timestamp\":631152000000",
    "\"timestamp\":631151999999",
    "\"timestamp\":\"2199-12-31T23:59:59.999Z\"",
    "\"timestamp\":\"2200-01-01T00:00:00Z\"",
    "\"timestamp\":1704067500000",
    "\"timestamp\":1704067500001",
    "\"timestamp\":9223372036854775808",
    "\"timestamp\":-62167219200000",
    "\"timestamp\":-62167219200001",
    "\"timestamp\":\"2023-06-01T12:00:00+02:00\"",
    "\"timestamp\":\"2023-06-01T12:00:00\"",
    "\"timestamp\":\"2016-12-31T23:59:60Z\"",
    "\"timestamp\":\"2024-02-30T00:00:00Z\"",
    "\"timestamp\":\"0000-01-01T00:00:00+00:01\"",
    "\"timestamp\":\"2023-06-01\\u005412:00:00Z\"",
];

/// All that is hard, also what is long or made of others.
fn hard() -> Vec<Vec<u8>> {
    let nested =
        |depth: usize| event(&format!("\"x\":{}{}", "[".repeat(depth - 1), "]".repeat(depth - 1)));
    let long = |length: usize| "x".repeat(length);
    let mut all: Vec<Vec<u8>> = RECORDS.iter().map(|record| record.as_bytes().to_vec()).collect();
    all.extend(MEMBERS.iter().map(|member| event(member).into_bytes()));
    for text in [long(32), long(33), long(64), long(65)] {
        all.push(event(&format!("\"event_type\":\"{text}\"")).into());
        all.push(event(&format!("\"event_id\":\"{text}\"")).into());
        all.push(event(&format!("\"user_id\":\"{text}\"")).into());
    }
    let full = |length: usize| {
        let mut exact = event("\"x\":\"\"");
        exact.insert_str(exact.len() - 2, &"[".repeat(length - exact.len()));
        exact
    };
    all.extend(
        [nested(32), nested(33), nested(200), full(LARGEST), full(LARGEST + 1)]
            .map(String::into_bytes),
    );
    all.push([&b"\xEF\xBB\xBF"[..], event("\"a\":1").as_bytes()].concat());
    all.push([&b"\xEF\xBB\xBF\xEF\xBB\xBF"[..], event("\"a\":1").as_bytes()].concat());
    all.push(b"{\"ignored\":\"\xFF\"}".to_vec());
    all
}

/// Both verdicts on a payload. `None`: refused; else user, event id and time, as far as the first
/// one says them.
fn both(
    judge: &Judge,
    decoder: &Decoder,
    payload: &[u8],
    record_ms: i64,
) -> [Option<(Option<String>, Option<String>, i64)>; 2] {
    let user = |user: Value| user.as_str().map_or_else(|| user.to_string(), str::to_owned);
    let second = judge.event(Some(payload), record_ms);
    let first = decoder.check(payload, record_ms).ok();
    [
        first.map(|first| {
            (first.user_id.map(String::from), first.event_id.map(String::from), first.time_ms)
        }),
        second.map(|second| (second.user.map(user), second.event_id, second.time)),
    ]
}

fn agree(events: &EventsConfig, seed: u64) {
    let (judge, decoder) = (judge(events), Decoder::new(events).unwrap());
    let mut random = SmallRng::seed_from_u64(seed);
    let compare = |payload: &[u8], record_ms| {
        let [first, second] = both(&judge, &decoder, payload, record_ms);
        let shown = String::from_utf8_lossy(&payload[..payload.len().min(300)]).into_owned();
        assert_eq!(first, second, "seed {seed}, record at {record_ms}: {shown}");
        u32::from(first.is_some())
    };
    let hard = hard();
    let pairs = hard.iter().flat_map(|payload| CLOCKS.map(|clock| (payload, clock)));
    let mut accepted: u32 = pairs.map(|(payload, clock)| compare(payload, clock)).sum();
    let letters = br#"{}[]":,\\u0123456789+-.eEtfn_ TZabdxyz/"#;
    for _ in 0..100_000 {
        let mut payload = hard[random.random_range(0..hard.len())].clone();
        if payload.is_empty() || payload.len() > 300 {
            continue;
        }
        for _ in 0..random.random_range(1..3) {
            let at = random.random_range(0..payload.len());
            let letter = letters[random.random_range(0..letters.len())];
            match random.random_range(0..3) {
                0 => payload[at] = letter,
                1 => payload.insert(at, letter),
                _ => drop(payload.drain(at..(at + random.random_range(0..4)).min(payload.len()))),
            }
            if payload.is_empty() {
                break;
            }
        }
        accepted += compare(&payload, NOW);
    }
    assert!(
        accepted > 1_000,
        "only {accepted} were accepted: the mutations are too wild to show anything"
    );
}

#[test]
fn both_verdicts_agree() {
    agree(&EventsConfig::default(), 1);
}

#[test]
fn both_verdicts_agree_where_fields_are_elsewhere() {
    let mut events = EventsConfig::default();
    events.fields.user_id = "/x/0".into();
    events.fields.product_id = "/x".into();
    assert!(Decoder::new(&events).is_err(), "one within the other is refused at the start");
    events.fields.user_id = "/a".into();
    events.fields.product_id = "/user_id".into();
    events.fields.event_id = "/x/0".into();
    events.types = vec!["view".into()];
    events.aliases.insert("hover".into(), "buy".into());
    events.required = vec!["event_type".into()];
    agree(&events, 2);
    (events.earliest, events.max_ahead) = ("0000-01-01".into(), "off".into());
    agree(&events, 3);
    (events.earliest, events.max_ahead) = ("2023-06-01T12:00:00+02:00".into(), "2h".into());
    agree(&events, 4);
}

/// Event ids, copies and both, some of them beyond the window: audit and engine count the
/// same records.
#[test]
fn both_count_the_same_of_records_that_repeat_others() {
    let mut random = SmallRng::seed_from_u64(9);
    let (mut counted, mut repeated) = (0, 0);
    for _ in 0..200 {
        let window = random.random_range(0..12);
        let mut events = EventsConfig { dedupe_window: window, ..EventsConfig::default() };
        events.max_ahead = "30m".into();
        let judge = judge(&events);
        let mut offset = 0;
        let records: Vec<(u64, String, Option<(String, i64)>)> = (0..60)
            .map(|_| {
                offset += random.random_range(1..4);
                let id = random.random_range(0..8);
                let event = match id {
                    0..4 => event(&format!("\"event_id\":\"{id}\"")),
                    4 => event(&format!("\"timestamp\":{}", NOW - 5_000_000)),
                    _ => event("\"a\":1"),
                };
                let of = random.random_range(0..5);
                // One whose record came before what its event says is refused by both.
                let origin = (of < 3).then(|| (format!("t/0/{of}"), NOW - of * 4_000_000));
                (offset, event, origin)
            })
            .collect();

        let mut own = crate::dedupe::Window::new(window);
        let mut theirs = Vec::new();
        let mut ours: Vec<u64> = Vec::new();
        for (offset, event, origin) in &records {
            let origin =
                origin.as_ref().map(|(place, time)| RecordOrigin { place, timestamp_ms: *time });
            let record = TheirRecord::new(*offset, NOW, Some(event.as_bytes()));
            let record = TheirRecord { origin, ..record };
            let Some(found) = judge.event(Some(event.as_bytes()), record.event_ms()) else {
                theirs.push(record);
                continue;
            };
            let place = origin.map(|origin| origin.place);
            if own.repeats(*offset, found.event_id.as_deref(), place) {
                repeated += 1;
            } else {
                ours.push(*offset);
            }
            theirs.push(record);
        }
        let (mut batch, mut refused) = (EventBatch::default(), Vec::new());
        let seen = &mut DedupeWindow::new(window);
        Decoder::new(&events).unwrap().decode(0, &theirs, seen, 0, &mut batch, &mut refused);
        assert_eq!(batch.offsets, ours, "window {window}: {records:?}");
        counted += ours.len();
    }
    assert!(counted > 1_000 && repeated > 1_000, "{counted} {repeated}");
}

#[test]
fn what_is_mapped_is_what_is_written() {
    let record = json!({"user_id": "7", "product_id": "p\u{fc}", "event_type": "hover", "timestamp": "2001-01-01T00:00:01Z"});
    let mut events = EventsConfig::default();
    events.aliases.insert("hover".into(), "view".into());
    let seen = judge(&events).event(Some(record.to_string().as_bytes()), NOW).unwrap();
    let expected = Event {
        event_id: None,
        user: Some(json!(7)),
        product: Some(json!("p\u{fc}")),
        kind: "view".into(),
        time: 978_307_201_000,
        properties: Vec::new(),
    };
    assert_eq!(seen, expected);
    events.types = vec!["buy".into()];
    assert_eq!(judge(&events).event(Some(record.to_string().as_bytes()), NOW).unwrap().kind, OTHER);
    assert_eq!(plain().event(None, NOW), None, "a tombstone is none");
    let untimed = event("\"x\":1");
    assert_eq!(plain().event(Some(untimed.as_bytes()), NOW).unwrap().time, NOW);
    assert_eq!(
        plain().event(Some(untimed.as_bytes()), NOW / 1_000),
        None,
        "a clock in seconds dates nothing"
    );
    assert_eq!(
        plain().event(Some(untimed.as_bytes()), -1),
        None,
        "neither the event nor the log says when"
    );
}
