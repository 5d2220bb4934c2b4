//! What a Redis server says of itself: whether it can hold state, and what it keeps when it ends.

use super::fault::fault;
use crate::StoreError;
use redis::{Cmd, Connection, RedisResult, Value, from_redis_value};
use std::collections::BTreeMap;
use std::fmt;

/// The oldest that is spoken to: scripts state flags (`#!lua flags=…`) since 7.0.
const OLDEST: u64 = 7;

/// What a Redis server says of itself, for readiness and for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Host and port of each master.
    pub at: Vec<String>,
    /// Its version, as it writes it.
    pub version: String,
    /// Whether it is a Cluster.
    pub cluster: bool,
    /// What it keeps when it ends; `None`: it does not say.
    pub persistence: Option<Persistence>,
    /// `maxmemory`, bytes; 0: no limit; `None`: it does not say.
    pub max_memory: Option<u64>,
    /// What could not be checked, a sentence each.
    pub warnings: Vec<String>,
}

impl fmt::Display for ServerFacts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.cluster { "Redis Cluster" } else { "Redis" };
        write!(out, "{kind} {} at {}", self.version, self.at.join(", "))?;
        match &self.persistence {
            None => Ok(()),
            Some(Persistence { append_only: false, save }) if save.is_empty() => out.write_str(
                ", keeps nothing when it ends: everything is then counted again from the log",
            ),
            Some(Persistence { append_only: true, .. }) => out.write_str(", append-only file"),
            Some(Persistence { save, .. }) => write!(out, ", snapshots ({save})"),
        }
    }
}

/// What a server keeps when it ends. With neither, a restart is empty and everything is counted
/// again from the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persistence {
    /// `appendonly`.
    pub append_only: bool,
    /// `save`: when snapshots are written, empty for never.
    pub save: String,
}

/// What is known of a server before anything is asked of it.
pub(super) struct ServerKind {
    pub(super) version: String,
    pub(super) cluster: bool,
}

/// Version and mode.
pub(super) fn kind(link: &mut Connection) -> RedisResult<ServerKind> {
    let mut command = redis::cmd("INFO");
    let info: String = command.arg("everything").query(link)?;
    let line = |name: &str| {
        info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    Ok(ServerKind {
        version: line("redis_version").unwrap_or_default().to_owned(),
        cluster: line("cluster_enabled") == Some("1"),
    })
}

/// Refuses a server that is too old.
pub(super) fn check_version(at: &str, version: &str) -> Result<(), StoreError> {
    let major = version.split('.').next().and_then(|major| major.parse::<u64>().ok());
    if major.is_none_or(|major| major >= OLDEST) {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!(
        "Redis at {at} has version {version}: {OLDEST}.0 or newer is needed, or Valkey"
    )))
}

/// Refuses a server that would evict state; adds to `facts` what it says besides. Where settings
/// may not be read, a warning.
pub(super) fn check_settings(
    at: &str,
    link: &mut Connection,
    facts: &mut ServerFacts,
) -> Result<(), StoreError> {
    let mut command: Cmd = redis::cmd("CONFIG");
    command.arg("GET").arg(&["maxmemory-policy", "maxmemory", "appendonly", "save"]);
    let settings: BTreeMap<String, String> =
        match command.query::<Value>(link).map(from_redis_value) {
            Ok(Ok(settings)) => settings,
            // Managed servers have no CONFIG, or do not let it be used.
            Err(error) if !matches!(error.code(), Some("ERR" | "NOPERM")) => {
                return Err(fault(at, &error));
            }
            _ => {
                facts.warnings.push(format!(
                    "Redis at {at} does not allow its settings to be read: make sure that its \
                     maxmemory-policy is noeviction, or state can be lost"
                ));
                return Ok(());
            }
        };
    let setting = |name: &str| settings.get(name).map(String::as_str);
    match setting("maxmemory-policy") {
        Some("noeviction") => {}
        Some(other) => {
            return Err(StoreError::Unavailable(format!(
                "Redis at {at} evicts keys when its memory is full (maxmemory-policy {other}), and \
                 state with them: CONFIG SET maxmemory-policy noeviction, and the same in its \
                 redis.conf"
            )));
        }
        None => facts.warnings.push(format!(
            "Redis at {at} does not report its maxmemory-policy: it must be noeviction"
        )),
    }
    facts.max_memory = setting("maxmemory").and_then(|bytes| bytes.parse().ok());
    facts.persistence = setting("appendonly").map(|append_only| Persistence {
        append_only: append_only == "yes",
        save: setting("save").unwrap_or_default().to_owned(),
    });
    Ok(())
}

/// Host and port of each master of a Cluster, from any of its nodes.
pub(super) fn masters(link: &mut Connection) -> RedisResult<Vec<(String, u16)>> {
    let slots: Vec<Vec<Value>> = redis::cmd("CLUSTER").arg("SLOTS").query(link)?;
    let mut masters = Vec::new();
    for range in slots {
        // First and last slot, then the master: host, port, …
        let Some(Value::Array(master)) = range.into_iter().nth(2) else { continue };
        let mut parts = master.into_iter();
        if let (Some(Value::BulkString(host)), Some(Value::Int(port))) =
            (parts.next(), parts.next())
        {
            let found = (
                String::from_utf8_lossy(&host).into_owned(),
                u16::try_from(port).unwrap_or_default(),
            );
            if !masters.contains(&found) {
                masters.push(found);
            }
        }
    }
    Ok(masters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused() {
        assert!(check_version("h:1", "7.0.15").is_ok() && check_version("h:1", "").is_ok());
        assert!(check_version("h:1", "6.2.1").is_err() && check_version("h:1", "8.0.0").is_ok());
    }
}
