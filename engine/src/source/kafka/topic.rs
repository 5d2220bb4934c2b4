//! What the brokers say of the topic: asked once before the group is joined; and its id, asked again and again.

use super::tail::Nobody;
use super::{raw, settings, told};
use crate::config::KafkaConfig;
use crate::source::{Identity, SourceError};
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::RDKafkaErrorCode;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long each of the two questions may take.
const ANSWER: Duration = Duration::from_secs(3);

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Number of partitions.
    pub partitions: u32,
    /// Whether `cleanup.policy` contains `compact`; false where the brokers do not let us ask.
    pub compacted: bool,
}

/// Asks the brokers of `[kafka]` about its topic. Blocks for some seconds at most.
///
/// # Errors
/// [`SourceError::Transient`] when no broker answers or the topic is not there; says what to do.
pub fn inspect(config: &KafkaConfig) -> Result<TopicInfo, SourceError> {
    let (brokers, topic) = (&config.brokers, &config.topic);
    let mut client = ClientConfig::new();
    client.extend(settings::admin(config)?);
    let admin: AdminClient<DefaultClientContext> =
        client.create().map_err(|reason| SourceError::Fatal(format!("[kafka] {reason}")))?;
    let down = |reason: String| {
        SourceError::Transient(format!(
            "no Kafka broker answers at {brokers} ({reason}): check [kafka] brokers and that Kafka runs; trying on"
        ))
    };
    let missing = |reason: String| {
        SourceError::Transient(format!(
            "topic \"{topic}\" is not there on {brokers} ({reason}): create it, or set [kafka] topic; trying on"
        ))
    };

    let metadata = admin.inner().fetch_metadata(Some(topic), ANSWER).map_err(|reason| down(reason.to_string()))?;
    let partitions = match metadata.topics().first() {
        Some(found) if found.error().is_none() && !found.partitions().is_empty() => found.partitions().len() as u32,
        Some(found) => {
            return Err(missing(
                found.error().map_or_else(|| "no partitions".into(), |code| RDKafkaErrorCode::from(code).to_string()),
            ));
        }
        None => return Err(missing("unknown".into())),
    };
    let question = [ResourceSpecifier::Topic(topic)];
    let asked = admin.describe_configs(&question, &AdminOptions::new().request_timeout(Some(ANSWER)));
    let compacted = match wait(asked, ANSWER * 2) {
        Some(Ok(answers)) => match answers.into_iter().next() {
            Some(Ok(found)) => found
                .get("cleanup.policy")
                .and_then(|entry| entry.value.clone())
                .is_some_and(|policy| policy.contains("compact")),
            _ => unknown("no answer for the topic"),
        },
        Some(Err(reason)) => unknown(&reason.to_string()),
        None => unknown("no answer in time"),
    };
    Ok(TopicInfo { partitions, compacted })
}

/// Tells the topic's name and id, over a client of its own: any thread may ask, also while the consumer is busy.
pub struct TopicIdentity {
    config: KafkaConfig,
    client: Mutex<raw::Consumer>,
}

impl TopicIdentity {
    /// A client of the brokers; nothing is asked yet.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] for settings that cannot be.
    pub fn open(config: &KafkaConfig) -> Result<TopicIdentity, SourceError> {
        let client = raw::Consumer::new(&settings::tail(config)?, &config.topic)
            .map_err(|reason| SourceError::Fatal(format!("[kafka] {reason}")))?;
        Ok(TopicIdentity { config: config.clone(), client: Mutex::new(client) })
    }
}

impl Identity for TopicIdentity {
    fn ask(&self, wait: Duration) -> Result<String, SourceError> {
        let mut client = self.client.lock();
        // It reads nothing; what it was told of the network since is taken off its queue.
        drop(client.poll(Duration::ZERO, 100, &mut Nobody));
        let id = client.client().topic_id(wait).map_err(|fault| told(&self.config, &fault))?;
        let topic = &self.config.topic;
        Ok(id.map_or_else(|| topic.clone(), |id| format!("{topic}/{id}")))
    }
}

fn unknown(reason: &str) -> bool {
    tracing::warn!(
        "whether the topic is compacted could not be asked ({reason}): make sure that its cleanup.policy is delete"
    );
    false
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
