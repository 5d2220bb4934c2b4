//! `GET /api/metrics/{name}/versions`: the revisions of a metric that are counted now, with their
//! answers to its examples.
//!
//! Two answers are compared as values, and only as far as their positions allow: while events come,
//! positions differ. What is done about revisions is in `orders`.

use super::blocking::in_slot_within;
use super::descriptor::Descriptor;
use super::metrics::{name_in, no_metric};
use super::problem::Problem;
use super::{App, answer};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use tally_engine::engine::{Revision, Role};
use tally_engine::time::to_text;
use tally_plugin::ask::Warning;

#[derive(Serialize)]
struct VersionList<'a> {
    name: &'a str,
    versions: Vec<Version<'a>>,
    examples: Vec<Example<'a>>,
}

#[derive(Serialize)]
struct Version<'a> {
    role: &'static str,
    revision: &'a str,
    /// Name of the plugin file, without its folder.
    file: String,
    /// Hash of the file's content.
    sha256: &'a str,
    /// How long the revision that it replaces receives events, seconds.
    keep_old_s: u64,
    /// Why it does not replace the answering revision by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<&'a str>,
    /// Until when it receives events.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(flatten)]
    descriptor: Descriptor<'a>,
}

#[derive(Serialize)]
struct Example<'a> {
    params: &'a Value,
    note: &'a str,
    /// Whether all answers are equal; absent if fewer than two revisions answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    equal: Option<bool>,
    answers: Vec<AnswerText>,
}

#[derive(Serialize)]
struct AnswerText {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let name = name_in(name)?;
    let asked = name.clone();
    let engine = Arc::clone(&app.engine);
    let revisions = in_slot_within(&app, move || engine.revisions(&asked)).await?;
    let Some(first) = revisions.first() else {
        return Err(no_metric(&app, &name));
    };
    let versions = revisions.iter().map(|revision| Version {
        role: role_text(revision.role),
        revision: &revision.id,
        file: file_name(&revision.info.file),
        sha256: &revision.sha256,
        keep_old_s: revision.keep_old.as_secs(),
        held: revision.held.as_deref(),
        until: revision.until.map(to_text),
        descriptor: Descriptor::of(&revision.info),
    });
    let examples = first.info.description.examples.iter().enumerate().map(|(n, example)| {
        let answers: Vec<AnswerText> =
            revisions.iter().filter_map(|revision| answer_text(revision, n)).collect();
        let results: Vec<&Value> =
            answers.iter().filter_map(|answer| answer.result.as_ref()).collect();
        let equal = (results.len() > 1).then(|| results.windows(2).all(|pair| pair[0] == pair[1]));
        Example { params: &example.params, note: &example.note, equal, answers }
    });
    Ok(answer::json(&VersionList {
        name: &name,
        versions: versions.collect(),
        examples: examples.collect(),
    }))
}

/// The name of a file: its folder is not shown.
pub(super) fn file_name(file: &std::path::Path) -> String {
    file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn role_text(role: Role) -> &'static str {
    match role {
        Role::Answering => "answering",
        Role::Next => "next",
        Role::Before => "before",
    }
}

fn answer_text(revision: &Revision, example: usize) -> Option<AnswerText> {
    let role = role_text(revision.role);
    Some(match revision.examples.get(example)? {
        Ok(evaluated) => AnswerText {
            role,
            position: Some(evaluated.position.to_string()),
            result: serde_json::from_str(&evaluated.result).ok(),
            warnings: evaluated.warnings.clone(),
            error: None,
        },
        Err(fault) => AnswerText {
            role,
            position: None,
            result: None,
            warnings: Vec::new(),
            error: Some(fault.to_string()),
        },
    })
}
