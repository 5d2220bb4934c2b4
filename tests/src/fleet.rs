//! Several engines of one group on real Kafka and real Redis, under load, and what happens to them.
//!
//! Each round lets feeders post through the engines, does something cruel at a random moment, mends it, and compares the
//! totals with the oracle through some engine; at the end every answer through every engine. All that is random comes from
//! one seed.

use crate::chaos::{Feeder, settle};
use crate::client::Client;
use crate::kafka::Kafka;
use crate::oracle::Oracle;
use crate::proxy::{Change, Proxy};
use crate::redis::Redis;
use crate::tally::{Home, START, Tally};
use anyhow::{Context, Result, anyhow, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Partitions of the topic.
pub const PARTITIONS: i32 = 8;

/// Short sessions, so that the group does not wait long for an engine that was killed; a long deadline, so that a busy
/// machine is no failure.
const CONFIG: &str = "[kafka]\nsession_timeout_ms = 1500\n[server]\nevaluation_deadline_ms = 10000\n";

/// Longer than a session.
const PAUSE: Duration = Duration::from_millis(2_500);

/// Something that happens in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An engine is killed and started again.
    Kill,
    /// All engines are.
    KillAll,
    /// An engine is stopped in its tracks for longer than its session, and goes on.
    Pause,
    /// An engine leaves in order and joins again.
    Leave,
    /// Redis is killed and started again with what it kept.
    RedisCrash,
    /// Redis goes back to what it held some rounds ago.
    RedisBack,
    /// Redis loses everything.
    RedisEmpty,
    /// All connections to Redis are cut.
    Cut,
    /// Nothing passes between the engines and Redis, for longer than a session.
    Halt,
    /// The broker is killed and started again.
    Broker,
}

/// How to be cruel.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Engines.
    pub engines: usize,
    /// Added to `metrics.toml`.
    pub config: String,
    /// Settings of Redis.
    pub redis: &'static [&'static str],
    /// Texts on the way to Redis that it gets otherwise: scripts without a protection.
    pub changes: &'static [Change],
    /// What happens, round by round.
    pub faults: Vec<Fault>,
    /// Where everything random comes from.
    pub seed: u64,
    /// Says of one event that it was acknowledged, though it was never sent.
    pub lies: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Events counted, each once.
    pub events: u64,
    /// Rounds.
    pub rounds: usize,
    /// Longest time from mending to right totals.
    pub slowest: Duration,
    /// Buckets in Redis that were split.
    pub splits: usize,
}

/// Engines and what they stand on.
pub struct Fleet<'k> {
    kafka: &'k mut Kafka,
    redis: Redis,
    link: Proxy,
    homes: Vec<Home>,
    running: Vec<Option<Tally>>,
    feeders: Vec<Feeder>,
    oracle: Oracle,
    random: SmallRng,
}

/// Carries out a plan on a topic of its own.
///
/// # Errors
/// "counted wrong" and what differs from the oracle; or whatever else went wrong.
pub fn run(kafka: &mut Kafka, plan: &Plan) -> Result<Report> {
    let mut fleet = Fleet::start(kafka, plan)?;
    let mut report = Report::default();
    for (round, fault) in plan.faults.iter().enumerate() {
        let slow = fleet.round(*fault).with_context(|| format!("round {round}: {fault:?}"))?;
        report.slowest = report.slowest.max(slow);
        if plan.lies && round == 0 {
            let never_sent = fleet.feeders[0].event();
            fleet.oracle.count(&never_sent);
        }
    }
    fleet.compare_all()?;
    report.splits = fleet.splits()?;
    fleet.stop()?;
    Ok(Report { events: fleet.oracle.total(), rounds: plan.faults.len(), ..report })
}

impl Fleet<'_> {
    fn splits(&self) -> Result<usize> {
        let mut link = self.redis.connect()?;
        let mut splits = 0;
        for index in redis::cmd("KEYS").arg("*:b").query::<Vec<String>>(&mut link)? {
            let entries: Vec<String> = redis::cmd("HVALS").arg(index).query(&mut link)?;
            splits += entries.iter().filter(|entry| entry.starts_with("split")).count();
        }
        Ok(splits)
    }

    /// Starts everything on a fresh topic.
    ///
    /// # Errors
    /// Something does not start.
    pub fn start<'k>(kafka: &'k mut Kafka, plan: &Plan) -> Result<Fleet<'k>> {
        let topic = format!("fleet-{}", uuid::Uuid::now_v7().simple());
        kafka.create_topic(&topic, PARTITIONS, &[])?;
        let redis = Redis::start(plan.redis)?;
        let link = Proxy::start(&redis.at(), plan.changes)?;
        let mut homes = Vec::new();
        for _ in 0..plan.engines {
            let mut home = Home::new(&format!("{CONFIG}{}", plan.config))?;
            home.env("KAFKA_BROKER", &kafka.brokers());
            home.env("TOPIC", &topic);
            home.env("GROUP_ID", &topic);
            home.env("REDIS_URL", &link.at());
            homes.push(home);
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let mut fleet = Fleet {
            kafka,
            redis,
            link,
            running: homes.iter().map(|_| None).collect(),
            homes,
            feeders: Feeder::several(2, plan.seed, now),
            oracle: Oracle::default(),
            random: SmallRng::seed_from_u64(plan.seed),
        };
        fleet.mend()?;
        Ok(fleet)
    }

    /// Starts the engines that do not run, all at once.
    fn mend(&mut self) -> Result<()> {
        let mut started = Vec::new();
        for (n, running) in self.running.iter_mut().enumerate().filter(|(_, running)| running.is_none()) {
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

    fn any(&mut self) -> Result<&Tally> {
        let n = self.random.random_range(0..self.running.len());
        self.running[n].as_ref().context("an engine does not run")
    }

    /// One round; how long it took from mending to right totals.
    fn round(&mut self, fault: Fault) -> Result<Duration> {
        let addresses: Vec<_> = self.running.iter().flatten().map(|tally| tally.address).collect();
        let before = Duration::from_millis(self.random.random_range(50..500));
        let after = Duration::from_millis(self.random.random_range(50..300));
        let victim = self.random.random_range(0..self.running.len());
        let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut feeders = std::mem::take(&mut self.feeders);
        let done = std::thread::scope(|scope| -> Result<()> {
            let (stop, acknowledged) = (&stop, &acknowledged);
            let feed = |(n, feeder): (usize, _)| {
                let address = addresses[n % addresses.len()];
                let feeder: &mut Feeder = feeder;
                scope.spawn(move || feeder.run(address, stop, acknowledged))
            };
            let running: Vec<_> = feeders.iter_mut().enumerate().map(feed).collect();
            std::thread::sleep(before);
            let done = self.inflict(fault, victim);
            std::thread::sleep(after);
            stop.store(true, Ordering::SeqCst);
            for feeder in running {
                feeder.join().map_err(|_| anyhow!("a feeder panicked"))??;
            }
            done
        });
        self.feeders = feeders;
        done?;
        self.mend()?;
        let begun = Instant::now();
        self.settle(None)?;
        Ok(begun.elapsed())
    }

    fn inflict(&mut self, fault: Fault, victim: usize) -> Result<()> {
        let all = 0..self.running.len();
        match fault {
            Fault::Kill => self.kill(victim..victim + 1),
            Fault::KillAll => self.kill(all),
            Fault::Pause => {
                let paused = self.running[victim].as_ref().context("it does not run")?;
                paused.process.signal("STOP")?;
                std::thread::sleep(PAUSE);
                paused.process.signal("CONT")
            }
            Fault::Leave => match self.running[victim].take() {
                Some(tally) => tally.stop().map(drop),
                None => Ok(()),
            },
            Fault::RedisCrash => self.redis.restart(),
            Fault::RedisBack => {
                let kept = self.redis.keep()?;
                // Counting goes on for a while, then all of it is gone.
                std::thread::sleep(Duration::from_millis(self.random.random_range(100..700)));
                self.redis.go_back(&kept)
            }
            Fault::RedisEmpty => Ok(::redis::cmd("FLUSHALL").exec(&mut self.redis.connect()?)?),
            Fault::Cut => {
                self.link.cut();
                Ok(())
            }
            Fault::Halt => {
                self.link.halt(true);
                std::thread::sleep(PAUSE);
                self.link.halt(false);
                Ok(())
            }
            Fault::Broker => self.kafka.restart(),
        }
    }

    fn kill(&mut self, victims: std::ops::Range<usize>) -> Result<()> {
        self.running[victims].iter_mut().filter_map(Option::take).try_for_each(Tally::kill)
    }

    fn settle(&mut self, user_step: Option<usize>) -> Result<()> {
        let n = self.random.random_range(0..self.running.len());
        let tally = self.running[n].as_ref().context("an engine does not run")?;
        let compared = settle(&mut self.feeders, &mut self.oracle, &tally.client, user_step);
        compared.with_context(|| format!("through engine {n}:\n{}", tally.process.tail()))
    }

    /// Every answer through some engine, then that all engines answer alike.
    ///
    /// # Errors
    /// What differs.
    pub fn compare_all(&mut self) -> Result<()> {
        self.settle(Some(11))?;
        let now = self.any()?.client.answer("event_frequencies", &json!({}), "")?;
        let position = now["meta"]["position"].as_str().context("a position")?.to_owned();
        let questions = [
            ("event_frequencies", json!({})),
            ("products_popularity", json!({"limit": 100})),
            ("user_activities", json!({"user_id": 7})),
        ];
        for (name, params) in questions {
            let answers = self.running.iter().flatten().map(|tally| tally.client.ask(name, &params, &position));
            let answers = answers.collect::<Result<Vec<_>>>()?;
            ensure!(answers.windows(2).all(|pair| pair[0] == pair[1]), "engines differ on {name}: {answers:?}");
        }
        Ok(())
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
        self.running.iter_mut().filter_map(Option::take).try_for_each(|tally| tally.stop().map(drop))
    }
}
