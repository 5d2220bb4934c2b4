//! Tables with a limit of cells: what is shown is exact, and what is folded depends on the keys
//! alone.
#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]

use super::*;
use std::collections::BTreeSet;
use tally_event::OTHER;

/// Limits the metric to `max` cells, as the pipeline does after each batch.
pub(super) fn bound(state: &mut State, metric: MetricId, max: u64) -> Vec<(u32, Sealed)> {
    if state.over(metric, max).is_none() {
        return Vec::new();
    }
    let to = state.thresholds_for(metric, max);
    state.narrow(metric, &to)
}

type Frames = BTreeMap<(u16, u32), Vec<Vec<u8>>>;

/// A metric with a limit of cells, and one beside it that counts alike without a limit.
struct Fed {
    state: State,
    limited: MetricId,
    free: MetricId,
    /// Sealed before or after keys were folded.
    frames: [Frames; 2],
}

/// Feeds events in pieces, and asks after each.
fn fed(events: &[Event], pieces: usize, max: u64, request: &ReadRequest) -> Fed {
    let mut state = State::default();
    let both = [state.add(&description()), state.add(&description())];
    let [limited, free] = both;
    let (mut unstored, mut next) = ([Vec::new(), Vec::new()], [0u64; 2]);
    let mut frames = [Frames::new(), Frames::new()];
    let mut store = |state: &State, unstored: &mut [Vec<Sealed>; 2]| {
        for ((metric, sealed), frames) in both.into_iter().zip(unstored).zip(&mut frames) {
            for frame in state.frames(metric, &sealed.iter().collect::<Vec<_>>()) {
                frames.entry((frame.table, frame.bucket)).or_default().push(frame.bytes);
            }
            sealed.clear();
        }
    };
    for (n, chunk) in events.chunks(events.len().div_ceil(pieces)).enumerate() {
        for partition in 0..2 {
            let batch = batch(chunk, partition, next[partition as usize]);
            next[partition as usize] = batch.to;
            state.begin(&batch);
            for metric in both {
                state.apply(metric, &batch, batch.from, &[]);
                if n % 2 == 0 {
                    unstored[metric.0].push(state.seal(metric, partition));
                }
            }
            unstored[limited.0]
                .extend(bound(&mut state, limited, max).into_iter().map(|(_, sealed)| sealed));
        }
        if n % 3 == 0 {
            store(&state, &mut unstored);
        }
        let held = keys(&state, limited, 0);
        let counted = &events[..(events.len().div_ceil(pieces) * (n + 1)).min(events.len())];
        assert_eq!(read(&state, limited, request), recount(&as_counted(counted, &held), request));
    }
    for partition in 0..2 {
        both.into_iter().for_each(|metric| unstored[metric.0].push(state.seal(metric, partition)));
    }
    store(&state, &mut unstored);
    Fed { state, limited, free, frames }
}

fn keys(state: &State, metric: MetricId, table: usize) -> BTreeSet<Vec<Id>> {
    state.dump(metric).rows().filter(|row| row.table == table).map(|row| row.key).collect()
}

/// The events as the first table counts them: keys without a row of their own count together.
fn as_counted(events: &[Event], held: &BTreeSet<Vec<Id>>) -> Vec<Event> {
    let (other, kind) =
        (Id::Text(OTHER.into()), |kind: u16| Id::Text(KINDS[usize::from(kind)].into()));
    let counted = |event: &Event| {
        let event = event.clone();
        if held.contains(&vec![user_id(event.user), Id::Integer(event.product), kind(event.kind)]) {
            return event;
        }
        let of_kind = held.contains(&vec![other.clone(), other.clone(), kind(event.kind)]);
        Event {
            user: TOGETHER,
            product: TOGETHER,
            kind: if of_kind { event.kind } else { u16::MAX },
            ..event
        }
    };
    events.iter().map(counted).collect()
}

/// What an engine reads that folds nothing itself: all frames at once.
fn loaded_at_once(frames: &Frames, request: &ReadRequest) -> ReadAnswer {
    let mut state = State::default();
    let metric = state.add(&description());
    let mut loading = state.loading(metric);
    for ((table, _), frames) in frames {
        frames.iter().for_each(|frame| _ = loading.frame(usize::from(*table), frame).unwrap());
    }
    drop(loading);
    read(&state, metric, request)
}

/// The same, frame by frame, asked after each.
fn loaded(frames: &Frames, request: &ReadRequest) -> ReadAnswer {
    let mut state = State::default();
    let metric = state.add(&description());
    for ((table, _), frames) in frames {
        for frame in frames {
            state.load(metric, usize::from(*table), frame).unwrap();
            read(&state, metric, request);
        }
    }
    read(&state, metric, request)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Reads equal a recount in which the keys that are not shown count together, in every pane; in
    /// one piece or many, live, from frames or from snapshots; no table exceeds its limit; and a
    /// metric beside it that counts alike is complete.
    #[test]
    fn what_is_shown_is_exact(events in events(), pieces in 1..8usize, rows in 2..40u64, request in requests()) {
        let max = rows * 3;
        let Fed { state, limited, free, frames: [frames, whole] } = fed(&events, pieces, max, &request);
        prop_assert_eq!(state.over(limited, max), None);
        let held = keys(&state, limited, 0);
        let expected = recount(&as_counted(&events, &held), &request);
        let at_once = fed(&events, 1, max, &request);
        for table in 0..2 {
            prop_assert_eq!(keys(&at_once.state, limited, table), keys(&state, limited, table), "in one piece");
        }
        prop_assert_eq!(&loaded(&frames, &request), &expected, "from frames");
        prop_assert_eq!(&loaded_at_once(&frames, &request), &expected, "from frames at once");
        let compacted = frames.into_iter().map(|((table, bucket), mut frames)| {
            let of = &description().tables[usize::from(table)];
            frames.rotate_left(1);
            let one = compact(of, &frames, i64::MIN).unwrap();
            // A bucket that has only older frames may hold more.
            let folded = write::frame::FrameReader::open(&one, of.key.len()).unwrap().header.threshold;
            if folded == state.thresholds(limited)[usize::from(table)] {
                assert!(stored(of, &one).is_subset(&keys(&state, limited, usize::from(table))));
            }
            ((table, bucket), vec![one])
        });
        prop_assert_eq!(&loaded(&compacted.collect(), &request), &expected, "from snapshots");
        prop_assert_eq!(&loaded(&whole, &request), &recount(&events, &request), "beside it");
        prop_assert_eq!(&read(&state, free, &request), &recount(&events, &request), "beside it");
    }
}

/// The keys of a frame.
fn stored(table: &Table, frame: &[u8]) -> BTreeSet<Vec<Id>> {
    let mut rows = KeyRows::new(table, &[]);
    assert!(rows.add(frame).unwrap());
    rows.rows().into_iter().map(|row| row.key).collect()
}

/// Ids without end, all of them texts: neither keys nor texts grow with them, and the counts stay
/// right.
#[test]
fn hostile_ids_fill_no_memory() {
    let (mut state, max) = (State::default(), 3_000);
    let metric = state.add(&description());
    let mut largest = 0;
    for piece in 0..40u64 {
        let mut batch = EventBatch {
            kind_names: vec!["view".into()],
            from: piece * 10_000,
            ..EventBatch::default()
        };
        for n in piece * 10_000..(piece + 1) * 10_000 {
            let user = batch.push_text(format!("user-{n}").as_bytes());
            batch.offsets.push(n);
            batch.users.push(user);
            batch.products.push(n % 5);
            batch.kinds.push(0);
            batch.times.push(BASE);
        }
        batch.to = (piece + 1) * 10_000;
        state.begin(&batch);
        state.apply(metric, &batch, batch.from, &[]);
        bound(&mut state, metric, max);
        largest = largest.max(state.size(metric).1 as usize);
    }
    let rows: Vec<DumpRow> = state.dump(metric).rows().filter(|row| row.table == 0).collect();
    assert!(rows.len() <= 1_000 && rows.len() > 400, "{}", rows.len());
    let count = |row: &DumpRow| if let DumpCell::Number(count) = row.cells[0] { count } else { 0 };
    assert_eq!(rows.iter().map(count).sum::<i128>(), 400_000);
    assert!(state.texts() < 2 * collect_texts::LEAST, "{}", state.texts());
    assert!(largest < 32 << 20, "{largest} bytes");
}

/// Two metrics that count alike write the same frames once; when both are gone, nothing keeps their
/// keys.
#[test]
fn what_was_written_keeps_no_keys() {
    let mut state = State::default();
    let metrics = [state.add(&description()), state.add(&description())];
    let events: Vec<Event> =
        (0..50).map(|n| Event { partition: 0, user: n, product: n, kind: 0, time: BASE }).collect();
    let batch = batch(&events, 0, 0);
    state.begin(&batch);
    for metric in metrics {
        state.apply(metric, &batch, 0, &[]);
    }
    let sealed = metrics.map(|metric| state.seal(metric, 0));
    for (metric, sealed) in metrics.iter().zip(&sealed) {
        assert!(!state.frames(*metric, &[sealed]).is_empty());
    }
    let keys =
        |state: &State| state.names.read().keyspaces.iter().map(|keys| keys.len()).sum::<usize>();
    state.clear(metrics[0]);
    state.forget(metrics[1]);
    assert!(keys(&state) >= 50, "what is to be stored needs them yet");
    drop(sealed);
    state.clear(metrics[0]);
    assert_eq!(keys(&state), 0);
}

/// A batch that is prepared and not counted leaves no keys behind, whatever else is counted.
#[test]
fn what_is_not_counted_keeps_no_keys() {
    let mut state = State::default();
    let (one, other) = (state.add(&description()), state.add(&description()));
    let events: Vec<Event> =
        (0..50).map(|n| Event { partition: 0, user: n, product: n, kind: 0, time: BASE }).collect();
    let batch = batch(&events, 0, 0);
    state.begin(&batch);
    let keys =
        |state: &State| state.names.read().keyspaces.iter().map(|keys| keys.len()).sum::<usize>();
    assert!(keys(&state) >= 50);
    state.abandon_batch();
    assert_eq!(keys(&state), 0);
    // What holds something keeps its own.
    state.begin(&batch);
    state.apply(one, &batch, 0, &[]);
    state.abandon_batch();
    assert!(
        keys(&state) >= 50 && !state.metrics[one.0].is_empty && state.metrics[other.0].is_empty
    );
    let sealed = state.seal(one, 0);
    state.abandon_batch();
    assert!(!state.metrics[one.0].is_empty && !state.frames(one, &[&sealed]).is_empty());
}
