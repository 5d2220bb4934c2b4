//! A client that writes, and what is heard of what it sent: acknowledgements, failures, its death.
//!
//! Its thread waits for what librdkafka has to tell, a second at a time, and ends with the client. Whether a dead client is
//! replaced is `producer`'s to say.

use super::raw::{Fault, fault_of};
use super::settings;
use super::told::{cause, told_of_writing};
use crate::config::KafkaConfig;
use crate::source::SourceError;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the thread waits for news at a time.
const NEWS: Duration = Duration::from_secs(1);

/// How long an enqueued record may wait for room.
const ROOM_WITHIN: Duration = Duration::from_secs(20);

/// Failed records told one by one between two looks; more are only counted.
pub(super) const TOLD: usize = 20;

/// A sender that waits for room is woken by so many acknowledgements, not by each.
const ROOM: usize = 500;

/// The client tells the same fault of a connection no oftener than every 30 s; so long it stands for what is seen of it.
const HEARD: Duration = Duration::from_secs(45);

/// A client that writes to the topic of `[kafka]`.
pub(super) struct Sender {
    inner: BaseProducer<Deliveries>,
    topic: String,
}

/// The acknowledgements of one `send`, or of one [`Outbox`]; one thread waits for them.
pub(super) struct Awaited {
    pub(super) state: Mutex<Acknowledged>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct Acknowledged {
    pub(super) answered: usize,
    pub(super) failed: usize,
    /// The waiting thread is woken when so many are answered.
    wanted: usize,
    /// Why the first one failed.
    pub(super) reason: Option<Fault>,
    /// The first few that failed, each a sentence.
    pub(super) told: Vec<String>,
    pub(super) next: BTreeMap<u32, u64>,
}

/// Called by the client's thread.
#[derive(Default)]
struct Deliveries {
    /// The fault of a connection that says most, and when it was told.
    heard: Mutex<Option<(Fault, Instant)>>,
}

impl ClientContext for Deliveries {
    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let fault = Fault { text: reason.to_owned(), ..fault_of(code as i32) };
        let mut heard = self.heard.lock();
        let kept = heard.as_ref().filter(|(_, when)| when.elapsed() < HEARD);
        if kept.is_none_or(|(kept, _)| !cause(kept).tells_more_than(cause(&fault))) {
            *heard = Some((fault, Instant::now()));
        }
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Awaited>;

    fn delivery(&self, result: &DeliveryResult<'_>, awaited: Arc<Awaited>) {
        let mut state = awaited.state.lock();
        state.answered += 1;
        match result {
            Ok(message) => {
                let next = state.next.entry(message.partition() as u32).or_insert(0);
                *next = (*next).max(message.offset() as u64 + 1);
            }
            Err((reason, message)) => {
                state.failed += 1;
                state.reason.get_or_insert_with(|| fault(reason));
                if state.told.len() < TOLD {
                    let key = String::from_utf8_lossy(message.key().unwrap_or_default());
                    state.told.push(format!("an event of user {key} was not acknowledged: {reason}"));
                }
            }
        }
        if state.answered >= state.wanted {
            awaited.changed.notify_all();
        }
    }
}

fn fault(reason: &KafkaError) -> Fault {
    let code = reason.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
    Fault { text: reason.to_string(), ..fault_of(code as i32) }
}

impl Awaited {
    pub(super) fn new() -> Arc<Awaited> {
        Arc::new(Awaited { state: Mutex::default(), changed: Condvar::new() })
    }

    /// Waits until all that were sent are answered for.
    pub(super) fn all(&self, sent: usize) -> MutexGuard<'_, Acknowledged> {
        let mut state = self.state.lock();
        state.wanted = sent;
        while state.answered < sent {
            // librdkafka answers for every message within message.timeout.ms
            self.changed.wait(&mut state);
        }
        state
    }
}

impl Sender {
    /// A client; connecting happens in the background.
    pub(super) fn open(config: &KafkaConfig) -> Result<Arc<Sender>, SourceError> {
        let mut client = ClientConfig::new();
        client.extend(settings::producer(config)?);
        let inner = client.create_with_context(Deliveries::default());
        let inner = inner.map_err(|reason| SourceError::Fatal(format!("[kafka] {reason}")))?;
        let sender = Arc::new(Sender { inner, topic: config.topic.clone() });
        let served = Arc::downgrade(&sender);
        let serve = move || {
            while let Some(sender) = served.upgrade() {
                sender.inner.poll(NEWS);
            }
        };
        let thread = std::thread::Builder::new().name("kafka-written".into()).spawn(serve);
        thread.map_err(|fault| SourceError::Fatal(format!("no thread can be started: {fault}")))?;
        Ok(sender)
    }

    /// Why librdkafka declares it dead, if it does.
    pub(super) fn dead(&self) -> Option<Fault> {
        let (code, text) = self.inner.client().fatal_error()?;
        Some(Fault { text, ..fault_of(code as i32) })
    }

    /// What a fault of what was sent means: of a client that is dead why it died, of a connection what is known of it.
    pub(super) fn told(&self, config: &KafkaConfig, fault: &Fault) -> SourceError {
        if let Some(death) = self.dead() {
            return told_of_writing(config, &death);
        }
        let heard = self.inner.client().context().heard.lock();
        let heard = heard.as_ref().filter(|(_, when)| when.elapsed() < HEARD);
        let heard = heard.filter(|(heard, _)| cause(heard).tells_more_than(cause(fault)));
        told_of_writing(config, heard.map_or(fault, |(heard, _)| heard))
    }

    /// Takes a record; waits for room in the queue, up to 20 s.
    pub(super) fn enqueue(&self, key: &[u8], payload: &[u8], awaited: &Arc<Awaited>, sent: usize) -> Result<(), Fault> {
        let deadline = Instant::now() + ROOM_WITHIN;
        let mut record = BaseRecord::with_opaque_to(&self.topic, Arc::clone(awaited)).key(key).payload(payload);
        loop {
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    record = back
                }
                Err((reason, _)) => return Err(fault(&reason)),
            }
            // Room comes with acknowledgements: of our own, or of other callers, which we do not see.
            let mut state = awaited.state.lock();
            if state.answered < sent {
                state.wanted = sent.min(state.answered + ROOM);
                awaited.changed.wait_for(&mut state, Duration::from_millis(50));
            } else {
                drop(state);
                let _ = self.inner.flush(Duration::from_millis(50)); // full is what it was; the next try tells
            }
        }
    }
}
