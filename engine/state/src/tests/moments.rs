//! A moment stays what it was, whatever is done to the state afterwards and whoever reads it
//! meanwhile.
#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]

use super::limited::bound;
use super::*;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Counts so many of the events.
    Count(usize),
    Seal(u32),
    /// Takes a moment, and what it is to answer.
    Take,
    Release(usize),
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

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..30usize).prop_map(Step::Count),
        4 => (0..2u32).prop_map(Step::Seal),
        5 => Just(Step::Take),
        2 => (0..6usize).prop_map(Step::Release),
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
    (0..=texts)
        .for_each(|n| _ = state.names.write().texts.intern(format!("nobody-{n}").as_bytes()));
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
        let mut counted = Counted::new(&events);
        let mut held: Vec<(Moment, Vec<ReadAnswer>)> = Vec::new();
        for step in steps {
            match step {
                // It is to answer what a moment answers now.
                Step::Take => held.push((counted.state.moment(counted.metric), counted.read(&requests))),
                Step::Release(n) if n < held.len() => drop(held.swap_remove(n)),
                Step::Release(_) => {}
                Step::Ask => drop(counted.read(&requests)),
                other => counted.change(other),
            }
            for (moment, expected) in &held {
                for (request, expected) in requests.iter().zip(expected) {
                    prop_assert_eq!(&moment.read(request, &|| false).unwrap(), expected);
                }
            }
        }
    }
}

/// A state that events are counted into, step by step.
pub(super) struct Counted<'e> {
    events: &'e [Event],
    /// Those that are not counted yet.
    rest: &'e [Event],
    /// Per partition, the next offset.
    next: [u64; 2],
    pub(super) state: State,
    pub(super) metric: MetricId,
    /// Another metric, which counts by the same keys.
    beside: MetricId,
    /// Another state, whose frames are loaded, and its metric.
    elsewhere: (State, MetricId),
}

impl<'e> Counted<'e> {
    pub(super) fn new(events: &'e [Event]) -> Counted<'e> {
        let (mut state, mut elsewhere) = (State::default(), State::tails_only());
        let (metric, beside) = (state.add(&description()), state.add(&description()));
        let from = elsewhere.add(&description());
        Counted {
            events,
            rest: events,
            next: [0; 2],
            state,
            metric,
            beside,
            elsewhere: (elsewhere, from),
        }
    }

    pub(super) fn read(&self, requests: &[ReadRequest]) -> Vec<ReadAnswer> {
        requests.iter().map(|request| read(&self.state, self.metric, request)).collect()
    }

    pub(super) fn change(&mut self, step: Step) {
        match step {
            Step::Count(some) => self.count(some),
            Step::Seal(partition) => drop(self.state.seal(self.metric, partition)),
            Step::Roll(rows) => {
                self.raise();
                self.state.roll(rows);
            }
            Step::Narrow(max) => drop(bound(&mut self.state, self.metric, max)),
            Step::Sweep => sweep(&mut self.state),
            Step::Clear => self.state.clear(self.metric),
            Step::Load => self.load(),
            // They change nothing.
            Step::Take | Step::Release(_) | Step::Ask => {}
        }
    }

    fn count(&mut self, some: usize) {
        let (now, later) = self.rest.split_at(some.min(self.rest.len()));
        self.rest = later;
        for partition in 0..2 {
            let batch = batch(now, partition, self.next[partition as usize]);
            self.next[partition as usize] = batch.to;
            self.state.begin(&batch);
            self.state.apply(self.metric, &batch, batch.from, &[]);
            self.state.apply(self.beside, &batch, batch.from, &[]);
        }
    }

    /// Raises the floors of all tables to the same hour.
    fn raise(&mut self) {
        for (n, table) in description().tables.iter().enumerate() {
            let batch = batch(self.events, 0, 0);
            let mut once = State::tails_only();
            let one = once.add(&description());
            once.begin(&batch);
            once.apply(one, &batch, 0, &[]);
            let sealed = once.seal(one, 0);
            let frames = once.frames(one, &[&sealed]);
            let mut of = frames.into_iter().filter(|frame| usize::from(frame.table) == n);
            if let Some(frame) = of.next_back() {
                let snapshot = compact(table, &[frame.bytes], BASE + 40 * HOUR).unwrap();
                self.state.raise(self.metric, n, &snapshot).unwrap();
            }
        }
    }

    fn load(&mut self) {
        let (elsewhere, from) = &mut self.elsewhere;
        for partition in 0..2 {
            let batch = batch(self.events, partition, 0);
            elsewhere.begin(&batch);
            elsewhere.apply(*from, &batch, 0, &[]);
            let sealed = elsewhere.seal(*from, partition);
            for frame in elsewhere.frames(*from, &[&sealed]) {
                self.state.load(self.metric, usize::from(frame.table), &frame.bytes).unwrap();
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
        ReadRequest {
            table: "activity".into(),
            group_by: vec![Key::UserId],
            ..ReadRequest::default()
        },
        ReadRequest {
            table: "activity".into(),
            from: Some(BASE),
            step_ms: Some(HOUR),
            ..ReadRequest::default()
        },
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
