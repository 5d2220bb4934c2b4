//! What a start would refuse of a configuration that can be read: every command that reads one asks
//! here, and so does the start.
//!
//! Faults that types and formats cannot express are found by the code that uses a value: the Kafka
//! client checks its settings, the Redis client its URL, the plugins their sections, the metrics
//! the params that are exported. This connects to nothing, and writes nothing but copies of plugin
//! files. Where `rows`, `value` and `labels` of an export lead is known with an answer only.

use super::evaluate::now;
use crate::config::fault::Fault;
use crate::config::load::Loaded;
use crate::config::secret::{is_secret, masked, quoted};
use crate::config::{PrometheusExport, document_key};
use crate::host::{Metric, Registry, RejectedFile};
use crate::log;
use crate::query::Params;
use crate::store;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Faults of `[kafka]` and `[redis]`, each with its place.
#[must_use]
pub fn judge(loaded: &Loaded) -> Vec<Fault> {
    let config = &loaded.config;
    let log = log::check_settings(config).into_iter();
    let mut faults: Vec<Fault> = log.map(|fault| loaded.fault(&fault.key, fault.what)).collect();
    faults.extend(
        store::judge(config)
            .into_iter()
            .map(|(key, fault)| loaded.fault(key, format!("{key}: {fault}"))),
    );
    faults
}

/// The `[metrics.NAME]` sections that no engine would serve and the `[export.prometheus.NAME]`
/// sections that no metric would answer, each with its place, and the plugin files that are
/// refused. Loads the plugins of these folders from copies in `private`.
#[must_use]
pub fn judge_sections(
    loaded: &Loaded,
    plugin_dirs: &[PathBuf],
    private: &Path,
) -> (Vec<Fault>, Vec<String>) {
    let mut registry = Registry::new(plugin_dirs, private, &loaded.config.plugins);
    let (mut faults, mut files) = (Vec::new(), Vec::new());
    let found = registry.scan(&loaded.config.metrics);
    for RejectedFile { file, reason, section } in found.rejected {
        match section {
            Some(key) => faults.push(loaded.fault(&key, format!("{}: {reason}", file.display()))),
            None => files.push(format!("{}: {reason}", file.display())),
        }
    }
    for (name, export) in &loaded.config.export.prometheus {
        let section = document_key("export.prometheus", name);
        faults.extend(judge_export(loaded, &section, export, &found.metrics));
    }
    (faults, files)
}

/// What is wrong with the question of an export.
fn judge_export(
    loaded: &Loaded,
    section: &str,
    export: &PrometheusExport,
    metrics: &[Arc<Metric>],
) -> Vec<Fault> {
    let fault = |key: &str, what: &str| loaded.fault(key, format!("{key}: {what}"));
    let key = format!("{section}.metric");
    let Some(metric) = metrics.iter().find(|metric| metric.name() == export.metric) else {
        let why = not_served(loaded, &export.metric, metrics);
        return why.map(|why| fault(&key, &why)).into_iter().collect();
    };
    let params = match Params::new(metric.description()) {
        Ok(params) => params,
        Err(why) => return vec![fault(&key, &why.to_string())],
    };
    // Texts, numbers, lists and tables: there is nothing that JSON does not have.
    let given = serde_json::to_value(&export.params).unwrap_or_default();
    let faults = params.faults_as_written(given, now());
    let told = faults.iter().map(|found| {
        let steps = found.pointer.split('/').filter(|step| !step.is_empty());
        let names = steps.map(|step| step.replace("~1", "/").replace("~0", "~"));
        let key = names.fold(section.to_owned(), |key, name| document_key(&key, &name));
        match is_secret(&key) {
            true => fault(&key, "the value does not fit the params of the metric"),
            false => fault(&key, &masked(&found.detail)),
        }
    });
    told.collect()
}

/// Why no metric has this name; `None`: its section is at fault, which is told already.
fn not_served(loaded: &Loaded, name: &str, metrics: &[Arc<Metric>]) -> Option<String> {
    if let Some(section) = loaded.config.metrics.get(name) {
        let disabled = format!("{name} is not served: [metrics.{name}] says enabled = false");
        return (!section.enabled).then_some(disabled);
    }
    let likeness = |metric: &&Arc<Metric>| strsim::jaro_winkler(name, metric.name());
    let near = metrics.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    let hint = match near.filter(|near| likeness(near) > 0.75) {
        Some(near) => format!("did you mean {}?", near.name()),
        None => "add a section [metrics.NAME] or the plugin's file".to_owned(),
    };
    Some(format!("no metric has the name {} ({hint})", quoted(name)))
}
