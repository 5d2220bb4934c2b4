//! What is noted of each field while records are looked at, and the report that comes of it.
//!
//! So many pointers are noted, so many values of each told apart, so many examples kept: memory is
//! bounded whatever records hold.

use super::object_walk::{WalkEnd, walk};
use super::{ColumnKind, FieldReport, RecordField, ValueKind};
use crate::config::EventsConfig;
use crate::decode::MAX_BYTES;
use crate::time::rfc3339;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use tally_plugin::property::{LONGEST_TEXT, integer, scaled};

/// Pointers that are noted, and values of each that are told apart.
const POINTERS: usize = 2_000;
const DISTINCT: usize = 256;

/// Examples of a field, and letters of one.
const EXAMPLES: usize = 5;
const EXAMPLE: usize = 64;

/// Most digits after the point that are looked for.
const SCALE: u8 = 9;

/// What was seen so far.
#[derive(Default)]
pub(super) struct FieldNotes {
    records: u64,
    others: u64,
    fields: HashMap<String, FieldNote>,
    hasher: RandomState,
    fields_left_out: bool,
    deeper_left_out: bool,
}

/// What was seen of a field.
#[derive(Default)]
struct FieldNote {
    records: u64,
    /// The number of the last record that had it.
    last: u64,
    kinds: [u64; ValueKind::ALL.len()],
    examples: Vec<String>,
    distinct: HashSet<u64>,
    /// How many of its values could be read as what.
    reads: ReadableAs,
}

/// How many values can be read as what.
#[derive(Default)]
struct ReadableAs {
    bools: u64,
    integers: u64,
    times: u64,
    decimals: u64,
    texts: u64,
    /// Of the decimals, the largest number of digits after the point.
    scale: u8,
    /// Of the decimals, how many are numbers.
    numbers: u64,
}

impl FieldNotes {
    /// Looks at a record.
    pub(super) fn add(&mut self, payload: &[u8]) {
        let FieldNotes { records, others, fields, hasher, fields_left_out, deeper_left_out } = self;
        if payload.len() > MAX_BYTES {
            *others += 1;
            return;
        }
        let number = *records + 1;
        let walked = walk(payload, &mut |pointer, kind, raw| {
            let known = fields.contains_key(pointer);
            if !known && fields.len() >= POINTERS {
                *fields_left_out = true;
                return;
            }
            if !known {
                fields.insert(pointer.to_owned(), FieldNote::default());
            }
            if let Some(field) = fields.get_mut(pointer) {
                field.add(number, kind, raw, hasher);
            }
        });
        match walked {
            WalkEnd::NoObject => *others += 1,
            WalkEnd::Whole => *records = number,
            WalkEnd::Part => (*records, *deeper_left_out) = (number, true),
        }
    }

    /// What was seen, in no order.
    pub(super) fn report(self, events: &EventsConfig) -> FieldReport {
        let FieldNotes { records, others, fields, fields_left_out, deeper_left_out, .. } = self;
        let of = &events.fields;
        let mapped = [
            ("event_id", &of.event_id),
            ("user_id", &of.user_id),
            ("product_id", &of.product_id),
            ("event_type", &of.event_type),
            ("timestamp", &of.timestamp),
        ];
        let field = |(pointer, note): (String, FieldNote)| {
            let mapped = mapped.iter().find(|(_, at)| **at == pointer).map(|(name, _)| *name);
            let kinds = ValueKind::ALL.into_iter().zip(note.kinds);
            RecordField {
                pointer,
                records: note.records,
                kinds: kinds.filter(|(_, count)| *count > 0).collect(),
                distinct: Some(note.distinct.len())
                    .filter(|count| (1..=DISTINCT).contains(count))
                    .map(|count| count as u64),
                examples: note.examples,
                mapped,
                column: note.reads.column(),
            }
        };
        FieldReport {
            records,
            others,
            fields: fields.into_iter().map(field).collect(),
            records_left_out: false,
            fields_left_out,
            deeper_left_out,
        }
    }
}

impl FieldNote {
    /// A value in the record of this number. Of a member that a record has twice the first counts.
    fn add(&mut self, number: u64, kind: ValueKind, raw: &str, hasher: &RandomState) {
        if self.last == number {
            return;
        }
        self.last = number;
        self.records += 1;
        if let Some(count) = self.kinds.get_mut(kind as usize) {
            *count += 1;
        }
        if matches!(kind, ValueKind::Null | ValueKind::Object | ValueKind::Array) {
            return;
        }
        let text = if kind == ValueKind::String { text(raw) } else { Cow::Borrowed(raw) };
        self.reads.add(kind, &text);
        // One more than are told, which says that there are too many.
        let is_new = self.distinct.len() <= DISTINCT && self.distinct.insert(hasher.hash_one(raw));
        if is_new && self.examples.len() < EXAMPLES {
            self.examples.extend(example(kind, &text));
        }
    }
}

impl ReadableAs {
    fn add(&mut self, kind: ValueKind, text: &str) {
        let bytes = text.as_bytes();
        match kind {
            ValueKind::Boolean => self.bools += 1,
            ValueKind::Number => {
                self.integers += u64::from(integer(bytes).is_some());
                self.numbers += u64::from(self.add_decimal(bytes));
            }
            ValueKind::String => {
                self.texts += u64::from(bytes.len() <= LONGEST_TEXT);
                self.times += u64::from(rfc3339(bytes).is_some());
                self.add_decimal(bytes);
            }
            ValueKind::Null | ValueKind::Object | ValueKind::Array => {}
        }
    }

    /// Returns whether it is one.
    fn add_decimal(&mut self, text: &[u8]) -> bool {
        let exact = |scale| scaled(text, scale).is_some_and(|(_, exact)| exact);
        if scaled(text, 0).is_none() {
            return false;
        }
        self.decimals += 1;
        while self.scale < SCALE && !exact(self.scale) {
            self.scale += 1;
        }
        true
    }

    /// What most values can be read as; of several the first, from the most to the least special.
    /// Texts of digits alone are texts: they are rather names than amounts.
    fn column(&self) -> Option<ColumnKind> {
        let ReadableAs { bools, integers, times, decimals, texts, scale, numbers } = *self;
        let decimals = if numbers == 0 && scale == 0 { 0 } else { decimals };
        let kinds = [
            (ColumnKind::Bool, bools),
            (ColumnKind::Integer, integers),
            (ColumnKind::Time, times),
            (ColumnKind::Decimal(scale), decimals),
            (ColumnKind::Text, texts),
        ];
        // The last of equal ones would be taken.
        let most = kinds.into_iter().rev().max_by_key(|(_, count)| *count);
        most.filter(|(_, count)| *count > 0).map(|(kind, _)| kind)
    }
}

/// What a text says; one with an escape that means nothing, as it was written.
fn text(raw: &str) -> Cow<'_, str> {
    let inside = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).unwrap_or(raw);
    if !inside.contains('\\') {
        return Cow::Borrowed(inside);
    }
    serde_json::from_str(raw).map_or(Cow::Borrowed(inside), Cow::Owned)
}

/// A value as JSON, if it can be shown: a text that is too long is cut, a number is left out.
fn example(kind: ValueKind, text: &str) -> Option<String> {
    let cut = text.char_indices().nth(EXAMPLE).map(|(end, _)| end);
    match (kind, cut) {
        (ValueKind::String, None) => serde_json::to_string(text).ok(),
        (ValueKind::String, Some(end)) => serde_json::to_string(&format!("{}…", &text[..end])).ok(),
        (_, None) => Some(text.to_owned()),
        (_, Some(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(payloads: &[&str]) -> FieldReport {
        let mut notes = FieldNotes::default();
        payloads.iter().for_each(|payload| notes.add(payload.as_bytes()));
        notes.report(&EventsConfig::default())
    }

    fn field(payloads: &[&str]) -> RecordField {
        let mut report = report(payloads);
        assert_eq!(report.fields.len(), 1, "{report:?}");
        report.fields.remove(0)
    }

    #[test]
    fn kinds_examples_and_different_values_are_noted() {
        let price = field(&[
            r#"{"price":"57.70"}"#,
            r#"{"price":12}"#,
            r#"{"price":null}"#,
            "[]",
            "{}",
            r#"{"price":"57.70"}"#,
        ]);
        assert_eq!((price.pointer.as_str(), price.records, price.mapped), ("/price", 4, None));
        let kinds = [(ValueKind::String, 2), (ValueKind::Number, 1), (ValueKind::Null, 1)];
        assert_eq!(price.kinds, kinds);
        assert_eq!(
            (price.examples.as_slice(), price.distinct),
            (&["\"57.70\"".to_owned(), "12".to_owned()][..], Some(2))
        );
        assert_eq!(price.column, Some(ColumnKind::Decimal(1)));
        let user = field(&[r#"{"user_id":1,"user_id":"x"}"#]);
        assert_eq!(
            (user.mapped, user.records, user.kinds),
            (Some("user_id"), 1, vec![(ValueKind::Number, 1)])
        );
        let all = report(&["", "{}", "x"]);
        assert_eq!((all.records, all.others), (1, 2));
        assert!(!all.fields_left_out && !all.deeper_left_out);
        let deep = format!("{}1{}", "{\"x\":".repeat(20), "}".repeat(20));
        let deep = report(&[deep.as_str()]);
        assert!(!deep.fields_left_out && deep.deeper_left_out);
    }

    #[test]
    fn a_field_is_read_as_what_most_of_its_values_are() {
        for (values, expected) in [
            (&["1", "2.0"][..], Some(ColumnKind::Integer)),
            (&["1", "2.25"], Some(ColumnKind::Decimal(2))),
            (&["\"1.5\"", "\"2\""], Some(ColumnKind::Decimal(1))),
            (&["\"12\"", "\"13\""], Some(ColumnKind::Text)),
            (&["\"a\"", "1"], Some(ColumnKind::Integer)),
            (&["\"a\"", "\"b\"", "1"], Some(ColumnKind::Text)),
            (&["\"2026-01-01T00:00:00Z\""], Some(ColumnKind::Time)),
            (&["true", "null"], Some(ColumnKind::Bool)),
            (&["1e400"], None),
            (&["null", "[1]"], None),
        ] {
            let payloads: Vec<String> =
                values.iter().map(|value| format!("{{\"x\":{value}}}")).collect();
            let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
            assert_eq!(field(&payloads).column, expected, "{values:?}");
        }
    }

    #[test]
    fn whatever_records_hold_notes_stay_small() {
        let many: Vec<String> = (0..10_000).map(|n| format!("{{\"k{n}\":{n}}}")).collect();
        let all = report(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((all.fields.len(), all.records), (POINTERS, 10_000));
        assert!(all.fields_left_out && !all.deeper_left_out);
        let many: Vec<String> = (0..1_000).map(|n| format!("{{\"x\":{n}}}")).collect();
        let x = field(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((x.distinct, x.examples.len()), (None, EXAMPLES));
        let long = format!("{{\"x\":\"{}\"}}", "ü".repeat(1_000));
        let x = field(&[long.as_str(), "{\"x\":\"\\ud800\"}", "{\"x\":\"a\\n\"}"]);
        assert_eq!(x.examples[0].chars().count(), EXAMPLE + 3);
        assert_eq!(x.examples[1..], ["\"\\\\ud800\"".to_owned(), "\"a\\n\"".to_owned()]);
        let large = format!("{{\"x\":\"{}\"}}", "a".repeat(MAX_BYTES));
        let none = report(&[large.as_str()]);
        assert_eq!((none.records, none.others, none.fields.len()), (0, 1, 0));
    }
}
