//! The server's own figures in `/metrics`: whether questions are answered, what is open, which
//! limits were reached. What the engine counts is written elsewhere.
//!
//! Labels come from a closed set, and nothing is asked of log or store.

use super::App;
use super::exposition::{Exposition, FamilyKind};

/// The figures.
pub(crate) fn text(app: &App) -> String {
    let mut out = Exposition::default();
    let mut gauge = |name: &str, help: &str, value: usize| {
        out.family(name, FamilyKind::Gauge, help);
        out.sample(name, &[], value);
    };
    let is_ready = app.engine.readiness().iter().all(|check| check.ok || !check.needed);
    gauge(
        "tally_ready",
        "1 while questions can be answered, as /readyz says, else 0.",
        is_ready.into(),
    );
    let is_there = app.catalogue.health_error().is_none();
    gauge("tally_catalogue_ready", "1 while the catalogue answers, else 0.", is_there.into());
    gauge(
        "tally_sockets",
        "WebSockets and streams of events that are open.",
        app.limits.sockets.saturating_sub(app.sockets.available_permits()),
    );
    gauge(
        "tally_questions_held",
        "Questions that are held until their answer changes.",
        app.limits.held.saturating_sub(app.held.available_permits()),
    );
    let name = "tally_limits_hit_total";
    out.family(name, FamilyKind::Counter, "Times that a limit was reached, by the code answered.");
    for (code, count) in app.limits_hit.counts() {
        out.sample(name, &[("code", code)], count);
    }
    out.into_text()
}
