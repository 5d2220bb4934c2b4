//! `GET /api/asyncapi.json`: the messages of `/ws` and of server-sent events as AsyncAPI 3.0, with
//! the metrics that are served now.
//!
//! The messages are written by hand in `asyncapi.json` and compared with those that are sent by
//! tests. Added at run time is what plugins say: the results that updates have, and the params that
//! subscriptions take. The schemas are of draft 07, which AsyncAPI has unless it is told otherwise.
//! At most [`MOST`] bytes, as `document_draft` has it.

use super::App;
use super::document_draft::{DocumentDraft, DocumentPart, extend, written_bytes};
use super::documents::{DescribedMetric, MOST};
use super::openapi::paths::{params_schema, takes_none};
use super::openapi::schemas::{SchemaComponents, SchemaDialect, reference, result_name};
use super::problem::Problem;
use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The document without metrics.
const BASE: &str = include_str!("asyncapi.json");

/// Bytes that a metric takes beside its schemas: references to them.
const REFERENCES: usize = 512;

/// The messages that have a result.
const UPDATES: [&str; 2] = ["update", "update_of_stream"];

/// A subscription to a metric.
const SUBSCRIBE: &str = "subscribe";

/// A subscription to a metric that the document does not describe.
const OTHER: &str = "other.subscribe";

pub(crate) async fn show(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    Arc::clone(&app.asyncapi).answer(&app).await
}

/// The document of these metrics.
pub(crate) fn text(metrics: &[DescribedMetric]) -> String {
    text_within(metrics, MOST)
}

fn text_within(metrics: &[DescribedMetric], most: usize) -> String {
    let draft = DocumentDraft::new(BASE, metrics, most, MetricMessages::new);
    let DocumentDraft { mut document, parts, has_others } = draft;
    if !parts.is_empty() {
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        add_choices(&mut document, &names, has_others);
    }
    for part in parts {
        extend(&mut document, "/components/schemas", part.schemas);
    }
    document.to_string()
}

/// What the document says of one metric.
struct MetricMessages {
    name: String,
    schemas: Map<String, Value>,
}

impl DocumentPart for MetricMessages {
    fn bytes(&self) -> usize {
        written_bytes(&self.schemas) + REFERENCES
    }
}

impl MetricMessages {
    /// Its results, params and subscription, made from the base document.
    fn new(base: &Value, metric: &DescribedMetric) -> MetricMessages {
        let mut components = SchemaComponents::new(SchemaDialect::Draft07);
        components.add_metric(metric);
        let is_optional = takes_none(&metric.description.params_schema);
        let mut subscribe = base["components"]["schemas"][SUBSCRIBE].clone();
        subscribe["properties"]["metric"] = json!({"type": "string", "const": metric.name});
        subscribe["properties"]["params"] = params_schema(&metric.name, is_optional);
        if let Some(required) = subscribe["required"].as_array_mut().filter(|_| !is_optional) {
            required.push("params".into());
        }
        let mut schemas = components.schemas;
        schemas.insert(subscribe_name(&metric.name), subscribe);
        MetricMessages { name: metric.name.clone(), schemas }
    }
}

/// The component of a subscription to a metric.
fn subscribe_name(metric: &str) -> String {
    format!("metric.{metric}.{SUBSCRIBE}")
}

/// A result is one of a metric that is described; without the others that is all that there may be.
fn add_choices(document: &mut Value, told: &[&str], has_others: bool) {
    let refer = |name: fn(&str) -> String| -> Vec<Value> {
        told.iter().map(|metric| reference(&name(metric))).collect()
    };
    let schemas = &mut document["components"]["schemas"];
    let mut choices = refer(subscribe_name);
    let shared = schemas[SUBSCRIBE].take();
    if has_others {
        choices.push(reference(OTHER));
        schemas[OTHER] = shared;
        let name = &mut schemas[OTHER]["properties"]["metric"];
        *name = json!({"allOf": [name.take()], "not": {"enum": told}});
    } else {
        for update in UPDATES {
            schemas[update]["properties"]["result"] = json!({ "anyOf": refer(result_name) });
        }
        document["channels"]["metric"]["parameters"]["name"]["enum"] = json!(told);
    }
    document["components"]["schemas"][SUBSCRIBE] = json!({ "oneOf": choices });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::http::document_draft::NAMES;
    use crate::http::documents::tests::metric;

    fn made(metrics: &[DescribedMetric], most: usize) -> Value {
        serde_json::from_str(&text_within(metrics, most)).unwrap()
    }

    #[test]
    fn updates_and_subscriptions_are_those_of_the_metrics() {
        let needs = json!({"type": "object", "required": ["user_id"]});
        let plain = metric("a", json!({"type": "object"}), json!({"type": "object"}));
        let document = made(&[plain, metric("b", needs, json!(true))], MOST);
        let schemas = &document["components"]["schemas"];
        let all = |kind: &str| {
            let to =
                |name: &str| json!({"$ref": format!("#/components/schemas/metric.{name}.{kind}")});
            json!([to("a"), to("b")])
        };
        assert_eq!(schemas["update"]["properties"]["result"]["anyOf"], all("result"));
        assert_eq!(schemas["update_of_stream"]["properties"]["result"]["anyOf"], all("result"));
        assert_eq!(schemas["subscribe"]["oneOf"], all("subscribe"));
        let required = |name: &str| schemas[format!("metric.{name}.subscribe")]["required"].clone();
        assert_eq!(required("a"), json!(["type", "id", "metric"]));
        assert_eq!(required("b"), json!(["type", "id", "metric", "params"]));
        let names = &document["channels"]["metric"]["parameters"]["name"]["enum"];
        assert_eq!(names, &json!(["a", "b"]));
    }

    #[test]
    fn metrics_for_which_there_is_no_room_are_named_and_may_be_watched() {
        let long = json!({ "title": "x".repeat(100_000) });
        let metrics = [
            metric("a", json!({"type": "object"}), json!(true)),
            metric("large", json!({"type": "object"}), long),
        ];
        let most = BASE.len() + NAMES + 20_000;
        let document = made(&metrics, most);
        assert!(document.to_string().len() <= most);
        let schemas = &document["components"]["schemas"];
        assert!(schemas.get("metric.large.result").is_none());
        assert_eq!(schemas["update"]["properties"]["result"], json!({}));
        assert_eq!(schemas["subscribe"]["oneOf"].as_array().unwrap().len(), 2);
        let metric = &schemas["other.subscribe"]["properties"]["metric"];
        assert_eq!(metric["not"]["enum"], json!(["a"]));
        let description = document["info"]["description"].as_str().unwrap();
        assert!(description.contains("the schemas of large:"), "{description}");
    }
}
