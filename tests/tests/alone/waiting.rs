//! Waiting is cheap: while what an engine needs is away it takes next to no processor time, its log
//! grows by a few lines a minute, and it goes on by itself.
//!
//! Judged by the processor time of the process, not by how long anything takes.
#![allow(clippy::print_stdout, reason = "what was measured is shown")]

use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tally_tests::client::{Answer, Client, NotPosted};
use tally_tests::disk::limit_files;
use tally_tests::kafka::Kafka;
use tally_tests::postgres::Postgres;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally};

const PARTITIONS: i32 = 4;

/// How long a group may take to agree, or a service to be found again.
const LONG: Duration = Duration::from_secs(90);

/// How long its processor time is measured.
const WATCHED: Duration = Duration::from_secs(20);

/// How often it is watched that long, at most.
const WINDOWS: usize = 3;

/// Until then it may find out what happened, which takes processor time.
const SETTLED: Duration = Duration::from_secs(15);

/// How long it must be quiet to have settled.
const QUIET: Duration = Duration::from_secs(2);

/// Of a core.
const SHARE: f64 = 0.02;

/// In a minute, about.
const LINES: usize = 12;

fn fill(kafka: &Kafka, name: &str) {
    for partition in 0..PARTITIONS {
        let event = |n: usize| json!({"event_id": format!("{name}-{partition}-{n}"), "user_id": 1, "product_id": 1, "event_type": "view"});
        let events: Vec<Vec<u8>> = (0..50).map(|n| event(n).to_string().into_bytes()).collect();
        kafka.produce("waiting", partition, &events).unwrap();
    }
}

/// Seconds of processor time of a process.
fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(") ").next().unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    // The kernel counts them in hundredths everywhere Linux runs Rust.
    ticks as f64 / 100.0
}

/// Names of the threads with the hundredths of a second that each took since the start, the busiest
/// first.
fn threads(pid: u32) -> String {
    let of = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|field| field.parse::<u64>().ok())
            .sum();
        Some((ticks, name.to_owned()))
    };
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut all: Vec<(u64, String)> = tasks.filter_map(|task| of(task.unwrap())).collect();
    all.sort_unstable_by(|one, other| other.cmp(one));
    all.iter().take(12).map(|(ticks, name)| format!("{name} {ticks}, ")).collect()
}

fn lines(home: &Path) -> usize {
    fs::read_to_string(home.join("stderr.log")).unwrap_or_default().lines().count()
}

/// An engine, where it runs, and what it waits for.
type Waiting<'t> = (&'t Home, &'t Tally, &'t str);

/// The share of a core that each process takes in a time in which nobody asks it anything.
fn processor_shares(engines: &[Waiting<'_>], time: Duration) -> Vec<f64> {
    let taken = || engines.iter().map(|(_, tally, _)| cpu(tally.process.pid()));
    let (begun, before) = (Instant::now(), taken().collect::<Vec<_>>());
    std::thread::sleep(time);
    let watched = begun.elapsed().as_secs_f64();
    taken().zip(before).map(|(after, before)| (after - before) / watched).collect()
}

/// What it costs each of them while something is away. They are watched at the same time: who waits
/// disturbs nobody.
fn wait_cheaply(engines: &[Waiting<'_>]) {
    let begun = Instant::now();
    let busy = |shares: Vec<f64>| shares.into_iter().any(|share| share > SHARE);
    while begun.elapsed() < SETTLED && busy(processor_shares(engines, QUIET)) {}
    let watch = || {
        let said: Vec<usize> = engines.iter().map(|(home, ..)| lines(home.path())).collect();
        let shares = processor_shares(engines, WATCHED);
        let now = engines.iter().zip(said).map(|((home, ..), said)| lines(home.path()) - said);
        shares.into_iter().zip(now).collect::<Vec<(f64, usize)>>()
    };
    let mut watched = watch();
    // Whatever else the machine does makes a wake-up dearer, never cheaper: the best of a few counts.
    for _ in 1..WINDOWS {
        if watched.iter().any(|(share, _)| *share > SHARE) {
            let again = watch();
            for (seen, again) in watched.iter_mut().zip(again).filter(|(seen, _)| seen.0 > SHARE) {
                *seen = again;
            }
        }
    }
    for ((_, tally, what), (share, said)) in engines.iter().zip(watched) {
        println!("{what}: {:.2} % of a core, {said} lines in {WATCHED:?}", share * 100.0);
        assert!(
            share <= SHARE,
            "{what}: {:.1} % of a core while it waits: {}",
            share * 100.0,
            threads(tally.process.pid())
        );
        assert!(
            said * 60 <= LINES * WATCHED.as_secs() as usize,
            "{what}: {said} lines\n{}",
            tally.process.tail()
        );
    }
}

fn total(client: &Client, wanted: u64) {
    let seen = |client: &Client| match client.ask("event_frequencies", &json!({}), "") {
        Ok(result) if result["total"] == wanted => Ok(String::new()),
        other => Err(format!("{other:?}")),
    };
    client.until(&format!("{wanted} events are counted"), LONG, seen).unwrap();
}

fn unready(tally: &Tally, line: &str) {
    let told = |text: &str| text.contains(line);
    tally.client.readyz(line, LONG, |answer| answer.status == 503 && told(&answer.text)).unwrap();
}

fn post(tally: &Tally, name: &str, count: usize) -> Result<(), NotPosted> {
    let event = |n| json!({"event_id": format!("{name}-{n}"), "user_id": n, "product_id": 1, "event_type": "view"});
    let events: String = (0..count).map(|n| format!("{}\n", event(n))).collect();
    tally.client.events(&events).map(drop)
}

/// An engine that has nothing in its own data directory.
struct Shared {
    kafka: Kafka,
    redis: Redis,
    postgres: Postgres,
    home: Home,
    tally: Tally,
}

impl Shared {
    fn start() -> Shared {
        let kafka = Kafka::start().unwrap();
        let redis = Redis::start(&["--appendonly", "yes"]).unwrap();
        let postgres = Postgres::start().unwrap();
        kafka.create_topic("waiting", PARTITIONS, &[]).unwrap();
        let mut home = Home::new("[kafka]\nsession_timeout_ms = 1500\n").unwrap();
        home.env("KAFKA_BROKER", &kafka.brokers());
        home.env("TOPIC", "waiting");
        home.env("REDIS_URL", &redis.url());
        home.env("POSTGRES_URL", &postgres.database("tally").unwrap());
        home.succeed(&["migrate"]).unwrap();
        let tally = home.start().unwrap();
        fill(&kafka, "first");
        total(&tally.client, 200);
        Shared { kafka, redis, postgres, home, tally }
    }

    fn loses_kafka(&mut self) {
        self.kafka.kill().unwrap();
        unready(&self.tally, "[-]kafka failed");
    }

    fn loses_all(&mut self) {
        self.redis.kill().unwrap();
        self.postgres.stop().unwrap();
        unready(&self.tally, "[-]store failed");
    }

    fn has_all_again(&mut self) {
        self.redis.restart().unwrap();
        self.postgres.run().unwrap();
        self.kafka.restart().unwrap();
        fill(&self.kafka, "second");
        self.tally.client.ready(LONG).unwrap();
        total(&self.tally.client, 400);
    }

    /// What came is not committed while the store is away.
    fn loses_redis(&mut self) {
        self.redis.kill().unwrap();
        fill(&self.kafka, "third");
        unready(&self.tally, "[-]store failed");
    }

    fn has_redis_again(&mut self) {
        self.redis.restart().unwrap();
        self.tally.client.ready(LONG).unwrap();
        total(&self.tally.client, 600);
    }

    fn waits<'t>(&'t self, what: &'t str) -> Waiting<'t> {
        (&self.home, &self.tally, what)
    }
}

/// One that has everything but its catalogue there.
struct Embedded {
    postgres: Postgres,
    home: Home,
    tally: Tally,
}

impl Embedded {
    fn start() -> Embedded {
        let postgres = Postgres::start().unwrap();
        let mut home = Home::new("[store]\ncheckpoint_interval_ms = 100\n").unwrap();
        home.ignore_file_limits().unwrap();
        home.env("POSTGRES_URL", &postgres.database("tally").unwrap());
        home.succeed(&["migrate"]).unwrap();
        let tally = home.start().unwrap();
        // So many that the database's files are larger than the log.
        (0..4).for_each(|part| post(&tally, &format!("first-{part}"), 5_000).unwrap());
        total(&tally.client, 20_000);
        Embedded { postgres, home, tally }
    }

    fn loses_catalogue(&mut self) {
        self.postgres.stop().unwrap();
        let away = |answer: &Answer| answer.status == 200 && answer.text.contains("[!]catalogue");
        self.tally.client.readyz("the catalogue is away", LONG, away).unwrap();
    }

    fn has_catalogue_again(&mut self) {
        // Counting does not need it.
        post(&self.tally, "second", 100).unwrap();
        total(&self.tally.client, 20_100);
        self.postgres.run().unwrap();
        let back = |answer: &Answer| !answer.text.contains("[!]catalogue");
        self.tally.client.readyz("the catalogue is back", LONG, back).unwrap();
    }

    fn loses_disk(&mut self) {
        limit_files(self.tally.process.pid(), Some(1_000_000)).unwrap();
        let refused = post(&self.tally, "refused", 100).unwrap_err();
        assert!(
            matches!(&refused, NotPosted::Unknown(text) if text.contains("the database failed")),
            "{refused:?}"
        );
    }

    fn has_disk_again(&mut self) {
        limit_files(self.tally.process.pid(), None).unwrap();
        self.tally.client.ready(LONG).unwrap();
        // Whether what failed was written makes no difference.
        post(&self.tally, "refused", 100).unwrap();
        post(&self.tally, "third", 100).unwrap();
        total(&self.tally.client, 20_300);
    }

    fn waits<'t>(&'t self, what: &'t str) -> Waiting<'t> {
        (&self.home, &self.tally, what)
    }
}

/// Each service is away for half a minute, alone and together, and so are the catalogue and the
/// disk of an engine that needs no other; everything is counted afterwards.
#[test]
fn an_engine_waits_cheaply_and_goes_on_by_itself() {
    let _turn = crate::wait_for_turn();
    let (mut shared, mut embedded) = (Shared::start(), Embedded::start());
    shared.loses_kafka();
    embedded.loses_catalogue();
    wait_cheaply(&[shared.waits("Kafka is away"), embedded.waits("PostgreSQL is away")]);
    embedded.has_catalogue_again();

    shared.loses_all();
    embedded.loses_disk();
    let all = "Kafka, Redis and PostgreSQL are away";
    wait_cheaply(&[shared.waits(all), embedded.waits("the disk fails")]);
    embedded.has_disk_again();
    embedded.tally.stop().unwrap();
    shared.has_all_again();

    shared.loses_redis();
    wait_cheaply(&[shared.waits("Redis is away")]);
    shared.has_redis_again();
    shared.tally.stop().unwrap();
}
