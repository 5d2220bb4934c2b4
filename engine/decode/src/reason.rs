//! Why a record is refused: the words of the HTTP contract, as an enum.
//!
//! A reason is a function of the record and `[events]` alone. `plugin_failed:<metric>` is not here:
//! it is no verdict on a record.

use std::fmt;

/// A field that `[events.fields]` maps, in the order in which faults are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// Identity of the event.
    EventId,
    /// The user.
    UserId,
    /// The product.
    ProductId,
    /// The type of interaction.
    EventType,
    /// When it happened.
    Timestamp,
}

impl Field {
    /// All fields, in order.
    pub const ALL: [Field; 5] =
        [Field::EventId, Field::UserId, Field::ProductId, Field::EventType, Field::Timestamp];

    /// Its name in an event.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Field::EventId => "event_id",
            Field::UserId => "user_id",
            Field::ProductId => "product_id",
            Field::EventType => "event_type",
            Field::Timestamp => "timestamp",
        }
    }
}

/// Why a record was refused. `Display` gives the stable word.
///
/// Where several apply, the first of: empty, size, UTF-8, the first fault in reading order of
/// `invalid_json` and `too_deep`, `trailing_data`, `not_an_object`, `duplicate_field`, then field
/// by field in [`Field::ALL`]'s order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A tombstone, or no bytes at all.
    EmptyPayload,
    /// Not UTF-8, wherever in the record.
    InvalidUtf8,
    /// Not JSON, wherever in the record; also half a surrogate pair in a text that is read.
    InvalidJson,
    /// JSON, but no object.
    NotAnObject,
    /// Something follows the first JSON value.
    TrailingData,
    /// Nested deeper than [`super::MAX_DEPTH`].
    TooDeep,
    /// More than [`super::MAX_BYTES`]; not parsed.
    PayloadTooLarge,
    /// A mapped key occurs twice in its object.
    DuplicateField,
    /// A required field is absent.
    MissingField(Field),
    /// A field has a type that it cannot have.
    WrongType(Field),
    /// An id that no id can be.
    IdOutOfRange(Field),
    /// Not `^[a-z][a-z0-9_]{0,31}$` after aliases.
    EventTypeInvalid,
    /// Not 1–64 bytes of text without control characters.
    EventIdInvalid,
    /// Not RFC 3339 with a zone, no such day, an integer beyond 64 bits; or absent, and the
    /// record's own timestamp is not plausible.
    TimestampInvalid,
    /// Before `[events] earliest`.
    TimestampTooEarly,
    /// After 2199, or more than `[events] max_ahead` ahead of the record's own timestamp.
    TimestampInFuture,
}

/// Those that say nothing of a field.
const PLAIN: [Reason; 13] = [
    Reason::EmptyPayload,
    Reason::InvalidUtf8,
    Reason::InvalidJson,
    Reason::NotAnObject,
    Reason::TrailingData,
    Reason::TooDeep,
    Reason::PayloadTooLarge,
    Reason::DuplicateField,
    Reason::EventTypeInvalid,
    Reason::EventIdInvalid,
    Reason::TimestampInvalid,
    Reason::TimestampTooEarly,
    Reason::TimestampInFuture,
];

/// Those that name a field, up to its name.
const OF_A_FIELD: [&str; 3] = ["missing_field:", "wrong_type:", "id_out_of_range:"];

impl Reason {
    /// Whether a word is one of a verdict on a record, of whatever field.
    #[must_use]
    pub fn is_word(word: &str) -> bool {
        let names = |kind: &&str| word.strip_prefix(*kind).is_some_and(|field| !field.is_empty());
        OF_A_FIELD.iter().any(names) || PLAIN.iter().any(|reason| reason.to_string() == word)
    }

    /// All words, to be shown: `F` stands for a field.
    #[must_use]
    pub fn words() -> String {
        let plain = PLAIN.iter().map(ToString::to_string);
        let of_a_field = OF_A_FIELD.iter().map(|kind| format!("{kind}F"));
        plain.chain(of_a_field).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self {
            Reason::EmptyPayload => "empty_payload",
            Reason::InvalidUtf8 => "invalid_utf8",
            Reason::InvalidJson => "invalid_json",
            Reason::NotAnObject => "not_an_object",
            Reason::TrailingData => "trailing_data",
            Reason::TooDeep => "too_deep",
            Reason::PayloadTooLarge => "payload_too_large",
            Reason::DuplicateField => "duplicate_field",
            Reason::MissingField(field) => return write!(out, "missing_field:{}", field.name()),
            Reason::WrongType(field) => return write!(out, "wrong_type:{}", field.name()),
            Reason::IdOutOfRange(field) => return write!(out, "id_out_of_range:{}", field.name()),
            Reason::EventTypeInvalid => "event_type_invalid",
            Reason::EventIdInvalid => "event_id_invalid",
            Reason::TimestampInvalid => "timestamp_invalid",
            Reason::TimestampTooEarly => "timestamp_too_early",
            Reason::TimestampInFuture => "timestamp_in_future",
        };
        out.write_str(word)
    }
}

impl std::error::Error for Reason {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_verdicts_are_known() {
        for reason in PLAIN {
            assert!(Reason::is_word(&reason.to_string()), "{reason}");
        }
        for field in Field::ALL {
            for reason in
                [Reason::MissingField(field), Reason::WrongType(field), Reason::IdOutOfRange(field)]
            {
                assert!(Reason::is_word(&reason.to_string()), "{reason}");
            }
        }
        for word in
            ["", "timestamp_to_early", "missing_field:", "plugin_failed:a", "internal_error"]
        {
            assert!(!Reason::is_word(word), "{word}");
        }
        assert!(Reason::words().starts_with("empty_payload, invalid_utf8, "));
        assert!(Reason::words().ends_with(", id_out_of_range:F"));
    }
}
