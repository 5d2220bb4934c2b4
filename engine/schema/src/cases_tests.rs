//! Tables: what each keyword accepts, what it says of what it refuses, and which schemas are
//! refused.

#![allow(clippy::unwrap_used)] // a schema that is not refused is a failed test

use super::*;
use serde_json::{Value, json};

fn schema(text: &str) -> Schema {
    let value = serde_json::from_str(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    Schema::compile(&value).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

/// A schema, values that fit, values that do not.
const CASES: [(&str, &[&str], &[&str]); 54] = [
    ("true", &["1", "null", "{}"], &[]),
    ("false", &[], &["1", "null", "{}"]),
    ("{}", &["1", "[]"], &[]),
    (r#"{"type": "integer"}"#, &["1", "1.0", "1e3", "-0.0"], &["1.5", "\"1\"", "null", "true"]),
    (r#"{"type": "number"}"#, &["1", "1.5"], &["\"1\"", "false"]),
    (r#"{"type": ["array", "null"]}"#, &["[]", "null"], &["{}", "0"]),
    (r#"{"type": ["string", "boolean", "object"]}"#, &["\"\"", "true", "{}"], &["[]", "0"]),
    (r#"{"const": {"a": [1, 2.0]}}"#, &[r#"{"a": [1.0, 2]}"#], &[r#"{"a": [2, 1]}"#, "{}"]),
    (r#"{"const": false}"#, &["false"], &["0", "null"]),
    (r#"{"enum": ["a", 1, null]}"#, &["\"a\"", "1.0", "null"], &["\"b\"", "true"]),
    (r#"{"enum": []}"#, &[], &["null"]),
    (r#"{"minimum": 1}"#, &["1", "1.0", "\"0\""], &["0", "0.999"]),
    (r#"{"maximum": 9007199254740992}"#, &["9007199254740992"], &["9007199254740993", "1e300"]),
    (r#"{"exclusiveMinimum": 0, "exclusiveMaximum": 1}"#, &["0.5"], &["0", "1", "1.0"]),
    (r#"{"multipleOf": 0.01}"#, &["0.07", "1", "0", "4.02"], &["0.075"]),
    (r#"{"minLength": 2, "maxLength": 3}"#, &["\"üü\"", "\"日本語\"", "1"], &["\"ü\"", "\"abcd\""]),
    (r#"{"minLength": 2.0}"#, &["\"ab\""], &["\"a\""]),
    (r#"{"pattern": "^a+$"}"#, &["\"aa\"", "1"], &["\"ab\"", "\"\""]),
    (r#"{"pattern": "b"}"#, &["\"abc\""], &["\"ac\""]),
    (r#"{"format": "date-time"}"#, &["\"no time\""], &[]),
    (r#"{"items": {"type": "integer"}}"#, &["[]", "[1, 2]", "{}"], &["[1, \"a\"]"]),
    (r#"{"prefixItems": [{"type": "integer"}, true]}"#, &["[]", "[1]", "[1, 2, 3]"], &["[\"a\"]"]),
    (r#"{"prefixItems": [true], "items": false}"#, &["[]", "[1]"], &["[1, 2]"]),
    (r#"{"minItems": 1, "maxItems": 2}"#, &["[1]", "[1, 2]"], &["[]", "[1, 2, 3]"]),
    (
        r#"{"uniqueItems": true}"#,
        &["[1, 2, \"1\", true]", "[]"],
        &["[1, 1.0]", r#"[{"a": 1, "b": 2}, {"b": 2, "a": 1}]"#],
    ),
    (r#"{"uniqueItems": false}"#, &["[1, 1]"], &[]),
    (r#"{"contains": {"const": 1}}"#, &["[0, 1]", "{}"], &["[]", "[0]"]),
    (
        r#"{"contains": {"const": 1}, "minContains": 2, "maxContains": 3}"#,
        &["[1, 1]", "[1, 1, 1, 0]"],
        &["[1]", "[1, 1, 1, 1]"],
    ),
    (r#"{"contains": {"const": 1}, "minContains": 0}"#, &["[]"], &[]),
    (
        r#"{"properties": {"a": {"type": "integer"}}}"#,
        &["{}", r#"{"a": 1, "b": "x"}"#, "[]"],
        &[r#"{"a": "x"}"#],
    ),
    (r#"{"properties": {"a": false}}"#, &["{}"], &[r#"{"a": 1}"#]),
    (r#"{"additionalProperties": false}"#, &["{}"], &[r#"{"a": 1}"#]),
    (
        r#"{"properties": {"a": true}, "additionalProperties": {"type": "integer"}}"#,
        &[r#"{"a": "x", "b": 1}"#],
        &[r#"{"b": "x"}"#],
    ),
    (
        r#"{"patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": false}"#,
        &[r#"{"x-a": 1}"#],
        &[r#"{"x-a": "b"}"#, r#"{"y": 1}"#],
    ),
    (
        r#"{"properties": {"ab": {"minimum": 1}}, "patternProperties": {"b$": {"maximum": 3}}}"#,
        &[r#"{"ab": 2}"#, r#"{"b": 0}"#],
        &[r#"{"ab": 0}"#, r#"{"ab": 4}"#],
    ),
    (r#"{"propertyNames": {"maxLength": 2}}"#, &[r#"{"ab": 1}"#, "{}"], &[r#"{"abc": 1}"#]),
    (r#"{"propertyNames": {"enum": ["a"]}}"#, &[r#"{"a": 1}"#], &[r#"{"b": 1}"#]),
    (
        r#"{"minProperties": 1, "maxProperties": 2}"#,
        &[r#"{"a": 1}"#],
        &["{}", r#"{"a": 1, "b": 1, "c": 1}"#],
    ),
    (r#"{"required": ["a", "b"]}"#, &[r#"{"a": 1, "b": null}"#, "[]"], &[r#"{"a": 1}"#, "{}"]),
    (
        r#"{"dependentRequired": {"a": ["b", "c"]}}"#,
        &["{}", r#"{"b": 1}"#, r#"{"a": 1, "b": 1, "c": 1}"#],
        &[r#"{"a": 1, "b": 1}"#],
    ),
    (
        r#"{"dependentSchemas": {"a": {"required": ["b"]}}}"#,
        &["{}", r#"{"a": 1, "b": 1}"#, "[]"],
        &[r#"{"a": 1}"#],
    ),
    (r#"{"allOf": [{"minimum": 1}, {"maximum": 3}]}"#, &["2"], &["0", "4"]),
    (r#"{"anyOf": [{"type": "integer"}, {"minimum": 1}]}"#, &["0", "1.5", "\"a\""], &["0.5"]),
    (r#"{"oneOf": [{"type": "integer"}, {"minimum": 1}]}"#, &["0", "1.5"], &["1", "0.5"]),
    (r#"{"not": {"type": "integer"}}"#, &["1.5", "\"a\""], &["1"]),
    (
        r#"{"if": {"type": "integer"}, "then": {"minimum": 1}, "else": {"type": "string"}}"#,
        &["1", "\"a\""],
        &["0", "1.5"],
    ),
    (r#"{"if": {"type": "integer"}, "then": {"minimum": 1}}"#, &["1", "null"], &["0"]),
    (r#"{"then": false, "else": false}"#, &["1"], &[]),
    (
        r##"{"$ref": "#/$defs/a%20b~1", "minimum": 2, "$defs": {"a b/": {"type": "integer"}}}"##,
        &["2"],
        &["1", "2.5"],
    ),
    (
        r##"{"properties": {"next": {"$ref": "#"}, "n": {"type": "integer"}}, "additionalProperties": false}"##,
        &[r#"{"next": {"next": {"n": 1}}}"#],
        &[r#"{"next": {"next": {"n": "x"}}}"#, r#"{"next": {"m": 1}}"#],
    ),
    (
        r#"{"properties": {"a": true}, "unevaluatedProperties": false}"#,
        &[r#"{"a": 1}"#],
        &[r#"{"b": 1}"#],
    ),
    (
        r#"{"properties": {"a": true}, "unevaluatedProperties": false, "allOf": [{"properties": {"b": true}}],
            "anyOf": [{"properties": {"c": {"type": "integer"}}, "required": ["c"]}, {"properties": {"d": true}}]}"#,
        &[r#"{"a": 1, "b": 1, "d": 1}"#, r#"{"c": 1, "d": 1}"#],
        &[r#"{"e": 1}"#, r#"{"c": "x"}"#],
    ),
    (
        r#"{"unevaluatedProperties": {"type": "integer"}, "if": {"properties": {"a": {"const": 1}}, "required": ["a"]},
            "then": {"properties": {"b": true}}, "else": {"properties": {"c": true}}}"#,
        &[r#"{"a": 1, "b": "x"}"#, r#"{"c": "x"}"#, r#"{"d": 1}"#],
        &[r#"{"a": 1, "c": "x"}"#, r#"{"b": "x"}"#],
    ),
    (
        r#"{"allOf": [{"unevaluatedProperties": true}], "unevaluatedProperties": false}"#,
        &[r#"{"a": 1}"#],
        &[],
    ),
];

#[test]
fn each_keyword_accepts_what_it_should_and_nothing_else() {
    for (text, good, bad) in CASES {
        let schema = schema(text);
        for good in good {
            assert!(schema.accepts(&value(good)), "{text} accepts {good}");
            assert!(schema.faults(&value(good), 9).is_empty(), "{text} {good}");
        }
        for bad in bad {
            assert!(!schema.accepts(&value(bad)), "{text} refuses {bad}");
            assert!(!schema.faults(&value(bad), 9).is_empty(), "{text} {bad}");
        }
    }
}

#[test]
fn a_fault_says_where_and_what() {
    let schema = schema(
        r#"{"type": "object", "required": ["user_id"], "additionalProperties": false, "properties": {
            "user_id": {"type": ["integer", "string"]}, "limit": {"minimum": 1, "maximum": 10},
            "tags": {"items": {"type": "string", "maxLength": 3}, "uniqueItems": true, "maxItems": 1},
            "a/b": {"propertyNames": {"pattern": "^x"}}, "code": {"pattern": "^[A-Z]{3}$", "description": " three letters, such as EUR\n"},
            "size": {"type": "string", "pattern": "^[0-9]+$", "description": " "}, "by": {"enum": ["day", "hour"]}, "one": {"const": "x"},
            "cell": {"oneOf": [{"const": "count"}, {"type": "object", "properties": {"sum": true, "min": true}}, {"type": "array"}]},
            "odd": {"not": {"multipleOf": 2}}, "left": {"dependentRequired": {"a": ["b"]}}}}"#,
    );
    for (value, pointer, expected) in [
        (json!([]), "", "[] is not of type \"object\""),
        (json!({}), "", "\"user_id\" is missing"),
        (json!({"user_id": null}), "/user_id", "null is not of type \"integer\" or \"string\""),
        (json!({"user_id": 1, "limit": 0}), "/limit", "0 is less than the minimum of 1"),
        (json!({"user_id": 1, "limit": 11}), "/limit", "11 is greater than the maximum of 10"),
        (
            json!({"user_id": 1, "tags": ["abcd"]}),
            "/tags/0",
            "\"abcd\" is longer than 3 characters",
        ),
        (json!({"user_id": 1, "tags": ["a", "b"]}), "/tags", "[\"a\",\"b\"] has more than 1 item"),
        (
            json!({"user_id": 1, "a/b": {"y": 1}}),
            "/a~1b",
            "the key \"y\" is not allowed here: \"y\" does not match \"^x\"",
        ),
        (
            json!({"user_id": 1, "code": "euro"}),
            "/code",
            "\"euro\" does not fit: three letters, such as EUR",
        ),
        (json!({"user_id": 1, "size": "x"}), "/size", "\"x\" does not match \"^[0-9]+$\""),
        (json!({"user_id": 1, "by": "week"}), "/by", "\"week\" is not one of \"day\", \"hour\""),
        (json!({"user_id": 1, "one": "y"}), "/one", "\"y\" is not \"x\""),
        (
            json!({"user_id": 1, "cell": "sum"}),
            "/cell",
            "\"sum\" is not one of \"count\", {\"sum\": …}, {\"min\": …}, a value of type \"array\"",
        ),
        (json!({"user_id": 1, "odd": 2}), "/odd", "2 is not allowed here"),
        (json!({"user_id": 1, "left": {"a": 1}}), "/left", "\"b\" is missing; \"a\" needs it"),
        (
            json!({"user_id": 1, "limt": 1}),
            "",
            "unknown key \"limt\"; the keys are \"user_id\", \"limit\", \"tags\", \"a/b\", \"code\", \"size\", \"by\", \"one\", \"cell\", \"odd\", \"left\"",
        ),
    ] {
        let faults = schema.faults(&value, 9);
        assert_eq!(faults.len(), 1, "{value}: {faults:?}");
        assert_eq!(
            (faults[0].pointer().as_str(), faults[0].to_string().as_str()),
            (pointer, expected)
        );
    }
    let secret = json!({"user_id": 1, "limit": 0});
    assert_eq!(
        schema.faults(&secret, 1)[0].masked().to_string(),
        "the value is less than the minimum of 1"
    );
}

#[test]
fn all_faults_come_at_once_as_many_as_are_wanted() {
    let schema = schema(
        r#"{"required": ["x"], "properties": {"a": {"type": "integer"}, "b": {"items": {"minimum": 1}}}}"#,
    );
    let value = json!({"a": "", "b": [0, 1, 0]});
    let pointers =
        |most| -> Vec<String> { schema.faults(&value, most).iter().map(Fault::pointer).collect() };
    assert_eq!(pointers(9), ["", "/a", "/b/0", "/b/2"]);
    assert_eq!(pointers(2), ["", "/a"]);
    assert!(pointers(0).is_empty());
}

/// A schema that is refused, and what the refusal says.
const REFUSED: &[(&str, &str)] = &[
    ("7", "at the top: the schema must be an object, true or false"),
    (
        r#"{"properties": {"a": 7}}"#,
        "at /properties/a: the schema must be an object, true or false",
    ),
    (
        r#"{"properties": {"limit": {"type": 7}}}"#,
        "at /properties/limit: type must be one or several",
    ),
    (r#"{"type": "int"}"#, "type must be one or several of the seven types"),
    (r#"{"type": []}"#, "type must be"),
    (r#"{"enum": 1}"#, "enum must be an array"),
    (r#"{"minimum": "1"}"#, "minimum must be a number"),
    (r#"{"exclusiveMinimum": true}"#, "exclusiveMinimum must be a number"),
    (r#"{"multipleOf": 0}"#, "multipleOf must be a number above 0"),
    (r#"{"minLength": -1}"#, "minLength must be an integer of at least 0"),
    (r#"{"maxItems": 1.5}"#, "maxItems must be an integer of at least 0"),
    (r#"{"pattern": "("}"#, "the pattern \"(\" cannot be used: unclosed group"),
    (r#"{"pattern": "a(?=b)"}"#, "look-around"),
    (r#"{"patternProperties": {"[": true}}"#, "cannot be used"),
    (r#"{"items": [true]}"#, "for items by place use prefixItems"),
    (r#"{"uniqueItems": 1}"#, "uniqueItems must be true or false"),
    (r#"{"required": "a"}"#, "required must be an array of texts"),
    (r#"{"properties": []}"#, "properties must be an object"),
    (r#"{"allOf": []}"#, "allOf must be an array of one or more schemas"),
    (r#"{"items": {"anyOf": [true, {"not": 1}]}}"#, "at /items/anyOf/1/not: the schema must be"),
    (
        r##"{"$ref": "#/$defs/none"}"##,
        "the reference \"#/$defs/none\" leads to no place in this schema",
    ),
    (r#"{"$ref": "other.json"}"#, "write one like \"#/$defs/NAME\""),
    (r##"{"$ref": "#anchor"}"##, "leads to no place"),
    (r##"{"$ref": "#"}"##, "the schema refers to itself without a step into the value"),
    (
        r##"{"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}"##,
        "refers to itself",
    ),
    (
        r#"{"unevaluatedItems": false}"#,
        "unevaluatedItems is not supported; use items beside prefixItems",
    ),
    (r##"{"$dynamicRef": "#a"}"##, "$dynamicRef is not supported; use $ref"),
    (
        r#"{"dependencies": {}}"#,
        "dependencies is not supported; use dependentRequired or dependentSchemas",
    ),
    (r#"{"properties": {"a": {"$id": "x"}}}"#, "$id inside a schema is not supported"),
    (r#"{"$schema": "http://json-schema.org/draft-07/schema#"}"#, "the dialect that is checked"),
];

#[test]
fn schemas_that_cannot_be_held_are_refused_with_the_place_and_what_to_do() {
    for (text, expected) in REFUSED.iter().copied() {
        let refused = Schema::compile(&value(text)).map(|_| ()).map_err(|fault| fault.to_string());
        assert!(
            refused.as_ref().is_err_and(|fault| fault.contains(expected)),
            "{text}: {refused:?}"
        );
    }
    for good in [
        r#"{"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "x", "title": "T", "x-tally-id": "user"}"#,
        r#"{"default": {"type": 7}, "examples": [{"minimum": "x"}], "deprecated": true, "$comment": "c"}"#,
        r##"{"$defs": {"a": {"type": "integer"}}, "properties": {"x": {"$ref": "#/$defs/a"}}}"##,
    ] {
        schema(good);
    }
}

/// A schema of so many definitions, each of which says the same twice of the next one.
fn doubling(depth: usize, twice: impl Fn(&str) -> Value) -> Value {
    let next = |n: usize| twice(&format!("#/$defs/d{}", n + 1));
    let mut defs: serde_json::Map<String, Value> =
        (0..depth).map(|n| (format!("d{n}"), next(n))).collect();
    defs.insert(format!("d{depth}"), json!({"type": "string"}));
    json!({"$ref": "#/$defs/d0", "$defs": defs})
}

#[test]
fn work_and_depth_are_bounded_whatever_schema_and_value_are() {
    let both = |of: &str| json!({"allOf": [{"$ref": of}, {"$ref": of}]});
    let either = |of: &str| json!({"anyOf": [{"$ref": of}, {"$ref": of}]});
    for (schema, value, fits) in [
        (doubling(8, both), json!("a"), true),
        (doubling(8, either), json!(1), false),
        (doubling(30, both), json!("a"), false),
        (doubling(30, either), json!(1), false),
    ] {
        let schema = Schema::compile(&schema).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(schema.accepts(&value), fits);
        assert_eq!(schema.faults(&value, 1).is_empty(), fits);
    }
    let schema = Schema::compile(&doubling(30, both)).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(schema.faults(&json!("a"), 9)[0].kind, FaultKind::TooMuchWork);
    // What runs out of work does not fit, also where a schema asks for the contrary.
    let mut contrary = doubling(30, both);
    contrary["not"] = json!({"$ref": "#/$defs/d0"});
    contrary["$ref"] = json!("#/$defs/d30");
    let contrary = Schema::compile(&contrary).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(!contrary.accepts(&json!("a")));

    let refused = Schema::compile(&doubling(60, both)).map(|_| ()).unwrap_err();
    assert!(
        refused.to_string().contains("more than 64 schemas that apply one another"),
        "{refused}"
    );
    let wide: serde_json::Map<String, Value> =
        (0..30_000).map(|n| (n.to_string(), json!({}))).collect();
    let refused = Schema::compile(&json!({"properties": wide})).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("more than 20000 subschemas"), "{refused}");
    let patterns: serde_json::Map<String, Value> =
        (0..65).map(|n| (n.to_string(), json!({}))).collect();
    let refused = Schema::compile(&json!({"patternProperties": patterns})).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("more than 64 different patterns"), "{refused}");

    let list = Schema::compile(&json!({"properties": {"next": {"$ref": "#"}}}))
        .unwrap_or_else(|fault| panic!("{fault}"));
    let nested = |depth| (0..depth).fold(json!({}), |below, _| json!({"next": below}));
    assert!(list.accepts(&nested(100)));
    assert!(!list.accepts(&nested(1_000)), "it is nested too deeply");
}

#[test]
fn large_values_are_checked_in_time_that_grows_with_them() {
    let schema = schema(r#"{"uniqueItems": true, "items": {"type": "integer", "enum": [1, 2]}}"#);
    let items: Value = (0..100_000).map(|n| json!(n)).collect();
    assert_eq!(schema.faults(&items, 3).len(), 3);
    let unique =
        Schema::compile(&json!({"uniqueItems": true})).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(unique.accepts(&items));
}
