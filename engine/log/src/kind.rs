//! What a kind of log offers before one is opened: the line of each kind in the factory.

use super::error::LogError;
use super::log::{Log, LogProducer};
use std::sync::Arc;
use tally_config::{Config, SourceKind};
use tally_database::Database;

/// What a kind of log offers before one is opened.
pub(super) struct LogKind {
    pub(super) kind: SourceKind,
    pub(super) open: fn(&Config, &Database) -> Result<Arc<dyn Log>, LogError>,
    /// Of `None` only its engine may write to it.
    pub(super) open_producer: fn(&Config) -> Result<Option<Box<dyn LogProducer>>, LogError>,
    pub(super) check_settings: fn(&Config) -> Vec<SettingFault>,
}

/// A setting that a start would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingFault {
    /// The key in the configuration, `kafka.settings."linger.ms"`.
    pub key: String,
    /// What is wrong with it; quotes no value, which may be a password.
    pub what: String,
}
