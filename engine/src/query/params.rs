//! A metric's params schema: the plugin's own and the host's time params in one, and the check against it.

use super::window;
use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tally_plugin::ask::Fault;
use tally_plugin::description::Description;

/// The schema that a question's params must satisfy.
pub struct Params {
    schema: Value,
    validator: Validator,
}

impl Params {
    /// The plugin's schema, with the time params if the metric has a time axis.
    ///
    /// # Errors
    /// A sentence, if the two do not make a schema.
    pub fn new(description: &Description) -> Result<Params, String> {
        let mut schema = description.params_schema.clone();
        let object = schema.as_object_mut().ok_or("the params schema is not an object")?;
        object.entry("type").or_insert(json!("object"));
        object.insert("additionalProperties".into(), json!(false));
        let properties = object.entry("properties").or_insert(json!({}));
        if description.time {
            let properties =
                properties.as_object_mut().ok_or("the properties of the params schema are not an object")?;
            for (name, property) in window::schema() {
                if properties.insert(name.clone(), property).is_some() {
                    return Err(format!("the param {name} is the host's, the plugin must not declare it"));
                }
            }
        }
        let validator =
            jsonschema::validator_for(&schema).map_err(|fault| format!("the params schema is invalid: {fault}"))?;
        Ok(Params { schema, validator })
    }

    /// The whole schema.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Every fault of a question's params (an object), one per pointer.
    pub fn faults(&self, params: &Value) -> Vec<Fault> {
        // Much cheaper than an empty list of errors, and what nearly every question comes to.
        if self.validator.is_valid(params) {
            return Vec::new();
        }
        let mut faults: BTreeMap<String, String> = BTreeMap::new();
        for error in self.validator.iter_errors(params) {
            for (pointer, detail) in told(&error) {
                faults.entry(pointer).or_insert(detail);
            }
        }
        faults.into_iter().map(|(pointer, detail)| Fault { pointer, detail }).collect()
    }
}

/// A missing or unknown key is pointed at by its own name.
fn told(error: &ValidationError<'_>) -> Vec<(String, String)> {
    let at = format!("/params{}", error.instance_path().as_str());
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![(format!("{at}/{}", escaped(name)), format!("{name} is missing"))]
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| (format!("{at}/{}", escaped(name)), format!("{name} is not a param of this metric")))
            .collect(),
        _ => vec![(at, error.to_string())],
    }
}

/// A name as a step of a JSON pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(value: &Value) -> Vec<String> {
        let description = Description {
            summary: String::new(),
            tables: vec![],
            time: true,
            params_schema: json!({"type": "object", "required": ["user_id"], "properties": {
                "user_id": {}, "limit": {"type": "integer", "minimum": 1}}}),
            result_schema: json!({}),
            examples: vec![],
        };
        let params = Params::new(&description).expect("a schema");
        params.faults(value).into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn all_faults_at_once_each_where_it_is() {
        assert_eq!(params(&json!({"user_id": 1, "bucket": "1h", "event_types": ["view"]})), Vec::<String>::new());
        assert_eq!(
            params(&json!({"limit": 0, "windw": "1h", "bucket": "2h", "event_types": []})),
            ["/params/bucket", "/params/event_types", "/params/limit", "/params/user_id", "/params/windw"]
        );
    }

    #[test]
    fn a_plugin_cannot_redefine_a_time_param() {
        let mut schema = json!({"type": "object", "properties": {"window": {}}});
        let description = |schema: Value| Description {
            summary: String::new(),
            tables: vec![],
            time: true,
            params_schema: schema,
            result_schema: json!({}),
            examples: vec![],
        };
        assert!(Params::new(&description(schema.take())).is_err());
    }
}
