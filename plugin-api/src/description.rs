//! What a metric says of itself: the tables it keeps, what it can be asked, what it answers.
//!
//! These types cross the plugin boundary as JSON, so they grow without changing the ABI: a field
//! added later is optional, an enum grows by a variant that an older host refuses with a sentence.
//! Nothing here computes anything.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a plugin file says before it is given a configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AboutText {
    /// Name of the metric under which a file without a section answers: `^[a-z][a-z0-9_]{0,63}$`.
    pub name: String,
    /// Version of the code, as in the plugin's `Cargo.toml`.
    pub version: String,
    /// The author's number for the *meaning* of the stored cells: raised when old state must not be
    /// continued.
    pub revision: u32,
    /// JSON Schema of `[metrics.NAME.config]`. Texts that name columns may say so, `"x-tally-column":
    /// {"names": ["user_id"], "takes": ["number"], "read_as": "text"}`: forms are made of it.
    pub config_schema: Value,
}

/// What a metric is, for one configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// One line for people.
    pub summary: String,
    /// The state that the host keeps for this metric.
    pub tables: Vec<Table>,
    /// Further properties of events that tables or `update` read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
    /// Names of the key columns that `update` hands over, in the order in which it does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub computed: Vec<String>,
    /// Whether the metric has a time axis: the host then adds the time params of API.md.
    pub time: bool,
    /// JSON Schema of the metric's own params (an object schema, without the time params).
    pub params_schema: Value,
    /// JSON Schema of the result. Properties that hold ids carry `"x-tally-id": "user" |
    /// "product"`; any property may carry a hint on how it is shown, `"x-tally-view": {"as":
    /// "figure" | "bars" | "table" | "series" | "hidden", "unit": "EUR", "title": "Revenue"}`.
    pub result_schema: Value,
    /// Params that work, with a note each.
    pub examples: Vec<Example>,
}

/// Params that work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// An object valid under the params schema.
    pub params: Value,
    /// What it shows.
    pub note: String,
}

/// A set of keyed cells that the host keeps, merges, rolls up and expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Unique within the metric, `^[a-z][a-z0-9_]{0,63}$`.
    pub name: String,
    /// Columns that form the key, in order. May be empty: one row.
    pub key: Vec<Key>,
    /// How many leading key columns form the group, which can be scanned on its own. 0 means the
    /// whole key.
    #[serde(default)]
    pub group: usize,
    /// Event types that count; empty means all.
    #[serde(default)]
    pub only: Vec<String>,
    /// The cells of each row, at least one.
    pub cells: Vec<Cell>,
    /// How long which resolution is kept, finest first. Empty means totals only.
    #[serde(default)]
    pub tiers: Vec<Tier>,
}

/// A property of events beside the five fields. An event that lacks it, or has something else
/// there, has a null: it is counted all the same. Of a key that stands twice in an object the last
/// counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Property {
    /// What the metric calls it; unique within the metric, `^[a-z][a-z0-9_]{0,63}$`.
    pub name: String,
    /// Where it stands in the record: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What it is read as.
    #[serde(rename = "type")]
    pub kind: PropertyType,
}

/// What a property is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PropertyType {
    /// A JSON string of at most 255 bytes.
    Text,
    /// A number without a fraction (`3`, `3.0`, `3e2`) that fits 64 bits.
    Integer,
    /// A number, as the nearest float. One that is too large for a float is null.
    Float,
    /// A number, or a string that is written like one, exactly: its value times 10 to this many
    /// digits (0 to 18), as a whole number of magnitude below 10²⁸. Further digits are rounded,
    /// halves away from zero.
    Decimal(u8),
    /// `true` or `false`.
    Bool,
    /// RFC 3339, or an integer of Unix milliseconds.
    Time,
}

/// A column that can be part of a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// The event's `user_id`.
    UserId,
    /// The event's `product_id`.
    ProductId,
    /// The event's `event_type`.
    EventType,
    /// A declared property that is a text, an integer or a bool. Integers below 0 or from 2⁵³ on,
    /// and bools, are the text that JSON writes.
    Property(String),
    /// A key column that `update` hands over.
    Computed(String),
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Unique within the table.
    pub name: String,
    /// How two values become one.
    pub merge: Merge,
    /// Where the values come from.
    pub from: From,
}

/// How two values of a cell become one. Each is associative and commutative, hence any split, order
/// and replay of the log gives the same state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// Exact sum, in 128 bits.
    Sum,
    /// The smaller value.
    Min,
    /// The larger value.
    Max,
    /// The number of different values: exact for small sets, within 2 % in 95 % of all cases
    /// beyond.
    Distinct,
    /// How the values are spread: any quantile within 1 %.
    Quantiles,
    /// The value of the latest event; of equal times the one with the larger bytes.
    Latest,
}

impl Merge {
    /// Whether a cell holds a sketch rather than a number.
    #[must_use]
    pub const fn is_sketch(self) -> bool {
        matches!(self, Merge::Distinct | Merge::Quantiles | Merge::Latest)
    }
}

/// Where a cell's values come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// The number 1 for each event: fed by the host, with `Sum` a count.
    One,
    /// The event's time in Unix milliseconds: fed by the host.
    EventTime,
    /// What the plugin's `update` hands over.
    Update,
    /// A column of the event: fed by the host. Where it is null, nothing is added. `Sum`, `Min`,
    /// `Max` and `Quantiles` take numbers only, and no sum takes floats, which do not add up alike
    /// in every order.
    Column(Key),
}

/// How long one resolution is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tier {
    /// Resolution.
    pub pane: Pane,
    /// Milliseconds, measured against the largest event time counted; absent means for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_ms: Option<i64>,
}

/// A resolution of the time axis. Panes are UTC-aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Pane {
    /// One minute.
    #[serde(rename = "1m")]
    Minute,
    /// One hour.
    #[serde(rename = "1h")]
    Hour,
    /// One day.
    #[serde(rename = "1d")]
    Day,
}

impl Pane {
    /// Length in milliseconds.
    #[must_use]
    pub const fn millis(self) -> i64 {
        match self {
            Pane::Minute => 60_000,
            Pane::Hour => 3_600_000,
            Pane::Day => 86_400_000,
        }
    }
}
