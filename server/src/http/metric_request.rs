//! The body of `POST /api/metrics`: read strictly, every fault named at once.
//!
//! Judges the shape of the request only; the engine judges whether the params suit the metric.

use super::codes::Code;
use super::problem::Problem;
use super::request_object::{RequestObject, invalid_json, json_value, key_fault};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;
use tally_engine::engine::{Question, canonical_params};
use tally_engine::event::Position;
use tally_plugin::ask::Fault;

/// The known top-level keys.
const KEYS: [&str; 6] = ["name", "params", "at_least", "wait_ms", "expand", "allow_partial"];

/// How long to wait for `at_least` by default, in milliseconds.
const WAIT_MS: u64 = 5_000;

/// The longest wait.
const LONGEST_WAIT_MS: u64 = 30_000;

/// A request to evaluate a metric.
#[derive(Clone, Debug)]
pub(crate) struct MetricRequest {
    /// The question to the engine.
    pub(crate) question: Question,
    /// The params as they were written, for the reply.
    pub(crate) params_text: String,
    /// Whether names are wanted beside ids.
    pub(crate) names: bool,
}

/// Reads the body.
///
/// # Errors
/// 400 `invalid_json`; 422 `invalid_request` with a pointer for each fault; 422 `invalid_params` if
/// the only fault is that `params` is not an object.
pub(crate) fn parse(body: &[u8]) -> Result<MetricRequest, Problem> {
    parse_value(json_value(body)?)
}

/// Reads a question that is a body, or a part of one.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_value(whole: &RawValue) -> Result<MetricRequest, Problem> {
    let object = RequestObject::of(whole)?;
    let mut faults = object.key_faults(&KEYS);
    let of = |name: &str| object.get(name);

    let name = match of("name") {
        None => Err("name is missing: the metric that is asked".to_owned()),
        Some(value) => parse_member("name", value, "a text"),
    };
    let at_least = of("at_least")
        .map(|value| {
            parse_member::<String>("at_least", value, "a position as text")
                .and_then(|text| text.parse::<Position>())
        })
        .transpose();
    let wait_ms = of("wait_ms").map_or(Ok(WAIT_MS), |value| match parse_natural(value) {
        None => Err(format!("wait_ms is not an integer from 0 to {LONGEST_WAIT_MS}")),
        Some(wait) if wait > LONGEST_WAIT_MS => {
            Err(format!("wait_ms is greater than the maximum of {LONGEST_WAIT_MS}: {wait}"))
        }
        Some(wait) => Ok(wait),
    });
    let expand = of("expand").map_or(Ok(Vec::new()), |value| {
        match parse_member::<Vec<String>>("expand", value, "an array of texts") {
            Ok(wanted) if wanted.iter().any(|wanted| wanted != "names") => {
                Err("expand has a value other than \"names\", the only one".into())
            }
            other => other,
        }
    });
    let allow_partial = of("allow_partial")
        .map_or(Ok(false), |value| parse_member("allow_partial", value, "true or false"));
    let mut take = |key: &str, fault_text: Option<&String>| {
        faults.extend(fault_text.map(|text| key_fault(key, text.clone())))
    };
    take("name", name.as_ref().err());
    take("at_least", at_least.as_ref().err());
    take("wait_ms", wait_ms.as_ref().err());
    take("expand", expand.as_ref().err());
    take("allow_partial", allow_partial.as_ref().err());

    let given = of("params").map_or("null", RawValue::get);
    let params: Value = serde_json::from_str(given).map_err(|error| invalid_json(&error))?;
    let code = if faults.is_empty() { Code::InvalidParams } else { Code::InvalidRequest };
    faults.extend(check_params(&params));

    match (name, at_least, wait_ms, expand, allow_partial) {
        (Ok(name), Ok(at_least), Ok(wait_ms), Ok(expand), Ok(allow_partial))
            if faults.is_empty() =>
        {
            Ok(MetricRequest {
                params_text: if params.is_null() { "{}".into() } else { given.to_owned() },
                question: Question {
                    name,
                    params,
                    at_least,
                    wait: Duration::from_millis(wait_ms),
                    allow_partial,
                    calling: std::sync::Arc::default(),
                },
                names: !expand.is_empty(),
            })
        }
        _ => Err(Problem::invalid(code, faults)),
    }
}

/// A question with these params as text, and nothing else.
///
/// # Errors
/// The text is no JSON object.
pub(crate) fn with_params(name: String, text: &str, names: bool) -> Result<MetricRequest, Fault> {
    let params: Value = serde_json::from_str(text)
        .map_err(|error| key_fault("params", format!("params is not JSON: {error}")))?;
    if let Some(fault) = check_params(&params) {
        return Err(fault);
    }
    Ok(MetricRequest {
        params_text: if params.is_null() { "{}".into() } else { text.to_owned() },
        question: Question {
            name,
            params,
            at_least: None,
            wait: Duration::ZERO,
            allow_partial: false,
            calling: std::sync::Arc::default(),
        },
        names,
    })
}

impl MetricRequest {
    /// The same question, to be asked once more.
    pub(crate) fn again(&self) -> MetricRequest {
        let question = Question { calling: std::sync::Arc::default(), ..self.question.clone() };
        MetricRequest { question, ..self.clone() }
    }

    /// The params in one spelling, the engine's.
    pub(crate) fn canonical_params(&self) -> String {
        self.question.params.as_object().map_or_else(|| "{}".to_owned(), canonical_params)
    }
}

fn check_params(params: &Value) -> Option<Fault> {
    (!params.is_object() && !params.is_null())
        .then(|| key_fault("params", "params is not an object".into()))
}

fn parse_member<'a, T: Deserialize<'a>>(
    key: &str,
    value: &'a RawValue,
    what: &str,
) -> Result<T, String> {
    serde_json::from_str(value.get()).map_err(|_| format!("{key} is not {what}"))
}

/// An integer from 0 on, however it is written (`5.0`, `1e1`).
pub(crate) fn parse_natural(value: &RawValue) -> Option<u64> {
    let text = value.get();
    text.parse()
        .ok()
        .or_else(|| u64::try_from(tally_plugin::property::integer(text.as_bytes())?).ok())
}
