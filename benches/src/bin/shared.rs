//! What counting into a shared Redis costs and how fast it is seen: from Kafka to Redis in all, in
//! the answers of two engines, after an engine's death, and for questions while events stream in.
//!
//! Real Kafka, real Redis (nothing kept on disk), the three shipped metrics. **`ingest`**: CPU of
//! an engine that counts a topic into Redis, with Redis's own CPU, against a bare
//! `BaseConsumer::poll` loop at librdkafka's defaults; each in a process of its own, in turn; the
//! answers are checked. **`visible`**: 10,000 events a second are written to Kafka, two engines of
//! one group count them; from when an event is handed to the producer until an answer is past it.
//! The two are asked in turn about all partitions, of which each holds half: so about half of the
//! events are another engine's than the one that answers, and the figures are of all.
//! **`recovery`**: an engine is killed while events stream in; from then until an answer shows an
//! event that was written after the death to a partition that it held: through a peer, and alone,
//! through its successor that is started at once (static membership). **`questions`**: many
//! products and users, some events of each, 10,000 more a second; latency of single questions in
//! this process, 100 a second of each kind, and of the first one after a start.
//!
//! Over 480 lines: four measurements over the same topic, producer and engines; each is one
//! function, read by itself.
//!
//! Goals: in all at most 2.6 × the bare loop; visible after 100 ms at p99; recovered within the
//! group's timeout + 2 s with peers, 1 s alone; questions about 100,000 products and a random user
//! 10 ms at p99.
#![allow(clippy::print_stdout)] // a measurement program prints

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tally_benches::bare;
use tally_benches::engine::{self, Measured};
use tally_benches::events::{Generator, Ids, PARTITIONS};
use tally_benches::measure::{self, median, quantile, spread};
use tally_benches::topics::Place;
use tally_engine::config::{Config, StoreKind};
use tally_engine::engine::{Engine, Question};
use tally_tests::kafka::Kafka;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally};

/// Cost and speed of a shared Redis.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU from Kafka to Redis against a bare loop
    Ingest {
        /// Events in the topic
        #[arg(long, default_value_t = 2_000_000)]
        events: u64,
        /// Rounds; each does both once
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Keeps the broker here for the next run
        #[arg(long, value_name = "DIR")]
        keep_topic: Option<PathBuf>,
    },
    /// From an event to the answers of two engines, each of which counts half of them
    Visible {
        /// Seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Events a second
        #[arg(long, default_value_t = 10_000)]
        rate: u64,
    },
    /// From a death to the first new commit
    Recovery {
        /// Deaths of each kind
        #[arg(long, default_value_t = 5)]
        deaths: usize,
    },
    /// Questions while events stream in
    Questions {
        /// Products; as many users
        #[arg(long, default_value_t = 100_000)]
        products: u64,
        /// Seconds
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Events a second meanwhile
        #[arg(long, default_value_t = 10_000)]
        rate: u64,
    },
    /// One measurement, as a child of this program
    #[command(hide = true)]
    Child { variant: Variant, brokers: String, topic: String, redis: String, oracle: PathBuf },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Variant {
    Bare,
    Redis,
}

fn main() -> Result<()> {
    match Args::parse().what {
        What::Ingest { events, rounds, keep_topic } => ingest(events, rounds, keep_topic),
        What::Visible { seconds, rate } => visible(seconds, rate),
        What::Recovery { deaths } => recovery(deaths),
        What::Questions { products, seconds, rate } => questions(products, seconds, rate),
        What::Child { variant, brokers, topic, redis, oracle } => {
            let oracle = serde_json::from_slice(&std::fs::read(oracle)?)?;
            let measured = match variant {
                Variant::Bare => bare::poll(&brokers, &topic, &oracle)?,
                Variant::Redis => {
                    let data = tempfile::tempdir()?;
                    engine::through(
                        shared(data.path(), &brokers, &topic, &redis),
                        &oracle,
                        |_, _| Ok(()),
                    )?
                }
            };
            println!("{}", serde_json::to_string(&measured)?);
            Ok(())
        }
    }
}

/// An engine on a topic and a Redis.
fn shared(data: &std::path::Path, brokers: &str, topic: &str, redis: &str) -> Config {
    let mut config = engine::kafka(data, brokers, topic);
    config.store.kind = StoreKind::Redis;
    config.redis.url = redis.into();
    config
}

fn ingest(events: u64, rounds: usize, keep_topic: Option<PathBuf>) -> Result<()> {
    let place = Place::new(keep_topic)?;
    let kafka = place.kafka()?;
    let (topic, oracle) = place.topic(&kafka, Ids::Text, events)?;
    let oracle_file = tempfile::NamedTempFile::new()?;
    std::fs::write(&oracle_file, serde_json::to_vec(&oracle)?)?;
    let each = |time: Duration| measure::nanos(time) as f64 / events as f64;
    let (mut bares, mut engines, mut servers) = (Vec::new(), Vec::new(), Vec::new());
    // the first round only warms up
    for round in 0..=rounds {
        let redis = Redis::start(&[])?;
        let child = |variant: &str| -> Result<Measured> {
            let mut command = Command::new(std::env::current_exe()?);
            command
                .args(["child", variant, &kafka.brokers(), &topic, &redis.url()])
                .arg(oracle_file.path());
            let output = command.output()?;
            ensure!(
                output.status.success(),
                "{variant}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            serde_json::from_slice(&output.stdout).context("a child's answer")
        };
        let bare = child("bare")?;
        let id = redis.pid().context("Redis runs")?.to_string();
        let before = measure::cpu_of(&id);
        let counted = child("redis")?;
        let server = measure::cpu_of(&id) - before;
        // by an engine of its own, from what Redis holds
        let data = tempfile::tempdir()?;
        let engine = engine::start(shared(data.path(), &kafka.brokers(), &topic, &redis.url()))?;
        engine::counted(&engine, oracle.total)?;
        engine::check(&engine, &oracle)?;
        engine.stop(Duration::from_secs(20));
        if round > 0 {
            bares.push(bare.cpu_ns as f64 / events as f64);
            engines.push(counted.cpu_ns as f64 / events as f64);
            servers.push(each(server));
        }
    }
    let all: Vec<f64> =
        engines.iter().zip(&servers).map(|(engine, server)| engine + server).collect();
    let ratios: Vec<f64> = all.iter().zip(&bares).map(|(all, bare)| all / bare).collect();
    println!("{events} events (text ids), {rounds} rounds after a warm-up; median [least..most]");
    let row = [&bares, &engines, &servers].map(|values| spread(values, 0));
    measure::print(
        &["bare, CPU ns/event", "engine", "Redis", "in all ÷ bare"],
        &[[row.to_vec(), vec![spread(&ratios, 2)]].concat()],
        &json!({"bench": "shared ingest", "events": events, "bare_ns": median(&bares), "engine_ns": median(&engines),
            "redis_ns": median(&servers), "ratio": median(&ratios)}),
    );
    Ok(())
}

/// When each event was handed over, by partition and place in it.
type Sent = Arc<Mutex<Vec<Vec<Instant>>>>;

/// A topic that is written to at a rate, from a thread of its own.
struct Stream {
    stop: Arc<AtomicBool>,
    sent: Sent,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Stream {
    /// `event` makes the text of one.
    fn start(
        brokers: &str,
        topic: &str,
        rate: u64,
        mut event: impl FnMut(&mut String) -> u32 + Send + 'static,
    ) -> Result<Stream> {
        let producer = producer(brokers)?;
        let stop = Arc::new(AtomicBool::new(false));
        let sent: Sent = Arc::new(Mutex::new(vec![Vec::new(); PARTITIONS as usize]));
        let (stopped, noted, topic) = (stop.clone(), sent.clone(), topic.to_owned());
        let thread = std::thread::spawn(move || -> Result<()> {
            let (started, mut written, mut text) = (Instant::now(), 0, String::new());
            while !stopped.load(Ordering::Acquire) {
                let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
                while written < due {
                    let partition = event(&mut text);
                    noted.lock()[partition as usize].push(Instant::now());
                    send(&producer, &topic, partition, &text)?;
                    written += 1;
                }
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(producer.flush(Duration::from_secs(20))?)
        });
        Ok(Stream { stop, sent, thread })
    }

    fn end(self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow::anyhow!("the producer panicked"))?
    }
}

fn producer(brokers: &str) -> Result<BaseProducer> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "1")
        .set("enable.idempotence", "true");
    Ok(config.create()?)
}

fn send(producer: &BaseProducer, topic: &str, partition: u32, text: &str) -> Result<()> {
    let mut record = BaseRecord::<(), str>::to(topic).partition(partition as i32).payload(text);
    while let Err((fault, back)) = producer.send(record) {
        ensure!(fault.to_string().contains("QueueFull"), "{fault}");
        producer.poll(Duration::from_millis(5));
        record = back;
    }
    Ok(())
}

/// Made-up events of now.
fn of_now(seed: u64) -> impl FnMut(&mut String) -> u32 + Send + 'static {
    let mut events = Generator::new(Ids::Text, 1.0, seed);
    move |text| {
        events.now_ms = Some(jiff::Timestamp::now().as_millisecond());
        events.next_into(text)
    }
}

fn question(name: &str, params: Value) -> Question {
    Question {
        name: name.into(),
        params,
        at_least: None,
        wait: Duration::ZERO,
        allow_partial: false,
        calling: std::sync::Arc::default(),
    }
}

fn visible(seconds: u64, rate: u64) -> Result<()> {
    let kafka = Kafka::start()?;
    kafka.create_topic("visible", PARTITIONS as i32, &[])?;
    let redis = Redis::start(&[])?;
    let data = [tempfile::tempdir()?, tempfile::tempdir()?];
    let engines = data
        .each_ref()
        .map(|data| engine::start(shared(data.path(), &kafka.brokers(), "visible", &redis.url())));
    let [first, second] = engines;
    let engines = [first?, second?];
    let stream = Stream::start(&kafka.brokers(), "visible", rate, of_now(3))?;
    // the group agrees, followers load
    std::thread::sleep(Duration::from_secs(8));
    let held = engines.each_ref().map(holds);
    ensure!(
        held.iter().all(|held| *held == PARTITIONS as usize / 2),
        "the group did not share evenly: {held:?}"
    );
    let mut latencies = Vec::new();
    let mut asked = [Watch::new(&engines[0]), Watch::new(&engines[1])];
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(seconds) {
        for (watch, engine) in asked.iter_mut().zip(&engines) {
            watch.look(engine, &stream)?;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    stream.end()?;
    for watch in &mut asked {
        latencies.push(std::mem::take(&mut watch.latencies));
    }
    for engine in engines {
        engine.stop(Duration::from_secs(20));
    }
    let rows: Vec<Vec<String>> = latencies
        .iter()
        .enumerate()
        .map(|(n, latencies)| {
            let at = |share| format!("{:.1}", quantile(latencies, share));
            vec![format!("engine {n}"), latencies.len().to_string(), at(0.5), at(0.99), at(1.0)]
        })
        .collect();
    let p99: Vec<f64> = latencies.iter().map(|latencies| quantile(latencies, 0.99)).collect();
    println!("{rate} events a second, {seconds} s; of all partitions, half of them another's");
    measure::print(
        &["asked", "events", "p50 ms", "p99 ms", "longest ms"],
        &rows,
        &json!({"bench": "shared visible", "events_per_s": rate, "p99_ms": p99}),
    );
    Ok(())
}

/// How many partitions an engine says it holds.
fn holds(engine: &Engine) -> usize {
    let line = engine.readiness().into_iter().find(|check| check.detail.contains("partitions"));
    let line = line.map(|check| check.detail).unwrap_or_default();
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| word.starts_with("partition"));
    at.and_then(|at| words[..at].iter().rev().find_map(|word| word.parse().ok())).unwrap_or(0)
}

/// What became visible of a stream through an engine.
struct Watch {
    seen: Vec<usize>,
    latencies: Vec<f64>,
}

impl Watch {
    /// From what it shows now.
    fn new(engine: &Engine) -> Watch {
        let mut seen = vec![0; PARTITIONS as usize];
        if let Ok(answer) = engine.evaluate(&question("event_frequencies", json!({}))) {
            answer
                .position
                .0
                .iter()
                .for_each(|(partition, offset)| seen[*partition as usize] = *offset as usize);
        }
        Watch { seen, latencies: Vec::new() }
    }

    fn look(&mut self, engine: &Engine, stream: &Stream) -> Result<()> {
        let Ok(answer) = engine.evaluate(&question("event_frequencies", json!({}))) else {
            return Ok(());
        };
        let (now, sent) = (Instant::now(), stream.sent.lock());
        for (partition, offset) in answer.position.0 {
            let (partition, offset) = (partition as usize, offset as usize);
            ensure!(
                offset <= sent[partition].len(),
                "wrong: offset {offset} of {partition} was not written yet"
            );
            let news = &sent[partition][self.seen[partition].min(offset)..offset];
            self.latencies.extend(news.iter().map(|sent| (now - *sent).as_secs_f64() * 1_000.0));
            self.seen[partition] = self.seen[partition].max(offset);
        }
        Ok(())
    }
}

fn recovery(deaths: usize) -> Result<()> {
    let kafka = Kafka::start()?;
    let mut rows = Vec::new();
    let mut line = Vec::new();
    let ways = [
        ("with a peer", 2, false),
        ("alone, started again at once", 1, false),
        ("alone, with an instance_id", 1, true),
    ];
    for (name, engines, fixed) in ways {
        let topic = format!("recovery-{engines}-{fixed}");
        kafka.create_topic(&topic, PARTITIONS as i32, &[])?;
        let redis = Redis::start(&[])?;
        let homes = (0..engines).map(|n| -> Result<Home> {
            let id = if fixed { format!("instance_id = \"engine-{n}\"\n") } else { String::new() };
            let mut home =
                Home::new(&format!("[kafka]\n{id}[server]\nevaluation_deadline_ms = 10000\n"))?;
            home.env("KAFKA_BROKER", &kafka.brokers());
            home.env("TOPIC", &topic);
            home.env("GROUP_ID", &topic);
            home.env("REDIS_URL", &redis.url());
            Ok(home)
        });
        let homes = homes.collect::<Result<Vec<_>>>()?;
        let stream = Stream::start(&kafka.brokers(), &topic, 1_000, of_now(5))?;
        let mut took = Vec::new();
        let mut running =
            homes.iter().map(|home| home.start().map(Some)).collect::<Result<Vec<_>>>()?;
        for _ in 0..deaths {
            std::thread::sleep(Duration::from_secs(4));
            let victim = running[0].take().context("it runs")?;
            let dies = Instant::now();
            victim.kill()?;
            let after: Vec<usize> = stream.sent.lock().iter().map(Vec::len).collect();
            if engines == 1 {
                running[0] = Some(homes[0].listening()?);
            }
            let witness = running.iter().flatten().next().context("one runs")?;
            wait_until_recovered(witness, &after)?;
            took.push(dies.elapsed().as_secs_f64());
            if engines > 1 {
                running[0] = Some(homes[0].start()?);
            }
        }
        stream.end()?;
        running.into_iter().flatten().try_for_each(|tally| tally.stop().map(drop))?;
        rows.push(vec![
            name.to_owned(),
            spread(&took, 2),
            format!("{:.2}", took.iter().copied().fold(0.0, f64::max)),
        ]);
        line.push(
            json!({"what": name, "median_s": median(&took), "longest_s": took.iter().copied().fold(0.0, f64::max)}),
        );
    }
    println!("{deaths} deaths each, session_timeout_ms = 6000, 1,000 events a second");
    measure::print(
        &["after a death", "s, median [least..most]", "longest"],
        &rows,
        &json!({"bench": "shared recovery", "results": line}),
    );
    Ok(())
}

/// Waits until an answer shows events behind these offsets, in every partition.
fn wait_until_recovered(witness: &Tally, after: &[usize]) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = witness.client.evaluate(&json!({"name": "event_frequencies"}))?;
        let position = answer.json()["meta"]["position"].as_str().unwrap_or_default().to_owned();
        let offsets =
            position.split(',').filter_map(|part| part.split_once(':')?.1.parse::<usize>().ok());
        let offsets: Vec<usize> = offsets.collect();
        if offsets.len() == after.len()
            && offsets.iter().zip(after).all(|(offset, after)| offset > after)
        {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < Duration::from_secs(60),
            "not recovered after a minute: {}",
            answer.text
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An event of a user and a product.
fn event(text: &mut String, n: u64, user: u64, product: u64, kind: &str, time: i64) {
    use std::fmt::Write;
    text.clear();
    // Writing to a text does not fail.
    let _ = write!(
        text,
        r#"{{"event_id":"q-{n}","user_id":"u{user:07}","product_id":"p{product:07}","event_type":"{kind}","timestamp":{time}}}"#
    );
}

/// What is asked, and its params for a user.
const QUESTIONS: [(&str, fn(u64) -> Value); 3] = [
    ("products_popularity", |_| json!({"limit": 10})),
    ("user_activities", |user| json!({"user_id": format!("u{user:07}")})),
    ("event_frequencies", |_| json!({})),
];

fn questions(products: u64, seconds: u64, rate: u64) -> Result<()> {
    let kafka = Kafka::start()?;
    kafka.create_topic("questions", PARTITIONS as i32, &[])?;
    let redis = Redis::start(&[])?;
    let mut random = SmallRng::seed_from_u64(9);
    let total = 4 * products;
    fill(&kafka, products, total, &mut random)?;
    let start = || -> Result<(tempfile::TempDir, Engine)> {
        let data = tempfile::tempdir()?;
        let engine =
            engine::start(shared(data.path(), &kafka.brokers(), "questions", &redis.url()))?;
        Ok((data, engine))
    };
    let (data, engine) = start()?;
    wait_until_counted(&engine, total)?;
    engine.stop(Duration::from_secs(20));
    drop(data);

    let (_data, engine) = start()?;
    let cold = first_answers(&engine)?;
    let next = AtomicU64::new(total);
    let mut making = SmallRng::seed_from_u64(11);
    let stream = Stream::start(&kafka.brokers(), "questions", rate, move |text| {
        let n = next.fetch_add(1, Ordering::Relaxed);
        let time = jiff::Timestamp::now().as_millisecond();
        event(
            text,
            n,
            making.random_range(0..products),
            making.random_range(0..products),
            "view",
            time,
        );
        (n % u64::from(PARTITIONS)) as u32
    })?;
    std::thread::sleep(Duration::from_secs(6));
    let latencies =
        latencies(&engine, Duration::from_secs(seconds), || random.random_range(0..products))?;
    let behind = {
        let written: usize = stream.sent.lock().iter().map(Vec::len).sum();
        (total + written as u64).saturating_sub(engine.position().0.values().sum::<u64>())
    };
    stream.end()?;
    engine.stop(Duration::from_secs(20));
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (((name, _), latencies), cold) in QUESTIONS.iter().zip(&latencies).zip(&cold) {
        let at = |share| quantile(latencies, share);
        rows.push(vec![
            (*name).to_owned(),
            format!("{:.1}", at(0.5)),
            format!("{:.1}", at(0.99)),
            format!("{cold:.0}"),
        ]);
        lines.push(
            json!({"question": name, "p50_ms": at(0.5), "p99_ms": at(0.99), "cold_ms": cold}),
        );
    }
    println!(
        "{products} products and users, {total} events before, {rate} a second meanwhile ({behind} behind at the end)"
    );
    measure::print(
        &["question", "p50 ms", "p99 ms", "first after a start, ms"],
        &rows,
        &json!({"bench": "shared questions", "products": products, "events_per_s": rate, "results": lines}),
    );
    Ok(())
}

/// Writes so many events of the last hour; each product is in one at least.
fn fill(kafka: &Kafka, products: u64, total: u64, random: &mut SmallRng) -> Result<()> {
    let now = jiff::Timestamp::now().as_millisecond();
    let filler = producer(&kafka.brokers())?;
    let mut text = String::new();
    for n in 0..total {
        let product = if n < products { n } else { random.random_range(0..products) };
        let time = now - random.random_range(0..3_600_000);
        event(&mut text, n, random.random_range(0..products), product, "view", time);
        send(&filler, "questions", (n % u64::from(PARTITIONS)) as u32, &text)?;
    }
    Ok(filler.flush(Duration::from_secs(60))?)
}

/// Waits until answers rest on so many events.
fn wait_until_counted(engine: &Engine, total: u64) -> Result<()> {
    let begun = Instant::now();
    let all = || {
        let answer = engine.evaluate(&question("products_popularity", json!({"limit": 1})));
        answer.is_ok_and(|answer| answer.position.0.values().sum::<u64>() >= total)
    };
    while !all() {
        ensure!(
            begun.elapsed() < Duration::from_secs(200),
            "not counted in time: {:?}",
            engine.readiness()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Milliseconds until each question has its first answer.
fn first_answers(engine: &Engine) -> Result<Vec<f64>> {
    let mut cold = Vec::new();
    for (name, params) in QUESTIONS {
        let begun = Instant::now();
        while let Err(fault) = engine.evaluate(&question(name, params(7))) {
            ensure!(begun.elapsed() < Duration::from_secs(60), "{name}: {fault}");
            std::thread::sleep(Duration::from_millis(1));
        }
        cold.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(cold)
}

/// Milliseconds of each answer, question by question: 100 a second of each.
fn latencies(
    engine: &Engine,
    long: Duration,
    mut user: impl FnMut() -> u64,
) -> Result<Vec<Vec<f64>>> {
    let mut latencies = vec![Vec::new(); QUESTIONS.len()];
    let begun = Instant::now();
    let mut due = begun;
    while begun.elapsed() < long {
        due += Duration::from_millis(10);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for ((name, params), latencies) in QUESTIONS.iter().zip(&mut latencies) {
            let asked = Instant::now();
            let answer = engine.evaluate(&question(name, params(user())));
            ensure!(answer.is_ok(), "{name}: {:?}", answer.err());
            latencies.push(asked.elapsed().as_secs_f64() * 1_000.0);
        }
    }
    Ok(latencies)
}
