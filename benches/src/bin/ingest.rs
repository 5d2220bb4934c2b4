//! What an event costs on its way from the log into durable counts, against a bare loop that only
//! reads it.
//!
//! `ingest` fills two topics of a real Apache Kafka (text ids, integer ids) and two embedded logs
//! with the same events, then lets a child process do each of three things over them, in turn: (a)
//! a bare `BaseConsumer::poll` loop at librdkafka's defaults; (b) the engine with the three shipped
//! metrics on the topic, until everything is counted and checkpointed; (c) the same from the
//! embedded log. CPU is that of the child, all threads, from when the client or engine stands until
//! it has stopped; starting is a column of its own; the broker is in neither. Each engine's answers
//! are checked against the oracle after that. `ingest profile` does one of the three once, for a
//! profiler.
//!
//! Goals: (b) at most 1.8 × (a), (c) at most 1.0 × (a).
#![allow(clippy::print_stdout)] // a measurement program prints

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use tally_benches::bare;
use tally_benches::engine::{self, Measured};
use tally_benches::events::{Ids, Oracle};
use tally_benches::measure::{self, median, spread};
use tally_benches::topics::{self, Place};

/// Cost of an event from the log to durable counts, against a bare Kafka loop.
#[derive(Parser)]
struct Args {
    /// Events in each topic
    #[arg(long, default_value_t = 2_000_000, global = true)]
    events: u64,
    /// Rounds; each does everything once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these ids
    #[arg(long, global = true)]
    ids: Option<Ids>,
    /// Keeps broker and logs here for the next run
    #[arg(long, value_name = "DIR", global = true)]
    keep_topic: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Mode>,
}

#[derive(Subcommand)]
enum Mode {
    /// Does one thing once in this process, for a profiler
    Profile {
        #[arg(long, default_value = "embedded")]
        variant: Variant,
    },
    /// One measurement, as a child of this program
    #[command(hide = true)]
    Child { variant: Variant, from: String, topic: String, oracle: PathBuf },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Variant {
    Bare,
    Kafka,
    Embedded,
}

const VARIANTS: [(Variant, &str); 3] =
    [(Variant::Bare, "bare"), (Variant::Kafka, "kafka"), (Variant::Embedded, "embedded")];

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if let Some(Mode::Child { variant, from, topic, oracle }) = &args.command {
        let oracle = serde_json::from_slice(&std::fs::read(oracle)?)?;
        let measured = measure_one(*variant, from, topic, &oracle)?;
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(ExitCode::SUCCESS);
    }
    let place = Place::new(args.keep_topic.clone())?;
    if let Some(Mode::Profile { variant }) = args.command {
        let ids = args.ids.unwrap_or(Ids::Text);
        let measured = profile(&place, variant, ids, args.events)?;
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(ExitCode::SUCCESS);
    }
    run(&args, &place)
}

/// The topics, logs and results of one kind of ids.
struct Side {
    ids: Ids,
    topic: String,
    log: PathBuf,
    oracle: Oracle,
    oracle_file: tempfile::NamedTempFile,
    measured: [Vec<Measured>; 3],
}

fn run(args: &Args, place: &Place) -> Result<ExitCode> {
    let kafka = place.kafka()?;
    let mut sides = Vec::new();
    for ids in
        [Ids::Text, Ids::Integer].into_iter().filter(|ids| args.ids.is_none_or(|only| only == *ids))
    {
        let (topic, oracle) = place.topic(&kafka, ids, args.events)?;
        let (log, _) = place.log(ids, args.events)?;
        let oracle_file = tempfile::NamedTempFile::new()?;
        std::fs::write(&oracle_file, serde_json::to_vec(&oracle)?)?;
        sides.push(Side { ids, topic, log, oracle, oracle_file, measured: Default::default() });
    }
    let brokers = kafka.brokers();
    // the first round only warms up: the broker's code and both logs' pages
    for round in 0..=args.rounds {
        for turn in 0..VARIANTS.len() {
            let which = (round + turn) % VARIANTS.len();
            for side in &mut sides {
                let measured = child(VARIANTS[which].1, VARIANTS[which].0, &brokers, side)?;
                if round > 0 {
                    side.measured[which].push(measured);
                }
            }
        }
    }
    report(args, &sides);
    Ok(ExitCode::SUCCESS)
}

fn child(name: &str, variant: Variant, brokers: &str, side: &Side) -> Result<Measured> {
    let copy = (variant == Variant::Embedded).then(|| topics::fresh(&side.log)).transpose()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["child", name]);
    match &copy {
        Some(copy) => command.arg(copy.path()),
        None => command.arg(brokers),
    };
    let output = command.arg(&side.topic).arg(side.oracle_file.path()).output()?;
    ensure!(
        output.status.success(),
        "{name}, {} ids: {}",
        side.ids.name(),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("a child's answer")
}

fn report(args: &Args, sides: &[Side]) {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for side in sides {
        let per_event = |measured: &[Measured], of: fn(&Measured) -> u64| -> Vec<f64> {
            measured.iter().map(|measured| of(measured) as f64 / args.events as f64).collect()
        };
        let bare = per_event(&side.measured[0], |m| m.cpu_ns);
        for ((_, name), measured) in VARIANTS.iter().zip(&side.measured) {
            let cost = per_event(measured, |m| m.cpu_ns);
            let ratios: Vec<f64> = cost.iter().zip(&bare).map(|(cost, bare)| cost / bare).collect();
            let start: Vec<f64> = measured.iter().map(|m| m.start_ns as f64 / 1e6).collect();
            let wall: Vec<f64> = measured.iter().map(|m| m.wall_ms as f64 / 1_000.0).collect();
            rows.push(vec![
                side.ids.name().to_owned(),
                (*name).to_owned(),
                spread(&cost, 0),
                spread(&ratios, 2),
                format!("{:.0}", median(&start)),
                spread(&wall, 2),
            ]);
            lines.push(
                json!({"ids": side.ids, "variant": name, "ns_per_event": median(&cost), "ratio": median(&ratios),
                "start_ms": median(&start), "wall_s": median(&wall)}),
            );
        }
    }
    let bytes =
        sides.first().map_or(0.0, |side| side.oracle.bytes as f64 / side.oracle.total as f64);
    println!(
        "{} events of {bytes:.0} bytes, {} rounds after a warm-up; median [least..most]",
        args.events, args.rounds
    );
    measure::print(
        &["ids", "variant", "CPU ns/event", "÷ bare poll loop", "start, CPU ms", "wall s"],
        &rows,
        &json!({"bench": "ingest", "events": args.events, "rounds": args.rounds, "results": lines}),
    );
}

fn profile(place: &Place, variant: Variant, ids: Ids, events: u64) -> Result<Measured> {
    if variant == Variant::Embedded {
        let (log, oracle) = place.log(ids, events)?;
        let copy = topics::fresh(&log)?;
        return measure_one(variant, &copy.path().display().to_string(), "", &oracle);
    }
    let kafka = place.kafka()?;
    let (topic, oracle) = place.topic(&kafka, ids, events)?;
    measure_one(variant, &kafka.brokers(), &topic, &oracle)
}

/// `from`: brokers, or the data directory of an embedded log.
fn measure_one(variant: Variant, from: &str, topic: &str, oracle: &Oracle) -> Result<Measured> {
    match variant {
        Variant::Bare => bare::poll(from, topic, oracle),
        Variant::Kafka => {
            let data = tempfile::tempdir()?;
            engine::through(engine::kafka(data.path(), from, topic), oracle, engine::check)
        }
        Variant::Embedded => {
            engine::through(engine::embedded(Path::new(from)), oracle, engine::check)
        }
    }
}
