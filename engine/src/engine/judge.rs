//! What a start would refuse of a configuration that can be read: asked by everybody who reads one, and by the start itself.
//!
//! What types and forms cannot say is judged by the code that uses a value: the Kafka client its settings, the client of Redis
//! its URL, the plugins their sections. Nothing is connected to and nothing is written but copies of plugin files.

use super::start::redis_settings;
use crate::config::SourceKind;
use crate::config::document_key;
use crate::config::fault::Fault;
use crate::config::load::Loaded;
use crate::plugin::{Registry, RejectedFile};
use crate::source::kafka;
use std::path::{Path, PathBuf};

/// Faults of `[kafka]` and `[redis]`, each where it stands.
#[must_use]
pub fn judge(loaded: &Loaded) -> Vec<Fault> {
    let config = &loaded.config;
    let mut faults = Vec::new();
    // The client library is asked only where it is to be used: asking takes some milliseconds.
    if config.source.kind == SourceKind::Kafka || !config.kafka.settings.is_empty() {
        faults.extend(kafka::judge(&config.kafka).into_iter().map(|(setting, fault)| match setting {
            Some(name) => {
                let key = document_key("kafka.settings", &name);
                loaded.fault(&key, format!("{key} {fault}"))
            }
            None => loaded.fault("kafka.settings", format!("[kafka]: {fault}")),
        }));
    }
    let redis = redis_settings(&config.redis).judge();
    faults.extend(redis.into_iter().map(|(key, fault)| loaded.fault(key, format!("{key}: {fault}"))));
    faults
}

/// The `[metrics.NAME]` sections that no engine would serve, each where it stands, by loading the plugins of these folders from
/// copies in `private`; and the plugin files that are refused.
#[must_use]
pub fn judge_sections(loaded: &Loaded, plugin_dirs: &[PathBuf], private: &Path) -> (Vec<Fault>, Vec<String>) {
    let mut registry = Registry::new(plugin_dirs, private, &loaded.config.plugins);
    let (mut faults, mut files) = (Vec::new(), Vec::new());
    for RejectedFile { file, reason, section } in registry.look(&loaded.config.metrics).rejected {
        match section {
            Some(key) => faults.push(loaded.fault(&key, format!("{}: {reason}", file.display()))),
            None => files.push(format!("{}: {reason}", file.display())),
        }
    }
    (faults, files)
}
