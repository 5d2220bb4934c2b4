//! A plugin file on its own, without an engine, a log or a store: for people who want to know
//! whether it can be used.
//!
//! The same gate as [`super::Registry`], step by step, so that each step can be reported. A metric
//! that comes out can be called, so that the laws of the test kit can be held against it. A file
//! that ends the process ends this one: who looks at files of strangers does it in a process of its
//! own.

use super::description_check as check;
use super::elf;
use super::load::{self, Plugin};
use super::metric::Metric;
use super::plugin_file::{self, Candidate};
use super::refusal::LoadError;
use super::registry;
use super::schema_faults;
use serde_json::Value;
use std::path::{Path, PathBuf};
use tally_config::MetricConfig;
use tally_plugin::abi::{Columns, DeltaBuffer, HandshakeText};
use tally_plugin::ask::{Ask, Reply};
use tally_plugin::description::{AboutText, Description};
use tally_plugin::read::{ReadAnswer, ReadRequest};
use tally_schema::Schema;

/// A file that was read and is a whole shared object; nothing of it has run.
pub struct PluginFile {
    file: PathBuf,
    candidate: Candidate,
    handshake: Option<HandshakeText>,
}

/// A file that is loaded, and says what it is.
pub struct LonePlugin(Plugin, PathBuf);

/// A metric of a file that is loaded.
pub struct LoneMetric(Metric);

impl PluginFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`LoadError`]: it is not trusted, or not a whole shared object.
    pub fn read(file: &Path) -> Result<PluginFile, LoadError> {
        let candidate = plugin_file::read(file)?;
        let handshake = elf::inspect(&candidate.bytes)?;
        Ok(PluginFile { file: file.to_path_buf(), candidate, handshake })
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.candidate.bytes.len()
    }

    /// Hash of its content, hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.candidate.sha256
    }

    /// What it says of how it was built.
    ///
    /// # Errors
    /// [`LoadError`]: it says nothing, or was built for another engine.
    pub fn handshake(&self) -> Result<&HandshakeText, LoadError> {
        let handshake = self.handshake.as_ref().ok_or_else(load::without_handshake)?;
        load::fits(handshake)?;
        Ok(handshake)
    }

    /// Loads it, from a copy in the folder `private`; asks it what it is.
    ///
    /// # Errors
    /// [`LoadError`]: its handshake or layout does not fit, or what it says of itself cannot be
    /// served.
    pub fn load(&self, private: &Path) -> Result<LonePlugin, LoadError> {
        let plugin = load::load(&self.file, &self.candidate, self.handshake()?, private)?;
        Ok(LonePlugin(plugin, self.file.clone()))
    }
}

impl LonePlugin {
    /// What it says of itself.
    #[must_use]
    pub fn about(&self) -> &AboutText {
        &self.0.about
    }

    /// Makes its metric.
    ///
    /// # Errors
    /// A sentence: the configuration does not fit, or its description cannot be served.
    pub fn metric(&self, section: &MetricConfig) -> Result<LoneMetric, String> {
        let made = registry::metric(&self.0.about.name, &self.1, &self.0, section);
        made.map(LoneMetric).map_err(|unfit| unfit.reason)
    }

    /// Whether it serves nothing without a configuration.
    #[must_use]
    pub fn needs_config(&self) -> bool {
        check::needs_config(&self.0.about)
    }
}

impl LoneMetric {
    /// What it says of itself, with the configured retention.
    #[must_use]
    pub fn description(&self) -> &Description {
        self.0.description()
    }

    /// Whether `update` must be called; otherwise the host feeds all cells.
    #[must_use]
    pub fn needs_update(&self) -> bool {
        self.0.needs_update()
    }

    /// Calls `update` with a batch: adds its deltas, and the keys of computed columns.
    ///
    /// # Errors
    /// A sentence: it failed.
    pub fn update_columns(
        &self,
        columns: &Columns<'_>,
        buffer: &mut DeltaBuffer,
    ) -> Result<(), String> {
        self.0.code.update_columns(columns, buffer)
    }

    /// Calls `answer`, which reads by this function.
    ///
    /// # Errors
    /// A sentence: it failed. A refusal is a reply.
    pub fn answer(
        &self,
        ask: &Ask,
        source: &dyn Fn(&ReadRequest) -> Result<ReadAnswer, String>,
    ) -> Result<Reply, String> {
        self.0.answer(ask, &Through(source)).map_err(|fault| fault.to_string())?.into_reply()
    }
}

/// Reads by a function.
struct Through<'a>(&'a dyn Fn(&ReadRequest) -> Result<ReadAnswer, String>);

impl super::Read for Through<'_> {
    fn read(&self, request: &ReadRequest) -> Result<ReadAnswer, super::ReadFault> {
        (self.0)(request).map_err(super::ReadFault::Request)
    }
}

/// Whether a value fits a JSON Schema: what the engine takes params by.
///
/// # Errors
/// All faults, as one sentence.
pub fn fits_schema(schema: &Value, value: &Value) -> Result<(), String> {
    let schema =
        Schema::compile(schema).map_err(|fault| format!("the schema cannot be used: {fault}"))?;
    let faults = schema_faults::against(&schema, value);
    if faults.is_empty() { Ok(()) } else { Err(faults.join("; ")) }
}
