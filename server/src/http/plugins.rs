//! `GET /api/plugins`: the plugins that lie in the folders, served or not, and what each can be told.
//!
//! What was refused is listed by `GET /api/metrics`. Nothing is called here.

use super::versions::file_name;
use super::{App, answer};
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use tally_engine::engine::{MetricInfo, PluginInfo};

/// The list, in the contract's order.
#[derive(Serialize)]
struct PluginList<'a> {
    plugins: Vec<PluginText<'a>>,
}

#[derive(Serialize)]
struct PluginText<'a> {
    name: &'a str,
    version: &'a str,
    /// Of the metric that has its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    /// Name of the plugin file, without its folder.
    file: String,
    /// Hash of the file's content.
    sha256: &'a str,
    config_schema: &'a Value,
    /// Names of the metrics that it serves.
    metrics: Vec<&'a str>,
}

pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    let (plugins, metrics) = (app.engine.plugins(), app.engine.metrics());
    let plugins = plugins.iter().map(|plugin| PluginText::of(plugin, &metrics)).collect();
    answer::json(&PluginList { plugins })
}

impl<'a> PluginText<'a> {
    /// `metrics`: all that are served.
    fn of(plugin: &'a PluginInfo, metrics: &'a [MetricInfo]) -> PluginText<'a> {
        let PluginInfo { name, version, file, sha256, config_schema } = plugin;
        let own: Vec<&MetricInfo> =
            metrics.iter().filter(|metric| metric.plugin == *name).collect();
        let namesake = own.iter().find(|metric| metric.name == *name);
        PluginText {
            name,
            version,
            summary: namesake.map(|metric| metric.description.summary.as_str()),
            file: file_name(file),
            sha256,
            config_schema,
            metrics: own.iter().map(|metric| metric.name.as_str()).collect(),
        }
    }
}
