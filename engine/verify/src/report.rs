//! What an audit found, as lines for people and as JSON.

use super::compare::{Compared, Difference, NAMED};
use super::panes::Pane;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What was read of the log.
#[derive(Default)]
pub(super) struct Read {
    /// Per partition the offset after the last record counted again.
    pub(super) position: BTreeMap<u32, u64>,
    pub(super) records: u64,
    /// Events that count.
    pub(super) events: u64,
    pub(super) duplicates: u64,
    /// Records that are no events.
    pub(super) refused: u64,
}

/// What came of a metric.
#[derive(Default)]
pub(super) struct Audited {
    pub(super) metric: String,
    /// Whether it was counted from its beginning.
    pub(super) whole: bool,
    /// Per partition what was counted again: from, to.
    pub(super) ranges: BTreeMap<u32, (u64, u64)>,
    /// Over all its tables.
    pub(super) compared: Compared,
    /// Events of what was counted again that it says are in none of its numbers, for its code
    /// failed on them.
    pub(super) failed: u64,
    /// Sentences.
    pub(super) not_checked: Vec<String>,
}

/// What came of it all.
pub struct Outcome {
    read: Read,
    metrics: Vec<Audited>,
}

impl Audited {
    /// Adds a table.
    pub(super) fn add(&mut self, table: Compared) {
        let all = &mut self.compared;
        all.in_log += table.in_log;
        all.counted += table.counted;
        all.missing += table.missing;
        all.double += table.double;
        all.wrong += table.wrong;
        all.wrong_in_panes += table.wrong_in_panes;
        all.uncertain += table.uncertain;
        all.left_out += table.left_out;
        all.plugins.extend(table.plugins);
        all.differences.extend(table.differences);
    }

    /// All tables are in.
    pub(super) fn close(&mut self) {
        self.compared.differences.sort_by_key(|difference| difference.pane.is_some());
        self.compared.differences.truncate(NAMED);
        if !self.compared.plugins.is_empty() {
            let cells = self.compared.plugins.join(", ");
            self.not_checked.push(format!(
                "cells that are not recounted, because only the plugin defines their content: \
                 {cells}"
            ));
        }
        if self.failed > 0 {
            self.not_checked.push(format!(
                "which {} events its code failed on: {} missing updates are assumed to be theirs, \
                 and rows that lack some are compared by number only",
                thousands(self.failed),
                thousands(self.compared.left_out)
            ));
        }
        if self.compared.uncertain > 0 {
            self.not_checked.push(format!(
                "whether {} updates repeat an event that has left the log: counted and not counted \
                 are both accepted",
                thousands(self.compared.uncertain)
            ));
        }
    }

    fn is_equal(&self) -> bool {
        let Compared { missing, double, wrong, wrong_in_panes, .. } = self.compared;
        (missing, double, wrong, wrong_in_panes) == (0, 0, 0, 0)
    }

    fn line(&self) -> String {
        let Compared { in_log, counted, missing, double, wrong, wrong_in_panes, .. } =
            self.compared;
        let mut line = format!(
            "{}  {} in log · {} counted · {} missing · {} double",
            self.metric,
            thousands(in_log),
            signed(counted),
            signed(missing),
            signed(double)
        );
        if self.failed > 0 {
            line.push_str(&format!(" · {} events failed", thousands(self.failed)));
        }
        if wrong > 0 {
            line.push_str(&format!(" · {} other cells wrong", thousands(wrong)));
        }
        if wrong_in_panes > 0 {
            line.push_str(&format!(" · {} cells of panes wrong", thousands(wrong_in_panes)));
        }
        line
    }

    fn json(&self) -> Value {
        let Compared {
            in_log,
            counted,
            missing,
            double,
            wrong,
            wrong_in_panes,
            ref differences,
            ..
        } = self.compared;
        let ranges: Map<String, Value> = self
            .ranges
            .iter()
            .map(|(partition, (from, to))| (partition.to_string(), json!([from, to])))
            .collect();
        json!({"metric": self.metric, "equal": self.is_equal(), "in_log": in_log, "counted": integer(counted),
            "missing": integer(missing), "double": integer(double), "other_cells_wrong": wrong, "pane_cells_wrong": wrong_in_panes, "whole": self.whole,
            "events_failed": self.failed, "left_out": self.compared.left_out,
            "recounted": ranges, "differences": differences.iter().map(Difference::json).collect::<Vec<_>>(),
            "not_checked": self.not_checked})
    }
}

impl Difference {
    fn line(&self) -> String {
        let key: Vec<String> =
            self.key.iter().map(|(column, id)| format!("{column}={id}")).collect();
        let value = |value: &Option<Value>| match value {
            None => "nothing".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        format!(
            "  {} {}{} · {}: expected {}, found {}",
            self.table,
            key.join(" "),
            self.pane.map_or_else(String::new, |pane| format!(" · {}", pane.shown())),
            self.cell,
            value(&self.expected),
            value(&self.found)
        )
    }

    fn json(&self) -> Value {
        let key: Map<String, Value> =
            self.key.iter().map(|(column, id)| (column.clone(), id.clone())).collect();
        let value = |value: &Option<Value>| value.clone().unwrap_or(Value::Null);
        json!({"table": self.table, "key": key, "pane": self.pane.map(Pane::shown), "cell": self.cell,
            "expected": value(&self.expected), "found": value(&self.found)})
    }
}

impl Outcome {
    pub(super) fn new(read: Read, metrics: Vec<Audited>) -> Outcome {
        Outcome { read, metrics }
    }

    /// How many metrics are not what the log says.
    pub fn unequal(&self) -> usize {
        self.metrics.iter().filter(|metric| !metric.is_equal()).count()
    }

    /// For people: a line for each metric, below it what differs and what was not checked.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for metric in &self.metrics {
            lines.push(metric.line());
            lines.extend(metric.compared.differences.iter().map(Difference::line));
            lines.extend(metric.not_checked.iter().map(|what| format!("  not checked: {}", what)));
        }
        lines
    }

    /// What was read, in a line.
    pub fn read(&self) -> String {
        let Read { records, events, duplicates, refused, .. } = &self.read;
        format!(
            "{} records read: {} events, {} duplicates, {} refused; up to {}",
            thousands(*records),
            thousands(*events),
            thousands(*duplicates),
            thousands(*refused),
            self.position()
        )
    }

    fn position(&self) -> String {
        let places: Vec<String> =
            self.read.position.iter().map(|(p, next)| format!("{p}:{next}")).collect();
        if places.is_empty() { "the beginning".into() } else { places.join(",") }
    }

    /// All of it.
    pub fn json(&self) -> Value {
        let Read { records, events, duplicates, refused, .. } = &self.read;
        let log = json!({"records": records, "events": events, "duplicates": duplicates, "refused": refused});
        let metrics: Vec<Value> = self.metrics.iter().map(Audited::json).collect();
        json!({"equal": self.unequal() == 0, "position": self.position(), "log": log, "metrics": metrics})
    }
}

/// Digits in groups of three.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn signed(number: i128) -> String {
    let minus = if number < 0 { "-" } else { "" };
    format!("{minus}{}", thousands(u64::try_from(number.unsigned_abs()).unwrap_or(u64::MAX)))
}

/// A number where JSON has room for it, else a text.
fn integer(number: i128) -> Value {
    i64::try_from(number).map_or_else(|_| number.to_string().into(), Value::from)
}

#[cfg(test)]
mod tests {
    use super::super::panes::Length;
    use super::*;

    #[test]
    fn people_and_programs_are_told_the_same() {
        let difference = Difference {
            table: "t".into(),
            key: vec![
                ("user_id".into(), json!("a\u{1b}[31m")),
                ("event_type".into(), json!("view")),
            ],
            pane: None,
            cell: "n".into(),
            expected: Some(json!(5)),
            found: None,
        };
        let in_pane = Difference { pane: Some(Pane(Length::Minute, 60_000)), ..difference.clone() };
        let table = Compared {
            in_log: 1_234,
            counted: 1_229,
            missing: 5,
            wrong: 1,
            wrong_in_panes: 2,
            differences: [vec![in_pane; NAMED], vec![difference]].concat(),
            plugins: vec!["t.paid".into()],
            uncertain: 3,
            ..Compared::default()
        };
        let mut audited = Audited {
            metric: "m".into(),
            whole: true,
            ranges: [(0, (7, 9))].into(),
            ..Audited::default()
        };
        audited.add(table);
        audited.close();
        let fine = Audited { metric: "fine".into(), ..Audited::default() };
        let outcome = Outcome::new(
            Read { position: [(0, 9)].into(), ..Read::default() },
            vec![audited, fine],
        );
        let lines = outcome.lines();
        assert_eq!(
            lines[0],
            "m  1,234 in log · 1,229 counted · 5 missing · 0 double · 1 other cells wrong · 2 cells of panes wrong"
        );
        assert_eq!(
            lines[1],
            "  t user_id=\"a\\u001b[31m\" event_type=\"view\" · n: expected 5, found nothing"
        );
        assert!(
            lines[2].contains("\"view\" · minute 1970-01-01T00:01:00Z · n: expected 5"),
            "{}",
            lines[2]
        );
        assert_eq!(lines.len(), 1 + NAMED + 2 + 1);
        assert!(
            lines[NAMED + 1].contains("not checked") && lines[NAMED + 1].contains("t.paid"),
            "{lines:?}"
        );
        let json = outcome.json();
        assert_eq!(
            (&json["equal"], &json["position"], outcome.unequal()),
            (&json!(false), &json!("0:9"), 1)
        );
        assert_eq!(json["metrics"][0]["missing"], 5);
        assert_eq!(json["metrics"][0]["recounted"], json!({"0": [7, 9]}));
        assert_eq!(json["metrics"][0]["pane_cells_wrong"], 2);
        assert_eq!(json["metrics"][0]["differences"][0]["found"], Value::Null);
        assert_eq!(json["metrics"][0]["differences"][0]["pane"], Value::Null);
        assert_eq!(json["metrics"][0]["differences"][1]["pane"], "minute 1970-01-01T00:01:00Z");
        assert_eq!(json["metrics"][1]["equal"], true);
    }
}
