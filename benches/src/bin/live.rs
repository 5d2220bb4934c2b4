//! What it costs to be listened to and watched: many subscribers, many questions, strangers, and
//! GETs that are held behind a cache.
//!
//! `live` starts the built `tally` with a log of one partition; producer and clients are this
//! process, on the same cores. Each part is measured in rounds, beside what it is compared with:
//!
//! * `fan-out`: each of 1,000 WebSockets gets each of 1,000 events a second, by turns from Tally and
//!   from a bare axum broadcast, a child of this program (`broadcast`). Goals: none is lost, else
//!   the largest rate without loss is measured and named; CPU of the server for each message that
//!   came, at most 1.3 times the bare one's.
//! * `one-question`: 10,000 events a second while one watches a question, and while 1,000 do. Goal:
//!   at most 1.5 times the CPU.
//! * `questions`: the same while 1,000 different questions to one metric are watched: evaluations,
//!   and the delay from an event to the first update that contains it. Goal: 90 % are counted.
//! * `delay`: the same of one question at the least interval. Goal: p99 at most 20 ms above it.
//! * `strangers`: a listener's delay, and what is counted, alone and beside clients that are idle,
//!   busy, wrong, do not read, or come and go. Goals: 98 % are counted, and p99 is the same.
//! * `held`: 10,000 clients hold a GET at an nginx that caches, and one event is posted: when each
//!   has the new answer, and how often nginx asked. Left out, with a word, without nginx.
//!
//! At the end Tally must have counted what was posted. Clients and server together take what cores
//! there are: the figures are of this machine, the ratios of one run.
#![allow(clippy::print_stdout)] // a measurement program prints

#[path = "live/delays.rs"]
mod delays;
#[path = "live/fan_out.rs"]
mod fan_out;
#[path = "live/held.rs"]
mod held;
#[path = "live/one_question.rs"]
mod one_question;
#[path = "live/strangers.rs"]
mod strangers;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::{Parser, ValueEnum};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use tally_benches::http::{Connection, Serving};
use tally_benches::measure;
use tally_benches::posts::Poster;
use tally_benches::{broadcast, engine, sockets};
use tempfile::TempDir;

const CONFIG: &str = "[log]\npartitions = 1\n";

/// How long after the end of a run its events may be counted and still be in time.
const GRACE: Duration = Duration::from_millis(100);

/// What it costs to be listened to and watched.
#[derive(Parser)]
struct Args {
    /// Measures these parts only
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// WebSockets that get each event, or watch one question
    #[arg(long, default_value_t = 1_000)]
    subscribers: usize,
    /// Events a second that each of them gets
    #[arg(long, default_value_t = 1_000)]
    rate: u64,
    /// Events a second while questions are watched, and beside strangers
    #[arg(long, default_value_t = 10_000)]
    busy: u64,
    /// Different questions; at most 1,000
    #[arg(long, default_value_t = 1_000)]
    questions: u64,
    /// Least time between two updates, milliseconds
    #[arg(long, default_value_t = 250)]
    interval: u64,
    /// Clients that are idle, and as many that are busy
    #[arg(long, default_value_t = 1_000)]
    strangers: usize,
    /// WebSockets that come and go in a round beside strangers
    #[arg(long, default_value_t = 10_000)]
    opens: u32,
    /// Clients that hold a GET; fewer where this process may not open as many files
    #[arg(long, default_value_t = 10_000)]
    held: usize,
    /// Rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each run in a round
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Serves the bare broadcast, as a child of this program
    #[arg(long, hide = true)]
    broadcast: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    FanOut,
    OneQuestion,
    Questions,
    Delay,
    Strangers,
    Held,
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// Of a run.
    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// What all parts use, and what they found.
struct Bench {
    args: Args,
    tally: Serving,
    poster: Poster,
    rows: Vec<Vec<String>>,
    line: Map<String, Value>,
    _folder: TempDir,
}

impl Bench {
    async fn start(args: Args) -> Result<Bench> {
        engine::plugins()?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("metrics.toml"), CONFIG)?;
        let program = std::env::current_exe()?.with_file_name("tally");
        let tally = Serving::start(&program, &["run", "--listen", "127.0.0.1:0"], folder.path())?;
        ready(&tally.address).await?;
        let poster = Poster::open(&tally.address).await?;
        let (rows, line) = (Vec::new(), Map::new());
        Ok(Bench { args, tally, poster, rows, line, _folder: folder })
    }

    /// A row of the table: what, how much, and how much it should be.
    fn row(&mut self, what: impl Into<String>, measured: impl Into<String>, goal: &str) {
        self.rows.push(vec![what.into(), measured.into(), goal.to_owned()]);
    }

    /// A member of the line.
    fn note(&mut self, name: &str, figures: Value) {
        self.line.insert(name.to_owned(), figures);
    }

    async fn finish(mut self) -> Result<()> {
        let (started, posted) = (Instant::now(), self.poster.posted);
        let mut counted = total(&self.tally.address).await?;
        while counted != posted {
            let in_time = started.elapsed() < Duration::from_secs(60);
            ensure!(in_time, "wrong: {counted} of {posted} events are counted");
            tokio::time::sleep(Duration::from_millis(20)).await;
            counted = total(&self.tally.address).await?;
        }
        let Args { rounds, seconds, .. } = self.args;
        println!("{rounds} rounds of {seconds} s; median [least..most]");
        self.note("bench", json!("live"));
        self.note("rounds", json!(rounds));
        measure::print(&["", "measured", "goal"], &self.rows, &Value::Object(self.line));
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if args.broadcast {
        return broadcast::serve().await;
    }
    ensure!(args.questions <= tally_benches::posts::USERS, "at most 1,000 questions");
    tally_engine::descriptors::raise()?;
    let mut bench = Bench::start(args).await?;
    if bench.args.wants(Part::FanOut) {
        fan_out::measure(&mut bench).await?;
    }
    if bench.args.wants(Part::OneQuestion) {
        one_question::measure(&mut bench).await?;
    }
    if bench.args.wants(Part::Questions) {
        delays::measure_many(&mut bench).await?;
    }
    if bench.args.wants(Part::Delay) {
        delays::measure_one(&mut bench).await?;
    }
    if bench.args.wants(Part::Strangers) {
        strangers::measure(&mut bench).await?;
    }
    if bench.args.wants(Part::Held) {
        held::measure(&mut bench).await?;
    }
    bench.finish().await
}

/// Waits until questions are answered.
async fn ready(address: &str) -> Result<()> {
    let started = Instant::now();
    while let Err(fault) = total(address).await {
        ensure!(started.elapsed() < Duration::from_secs(60), "not ready in a minute: {fault:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// How many events are counted.
async fn total(address: &str) -> Result<u64> {
    let mut connection = Connection::open(address).await?;
    let question = Bytes::from_static(b"{\"name\":\"event_frequencies\"}");
    let answer = connection.post("/api/metrics", "application/json", question).await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    answer["result"]["total"].as_u64().context("no total")
}

/// The part of the events of a run, which begins now, that is counted when it should be over, where
/// `before` were counted.
async fn counted_in_time(address: &str, args: &Args, before: u64) -> Result<f64> {
    tokio::time::sleep(args.time() + GRACE).await;
    let counted = total(address).await?.saturating_sub(before);
    Ok((counted as f64 / (args.busy * args.seconds) as f64).min(1.0))
}

/// A figure of `/metrics`.
async fn figure(address: &str, name: &str) -> Result<f64> {
    let (_, text) = sockets::get(address, "/metrics").await?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.map(str::parse::<f64>).transpose()?.unwrap_or(0.0))
}
