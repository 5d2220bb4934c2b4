//! Walks through a JSON object: each member with its JSON pointer, arrays and texts left as they
//! were written.
//!
//! Depth and the length of pointers are bounded; what lies beyond is not visited, and said. A member
//! that occurs twice is visited twice. Nothing is copied but pointers and keys.

use super::ValueKind;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// How deep objects are walked through; the record itself is 0.
const DEPTH: usize = 8;

/// Bytes of a pointer.
const LONGEST: usize = 256;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkEnd {
    /// Everything was visited.
    Whole,
    /// Some of it was too deep.
    Part,
    /// It is no JSON object; nothing was visited.
    NoObject,
}

/// Visits the members of a record, and theirs.
pub(super) fn walk(payload: &[u8], visit: &mut dyn FnMut(&str, ValueKind, &str)) -> WalkEnd {
    let payload = payload.strip_prefix(BYTE_ORDER_MARK).unwrap_or(payload);
    let Ok(WalkedMembers(members)) = serde_json::from_slice(payload) else {
        return WalkEnd::NoObject;
    };
    let mut pointer = String::new();
    if visit_all(members, &mut pointer, 1, visit) { WalkEnd::Whole } else { WalkEnd::Part }
}

/// Visits members below a pointer. Returns whether all were.
fn visit_all(
    members: Vec<(String, &RawValue)>,
    pointer: &mut String,
    depth: usize,
    visit: &mut dyn FnMut(&str, ValueKind, &str),
) -> bool {
    let (length, mut whole) = (pointer.len(), true);
    for (key, value) in members {
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        if pointer.len() > LONGEST {
            whole = false;
        } else {
            let (kind, raw) = (kind(value.get()), value.get());
            visit(pointer, kind, raw);
            if kind == ValueKind::Object {
                whole &= visit_object(raw, pointer, depth, visit);
            }
        }
        pointer.truncate(length);
    }
    whole
}

fn visit_object(
    raw: &str,
    pointer: &mut String,
    depth: usize,
    visit: &mut dyn FnMut(&str, ValueKind, &str),
) -> bool {
    if depth >= DEPTH {
        return false;
    }
    // It was read before, as a part of the whole.
    let Ok(WalkedMembers(members)) = serde_json::from_str(raw) else { return false };
    visit_all(members, pointer, depth + 1, visit)
}

/// What a value is, by its first byte.
fn kind(raw: &str) -> ValueKind {
    match raw.as_bytes().first() {
        Some(b'"') => ValueKind::String,
        Some(b'{') => ValueKind::Object,
        Some(b'[') => ValueKind::Array,
        Some(b't' | b'f') => ValueKind::Boolean,
        Some(b'n') => ValueKind::Null,
        _ => ValueKind::Number,
    }
}

/// The members of an object in their order; a key may occur twice.
struct WalkedMembers<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for WalkedMembers<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = WalkedMembers<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<WalkedMembers<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(WalkedMembers(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(payload: &[u8]) -> (Vec<String>, WalkEnd) {
        let mut all = Vec::new();
        let end = walk(payload, &mut |pointer, kind, raw| {
            all.push(format!("{pointer} {} {raw}", kind.word()));
        });
        (all, end)
    }

    #[test]
    fn members_are_visited_with_their_pointers_and_arrays_as_a_whole() {
        let (all, end) =
            walked(br#"{"a":{"b/c":1.50,"~":[1,{"x":2}]},"":"\u00fc","n":null,"a":true}"#);
        let expected = [
            r#"/a object {"b/c":1.50,"~":[1,{"x":2}]}"#,
            "/a/b~1c number 1.50",
            r#"/a/~0 array [1,{"x":2}]"#,
            r#"/ string "\u00fc""#,
            "/n null null",
            "/a boolean true",
        ];
        assert_eq!(
            (all.iter().map(String::as_str).collect::<Vec<_>>(), end),
            (expected.to_vec(), WalkEnd::Whole)
        );
        assert_eq!(walked(b"\xEF\xBB\xBF{}"), (vec![], WalkEnd::Whole));
    }

    #[test]
    fn what_is_no_object_is_said_and_what_is_too_deep_or_too_long_is_left_out() {
        for payload in
            [&b""[..], b"[]", b"7", b"{", b"{} x", b"{\"a\":}", b"\xff", b"{\"a\":\"\xff\"}"]
        {
            assert_eq!(walked(payload), (vec![], WalkEnd::NoObject), "{payload:?}");
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(20_000), "}".repeat(20_000));
        let (all, end) = walked(deep.as_bytes());
        assert_eq!((all.len(), end), (DEPTH, WalkEnd::Part));
        let long = format!("{{\"{}\":1,\"b\":2}}", "k".repeat(LONGEST));
        assert_eq!(walked(long.as_bytes()), (vec!["/b number 2".to_owned()], WalkEnd::Part));
    }
}
