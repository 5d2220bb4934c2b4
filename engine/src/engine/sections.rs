//! Sections `[metrics.NAME]`: the façade's side. The plugin manager changes them (`lifecycle`).

use super::{Engine, OrderError};
use crate::config::{SectionFault, judge_size};
use std::sync::Arc;
use thiserror::Error;
use toml::Table;

/// Where a section stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionPlace {
    /// In the configuration file: only a person changes it.
    File,
    /// In the data directory: [`Engine::put_section`] and [`Engine::delete_section`] change it.
    DataDirectory,
}

/// A section.
#[derive(Clone, Debug, PartialEq)]
pub struct SectionInfo {
    /// The metric's name.
    pub name: String,
    /// Where it stands.
    pub place: SectionPlace,
    /// It is not in force: the configuration file has one of the same name.
    pub shadowed: bool,
    /// Its keys, without those that are as by default in a configuration file.
    pub section: Table,
    /// The same as a person writes it into a configuration file.
    pub toml: String,
}

/// What became of a section that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionChange {
    /// There was none of its name.
    Added,
    /// There was another one.
    Changed,
    /// It was there already; nothing was done.
    Unchanged,
}

/// The outcome of a put.
#[derive(Clone, Debug, PartialEq)]
pub struct PutSection {
    /// What became of it.
    pub change: SectionChange,
    /// As it is stored.
    pub section: SectionInfo,
}

/// What a change of a section would do to its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricEffect {
    /// It would be served; it is not yet.
    Added,
    /// Another revision would answer, at once or later.
    Replaced,
    /// The same revision would go on.
    Kept,
    /// It would be retired; what it counted stays stored.
    Removed,
    /// It is not served, and would not be.
    Unserved,
}

/// What a change of a section would do, while nothing is done.
#[derive(Clone, Debug, PartialEq)]
pub struct ForeseenSection {
    /// What it would do to the metric.
    pub effect: MetricEffect,
    /// Whether history would be counted that is not stored.
    pub counts_history: bool,
    /// All of it as a sentence, with what would be kept and what would be lost.
    pub would: String,
    /// The section as it would be stored; `None`: it would be taken away.
    pub section: Option<SectionInfo>,
}

/// Why a section was not changed; nothing was done, unless it says otherwise.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SectionError {
    /// The configuration file has one of this name, which goes before.
    #[error(
        "{file} has [metrics.{name}], which goes before any other: change it there, or take it out \
         there first"
    )]
    InFile {
        /// The metric's name.
        name: String,
        /// The configuration file, without its folder.
        file: String,
    },
    /// The data directory has none of this name.
    #[error("the data directory has no section [metrics.{0}]; GET /api/sections lists all")]
    NotFound(String),
    /// It would not be served.
    #[error("the section would not be served; {} faults", .0.len())]
    Invalid(Vec<SectionFault>),
    /// It was not done, or it is not known whether it was.
    #[error(transparent)]
    Order(#[from] OrderError),
}

impl SectionError {
    /// Whether the same request may succeed later, although nobody changes anything.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            SectionError::InFile { .. } | SectionError::NotFound(_) | SectionError::Invalid(_) => {
                false
            }
            SectionError::Order(fault) => fault.retry_helps(),
        }
    }
}

impl Engine {
    /// The sections, by name.
    pub fn sections(&self) -> Arc<Vec<SectionInfo>> {
        self.catalog.read().sections.clone()
    }

    /// Adds a section to the data directory, or changes one there, if it would be served: then its
    /// metric counts its history. The same section again changes nothing. Blocks until it is
    /// stored, some seconds at most.
    ///
    /// # Errors
    /// [`SectionError`].
    pub fn put_section(&self, name: &str, section: Table) -> Result<PutSection, SectionError> {
        require_size(name, &section)?;
        let queue = self.manager.lock().queue()?;
        queue.put_section(name.to_owned(), section)
    }

    /// What [`Engine::put_section`] would do; it judges the same and does nothing. Blocks likewise.
    ///
    /// # Errors
    /// [`SectionError`].
    pub fn foresee_put_section(
        &self,
        name: &str,
        section: Table,
    ) -> Result<ForeseenSection, SectionError> {
        require_size(name, &section)?;
        let queue = self.manager.lock().queue()?;
        queue.foresee_put(name.to_owned(), section)
    }

    /// Takes a section of the data directory away: its metric is retired, and what it has counted
    /// stays stored. The sentence says what was done. Blocks likewise.
    ///
    /// # Errors
    /// [`SectionError`].
    pub fn delete_section(&self, name: &str) -> Result<String, SectionError> {
        let queue = self.manager.lock().queue()?;
        queue.delete_section(name.to_owned())
    }

    /// What [`Engine::delete_section`] would do; it judges the same and does nothing. Blocks
    /// likewise.
    ///
    /// # Errors
    /// [`SectionError`].
    pub fn foresee_delete_section(&self, name: &str) -> Result<ForeseenSection, SectionError> {
        let queue = self.manager.lock().queue()?;
        queue.foresee_delete(name.to_owned())
    }
}

/// Refuses a section that is too large, before anything waits for it.
fn require_size(name: &str, section: &Table) -> Result<(), SectionError> {
    match judge_size(name, section) {
        Some(fault) => Err(SectionError::Invalid(vec![fault])),
        None => Ok(()),
    }
}
