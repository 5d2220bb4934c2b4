//! The query of a question that is asked by GET: `params`, `expand`, and keys of the route's own.
//!
//! Strict, as the body of a POST, all faults at once.

use super::codes::Code;
use super::metric_request::{self, MetricRequest};
use super::problem::Problem;
use super::query_pairs::{QueryPairs, RawPairs};

/// What a query says, and what is wrong with it.
pub(crate) struct QuestionQuery {
    /// For the keys of the route's own.
    pub(crate) pairs: QueryPairs,
}

impl QuestionQuery {
    /// Reads a query that may have the keys `known`.
    ///
    /// # Errors
    /// 422 `invalid_request`: it is not UTF-8.
    pub(crate) fn new(query: RawPairs, known: &[&str]) -> Result<QuestionQuery, Problem> {
        Ok(QuestionQuery { pairs: QueryPairs::new(query, known, Code::InvalidRequest)? })
    }

    /// Whether names are wanted beside ids.
    pub(crate) fn names(&mut self) -> bool {
        let names = |text: &str| (text == "names").then_some(());
        self.pairs.read("expand", names, "expand is not \"names\", the only value").is_some()
    }

    /// The question to a metric.
    ///
    /// # Errors
    /// 422 with all faults: `invalid_params` if these are of the params alone.
    pub(crate) fn finish(self, metric: String, names: bool) -> Result<MetricRequest, Problem> {
        let mut pairs = self.pairs;
        match metric_request::with_params(metric, pairs.get("params").unwrap_or("{}"), names) {
            Ok(asked) => pairs.finish(asked),
            Err(fault) if pairs.is_sound() => {
                Err(Problem::invalid(Code::InvalidParams, vec![fault]))
            }
            Err(fault) => {
                pairs.add([fault]);
                Err(pairs.refused())
            }
        }
    }
}
