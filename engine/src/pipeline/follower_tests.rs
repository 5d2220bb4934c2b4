//! Followers show a moment as new as was asked for, or say why they do not.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::pipeline::testing::StoreRig;

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

#[test]
fn one_of_which_nothing_is_stored_is_whole_once_what_the_log_held_is_stored() {
    let mut rig = Rig::new();
    let target = |rig: &Rig| rig.follower.read().target.clone();
    assert_eq!(rig.finds(), (Ok(Refreshed::Current), 0, 0));
    rig.follower.begin_history();
    assert_eq!(target(&rig), Target::Unknown);
    rig.follower.set_end(|| Position([(0, 2_000)].into()));
    for (position, is_whole) in [(1_000, false), (2_000, true)] {
        rig.count();
        assert_eq!(rig.finds(), (Ok(Refreshed::Current), position, position));
        assert_eq!(target(&rig) == Target::Reached, is_whole, "{position}");
    }
    // Now something is stored.
    rig.follower.begin_history();
    rig.follower.set_end(|| panic!("nobody waits for it"));
    assert_eq!(target(&rig), Target::Reached);
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
