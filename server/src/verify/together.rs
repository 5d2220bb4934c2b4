//! Keys that the engine counts together because a table is full (`overflow = "other"`), as they are counted again.
//!
//! Which keys these are is not worked out anew: those that were found stand for themselves, and whatever the log has beside them
//! must add up to the rows of `__other__`. A key that is missing by mistake makes these rows wrong, so it is not overlooked.

use super::table::{Column, Table};
use serde_json::{Value, json};

const OTHER: &str = "__other__";

impl Table {
    /// Whether others count under a key: no event has such an id.
    pub(super) fn is_together(&self, key: &[Value]) -> bool {
        let mut ids =
            key.iter().zip(&self.description.key).filter(|(_, column)| **column != Column::EventType).peekable();
        ids.peek().is_some() && ids.all(|(id, _)| id == OTHER)
    }

    /// What a key of an event counts under, as JSON.
    pub(super) fn counts_under(&self, mut key: Vec<Value>) -> String {
        let is_found = |key: &str| self.rows.get(key).is_some_and(|row| row.found.is_some());
        let text = json!(key).to_string();
        if !self.together || is_found(&text) {
            return text;
        }
        let ids = key.iter_mut().zip(&self.description.key).filter(|(_, column)| **column != Column::EventType);
        ids.for_each(|(id, _)| *id = OTHER.into());
        let text = json!(key).to_string();
        if is_found(&text) {
            return text;
        }
        key.fill(OTHER.into());
        json!(key).to_string()
    }

    /// Whether rows that are counted on have begun to count together since they were taken.
    pub(super) fn was_narrowed(&self) -> bool {
        self.together && self.rows.values().any(|row| row.expected.is_some() && row.found.is_none())
    }
}
