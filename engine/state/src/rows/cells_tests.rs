//! The laws of rows.

use super::*;
use crate::rows::block::Block;
use proptest::prelude::*;
use tally_plugin::description::Key;

fn layout() -> Layout {
    let cell = |merge, from| Cell { name: "c".into(), merge, from };
    let column = || From::Column(Key::UserId);
    Layout::new(&[
        cell(Merge::Sum, From::One),
        cell(Merge::Min, From::EventTime),
        cell(Merge::Max, From::EventTime),
        cell(Merge::Sum, From::Update),
        cell(Merge::Min, From::Update),
        cell(Merge::Min, column()),
        cell(Merge::Max, column()),
        cell(Merge::Distinct, column()),
        cell(Merge::Quantiles, From::Update),
        cell(Merge::Latest, From::Update),
    ])
}

/// A row that one event made; every fourth value is missing.
fn row(events: i64, time: i64, value: i64) -> Block {
    let layout = layout();
    let mut block = Block::neutral(&layout);
    let mut row = block.row_mut(&layout, 0);
    layout.feed(row.words, events, time, time, 0);
    for cell in [3, 4, 8, 9] {
        assert!(value % 4 == 0 || layout.update(&mut row, cell, time, i128::from(value)));
    }
    if value % 4 != 1 {
        layout.give(&mut row, 5, &Given::Number(i128::from(value) << 60));
        layout.give(&mut row, 6, &Given::Number(i128::from(value) << 60));
        layout.give(&mut row, 7, &Given::Hash(value as u64));
    }
    block
}

/// A row as it is written: what must be equal to the byte.
fn bytes(block: &Block) -> Vec<u8> {
    let mut bytes = Vec::new();
    layout().write(block.row(&layout(), 0), 0, &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn merges_in_any_order_and_grouping(rows in prop::collection::vec((1..9i64, any::<i32>(), any::<i64>()), 1..8)) {
        let layout = layout();
        let rows: Vec<Block> = rows.into_iter().map(|(n, t, v)| row(n, i64::from(t), v)).collect();
        let fold = |rows: &mut dyn Iterator<Item = &Block>| {
            let mut all = Block::neutral(&layout);
            rows.for_each(|row| layout.merge(&mut all.row_mut(&layout, 0), row.row(&layout, 0)));
            all
        };
        let forward = fold(&mut rows.iter());
        prop_assert_eq!(bytes(&forward), bytes(&fold(&mut rows.iter().rev())));
        let (left, right) = rows.split_at(rows.len() / 2);
        let halves = [fold(&mut left.iter()), fold(&mut right.iter())];
        prop_assert_eq!(bytes(&forward), bytes(&fold(&mut halves.iter())));
        // The same as rows of one block, merged where they lie.
        let mut block = Block::default();
        rows.iter().for_each(|row| block.push(&layout, row.row(&layout, 0)));
        (1..rows.len()).for_each(|n| block.merge_within(&layout, 0, n));
        prop_assert_eq!(bytes(&forward), bytes(&block.part(&layout, 0, 1)));
    }

    #[test]
    fn a_row_is_read_as_it_was_written(n in 1..i64::MAX, t in any::<i32>(), v in any::<i64>(), base in any::<i32>()) {
        let layout = layout();
        let row = row(n, i64::from(t), v);
        let mut bytes = Vec::new();
        layout.write(row.row(&layout, 0), i64::from(base), &mut bytes);
        let mut back = Block::neutral(&layout);
        let mut rest = bytes.as_slice();
        prop_assert_eq!(layout.read(&mut rest, i64::from(base), &mut back.row_mut(&layout, 0)), Some(()));
        prop_assert!(rest.is_empty());
        prop_assert_eq!(self::bytes(&row), self::bytes(&back));
        let cut = &mut &bytes[..bytes.len() - 1];
        prop_assert_eq!(layout.read(cut, 0, &mut back.row_mut(&layout, 0)), None);
    }
}

#[test]
fn sums_pass_sixty_four_bits() {
    let layout = layout();
    let mut all = Block::neutral(&layout);
    for _ in 0..4 {
        layout.update(&mut all.row_mut(&layout, 0), 3, 0, i128::from(i64::MAX));
    }
    assert_eq!(layout.value(all.row(&layout, 0), 3), 4 * i128::from(i64::MAX));
}

#[test]
fn a_value_that_does_not_fit_is_not_taken() {
    let layout = layout();
    let mut all = Block::neutral(&layout);
    let mut row = all.row_mut(&layout, 0);
    assert!(!layout.update(&mut row, 4, 0, i128::MAX));
    assert!(!layout.update(&mut row, 0, 0, 1));
    assert!(!layout.update(&mut row, 7, 0, 1), "columns feed it");
    assert!(!layout.takes(99, 1));
    assert_eq!(
        (0..layout.len())
            .filter_map(|cell| layout.held(all.row(&layout, 0), cell))
            .collect::<Vec<_>>(),
        [0, 0]
    );
}
