//! From a JSON text to a compiled schema, or the reason why it is none.
//!
//! Subschemas are compiled one after the other from a list, never inside one another, so that
//! neither nesting nor references take stack. What a schema may hold is bounded; references that
//! come back to the same value without a step into it are refused.
//!
//! Over 480 lines: each keyword is read in one place, with what its value must be.

use crate::pattern::Pattern;
use crate::tree::{
    Applicator, ArrayKeyword, Bound, Constants, Keyword, Members, Node, NodeId, NumberKeyword,
};
use crate::tree::{ObjectKeyword, Schema, TextKeyword, Types};
use crate::value::weight;
use serde_json::{Map, Number, Value};
use std::cmp::Ordering;
use std::collections::HashMap;
use thiserror::Error;

/// Subschemas of a schema.
const MOST_NODES: usize = 20_000;

/// Different regular expressions of a schema.
const MOST_PATTERNS: usize = 64;

/// Subschemas that apply one another to one value.
const MOST_APPLIED: u32 = 64;

/// Characters of a pointer that an error repeats.
const SHOWN: usize = 200;

/// The dialect that is understood, with or without an empty fragment.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keywords that assert something and are not checked here, each with what to write instead.
const UNSUPPORTED: [(&str, &str); 9] = [
    ("$dynamicRef", "$ref"),
    ("$recursiveRef", "$ref"),
    ("additionalItems", "items beside prefixItems"),
    ("dependencies", "dependentRequired or dependentSchemas"),
    ("disallow", "not"),
    ("divisibleBy", "multipleOf"),
    ("extends", "allOf"),
    ("unevaluatedItems", "items beside prefixItems"),
    ("$vocabulary", "nothing: the keywords are those of JSON Schema 2020-12"),
];

/// Why a schema cannot be used. It stays so: only another schema helps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("at {}: {problem}", shown(.pointer))]
pub struct SchemaError {
    /// Where in the schema, as a JSON pointer.
    pub pointer: String,
    /// What is wrong there.
    pub problem: SchemaProblem,
}

/// What can be wrong with a schema.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SchemaProblem {
    /// A keyword has another value than it must have.
    #[error("{keyword} must be {expected}")]
    Malformed {
        /// The keyword; `the schema` where a subschema is none.
        keyword: String,
        /// What its value must be.
        expected: &'static str,
    },
    /// A keyword that asserts something and is not checked.
    #[error("{keyword} is not supported; use {instead}")]
    Unsupported {
        /// The keyword.
        keyword: String,
        /// What to write in its place.
        instead: &'static str,
    },
    /// It leads nowhere, or out of the schema.
    #[error(
        "the reference {0:?} leads to no place in this schema; write one like \"#/$defs/NAME\""
    )]
    Reference(String),
    /// A subschema applies itself to the same value, for ever.
    #[error(
        "the schema refers to itself without a step into the value; refer to itself from inside \
         properties or items only"
    )]
    Endless,
    /// A regular expression that cannot be used.
    #[error("the pattern {pattern:?} cannot be used: {reason}")]
    Pattern {
        /// The expression.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It holds too much.
    #[error("the schema is too large: it has more than {most} {of}")]
    TooLarge {
        /// How many there may be.
        most: usize,
        /// Of what.
        of: &'static str,
    },
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// [`SchemaError`]: the first thing that is wrong with it.
    pub fn compile(schema: &Value) -> Result<Schema, SchemaError> {
        let mut compiler = Compiler {
            root: schema,
            nodes: Vec::new(),
            known: HashMap::new(),
            patterns: HashMap::new(),
        };
        compiler.node(schema, Origin::Root)?;
        let mut next = 0;
        while next < compiler.nodes.len() {
            let id = NodeId(next as u32);
            compiler.nodes[next].compiled.keywords = compiler.keywords(id)?;
            next += 1;
        }
        compiler.refuse_endless()?;
        Ok(Schema { nodes: compiler.nodes.into_iter().map(|node| node.compiled).collect() })
    }
}

struct Compiler<'s> {
    root: &'s Value,
    nodes: Vec<Uncompiled<'s>>,
    /// The subschemas that have a number, by their place in memory.
    known: HashMap<*const Value, NodeId>,
    patterns: HashMap<&'s str, Pattern>,
}

struct Uncompiled<'s> {
    schema: &'s Value,
    origin: Origin<'s>,
    compiled: Node,
}

/// How a subschema was found; from this its pointer is made where an error needs it.
#[derive(Clone, Copy)]
enum Origin<'s> {
    Root,
    Reference(&'s str),
    Keyword(NodeId, &'s str),
    Member(NodeId, &'s str, &'s str),
    Item(NodeId, &'s str, usize),
}

type Compiled<T> = Result<T, SchemaError>;

impl<'s> Compiler<'s> {
    /// The number of a subschema, which is compiled later if it is a new one.
    fn node(&mut self, schema: &'s Value, origin: Origin<'s>) -> Compiled<NodeId> {
        if let Some(known) = self.known.get(&std::ptr::from_ref(schema)) {
            return Ok(*known);
        }
        if self.nodes.len() == MOST_NODES {
            let problem = SchemaProblem::TooLarge { most: MOST_NODES, of: "subschemas" };
            return Err(SchemaError { pointer: String::new(), problem });
        }
        let id = NodeId(self.nodes.len() as u32);
        self.nodes.push(Uncompiled { schema, origin, compiled: Node::default() });
        self.known.insert(schema, id);
        Ok(id)
    }

    fn pointer(&self, id: NodeId) -> String {
        let escaped = |step: &str| step.replace('~', "~0").replace('/', "~1");
        let mut steps = Vec::new();
        let mut origin = self.nodes[id.0 as usize].origin;
        let start = loop {
            let above = match origin {
                Origin::Root => break String::new(),
                Origin::Reference(target) => break target.trim_start_matches('#').to_owned(),
                Origin::Keyword(above, keyword) => {
                    steps.push(keyword.to_owned());
                    above
                }
                Origin::Member(above, keyword, name) => {
                    steps.push(format!("{keyword}/{}", escaped(name)));
                    above
                }
                Origin::Item(above, keyword, number) => {
                    steps.push(format!("{keyword}/{number}"));
                    above
                }
            };
            origin = self.nodes[above.0 as usize].origin;
        };
        let whole = steps.iter().rev().fold(start, |whole, step| format!("{whole}/{step}"));
        match whole.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &whole[..end]),
            None => whole,
        }
    }

    fn error<T>(&self, id: NodeId, problem: SchemaProblem) -> Compiled<T> {
        Err(SchemaError { pointer: self.pointer(id), problem })
    }

    fn malformed<T>(&self, id: NodeId, keyword: &str, expected: &'static str) -> Compiled<T> {
        self.error(id, SchemaProblem::Malformed { keyword: keyword.to_owned(), expected })
    }

    /// The keywords of a subschema, in the order in which they are checked: its type first, what
    /// asks for the others last.
    fn keywords(&mut self, id: NodeId) -> Compiled<Vec<Keyword>> {
        let schema = self.nodes[id.0 as usize].schema;
        let members = match schema {
            Value::Bool(true) => return Ok(Vec::new()),
            Value::Bool(false) => return Ok(vec![Keyword::Never]),
            Value::Object(members) => members,
            _ => return self.malformed(id, "the schema", "an object, true or false"),
        };
        self.refuse_unsupported(id, members)?;
        let mut keywords = Vec::new();
        self.add_plain(id, members, &mut keywords)?;
        self.add_of_numbers(id, members, &mut keywords)?;
        self.add_of_texts(id, members, &mut keywords)?;
        self.add_of_arrays(id, members, &mut keywords)?;
        self.add_of_objects(id, members, &mut keywords)?;
        self.add_applied(id, members, &mut keywords)?;
        if let Some(node) = self.below(id, members, "unevaluatedProperties")? {
            keywords.push(Keyword::Object(ObjectKeyword::Unevaluated(node)));
        }
        Ok(keywords)
    }

    fn refuse_unsupported(&self, id: NodeId, members: &Map<String, Value>) -> Compiled<()> {
        if let Some((keyword, instead)) =
            UNSUPPORTED.iter().find(|(keyword, _)| members.contains_key(*keyword))
        {
            return self
                .error(id, SchemaProblem::Unsupported { keyword: (*keyword).to_owned(), instead });
        }
        if id != NodeId::ROOT && members.get("$id").is_some_and(Value::is_string) {
            let instead = "references from the top of the schema, like \"#/$defs/NAME\"";
            return self.error(
                id,
                SchemaProblem::Unsupported { keyword: "$id inside a schema".to_owned(), instead },
            );
        }
        match members.get("$schema").map(Value::as_str) {
            Some(Some(dialect)) if dialect.trim_end_matches('#') == DIALECT => Ok(()),
            Some(_) => self.malformed(
                id,
                "$schema",
                "\"https://json-schema.org/draft/2020-12/schema\", the dialect that is checked",
            ),
            None => Ok(()),
        }
    }

    fn add_plain(
        &self,
        id: NodeId,
        members: &Map<String, Value>,
        to: &mut Vec<Keyword>,
    ) -> Compiled<()> {
        if let Some(named) = members.get("type") {
            let names = match named {
                Value::Array(names) if !names.is_empty() => names.as_slice(),
                one => std::slice::from_ref(one),
            };
            let types =
                names.iter().try_fold(Types::default(), |types, name| types.with(name.as_str()?));
            match types {
                Some(types) => to.push(Keyword::Type(types)),
                None => {
                    return self.malformed(
                        id,
                        "type",
                        "one or several of the seven types of JSON Schema",
                    );
                }
            }
        }
        if let Some(value) = members.get("const") {
            to.push(Keyword::Const(Constants {
                values: vec![value.clone()],
                weight: weight(value),
            }));
        }
        match members.get("enum") {
            Some(Value::Array(values)) => {
                let weight = values.iter().map(weight).sum();
                to.push(Keyword::Enum(Constants { values: values.clone(), weight }));
            }
            Some(_) => return self.malformed(id, "enum", "an array"),
            None => {}
        }
        Ok(())
    }

    fn add_of_numbers(
        &self,
        id: NodeId,
        members: &Map<String, Value>,
        to: &mut Vec<Keyword>,
    ) -> Compiled<()> {
        let number = |keyword: &str| match members.get(keyword) {
            Some(Value::Number(number)) => Ok(Some(number.clone())),
            Some(_) => self.malformed(id, keyword, "a number"),
            None => Ok(None),
        };
        let bounds = [
            ("minimum", Bound::Minimum),
            ("exclusiveMinimum", Bound::ExclusiveMinimum),
            ("maximum", Bound::Maximum),
            ("exclusiveMaximum", Bound::ExclusiveMaximum),
        ];
        for (keyword, bound) in bounds {
            to.extend(
                number(keyword)?.map(|limit| Keyword::Number(NumberKeyword::Bound(bound, limit))),
            );
        }
        if let Some(of) = number("multipleOf")? {
            if crate::number::compare(&of, &Number::from(0)) != Ordering::Greater {
                return self.malformed(id, "multipleOf", "a number above 0");
            }
            to.push(Keyword::Number(NumberKeyword::MultipleOf(of)));
        }
        Ok(())
    }

    fn add_of_texts(
        &mut self,
        id: NodeId,
        members: &'s Map<String, Value>,
        to: &mut Vec<Keyword>,
    ) -> Compiled<()> {
        let least = self.count(id, members, "minLength")?.map(TextKeyword::MinLength);
        let most = self.count(id, members, "maxLength")?.map(TextKeyword::MaxLength);
        let pattern = match members.get("pattern") {
            Some(Value::String(text)) => {
                let description = members.get("description").and_then(Value::as_str);
                let description = description.map(str::trim).filter(|text| !text.is_empty());
                let (pattern, description) =
                    (self.pattern(id, text)?, description.map(str::to_owned));
                Some(TextKeyword::Pattern { pattern, description })
            }
            Some(_) => return self.malformed(id, "pattern", "a text"),
            None => None,
        };
        to.extend([least, most, pattern].into_iter().flatten().map(Keyword::Text));
        Ok(())
    }

    fn add_of_arrays(
        &mut self,
        id: NodeId,
        members: &'s Map<String, Value>,
        to: &mut Vec<Keyword>,
    ) -> Compiled<()> {
        let least = self.count(id, members, "minItems")?.map(ArrayKeyword::MinItems);
        let most = self.count(id, members, "maxItems")?.map(ArrayKeyword::MaxItems);
        let unique = match members.get("uniqueItems") {
            Some(Value::Bool(unique)) => unique.then_some(ArrayKeyword::Unique),
            Some(_) => return self.malformed(id, "uniqueItems", "true or false"),
            None => None,
        };
        if members.get("items").is_some_and(Value::is_array) {
            return self.malformed(
                id,
                "items",
                "one schema for all items; for items by place use prefixItems",
            );
        }
        let prefix = self.all_below(id, members, "prefixItems")?.unwrap_or_default();
        let rest = self.below(id, members, "items")?;
        let items =
            (!prefix.is_empty() || rest.is_some()).then_some(ArrayKeyword::Items { prefix, rest });
        let (fewest, largest) =
            (self.count(id, members, "minContains")?, self.count(id, members, "maxContains")?);
        let contains = self.below(id, members, "contains")?;
        let contains = contains.map(|node| ArrayKeyword::Contains {
            node,
            least: fewest.unwrap_or(1),
            most: largest,
        });
        to.extend([least, most, unique, items, contains].into_iter().flatten().map(Keyword::Array));
        Ok(())
    }

    fn add_of_objects(
        &mut self,
        id: NodeId,
        members: &'s Map<String, Value>,
        to: &mut Vec<Keyword>,
    ) -> Compiled<()> {
        let least = self.count(id, members, "minProperties")?.map(ObjectKeyword::MinProperties);
        let most = self.count(id, members, "maxProperties")?.map(ObjectKeyword::MaxProperties);
        let required = match members.get("required") {
            Some(names) => Some(ObjectKeyword::Required(self.names(id, "required", names)?)),
            None => None,
        };
        let mut dependents = Vec::new();
        for (key, names) in self.object(id, members, "dependentRequired")?.into_iter().flatten() {
            dependents.push((key.clone(), self.names(id, "dependentRequired", names)?));
        }
        let dependents =
            (!dependents.is_empty()).then_some(ObjectKeyword::DependentRequired(dependents));
        let names = self.below(id, members, "propertyNames")?.map(ObjectKeyword::Names);
        let of = self.members(id, members)?;
        to.extend(
            [least, most, required, dependents, names, of]
                .into_iter()
                .flatten()
                .map(Keyword::Object),
        );
        Ok(())
    }

    fn members(
        &mut self,
        id: NodeId,
        members: &'s Map<String, Value>,
    ) -> Compiled<Option<ObjectKeyword>> {
        let mut of = Members {
            rest: self.below(id, members, "additionalProperties")?,
            ..Members::default()
        };
        for (name, schema) in self.object(id, members, "properties")?.into_iter().flatten() {
            let node = self.node(schema, Origin::Member(id, "properties", name))?;
            of.named.insert(name.clone(), node);
            of.names.push(name.clone());
        }
        for (text, schema) in self.object(id, members, "patternProperties")?.into_iter().flatten() {
            let node = self.node(schema, Origin::Member(id, "patternProperties", text))?;
            of.patterns.push((self.pattern(id, text)?, node));
        }
        let says_something = of.rest.is_some() || !of.names.is_empty() || !of.patterns.is_empty();
        Ok(says_something.then_some(ObjectKeyword::Members(of)))
    }

    fn add_applied(
        &mut self,
        id: NodeId,
        members: &'s Map<String, Value>,
        to: &mut Vec<Keyword>,
    ) -> Compiled<()> {
        let reference = match members.get("$ref") {
            Some(Value::String(target)) => Some(Applicator::Ref(self.referred(id, target)?)),
            Some(_) => return self.malformed(id, "$ref", "a text"),
            None => None,
        };
        let all = self.all_below(id, members, "allOf")?.map(Applicator::AllOf);
        let any = self.all_below(id, members, "anyOf")?.map(Applicator::AnyOf);
        let one = self.all_below(id, members, "oneOf")?.map(Applicator::OneOf);
        let not = self.below(id, members, "not")?.map(Applicator::Not);
        let condition = self.below(id, members, "if")?;
        let (then, otherwise) =
            (self.below(id, members, "then")?, self.below(id, members, "else")?);
        let branches = condition.map(|condition| Applicator::If { condition, then, otherwise });
        let mut dependents = Vec::new();
        for (key, schema) in self.object(id, members, "dependentSchemas")?.into_iter().flatten() {
            dependents.push((
                key.clone(),
                self.node(schema, Origin::Member(id, "dependentSchemas", key))?,
            ));
        }
        let dependents =
            (!dependents.is_empty()).then_some(Applicator::DependentSchemas(dependents));
        to.extend(
            [reference, all, any, one, not, branches, dependents]
                .into_iter()
                .flatten()
                .map(Keyword::Apply),
        );
        Ok(())
    }

    /// The subschema of a keyword.
    fn below(
        &mut self,
        id: NodeId,
        members: &'s Map<String, Value>,
        keyword: &'s str,
    ) -> Compiled<Option<NodeId>> {
        members
            .get(keyword)
            .map(|schema| self.node(schema, Origin::Keyword(id, keyword)))
            .transpose()
    }

    /// The subschemas of a keyword that has several.
    fn all_below(
        &mut self,
        id: NodeId,
        members: &'s Map<String, Value>,
        keyword: &'s str,
    ) -> Compiled<Option<Vec<NodeId>>> {
        match members.get(keyword) {
            Some(Value::Array(all)) if !all.is_empty() => {
                let nodes = all.iter().enumerate();
                nodes
                    .map(|(number, schema)| self.node(schema, Origin::Item(id, keyword, number)))
                    .collect::<Compiled<Vec<NodeId>>>()
                    .map(Some)
            }
            Some(_) => self.malformed(id, keyword, "an array of one or more schemas"),
            None => Ok(None),
        }
    }

    fn object(
        &self,
        id: NodeId,
        members: &'s Map<String, Value>,
        keyword: &str,
    ) -> Compiled<Option<&'s Map<String, Value>>> {
        match members.get(keyword) {
            Some(Value::Object(object)) => Ok(Some(object)),
            Some(_) => self.malformed(id, keyword, "an object"),
            None => Ok(None),
        }
    }

    fn count(
        &self,
        id: NodeId,
        members: &Map<String, Value>,
        keyword: &str,
    ) -> Compiled<Option<u64>> {
        let Some(value) = members.get(keyword) else { return Ok(None) };
        // 2.0 is an integer, too.
        let whole = |float: f64| {
            (float.fract() == 0.0 && (0.0..1e18).contains(&float)).then_some(float as u64)
        };
        match value.as_u64().or_else(|| value.as_f64().and_then(whole)) {
            Some(count) => Ok(Some(count)),
            None => self.malformed(id, keyword, "an integer of at least 0"),
        }
    }

    fn names(&self, id: NodeId, keyword: &str, names: &Value) -> Compiled<Vec<String>> {
        let texts =
            names.as_array().map(|names| names.iter().map(|name| name.as_str().map(str::to_owned)));
        match texts.and_then(Iterator::collect) {
            Some(names) => Ok(names),
            None => self.malformed(id, keyword, "an array of texts"),
        }
    }

    fn pattern(&mut self, id: NodeId, text: &'s str) -> Compiled<Pattern> {
        if let Some(known) = self.patterns.get(text) {
            return Ok(known.clone());
        }
        if self.patterns.len() == MOST_PATTERNS {
            return self.error(
                id,
                SchemaProblem::TooLarge { most: MOST_PATTERNS, of: "different patterns" },
            );
        }
        match Pattern::new(text) {
            Ok(pattern) => {
                self.patterns.insert(text, pattern.clone());
                Ok(pattern)
            }
            Err(reason) => {
                let pattern = text.chars().take(SHOWN).collect();
                self.error(id, SchemaProblem::Pattern { pattern, reason })
            }
        }
    }

    /// The subschema that a reference leads to.
    fn referred(&mut self, id: NodeId, target: &'s str) -> Compiled<NodeId> {
        let pointer = target.strip_prefix('#').and_then(percent_decoded);
        match pointer.and_then(|pointer| self.root.pointer(&pointer)) {
            Some(schema) => self.node(schema, Origin::Reference(target)),
            None => self.error(id, SchemaProblem::Reference(target.chars().take(SHOWN).collect())),
        }
    }

    /// Refuses subschemas that apply themselves to the value that they are applied to, and long
    /// chains of applications: what is left ends, and takes little stack.
    fn refuse_endless(&self) -> Compiled<()> {
        let applied = |node: &Node| -> Vec<NodeId> {
            let of = |keyword: &Keyword| {
                if let Keyword::Apply(of) = keyword { of.nodes() } else { Vec::new() }
            };
            node.keywords.iter().flat_map(of).collect()
        };
        let mut appliers = vec![0_usize; self.nodes.len()];
        for node in &self.nodes {
            applied(&node.compiled).into_iter().for_each(|node| appliers[node.0 as usize] += 1);
        }
        let mut depths = vec![0_u32; self.nodes.len()];
        let mut ready: Vec<usize> =
            (0..self.nodes.len()).filter(|node| appliers[*node] == 0).collect();
        while let Some(node) = ready.pop() {
            for other in applied(&self.nodes[node].compiled) {
                let at = other.0 as usize;
                depths[at] = depths[at].max(depths[node] + 1);
                if depths[at] > MOST_APPLIED {
                    let most = MOST_APPLIED as usize;
                    return self.error(
                        other,
                        SchemaProblem::TooLarge { most, of: "schemas that apply one another" },
                    );
                }
                appliers[at] -= 1;
                if appliers[at] == 0 {
                    ready.push(at);
                }
            }
        }
        match appliers.iter().position(|left| *left > 0) {
            Some(node) => self.error(NodeId(node as u32), SchemaProblem::Endless),
            None => Ok(()),
        }
    }
}

fn shown(pointer: &str) -> &str {
    if pointer.is_empty() { "the top" } else { pointer }
}

/// The text of a URI's fragment; `None`: it is not one.
fn percent_decoded(fragment: &str) -> Option<String> {
    let mut parts = fragment.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}
