//! A topic of Apache Kafka as the log. Offsets are kept with the state and never read from Kafka.
//!
//! `source` counts, as a member of a group (`replay`: outside of it); `tail` and `reader` read
//! outside the group, too; `producer` and `bulk_producer` append, over a `sender`, which
//! `live_sender` replaces; `topic` asks the brokers what the topic is and holds, `batch_limit` is
//! how much it takes at once. `settings` are those of each client, `errors` what a fault means,
//! `write_failure` what it means for a record, `connection_report` what explains one,
//! `origin_headers` how a copy states its origin, `stall` and
//! `skipped_offsets` arithmetic of the source. All that is unsafe is in `raw`.

mod batch_limit;
mod bulk_producer;
mod check_settings;
mod connection_report;
mod errors;
mod live_sender;
#[cfg(test)]
mod mock_cluster;
mod origin_headers;
mod producer;
mod raw;
mod reader;
mod replay;
mod sender;
mod settings;
mod skipped_offsets;
mod source;
mod stall;
mod tail;
mod topic;
mod write_failure;

pub use bulk_producer::BulkProducer;
pub use producer::{ProduceError, Producer};
pub use source::KafkaSource;
pub use tail::KafkaTail;
pub use topic::{TopicInfo, TopicSurvey, inspect};

use super::kind::LogKind;
use super::{
    AppendError, AppendOutcome, Bounds, Log, LogError, LogReader, RecordCopy, Source, Survey, Tail,
    Wanted,
};
use batch_limit::BatchLimit;
use reader::KafkaReader;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tally_config::{KafkaConfig, SourceKind, StartAt};
use tally_progress::Position;

pub(super) const KIND: LogKind = LogKind {
    kind: SourceKind::Kafka,
    open: |config, _| Ok(Arc::new(KafkaLog::open(&config.kafka)?)),
    open_producer: |config| Ok(Some(Box::new(BulkProducer::open(&config.kafka)?))),
    check_settings: |config| {
        // The client library is asked only where it is to be used: asking takes some milliseconds.
        let used = config.source.kind == SourceKind::Kafka || !config.kafka.settings.is_empty();
        if used { check_settings::check_settings(&config.kafka) } else { Vec::new() }
    },
};

/// The topic of `[kafka]`, as the engine sees it.
pub struct KafkaLog {
    config: KafkaConfig,
    producer: Producer,
    survey: Arc<TopicSurvey>,
    /// Found out by the source that asks about the topic, and kept to by the producer.
    limit: Arc<BatchLimit>,
}

impl KafkaLog {
    /// Clients that append and ask; they connect in the background.
    ///
    /// # Errors
    /// [`LogError::Fatal`]: a setting of `[kafka]` cannot be used.
    pub fn open(config: &KafkaConfig) -> Result<KafkaLog, LogError> {
        let limit = Arc::new(BatchLimit::default());
        let producer = Producer::new(config, Arc::clone(&limit))?;
        let survey = Arc::new(TopicSurvey::open(config)?);
        Ok(KafkaLog { config: config.clone(), producer, survey, limit })
    }
}

impl Log for KafkaLog {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    fn name(&self) -> &str {
        &self.config.topic
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn begins_at_end(&self) -> bool {
        self.config.start == StartAt::Latest
    }

    fn source(&self) -> Result<Box<dyn Source>, LogError> {
        Ok(Box::new(KafkaSource::new(&self.config, None, Arc::clone(&self.limit))?))
    }

    fn replay(&self, wanted: Wanted) -> Result<Box<dyn Source>, LogError> {
        Ok(Box::new(KafkaSource::replay(&self.config, wanted)?))
    }

    fn tail(&self, from: &Position) -> Result<Box<dyn Tail>, LogError> {
        Ok(Box::new(KafkaTail::open(&self.config, from)?))
    }

    fn range(&self, partition: u32, from: u64, to: u64) -> Result<Box<dyn LogReader>, LogError> {
        Ok(Box::new(KafkaReader::open(&self.config, partition, from, to)?))
    }

    fn bounds(&self) -> Result<Vec<Bounds>, LogError> {
        topic::bounds(&self.config)
    }

    fn starts(&self, since_ms: i64) -> Result<BTreeMap<u32, u64>, LogError> {
        topic::starts(&self.config, since_ms)
    }

    fn starts_until(
        &self,
        since_ms: i64,
        until: Instant,
    ) -> Result<Option<BTreeMap<u32, u64>>, LogError> {
        topic::starts_until(&self.config, since_ms, until)
    }

    fn append(&self, records: &[(&[u8], &[u8])], _: i64) -> Result<AppendOutcome, AppendError> {
        Ok(self.producer.send(records)?)
    }

    fn append_copies(
        &self,
        records: &[RecordCopy<'_>],
        _: i64,
    ) -> Result<AppendOutcome, AppendError> {
        Ok(self.producer.send_copies(records)?)
    }

    fn writing(&self) -> Result<String, String> {
        self.producer.writing()
    }

    fn survey(&self) -> Arc<dyn Survey> {
        self.survey.clone()
    }
}
