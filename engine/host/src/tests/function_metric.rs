//! A metric whose answer is a function, for tests of what becomes of answers: no file, no loader and
//! no library. The host feeds its cells.
//!
//! Never in what is shipped: the feature `test-plugin` of this crate.
#![allow(clippy::unwrap_used, reason = "a test without its metric has failed")]

use super::code::{Call, MetricCode};
use super::metric::{History, Metric};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tally_config::MetricConfig;
use tally_plugin::abi::{Columns, DeltaBuffer};
use tally_plugin::ask::{Ask, Reply};
use tally_plugin::description::Description;
use tally_plugin::read::{ReadAnswer, ReadRequest};

/// Executes a read; `None`: it failed, and so has the answer.
pub type ReadTable<'a> = dyn Fn(&ReadRequest) -> Option<ReadAnswer> + 'a;

struct Function<F>(F);

impl<F: Fn(&Ask, &ReadTable<'_>) -> Reply + Send + Sync> MetricCode for Function<F> {
    fn update_columns(&self, _: &Columns<'_>, _: &mut DeltaBuffer) -> Result<(), String> {
        Ok(())
    }

    fn answer(&self, ask: &str, call: Call<'_>) -> Result<String, String> {
        let ask: Ask = serde_json::from_str(ask).unwrap();
        let read = |request: &ReadRequest| {
            let answer = (call.read)(&serde_json::to_string(request).unwrap()).ok()?;
            let answer: ReadAnswer = serde_json::from_str(&answer).unwrap();
            Some(answer)
        };
        Ok(serde_json::to_string(&(self.0)(&ask, &read)).unwrap())
    }
}

/// A metric with the default section that answers by calling this function.
#[must_use]
pub fn function_metric(
    name: &str,
    description: Description,
    answer: impl Fn(&Ask, &ReadTable<'_>) -> Reply + Send + Sync + 'static,
) -> Metric {
    Metric {
        name: name.into(),
        plugin: name.into(),
        version: "1.0.0".into(),
        revision: 1,
        file: PathBuf::new(),
        sha256: String::new(),
        config: json!({}),
        section: MetricConfig::default(),
        history: History::All,
        keep_old: Duration::ZERO,
        description: Arc::new(description),
        code: Box::new(Function(answer)),
    }
}
