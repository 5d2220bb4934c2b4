//! Events for tests: by hand, a known day, and random ones.

use super::cell::{self, Raw};
use jiff::Timestamp;
use serde_json::{Value, json};
use tally_plugin::abi::{ColumnParts, Columns, PropertyParts, with_columns};
use tally_plugin::description::{Property, PropertyType};
use tally_plugin::read::Id;

/// An event as a test writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `None`: absent.
    pub user: Option<Id>,
    /// `None`: absent.
    pub product: Option<Id>,
    /// `view`, `buy` …
    pub event_type: String,
    /// Unix milliseconds.
    pub time: i64,
    /// Further properties: pointer and value.
    pub properties: Vec<(String, Value)>,
}

impl Event {
    /// With a further property, where this pointer leads.
    #[must_use]
    pub fn with(mut self, pointer: &str, value: impl Into<Value>) -> Event {
        self.properties.push((pointer.into(), value.into()));
        self
    }
}

/// An event with integer ids, at an RFC 3339 time.
///
/// # Panics
/// If the time is not RFC 3339: this is for tests.
#[must_use]
pub fn event(user: u64, product: u64, event_type: &str, time: &str) -> Event {
    let time = moment(time).unwrap_or_else(|fault| panic!("{time}: {fault}"));
    let (user, product) = (Some(Id::Integer(user)), Some(Id::Integer(product)));
    Event { user, product, event_type: event_type.into(), time, properties: Vec::new() }
}

/// RFC 3339 as Unix milliseconds.
pub(super) fn moment(text: &str) -> Result<i64, String> {
    text.parse::<Timestamp>().map(Timestamp::as_millisecond).map_err(|fault| fault.to_string())
}

/// 2026-01-01: 11 events of three users on three products, the last of them late. The examples of
/// the HTTP contract are answers over this day.
#[must_use]
pub fn day_of_events() -> Vec<Event> {
    [
        (1, 10, "view", "00:01"),
        (1, 10, "view", "00:02"),
        (1, 10, "add_to_cart", "00:03"),
        (1, 10, "buy", "00:05"),
        (2, 10, "view", "00:07"),
        (2, 20, "view", "00:20"),
        (3, 20, "view", "01:01"),
        (3, 20, "buy", "01:05"),
        (3, 30, "view", "01:06"),
        (1, 20, "view", "01:30"),
        (2, 30, "view", "00:59"),
    ]
    .into_iter()
    .map(|(user, product, event_type, time)| {
        event(user, product, event_type, &format!("2026-01-01T{time}:00Z"))
    })
    .collect()
}

/// A small generator of random numbers (SplitMix64): a failing test names its seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound.max(1)
    }
}

/// Random events over two days around 2026-01-01: few ids, so that rows meet; texts, integers,
/// absent ones; odd types.
#[must_use]
pub fn random_events(random: &mut Random, count: usize) -> Vec<Event> {
    let types = ["view", "buy", "add_to_cart", "wishlist", "__other__", "x"];
    let id = |random: &mut Random| match random.below(12) {
        0 => None,
        1 => Some(Id::Text("ünïcode".into())),
        2 => Some(Id::Text("a".repeat(64))),
        3 => Some(Id::Integer((1 << 53) - 1)),
        n => Some(Id::Integer(n)),
    };
    (0..count)
        .map(|_| Event {
            user: id(random),
            product: id(random),
            event_type: types[random.below(types.len() as u64) as usize].into(),
            time: 1_767_139_200_000 + random.below(2 * 86_400_000) as i64,
            properties: Vec::new(),
        })
        .collect()
}

/// Gives random events random values of these properties: right ones, few so that rows meet, absent
/// ones, and values of any other type.
pub fn add_properties(random: &mut Random, properties: &[Property], events: &mut [Event]) {
    for event in events {
        for property in properties {
            let n = random.below(7);
            let value = match (random.below(8), property.kind) {
                (0, _) => continue,
                (1, _) => {
                    [json!(null), json!("x"), json!(-1.5), json!(true), json!([1]), json!({"a": 1})]
                        [n as usize % 6]
                        .clone()
                }
                (_, PropertyType::Text) => json!(format!("text {n}")),
                (_, PropertyType::Integer) => json!(n as i64 * 1_000 - 2_000),
                (_, PropertyType::Float) => json!(n as f64 * 0.75 - 1.0),
                (2, PropertyType::Decimal(_)) => json!(format!("{n}.25")),
                (_, PropertyType::Decimal(_)) => json!(n as f64 * 3.25),
                (_, PropertyType::Bool) => json!(n.is_multiple_of(2)),
                (_, PropertyType::Time) => json!(1_767_139_200_000_u64 + n),
            };
            event.properties.push((property.pointer.clone(), value));
        }
    }
}

/// Events that decode accepts and hardly anybody thinks of: ids and types at the ends of their
/// ranges, times from year 0 to 2199, absent ids, texts that look like numbers, one event many
/// times.
#[must_use]
pub fn odd_events(random: &mut Random, count: usize) -> Vec<Event> {
    let ids = [
        None,
        Some(Id::Integer(0)),
        Some(Id::Integer((1 << 53) - 1)),
        Some(Id::Text("9007199254740992".into())),
        Some(Id::Text("-1".into())),
        Some(Id::Text(" ".into())),
        Some(Id::Text("__other__".into())),
        Some(Id::Text("null".into())),
        Some(Id::Text("\"}{\\".into())),
        Some(Id::Text("\u{10FFFF}".repeat(16))),
        Some(Id::Text("a\u{0301}\u{202E}".into())),
    ];
    let types = ["a", "view", "__other__", "z9_", "a23456789_123456789_123456789_12"];
    let times =
        [-62_167_219_200_000, -1, 0, 1_767_225_599_999, 1_767_225_600_000, 7_258_118_399_999];
    let ordinary = random_events(random, count);
    let mut events: Vec<Event> = Vec::with_capacity(count);
    for mut event in ordinary {
        let mut pick = |below: usize| random.below(below as u64) as usize;
        event.user = ids[pick(ids.len())].clone();
        event.product = ids[pick(ids.len())].clone();
        event.event_type = types[pick(types.len())].into();
        event.time = times[pick(times.len())];
        let again = if events.is_empty() || pick(4) > 0 {
            event
        } else {
            events[pick(events.len())].clone()
        };
        events.push(again);
    }
    events
}

/// Calls `f` with events as the columns of one batch, as the host hands them over; `properties`:
/// the declared ones.
pub fn as_columns<T>(
    events: &[Event],
    properties: &[Property],
    f: impl FnOnce(&Columns<'_>) -> T,
) -> T {
    let (kind_names, kinds) = number_kinds(events);
    let (mut text_bytes, mut text_ends) = (Vec::new(), Vec::new());
    let mut column = |ids: Vec<&Option<Id>>| -> Vec<u64> {
        let mut value = |id: &Option<Id>| match id {
            None => u64::MAX,
            Some(Id::Integer(number)) => *number,
            Some(Id::Text(text)) => {
                text_bytes.extend_from_slice(text.as_bytes());
                text_ends.push(text_bytes.len() as u32);
                (1 << 63) | (text_ends.len() as u64 - 1)
            }
        };
        ids.into_iter().map(&mut value).collect()
    };
    let users = column(events.iter().map(|event| &event.user).collect());
    let products = column(events.iter().map(|event| &event.product).collect());
    let times: Vec<i64> = events.iter().map(|event| event.time).collect();
    let mut read: Vec<(Vec<u8>, Vec<u64>, Vec<i64>)> = Vec::new();
    for property in properties {
        let (mut present, mut low, mut high) = (Vec::new(), Vec::new(), Vec::new());
        for event in events {
            let (there, value) = match cell::value(property, event) {
                Some(Raw::Id(id)) => {
                    text_bytes.extend_from_slice(id.text().as_bytes());
                    text_ends.push(text_bytes.len() as u32);
                    (1, text_ends.len() as i128 - 1)
                }
                Some(Raw::Number(number)) => (1, number),
                Some(Raw::Float(float)) => (1, float.to_bits().into()),
                None => (0, 0),
            };
            present.push(there);
            low.push(value as u64);
            if matches!(property.kind, PropertyType::Decimal(_)) {
                high.push((value >> 64) as i64);
            }
        }
        read.push((present, low, high));
    }
    let properties: Vec<PropertyParts<'_>> = properties
        .iter()
        .zip(&read)
        .map(|(property, (present, low, high))| PropertyParts {
            kind: property.kind,
            present,
            low,
            high,
        })
        .collect();
    with_columns(
        ColumnParts {
            users: &users,
            products: &products,
            kinds: &kinds,
            times: &times,
            kind_names: &kind_names,
            text_bytes: &text_bytes,
            text_ends: &text_ends,
            properties: &properties,
        },
        f,
    )
}

/// The types of events, each once, and of each event the number of its own.
fn number_kinds(events: &[Event]) -> (Vec<Box<str>>, Vec<u16>) {
    let (mut kind_names, mut kinds) = (Vec::<Box<str>>::new(), Vec::new());
    for event in events {
        let known = kind_names.iter().position(|name| **name == *event.event_type);
        kinds.push(known.unwrap_or_else(|| {
            kind_names.push(event.event_type.as_str().into());
            kind_names.len() - 1
        }) as u16);
    }
    (kind_names, kinds)
}
