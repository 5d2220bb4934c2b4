//! `POST /api/preview`: what a plugin with a configuration would answer over the newest records.
//!
//! The body is read strictly, every fault named at once; the engine judges configuration and params,
//! counts and answers, on a blocking thread and one preview at a time. A caller that does not wait
//! leaves it to finish. No names are added, and nothing is kept.

use super::audit::unavailable;
use super::codes::Code;
use super::complete_answer::{COPIES, LARGE, sent, take};
use super::envelope::Envelope;
use super::metric_request::parse_natural;
use super::problem::Problem;
use super::request_object::{RequestObject, invalid_json, key_fault};
use super::{App, blocking, request_body};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tally_engine::engine::{MakeFault, Preview, PreviewError, PreviewRequest};
use tally_engine::memory::Held;
use tally_plugin::ask::Fault;

/// The known keys of the body.
const KEYS: [&str; 4] = ["plugin", "config", "params", "records"];

/// Records that are counted by default, and at most.
const RECORDS: u64 = 50_000;
const MOST: u64 = 200_000;

/// Letters of an unknown name that a problem repeats.
const LONGEST_NAME: usize = 64;

pub(crate) async fn preview(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let body = request_body::json(&parts.headers, body, app.limits.body).await?;
    let asked = Arc::clone(&app);
    let preview = move || answered(&asked, &body, started);
    let answered = blocking::run_within(app.limits.preview, preview).await?;
    let (text, held) = answered.ok_or_else(|| {
        let detail = "the preview is not made in time: its plugin, or the log, does not return; \
                      until it does, no other preview is made";
        Problem::new(Code::DeadlineExceeded, detail)
    })??;
    let mut response = Response::new(sent(text, held));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// Makes the preview, and the text of its reply. Blocks.
fn answered(app: &App, body: &[u8], started: Instant) -> Result<(String, Option<Held>), Problem> {
    let (request, params) = parse(body)?;
    let preview: Preview =
        app.engine.preview(&request).map_err(|fault| refused(fault, &request.plugin))?;
    let bytes = preview.evaluated.result.len();
    let held = if bytes > LARGE { Some(take(app, bytes as u64 * COPIES)?) } else { None };
    let envelope = Envelope::of_preview(&request.plugin, &params, &preview);
    Ok((envelope.text(preview.evaluated.as_of, started.elapsed()), held))
}

/// The request, and its params as they were written.
fn parse(body: &[u8]) -> Result<(PreviewRequest, String), Problem> {
    let object = RequestObject::parse(body)?;
    let mut faults = object.key_faults(&KEYS);
    let plugin = match object.get("plugin").map(|value| serde_json::from_str::<String>(value.get()))
    {
        Some(Ok(plugin)) => Some(plugin),
        Some(Err(_)) => fault(&mut faults, "plugin", "plugin is not a text"),
        None => fault(&mut faults, "plugin", "plugin is missing: the one that is tried"),
    };
    let records = match object.get("records").map_or(Some(RECORDS), parse_natural) {
        Some(records @ 1..=MOST) => Some(records),
        _ => fault(&mut faults, "records", &format!("records is not an integer from 1 to {MOST}")),
    };
    let config = value_of(object.get("config"))?;
    if !config.is_object() {
        faults.push(key_fault("config", "config is not an object".into()));
    }
    let given = object.get("params").filter(|params| params.get() != "null");
    let params = value_of(given)?;
    if !params.is_object() {
        faults.push(key_fault("params", "params is not an object".into()));
    }
    match (plugin, records) {
        (Some(plugin), Some(records)) if faults.is_empty() => {
            let written = given.map_or("{}", RawValue::get).to_owned();
            Ok((PreviewRequest { plugin, config, params, records }, written))
        }
        _ => Err(Problem::invalid(Code::InvalidRequest, faults)),
    }
}

/// Notes what is wrong with a key, unless something is noted already.
fn fault<T>(faults: &mut Vec<Fault>, key: &str, detail: &str) -> Option<T> {
    let fault = key_fault(key, detail.to_owned());
    if faults.iter().all(|known| known.pointer != fault.pointer) {
        faults.push(fault);
    }
    None
}

/// `{}` where there is nothing.
fn value_of(raw: Option<&RawValue>) -> Result<Value, Problem> {
    raw.map_or(Ok(json!({})), |raw| serde_json::from_str(raw.get()))
        .map_err(|error| invalid_json(&error))
}

fn refused(fault: PreviewError, plugin: &str) -> Problem {
    let (detail, helps) = (fault.to_string(), fault.retry_helps());
    match fault {
        PreviewError::Busy(_) | PreviewError::NoRoom => Problem::overloaded(&detail),
        PreviewError::Plugin(MakeFault::Unknown(near)) => {
            let hint =
                near.first().map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"));
            let name: String = plugin.chars().take(LONGEST_NAME).collect();
            let detail = format!("unknown plugin \"{}\"{hint}", name.escape_debug());
            Problem::new(Code::PluginNotFound, detail).with("suggestions", near)
        }
        PreviewError::Plugin(MakeFault::Config(faults)) => {
            Problem::invalid(Code::InvalidConfig, faults)
        }
        PreviewError::Question(fault) => fault.into(),
        PreviewError::Log(fault) => unavailable(&fault, helps),
        PreviewError::Late(_) => Problem::new(Code::DeadlineExceeded, detail),
        PreviewError::Memory(_) => Problem::fault(Code::PreviewTooLarge, "/records", detail),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_body_names_a_plugin_and_the_rest_has_defaults() {
        let (request, params) = parse(br#"{"plugin":"counts"}"#).unwrap();
        let plain = PreviewRequest {
            plugin: "counts".into(),
            config: json!({}),
            params: json!({}),
            records: RECORDS,
        };
        assert_eq!((&request, params.as_str()), (&plain, "{}"));
        let body = br#"{"plugin":"a","config":{"x":1},"params":{"limit":5.0},"records":2e5}"#;
        let (request, params) = parse(body).unwrap();
        assert_eq!((request.records, params.as_str()), (MOST, r#"{"limit":5.0}"#));
        assert_eq!(request.config, json!({"x": 1}));
        assert_eq!(parse(br#"{"plugin":"a","params":null}"#).unwrap().1, "{}");
    }

    #[test]
    fn all_faults_are_told_at_once_one_for_a_key() {
        for (body, code, pointers) in [
            ("{", "invalid_json", &[""; 0][..]),
            ("[]", "invalid_request", &[""]),
            ("{}", "invalid_request", &["/plugin"]),
            (
                r#"{"name":"a","plugin":7,"config":[],"params":7,"records":200001}"#,
                "invalid_request",
                &["/name", "/plugin", "/records", "/config", "/params"],
            ),
            (r#"{"plugin":"a","records":0}"#, "invalid_request", &["/records"]),
            (r#"{"plugin":"a","records":1.5}"#, "invalid_request", &["/records"]),
            (
                r#"{"plugin":7,"plugin":"a","config":null}"#,
                "invalid_request",
                &["/plugin", "/config"],
            ),
        ] {
            let problem = parse(body.as_bytes()).unwrap_err();
            assert_eq!(problem.code(), code, "{body}");
            let found: Vec<&str> =
                problem.errors().iter().map(|error| error.pointer.as_str()).collect();
            assert_eq!(found, pointers, "{body}");
        }
    }
}
