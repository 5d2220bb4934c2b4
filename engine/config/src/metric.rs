//! `[metrics.NAME]`: what a person says of one metric.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// When a new revision answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Promote {
    /// Once it has counted its history.
    #[default]
    Auto,
    /// When a person says so.
    Manual,
}

/// What becomes of a table that has more cells than `max_cells`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The metric stops where it is.
    #[default]
    Stop,
    /// Some of its keys, by their hash, are counted together under `__other__`.
    Other,
}

/// `[metrics.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricConfig {
    /// Whether it is loaded.
    pub enabled: bool,
    /// The plugin that serves it; absent: the one of the same name.
    pub plugin: Option<String>,
    /// Handed to the plugin, checked against its config schema first.
    pub config: toml::Table,
    /// What it counts of what the log holds when it is new: `"all"`, `"none"`, or a length of time
    /// such as `"30d"`.
    pub history: String,
    /// Whether a new revision answers by itself once it has counted its history.
    pub promote: Promote,
    /// How long the revision before is fed on: `"30m"`, `"1h"`, `"2d"`. Until then a rollback is
    /// one step.
    pub keep_old: String,
    /// Retention per tier (`1m`, `1h`, `1d`): `"48h"`, `"90d"`, `"all"`. Replaces what the plugin
    /// declares.
    pub retention: BTreeMap<String, String>,
    /// Cells (rows × cells) that one of its tables may hold.
    pub max_cells: u64,
    /// What becomes of it with more.
    pub overflow: Overflow,
}

impl Default for MetricConfig {
    fn default() -> Self {
        MetricConfig {
            enabled: true,
            plugin: None,
            config: toml::Table::new(),
            history: "all".into(),
            promote: Promote::Auto,
            keep_old: "1h".into(),
            retention: BTreeMap::new(),
            max_cells: 100_000_000,
            overflow: Overflow::Stop,
        }
    }
}
