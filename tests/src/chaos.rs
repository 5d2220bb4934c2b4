//! Load on an engine that is killed: feeders, which know what was acknowledged, and rounds of kill and restart.
//!
//! What was not acknowledged is sent again with the same ids, as a client does; after each restart the totals must be those
//! of the oracle, and at the end every answer.

use crate::client::{Client, NotPosted};
use crate::oracle::{Event, Oracle};
use crate::tally::Home;
use anyhow::{Context, Result, bail, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The types of made-up events.
const KINDS: [&str; 5] = ["view", "view", "add_to_cart", "buy", "wishlist"];

/// Lines that are no events, and why.
const POISON: [(&str, &str); 7] = [
    (r#"{"user_id":1,"#, "invalid_json"),
    ("[1]", "not_an_object"),
    (r#"{"user_id":1,"product_id":1,"event_type":"view"} x"#, "trailing_data"),
    (r#"{"product_id":1,"event_type":"view"}"#, "missing_field:user_id"),
    (r#"{"user_id":1,"product_id":1,"event_type":5}"#, "wrong_type:event_type"),
    (r#"{"user_id":1,"product_id":1,"event_type":"NO"}"#, "event_type_invalid"),
    (r#"{"user_id":1,"product_id":1,"event_type":"view","timestamp":"soon"}"#, "timestamp_invalid"),
];

/// Events that a duplicate repeats: far fewer than the dedupe window holds.
const RECENT: usize = 2_000;

/// Over how much time events are spread.
const SPREAD: i64 = 2 * 3_600_000;

/// A post that was made, and what must be said of it.
struct Batch {
    lines: String,
    events: Vec<Event>,
    rejected: Vec<(usize, String)>,
}

/// Makes events, posts them, remembers.
pub struct Feeder {
    random: SmallRng,
    next: u64,
    step: u64,
    now: i64,
    recent: VecDeque<Event>,
    pending: Option<Batch>,
    counted: Vec<Event>,
    position: BTreeMap<u32, u64>,
}

impl Feeder {
    /// `count` feeders of disjoint events around `now` (Unix milliseconds).
    #[must_use]
    pub fn several(count: u64, seed: u64, now: i64) -> Vec<Feeder> {
        let one = |number| Feeder {
            random: SmallRng::seed_from_u64(seed ^ (number << 32)),
            next: number,
            step: count,
            now,
            recent: VecDeque::new(),
            pending: None,
            counted: Vec::new(),
            position: BTreeMap::new(),
        };
        (0..count).map(one).collect()
    }

    /// A new event.
    pub fn event(&mut self) -> Event {
        let random = &mut self.random;
        let mut id = |below: u64, prefix: &str| match random.random_range(0..below) {
            number if number % 10 == 0 => json!(format!("{prefix}-{number}")),
            number => json!(number),
        };
        let (user, product) = (id(400, "user"), id(250, "sku"));
        let event = Event {
            id: self.next,
            user,
            product,
            kind: KINDS[random.random_range(0..KINDS.len())],
            time: self.now - random.random_range(0..SPREAD),
        };
        self.next += self.step;
        event
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch { lines: String::new(), events: Vec::new(), rejected: Vec::new() };
        for index in 0..self.random.random_range(20..400) {
            let line = match self.random.random_range(0..100) {
                0..2 => {
                    let (line, reason) = POISON[self.random.random_range(0..POISON.len())];
                    batch.rejected.push((index, reason.into()));
                    line.to_owned()
                }
                2..8 if !self.recent.is_empty() => {
                    let again = self.recent[self.random.random_range(0..self.recent.len())].clone();
                    batch.events.push(again);
                    batch.events[batch.events.len() - 1].line()
                }
                _ => {
                    let event = self.event();
                    self.recent.push_back(event.clone());
                    if self.recent.len() > RECENT {
                        self.recent.pop_front();
                    }
                    let line = event.line();
                    batch.events.push(event);
                    line
                }
            };
            batch.lines.push_str(&line);
            batch.lines.push('\n');
        }
        batch
    }

    /// Posts what is pending, else something new; whether it was acknowledged.
    ///
    /// # Errors
    /// The answer is wrong.
    pub fn post(&mut self, client: &Client) -> Result<bool> {
        let batch = match self.pending.take() {
            Some(batch) => batch,
            None => self.batch(),
        };
        match client.events(&batch.lines) {
            Ok(posted) => {
                let expected = batch.events.len() as u64;
                ensure!(posted.accepted == expected, "{} accepted instead of {expected}", posted.accepted);
                ensure!(posted.rejected == batch.rejected, "{:?} instead of {:?}", posted.rejected, batch.rejected);
                further(&mut self.position, &posted.position)?;
                self.counted.extend(batch.events);
                Ok(true)
            }
            Err(NotPosted::Unknown(_)) => {
                self.pending = Some(batch);
                Ok(false)
            }
            Err(NotPosted::Wrong(answer)) => bail!("a post was answered {answer}"),
        }
    }

    /// Posts until told to stop.
    ///
    /// # Errors
    /// An answer is wrong.
    pub fn run(&mut self, address: SocketAddr, stop: &AtomicBool, acknowledged: &AtomicU64) -> Result<()> {
        let client = Client::new(address)?;
        while !stop.load(Ordering::SeqCst) {
            match self.post(&client)? {
                // a pause keeps the log short: the kills, not the amount, are to take the time
                true => {
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(4));
                }
                // an engine that is gone refuses at once: no need to ask it as fast as we can
                false => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        Ok(())
    }
}

/// How to be cruel.
pub struct Plan {
    /// `metrics.toml`.
    pub config: String,
    /// How often to kill it while it answers under load; kills while it starts come on top.
    pub kills: u32,
    /// Where everything random comes from.
    pub seed: u64,
    /// Says of the first event of each round that it was acknowledged, though it was never sent.
    pub lies: bool,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Events counted, each once.
    pub events: u64,
    /// Times killed while it answered, and while it started.
    pub kills: (u32, u32),
    /// Posts that no answer came to.
    pub unanswered: u32,
}

/// Carries out a plan.
///
/// # Errors
/// "counted wrong" and what differs from the oracle; or whatever else went wrong.
pub fn run(plan: &Plan) -> Result<Report> {
    let now = jiff::Timestamp::now().as_millisecond();
    let home = Home::new(&plan.config)?;
    let mut random = SmallRng::seed_from_u64(plan.seed);
    let mut feeders = Feeder::several(2, plan.seed, now);
    let mut oracle = Oracle::default();
    let mut report = Report { events: 0, kills: (0, 0), unanswered: 0 };
    while report.kills.0 < plan.kills {
        if random.random_range(0..3) == 0 {
            let process = home.spawn()?;
            std::thread::sleep(Duration::from_millis(random.random_range(0..600)));
            process.kill()?;
            report.kills.1 += 1;
            continue;
        }
        let tally = home.start()?;
        if plan.lies {
            let never_sent = feeders[0].event();
            oracle.count(&never_sent);
        }
        settle(&mut feeders, &mut oracle, &tally.client, None)?;
        let life = Duration::from_millis(random.random_range(5..700));
        let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
        let address = tally.address;
        std::thread::scope(|scope| -> Result<()> {
            let (stop, acknowledged) = (&stop, &acknowledged);
            let running: Vec<_> =
                feeders.iter_mut().map(|feeder| scope.spawn(move || feeder.run(address, stop, acknowledged))).collect();
            std::thread::sleep(life);
            let killed = tally.kill();
            stop.store(true, Ordering::SeqCst);
            for feeder in running {
                feeder.join().map_err(|_| anyhow::anyhow!("a feeder panicked"))??;
            }
            killed
        })?;
        report.kills.0 += 1;
        report.unanswered += feeders.iter().filter(|feeder| feeder.pending.is_some()).count() as u32;
    }
    let tally = home.start()?;
    settle(&mut feeders, &mut oracle, &tally.client, Some(7))?;
    tally.stop()?;
    report.events = oracle.total();
    Ok(report)
}

/// Sends what is pending, then compares: the totals, or with a step for users everything.
///
/// # Errors
/// "counted wrong" and what differs.
pub fn settle(feeders: &mut [Feeder], oracle: &mut Oracle, client: &Client, user_step: Option<usize>) -> Result<()> {
    let mut positions: BTreeMap<u32, u64> = BTreeMap::new();
    for feeder in feeders {
        for attempt in 0.. {
            if feeder.pending.is_none() {
                break;
            }
            ensure!(attempt < 100, "an engine that is ready takes no events");
            feeder.post(client)?;
        }
        feeder.counted.drain(..).for_each(|event| oracle.count(&event));
        for (partition, offset) in &feeder.position {
            let furthest = positions.entry(*partition).or_insert(*offset);
            *furthest = (*furthest).max(*offset);
        }
    }
    let position: Vec<String> = positions.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
    let at_least = position.join(",");
    let wrong = match user_step {
        None => oracle.compare_totals(client, &at_least)?,
        Some(step) => oracle.compare(client, &at_least, step)?,
    };
    let shown = &wrong[..wrong.len().min(20)];
    ensure!(wrong.is_empty(), "counted wrong ({} differences), all at {at_least}: {shown:#?}", wrong.len());
    Ok(())
}

/// Moves a position on by another, partition by partition.
fn further(position: &mut BTreeMap<u32, u64>, by: &str) -> Result<()> {
    for part in by.split(',').filter(|part| !part.is_empty()) {
        let (partition, offset) = part.split_once(':').with_context(|| format!("no position: {by:?}"))?;
        let furthest = position.entry(partition.parse()?).or_default();
        *furthest = (*furthest).max(offset.parse()?);
    }
    Ok(())
}

/// What a test is repeated with: `TALLY_SEED`, else another each time; a test prints it first.
#[must_use]
pub fn seed() -> u64 {
    let given = std::env::var("TALLY_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| jiff::Timestamp::now().as_microsecond().unsigned_abs())
}
