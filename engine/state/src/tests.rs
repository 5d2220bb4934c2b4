//! The laws of state: however the log is split into batches, seals, frames and compactions, reads
//! give what a recount gives.
//!
//! Over 480 lines: the laws share one feed and one recount.

mod changes;
mod from_records;
mod limited;
mod moments;
mod types;

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tally_event::EventBatch;
use tally_plugin::description::{Cell, From, Key, Merge, Pane, Tier};
use tally_plugin::read::{Id, Measure, Only, Order, Rank};

#[derive(Clone, Debug)]
struct Event {
    partition: u32,
    user: u64,
    product: u64,
    kind: u16,
    time: i64,
}

const KINDS: [&str; 3] = ["buy", "cart", "view"];
const BASE: i64 = 1_767_225_600_000; // 2026-01-01
const HOUR: i64 = 3_600_000;

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (0..2u32, 0..6u64, 0..8u64, 0..3u16, 0..40 * HOUR).prop_map(
        |(partition, user, product, kind, time)| Event {
            partition,
            user,
            product,
            kind,
            time: BASE + time,
        },
    );
    prop::collection::vec(event, 1..120)
}

fn description() -> Description {
    let cell = |name: &str, merge, from| Cell { name: name.into(), merge, from };
    let tiers = vec![
        Tier { pane: Pane::Minute, keep_ms: Some(3 * HOUR) },
        Tier { pane: Pane::Hour, keep_ms: Some(24 * HOUR) },
        Tier { pane: Pane::Day, keep_ms: None },
    ];
    let activity = Table {
        name: "activity".into(),
        key: vec![Key::UserId, Key::ProductId, Key::EventType],
        group: 1,
        only: vec![],
        cells: vec![
            cell("n", Merge::Sum, From::One),
            cell("first", Merge::Min, From::EventTime),
            cell("last", Merge::Max, From::EventTime),
        ],
        tiers: tiers.clone(),
    };
    let bought = Table {
        name: "bought".into(),
        key: vec![Key::ProductId],
        group: 0,
        only: vec!["buy".into()],
        cells: vec![cell("n", Merge::Sum, From::One)],
        tiers,
    };
    Description {
        summary: String::new(),
        tables: vec![activity, bought],
        properties: vec![],
        computed: vec![],
        time: true,
        params_schema: serde_json::json!({}),
        result_schema: serde_json::json!({}),
        examples: vec![],
    }
}

/// Users with an even number are texts.
fn batch(events: &[Event], partition: u32, from: u64) -> EventBatch {
    let mut batch = EventBatch { partition, from, ..EventBatch::default() };
    batch.kind_names = KINDS.map(Box::from).into();
    let mut next = from;
    for event in events.iter().filter(|event| event.partition == partition) {
        batch.offsets.push(next);
        let user = if event.user.is_multiple_of(2) {
            batch.push_text(format!("user-{}", event.user).as_bytes())
        } else {
            event.user
        };
        batch.users.push(user);
        batch.products.push(event.product);
        batch.kinds.push(event.kind);
        batch.times.push(event.time);
        next += 1;
    }
    batch.to = next;
    batch
}

/// In place of an id or a type: it is counted together with others.
const TOGETHER: u64 = 1 << 50;

fn user_id(user: u64) -> Id {
    if user == TOGETHER {
        return Id::Text("__other__".into());
    }
    if user.is_multiple_of(2) { Id::Text(format!("user-{user}")) } else { Id::Integer(user) }
}

/// Feeds events in pieces; returns the state and the frames of each bucket.
fn feed(events: &[Event], pieces: usize) -> (State, MetricId, BTreeMap<(u16, u32), Vec<Vec<u8>>>) {
    let mut state = State::default();
    let metric = state.add(&description());
    let mut frames: BTreeMap<(u16, u32), Vec<Vec<u8>>> = BTreeMap::new();
    let mut next = [0u64; 2];
    for (n, chunk) in events.chunks(events.len().div_ceil(pieces)).enumerate() {
        for partition in 0..2 {
            let batch = batch(chunk, partition, next[partition as usize]);
            next[partition as usize] = batch.to;
            state.begin(&batch);
            state.apply(metric, &batch, batch.from, &[]);
        }
        if n % 2 == 0 {
            let sealed = [state.seal(metric, 0), state.seal(metric, 1)];
            for frame in state.frames(metric, &sealed.each_ref()) {
                frames.entry((frame.table, frame.bucket)).or_default().push(frame.bytes);
            }
        }
    }
    let sealed = [state.seal(metric, 0), state.seal(metric, 1)];
    for frame in state.frames(metric, &sealed.each_ref()) {
        frames.entry((frame.table, frame.bucket)).or_default().push(frame.bytes);
    }
    (state, metric, frames)
}

/// What a batch of these events adds to an empty state: updates, rows, times.
fn one_batch(events: &[Event], from: u64, skip: &[u32]) -> (u64, Vec<String>, Option<(i64, i64)>) {
    let mut state = State::default();
    let metric = state.add(&description());
    let batch = batch(events, 0, 0);
    state.begin(&batch);
    let updates = state.apply_without(metric, &batch, from, &[], skip);
    let mut rows: Vec<String> = state
        .dump(metric)
        .rows()
        .map(|DumpRow { table, key, cells, .. }| format!("{table} {key:?} {cells:?}"))
        .collect();
    rows.sort();
    (updates, rows, state.times(metric))
}

proptest! {
    #[test]
    fn rows_that_are_left_out_are_as_if_they_were_not_there(
        mut all in events(),
        left_out in prop::collection::vec(any::<bool>(), 120),
        from in 0_u64..40,
    ) {
        all.iter_mut().for_each(|event| event.partition = 0);
        let skip: Vec<u32> = (0..all.len() as u32).filter(|n| left_out[*n as usize]).collect();
        let kept = |n: &usize| !left_out[*n] && *n as u64 >= from;
        let some: Vec<Event> = (0..all.len()).filter(kept).map(|n| all[n].clone()).collect();
        prop_assert_eq!(one_batch(&all, from, &skip), one_batch(&some, 0, &[]));
    }
}

fn requests() -> impl Strategy<Value = ReadRequest> {
    let range = prop_oneof![
        Just((None, None)),
        (0..40i64, 1..40i64).prop_map(|(from, hours)| (
            Some(BASE + from * HOUR),
            Some(BASE + (from + hours) * HOUR)
        )),
    ];
    let only = prop_oneof![
        Just(vec![]),
        (0..6u64).prop_map(|user| vec![Only { column: Key::UserId, ids: vec![user_id(user)] }]),
        Just(vec![Only {
            column: Key::EventType,
            ids: vec![Id::Text("view".into()), Id::Text("buy".into())]
        }]),
    ];
    let columns =
        || prop::sample::subsequence(vec![Key::UserId, Key::ProductId, Key::EventType], 0..=3);
    let by = prop::sample::select(vec!["n", "first", "last"]);
    let rank =
        prop::option::of((by, any::<bool>(), 1..5usize).prop_map(|(cell, desc, limit)| Rank {
            by: vec![Measure { cell: cell.into(), weights: None }],
            order: if desc { Order::Desc } else { Order::Asc },
            limit,
        }));
    let step = prop::option::of(prop::sample::select(vec![HOUR, 6 * HOUR, 24 * HOUR]));
    (range, only, columns(), columns(), rank, step).prop_map(
        |((from, to), only, group_by, part_by, rank, step_ms)| ReadRequest {
            table: "activity".into(),
            from,
            to,
            only,
            group_by,
            part_by,
            rank,
            step_ms,
            quantiles: vec![],
        },
    )
}

/// The same answer, counted from the events one by one.
fn recount(events: &[Event], request: &ReadRequest) -> ReadAnswer {
    use tally_plugin::read::{GroupAnswer, Part, Step};
    type Parts = BTreeMap<Vec<Id>, Vec<i128>>;
    let id = |event: &Event, key: &Key| match key {
        Key::UserId => user_id(event.user),
        Key::ProductId if event.product == TOGETHER => Id::Text("__other__".into()),
        Key::ProductId => Id::Integer(event.product),
        Key::EventType => {
            Id::Text((*KINDS.get(usize::from(event.kind)).unwrap_or(&"__other__")).into())
        }
        Key::Property(_) | Key::Computed(_) => panic!("there are none here"),
    };
    let ids =
        |event: &Event, keys: &[Key]| keys.iter().map(|key| id(event, key)).collect::<Vec<_>>();
    let add = |parts: &mut Parts, key: Vec<Id>, time: i64| {
        let cells = parts.entry(key).or_insert(vec![0, i128::MAX, i128::MIN]);
        *cells = vec![cells[0] + 1, cells[1].min(time.into()), cells[2].max(time.into())];
    };
    let list = |parts: Parts| {
        parts
            .into_iter()
            .map(|(key, cells)| Part { key, cells, ..Part::default() })
            .collect::<Vec<_>>()
    };
    let mut total = Parts::new();
    let mut groups: BTreeMap<Vec<Id>, (Parts, BTreeMap<i64, Parts>)> = BTreeMap::new();
    for event in events {
        let inside = request.from.is_none_or(|from| event.time >= from)
            && request.to.is_none_or(|to| event.time < to);
        if !inside || !request.only.iter().all(|only| only.ids.contains(&id(event, &only.column))) {
            continue;
        }
        let part = ids(event, &request.part_by);
        add(&mut total, part.clone(), event.time);
        let group = groups.entry(ids(event, &request.group_by)).or_default();
        add(&mut group.0, part.clone(), event.time);
        if let Some(step) = request.step_ms {
            add(group.1.entry(event.time.div_euclid(step) * step).or_default(), part, event.time);
        }
    }
    let groups_total = groups.len() as u64;
    let mut groups: Vec<GroupAnswer> = groups
        .into_iter()
        .map(|(key, (parts, series))| {
            let fold = |cell: usize, with: fn(i128, i128) -> i128| {
                parts.values().map(|c| c[cell]).reduce(with)
            };
            let measure = |by: &Measure| match by.cell.as_str() {
                "n" => fold(0, |a, b| a + b),
                "first" => fold(1, i128::min),
                _ => fold(2, i128::max),
            };
            let measures =
                request.rank.iter().flat_map(|rank| &rank.by).filter_map(measure).collect();
            let series = series
                .into_iter()
                .map(|(start, parts)| Step { start, parts: list(parts) })
                .collect();
            GroupAnswer { key, measures, parts: list(parts), series }
        })
        .collect();
    if let Some(rank) = &request.rank {
        groups.sort_by(|a, b| {
            let order = a.measures.cmp(&b.measures);
            if rank.order == Order::Desc { order.reverse() } else { order }
        });
        groups.truncate(rank.limit);
    }
    ReadAnswer { total: list(total), groups_total, groups }
}

fn read(state: &State, metric: MetricId, request: &ReadRequest) -> ReadAnswer {
    state.read(metric, request, &|| false).unwrap_or_else(|fault| panic!("{fault}"))
}

/// The rows of a snapshot, whatever their order.
fn rows(table: u16, snapshot: &[u8]) -> std::collections::BTreeSet<String> {
    let table = &description().tables[usize::from(table)];
    let layout = rows::cells::Layout::new(&table.cells);
    let mut reader =
        write::frame::FrameReader::open(snapshot, table.key.len()).expect("a snapshot");
    let (mut key, mut row, mut rows) =
        (Vec::new(), rows::block::Block::neutral(&layout), std::collections::BTreeSet::new());
    while let Some(pane) = reader.next(&layout, &mut key, &mut row).expect("a row") {
        let text = |value: &write::frame::KeyValue| match value {
            write::frame::KeyValue::Integer(n) => n.to_string(),
            write::frame::KeyValue::Text(n) => {
                String::from_utf8_lossy(reader.texts[*n]).into_owned()
            }
        };
        rows.insert(format!("{pane:?} {:?} {row:?}", key.iter().map(text).collect::<Vec<_>>()));
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Reads equal a recount, however the log was cut into batches and seals; sealed or not.
    #[test]
    fn reads_equal_a_recount(events in events(), pieces in 1..6usize, request in requests()) {
        let (state, metric, _) = feed(&events, pieces);
        prop_assert_eq!(read(&state, metric, &request), recount(&events, &request));
        let mut unsealed = State::default();
        let metric = unsealed.add(&description());
        for partition in 0..2 {
            let batch = batch(&events, partition, 0);
            unsealed.begin(&batch);
            unsealed.apply(metric, &batch, 0, &[]);
        }
        prop_assert_eq!(read(&unsealed, metric, &request), recount(&events, &request));
    }

    /// An answer that continues from the last one equals the recount, asked again and again while
    /// events come and seals happen.
    #[test]
    fn equal_reads_go_on_from_each_other(
        events in events(),
        pieces in 1..12usize,
        requests in prop::collection::vec(requests(), 1..4),
        seals in prop::collection::vec(any::<(bool, bool, bool)>(), 12),
    ) {
        let mut state = State::default();
        let metric = state.add(&description());
        let (mut next, mut counted) = ([0u64; 2], 0);
        for (chunk, (first, second, unasked)) in events.chunks(events.len().div_ceil(pieces)).zip(seals) {
            for partition in 0..2 {
                let batch = batch(chunk, partition, next[partition as usize]);
                next[partition as usize] = batch.to;
                state.begin(&batch);
                state.apply(metric, &batch, batch.from, &[]);
            }
            counted += chunk.len();
            // What came is sealed before it is asked for, or after.
            if unasked {
                state.seal(metric, 0);
            }
            for request in &requests {
                prop_assert_eq!(read(&state, metric, request), recount(&events[..counted], request));
            }
            for partition in [first.then_some(0), second.then_some(1), (first && second).then_some(0)].into_iter().flatten() {
                state.seal(metric, partition);
            }
        }
    }

    /// The same if frames come, as for a follower of a shared store.
    #[test]
    fn equal_reads_go_on_from_frame_to_frame(
        events in events(),
        pieces in 1..12usize,
        requests in prop::collection::vec(requests(), 1..4),
    ) {
        let (mut lane, mut state) = (State::tails_only(), State::default());
        let (counting, metric) = (lane.add(&description()), state.add(&description()));
        let (mut next, mut counted) = ([0u64; 2], 0);
        for chunk in events.chunks(events.len().div_ceil(pieces)) {
            for partition in 0..2 {
                let batch = batch(chunk, partition, next[partition as usize]);
                next[partition as usize] = batch.to;
                lane.begin(&batch);
                lane.apply(counting, &batch, batch.from, &[]);
                let sealed = lane.seal(counting, partition);
                for frame in lane.frames(counting, &[&sealed]) {
                    state.load(metric, usize::from(frame.table), &frame.bytes).expect("it loads");
                }
            }
            counted += chunk.len();
            for request in &requests {
                prop_assert_eq!(read(&state, metric, request), recount(&events[..counted], request));
            }
        }
    }

    /// Metrics that count alike share the work of a seal; one that missed a batch does not share
    /// what it did not count.
    #[test]
    fn metrics_that_count_alike_write_what_they_would_alone(events in events(), pieces in 1..8usize, misses in 0..8usize) {
        let mut state = State::default();
        let metrics = [(); 3].map(|()| state.add(&description()));
        let mut frames = [const { Vec::new() }; 3];
        let mut next = [0u64; 2];
        for (n, chunk) in events.chunks(events.len().div_ceil(pieces)).enumerate() {
            for partition in 0..2 {
                let batch = batch(chunk, partition, next[partition as usize]);
                next[partition as usize] = batch.to;
                state.begin(&batch);
                for (m, metric) in metrics.iter().enumerate() {
                    if m < 2 || n != misses {
                        state.apply(*metric, &batch, batch.from, &[]);
                    }
                }
            }
            for (metric, frames) in metrics.iter().zip(&mut frames) {
                let sealed = [0, 1].map(|partition| state.seal(*metric, partition));
                frames.extend(state.frames(*metric, &sealed.each_ref()));
            }
        }
        let missed = |n: usize| n == misses;
        let chunks = events.chunks(events.len().div_ceil(pieces)).enumerate();
        let rest: Vec<Event> = chunks.filter(|(n, _)| !missed(*n)).flat_map(|(_, chunk)| chunk.to_vec()).collect();
        let request = ReadRequest { table: "activity".into(), ..ReadRequest::default() };
        for (m, metric) in metrics.iter().enumerate() {
            let mut loaded = State::default();
            let again = loaded.add(&description());
            let mut loading = loaded.loading(again);
            for frame in &frames[m] {
                loading.frame(usize::from(frame.table), &frame.bytes).expect("it loads");
            }
            drop(loading);
            let expected = recount(if m < 2 { &events } else { &rest }, &request);
            prop_assert_eq!(read(&loaded, again, &request), expected.clone());
            prop_assert_eq!(read(&state, *metric, &request), expected);
        }
    }

    /// A state loaded from frames, compacted or not, answers like the one that wrote them, wherever
    /// panes are still held.
    #[test]
    fn frames_carry_the_whole_state(events in events(), pieces in 1..6usize, request in requests(), compacted in 0..3usize, rolls in 0..40usize, splits in 0..4u32) {
        let (state, metric, frames) = feed(&events, pieces);
        let watermark = events.iter().map(|event| event.time).max().unwrap_or(0);
        let mut loaded = State::default();
        let again = loaded.add(&description());
        let (mut rows, mut loading) = (0, loaded.loading(again));
        let watermark_of = |n: u32| if n == 0 { i64::MIN } else { watermark };
        for ((table, bucket), frames) in &frames {
            let description = &description().tables[usize::from(*table)];
            let keep = frames.len().saturating_sub(compacted);
            let (head, tail) = if compacted == 2 { frames.split_at(0) } else { frames.split_at(keep) };
            if !head.is_empty() {
                let snapshot = compact(description, head, watermark).expect("a snapshot");
                rows += loading.frame(usize::from(*table), &snapshot).expect("it loads");
            }
            // The same from halves, and from halves of these.
            let mut open = vec![(*bucket, tail.to_vec())];
            for n in 0..splits {
                for (bucket, frames) in std::mem::take(&mut open) {
                    match split(description, bucket, &frames, watermark_of(n)).expect("frames of a bucket") {
                        Some(halves) => open.extend(halves.map(|(half, snapshot)| (half, vec![snapshot]))),
                        None => open.push((bucket, frames)),
                    }
                }
            }
            for frame in open.iter().flat_map(|(_, frames)| frames) {
                rows += loading.frame(usize::from(*table), frame).expect("it loads");
            }
        }
        drop(loading);
        let buys = events.iter().filter(|event| event.kind == 0).count();
        prop_assert_eq!(rows, (events.len() + buys) as u64);
        // The times are those of the panes: days at most.
        if compacted == 0 && splits == 0 {
            let day = |time: Option<i64>| time.map(|time| time.div_euclid(86_400_000));
            let (first, last) = loaded.times(again).unzip();
            prop_assert_eq!(day(first), day(events.iter().map(|event| event.time).min()));
            prop_assert_eq!(day(last), day(events.iter().map(|event| event.time).max()));
        }
        let held = loaded.held(again);
        for _ in 0..rolls {
            loaded.roll(10);
        }
        let whole = ReadRequest { from: None, to: None, step_ms: None, ..request.clone() };
        prop_assert_eq!(read(&loaded, again, &whole), read(&state, metric, &whole));
        // Windows are asked for in whole hours: they are exact where hours are held.
        if request.step_ms.is_none() && request.from.is_some_and(|from| from >= held.hour_floor.min(held.minute_floor)) {
            prop_assert_eq!(read(&loaded, again, &request), read(&state, metric, &request));
        }
    }

    /// Frames written for a layout are what splitting gives: the same rows in the same buckets.
    #[test]
    fn frames_are_written_for_the_layout(events in events(), rounds in 1..5usize) {
        let mut state = State::default();
        let metric = state.add(&description());
        let batch = batch(&events, 0, 0);
        state.begin(&batch);
        state.apply(metric, &batch, 0, &[]);
        let sealed = state.seal(metric, 0);
        let watermark = events.iter().map(|event| event.time).max().unwrap_or(0);
        for _ in 0..rounds {
            let mut expected = BTreeMap::new();
            for frame in state.frames(metric, &[&sealed]) {
                let table = &description().tables[usize::from(frame.table)];
                let frames = [frame.bytes];
                match split(table, frame.bucket, &frames, watermark).expect("a frame of the bucket") {
                    Some(halves) => expected.extend(halves.map(|(half, snapshot)| ((frame.table, half), snapshot))),
                    None => {
                        let snapshot = compact(table, &frames, watermark).expect("a frame of the bucket");
                        expected.insert((frame.table, frame.bucket), snapshot);
                    }
                }
            }
            let held: Vec<(u16, u32)> = expected.keys().copied().collect();
            state.lay_out(metric, &held).expect("a layout");
            let written = state.frames(metric, &[&sealed]).into_iter().map(|frame| {
                let table = &description().tables[usize::from(frame.table)];
                let snapshot = compact(table, &[frame.bytes], watermark).expect("a frame of the bucket");
                ((frame.table, frame.bucket), snapshot)
            });
            let written: BTreeMap<_, _> = written.map(|(bucket, snapshot)| (bucket, rows(bucket.0, &snapshot))).collect();
            let expected = expected.iter().map(|(bucket, snapshot)| (*bucket, rows(bucket.0, snapshot)));
            // Nothing is written for an empty half.
            let expected: BTreeMap<_, _> = expected.filter(|(_, rows)| !rows.is_empty()).collect();
            prop_assert_eq!(written, expected);
        }
    }

    /// A metric that takes rows only from an offset on counts exactly those.
    #[test]
    fn rows_below_the_offset_are_not_counted(events in events(), from in 0..60u64) {
        let events: Vec<Event> = events.into_iter().map(|event| Event { partition: 0, ..event }).collect();
        let mut state = State::default();
        let metric = state.add(&description());
        let batch = batch(&events, 0, 0);
        state.begin(&batch);
        state.apply(metric, &batch, from, &[]);
        let request = ReadRequest { table: "activity".into(), ..ReadRequest::default() };
        let rest = events.get(from as usize..).unwrap_or_default();
        prop_assert_eq!(read(&state, metric, &request), recount(rest, &request));
    }
}

/// Groups that the next bit of their hash does not tell apart are told apart by a later one: the
/// bucket is split until then.
#[test]
fn groups_that_agree_in_the_next_bit_are_told_apart() {
    let table = &description().tables[0];
    let users: Vec<u64> = (0..400).collect();
    let events: Vec<Event> = users
        .iter()
        .map(|user| Event { partition: 0, user: *user, product: 1, kind: 0, time: BASE })
        .collect();
    let (_, _, frames) = feed(&events, 1);
    let mut open: Vec<(u32, Vec<u8>)> = frames
        .iter()
        .filter(|((of, _), _)| *of == 0)
        .map(|((_, bucket), frames)| (*bucket, frames[0].clone()))
        .collect();
    let mut empty = 0;
    while let Some((bucket, frame)) = open.pop() {
        match split(table, bucket, std::slice::from_ref(&frame), BASE)
            .expect("a frame of the bucket")
        {
            Some(halves) => {
                empty += halves.iter().filter(|(_, half)| rows(0, half).is_empty()).count();
                open.extend(halves);
            }
            // 16 bits tell all but a few of 400 apart.
            None => assert!(rows(0, &frame).len() <= 3 * 2, "bucket {bucket} is not split"),
        }
    }
    assert!(empty > 0, "every bit told some apart");
}

#[test]
fn a_read_stops_when_it_is_late() {
    let (state, metric, _) =
        feed(&[Event { partition: 0, user: 1, product: 1, kind: 0, time: BASE }], 1);
    let request = ReadRequest { table: "activity".into(), from: Some(0), ..ReadRequest::default() };
    assert_eq!(state.read(metric, &request, &|| true), Err(ReadError::Deadline));
}
