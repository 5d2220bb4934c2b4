//! Describes a metric as `GET /api/metrics` shows it.

use super::envelope;
use super::redact_paths::PathRedactor;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;
use tally_engine::engine::{Beside, Cost, MetricInfo, MetricState, Rejected};
use tally_engine::time::to_text;
use tally_plugin::description::{Description, Example, From, Key, Pane, Tier};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// A metric; keys in the contract's order.
#[derive(Serialize)]
pub(crate) struct Descriptor<'a> {
    name: &'a str,
    version: &'a str,
    summary: &'a str,
    plugin: &'a str,
    state: &'static str,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// Events that are in none of its numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    events_failed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    newer: Option<Other<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Other<'a>>,
    params_schema: &'a Value,
    result_schema: &'a Value,
    config: &'a Value,
    examples: &'a [Example],
    reads: Vec<String>,
    time: bool,
    history: History,
    cost: CostReply,
    tiers: Vec<TierText>,
}

/// A revision that is counted beside the one that answers.
#[derive(Serialize)]
struct Other<'a> {
    revision: &'a str,
    version: &'a str,
    state: &'static str,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events_failed: Option<u64>,
    /// Why it does not replace the other one by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<&'a str>,
    /// Until when it receives events.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

/// How far a metric has counted its history.
#[derive(Serialize)]
pub(super) struct Progress {
    done: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta_s: Option<u64>,
}

#[derive(Serialize)]
struct History {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
}

#[derive(Serialize)]
struct CostReply {
    ns_per_event: f64,
    cells: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<u64>,
}

impl std::convert::From<Cost> for CostReply {
    fn from(cost: Cost) -> CostReply {
        let Cost { ns_per_event, cells, bytes, unreadable } = cost;
        CostReply { ns_per_event, cells, bytes, unreadable }
    }
}

#[derive(Serialize)]
struct TierText {
    pane: Pane,
    keep: String,
}

/// A refused file.
#[derive(Serialize)]
pub(crate) struct RejectedText {
    file: String,
    reason: String,
    since: String,
}

impl<'a> Descriptor<'a> {
    pub(crate) fn of(info: &'a MetricInfo) -> Descriptor<'a> {
        let description = &*info.description;
        let (state, progress, reason) = describe_state(&info.state);
        let reason = reason.or(info.notice.as_deref());
        Descriptor {
            name: &info.name,
            version: &info.version,
            summary: &description.summary,
            plugin: &info.plugin,
            state,
            since: to_text(info.since),
            progress,
            reason,
            events_failed: nonzero(info.failed),
            newer: info.newer.as_ref().map(Other::of),
            before: info.before.as_ref().map(Other::of),
            params_schema: &description.params_schema,
            result_schema: &description.result_schema,
            config: &info.config,
            examples: &description.examples,
            reads: read_fields(description),
            time: description.time,
            history: History {
                state: envelope::history_state(&info.history),
                from: info.history.from.map(to_text),
            },
            cost: info.cost.into(),
            tiers: info
                .tiers
                .iter()
                .map(|tier| TierText { pane: tier.pane, keep: retention_text(tier) })
                .collect(),
        }
    }
}

/// The word for a state, with its progress and its reason.
pub(super) fn describe_state(
    state: &MetricState,
) -> (&'static str, Option<Progress>, Option<&str>) {
    match state {
        MetricState::Active => ("active", None, None),
        MetricState::Retired => ("retired", None, None),
        MetricState::Backfilling { done, eta_s } => {
            ("backfilling", Some(Progress { done: *done, eta_s: *eta_s }), None)
        }
        MetricState::Quarantined(reason) => ("quarantined", None, Some(reason.as_str())),
    }
}

pub(super) fn nonzero(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

impl<'a> Other<'a> {
    fn of(beside: &'a Beside) -> Other<'a> {
        let (state, progress, reason) = describe_state(&beside.state);
        Other {
            revision: &beside.id,
            version: &beside.version,
            state,
            since: to_text(beside.since),
            progress,
            reason,
            events_failed: nonzero(beside.failed),
            held: beside.held.as_deref(),
            until: beside.until.map(to_text),
        }
    }
}

impl RejectedText {
    /// The folder of a file is not shown.
    pub(crate) fn of(rejected: Rejected, redactor: &PathRedactor) -> RejectedText {
        let Rejected { file, reason, since } = rejected;
        let name = Path::new(&file)
            .file_name()
            .map_or_else(|| file.clone(), |name| name.to_string_lossy().into_owned());
        RejectedText {
            file: name,
            reason: redactor.redact(&reason).into_owned(),
            since: to_text(since),
        }
    }
}

/// The key columns of the tables, in the order of an event's fields. `time` says whether there are
/// panes.
fn read_fields(description: &Description) -> Vec<String> {
    let tables = &description.tables;
    let feeds = |key: &Key| {
        let mut cells = tables.iter().flat_map(|table| &table.cells);
        cells.any(|cell| matches!(&cell.from, From::Column(column) if column == key))
    };
    let keyed = |key| tables.iter().any(|table| table.key.contains(&key)) || feeds(&key);
    let filtered = tables.iter().any(|table| !table.only.is_empty());
    let timed =
        tables.iter().flat_map(|table| &table.cells).any(|cell| cell.from == From::EventTime);
    let columns = [
        ("user_id", keyed(Key::UserId)),
        ("product_id", keyed(Key::ProductId)),
        ("event_type", keyed(Key::EventType) || filtered),
        ("timestamp", timed),
    ];
    let fields = columns.into_iter().filter(|(_, read)| *read).map(|(name, _)| name.to_string());
    fields.chain(description.properties.iter().map(|property| property.pointer.clone())).collect()
}

/// `2h`, `48h`, `90d`, `all`: whole days beyond two are written as days.
fn retention_text(tier: &Tier) -> String {
    match tier.keep_ms {
        None => "all".into(),
        Some(ms) if ms % DAY == 0 && ms > 2 * DAY => format!("{}d", ms / DAY),
        Some(ms) if ms % HOUR == 0 => format!("{}h", ms / HOUR),
        Some(ms) => format!("{}m", ms / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_written_as_it_is_configured() {
        let text = |keep_ms| retention_text(&Tier { pane: Pane::Minute, keep_ms });
        assert_eq!(text(None), "all");
        assert_eq!(text(Some(2 * HOUR)), "2h");
        assert_eq!(text(Some(48 * HOUR)), "48h");
        assert_eq!(text(Some(90 * DAY)), "90d");
        assert_eq!(text(Some(90 * 60_000)), "90m");
    }
}
