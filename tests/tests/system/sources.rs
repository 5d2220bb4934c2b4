//! The contract of logs, kept on real Apache Kafka; and what only Kafka can do to a source.
#![allow(clippy::print_stdout, reason = "measurements and seeds are printed")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tally_engine::config::KafkaConfig;
use tally_engine::event::{Position, Record};
use tally_engine::log::contract::{self, World};
use tally_engine::log::kafka::{KafkaLog, KafkaSource, KafkaTail, Producer, TopicSurvey, inspect};
use tally_engine::log::{Bounds, Log, LogError, Sink, Source, Start, Survey, Tail};
use tally_engine::outage::Cause;
use tally_tests::kafka::Kafka;

struct Topic<'a> {
    kafka: &'a Kafka,
    config: KafkaConfig,
    log: Arc<KafkaLog>,
    /// Whether its sources read outside the group.
    alone: bool,
}

impl Topic<'_> {
    fn new(kafka: &Kafka, config: KafkaConfig, alone: bool) -> Topic<'_> {
        let log = Arc::new(KafkaLog::open(&config).unwrap());
        Topic { kafka, config, log, alone }
    }
}

impl World for Topic<'_> {
    fn log(&mut self) -> Arc<dyn Log> {
        self.log.clone()
    }

    fn partitions(&self) -> u32 {
        4
    }

    fn append(&mut self, partition: u32, payloads: &[Vec<u8>]) {
        self.kafka.produce(&self.config.topic, partition as i32, payloads).unwrap();
    }

    fn source(&mut self) -> Box<dyn Source> {
        if self.alone {
            self.log.replay(Box::new(|| vec![0, 1, 2, 3])).unwrap()
        } else {
            self.log.source().unwrap()
        }
    }

    fn truncate(&mut self, partition: u32) -> bool {
        self.kafka.delete_before(&self.config.topic, partition as i32, 200).unwrap();
        true
    }

    fn hole(&mut self, partition: u32) -> bool {
        let payloads = [b"aborted".to_vec(), b"aborted".to_vec()];
        self.kafka
            .produce_in_transaction(&self.config.topic, partition as i32, &payloads, false)
            .unwrap();
        self.kafka
            .produce_in_transaction(&self.config.topic, partition as i32, &payloads[..1], true)
            .unwrap();
        true
    }

    fn shares(&self) -> bool {
        !self.alone
    }
}

fn config(kafka: &Kafka, topic: &str) -> KafkaConfig {
    KafkaConfig {
        brokers: kafka.brokers(),
        topic: topic.into(),
        group: format!("group-{topic}"),
        session_timeout_ms: 2_000,
        ..KafkaConfig::default()
    }
}

/// Counts, and keeps its own positions, as an engine does: what it has seen it does not ask for
/// again.
#[derive(Default)]
struct Count {
    next: BTreeMap<u32, u64>,
    /// How often partitions were assigned.
    assigned: usize,
    seen: u64,
    bytes: u64,
}

impl Sink for Count {
    fn assigned(&mut self, partitions: &[u32]) -> Vec<Start> {
        self.assigned += 1;
        partitions
            .iter()
            .map(|partition| {
                self.next.get(partition).map_or(Start::Earliest, |next| Start::At(*next))
            })
            .collect()
    }
    fn revoked(&mut self, _: &[u32], _: bool) {}
    fn records(&mut self, partition: u32, records: &[Record<'_>]) {
        if let Some(last) = records.last() {
            self.next.insert(partition, last.offset + 1);
        }
        self.seen += records.len() as u64;
        self.bytes += records
            .iter()
            .filter_map(|record| record.payload)
            .map(|payload| u64::from(payload[0]))
            .sum::<u64>();
    }
    fn passed(&mut self, partition: u32, to: u64) {
        self.next.insert(partition, to);
    }
    fn gap(&mut self, partition: u32, from: u64, to: u64) {
        panic!("gap in {partition}: {from} to {to}");
    }
}

/// One broker for all of it: starting one takes five seconds.
#[test]
fn kafka() {
    let mut kafka = Kafka::start().unwrap();
    for (topic, settings) in [
        ("classic", BTreeMap::new()),
        ("kip848", BTreeMap::from([("group.protocol".to_owned(), "consumer".into())])),
    ] {
        kafka.create_topic(topic, 4, &[]).unwrap();
        let config = KafkaConfig { settings, ..config(&kafka, topic) };
        contract::run(&mut Topic::new(&kafka, config, false));
        println!("contract kept: {topic}");
    }
    kafka.create_topic("replay", 4, &[]).unwrap();
    contract::run(&mut Topic::new(&kafka, config(&kafka, "replay"), true));
    a_replay_follows_the_partitions_that_are_wanted(&kafka);
    a_compacted_topic_is_refused(&kafka);
    a_stall_is_seen_and_markers_are_none(&kafka);
    a_topic_has_an_id_that_goes_with_it(&kafka);
    a_producer_is_acknowledged_and_a_tail_reads_it(&kafka);
    an_unknown_topic_is_told_and_waited_for(&kafka);
    a_broker_that_crashes_is_told_and_waited_for(&mut kafka);
}

fn a_replay_follows_the_partitions_that_are_wanted(kafka: &Kafka) {
    kafka.create_topic("wanted", 2, &[]).unwrap();
    let config = config(kafka, "wanted");
    let wanted = Arc::new(Mutex::new(vec![0]));
    let asked = wanted.clone();
    let mut source =
        KafkaSource::replay(&config, Box::new(move || asked.lock().unwrap().clone())).unwrap();
    kafka.produce("wanted", 0, &[b"a".to_vec(), b"b".to_vec()]).unwrap();
    kafka.produce("wanted", 1, &[b"c".to_vec()]).unwrap();
    let mut count = Count::default();
    let until = |source: &mut KafkaSource, count: &mut Count, seen: &[(u32, u64)]| {
        let begun = Instant::now();
        while count.next != seen.iter().copied().collect() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "{:?} instead of {seen:?}",
                count.next
            );
            source.poll(Duration::from_millis(50), 100, count).unwrap();
        }
    };
    until(&mut source, &mut count, &[(0, 2)]);
    source.pause(0);
    *wanted.lock().unwrap() = vec![1];
    until(&mut source, &mut count, &[(0, 2), (1, 1)]);
    // Taken on again: from where its sink says it stands, and no longer paused.
    *wanted.lock().unwrap() = vec![0, 1];
    kafka.produce("wanted", 0, &[b"d".to_vec()]).unwrap();
    until(&mut source, &mut count, &[(0, 3), (1, 1)]);
    assert_eq!(count.seen, 4);
    Box::new(source).close(Duration::from_secs(5));
}

fn a_compacted_topic_is_refused(kafka: &Kafka) {
    kafka.create_topic("compacted", 1, &[("cleanup.policy", "compact")]).unwrap();
    let fault = first_fault(&mut KafkaSource::open(&config(kafka, "compacted")).unwrap());
    let told =
        |text: &str| text.contains("allow_compacted") && text.contains("waiting does not fix this");
    assert!(
        matches!(&fault, LogError::Transient(Cause::Misconfigured, text) if told(text)),
        "{fault}"
    );
    let config = KafkaConfig { allow_compacted: true, ..config(kafka, "compacted") };
    let (mut source, mut count) = (KafkaSource::open(&config).unwrap(), Count::default());
    let started = Instant::now();
    while count.assigned == 0 {
        assert!(started.elapsed() < Duration::from_secs(30), "it is not read though it may be");
        source.poll(Duration::from_millis(50), 10, &mut count).unwrap();
    }
}

fn a_stall_is_seen_and_markers_are_none(kafka: &Kafka) {
    kafka.create_topic("stall", 1, &[]).unwrap();
    kafka.produce("stall", 0, &vec![b"x".to_vec(); 100]).unwrap();
    let config = config(kafka, "stall");
    let mut source = KafkaSource::open(&config).unwrap();
    let mut count = Count::default();
    until(&mut source, &mut count, 100);
    // It ends with records that nobody sees, and with markers.
    let mut topic = Topic::new(kafka, config.clone(), false);
    topic.hole(0);
    source.set_patience(Duration::ZERO);
    let caught_up = |source: &mut KafkaSource, count: &mut Count| {
        for _ in 0..20 {
            source.poll(Duration::from_millis(50), 1_000, count).unwrap();
        }
    };
    caught_up(&mut source, &mut count);
    let survey = |source: &mut KafkaSource, count: &mut Count| {
        let bounds = topic.log.bounds().unwrap();
        source.surveyed(&bounds, count).unwrap();
        bounds[0].end
    };
    let end = survey(&mut source, &mut count);
    assert_eq!(end, count.next[&0], "markers and what was aborted are passed");
    survey(&mut source, &mut count);
    assert_eq!((source.stalled(), count.seen), (vec![], 101), "the end was reached");

    // Nothing is polled while there is more: as good as nothing comes.
    kafka.produce("stall", 0, &vec![b"y".to_vec(); 50]).unwrap();
    survey(&mut source, &mut count);
    survey(&mut source, &mut count);
    assert_eq!(source.stalled(), [0]);
    until(&mut source, &mut count, 151);
    caught_up(&mut source, &mut count);
    survey(&mut source, &mut count);
    assert_eq!(
        (source.stalled(), count.seen),
        (vec![], 151),
        "each once, also of what was fetched before the restart"
    );
    Box::new(source).close(Duration::from_secs(5));
}

fn a_topic_has_an_id_that_goes_with_it(kafka: &Kafka) {
    let wait = Duration::from_secs(5);
    let survey = TopicSurvey::open(&config(kafka, "named")).unwrap();
    assert!(
        matches!(survey.topic(wait), Err(LogError::Transient(Cause::Missing, text)) if text.contains("create it"))
    );
    kafka.create_topic("named", 1, &[]).unwrap();
    let first = survey.topic(wait).unwrap().unwrap();
    assert!(first.starts_with("named/") && first.len() > 20, "{first}");
    assert_eq!(survey.topic(wait).unwrap(), Some(first.clone()));
    assert_eq!(
        survey.ask(wait).unwrap().bounds,
        [Bounds { partition: 0, start: 0, end: 0, open: 0 }]
    );
    kafka.delete_topic("named").unwrap();
    kafka.create_topic("named", 1, &[]).unwrap();
    assert_ne!(survey.topic(wait).unwrap(), Some(first));
}

fn a_producer_is_acknowledged_and_a_tail_reads_it(kafka: &Kafka) {
    kafka.create_topic("produced", 3, &[]).unwrap();
    let config = config(kafka, "produced");
    assert_eq!(inspect(&config).unwrap().partitions, 3);
    let producer = Producer::open(&config).unwrap();
    let keys: Vec<Vec<u8>> = (0..3_000u32).map(|n| (n % 50).to_string().into_bytes()).collect();
    let records: Vec<(&[u8], &[u8])> =
        keys.iter().map(|key| (key.as_slice(), key.as_slice())).collect();
    let first = producer.send(&records).unwrap().position.0;
    assert_eq!(first.values().sum::<u64>(), 3_000, "{first:?}");
    let mut tail = KafkaTail::open(&config, &Position(first.clone())).unwrap();
    let second = producer.send(&records[..10]).unwrap().position.0;
    let (mut seen, started) = (0, Instant::now());
    while seen < 10 {
        assert!(started.elapsed() < Duration::from_secs(20), "the tail has {seen} of 10");
        let polled =
            tail.poll(Duration::from_millis(100), 100, &mut |partition, records| {
                seen += records.len();
                assert!(records.iter().all(|record| record.offset >= first[&partition]
                    && record.offset < second[&partition]));
            });
        assert!(!matches!(polled, Err(LogError::Fatal(_))), "{polled:?}");
    }
    assert_eq!(seen, 10);
}

fn an_unknown_topic_is_told_and_waited_for(kafka: &Kafka) {
    let mut source = KafkaSource::open(&config(kafka, "later")).unwrap();
    let mut count = Count::default();
    let fault = first_fault(&mut source);
    assert!(
        matches!(&fault, LogError::Transient(Cause::Missing, text) if text.contains("create it")),
        "{fault}"
    );
    kafka.create_topic("later", 1, &[]).unwrap();
    kafka.produce("later", 0, &[b"x".to_vec()]).unwrap();
    until(&mut source, &mut count, 1);
    Box::new(source).close(Duration::from_secs(5));
}

fn a_broker_that_crashes_is_told_and_waited_for(kafka: &mut Kafka) {
    kafka.create_topic("crash", 2, &[]).unwrap();
    kafka.produce("crash", 0, &vec![b"x".to_vec(); 100]).unwrap();
    let mut source = KafkaSource::open(&config(kafka, "crash")).unwrap();
    let mut count = Count::default();
    until(&mut source, &mut count, 100);
    kafka.kill().unwrap();
    let (mut told, started) = (None, Instant::now());
    while told.is_none() && started.elapsed() < Duration::from_secs(20) {
        told = source.poll(Duration::from_millis(50), 10, &mut count).err();
    }
    let told = told.expect("a dead broker is told");
    assert!(
        matches!(&told, LogError::Transient(Cause::Network, text) if text.contains("[kafka] brokers")),
        "{told}"
    );
    kafka.restart().unwrap();
    kafka.produce("crash", 0, &vec![b"y".to_vec(); 50]).unwrap();
    until(&mut source, &mut count, 150);
    assert_eq!(count.seen, 150, "nothing lost, nothing twice");

    kafka.kill().unwrap();
    let started = Instant::now();
    Box::new(source).close(Duration::from_secs(3));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "closing without a broker took {:?}",
        started.elapsed()
    );
}

/// What is told first.
fn first_fault(source: &mut KafkaSource) -> LogError {
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < Duration::from_secs(30), "nothing is told");
        if let Err(fault) = source.poll(Duration::from_millis(50), 10, &mut Count::default()) {
            return fault;
        }
    }
}

fn until(source: &mut KafkaSource, count: &mut Count, seen: u64) {
    let (started, mut told) = (Instant::now(), String::new());
    while count.seen < seen {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "{} of {seen} records; last told: {told}",
            count.seen
        );
        match source.poll(Duration::from_millis(50), 1_000, count) {
            Err(fault @ LogError::Fatal(_)) => panic!("{fault}"),
            Err(fault) => told = fault.to_string(),
            Ok(()) => {}
        }
    }
}
