//! The embedded store keeps the contract; damage of any row is noticed.
#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]
use super::*;
use crate::contract::{World, contract, model};

const MAX_BUCKET_BYTES: u64 = 400;

fn open(folder: &tempfile::TempDir, max_bucket_bytes: u64) -> EmbeddedStore {
    let database = Database::open(folder.path()).unwrap();
    EmbeddedStore::open(database, Durability::Process, max_bucket_bytes).unwrap()
}

struct Folder(tempfile::TempDir);

impl World for Folder {
    fn open(&mut self, max_bucket_bytes: u64) -> Box<dyn Store> {
        Box::new(open(&self.0, max_bucket_bytes))
    }

    fn overhead(&self) -> (u64, u64) {
        (0, 0)
    }
}

#[test]
fn keeps_the_contract() {
    contract(&mut Folder(tempfile::tempdir().unwrap()));
}

#[test]
fn agrees_with_a_naive_store() {
    model(&mut Folder(tempfile::tempdir().unwrap()), 1, 12_000);
}

#[test]
fn nothing_is_left_of_what_was_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder, MAX_BUCKET_BYTES);
    let revision = RevisionId { metric: "m".to_owned(), fingerprint: 1 };
    let life = store.create(&revision, b"meta").unwrap();
    let to = StoredProgress { next: 4, bytes: b"p".to_vec() };
    let frames = (0..3).map(|bucket| (Bucket { table: 0, bucket }, b"frame".to_vec())).collect();
    let advances = vec![Advance { partition: 0, from: 0, base: None, to }];
    store.commit(&[Commit { revision: revision.clone(), life, advances, frames }]).unwrap();
    store.point(None, &revision).unwrap();
    assert!(!store.frames.is_empty().unwrap() && !store.rows.is_empty().unwrap());
    assert!(store.remove(&revision).unwrap());
    assert!(store.frames.is_empty().unwrap() && store.rows.is_empty().unwrap());
    drop(store);
    // Its number may be given again after a start: the next one has no frames of its own then.
    let store = open(&folder, MAX_BUCKET_BYTES);
    store.create(&revision, b"meta").unwrap();
    drop(store);
    assert!(open(&folder, MAX_BUCKET_BYTES).buckets(&revision).unwrap().is_empty());
}

#[test]
fn garbage_in_any_row_is_refused() {
    for (keyspace, shape) in [("state-frames", Shape::Values), ("state-rows", Shape::Rows)] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder, MAX_BUCKET_BYTES);
        let revision = RevisionId { metric: "m".to_owned(), fingerprint: 1 };
        let life = store.create(&revision, b"meta").unwrap();
        let to = StoredProgress { next: 4, bytes: b"p".to_vec() };
        let frames = vec![(Bucket { table: 0, bucket: 0 }, b"frame".to_vec())];
        let commit = Commit {
            revision: revision.clone(),
            life,
            advances: vec![Advance { partition: 0, from: 0, base: None, to }],
            frames,
        };
        store.commit(&[commit]).unwrap();
        store.point(None, &revision).unwrap();
        drop(store);
        let database = Database::open(folder.path()).unwrap();
        let rows = database.keyspace(keyspace, shape).unwrap();
        let good: Vec<_> = rows.iter().unwrap().map(|row| row.into_inner().unwrap()).collect();
        assert!(!good.is_empty());
        for (key, value) in good {
            for at in 0..value.len() {
                let mut bad = value.to_vec();
                bad[at] ^= 0x11;
                let mut batch = database.batch();
                batch.insert(&rows, key.clone(), bad);
                database.commit(batch, Durability::Process).unwrap();
                let refused =
                    EmbeddedStore::open(database.clone(), Durability::Process, MAX_BUCKET_BYTES);
                assert!(matches!(refused, Err(StoreError::Corrupt(_))), "byte {at} of {key:?}");
            }
            let mut batch = database.batch();
            batch.insert(&rows, key, value);
            database.commit(batch, Durability::Process).unwrap();
        }
        EmbeddedStore::open(database, Durability::Process, MAX_BUCKET_BYTES).unwrap();
    }
}
