//! Owners, batches, refusals, and a database that is opened again after a failed write.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

#[test]
fn a_second_owner_is_told_who_has_it_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let first = Database::open(folder.path()).unwrap();
    let Err(refused) = Database::open(folder.path()) else { panic!("two owners") };
    let text = refused.to_string();
    assert!(
        text.contains(&format!("pid {}", std::process::id())) && text.contains("stop it"),
        "{text}"
    );
    drop(first);
    Database::open(folder.path()).unwrap();
}

#[test]
fn a_batch_over_two_keyspaces_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let (rows, values) = (
        database.keyspace("rows", Shape::Rows).unwrap(),
        database.keyspace("values", Shape::Values).unwrap(),
    );
    let mut batch = database.batch();
    batch.insert(&rows, *b"k", *b"v");
    batch.insert(&values, *b"frame", vec![7; 10_000]);
    assert_eq!(batch.bytes(), 10_007);
    database.commit(batch, Durability::Power).unwrap();
    drop((rows, values, database));

    let database = Database::open(folder.path()).unwrap();
    assert_eq!(database.keyspaces("v").unwrap(), ["values"]);
    let values = database.keyspace("values", Shape::Values).unwrap();
    assert_eq!(values.get(b"frame").unwrap().unwrap().len(), 10_000);
    assert_eq!(&*database.keyspace("rows", Shape::Rows).unwrap().get(b"k").unwrap().unwrap(), b"v");
    database.delete(values).unwrap();
    assert!(database.keyspaces("v").unwrap().is_empty());
}

#[test]
fn a_batch_larger_than_the_disk_is_refused_before_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let refused = database.require_room(1 << 60).unwrap_err();
    assert!(matches!(refused, DatabaseError::Full { .. }), "{refused}");
    let rows = database.keyspace("rows", Shape::Rows).unwrap();
    let mut batch = database.batch();
    batch.insert(&rows, *b"k", *b"v");
    database.commit(batch, Durability::Process).unwrap(); // and it goes on
}

fn put(database: &Database, rows: &Keyspace, key: [u8; 1]) -> Result<(), DatabaseError> {
    let mut batch = database.batch();
    batch.insert(rows, key, *b"v");
    database.commit(batch, Durability::Process)
}

#[test]
fn a_database_that_failed_is_opened_again_by_the_next_who_asks_and_its_keyspaces_stay_valid() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let rows = database.keyspace("rows", Shape::Rows).unwrap();
    let values = database.keyspace("values", Shape::Values).unwrap();
    put(&database, &rows, *b"a").unwrap();
    // As a write that failed leaves it, three times; the iterator is of the database before.
    for key in [*b"b", *b"c", *b"d"] {
        let mut before = rows.iter().unwrap();
        drop(database.broke(&fjall::Error::Poisoned));
        let refused = put(&database, &rows, key);
        database.mended().unwrap();
        put(&database, &rows, key).unwrap();
        assert!(refused.is_ok() || !refused.unwrap_err().wrote_nothing());
        assert_eq!(&*before.next().unwrap().key().unwrap(), b"a");
    }
    assert_eq!(rows.iter().unwrap().count(), 4, "and nothing is lost");
    assert_eq!(values.iter().unwrap().count(), 0);
    drop((rows, values, database));
    let database = Database::open(folder.path()).unwrap();
    assert_eq!(database.keyspace("rows", Shape::Rows).unwrap().iter().unwrap().count(), 4);
}

#[test]
fn one_that_cannot_be_opened_again_is_tried_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let rows = database.keyspace("rows", Shape::Rows).unwrap();
    put(&database, &rows, *b"a").unwrap();
    let (db, away) = (folder.path().join("db"), folder.path().join("away"));
    std::fs::rename(&db, &away).unwrap();
    std::fs::write(&db, "in the way").unwrap();
    drop(database.broke(&fjall::Error::Poisoned));
    for _ in 0..3 {
        assert!(matches!(database.mended(), Err(DatabaseError::Failed { .. })));
    }
    assert!(put(&database, &rows, *b"b").is_err() && rows.get(b"a").is_err());
    std::fs::remove_file(&db).unwrap();
    std::fs::rename(&away, &db).unwrap();
    let begun = std::time::Instant::now();
    while database.mended().is_err() {
        assert!(begun.elapsed().as_secs() < 30, "it is not tried again");
        std::thread::yield_now();
    }
    put(&database, &rows, *b"b").unwrap();
    assert_eq!(rows.iter().unwrap().count(), 2);
}
