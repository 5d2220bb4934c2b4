//! What a tool says of its metric: summary, params and result as JSON Schemas, and that a call
//! changes nothing.
//!
//! The arguments of a call are the metric's params, and `expand` as in `POST /api/metrics` unless
//! the metric has a param of this name. A result that is no object has no schema here: the protocol
//! takes none of it.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use std::sync::Arc;
use tally_engine::engine::MetricInfo;

/// The argument that is not the metric's.
pub(super) const EXPAND: &str = "expand";

/// The tool of a metric.
pub(super) fn tool(info: &MetricInfo) -> Tool {
    let description = &*info.description;
    let input = input_schema(&description.params_schema);
    let annotations = ToolAnnotations::new().read_only(true).destructive(false).open_world(false);
    let tool = Tool::new(info.name.clone(), description.summary.clone(), Arc::new(input))
        .with_annotations(annotations);
    match output_schema(&description.result_schema) {
        Some(output) => tool.with_raw_output_schema(Arc::new(output)),
        None => tool,
    }
}

/// Whether a result schema says that every result is an object.
pub(super) fn has_objects(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("object")
}

/// Whether the metric itself has a param that is called as ours.
pub(super) fn has_own_expand(info: &MetricInfo) -> bool {
    let properties = info.description.params_schema.get("properties");
    properties.and_then(|properties| properties.get(EXPAND)).is_some()
}

fn input_schema(params: &Value) -> JsonObject {
    let mut schema = params.as_object().cloned().unwrap_or_default();
    schema.entry("type").or_insert_with(|| json!("object"));
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.entry(EXPAND).or_insert_with(|| {
            json!({
                "type": "array",
                "items": {"type": "string", "enum": ["names"]},
                "description": "[\"names\"] adds the catalogue's name beside each id",
            })
        });
    }
    schema
}

fn output_schema(result: &Value) -> Option<JsonObject> {
    if !has_objects(result) {
        return None;
    }
    let mut schema = result.clone();
    if names_ids(&schema) {
        open(&mut schema);
    }
    match schema {
        Value::Object(schema) => Some(schema),
        _ => None,
    }
}

/// Whether there are ids in a result, beside which names may come.
fn names_ids(schema: &Value) -> bool {
    match schema {
        Value::Object(members) => {
            members.contains_key("x-tally-id") || members.values().any(names_ids)
        }
        Value::Array(elements) => elements.iter().any(names_ids),
        _ => false,
    }
}

/// Takes out that there are no other members: a name beside an id is one.
fn open(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.retain(|key, value| {
                let says = key == "additionalProperties" || key == "unevaluatedProperties";
                !(says && *value == Value::Bool(false))
            });
            members.values_mut().for_each(open);
        }
        Value::Array(elements) => elements.iter_mut().for_each(open),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn params_become_arguments_and_expand_is_added_once() {
        let params = json!({
            "type": "object",
            "properties": {"limit": {"type": "integer"}},
            "additionalProperties": false,
        });
        let input = Value::Object(input_schema(&params));
        assert_eq!(input["properties"]["limit"], json!({"type": "integer"}));
        assert_eq!(input["properties"]["expand"]["items"]["enum"], json!(["names"]));
        assert_eq!(input["additionalProperties"], json!(false));
        let own = json!({"type": "object", "properties": {"expand": {"type": "boolean"}}});
        assert_eq!(Value::Object(input_schema(&own)), own);
        let bare = Value::Object(input_schema(&json!({})));
        assert_eq!(bare["type"], "object");
    }

    #[test]
    fn results_that_are_no_objects_have_no_schema_and_names_fit_beside_ids() {
        assert_eq!(output_schema(&json!({"type": "integer"})), None);
        assert_eq!(output_schema(&json!({"anyOf": [{"type": "object"}]})), None);
        assert_eq!(output_schema(&json!(true)), None);
        let closed = json!({"type": "object", "additionalProperties": false});
        assert_eq!(output_schema(&closed).map(Value::Object), Some(closed));
        let item = |more: Value| {
            let mut item = json!({"properties": {"id": {"x-tally-id": "user"}}});
            if !more.is_null() {
                item["additionalProperties"] = more;
            }
            json!({"type": "object", "properties": {"users": {"type": "array", "items": item}}})
        };
        let opened = output_schema(&item(json!(false))).map(Value::Object);
        assert_eq!(opened, Some(item(Value::Null)));
    }
}
