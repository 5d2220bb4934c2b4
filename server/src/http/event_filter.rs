//! Which events a client wants: `event_types`, `user_id` and `product_id`, in a message or in a
//! query string.
//!
//! Ids follow the grammar of events: `"7"` and `7` are one id. What no event can be is refused,
//! with every fault at once, so that nobody waits in vain.

use super::json_members;
use super::request_object::{given_twice, unknown_key};
use crate::catalogue::id::{self, MAX_INTEGER};
use serde_json::value::RawValue;
use tally_engine::engine::FeedFilter;
use tally_plugin::ask::Fault;
use tally_plugin::read::Id;

/// Most types that are named.
const TYPES: usize = 64;

/// Longest type, bytes.
const LONGEST_TYPE: usize = 32;

/// What a type is, in words.
pub(crate) const EVENT_TYPE: &str =
    "a type is a-z first, then a-z, 0-9 or _, at most 32 characters";

/// The type of events whose own type is absent, or not in `[events] types`.
const OTHER: &str = "__other__";

const KNOWN: &str = "event_types, user_id, product_id";

/// Reads a filter part by part.
pub(crate) struct FilterReader {
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
            _ => reader.fault(key, unknown_key(key, KNOWN).detail),
        }
    }
    reader.finish()
}

impl FilterReader {
    /// Of parts at this pointer.
    pub(crate) fn new(base: &'static str) -> FilterReader {
        FilterReader { base, filter: FeedFilter::default(), faults: Vec::new() }
    }

    /// Takes a pair of a query string. Returns whether it belongs to a filter.
    pub(crate) fn takes(&mut self, key: &str, value: &str) -> bool {
        match key {
            "event_types" => self.event_types(value.split(',')),
            "user_id" | "product_id" => self.id(key, value),
            _ => return false,
        }
        true
    }

    /// The filter.
    ///
    /// # Errors
    /// All faults of its parts.
    pub(crate) fn finish(self) -> Result<FeedFilter, Vec<Fault>> {
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
    let letter = |byte: u8| byte.is_ascii_lowercase();
    let rest = |byte: u8| letter(byte) || byte.is_ascii_digit() || byte == b'_';
    let written = name.bytes().next().is_some_and(letter) && name.bytes().all(rest);
    name == OTHER || written && name.len() <= LONGEST_TYPE
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
        let mut reader = FilterReader::new("");
        let pairs = [("event_types", "buy,__other__"), ("user_id", "7"), ("product_id", "p 1")];
        assert!(pairs.iter().all(|(key, value)| reader.takes(key, value)));
        assert!(!reader.takes("since", "0:1"));
        assert_eq!(reader.finish(), Ok(expected));
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
        let mut reader = FilterReader::new("");
        assert!(reader.takes("event_types", "") && reader.takes("user_id", "__other__"));
        assert_eq!(reader.finish().unwrap_err().len(), 2);
        let raw: &RawValue = serde_json::from_str(r#"{"event_types":["Buy"]}"#).unwrap();
        let told = of_json(raw).unwrap_err();
        assert_eq!(
            told[0].detail,
            "no event has the type \"Buy\": a type is a-z first, then a-z, 0-9 or _, at most 32 characters"
        );
    }
}
