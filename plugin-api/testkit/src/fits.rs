//! Whether a value fits a JSON Schema, as far as schemas that are derived from Rust types go.
//!
//! Knows the keywords that derives and their attributes write; a keyword that it does not know says
//! nothing here (`pattern`, `format`). `tally plugin check` looks at all of them. It is here so
//! that a plugin's tests need no other crate.

use serde_json::{Map, Number, Value};

/// Whether `value` fits `schema`.
///
/// # Errors
/// A sentence with a JSON pointer: what does not fit.
pub fn fits(schema: &Value, value: &Value) -> Result<(), String> {
    at("", schema, value, schema)
}

fn at(path: &str, schema: &Value, value: &Value, root: &Value) -> Result<(), String> {
    let fault =
        |what: String| Err(format!("{}: {what}", if path.is_empty() { "the whole" } else { path }));
    let schema = match schema {
        Value::Bool(true) => return Ok(()),
        Value::Object(schema) => schema,
        _ => return fault("nothing is allowed here".into()),
    };
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        at(path, found.unwrap_or(&Value::Bool(true)), value, root)?;
    }
    let of = |keyword: &str| schema.get(keyword).and_then(Value::as_array);
    if let Some(all) = of("allOf") {
        all.iter().try_for_each(|one| at(path, one, value, root))?;
    }
    let fitting =
        |choices: &[Value]| choices.iter().filter(|one| at(path, one, value, root).is_ok()).count();
    if of("anyOf").is_some_and(|choices| fitting(choices) == 0)
        || of("oneOf").is_some_and(|one| fitting(one) != 1)
    {
        return fault(format!("{value} matches none of the allowed forms"));
    }
    if of("enum").is_some_and(|values| !values.contains(value))
        || schema.get("const").is_some_and(|one| one != value)
    {
        return fault(format!("{value} is not one of the allowed values"));
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    if !types.is_empty() && !types.iter().any(|name| is(name, value)) {
        return fault(format!("{value} is not of type {}", types.join(" or ")));
    }
    match value {
        Value::Number(number) => numbers(schema, number).or_else(fault),
        Value::String(text) => {
            lengths(schema, ["minLength", "maxLength"], text.chars().count(), "characters")
                .or_else(fault)
        }
        Value::Array(items) => {
            lengths(schema, ["minItems", "maxItems"], items.len(), "items").or_else(fault)?;
            let each = schema.get("items").unwrap_or(&Value::Bool(true));
            (0..)
                .zip(items)
                .try_for_each(|(n, item): (usize, _)| at(&format!("{path}/{n}"), each, item, root))
        }
        Value::Object(members) => {
            lengths(schema, ["minProperties", "maxProperties"], members.len(), "members")
                .or_else(fault)?;
            let missing = of("required").into_iter().flatten().filter_map(Value::as_str);
            if let Some(name) = missing.into_iter().find(|name| !members.contains_key(*name)) {
                return fault(format!("{name:?} is missing"));
            }
            let known = schema.get("properties").and_then(Value::as_object);
            members.iter().try_for_each(|(name, member)| {
                let declared =
                    known.and_then(|known| known.get(name)).or(schema.get("additionalProperties"));
                at(&format!("{path}/{name}"), declared.unwrap_or(&Value::Bool(true)), member, root)
            })
        }
        Value::Null | Value::Bool(_) => Ok(()),
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => {
            value.is_i64()
                || value.is_u64()
                || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn numbers(schema: &Map<String, Value>, number: &Number) -> Result<(), String> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let value = number.as_f64().unwrap_or(f64::NAN);
    let beyond = bound("minimum").is_some_and(|least| value < least)
        || bound("maximum").is_some_and(|most| value > most)
        || bound("exclusiveMinimum").is_some_and(|least| value <= least)
        || bound("exclusiveMaximum").is_some_and(|most| value >= most);
    if beyond { Err(format!("{number} is out of range")) } else { Ok(()) }
}

fn lengths(
    schema: &Map<String, Value>,
    [least, most]: [&str; 2],
    has: usize,
    of: &str,
) -> Result<(), String> {
    let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
    let has = has as u64;
    let beyond =
        bound(least).is_some_and(|least| has < least) || bound(most).is_some_and(|most| has > most);
    if beyond { Err(format!("{has} {of} are too few or too many")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_derives_write_is_understood() {
        let schema = json!({
            "type": "object",
            "properties": {
                "limit": {"type": "integer", "minimum": 1, "maximum": 100},
                "names": {"type": ["array", "null"], "items": {"type": "string", "maxLength": 3}, "minItems": 1},
                "order": {"oneOf": [{"const": "asc"}, {"enum": ["desc"]}]},
                "inner": {"$ref": "#/$defs/inner"},
            },
            "required": ["limit"],
            "additionalProperties": false,
            "$defs": {"inner": {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}}},
        });
        for good in [
            json!({"limit": 1}),
            json!({"limit": 100.0, "names": null, "order": "asc"}),
            json!({"limit": 7, "names": ["abc", "ü"], "order": "desc", "inner": {"x": 0.5}}),
        ] {
            assert_eq!(fits(&schema, &good), Ok(()), "{good}");
        }
        for (bad, place) in [
            (json!([]), "the whole"),
            (json!({}), "\"limit\" is missing"),
            (json!({"limit": 0}), "/limit"),
            (json!({"limit": 101}), "/limit"),
            (json!({"limit": 1.5}), "/limit"),
            (json!({"limit": "1"}), "/limit"),
            (json!({"limit": 1, "names": []}), "/names"),
            (json!({"limit": 1, "names": ["abcd"]}), "/names/0"),
            (json!({"limit": 1, "order": "up"}), "/order"),
            (json!({"limit": 1, "inner": {"x": 0}}), "/inner/x"),
            (json!({"limit": 1, "limt": 1}), "/limt"),
        ] {
            let fault = fits(&schema, &bad).err().unwrap_or_default();
            assert!(fault.contains(place), "{bad}: {fault:?}");
        }
    }
}
