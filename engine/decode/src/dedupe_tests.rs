//! The window against its definition: keys, edges, bounds, what counts as another content.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn seen(window: &mut DedupeWindow, key: Key, offset: u64) -> bool {
    let mut seen = false;
    window.seen(&[((), offset, key, 0)], |(), _| seen = true);
    seen
}

/// For each (offset, id, content): whether it is a duplicate, and if so, a conflict.
fn verdicts(window: u64, ids: &[(u64, u64, u32)]) -> Vec<Option<bool>> {
    let mut window = DedupeWindow::new(window);
    let mut verdict = |&(offset, id, content): &(u64, u64, u32)| {
        let mut verdict = None;
        window.seen(&[((), offset, Key { high: id, low: id }, content)], |(), differs| {
            verdict = Some(differs)
        });
        verdict
    };
    ids.iter().map(&mut verdict).collect()
}

#[test]
fn a_conflict_is_another_content_than_the_first_however_long_ago_that_was() {
    let (same, other) = (Some(false), Some(true));
    // Refreshed within a table and from table to table: 190 and 295 begin another.
    let chain = [
        (0, 1, 7),
        (1, 2, 7),
        (50, 1, 8),
        (95, 1, 8),
        (190, 1, 8),
        (285, 1, 8),
        (290, 1, 7),
        (295, 1, 8),
    ];
    assert_eq!(verdicts(100, &chain), [None, None, other, other, other, other, same, other]);
    // Beyond the window a first record is there anew.
    assert_eq!(verdicts(100, &[(0, 1, 7), (101, 1, 8), (150, 1, 8)]), [None, None, same]);
    // A table that grows keeps what it knows.
    let many: Vec<(u64, u64, u32)> = (0..5_000).map(|n| (n, n, n as u32)).collect();
    let again = many
        .iter()
        .map(|(offset, id, content)| (offset + 5_000, *id, content + u32::from(id % 3 == 0)));
    let found = verdicts(1 << 20, &many.iter().copied().chain(again).collect::<Vec<_>>());
    assert!(found[..5_000].iter().all(Option::is_none));
    assert!(found[5_000..].iter().enumerate().all(|(id, verdict)| *verdict == Some(id % 3 == 0)));
}

#[test]
fn a_table_that_begins_has_room_for_as_many_ids_as_the_one_before() {
    let mut window = DedupeWindow::new(10_000);
    let mut fill = |from: u64, ids: u64| {
        (from..from + ids).for_each(|n| assert!(!seen(&mut window, Key { high: n, low: n }, n)));
        window.bytes()
    };
    let (one, begun) = (fill(0, 10_000), fill(10_000, 1));
    assert!(begun > one + one / 2, "{begun} after {one}");
    assert_eq!(fill(10_001, 9_999), begun, "it did not grow");
    // Few ids: what many needed is given back by and by.
    let mut last = begun;
    for n in 2..12 {
        last = fill(n * 10_000, 1);
    }
    assert!(last < begun / 4, "{last} of {begun}");
}

#[test]
fn a_canonical_uuid_is_its_bits_and_nothing_else_is() {
    let keys = Keys::new();
    let key = keys.key(b"0194f3a0-1b2c-7d3e-8f4a-0123456789ab");
    assert_eq!(key, Key { high: 0x0194_f3a0_1b2c_7d3e, low: 0x8f4a_0123_4567_89ab });
    assert_ne!(keys.key(b"0194F3A0-1B2C-7D3E-8F4A-0123456789AB"), key);
    assert_ne!(keys.key(b"0194f3a0-1b2c-7d3e-8f4a-0123456789a"), key);
    assert_ne!(keys.key(b"0194f3a0_1b2c-7d3e-8f4a-0123456789ab"), key);
}

#[test]
fn every_byte_of_a_uuid_is_checked() {
    let text = *b"0194f3a0-1b2c-7d3e-8f4a-0123456789ab";
    for place in 0..36 {
        for byte in 0..=255_u8 {
            let mut changed = text;
            changed[place] = byte;
            let expected = std::str::from_utf8(&changed)
                .ok()
                .filter(|text| {
                    text.chars().all(|c| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c))
                })
                .filter(|text| text.match_indices('-').map(|(at, _)| at).eq([8, 13, 18, 23]))
                .and_then(|text| u128::from_str_radix(&text.replace('-', ""), 16).ok())
                .map(|bits| Key { high: (bits >> 64) as u64, low: bits as u64 });
            assert_eq!(uuid(&changed), expected, "{place} {byte}");
        }
    }
}

#[test]
fn the_edge_is_exactly_w() {
    let key = Key { high: 0, low: 0 };
    for (distance, expected) in [(1, true), (99, true), (100, true), (101, false), (1_000, false)] {
        for start in [0, 1, 50, 99, 100, 1 << 40] {
            let mut window = DedupeWindow::new(100);
            assert!(!seen(&mut window, key, start));
            assert_eq!(seen(&mut window, key, start + distance), expected, "{start} + {distance}");
        }
    }
}

#[test]
fn a_window_of_nothing_is_off() {
    let mut window = DedupeWindow::new(0);
    assert!((0..10).all(|offset| !seen(&mut window, Key { high: 1, low: 1 }, offset)));
}

#[test]
fn memory_stays_bounded() {
    let mut window = DedupeWindow::new(10_000);
    for offset in 0..200_000 {
        assert!(!seen(&mut window, Key { high: offset, low: 0 }, offset));
    }
    assert!(window.bytes() <= 2 * 10_000 * 44, "{}", window.bytes());
    for step in 0..20 {
        seen(&mut window, Key { high: 0, low: 0 }, 1_000_000 * (step + 1));
    }
    assert!(window.bytes() <= 2 * 2 * FEW * 44, "{}", window.bytes());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn agrees_with_the_definition(
        window in prop_oneof![Just(0_u64), 1_u64..40, Just(u64::MAX)],
        start in prop_oneof![Just(0_u64), 0_u64..100, Just(1_u64 << 62)],
        batch in 1_usize..100,
        steps in prop::collection::vec((0_u64..30, prop_oneof![9 => 1_u64..3, 2 => 1_u64..80]), 1..300),
    ) {
        let mut model: BTreeMap<u64, u64> = BTreeMap::new();
        let (mut ids, mut expected, mut offset) = (Vec::new(), Vec::new(), start);
        for (n, (id, step)) in steps.into_iter().enumerate() {
            if model.get(&id).is_some_and(|last| offset - last <= window) {
                expected.push(n);
            }
            model.insert(id, offset);
            ids.push((n, offset, Key { high: id, low: id }, 0));
            offset += step;
        }
        let (mut tested, mut found) = (DedupeWindow::new(window), Vec::new());
        for batch in ids.chunks(batch) {
            tested.seen(batch, |n, _| found.push(n));
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn a_table_with_more_ids_than_offsets_grows_in_few_steps() {
    let (mut table, mut steps) = (Table::new(), 0);
    for id in 0..100_000_u64 {
        let before = table.ids.capacity();
        let key = Key { high: id, low: !id };
        table.add(Seen { key, after: 0, content: 0 }, table.hash(key), 4_096);
        steps += u32::from(table.ids.capacity() != before);
    }
    assert!(steps < 60, "{steps} times");
}
