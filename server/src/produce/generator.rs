//! Made-up events of a shop: few users and products get most of the traffic, most of it views.
//!
//! Event `n` is a pure function of the seed and `n`: two runs agree, whatever their rate or
//! batches.

use super::pointer::FieldPointers;
use super::{Outgoing, Supply, ids, times};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};
use serde_json::{Map, Value};
use std::time::{SystemTime, UNIX_EPOCH};

/// Per mille of each type: a shop sees some ten views for an item put into a cart, and twenty for
/// one bought.
const MIX: [(&str, u32); 5] =
    [("view", 790), ("add_to_cart", 90), ("remove_from_cart", 30), ("buy", 50), ("wishlist", 40)];

/// Zipf exponent of users and products; 1 is what web traffic is usually found to be near.
const SKEW: f64 = 1.0;

/// What to make.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GeneratorSettings {
    /// Same seed, same events.
    pub(crate) seed: u64,
    /// Number of the first event.
    pub(crate) first: u64,
    /// Added to the number in the id only: runs that differ here make different ids of the same
    /// events.
    pub(crate) id_offset: u64,
    /// Users are 1…this.
    pub(crate) users: u64,
    /// Products are 1…this.
    pub(crate) products: u64,
    /// When the events happen.
    pub(crate) clock: Clock,
}

/// When events happen.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// When they are made.
    Now,
    /// Evenly from `start` (Unix milliseconds) on, `span_ms` for `count` events.
    Spread {
        /// Time of the first event, Unix milliseconds.
        start: i64,
        /// Length of time.
        span_ms: i64,
        /// Number of events.
        count: u64,
    },
}

/// The current time, Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Makes events without end.
pub(crate) struct Generator {
    settings: GeneratorSettings,
    places: FieldPointers,
    next: u64,
    users: Zipf<f64>,
    products: Zipf<f64>,
}

impl Generator {
    /// Starts at event `settings.first`.
    ///
    /// # Errors
    /// There are no users or no products.
    pub(crate) fn new(
        settings: GeneratorSettings,
        places: FieldPointers,
    ) -> Result<Generator, String> {
        let zipf = |number: u64, what: &str| {
            Zipf::new(number as f64, SKEW).map_err(|_| format!("there must be at least one {what}"))
        };
        let (users, products) =
            (zipf(settings.users, "user")?, zipf(settings.products, "product")?);
        Ok(Generator { settings, places, next: settings.first, users, products })
    }

    /// The next event.
    pub(crate) fn make(&mut self) -> Outgoing {
        let GeneratorSettings { seed, first, id_offset, clock, .. } = self.settings;
        let number = self.next;
        self.next += 1;
        let mut random = SmallRng::seed_from_u64(ids::mix(seed) ^ ids::mix(number));
        let user = self.users.sample(&mut random) as u64;
        let product = self.products.sample(&mut random) as u64;
        let kind = kind(random.random_range(0..1_000));
        let time = match clock {
            Clock::Now => now_ms(),
            Clock::Spread { start, span_ms, count } => {
                // In whole numbers: a run that begins later must not round otherwise.
                let after =
                    i128::from(span_ms) * i128::from(number - first) / i128::from(count.max(1));
                start.saturating_add(i64::try_from(after).unwrap_or(i64::MAX))
            }
        };
        let mut record = Map::new();
        self.places.event_id.set(
            &mut record,
            ids::generated(seed, number.wrapping_add(id_offset)).to_string().into(),
        );
        self.places.user_id.set(&mut record, user.into());
        self.places.product_id.set(&mut record, product.into());
        self.places.event_type.set(&mut record, kind.into());
        self.places.timestamp.set(&mut record, times::text(time).into());
        // A product keeps its price.
        let cents = 199 + ids::mix(product) % 49_800;
        record.insert("price".into(), format!("{}.{:02}", cents / 100, cents % 100).into());
        let json = Value::Object(record).to_string().into_bytes();
        Outgoing { key: user.to_string(), json, line: number }
    }
}

impl Supply for Generator {
    fn next(&mut self) -> Option<Result<Outgoing, String>> {
        Some(Ok(self.make()))
    }
}

fn kind(mut per_mille: u32) -> &'static str {
    for (kind, share) in MIX {
        if per_mille < share {
            return kind;
        }
        per_mille -= share;
    }
    MIX[0].0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use tally_engine::config::FieldsConfig;

    const SETTINGS: GeneratorSettings = GeneratorSettings {
        seed: 42,
        first: 0,
        id_offset: 0,
        users: 100,
        products: 50,
        clock: Clock::Spread { start: 1_000_000, span_ms: 10_000, count: 1_000 },
    };

    fn events(settings: GeneratorSettings, number: usize) -> Vec<Outgoing> {
        let mut generator =
            Generator::new(settings, FieldPointers::new(&FieldsConfig::default())).unwrap();
        (0..number).map(|_| generator.make()).collect()
    }

    #[test]
    fn same_seed_same_events_wherever_the_run_begins() {
        let all = events(SETTINGS, 1_000);
        assert!(all == events(SETTINGS, 1_000));
        assert!(all != events(GeneratorSettings { seed: 43, ..SETTINGS }, 1_000));
        let clock = Clock::Spread { start: 1_005_000, span_ms: 5_000, count: 500 };
        assert_eq!(all[500..], events(GeneratorSettings { first: 500, clock, ..SETTINGS }, 500));
    }

    #[test]
    fn another_run_makes_the_same_events_with_other_ids() {
        let parse = |event: &Outgoing| serde_json::from_slice::<Value>(&event.json).unwrap();
        let (one, two) = (
            events(SETTINGS, 100),
            events(GeneratorSettings { id_offset: 1_000, ..SETTINGS }, 100),
        );
        for (one, two) in one.iter().zip(&two) {
            let (one, two) = (parse(one), parse(two));
            assert_ne!(one["event_id"], two["event_id"]);
            assert_eq!(
                (&one["user_id"], &one["event_type"]),
                (&two["user_id"], &two["event_type"])
            );
        }
    }

    #[test]
    fn traffic_is_skewed_mostly_views_and_within_the_catalogue() {
        assert_eq!(MIX.iter().map(|(_, share)| share).sum::<u32>(), 1_000);
        let mut kinds: HashMap<String, u32> = HashMap::new();
        let mut users: HashMap<u64, u32> = HashMap::new();
        for event in events(SETTINGS, 10_000) {
            let event: Value = serde_json::from_slice(&event.json).unwrap();
            *kinds.entry(event["event_type"].as_str().unwrap().into()).or_default() += 1;
            let user = event["user_id"].as_u64().unwrap();
            assert!(
                (1..=100).contains(&user)
                    && (1..=50).contains(&event["product_id"].as_u64().unwrap())
            );
            assert!(event["price"].as_str().unwrap().parse::<f64>().unwrap() > 1.0);
            *users.entry(user).or_default() += 1;
        }
        assert!((7_700..8_100).contains(&kinds["view"]), "{kinds:?}");
        assert!(
            kinds["add_to_cart"] > kinds["buy"] && kinds["buy"] > kinds["remove_from_cart"],
            "{kinds:?}"
        );
        assert!(users[&1] > 8 * users[&20], "{users:?}");
    }

    #[test]
    fn fields_stand_where_the_engine_looks() {
        let fields = FieldsConfig { user_id: "/user/id".into(), ..FieldsConfig::default() };
        let mut generator = Generator::new(SETTINGS, FieldPointers::new(&fields)).unwrap();
        let event: Value = serde_json::from_slice(&generator.make().json).unwrap();
        assert!(event["user"]["id"].is_u64() && event.get("user_id").is_none());
    }
}
