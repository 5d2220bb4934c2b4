//! What the brokers say of the topic: whether it can be counted, asked before the group is joined;
//! its id and what it holds, asked again and again. Each question blocks its caller, never a
//! reader: clients of their own ask.

use super::batch_limit::BatchLimit;
use super::connection_report::ConnectionReport;
use super::errors::{describe, refused};
use super::raw::{self, Client, Extent, Fault};
use super::settings;
use super::tail::NoGroup;
use crate::{Bounds, LogError, Survey, Surveyed};
use parking_lot::{Mutex, MutexGuard};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tally_config::KafkaConfig;
use tally_system::outage::{Cause, Pauses};

/// How long each question about the topic may take.
const ANSWER: Duration = Duration::from_secs(3);

/// How long a broker may take to say what it holds.
const BOUNDS_WITHIN: Duration = Duration::from_secs(5);

/// The client counts in milliseconds: so much before a time it may give up.
const SLACK: Duration = Duration::from_millis(10);

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Number of partitions.
    pub partitions: u32,
    /// Whether `cleanup.policy` contains `compact`; false where the brokers do not let us ask.
    pub compacted: bool,
    /// Its `max.message.bytes`, the largest batch that it takes; `None` where the brokers do not
    /// let us ask.
    pub max_message_bytes: Option<u32>,
}

/// What the brokers say of the topic's settings.
#[derive(Default)]
struct TopicSettings {
    compacted: bool,
    max_message_bytes: Option<u32>,
    /// Why they say nothing, if so.
    unknown: Option<String>,
}

/// After a topic was found unfit or did not answer.
const RETRY: Pauses = Pauses { first: Duration::from_millis(500), longest: Duration::from_secs(5) };

/// Asks the brokers of `[kafka]` about its topic. Blocks for some seconds at most.
///
/// # Errors
/// [`LogError::Transient`]: no broker answers or the topic does not exist; says what to do.
pub fn inspect(config: &KafkaConfig) -> Result<TopicInfo, LogError> {
    inspect_with(&mut MetadataClient::open(config)?)
}

fn inspect_with(asker: &mut MetadataClient) -> Result<TopicInfo, LogError> {
    let partitions = asker.ask(|client| client.partitions(ANSWER))?;
    let TopicSettings { compacted, max_message_bytes, unknown } = topic_settings(&asker.config)?;
    if let Some(reason) = unknown {
        tracing::warn!(
            "could not find out whether the topic is compacted, nor how large batches may be \
             ({reason}): make sure that its cleanup.policy is delete, or grant DESCRIBE_CONFIGS on \
             the topic"
        );
    }
    Ok(TopicInfo { partitions, compacted, max_message_bytes })
}

/// The largest batch that the topic takes, bytes; `None` where the brokers do not let us ask.
/// Blocks for some seconds at most.
pub(super) fn max_message_bytes(config: &KafkaConfig) -> Result<Option<u32>, LogError> {
    Ok(topic_settings(config)?.max_message_bytes)
}

/// Asks on a thread of its own until the topic can be counted: sends what prevents it, and `Ok`
/// last; sets the limit of batches, if that is told. The thread ends when the receiver is dropped.
pub(super) fn wait_until_fit(
    config: &KafkaConfig,
    limit: Arc<BatchLimit>,
) -> Result<Receiver<Result<(), LogError>>, LogError> {
    let (said, answers) = sync_channel(1);
    let mut asker = MetadataClient::open(config)?;
    let ask = move || {
        for tries in 0.. {
            let info = inspect_with(&mut asker);
            if let Ok(TopicInfo { max_message_bytes: Some(bytes), .. }) = info {
                limit.set(bytes);
            }
            let fit = info.and_then(|info| check_fit(&asker.config, info));
            let done = fit.is_ok();
            if said.send(fit).is_err() || done {
                return;
            }
            std::thread::sleep(RETRY.doubled(tries));
        }
    };
    let thread = std::thread::Builder::new().name("kafka-topic".into()).spawn(ask);
    thread.map_err(|fault| {
        LogError::Transient(Cause::Unclear, format!("no thread can be started: {fault}"))
    })?;
    Ok(answers)
}

fn check_fit(config: &KafkaConfig, info: TopicInfo) -> Result<(), LogError> {
    if !info.compacted || config.allow_compacted {
        return Ok(());
    }
    Err(LogError::Transient(
        Cause::Misconfigured,
        format!(
            "topic \"{}\" is compacted, so Kafka deletes events that were counted: use a topic \
             with cleanup.policy=delete, or set [kafka] allow_compacted = true; {}",
            config.topic,
            Cause::Misconfigured.prospect()
        ),
    ))
}

/// The topic's settings, as far as the brokers tell them.
fn topic_settings(config: &KafkaConfig) -> Result<TopicSettings, LogError> {
    let mut client = ClientConfig::new();
    client.extend(settings::admin(config)?);
    let admin: AdminClient<DefaultClientContext> =
        client.create().map_err(|reason| refused(&reason))?;
    let question = [ResourceSpecifier::Topic(&config.topic)];
    let asked =
        admin.describe_configs(&question, &AdminOptions::new().request_timeout(Some(ANSWER)));
    let unknown = match wait(asked, ANSWER * 2) {
        Some(Ok(answers)) => match answers.into_iter().next() {
            Some(Ok(found)) => return Ok(TopicSettings::of(&found)),
            Some(Err(reason)) => reason.to_string(),
            None => "no answer for the topic".to_owned(),
        },
        Some(Err(reason)) => reason.to_string(),
        None => "no answer in time".to_owned(),
    };
    Ok(TopicSettings { unknown: Some(unknown), ..TopicSettings::default() })
}

impl TopicSettings {
    fn of(found: &ConfigResource) -> TopicSettings {
        let value = |name| found.get(name).and_then(|entry| entry.value.as_deref());
        TopicSettings {
            compacted: value("cleanup.policy").is_some_and(|policy| policy.contains("compact")),
            max_message_bytes: value("max.message.bytes").and_then(|bytes| bytes.parse().ok()),
            unknown: None,
        }
    }
}

/// A client that only asks. The error of a question says what is wrong with the connection, where
/// the client reported that.
pub(super) struct MetadataClient {
    config: KafkaConfig,
    client: raw::Consumer,
    connection: ConnectionReport,
}

impl MetadataClient {
    /// A client of the brokers; nothing is asked yet.
    pub(super) fn open(config: &KafkaConfig) -> Result<MetadataClient, LogError> {
        let client = raw::Consumer::new(&settings::tail(config)?, &config.topic)
            .map_err(|reason| refused(&reason))?;
        Ok(MetadataClient {
            config: config.clone(),
            client,
            connection: ConnectionReport::default(),
        })
    }

    pub(super) fn ask<T>(
        &mut self,
        question: impl FnOnce(Client<'_>) -> Result<T, Fault>,
    ) -> Result<T, LogError> {
        if let Some(why) = self.client.client().fatal() {
            tracing::warn!(
                "the Kafka client that asks about the topic failed and is replaced: {why}"
            );
            *self = MetadataClient::open(&self.config)?;
        }
        self.take_reports();
        match question(self.client.client()) {
            Ok(answer) => {
                self.connection.clear();
                Ok(answer)
            }
            Err(fault) => {
                self.take_reports();
                Err(describe(&self.config, self.connection.explain(&fault)))
            }
        }
    }

    /// It reads nothing: what is on its queue are reports of the network.
    fn take_reports(&mut self) {
        let (batch, _, faults) = self.client.poll(Duration::ZERO, 100, &mut NoGroup);
        drop(batch);
        faults.into_iter().for_each(|fault| self.connection.note(fault));
    }

    /// The topic's name, with its id where the brokers give it one.
    fn topic(&mut self, wait: Duration) -> Result<String, LogError> {
        let id = self.ask(|client| client.topic_id(wait))?;
        let topic = &self.config.topic;
        Ok(id.map_or_else(|| topic.clone(), |id| format!("{topic}/{id}")))
    }

    fn extents(&mut self, wait: Duration) -> Result<Vec<Extent>, LogError> {
        let count = self.ask(|client| client.partitions(wait))?;
        let partitions: Vec<u32> = (0..count).collect();
        self.ask(|client| client.extents(&partitions, wait))
    }
}

/// What the topic holds of each partition, asked now.
pub(super) fn bounds(config: &KafkaConfig) -> Result<Vec<Bounds>, LogError> {
    Ok(MetadataClient::open(config)?
        .extents(BOUNDS_WITHIN)?
        .into_iter()
        .map(Bounds::from)
        .collect())
}

/// By partition the offset of the first record of `since_ms` or later; the end of the partition
/// where there is none.
pub(super) fn starts(config: &KafkaConfig, since_ms: i64) -> Result<BTreeMap<u32, u64>, LogError> {
    let mut asker = MetadataClient::open(config)?;
    let extents = asker.extents(BOUNDS_WITHIN)?;
    let start = |Extent { partition, stable, .. }: Extent| {
        let found = asker.ask(|client| client.offset_at(partition, since_ms, BOUNDS_WITHIN))?;
        Ok((partition, found.unwrap_or(stable)))
    };
    extents.into_iter().map(start).collect()
}

/// The same, if the brokers say it until then: each partition is a question of its own.
pub(super) fn starts_until(
    config: &KafkaConfig,
    since_ms: i64,
    until: Instant,
) -> Result<Option<BTreeMap<u32, u64>>, LogError> {
    let left = || until.saturating_duration_since(Instant::now()).min(BOUNDS_WITHIN);
    // A question that is not answered in time is no fault of the brokers.
    let is_over = || left() <= SLACK;
    let in_time = |fault: LogError| if is_over() { Ok(None) } else { Err(fault) };
    let mut asker = MetadataClient::open(config)?;
    let extents = match asker.extents(left()) {
        Ok(extents) => extents,
        Err(fault) => return in_time(fault),
    };
    let mut starts = BTreeMap::new();
    for Extent { partition, stable, .. } in extents {
        if is_over() {
            return Ok(None);
        }
        match asker.ask(|client| client.offset_at(partition, since_ms, left())) {
            Ok(found) => starts.insert(partition, found.unwrap_or(stable)),
            Err(fault) => return in_time(fault),
        };
    }
    Ok(Some(starts))
}

impl From<Extent> for Bounds {
    fn from(extent: Extent) -> Bounds {
        let Extent { partition, start, stable, end } = extent;
        Bounds { partition, start, end: stable, open: end - stable }
    }
}

/// The topic's name and id and what it holds, over a client of its own: any thread may ask, also
/// while the consumer is busy.
pub struct TopicSurvey {
    asker: Mutex<MetadataClient>,
}

impl TopicSurvey {
    /// A client of the brokers; nothing is asked yet.
    ///
    /// # Errors
    /// [`LogError::Fatal`]: a setting of `[kafka]` cannot be used.
    pub fn open(config: &KafkaConfig) -> Result<TopicSurvey, LogError> {
        Ok(TopicSurvey { asker: Mutex::new(MetadataClient::open(config)?) })
    }

    /// The client, once other callers have their answers.
    fn asker(&self, wait: Duration) -> Result<MutexGuard<'_, MetadataClient>, LogError> {
        self.asker.try_lock_for(wait).ok_or_else(|| {
            let busy = "Kafka has not answered an earlier question yet; trying on";
            LogError::Transient(Cause::Passing, busy.to_owned())
        })
    }
}

impl Survey for TopicSurvey {
    fn topic(&self, wait: Duration) -> Result<Option<String>, LogError> {
        self.asker(wait)?.topic(wait).map(Some)
    }

    fn ask(&self, wait: Duration) -> Result<Surveyed, LogError> {
        let deadline = Instant::now() + wait;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut asker = self.asker(wait)?;
        // First: where no broker answers it costs nothing to wait for this, while an administrative
        // question keeps the client busy.
        let partitions = asker.ask(|client| client.partitions(left()))?;
        let topic = asker.topic(left())?;
        let partitions: Vec<u32> = (0..partitions).collect();
        let extents = asker.ask(|client| client.extents(&partitions, left()))?;
        Ok(Surveyed { topic: Some(topic), bounds: extents.into_iter().map(Bounds::from).collect() })
    }
}

/// Runs a future on this thread, parked until it is woken.
fn wait<F: Future>(future: F, limit: Duration) -> Option<F::Output> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let deadline = Instant::now() + limit;
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(output);
        }
        let left = deadline.checked_duration_since(Instant::now())?;
        std::thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_do_without_a_time_waits_for_no_broker() {
        let nobody = KafkaConfig { brokers: "127.0.0.1:1".into(), ..KafkaConfig::default() };
        let found = starts_until(&nobody, 0, Instant::now());
        assert!(matches!(found, Ok(None)), "{found:?}");
    }
}
