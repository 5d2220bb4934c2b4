//! What the document says of one metric: how it is asked and what it answers, on the paths of all
//! metrics and on its own.
//!
//! A metric has paths of its own because its params are: on a path that all share, nobody could
//! tell which params belong to which name. They are made from the shared ones of the base document.

use super::schemas::{SchemaComponents, SchemaDialect, params_name, reference, result_name};
use crate::http::document_draft::{DocumentPart, written_bytes};
use crate::http::documents::DescribedMetric;
use serde_json::{Map, Value, json};
use tally_engine::schema::Schema;

/// What the shared paths have in place of a metric's own.
const NAME: &str = "#/components/parameters/metric_name";
const PARAMS: &str = "#/components/parameters/params";

/// Bytes that a metric takes beside its parts: references to them.
const REFERENCES: usize = 1024;

/// The parts of the document that are of one metric, by name.
pub(super) struct MetricParts {
    pub(super) name: String,
    pub(super) schemas: Map<String, Value>,
    pub(super) paths: Map<String, Value>,
    /// Bodies of `POST /api/metrics`.
    pub(super) examples: Map<String, Value>,
}

/// The component of a question to a metric.
pub(super) fn question_name(metric: &str) -> String {
    format!("metric.{metric}.question")
}

/// The component of an answer of a metric.
pub(super) fn answer_name(metric: &str) -> String {
    format!("metric.{metric}.answer")
}

impl MetricParts {
    /// Makes the parts from the base document.
    pub(super) fn new(base: &Value, metric: &DescribedMetric) -> MetricParts {
        let DescribedMetric { name, description, .. } = metric;
        let mut components = SchemaComponents::new(SchemaDialect::Latest);
        components.add_metric(metric);
        let mut schemas = components.schemas;
        let is_optional = takes_none(&description.params_schema);
        let of = |schema: &str| base["components"]["schemas"][schema].clone();
        schemas.insert(question_name(name), question(of("question"), name, is_optional));
        schemas.insert(answer_name(name), answer(of("answer"), name));
        let params = params_parameter(metric, is_optional);
        let mut paths = Map::new();
        for rest in ["answer", "stream"] {
            let shared = &base["paths"][format!("/api/metrics/{{name}}/{rest}")];
            let path = format!("/api/metrics/{name}/{rest}");
            paths.insert(path, own_path(shared, metric, rest, &params));
        }
        let examples = description.examples.iter().enumerate().map(|(n, example)| {
            let body = json!({"name": name, "params": example.params});
            (format!("{name}.{}", n + 1), json!({"summary": example.note, "value": body}))
        });
        MetricParts { name: name.clone(), schemas, paths, examples: examples.collect() }
    }
}

impl DocumentPart for MetricParts {
    fn bytes(&self) -> usize {
        let parts = [&self.schemas, &self.paths, &self.examples];
        parts.into_iter().map(written_bytes).sum::<usize>() + REFERENCES
    }
}

/// Whether a metric answers without params.
pub(crate) fn takes_none(params_schema: &Value) -> bool {
    let none = Value::Object(Map::new());
    Schema::compile(params_schema).is_ok_and(|schema| schema.accepts(&none))
}

/// Params, or null for none where there may be none.
pub(crate) fn params_schema(metric: &str, is_optional: bool) -> Value {
    let params = reference(&params_name(metric));
    if is_optional { json!({"anyOf": [params, {"const": null}]}) } else { params }
}

fn question(mut schema: Value, name: &str, is_optional: bool) -> Value {
    schema["properties"]["name"] = only(name);
    schema["properties"]["params"] = params_schema(name, is_optional);
    if !is_optional {
        schema["required"] = json!(["name", "params"]);
    }
    schema["description"] = format!("A question to {name}.").into();
    schema
}

fn answer(mut schema: Value, name: &str) -> Value {
    schema["properties"]["name"] = only(name);
    schema["properties"]["params"] = reference(&params_name(name));
    schema["properties"]["result"] = reference(&result_name(name));
    schema["description"] = format!("An answer of {name}.").into();
    schema
}

/// This text and no other.
fn only(text: &str) -> Value {
    json!({"type": "string", "const": text})
}

/// The parameter of a query that has the params.
fn params_parameter(metric: &DescribedMetric, is_optional: bool) -> Value {
    let examples: Map<String, Value> = metric
        .description
        .examples
        .iter()
        .enumerate()
        .map(|(n, example)| {
            let params = json!({"summary": example.note, "value": example.params});
            ((n + 1).to_string(), params)
        })
        .collect();
    let mut content = json!({ "schema": reference(&params_name(&metric.name)) });
    if !examples.is_empty() {
        content["examples"] = Value::Object(examples);
    }
    let mut parameter = json!({"name": "params", "in": "query",
        "description": "The params as JSON.", "content": {"application/json": content}});
    if !is_optional {
        parameter["required"] = true.into();
    }
    parameter
}

/// A path of a metric's own; `rest`: what stands behind its name.
fn own_path(shared: &Value, metric: &DescribedMetric, rest: &str, params: &Value) -> Value {
    let DescribedMetric { name, description, .. } = metric;
    let mut path = shared.clone();
    let operation = &mut path["get"];
    operation["operationId"] = format!("{rest}_{name}").into();
    operation["summary"] = description.summary.clone().into();
    if let Some(parameters) = operation["parameters"].as_array_mut() {
        parameters.retain(|parameter| parameter["$ref"] != NAME && parameter["$ref"] != PARAMS);
        parameters.insert(0, params.clone());
    }
    let json = operation.pointer_mut("/responses/200/content/application~1json/schema");
    if let Some(schema) = json {
        *schema = reference(&answer_name(name));
    }
    path
}
