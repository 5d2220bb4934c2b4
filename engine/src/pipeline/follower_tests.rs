//! Followers show a moment as new as was asked for, or say why they do not.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::config::Durability;
use crate::database::Database;
use crate::event::EventBatch;
use crate::progress::Progress;
use crate::store::embedded::EmbeddedStore;
use crate::store::{Advance, Commit, StoredProgress};

const METRIC: MetricId = MetricId(7);
const OTHER: MetricId = MetricId(8);

/// Bytes of the rigs' share of memory.
const LIMIT: u64 = 1 << 20;

/// An engine that counts users, a thousand at a time, and a follower of it.
struct Rig {
    store: Arc<EmbeddedStore>,
    revision: RevisionId,
    life: Life,
    counts: State,
    stored: Option<Vec<u8>>,
    next: u64,
    memory_share: Arc<MemoryShare>,
    follower: Follower,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        let store = Arc::new(EmbeddedStore::open(database, Durability::Process, 1 << 30).unwrap());
        let revision = RevisionId { metric: "plain".into(), fingerprint: 1 };
        let plugin = crate::host::plain_metric();
        let mut counts = State::default();
        counts.add(plugin.description());
        let life = store.create(&revision, b"").unwrap();
        let memory_share = Arc::new(MemoryShare::new(LIMIT));
        let follower = Follower::new(store.clone(), revision.clone(), plugin.description());
        let follower = follower.with_memory_share(memory_share.clone(), METRIC);
        Rig {
            store,
            revision,
            life,
            counts,
            stored: None,
            next: 0,
            memory_share,
            follower,
            _folder: folder,
        }
    }

    fn count(&mut self) {
        let (from, to) = (self.next, self.next + 1_000);
        let batch = EventBatch {
            from,
            to,
            offsets: (from..to).collect(),
            users: (from..to).collect(),
            products: vec![1; 1_000],
            kinds: vec![0; 1_000],
            times: vec![1_800_000_000_000; 1_000],
            kind_names: vec!["view".into()],
            ..EventBatch::default()
        };
        self.counts.begin(&batch);
        self.counts.apply(MetricId(0), &batch, from, &[]);
        let sealed = self.counts.seal(MetricId(0), 0);
        let frames = self.counts.frames(MetricId(0), &[&sealed]).into_iter();
        let frames = frames
            .map(|frame| (Bucket { table: frame.table, bucket: frame.bucket }, frame.bytes))
            .collect();
        let bytes = Progress { next: to, rows: to, ..Progress::default() }.encode();
        let advance = Advance {
            partition: 0,
            from,
            base: self.stored.replace(bytes.clone()),
            to: StoredProgress { next: to, bytes },
        };
        let commit = Commit {
            revision: self.revision.clone(),
            life: self.life,
            advances: vec![advance],
            frames,
        };
        self.store.commit(&[commit]).unwrap();
        self.next = to;
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
    (rig.life, rig.stored, rig.next) = (rig.store.create(&rig.revision, b"").unwrap(), None, 0);
    (0..40).for_each(|_| rig.count());
    rig.memory_share.record_followed(OTHER, LIMIT / 100 * 84 - held);
    let (refreshed, position, users) = rig.finds();
    assert!(refreshed.is_err(), "{refreshed:?}");
    assert_eq!((position, users), (2_000, 2_000));
    let (refreshed, position, users) = rig.finds();
    let behind = matches!(refreshed, Ok(Refreshed::Behind(Quarantine::OverMemory { .. })));
    assert!(behind && (position, users) == (2_000, 2_000), "{refreshed:?} {position} {users}");
}
