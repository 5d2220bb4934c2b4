//! `GET /api/openapi.json`: the routes as OpenAPI 3.1, with the metrics that are served now.
//!
//! The routes are written by hand in `base.json` and compared with the server by tests; what a board
//! is has a schema of its own (`boards`). Added at run time is what plugins say: for each metric its
//! schemas and examples, the question and the answer with its name, and paths of its own. Routes
//! below `/api/internal/` are not part of the contract and left out. At most [`MOST`] bytes, as
//! `document_draft` has it.

pub(crate) mod paths;
pub(crate) mod schemas;

use super::App;
use super::document_draft::{DocumentDraft, extend};
use super::documents::{DescribedMetric, MOST};
use super::problem::Problem;
use crate::boards;
use axum::extract::State;
use axum::response::Response;
use paths::{MetricParts, answer_name, question_name};
use schemas::reference;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The document without metrics.
const BASE: &str = include_str!("base.json");

/// Questions and answers of metrics that the document does not describe.
const OTHER: [(&str, &str); 2] = [("question", "other.question"), ("answer", "other.answer")];

pub(crate) async fn show(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    Arc::clone(&app.openapi).answer(&app).await
}

/// The document of these metrics.
pub(crate) fn text(metrics: &[DescribedMetric]) -> String {
    text_within(metrics, MOST)
}

fn text_within(metrics: &[DescribedMetric], most: usize) -> String {
    let draft = DocumentDraft::new(BASE, metrics, most, MetricParts::new);
    let DocumentDraft { mut document, parts, has_others } = draft;
    document["components"]["schemas"]["board"] = boards::schema();
    if !parts.is_empty() {
        add_choices(&mut document, &parts, has_others);
    }
    for part in parts {
        extend(&mut document, "/components/schemas", part.schemas);
        extend(&mut document, "/paths", part.paths);
        extend(
            &mut document,
            "/paths/~1api~1metrics/post/requestBody/content/application~1json/examples",
            part.examples,
        );
    }
    document.to_string()
}

/// A question is one to a metric that is described, or to another one; so is an answer.
fn add_choices(document: &mut Value, parts: &[MetricParts], has_others: bool) {
    let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
    let schemas = &mut document["components"]["schemas"];
    for (schema, other) in OTHER {
        let component = if schema == "question" { question_name } else { answer_name };
        let mut choices: Vec<Value> =
            names.iter().map(|name| reference(&component(name))).collect();
        if schema == "answer" {
            // A choice among choices is more than what clients are generated from can tell.
            let items = &mut schemas["batch_answers"]["properties"]["answers"]["items"];
            let others = has_others.then(|| reference(other));
            let all = choices.iter().cloned().chain(others).chain([reference("problem")]);
            items["oneOf"] = all.collect();
        }
        let shared = schemas[schema].take();
        schemas[schema] = if has_others {
            choices.push(reference(other));
            schemas[other] = shared;
            let name = &mut schemas[other]["properties"]["name"];
            *name = json!({"allOf": [name.take()], "not": {"enum": names}});
            json!({ "oneOf": choices })
        } else {
            let mapping: Map<String, Value> = names
                .iter()
                .map(|name| ((*name).to_owned(), reference(&component(name))["$ref"].take()))
                .collect();
            let told = json!({"propertyName": "name", "mapping": mapping});
            json!({"oneOf": choices, "discriminator": told})
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::http::document_draft::NAMES;
    use crate::http::documents::tests::metric;

    fn made(metrics: &[DescribedMetric], most: usize) -> Value {
        let text = text_within(metrics, most);
        assert!(text.len() <= most, "{} of {most}", text.len());
        serde_json::from_str(&text).unwrap()
    }

    fn plain(name: &str) -> DescribedMetric {
        metric(name, json!({"type": "object"}), json!({"properties": {"total": {}}}))
    }

    #[test]
    fn a_metric_has_questions_answers_and_paths_of_its_own() {
        let needs = json!({"type": "object", "required": ["user_id"]});
        let document = made(&[plain("a"), metric("b", needs, json!(true))], MOST);
        let schemas = &document["components"]["schemas"];
        for (schema, kind) in [("question", "question"), ("answer", "answer")] {
            let to = |name: &str| format!("#/components/schemas/metric.{name}.{kind}");
            let all = json!([{"$ref": to("a")}, {"$ref": to("b")}]);
            assert_eq!(schemas[schema]["oneOf"], all);
            let mapping = json!({"a": to("a"), "b": to("b")});
            assert_eq!(schemas[schema]["discriminator"]["mapping"], mapping);
        }
        let items = &schemas["batch_answers"]["properties"]["answers"]["items"]["oneOf"];
        assert_eq!(items.as_array().unwrap().len(), 3, "two answers or a problem: {items}");
        let (a, b) = (&schemas["metric.a.question"], &schemas["metric.b.question"]);
        assert_eq!(a["properties"]["name"]["const"], "a");
        assert_eq!(
            (&a["required"], &b["required"]),
            (&json!(["name"]), &json!(["name", "params"]))
        );
        assert_eq!(a["properties"]["params"]["anyOf"][1], json!({"const": null}));
        assert_eq!(b["properties"]["params"]["$ref"], "#/components/schemas/metric.b.params");
        for rest in ["answer", "stream"] {
            let operation = &document["paths"][format!("/api/metrics/b/{rest}")]["get"];
            assert_eq!(operation["operationId"], format!("{rest}_b"));
            let params = &operation["parameters"][0];
            assert_eq!((&params["name"], &params["required"]), (&json!("params"), &json!(true)));
            let named = |name: &str| {
                let parameters = operation["parameters"].as_array().unwrap();
                parameters
                    .iter()
                    .any(|parameter| parameter["$ref"] == format!("#/components/parameters/{name}"))
            };
            assert!(named("expand") && !named("metric_name") && !named("params"), "{operation}");
        }
        let body = &document["paths"]["/api/metrics"]["post"]["requestBody"];
        let examples = &body["content"]["application/json"]["examples"];
        assert_eq!(examples["a.1"]["value"], json!({"name": "a", "params": {}}));
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn metrics_for_which_there_is_no_room_are_named() {
        let long = "x".repeat(100_000);
        let large = metric("large", json!({"type": "object"}), json!({ "title": long }));
        let most = BASE.len() + NAMES + 60_000;
        let document = made(&[plain("a"), large, plain("b")], most);
        let schemas = &document["components"]["schemas"];
        assert!(schemas.get("metric.large.result").is_none());
        assert!(document["paths"].get("/api/metrics/large/answer").is_none());
        let description = document["info"]["description"].as_str().unwrap();
        assert!(description.contains("the schemas of large:"), "{description}");
        assert_eq!(schemas["question"]["oneOf"].as_array().unwrap().len(), 3);
        let name = &schemas["other.question"]["properties"]["name"];
        assert_eq!(name["not"]["enum"], json!(["a", "b"]));
        let nothing = made(&[plain("a")], BASE.len());
        assert!(nothing["components"]["schemas"]["question"].get("oneOf").is_none());
    }

    #[test]
    fn without_metrics_it_is_what_was_written_by_hand() {
        let document = made(&[], MOST);
        let mut base: Value = serde_json::from_str(BASE).unwrap();
        base["info"]["version"] = document["info"]["version"].clone();
        base["components"]["schemas"]["board"] = boards::schema();
        assert_eq!(document, base);
    }
}
