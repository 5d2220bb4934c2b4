//! Every kind of cell and column, from records to answers: however events are split into batches,
//! seals, frames, compactions and engines, reads give what the test kit, a map of all rows, gives
//! for the same events.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::{CellUpdate, ComputedKeys, MetricId, State, compact};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::Range;
use tally_config::EventsConfig;
use tally_decode::{Decoder, DedupeWindow};
use tally_event::time::{EVENT_TIMES, FIRST_MS, LAST_MS};
use tally_event::{EventBatch, PropertySource, Record};
use tally_plugin::prelude::*;
use tally_plugin::read::{Measure, Only, Rank, ReadRequest};
use tally_testkit::{Event, Random, add_properties, random_events};

/// A metric with every kind of cell and column.
struct All;

impl Metric for All {
    const ABOUT: About = about!("all", revision = 1);
    type Config = ();
    type Params = ();
    type Answer = ();

    fn new((): ()) -> Result<Self, String> {
        Ok(All)
    }

    fn describe(&self) -> Description {
        let tiers = [MINUTES.keep(hours(5)), HOURS.keep(hours(30)), DAYS.keep_all()];
        Description::new("all")
            .property("price", "/price", PropertyType::Decimal(2))
            .property("session", "/context/session", PropertyType::Text)
            .property("rating", "/rating", PropertyType::Integer)
            .property("weight", "/weight", PropertyType::Float)
            .property("member", "/member", PropertyType::Bool)
            .property("shown", "/shown", PropertyType::Time)
            .computed("parity")
            .table(
                table("cells")
                    .key([PRODUCT_ID, property("rating"), EVENT_TYPE])
                    .group(1)
                    .cell("n", sum(ONE))
                    .cell("paid", sum(property("price")))
                    .cell("least", min(property("price")))
                    .cell("most", max(property("price")))
                    .cell("users", distinct(USER_ID))
                    .cell("sessions", distinct(property("session")))
                    .cell("prices", quantiles(property("price")))
                    .cell("weights", quantiles(property("weight")))
                    .cell("members", sum(property("member")))
                    .cell("last_user", latest(USER_ID))
                    .cell("last_shown", latest(property("shown")))
                    .cell("last_weight", latest(property("weight")))
                    .tiers(tiers),
            )
            .table(
                table("computed")
                    .key([computed("parity"), property("member")])
                    .cell("n", sum(ONE))
                    .cell("parities", distinct(computed("parity")))
                    .cell("handed", distinct(UPDATE))
                    .cell("spread", quantiles(UPDATE))
                    .cell("last", latest(UPDATE))
                    .tiers(tiers),
            )
    }

    fn update(&self, batch: &Batch<'_>, deltas: &mut Deltas<'_>) {
        let (parity, ratings) = (deltas.computed("parity"), batch.property("rating"));
        let cells = ["handed", "spread", "last"].map(|cell| deltas.cell("computed", cell));
        for row in 0..batch.len() {
            if let Some(Id::Integer(user)) = batch.user(row) {
                deltas.set(row, parity, if user.is_multiple_of(2) { "even" } else { "odd" });
                for cell in cells {
                    deltas.merge(row, cell, ratings.integer(row).unwrap_or(7));
                }
            }
        }
    }

    fn answer(&self, _: &Request<()>, _: &Reader<'_>) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Events that a record can be written of.
fn events(seed: u64, count: usize) -> Vec<Event> {
    let mut random = Random(seed);
    let mut events = random_events(&mut random, count);
    add_properties(&mut random, &All.describe().properties, &mut events);
    for event in &mut events {
        if event.event_type == "__other__" {
            event.event_type = "y".into();
        }
    }
    events
}

/// Events whose fields lie anywhere in their ranges, mostly at the ends.
fn far_events(seed: u64, count: usize) -> Vec<Event> {
    let mut random = Random(seed);
    let mut events = events(seed, count);
    let ids = [
        None,
        Some(Id::Integer(0)),
        Some(Id::Integer((1 << 53) - 1)),
        Some(Id::Text("\u{10FFFF}".repeat(16))),
        Some(Id::Text("9007199254740992".into())),
    ];
    let (longest, text) = ("z".repeat(32), "x".repeat(255));
    let values: [(&str, Vec<Value>); 6] = [
        (
            "/price",
            vec![
                json!("9999999999999999999999999999e-2"),
                json!(-1e25),
                json!(1e-300),
                json!("-0.005"),
            ],
        ),
        ("/context/session", vec![json!(""), json!(text), json!("__other__")]),
        (
            "/rating",
            vec![json!(i64::MAX), json!(i64::MIN), json!(1e18), json!(9_007_199_254_740_992_u64)],
        ),
        ("/weight", vec![json!(f64::MAX), json!(f64::MIN), json!(f64::MIN_POSITIVE), json!(-0.0)]),
        ("/member", vec![json!(true), json!(1), json!(null)]),
        ("/shown", vec![json!(FIRST_MS), json!(LAST_MS), json!("0000-01-01T00:00:00Z"), json!(0)]),
    ];
    for event in &mut events {
        let mut pick = |below: usize| random.below(below as u64) as usize;
        let Range { start, end } = EVENT_TIMES;
        let anywhere = start + pick((end - start) as usize) as i64;
        let times = [start, end - 1, -1, 0, 631_151_999_999, 631_152_000_000, anywhere, event.time];
        event.time = times[pick(times.len())];
        (event.user, event.product) = (ids[pick(ids.len())].clone(), ids[pick(ids.len())].clone());
        if pick(4) == 0 {
            event.event_type.clone_from(&longest);
        }
        event.properties.clear();
        for (pointer, values) in &values {
            if pick(3) == 0 {
                continue;
            }
            event.properties.push(((*pointer).to_owned(), values[pick(values.len())].clone()));
        }
    }
    events
}

/// The records' own times; if one is not a valid time, the event's counts.
const CLOCKS: [i64; 8] = [
    1_800_000_000_000,
    -1,
    1_800_000_000,
    EVENT_TIMES.start,
    EVENT_TIMES.end - 1,
    EVENT_TIMES.end,
    i64::MIN,
    i64::MAX,
];

fn record(event: &Event) -> String {
    let mut record = Map::new();
    let id = |id: &Id| serde_json::to_value(id).unwrap();
    record.extend(event.user.as_ref().map(|user| ("user_id".into(), id(user))));
    record.extend(event.product.as_ref().map(|product| ("product_id".into(), id(product))));
    record.insert("event_type".into(), json!(event.event_type));
    record.insert("timestamp".into(), json!(event.time));
    for (pointer, value) in &event.properties {
        match pointer.rsplit_once('/').unwrap() {
            ("", name) => drop(record.insert(name.into(), value.clone())),
            (outer, name) => {
                drop(record.insert(outer[1..].into(), json!({ "other": 1, name: value })))
            }
        }
    }
    Value::Object(record).to_string()
}

/// The batch of these events, decoded from records.
fn batch(decoder: &mut Decoder, events: &[&Event], partition: u32, from: u64) -> EventBatch {
    let texts: Vec<String> = events.iter().map(|event| record(event)).collect();
    let record = |(n, text)| {
        let text: &String = text;
        Record::new(from + n as u64, CLOCKS[n % CLOCKS.len()], Some(text.as_bytes()))
    };
    let records: Vec<Record<'_>> = texts.iter().enumerate().map(record).collect();
    let (mut out, mut refused) = (EventBatch::default(), Vec::new());
    decoder.decode(partition, &records, &mut DedupeWindow::new(10), from, &mut out, &mut refused);
    assert!(refused.is_empty(), "{refused:?} of {texts:?}");
    out
}

/// What the plugin returns for a batch, as the lane would get it.
fn updated(
    kit: &tally_testkit::State<All>,
    events: &[&Event],
) -> (Vec<CellUpdate>, Vec<ComputedKeys>) {
    let events: Vec<Event> = events.iter().map(|event| (*event).clone()).collect();
    let (deltas, computed) = kit.updated(&events).unwrap();
    let update = |d: &tally_plugin::abi::RawDelta| CellUpdate {
        row: d.row,
        table: d.table,
        cell: d.cell,
        value: d.value(),
    };
    let keys = |column: &Vec<Option<String>>| {
        let mut keys = ComputedKeys::default();
        for key in column {
            keys.rows.push(key.as_ref().map_or(u32::MAX, |_| keys.ends.len() as u32));
            if let Some(key) = key {
                keys.bytes.extend(key.as_bytes());
                keys.ends.push(keys.bytes.len() as u32);
            }
        }
        keys
    };
    (deltas.iter().map(update).collect(), computed.iter().map(keys).collect())
}

type Frames = BTreeMap<(u16, u32), Vec<Vec<u8>>>;

/// Counts events in pieces, in two partitions, with a seal now and then.
fn count(events: &[Event], pieces: usize, tails_only: bool) -> (State, MetricId, Frames) {
    let kit = tally_testkit::State::<All>::new(json!({})).unwrap();
    let (earliest, max_ahead) = ("0000-01-01".into(), "off".into());
    let config =
        EventsConfig { required: Vec::new(), earliest, max_ahead, ..EventsConfig::default() };
    let mut decoder = Decoder::new(&config).unwrap();
    let source = |p: &tally_plugin::description::Property| PropertySource {
        pointer: p.pointer.clone(),
        kind: p.kind,
    };
    let sources: Vec<PropertySource> = kit.description().properties.iter().map(source).collect();
    decoder.read_properties(&sources).unwrap();
    let mut state = if tails_only { State::tails_only() } else { State::default() };
    let metric = state.add(kit.description());
    // Up to the last offset that a log can have.
    let (mut frames, mut next) = (Frames::new(), [0, i64::MAX as u64 - 1_000]);
    let mut seal = |state: &mut State| {
        let sealed = [state.seal(metric, 0), state.seal(metric, 1)];
        for frame in state.frames(metric, &sealed.each_ref()) {
            frames.entry((frame.table, frame.bucket)).or_default().push(frame.bytes);
        }
    };
    for (n, chunk) in events.chunks(events.len().div_ceil(pieces)).enumerate() {
        for partition in [0, 1] {
            let of = |(n, event)| (n % 2 == partition).then_some(event);
            let events: Vec<&Event> = chunk.iter().enumerate().filter_map(of).collect();
            let batch = batch(&mut decoder, &events, partition as u32, next[partition]);
            next[partition] = batch.to;
            let (updates, computed) = updated(&kit, &events);
            state.begin(&batch);
            state.compute(metric, &batch, &computed);
            assert!(state.accepts(metric, &batch, &updates));
            state.apply(metric, &batch, batch.from, &updates);
        }
        if n % 3 == 1 {
            seal(&mut state);
        }
    }
    if tails_only || pieces.is_multiple_of(2) {
        seal(&mut state);
    }
    (state, metric, frames)
}

/// Questions of every kind. Windows are whole days, which are held whatever was rolled up.
fn questions() -> Vec<ReadRequest> {
    let day = 86_400_000;
    let first = 1_767_139_200_000 / day * day;
    let rank = |cell: &str, order| {
        let by = [cell, "n"].map(|cell| Measure { cell: cell.into(), weights: None });
        Some(Rank { by: by.into(), order, limit: 3 })
    };
    let cells = ReadRequest {
        table: "cells".into(),
        quantiles: vec![0.0, 0.5, 0.95],
        ..ReadRequest::default()
    };
    let computed = ReadRequest { table: "computed".into(), ..cells.clone() };
    let by_product = ReadRequest { group_by: vec![PRODUCT_ID], ..cells.clone() };
    vec![
        cells.clone(),
        ReadRequest { rank: rank("users", Order::Desc), step_ms: Some(day), ..by_product.clone() },
        ReadRequest {
            rank: rank("paid", Order::Asc),
            part_by: vec![property("rating")],
            ..by_product.clone()
        },
        ReadRequest {
            rank: rank("sessions", Order::Asc),
            from: Some(first + day),
            ..by_product.clone()
        },
        ReadRequest {
            from: Some(first),
            to: Some(first + day),
            part_by: vec![EVENT_TYPE],
            ..cells.clone()
        },
        ReadRequest {
            only: vec![Only {
                column: PRODUCT_ID,
                ids: vec![Id::Integer(5), Id::Text("ünïcode".into())],
            }],
            ..by_product.clone()
        },
        ReadRequest {
            only: vec![Only {
                column: property("rating"),
                ids: vec![Id::Integer(1_000), Id::Text("-2000".into())],
            }],
            group_by: vec![property("rating")],
            rank: rank("most", Order::Desc),
            ..cells
        },
        ReadRequest { to: Some(EVENT_TIMES.start + day), ..by_product.clone() },
        ReadRequest { from: Some(EVENT_TIMES.end - day), step_ms: Some(day), ..by_product.clone() },
        ReadRequest {
            from: Some(FIRST_MS),
            to: Some(LAST_MS + 1),
            step_ms: Some(day),
            ..computed.clone()
        },
        ReadRequest { group_by: vec![computed::key(), property("member")], ..computed.clone() },
        ReadRequest {
            from: Some(first + day),
            part_by: vec![computed::key()],
            step_ms: Some(day),
            ..computed
        },
    ]
}

mod computed {
    /// The computed column.
    pub(super) fn key() -> tally_plugin::prelude::Key {
        tally_plugin::prelude::computed("parity")
    }
}

fn same(
    state: &State,
    metric: MetricId,
    kit: &tally_testkit::State<All>,
    when: &str,
) -> Result<(), TestCaseError> {
    for question in questions() {
        // Twice: the second answer continues from the fold of the first.
        for _ in 0..2 {
            let (found, expected) = (state.read(metric, &question, &|| false), kit.read(&question));
            prop_assert_eq!(
                found.map_err(|fault| fault.to_string()),
                expected,
                "{} to {:?}",
                when,
                question
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Ordinary events, and events with fields at the ends of their ranges: no value that a record
    /// can carry breaks anything.
    #[test]
    fn reads_are_what_the_kit_says(far in any::<bool>(), seed in any::<u64>(), size in 1..250usize, pieces in 1..9usize, folded in 1..5usize) {
        let events = if far { far_events(seed, size) } else { events(seed, size) };
        let mut kit = tally_testkit::State::<All>::new(json!({})).unwrap();
        kit.feed(&events).unwrap();
        let (state, metric, _) = count(&events, pieces, false);
        same(&state, metric, &kit, "live")?;

        // Another engine only turns them into frames; a third reads these, compacted in between or
        // not.
        let (_, _, frames) = count(&events, pieces + 1, true);
        let mut loaded = State::default();
        let other = loaded.add(kit.description());
        let last = events.iter().map(|event| event.time).max().unwrap();
        for ((table, _), frames) in &frames {
            let of = &kit.description().tables[usize::from(*table)];
            let (first, rest) = frames.split_at(folded.min(frames.len()));
            let snapshot = compact(of, first, last).unwrap();
            if pieces.is_multiple_of(3) {
                let again = compact(of, &[vec![snapshot], rest.to_vec()].concat(), last).unwrap();
                loaded.load(other, usize::from(*table), &again).unwrap();
                continue;
            }
            loaded.load(other, usize::from(*table), &snapshot).unwrap();
            for frame in rest {
                loaded.load(other, usize::from(*table), frame).unwrap();
            }
        }
        same(&loaded, other, &kit, "loaded")?;
        prop_assert_eq!(loaded.loaded_size(other), loaded.size(other).1, "what is known of it is what is there");
        prop_assert_eq!(loaded.loaded_size(other), loaded.size(other).1, "what is known of it is what is there");
        while loaded.roll(10) {}
        prop_assert_eq!(loaded.loaded_size(other), loaded.size(other).1, "also when it is rolled up");
        prop_assert_eq!(loaded.loaded_size(other), loaded.size(other).1, "also when it is rolled up");
        same(&loaded, other, &kit, "rolled up")?;
    }

    #[test]
    fn what_comes_between_two_questions_is_in_the_second(seed in any::<u64>(), size in 2..120usize) {
        let events = events(seed, size);
        let mut kit = tally_testkit::State::<All>::new(json!({})).unwrap();
        let (early, late) = events.split_at(size / 2);
        kit.feed(early).unwrap();
        let (mut state, metric, _) = count(early, 1, false);
        same(&state, metric, &kit, "before")?;
        kit.feed(late).unwrap();
        let (_, _, frames) = count(late, 2, true);
        for ((table, _), frames) in &frames {
            for frame in frames {
                state.load(metric, usize::from(*table), frame).unwrap();
            }
        }
        same(&state, metric, &kit, "after")?;
    }

    /// Damage that the checksum does not reveal (it happened before the frame was written) is an
    /// error or gives other numbers; nothing panics.
    #[test]
    fn a_frame_of_sketches_that_is_damaged_is_no_panic(seed in any::<u64>(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let (_, _, frames) = count(&events(seed, 20), 1, true);
        for ((table, _), frames) in &frames {
            let mut frame = frames[0].clone();
            let at = 28 + at.index(frame.len() - 28);
            frame[at] ^= 1 << bit;
            let crc = { let mut all = frame[..24].to_vec(); all.extend(&frame[28..]); crc32fast::hash(&all) };
            frame[24..28].copy_from_slice(&crc.to_le_bytes());
            let mut state = State::default();
            let metric = state.add(&All.describe());
            let _ = state.load(metric, usize::from(*table), &frame);
        }
    }
}
