//! A metric's params schema: the plugin's own and the host's time params in one, and the check
//! against it.

use super::window;
use serde_json::{Map, Number, Value, json};
use std::collections::BTreeMap;
use std::fmt;
use tally_plugin::ask::Fault;
use tally_plugin::description::Description;
use tally_schema::{FaultKind, Schema, SchemaError};
use thiserror::Error;

/// Faults that are told of one question, and unknown params among them.
const FAULTS: usize = 100;
const UNKNOWN: usize = 64;

/// Characters of a value that are repeated when it is at fault.
const REPEATED: usize = 200;

/// A plugin's params schema cannot be used. The plugin has to be changed: no retry helps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParamsSchemaError {
    /// It is not an object.
    #[error("the params schema is not an object")]
    NotAnObject,
    /// Its `properties` are not an object.
    #[error("the properties of the params schema are not an object")]
    PropertiesNotAnObject,
    /// It declares this time param, which the host adds.
    #[error("the param {0} is the host's, the plugin must not declare it")]
    Reserved(String),
    /// It is not a JSON Schema, or not one of those that are understood.
    #[error("the params schema cannot be used: {0}")]
    Schema(#[from] SchemaError),
}

/// The schema that a question's params must satisfy.
pub struct Params {
    schema: Value,
    compiled: Schema,
    /// Whether the host's time params are among them.
    time: bool,
}

impl Params {
    /// The plugin's schema, with the time params if the metric has a time axis.
    ///
    /// # Errors
    /// [`ParamsSchemaError`]: the two do not make a schema.
    pub fn new(description: &Description) -> Result<Params, ParamsSchemaError> {
        let mut schema = description.params_schema.clone();
        let object = schema.as_object_mut().ok_or(ParamsSchemaError::NotAnObject)?;
        object.entry("type").or_insert(json!("object"));
        object.insert("additionalProperties".into(), json!(false));
        let properties = object.entry("properties").or_insert(json!({}));
        if description.time {
            let properties =
                properties.as_object_mut().ok_or(ParamsSchemaError::PropertiesNotAnObject)?;
            for (name, property) in window::schema() {
                if properties.insert(name.clone(), property).is_some() {
                    return Err(ParamsSchemaError::Reserved(name));
                }
            }
        }
        let compiled = Schema::compile(&schema)?;
        Ok(Params { schema, compiled, time: description.time })
    }

    /// The whole schema.
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// As [`Params::faults`], of params whose numbers may be written in any way (`5.0`).
    pub fn faults_as_written(&self, params: Value, now: i64) -> Vec<Fault> {
        match params.as_object().and_then(settled) {
            Some(settled) => self.faults(&Value::Object(settled), now),
            None => self.faults(&params, now),
        }
    }

    /// The faults of a question's params (at most 100), one per pointer, in the order of the
    /// pointers: what the schema says, and what only the time params together say. `now` is the end
    /// of a window that names none.
    pub fn faults(&self, params: &Value, now: i64) -> Vec<Fault> {
        let together =
            || params.as_object().filter(|_| self.time).map(|params| window::faults(params, now));
        // Much cheaper than an empty list of errors, and what nearly every question comes to.
        let mut faults: BTreeMap<String, String> = BTreeMap::new();
        if !self.compiled.accepts(params) {
            for (pointer, detail) in self.compiled.faults(params, FAULTS).iter().flat_map(described)
            {
                if faults.len() < FAULTS {
                    faults.entry(pointer).or_insert(detail);
                }
            }
        }
        // A value that the schema refuses is not refused a second time.
        for fault in together().into_iter().flatten() {
            faults.entry(fault.pointer).or_insert(fault.detail);
        }
        faults.into_iter().map(|(pointer, detail)| Fault { pointer, detail }).collect()
    }
}

/// Params in which every number without a fraction is written as an integer (`5.0`, `1e1`): plugins
/// read them so. `None`: they are.
pub(super) fn settled(params: &Map<String, Value>) -> Option<Map<String, Value>> {
    fn is_settled(value: &Value) -> bool {
        match value {
            Value::Number(number) => whole(number).is_none(),
            Value::Array(items) => items.iter().all(is_settled),
            Value::Object(members) => members.values().all(is_settled),
            Value::Null | Value::Bool(_) | Value::String(_) => true,
        }
    }
    fn settle(value: &mut Value) {
        match value {
            Value::Number(number) => *number = whole(number).unwrap_or_else(|| number.clone()),
            Value::Array(items) => items.iter_mut().for_each(settle),
            Value::Object(members) => members.values_mut().for_each(settle),
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }
    if params.values().all(is_settled) {
        return None;
    }
    let mut params = params.clone();
    params.values_mut().for_each(settle);
    Some(params)
}

/// Params as one text: equal params have equal texts, in whatever order they were written and
/// however their numbers were (`5`, `5.0`). Keys sorted, no blanks.
#[must_use]
pub fn canonical(params: &Map<String, Value>) -> String {
    fn push_members(out: &mut String, members: &Map<String, Value>) {
        let mut members: Vec<(&String, &Value)> = members.iter().collect();
        members.sort_unstable_by_key(|(name, _)| *name);
        out.push('{');
        for (n, (name, value)) in members.into_iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            // A text always serialises.
            out.push_str(&serde_json::to_string(name).unwrap_or_default());
            out.push(':');
            push(out, value);
        }
        out.push('}');
    }
    fn push(out: &mut String, value: &Value) {
        match value {
            Value::Object(members) => push_members(out, members),
            Value::Array(items) => {
                out.push('[');
                for (n, item) in items.iter().enumerate() {
                    if n > 0 {
                        out.push(',');
                    }
                    push(out, item);
                }
                out.push(']');
            }
            Value::Number(number) => {
                let number = whole(number).unwrap_or_else(|| number.clone());
                out.push_str(&number.to_string());
            }
            other => out.push_str(&other.to_string()),
        }
    }
    let mut text = String::new();
    push_members(&mut text, params);
    text
}

/// The integer that a number with a point or an exponent is, if it is one of 64 bits.
fn whole(number: &Number) -> Option<Number> {
    if !number.is_f64() {
        return None;
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
    // 2⁶³ is a float, the integer below it is none.
    let in_range = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&float);
    in_range.then(|| Number::from(float as i64))
}

/// A missing or unknown key is pointed at by its own name.
fn described(fault: &tally_schema::Fault<'_>) -> Vec<(String, String)> {
    let at = format!("/params{}", fault.pointer());
    match &fault.kind {
        FaultKind::Missing { key, beside: None } => {
            vec![(format!("{at}/{}", escaped(key)), format!("{key} is missing"))]
        }
        FaultKind::UnknownKeys { unknown, .. } => unknown
            .iter()
            .take(UNKNOWN)
            .map(|name| {
                (
                    format!("{at}/{}", escaped(name)),
                    format!("{} is not a param of this metric", short(name)),
                )
            })
            .collect(),
        _ => vec![(at, short(fault))],
    }
}

/// What a value says, cut where it is long: what is sent is not sent back as often as it has
/// faults.
fn short(value: impl fmt::Display) -> String {
    /// Takes so many characters, then fails.
    struct Cut(String, usize);
    impl fmt::Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let end = text.char_indices().nth(self.1).map_or(text.len(), |(end, _)| end);
            self.0.push_str(&text[..end]);
            self.1 -= text[..end].chars().count();
            if end < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut cut = Cut(String::new(), REPEATED);
    if fmt::write(&mut cut, format_args!("{value}")).is_err() {
        cut.0.push_str(" …");
    }
    cut.0
}

/// A name as a step of a JSON pointer (RFC 6901).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Faults at time 1,000.
    fn faults(value: &Value) -> Vec<Fault> {
        let description = Description {
            summary: String::new(),
            tables: vec![],
            properties: vec![],
            computed: vec![],
            time: true,
            params_schema: json!({"type": "object", "required": ["user_id"], "properties": {
                "user_id": {}, "limit": {"type": "integer", "minimum": 1}}}),
            result_schema: json!({}),
            examples: vec![],
        };
        Params::new(&description).expect("a schema").faults(value, 1_000)
    }

    fn params(value: &Value) -> Vec<String> {
        faults(value).into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn all_faults_at_once_each_where_it_is() {
        assert_eq!(
            params(&json!({"user_id": 1, "bucket": "1h", "event_types": ["view"]})),
            Vec::<String>::new()
        );
        assert_eq!(
            params(&json!({"limit": 0, "windw": "1h", "bucket": "2h", "event_types": []})),
            [
                "/params/bucket",
                "/params/event_types",
                "/params/limit",
                "/params/user_id",
                "/params/windw"
            ]
        );
    }

    #[test]
    fn what_the_time_params_say_together_comes_with_the_rest() {
        assert_eq!(
            params(&json!({"window": "1h", "from": 0, "windw": 1})),
            ["/params/user_id", "/params/window", "/params/windw"]
        );
        assert_eq!(
            params(&json!({"user_id": 1, "from": 5, "to": 5, "limit": 0})),
            ["/params/from", "/params/limit"]
        );
        assert_eq!(
            params(&json!({"user_id": 1, "from": 1_000})),
            ["/params/from"],
            "not before now"
        );
        assert_eq!(params(&json!({"user_id": 1, "from": 999})), Vec::<String>::new());
        assert_eq!(
            params(&json!({"from": "yesterday", "to": "2026-01-01T00:00:00", "limit": 0})),
            ["/params/from", "/params/limit", "/params/to", "/params/user_id"]
        );
    }

    #[test]
    fn the_fault_of_the_schema_wins_and_nothing_follows_from_a_value_that_is_none() {
        let both = faults(&json!({"user_id": 1, "window": "1y", "from": 0}));
        assert_eq!(both.len(), 1, "{both:?}");
        assert!(both[0].pointer == "/params/window" && both[0].detail.contains("1y"), "{both:?}");
        let window = "a number and m, h, d or w, such as 2h, or all";
        assert!(both[0].detail.starts_with(&format!("\"1y\" does not fit: {window}")), "{both:?}");
        let types = faults(&json!({"user_id": 1, "event_types": ["Buy"]}));
        let words = "\"Buy\" does not fit: an event type: a-z first";
        assert!(types[0].detail.starts_with(words), "{types:?}");
        for to in [json!(true), json!("soon"), json!(null)] {
            assert_eq!(
                params(&json!({"user_id": 1, "from": 2_000, "to": to})),
                ["/params/to"],
                "{to}"
            );
        }
        for window in [
            json!("-1h"),
            json!("1é"),
            json!(""),
            json!(5),
            json!("99999999999999999999w"),
            json!(null),
        ] {
            assert_eq!(
                params(&json!({"user_id": 1, "window": window})),
                ["/params/window"],
                "{window}"
            );
        }
    }

    #[test]
    fn of_many_faults_the_first_are_told_and_of_long_values_the_beginning() {
        let many =
            |names: usize| -> Value { (0..names).map(|n| (format!("k{n}"), json!(n))).collect() };
        assert_eq!(faults(&many(64)).len(), 65, "and user_id, which is missing");
        assert_eq!(faults(&many(8_000)).len(), 65);
        let types: Vec<Value> = (0..8_000).map(|n| json!(format!("NOT {n}"))).collect();
        assert_eq!(faults(&json!({"user_id": 1, "event_types": types})).len(), 100);
        let long = faults(&json!({"user_id": 1, "limit": "ü".repeat(60_000)}));
        assert!(long[0].detail.len() < 1_000 && long[0].detail.contains("ü"), "{long:?}");
    }

    #[test]
    fn a_number_without_a_fraction_is_an_integer_however_it_is_written() {
        let given = r#"{"limit": 5.0, "ids": [1.0, 1e1, "2.0", {"x": -0.0}], "share": 0.5, "huge": 1e300, "end": 9.3e18}"#;
        let Value::Object(params) = serde_json::from_str(given).unwrap_or_default() else {
            panic!("{given}")
        };
        let expected = json!({"limit": 5, "ids": [1, 10, "2.0", {"x": 0}], "share": 0.5, "huge": 1e300, "end": 9.3e18});
        assert_eq!(settled(&params).map(Value::Object), Some(expected));
        assert_eq!(
            settled(json!({"limit": 5, "share": 0.5}).as_object().unwrap_or(&Map::new())),
            None
        );
    }

    #[test]
    fn equal_params_have_one_text_and_others_another() {
        let text = |params: &str| {
            let params: Map<String, Value> = serde_json::from_str(params).unwrap_or_default();
            canonical(&params)
        };
        let one = text(r#"{"b": [{"y": 1, "x": null}], "a": "é"}"#);
        assert_eq!(one, r#"{"a":"é","b":[{"x":null,"y":1}]}"#);
        assert_eq!(text(r#"{"a":"\u00e9","b":[{"x":null,"y":1}]}"#), one);
        assert_ne!(text(r#"{"a":"é","b":[{"x":null,"y":"1"}]}"#), one);
        assert_eq!(text("{}"), "{}");
        let numbers = text(r#"{"n": [1.0, 2e1, -0.0, 0.5, 18446744073709551615]}"#);
        assert_eq!(numbers, r#"{"n":[1,20,0,0.5,18446744073709551615]}"#);
        assert_eq!(text(r#"{"n":[1,20.0,0,0.50,18446744073709551615]}"#), numbers);
    }

    #[test]
    fn a_plugin_cannot_redefine_a_time_param() {
        let mut schema = json!({"type": "object", "properties": {"window": {}}});
        let description = |schema: Value| Description {
            summary: String::new(),
            tables: vec![],
            properties: vec![],
            computed: vec![],
            time: true,
            params_schema: schema,
            result_schema: json!({}),
            examples: vec![],
        };
        assert!(Params::new(&description(schema.take())).is_err());
    }
}
