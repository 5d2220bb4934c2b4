//! The log that events come from: partitioned, durable, and read again from any offset that it
//! still holds.
//!
//! One seam, [`Log`], and a folder for each kind that implements it: `embedded`, in the data
//! directory, and `kafka`, a topic. Callers name no kind: they [`open`] what is configured. A new
//! kind is a folder and a line in `KINDS`. A log does not look into its records.

#[cfg(any(test, feature = "contract"))]
#[doc(hidden)]
pub mod contract;
pub mod embedded;
mod error;
pub mod kafka;
mod kind;
mod log;
mod source;
mod survey;

pub use error::{AppendError, LogError};
pub use kind::SettingFault;
pub use log::{
    AppendOutcome, DeliveryCounts, Log, LogProducer, LogReader, LogRecord, OwnedOrigin, RecordCopy,
    Tail, Wanted,
};
pub use source::{Sink, Source, Start};
pub use survey::{Bounds, Survey, Surveyed};

use kind::LogKind;
use std::sync::Arc;
use tally_config::Config;
use tally_database::Database;

/// Every kind of log.
const KINDS: &[LogKind] = &[embedded::KIND, kafka::KIND];

/// Opens the configured log, or creates it in `database` if it belongs there.
///
/// # Errors
/// [`LogError`]: a setting cannot be used, or the database fails.
pub fn open(config: &Config, database: &Database) -> Result<Arc<dyn Log>, LogError> {
    (configured(config)?.open)(config, database)
}

/// A producer for the configured log; `None` where only its engine writes to it. Blocks while a
/// broker is asked.
///
/// # Errors
/// [`LogError`]: a setting cannot be used, or the log does not answer.
pub fn open_producer(config: &Config) -> Result<Option<Box<dyn LogProducer>>, LogError> {
    (configured(config)?.open_producer)(config)
}

/// What a start would refuse of the settings of every kind of log. Connects to nothing.
#[must_use]
pub fn check_settings(config: &Config) -> Vec<SettingFault> {
    KINDS.iter().flat_map(|kind| (kind.check_settings)(config)).collect()
}

fn configured(config: &Config) -> Result<&'static LogKind, LogError> {
    let kind = config.source.kind;
    KINDS.iter().find(|known| known.kind == kind).ok_or_else(|| {
        LogError::Fatal(format!("[source] kind = {kind:?} is not supported by this build of Tally"))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use tally_config::{SourceKind, StartAt};

    fn configured(kind: SourceKind) -> Config {
        let mut config = Config::default();
        config.source.kind = kind;
        config
    }

    /// A kind that is missing in `KINDS` is refused here.
    #[test]
    fn the_configured_kind_is_opened() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path()).unwrap();
        let opened = |config: &Config| open(config, &database).unwrap();
        let log = opened(&configured(SourceKind::Embedded));
        assert_eq!(
            (log.kind(), log.name(), log.is_shared(), log.begins_at_end()),
            ("log", "log", false, false)
        );
        assert!(
            open_producer(&configured(SourceKind::Embedded)).unwrap().is_none(),
            "only its engine writes to it"
        );

        let mut config = configured(SourceKind::Kafka);
        config.kafka.topic = "shop".into();
        let log = opened(&config);
        assert_eq!(
            (log.kind(), log.name(), log.is_shared(), log.begins_at_end()),
            ("kafka", "shop", true, false)
        );
        config.kafka.start = StartAt::Latest;
        assert!(opened(&config).begins_at_end());
        config.kafka.settings.insert("no.such.setting".into(), "1".into());
        assert!(open(&config, &database).is_err_and(|fault| !fault.retry_helps()));
    }

    #[test]
    fn settings_of_every_kind_are_checked_whichever_is_configured() {
        let mut config = configured(SourceKind::Embedded);
        assert_eq!(check_settings(&config), []);
        config.kafka.settings.insert("no.such.setting".into(), "1".into());
        let faults = check_settings(&config);
        assert!(faults.len() == 1 && faults[0].key.contains("no.such.setting"), "{faults:?}");
    }
}
