//! Engines under load, and what happens to them: several of one group on real Kafka and real Redis,
//! or one with all it needs embedded.
//!
//! Each round lets feeders post through the engines, does something cruel at a random moment, mends
//! it, and compares the totals with the oracle through some engine; at the end every answer through
//! every engine. All that is random comes from one seed.

mod cruelty;

pub use cruelty::Fault;

use crate::chaos::{Feeder, Pace, Sent, settle};
use crate::client::Client;
use crate::disk::Disk;
use crate::kafka::Kafka;
use crate::oracle::Oracle;
use crate::proxy::{Change, Proxy};
use crate::redis::Redis;
use crate::tally::{Home, START, Tally};
use anyhow::{Context, Result, anyhow, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Partitions of the log.
pub const PARTITIONS: i32 = 8;

/// Short sessions, so that the group does not wait long for an engine that was killed; a long
/// deadline, so that a busy machine is no failure.
const SHARED: &str =
    "[kafka]\nsession_timeout_ms = 1500\n[server]\nevaluation_deadline_ms = 10000\n";

/// Small checkpoints, so that faults meet many.
const EMBEDDED: &str = "[log]\npartitions = 8\n[store]\ncheckpoint_interval_ms = 100\n[server]\nevaluation_deadline_ms = 10000\n";

/// Lines of a post where there is a load to get through.
const MANY: std::ops::Range<u32> = 200..4_000;

/// How long a round may take to get through its load.
const LOAD: Duration = Duration::from_secs(120);

/// Where engines keep what they count, and read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Kafka and a Redis with these settings.
    Shared(&'static [&'static str]),
    /// In their own data directory: one engine.
    Embedded,
    /// The same on a disk that can be filled.
    SmallDisk,
}

/// How to be cruel.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Engines.
    pub engines: usize,
    /// Added to `metrics.toml`.
    pub config: String,
    /// What they stand on.
    pub place: Place,
    /// Texts on the way to Redis that it gets otherwise: scripts without a protection.
    pub changes: &'static [Change],
    /// What happens, round by round.
    pub faults: Vec<Fault>,
    /// Events to be posted at least, all rounds together; 0: as many as come in a moment.
    pub load: u64,
    /// Where everything random comes from.
    pub seed: u64,
    /// Says of one event that it was acknowledged, though it was never sent.
    pub lies: bool,
}

impl Plan {
    /// Nothing added, nothing broken, no load to get through.
    #[must_use]
    pub fn new(engines: usize, place: Place, faults: &[Fault], seed: u64) -> Plan {
        let (config, faults) = (String::new(), faults.to_vec());
        Plan { engines, config, place, changes: &[], faults, load: 0, seed, lies: false }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events counted, each once.
    pub events: u64,
    /// What was sent besides.
    pub sent: Sent,
    /// Missing from the answers at the end, by minute and type.
    pub lost: u64,
    /// Too many in them.
    pub doubled: u64,
    /// Buckets in Redis that were split.
    pub splits: usize,
    /// How often what happened, and the longest time from mending to right totals.
    pub faults: BTreeMap<Fault, (u32, Duration)>,
}

/// Engines and what they stand on.
pub struct Fleet<'k> {
    kafka: Option<&'k mut Kafka>,
    pub(crate) redis: Option<(Redis, Proxy)>,
    pub(crate) running: Vec<Option<Tally>>,
    disk: Option<Disk>,
    pub(crate) homes: Vec<Home>,
    pub(crate) feeders: Vec<Feeder>,
    oracle: Oracle,
    pub(crate) random: SmallRng,
}

/// Carries out a plan, on a topic of its own where there is one.
///
/// # Errors
/// "counted wrong" and what differs from the oracle; or whatever else went wrong.
pub fn run(kafka: Option<&mut Kafka>, plan: &Plan) -> Result<Report> {
    let mut fleet = Fleet::start(kafka, plan)?;
    fleet.mend()?;
    let mut faults: BTreeMap<Fault, (u32, Duration)> = BTreeMap::new();
    for (round, fault) in plan.faults.iter().enumerate() {
        let load = plan.load.div_ceil(plan.faults.len() as u64);
        let took =
            fleet.round(*fault, load).with_context(|| format!("round {round}: {fault:?}"))?;
        let (count, longest) = faults.entry(*fault).or_default();
        (*count, *longest) = (*count + 1, took.max(*longest));
        if plan.lies && round == 0 {
            let never_sent = fleet.feeders[0].event();
            fleet.oracle.count(&never_sent);
        }
    }
    let report = Report { faults, ..fleet.report()? };
    fleet.stop()?;
    Ok(report)
}

impl Fleet<'_> {
    /// Prepares everything on a fresh topic; no engine runs yet.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start<'k>(kafka: Option<&'k mut Kafka>, plan: &Plan) -> Result<Fleet<'k>> {
        let topic = format!("fleet-{}", uuid::Uuid::now_v7().simple());
        let (mut redis, mut config) = (None, EMBEDDED);
        if let (Place::Shared(settings), Some(kafka)) = (plan.place, &kafka) {
            kafka.create_topic(&topic, PARTITIONS, &[])?;
            let server = Redis::start(settings)?;
            let link = Proxy::start(&server.at(), plan.changes)?;
            (redis, config) = (Some((server, link)), SHARED);
        }
        let mut homes = Vec::new();
        for _ in 0..plan.engines {
            let mut home = Home::new(&format!("{config}{}", plan.config))?;
            if let (Some((_, link)), Some(kafka)) = (&redis, &kafka) {
                home.env("KAFKA_BROKER", &kafka.link().map_or_else(|| kafka.brokers(), Proxy::at));
                home.env("TOPIC", &topic);
                home.env("GROUP_ID", &topic);
                home.env("REDIS_URL", &link.at());
            }
            homes.push(home);
        }
        let mut disk = None;
        if plan.place == Place::SmallDisk {
            disk = Some(Disk::mount(homes[0].path().join(".tally"), "size=2g")?);
            homes[0].ignore_file_limits()?;
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let mut feeders = Feeder::several(2, plan.seed, now);
        if plan.load > 0 {
            feeders.iter_mut().for_each(|feeder| feeder.lines(MANY));
        }
        Ok(Fleet {
            kafka,
            redis,
            running: homes.iter().map(|_| None).collect(),
            disk,
            homes,
            feeders,
            oracle: Oracle::default(),
            random: SmallRng::seed_from_u64(plan.seed),
        })
    }

    /// Starts the engines that do not run, all at once.
    ///
    /// # Errors
    /// One does not start.
    pub fn mend(&mut self) -> Result<()> {
        let mut started = Vec::new();
        for (n, running) in
            self.running.iter_mut().enumerate().filter(|(_, running)| running.is_none())
        {
            *running = Some(self.homes[n].listening().with_context(|| format!("engine {n}"))?);
            started.push(n);
        }
        for n in started {
            if let Some(tally) = &self.running[n] {
                tally.client.ready(START).with_context(|| tally.process.tail())?;
            }
        }
        Ok(())
    }

    /// Lets feeders post through the engines that run, until `act` is done.
    ///
    /// # Errors
    /// What `act` says, or a wrong answer to a post.
    pub fn feeding<T>(&mut self, act: impl FnOnce(&mut Self, &Pace) -> Result<T>) -> Result<T> {
        let addresses: Vec<_> = self.running.iter().flatten().map(|tally| tally.address).collect();
        ensure!(!addresses.is_empty(), "no engine runs");
        let (stop, pace) = (AtomicBool::new(false), Pace::default());
        let mut feeders = std::mem::take(&mut self.feeders);
        let done = std::thread::scope(|scope| -> Result<T> {
            let (stop, pace) = (&stop, &pace);
            let feed = |(n, feeder): (usize, _)| {
                let address = addresses[n % addresses.len()];
                let feeder: &mut Feeder = feeder;
                scope.spawn(move || feeder.run(address, stop, pace))
            };
            let running: Vec<_> = feeders.iter_mut().enumerate().map(feed).collect();
            let done = act(self, pace);
            stop.store(true, Ordering::SeqCst);
            for feeder in running {
                feeder.join().map_err(|_| anyhow!("a feeder panicked"))??;
            }
            done
        });
        self.feeders = feeders;
        done
    }

    /// One round; how long it took from mending to right totals.
    fn round(&mut self, fault: Fault, load: u64) -> Result<Duration> {
        let before = Duration::from_millis(self.random.random_range(50..500));
        let after = Duration::from_millis(self.random.random_range(50..300));
        let victim = self.random.random_range(0..self.running.len());
        self.feeding(|fleet, pace| {
            let begun = Instant::now();
            std::thread::sleep(before);
            while pace.acknowledged() < load {
                ensure!(
                    begun.elapsed() < LOAD,
                    "{} of {load} events after {LOAD:?}",
                    pace.acknowledged()
                );
                std::thread::sleep(Duration::from_millis(1));
            }
            let done = fleet.inflict(fault, victim);
            std::thread::sleep(after);
            done
        })?;
        self.recover()
    }

    /// Starts what does not run and compares the totals; how long that took.
    ///
    /// # Errors
    /// What differs, or what does not start.
    pub fn recover(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        self.mend()?;
        self.settle(None)?;
        Ok(begun.elapsed())
    }

    fn settle(&mut self, user_step: Option<usize>) -> Result<()> {
        let n = self.random.random_range(0..self.running.len());
        let tally = self.running[n].as_ref().context("an engine does not run")?;
        let compared = settle(&mut self.feeders, &mut self.oracle, &tally.client, user_step);
        compared.with_context(|| format!("through engine {n}:\n{}", tally.process.tail()))
    }

    /// Every answer through some engine, then that all engines answer alike; what was counted.
    ///
    /// # Errors
    /// What differs.
    pub fn report(&mut self) -> Result<Report> {
        self.settle(Some(11))?;
        let engines: Vec<&Tally> = self.running.iter().flatten().collect();
        let now = engines[0].client.answer("event_frequencies", &json!({}), "")?;
        let position = now["meta"]["position"].as_str().context("a position")?.to_owned();
        let questions = [
            ("event_frequencies", json!({})),
            ("products_popularity", json!({"limit": 100})),
            ("user_activities", json!({"user_id": 7})),
        ];
        for (name, params) in questions {
            let answers = engines.iter().map(|tally| tally.client.ask(name, &params, &position));
            let answers = answers.collect::<Result<Vec<_>>>()?;
            ensure!(
                answers.windows(2).all(|pair| pair[0] == pair[1]),
                "engines differ on {name}: {answers:?}"
            );
        }
        let (lost, doubled) = self.oracle.balance(&engines[0].client)?;
        let sent = self.feeders.iter().map(Feeder::sent);
        let sent = sent.fold(Sent::default(), |all, one| Sent {
            again: all.again + one.again,
            poison: all.poison + one.poison,
        });
        let splits = self.splits()?;
        Ok(Report {
            events: self.oracle.total(),
            sent,
            lost,
            doubled,
            splits,
            faults: BTreeMap::new(),
        })
    }

    fn splits(&self) -> Result<usize> {
        let Some((redis, _)) = &self.redis else { return Ok(0) };
        let mut link = redis.connect()?;
        let mut splits = 0;
        for index in ::redis::cmd("KEYS").arg("*:b").query::<Vec<String>>(&mut link)? {
            let entries: Vec<String> = ::redis::cmd("HVALS").arg(index).query(&mut link)?;
            splits += entries.iter().filter(|entry| entry.starts_with("split")).count();
        }
        Ok(splits)
    }

    /// Events counted when it was last compared, each once.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.oracle.total()
    }

    /// A client of each engine.
    pub fn clients(&self) -> impl Iterator<Item = &Client> {
        self.running.iter().flatten().map(|tally| &tally.client)
    }

    /// Ends the engines in order.
    ///
    /// # Errors
    /// One does not end as it should.
    pub fn stop(&mut self) -> Result<()> {
        self.running
            .iter_mut()
            .filter_map(Option::take)
            .try_for_each(|tally| tally.stop().map(drop))
    }
}
