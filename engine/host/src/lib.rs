//! Plugin files become metrics: found, checked, loaded, described, and called.
//!
//! A file is never loaded where it lies: it is read once, checked as bytes, and loaded from a
//! private copy named after its content. What is refused is listed with one sentence and harms
//! nothing. A loaded file stays loaded. This crate knows no state, no pipeline and no clock;
//! callers that read tables for a metric hand over a [`Read`].

mod call_observer;
mod checksums;
mod code;
mod description_check;
mod elf;
mod folder_scan;
#[cfg(any(test, feature = "test-plugin"))]
#[path = "tests/function_metric.rs"]
mod function_metric;
mod labels;
pub mod last_words;
mod library;
mod load;
mod metric;
mod plugin_file;
mod plugin_set;
mod private_copies;
mod refusal;
mod registry;
mod schema_faults;
mod section_times;
mod standalone;
#[cfg(any(test, feature = "test-plugin"))]
mod test_plugin;

pub use call_observer::CallObserver;
#[cfg(any(test, feature = "test-plugin"))]
#[doc(hidden)]
pub use function_metric::{ReadTable, function_metric};
pub use library::quietly;
pub use metric::{AnswerFailure, Answered, Computed, Delta, History, Metric, Read, ReadFault};
pub use plugin_set::{MakeFault, PluginInfo, PluginSet};
pub use private_copies::{mapped, sweep};
pub use refusal::{KeyFault, LoadError, LoadErrorKind, RejectedFile};
pub use registry::{Found, JudgedSection, Registry};
pub use standalone::{LoneMetric, LonePlugin, PluginFile, fits_schema};
#[cfg(any(test, feature = "test-plugin"))]
#[doc(hidden)]
pub use test_plugin::plain_metric;
