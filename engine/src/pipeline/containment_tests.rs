//! However the log is divided into batches, the same events are found to fail, and all others count
//! once, with their keys.
#![allow(clippy::unwrap_used)] // what these tests made a line before

use super::*;
use crate::event::{PropertyColumn, PropertySource};
use proptest::prelude::*;
use std::sync::Arc;
use tally_plugin::description::PropertyType;

const NO: RevisionNo = RevisionNo(4);

/// A lane with one metric, whose plugin fails on some of the offsets 0, 1, 2 …
struct Lane {
    fails: Vec<bool>,
    runs: Runs,
    counted: Vec<u64>,
    letters: Vec<u64>,
    hold: Option<u64>,
    stopped: Option<u64>,
}

impl Lane {
    fn new(fails: Vec<bool>) -> Lane {
        let (counted, letters) = (Vec::new(), Vec::new());
        Lane { fails, runs: Runs::new(), counted, letters, hold: None, stopped: None }
    }

    /// Counts a batch of the offsets `[at, to)`, those from `from` on.
    fn batch(&mut self, at: u64, from: u64, to: u64) {
        let batch = make_batch((at..to).collect());
        let fails = &self.fails;
        let call = &mut |batch: &EventBatch, _| {
            if batch.offsets.iter().any(|offset| fails[*offset as usize]) {
                return Err("no".to_owned());
            }
            // Like a plugin that computes a key from a property.
            let mut keys = ComputedKeys::default();
            for row in 0..batch.len() {
                keys.rows.push(row as u32);
                keys.bytes.extend(batch.properties[0].number(row).unwrap().to_string().bytes());
                keys.ends.push(keys.bytes.len() as u32);
            }
            let rows = 0..batch.len() as u32;
            let updates = rows.map(|row| CellUpdate { row, table: 0, cell: 0, value: 1 }).collect();
            Ok(PluginReply { updates, computed: vec![keys] })
        };
        let search = Search {
            no: NO,
            name: "m",
            batch: &batch,
            records: &[],
            topic: "t",
            runs: &mut self.runs,
            one_by_one: false,
            call,
        };
        let made = search.update(from);
        let start = (from - at) as usize;
        let skipped = |row: &usize| made.skip.contains(&(*row as u32));
        let counts: Vec<u64> = (start..batch.len())
            .filter(|row| !skipped(row))
            .map(|row| batch.offsets[row])
            .collect();
        let mut handed: Vec<u64> =
            made.updates.iter().map(|update| batch.offsets[update.row as usize]).collect();
        handed.retain(|offset| *offset >= from);
        assert_eq!(handed, counts, "what counts was handed over once, and nothing else");
        for offset in &counts {
            assert_eq!(
                key(&made.computed, (offset - at) as usize),
                offset.to_string(),
                "its key came with it"
            );
        }
        assert!(made.skip.is_sorted());
        self.counted.extend(counts);
        self.letters.extend(made.letters.iter().map(|letter| letter.offset));
        for event in made.before {
            match event {
                Event::Held(NO, 0, at) => self.hold = Some(at),
                Event::Released(NO, 0) => self.hold = None,
                other => panic!("{other:?}"),
            }
        }
        self.stopped = made.stops.map(|(at, _)| at);
    }
}

/// Events at these offsets, each with its offset as a property.
fn make_batch(offsets: Vec<u64>) -> EventBatch {
    let some = vec![0; offsets.len()];
    let (kinds, times) = (vec![0; offsets.len()], vec![0; offsets.len()]);
    let source = PropertySource { pointer: "/offset".into(), kind: PropertyType::Integer };
    let mut column = PropertyColumn::new(Arc::new(source));
    (column.present, column.low) = (vec![1; offsets.len()], offsets.clone());
    let (users, products, properties) = (some.clone(), some, vec![column]);
    EventBatch { offsets, users, products, kinds, times, properties, ..EventBatch::default() }
}

fn key(computed: &[ComputedKeys], row: usize) -> &str {
    let ComputedKeys { rows, bytes, ends } = &computed[0];
    let text = rows[row] as usize;
    let start = text.checked_sub(1).map_or(0, |before| ends[before]);
    std::str::from_utf8(&bytes[start as usize..ends[text] as usize]).unwrap()
}

/// The expected result, event by event: counted, dead letters, and the offset of a hold or a stop.
fn expected(fails: &[bool]) -> (Vec<u64>, Vec<u64>, Option<u64>, Option<u64>) {
    let (mut counted, mut letters, mut run) = (Vec::new(), Vec::new(), Vec::new());
    for (offset, fails) in (0..).zip(fails) {
        if *fails {
            run.push(offset);
            if run.len() == RUN {
                return (counted, letters, Some(run[0]), Some(run[0]));
            }
        } else {
            letters.append(&mut run);
            counted.push(offset);
        }
    }
    (counted, letters, run.first().copied(), None)
}

proptest! {
    #[test]
    fn however_the_log_is_split_the_same_events_fail(
        pieces in proptest::collection::vec((any::<bool>(), 1_usize..130), 1..6),
        cuts in proptest::collection::vec(0_u64..400, 0..6),
        again in proptest::option::of(0_u64..400),
    ) {
        let fails: Vec<bool> = pieces.iter().flat_map(|(fails, len)| std::iter::repeat_n(*fails, *len)).collect();
        let end = fails.len() as u64;
        let mut lane = Lane::new(fails.clone());
        let mut cuts: Vec<u64> = cuts.into_iter().filter(|cut| (1..end).contains(cut)).chain([end]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut at = 0;
        let mut again = again;
        for to in cuts {
            lane.batch(at.min(to / 2), at, to);
            at = to;
            if lane.stopped.is_some() {
                break;
            }
            // Events that are not stored are read again, from a hold at the latest.
            if again.take_if(|again| *again < at).is_some() && let Some(hold) = lane.hold.take() {
                lane.counted.retain(|offset| *offset < hold);
                lane.batch(hold, hold, at);
            }
        }
        let (counted, letters, hold, stopped) = expected(&fails);
        prop_assert_eq!(lane.counted, counted);
        prop_assert_eq!(lane.letters, letters);
        prop_assert_eq!(lane.hold, hold);
        prop_assert_eq!(lane.stopped, stopped);
    }
}

#[test]
fn one_event_among_many_is_found_with_few_calls() {
    let mut fails = vec![false; 2_048];
    fails[1_234] = true;
    let mut lane = Lane::new(fails);
    lane.batch(0, 0, 2_048);
    assert_eq!((lane.counted.len(), lane.letters, lane.hold), (2_047, vec![1_234], None));
}
