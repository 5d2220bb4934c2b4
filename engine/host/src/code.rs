//! The code of a plugin and of its metrics, whatever runs it: what the rest of this crate needs of
//! it.
//!
//! A native library ([`super::library`]) is one kind. Another kind is another implementation of
//! these two traits, and a line where a file becomes code ([`super::load`]). Texts cross as JSON,
//! columns and deltas as the plugin contract lays them out.

use tally_plugin::abi::{Columns, DeltaBuffer};

/// The name that log lines of a plugin carry: an address of it that stays valid.
pub(super) type Label = &'static &'static str;

/// The code of a plugin. It may be called from several threads at once, and stays valid as long as
/// the process lives.
pub(super) trait PluginCode: Send + Sync {
    /// `AboutText` as JSON.
    ///
    /// # Errors
    /// What the plugin says.
    fn about(&self, label: Label) -> Result<String, String>;

    /// `Description` as JSON, for a configuration in JSON.
    ///
    /// # Errors
    /// What the plugin says.
    fn describe(&self, config: &str, label: Label) -> Result<String, String>;

    /// A metric for a configuration in JSON.
    ///
    /// # Errors
    /// What the plugin says.
    fn create(&self, config: &str, label: Label) -> Result<Box<dyn MetricCode>, String>;
}

/// The code of one metric. It may be called from several threads at once.
pub(super) trait MetricCode: Send + Sync {
    /// Adds the deltas and key columns of a batch to a buffer. What they refer to is not checked.
    /// Called once for a batch.
    ///
    /// # Errors
    /// What the plugin says; what the buffer holds is worth nothing then.
    fn update_columns(&self, columns: &Columns<'_>, buffer: &mut DeltaBuffer)
    -> Result<(), String>;

    /// `Reply` as JSON for an `Ask` in JSON. May block as long as the reads do.
    ///
    /// # Errors
    /// What the plugin says.
    fn answer(&self, ask: &str, call: Call<'_>) -> Result<String, String>;
}

/// What a metric may ask of the host while it answers.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    /// Executes a read: JSON to JSON, or a sentence.
    pub(super) read: &'a dyn Fn(&str) -> Result<String, String>,
    /// Whether more is wanted of a reply that has so many bytes.
    pub(super) writing: &'a dyn Fn(usize) -> bool,
}
