//! `tally query`, `tally plugin list`, and orders about plugins to a running engine.

use super::args::{Engine, Skip};
use super::client::{Answer, Body, ClientError};
use super::engine_args::Query;
use super::output::tame;
use super::{Failure, output, watch};
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use std::io::IsTerminal;

pub(crate) fn run(args: &Query) -> Result<(), Failure> {
    if args.watch {
        return watch::run(args);
    }
    let mut question = json!({"name": args.name, "params": args.params});
    if args.expand.is_some() {
        question["expand"] = json!(["names"]);
    }
    let question = question.to_string();
    let client = args.engine.client()?;
    let answer = ask(async { client.post("/api/metrics", Body::Json(question.into())).await })?;
    if args.json {
        output::data(&answer.to_string());
        return Ok(());
    }
    output::data(&pretty(answer.get("result").unwrap_or(&Value::Null)));
    let warnings = answer.get("warnings").unwrap_or(&Value::Null);
    warning_lines(warnings).iter().for_each(|line| output::note(line));
    Ok(())
}

/// The warnings of an answer, a line each.
pub(super) fn warning_lines(warnings: &Value) -> Vec<String> {
    let line = |warning: &Value| {
        format!("warning: {} ({})", text(warning, "detail"), text(warning, "code"))
    };
    warnings.as_array().into_iter().flatten().map(line).collect()
}

pub(crate) fn plugins(engine: &Engine, json: bool) -> Result<(), Failure> {
    let client = engine.client()?;
    let answer = ask(async { client.get("/api/metrics").await })?;
    if json {
        output::data(&answer.to_string());
        return Ok(());
    }
    output::data(&listing(&answer));
    for refused in answer.get("rejected").and_then(Value::as_array).into_iter().flatten() {
        output::data(&format!("refused  {}: {}", text(refused, "file"), text(refused, "reason")));
    }
    Ok(())
}

pub(crate) fn order(
    engine: &Engine,
    name: &str,
    order: &str,
    dry_run: bool,
) -> Result<(), Failure> {
    say(&ordered(engine, name, order, dry_run)?, false);
    Ok(())
}

/// Prints the answer to an order: what was done, or would be.
pub(crate) fn say(answer: &Value, json: bool) {
    let said = || text(answer, if answer.get("would").is_some() { "would" } else { "done" });
    output::data(&if json { answer.to_string() } else { said() });
}

/// `tally skip`.
pub(crate) fn skip(args: &Skip) -> Result<(), Failure> {
    let client = args.engine.client()?;
    let path = format!("/api/internal/partitions/{}/skip/{}", args.partition, args.offset);
    let answer = ask(async { client.post(&path, Body::Json("{}".into())).await })?;
    output::data(&text(&answer, "done"));
    Ok(())
}

/// `tally clock accept`.
pub(crate) fn accept_clock(engine: &Engine) -> Result<(), Failure> {
    let client = engine.client()?;
    let answer =
        ask(async { client.post("/api/internal/clock/accept", Body::Json("{}".into())).await })?;
    output::data(&text(&answer, "done"));
    Ok(())
}

/// `tally plugin purge`: asks for confirmation, unless `--yes` is given or nothing is to be done.
pub(crate) fn purge(
    engine: &Engine,
    name: &str,
    yes: bool,
    dry_run: bool,
) -> Result<Value, Failure> {
    if !dry_run && !yes && !agreed(name)? {
        return Err(Failure::Failed("nothing was removed".into()));
    }
    ordered(engine, name, "purge", dry_run)
}

fn agreed(name: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(
            "no terminal to confirm on: pass --yes to remove what is stored without confirmation"
                .into(),
        ));
    }
    output::ask(&tame(&format!(
        "Remove everything that is stored for {name}? This cannot be undone. [y/N] "
    )));
    let mut said = String::new();
    std::io::stdin()
        .read_line(&mut said)
        .map_err(|fault| Failure::Failed(format!("no answer: {fault}")))?;
    Ok(matches!(said.trim(), "y" | "Y" | "yes"))
}

fn ordered(engine: &Engine, name: &str, order: &str, dry_run: bool) -> Result<Value, Failure> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(Failure::Usage(format!("{name:?} cannot be a metric name: a-z, 0-9 and _")));
    }
    let client = engine.client()?;
    let path = format!("/api/metrics/{name}/{order}?dry_run={dry_run}");
    ask(async { client.post(&path, Body::Json("{}".into())).await })
}

pub(super) fn ask(
    request: impl Future<Output = Result<Answer, ClientError>>,
) -> Result<Value, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::Failed(format!("cannot use the network: {error}")))?;
    let answer = runtime.block_on(request).map_err(|error| Failure::Failed(error.to_string()))?;
    if answer.status != 200 {
        return Err(Failure::Failed(answer.problem()));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::Failed(format!("the engine's answer is not JSON: {error}")))
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

pub(super) fn text(value: &Value, key: &str) -> String {
    tame(value.get(key).and_then(Value::as_str).unwrap_or_default())
}

fn listing(answer: &Value) -> String {
    let metrics =
        answer.get("metrics").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if metrics.is_empty() {
        return "no metrics are loaded; copy plugin files (.so) into the plugins folder".into();
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["METRIC", "VERSION", "STATE", "NS/EVENT", "CELLS", "PLUGIN", "SUMMARY"]);
    for metric in metrics {
        let cost = |key: &str| {
            metric.pointer(&format!("/cost/{key}")).and_then(Value::as_f64).unwrap_or_default()
        };
        table.add_row([
            text(metric, "name"),
            text(metric, "version"),
            state(metric),
            format!("{:.1}", cost("ns_per_event")),
            output::thousands(cost("cells") as u64),
            text(metric, "plugin"),
            text(metric, "summary"),
        ]);
        for role in ["newer", "before"] {
            if let Some(other) = metric.get(role) {
                table.add_row([format!("  {role}"), text(other, "version"), state(other)]);
            }
        }
    }
    lines(&table)
}

/// The state of a revision, as one line.
fn state(of: &Value) -> String {
    let mut said = text(of, "state");
    if let Some(done) = of.pointer("/progress/done").and_then(Value::as_f64) {
        said.push_str(&format!(" {:.0} %{}", done * 100.0, eta(of)));
    }
    let (reason, held, until) = (text(of, "reason"), text(of, "held"), text(of, "until"));
    let failed = of
        .get("events_failed")
        .and_then(Value::as_u64)
        .filter(|_| !reason.contains("events_failed"));
    let failed =
        failed.map(|failed| format!(": the plugin failed on {} events", output::thousands(failed)));
    let of =
        |what: &str, told: String| if told.is_empty() { told } else { format!("{what}{told}") };
    said + &of(": ", reason)
        + &failed.unwrap_or_default()
        + &of("; held back: ", held)
        + &of("; fed until ", until)
}

/// How long a backfill will take, if that is known.
fn eta(metric: &Value) -> String {
    let eta = metric.pointer("/progress/eta_s").and_then(Value::as_u64);
    eta.map_or_else(String::new, |eta| format!(", {eta} s to go"))
}

/// Without spaces at the ends.
pub(super) fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listing_shows_state_with_reason_and_cost() {
        let answer = json!({"metrics": [{"name": "a", "version": "1.0.0", "state": "quarantined", "reason": "over_max_cells",
            "plugin": "b", "summary": "counts", "cost": {"ns_per_event": 12.34, "cells": 1234}}]});
        let listing = listing(&answer);
        let newer = json!({"version": "1.1.0", "state": "active", "events_failed": 1563, "held": "it failed"});
        let before =
            json!({"version": "0.9.0", "state": "active", "until": "2026-01-01T00:00:00.000Z"});
        let two = json!({"metrics": [{"name": "a", "version": "1.0.0", "state": "active", "newer": newer, "before": before}]});
        let two = super::listing(&two);
        for words in [
            "  newer",
            "1.1.0",
            "active: the plugin failed on 1,563 events; held back: it failed",
            "active; fed until 2026-01",
        ] {
            assert!(two.contains(words), "{two}");
        }
        for words in ["METRIC", "quarantined: over_max_cells", "12.3", "1,234", "counts"] {
            assert!(listing.contains(words), "{listing}");
        }
    }
}
