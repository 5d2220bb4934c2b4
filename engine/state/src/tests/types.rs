//! Tables keyed by event types, with more types than may have rows: what is shown depends on the
//! counted types alone.
#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]

use super::*;
use std::collections::BTreeSet;
use tally_event::OTHER;

/// Most types with rows of their own.
const MOST: usize = 6;
/// One of them that always has a row.
const ALWAYS: &str = "type_3";

fn limit() -> TypeLimit {
    TypeLimit::new(MOST as u64, [ALWAYS].into_iter())
}

/// Counts by type alone, by user and type, and by type and then user; the last of some types only.
fn description() -> Description {
    let table = |name: &str, key: Vec<Key>, group, only: Vec<String>| Table {
        name: name.into(),
        key,
        group,
        only,
        cells: vec![Cell { name: "n".into(), merge: Merge::Sum, from: From::One }],
        tiers: vec![Tier { pane: Pane::Hour, keep_ms: None }],
    };
    let some = (0..20).map(|n| format!("type_{}", n * 2)).collect();
    let tables = vec![
        table("types", vec![Key::EventType], 0, vec![]),
        table("users", vec![Key::UserId, Key::EventType], 1, vec![]),
        table("some", vec![Key::EventType, Key::UserId], 1, some),
    ];
    Description { tables, ..super::description() }
}

/// User, type, hour.
type Event = (u64, u64, i64);

fn batch(events: &[Event], partition: u32, from: u64) -> EventBatch {
    let mut batch =
        EventBatch { partition, from, to: from + events.len() as u64, ..EventBatch::default() };
    for (n, (user, kind, hour)) in events.iter().enumerate() {
        let name = format!("type_{kind}");
        let known = batch.kind_names.iter().position(|known| **known == *name);
        let code = known.unwrap_or_else(|| {
            batch.kind_names.push(name.into());
            batch.kind_names.len() - 1
        });
        batch.offsets.push(from + n as u64);
        batch.users.push(*user);
        batch.products.push(1);
        batch.kinds.push(code as u16);
        batch.times.push(BASE + hour * HOUR);
    }
    batch
}

/// Counts by partition and piece, and applies the limit after each batch, as the pipeline does;
/// returns what was sealed, as frames.
fn count(state: &mut State, metric: MetricId, events: &[Event], pieces: usize) -> Vec<SealedFrame> {
    let (mut frames, mut unstored, mut next) = (Vec::new(), Vec::new(), [0; 2]);
    for (n, chunk) in events.chunks(events.len().div_ceil(pieces).max(1)).enumerate() {
        let partition = n % 2;
        let batch = batch(chunk, partition as u32, next[partition]);
        next[partition] = batch.to;
        state.begin(&batch);
        state.apply(metric, &batch, batch.from, &[]);
        if let Some(to) = state.thresholds_for_types(metric) {
            unstored.extend(state.narrow(metric, &to).into_iter().map(|(_, sealed)| sealed));
        }
        if n % 3 == 0 {
            unstored.push(state.seal(metric, partition as u32));
            frames.extend(state.frames(metric, &unstored.iter().collect::<Vec<_>>()));
            unstored.clear();
        }
    }
    unstored.extend([0, 1].map(|partition| state.seal(metric, partition)));
    frames.extend(state.frames(metric, &unstored.iter().collect::<Vec<_>>()));
    frames
}

type Rows = BTreeMap<(usize, Vec<Id>), i128>;

fn rows(state: &State, metric: MetricId) -> Rows {
    let number = |cell: &DumpCell| if let DumpCell::Number(n) = cell { *n } else { 0 };
    state.dump(metric).rows().map(|row| ((row.table, row.key), number(&row.cells[0]))).collect()
}

/// What is right: worked out from all events at once.
fn expected(events: &[Event]) -> Rows {
    let zeros = |kind: &str| {
        let mut texts = write::texts::Texts::default();
        let number = texts.intern(kind.as_bytes());
        texts.stable_hash(&[number]).trailing_zeros()
    };
    let mut rows = Rows::new();
    for (n, table) in description().tables.iter().enumerate() {
        let takes = |kind: &String| table.only.is_empty() || table.only.contains(kind);
        let kinds: BTreeSet<String> =
            events.iter().map(|event| format!("type_{}", event.1)).filter(takes).collect();
        let shown =
            |bits: u32| kinds.iter().filter(|kind| *kind == ALWAYS || zeros(kind) >= bits).count();
        let bits = (0..=65).find(|bits| shown(*bits) <= MOST).unwrap();
        for (user, kind, _) in events {
            let name = format!("type_{kind}");
            if !takes(&name) {
                continue;
            }
            let kept = name == ALWAYS || zeros(&name) >= bits;
            let kind = Id::Text(if kept { name } else { OTHER.into() });
            let key = table
                .key
                .iter()
                .map(|key| if *key == Key::UserId { Id::Integer(*user) } else { kind.clone() });
            *rows.entry((n, key.collect())).or_default() += 1;
        }
    }
    rows
}

fn made() -> (State, MetricId) {
    let mut state = State::default().with_types(limit());
    let metric = state.add(&description());
    (state, metric)
}

fn load(state: &mut State, metric: MetricId, frames: &[SealedFrame]) {
    let mut loading = state.loading(metric);
    frames
        .iter()
        .for_each(|frame| _ = loading.frame(usize::from(frame.table), &frame.bytes).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Live, in one piece or many; from frames, in any order; from snapshots; written by a lane
    /// that knows no other types: the same rows, those of a recount, and no more types than the
    /// limit.
    #[test]
    fn what_is_shown_depends_on_the_types_alone(
        events in prop::collection::vec((0..4u64, 0..40u64, 0..30i64), 1..150),
        pieces in 1..12usize,
        turned in any::<prop::sample::Index>(),
    ) {
        let expected = expected(&events);
        let (mut state, metric) = made();
        let mut frames = count(&mut state, metric, &events, pieces);
        prop_assert_eq!(&rows(&state, metric), &expected, "in pieces");
        let (mut whole, of_whole) = made();
        count(&mut whole, of_whole, &events, 1);
        prop_assert_eq!(&rows(&whole, of_whole), &expected, "at once");

        let at = turned.index(frames.len());
        frames.rotate_left(at);
        let (mut loaded, into) = made();
        load(&mut loaded, into, &frames);
        prop_assert_eq!(&rows(&loaded, into), &expected, "from frames");

        let mut lane = State::tails_only().with_types(limit());
        let lane_metric = lane.add(&description());
        let unfolded = count(&mut lane, lane_metric, &events, pieces);
        let (mut followed, into) = made();
        unfolded.iter().for_each(|frame| load(&mut followed, into, std::slice::from_ref(frame)));
        prop_assert_eq!(&rows(&followed, into), &expected, "from a lane, frame by frame");

        let mut buckets: BTreeMap<(u16, u32), Vec<Vec<u8>>> = BTreeMap::new();
        for frame in frames {
            buckets.entry((frame.table, frame.bucket)).or_default().push(frame.bytes);
        }
        let snapshot = |((table, bucket), frames): ((u16, u32), Vec<Vec<u8>>)| {
            let bytes = compact(&description().tables[usize::from(table)], &frames, i64::MIN).unwrap();
            SealedFrame { table, bucket, bytes }
        };
        let (mut compacted, into) = made();
        load(&mut compacted, into, &buckets.into_iter().map(snapshot).collect::<Vec<_>>());
        prop_assert_eq!(&rows(&compacted, into), &expected, "from snapshots");

        // Emptied and counted again, by what is there then: what was folded before has no effect.
        let (some, _) = events.split_at(events.len() / 3);
        compacted.clear(into);
        count(&mut compacted, into, some, 1);
        prop_assert_eq!(rows(&compacted, into), self::expected(some), "counted again");
    }
}

/// Types without end: as many have rows as may, and nothing grows with the others.
#[test]
fn hostile_types_fill_no_memory() {
    let mut state = State::default();
    let metric = state.add(&description());
    let mut largest = 0;
    for piece in 0..60_u64 {
        let events: Vec<Event> =
            (piece * 5_000..(piece + 1) * 5_000).map(|n| (n % 3, n, 0)).collect();
        let batch = batch_of_many(&events, piece * 5_000);
        state.begin(&batch);
        state.apply(metric, &batch, batch.from, &[]);
        if let Some(to) = state.thresholds_for_types(metric) {
            state.narrow(metric, &to);
        }
        state.seal(metric, 0);
        largest = largest.max(state.size(metric).1 as usize);
    }
    let shown = rows(&state, metric);
    let types = shown.keys().filter(|(table, _)| *table == 0).count();
    assert!((300..=1_001).contains(&types), "{types}");
    let all: i128 = shown.iter().filter(|((table, _), _)| *table == 0).map(|(_, n)| n).sum();
    assert_eq!(all, 300_000);
    assert!(state.texts() < 3 * collect_texts::LEAST, "{}", state.texts());
    assert!(largest < 64 << 20, "{largest} bytes");
}

/// Each event of a type of its own.
fn batch_of_many(events: &[Event], from: u64) -> EventBatch {
    let rows = events.len();
    EventBatch {
        from,
        to: from + rows as u64,
        offsets: (from..from + rows as u64).collect(),
        users: events.iter().map(|event| event.0).collect(),
        products: vec![1; rows],
        kinds: (0..rows as u16).collect(),
        times: vec![BASE; rows],
        kind_names: events.iter().map(|event| format!("type_{}", event.1).into()).collect(),
        ..EventBatch::default()
    }
}
