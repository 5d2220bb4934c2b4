//! Which events a client wants: `event_types`, `user_id` and `product_id`, in a message or in a
//! query string.
//!
//! Ids follow the grammar of events: `"7"` and `7` are one id. What no event can be is refused,
//! with every fault at once, so that nobody waits in vain.

use super::json_members;
use super::query_pairs::QueryPairs;
use super::request_object::{given_twice, unknown_key};
use crate::catalogue::id::{self, MAX_INTEGER};
use serde_json::value::RawValue;
use tally_engine::config;
use tally_engine::engine::FeedFilter;
use tally_engine::event::OTHER;
use tally_plugin::ask::Fault;
use tally_plugin::read::Id;

/// Most types that are named.
const TYPES: usize = 64;

/// What a type is, in words.
pub(crate) const EVENT_TYPE: &str =
    "a type is a-z first, then a-z, 0-9 or _, at most 32 characters";

/// The keys of a filter.
pub(crate) const KEYS: [&str; 3] = ["event_types", "user_id", "product_id"];

/// Reads a filter part by part.
struct FilterReader {
    /// Pointer to where the parts are.
    base: &'static str,
    filter: FeedFilter,
    faults: Vec<Fault>,
}

/// The filter that the member `events` of a message describes.
///
/// # Errors
/// All its faults.
pub(crate) fn of_json(json: &RawValue) -> Result<FeedFilter, Vec<Fault>> {
    let mut reader = FilterReader::new("/events");
    let Some(json_members::Members(members)) = json_members::members(json) else {
        let detail = "events is not an object".into();
        return Err(vec![Fault { pointer: "/events".into(), detail }]);
    };
    for (n, (key, value)) in members.iter().enumerate() {
        if members[..n].iter().any(|(other, _)| other == key) {
            reader.fault(key, given_twice(key).detail);
            continue;
        }
        match key.as_ref() {
            "event_types" => match serde_json::from_str::<Vec<String>>(value.get()) {
                Ok(types) => reader.event_types(types.iter().map(String::as_str)),
                Err(_) => reader.fault(key, "event_types is not an array of texts"),
            },
            "user_id" | "product_id" => match serde_json::from_str::<String>(value.get()) {
                Ok(text) => reader.id(key, &text),
                Err(_) => reader.number(key, value),
            },
            _ => reader.fault(key, unknown_key(key, &KEYS.join(", ")).detail),
        }
    }
    reader.finish()
}

/// The filter that a query describes; what is wrong with it is noted there.
pub(crate) fn of_query(query: &mut QueryPairs) -> FeedFilter {
    let mut reader = FilterReader::new("");
    for key in KEYS {
        match query.get(key) {
            Some(value) if key == "event_types" => reader.event_types(value.split(',')),
            Some(value) => reader.id(key, value),
            None => {}
        }
    }
    reader.finish().unwrap_or_else(|faults| {
        query.add(faults);
        FeedFilter::default()
    })
}

impl FilterReader {
    /// Of parts at this pointer.
    fn new(base: &'static str) -> FilterReader {
        FilterReader { base, filter: FeedFilter::default(), faults: Vec::new() }
    }

    /// The filter.
    ///
    /// # Errors
    /// All faults of its parts.
    fn finish(self) -> Result<FeedFilter, Vec<Fault>> {
        if self.faults.is_empty() { Ok(self.filter) } else { Err(self.faults) }
    }

    fn fault(&mut self, key: &str, detail: impl Into<String>) {
        let key = key.replace('~', "~0").replace('/', "~1");
        let pointer = format!("{}/{key}", self.base);
        self.faults.push(Fault { pointer, detail: detail.into() });
    }

    fn event_types<'a>(&mut self, types: impl Iterator<Item = &'a str>) {
        let types: Vec<Box<str>> = types.map(Box::from).collect();
        if !(1..=TYPES).contains(&types.len()) {
            self.fault("event_types", format!("event_types must name 1 to {TYPES} types"));
        } else if let Some(never) = types.iter().find(|name| !is_event_type(name)) {
            let never = never.escape_debug();
            let detail = format!("no event has the type \"{never}\": {EVENT_TYPE}");
            self.fault("event_types", detail);
        } else {
            self.filter.event_types = types;
        }
    }

    fn id(&mut self, key: &str, text: &str) {
        match id::parse(text) {
            Ok(id) => self.set_id(key, id),
            Err(fault) => self.fault(key, fault.to_string()),
        }
    }

    fn number(&mut self, key: &str, value: &RawValue) {
        let number = tally_plugin::property::integer(value.get().as_bytes());
        let number = number.and_then(|number| u64::try_from(number).ok());
        match number.filter(|number| *number <= MAX_INTEGER) {
            Some(number) => self.set_id(key, Id::Integer(number)),
            None => {
                let what = format!("neither an integer from 0 to {MAX_INTEGER} nor a text");
                self.fault(key, format!("{key} is {what}"));
            }
        }
    }

    fn set_id(&mut self, key: &str, id: Id) {
        let part = if key == "user_id" { &mut self.filter.user } else { &mut self.filter.product };
        *part = Some(id);
    }
}

/// Whether an event can have this type.
pub(crate) fn is_event_type(name: &str) -> bool {
    name == OTHER || config::is_event_type(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn json(text: &str) -> Result<FeedFilter, Vec<String>> {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        of_json(raw).map_err(|faults| faults.into_iter().map(|fault| fault.pointer).collect())
    }

    #[test]
    fn messages_and_queries_describe_the_same_filters() {
        let expected = FeedFilter {
            event_types: vec!["buy".into(), "__other__".into()],
            user: Some(Id::Integer(7)),
            product: Some(Id::Text("p 1".into())),
        };
        for user in ["7", "\"7\"", "7.0", "70e-1"] {
            let text = format!(
                r#"{{"event_types":["buy","__other__"],"user_id":{user},"product_id":"p 1"}}"#
            );
            assert_eq!(json(&text), Ok(expected.clone()), "{user}");
        }
        let of_text = |text: &str| {
            let mut query = QueryPairs::of(text, &KEYS).unwrap();
            let filter = of_query(&mut query);
            query.finish(filter).map_err(|problem| problem.errors().len())
        };
        let text = "event_types=buy,__other__&user_id=7&product_id=p%201";
        assert_eq!(of_text(text), Ok(expected));
        assert_eq!(of_text("event_types=&user_id="), Ok(FeedFilter::default()));
        assert_eq!(of_text("event_types=,&user_id=__other__&since=0:1"), Err(3));
        assert_eq!(json("{}"), Ok(FeedFilter::default()));
    }

    #[test]
    fn what_no_event_can_be_is_refused_with_all_its_faults() {
        for (text, faults) in [
            ("[]", &["/events"][..]),
            (r#"{"event_types":"buy"}"#, &["/events/event_types"]),
            (r#"{"event_types":[]}"#, &["/events/event_types"]),
            (r#"{"event_types":["Buy"]}"#, &["/events/event_types"]),
            (r#"{"user_id":-1,"product_id":null}"#, &["/events/user_id", "/events/product_id"]),
            (r#"{"user_id":9007199254740992}"#, &["/events/user_id"]),
            (r#"{"user_id":1.5}"#, &["/events/user_id"]),
            (r#"{"user_id":""}"#, &["/events/user_id"]),
            (r#"{"user_id":1,"user_id":2}"#, &["/events/user_id"]),
            (r#"{"a/b":1}"#, &["/events/a~1b"]),
        ] {
            let found = json(text).unwrap_err();
            assert_eq!(found, faults, "{text}");
        }
        let raw: &RawValue = serde_json::from_str(r#"{"event_types":["Buy"]}"#).unwrap();
        let told = of_json(raw).unwrap_err();
        assert_eq!(
            told[0].detail,
            "no event has the type \"Buy\": a type is a-z first, then a-z, 0-9 or _, at most 32 characters"
        );
    }
}
