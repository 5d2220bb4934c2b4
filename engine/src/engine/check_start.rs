//! What a start would refuse of a configuration that can be read: every command that reads one asks
//! here, and so does the start.
//!
//! Faults that types and formats cannot express are found by the code that uses a value: the Kafka
//! client checks its settings, the Redis client its URL, the plugins their sections. This connects
//! to nothing, and writes nothing but copies of plugin files.

use crate::config::fault::Fault;
use crate::config::load::Loaded;
use crate::host::{Registry, RejectedFile};
use crate::log;
use crate::store;
use std::path::{Path, PathBuf};

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

/// The `[metrics.NAME]` sections that no engine would serve, each with its place, and the plugin
/// files that are refused. Loads the plugins of these folders from copies in `private`.
#[must_use]
pub fn judge_sections(
    loaded: &Loaded,
    plugin_dirs: &[PathBuf],
    private: &Path,
) -> (Vec<Fault>, Vec<String>) {
    let mut registry = Registry::new(plugin_dirs, private, &loaded.config.plugins);
    let (mut faults, mut files) = (Vec::new(), Vec::new());
    for RejectedFile { file, reason, section } in registry.scan(&loaded.config.metrics).rejected {
        match section {
            Some(key) => faults.push(loaded.fault(&key, format!("{}: {reason}", file.display()))),
            None => files.push(format!("{}: {reason}", file.display())),
        }
    }
    (faults, files)
}
