//! The words in which a metric describes itself: builders for the types of [`crate::description`].
//!
//! They check nothing: the host does, with a sentence that names what is wrong.

use crate::description::{
    Cell, Description, Example, From, Key, Merge, Pane, Property, PropertyType, Table, Tier,
};
use serde_json::Value;

/// The key column `user_id`.
pub const USER_ID: Key = Key::UserId;
/// The key column `product_id`.
pub const PRODUCT_ID: Key = Key::ProductId;
/// The key column `event_type`.
pub const EVENT_TYPE: Key = Key::EventType;

/// One for each event; with [`sum`] a count.
pub const ONE: From = From::One;
/// The event's time, Unix milliseconds.
pub const EVENT_TIME: From = From::EventTime;
/// What `update` hands over.
pub const UPDATE: From = From::Update;

/// Panes of a minute.
pub const MINUTES: Pane = Pane::Minute;
/// Panes of an hour.
pub const HOURS: Pane = Pane::Hour;
/// Panes of a day.
pub const DAYS: Pane = Pane::Day;

/// So many hours, in milliseconds.
#[must_use]
pub const fn hours(n: i64) -> i64 {
    n * 3_600_000
}

/// So many days, in milliseconds.
#[must_use]
pub const fn days(n: i64) -> i64 {
    n * 86_400_000
}

/// A declared property, as key column or as what feeds a cell.
#[must_use]
pub fn property(name: &str) -> Key {
    Key::Property(name.into())
}

/// A key column that `update` hands over, as key column or as what feeds a cell.
#[must_use]
pub fn computed(name: &str) -> Key {
    Key::Computed(name.into())
}

impl std::convert::From<Key> for From {
    fn from(column: Key) -> From {
        From::Column(column)
    }
}

/// The exact sum of the values, in 128 bits.
#[must_use]
pub fn sum(of: impl Into<From>) -> (Merge, From) {
    (Merge::Sum, of.into())
}

/// The smallest value.
#[must_use]
pub fn min(of: impl Into<From>) -> (Merge, From) {
    (Merge::Min, of.into())
}

/// The largest value.
#[must_use]
pub fn max(of: impl Into<From>) -> (Merge, From) {
    (Merge::Max, of.into())
}

/// The number of different values: `distinct(USER_ID)`, `distinct(property("session_id"))`.
#[must_use]
pub fn distinct(of: impl Into<From>) -> (Merge, From) {
    (Merge::Distinct, of.into())
}

/// How the values are spread: `quantiles(property("price"))`.
#[must_use]
pub fn quantiles(of: impl Into<From>) -> (Merge, From) {
    (Merge::Quantiles, of.into())
}

/// The value of the latest event.
#[must_use]
pub fn latest(of: impl Into<From>) -> (Merge, From) {
    (Merge::Latest, of.into())
}

/// A table: one row for each key that occurs. Without [`Table::key`] it has one row.
#[must_use]
pub fn table(name: &str) -> Table {
    Table { name: name.into(), key: vec![], group: 0, only: vec![], cells: vec![], tiers: vec![] }
}

impl Pane {
    /// Panes of this length are kept for so many milliseconds, back from the largest event time
    /// counted.
    #[must_use]
    pub const fn keep(self, keep_ms: i64) -> Tier {
        Tier { pane: self, keep_ms: Some(keep_ms) }
    }

    /// Panes of this length are kept for ever.
    #[must_use]
    pub const fn keep_all(self) -> Tier {
        Tier { pane: self, keep_ms: None }
    }
}

impl Table {
    /// The columns that form the key. An event that lacks one of them does not count in this table.
    #[must_use]
    pub fn key(mut self, columns: impl IntoIterator<Item = Key>) -> Self {
        self.key = columns.into_iter().collect();
        self
    }

    /// The first `columns` of the key are often asked for together (all products of a user): they
    /// are kept together.
    #[must_use]
    pub fn group(mut self, columns: usize) -> Self {
        self.group = columns;
        self
    }

    /// Only events of these types count; without it all do.
    #[must_use]
    pub fn only<'t>(mut self, types: impl IntoIterator<Item = &'t str>) -> Self {
        self.only = types.into_iter().map(String::from).collect();
        self
    }

    /// A value of each row: `sum(ONE)`, `min(EVENT_TIME)`, `sum(UPDATE)` …
    #[must_use]
    pub fn cell(mut self, name: &str, (merge, from): (Merge, From)) -> Self {
        self.cells.push(Cell { name: name.into(), merge, from });
        self
    }

    /// How long which resolution is kept, finest first. Without it the table has totals only, and
    /// no time axis.
    #[must_use]
    pub fn tiers(mut self, tiers: impl IntoIterator<Item = Tier>) -> Self {
        self.tiers = tiers.into_iter().collect();
        self
    }
}

impl Description {
    /// What the metric tells, in one line.
    #[must_use]
    pub fn new(summary: &str) -> Self {
        Description {
            summary: summary.into(),
            tables: vec![],
            properties: vec![],
            computed: vec![],
            time: false,
            params_schema: Value::Null,
            result_schema: Value::Null,
            examples: vec![],
        }
    }

    /// A table that the host is to keep.
    #[must_use]
    pub fn table(mut self, table: Table) -> Self {
        self.tables.push(table);
        self
    }

    /// A property of events that tables or `update` read: what the metric calls it, where it stands
    /// (a JSON pointer), and what it is read as.
    #[must_use]
    pub fn property(mut self, name: &str, pointer: &str, kind: PropertyType) -> Self {
        self.properties.push(Property { name: name.into(), pointer: pointer.into(), kind });
        self
    }

    /// A key column that `update` hands over with [`Deltas::set`](crate::batch::Deltas::set).
    #[must_use]
    pub fn computed(mut self, name: &str) -> Self {
        self.computed.push(name.into());
        self
    }

    /// The metric has a time axis: it can be asked with `window`, `from`, `to`, `bucket` and
    /// `event_types`, which reach `answer` as [`Request`](crate::Request) fields.
    #[must_use]
    pub fn time(mut self) -> Self {
        self.time = true;
        self
    }

    /// Params that work, and what they show.
    #[must_use]
    pub fn example(mut self, params: Value, note: &str) -> Self {
        self.examples.push(Example { params, note: note.into() });
        self
    }
}
