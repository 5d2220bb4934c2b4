//! From folders and `[metrics.NAME]` sections to metrics, and the list of what was refused.
//!
//! Every refusal is one sentence: which file or section, why, what to do. A refusal never stops the
//! others.

use super::call_observer::CallObserver;
use super::code::Label;
use super::description_check as check;
use super::folder_scan::FolderScan;
use super::labels;
use super::load::{Plugin, readable};
use super::metric::Metric;
use super::plugin_set::PluginSet;
use super::refusal::{KeyFault, RejectedFile, Unfit};
use super::schema_faults;
use super::section_times::{read_spans, retain};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tally_config::{MetricConfig, PluginsConfig, document_key};
use tally_event::EventBatch;
use tally_plugin::description::Description;
use tally_schema::Schema;

/// What is to be served now.
pub struct Found {
    /// The metrics, by name. One that is as before is the same one.
    pub metrics: Vec<Arc<Metric>>,
    /// What was refused.
    pub rejected: Vec<RejectedFile>,
}

/// The plugins of some folders, and the metrics made of them.
///
/// The first folder is the configured one: whatever lies there and is refused is listed. The others
/// hold other things too (the program's own folder): only files that carry our handshake are looked
/// at, and listed if they are refused. Of a plugin's name the first file wins. A plugin of the
/// configured folder serves one metric under its own name, with the configuration `{}` unless a
/// section of that name says otherwise (nothing, where its config schema does not accept that); so
/// do some of the other folders, and the rest of them where a section names them. Further sections
/// may serve the same plugin under other names.
pub struct Registry {
    files: FolderScan,
    made: BTreeMap<String, Made>,
    /// The plugins of the last scan, the first of each name.
    plugins: Vec<(PathBuf, Arc<Plugin>)>,
    /// Plugins outside of the configured folder that need no section.
    shipped: Vec<String>,
    /// Names of metrics that are not made, whatever the sections say.
    disabled: Vec<String>,
    /// What is refused and was said so.
    said: BTreeSet<RejectedFile>,
}

/// What was made of a plugin and a section.
struct Made {
    sha256: String,
    section: MetricConfig,
    /// The metric; of an earlier plugin or section, if these gave none.
    metric: Option<Arc<Metric>>,
    refused: Option<RejectedFile>,
}

/// A section that its plugin takes, and what was made of both.
pub struct JudgedSection {
    name: String,
    made: Made,
}

impl JudgedSection {
    /// The metric that it makes.
    #[must_use]
    pub fn metric(&self) -> Option<Arc<Metric>> {
        self.made.metric.clone()
    }
}

impl Registry {
    /// Nothing is read yet. `private`: where copies are kept that are loaded. Of the configuration
    /// counts which of the other folders' plugins are served without a section, and whether what
    /// `SHA256SUMS` of its folder does not list is refused.
    #[must_use]
    pub fn new(dirs: &[PathBuf], private: &Path, config: &PluginsConfig) -> Registry {
        Registry {
            files: FolderScan::new(dirs, private, config.checksums),
            made: BTreeMap::new(),
            plugins: Vec::new(),
            shipped: config.shipped.clone(),
            disabled: Vec::new(),
            said: BTreeSet::new(),
        }
    }

    /// Leaves metrics of these names out.
    #[must_use]
    pub fn without(self, disabled: Vec<String>) -> Registry {
        Registry { disabled, ..self }
    }

    /// Has somebody told of the calls by which scans load plugins and make metrics.
    #[must_use]
    pub fn observed(mut self, observer: Arc<dyn CallObserver>) -> Registry {
        self.files.observe(observer);
        self
    }

    /// Scans the folders, and makes the metrics of these sections. What cannot be made leaves what
    /// was served before.
    pub fn scan(&mut self, sections: &BTreeMap<String, MetricConfig>) -> Found {
        let (plugins, mut rejected) = self.files.scan();
        let of = |wanted: &str| plugins.iter().find(|(_, plugin)| plugin.about.name == wanted);
        let disabled = self.disabled.clone();
        let mut made = BTreeMap::new();
        let wanted =
            sections.iter().filter(|(name, section)| section.enabled && !disabled.contains(name));
        for (name, section) in wanted {
            let wanted = section.plugin.as_ref().unwrap_or(name);
            match of(wanted) {
                Some((file, plugin)) => {
                    made.insert(name.clone(), self.make(name, file, plugin, section, true));
                }
                None => {
                    let key = if section.plugin.is_some() { "plugin" } else { "" };
                    rejected.push(RejectedFile::of_section(
                        name,
                        key,
                        unknown_plugin(name, wanted, &plugins),
                    ));
                }
            }
        }
        let own = |file: &Path, name: &String| {
            self.serves_unasked(file, name) && !sections.contains_key(name)
        };
        let unasked: Vec<_> =
            plugins.iter().filter(|(file, plugin)| own(file, &plugin.about.name)).collect();
        for (file, plugin) in unasked {
            let mut one =
                self.make(&plugin.about.name, file, plugin, &MetricConfig::default(), false);
            // One that cannot do without a configuration is meant for the sections that give one.
            if check::needs_config(&plugin.about)
                || sections
                    .values()
                    .any(|section| section.plugin.as_ref() == Some(&plugin.about.name))
            {
                one.refused = None;
            }
            made.insert(plugin.about.name.clone(), one);
        }
        self.made = made;
        self.plugins = plugins;
        rejected.extend(self.made.values().filter_map(|made| made.refused.clone()));
        let now: BTreeSet<RejectedFile> = rejected.iter().cloned().collect();
        for RejectedFile { file, reason, .. } in now.difference(&self.said) {
            tracing::warn!(file = %file.display(), "plugin refused: {reason}");
        }
        self.said = now;
        Found {
            metrics: self.made.values().filter_map(|made| made.metric.clone()).collect(),
            rejected,
        }
    }

    /// Whether metrics of this name are left out.
    #[must_use]
    pub fn is_disabled(&self, name: &str) -> bool {
        self.disabled.iter().any(|disabled| disabled == name)
    }

    /// Whether the plugin of this name serves its own metric without a section.
    fn serves_unasked(&self, file: &Path, name: &str) -> bool {
        let is_shipped = self.shipped.iter().any(|shipped| shipped == name);
        (self.files.is_configured(file) || is_shipped) && !self.is_disabled(name)
    }

    /// The metric that a scan would find of this name if no section had it, by the plugins of the
    /// last one.
    #[must_use]
    pub fn without_section(&self, name: &str) -> Option<Arc<Metric>> {
        let (file, plugin) = self.plugins.iter().find(|(_, plugin)| plugin.about.name == name)?;
        if !self.serves_unasked(file, name) {
            return None;
        }
        let made = metric(name, file, plugin, &MetricConfig::default());
        made.ok().map(Arc::new).or_else(|| self.made.get(name)?.metric.clone())
    }

    /// Judges a section as a scan would, by the plugins of the last one.
    ///
    /// # Errors
    /// What is wrong with it; never empty.
    pub fn judge(
        &self,
        name: &str,
        section: &MetricConfig,
    ) -> Result<JudgedSection, Vec<KeyFault>> {
        let wanted = section.plugin.as_deref().unwrap_or(name);
        let found = self.plugins.iter().find(|(_, plugin)| plugin.about.name == wanted);
        let Some((file, plugin)) = found else {
            let key = if section.plugin.is_some() { "plugin" } else { "" };
            let reason = unknown_plugin(name, wanted, &self.plugins);
            return Err(vec![KeyFault { key: key.to_owned(), reason }]);
        };
        if !plugin.labels.has_room(name) {
            let reason = format!(
                "the plugin {wanted} was given {} names since the engine started, each of which is \
                 kept: take one that was used before, or restart the engine",
                labels::MOST
            );
            return Err(vec![KeyFault { key: String::new(), reason }]);
        }
        let metric = metric(name, file, plugin, section).map_err(Unfit::into_faults)?;
        let made = Made {
            sha256: plugin.sha256.clone(),
            section: section.clone(),
            metric: Some(Arc::new(metric)),
            refused: None,
        };
        Ok(JudgedSection { name: name.to_owned(), made })
    }

    /// Has the next scan find what was made of a section.
    pub fn keep(&mut self, judged: JudgedSection) {
        self.made.insert(judged.name, judged.made);
    }

    /// A metric as it was, of a private copy whose file may be gone.
    ///
    /// # Errors
    /// A sentence.
    pub fn revive(
        &mut self,
        name: &str,
        sha256: &str,
        section: &MetricConfig,
    ) -> Result<Arc<Metric>, String> {
        let (copy, plugin) = self.files.revive(sha256)?;
        let _call = self.files.call(&plugin.about.name);
        metric(name, &copy, &plugin, section).map(Arc::new).map_err(|unfit| unfit.reason)
    }

    /// The plugins of the last scan, but for those whose name is left out.
    #[must_use]
    pub fn plugins(&self) -> PluginSet {
        let wanted = |plugin: &Plugin| !self.disabled.contains(&plugin.about.name);
        PluginSet(self.plugins.iter().filter(|(_, plugin)| wanted(plugin)).cloned().collect())
    }

    /// The plugin contents that lie in the folders now.
    #[must_use]
    pub fn present(&self) -> BTreeSet<String> {
        self.files.present()
    }

    /// How many private copies were made or looked at so far.
    #[must_use]
    pub fn copied(&self) -> u64 {
        self.files.copied()
    }

    /// Number of plugin contents that were ever loaded: each stays in memory.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.files.loaded()
    }

    /// `asked`: a section of the configuration says so.
    fn make(
        &mut self,
        name: &str,
        file: &Path,
        plugin: &Plugin,
        section: &MetricConfig,
        asked: bool,
    ) -> Made {
        let before = self.made.remove(name);
        match before {
            Some(before) if before.sha256 == plugin.sha256 && before.section == *section => before,
            before => {
                let (sha256, section) = (plugin.sha256.clone(), section.clone());
                let _call = self.files.call(&plugin.about.name);
                match metric(name, file, plugin, &section) {
                    Ok(metric) => {
                        Made { sha256, section, metric: Some(Arc::new(metric)), refused: None }
                    }
                    Err(Unfit { reason, key, .. }) => {
                        let refused = Some(match asked {
                            true => RejectedFile::of_section(name, &key, reason),
                            false => RejectedFile::file(file.to_owned(), reason),
                        });
                        Made {
                            sha256,
                            section,
                            metric: before.and_then(|before| before.metric),
                            refused,
                        }
                    }
                }
            }
        }
    }
}

/// Where the cure of a refused metric lies; NAME is the metric's.
const IN_CONFIG: &str = "fix [metrics.NAME] in the configuration";
const IN_PLUGIN: &str = "fix the plugin";
/// What a plugin is told to do may be what it cannot.
const IN_BOTH: &str = "fix [metrics.NAME.config], from which it follows";

/// One metric of a plugin.
pub(super) fn metric(
    name: &str,
    file: &Path,
    plugin: &Plugin,
    section: &MetricConfig,
) -> Result<Metric, Unfit> {
    let making = Making { name, file, plugin, section };
    let config = config_as_json(section).map_err(|fault| {
        making.one("its configuration is not representable as JSON", fault.to_string(), IN_CONFIG)
    })?;
    making.metric(config, || plugin.labels.of(name))
}

/// A metric that is to be made.
pub(super) struct Making<'a> {
    pub(super) name: &'a str,
    pub(super) file: &'a Path,
    pub(super) plugin: &'a Plugin,
    pub(super) section: &'a MetricConfig,
}

impl Making<'_> {
    fn unfit(&self, what: &str, faults: &[String], cure: &str, key: &str) -> Unfit {
        let Making { name, plugin, .. } = self;
        let what = format!("{what}: {}", faults.join("; "));
        let (cure, of) = (cure.replace("NAME", name), &plugin.about.name);
        let reason = format!("metric {name} of plugin {of}: {what} ({cure})");
        Unfit { reason, what, key: key.to_owned(), faults: Vec::new() }
    }

    fn one(&self, what: &str, fault: String, cure: &str) -> Unfit {
        self.unfit(what, &[fault], cure, "config")
    }

    /// Makes it with this configuration; log lines of the plugin carry the label.
    pub(super) fn metric(
        &self,
        config: Value,
        label: impl FnOnce() -> Label,
    ) -> Result<Metric, Unfit> {
        let Making { name, file, plugin, section } = *self;
        let follows = if section.config.is_empty() { IN_PLUGIN } else { IN_BOTH };
        let schema = Schema::compile(&plugin.about.config_schema).map_err(|fault| {
            self.one("its config schema cannot be used", fault.to_string(), IN_PLUGIN)
        })?;
        let faults = schema_faults::faults_of(&schema, &config);
        let faults: Vec<KeyFault> = faults.into_iter().map(config_fault).collect();
        if let Some(first) = faults.first() {
            let reasons: Vec<String> = faults.iter().map(|fault| fault.reason.clone()).collect();
            let what = "its configuration does not fit";
            let unfit = self.unfit(what, &reasons, IN_CONFIG, &first.key);
            return Err(Unfit { faults, ..unfit });
        }
        let (label, text) = (label(), config.to_string());
        let described = plugin
            .code
            .describe(&text, label)
            .map_err(|fault| self.one("it does not describe itself", fault, follows))?;
        let mut description: Description =
            readable(&described).map_err(|fault| self.one("its description", fault, IN_PLUGIN))?;
        let mut faults = check::description(&description);
        if !faults.is_empty() {
            return Err(self.unfit("its description cannot be served", &faults, follows, "config"));
        }
        faults.extend(retain(&mut description, &section.retention));
        let (history, keep_old) = read_spans(section, &mut faults);
        if !faults.is_empty() {
            let key = if section.retention.is_empty() { "" } else { "retention" };
            return Err(self.unfit("its section does not fit", &faults, IN_CONFIG, key));
        }
        let code = plugin
            .code
            .create(&text, label)
            .map_err(|fault| self.one("it does not start", fault, follows))?;
        let metric = Metric {
            name: name.into(),
            plugin: plugin.about.name.clone(),
            version: plugin.about.version.clone(),
            revision: plugin.about.revision,
            file: file.to_owned(),
            sha256: plugin.sha256.clone(),
            config,
            section: section.clone(),
            history,
            keep_old,
            description: Arc::new(description),
            code,
        };
        metric
            .update(&EventBatch::default(), &mut Vec::new())
            .map_err(|fault| self.one("it fails on an empty batch", fault, follows))?;
        Ok(metric)
    }
}

/// What is wrong with the configuration; `path`: the keys in it that lead there.
fn config_fault((path, reason): (Vec<String>, String)) -> KeyFault {
    let key = path.iter().fold("config".to_owned(), |key, part| document_key(&key, part));
    KeyFault { key, reason }
}

fn config_as_json(section: &MetricConfig) -> Result<Value, serde_json::Error> {
    if section.config.is_empty() { Ok(json!({})) } else { serde_json::to_value(&section.config) }
}

/// Names of plugins that are like this one, the nearest first.
pub(super) fn near_names<'p>(wanted: &str, plugins: &'p [(PathBuf, Arc<Plugin>)]) -> Vec<&'p str> {
    let mut near: Vec<(f64, &str)> = plugins
        .iter()
        .map(|(_, plugin)| {
            (strsim::jaro_winkler(wanted, &plugin.about.name), plugin.about.name.as_str())
        })
        .filter(|(likeness, _)| *likeness > 0.7)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

fn unknown_plugin(name: &str, wanted: &str, plugins: &[(PathBuf, Arc<Plugin>)]) -> String {
    let hint = match near_names(wanted, plugins).as_slice() {
        [] => "put its file into the plugin folder".to_string(),
        near => format!("did you mean {}?", near.join(", ")),
    };
    format!("[metrics.{name}] names the plugin {wanted}, which was not found ({hint})")
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
