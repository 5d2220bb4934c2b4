//! The query of a question that is asked by GET: `params`, `expand`, and keys of the route's own.
//!
//! Strict, as the body of a POST, all faults at once; an empty value of a known key counts as none.

use super::codes::Code;
use super::metric_request::{self, MetricRequest};
use super::problem::Problem;
use super::request_object::{given_twice, key_fault, unknown_key};
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use tally_plugin::ask::Fault;

/// What a query says, and what is wrong with it.
pub(crate) struct QuestionQuery {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
}

impl QuestionQuery {
    /// Reads a query that may have the keys `known`.
    ///
    /// # Errors
    /// 422 `invalid_request`: it is not UTF-8.
    pub(crate) fn new(
        query: Result<Query<Vec<(String, String)>>, QueryRejection>,
        known: &[&str],
    ) -> Result<QuestionQuery, Problem> {
        let Query(mut pairs) = query
            .map_err(|_| Problem::fault(Code::InvalidRequest, "", "the query is not UTF-8"))?;
        // An unknown key is told whatever its value: it may be one that is misspelt.
        pairs.retain(|(key, value)| !value.is_empty() || !known.contains(&key.as_str()));
        let mut faults = Vec::new();
        for (n, (key, _)) in pairs.iter().enumerate() {
            match (known.contains(&key.as_str()), pairs[..n].iter().any(|(other, _)| other == key))
            {
                (true, false) | (false, true) => {}
                (true, true) => {
                    faults.push(given_twice(key));
                }
                (false, false) => {
                    faults.push(unknown_key(key, &known.join(", ")));
                }
            }
        }
        Ok(QuestionQuery { pairs, faults })
    }

    /// The value of a key.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, text)| text.as_str())
    }

    /// Notes that the value of a key does not fit.
    pub(crate) fn fault(&mut self, key: &str, detail: &str) {
        self.faults.push(key_fault(key, detail.into()));
    }

    /// Whether names are wanted beside ids.
    pub(crate) fn names(&mut self) -> bool {
        let expand = self.get("expand").map(|expand| expand == "names");
        if expand == Some(false) {
            self.fault("expand", "expand is not \"names\", the only value");
        }
        expand.unwrap_or_default()
    }

    /// The question to a metric.
    ///
    /// # Errors
    /// 422 with all faults: `invalid_params` if these are of the params alone.
    pub(crate) fn finish(mut self, metric: String, names: bool) -> Result<MetricRequest, Problem> {
        let is_sound = self.faults.is_empty();
        let asked = metric_request::with_params(metric, self.get("params").unwrap_or("{}"), names);
        match asked {
            Ok(asked) if is_sound => Ok(asked),
            asked => {
                self.faults.extend(asked.err());
                let code = if is_sound { Code::InvalidParams } else { Code::InvalidRequest };
                Err(Problem::invalid(code, self.faults))
            }
        }
    }
}
