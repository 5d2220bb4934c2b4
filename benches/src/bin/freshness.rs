//! How long after an event was appended to Kafka an answer shows it, beyond what Kafka itself
//! takes.
//!
//! `freshness` writes 10,000 events a second to a topic, each stamped as it is handed to the
//! producer (linger 1 ms). In one half of a round an engine with the three shipped metrics counts
//! that topic and is asked for `event_frequencies` again and again, at least a millisecond apart:
//! an event is visible once an answer's position is past it. In the other half a bare
//! `BaseConsumer` at librdkafka's defaults polls another topic that is written in the same way.
//! HTTP is not in it (see `query`). At the end the counts must be those that were written.
//!
//! Goal: p99 at most 30 ms above that of the bare loop.
#![allow(clippy::print_stdout)] // a measurement program prints

use anyhow::{Context, Result, ensure};
use clap::Parser;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tally_benches::engine;
use tally_benches::events::{Generator, Ids, PARTITIONS};
use tally_benches::measure::{self, median, quantile, spread};
use tally_benches::topics::Place;
use tally_engine::engine::{Engine, Question};

/// How long after an event was appended an answer shows it.
#[derive(Parser)]
struct Args {
    /// Events a second
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
    /// Rounds; each measures both, in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each half of a round
    #[arg(long, default_value_t = 3)]
    seconds: u64,
}

/// When each event was handed over, by partition and offset.
type Sent = Arc<Mutex<Vec<Vec<Instant>>>>;

/// A topic that is written to at a rate.
struct Stream {
    producer: BaseProducer,
    topic: &'static str,
    events: Generator,
    sent: Sent,
}

impl Stream {
    fn new(brokers: &str, topic: &'static str) -> Result<Stream> {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("linger.ms", "1")
            .set("enable.idempotence", "true")
            .create()?;
        let sent = Arc::new(Mutex::new(vec![Vec::new(); PARTITIONS as usize]));
        Ok(Stream { producer, topic, events: Generator::new(Ids::Text, 1.0, 3), sent })
    }

    /// Writes for some seconds, a few events each millisecond; all are acknowledged when it
    /// returns.
    fn write(&mut self, args: &Args) -> Result<()> {
        let (started, events) = (Instant::now(), args.rate * args.seconds);
        let (mut text, mut written) = (String::new(), 0);
        while written < events {
            let due = (started.elapsed().as_secs_f64() * args.rate as f64) as u64;
            self.events.now_ms = Some(jiff::Timestamp::now().as_millisecond());
            while written < due.min(events) {
                let partition = self.events.next_into(&mut text);
                self.sent.lock()[partition as usize].push(Instant::now());
                let record = BaseRecord::<(), str>::to(self.topic)
                    .partition(partition as i32)
                    .payload(text.as_str());
                self.producer.send(record).map_err(|(fault, _)| fault)?;
                written += 1;
            }
            self.producer.poll(Duration::ZERO);
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self.producer.flush(Duration::from_secs(20))?)
    }
}

/// Notes what became visible: milliseconds since each event was handed over.
struct Watch {
    sent: Sent,
    seen: Vec<usize>,
    latencies: Vec<f64>,
}

impl Watch {
    fn new(sent: &Sent) -> Watch {
        Watch { sent: sent.clone(), seen: vec![0; PARTITIONS as usize], latencies: Vec::new() }
    }

    /// Everything of a partition before `offset` is visible now.
    fn visible(&mut self, partition: usize, offset: usize) -> Result<()> {
        let (now, sent) = (Instant::now(), self.sent.lock());
        ensure!(
            offset <= sent[partition].len(),
            "wrong: offset {offset} of partition {partition} was not written yet"
        );
        let news = &sent[partition][self.seen[partition].min(offset)..offset];
        self.latencies.extend(news.iter().map(|sent| (now - *sent).as_secs_f64() * 1_000.0));
        self.seen[partition] = self.seen[partition].max(offset);
        Ok(())
    }

    fn complete(&self) -> bool {
        self.sent.lock().iter().map(Vec::len).eq(self.seen.iter().copied())
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    let place = Place::new(None)?;
    let kafka = place.kafka()?;
    for topic in ["counted", "bare"] {
        kafka.create_topic(topic, PARTITIONS as i32, &[])?;
    }
    let brokers = kafka.brokers();
    let (mut counted, mut bare) =
        (Stream::new(&brokers, "counted")?, Stream::new(&brokers, "bare")?);
    let data = tempfile::tempdir()?;
    let engine = engine::start(engine::kafka(data.path(), &brokers, "counted"))?;
    let consumer = consumer(&brokers, "bare")?;
    let mut watches = [Watch::new(&bare.sent), Watch::new(&counted.sent)];
    let mut quantiles = [Vec::new(), Vec::new()];
    // the first round only warms up: connections, the group's assignment
    for round in 0..=args.rounds {
        let [polled, asked] = &mut watches;
        during(&mut bare, &args, polled, |watch| poll(&consumer, watch))?;
        during(&mut counted, &args, asked, |watch| ask(&engine, watch))?;
        for (watch, quantiles) in watches.iter_mut().zip(&mut quantiles) {
            let latencies = std::mem::take(&mut watch.latencies);
            if round > 0 {
                quantiles.push((quantile(&latencies, 0.5), quantile(&latencies, 0.99)));
            }
        }
    }
    engine::check(&engine, &counted.events.oracle)?;
    engine.stop(Duration::from_secs(20));
    report(&args, &quantiles);
    Ok(())
}

/// Looks again and again while the stream is written, and until all of it is seen.
fn during(
    stream: &mut Stream,
    args: &Args,
    watch: &mut Watch,
    look: impl Fn(&mut Watch) -> Result<()> + Sync,
) -> Result<()> {
    let written = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let started = Instant::now();
            while !(written.load(Ordering::Acquire) && watch.complete()) {
                look(watch)?;
                ensure!(
                    started.elapsed() < Duration::from_secs(60),
                    "not all events were seen within a minute"
                );
            }
            Ok(())
        });
        let done = stream.write(args);
        written.store(true, Ordering::Release);
        done.and(watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))?)
    })
}

fn consumer(brokers: &str, topic: &str) -> Result<BaseConsumer> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", brokers).set("group.id", "bare").create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition as i32, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

fn poll(consumer: &BaseConsumer, watch: &mut Watch) -> Result<()> {
    let Some(message) = consumer.poll(Duration::from_millis(100)) else { return Ok(()) };
    let message = message?;
    watch.visible(message.partition() as usize, message.offset() as usize + 1)
}

fn ask(engine: &Engine, watch: &mut Watch) -> Result<()> {
    let question = Question {
        name: "event_frequencies".into(),
        params: json!({}),
        at_least: None,
        wait: Duration::ZERO,
        allow_partial: false,
        calling: std::sync::Arc::default(),
    };
    // while the group is still forming there is no answer
    if let Ok(answer) = engine.evaluate(&question) {
        for (partition, offset) in answer.position.0 {
            watch.visible(partition as usize, usize::try_from(offset).context("an offset")?)?;
        }
    }
    std::thread::sleep(Duration::from_millis(1));
    Ok(())
}

fn report(args: &Args, quantiles: &[Vec<(f64, f64)>; 2]) {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    let bare: Vec<f64> = quantiles[0].iter().map(|(_, p99)| *p99).collect();
    for (name, quantiles) in ["bare poll loop", "visible in an answer"].iter().zip(quantiles) {
        let (p50, p99): (Vec<f64>, Vec<f64>) = quantiles.iter().copied().unzip();
        let above: Vec<f64> = p99.iter().zip(&bare).map(|(p99, bare)| p99 - bare).collect();
        rows.push(vec![(*name).to_owned(), spread(&p50, 1), spread(&p99, 1), spread(&above, 1)]);
        lines.push(json!({"what": name, "p50_ms": median(&p50), "p99_ms": median(&p99), "above_ms": median(&above)}));
    }
    println!(
        "{} events a second, {} rounds of {} s; median [least..most] of the rounds",
        args.rate, args.rounds, args.seconds
    );
    measure::print(
        &["", "p50 ms", "p99 ms", "p99 above bare, ms"],
        &rows,
        &json!({"bench": "freshness", "events_per_s": args.rate, "rounds": args.rounds, "results": lines}),
    );
}
