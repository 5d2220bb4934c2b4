//! What a start would refuse of a configuration that can be read: asked by everybody who reads one, and by the start itself.
//!
//! What types and forms cannot say is judged by the code that uses a value: the Kafka client its settings, the client of Redis
//! its URL, the plugins their sections. Nothing is connected to and nothing is written but copies of plugin files.

use crate::config::fault::Fault;
use crate::config::load::Loaded;
use crate::plugin::{Registry, RejectedFile};
use crate::source;
use crate::store;
use std::path::{Path, PathBuf};

/// Faults of `[kafka]` and `[redis]`, each where it stands.
#[must_use]
pub fn judge(loaded: &Loaded) -> Vec<Fault> {
    let config = &loaded.config;
    let log = source::check_settings(config).into_iter();
    let mut faults: Vec<Fault> = log.map(|fault| loaded.fault(&fault.key, fault.what)).collect();
    faults.extend(store::judge(config).into_iter().map(|(key, fault)| loaded.fault(key, format!("{key}: {fault}"))));
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
