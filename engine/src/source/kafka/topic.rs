//! What the brokers say of the topic: whether it is fit, asked before the group is joined; and its id and what it holds, asked again
//! and again. Nobody who reads is kept waiting: who asks does so on a thread of its own.

use super::raw::{self, Client, Fault};
use super::settings;
use super::tail::Nobody;
use super::told::{cause, told};
use crate::config::KafkaConfig;
use crate::outage::Cause;
use crate::source::{Bounds, SourceError, Survey, Surveyed};
use parking_lot::{Mutex, MutexGuard};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How long each of the two questions may take.
const ANSWER: Duration = Duration::from_secs(3);

/// The client tells the same fault of a connection no oftener than every 30 s; so long it stands for what is seen of it.
const HEARD: Duration = Duration::from_secs(45);

/// What is known of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Number of partitions.
    pub partitions: u32,
    /// Whether `cleanup.policy` contains `compact`; false where the brokers do not let us ask.
    pub compacted: bool,
}

/// A topic that is not fit, or does not answer, is asked about again after so long, twice as long each time.
const AGAIN: Duration = Duration::from_millis(500);

/// Longest pause before it is asked about again.
const AGAIN_AT_MOST: Duration = Duration::from_secs(5);

/// Asks the brokers of `[kafka]` about its topic. Blocks for some seconds at most.
///
/// # Errors
/// [`SourceError::Transient`] when no broker answers or the topic is not there; says what to do.
pub fn inspect(config: &KafkaConfig) -> Result<TopicInfo, SourceError> {
    inspect_by(&mut Asker::open(config)?)
}

fn inspect_by(asker: &mut Asker) -> Result<TopicInfo, SourceError> {
    let partitions = asker.ask(|client| client.partitions(ANSWER))?;
    Ok(TopicInfo { partitions, compacted: compacted(&asker.config)? })
}

/// Asks on a thread of its own until the topic is fit to be counted: then comes `Ok` and nothing more, before it what is in the
/// way. Ends when nobody listens any more.
pub(super) fn until_fit(config: &KafkaConfig) -> Result<Receiver<Result<(), SourceError>>, SourceError> {
    let (said, answers) = sync_channel(1);
    let mut asker = Asker::open(config)?;
    let ask = move || {
        let mut pause = AGAIN;
        loop {
            let fit = inspect_by(&mut asker).and_then(|info| fit(&asker.config, info));
            let done = fit.is_ok();
            if said.send(fit).is_err() || done {
                return;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(AGAIN_AT_MOST);
        }
    };
    let thread = std::thread::Builder::new().name("kafka-topic".into()).spawn(ask);
    thread.map_err(|fault| SourceError::Transient(Cause::Unclear, format!("no thread can be started: {fault}")))?;
    Ok(answers)
}

fn fit(config: &KafkaConfig, info: TopicInfo) -> Result<(), SourceError> {
    if !info.compacted || config.allow_compacted {
        return Ok(());
    }
    Err(SourceError::Transient(
        Cause::Misconfigured,
        format!(
            "topic \"{}\" is compacted, so Kafka removes events that were counted: use a topic with cleanup.policy=delete, or set [kafka] allow_compacted = true; {}",
            config.topic,
            Cause::Misconfigured.prospect()
        ),
    ))
}

/// Whether the topic's `cleanup.policy` contains `compact`.
fn compacted(config: &KafkaConfig) -> Result<bool, SourceError> {
    let mut client = ClientConfig::new();
    client.extend(settings::admin(config)?);
    let admin: AdminClient<DefaultClientContext> =
        client.create().map_err(|reason| SourceError::Fatal(format!("[kafka] {reason}")))?;
    let question = [ResourceSpecifier::Topic(&config.topic)];
    let asked = admin.describe_configs(&question, &AdminOptions::new().request_timeout(Some(ANSWER)));
    Ok(match wait(asked, ANSWER * 2) {
        Some(Ok(answers)) => match answers.into_iter().next() {
            Some(Ok(found)) => found
                .get("cleanup.policy")
                .and_then(|entry| entry.value.clone())
                .is_some_and(|policy| policy.contains("compact")),
            Some(Err(reason)) => unknown(&reason.to_string()),
            None => unknown("no answer for the topic"),
        },
        Some(Err(reason)) => unknown(&reason.to_string()),
        None => unknown("no answer in time"),
    })
}

/// A client that only asks. A question that fails says what is wrong with the connection, as far as the client was told:
/// a refused password is seen as no answer.
pub(super) struct Asker {
    config: KafkaConfig,
    client: raw::Consumer,
    /// The fault of a connection that says most, and when it was told.
    heard: Option<(Fault, Instant)>,
}

impl Asker {
    /// A client of the brokers; nothing is asked yet.
    pub(super) fn open(config: &KafkaConfig) -> Result<Asker, SourceError> {
        let client = raw::Consumer::new(&settings::tail(config)?, &config.topic)
            .map_err(|reason| SourceError::Fatal(format!("[kafka] {reason}")))?;
        Ok(Asker { config: config.clone(), client, heard: None })
    }

    pub(super) fn ask<T>(&mut self, question: impl FnOnce(Client<'_>) -> Result<T, Fault>) -> Result<T, SourceError> {
        if let Some(why) = self.client.client().fatal() {
            tracing::warn!("the Kafka client that asks is made anew, for it cannot go on: {why}");
            *self = Asker::open(&self.config)?;
        }
        self.listen();
        match question(self.client.client()) {
            Ok(answer) => {
                self.heard = None;
                Ok(answer)
            }
            Err(fault) => {
                self.listen();
                let heard = self.heard.as_ref().filter(|(_, when)| when.elapsed() < HEARD);
                let heard = heard.filter(|(heard, _)| cause(heard).tells_more_than(cause(&fault)));
                Err(told(&self.config, heard.map_or(&fault, |(heard, _)| heard)))
            }
        }
    }

    /// It reads nothing; what it was told of the network since is taken off its queue.
    fn listen(&mut self) {
        let (batch, _, faults) = self.client.poll(Duration::ZERO, 100, &mut Nobody);
        drop(batch);
        for fault in faults {
            let kept = self.heard.as_ref().filter(|(_, when)| when.elapsed() < HEARD);
            if kept.is_none_or(|(kept, _)| !cause(kept).tells_more_than(cause(&fault))) {
                self.heard = Some((fault, Instant::now()));
            }
        }
    }
}

/// Tells the topic's name and id and what it holds, over a client of its own: any thread may ask, also while the consumer is busy.
pub struct TopicSurvey {
    asker: Mutex<Asker>,
}

impl TopicSurvey {
    /// A client of the brokers; nothing is asked yet.
    ///
    /// # Errors
    /// [`SourceError::Fatal`] for settings that cannot be.
    pub fn open(config: &KafkaConfig) -> Result<TopicSurvey, SourceError> {
        Ok(TopicSurvey { asker: Mutex::new(Asker::open(config)?) })
    }

    /// The client, once others that ask are answered.
    fn asker(&self, wait: Duration) -> Result<MutexGuard<'_, Asker>, SourceError> {
        self.asker.try_lock_for(wait).ok_or_else(|| {
            let busy = "another question to Kafka is not answered yet; trying on";
            SourceError::Transient(Cause::Passing, busy.to_owned())
        })
    }
}

impl Asker {
    fn topic(&mut self, wait: Duration) -> Result<String, SourceError> {
        let id = self.ask(|client| client.topic_id(wait))?;
        let topic = &self.config.topic;
        Ok(id.map_or_else(|| topic.clone(), |id| format!("{topic}/{id}")))
    }
}

impl Survey for TopicSurvey {
    fn topic(&self, wait: Duration) -> Result<Option<String>, SourceError> {
        self.asker(wait)?.topic(wait).map(Some)
    }

    fn ask(&self, wait: Duration) -> Result<Surveyed, SourceError> {
        let deadline = Instant::now() + wait;
        let left = || deadline.saturating_duration_since(Instant::now());
        let mut asker = self.asker(wait)?;
        // First: where no broker answers it costs nothing to wait for this, while an administrative question keeps the client busy.
        let partitions = asker.ask(|client| client.partitions(left()))?;
        let topic = asker.topic(left())?;
        let partitions: Vec<u32> = (0..partitions).collect();
        let extents = asker.ask(|client| client.extents(&partitions, left()))?;
        Ok(Surveyed { topic: Some(topic), bounds: extents.into_iter().map(Bounds::from).collect() })
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
