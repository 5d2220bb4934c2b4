//! `GET /api/sections`: the `[metrics.NAME]` sections, with where each stands; `PUT` and `DELETE
//! /api/sections/{name}`: add, change and take away one that stands in the data directory. With
//! `?dry_run=true` nothing is done, and the answer says what would be; what would be refused is
//! refused.
//!
//! The body of a PUT is the section as JSON; it is brought into the form of the configuration
//! (`section_body`), and the engine judges it. Nothing is judged or stored here.

use super::blocking::in_slot_within;
use super::codes::Code;
use super::orders::dry_run;
use super::problem::Problem;
use super::query_pairs::RawPairs;
use super::rows::RowSource;
use super::{App, answer, request_body, section_body};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;
use tally_engine::config::SectionFault;
use tally_engine::engine::{
    ForeseenSection, MetricEffect, PutSection, SectionChange, SectionError, SectionInfo,
    SectionPlace,
};
use tally_plugin::ask::Fault;
use toml::Table;

#[derive(Serialize)]
struct SectionList<'a> {
    sections: Vec<SectionItem<'a>>,
}

#[derive(Serialize)]
struct SectionItem<'a> {
    name: &'a str,
    place: &'static str,
    /// The configuration file has one of the same name, which is in force.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    shadowed: bool,
    section: &'a Table,
    toml: &'a str,
}

#[derive(Serialize)]
struct TakenAway {
    done: String,
}

#[derive(Serialize)]
struct ForeseenReply<'a> {
    would: &'a str,
    metric: &'static str,
    counts_history: bool,
    /// As it would be stored; absent where it would be taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    section: Option<SectionItem<'a>>,
}

pub(crate) async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let sections = app.engine.sections();
    let list = SectionList { sections: sections.iter().map(section_item).collect() };
    answer::list(&headers, RowSource::SECTIONS, &list, None).await
}

pub(crate) async fn put(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    query: RawPairs,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = request_body::json(&parts.headers, body, app.limits.body).await?;
    let not_utf8 = |_| Problem::fault(Code::SectionInvalid, "", "the name is not UTF-8");
    let Path(name) = name.map_err(not_utf8)?;
    let engine = Arc::clone(&app.engine);
    if dry_run(query)? {
        let foresee = move || {
            let section = section_body::parse(&body)?;
            engine.foresee_put_section(&name, section).map_err(refused)
        };
        return Ok(foreseen(&in_slot_within(&app, foresee).await??));
    }
    let put = move || {
        let section = section_body::parse(&body)?;
        engine.put_section(&name, section).map_err(refused)
    };
    let PutSection { change, section } = in_slot_within(&app, put).await??;
    let mut response = answer::json(&section_item(&section));
    if change == SectionChange::Added {
        *response.status_mut() = StatusCode::CREATED;
    }
    Ok(response)
}

pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    name: Result<Path<String>, PathRejection>,
    query: RawPairs,
) -> Result<Response, Problem> {
    let not_utf8 = |_| Problem::new(Code::SectionNotFound, "the name is not UTF-8");
    let Path(name) = name.map_err(not_utf8)?;
    let engine = Arc::clone(&app.engine);
    if dry_run(query)? {
        let would = in_slot_within(&app, move || engine.foresee_delete_section(&name)).await?;
        return Ok(foreseen(&would.map_err(refused)?));
    }
    let done = in_slot_within(&app, move || engine.delete_section(&name)).await?;
    Ok(answer::json(&TakenAway { done: done.map_err(refused)? }))
}

fn foreseen(foreseen: &ForeseenSection) -> Response {
    let ForeseenSection { effect, counts_history, would, section } = foreseen;
    let metric = match effect {
        MetricEffect::Added => "added",
        MetricEffect::Replaced => "replaced",
        MetricEffect::Kept => "kept",
        MetricEffect::Removed => "removed",
        MetricEffect::Unserved => "unserved",
    };
    let (counts_history, section) = (*counts_history, section.as_ref().map(section_item));
    answer::json(&ForeseenReply { would, metric, counts_history, section })
}

fn section_item(section: &SectionInfo) -> SectionItem<'_> {
    let SectionInfo { name, place, shadowed, section, toml } = section;
    let place = match place {
        SectionPlace::File => "file",
        SectionPlace::DataDirectory => "data_directory",
    };
    SectionItem { name, place, shadowed: *shadowed, section, toml }
}

fn refused(fault: SectionError) -> Problem {
    let detail = fault.to_string();
    match fault {
        SectionError::InFile { .. } => Problem::new(Code::SectionInFile, detail),
        SectionError::NotFound(_) => Problem::new(Code::SectionNotFound, detail),
        SectionError::Invalid(faults) => {
            let fault = |SectionFault { pointer, detail }| Fault { pointer, detail };
            let faults = faults.into_iter().map(fault).collect();
            Problem::invalid(Code::SectionInvalid, faults)
        }
        SectionError::Order(fault) => fault.into(),
    }
}
