//! What the answers must be, from plain maps: an independent count of the events that were
//! acknowledged.
//!
//! Shares no code with the engine. Knows an event by its id and counts it once; compares every
//! answer that it can and lists all that differ.

use crate::client::Client;
use anyhow::{Context, Result};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

const MINUTE: i64 = 60_000;

/// How long a machine may be too busy to answer in time.
const BUSY: Duration = Duration::from_secs(120);

/// An event as it is sent.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its identity.
    pub id: u64,
    /// The user: an integer or a text.
    pub user: Value,
    /// The product, likewise.
    pub product: Value,
    /// `view`, `buy` …
    pub kind: &'static str,
    /// Unix milliseconds.
    pub time: i64,
}

impl Event {
    /// As a line of NDJSON, without its end.
    #[must_use]
    pub fn line(&self) -> String {
        let Event { id, user, product, kind, time } = self;
        json!({"event_id": format!("e-{id}"), "user_id": user, "product_id": product, "event_type": kind, "timestamp": time})
            .to_string()
    }
}

/// Events by type.
type Kinds = BTreeMap<&'static str, u64>;

/// What is known of a key.
#[derive(Clone, Debug, Default)]
struct Tally {
    kinds: Kinds,
    first: Option<i64>,
    last: Option<i64>,
}

impl Tally {
    fn add(&mut self, event: &Event) {
        *self.kinds.entry(event.kind).or_default() += 1;
        self.first = Some(self.first.map_or(event.time, |first| first.min(event.time)));
        self.last = Some(self.last.map_or(event.time, |last| last.max(event.time)));
    }

    fn total(&self) -> u64 {
        self.kinds.values().sum()
    }
}

/// The count.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    seen: HashSet<u64>,
    all: Tally,
    minutes: BTreeMap<i64, Kinds>,
    products: BTreeMap<String, (Value, Tally)>,
    users: BTreeMap<String, (Value, BTreeMap<String, Tally>)>,
}

impl Oracle {
    /// Counts an event, unless its id was counted.
    pub fn count(&mut self, event: &Event) {
        if !self.seen.insert(event.id) {
            return;
        }
        self.all.add(event);
        *self
            .minutes
            .entry(event.time.div_euclid(MINUTE))
            .or_default()
            .entry(event.kind)
            .or_default() += 1;
        self.products
            .entry(event.product.to_string())
            .or_insert_with(|| (event.product.clone(), Tally::default()))
            .1
            .add(event);
        let user = self
            .users
            .entry(event.user.to_string())
            .or_insert_with(|| (event.user.clone(), BTreeMap::new()));
        user.1.entry(event.product.to_string()).or_default().add(event);
    }

    /// Events counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.all.total()
    }

    /// What differs in the totals alone.
    ///
    /// # Errors
    /// No answer.
    pub fn compare_totals(&self, client: &Client, at_least: &str) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let answer = ask(client, "event_frequencies", &json!({}), at_least)?;
        differ(&mut wrong, "total", &answer["total"], &json!(self.total()));
        differ(&mut wrong, "by_type", &answer["by_type"], &json!(self.all.kinds));
        let answer = ask(client, "products_popularity", &json!({"limit": 1}), at_least)?;
        differ(&mut wrong, "total of products", &answer["total"], &json!(self.total()));
        Ok(wrong)
    }

    /// What differs anywhere; of the users every `user_step`-th is asked for.
    ///
    /// # Errors
    /// No answer.
    pub fn compare(
        &self,
        client: &Client,
        at_least: &str,
        user_step: usize,
    ) -> Result<Vec<String>> {
        let mut wrong = self.compare_totals(client, at_least)?;
        self.compare_minutes(client, &mut wrong)?;
        self.compare_products(client, &mut wrong)?;
        // Each metric is committed on its own: that the others are there says nothing of this one.
        let nobody =
            ask(client, "user_activities", &json!({"user_id": "nobody-has-this-id"}), at_least)?;
        for (user, products) in self.users.values().step_by(user_step) {
            self.compare_user(client, user, products, &mut wrong)?;
        }
        differ(&mut wrong, "nobody", &nobody["total"], &json!(0));
        Ok(wrong)
    }

    /// Events that answers miss, and events that they have too many, summed over each minute and
    /// type.
    ///
    /// # Errors
    /// No answer.
    pub fn balance(&self, client: &Client) -> Result<(u64, u64)> {
        let (Some(first), Some(last)) = (self.all.first, self.all.last) else { return Ok((0, 0)) };
        let (from, to) = (first.div_euclid(MINUTE), last.div_euclid(MINUTE) + 1);
        let window = json!({"from": from * MINUTE, "to": to * MINUTE, "bucket": "1m"});
        let answer = ask(client, "event_frequencies", &window, "")?;
        let series = answer["series"].as_array().context("series")?;
        let (mut lost, mut doubled) = (0, 0);
        for (minute, found) in (from..to).zip(series) {
            let expected = self.minutes.get(&minute);
            let kinds = found["by_type"]
                .as_object()
                .into_iter()
                .flat_map(|kinds| kinds.keys().map(String::as_str));
            let all: BTreeSet<&str> =
                kinds.chain(expected.into_iter().flat_map(|kinds| kinds.keys().copied())).collect();
            for kind in all {
                let expected = expected.and_then(|kinds| kinds.get(kind)).copied().unwrap_or(0);
                let found = found["by_type"][kind].as_u64().unwrap_or(0);
                lost += expected.saturating_sub(found);
                doubled += found.saturating_sub(expected);
            }
        }
        Ok((lost, doubled))
    }

    fn compare_minutes(&self, client: &Client, wrong: &mut Vec<String>) -> Result<()> {
        let (Some(first), Some(last)) = (self.all.first, self.all.last) else { return Ok(()) };
        let (from, to) = (first.div_euclid(MINUTE), last.div_euclid(MINUTE) + 1);
        let window = json!({"from": from * MINUTE, "to": to * MINUTE, "bucket": "1m"});
        let answer = ask(client, "event_frequencies", &window, "")?;
        let empty = Kinds::new();
        let expected: Vec<Value> = (from..to)
            .map(|minute| {
                let kinds = self.minutes.get(&minute).unwrap_or(&empty);
                json!({"start": text(minute * MINUTE), "total": kinds.values().sum::<u64>(), "by_type": kinds})
            })
            .collect();
        let series = answer["series"].as_array().context("series")?;
        differ(wrong, "minutes", &json!(series.len()), &json!(expected.len()));
        for (found, expected) in series.iter().zip(&expected) {
            differ(wrong, "a minute", found, expected);
        }
        // a window inside, of one type: the middle half
        let (start, end) = (from + (to - from) / 4, to - (to - from) / 4);
        let inside = self
            .minutes
            .range(start..end)
            .map(|(_, kinds)| kinds.get("view").copied().unwrap_or(0));
        let window = json!({"from": start * MINUTE, "to": end * MINUTE, "event_types": ["view"]});
        let expected = json!(inside.sum::<u64>());
        for metric in ["event_frequencies", "products_popularity"] {
            let answer = ask(client, metric, &window, "")?;
            differ(wrong, "the middle", &answer["total"], &expected);
        }
        Ok(())
    }

    fn compare_products(&self, client: &Client, wrong: &mut Vec<String>) -> Result<()> {
        let all: Vec<&(Value, Tally)> = self.products.values().collect();
        for some in all.chunks(100) {
            let ids: Vec<&Value> = some.iter().map(|(id, _)| id).collect();
            let answer = ask(client, "products_popularity", &json!({"product_ids": ids}), "")?;
            let listed = answer["products"].as_array().context("products")?;
            differ(wrong, "products listed", &json!(listed.len()), &json!(some.len()));
            for (id, tally) in some {
                let found =
                    listed.iter().find(|found| found["product_id"] == *id).unwrap_or(&Value::Null);
                let name = format!("product {id}");
                differ(wrong, &name, &found["interactions"], &json!(tally.total()));
                differ(wrong, &name, &found["by_type"], &json!(tally.kinds));
            }
        }
        let mut best: Vec<(u64, &Value)> =
            all.iter().map(|(id, tally)| (tally.total(), id)).collect();
        // more interactions first, then integers by value before texts by bytes
        best.sort_by_key(|(total, id)| {
            (u64::MAX - total, id.is_string(), id.as_u64(), id.as_str().map(str::to_owned))
        });
        let best: Vec<Value> = best.iter().take(10).map(|(_, id)| (*id).clone()).collect();
        let answer = ask(client, "products_popularity", &json!({}), "")?;
        let listed = answer["products"].as_array().context("products")?;
        let listed: Vec<&Value> = listed.iter().map(|product| &product["product_id"]).collect();
        differ(wrong, "best ten", &json!(listed), &json!(best));
        differ(wrong, "products_total", &answer["products_total"], &json!(all.len()));
        Ok(())
    }

    fn compare_user(
        &self,
        client: &Client,
        user: &Value,
        products: &BTreeMap<String, Tally>,
        wrong: &mut Vec<String>,
    ) -> Result<()> {
        let answer = ask(client, "user_activities", &json!({"user_id": user, "limit": 1000}), "")?;
        let name = format!("user {user}");
        let mut kinds = Kinds::new();
        for (kind, count) in products.values().flat_map(|tally| &tally.kinds) {
            *kinds.entry(kind).or_default() += count;
        }
        differ(wrong, &name, &answer["total"], &json!(kinds.values().sum::<u64>()));
        differ(wrong, &name, &answer["by_type"], &json!(kinds));
        differ(wrong, &name, &answer["products_total"], &json!(products.len()));
        let first = products.values().filter_map(|tally| tally.first).min();
        let last = products.values().filter_map(|tally| tally.last).max();
        differ(wrong, &name, &answer["first_seen"], &json!(first.map(text)));
        differ(wrong, &name, &answer["last_seen"], &json!(last.map(text)));
        let listed = answer["products"].as_array().context("products")?;
        differ(wrong, &name, &json!(listed.len()), &json!(products.len()));
        for found in listed {
            let id = found["product_id"].to_string();
            let nothing = Tally::default();
            let tally = products.get(&id).unwrap_or(&nothing);
            let name = format!("{name}, product {id}");
            differ(wrong, &name, &found["by_type"], &json!(tally.kinds));
            differ(wrong, &name, &found["first_seen"], &json!(tally.first.map(text)));
            differ(wrong, &name, &found["last_seen"], &json!(tally.last.map(text)));
        }
        Ok(())
    }
}

/// The result of a question. One that a machine with too much to do cannot answer in time is asked
/// again.
fn ask(client: &Client, name: &str, params: &Value, at_least: &str) -> Result<Value> {
    let begun = Instant::now();
    loop {
        match client.ask(name, params, at_least) {
            Err(fault)
                if fault.to_string().contains("deadline_exceeded") && begun.elapsed() < BUSY => {}
            answered => return answered,
        }
    }
}

fn differ(wrong: &mut Vec<String>, what: &str, found: &Value, expected: &Value) {
    if found != expected {
        wrong.push(format!("{what}: {found} instead of {expected}"));
    }
}

/// RFC 3339 with milliseconds, as answers carry it.
#[must_use]
pub fn text(ms: i64) -> String {
    Timestamp::from_millisecond(ms)
        .map_or_else(|fault| fault.to_string(), |time| format!("{time:.3}"))
}
