//! Counting batches, without a machine, a store or a source.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::config::EventsConfig;
use crate::database::Database;
use crate::event::Position;
use crate::pipeline::Coverage;
use crate::pipeline::testing::{NO, metric, payload};

struct Rig {
    batches: Batches,
    members: Members,
    pending: Pending,
    view: Arc<View>,
    letters: Arc<DeadLetters>,
    _folder: tempfile::TempDir,
}

fn rig() -> Rig {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let letters = Arc::new(DeadLetters::open(&database, 100).unwrap());
    let view = Arc::new(View::default());
    let members = Members::new(vec![metric(&view)]);
    let parts = BatchParts {
        decoder: Decoder::new(&EventsConfig::default()).unwrap(),
        role: LaneRole::Main,
        dedupe_window: 100,
        dead_letters: letters.clone(),
        judged: JudgedRanges::default(),
        feed: None,
        topic: "log".into(),
        call_mark: None,
        view: view.clone(),
        status: Arc::new(LaneStatus::default()),
        memory_share: Arc::new(MemoryShare::new(1 << 40)),
    };
    let mut batches = Batches::new(parts, &members);
    batches.begin(&[0]);
    Rig { batches, members, pending: Pending::default(), view, letters, _folder: folder }
}

impl Rig {
    fn count(&mut self, at: u64, payloads: &[String], due: &[(RevisionNo, u64)]) -> BatchOutcome {
        let records = (at..).zip(payloads);
        let records: Vec<Record<'_>> = records
            .map(|(offset, payload)| Record::new(offset, NOW, Some(payload.as_bytes())))
            .collect();
        let metrics = due.iter().map(|(no, from)| DueMetric {
            no: *no,
            from: *from,
            held_at: None,
            failed: 0,
        });
        let due = DueBatch { epoch: 7, metrics: metrics.collect() };
        self.batches.count(&self.members, &mut self.pending, 0, &records, &due)
    }

    fn cells(&self) -> u64 {
        self.view.read().state.size(crate::state::MetricId(0)).0
    }

    fn position(&self) -> Option<u64> {
        self.view.read().metrics[0].position.0.get(&0).copied()
    }
}

const NOW: i64 = 1_800_000_000_000;

/// How a batch was counted: its end, and the rows of each metric.
fn counted(outcome: &BatchOutcome) -> (u64, Vec<(RevisionNo, u64)>) {
    let [Event::Counted(counted)] = &outcome.events[..] else { panic!("{outcome:?}") };
    assert_eq!((counted.partition, counted.epoch), (0, 7));
    (counted.to, counted.counts.iter().map(|count| (count.revision, count.rows)).collect())
}

#[test]
fn rows_count_from_where_they_are_due() {
    let mut rig = rig();
    let outcome = rig.count(10, &[payload(1), payload(2), payload(3)], &[(NO, 11)]);
    assert_eq!(counted(&outcome), (13, vec![(NO, 2)]));
    assert_eq!((rig.cells(), rig.position()), (2, Some(13)));
    assert!(outcome.discarded.is_empty() && !outcome.read_again);
    assert_eq!(rig.batches.processed(), 2);
}

#[test]
fn records_that_no_metric_counts_fill_the_dedupe_window() {
    let with_id = |id: u64| payload(id).replacen('{', &format!("{{\"event_id\":\"e{id}\","), 1);
    let mut rig = rig();
    let outcome = rig.count(0, &[with_id(1), with_id(2)], &[]);
    assert_eq!(counted(&outcome), (2, vec![]));
    assert_eq!((rig.cells(), rig.position()), (0, None));
    let outcome = rig.count(2, &[with_id(2), with_id(3)], &[(NO, 2)]);
    assert_eq!(counted(&outcome), (4, vec![(NO, 1)]), "one of them was seen before");
    // A renewed window is empty.
    rig.batches.renew_window(0);
    let outcome = rig.count(4, &[with_id(2)], &[(NO, 4)]);
    assert_eq!(counted(&outcome), (5, vec![(NO, 1)]));
}

#[test]
fn a_refused_record_becomes_a_dead_letter_and_counts_nowhere() {
    let mut rig = rig();
    let outcome = rig.count(0, &[payload(1), "{".into(), payload(2)], &[(NO, 0)]);
    assert_eq!(counted(&outcome), (3, vec![(NO, 2)]));
    assert!(!rig.batches.has_letters_due());
    rig.batches.write_dead_letters();
    let letters = rig.letters.counts();
    assert_eq!(letters.values().sum::<u64>(), 1);
}

#[test]
fn every_lane_writes_the_letters_of_what_was_not_judged_before() {
    let refused = ["{".to_owned(), "{".to_owned()];
    for role in [LaneRole::Main, LaneRole::Beside, LaneRole::Backfill] {
        for (judged_to, expected) in [(0, 2), (1, 1), (2, 0)] {
            let mut rig = rig();
            rig.batches.parts.role = role;
            let judged = Position(BTreeMap::from([(0, judged_to)]));
            rig.batches.parts.judged.add(&BTreeMap::from([(0, Coverage::default())]), &judged);
            rig.count(0, &refused, &[(NO, 0)]);
            rig.batches.write_dead_letters();
            let letters = rig.letters.counts().values().sum::<u64>();
            assert_eq!(letters, expected, "{role:?}, judged up to {judged_to}");
        }
    }
}

#[test]
fn offsets_without_records_move_positions_only() {
    let mut rig = rig();
    rig.count(0, &[payload(1)], &[(NO, 0)]);
    let due = DueBatch {
        epoch: 7,
        metrics: vec![DueMetric { no: NO, from: 1, held_at: None, failed: 0 }],
    };
    let event = rig.batches.pass(&rig.members, 0, 5, &due);
    let Event::Counted(passed) = event else { panic!("{event:?}") };
    assert_eq!((passed.to, passed.last, passed.counts[0].rows), (5, None, 0));
    assert_eq!((rig.cells(), rig.position()), (1, Some(5)));
}

#[test]
fn a_metric_without_room_stops_before_a_batch_and_keeps_what_it_counted() {
    let mut rig = rig();
    rig.batches.parts.memory_share = Arc::new(MemoryShare::new(1));
    let begun = Instant::now();
    let mut next = 0;
    let stopped = loop {
        let outcome = rig.count(next, &[payload(next)], &[(NO, next)]);
        if matches!(outcome.events[0], Event::Quarantined(NO, Quarantine::OverMemory { .. })) {
            break outcome;
        }
        // What is held is measured from time to time.
        next += 1;
        assert!(begun.elapsed().as_secs() < 30, "it counts on: {outcome:?}");
    };
    let [_, Event::Counted(counted)] = &stopped.events[..] else { panic!("{stopped:?}") };
    assert!(counted.counts.is_empty(), "nothing of this batch counts");
    assert_eq!((rig.cells(), rig.position()), (next, Some(next)));
}

#[test]
fn anchors_are_found_where_they_are_wanted() {
    let record = |offset| Record::new(offset, NOW, Some(&b"x"[..]));
    let found = find_anchors(&[record(3), record(5), record(9)], &[4, 5, 9]);
    assert_eq!(found.iter().map(|anchor| anchor.offset).collect::<Vec<_>>(), [5, 9]);
    assert_eq!(found[0].crc32, crc32fast::hash(b"x"));
}
