//! A client that writes, and what becomes of what it sent: acknowledgements, failures, its death.
//!
//! Its thread waits for librdkafka's reports, a second at a time, and ends with the client. Who
//! uses it decides when a dead or spent client is replaced, `write_failure` what an error code
//! means for a record and for the client.

use super::connection_report::ConnectionReport;
use super::errors::{describe_writing, refused};
use super::origin_headers::headers_of;
use super::raw::{Fault, fault_of, is_unwritten};
use super::settings::{self, Settings};
use super::write_failure::{Loss, WriteFailure, disowns, write_failure};
use crate::{LogError, RecordCopy};
use parking_lot::{Condvar, Mutex, MutexGuard};
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tally_config::KafkaConfig;
use tally_event::RecordOrigin;

/// How long the thread waits for reports at a time.
const REPORTS: Duration = Duration::from_secs(1);

/// How long an enqueued record may wait for room.
const ROOM_WITHIN: Duration = Duration::from_secs(20);

/// Failed records listed one by one until they are taken; more are only counted.
pub(super) const LISTED: usize = 20;

/// A thread that waits for room is woken by so many acknowledgements, not by each.
const ROOM: usize = 500;

/// After so many records that failed a client is spent. Brokers know it by an id and an epoch, and
/// librdkafka raises the epoch after each batch that is refused; 32,767 is followed by 0, which
/// brokers refuse, or take for batches that they have. So half of the epochs at least are left.
const SPENT: u32 = 16_384;

/// A client that writes to the topic of `[kafka]`.
pub(super) struct Sender {
    inner: BaseProducer<Reports>,
    topic: String,
}

/// The deliveries of one `send`, or of one `BulkProducer`; one thread waits for them.
pub(super) struct Deliveries {
    pub(super) state: Mutex<Delivered>,
    changed: Condvar,
    /// Whether there are refused records, for those who ask often.
    refusing: AtomicBool,
}

#[derive(Default)]
pub(super) struct Delivered {
    /// Of which so many are acknowledged, so many failed, and the others are `refused`.
    answered: usize,
    pub(super) acknowledged: usize,
    pub(super) failed: usize,
    /// The waiting thread is woken when so many are answered.
    wanted: usize,
    /// The worst loss.
    pub(super) worst: Option<(Loss, Fault)>,
    /// The first few that failed, one text each.
    pub(super) failures: Vec<String>,
    /// Those that were refused with their batch, until they are taken: they may be sent again
    /// alone. No more than were under way.
    pub(super) refused: Vec<RefusedRecord>,
    /// Whether one of them was refused for a size.
    pub(super) oversized: bool,
    pub(super) next: BTreeMap<u32, u64>,
}

/// A record that is to be sent.
#[derive(Clone, Copy)]
pub(super) struct OutgoingRecord<'a> {
    key: &'a [u8],
    payload: &'a [u8],
    /// Where it first was, if it is a copy.
    origin: Option<RecordOrigin<'a>>,
}

impl<'a> OutgoingRecord<'a> {
    pub(super) fn new(key: &'a [u8], payload: &'a [u8]) -> OutgoingRecord<'a> {
        OutgoingRecord { key, payload, origin: None }
    }

    /// A copy.
    pub(super) fn copy(copy: RecordCopy<'a>) -> OutgoingRecord<'a> {
        let RecordCopy { key, payload, origin } = copy;
        OutgoingRecord { key, payload, origin: Some(origin) }
    }
}

/// A record that was refused with its batch.
pub(super) struct RefusedRecord {
    pub(super) index: usize,
    pub(super) key: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// Why a record was not acknowledged.
pub(super) struct FailedRecord {
    pub(super) failure: WriteFailure,
    pub(super) fault: Fault,
}

impl FailedRecord {
    fn of(reason: &KafkaError, is_unwritten: bool) -> FailedRecord {
        let code = reason.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        FailedRecord {
            failure: write_failure(code, is_unwritten),
            fault: Fault { text: reason.to_string(), ..fault_of(code as i32) },
        }
    }
}

/// A record under way: whose it is, and its index there.
struct SentRecord {
    deliveries: Arc<Deliveries>,
    index: usize,
}

/// Called by the client's thread.
#[derive(Default)]
struct Reports {
    connection: Mutex<ConnectionReport>,
    /// How many records failed.
    failures: AtomicU32,
    /// What the brokers said that disowns the client.
    disowned: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl Reports {
    fn note_failure(&self, reason: &KafkaError) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if let Some(code) = reason.rdkafka_error_code()
            && disowns(code)
        {
            *self.disowned.lock() = Some((code, reason.to_string()));
            self.failures.fetch_max(SPENT, Ordering::Relaxed);
        }
    }
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let fault = Fault { text: reason.to_owned(), ..fault_of(code as i32) };
        self.connection.lock().note(fault);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<SentRecord>;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: Box<SentRecord>) {
        let SentRecord { deliveries, index } = *sent;
        let mut state = deliveries.state.lock();
        state.answered += 1;
        match result {
            Ok(message) => {
                self.connection.lock().clear();
                state.acknowledged += 1;
                let next = state.next.entry(message.partition() as u32).or_insert(0);
                *next = (*next).max(message.offset() as u64 + 1);
            }
            Err((reason, message)) => {
                self.note_failure(reason);
                let FailedRecord { failure, fault } =
                    FailedRecord::of(reason, is_unwritten(message));
                let key = message.key().unwrap_or_default();
                match failure {
                    WriteFailure::Lost(loss) => state.lose(key, reason, (loss, fault)),
                    WriteFailure::TooLarge | WriteFailure::Beside => {
                        state.oversized |= failure == WriteFailure::TooLarge;
                        let (key, payload) = (key.to_vec(), message.payload().unwrap_or_default());
                        state.refused.push(RefusedRecord { index, key, payload: payload.to_vec() });
                        deliveries.refusing.store(true, Ordering::Relaxed);
                    }
                }
            }
        }
        if state.answered >= state.wanted {
            deliveries.changed.notify_all();
        }
    }
}

impl Delivered {
    fn lose(&mut self, key: &[u8], reason: &KafkaError, (loss, fault): (Loss, Fault)) {
        self.failed += 1;
        if self.worst.as_ref().is_none_or(|(worst, _)| *worst < loss) {
            self.worst = Some((loss, fault));
        }
        if self.failures.len() < LISTED {
            let key = String::from_utf8_lossy(key);
            self.failures.push(format!("an event of user {key} was not acknowledged: {reason}"));
        }
    }
}

impl Deliveries {
    pub(super) fn new() -> Arc<Deliveries> {
        Arc::new(Deliveries {
            state: Mutex::default(),
            changed: Condvar::new(),
            refusing: AtomicBool::new(false),
        })
    }

    /// What was refused with its batch since the last call.
    pub(super) fn take_refused(&self) -> Vec<RefusedRecord> {
        if !self.refusing.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut state = self.state.lock();
        self.refusing.store(false, Ordering::Relaxed);
        std::mem::take(&mut state.refused)
    }

    /// Waits until all that were sent are acknowledged, failed or refused.
    pub(super) fn all(&self, sent: usize) -> MutexGuard<'_, Delivered> {
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
    /// A client with batches of at most this size; connecting happens in the background.
    pub(super) fn open(config: &KafkaConfig, batch: u32) -> Result<Arc<Sender>, LogError> {
        Sender::with(config, settings::batching_producer(config, batch)?)
    }

    /// A client that sends each record in a batch of its own.
    pub(super) fn open_lone(config: &KafkaConfig) -> Result<Arc<Sender>, LogError> {
        Sender::with(config, settings::lone_producer(config)?)
    }

    fn with(config: &KafkaConfig, settings: Settings) -> Result<Arc<Sender>, LogError> {
        let mut client = ClientConfig::new();
        client.extend(settings);
        let inner = client.create_with_context(Reports::default());
        let inner = inner.map_err(|reason| refused(&reason))?;
        let sender = Arc::new(Sender { inner, topic: config.topic.clone() });
        let served = Arc::downgrade(&sender);
        let serve = move || {
            while let Some(sender) = served.upgrade() {
                sender.inner.poll(REPORTS);
            }
        };
        let thread = std::thread::Builder::new().name("kafka-written".into()).spawn(serve);
        thread.map_err(|fault| LogError::Fatal(format!("no thread can be started: {fault}")))?;
        Ok(sender)
    }

    /// Why nothing more can be sent over it, if so: librdkafka declared it dead, or the brokers
    /// disown it, which librdkafka takes for the fault of one batch.
    pub(super) fn death(&self) -> Option<Fault> {
        let client = self.inner.client();
        let disowned = || client.context().disowned.lock().clone();
        let (code, text) = client.fatal_error().or_else(disowned)?;
        Some(Fault { text, ..fault_of(code as i32) })
    }

    /// Whether it should be replaced, also where it works: the brokers disown it, or its epochs may
    /// be used up before long.
    pub(super) fn is_spent(&self) -> bool {
        self.inner.client().context().failures.load(Ordering::Relaxed) >= SPENT
    }

    /// As if librdkafka had reported a fault of the connection.
    #[cfg(test)]
    pub(super) fn report(&self, code: RDKafkaErrorCode) {
        self.inner.client().context().error(KafkaError::Global(code), "reported by a test");
    }

    /// The error of what was not sent: of a client that is dead why it died, of a connection the
    /// report that says most.
    pub(super) fn describe(&self, config: &KafkaConfig, fault: &Fault) -> LogError {
        if let Some(death) = self.death() {
            return describe_writing(config, &death);
        }
        describe_writing(config, self.inner.client().context().connection.lock().explain(fault))
    }

    /// Queues a record under its `index`, after so many that were `sent`; waits for
    /// room in the queue, up to 20 s.
    pub(super) fn enqueue(
        &self,
        OutgoingRecord { key, payload, origin }: OutgoingRecord<'_>,
        index: usize,
        deliveries: &Arc<Deliveries>,
        sent: usize,
    ) -> Result<(), FailedRecord> {
        let deadline = Instant::now() + ROOM_WITHIN;
        let opaque = Box::new(SentRecord { deliveries: Arc::clone(deliveries), index });
        let mut record = BaseRecord::with_opaque_to(&self.topic, opaque).key(key).payload(payload);
        if let Some(origin) = origin {
            record = record.headers(headers_of(origin));
        }
        loop {
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if Instant::now() < deadline =>
                {
                    record = back
                }
                // what was never queued was never sent
                Err((reason, _)) => return Err(FailedRecord::of(&reason, true)),
            }
            // Acknowledgements make room: our own, or those of other callers, which we do not see.
            let mut state = deliveries.state.lock();
            if state.answered < sent {
                state.wanted = sent.min(state.answered + ROOM);
                deliveries.changed.wait_for(&mut state, Duration::from_millis(50));
            } else {
                drop(state);
                // whether there is room now shows the next try
                let _ = self.inner.flush(Duration::from_millis(50));
            }
        }
    }
}
