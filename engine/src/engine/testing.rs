//! What tests of the engine share: an embedded log in a folder of its own.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::config::Config;
use crate::database::Database;
use crate::log::{self, Log};
use std::sync::Arc;

/// A log that is removed at the end.
pub(super) struct LogRig {
    pub(super) log: Arc<dyn Log>,
    _folder: tempfile::TempDir,
}

impl LogRig {
    /// An empty one.
    pub(super) fn new(partitions: u32) -> LogRig {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        LogRig { log: open_log(&database, partitions), _folder: folder }
    }

    /// Appends a record of a user; its partition, and the offset after it.
    pub(super) fn append(&self, user: u64, payload: &str, now: i64) -> (u32, u64) {
        self.append_all(user, &[payload], now)
    }

    /// Appends records of a user at once; their partition, and the offset after the last.
    pub(super) fn append_all(&self, user: u64, payloads: &[&str], now: i64) -> (u32, u64) {
        let user = user.to_string();
        let records: Vec<(&[u8], &[u8])> =
            payloads.iter().map(|payload| (user.as_bytes(), payload.as_bytes())).collect();
        let outcome = self.log.append(&records, now).unwrap();
        outcome.position.0.into_iter().next().unwrap()
    }
}

/// The embedded log of a database.
pub(super) fn open_log(database: &Database, partitions: u32) -> Arc<dyn Log> {
    let mut config = Config::default();
    config.log.partitions = partitions;
    log::open(&config, database).unwrap()
}
