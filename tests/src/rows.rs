//! The rows of the fault table: each fault with its count and its load, of which a share can be
//! run.

use crate::fleet::{Fault, Place, Plan, run};
use crate::kafka::Kafka;
use crate::points;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// An append-only file that is synced every second, as most run Redis.
const AOF: &[&str] = &["--appendonly", "yes", "--appendfsync", "everysec"];

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens.
    pub what: &'static str,
    /// How often, in full.
    pub count: u32,
    /// Events in full.
    pub load: u64,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Engines, where they stand, and what happens to them in turn.
    Fleet(usize, Place, &'static [Fault]),
    /// Each moment so many times.
    Points(u32),
    Late,
}

use Fault::{
    Broker, Cut, DiskFails, DiskFull, DiskFullKill, Halt, KafkaCut, KafkaHalt, KafkaReset, Kill,
    KillAll, KillStarting, Leave, Pause, RedisBack, RedisCrash, Reset,
};

const fn row(name: &'static str, what: &'static str, count: u32, load: u64, kind: Kind) -> Row {
    Row { name, what, count, load, kind }
}

/// All of them.
pub const ROWS: &[Row] = &[
    row(
        "embedded-kills",
        "kill -9 of the engine, one in four while it starts (embedded)",
        100,
        5_000_000,
        Kind::Fleet(1, Place::Embedded, &[Kill, Kill, Kill, KillStarting]),
    ),
    row(
        "engine-kills",
        "kill -9 of one of three engines, one in ten of all",
        100,
        5_000_000,
        Kind::Fleet(
            3,
            Place::Shared(&[]),
            &[Kill, Kill, Kill, Kill, KillAll, Kill, Kill, KillStarting, Kill, Kill],
        ),
    ),
    row(
        "redis-kills",
        "kill -9 of Redis (AOF everysec)",
        30,
        2_000_000,
        Kind::Fleet(2, Place::Shared(AOF), &[RedisCrash]),
    ),
    row(
        "redis-back",
        "Redis set back to an older state",
        20,
        2_000_000,
        Kind::Fleet(2, Place::Shared(&[]), &[RedisBack]),
    ),
    row(
        "pauses",
        "engine stopped past its session, then on",
        20,
        2_000_000,
        Kind::Fleet(3, Place::Shared(&[]), &[Pause]),
    ),
    row("late-commits", "engine stopped between making and sending a commit", 20, 0, Kind::Late),
    row(
        "joins",
        "engine leaves and joins again",
        100,
        2_000_000,
        Kind::Fleet(3, Place::Shared(&[]), &[Leave]),
    ),
    row(
        "broker",
        "broker killed and started",
        20,
        2_000_000,
        Kind::Fleet(2, Place::Shared(&[]), &[Broker]),
    ),
    row(
        "links",
        "links to Kafka and Redis cut, reset, halted",
        40,
        2_000_000,
        Kind::Fleet(2, Place::Shared(&[]), &[KafkaCut, Cut, KafkaReset, Reset, KafkaHalt, Halt]),
    ),
    row(
        "disk",
        "disk full, also with a kill; failing writes (embedded)",
        10,
        500_000,
        Kind::Fleet(1, Place::SmallDisk, &[DiskFull, DiskFails, DiskFullKill, DiskFull, DiskFails]),
    ),
    row(
        "points",
        "abort at each crash point of the protocol, five times, with either store",
        290,
        50_000,
        Kind::Points(5),
    ),
];

/// What came of a row.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Faults.
    pub count: u32,
    /// Events counted, each once.
    pub events: u64,
    /// Sent twice, and lines that are no events; not counted where moments are tried.
    pub mixed_in: Option<(u64, u64)>,
    /// Missing at the end, and too many.
    pub wrong: (u64, u64),
    /// Longest time from mending to right totals.
    pub slowest: Duration,
    /// How long it all took.
    pub took: Duration,
}

impl Row {
    /// Whether it needs a broker.
    #[must_use]
    pub fn needs_kafka(&self) -> bool {
        !matches!(self.kind, Kind::Fleet(_, Place::Embedded | Place::SmallDisk, _))
    }

    /// Runs a share of the row, at least one fault; `kafka` where it needs one.
    ///
    /// # Errors
    /// What was counted wrong, or went wrong otherwise.
    pub fn run(&self, kafka: Option<&mut Kafka>, share: f64, seed: u64) -> Result<Outcome> {
        let begun = Instant::now();
        let count = ((f64::from(self.count) * share).round() as u32).max(1);
        let of_trials = |trials: points::Trials| Outcome {
            count: trials.ends,
            events: trials.events,
            mixed_in: None,
            wrong: (0, 0),
            slowest: trials.slowest,
            took: begun.elapsed(),
        };
        match self.kind {
            Kind::Fleet(engines, place, faults) => {
                let faults: Vec<Fault> =
                    faults.iter().copied().cycle().take(count as usize).collect();
                let load = (self.load as f64 * share) as u64;
                let report =
                    run(kafka, &Plan { load, ..Plan::new(engines, place, &faults, seed) })?;
                Ok(Outcome {
                    count,
                    events: report.events,
                    mixed_in: Some((report.sent.again, report.sent.poison)),
                    wrong: (report.lost, report.doubled),
                    slowest: report
                        .faults
                        .values()
                        .map(|(_, longest)| *longest)
                        .max()
                        .unwrap_or_default(),
                    took: begun.elapsed(),
                })
            }
            Kind::Late => {
                Ok(of_trials(points::late_commit(kafka.context("a broker")?, count, seed)?))
            }
            Kind::Points(times) => {
                let times = ((f64::from(times) * share).round() as u32).max(1);
                let alone = points::alone(times, seed)?;
                let beside = points::beside_another(kafka.context("a broker")?, times, seed)?;
                Ok(of_trials(points::Trials {
                    ends: alone.ends + beside.ends,
                    events: alone.events + beside.events,
                    slowest: alone.slowest.max(beside.slowest),
                }))
            }
        }
    }
}
