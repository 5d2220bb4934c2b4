//! Whether the hints of a result schema, `x-tally-view`, are ones that whoever draws the result can
//! follow: known words, where they are read, of what they fit.
//!
//! What is drawn of a result without hints is decided by who draws it; nothing is drawn here.

use serde_json::{Map, Value};

/// The keyword of a hint.
const KEYWORD: &str = "x-tally-view";

/// What a hint can say.
const KEYS: &str = "as, unit and title";

/// What `as` can be.
const KINDS: &str = "figure, bars, table, series and hidden";

/// The units in which a number is written anew, with words that are meant for them. A currency (ISO
/// 4217) is known too; any other text is written behind the number.
const UNITS: [(&str, &[&str]); 5] = [
    ("share", &["ratio", "fraction"]),
    ("%", &["percent", "pct"]),
    ("bytes", &["byte", "b"]),
    ("ms", &["millis", "milliseconds", "msec"]),
    ("s", &["sec", "second", "seconds"]),
];

/// Characters of a unit, and of a title.
const UNIT: usize = 16;
const TITLE: usize = 64;

/// Forms of a value that are looked at: references may lead in a circle.
const FORMS: usize = 64;

/// Schemas inside of each other that are looked at.
const DEEPEST: u32 = 32;

/// The hints of a schema.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hints {
    pub(super) found: usize,
    /// Each with where it is, and what to write.
    pub(super) faults: Vec<String>,
}

/// What a schema is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The result, an element of a list or a value of a map: no hint is read there.
    Value,
    /// A property of the result itself.
    Property,
    /// A property further down: a column of a table, a line of a series.
    Column,
}

/// Judges the hints of a result schema.
pub(super) fn hints(schema: &Value) -> Hints {
    let mut search = Search { judge: Judge { root: schema }, hints: Hints::default() };
    search.schema(schema, "", Place::Value, Place::Property, DEEPEST);
    search.hints
}

struct Search<'a> {
    judge: Judge<'a>,
    hints: Hints,
}

impl<'a> Search<'a> {
    /// Looks at a schema; `below`: what its properties are.
    fn schema(&mut self, schema: &'a Value, path: &str, place: Place, below: Place, depth: u32) {
        let (Some(members), Some(depth)) = (schema.as_object(), depth.checked_sub(1)) else {
            return;
        };
        if let Some(hint) = members.get(KEYWORD) {
            self.hints.found += 1;
            let faults = self.judge.faults(hint, schema, place);
            let at = |fault| format!("{path}/{KEYWORD}: {fault}");
            self.hints.faults.extend(faults.into_iter().map(at));
        }
        for (name, property) in named(members, "properties") {
            let step = name.replace('~', "~0").replace('/', "~1");
            let path = format!("{path}/properties/{step}");
            self.schema(property, &path, below, Place::Column, depth);
        }
        for keyword in ["items", "additionalProperties"] {
            if let Some(element) = members.get(keyword) {
                let path = format!("{path}/{keyword}");
                self.schema(element, &path, Place::Value, Place::Column, depth);
            }
        }
        // The same value, told in another way.
        for keyword in CHOICES {
            for (n, choice) in choices(schema, keyword).enumerate() {
                self.schema(choice, &format!("{path}/{keyword}/{n}"), place, below, depth);
            }
        }
        for keyword in ["$defs", "definitions"] {
            for (name, definition) in named(members, keyword) {
                let path = format!("{path}/{keyword}/{name}");
                self.schema(definition, &path, Place::Property, Place::Column, depth);
            }
        }
    }
}

/// Judges hints within a whole schema.
#[derive(Clone, Copy)]
struct Judge<'a> {
    root: &'a Value,
}

impl<'a> Judge<'a> {
    /// What is wrong with a hint.
    fn faults(self, hint: &Value, schema: &'a Value, place: Place) -> Vec<String> {
        if place == Place::Value {
            return vec![
                "a hint is read on properties alone; write it on the property that has this value"
                    .into(),
            ];
        }
        let Some(hint) = hint.as_object() else {
            return vec![format!("{hint} is no object; write {{\"title\": \"…\"}}, with {KEYS}")];
        };
        let mut faults = Vec::new();
        if hint.is_empty() {
            faults.push(format!("it says nothing; take it away, or give it one of {KEYS}"));
        }
        let unknown = hint.keys().filter(|key| !["as", "unit", "title"].contains(&key.as_str()));
        faults.extend(unknown.map(|key| format!("unknown key {key:?}; there are {KEYS}")));
        faults.extend(hint.get("as").and_then(|kind| self.kind_fault(kind, schema, place)));
        faults.extend(hint.get("unit").and_then(|unit| self.unit_fault(unit, schema)));
        faults.extend(hint.get("title").and_then(|title| text_fault("title", title, TITLE)));
        faults
    }

    fn kind_fault(self, kind: &Value, schema: &'a Value, place: Place) -> Option<String> {
        let (fits, what) = match kind.as_str() {
            Some("hidden") => return None,
            Some("figure") => (self.is_number(schema), "a number"),
            Some("bars") => {
                (self.is_map(schema), "an object whose additionalProperties are numbers")
            }
            Some("table") => (self.is_list(schema, None), "a list of objects"),
            Some("series") => (
                self.is_list(schema, Some("start")),
                "a list of objects with the property \"start\"",
            ),
            _ => return Some(format!("as is {kind}; there are {KINDS}")),
        };
        if place == Place::Column {
            return Some(format!(
                "as is {kind}, which is for properties of the result itself; further down there is \
                 hidden alone"
            ));
        }
        (!fits).then(|| format!("as is {kind}, but the property is not {what}"))
    }

    fn unit_fault(self, unit: &Value, schema: &'a Value) -> Option<String> {
        let of_numbers = self.is_number(schema) || self.is_map(schema);
        let misplaced = "a unit is of a number, or of an object whose additionalProperties are \
                         numbers; write it on those";
        text_fault("unit", unit, UNIT)
            .or_else(|| (!of_numbers).then(|| misplaced.to_owned()))
            .or_else(|| meant(unit.as_str()?))
    }

    /// A schema, and those behind its references and alternatives.
    fn forms(self, schema: &'a Value) -> Vec<&'a Value> {
        let mut forms = vec![schema];
        let mut at = 0;
        while at < forms.len().min(FORMS) {
            let form = forms[at];
            let target = form.get("$ref").and_then(Value::as_str);
            let pointer = target.and_then(|target| target.strip_prefix('#'));
            forms.extend(pointer.and_then(|pointer| self.root.pointer(pointer)));
            forms.extend(CHOICES.into_iter().flat_map(|keyword| choices(form, keyword)));
            at += 1;
        }
        forms
    }

    /// Whether it may be a number; an id, which may be an integer, is none.
    fn is_number(self, schema: &'a Value) -> bool {
        let is = |name: &Value| matches!(name.as_str(), Some("number" | "integer"));
        let is_typed = |form: &&Value| match form.get("type") {
            Some(Value::Array(names)) => names.iter().any(is),
            Some(name) => is(name),
            None => false,
        };
        let forms = self.forms(schema);
        let is_id = forms.iter().any(|form| form.get("x-tally-id").is_some());
        !is_id && forms.iter().any(is_typed)
    }

    fn is_map(self, schema: &'a Value) -> bool {
        let forms = self.forms(schema);
        let mut values = forms.into_iter().filter_map(|form| form.get("additionalProperties"));
        values.any(|value| self.is_number(value))
    }

    /// Whether it is a list of objects, with this property if one is wanted.
    fn is_list(self, schema: &'a Value, wanted: Option<&str>) -> bool {
        let forms = self.forms(schema);
        let elements = forms.into_iter().filter_map(|form| form.get("items"));
        let mut elements = elements.flat_map(|element| self.forms(element));
        elements.any(|element| {
            let properties = element.get("properties").and_then(Value::as_object);
            properties.is_some_and(|all| wanted.is_none_or(|name| all.contains_key(name)))
        })
    }
}

/// Keywords whose value is a list of schemas for one value.
const CHOICES: [&str; 3] = ["allOf", "anyOf", "oneOf"];

fn choices<'a>(schema: &'a Value, keyword: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    schema.get(keyword).and_then(Value::as_array).into_iter().flatten()
}

/// The schemas that stand under a keyword by name.
fn named<'a>(
    members: &'a Map<String, Value>,
    keyword: &str,
) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    members.get(keyword).and_then(Value::as_object).into_iter().flatten()
}

/// What is wrong with a unit that is meant for a known one and is not its word.
fn meant(unit: &str) -> Option<String> {
    let word = unit.to_lowercase();
    let (known, _) = UNITS
        .into_iter()
        .find(|(known, others)| *known == word || others.contains(&word.as_str()))?;
    (known != unit)
        .then(|| format!("unit is {unit:?}, which says nothing of the number; write {known:?}"))
}

/// What is wrong with a text that people read.
fn text_fault(key: &str, value: &Value, most: usize) -> Option<String> {
    let fits = |text: &str| {
        (1..=most).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    };
    let is_good = value.as_str().is_some_and(fits);
    (!is_good).then(|| format!("{key} is {value}; write a text of 1 to {most} characters"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A result with a property of each kind, one of which has this hint.
    fn result(of: &str, hint: &Value) -> Value {
        let mut schema = json!({"type": "object", "$defs": {"Count": {"type": "integer"}}, "properties": {
            "n": {"type": "integer"},
            "maybe": {"anyOf": [{"$ref": "#/$defs/Count"}, {"type": "null"}]},
            "decimal": {"type": ["number", "string"]},
            "id": {"type": ["integer", "string"], "x-tally-id": "user"},
            "text": {"type": "string"},
            "map": {"type": "object", "additionalProperties": {"type": "number"}},
            "words": {"type": "object", "additionalProperties": {"type": "string"}},
            "rows": {"type": "array", "items": {"type": "object", "properties": {
                "cell": {"type": "integer"}, "word": {"type": "string"}}}},
            "series": {"type": ["array", "null"], "items": {"properties": {
                "start": {"type": "string"}, "total": {"type": "integer"}}}},
        }});
        let place = of.split('.').fold(&mut schema, |place, step| match step {
            "[]" => &mut place["items"],
            name => &mut place["properties"][name],
        });
        place[KEYWORD] = hint.clone();
        schema
    }

    fn faults(of: &str, hint: &Value) -> Vec<String> {
        let hints = hints(&result(of, hint));
        assert_eq!(hints.found, 1, "{of}");
        hints.faults
    }

    #[test]
    fn hints_that_can_be_followed_are_taken() {
        let none = Hints { found: 0, faults: vec![] };
        assert_eq!(hints(&json!({"type": "integer"})), none);
        assert_eq!(hints(&json!(true)), none);
        for (of, hint) in [
            ("n", json!({"as": "figure", "unit": "EUR", "title": "Revenue"})),
            ("maybe", json!({"as": "figure", "unit": "s"})),
            ("decimal", json!({"unit": "€"})),
            ("text", json!({"as": "hidden"})),
            ("text", json!({"title": "A text"})),
            ("map", json!({"as": "bars", "unit": "ms"})),
            ("map", json!({"unit": "share"})),
            ("n", json!({"unit": "%"})),
            ("n", json!({"unit": "/s"})),
            ("rows", json!({"as": "table", "title": "Rows"})),
            ("series", json!({"as": "series"})),
            ("series", json!({"as": "table"})),
            ("rows.[].cell", json!({"unit": "EUR", "title": "Cell"})),
            ("rows.[].word", json!({"as": "hidden"})),
        ] {
            assert_eq!(faults(of, &hint), Vec::<String>::new(), "{of} {hint}");
        }
    }

    #[test]
    fn those_that_cannot_say_where_and_what_to_write() {
        for (of, hint, words) in [
            ("n", json!("figure"), "is no object; write {\"title\": \"…\"}"),
            ("n", json!({}), "it says nothing"),
            ("n", json!({"colour": "red"}), "unknown key \"colour\"; there are as, unit and title"),
            ("n", json!({"as": "pie"}), "as is \"pie\"; there are figure, bars"),
            ("n", json!({"as": 7}), "as is 7; there are"),
            ("text", json!({"as": "figure"}), "the property is not a number"),
            ("id", json!({"as": "figure"}), "the property is not a number"),
            ("n", json!({"as": "bars"}), "is not an object whose additionalProperties are numbers"),
            ("words", json!({"as": "bars"}), "is not an object whose additionalProperties"),
            ("map", json!({"as": "table"}), "is not a list of objects"),
            ("rows", json!({"as": "series"}), "with the property \"start\""),
            ("text", json!({"unit": "EUR"}), "a unit is of a number"),
            ("rows", json!({"unit": "EUR"}), "a unit is of a number"),
            ("n", json!({"unit": ""}), "unit is \"\"; write a text of 1 to 16 characters"),
            ("n", json!({"unit": "x".repeat(17)}), "of 1 to 16 characters"),
            (
                "n",
                json!({"unit": "Percent"}),
                "unit is \"Percent\", which says nothing of the number; write \"%\"",
            ),
            ("n", json!({"unit": "MS"}), "write \"ms\""),
            ("map", json!({"unit": "ratio"}), "write \"share\""),
            ("n", json!({"title": "a\nb"}), "title is \"a\\nb\"; write a text of 1 to 64"),
            ("rows.[].cell", json!({"as": "figure"}), "further down there is hidden alone"),
            ("rows.[]", json!({"title": "Row"}), "write it on the property that has this value"),
        ] {
            let faults = faults(of, &hint);
            assert!(faults.len() == 1 && faults[0].contains(words), "{of} {hint}: {faults:?}");
            assert!(faults[0].starts_with("/properties/"), "{faults:?}");
        }
        let whole = json!({"type": "integer", KEYWORD: {"unit": "EUR"}});
        assert_eq!(hints(&whole).faults.len(), 1, "the result itself is no property");
        let three = json!({"as": "table", "unit": "", "x": 1});
        assert_eq!(faults("n", &three).len(), 3, "all are told");
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_looked_at_to_an_end() {
        let mut all = vec![json!({"$ref": "#/properties/a"}); 9];
        all.push(json!({"type": "integer"}));
        let schema = json!({"properties": {"a": {"anyOf": all, KEYWORD: {"as": "figure"}}}});
        assert_eq!(hints(&schema), Hints { found: 1, faults: vec![] });
    }
}
