//! The JSON object in a request's body: read strictly, so that every key is known and given once.
//!
//! Says what is wrong with the body as a whole and with its keys. What the values mean is judged by
//! whoever asked for the object. Work grows with the body's length alone, and of many unknown keys
//! only the first are named.

use super::codes::Code;
use super::json_members::{self, Members};
use super::problem::Problem;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashSet;
use tally_plugin::ask::Fault;

/// Most unknown keys that are named; a body may contain any number of them.
const UNKNOWN_KEYS: usize = 64;

/// Letters of an unknown key that are repeated beside its pointer.
const LONGEST_SHOWN: usize = 64;

/// The members of an object, each value as it was written.
pub(crate) struct RequestObject<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> RequestObject<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// 400 `invalid_json`; 422 `invalid_request`: it is not an object.
    pub(crate) fn parse(body: &'a [u8]) -> Result<RequestObject<'a>, Problem> {
        RequestObject::of(json_value(body)?)
    }

    /// Takes a value apart that is a body, or a part of one.
    ///
    /// # Errors
    /// 422 `invalid_request`: it is not an object.
    pub(crate) fn of(value: &'a RawValue) -> Result<RequestObject<'a>, Problem> {
        let Members(members) = json_members::members(value).ok_or_else(not_an_object)?;
        Ok(RequestObject { members })
    }

    /// The value of a key: the first, if it is given twice.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// The faults of the keys: those that are unknown, or given twice.
    pub(crate) fn key_faults(&self, known: &[&str]) -> Vec<Fault> {
        key_faults(self.members.iter().map(|(key, _)| &**key), known)
    }
}

/// The faults of keys: those that are unknown, or given twice. One for each.
pub(crate) fn key_faults<'k>(keys: impl Iterator<Item = &'k str>, known: &[&str]) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let (mut seen, mut twice, mut unknown) = (HashSet::new(), HashSet::new(), 0);
    for key in keys {
        let is_first = seen.insert(key);
        if !known.contains(&key) {
            // One fault per pointer.
            if is_first && unknown < UNKNOWN_KEYS {
                unknown += 1;
                faults.push(unknown_key(key, &known.join(", ")));
            }
        } else if !is_first && twice.insert(key) {
            faults.push(given_twice(key));
        }
    }
    faults
}

/// The JSON value in a body.
///
/// # Errors
/// 400 `invalid_json`.
pub(crate) fn json_value(body: &[u8]) -> Result<&RawValue, Problem> {
    serde_json::from_slice(body).map_err(|error| invalid_json(&error))
}

/// 400 with the place.
pub(crate) fn invalid_json(error: &serde_json::Error) -> Problem {
    Problem::new(Code::InvalidJson, format!("the body is not JSON: {error}"))
}

/// 422 for a body that is another value.
pub(crate) fn not_an_object() -> Problem {
    Problem::fault(Code::InvalidRequest, "", "the body is not an object")
}

/// The fault of a key that is none of those that are known, which are listed.
pub(crate) fn unknown_key(key: &str, known: &str) -> Fault {
    let (start, cut) = match key.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => (&key[..end], "…"),
        None => (key, ""),
    };
    let known = if known.is_empty() { "none" } else { known };
    let detail = format!("unknown key \"{}{cut}\"; known keys: {known}", start.escape_debug());
    key_fault(key, detail)
}

/// The fault of a key that is given twice.
pub(crate) fn given_twice(key: &str) -> Fault {
    key_fault(key, format!("{} is given twice", key.escape_debug()))
}

/// A fault at a top-level key.
pub(crate) fn key_fault(key: &str, detail: String) -> Fault {
    Fault { pointer: key_pointer(key), detail }
}

/// The pointer to a top-level key, escaped as RFC 6901 says.
pub(crate) fn key_pointer(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_body_that_is_no_object_is_refused() {
        for (body, code) in [
            ("", "invalid_json"),
            ("{", "invalid_json"),
            ("{} {}", "invalid_json"),
            ("[]", "invalid_request"),
            ("null", "invalid_request"),
        ] {
            let refused = RequestObject::parse(body.as_bytes()).err().unwrap();
            assert_eq!(refused.code(), code, "{body}");
        }
    }

    #[test]
    fn each_key_has_one_fault_at_most() {
        let body = br#"{"a":1,"x/~":2,"b":3,"a":4,"x/~":5,"a":6}"#;
        let object = RequestObject::parse(body).unwrap();
        let faults = object.key_faults(&["a", "b"]);
        let pointers: Vec<&str> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/x~1~0", "/a"]);
        assert_eq!(object.get("a").map(RawValue::get), Some("1"), "the first");
        assert!(object.get("c").is_none());
        let many: Vec<String> = (0..1_000).map(|n| format!("\"{n}\":0")).collect();
        let many = format!("{{{}}}", many.join(","));
        let object = RequestObject::parse(many.as_bytes()).unwrap();
        assert_eq!(object.key_faults(&["a"]).len(), UNKNOWN_KEYS);
    }
}
