//! Plugin files become metrics: found, checked, loaded, described, and called.
//!
//! A file is never loaded where it lies: it is read once, checked as bytes, and loaded from a private copy named after
//! its content. What is refused is listed with one sentence and harms nothing. A loaded file stays loaded. This module
//! knows no state, no pipeline and no clock; who reads tables for a metric hands over a [`Read`].

mod alone;
mod check;
mod checksums;
mod copies;
mod elf;
mod files;
mod folder;
pub mod last_words;
mod library;
mod metric;
mod refusal;
mod registry;
mod schema;

pub use alone::{LoneMetric, LonePlugin, PluginFile, fits_schema};
pub use copies::{mapped, sweep};
#[cfg(test)]
pub(crate) use library::plain;
pub use library::quietly;
pub use metric::{AnswerFailure, Answered, Computed, Delta, History, Metric, Read, ReadFault};
pub use refusal::RejectedFile;
pub use registry::{Found, Registry};
