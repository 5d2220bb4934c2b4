//! A moment stays what it was, whatever is done to the state afterwards and whoever reads it
//! meanwhile.
#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]

use super::limited::bound;
use super::*;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Debug)]
enum Step {
    /// Counts so many of the events.
    Count(usize),
    Seal(u32),
    /// Takes a moment, and what it is to answer.
    Take,
    LetGo(usize),
    /// Raises floors, and rolls up what has fallen below.
    Roll(usize),
    /// Counts keys together until no table has more cells.
    Narrow(u64),
    /// Numbers texts anew.
    Sweep,
    Clear,
    /// Loads frames of the same events from another state.
    Load,
    /// Reads the present.
    Ask,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..30usize).prop_map(Step::Count),
        4 => (0..2u32).prop_map(Step::Seal),
        5 => Just(Step::Take),
        2 => (0..6usize).prop_map(Step::LetGo),
        2 => (1..60usize).prop_map(Step::Roll),
        1 => (3..60u64).prop_map(Step::Narrow),
        1 => Just(Step::Sweep),
        1 => Just(Step::Clear),
        2 => Just(Step::Load),
        3 => Just(Step::Ask),
    ];
    prop::collection::vec(step, 1..40)
}

/// Renumbers texts as a sweep does, whether it is due or not.
fn sweep(state: &mut State) {
    // Unused ids make up more than half of all texts.
    let texts = state.texts();
    (0..=texts).for_each(|n| _ = state.names.write().texts.intern(format!("nobody-{n}").as_bytes()));
    state.sweep_now();
    assert!(state.texts() <= texts + 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_moment_stays_what_it_was(
        events in events(),
        steps in steps(),
        requests in prop::collection::vec(requests(), 1..4),
    ) {
        let mut state = State::default();
        let metric = state.add(&description());
        // Another metric counts by the same keys.
        let beside = state.add(&description());
        let mut elsewhere = State::tails_only();
        let from = elsewhere.add(&description());
        let all = |state: &State| requests.iter().map(|request| read(state, metric, request)).collect::<Vec<_>>();
        let (mut next, mut rest) = ([0u64; 2], events.as_slice());
        let mut held: Vec<(Moment, Vec<ReadAnswer>)> = Vec::new();
        for step in steps {
            match step {
                Step::Count(some) => {
                    let (now, later) = rest.split_at(some.min(rest.len()));
                    rest = later;
                    for partition in 0..2 {
                        let batch = batch(now, partition, next[partition as usize]);
                        next[partition as usize] = batch.to;
                        state.begin(&batch);
                        state.apply(metric, &batch, batch.from, &[]);
                        state.apply(beside, &batch, batch.from, &[]);
                    }
                }
                Step::Seal(partition) => drop(state.seal(metric, partition)),
                // It is to answer what a moment answers now.
                Step::Take => held.push((state.moment(metric), all(&state))),
                Step::LetGo(n) if n < held.len() => drop(held.swap_remove(n)),
                Step::LetGo(_) => {}
                Step::Roll(rows) => {
                    for (n, table) in description().tables.iter().enumerate() {
                        let batch = batch(&events, 0, 0);
                        let mut once = State::tails_only();
                        let one = once.add(&description());
                        once.begin(&batch);
                        once.apply(one, &batch, 0, &[]);
                        let sealed = once.seal(one, 0);
                        let frames = once.frames(one, &[&sealed]);
                        let mut of = frames.into_iter().filter(|frame| usize::from(frame.table) == n);
                        if let Some(frame) = of.next_back() {
                            let snapshot = compact(table, &[frame.bytes], BASE + 40 * HOUR).unwrap();
                            state.raise(metric, n, &snapshot).unwrap();
                        }
                    }
                    state.roll(rows);
                }
                Step::Narrow(max) => drop(bound(&mut state, metric, max)),
                Step::Sweep => sweep(&mut state),
                Step::Clear => state.clear(metric),
                Step::Load => {
                    for partition in 0..2 {
                        let batch = batch(&events, partition, 0);
                        elsewhere.begin(&batch);
                        elsewhere.apply(from, &batch, 0, &[]);
                        let sealed = elsewhere.seal(from, partition);
                        for frame in elsewhere.frames(from, &[&sealed]) {
                            state.load(metric, usize::from(frame.table), &frame.bytes).unwrap();
                        }
                    }
                }
                Step::Ask => drop(all(&state)),
            }
            for (moment, expected) in &held {
                for (request, expected) in requests.iter().zip(expected) {
                    prop_assert_eq!(&moment.read(request, &|| false).unwrap(), expected);
                }
            }
        }
    }
}

/// While one thread counts and seals, others read moments that they took: each answers what had
/// been counted when it was taken.
#[test]
fn moments_are_read_beside_counting() {
    let mut state = State::default();
    let metric = state.add(&description());
    let shared = RwLock::new((state, 0i128));
    let done = AtomicBool::new(false);
    let event = |n: u64| Event {
        partition: 0,
        user: n % 6,
        product: n % 8,
        kind: (n % 3) as u16,
        time: BASE + (n % 40) as i64 * HOUR,
    };
    let requests = [
        ReadRequest { table: "activity".into(), group_by: vec![Key::UserId], ..ReadRequest::default() },
        ReadRequest { table: "activity".into(), from: Some(BASE), step_ms: Some(HOUR), ..ReadRequest::default() },
    ];
    let total = |answer: &ReadAnswer| answer.total.iter().map(|part| part.cells[0]).sum::<i128>();
    let reads = std::thread::scope(|scope| {
        let read = || {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let (moment, counted) = {
                    let shared = shared.read();
                    (shared.0.moment(metric), shared.1)
                };
                for request in requests.iter().cycle().take(6) {
                    assert_eq!(total(&moment.read(request, &|| false).unwrap()), counted);
                    reads += 1;
                }
            }
            reads
        };
        let readers = [scope.spawn(read), scope.spawn(read)];
        for n in 0..600u64 {
            let events: Vec<Event> = (n * 20..(n + 1) * 20).map(event).collect();
            let batch = batch(&events, 0, n * 20);
            let mut shared = shared.write();
            let (state, counted) = &mut *shared;
            state.begin(&batch);
            state.apply(metric, &batch, batch.from, &[]);
            *counted += 20;
            if n % 7 == 0 {
                state.seal(metric, 0);
            }
            if n % 97 == 0 {
                sweep(state);
            }
        }
        done.store(true, Ordering::Relaxed);
        readers.map(|reader| reader.join().unwrap()).iter().sum::<u64>()
    });
    assert!(reads > 0);
}

/// Seals go on while a moment is read, and what is no longer read is released.
#[test]
fn what_is_kept_for_a_moment_goes_with_it() {
    let mut state = State::default();
    let metric = state.add(&description());
    let count = |state: &mut State, n: u64| {
        let event = Event { partition: 0, user: n % 6, product: n % 8, kind: 0, time: BASE };
        let batch = batch(&vec![event; 1_000], 0, n * 1_000);
        state.begin(&batch);
        state.apply(metric, &batch, batch.from, &[]);
        state.seal(metric, 0);
    };
    (0..10).for_each(|n| count(&mut state, n));
    let before = state.size(metric).1;
    // Each moment is taken before the last one is released: at no time is none read.
    let mut moment = state.moment(metric);
    for n in 10..200 {
        count(&mut state, n);
        moment = state.moment(metric);
    }
    let during = state.size(metric).1;
    drop(moment);
    count(&mut state, 200);
    let after = state.size(metric).1;
    assert!(
        during < before * 3 && after < before * 2,
        "{before} bytes, {during} while moments were read, {after} after"
    );
}
