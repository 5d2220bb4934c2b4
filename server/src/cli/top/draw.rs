//! Makes a frame of what `tally top` shows: a function of the view alone. Without colours, so that
//! it reads the same on every terminal; what is wrong is bold.

use super::view::{MetricLine, TopView, words};
use crate::cli::output::thousands;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table, TableState};
use serde_json::Value;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

const SELECTED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// Widest column of names.
const WIDEST: usize = 40;

/// Draws the view.
pub(super) fn draw(frame: &mut Frame<'_>, view: &TopView) {
    let head = head(view);
    let height = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let [top, middle, detail, bottom] = Layout::vertical([
        Constraint::Length(height),
        Constraint::Min(2),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let (metrics, selected) = view.metrics();
    frame.render_widget(Paragraph::new(head), top);
    let mut state = TableState::new().with_selected(selected);
    frame.render_stateful_widget(table(&metrics), middle, &mut state);
    let chosen = selected.and_then(|selected| metrics.get(selected));
    frame.render_widget(Paragraph::new(chosen.map(describe).unwrap_or_default()), detail);
    let keys = format!("q quit   s sort: {}   ↑↓ select", view.sort.word());
    frame.render_widget(Paragraph::new(keys), bottom);
}

/// The lines above the table; the last one is empty.
fn head(view: &TopView) -> Vec<Line<'static>> {
    let ready = if view.is("/ready") { "ready" } else { "NOT READY" };
    let (version, uptime) = (view.text("/version"), span(view.number("/uptime_s")));
    let mut lines =
        vec![Line::from(format!("tally {version} at {}   up {uptime}   {ready}", view.place))];
    if let Some(trouble) = &view.trouble {
        let shown = format!("{trouble}; shown is {}", view.text("/as_of"));
        lines.push(Line::styled(shown, BOLD));
    }
    lines.push(Line::from(counting(view)));
    lines.push(Line::from(memory(view)));
    for line in view.list("/readiness") {
        if line.get("ok").and_then(Value::as_bool) == Some(false) {
            lines.extend(failing(line));
        }
    }
    lines.extend(limits(view).map(Line::from));
    lines.push(Line::default());
    lines
}

fn counting(view: &TopView) -> String {
    let partitions = view.list("/partitions");
    let here = partitions.iter().filter(|one| words(one.get("owner")) == "this").count();
    let age = view.decimal("/commits/age_s");
    let age = age.map_or_else(String::new, |age| format!(", {age:.1} s ago"));
    format!(
        "{:.1} events/s   lag {}   open {}   partitions {here} of {}   committed {} of {}{age}",
        view.decimal("/rate/events_per_s").unwrap_or_default(),
        thousands(view.number("/lag/records")),
        thousands(view.number("/lag/open")),
        partitions.len(),
        thousands(view.number("/commits/committed")),
        thousands(view.number("/commits/processed")),
    )
}

fn memory(view: &TopView) -> String {
    let share = |name: &str| {
        let of = |key: &str| view.number(&format!("/memory/{name}/{key}"));
        format!("{name} {} of {}", size(of("used")), size(of("limit")))
    };
    format!(
        "memory: {}, {}, {}   streams {} of {}",
        share("state"),
        share("answers"),
        share("sockets"),
        thousands(view.number("/sockets/websockets") + view.number("/sockets/streams")),
        thousands(view.number("/sockets/limit")),
    )
}

/// A line of readiness that is not in order, and what to do.
fn failing(line: &Value) -> Vec<Line<'static>> {
    let needed = line.get("needed").and_then(Value::as_bool).unwrap_or(true);
    let sign = if needed { '-' } else { '!' };
    let why = format!("[{sign}]{}: {}", words(line.get("name")), words(line.get("why")));
    let mut lines = vec![Line::styled(why, if needed { BOLD } else { Style::new() })];
    let remedy = words(line.get("remedy"));
    if !remedy.is_empty() {
        lines.push(Line::from(format!("   → {remedy}")));
    }
    lines
}

fn limits(view: &TopView) -> Option<String> {
    let of = |limit: &Value| {
        let count = limit.get("count").and_then(Value::as_u64).unwrap_or_default();
        format!("{} {}", words(limit.get("code")), thousands(count))
    };
    let reached: Vec<String> = view.list("/limits_hit").iter().map(of).collect();
    (!reached.is_empty()).then(|| format!("limits reached: {}", reached.join(", ")))
}

fn table(metrics: &[MetricLine]) -> Table<'static> {
    let longest = metrics.iter().map(|metric| metric.name.chars().count()).max().unwrap_or(0);
    let names = u16::try_from(longest.clamp(6, WIDEST)).unwrap_or(u16::MAX);
    let widths = [
        Constraint::Length(names),
        Constraint::Length(11),
        Constraint::Length(10),
        Constraint::Length(14),
        Constraint::Length(10),
        Constraint::Length(10),
    ];
    let header = ["METRIC", "STATE"].map(Cell::from);
    let numbers = ["NS/EVENT", "CELLS", "BYTES", "ERRORS"].map(|text| right(text.to_owned()));
    Table::new(metrics.iter().map(row), widths)
        .header(TableRow::new(header.into_iter().chain(numbers)).style(BOLD))
        .row_highlight_style(SELECTED)
}

fn row(metric: &MetricLine) -> TableRow<'static> {
    let texts = [metric.name.clone(), metric.state.clone()].map(Cell::from);
    let numbers = [
        format!("{:.1}", metric.ns_per_event),
        thousands(metric.cells),
        size(metric.bytes),
        thousands(metric.errors),
    ];
    let row = TableRow::new(texts.into_iter().chain(numbers.map(right)));
    if metric.state == "active" && metric.errors == 0 { row } else { row.style(BOLD) }
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).right_aligned())
}

/// What is known of the selected metric beside its line.
fn describe(metric: &MetricLine) -> String {
    let MetricLine { name, version, reason, .. } = metric;
    if reason.is_empty() {
        format!("{name} {version}")
    } else {
        format!("{name} {version}: {reason}")
    }
}

/// `75` → `1 m 15 s`.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} m {:02} s", seconds % 60),
        (0, _, _) => format!("{hours} h {:02} m", minutes % 60),
        _ => format!("{days} d {:02} h", hours % 24),
    }
}

/// `1536` → `1.5 KiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1_024.0, 0);
    while value >= 1_023.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1_024.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    /// The screen, line by line.
    fn screen(view: &TopView, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, view)).unwrap();
        let cells = terminal.backend().buffer().content().chunks(width.into());
        let line = |cells: &[ratatui::buffer::Cell]| {
            let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
            text.trim_end().to_owned()
        };
        cells.map(line).collect()
    }

    fn status() -> Value {
        json!({
            "version": "0.1.0", "uptime_s": 3_725, "as_of": "2026-01-01T00:00:00.000Z", "ready": true,
            "rate": {"events_per_s": 812.44, "window_s": 10.0},
            "partitions": [{"partition": 0, "owner": "this"}, {"partition": 1, "owner": "other"}],
            "lag": {"records": 1_234, "open": 2},
            "commits": {"age_s": 0.4, "processed": 12_400, "committed": 12_300},
            "readiness": [{"name": "store", "ok": true, "needed": true, "what": "embedded"}],
            "metrics": [
                {"name": "event_frequencies", "version": "1.0.0", "state": "active", "ns_per_event": 12.5, "cells": 1_234, "bytes": 98_765},
                {"name": "poison", "version": "2.0.0", "state": "quarantined", "reason": "it failed", "ns_per_event": 0.0, "cells": 0, "bytes": 0, "events_failed": 7},
            ],
            "memory": {"limit": 1_000, "state": {"used": 1_536, "limit": 1 << 30}, "answers": {"used": 0, "limit": 2_048}, "sockets": {"used": 1, "limit": 1_024}},
            "sockets": {"websockets": 2, "streams": 1, "limit": 1_024},
            "limits_hit": [],
        })
    }

    #[test]
    fn an_engine_in_order_is_shown_on_one_screen() {
        let view = TopView::new("http://127.0.0.1:8080".into(), status());
        assert_eq!(
            screen(&view, 110, 9),
            [
                "tally 0.1.0 at http://127.0.0.1:8080   up 1 h 02 m   ready",
                "812.4 events/s   lag 1,234   open 2   partitions 1 of 2   committed 12,300 of 12,400, 0.4 s ago",
                "memory: state 1.5 KiB of 1.0 GiB, answers 0 B of 2.0 KiB, sockets 1 B of 1.0 KiB   streams 3 of 1,024",
                "",
                "METRIC            STATE         NS/EVENT          CELLS      BYTES     ERRORS",
                "event_frequencies active            12.5          1,234   96.5 KiB          0",
                "poison            quarantined        0.0              0        0 B          7",
                "event_frequencies 1.0.0",
                "q quit   s sort: name   ↑↓ select",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        let mut status = status();
        status["ready"] = json!(false);
        status["readiness"] = json!([
            {"name": "store", "ok": false, "needed": true, "why": "Redis is away", "remedy": "start it"},
            {"name": "writing", "ok": false, "needed": false, "why": "no"},
        ]);
        status["limits_hit"] =
            json!([{"code": "overloaded", "count": 1_200}, {"code": "uri_too_long", "count": 1}]);
        let mut view = TopView::new("http://e".into(), status);
        view.unanswered("no engine answers at http://e");
        let shown = screen(&view, 120, 16);
        for line in [
            "tally 0.1.0 at http://e   up 1 h 02 m   NOT READY",
            "no engine answers at http://e; shown is 2026-01-01T00:00:00.000Z",
            "[-]store: Redis is away",
            "   → start it",
            "[!]writing: no",
            "limits reached: overloaded 1,200, uri_too_long 1",
        ] {
            assert!(shown.iter().any(|shown| shown == line), "{line:?}: {shown:#?}");
        }
    }

    #[test]
    fn a_small_screen_and_an_answer_without_anything_are_no_reason_to_fail() {
        for (width, height) in [(1, 1), (20, 3), (200, 60)] {
            for status in [status(), json!({}), json!(7)] {
                let view = TopView::new("http://e".into(), status);
                assert_eq!(screen(&view, width, height).len(), usize::from(height));
            }
        }
    }

    #[test]
    fn sizes_and_times_are_written_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (seconds, text) in
            [(0, "0 s"), (75, "1 m 15 s"), (3_725, "1 h 02 m"), (90_000, "1 d 01 h")]
        {
            assert_eq!(span(seconds), text);
        }
    }
}
