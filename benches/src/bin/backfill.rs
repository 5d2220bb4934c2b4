//! How fast the main lane counts while another lane replays history beside it, against how fast it
//! counts alone.
//!
//! `backfill` fills an embedded log (text ids) and lets an engine with the three shipped metrics
//! count a third of it. Each measurement is a child process that goes on from there, over a copy:
//! alone, or with one metric more, a copy of a shipped one, which has the whole log before it and
//! counts it in a lane of its own. The rate of the main lane is taken from its first new record to
//! the end of the log, or until the other lane has joined it, whichever comes first. Where
//! everything was counted, the answers are checked against the oracle.
//!
//! Goal: at least 0.70 of the rate without.
#![allow(clippy::print_stdout)] // a measurement program prints

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tally_benches::engine;
use tally_benches::events::{Ids, Oracle};
use tally_benches::measure::{self, median, spread};
use tally_benches::topics::{self, Place};
use tally_engine::config::MetricConfig;
use tally_engine::engine::{Engine, MetricState};

/// What is counted beside the main lane; the first is nothing.
const BESIDE: [&str; 3] = ["", "products_popularity", "user_activities"];

/// Rate of the main lane during a backfill.
#[derive(Parser)]
struct Args {
    /// Events in the log
    #[arg(long, default_value_t = 3_000_000)]
    events: u64,
    /// Rounds; each does everything once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Keeps the log here for the next run
    #[arg(long, value_name = "DIR")]
    keep_topic: Option<std::path::PathBuf>,
    /// One measurement, as a child of this program: PLUGIN DATA ORACLE
    #[arg(long, hide = true, num_args = 3)]
    child: Option<Vec<String>>,
}

/// What a child saw.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Measured {
    /// Events a second of the main lane.
    main: f64,
    /// Of the other one, meanwhile; 0 without.
    beside: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some([plugin, data, oracle]) = args.child.as_deref() {
        let oracle: Oracle = serde_json::from_slice(&std::fs::read(oracle)?)?;
        println!("{}", serde_json::to_string(&count(plugin, Path::new(data), &oracle)?)?);
        return Ok(());
    }
    let place = Place::new(args.keep_topic.clone())?;
    let (log, oracle) = place.log(Ids::Text, args.events)?;
    let begun = topics::fresh(&log)?;
    begin(begun.path(), args.events / 3)?;
    let oracle_file = tempfile::NamedTempFile::new()?;
    std::fs::write(&oracle_file, serde_json::to_vec(&oracle)?)?;
    let mut measured = vec![Vec::new(); BESIDE.len()];
    for round in 0..args.rounds {
        for turn in 0..BESIDE.len() {
            let which = (round + turn) % BESIDE.len();
            measured[which].push(child(BESIDE[which], begun.path(), oracle_file.path())?);
        }
    }
    report(&args, &measured);
    Ok(())
}

/// Counts the beginning of a log, so that a metric that comes later has to count it in a lane of
/// its own.
fn begin(data: &Path, events: u64) -> Result<()> {
    let engine = engine::start(engine::embedded(data))?;
    engine::counted(&engine, events)?;
    engine.stop(Duration::from_secs(60));
    Ok(())
}

fn child(plugin: &str, data: &Path, oracle: &Path) -> Result<Measured> {
    let data = topics::fresh(data)?;
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["--child", plugin]).arg(data.path()).arg(oracle).output()?;
    ensure!(
        output.status.success(),
        "beside {plugin:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("a child's answer")
}

fn count(plugin: &str, data: &Path, oracle: &Oracle) -> Result<Measured> {
    let mut config = engine::embedded(data);
    if !plugin.is_empty() {
        let copy = MetricConfig { plugin: Some(plugin.into()), ..MetricConfig::default() };
        config.metrics.insert("copy".into(), copy);
    }
    let engine = engine::start(config)?;
    let main = || engine.position().0.values().sum::<u64>();
    let stood = main();
    let begun = first(&engine, stood)?;
    let beside = done(&engine).unwrap_or(0.0);
    let (mut seen, mut took) = (begun.1, begun.0.elapsed());
    let mut share = beside;
    while seen < oracle.total {
        ensure!(took < Duration::from_secs(300), "only {} counted", engine.position());
        std::thread::sleep(Duration::from_millis(2));
        match done(&engine) {
            Some(done) => share = done,
            // It has joined: what comes now is one lane again.
            None if !plugin.is_empty() => break,
            None => {}
        }
        (seen, took) = (main(), begun.0.elapsed());
    }
    let seconds = took.as_secs_f64();
    let main = (seen - begun.1) as f64 / seconds;
    // Its way ends where the main lane stands.
    let beside = (share * seen as f64 - beside * begun.1 as f64).max(0.0) / seconds;
    engine::counted(&engine, oracle.total)?;
    engine::check(&engine, oracle)?;
    match plugin {
        "" => {}
        _ => {
            joined(&engine)?;
            match plugin {
                "user_activities" => engine::check_users(&engine, "copy", oracle)?,
                _ => engine::check_products(&engine, "copy", oracle)?,
            }
        }
    }
    engine.stop(Duration::from_secs(60));
    Ok(Measured { main, beside })
}

/// Waits for the first record beyond `stood`; when it was seen, and how many there were then.
fn first(engine: &Engine, stood: u64) -> Result<(Instant, u64)> {
    let started = Instant::now();
    loop {
        let seen = engine.position().0.values().sum::<u64>();
        if seen > stood {
            return Ok((Instant::now(), seen));
        }
        ensure!(
            started.elapsed() < Duration::from_secs(60),
            "nothing is counted: {:?}",
            engine.readiness()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// How much of the way is behind the metric beside; `None`: all of it, or there is none.
fn done(engine: &Engine) -> Option<f64> {
    match engine.metric("copy")?.state {
        MetricState::Backfilling { done, .. } => Some(done),
        _ => None,
    }
}

fn joined(engine: &Engine) -> Result<()> {
    let started = Instant::now();
    while done(engine).is_some() {
        ensure!(
            started.elapsed() < Duration::from_secs(120),
            "it does not join: {:?}",
            engine.metric("copy")
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn report(args: &Args, measured: &[Vec<Measured>]) {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (plugin, of) in BESIDE.iter().zip(measured) {
        let thousands = |of: fn(&Measured) -> f64, from: &[Measured]| -> Vec<f64> {
            from.iter().map(|measured| of(measured) / 1_000.0).collect()
        };
        let (main, beside) = (thousands(|m| m.main, of), thousands(|m| m.beside, of));
        let ratios: Vec<f64> =
            of.iter().zip(&measured[0]).map(|(with, alone)| with.main / alone.main).collect();
        let name = if plugin.is_empty() { "nothing" } else { plugin };
        let shown = if plugin.is_empty() { String::new() } else { spread(&beside, 0) };
        rows.push(vec![name.to_owned(), spread(&main, 0), spread(&ratios, 2), shown]);
        lines.push(
            json!({"beside": name, "main_per_s": median(&main) * 1_000.0, "ratio": median(&ratios),
            "beside_per_s": median(&beside) * 1_000.0}),
        );
    }
    println!("{} events, {} rounds; median [least..most]", args.events, args.rounds);
    measure::print(
        &["beside", "main lane, 1,000 events/s", "÷ alone", "other lane, 1,000 events/s"],
        &rows,
        &json!({"bench": "backfill", "events": args.events, "rounds": args.rounds, "results": lines}),
    );
}
