//! Some plugins and, of one of them with a configuration, a metric that nobody serves: for who wants
//! to see what it would answer.
//!
//! It is made by the same steps as one that is served. What is wrong is told with JSON pointers, for
//! the configuration comes from a request. All such metrics have one name, which no metric that is
//! served can have: in log lines and figures they are not taken for one.

use super::load::Plugin;
use super::metric::Metric;
use super::registry::{Making, near_names};
use super::schema_faults;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use tally_config::MetricConfig;
use tally_plugin::ask::Fault;
use tally_schema::Schema;
use thiserror::Error;

/// The name of every metric that is made here.
const NAME: &str = "(a preview)";

/// Where faults of a configuration begin.
const CONFIG: &str = "/config";

/// The plugins that were found at a moment, the first of each name.
#[derive(Clone, Default)]
pub struct PluginSet(pub(super) Vec<(PathBuf, Arc<Plugin>)>);

/// A plugin of a folder, served or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginInfo {
    /// Its name.
    pub name: String,
    /// Version of its code.
    pub version: String,
    /// File it was loaded from.
    pub file: PathBuf,
    /// Hash of the file's content, hexadecimal.
    pub sha256: String,
    /// JSON Schema of its configuration.
    pub config_schema: Value,
}

/// Why there is no metric. Another request may succeed; this one does when other plugins are there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MakeFault {
    /// There is no such plugin.
    #[error("there is no such plugin; names like it: {0:?}")]
    Unknown(Vec<String>),
    /// The configuration does not fit: where, by JSON pointers below `/config`, and why.
    #[error("the configuration does not fit: {0:?}")]
    Config(Vec<Fault>),
}

impl PluginSet {
    /// What each plugin is, by name. Calls none.
    #[must_use]
    pub fn infos(&self) -> Vec<PluginInfo> {
        let info = |(file, plugin): &(PathBuf, Arc<Plugin>)| PluginInfo {
            name: plugin.about.name.clone(),
            version: plugin.about.version.clone(),
            file: file.clone(),
            sha256: plugin.sha256.clone(),
            config_schema: plugin.about.config_schema.clone(),
        };
        let mut infos: Vec<PluginInfo> = self.0.iter().map(info).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    /// Makes a metric of the plugin of this name. Calls the plugin.
    ///
    /// # Errors
    /// [`MakeFault`].
    pub fn metric(&self, plugin: &str, config: Value) -> Result<Metric, MakeFault> {
        let of_name = |(_, known): &&(PathBuf, Arc<Plugin>)| known.about.name == plugin;
        let Some((file, plugin)) = self.0.iter().find(of_name) else {
            let near = near_names(plugin, &self.0).into_iter().map(str::to_owned).collect();
            return Err(MakeFault::Unknown(near));
        };
        // One whose schema cannot be used is refused below.
        if let Ok(schema) = Schema::compile(&plugin.about.config_schema) {
            let faults = schema_faults::placed(&schema, &config, CONFIG);
            if !faults.is_empty() {
                return Err(MakeFault::Config(faults));
            }
        }
        let section = MetricConfig::default();
        let making = Making { name: NAME, file, plugin, section: &section };
        making.metric(config, || &NAME).map_err(|unfit| {
            MakeFault::Config(vec![Fault { pointer: CONFIG.into(), detail: unfit.what }])
        })
    }
}
