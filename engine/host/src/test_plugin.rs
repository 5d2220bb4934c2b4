//! A plugin that is linked in, for tests of what counts with a metric: no file and no loader, the
//! same entry points.
//!
//! Never in what is shipped: the feature `test-plugin` of this crate.
#![allow(clippy::unwrap_used, reason = "a test without its metric has failed")]

use super::code::{MetricCode, PluginCode};
use super::library::{LibHeader, Library};
use super::metric::{History, Metric};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tally_config::MetricConfig;
use tally_plugin::description::Description;
use tally_plugin::prelude::*;

/// Counts the events of each user; the host feeds it.
struct Plain;

impl tally_plugin::Metric for Plain {
    const ABOUT: About = about!("plain", revision = 1);
    type Config = ();
    type Params = ();
    type Answer = ();

    fn new((): ()) -> Result<Self, String> {
        Ok(Plain)
    }

    fn describe(&self) -> Description {
        Description::new("A plain one").table(table("t").key([USER_ID]).cell("n", sum(ONE)))
    }

    fn answer(&self, _: &Request<()>, _: &Reader<'_>) -> Result<(), Refusal> {
        Ok(())
    }
}

static PLAIN: LibHeader = tally_plugin::export::header::<Plain>();

/// A metric named `plain`, of one table with one cell by user.
///
/// # Panics
/// The plugin contract that it was built with is not this host's.
#[must_use]
pub fn plain_metric() -> Metric {
    let library = Library::of(&PLAIN, Path::new("linked in")).unwrap();
    metric(library, library.create("null", &"plain").unwrap(), "null")
}

/// A metric of this library, without a file and with the default section.
pub(super) fn metric(library: Library, code: Box<dyn MetricCode>, config: &str) -> Metric {
    let about: Value = serde_json::from_str(&library.about(&"linked").unwrap()).unwrap();
    let name = about["name"].as_str().unwrap();
    let description: Description =
        serde_json::from_str(&library.describe(config, &"linked").unwrap()).unwrap();
    Metric {
        name: name.into(),
        plugin: name.into(),
        version: "1.0.0".into(),
        revision: about["revision"].as_u64().unwrap().try_into().unwrap(),
        file: PathBuf::new(),
        sha256: String::new(),
        config: json!({}),
        section: MetricConfig::default(),
        history: History::All,
        keep_old: Duration::ZERO,
        description: Arc::new(description),
        code,
    }
}
