//! An engine in this process, asked through its public face, and held against the oracle.

use crate::events::Oracle;
use crate::measure;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tally_engine::config::{Config, KafkaConfig, SourceKind};
use tally_engine::engine::{Engine, Options, Question};

/// Where the shipped plugins are: beside this program.
///
/// # Errors
/// Says what to build when they are not there.
pub fn plugins() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("a program lies in a folder")?.to_owned();
    ensure!(
        folder.join("libuser_activities.so").exists(),
        "the plugins are not built; run: cargo build --release --workspace"
    );
    Ok(folder)
}

/// A configuration with the embedded log in `data`.
#[must_use]
pub fn embedded(data: &Path) -> Config {
    let mut config = Config::default();
    config.store.data_dir = data.to_owned();
    config.log.retention = "all".into();
    config
}

/// A configuration with a topic as its source.
#[must_use]
pub fn kafka(data: &Path, brokers: &str, topic: &str) -> Config {
    let mut config = embedded(data);
    config.source.kind = SourceKind::Kafka;
    let group = format!("tally-{}", std::process::id());
    config.kafka = KafkaConfig {
        brokers: brokers.into(),
        topic: topic.into(),
        group,
        ..KafkaConfig::default()
    };
    config
}

/// Starts an engine with the plugins beside this program.
///
/// # Errors
/// What the engine says.
pub fn start(config: Config) -> Result<Engine> {
    // Beside this program lie other shared objects too: the first folder may hold plugins only.
    let own = config.store.data_dir.join("own");
    let engine = Engine::start(Options {
        config,
        plugin_dirs: vec![own, plugins()?],
        config_file: None,
        disabled: Vec::new(),
    })?;
    ensure!(engine.rejected().is_empty(), "plugins refused: {:?}", engine.rejected());
    Ok(engine)
}

/// What counting a whole log took.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Measured {
    /// CPU until the client or engine stood.
    pub start_ns: u64,
    /// CPU from then on until it had stopped.
    pub cpu_ns: u64,
    /// Wall time until the last event was counted, from before it was made.
    pub wall_ms: u64,
}

/// Starts an engine, lets it count everything and stop, and then checks what it says.
///
/// # Errors
/// Also when not every event is durable after the stop.
pub fn through(
    config: Config,
    oracle: &Oracle,
    check: impl FnOnce(&Engine, &Oracle) -> Result<()>,
) -> Result<Measured> {
    let (before, started) = (measure::cpu(), Instant::now());
    let engine = start(config)?;
    let standing = measure::cpu();
    counted(&engine, oracle.total)?;
    let wall_ms = started.elapsed().as_millis() as u64;
    let totals = engine.stop(Duration::from_secs(60));
    let stopped = measure::cpu();
    ensure!(
        totals.committed == oracle.total,
        "wrong: {} of {} events are durable",
        totals.committed,
        oracle.total
    );
    check(&engine, oracle)?;
    let (start_ns, cpu_ns) =
        (measure::nanos(standing - before), measure::nanos(stopped - standing));
    Ok(Measured { start_ns, cpu_ns, wall_ms })
}

/// Waits until so many records have been counted.
///
/// # Errors
/// After ten minutes.
pub fn counted(engine: &Engine, records: u64) -> Result<()> {
    let started = Instant::now();
    while engine.position().0.values().sum::<u64>() < records {
        ensure!(
            started.elapsed() < Duration::from_secs(600),
            "only {} counted: {:?}",
            engine.position(),
            engine.readiness()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The result of a question.
///
/// # Errors
/// The engine's refusal.
pub fn ask(engine: &Engine, name: &str, params: Value) -> Result<Value> {
    let started = Instant::now();
    loop {
        let question = Question {
            name: name.into(),
            params: params.clone(),
            at_least: None,
            wait: Duration::ZERO,
            allow_partial: false,
            calling: std::sync::Arc::default(),
        };
        match engine.evaluate(&question) {
            Ok(answer) => return Ok(serde_json::from_str(&answer.result)?),
            // while the log's bounds are not known yet, or a busy machine takes its time
            Err(_) if started.elapsed() < Duration::from_secs(5) => {
                std::thread::sleep(Duration::from_millis(5))
            }
            Err(fault) => bail!("{name} {params}: {fault}"),
        }
    }
}

/// Whether the three shipped metrics say what the oracle says.
///
/// # Errors
/// What differs.
pub fn check(engine: &Engine, oracle: &Oracle) -> Result<()> {
    let types = ask(engine, "event_frequencies", json!({}))?;
    same("events", &types["total"], &json!(oracle.total))?;
    same("events by type", &types["by_type"], &oracle.by_type())?;
    check_products(engine, "products_popularity", oracle)?;
    check_users(engine, "user_activities", oracle)
}

/// As [`check`], of a metric that the plugin `products_popularity` serves.
///
/// # Errors
/// What differs.
pub fn check_products(engine: &Engine, name: &str, oracle: &Oracle) -> Result<()> {
    let products = ask(engine, name, json!({"limit": 1000}))?;
    same("products", &products["products_total"], &json!(oracle.products_total()))?;
    let listed = products["products"].as_array().context("no products")?;
    let listed: Vec<Value> = listed
        .iter()
        .map(|product| json!([product["product_id"], product["interactions"]]))
        .collect();
    same("products by interactions", &json!(listed), &json!(oracle.top_products()))
}

/// As [`check`], of a metric that the plugin `user_activities` serves.
///
/// # Errors
/// What differs.
pub fn check_users(engine: &Engine, name: &str, oracle: &Oracle) -> Result<()> {
    for (user, events) in oracle.some_users() {
        let activities = ask(engine, name, json!({"user_id": user}))?;
        same(&format!("events of user {user}"), &activities["total"], &json!(events))?;
    }
    Ok(())
}

fn same(what: &str, found: &Value, expected: &Value) -> Result<()> {
    let shown = |value: &Value| value.to_string().chars().take(400).collect::<String>();
    ensure!(
        found == expected,
        "wrong: {what}: found {}, expected {}",
        shown(found),
        shown(expected)
    );
    Ok(())
}
