//! Loading a metric: no reader sees a part of it, and a load that does not fit leaves nothing
//! behind.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::super::view::MetricProgress;
use super::*;
use crate::pipeline::target::LogEnds;
use crate::pipeline::testing::{StoreRig, at, log_ends, time_at};
use crate::progress::{History, Quarantine};

const USERS: u64 = 20_000;

/// A store that holds a metric which counts by user, and a view into which it is loaded.
struct Rig {
    view: View,
    metric: MetricId,
    stored: StoreRig,
}

impl Rig {
    fn new() -> Rig {
        let (mut stored, view) = (StoreRig::new(), View::default());
        stored.count(USERS);
        let plugin = crate::host::plain_metric();
        let metric = view.add(plugin.description(), MetricProgress::default());
        Rig { view, metric, stored }
    }

    fn load(&self, memory_share: &MemoryShare) -> Result<Option<StoredRevision>, LoadFault> {
        self.load_in(false, memory_share)
    }

    fn load_in(
        &self,
        replays: bool,
        memory_share: &MemoryShare,
    ) -> Result<Option<StoredRevision>, LoadFault> {
        let StoreRig { store, revision, .. } = &self.stored;
        load_metric(&**store, (&self.view, memory_share), self.metric, revision, replays)
    }

    fn target(&self) -> Target {
        self.view.read().metrics[self.metric.0].target.clone()
    }

    /// The log says that each partition ends at this offset. Returns how far the metric has to
    /// count then.
    fn bounded(&self, ends: &str) -> Target {
        self.view.set_bounds(self.metric, || log_ends(ends, &History::Whole));
        self.target()
    }

    fn counts(&self, partition: u32, from: u64, to: u64) -> Target {
        self.view.write().metrics[self.metric.0].advance(partition, from, to);
        self.target()
    }

    /// The number of cells, whether they may be read, and their position.
    fn loaded(&self) -> (u64, bool, Option<u64>) {
        let counted = self.view.read();
        let progress = &counted.metrics[self.metric.0];
        (
            counted.state.size(self.metric).0,
            !progress.in_doubt,
            progress.position.0.get(&0).copied(),
        )
    }
}

#[test]
fn a_metric_is_loaded_in_one_piece_or_in_many() {
    let rig = Rig::new();
    assert!(rig.load(&MemoryShare::new(1 << 40)).ok().flatten().is_some());
    assert_eq!(rig.loaded(), (USERS, true, Some(USERS)));
    let takes = rig.view.read().state.size(rig.metric).1;
    let memory_share = MemoryShare::new(takes);
    memory_share.hand_over(MetricId(99), rig.metric, takes * 2);
    let sizes = rig.stored.store.sizes(&rig.stored.revision).unwrap();
    let stored: u64 = sizes.iter().map(|size| size.snapshot + size.tail).sum();
    assert!(stored > memory_share.piece_bytes(), "{stored} bytes are read in one piece");
    assert!(rig.load(&memory_share).ok().flatten().is_some());
    assert_eq!((rig.loaded(), memory_share.held(rig.metric)), ((USERS, true, Some(USERS)), takes));
}

#[test]
fn no_reader_sees_half_of_a_metric_that_is_loaded_again() {
    let rig = Rig::new();
    let memory_share = MemoryShare::new(1 << 30);
    assert!(rig.load(&memory_share).is_ok());
    let sizes = rig.stored.store.sizes(&rig.stored.revision).unwrap();
    let held: Vec<Bucket> = sizes.iter().map(|size| size.bucket).collect();
    let reading = |bucket: Bucket| {
        let known = [crate::store::Known { bucket, last: None }];
        let reading = rig.stored.store.read(&rig.stored.revision, &known).unwrap().unwrap();
        let crate::store::BucketRead::Whole(frames) = reading.buckets.into_iter().next().unwrap()
        else {
            panic!()
        };
        (vec![(bucket, frames)], reading.revision)
    };
    let load = || Load {
        view: &rig.view,
        memory_share: &memory_share,
        metric: rig.metric,
        replays: false,
        begun: None,
        rows: 0,
        is_half: false,
        others: Others::default(),
    };
    let mut half = load();
    assert!(half.begin(held.clone()).is_ok());
    assert_eq!(
        rig.loaded(),
        (USERS, true, Some(USERS)),
        "what was there before answers until a piece has come"
    );
    let (piece, revision) = reading(held[0]);
    assert!(half.fold(piece, &revision).is_ok());
    let (cells, may_be_read, position) = rig.loaded();
    assert!(cells > 0 && cells < USERS && !may_be_read && position.is_none(), "{cells}");
    // The load fails: nothing is left of it, and no reader takes that for the whole.
    drop(half);
    assert_eq!(rig.loaded(), (0, false, None));
    assert_eq!(memory_share.held(rig.metric), 0);

    let mut whole = load();
    assert!(whole.begin(held.clone()).is_ok());
    for bucket in &held {
        let (piece, revision) = reading(*bucket);
        assert!(whole.fold(piece, &revision).is_ok());
        assert!(!rig.loaded().1);
    }
    assert!(whole.end(Some(&revision)).is_ok());
    assert_eq!(rig.loaded(), (USERS, true, Some(USERS)));
}

#[test]
fn a_load_that_does_not_fit_ends_and_leaves_nothing() {
    let rig = Rig::new();
    let memory_share = MemoryShare::new(400_000);
    let Err(LoadFault::Trouble(Trouble::Stopped(why))) = rig.load(&memory_share) else {
        panic!("it is loaded")
    };
    assert!(matches!(why, Quarantine::OverMemory { held, .. } if held < 700_000), "{why:?}");
    assert_eq!((rig.loaded(), memory_share.held(rig.metric)), ((0, false, None), 0));
}

#[test]
fn a_metric_that_is_not_stored_is_empty() {
    let rig = Rig::new();
    let memory_share = MemoryShare::new(1 << 30);
    assert!(rig.load(&memory_share).is_ok());
    assert_eq!(rig.target(), Target::Reached, "what is stored has its history");
    rig.stored.store.remove(&rig.stored.revision).unwrap();
    assert!(matches!(rig.load(&memory_share), Ok(None)));
    assert_eq!(rig.loaded(), (0, true, None));
}

fn unknown() -> Target {
    Target::Unknown(Position::default())
}

#[test]
fn a_metric_of_which_nothing_is_counted_has_the_log_ahead_of_it() {
    let rig = Rig::new();
    let memory_share = MemoryShare::new(1 << 30);
    let nobody_waits = || -> LogEnds { panic!("nobody waits for it") };
    rig.view.set_bounds(rig.metric, nobody_waits);
    for created in [false, true] {
        rig.stored.store.remove(&rig.stored.revision).unwrap();
        if created {
            rig.stored.store.create(&rig.stored.revision, b"").unwrap();
        }
        assert_eq!(rig.load(&memory_share).ok().unwrap().is_some(), created);
        assert_eq!(rig.target(), unknown(), "the log has not said what it holds");
        assert_eq!(rig.bounded("0:5,1:3"), Target::End(at("0:5,1:3")));
        assert_eq!(rig.bounded("0:7,1:3,2:9"), Target::End(at("0:5,1:3")), "that came later");
        for (partition, to, is_whole) in [(0, 5, false), (1, 2, false), (1, 3, true)] {
            let target = rig.counts(partition, to - 1, to);
            assert_eq!(target == Target::Reached, is_whole, "{partition}:{to}");
        }
    }
    assert!(rig.load(&memory_share).is_ok());
    assert_eq!(rig.bounded(""), Target::Reached, "the log holds nothing");

    // Where history is replayed, it is complete when the metric joins the others.
    rig.view.set_target(rig.metric, &at("0:9"), &[]);
    assert!(rig.load_in(true, &memory_share).is_ok());
    assert_eq!(rig.target(), Target::Others(at("0:9")));
    rig.view.finish_backfill(rig.metric, 0);
    assert_eq!(rig.target(), Target::Reached);
    // One that its new lane finds not stored has the log ahead of it all the same.
    rig.view.set_target(rig.metric, &at("0:9"), &[]);
    assert!(rig.load(&memory_share).is_ok());
    rig.view.finish_backfill(rig.metric, 0);
    assert_eq!(rig.target(), unknown());
    // So has one where there are no others that could have counted anything.
    rig.view.set_target(rig.metric, &at(""), &[]);
    rig.view.finish_backfill(rig.metric, 0);
    assert_eq!(rig.target(), unknown());
    assert_eq!(rig.bounded("0:5"), Target::End(at("0:5")));
}

#[test]
fn a_part_of_history_that_is_stored_does_not_pass_for_the_whole() {
    let mut rig = Rig::new();
    let memory_share = MemoryShare::new(1 << 30);
    let end = USERS + 10;
    rig.stored.history_to = Some(end);
    rig.stored.count(1);
    // At a start, where others have counted further in a partition.
    rig.view.set_least(rig.metric, &at("1:4"));
    assert!(rig.load(&memory_share).is_ok());
    assert_eq!(rig.target(), Target::Unknown(at("1:4")));
    let ends = format!("0:{end},1:4");
    assert_eq!(rig.bounded(&format!("0:{},1:4", end * 2)), Target::End(at(&ends)));
    assert_ne!(rig.counts(1, 0, 4), Target::Reached);
    assert_eq!(rig.counts(0, USERS + 1, end), Target::Reached);
    // Its state is in doubt, and what was not stored is counted again.
    assert!(rig.load(&memory_share).is_ok());
    assert_eq!(rig.target(), Target::End(at(&format!("0:{end}"))));
    // The log loses its end: what is lost is not waited for.
    assert_ne!(rig.bounded(&format!("0:{}", end - 1)), Target::Reached);
    assert_eq!(rig.bounded(&format!("0:{}", USERS + 1)), Target::Reached);
    // All of it is stored.
    rig.stored.count(9);
    assert!(rig.load(&memory_share).is_ok());
    assert_eq!(rig.target(), Target::Reached);
}

#[test]
fn the_times_counted_are_those_that_were_recorded() {
    let mut rig = Rig::new();
    let memory_share = MemoryShare::new(1 << 30);
    let times = |rig: &Rig| {
        assert!(rig.load(&memory_share).is_ok());
        rig.view.read().state.times(rig.metric)
    };
    assert_eq!(times(&rig), Some((time_at(USERS - 1), time_at(0))));
    rig.stored.count(7);
    for _ in 0..2 {
        assert_eq!(times(&rig), Some((time_at(USERS + 6), time_at(0))));
    }
    // Where the first one is not recorded, it is not guessed from later events either; this metric
    // has no panes to say more.
    rig.stored.is_old = true;
    rig.stored.count(1);
    assert_eq!(times(&rig), None);
}

#[test]
fn a_metric_that_waits_for_a_lane_is_empty_and_not_in_doubt() {
    let rig = Rig::new();
    rig.view.write().metrics[rig.metric.0].in_doubt = true;
    rig.view.await_lane(rig.metric, Target::Others(at("0:9")));
    assert_eq!(rig.target(), Target::Others(at("0:9")));
    assert_eq!(rig.loaded(), (0, true, None));
    assert!(!rig.view.read().metrics[rig.metric.0].is_known(), "nothing of it is loaded");
}
