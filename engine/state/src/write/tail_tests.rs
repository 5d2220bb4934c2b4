//! A tail folds like its events one by one.

use super::*;
use crate::rows::block::Block;
use crate::rows::cells::Layout;
use proptest::prelude::*;
use std::collections::BTreeMap;
use tally_plugin::description::{Cell, From, Key, Merge};

fn layout() -> Layout {
    let cell = |merge, from| Cell { name: "c".into(), merge, from };
    let column = || From::Column(Key::UserId);
    Layout::new(&[
        cell(Merge::Sum, From::One),
        cell(Merge::Min, From::EventTime),
        cell(Merge::Max, From::EventTime),
        cell(Merge::Sum, From::Update),
        cell(Merge::Latest, From::Update),
        cell(Merge::Distinct, column()),
        cell(Merge::Latest, column()),
        cell(Merge::Sum, From::EventTime),
    ])
}

fn bytes(layout: &Layout, rows: &Block, n: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    layout.write(rows.row(layout, n), 0, &mut bytes);
    bytes
}

proptest! {
    /// The fold equals merging event by event. With nothing but events, few keys are folded before
    /// they are sorted.
    #[test]
    fn folds_like_one_by_one(only in 0..4u8, events in prop::collection::vec((0..5u32, -400_000..400_000i64, any::<i64>(), 0..3u8), 0..200)) {
        let layout = layout();
        let mut tail = Tail::default();
        // Keys of a group are not adjacent numbers.
        let group = |key: u32| key % 3;
        let mut expected: BTreeMap<(i32, u32, u32), Block> = BTreeMap::new();
        for (key, time, value, more) in events {
            let more = if only == 3 || only == more { more } else { 0 };
            let place = (time.div_euclid(MINUTE) as i32, group(key), key);
            let block = expected.entry(place).or_insert_with(|| Block::neutral(&layout));
            let row = &mut block.row_mut(&layout, 0);
            tail.push(key, time);
            layout.feed(row.words, 1, time, time, i128::from(time));
            for cell in [3, 4].into_iter().filter(|_| more == 1) {
                tail.push_update(key, time, cell, i128::from(value));
                layout.update(row, usize::from(cell), time, i128::from(value));
            }
            let text = [&[1], value.to_string().as_bytes()].concat();
            for (cell, given) in [(5, Given::Hash(value as u64)), (6, Given::Latest(time, &text))] {
                if more == 2 {
                    tail.push_value(key, time, cell, &given);
                    layout.give(row, usize::from(cell), &given);
                }
            }
        }
        let folded = tail.folded(&layout, group);
        let minutes = folded.minutes.iter().scan(0, |from, (minute, end)| Some(vec![*minute; end - std::mem::replace(from, *end)])).flatten();
        let places = minutes.zip(&folded.groups).zip(&folded.keys);
        let places: Vec<(i32, u32, u32)> = places.map(|((minute, group), key)| (minute, *group, *key)).collect();
        prop_assert_eq!(places, expected.keys().copied().collect::<Vec<_>>());
        let found: Vec<_> = (0..folded.keys.len()).map(|n| bytes(&layout, &folded.rows, n)).collect();
        prop_assert_eq!(found, expected.values().map(|row| bytes(&layout, row, 0)).collect::<Vec<_>>());
        tail.clear(0, |_| false);
        prop_assert_eq!(tail.len(), 0);
    }
}

/// A moment that is read for ever keeps what was noted around it, and nothing that came later.
#[test]
fn a_moment_that_is_read_for_ever_holds_its_own_rows_alone() {
    let mut tail = Tail::default();
    let seal = |tail: &mut Tail, at: u64| {
        tail.push(at as u32, 0);
        tail.clear(at, |moments| moments.contains(&25));
    };
    (0..3).for_each(|at| seal(&mut tail, at * 10));
    tail.push(7, 0);
    let read = tail.end();
    (3..100).for_each(|at| seal(&mut tail, at * 10));
    assert_eq!(tail.older.len(), 2, "{} bytes", tail.memory());
    let (piece, _) = tail.piece(read.sealed(), read, 10).expect("it is there while it is read");
    assert_eq!(piece.rows().map(|(key, ..)| key).collect::<Vec<_>>(), [7]);
    let now = tail.end();
    assert!(
        tail.knows(read, read) && tail.knows(now, now) && !tail.knows(read, now),
        "what came between is gone"
    );
}

/// What a store that was away for long left behind is given back within two seals.
#[test]
fn room_that_is_no_longer_needed_is_given_back() {
    let mut tail = Tail::default();
    let mut seal = |rows: u32| {
        (0..rows).for_each(|key| {
            tail.push(key, 0);
            tail.push_update(key, 0, 3, 1);
        });
        tail.clear(u64::from(rows), |_| false);
        tail.memory()
    };
    let much = seal(1_000_000);
    assert!(much > 30 << 20, "{much}");
    // Two rounds of the same size keep the capacity.
    let (twice, thrice) = (seal(1_000_000), seal(1_000_000));
    assert_eq!(twice, thrice);
    seal(100);
    let little = seal(100);
    assert!(little < 2 << 20, "{little}");
}

/// A reader that has read everything up to a seal continues behind it, also if nothing came since.
#[test]
fn a_read_goes_on_behind_a_seal_where_nothing_came_since() {
    let mut tail = Tail::default();
    (0..10).for_each(|key| tail.push(key, 0));
    let (before, sealed) = (TailEnd::default(), tail.end());
    tail.clear(0, |_| false);
    let behind = tail.end();
    for from in [before, sealed] {
        let (mut at, mut rows) = (from, 0);
        while at != behind {
            let (piece, next) = tail.piece(at, behind, 4).expect("it is all there");
            rows += piece.rows().count();
            at = next;
        }
        assert_eq!(rows, if from == before { 10 } else { 0 });
    }
    assert!(tail.piece(behind, behind, 4).is_none());
}
