//! What the dashboards of `contrib/grafana` ask: expressions of Prometheus, and requests to an
//! engine as the data source Infinity makes them of its queries.
//!
//! Follows Infinity 3.11.1 (`pkg/infinity/request.go` and `headers.go`) as far as these queries use
//! it.

use crate::prometheus::form;
use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// An expression of a panel.
pub struct PanelExpression {
    /// Dashboard, panel and query, for messages.
    pub place: String,
    /// As the dashboard has it.
    pub expression: String,
}

/// A request that a panel makes of an engine.
pub struct PanelRequest {
    /// As it is recorded: `panel`, `query`, `method`, `target`, `headers`, `body`.
    pub request: Value,
    /// `json` or `csv`.
    pub kind: String,
    /// Where the rows are in a JSON answer, joined by dots; empty: it is the answer itself.
    pub root: String,
    /// The columns that the panel reads, by their place in a row, joined by dots.
    pub columns: Vec<String>,
}

/// The file of a folder of the project.
#[must_use]
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The queries of all dashboards for a kind of data source, each with the dashboard and panel.
fn queries(source: &str) -> Result<Vec<(String, Value, Value)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(project("contrib/grafana/dashboards"))? {
        let path = entry?.path();
        let name = path.display().to_string();
        let dashboard: Value =
            serde_json::from_str(&fs::read_to_string(&path)?).with_context(|| name.clone())?;
        for panel in dashboard["panels"].as_array().context("a dashboard has panels")? {
            for query in panel["targets"].as_array().context("a panel has queries")? {
                if query["datasource"]["type"] == source {
                    found.push((name.clone(), panel.clone(), query.clone()));
                }
            }
        }
    }
    ensure!(!found.is_empty(), "no dashboard asks {source}");
    Ok(found)
}

/// The expressions of all dashboards.
///
/// # Errors
/// A dashboard cannot be read.
pub fn expressions() -> Result<Vec<PanelExpression>> {
    let expression = |(name, panel, query): (String, Value, Value)| {
        let expression = query["expr"].as_str().context("a query has an expression")?.to_owned();
        let place = format!("{name}: {} {}", panel["title"], query["refId"]);
        anyhow::Ok(PanelExpression { place, expression })
    };
    queries("prometheus")?.into_iter().map(expression).collect()
}

/// The requests of all dashboards to an engine, with these values of the dashboards' variables.
///
/// # Errors
/// A dashboard cannot be read, or asks in a way that is not known here.
pub fn requests(variables: &[(&str, String)]) -> Result<Vec<PanelRequest>> {
    let filled = |text: &str| {
        let replaced = |text: String, (name, value): &(&str, String)| {
            text.replace(&format!("${{{name}}}"), value)
        };
        variables.iter().fold(text.to_owned(), replaced)
    };
    let queries = queries("yesoreyeram-infinity-datasource")?.into_iter();
    queries.map(|(_, panel, query)| request(&panel, &query, &filled)).collect()
}

fn request(panel: &Value, query: &Value, filled: &dyn Fn(&str) -> String) -> Result<PanelRequest> {
    let options = &query["url_options"];
    let kind = text(query, "type")?;
    let accept = match kind.as_str() {
        "json" => "application/json;q=0.9,text/plain",
        "csv" => "text/csv; charset=utf-8",
        other => anyhow::bail!("{other} is not known here"),
    };
    let mut headers = Map::new();
    headers.insert("accept".into(), accept.into());
    headers.insert("accept-encoding".into(), "gzip".into());
    let mut pairs = Vec::new();
    for param in options["params"].as_array().context("a list of params")? {
        pairs.push((text(param, "key")?, form(&filled(&text(param, "value")?))));
    }
    pairs.sort();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(key, value)| format!("{}={value}", form(&key))).collect();
    let mark = if pairs.is_empty() { "" } else { "?" };
    let mut request = json!({
        "panel": panel["title"], "query": query["refId"], "method": options["method"],
        "target": format!("{}{mark}{}", text(query, "url")?, pairs.join("&")),
    });
    if options["method"] == "POST" {
        headers.insert("content-type".into(), text(options, "body_content_type")?.into());
        request["body"] = filled(&text(options, "data")?).into();
    }
    request["headers"] = headers.into();
    let columns = query["columns"].as_array().context("a list of columns")?.iter();
    let columns = columns.map(|column| text(column, "selector")).collect::<Result<Vec<_>>>()?;
    ensure!(!columns.is_empty(), "{panel} reads no columns");
    Ok(PanelRequest { request, kind, root: text(query, "root_selector")?, columns })
}

fn text(of: &Value, key: &str) -> Result<String> {
    Ok(of[key].as_str().with_context(|| format!("{key} of {of}"))?.to_owned())
}
