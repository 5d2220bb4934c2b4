//! What `[events]` says of every event, whatever format its record has: required fields, times,
//! event types.
//!
//! Immutable once made. Checks the configuration; judges no event: `verdict` does.

use super::error::EventsError;
use super::reason::Field;
use std::collections::{BTreeMap, BTreeSet};
use tally_config::{EventsConfig, MAX_DEDUPE_WINDOW, is_event_type};
use tally_event::time::EVENT_TIMES;

/// The checked rules.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// For each field of [`Field::ALL`], whether a record without it is refused.
    required: [bool; 5],
    /// The earliest time that an event can have, Unix milliseconds.
    pub(super) earliest: i64,
    /// How far an event may be ahead of its record's own timestamp, milliseconds; `None`: without
    /// limit.
    pub(super) max_ahead: Option<i64>,
    /// Event types renamed before they are checked.
    pub(super) aliases: BTreeMap<String, String>,
    /// The event types that exist; empty: any.
    pub(super) types: BTreeSet<String>,
}

impl Rules {
    /// # Errors
    /// [`EventsError`]: a setting cannot be used.
    pub(super) fn new(events: &EventsConfig) -> Result<Rules, EventsError> {
        if events.dedupe_window > MAX_DEDUPE_WINDOW {
            return Err(EventsError::DedupeWindow(events.dedupe_window));
        }
        Ok(Rules {
            required: required(&events.required)?,
            earliest: events.earliest_ms().map_err(EventsError::Earliest)?,
            max_ahead: events.max_ahead_ms().map_err(EventsError::MaxAhead)?,
            aliases: aliases(&events.aliases)?,
            types: types(&events.types)?,
        })
    }

    /// Whether a record without this field is refused.
    #[inline(always)]
    pub(super) fn requires(&self, field: Field) -> bool {
        self.required[field as usize]
    }

    /// Whether a record's own timestamp can be the time of an event: that of a wrong clock, or one
    /// in seconds, mostly cannot.
    #[inline(always)]
    pub(super) fn is_plausible(&self, record_ms: i64) -> bool {
        (self.earliest..EVENT_TIMES.end).contains(&record_ms)
    }
}

fn required(names: &[String]) -> Result<[bool; 5], EventsError> {
    let mut required = [false; 5];
    for name in names {
        match name.as_str() {
            "user_id" => required[Field::UserId as usize] = true,
            "product_id" => required[Field::ProductId as usize] = true,
            "event_type" => required[Field::EventType as usize] = true,
            _ => return Err(EventsError::Required(name.clone())),
        }
    }
    Ok(required)
}

fn aliases(aliases: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, EventsError> {
    match aliases.iter().find(|(_, to)| !is_event_type(to)) {
        Some((from, to)) => Err(EventsError::Alias { from: from.clone(), to: to.clone() }),
        None => Ok(aliases.clone()),
    }
}

fn types(types: &[String]) -> Result<BTreeSet<String>, EventsError> {
    match types.iter().find(|name| !is_event_type(name)) {
        Some(name) => Err(EventsError::Type(name.clone())),
        None => Ok(types.iter().cloned().collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_event::OTHER;

    fn fault(change: impl FnOnce(&mut EventsConfig)) -> Option<String> {
        let mut events = EventsConfig::default();
        change(&mut events);
        Rules::new(&events).err().map(|fault| fault.to_string())
    }

    #[test]
    fn a_wrong_rule_is_named() {
        assert_eq!(fault(|_| {}), None);
        assert!(
            fault(|e| e.required = vec!["event_id".into()]).is_some_and(|f| f.contains("event_id"))
        );
        assert!(fault(|e| e.types = vec!["View".into()]).is_some_and(|f| f.contains("View")));
        assert!(
            fault(|e| drop(e.aliases.insert("x".into(), OTHER.into())))
                .is_some_and(|f| f.contains(OTHER))
        );
        assert!(fault(|e| e.dedupe_window = MAX_DEDUPE_WINDOW).is_none());
        assert!(
            fault(|e| e.dedupe_window = MAX_DEDUPE_WINDOW + 1)
                .is_some_and(|f| f.contains("dedupe_window") && f.contains("16777216"))
        );
    }
}
