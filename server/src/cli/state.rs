//! `tally state`: shows what the store of an engine holds, in words and numbers.
//!
//! Asks a running engine; while none runs, opens its store. Changes nothing.

use super::args::{State, StateCommand, StatePlace};
use super::client::{Client, ClientError};
use super::output::{self, note, tame, thousands};
use super::query::{ask, lines, text};
use super::target::Target;
use super::{Failure, settings};
use crate::http::stored_rows;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use comfy_table::{Table, presets};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tally_engine::engine::{EvaluateError, StartError, StoredState};

/// Most buckets that are printed; `--json` prints all.
const SHOWN: usize = 1_000;

pub(crate) fn run(args: &State) -> Result<(), Failure> {
    let (place, json) = match &args.command {
        StateCommand::Tables { place, json }
        | StateCommand::Buckets { place, json, .. }
        | StateCommand::Get { place, json, .. } => (place, *json),
    };
    let place = StateSource::find(place)?;
    let answer = match &args.command {
        StateCommand::Get { table, key, .. } => {
            let (metric, table) = named(table, || place.tables())?;
            place.rows(&metric, &table, key)?
        }
        StateCommand::Buckets { table: Some(table), .. } => {
            let (metric, table) = named(table, || place.tables())?;
            only(place.stored()?, &metric, &table)
        }
        StateCommand::Buckets { table: None, .. } | StateCommand::Tables { .. } => {
            place.stored()?
        }
    };
    if json {
        output::data(&answer.to_string());
        return Ok(());
    }
    match &args.command {
        StateCommand::Tables { .. } => output::data(&tables(&answer)),
        StateCommand::Buckets { .. } => output::data(&buckets(&answer)),
        StateCommand::Get { .. } => {
            output::data(&rows(&answer));
            let failed = number(&answer, "events_failed");
            if failed > 0 {
                note(&format!(
                    "warning: {} events are missing from its numbers: its code failed on them",
                    thousands(failed)
                ));
            }
        }
    }
    Ok(())
}

/// Where state is read: from an engine, or from its store while none runs.
enum StateSource {
    Engine(Client),
    Store(StoredState),
}

impl StateSource {
    /// The engine that is named, or the store that is; else the configured engine, and where none
    /// answers its store. Says which of both it is.
    fn find(args: &StatePlace) -> Result<StateSource, Failure> {
        // A flag that names a store or a configuration goes before the environment.
        let other = args.data_dir.is_some() || args.config.file.is_some();
        let named =
            if other && args.url.is_none() { None } else { Target::named(args.url.as_deref())? };
        if let Some(target) = named {
            return Ok(StateSource::Engine(target.client()?));
        }
        let loaded = settings::read(&args.config, None, args.data_dir.as_deref())?;
        let config = loaded.config;
        let mut why = String::new();
        let target = Target::listening(&config.server.listen, loaded.file.as_deref());
        if let Some(target) = target.filter(|_| args.data_dir.is_none()) {
            let (url, client) = (&target.url, target.client()?);
            match answers(&client)? {
                true => {
                    note(&format!("asking the engine at {url}"));
                    return Ok(StateSource::Engine(client));
                }
                false => why = format!("no engine answers at {url}: "),
            }
        }
        output::log("warn");
        let fault = |fault: StartError| {
            Failure::Failed(format!("{why}{fault}; --url names an engine to ask"))
        };
        let state = StoredState::open(&config).map_err(fault)?;
        note(&tame(&format!("{why}reading {} itself", state.place())));
        Ok(StateSource::Store(state))
    }

    fn tables(&self) -> Result<Value, Failure> {
        match self {
            StateSource::Engine(client) => ask(async { client.get("/api/internal/tables").await }),
            StateSource::Store(state) => {
                let tables =
                    |names: BTreeSet<String>| names.into_iter().map(|name| json!({"name": name}));
                let metric = |(name, names)| json!({"name": name, "tables": tables(names).collect::<Vec<_>>()});
                let found = state.tables().map_err(failed)?.into_iter();
                Ok(json!({"metrics": found.map(metric).collect::<Vec<_>>()}))
            }
        }
    }

    fn stored(&self) -> Result<Value, Failure> {
        match self {
            StateSource::Engine(client) => ask(async { client.get("/api/internal/stored").await }),
            StateSource::Store(state) => Ok(json!({"metrics": state.stored().map_err(failed)?})),
        }
    }

    fn rows(&self, metric: &str, table: &str, key: &[String]) -> Result<Value, Failure> {
        match self {
            StateSource::Engine(client) => {
                let key = URL_SAFE_NO_PAD.encode(json!(key).to_string());
                ask(async {
                    client.get(&format!("/api/internal/stored/{metric}/{table}/{key}")).await
                })
            }
            StateSource::Store(state) => {
                Ok(stored_rows(&state.stored_rows(metric, table, key).map_err(failed)?))
            }
        }
    }
}

/// Whether an engine listens there.
fn answers(client: &Client) -> Result<bool, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::Failed(format!("cannot use the network: {error}")))?;
    let answer = runtime.block_on(client.get("/livez"));
    Ok(!matches!(answer, Err(ClientError::NoEngine(_))))
}

fn failed(fault: EvaluateError) -> Failure {
    Failure::Failed(fault.to_string())
}

/// `METRIC/TABLE`, or the name of a metric's only table or of a table that only one metric has.
fn named(
    name: &str,
    metrics: impl FnOnce() -> Result<Value, Failure>,
) -> Result<(String, String), Failure> {
    if let Some((metric, table)) = name.split_once('/') {
        return Ok((metric.to_owned(), table.to_owned()));
    }
    let metrics = metrics()?;
    let mut all = Vec::new();
    for metric in list(&metrics, "metrics") {
        let of = list(metric, "tables");
        let all_of = of.iter().map(|table| (text(metric, "name"), text(table, "name")));
        all.extend(all_of.map(|(metric, table)| (of.len(), metric, table)));
    }
    let fits = |(tables, metric, table): &&(usize, String, String)| {
        table == name || *tables == 1 && metric == name
    };
    let found: Vec<&(usize, String, String)> = all.iter().filter(fits).collect();
    match found.as_slice() {
        [(_, metric, table)] => Ok((metric.clone(), table.clone())),
        _ => {
            let names: Vec<String> =
                all.iter().map(|(_, metric, table)| format!("{metric}/{table}")).collect();
            Err(Failure::Failed(format!(
                "{name:?} names no table, or several; the tables are {}",
                names.join(", ")
            )))
        }
    }
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// What is stored of one table.
fn only(mut answer: Value, metric: &str, table: &str) -> Value {
    if let Some(metrics) = answer.get_mut("metrics").and_then(Value::as_array_mut) {
        metrics.retain(|found| text(found, "metric") == metric);
        for found in metrics {
            if let Some(tables) = found.get_mut("tables").and_then(Value::as_array_mut) {
                tables.retain(|found| text(found, "table") == table);
            }
        }
    }
    answer
}

fn tables(answer: &Value) -> String {
    let mut out = Vec::new();
    for metric in list(answer, "metrics") {
        let life = metric.get("life").and_then(Value::as_str);
        let current = if metric.get("current") == Some(&Value::Bool(true)) {
            "current"
        } else {
            "not current"
        };
        let served =
            if metric.get("served") == Some(&Value::Bool(false)) { ", not served" } else { "" };
        let life = life.map_or("nothing is stored".to_owned(), |life| {
            format!("{current}{served}, life {}", tame(life))
        });
        out.push(format!(
            "{}  revision {}, {life}",
            text(metric, "metric"),
            text(metric, "revision")
        ));
        let at = |partition: &Value| {
            format!("{}: {}", number(partition, "partition"), number(partition, "next"))
        };
        let offsets: Vec<String> = list(metric, "partitions").iter().map(at).collect();
        out.push(format!(
            "  offsets  {}",
            if offsets.is_empty() { "none".to_owned() } else { offsets.join(", ") }
        ));
        let failed: u64 = list(metric, "partitions")
            .iter()
            .map(|partition| number(partition, "events_failed"))
            .sum();
        if failed > 0 {
            out.push(format!(
                "  {} events are missing from it: its code failed on them",
                thousands(failed)
            ));
        }
        out.push(lines(&list_tables(metric)));
    }
    if out.is_empty() { "nothing is stored".into() } else { out.join("\n") }
}

/// The tables of a metric, each with its buckets taken together.
fn list_tables(metric: &Value) -> Table {
    let mut table = Table::new();
    let header = [
        "  TABLE",
        "BUCKETS",
        "BEGUN",
        "SPLITS",
        "BYTES",
        "LARGEST SNAPSHOT",
        "FRAMES",
        "ROWS",
        "UPDATES",
    ];
    table.load_style(presets::NOTHING).set_header(header);
    for stored in list(metric, "tables") {
        let buckets = list(stored, "buckets");
        let sum = |key: &str| buckets.iter().map(|bucket| number(bucket, key)).sum::<u64>();
        let most =
            |key: &str| buckets.iter().map(|bucket| number(bucket, key)).max().unwrap_or_default();
        table.add_row([
            format!("  {}", text(stored, "table")),
            thousands(buckets.len() as u64),
            thousands(number(stored, "begun")),
            thousands(most("splits")),
            thousands(sum("snapshot") + sum("tail")),
            thousands(most("snapshot")),
            thousands(sum("frames")),
            thousands(sum("rows")),
            thousands(sum("updates")),
        ]);
    }
    table
}

fn buckets(answer: &Value) -> String {
    let mut table = Table::new();
    let header =
        ["METRIC", "TABLE", "BUCKET", "SPLITS", "SNAPSHOT", "TAIL", "FRAMES", "ROWS", "UPDATES"];
    table.load_style(presets::NOTHING).set_header(header);
    let mut count = 0;
    for metric in list(answer, "metrics") {
        for stored in list(metric, "tables") {
            for bucket in list(stored, "buckets") {
                count += 1;
                if count <= SHOWN {
                    let of = |key: &str| thousands(number(bucket, key));
                    let names = [
                        text(metric, "metric"),
                        text(stored, "table"),
                        number(bucket, "bucket").to_string(),
                    ];
                    let rest = [
                        of("splits"),
                        of("snapshot"),
                        of("tail"),
                        of("frames"),
                        of("rows"),
                        of("updates"),
                    ];
                    table.add_row(names.into_iter().chain(rest));
                }
            }
        }
    }
    match count {
        0 => "nothing is stored".into(),
        count if count > SHOWN => {
            format!("{}\n… {} more", lines(&table), thousands((count - SHOWN) as u64))
        }
        _ => lines(&table),
    }
}

fn rows(answer: &Value) -> String {
    let names = list(answer, "cells");
    let rows = list(answer, "rows");
    if rows.is_empty() {
        return "nothing is stored under this key".into();
    }
    let plain =
        |value: &Value| tame(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let mut table = Table::new();
    let fixed = ["KEY".to_owned(), "PANE".to_owned(), "FROM".to_owned()];
    table.load_style(presets::NOTHING).set_header(fixed.into_iter().chain(names.iter().map(plain)));
    for row in rows {
        let key: Vec<String> = list(row, "key").iter().map(plain).collect();
        let from =
            row.get("from").filter(|from| !from.is_null()).map_or_else(|| "-".to_owned(), plain);
        let cells = list(row, "cells")
            .iter()
            .map(|cell| if cell.is_null() { "-".to_owned() } else { plain(cell) });
        table.add_row([key.join(" "), text(row, "pane"), from].into_iter().chain(cells));
    }
    lines(&table)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]
    use super::*;

    fn stored() -> Value {
        let bucket = |bucket: u64, splits: u64| json!({"bucket": bucket, "splits": splits, "snapshot": 60_000, "tail": 1_234, "frames": 3, "rows": 700, "updates": 9_000});
        json!({"metrics": [{"metric": "m", "revision": "00000000000000ab", "current": true, "life": "0f", "partitions":
            [{"partition": 0, "next": 41, "updates": 18_000}], "tables": [{"table": "t", "begun": 16, "buckets":
            [bucket(4, 0), bucket(10, 1)]}, {"table": "empty", "begun": 1, "buckets": []}]}]})
    }

    #[test]
    fn tables_and_buckets_are_listed() {
        let shown = tables(&stored());
        for words in [
            "m  revision 00000000000000ab, current, life 0f",
            "offsets  0: 41",
            "122,468",
            "18,000",
            "empty",
        ] {
            assert!(shown.contains(words), "{words:?}: {shown}");
        }
        let shown = buckets(&only(stored(), "m", "t"));
        assert_eq!(shown.lines().count(), 3, "{shown}");
        assert_eq!(buckets(&only(stored(), "m", "empty")), "nothing is stored");
    }

    #[test]
    fn rows_are_listed_by_pane() {
        let answer = json!({"cells": ["n", "last"], "rows": [
            {"key": ["u\u{1b}1", 7], "pane": "minute", "from": "2026-01-01T00:00:00Z", "cells": ["12", null]},
            {"key": ["u1", 7], "pane": "older", "from": null, "cells": ["1", "2"]}]});
        let shown = rows(&answer);
        assert!(
            shown.contains("u\\u{1b}1 7")
                && shown.contains("minute")
                && shown.contains("2026-01-01"),
            "{shown}"
        );
        assert_eq!(rows(&json!({"rows": []})), "nothing is stored under this key");
    }

    #[test]
    fn a_table_is_named_with_its_metric_or_alone() {
        let metrics = || {
            Ok(json!({"metrics": [
            {"name": "a", "tables": [{"name": "x"}, {"name": "y"}]}, {"name": "b", "tables": [{"name": "y"}]}]}))
        };
        let of = |name: &str| named(name, metrics).ok();
        let pair = |metric: &str, table: &str| Some((metric.to_owned(), table.to_owned()));
        assert_eq!(of("q/z"), pair("q", "z"));
        assert_eq!((of("x"), of("b")), (pair("a", "x"), pair("b", "y")));
        assert_eq!((of("y"), of("a"), of("n")), (None, None, None));
    }
}
