//! `[events]`: how a record becomes an event.

use super::duration::{self, DurationFault};
use super::secret::quoted;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tally_event::time::{EVENT_TIMES, date_or_time};
use thiserror::Error;

/// The largest dedupe window, offsets. Where every record has an id, 1.1–1.5 GB a partition: a slip
/// of the finger must not take the machine's memory.
pub const MAX_DEDUPE_WINDOW: u64 = 1 << 24;

/// `[events]`: how a record becomes an event. Its hash is part of every revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// JSON pointer of each field.
    pub fields: FieldsConfig,
    /// Renames event types: `purchase = "buy"`.
    pub aliases: BTreeMap<String, String>,
    /// The event types that exist; what it does not name counts under `__other__`. Empty: any.
    pub types: Vec<String>,
    /// Where tables are keyed by type, how many types stand for themselves; the others count under
    /// `__other__`.
    pub max_types: u64,
    /// Types that stand for themselves however many there are, beside `types` and what aliases lead
    /// to.
    pub keep: Vec<String>,
    /// Fields without which a record is refused; of `user_id`, `product_id`, `event_type`.
    pub required: Vec<String>,
    /// An event before this is refused: a date or an RFC 3339 time.
    pub earliest: String,
    /// An event that is more than this ahead of its record's own timestamp is refused; `"off"`:
    /// never.
    pub max_ahead: String,
    /// Duplicates count once within so many offsets of a partition; 0 counts them as often as they
    /// come, at most [`MAX_DEDUPE_WINDOW`].
    pub dedupe_window: u64,
}

impl Default for EventsConfig {
    fn default() -> Self {
        EventsConfig {
            fields: FieldsConfig::default(),
            aliases: BTreeMap::new(),
            types: Vec::new(),
            max_types: 1_000,
            keep: Vec::new(),
            required: ["user_id", "product_id", "event_type"].map(String::from).into(),
            earliest: "1990-01-01".into(),
            max_ahead: "5m".into(),
            dedupe_window: 65_536,
        }
    }
}

/// What is wrong with a time of `[events]`: the end of a sentence that begins with its key. Trying
/// again does not help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EventTimeFault {
    /// `earliest` is not a time. The text, as it may be shown.
    #[error("is {0}, not a time; write \"1990-01-01\" or an RFC 3339 time with zone")]
    NotATime(String),
    /// `earliest` is a time that no event can have. The text, as it may be shown.
    #[error("is {0}: events must lie between the years 0000 and 2199")]
    Outside(String),
    /// `max_ahead` is not a length of time.
    #[error("is wrong: {0}, or \"off\"")]
    Ahead(DurationFault),
}

impl EventsConfig {
    /// The earliest time that an event can have, Unix milliseconds.
    ///
    /// # Errors
    /// [`EventTimeFault`].
    pub fn earliest_ms(&self) -> Result<i64, EventTimeFault> {
        let text = &self.earliest;
        let earliest = date_or_time(text).ok_or_else(|| EventTimeFault::NotATime(quoted(text)))?;
        if EVENT_TIMES.contains(&earliest) {
            Ok(earliest)
        } else {
            Err(EventTimeFault::Outside(quoted(text)))
        }
    }

    /// How far an event may be ahead of its record's own timestamp, milliseconds; `None`: as far as
    /// it likes.
    ///
    /// # Errors
    /// As [`EventsConfig::earliest_ms`].
    pub fn max_ahead_ms(&self) -> Result<Option<i64>, EventTimeFault> {
        if self.max_ahead == "off" {
            return Ok(None);
        }
        let ahead = duration::parse(&self.max_ahead).map_err(EventTimeFault::Ahead)?;
        Ok(Some(i64::try_from(ahead.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The event types that stand for themselves however many there are.
    pub fn kept_types(&self) -> impl Iterator<Item = &str> {
        self.types.iter().chain(self.aliases.values()).chain(&self.keep).map(String::as_str)
    }
}

/// `[events.fields]`: JSON pointers (RFC 6901) into the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FieldsConfig {
    /// Identity of the event.
    pub event_id: String,
    /// The user.
    pub user_id: String,
    /// The product.
    pub product_id: String,
    /// The type of interaction.
    pub event_type: String,
    /// When it happened.
    pub timestamp: String,
}

impl Default for FieldsConfig {
    fn default() -> Self {
        FieldsConfig {
            event_id: "/event_id".into(),
            user_id: "/user_id".into(),
            product_id: "/product_id".into(),
            event_type: "/event_type".into(),
            timestamp: "/timestamp".into(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_or_named() {
        let mut events = EventsConfig::default();
        assert_eq!(
            (events.earliest_ms().unwrap(), events.max_ahead_ms().unwrap()),
            (631_152_000_000, Some(300_000))
        );
        (events.earliest, events.max_ahead) = ("1970-01-01T00:00:00Z".into(), "off".into());
        assert_eq!((events.earliest_ms().unwrap(), events.max_ahead_ms().unwrap()), (0, None));
        events.earliest = "0000-01-01".into();
        assert_eq!(events.earliest_ms().unwrap(), EVENT_TIMES.start);
        for earliest in
            ["", "1990", "never", "2200-01-01", "0000-01-01T00:00:00+01:00", "1990-02-30"]
        {
            events.earliest = earliest.into();
            assert!(events.earliest_ms().is_err(), "{earliest}");
        }
        for ahead in ["", "0m", "5", "5 m", "Off", "all", "-5m"] {
            events.max_ahead = ahead.into();
            assert!(events.max_ahead_ms().is_err(), "{ahead}");
        }
    }
}
