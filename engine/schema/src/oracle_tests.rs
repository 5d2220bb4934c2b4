//! Against another implementation: random schemas of the keywords that are checked here, random
//! values, the same verdict.
//!
//! Left to the tables: what that one decides otherwise on purpose or does not end on (endless
//! references, which are refused here).

use super::*;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

/// Names of members, of few so that they meet.
fn key() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "ab", "c"]).prop_map(str::to_owned)
}

fn number() -> impl Strategy<Value = Value> {
    select(vec![
        json!(-1),
        json!(0),
        json!(0.0),
        json!(1),
        json!(1.0),
        json!(1.5),
        json!(2),
        json!(3),
        json!(0.1),
        json!(0.3),
    ])
}

fn value() -> impl Strategy<Value = Value> {
    let text = select(vec!["", "a", "ab", "b", "abc", "ü", "üü"]).prop_map(|text| json!(text));
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        number(),
        number(),
        text
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            btree_map(key(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn of(
    keyword: &'static str,
    value: impl Strategy<Value = Value> + 'static,
) -> BoxedStrategy<(String, Value)> {
    value.prop_map(move |value| (keyword.to_owned(), value)).boxed()
}

fn count() -> impl Strategy<Value = Value> {
    select(vec![json!(0), json!(1), json!(2), json!(2.0), json!(3)])
}

/// A keyword that holds no other schema.
fn plain_keyword() -> BoxedStrategy<(String, Value)> {
    let types = vec!["null", "boolean", "integer", "number", "string", "array", "object"];
    let several = proptest::sample::subsequence(types.clone(), 1..4).prop_map(|types| json!(types));
    let pattern = select(vec!["a", "^a", "b$", "^[a-b]+$", r"\w", "^.$", r"^\D*$"])
        .prop_map(|text| json!(text));
    let names = || {
        vec(key(), 0..3)
            .prop_map(|names| json!(names.into_iter().collect::<std::collections::BTreeSet<_>>()))
    };
    prop_oneof![
        4 => of("type", select(types).prop_map(|name| json!(name))),
        2 => of("type", several),
        1 => of("const", value()),
        1 => of("enum", vec(value(), 1..4).prop_map(|mut values| { values.dedup(); json!(values) })),
        1 => select(vec!["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])
            .prop_flat_map(|keyword| of(keyword, number())),
        1 => of("multipleOf", select(vec![json!(1), json!(2), json!(0.1), json!(0.5), json!(1.5)])),
        2 => select(vec!["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"])
            .prop_flat_map(|keyword| of(keyword, count())),
        1 => of("pattern", pattern),
        1 => of("uniqueItems", any::<bool>().prop_map(|unique| json!(unique))),
        1 => of("required", names()),
        1 => of("dependentRequired", btree_map(key(), names(), 0..3).prop_map(|map| json!(map))),
        1 => of("format", Just(json!("date-time"))),
    ]
    .boxed()
}

fn keywords_around(inner: BoxedStrategy<Value>) -> BoxedStrategy<(String, Value)> {
    let one = || inner.clone();
    let some = || vec(inner.clone(), 1..4).prop_map(Value::Array);
    let named = || btree_map(key(), inner.clone(), 0..3).prop_map(|map| json!(map));
    let patterns =
        btree_map(select(vec!["a", "^b", "b$"]).prop_map(str::to_owned), inner.clone(), 0..2);
    let reference =
        select(vec!["#/$defs/d0", "#/$defs/d1", "#/$defs/d2"]).prop_map(|target| json!(target));
    prop_oneof![
        3 => plain_keyword(),
        2 => of("properties", named()),
        1 => of("patternProperties", patterns.prop_map(|map| json!(map))),
        1 => of("additionalProperties", prop_oneof![Just(json!(false)), one()]),
        1 => of("unevaluatedProperties", prop_oneof![Just(json!(false)), one()]),
        1 => of("propertyNames", one()),
        1 => of("dependentSchemas", named()),
        1 => select(vec!["allOf", "anyOf", "oneOf"]).prop_flat_map({
            let some = some();
            move |keyword| of(keyword, some.clone())
        }),
        1 => select(vec!["not", "if", "then", "else"]).prop_flat_map({
            let one = one();
            move |keyword| of(keyword, one.clone())
        }),
        1 => of("items", one()),
        1 => of("prefixItems", some()),
        1 => of("contains", one()),
        1 => select(vec!["minContains", "maxContains"]).prop_flat_map(|keyword| of(keyword, count())),
        1 => of("$ref", reference),
    ]
    .boxed()
}

fn schema() -> impl Strategy<Value = Value> {
    let object =
        |keywords: Vec<(String, Value)>| Value::Object(keywords.into_iter().collect::<Map<_, _>>());
    let leaf = prop_oneof![
        1 => any::<bool>().prop_map(Value::Bool),
        6 => vec(plain_keyword(), 0..3).prop_map(object),
    ];
    let nested = leaf
        .prop_recursive(4, 32, 4, move |inner| {
            vec(keywords_around(inner.boxed()), 1..5).prop_map(object)
        })
        .boxed();
    (nested.clone(), nested.clone(), nested.clone(), nested).prop_map(|(whole, d0, d1, d2)| {
        let mut whole = match whole {
            Value::Object(members) => members,
            other => Map::from_iter([("allOf".to_owned(), json!([other]))]),
        };
        whole.insert("$defs".into(), json!({"d0": d0, "d1": d1, "d2": d2}));
        Value::Object(whole)
    })
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() }
}

// The other implementation is built for this test alone: `--features oracle`, as `./check` does.
#[cfg(feature = "oracle")]
proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_schemas_decide_as_another_implementation(schema in schema(), values in vec(value(), 8)) {
        match Schema::compile(&schema) {
            Err(SchemaError { problem: SchemaProblem::Endless, .. }) => {}
            Err(fault) => prop_assert!(false, "{schema}: {fault}"),
            Ok(compiled) => {
                let oracle = jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&schema);
                let oracle = oracle.map_err(|fault| TestCaseError::fail(format!("{schema}: the other one: {fault}")))?;
                for value in &values {
                    let expected = oracle.is_valid(value);
                    prop_assert_eq!(compiled.accepts(value), expected, "{} {}", schema, value);
                    prop_assert_eq!(compiled.faults(value, 5).is_empty(), expected, "{} {}", schema, value);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config())]

    /// Both ways to ask for a verdict have the same one.
    #[test]
    fn random_schemas_decide_in_one_way(schema in schema(), values in vec(value(), 8)) {
        match Schema::compile(&schema) {
            Err(SchemaError { problem: SchemaProblem::Endless, .. }) => {}
            Err(fault) => prop_assert!(false, "{schema}: {fault}"),
            Ok(compiled) => {
                for value in &values {
                    let none = compiled.faults(value, 5).is_empty();
                    prop_assert_eq!(compiled.accepts(value), none, "{} {}", schema, value);
                }
            }
        }
    }

    /// Nothing that is no schema, and no value, ends in a panic.
    #[test]
    fn anything_at_all_is_a_schema_or_refused(schema in value(), keyword in plain_keyword(), of in value(), value in value()) {
        let mut schema = schema;
        if let Some(members) = schema.as_object_mut() {
            members.insert(keyword.0, of);
        }
        if let Ok(compiled) = Schema::compile(&schema) {
            prop_assert_eq!(compiled.accepts(&value), compiled.faults(&value, 1).is_empty());
        }
    }
}
