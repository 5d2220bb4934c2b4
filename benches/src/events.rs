//! Made-up events of one shape, the same every time, and the oracle: what they must add up to.
//!
//! Users and products follow Zipf's law with exponent 1; event time advances at a steady rate from
//! the first of January 2026.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write;

/// Users there are.
pub const USERS: u64 = 100_000;
/// Products there are.
pub const PRODUCTS: u64 = 10_000;
/// Partitions the events are spread over, by user.
pub const PARTITIONS: u32 = 4;
/// Event types, and how many of a hundred events are of each.
pub const KINDS: [(&str, u32); 6] = [
    ("view", 70),
    ("add_to_cart", 10),
    ("search", 8),
    ("buy", 5),
    ("wishlist", 4),
    ("remove_from_cart", 3),
];
/// Bytes of an event, about.
const SIZE: usize = 185;
/// 2026-01-01, Unix milliseconds.
const START: i64 = 1_767_225_600_000;

/// How ids look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// `"u0012345"`, `"p001234"`.
    Text,
    /// `12345`, `1234`.
    Integer,
}

impl Ids {
    /// For names and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ids::Text => "text",
            Ids::Integer => "integer",
        }
    }

    fn user(self, number: u64) -> Value {
        if self == Ids::Text { json!(format!("u{number:07}")) } else { json!(number) }
    }

    fn product(self, number: u64) -> Value {
        if self == Ids::Text { json!(format!("p{number:06}")) } else { json!(number) }
    }
}

/// An endless, repeatable sequence of events.
pub struct Generator {
    ids: Ids,
    rate: f64,
    random: SmallRng,
    users: Zipf<f64>,
    products: Zipf<f64>,
    made: u64,
    /// Times are these instead, where events must happen now.
    pub now_ms: Option<i64>,
    /// What has been made so far adds up to this.
    pub oracle: Oracle,
}

impl Generator {
    /// `rate`: events per second of event time.
    ///
    /// # Panics
    /// Never: the parameters of the distributions are constants that they accept.
    #[must_use]
    pub fn new(ids: Ids, rate: f64, seed: u64) -> Generator {
        let zipf = |n: u64| Zipf::new(n as f64, 1.0).expect("positive parameters");
        Generator {
            ids,
            rate,
            random: SmallRng::seed_from_u64(seed),
            users: zipf(USERS),
            products: zipf(PRODUCTS),
            made: 0,
            now_ms: None,
            oracle: Oracle::new(ids),
        }
    }

    /// The next event as numbers: user, product, place in [`KINDS`], Unix milliseconds. The oracle
    /// does not count it.
    pub fn draw(&mut self) -> (u64, u64, usize, i64) {
        // a rank is not a number: neighbours in popularity are no neighbours in memory
        let user = self.users.sample(&mut self.random) as u64 * 48_271 % USERS;
        let product = self.products.sample(&mut self.random) as u64 * 4_817 % PRODUCTS;
        let mut share = self.random.random_range(0..100);
        let mut kind = 0;
        while share >= KINDS[kind].1 {
            share -= KINDS[kind].1;
            kind += 1;
        }
        let time = self.now_ms.unwrap_or(START + (self.made as f64 * 1_000.0 / self.rate) as i64);
        self.made += 1;
        (user, product, kind, time)
    }

    /// Writes the next event over `text`; its partition.
    pub fn next_into(&mut self, text: &mut String) -> u32 {
        let (user, product, kind, time) = self.draw();
        let time = jiff::Timestamp::from_millisecond(time).unwrap_or_default();
        let id = self.random.random::<u128>();
        let (a, b, c, d, e) = (
            id >> 96,
            id >> 80 & 0xffff,
            id >> 64 & 0xffff,
            id >> 48 & 0xffff,
            id & 0xffff_ffff_ffff,
        );
        text.clear();
        let (user_id, product_id) = (self.ids.user(user), self.ids.product(product));
        let name = KINDS[kind].0;
        // writing to a String does not fail
        let _ = write!(
            text,
            r#"{{"event_id":"{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}","user_id":{user_id},"product_id":{product_id},"event_type":"{name}","timestamp":"{time:.3}","session":""#
        );
        while text.len() < SIZE - 2 {
            text.push(char::from(b'a' + (text.len() % 26) as u8));
        }
        text.push_str("\"}");
        self.oracle.add(user, product, kind, text.len());
        (user % u64::from(PARTITIONS)) as u32
    }
}

/// What events add up to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Oracle {
    text_ids: bool,
    /// Events.
    pub total: u64,
    /// Their bytes.
    pub bytes: u64,
    kinds: [u64; KINDS.len()],
    products: Vec<u64>,
    users: Vec<u64>,
}

impl Oracle {
    fn new(ids: Ids) -> Oracle {
        Oracle {
            text_ids: ids == Ids::Text,
            total: 0,
            bytes: 0,
            kinds: [0; KINDS.len()],
            products: vec![0; PRODUCTS as usize],
            users: vec![0; USERS as usize],
        }
    }

    fn add(&mut self, user: u64, product: u64, kind: usize, bytes: usize) {
        self.total += 1;
        self.bytes += bytes as u64;
        self.kinds[kind] += 1;
        self.products[product as usize] += 1;
        self.users[user as usize] += 1;
    }

    fn ids(&self) -> Ids {
        if self.text_ids { Ids::Text } else { Ids::Integer }
    }

    /// The number of events of each type, types that occur.
    #[must_use]
    pub fn by_type(&self) -> Value {
        let mut kinds: Vec<_> =
            KINDS.iter().zip(self.kinds).filter(|(_, count)| *count > 0).collect();
        kinds.sort_by_key(|((name, _), _)| *name);
        kinds
            .into_iter()
            .map(|((name, _), count)| ((*name).to_owned(), json!(count)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// The first thousand products as `[id, interactions]`, most interactions first, then the lower
    /// id.
    #[must_use]
    pub fn top_products(&self) -> Vec<Value> {
        let mut products: Vec<(u64, u64)> =
            self.products.iter().copied().zip(0..).filter(|(count, _)| *count > 0).collect();
        products.sort_by_key(|(count, product)| (std::cmp::Reverse(*count), *product));
        products.truncate(1_000);
        products
            .into_iter()
            .map(|(count, product)| json!([self.ids().product(product), count]))
            .collect()
    }

    /// How many products have events.
    #[must_use]
    pub fn products_total(&self) -> u64 {
        self.products.iter().filter(|count| **count > 0).count() as u64
    }

    /// Some users, one in a thousand, as id and number of events.
    #[must_use]
    pub fn some_users(&self) -> Vec<(Value, u64)> {
        (0..USERS)
            .step_by(1_000)
            .map(|user| (self.ids().user(user), self.users[user as usize]))
            .collect()
    }
}
