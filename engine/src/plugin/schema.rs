//! What a value has against a JSON Schema, as sentences for who wrote the value: where, what, and what there could be instead.

use crate::config::secret::{is_secret, masked, quoted};
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

/// All faults of a value, each with where it is.
pub(super) fn against(validator: &jsonschema::Validator, value: &Value) -> Vec<String> {
    faults_of(validator, &Value::Null, value).into_iter().map(|(_, fault)| fault).collect()
}

/// Faults of a value that are listed.
const LISTED: usize = 20;

/// Of a value the first faults, each with the keys that lead to it, and a sentence that says what there could be instead, as far
/// as `schema` tells. What may be a secret is in none of them.
pub(super) fn faults_of(
    validator: &jsonschema::Validator,
    schema: &Value,
    value: &Value,
) -> Vec<(Vec<String>, String)> {
    let fault = |fault: jsonschema::ValidationError<'_>| {
        let path = fault.instance_path().as_str().to_owned();
        let keys: Vec<String> =
            path.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
        let said = if keys.iter().any(|key| is_secret(key)) { fault.masked().to_string() } else { fault.to_string() };
        let around = schema.pointer(fault.schema_path().as_str().rsplit_once('/').map_or("", |(around, _)| around));
        let said = match (fault.kind(), around) {
            (Kind::OneOfNotValid { .. } | Kind::AnyOf { .. }, Some(around)) => {
                format!("is none of {}", alternatives(around).join(", "))
            }
            (Kind::AdditionalProperties { unexpected }, Some(around)) => unexpected_keys(unexpected, around),
            _ => said,
        };
        let said = masked(&said);
        (keys, if path.is_empty() { said } else { format!("{path}: {said}") })
    };
    validator.iter_errors(value).take(LISTED).map(fault).collect()
}

/// The forms that a schema of alternatives allows, as a person writes them.
fn alternatives(schema: &Value) -> Vec<String> {
    let listed = ["oneOf", "anyOf"].iter().find_map(|word| schema.get(word)?.as_array());
    let form = |one: &Value| match (one.get("const"), one.get("enum").and_then(Value::as_array), one.get("properties"))
    {
        (Some(word), ..) => vec![word.to_string()],
        (_, Some(words), _) => words.iter().map(Value::to_string).collect(),
        (.., Some(Value::Object(keys))) => keys.keys().map(|key| format!("{{ {key} = … }}")).collect(),
        _ => one.get("type").map(|kind| format!("a value of type {kind}")).into_iter().collect::<Vec<_>>(),
    };
    listed.into_iter().flatten().flat_map(form).collect()
}

fn unexpected_keys(unexpected: &[String], schema: &Value) -> String {
    let known: Vec<&str> = schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(|all| all.keys().map(String::as_str))
        .collect();
    let told = unexpected.iter().take(LISTED).map(|key| {
        let near = known.iter().max_by(|a, b| strsim::jaro_winkler(key, a).total_cmp(&strsim::jaro_winkler(key, b)));
        let near = near.filter(|near| key.len() <= 64 && strsim::jaro_winkler(key, near) > 0.8);
        let near = near.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
        format!("there is no key {}{near}", quoted(key))
    });
    let told: Vec<String> = told.collect();
    format!("{}; the keys are {}", told.join("; "), known.join(", "))
}
