//! The kinds of store, and opening the one that is configured. A new kind is a folder with its
//! `KIND`, and a line in [`opener`].
//!
//! Nothing outside of this crate tells kinds apart: what differs between them is a field of
//! [`Opened`].

use crate::{Store, StoreError, embedded, redis};
use std::sync::Arc;
use std::time::Duration;
use tally_config::{Config, StoreKind};
use tally_database::{Database, DatabaseError};
use thiserror::Error;

/// How a kind of store is opened.
pub(crate) struct Opener {
    /// Looks whether a state may be there, without creating anything.
    pub(crate) find: fn(&Config) -> Result<(), OpenError>,
    /// Opens it. A kind that lies in the data directory opens that, unless it is given.
    pub(crate) open: fn(&Config, Option<&Database>) -> Result<Opened, OpenError>,
    /// What is wrong with its section.
    pub(crate) judge: fn(&Config) -> Vec<(&'static str, String)>,
}

/// All kinds.
const ALL: [StoreKind; 2] = [StoreKind::Embedded, StoreKind::Redis];

fn opener(kind: StoreKind) -> &'static Opener {
    match kind {
        StoreKind::Embedded => &embedded::KIND,
        StoreKind::Redis => &redis::KIND,
    }
}

/// A store that is open.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Whether several engines count into it.
    pub shared: bool,
    /// How often counts are committed.
    pub commit_interval: Duration,
    /// Where it is, for people; without secrets.
    pub place: String,
    /// What readiness says of it.
    pub says: String,
    /// What could not be checked when it was opened, a sentence each.
    pub warnings: Vec<String>,
}

/// The configured store was not opened: what, where, what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The data directory was not opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The store was not opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A server does not answer, or cannot hold state. The sentence says what to do.
    #[error("{0} (nothing is started without its store: start again once it answers)")]
    Server(String),
    /// There is no state in this folder.
    #[error(
        "there is no state in {0}: set --data-dir or [store] data_dir to the folder that has it"
    )]
    Nothing(String),
}

impl OpenError {
    /// Whether opening again may succeed later, without a change of the configuration.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            OpenError::Database(fault) => fault.retry_helps(),
            OpenError::Store(fault) => fault.retry_helps(),
            OpenError::Server(_) => true,
            OpenError::Nothing(_) => false,
        }
    }
}

/// Opens the configured store of an engine. `database`: that of its data directory.
///
/// # Errors
/// [`OpenError`].
pub fn open(config: &Config, database: &Database) -> Result<Opened, OpenError> {
    (opener(config.store.kind).open)(config, Some(database))
}

/// Opens the configured store to look at it while no engine runs. Creates nothing; one in the data
/// directory is locked until it is dropped.
///
/// # Errors
/// [`OpenError`]; [`OpenError::Nothing`] where there is no state.
pub fn open_existing(config: &Config) -> Result<Opened, OpenError> {
    let opener = opener(config.store.kind);
    (opener.find)(config)?;
    (opener.open)(config, None)
}

/// What would be refused of the sections of all kinds before anything is connected to: the
/// configuration's key, and a sentence.
#[must_use]
pub fn judge(config: &Config) -> Vec<(&'static str, String)> {
    ALL.into_iter().flat_map(|kind| (opener(kind).judge)(config)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_created_and_what_is_open_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.data_dir = folder.path().join("data");
        let nothing = open_existing(&config).err().unwrap();
        assert!(matches!(nothing, OpenError::Nothing(_)) && !nothing.retry_helps(), "{nothing}");
        assert!(!config.store.data_dir.exists());

        let database = Database::open(&config.store.data_dir).unwrap();
        let opened = open(&config, &database).unwrap();
        assert_eq!((opened.shared, opened.commit_interval), (false, Duration::from_secs(1)));
        let locked = open_existing(&config).err().unwrap();
        assert!(matches!(locked, OpenError::Database(DatabaseError::InUse { .. })), "{locked}");
        drop((opened, database));
        assert_eq!(
            open_existing(&config).unwrap().place,
            config.store.data_dir.display().to_string()
        );
    }

    #[test]
    fn a_server_that_cannot_be_named_is_refused_with_its_key() {
        let mut config = Config::default();
        assert_eq!(judge(&config), vec![]);
        config.store.kind = StoreKind::Redis;
        config.redis.url = "http://h".into();
        config.redis.namespace = "a b".into();
        let keys: Vec<&str> = judge(&config).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["redis.url", "redis.namespace"]);
        let refused = open_existing(&config).err().unwrap();
        assert!(refused.to_string().ends_with("start again once it answers)"), "{refused}");
    }
}
