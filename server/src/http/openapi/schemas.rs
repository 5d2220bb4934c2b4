//! The JSON Schemas of metrics as components of a document.
//!
//! A metric's schema refers to places in itself. In a document that holds many, it becomes a
//! component and each of its definitions one beside it, with references that lead there. What the
//! host adds to a metric is said, too: bounds of times, params that exclude each other, and names
//! beside ids. Judges no value.

use crate::http::documents::DescribedMetric;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value, json};
use tally_engine::time::{FIRST_MS, LAST_MS};

/// Where a document has its schemas.
pub(crate) const SCHEMAS: &str = "#/components/schemas/";

/// What a pointer in a URL must not have as it is.
const POINTER: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'%').add(b'{').add(b'}');

/// Keywords whose value is a schema.
const ONE: [&str; 11] = [
    "additionalProperties",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
];

/// Keywords whose value is a list of schemas.
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];

/// Keywords whose value has schemas by name.
const NAMED: [&str; 5] =
    ["$defs", "definitions", "dependentSchemas", "patternProperties", "properties"];

/// Keywords of a whole schema that definitions stand under.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// References that are followed to find out whether a property holds an id.
const STEPS: u32 = 8;

/// The JSON Schema that the readers of a document know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SchemaDialect {
    /// That of plugins, 2020-12.
    Latest,
    /// Draft 07: what it reads otherwise is left out, so that nothing is refused that is right.
    Draft07,
}

/// Schemas by name.
pub(crate) struct SchemaComponents {
    dialect: SchemaDialect,
    pub(crate) schemas: Map<String, Value>,
}

/// The component that a metric's params are described by.
pub(crate) fn params_name(metric: &str) -> String {
    format!("metric.{metric}.params")
}

/// The component that a metric's result is described by.
pub(crate) fn result_name(metric: &str) -> String {
    format!("metric.{metric}.result")
}

/// A reference to a component.
pub(crate) fn reference(name: &str) -> Value {
    json!({ "$ref": format!("{SCHEMAS}{name}") })
}

impl SchemaComponents {
    /// None yet.
    pub(crate) fn new(dialect: SchemaDialect) -> SchemaComponents {
        SchemaComponents { dialect, schemas: Map::new() }
    }

    /// Adds the params and the result of a metric.
    pub(crate) fn add_metric(&mut self, metric: &DescribedMetric) {
        self.add(&params_name(&metric.name), &params(metric), false);
        self.add(&result_name(&metric.name), &metric.description.result_schema, true);
    }

    /// Adds a whole schema under a name, and its definitions beside it. `named`: names may come
    /// beside ids.
    fn add(&mut self, name: &str, schema: &Value, named: bool) {
        let mut moved: Vec<(String, String)> = Vec::new();
        let mut found: Vec<(String, &Value)> = Vec::new();
        for keyword in DEFINITIONS {
            let definitions = schema.get(keyword).and_then(Value::as_object);
            for (definition, schema) in definitions.into_iter().flatten() {
                let taken = |name: &str| found.iter().any(|(other, _)| other == name);
                let component = self.free_name(&format!("{name}.{}", cleaned(definition)), taken);
                let step = definition.replace('~', "~0").replace('/', "~1");
                moved.push((format!("/{keyword}/{step}"), component.clone()));
                found.push((component, schema));
            }
        }
        let rewriter = Rewriter { dialect: self.dialect, root: schema, name, moved: &moved, named };
        let mut whole = rewriter.schema(schema);
        if let Some(members) = whole.as_object_mut() {
            DEFINITIONS.into_iter().for_each(|keyword| drop(members.shift_remove(keyword)));
        }
        self.schemas.insert(name.to_owned(), whole);
        for (component, schema) in found {
            self.schemas.insert(component, rewriter.schema(schema));
        }
    }

    /// A name like this one that no component has.
    fn free_name(&self, name: &str, taken: impl Fn(&str) -> bool) -> String {
        let is_free = |name: &str| !self.schemas.contains_key(name) && !taken(name);
        let mut free = name.to_owned();
        let mut number = 2_u32;
        while !is_free(&free) {
            free = format!("{name}_{number}");
            number += 1;
        }
        free
    }
}

/// A name with the characters alone that names of components have.
fn cleaned(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    name.chars().map(|c| if fits(c) { c } else { '_' }).collect()
}

/// The params schema, with what the time params say beside their schema.
fn params(metric: &DescribedMetric) -> Value {
    let mut schema = metric.description.params_schema.clone();
    if !metric.description.time {
        return schema;
    }
    for name in ["from", "to"] {
        let choices = schema.pointer_mut(&format!("/properties/{name}/anyOf"));
        for choice in choices.and_then(Value::as_array_mut).into_iter().flatten() {
            if choice["type"] == "integer" {
                choice["minimum"] = FIRST_MS.into();
                choice["maximum"] = LAST_MS.into();
            }
        }
    }
    let both = json!({"required": ["window", "from"]});
    if let Some(members) = schema.as_object_mut() {
        if members.contains_key("not") {
            push_all_of(members, json!({ "not": both }));
        } else {
            members.insert("not".into(), both);
        }
    }
    schema
}

fn push_all_of(members: &mut Map<String, Value>, schema: Value) {
    match members.get_mut("allOf") {
        Some(Value::Array(all)) => all.push(schema),
        _ => drop(members.insert("allOf".into(), Value::Array(vec![schema]))),
    }
}

/// Rewrites the parts of one schema.
struct Rewriter<'a> {
    dialect: SchemaDialect,
    root: &'a Value,
    /// The component of the whole.
    name: &'a str,
    /// Places in it that are components of their own.
    moved: &'a [(String, String)],
    /// Whether names may come beside its ids.
    named: bool,
}

impl Rewriter<'_> {
    fn schema(&self, schema: &Value) -> Value {
        let Value::Object(members) = schema else { return schema.clone() };
        let mut out = Map::new();
        for (key, value) in members {
            let value = match (key.as_str(), value) {
                ("$schema" | "$id" | "$comment", _) => continue,
                ("$ref", Value::String(target)) => Value::String(self.target(target)),
                (key, value) if ONE.contains(&key) => self.schema(value),
                (key, Value::Array(list)) if LISTS.contains(&key) => {
                    Value::Array(list.iter().map(|schema| self.schema(schema)).collect())
                }
                (key, Value::Object(named)) if NAMED.contains(&key) => {
                    let schema = |(name, schema): (&String, _)| (name.clone(), self.schema(schema));
                    Value::Object(named.iter().map(schema).collect())
                }
                (_, value) => value.clone(),
            };
            out.insert(key.clone(), value);
        }
        if self.named {
            self.add_names(&mut out);
        }
        enumerate(&mut out);
        if self.dialect == SchemaDialect::Draft07 {
            as_draft_07(&mut out);
        }
        Value::Object(out)
    }

    /// Where a reference leads in the document.
    fn target(&self, target: &str) -> String {
        let pointer = target.strip_prefix('#').unwrap_or_default();
        let pointer = percent_decode_str(pointer).decode_utf8_lossy();
        let below = |place: &str| {
            let rest = pointer.strip_prefix(place)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(rest)
        };
        let moved = self.moved.iter().find_map(|(place, to)| Some((to.as_str(), below(place)?)));
        let (component, rest) = moved.unwrap_or((self.name, &*pointer));
        format!("{SCHEMAS}{component}{}", utf8_percent_encode(rest, POINTER))
    }

    /// Beside ids there are names, if these are asked for.
    fn add_names(&self, members: &mut Map<String, Value>) {
        let Some(Value::Object(properties)) = members.get_mut("properties") else { return };
        let ids: Vec<String> = properties
            .iter()
            .filter(|(_, schema)| self.holds_id(schema, STEPS))
            .map(|(name, _)| format!("{}_name", name.strip_suffix("_id").unwrap_or(name)))
            .collect();
        let has_name = properties.contains_key("name");
        // Which of them it is depends on what else is in the object.
        let own = if ids.is_empty() || has_name { None } else { Some("name".to_owned()) };
        let names = if ids.len() > 1 || has_name { ids } else { Vec::new() };
        let names: Vec<String> = names.into_iter().chain(own).collect();
        for name in names {
            properties.entry(name).or_insert_with(|| {
                json!({"description": "As the catalogue has it; if `expand` asks for names.",
                    "type": ["string", "null"]})
            });
        }
    }

    /// Whether a property holds an id. Its schema may be rewritten already.
    fn holds_id(&self, schema: &Value, steps: u32) -> bool {
        let Some(steps) = steps.checked_sub(1) else { return false };
        if schema.get("x-tally-id").is_some() {
            return true;
        }
        let target = schema.get("$ref").and_then(Value::as_str);
        let pointer = target.and_then(|target| self.place(target));
        let referred = pointer.and_then(|pointer| self.root.pointer(&pointer));
        let choices = ["allOf", "anyOf", "oneOf"]
            .into_iter()
            .filter_map(|keyword| schema.get(keyword)?.as_array())
            .flatten();
        referred.into_iter().chain(choices).any(|schema| self.holds_id(schema, steps))
    }

    /// The place in the whole that a reference leads to, before or after it is rewritten.
    fn place(&self, target: &str) -> Option<String> {
        let Some(rest) = target.strip_prefix(SCHEMAS) else {
            return Some(percent_decode_str(target.strip_prefix('#')?).decode_utf8_lossy().into());
        };
        let (component, rest) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let rest = percent_decode_str(rest).decode_utf8_lossy();
        let moved = self.moved.iter().find(|(_, to)| to == component);
        moved.map(|(place, _)| format!("{place}{rest}")).or_else(|| Some(rest.into_owned()))
    }
}

/// Makes an enumeration of a choice between texts: generators of clients read the one, and few of
/// them the other.
fn enumerate(members: &mut Map<String, Value>) {
    let text = |choice: &Value| {
        let told = ["const", "description", "title", "type"];
        let is_plain = choice.as_object()?.keys().all(|key| told.contains(&&**key));
        let text = choice.get("const")?.as_str()?.to_owned();
        let means = choice.get("description").and_then(Value::as_str).map(str::to_owned);
        is_plain.then_some((text, means))
    };
    for keyword in ["oneOf", "anyOf"] {
        let Some(Value::Array(choices)) = members.get(keyword) else { continue };
        let Some(texts) = choices.iter().map(text).collect::<Option<Vec<_>>>() else { continue };
        if texts.is_empty() || members.contains_key("enum") {
            continue;
        }
        let told = members.get("description").and_then(Value::as_str).map(str::to_owned);
        let means = texts
            .iter()
            .filter_map(|(text, means)| means.as_ref().map(|means| format!("`{text}`: {means}")));
        let description: Vec<String> = told.into_iter().chain(means).collect();
        if !description.is_empty() {
            members.insert("description".to_owned(), description.join("\n\n").into());
        }
        let texts: Vec<String> = texts.into_iter().map(|(text, _)| text).collect();
        members.shift_remove(keyword);
        members.insert("type".to_owned(), "string".into());
        members.insert("enum".to_owned(), texts.into());
    }
}

/// Leaves out what draft 07 reads otherwise.
fn as_draft_07(members: &mut Map<String, Value>) {
    if members.contains_key("prefixItems") {
        members.shift_remove("items");
    }
    if members.contains_key("minContains") {
        members.shift_remove("contains");
    }
    // What stands beside a reference is not read.
    if members.len() > 1
        && let Some(target) = members.shift_remove("$ref")
    {
        push_all_of(members, json!({ "$ref": target }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::documents::tests::metric;

    #[test]
    fn a_choice_between_texts_is_an_enumeration() {
        let enumerated = |schema: &Value| {
            let mut members = schema.as_object().cloned().unwrap_or_default();
            enumerate(&mut members);
            Value::Object(members)
        };
        let plain = json!({"description": "By what.", "default": "a", "oneOf": [
            {"const": "a", "type": "string", "description": "One way."}, {"const": "b"}]});
        let expected = json!({"description": "By what.\n\n`a`: One way.", "default": "a",
            "type": "string", "enum": ["a", "b"]});
        assert_eq!(enumerated(&plain), expected);
        for other in [
            json!({"oneOf": [{"const": 1}]}),
            json!({"anyOf": [{"const": "a"}, {"type": "null"}]}),
            json!({"oneOf": [{"const": "a", "minLength": 2}]}),
            json!({"oneOf": []}),
        ] {
            assert_eq!(enumerated(&other), other);
        }
    }

    fn components(dialect: SchemaDialect, result: Value) -> Value {
        let mut components = SchemaComponents::new(dialect);
        components.add_metric(&metric("a", json!({"type": "object"}), result));
        Value::Object(components.schemas)
    }

    #[test]
    fn references_lead_to_components_wherever_they_stand() {
        let result = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "properties": {
                "$ref": {"$ref": "#/$defs/Step%20One"},
                "rows": {"items": {"$ref": "#/definitions/Row"}},
                "self": {"anyOf": [{"$ref": "#"}, {"type": "null"}]},
                "deep": {"$ref": "#/$defs/Step%20One/properties/n"},
                "beside": {"$ref": "#/properties/rows"},
            },
            "const": {"$ref": "#/$defs/none"},
            "$defs": {"Step One": {"properties": {"n": {"type": "integer"}}}, "Step_One": true},
            "definitions": {"Row": {"$ref": "#/$defs/Step%20One"}},
        });
        let found = components(SchemaDialect::Latest, result);
        let whole = &found["metric.a.result"];
        let to = |name: &str| json!(format!("{SCHEMAS}metric.a.result{name}"));
        assert_eq!(whole["properties"]["$ref"]["$ref"], to(".Step_One"));
        assert_eq!(whole["properties"]["rows"]["items"]["$ref"], to(".Row"));
        assert_eq!(whole["properties"]["self"]["anyOf"][0]["$ref"], to(""));
        assert_eq!(whole["properties"]["deep"]["$ref"], to(".Step_One/properties/n"));
        assert_eq!(whole["properties"]["beside"]["$ref"], to("/properties/rows"));
        assert_eq!(whole["const"], json!({"$ref": "#/$defs/none"}), "a value is left as it is");
        assert_eq!(found["metric.a.result.Row"]["$ref"], to(".Step_One"));
        assert_eq!(found["metric.a.result.Step_One_2"], json!(true), "no two have one name");
        for gone in ["$defs", "definitions", "$schema"] {
            assert!(whole.get(gone).is_none(), "{gone}");
        }
    }

    #[test]
    fn what_the_host_adds_is_said() {
        let times = || json!({"anyOf": [{"type": "string"}, {"type": "integer"}]});
        let params = json!({"properties": {"from": times(), "to": times()}, "not": {"const": 1}});
        let id = json!({"type": ["integer", "string"], "x-tally-id": "user"});
        let result = json!({
            "properties": {"user": {"properties": {"user_id": id}},
                "pair": {"properties": {"one_id": {"$ref": "#/$defs/Id"}, "other": id}},
                "named": {"properties": {"user_id": {"anyOf": [id]}, "name": {"type": "string"}}}},
            "$defs": {"Id": id},
        });
        let mut components = SchemaComponents::new(SchemaDialect::Latest);
        components.add_metric(&metric("a", params, result));
        let found = Value::Object(components.schemas);
        let params = &found["metric.a.params"];
        assert_eq!(params["properties"]["from"]["anyOf"][1]["minimum"], json!(FIRST_MS));
        assert_eq!(params["properties"]["to"]["anyOf"][1]["maximum"], json!(LAST_MS));
        assert_eq!(params["not"], json!({"const": 1}));
        assert_eq!(params["allOf"], json!([{"not": {"required": ["window", "from"]}}]));
        let properties = &found["metric.a.result"]["properties"];
        let names = |of: &str| -> Vec<String> {
            let properties = properties[of]["properties"].as_object();
            properties.into_iter().flatten().map(|(name, _)| name.clone()).collect()
        };
        assert_eq!(names("user"), ["user_id", "name"]);
        assert_eq!(names("pair"), ["one_id", "other", "one_name", "other_name", "name"]);
        assert_eq!(names("named"), ["user_id", "name", "user_name"]);
        assert_eq!(properties["user"]["properties"]["name"]["type"], json!(["string", "null"]));
    }

    #[test]
    fn an_older_dialect_is_told_nothing_that_it_reads_otherwise() {
        let result = json!({"properties": {
            "a": {"prefixItems": [true], "items": false},
            "b": {"contains": {"const": 1}, "minContains": 0},
            "c": {"$ref": "#", "minProperties": 1},
            "d": {"$ref": "#"},
        }});
        let found = components(SchemaDialect::Draft07, result);
        let whole = json!({"$ref": "#/components/schemas/metric.a.result"});
        let properties = &found["metric.a.result"]["properties"];
        assert_eq!(properties["a"], json!({"prefixItems": [true]}));
        assert_eq!(properties["b"], json!({"minContains": 0}));
        assert_eq!(properties["c"], json!({"minProperties": 1, "allOf": [whole]}));
        assert_eq!(properties["d"], whole);
    }
}
