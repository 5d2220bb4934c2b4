//! What `tally top` shows, and what keys change of it. Knows no terminal and no network; foreign
//! texts come out of here without anything that controls a terminal.

use crate::cli::output::tame;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;
use std::cmp::Ordering;

/// By what metrics are sorted: by name, or the largest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SortOrder {
    Name,
    Cost,
    Cells,
    Bytes,
    Errors,
}

/// A metric.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MetricLine {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) state: String,
    pub(super) reason: String,
    pub(super) ns_per_event: f64,
    pub(super) cells: u64,
    pub(super) bytes: u64,
    /// Events that are in none of its numbers, and answers that do not return.
    pub(super) errors: u64,
}

/// The last status, and how it is looked at.
pub(super) struct TopView {
    /// The engine, as messages name it.
    pub(super) place: String,
    status: Value,
    /// Why the last question was not answered.
    pub(super) trouble: Option<String>,
    pub(super) sort: SortOrder,
    selected: usize,
}

impl SortOrder {
    /// As it is named on the screen.
    pub(super) fn word(self) -> &'static str {
        match self {
            SortOrder::Name => "name",
            SortOrder::Cost => "ns/event",
            SortOrder::Cells => "cells",
            SortOrder::Bytes => "bytes",
            SortOrder::Errors => "errors",
        }
    }

    fn next(self) -> SortOrder {
        match self {
            SortOrder::Name => SortOrder::Cost,
            SortOrder::Cost => SortOrder::Cells,
            SortOrder::Cells => SortOrder::Bytes,
            SortOrder::Bytes => SortOrder::Errors,
            SortOrder::Errors => SortOrder::Name,
        }
    }

    fn compare(self, a: &MetricLine, b: &MetricLine) -> Ordering {
        let first = match self {
            SortOrder::Name => Ordering::Equal,
            SortOrder::Cost => b.ns_per_event.total_cmp(&a.ns_per_event),
            SortOrder::Cells => b.cells.cmp(&a.cells),
            SortOrder::Bytes => b.bytes.cmp(&a.bytes),
            SortOrder::Errors => b.errors.cmp(&a.errors),
        };
        first.then_with(|| a.name.cmp(&b.name))
    }
}

impl MetricLine {
    fn of(metric: &Value) -> MetricLine {
        let number = |key: &str| metric.get(key).and_then(Value::as_u64).unwrap_or_default();
        MetricLine {
            name: words(metric.get("name")),
            version: words(metric.get("version")),
            state: words(metric.get("state")),
            reason: words(metric.get("reason")),
            ns_per_event: metric.get("ns_per_event").and_then(Value::as_f64).unwrap_or_default(),
            cells: number("cells"),
            bytes: number("bytes"),
            errors: number("events_failed").saturating_add(number("answers_stuck")),
        }
    }
}

impl TopView {
    /// Of an engine that answered so.
    pub(super) fn new(place: String, status: Value) -> TopView {
        TopView { place, status, trouble: None, sort: SortOrder::Name, selected: 0 }
    }

    /// The engine answered.
    pub(super) fn answered(&mut self, status: Value) {
        (self.status, self.trouble) = (status, None);
    }

    /// It did not; what is shown stays.
    pub(super) fn unanswered(&mut self, why: &str) {
        self.trouble = Some(tame(why));
    }

    /// Takes a key. Returns whether the view ends.
    pub(super) fn handle(&mut self, event: &Event) -> bool {
        let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
            return false;
        };
        let last = self.list("/metrics").len().saturating_sub(1);
        match code {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Up => self.selected = self.selected.min(last).saturating_sub(1),
            KeyCode::Down => self.selected = (self.selected + 1).min(last),
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = last,
            _ => {}
        }
        false
    }

    /// The metrics, as they are sorted, and which of them is selected.
    pub(super) fn metrics(&self) -> (Vec<MetricLine>, Option<usize>) {
        let mut metrics: Vec<MetricLine> =
            self.list("/metrics").iter().map(MetricLine::of).collect();
        metrics.sort_by(|a, b| self.sort.compare(a, b));
        let selected = metrics.len().checked_sub(1).map(|last| self.selected.min(last));
        (metrics, selected)
    }

    /// A number of the status; 0 where there is none.
    pub(super) fn number(&self, pointer: &str) -> u64 {
        self.status.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
    }

    /// The same, with a fraction; `None` where there is none.
    pub(super) fn decimal(&self, pointer: &str) -> Option<f64> {
        self.status.pointer(pointer).and_then(Value::as_f64)
    }

    /// A text of the status.
    pub(super) fn text(&self, pointer: &str) -> String {
        words(self.status.pointer(pointer))
    }

    /// Whether something is so.
    pub(super) fn is(&self, pointer: &str) -> bool {
        self.status.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A list of the status.
    pub(super) fn list(&self, pointer: &str) -> &[Value] {
        self.status
            .pointer(pointer)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }
}

/// A foreign text, on one line.
pub(super) fn words(value: Option<&Value>) -> String {
    tame(value.and_then(Value::as_str).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn view() -> TopView {
        let metric = |name: &str, ns: f64, cells: u64, failed: u64| json!({"name": name, "state": "active", "ns_per_event": ns, "cells": cells, "bytes": 1, "events_failed": failed});
        let metrics =
            json!([metric("b", 1.5, 30, 0), metric("a", 1.5, 10, 0), metric("c", 9.0, 20, 4)]);
        TopView::new("http://e".into(), json!({"metrics": metrics}))
    }

    fn press(view: &mut TopView, code: KeyCode) -> bool {
        view.handle(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    fn names(view: &TopView) -> String {
        view.metrics().0.iter().map(|metric| metric.name.as_str()).collect()
    }

    #[test]
    fn metrics_are_sorted_by_what_the_key_chooses() {
        let mut view = view();
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push((view.sort.word(), names(&view)));
            press(&mut view, KeyCode::Char('s'));
        }
        let expected = [
            ("name", "abc"),
            ("ns/event", "cab"),
            ("cells", "bca"),
            ("bytes", "abc"),
            ("errors", "cab"),
            ("name", "abc"),
        ];
        assert_eq!(seen, expected.map(|(word, names)| (word, names.to_owned())));
    }

    #[test]
    fn arrows_move_the_selection_within_what_there_is() {
        let mut view = view();
        let selected = |view: &TopView| view.metrics().1;
        press(&mut view, KeyCode::Up);
        assert_eq!(selected(&view), Some(0));
        for _ in 0..5 {
            press(&mut view, KeyCode::Down);
        }
        assert_eq!(selected(&view), Some(2));
        view.answered(json!({"metrics": [{"name": "a"}]}));
        assert_eq!(selected(&view), Some(0), "what is gone is not selected");
        view.answered(json!({}));
        assert_eq!((selected(&view), press(&mut view, KeyCode::Down)), (None, false));
    }

    #[test]
    fn some_keys_end_it_and_foreign_text_does_nothing_to_the_terminal() {
        let mut view = view();
        assert!(press(&mut view, KeyCode::Char('q')) && press(&mut view, KeyCode::Esc));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(view.handle(&Event::Key(interrupt)));
        assert!(!press(&mut view, KeyCode::Char('c')) && !press(&mut view, KeyCode::Enter));
        view.unanswered("a\u{1b}[31m");
        assert!(view.trouble.as_ref().is_some_and(|trouble| !trouble.contains('\u{1b}')));
        view.answered(json!({"version": "\u{1b}]0;x"}));
        assert!(view.trouble.is_none() && !view.text("/version").contains('\u{1b}'));
    }
}
