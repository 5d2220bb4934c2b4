//! What a key of the configuration may hold, and the sentences for what it may not.

use super::MAX_DEDUPE_WINDOW;
use super::document::join;
use super::secret::{is_plain, is_secret, quoted};
use std::ops::RangeInclusive;
use toml::de::DeValue;
use toml::{Table, Value};

/// Numbers that make sense, by key. Upper bounds keep a slip of the finger from taking the
/// machine's memory.
pub(super) fn range(key: &str) -> RangeInclusive<i64> {
    match key {
        // Brokers refuse less than 6 s unless configured otherwise, and more than 30 min.
        "kafka.session_timeout_ms" => 1_000..=1_800_000,
        "log.partitions" => 1..=1_024,
        "log.retention_bytes" => (1 << 20)..=i64::MAX,
        "events.dedupe_window" => 0..=MAX_DEDUPE_WINDOW as i64,
        // Answers are written type by type: beyond, plain questions take too long.
        "events.max_types" => 1..=100_000,
        "store.checkpoint_interval_ms" => 10..=600_000,
        "redis.port" => 0..=65_535,
        "redis.commit_interval_ms" => 5..=60_000,
        "redis.max_bucket_bytes" => (64 << 10)..=(256 << 20),
        "store.dead_letters" => 0..=100_000_000,
        "server.max_connections" => 1..=1_000_000,
        "server.evaluation_deadline_ms" => 1..=600_000,
        "live.streams" => 1..=1_000_000,
        "live.subscriptions" => 1..=1_024,
        // Each reads the log with a client of its own.
        "live.replays" => 1..=64,
        // Below 32 MiB nothing useful is counted: `check` says so.
        "limits.memory" => 0..=i64::MAX,
        "limits.answer_bytes" => (64 << 10)..=(1 << 30),
        "live.questions" => 1..=1_000_000,
        "live.min_interval_ms" => 10..=60_000,
        "live.threads" => 1..=32,
        key if key.starts_with("export.") && key.ends_with(".max_series") => 1..=10_000,
        // Some 10 GB at the default.
        key if key.starts_with("metrics.") && key.ends_with(".max_cells") => 1..=i64::MAX,
        _ => 0..=i64::from(u32::MAX),
    }
}

/// The words that a key may hold, if they are few.
pub(super) fn choices(key: &str) -> Option<&'static [&'static str]> {
    Some(match key {
        "source.kind" => &["embedded", "kafka"],
        "source.on_gap" => &["halt", "continue"],
        "source.on_state_loss" => &["rebuild", "halt"],
        "store.kind" => &["embedded", "redis"],
        "kafka.start" => &["earliest", "latest"],
        "plugins.checksums" => &["off", "warn", "enforce"],
        "log.durability" => &["process", "power"],
        key if key.starts_with("metrics.") && key.ends_with(".promote") => &["auto", "manual"],
        key if key.starts_with("metrics.") && key.ends_with(".overflow") => &["stop", "other"],
        _ => return None,
    })
}

pub(super) fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

pub(super) fn wrong_type(key: &str, expected: &Value, found: &DeValue<'_>) -> String {
    let wanted = match expected {
        Value::String(_) => "text in quotes",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list of texts",
        Value::Table(_) => "a table",
    };
    // A number, or a text in place of a list, may be a password where the key may hold one.
    let shown = !is_secret(key) && !key.ends_with("url");
    let hint = match (expected, found) {
        (Value::String(_), DeValue::Integer(number)) if shown => {
            format!("; write \"{number}\"")
        }
        (Value::Integer(_), DeValue::String(text)) if text.parse::<i64>().is_ok() => {
            format!("; write {text} without quotes")
        }
        (Value::Boolean(_), DeValue::String(text)) if text == "true" || text == "false" => {
            format!("; write {text} without quotes")
        }
        (Value::Array(_), DeValue::String(text)) if shown && is_plain(text) => {
            format!("; write [{text:?}]")
        }
        _ => String::new(),
    };
    format!("{key} must be {wanted}, not {}{hint}", type_name(found))
}

/// The nearest of some words, if one is near: at most a third of the letters differ.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let limit = (length / 3).max(1);
    // What is much longer than any word is near none; comparing it would cost its length times
    // theirs.
    let known = known.filter(|_| length <= 64);
    known
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

pub(super) fn unknown(name: &str, siblings: &Table, all: &Table, path: &str) -> String {
    let place =
        if path.is_empty() { "at the top level".to_owned() } else { format!("in [{path}]") };
    let hint = if let Some(near) = nearest(name, siblings.keys().map(String::as_str)) {
        format!("; did you mean `{near}`?")
    } else if let Some(elsewhere) = find(name, all, "") {
        format!("; did you mean `{elsewhere}`?")
    } else {
        format!("; expected one of {}", siblings.keys().cloned().collect::<Vec<_>>().join(", "))
    };
    let told = quoted(name);
    format!("unknown key `{}` {place}{hint}", told.trim_matches('"'))
}

/// Where a key of that name exists.
fn find(name: &str, table: &Table, path: &str) -> Option<String> {
    table.iter().find_map(|(key, value)| {
        let here = join(path, key);
        if key == name {
            Some(here)
        } else {
            value.as_table().and_then(|inner| find(name, inner, &here))
        }
    })
}
