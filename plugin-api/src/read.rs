//! What a metric can ask of its tables, and what it gets: the text that crosses the boundary while
//! answering.
//!
//! One operation serves point reads, group scans, filters, top-N and series: *aggregate the rows
//! that match, by group, and within a group by part*. JSON, so that it grows without changing the
//! ABI. The SDK's `Reader` wraps it; the host executes it. Nothing here touches state.

use crate::description::Key;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An id as events carry it. Order is API.md's "lower id": integers before text, integers by value,
/// text by bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// 0…2⁵³−1.
    Integer(u64),
    /// 1–64 bytes that are not a canonical integer of that range; event types are texts too.
    Text(String),
}

/// One aggregation over a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadRequest {
    /// Name of the table.
    pub table: String,
    /// Half-open event-time range in Unix milliseconds, already snapped to panes by the host; an
    /// absent bound is open.
    #[serde(default)]
    pub from: Option<i64>,
    /// End of the range.
    #[serde(default)]
    pub to: Option<i64>,
    /// Rows must match each of these.
    #[serde(default)]
    pub only: Vec<Only>,
    /// Key columns that form a group. Empty: one group of everything.
    #[serde(default)]
    pub group_by: Vec<Key>,
    /// Key columns by which a group (and the total) is broken down. Empty: one part.
    #[serde(default)]
    pub part_by: Vec<Key>,
    /// Which groups to return, and in which order; absent: all, by lower id.
    #[serde(default)]
    pub rank: Option<Rank>,
    /// Length of a series step in milliseconds, a multiple of a minute; absent: no series.
    #[serde(default)]
    pub step_ms: Option<i64>,
    /// Quantiles (0 to 1) of each `Quantiles` cell that are asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<f64>,
}

/// A filter on one key column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Only {
    /// The column.
    pub column: Key,
    /// Its accepted values.
    pub ids: Vec<Id>,
}

/// An order over groups and how many of them to return.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rank {
    /// Measures in order of importance, all in the same direction; ties go to the lower id.
    pub by: Vec<Measure>,
    /// Largest or smallest first.
    pub order: Order,
    /// At most this many groups.
    pub limit: usize,
}

/// Direction of a rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Largest first.
    Desc,
    /// Smallest first.
    Asc,
}

/// A number that a group has: its merged cell (of a `Distinct` cell the estimate), or for a `Sum`
/// cell the weighted sum. Groups cannot be ranked by `Quantiles` and `Latest`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Name of the cell.
    pub cell: String,
    /// Weights by the text of a key column; only for `Sum` cells.
    #[serde(default)]
    pub weights: Option<Weights>,
}

/// Weights by the text of a key column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// The column, usually `event_type`.
    pub column: Key,
    /// Weight of each named text.
    pub of: BTreeMap<String, i64>,
    /// Weight of what is not named.
    pub other: i64,
}

/// What a read returns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReadAnswer {
    /// The parts over every row that matched, ranked or not, in order of their keys.
    pub total: Vec<Part>,
    /// Number of groups that have at least one row, before `limit`.
    pub groups_total: u64,
    /// The groups, in the order asked for.
    pub groups: Vec<GroupAnswer>,
}

/// One group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupAnswer {
    /// Ids of the `group_by` columns.
    pub key: Vec<Id>,
    /// The rank's measures.
    pub measures: Vec<i128>,
    /// Parts in order of their keys.
    pub parts: Vec<Part>,
    /// Steps that have data, in order of time; empty without `step_ms`.
    pub series: Vec<Step>,
}

/// Cells of one part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Ids of the `part_by` columns.
    pub key: Vec<Id>,
    /// Values in the order of the table's cells. Of `Distinct` the estimate, of `Quantiles` the
    /// number of values, of `Latest` the time in Unix milliseconds (0 where there is none).
    pub cells: Vec<i128>,
    /// For each `Quantiles` cell, in their order, the quantiles asked for; none where there are no
    /// values. Of a decimal times its scale, as in `cells`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<Vec<f64>>,
    /// For each `Latest` cell, in their order, its value; none where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub latest: Vec<Option<Scalar>>,
}

/// A value of some kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scalar {
    /// A whole number: an id, an integer, a scaled decimal, a time in Unix milliseconds, a bool as
    /// 0 or 1.
    Integer(i128),
    /// A float.
    Float(f64),
    /// A text.
    Text(String),
}

/// One step of a series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// UTC-aligned start in Unix milliseconds.
    pub start: i64,
    /// Parts in order of their keys.
    pub parts: Vec<Part>,
}
