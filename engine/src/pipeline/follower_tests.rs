//! Followers show a moment as new as was asked for, or say why they do not.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::pipeline::testing::{StoreRig, at, log_ends, time_at};
use crate::progress::History;
use crate::store::StoredProgress;

const METRIC: MetricId = MetricId(7);
const OTHER: MetricId = MetricId(8);

/// Bytes of the rigs' share of memory.
const LIMIT: u64 = 1 << 20;

/// An engine that counts users, a thousand at a time, and a follower of it.
struct Rig {
    memory_share: Arc<MemoryShare>,
    follower: Follower,
    stored: StoreRig,
}

impl Rig {
    fn new() -> Rig {
        let stored = StoreRig::new();
        let (store, revision) = (stored.store.clone(), stored.revision.clone());
        let plugin = crate::host::plain_metric();
        let memory_share = Arc::new(MemoryShare::new(LIMIT));
        let follower = Follower::new(store, revision, plugin.description());
        let follower = follower.with_memory_share(memory_share.clone(), METRIC);
        Rig { memory_share, follower, stored }
    }

    fn count(&mut self) {
        self.stored.count(1_000);
    }

    fn target(&self) -> Target {
        self.follower.read().target.clone()
    }

    /// The log says that each partition ends at this offset, and the lane on which records the
    /// metric's own code fails. Returns how far the metric has to count then.
    fn bounded(&self, ends: &str, failing: &[(u32, Range<u64>)]) -> Target {
        self.follower.set_bounds(log_ends(ends, &History::Whole), failing);
        self.target()
    }

    /// Counts once more, which a question finds. Returns how far the metric has yet to count.
    fn counts(&mut self) -> Target {
        self.count();
        assert_eq!(self.finds().0, Ok(Refreshed::Current));
        self.target()
    }

    /// What a question finds: whether the view is current, its position, and its number of users.
    fn finds(&self) -> (Result<Refreshed, String>, u64, u64) {
        let refreshed = self.follower.refresh(Instant::now()).map_err(|fault| fault.to_string());
        let followed = self.follower.read();
        let position = followed.position.0.get(&0).copied().unwrap_or(0);
        (refreshed, position, followed.state.size(FOLLOWED).0)
    }
}

#[test]
fn one_that_stays_for_lack_of_memory_says_so_each_time_and_goes_on_by_itself() {
    let mut rig = Rig::new();
    rig.count();
    assert_eq!(rig.finds(), (Ok(Refreshed::Current), 1_000, 1_000));
    // Another metric fills memory; no lane has measured yet.
    rig.memory_share.record_followed(OTHER, LIMIT * 2);
    rig.count();
    for _ in 0..2 {
        let (refreshed, position, users) = rig.finds();
        let behind = matches!(refreshed, Ok(Refreshed::Behind(Quarantine::OverMemory { .. })));
        assert!(behind && (position, users) == (1_000, 1_000), "{refreshed:?} {position} {users}");
    }
    rig.memory_share.forget(OTHER);
    assert_eq!(rig.finds(), (Ok(Refreshed::Current), 2_000, 2_000));
    // Its lane stops it, for good.
    rig.follower.stop(&Quarantine::OverMemory { held: 2, share: 1 });
    rig.count();
    let stopped = Refreshed::Behind(Quarantine::OverMemory { held: 2, share: 1 });
    assert_eq!(rig.finds(), (Ok(stopped), 2_000, 2_000));
}

fn unknown() -> Target {
    Target::Unknown(Position::default())
}

#[test]
fn one_of_which_nothing_is_stored_is_whole_once_what_the_log_held_is_stored() {
    let mut rig = Rig::new();
    assert_eq!(rig.target(), unknown());
    assert_eq!(rig.finds(), (Ok(Refreshed::Current), 0, 0));
    assert_eq!(rig.target(), unknown());
    assert_eq!(rig.bounded("0:2000", &[]), Target::End(at("0:2000")));
    assert_eq!(rig.counts(), Target::End(at("0:2000")));
    assert_eq!(rig.counts(), Target::Reached);
    assert_eq!(rig.bounded("0:2000,1:5", &[]), Target::Reached, "it came later");
    // An empty log has no history, however often nothing is found.
    let rig = Rig::new();
    rig.stored.store.remove(&rig.stored.revision).unwrap();
    for _ in 0..2 {
        assert_eq!(rig.finds(), (Ok(Refreshed::Current), 0, 0));
        assert_eq!(rig.bounded("0:0", &[]), Target::Reached);
    }
}

#[test]
fn each_says_the_same_first_and_last_time_whenever_it_was_loaded() {
    let mut rig = Rig::new();
    for to in [1_000, 2_000, 3_000] {
        rig.count();
        let (store, revision) = (rig.stored.store.clone(), rig.stored.revision.clone());
        let other = Follower::new(store, revision, &rig.follower.description);
        other.refresh(Instant::now()).unwrap();
        assert_eq!(rig.finds().0, Ok(Refreshed::Current));
        for follower in [&rig.follower, &other] {
            let times = follower.read().state.times(FOLLOWED);
            assert_eq!(times, Some((time_at(to - 1), time_at(0))), "{to}");
        }
    }
}

#[test]
fn one_of_which_a_part_is_stored_is_not_whole() {
    let mut rig = Rig::new();
    rig.stored.history_to = Some(3_000);
    // What other metrics have counted is told before the log says anything.
    assert_eq!(rig.counts(), unknown());
    rig.follower.set_least(&at("1:7"));
    assert_eq!(rig.bounded("0:9000,1:9", &[]), Target::End(at("0:3000,1:9")), "1 is not stored");
    assert_eq!(rig.bounded("0:9000", &[]), Target::End(at("0:3000")), "1 is gone");
    assert_eq!(rig.counts(), Target::End(at("0:3000")));
    assert_eq!(rig.counts(), Target::Reached);
    rig.follower.set_least(&at("0:9000"));
    assert_eq!(rig.target(), Target::Reached, "it has what there was");
}

#[test]
fn what_was_stored_and_is_gone_is_counted_again_before_it_is_whole() {
    let mut rig = Rig::new();
    rig.counts();
    assert_eq!(rig.bounded("0:1000", &[]), Target::Reached, "of what is stored nothing is ahead");
    assert_eq!(rig.counts(), Target::Reached);
    assert_eq!(rig.bounded("0:2000", &[]), Target::Reached);
    // It is found gone, and counted again.
    rig.stored.store.remove(&rig.stored.revision).unwrap();
    assert_eq!(rig.finds(), (Ok(Refreshed::Current), 0, 0));
    assert_eq!(rig.target(), Target::End(at("0:2000")));
    rig.stored.create_again();
    assert_eq!(rig.counts(), Target::End(at("0:2000")));
    assert_eq!(rig.counts(), Target::Reached);
    // Another state is found in its place at once.
    rig.stored.create_again();
    rig.stored.history_to = Some(3_000);
    assert_eq!(rig.counts(), Target::End(at("0:3000")), "the log has grown since");
    assert_eq!(rig.counts(), Target::End(at("0:3000")));
    assert_eq!(rig.counts(), Target::Reached);
}

#[test]
fn a_store_that_went_back_may_lack_a_partition() {
    let plugin = crate::host::plain_metric();
    let folds = Arc::new(Folds::default());
    let mut followed = Followed::new(empty(plugin.description(), &TypeLimit::default(), &folds));
    followed.log = Some(log_ends("0:20,1:30", &History::Whole));
    followed.target = Target::Reached;
    let revision = |position: &str| StoredRevision {
        life: Life(1),
        meta: Vec::new(),
        progress: at(position)
            .0
            .into_iter()
            .map(|(partition, next)| (partition, StoredProgress { next, bytes: Vec::new() }))
            .collect(),
    };
    let coverages = |position: &str| {
        at(position).0.into_keys().map(|partition| (partition, Coverage::default())).collect()
    };
    for (position, target) in [
        ("0:20,1:30", Target::Reached),
        ("0:10,1:30", Target::Reached),
        ("0:10", Target::End(at("1:30"))),
    ] {
        followed.load(&revision(position), coverages(position), false);
        assert_eq!(followed.target, target, "{position}");
    }
}

#[test]
fn records_on_which_its_code_fails_at_the_end_are_no_history_that_is_waited_for() {
    let mut rig = Rig::new();
    rig.stored.history_to = Some(1_500);
    rig.counts();
    let end = Target::End(at("0:1500"));
    assert_eq!(rig.bounded("0:1500", &[]), end);
    assert_eq!(rig.bounded("0:1500", &[(0, 1_000..1_400)]), end, "it has not come to the end yet");
    assert_eq!(rig.bounded("0:1500", &[(0, 1_100..1_500)]), end, "some are to be committed yet");
    assert_eq!(rig.bounded("0:1500", &[(0, 1_000..1_500)]), Target::Reached);
}

#[test]
fn how_far_others_are_is_unknown_while_it_is_of_one_of_them() {
    // Of the second a part of history is stored.
    let [one, other] = [None, Some(3_000)].map(|history_to| {
        let mut rig = Rig::new();
        rig.stored.history_to = history_to;
        rig.count();
        rig.finds().0.unwrap();
        Arc::new(rig.follower)
    });
    let followers = Followers::default();
    assert_eq!(followers.ahead(), None, "there is none");
    followers.add(one);
    assert_eq!(followers.ahead(), Some(at("0:1000")));
    followers.add(other.clone());
    assert_eq!(followers.ahead(), None);
    other.set_target(&at("0:3000"));
    assert_eq!(followers.ahead(), Some(at("0:3000")));
}

#[test]
fn without_room_to_load_a_follower_reads_no_further_and_answers_nothing() {
    let mut rig = Rig::new();
    (0..40).for_each(|_| rig.count());
    rig.memory_share.record_followed(OTHER, LIMIT / 100 * 84);
    let (refreshed, position, users) = rig.finds();
    assert!(
        refreshed.as_ref().is_err_and(|fault| fault.contains("[limits] memory")),
        "{refreshed:?}"
    );
    assert_eq!((position, users), (0, 0));
    assert!(rig.follower.refused().is_some());
}

#[test]
fn a_follower_that_does_not_fit_when_it_is_loaded_again_answers_from_before_and_says_so() {
    let mut rig = Rig::new();
    (0..2).for_each(|_| rig.count());
    assert_eq!(rig.finds(), (Ok(Refreshed::Current), 2_000, 2_000));
    let held = rig.memory_share.held(METRIC);
    // The state was created again, and is larger.
    rig.stored.create_again();
    (0..40).for_each(|_| rig.count());
    rig.memory_share.record_followed(OTHER, LIMIT / 100 * 84 - held);
    let (refreshed, position, users) = rig.finds();
    assert!(refreshed.is_err(), "{refreshed:?}");
    assert_eq!((position, users), (2_000, 2_000));
    let (refreshed, position, users) = rig.finds();
    let behind = matches!(refreshed, Ok(Refreshed::Behind(Quarantine::OverMemory { .. })));
    assert!(behind && (position, users) == (2_000, 2_000), "{refreshed:?} {position} {users}");
}
