//! What the ledger records, which actions it returns, and what it answers about how far the lane
//! is.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::pipeline::testing::{NO, metric, settings};
use crate::pipeline::view::View;
use crate::progress::{
    self, Anchor, Answer, Count, Counted, Found, History, Memory, Progress, Trouble,
};
use crate::state::{Sealed, State};

/// A store that holds progress up to `next` and a log that ends at `end`.
struct World {
    ledger: Ledger,
    next: Option<u64>,
    end: u64,
    /// Actions that the rig does not answer.
    left: Vec<LedgerAction>,
}

impl World {
    fn new(settings: Settings, next: Option<u64>, end: u64) -> World {
        World { ledger: Ledger::new(settings), next, end, left: Vec::new() }
    }

    fn handle(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in self.ledger.apply(event) {
                let Some(action) = self.ledger.record(effect) else { continue };
                match action {
                    LedgerAction::Load { revision, ticket, .. } => {
                        let progress = |next| Progress { next, ..Progress::default() };
                        let found = self
                            .next
                            .map(|next| Found { life: 1, progress: vec![(0, progress(next))] });
                        events.push(Event::Loaded(revision, ticket, Ok(found)));
                    }
                    LedgerAction::AskBounds(ticket, _) => {
                        let bounds = progress::Bounds { partition: 0, start: 0, end: self.end };
                        events.push(Event::Bounds(ticket, vec![bounds]));
                    }
                    // Not checked: it comes with any event.
                    LedgerAction::ShowPosition(..) => {}
                    other => self.left.push(other),
                }
            }
        }
    }

    /// A partition that is assigned, loaded and read.
    fn assigned(next: Option<u64>, end: u64) -> World {
        World::assigned_with(settings(), next, end)
    }

    fn assigned_with(settings: Settings, next: Option<u64>, end: u64) -> World {
        let mut world = World::new(settings, next, end);
        world.handle(Event::Joined(NO, History::Whole, None));
        world.ledger.begin(&[0]);
        world.handle(Event::Assigned(vec![0]));
        for step in world.ledger.steps() {
            if let Step::Read { partition, read, .. } = step {
                world.ledger.took_over(partition, read);
            }
        }
        world
    }

    fn count(&mut self, to: u64, rows: u64) {
        let epoch = self.ledger.epoch(0).unwrap();
        let last = Some(Anchor { offset: to - 1, timestamp_ms: 0, crc32: 0 });
        let counts = vec![Count { revision: NO, rows, times: None, failed: 0 }];
        self.handle(Event::Counted(Counted { partition: 0, epoch, to, last, counts }));
    }
}

fn sealed() -> Sealed {
    let mut state = State::default();
    let id = state.add(crate::host::plain_metric().description());
    state.seal(id, 0)
}

#[test]
fn where_a_partition_starts_is_where_it_is_read() {
    for (next, reads) in [(5, 0), (20, 0), (90, 70)] {
        let mut world = World::new(settings(), Some(next), 100);
        world.handle(Event::Joined(NO, History::Whole, None));
        world.ledger.begin(&[0]);
        world.handle(Event::Assigned(vec![0]));
        let steps = world.ledger.steps();
        let read = steps
            .iter()
            .find_map(|step| if let Step::Read { read, .. } = step { Some(*read) } else { None });
        assert_eq!(
            read.map(|read| read.from),
            Some(reads),
            "stored up to {next}: its dedupe window is read again"
        );
    }
    // The source starts before the bounds of the log are known.
    let mut ledger = Ledger::new(settings());
    ledger.begin(&[0]);
    let mut events = vec![Event::Assigned(vec![0]), Event::Joined(NO, History::Whole, None)];
    while let Some(event) = events.pop() {
        for effect in ledger.apply(event) {
            if let Some(LedgerAction::Load { revision, ticket, .. }) = ledger.record(effect) {
                let progress = vec![(0, Progress { next: 90, ..Progress::default() })];
                events.push(Event::Loaded(revision, ticket, Ok(Some(Found { life: 1, progress }))));
            }
        }
    }
    assert_eq!(ledger.start(0), Start::At(70));
    assert_eq!(ledger.start(1), Start::Earliest, "nothing is known of it");
}

#[test]
fn deliveries_count_only_under_the_epoch_of_their_read() {
    let mut world = World::assigned(Some(10), 100);
    let epoch = world.ledger.epoch(0).unwrap();
    let due = world.ledger.due(0, epoch, 30);
    assert_eq!(due.metrics, [DueMetric { no: NO, from: 10, held_at: None, failed: 0 }]);
    assert_eq!(due.count_from(), Some(10));
    assert_eq!(world.ledger.due(0, epoch + 1, 30).count_from(), None, "of another read");
    world.ledger.end(&[0]);
    assert_eq!((world.ledger.epoch(0), world.ledger.held()), (None, vec![]));
}

#[test]
fn deltas_are_kept_until_they_are_stored() {
    let mut world = World::assigned(Some(10), 100);
    world.count(30, 20);
    world.ledger.pending.open(NO, 0).push(sealed());
    world.handle(Event::CheckpointDue);
    let [LedgerAction::Commit { ticket, advances, .. }] = &world.left[..] else {
        panic!("{:?}", world.left)
    };
    assert_eq!((advances[0].from, advances[0].to.next), (10, 30));
    let ticket = *ticket;
    world.ledger.pending.freeze(NO, 0, 30, sealed);
    assert!(!world.ledger.flushed(&[0]));
    world.handle(Event::Answered(NO, ticket, Answer::Failed(Trouble::Unavailable)));
    assert_eq!(world.ledger.pending.frozen(NO, 0).len(), 2, "not known to be stored");
    assert!(world.ledger.store_away());
    world.handle(Event::CheckpointDue);
    let Some(LedgerAction::Commit { ticket, .. }) = world.left.pop() else { panic!("sent again") };
    world.handle(Event::Answered(NO, ticket, Answer::Applied));
    assert!(world.ledger.pending.frozen(NO, 0).is_empty() && world.ledger.flushed(&[0]));
}

#[test]
fn deltas_of_a_lost_partition_are_void() {
    for memory in [Memory::Resident, Memory::Apart] {
        let mut world = World::assigned_with(Settings { memory, ..settings() }, Some(10), 100);
        world.count(30, 20);
        world.ledger.pending.freeze(NO, 0, 30, sealed);
        world.handle(Event::Lost(vec![0]));
        assert!(world.ledger.pending.frozen(NO, 0).is_empty(), "{memory:?}");
        // Where cells of all partitions are folded together, the whole view is loaded again
        // instead.
        let tail = world.left.contains(&LedgerAction::DropTail(NO, 0));
        assert_eq!(tail, memory == Memory::Apart, "{:?}", world.left);
    }
}

#[test]
fn totals_tell_counted_from_committed_records() {
    let mut world = World::assigned(Some(10), 100);
    world.count(30, 20);
    let mut members = Members::default();
    members.add(metric(&View::default()));
    assert_eq!(world.ledger.position(&members), Position([(0, 30)].into()));
    assert_eq!(world.ledger.committed(&members), [(0, 10)].into());
    let totals = world.ledger.totals(&members, 25);
    assert_eq!((totals.processed, totals.committed), (25, 5), "20 of them are not stored");
    let bounds = |end| [Bounds { partition: 0, start: 0, end, open: 0 }];
    let position = world.ledger.position(&members);
    assert_eq!(
        world.ledger.beyond(&bounds(29), &position),
        [0],
        "the log ends before what was counted"
    );
    assert!(world.ledger.beyond(&bounds(30), &position).is_empty());
}

#[test]
fn records_on_which_code_fails_at_the_end_are_named_until_it_succeeds() {
    let mut world = World::assigned(Some(10), 100);
    world.count(30, 20);
    assert!(world.ledger.failing(NO).is_empty());
    world.handle(Event::Held(NO, 0, 20));
    assert_eq!(world.ledger.failing(NO), [(0, 20..30)]);
    world.handle(Event::Released(NO, 0));
    assert!(world.ledger.failing(NO).is_empty());
}

#[test]
fn many_rows_that_wait_make_a_checkpoint_due() {
    let mut world = World::assigned(Some(10), 100);
    world.count(30, 24);
    assert!(!world.ledger.wants_checkpoint());
    world.count(31, 1);
    assert!(world.ledger.wants_checkpoint(), "half of max_pending_rows");
}

#[test]
fn a_metric_that_stops_is_reported_and_found() {
    let mut world = World::assigned(Some(10), 100);
    assert!(!world.ledger.has_halted());
    world.handle(Event::Quarantined(NO, Quarantine::Failing("it failed".into())));
    assert!(world.ledger.has_halted() && world.ledger.is_stopped(NO));
    assert!(matches!(&world.left[..], [LedgerAction::ReportHalt(NO, None, _)]), "{:?}", world.left);
    assert!(!world.ledger.is_stopped_at(0, 10), "no partition is");
    // A record that cannot be decoded stops the partition, at its offset.
    let mut world = World::assigned(Some(10), 100);
    let epoch = world.ledger.epoch(0).unwrap();
    world.handle(Event::Undecodable(0, epoch, 10));
    assert!(
        world.ledger.is_stopped_at(0, 10)
            && !world.ledger.is_stopped_at(0, 11)
            && !world.ledger.is_stopped(NO)
    );
}

#[test]
fn a_metric_in_doubt_joins_again_and_stops_for_the_first_reason_there_is() {
    let mut member = metric(&View::default());
    let stops = |member: &LaneMetric, why| {
        let Rejoin { leave, join } = Ledger::rejoin(member, why);
        assert!(matches!(leave, Event::Left(NO)));
        assert!(matches!(&join[0], Event::Joined(NO, History::Whole, None)), "{join:?}");
        match &join[1..] {
            [] => None,
            [Event::Quarantined(NO, Quarantine::Failing(why))] => Some(why.clone()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(stops(&member, None), None);
    member.barred = Some(Quarantine::Failing("barred".into()));
    assert_eq!(stops(&member, None).as_deref(), Some("barred"));
    assert_eq!(stops(&member, Some(Quarantine::Failing("now".into()))).as_deref(), Some("now"));
}
