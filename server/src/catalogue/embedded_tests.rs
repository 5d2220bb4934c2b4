//! The embedded catalogue: the contract, what survives, what is refused.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
use super::*;
use crate::catalogue::contract;
use futures_util::FutureExt;
use refinery_core::Migration;

async fn opened() -> (tempfile::TempDir, Embedded) {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Embedded::open(&folder.path().join("catalogue.db")).unwrap();
    (folder, catalogue)
}

#[tokio::test]
async fn keeps_the_contract() {
    let (_folder, catalogue) = opened().await;
    contract::holds(&catalogue).await;
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let (folder, catalogue) = opened().await;
    contract::holds(&catalogue).await;
    drop(catalogue);
    let again = Embedded::open(&folder.path().join("catalogue.db")).unwrap();
    assert!(!again.users(Page { after: None, limit: 1 }).await.unwrap().is_empty());
}

#[test]
fn the_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Embedded::open(&folder.path().join("catalogue.db")).unwrap();
    let modes: Vec<u32> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().permissions().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o600; 3], "the file, its log and the log's index");
    drop(catalogue);
}

#[tokio::test]
async fn a_call_keeps_its_place_until_its_thread_is_done() {
    let (_folder, catalogue) = opened().await;
    let reads = Arc::clone(&catalogue.shared.reads);
    let (locked, lock) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let shared = Arc::clone(&catalogue.shared);
    let holder = std::thread::spawn(move || {
        let reader = shared.reader.lock();
        locked.send(()).unwrap();
        released.recv().unwrap();
        drop(reader);
    });
    lock.recv().unwrap();
    for _ in 0..READS {
        assert!(catalogue.user(Id::Integer(1)).now_or_never().is_none(), "waits, and is given up");
    }
    assert_eq!(reads.available_permits(), 0);
    let refused = catalogue.user(Id::Integer(1)).await;
    assert!(matches!(refused, Err(CatalogueError::Overloaded)), "{refused:?}");
    release.send(()).unwrap();
    holder.join().unwrap();
    drop(reads.acquire_many(READS as u32).await.unwrap());
    assert!(catalogue.user(Id::Integer(1)).await.is_ok());
}

#[test]
fn pages_and_lookups_are_served_by_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let catalogue = Embedded::open(&folder.path().join("c.db")).unwrap();
    let connection = catalogue.shared.reader.lock();
    let plan: String = connection
        .query_row(
            "EXPLAIN QUERY PLAN SELECT user_id FROM users WHERE (id_number, user_id) > (1, '1') ORDER BY id_number, user_id LIMIT 5",
            [],
            |row| row.get(3),
        )
        .unwrap();
    assert!(plan.contains("SEARCH users USING") && plan.contains("users_by_id"), "{plan}");
}

#[test]
fn a_changed_applied_migration_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalogue.db");
    let with = |sql: &str| [Migration::unapplied("V1__users", sql).unwrap()];
    Embedded::open_with(&file, &with("CREATE TABLE a (b INTEGER);")).map(drop).unwrap();
    let error =
        Embedded::open_with(&file, &with("CREATE TABLE a (c INTEGER);")).map(drop).unwrap_err();
    assert!(
        matches!(&error, CatalogueError::Refused(text) if text.contains("V1__users") && text.contains("never changes")),
        "{error}"
    );
}

#[test]
fn what_is_pending_is_told_without_making_the_file_and_applied_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("catalogue.db");
    let pending = Embedded::pending(&file).unwrap();
    assert!(pending.starts_with(&["V1__users".into(), "V2__products".into()]), "{pending:?}");
    assert!(!file.exists());
    assert_eq!(Embedded::migrate(&file).unwrap(), pending);
    assert!(Embedded::pending(&file).unwrap().is_empty());
    assert!(Embedded::migrate(&file).unwrap().is_empty());
}
