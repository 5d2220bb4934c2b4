//! From folders and `[metrics.NAME]` sections to metrics, and the list of what was refused.
//!
//! Every refusal is one sentence: which file or section, why, what to do. A refusal never stops the others.

use super::check;
use super::elf;
use super::folder::{self, Candidate};
use super::library::Library;
use super::metric::Metric;
use crate::config::MetricConfig;
use crate::event::EventBatch;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tally_plugin::abi::{GENERATION, Handshake, HandshakeText};
use tally_plugin::description::{AboutText, Description};

/// What was found.
pub struct Loaded {
    /// The metrics, by name.
    pub metrics: Vec<Metric>,
    /// What was refused.
    pub rejected: Vec<RejectedFile>,
}

/// A file, or a section of the configuration, that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedFile {
    /// The file; for a section that names no known plugin, `[metrics.NAME]`.
    pub file: PathBuf,
    /// One sentence.
    pub reason: String,
}

/// A plugin file that is loaded.
struct Plugin {
    about: AboutText,
    library: Library,
    file: PathBuf,
    sha256: String,
}

/// Loads all plugins of these folders and makes the metrics of these sections.
///
/// The first folder is the configured one: whatever lies there and is no good is listed. The others hold other things
/// too (the program's own folder): only files that carry our handshake are looked at, and listed if they are no good.
/// Of a plugin's name the first file wins. A plugin serves one metric under its own name, with the configuration `{}`
/// unless a section of that name says otherwise (nothing, where its config schema does not accept that); further sections may
/// serve the same plugin under other names.
#[must_use]
pub fn load(dirs: &[PathBuf], private: &Path, metrics: &BTreeMap<String, MetricConfig>) -> Loaded {
    let mut rejected = Vec::new();
    let plugins = plugins(dirs, private, &mut rejected);
    let mut served = Vec::new();
    for (name, section) in metrics.iter().filter(|(_, section)| section.enabled) {
        let wanted = section.plugin.as_ref().unwrap_or(name);
        let made = match plugins.iter().find(|plugin| plugin.about.name == *wanted) {
            Some(plugin) => metric(name, plugin, section).map_err(|reason| (plugin.file.clone(), reason)),
            None => Err((PathBuf::from(format!("[metrics.{name}]")), unknown_plugin(name, wanted, &plugins))),
        };
        match made {
            Ok(metric) => served.push(metric),
            Err((file, reason)) => rejected.push(RejectedFile { file, reason }),
        }
    }
    for plugin in plugins.iter().filter(|plugin| !metrics.contains_key(&plugin.about.name)) {
        match metric(&plugin.about.name, plugin, &MetricConfig::default()) {
            Ok(metric) => served.push(metric),
            // One that cannot do without a configuration is meant for the sections that give one.
            Err(_) if check::needs_config(&plugin.about) => {}
            Err(_) if metrics.values().any(|section| section.plugin.as_ref() == Some(&plugin.about.name)) => {}
            Err(reason) => rejected.push(RejectedFile { file: plugin.file.clone(), reason }),
        }
    }
    for RejectedFile { file, reason } in &rejected {
        tracing::warn!(file = %file.display(), "{reason}");
    }
    served.sort_by(|a, b| a.name.cmp(&b.name));
    Loaded { metrics: served, rejected }
}

fn plugins(dirs: &[PathBuf], private: &Path, rejected: &mut Vec<RejectedFile>) -> Vec<Plugin> {
    let mut plugins: Vec<Plugin> = Vec::new();
    for (number, dir) in dirs.iter().enumerate() {
        if dirs[..number].contains(dir) {
            continue;
        }
        let configured = number == 0;
        let files = match folder::names(dir) {
            Ok(files) => files,
            Err(reason) => {
                rejected.push(RejectedFile { file: dir.clone(), reason });
                continue;
            }
        };
        for file in files {
            let loaded = match candidate(&file) {
                Ok((candidate, handshake)) => {
                    if !configured && plugins.iter().any(|plugin| plugin.sha256 == candidate.sha256) {
                        continue;
                    }
                    load_file(&file, &candidate, &handshake, private, &plugins)
                }
                Err(reason) if configured => Err(reason),
                Err(reason) => {
                    tracing::debug!(file = %file.display(), "not looked at: {reason}");
                    continue;
                }
            };
            match loaded {
                Ok(plugin) => plugins.push(plugin),
                Err(reason) => {
                    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    rejected.push(RejectedFile { file, reason: format!("{name} {reason}") });
                }
            }
        }
    }
    plugins
}

/// A trusted, whole shared object with our handshake.
fn candidate(file: &Path) -> Result<(Candidate, HandshakeText), String> {
    let candidate = folder::read(file)?;
    let handshake = elf::inspect(&candidate.bytes)?;
    let missing = || {
        "is a shared object but not a Tally plugin: it has no export_metric! (add it and build again, or move the file away)".to_string()
    };
    Ok((candidate, handshake.ok_or_else(missing)?))
}

fn load_file(
    file: &Path,
    candidate: &Candidate,
    handshake: &HandshakeText,
    private: &Path,
    others: &[Plugin],
) -> Result<Plugin, String> {
    if let Some(same) = others.iter().find(|other| other.sha256 == candidate.sha256) {
        return Err(format!("has the same content as {} (remove one of them)", same.file.display()));
    }
    fits(handshake)?;
    if candidate.group_writable {
        tracing::warn!(file = %file.display(), "this plugin file can be written by its group");
    }
    let copy = folder::keep(private, candidate)?;
    let library = Library::open(&copy)?;
    let text = library
        .about("(a plugin being loaded)")
        .map_err(|fault| format!("does not say what it is: {fault} (mend the plugin)"))?;
    let about: AboutText = readable(&text)?;
    let faults = check::about(&about);
    if !faults.is_empty() {
        return Err(format!("cannot be served: {} (mend the plugin)", faults.join("; ")));
    }
    if let Some(first) = others.iter().find(|other| other.about.name == about.name) {
        return Err(format!(
            "is another plugin named {}: {} came first (remove one of them)",
            about.name,
            first.file.display()
        ));
    }
    tracing::info!(plugin = about.name, version = about.version, file = %file.display(), sdk = handshake.sdk, rustc = handshake.rustc, "plugin loaded");
    Ok(Plugin { about, library, file: file.to_path_buf(), sha256: candidate.sha256.clone() })
}

/// Whether a file was built for this engine.
fn fits(handshake: &HandshakeText) -> Result<(), String> {
    if handshake.generation != GENERATION {
        let cure = if handshake.generation > GENERATION {
            "update the engine"
        } else {
            "rebuild the plugin with a current tally-plugin"
        };
        return Err(format!(
            "was built for plugin interface {}, this engine speaks {GENERATION} ({cure})",
            handshake.generation
        ));
    }
    let own = Handshake::own();
    let padded = |text: &str, field: &[u8]| {
        field.starts_with(text.as_bytes()) && field[text.len()..].iter().all(|byte| *byte == 0)
    };
    if !padded(&handshake.target, &own.target) {
        let own = String::from_utf8_lossy(&own.target).trim_end_matches('\0').to_string();
        return Err(format!(
            "was built for {}, this engine for {own} (rebuild it with --target {own})",
            handshake.target
        ));
    }
    if handshake.panic != "unwind" {
        return Err(format!(
            "was built with panic = \"{}\": a fault in it would end the engine (build it with panic = \"unwind\")",
            handshake.panic
        ));
    }
    Ok(())
}

/// Where the cure of a refused metric lies; NAME is the metric's.
const IN_CONFIG: &str = "mend [metrics.NAME] in the configuration";
const IN_PLUGIN: &str = "mend the plugin";
const IN_BOTH: &str = "mend [metrics.NAME] in the configuration, or the plugin";

/// One metric of a plugin.
fn metric(name: &str, plugin: &Plugin, section: &MetricConfig) -> Result<Metric, String> {
    let refused = |what: &str, faults: &[String], cure: &str| {
        let cure = cure.replace("NAME", name);
        format!("metric {name} of plugin {}: {what}: {} ({cure})", plugin.about.name, faults.join("; "))
    };
    let one = |what: &str, fault: String, cure: &str| refused(what, &[fault], cure);
    let config = if section.config.is_empty() {
        json!({})
    } else {
        serde_json::to_value(&section.config)
            .map_err(|fault| one("its configuration is not representable as JSON", fault.to_string(), IN_CONFIG))?
    };
    let schema = jsonschema::validator_for(&plugin.about.config_schema)
        .map_err(|fault| one("its config schema is unusable", fault.to_string(), IN_PLUGIN))?;
    let faults = check::against(&schema, &config);
    if !faults.is_empty() {
        return Err(refused("its configuration does not fit", &faults, IN_CONFIG));
    }
    // Leaked once for each metric that is loaded: log lines of the plugin carry it as long as the process lives.
    let label: &'static str = Box::leak(name.to_string().into_boxed_str());
    let text = config.to_string();
    let described =
        plugin.library.describe(&text, label).map_err(|fault| one("it does not describe itself", fault, IN_PLUGIN))?;
    let mut description: Description =
        readable(&described).map_err(|fault| one("its description", fault, IN_PLUGIN))?;
    let mut faults = check::description(&description);
    if !faults.is_empty() {
        return Err(refused("its description cannot be served", &faults, IN_PLUGIN));
    }
    faults.extend(retain(&mut description, &section.retention));
    if !faults.is_empty() {
        return Err(refused("its retention does not fit", &faults, IN_CONFIG));
    }
    let hosted = plugin.library.create(&text, label).map_err(|fault| one("it does not start", fault, IN_BOTH))?;
    let metric = Metric {
        name: name.into(),
        plugin: plugin.about.name.clone(),
        version: plugin.about.version.clone(),
        revision: plugin.about.revision,
        file: plugin.file.clone(),
        sha256: plugin.sha256.clone(),
        config,
        description: Arc::new(description),
        hosted,
    };
    metric
        .update(&EventBatch::default(), &mut Vec::new())
        .map_err(|fault| one("it fails on an empty batch", fault, IN_PLUGIN))?;
    Ok(metric)
}

/// Applies the configured retention; what is wrong with it.
fn retain(description: &mut Description, retention: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    for (pane, keep) in retention {
        let Some(keep_ms) = length(keep) else {
            faults.push(format!("{keep:?} is not a length of time such as \"48h\", \"90d\" or \"all\""));
            continue;
        };
        let tiers = description.tables.iter_mut().flat_map(|table| &mut table.tiers);
        let mut tiers = tiers.filter(|tier| check::pane_name(tier.pane) == pane).peekable();
        if tiers.peek().is_none() {
            faults.push(format!("no table has a tier {pane:?}"));
        }
        tiers.for_each(|tier| tier.keep_ms = keep_ms);
    }
    faults.extend(description.tables.iter().flat_map(check::tiers));
    faults
}

/// `"30m"`, `"48h"`, `"90d"`, `"2w"` in milliseconds, `"all"` as `Some(None)`.
fn length(text: &str) -> Option<Option<i64>> {
    if text == "all" {
        return Some(None);
    }
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let minutes = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 24 * 60,
        "w" => 7 * 24 * 60,
        _ => return None,
    };
    let number: i64 = number.parse().ok().filter(|number| *number > 0 && !text.starts_with('+'))?;
    Some(Some(number.checked_mul(minutes * 60_000)?))
}

/// A text of a plugin as what it should be.
fn readable<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    if text.len() > check::LARGEST_TEXT {
        return Err(format!("is longer than {} KiB", check::LARGEST_TEXT >> 10));
    }
    let value: Value = serde_json::from_str(text).map_err(|fault| format!("is not JSON: {fault}"))?;
    serde_json::from_value(value)
        .map_err(|fault| format!("is not one that this engine understands: {fault} (update the engine)"))
}

fn unknown_plugin(name: &str, wanted: &str, plugins: &[Plugin]) -> String {
    let mut near: Vec<(f64, &str)> = plugins
        .iter()
        .map(|plugin| (strsim::jaro_winkler(wanted, &plugin.about.name), plugin.about.name.as_str()))
        .filter(|(likeness, _)| *likeness > 0.7)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let near: Vec<&str> = near.into_iter().take(3).map(|(_, name)| name).collect();
    let hint = match near.as_slice() {
        [] => "put its file into the plugin folder".to_string(),
        near => format!("did you mean {}?", near.join(", ")),
    };
    format!("[metrics.{name}] names the plugin {wanted}, which was not found ({hint})")
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
