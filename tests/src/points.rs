//! The named moments of the protocol at which an engine may end, and trials of each.
//!
//! A trial arms one engine with one moment, brings it there under load, sees that it ended there
//! and nowhere else, starts it again and compares with the oracle. The binary is
//! `tally-failpoints`: what is shipped does nothing at these moments.

use crate::chaos::Pace;
use crate::client::Client;
use crate::fleet::{Fleet, Place, Plan};
use crate::kafka::Kafka;
use crate::tally::failing_binary;
use anyhow::{Result, bail, ensure};
use rand::Rng;
use std::time::{Duration, Instant};

/// How long it may take until an engine comes to its moment.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many events that each of the partitions, which are chosen by user, holds more than a batch of
/// 2,048 records.
const WARM: u64 = 40_000;

/// Panes that expire at once and buckets that fill soon, so that there is something to compact.
pub const CONFIG: &str = "[redis]\nmax_bucket_bytes = 1048576\n\
    [metrics.short]\nplugin = \"products_popularity\"\nretention = { 1m = \"10m\", 1h = \"90d\", 1d = \"all\" }\n";

/// How an engine is brought to a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// It starts on a state that is there.
    Starting,
    /// It starts and takes over partitions that hold whole batches before the stored offset: they
    /// only warm up the dedupe window.
    WarmingUp,
    /// It starts and nothing is stored.
    Creating,
    /// Events come.
    Loaded,
    /// So many that buckets are compacted: a fresh state has panes that expired at once.
    Compacting,
    /// Another engine joins.
    Joined,
    /// It is asked to end.
    Ending,
    /// Dead letters are replayed: tried by `tests/system/letters.rs`, with letters whose records are
    /// gone.
    Replaying,
    /// A section is added or taken away: tried by `tests/system/sections.rs`.
    Changing,
}

/// A moment.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// As it is called in the engine.
    pub name: &'static str,
    when: When,
    /// It ends there when it comes past the first time, or up to this.
    most: u64,
    /// With a shared store, with its own, or both.
    shared: bool,
    embedded: bool,
}

const fn point(name: &'static str, when: When, most: u64) -> Point {
    Point { name, when, most, shared: true, embedded: true }
}

const fn shared(name: &'static str, when: When, most: u64) -> Point {
    Point { embedded: false, ..point(name, when, most) }
}

const fn embedded(name: &'static str, when: When, most: u64) -> Point {
    Point { shared: false, ..point(name, when, most) }
}

const fn replaying(name: &'static str) -> Point {
    Point { shared: false, embedded: false, ..point(name, When::Replaying, 1) }
}

const fn changing(name: &'static str) -> Point {
    Point { shared: false, embedded: false, ..point(name, When::Changing, 1) }
}

/// Those of a change of the data directory's sections, in their order.
pub fn of_sections() -> impl Iterator<Item = &'static str> {
    POINTS.iter().filter(|point| point.when == When::Changing).map(|point| point.name)
}

/// Those of a replay of dead letters, in their order.
pub fn of_replays() -> impl Iterator<Item = &'static str> {
    POINTS.iter().filter(|point| point.when == When::Replaying).map(|point| point.name)
}

/// All of them, in the order of an engine's life.
pub const POINTS: &[Point] = &[
    point("create.made", When::Creating, 3),
    point("create.pointed", When::Creating, 3),
    point("assign.begin", When::Starting, 1),
    point("load.begin", When::Starting, 3),
    point("load.read", When::Starting, 3),
    point("assign.answered", When::Starting, 1),
    point("count.warm_up", When::WarmingUp, 2),
    point("append.begin", When::Loaded, 20),
    point("append.done", When::Loaded, 20),
    point("count.decoded", When::Loaded, 50),
    point("count.one_metric", When::Loaded, 150),
    point("count.counted", When::Loaded, 50),
    point("commit.due", When::Loaded, 20),
    point("commit.letters", When::Loaded, 20),
    point("commit.folded", When::Loaded, 20),
    point("commit.leaving", When::Loaded, 20),
    embedded("embedded.write", When::Loaded, 20),
    embedded("embedded.written", When::Loaded, 20),
    point("commit.stored", When::Loaded, 20),
    point("commit.answered", When::Loaded, 20),
    point("commit.settled", When::Loaded, 20),
    point("publish.done", When::Loaded, 2),
    point("compact.read", When::Compacting, 3),
    point("compact.folded", When::Compacting, 2),
    point("compact.stored", When::Compacting, 2),
    point("compact.answered", When::Compacting, 2),
    shared("follow.begin", When::Loaded, 40),
    shared("follow.folded", When::Loaded, 40),
    shared("revoke.begin", When::Joined, 1),
    shared("revoke.flushed", When::Joined, 1),
    shared("revoke.end", When::Joined, 1),
    replaying("replay.intended"),
    replaying("replay.appended"),
    replaying("replay.marked"),
    changing("sections.written"),
    changing("sections.renamed"),
    point("stop.flushed", When::Ending, 1),
];

/// What came of trials.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trials {
    /// Ends at a moment.
    pub ends: u32,
    /// Events counted, each once.
    pub events: u64,
    /// Longest time from the next start to right totals.
    pub slowest: Duration,
}

impl Trials {
    fn add(&mut self, took: Duration) {
        (self.ends, self.slowest) = (self.ends + 1, self.slowest.max(took));
    }
}

/// Tries each moment `times` times on one engine with all it needs embedded.
///
/// # Errors
/// What was counted wrong, after the end at which moment.
pub fn alone(times: u32, seed: u64) -> Result<Trials> {
    let plan = Plan { config: CONFIG.into(), ..Plan::new(1, Place::Embedded, &[], seed) };
    let mut trials = Trials::default();
    let mut fleet = begin(None, &plan)?;
    for point in POINTS.iter().filter(|point| point.embedded) {
        for _ in 0..times {
            if matches!(point.when, When::Creating | When::Compacting) {
                let mut fresh = prepared(None, &plan)?;
                trials.add(fresh.trial(point)?);
                fresh.feeding(|_, pace| enough(pace))?;
                trials.events += end(&mut fresh)?;
            } else {
                trials.add(fleet.trial(point)?);
            }
        }
    }
    trials.events += end(&mut fleet)?;
    Ok(trials)
}

/// The same on an engine beside another, on Kafka and Redis.
///
/// # Errors
/// As `alone`.
pub fn beside_another(kafka: &mut Kafka, times: u32, seed: u64) -> Result<Trials> {
    let plan = Plan { config: CONFIG.into(), ..Plan::new(2, Place::Shared(&[]), &[], seed) };
    let mut trials = Trials::default();
    let mut fleet = begin(Some(kafka), &plan)?;
    for point in POINTS.iter().filter(|point| point.shared) {
        for _ in 0..times {
            trials.add(fleet.trial(point)?);
        }
    }
    trials.events += end(&mut fleet)?;
    Ok(trials)
}

/// A commit that is on its way while its engine is stopped for so long that another takes its
/// partitions and counts on: when it goes on, it is late for certain. How long it then takes to
/// right totals.
///
/// # Errors
/// What was counted wrong.
pub fn late_commit(kafka: &mut Kafka, times: u32, seed: u64) -> Result<Trials> {
    let plan = Plan::new(2, Place::Shared(&[]), &[], seed);
    let mut trials = Trials::default();
    let mut fleet = begin(Some(kafka), &plan)?;
    for _ in 0..times {
        trials.add(fleet.late()?);
    }
    trials.events += end(&mut fleet)?;
    Ok(trials)
}

fn prepared<'k>(kafka: Option<&'k mut Kafka>, plan: &Plan) -> Result<Fleet<'k>> {
    let mut fleet = Fleet::start(kafka, plan)?;
    fleet.homes[0].use_binary(failing_binary()?);
    Ok(fleet)
}

/// With some state.
fn begin<'k>(kafka: Option<&'k mut Kafka>, plan: &Plan) -> Result<Fleet<'k>> {
    let mut fleet = prepared(kafka, plan)?;
    fleet.mend()?;
    fleet.feeding(|_, pace| enough(pace))?;
    fleet.recover()?;
    Ok(fleet)
}

/// Waits until some events are taken.
fn enough(pace: &Pace) -> Result<()> {
    taken(pace, 2_000)
}

fn taken(pace: &Pace, events: u64) -> Result<()> {
    let begun = Instant::now();
    while pace.acknowledged() < events {
        ensure!(begun.elapsed() < PATIENCE, "{} of {events} events are taken", pace.acknowledged());
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Waits until an engine has counted events from now on, and stored them.
fn counts_and_stores(client: &Client) -> Result<()> {
    let figures = |client: &Client| {
        let [events, stored] = ["tally_events_total", "tally_checkpoint_timestamp_seconds"];
        Ok::<_, anyhow::Error>((client.figure(events, "")?, client.figure(stored, "")?))
    };
    let (events, stored) = figures(client)?;
    let moved = |client: &Client| match figures(client) {
        Ok(now) if now.0 > events && now.1 > stored => Ok(String::new()),
        other => Err(format!("{other:?}")),
    };
    client.until("it counts and stores", PATIENCE, moved).map(drop)
}

/// Everything must be right at the end as well.
fn end(fleet: &mut Fleet<'_>) -> Result<u64> {
    fleet.mend()?;
    let report = fleet.report()?;
    fleet.stop()?;
    Ok(report.events)
}

impl Fleet<'_> {
    fn trial(&mut self, point: &Point) -> Result<Duration> {
        let at = self.random.random_range(1..=point.most);
        let what = format!("{}:{at}", point.name);
        let tried = self.tried(point, &what);
        tried.map_err(|fault| fault.context(format!("failpoint {what}, {:?}", point.when)))
    }

    fn tried(&mut self, point: &Point, what: &str) -> Result<Duration> {
        let before = self.ends(point.name);
        if point.when == When::WarmingUp {
            // Under load a first batch that reaches the log's end holds what is to be counted too.
            self.filled(WARM)?;
        }
        // Few events, so that what is read again stays short; many where buckets are to fill.
        let lines = if point.when == When::Compacting { 200..800 } else { 20..60 };
        self.feeders.iter_mut().for_each(|feeder| feeder.lines(lines.clone()));
        self.away(0)?;
        self.homes[0].env("TALLY_FAILPOINT", what);
        match point.when {
            When::Creating => {
                self.stop()?;
                if self.redis.is_some() {
                    self.empty_redis()?;
                }
                self.until_ended()?;
            }
            When::Starting | When::WarmingUp if self.running.len() > 1 => {
                self.start_others()?;
                self.feeding(|fleet, _| fleet.until_ended())?;
            }
            When::Starting | When::WarmingUp => self.until_ended()?,
            When::Loaded | When::Compacting | When::Ending => {
                self.start_others()?;
                self.start_armed();
                if self.running.iter().any(Option::is_some) {
                    self.feeding(|fleet, pace| {
                        if point.when == When::Ending {
                            enough(pace)?;
                            fleet.signal("TERM")?;
                        }
                        fleet.until_ended()
                    })?;
                }
            }
            When::Replaying | When::Changing => bail!("not a moment under load"),
            When::Joined => {
                self.stop()?;
                self.start_armed();
                // Only from one that holds all something is taken.
                self.clients().try_for_each(|client| client.ready(PATIENCE))?;
                self.feeding(|fleet, _| {
                    fleet.start_others()?;
                    fleet.until_ended()
                })?;
            }
        }
        let ends = self.ends(point.name) - before;
        ensure!(ends == 1, "it ended there {ends} times:\n{}", self.log());
        self.homes[0].env("TALLY_FAILPOINT", "");
        self.recover()
    }

    /// Sees that so many events are counted and stored.
    fn filled(&mut self, events: u64) -> Result<()> {
        let missing = events.saturating_sub(self.counted());
        if missing == 0 {
            return Ok(());
        }
        self.feeders.iter_mut().for_each(|feeder| feeder.lines(200..800));
        self.feeding(|_, pace| taken(pace, missing))?;
        self.recover().map(drop)
    }

    fn late(&mut self) -> Result<Duration> {
        self.mend()?;
        self.away(0)?;
        let at = self.random.random_range(1..20);
        self.homes[0].env("TALLY_FAILPOINT", &format!("commit.leaving:{at}:stop"));
        self.mend()?;
        self.feeding(|fleet, _| {
            let stopped = |fleet: &Self| {
                fleet.running[0].as_ref().is_some_and(|tally| tally.process.is_stopped())
            };
            let begun = Instant::now();
            while !stopped(fleet) {
                ensure!(begun.elapsed() < PATIENCE, "it was not stopped:\n{}", fleet.log());
                std::thread::sleep(Duration::from_millis(5));
            }
            let Some(other) = &fleet.running[1] else { return Ok(()) };
            let all = |answer: &crate::client::Answer| {
                answer.status == 200 && answer.text.contains("8 partitions")
            };
            other.client.readyz("the other takes over", PATIENCE, all)?;
            // So that what the first one had on its way belongs to the other already.
            counts_and_stores(&other.client)?;
            fleet.signal("CONT")?;
            // It has learnt that it is late once it joins again, and takes partitions from the
            // other.
            let fewer = |answer: &crate::client::Answer| !answer.text.contains("8 partitions");
            other.client.readyz("the first one joins again", PATIENCE, fewer).map(drop)
        })?;
        self.homes[0].env("TALLY_FAILPOINT", "");
        self.recover()
    }

    fn signal(&self, name: &str) -> Result<()> {
        self.running[0].as_ref().map_or(Ok(()), |tally| tally.process.signal(name))
    }

    /// Ends an engine in order, if it runs: the group need not wait for its session.
    fn away(&mut self, n: usize) -> Result<()> {
        self.running[n].take().map_or(Ok(()), |tally| tally.stop().map(drop))
    }

    fn start_others(&mut self) -> Result<()> {
        for n in 1..self.homes.len() {
            if self.running[n].is_none() {
                let tally = self.homes[n].listening()?;
                tally.client.ready(PATIENCE)?;
                self.running[n] = Some(tally);
            }
        }
        Ok(())
    }

    /// Starts the engine that is to end; it may be gone before it listens.
    fn start_armed(&mut self) {
        self.running[0] = self.homes[0].listening().ok();
    }

    /// Waits for its end, starting it where it does not run.
    fn until_ended(&mut self) -> Result<()> {
        match self.running[0].take() {
            Some(mut tally) => tally.process.ended(PATIENCE).map(drop),
            None if self.armed_is_gone() => Ok(()),
            None => self.homes[0].spawn()?.ended(PATIENCE).map(drop),
        }
    }

    /// Whether the last thing that it wrote was where it ended.
    fn armed_is_gone(&self) -> bool {
        self.log().lines().last().is_some_and(|line| line.starts_with("failpoint "))
    }

    fn ends(&self, name: &str) -> usize {
        let line = format!("failpoint {name}");
        self.log().lines().filter(|found| *found == line).count()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.homes[0].path().join("stderr.log")).unwrap_or_default()
    }
}
