//! Which questions rows concern: never too few of them, whatever is done to the state, and none
//! too many where rows were counted.
#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]

use super::moments::{Counted, Step, steps};
use super::*;
use std::collections::BTreeSet;

/// A question for a table that counts purchases by product.
const BOUGHT: u64 = 1_000;

/// A question that looks at everything.
const ANY: u64 = 1_001;

fn interest(request: &ReadRequest) -> Interest {
    let ReadRequest { from, to, only, .. } = request.clone();
    Interest { table: 0, from, to, only }
}

/// The questions of these requests, numbered from 0, and the two above.
fn interests(requests: &[ReadRequest]) -> Interests {
    let mut interests = Interests::default();
    for (n, request) in (0..).zip(requests) {
        interests.set(n, Some(vec![interest(request)]));
    }
    interests.set(BOUGHT, Some(vec![Interest { table: 1, from: None, to: None, only: vec![] }]));
    interests.set(ANY, None);
    interests
}

/// The questions that what came between two cursors concerns; `None`: any.
fn hits(
    interests: &mut Interests,
    from: &ChangeCursor,
    to: &ChangeCursor,
) -> Option<BTreeSet<u64>> {
    let mut all = Vec::new();
    let reading = interests.touched(from, to, usize::MAX, &mut |question| all.push(question));
    let hits: BTreeSet<u64> = all.iter().copied().collect();
    assert_eq!(hits.len(), all.len(), "each is named once: {all:?}");
    assert!(reading == Reading::Exact || hits.is_empty());
    (reading == Reading::Exact).then_some(hits)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever happens between two looks: a question that is not named reads what it read.
    #[test]
    fn what_is_not_named_reads_what_it_read(
        events in events(),
        steps in steps(),
        looks in prop::collection::vec(any::<bool>(), 40),
        requests in prop::collection::vec(requests(), 1..5),
    ) {
        let mut counted = Counted::new(&events);
        let mut interests = interests(&requests);
        let mut from = counted.state.cursor(counted.metric);
        let mut before = counted.read(&requests);
        for (step, look) in steps.into_iter().zip(looks) {
            counted.change(step);
            if !look {
                continue;
            }
            let to = counted.state.cursor(counted.metric);
            let named = hits(&mut interests, &from, &to);
            let now = counted.read(&requests);
            for (n, (before, now)) in (0..).zip(before.iter().zip(&now)) {
                if named.as_ref().is_some_and(|named| !named.contains(&n)) {
                    prop_assert_eq!(before, now, "question {} was not named", n);
                }
            }
            (from, before) = (to, now);
        }
    }

    /// Events name the questions that they match and no other: also those for a user of whom nobody
    /// had heard, and those whose window moved.
    #[test]
    fn events_name_the_questions_that_they_match(
        events in events(),
        pieces in 1..10usize,
        seals in prop::collection::vec(any::<bool>(), 10),
        requests in prop::collection::vec(requests(), 1..6),
        moves in prop::collection::vec((0..6usize, 0..40i64), 10),
    ) {
        let mut requests = requests;
        let mut counted = Counted::new(&events);
        let mut interests = interests(&requests);
        let mut from = counted.state.cursor(counted.metric);
        let piece = events.len().div_ceil(pieces);
        for ((chunk, seal), (moved, hour)) in events.chunks(piece).zip(seals).zip(moves) {
            counted.change(Step::Count(chunk.len()));
            if seal {
                counted.change(Step::Seal(0));
            }
            let to = counted.state.cursor(counted.metric);
            let matches = |request: &ReadRequest| !recount(chunk, request).total.is_empty();
            let named = (0..).zip(&requests).filter(|(_, request)| matches(request));
            let mut expected: BTreeSet<u64> = named.map(|(n, _)| n).collect();
            expected.insert(ANY);
            if chunk.iter().any(|event| event.kind == 0) {
                expected.insert(BOUGHT);
            }
            prop_assert_eq!(hits(&mut interests, &from, &to), Some(expected));
            from = to;
            if let Some(request) = requests.get_mut(moved) {
                request.from = Some(BASE + hour * HOUR);
                request.to = Some(BASE + (hour + 3) * HOUR);
                interests.set(moved as u64, Some(vec![interest(request)]));
            }
        }
    }

    /// The same of frames: their rows lie in panes.
    #[test]
    fn frames_name_the_questions_that_they_match(
        events in events(),
        requests in prop::collection::vec(requests(), 1..6),
    ) {
        let (_, _, frames) = feed(&events, 1);
        let mut state = State::default();
        let metric = state.add(&description());
        let mut interests = interests(&requests);
        let from = state.cursor(metric);
        for ((table, _), frames) in &frames {
            for frame in frames {
                state.load(metric, usize::from(*table), frame).unwrap();
            }
        }
        let named = hits(&mut interests, &from, &state.cursor(metric)).unwrap();
        let matches = |request: &ReadRequest| !recount(&events, request).total.is_empty();
        for (n, request) in (0..).zip(&requests) {
            prop_assert_eq!(named.contains(&n), matches(request), "question {}", n);
        }
    }
}

fn event(user: u64, time: i64) -> Event {
    Event { partition: 0, user, product: 1, kind: 0, time }
}

/// What a plugin returns for an event counts like the event.
#[test]
fn updates_name_questions_too() {
    let mut description = description();
    let cell = Cell { name: "n".into(), merge: Merge::Sum, from: From::Update };
    description.tables[1].cells = vec![cell];
    let mut state = State::default();
    let metric = state.add(&description);
    let mut interests = interests(&[]);
    let batch = batch(&[event(1, BASE)], 0, 0);
    for (updates, named) in [(0, vec![ANY]), (1, vec![BOUGHT, ANY])] {
        let from = state.cursor(metric);
        state.begin(&batch);
        let update = CellUpdate { row: 0, table: 1, cell: 0, value: 1 };
        state.apply(metric, &batch, 0, &vec![update; updates]);
        let hits = hits(&mut interests, &from, &state.cursor(metric)).unwrap();
        assert_eq!(hits.into_iter().collect::<Vec<_>>(), named);
    }
}

#[test]
fn a_minute_belongs_to_the_range_that_it_begins_in() {
    let mut state = State::default();
    let metric = state.add(&description());
    let minute = 60_000;
    let mut interests = Interests::default();
    let within = |from, to| {
        Some(vec![Interest { table: 0, from: Some(from), to: Some(to), only: Vec::new() }])
    };
    interests.set(0, within(BASE - minute, BASE));
    interests.set(1, within(BASE, BASE + minute));
    interests.set(2, within(BASE + minute, BASE + 2 * minute));
    for (n, (time, named)) in
        (0..).zip([(BASE - 1, 0), (BASE, 1), (BASE + minute - 1, 1), (BASE + minute, 2)])
    {
        let from = state.cursor(metric);
        let batch = batch(&[event(1, time)], 0, n);
        state.begin(&batch);
        state.apply(metric, &batch, n, &[]);
        let to = state.cursor(metric);
        assert_eq!(hits(&mut interests, &from, &to), Some(BTreeSet::from([named])), "{time}");
    }
}

/// What is gone, or too much, is said to be unknown; once it is looked at from later on, it is not.
#[test]
fn rows_that_are_gone_are_not_taken_for_none() {
    let mut state = State::default();
    let metric = state.add(&description());
    let mut interests = interests(&[]);
    let mut next = 0;
    let mut count = |state: &mut State, seal: bool| {
        let batch = batch(&[event(next % 3, BASE), event(next % 3, BASE)], 0, next);
        next = batch.to;
        state.begin(&batch);
        state.apply(metric, &batch, batch.from, &[]);
        if seal {
            state.seal(metric, 0);
        }
    };
    count(&mut state, false);
    let first = state.cursor(metric);
    count(&mut state, true);
    assert!(hits(&mut interests, &first, &state.cursor(metric)).is_some(), "one seal");
    count(&mut state, true);
    let second = state.cursor(metric);
    assert_eq!(hits(&mut interests, &first, &second), None, "what came before two seals is gone");
    count(&mut state, false);
    let third = state.cursor(metric);
    let only = vec![Only { column: Key::ProductId, ids: vec![Id::Integer(99)] }];
    interests.set(7, Some(vec![Interest { table: 1, from: None, to: None, only }]));
    let mut named = 0;
    assert_eq!(interests.touched(&second, &third, 1, &mut |_| named += 1), Reading::Unknown);
    assert_eq!(named, 0, "nobody is named where more is there than may be looked at");
    assert!(hits(&mut interests, &second, &third).is_some());
    state.clear(metric);
    assert_eq!(hits(&mut interests, &third, &state.cursor(metric)), None, "it was emptied");
}

/// A question that is gone is not named, and one that looks at more than before is.
#[test]
fn questions_come_go_and_change() {
    let mut state = State::default();
    let metric = state.add(&description());
    let of = |users: &[u64]| {
        let ids = users.iter().map(|user| user_id(*user)).collect();
        let only = vec![Only { column: Key::UserId, ids }];
        Some(vec![Interest { table: 0, from: None, to: None, only }])
    };
    let mut interests = Interests::default();
    let mut next = 0;
    let mut named_by = |interests: &mut Interests, user: u64| {
        let from = state.cursor(metric);
        let batch = batch(&[event(user, BASE)], 0, next);
        next = batch.to;
        state.begin(&batch);
        state.apply(metric, &batch, batch.from, &[]);
        hits(interests, &from, &state.cursor(metric)).unwrap().into_iter().collect::<Vec<_>>()
    };
    interests.set(5, of(&[1, 2]));
    interests.set(6, of(&[2]));
    interests.set(7, of(&[0]));
    assert_eq!(named_by(&mut interests, 2), [5, 6], "a text that was seen just now");
    assert_eq!(named_by(&mut interests, 1), [5]);
    assert_eq!(named_by(&mut interests, 4), Vec::<u64>::new());
    interests.set(6, of(&[4]));
    assert_eq!(named_by(&mut interests, 2), [5]);
    assert_eq!(named_by(&mut interests, 4), [6]);
    assert_eq!(named_by(&mut interests, 0), [7], "a text that nobody had seen");
    interests.set(5, None);
    interests.remove(6);
    assert_eq!(named_by(&mut interests, 4), [5]);
}
