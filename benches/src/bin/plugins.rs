//! What one more metric costs: copies of one plugin, each with a name, tables and a progress of its
//! own.
//!
//! `plugins` lets a child process count the same embedded log (text ids) with 1, 3, 10 and 30
//! copies of `products_popularity`, then of `user_activities`, everything else disabled. CPU is
//! that of the child, all threads, from when the engine stands until it has stopped, so frames and
//! commits are in it. Each copy's answers are checked.
//!
//! Goal: at most 60 ns per event and copy beyond the first.
#![allow(clippy::print_stdout)] // a measurement program prints

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use tally_benches::engine::{self, Measured};
use tally_benches::events::{Ids, Oracle};
use tally_benches::measure::{self, median, spread};
use tally_benches::topics::{self, Place};
use tally_engine::config::MetricConfig;
use tally_engine::engine::Engine;

const PLUGINS: [&str; 2] = ["products_popularity", "user_activities"];
const COPIES: [usize; 4] = [1, 3, 10, 30];

/// The cost of one more metric.
#[derive(Parser)]
struct Args {
    /// Events in the log
    #[arg(long, default_value_t = 500_000)]
    events: u64,
    /// Rounds; each does everything once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// At most so many copies
    #[arg(long, default_value_t = 30)]
    most: usize,
    /// Keeps the log here for the next run
    #[arg(long, value_name = "DIR")]
    keep_topic: Option<PathBuf>,
    /// One measurement, as a child of this program: PLUGIN COPIES DATA ORACLE
    #[arg(long, hide = true, num_args = 4)]
    child: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some([plugin, copies, data, oracle]) = args.child.as_deref() {
        let oracle: Oracle = serde_json::from_slice(&std::fs::read(oracle)?)?;
        let measured = count(plugin, copies.parse()?, Path::new(data), &oracle)?;
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(());
    }
    let place = Place::new(args.keep_topic.clone())?;
    let (log, oracle) = place.log(Ids::Text, args.events)?;
    let oracle_file = tempfile::NamedTempFile::new()?;
    std::fs::write(&oracle_file, serde_json::to_vec(&oracle)?)?;
    let copies: Vec<usize> = COPIES.into_iter().filter(|copies| *copies <= args.most).collect();
    let mut costs = vec![vec![Vec::new(); copies.len()]; PLUGINS.len()];
    for _ in 0..args.rounds {
        for (plugin, costs) in PLUGINS.iter().zip(&mut costs) {
            for (copies, costs) in copies.iter().zip(costs) {
                let measured = child(plugin, *copies, &log, oracle_file.path())?;
                costs.push(measured.cpu_ns as f64 / args.events as f64);
            }
        }
    }
    report(&args, &copies, &costs);
    Ok(())
}

fn child(plugin: &str, copies: usize, log: &Path, oracle: &Path) -> Result<Measured> {
    let data = topics::fresh(log)?;
    let mut command = Command::new(std::env::current_exe()?);
    let output = command
        .args(["--child", plugin, &copies.to_string()])
        .arg(data.path())
        .arg(oracle)
        .output()?;
    ensure!(
        output.status.success(),
        "{copies} × {plugin}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("a child's answer")
}

fn count(plugin: &str, copies: usize, data: &Path, oracle: &Oracle) -> Result<Measured> {
    let mut config = engine::embedded(data);
    config.plugins.shipped = vec![plugin.into()];
    for copy in 1..copies {
        config.metrics.insert(
            name(plugin, copy),
            MetricConfig { plugin: Some(plugin.into()), ..MetricConfig::default() },
        );
    }
    engine::through(config, oracle, |engine, oracle| check(engine, plugin, copies, oracle))
}

fn name(plugin: &str, copy: usize) -> String {
    if copy == 0 { plugin.to_owned() } else { format!("{plugin}_{copy}") }
}

fn check(engine: &Engine, plugin: &str, copies: usize, oracle: &Oracle) -> Result<()> {
    ensure!(
        engine.metrics().len() == copies,
        "{} metrics instead of {copies}",
        engine.metrics().len()
    );
    for copy in 0..copies {
        match plugin {
            "user_activities" => engine::check_users(engine, &name(plugin, copy), oracle)?,
            _ => engine::check_products(engine, &name(plugin, copy), oracle)?,
        }
    }
    Ok(())
}

fn report(args: &Args, copies: &[usize], costs: &[Vec<Vec<f64>>]) {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (plugin, costs) in PLUGINS.iter().zip(costs) {
        for (count, of_count) in copies.iter().zip(costs) {
            let more: Vec<f64> = of_count
                .iter()
                .zip(&costs[0])
                .filter(|_| *count > 1)
                .map(|(cost, one)| (cost - one) / (*count as f64 - 1.0))
                .collect();
            let ratios: Vec<f64> =
                of_count.iter().zip(&costs[0]).map(|(cost, one)| cost / one).collect();
            let shown = if more.is_empty() { String::new() } else { spread(&more, 0) };
            rows.push(vec![
                (*plugin).to_owned(),
                count.to_string(),
                spread(of_count, 0),
                spread(&ratios, 2),
                shown,
            ]);
            lines.push(
                json!({"plugin": plugin, "copies": count, "ns_per_event": median(of_count), "ratio": median(&ratios),
                "ns_per_copy": (!more.is_empty()).then(|| median(&more))}),
            );
        }
    }
    println!("{} events, {} rounds; median [least..most]", args.events, args.rounds);
    measure::print(
        &[
            "plugin",
            "copies",
            "CPU ns/event",
            "÷ one copy",
            "ns/event for each copy beyond the first",
        ],
        &rows,
        &json!({"bench": "plugins", "events": args.events, "rounds": args.rounds, "results": lines}),
    );
}
