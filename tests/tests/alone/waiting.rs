//! Waiting is cheap: while what an engine needs is away it takes next to no processor time, its log
//! grows by a few lines a minute, and it goes on by itself.
//!
//! Judged by the processor time of the process, not by how long anything takes.
#![allow(clippy::print_stdout, reason = "what was measured is shown")]

use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tally_tests::client::{Client, NotPosted};
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

/// The share of a core that a process takes in a time in which nobody asks it anything.
fn processor_share(pid: u32, time: Duration) -> f64 {
    let (begun, before) = (Instant::now(), cpu(pid));
    std::thread::sleep(time);
    (cpu(pid) - before) / begun.elapsed().as_secs_f64()
}

/// What it costs while something is away.
fn waits_cheaply(home: &Home, tally: &Tally, what: &str) {
    let begun = Instant::now();
    while begun.elapsed() < SETTLED && processor_share(tally.process.pid(), QUIET) > SHARE {}
    let watch = || {
        let said = lines(home.path());
        let share = processor_share(tally.process.pid(), WATCHED);
        (share, lines(home.path()) - said)
    };
    let (mut share, mut said) = watch();
    // Whatever else the machine does makes a wake-up dearer, never cheaper: the best of a few counts.
    for _ in 1..WINDOWS {
        if share > SHARE {
            (share, said) = watch();
        }
    }
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

/// Alone and together: each is away for half a minute, and everything is counted afterwards.
#[test]
fn an_engine_waits_cheaply_and_goes_on_by_itself() {
    let _turn = crate::wait_for_turn();
    let (mut kafka, mut redis) =
        (Kafka::start().unwrap(), Redis::start(&["--appendonly", "yes"]).unwrap());
    let mut postgres = Postgres::start().unwrap();
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

    kafka.kill().unwrap();
    unready(&tally, "[-]kafka failed");
    waits_cheaply(&home, &tally, "Kafka is away");
    redis.kill().unwrap();
    postgres.stop().unwrap();
    unready(&tally, "[-]store failed");
    waits_cheaply(&home, &tally, "Kafka, Redis and PostgreSQL are away");
    redis.restart().unwrap();
    postgres.run().unwrap();
    kafka.restart().unwrap();
    fill(&kafka, "second");
    tally.client.ready(LONG).unwrap();
    total(&tally.client, 400);

    // What came is not committed while the store is away.
    redis.kill().unwrap();
    fill(&kafka, "third");
    unready(&tally, "[-]store failed");
    waits_cheaply(&home, &tally, "Redis is away");
    redis.restart().unwrap();
    tally.client.ready(LONG).unwrap();
    total(&tally.client, 600);
    tally.stop().unwrap();
}

fn post(tally: &Tally, name: &str, count: usize) -> Result<(), NotPosted> {
    let event = |n| json!({"event_id": format!("{name}-{n}"), "user_id": n, "product_id": 1, "event_type": "view"});
    let events: String = (0..count).map(|n| format!("{}\n", event(n))).collect();
    tally.client.events(&events).map(drop)
}

/// The catalogue alone, and the disk alone, of an engine that has everything else in its data
/// directory.
#[test]
fn an_engine_waits_cheaply_without_its_catalogue_and_while_its_disk_fails() {
    let _turn = crate::wait_for_turn();
    let mut postgres = Postgres::start().unwrap();
    let mut home = Home::new("[store]\ncheckpoint_interval_ms = 100\n").unwrap();
    home.ignore_file_limits().unwrap();
    home.env("POSTGRES_URL", &postgres.database("tally").unwrap());
    home.succeed(&["migrate"]).unwrap();
    let tally = home.start().unwrap();
    // So many that the database's files are larger than the log.
    (0..4).for_each(|part| post(&tally, &format!("first-{part}"), 5_000).unwrap());
    total(&tally.client, 20_000);

    postgres.stop().unwrap();
    let away = |text: &str| text.contains("[!]catalogue");
    tally
        .client
        .readyz("the catalogue is away", LONG, |answer| answer.status == 200 && away(&answer.text))
        .unwrap();
    waits_cheaply(&home, &tally, "PostgreSQL is away");
    // Counting does not need it.
    post(&tally, "second", 100).unwrap();
    total(&tally.client, 20_100);
    postgres.run().unwrap();
    tally.client.readyz("the catalogue is back", LONG, |answer| !away(&answer.text)).unwrap();

    limit_files(tally.process.pid(), Some(1_000_000)).unwrap();
    let refused = post(&tally, "refused", 100).unwrap_err();
    assert!(
        matches!(&refused, NotPosted::Unknown(text) if text.contains("the database failed")),
        "{refused:?}"
    );
    waits_cheaply(&home, &tally, "the disk fails");
    limit_files(tally.process.pid(), None).unwrap();
    tally.client.ready(LONG).unwrap();
    // Whether what failed was written makes no difference.
    post(&tally, "refused", 100).unwrap();
    post(&tally, "third", 100).unwrap();
    total(&tally.client, 20_300);
    tally.stop().unwrap();
}
