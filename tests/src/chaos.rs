//! Load on engines that are treated badly: feeders, which know what was acknowledged, and the
//! comparison with the oracle.
//!
//! What was not acknowledged is sent again with the same ids, as a client does. Duplicates and
//! lines that are no events are mixed in.

use crate::client::{Client, NotPosted};
use crate::oracle::{Event, Oracle};
use anyhow::{Context, Result, bail, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
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

/// Events that may be acknowledged while a post waits for its acknowledgement: far fewer than the
/// dedupe window holds, which is stated in records. Who repeats a post later than that has two
/// events, by contract.
const AHEAD: u64 = 20_000;

/// Between two posts of a feeder, at least.
const PAUSE: Duration = Duration::from_millis(4);

/// The time that an event takes at the most at which a feeder posts: 10,000 a second.
const EVENT: Duration = Duration::from_micros(100);

/// Lines of a post, from and to.
const LINES: Range<u32> = 20..400;

/// Over how much time events are spread.
const SPREAD: i64 = 2 * 3_600_000;

/// A post that was made, and what must be said of it.
struct Batch {
    lines: String,
    events: Vec<Event>,
    rejected: Vec<(usize, String)>,
}

/// What was sent besides events that count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    /// Events that were sent before.
    pub again: u64,
    /// Lines that are no events.
    pub poison: u64,
}

/// What feeders that run together know of each other, so that none leaves another one's post so far
/// behind that its repetition lies outside the dedupe window.
#[derive(Default)]
pub struct Pace {
    acknowledged: AtomicU64,
    /// By feeder, how many events were acknowledged when the post began that it has not got through.
    begun: Mutex<BTreeMap<u64, u64>>,
}

impl Pace {
    /// Events that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Whether a feeder may begin a post now; then it has begun.
    fn begins(&self, feeder: u64) -> bool {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.acknowledged();
        let may = begun.values().all(|begun| now - begun < AHEAD);
        if may {
            begun.insert(feeder, now);
        }
        may
    }

    fn acknowledge(&self, feeder: u64, events: u64) {
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        self.acknowledged.fetch_add(events, Ordering::SeqCst);
        begun.remove(&feeder);
    }
}

/// Makes events, posts them, remembers.
pub struct Feeder {
    number: u64,
    random: SmallRng,
    next: u64,
    step: u64,
    now: i64,
    lines: Range<u32>,
    sent: Sent,
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
            number,
            random: SmallRng::seed_from_u64(seed ^ (number << 32)),
            next: number,
            step: count,
            now,
            lines: LINES,
            sent: Sent::default(),
            recent: VecDeque::new(),
            pending: None,
            counted: Vec::new(),
            position: BTreeMap::new(),
        };
        (0..count).map(one).collect()
    }

    /// Posts so many lines at a time.
    pub fn lines(&mut self, lines: Range<u32>) {
        self.lines = lines;
    }

    /// What was sent besides events that count.
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.sent
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
        for index in 0..self.random.random_range(self.lines.clone()) as usize {
            let line = match self.random.random_range(0..100) {
                0..2 => {
                    let (line, reason) = POISON[self.random.random_range(0..POISON.len())];
                    batch.rejected.push((index, reason.into()));
                    self.sent.poison += 1;
                    line.to_owned()
                }
                2..8 if !self.recent.is_empty() => {
                    let again = self.recent[self.random.random_range(0..self.recent.len())].clone();
                    batch.events.push(again);
                    self.sent.again += 1;
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

    /// Posts what is pending, else something new; how many events were acknowledged, if they were.
    ///
    /// # Errors
    /// The answer is wrong.
    pub fn post(&mut self, client: &Client) -> Result<Option<u64>> {
        let batch = match self.pending.take() {
            Some(batch) => batch,
            None => self.batch(),
        };
        match client.events(&batch.lines) {
            Ok(posted) => {
                let expected = batch.events.len() as u64;
                ensure!(
                    posted.accepted == expected,
                    "{} accepted instead of {expected}",
                    posted.accepted
                );
                ensure!(
                    posted.rejected == batch.rejected,
                    "{:?} instead of {:?}",
                    posted.rejected,
                    batch.rejected
                );
                further(&mut self.position, &posted.position)?;
                self.counted.extend(batch.events);
                Ok(Some(expected))
            }
            Err(NotPosted::Unknown(_)) => {
                self.pending = Some(batch);
                Ok(None)
            }
            Err(NotPosted::Wrong(answer)) => bail!("a post was answered {answer}"),
        }
    }

    /// Posts until told to stop, at the pace of those that run beside it.
    ///
    /// # Errors
    /// An answer is wrong.
    pub fn run(&mut self, address: SocketAddr, stop: &AtomicBool, pace: &Pace) -> Result<()> {
        let client = Client::new(address)?;
        while !stop.load(Ordering::SeqCst) {
            let posted = match self.pending.is_some() || pace.begins(self.number) {
                true => self.post(&client)?,
                false => None,
            };
            match posted {
                // a pause keeps the log short: the kills, not the amount, are to take the time, and
                // how much a fault of some seconds lets through is not to depend on the machine
                Some(events) => {
                    pace.acknowledge(self.number, events);
                    std::thread::sleep(PAUSE.max(EVENT * u32::try_from(events)?));
                }
                // an engine that is gone refuses at once: no need to ask it as fast as we can
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        Ok(())
    }
}

/// Sends what is pending, then compares: the totals, or with a step for users everything.
///
/// # Errors
/// "counted wrong" and what differs.
pub fn settle(
    feeders: &mut [Feeder],
    oracle: &mut Oracle,
    client: &Client,
    user_step: Option<usize>,
) -> Result<()> {
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
    let position: Vec<String> =
        positions.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
    let at_least = position.join(",");
    let wrong = match user_step {
        None => oracle.compare_totals(client, &at_least)?,
        Some(step) => oracle.compare(client, &at_least, step)?,
    };
    let shown = &wrong[..wrong.len().min(20)];
    ensure!(
        wrong.is_empty(),
        "counted wrong ({} differences), all at {at_least}: {shown:#?}",
        wrong.len()
    );
    Ok(())
}

/// Moves a position on by another, partition by partition.
fn further(position: &mut BTreeMap<u32, u64>, by: &str) -> Result<()> {
    for part in by.split(',').filter(|part| !part.is_empty()) {
        let (partition, offset) =
            part.split_once(':').with_context(|| format!("no position: {by:?}"))?;
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
