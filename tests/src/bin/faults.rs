//! Every fault with its count under its load, judged by an oracle; a table at the end.
//!
//! `faults` runs a fiftieth of each row, `--long` all of it, `--share` what is asked for; `--seed`
//! repeats what a run printed, as far as a real clock lets it. Ends with 1 if anything was lost or
//! doubled. What it needs is said by `./check`; beside it must lie `tally` and `tally-failpoints`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it prints a table, and at once what went wrong"
)]

use anyhow::{Result, ensure};
use clap::Parser;
use std::process::ExitCode;
use tally_tests::chaos::seed;
use tally_tests::kafka::Kafka;
use tally_tests::rows::{Outcome, ROWS, Row};

/// Every fault with its count under its load.
#[derive(Parser)]
struct Args {
    /// All of each row
    #[arg(long)]
    long: bool,
    /// So much of each row, 0 to 1
    #[arg(long, conflicts_with = "long", default_value_t = 0.02)]
    share: f64,
    /// Only these rows
    #[arg(long = "row", value_name = "NAME", value_parser = ROWS.iter().map(|row| row.name).collect::<Vec<_>>())]
    rows: Vec<String>,
    /// Where everything random comes from
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let (share, seed) = (if args.long { 1.0 } else { args.share }, args.seed.unwrap_or_else(seed));
    ensure!(share > 0.0 && share <= 1.0, "--share is above 0 and at most 1");
    let rows: Vec<&Row> = ROWS
        .iter()
        .filter(|row| args.rows.is_empty() || args.rows.iter().any(|r| r == row.name))
        .collect();
    println!("seed {seed}, share {share}\n");
    println!(
        "| fault | count | events | sent again · poison | lost | doubled | longest recovery | took |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut wrong = Vec::new();
    for row in rows {
        // Each row a broker of its own: what one leaves behind is not another's.
        let mut kafka = if row.needs_kafka() { Some(Kafka::behind_proxy()?) } else { None };
        match row.run(kafka.as_mut(), share, seed) {
            Ok(outcome) => {
                print(row, &outcome);
                if outcome.wrong != (0, 0) {
                    wrong.push(format!("{}: {outcome:?}", row.name));
                }
            }
            Err(fault) => {
                println!("| {} | | | | **failed** | | | |", row.what);
                eprintln!("{}: {fault:#}", row.name);
                wrong.push(format!("{}: {fault:#}", row.name));
            }
        }
    }
    wrong.iter().for_each(|fault| println!("\n{fault}"));
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(row: &Row, outcome: &Outcome) {
    let Outcome { count, events, mixed_in, wrong: (lost, doubled), slowest, took } = outcome;
    let mixed_in =
        mixed_in.map_or_else(|| "yes".into(), |(again, poison)| format!("{again} · {poison}"));
    let (slowest, took) = (slowest.as_secs_f64(), took.as_secs());
    println!(
        "| {} | {count} | {events} | {mixed_in} | {lost} | {doubled} | {slowest:.1} s | {took} s |",
        row.what
    );
}
