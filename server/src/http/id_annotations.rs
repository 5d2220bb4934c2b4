//! Which members of a result hold ids, read from its JSON Schema once.
//!
//! A property whose schema carries `x-tally-id` holds an id; one that carries `x-tally-known` says
//! whether the id beside it is known. The schema becomes a graph of nodes (a `$ref` may be
//! recursive), so that a result is walked only where an annotation can be.

use quick_cache::sync::Cache;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The kind of thing that an id identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum IdKind {
    User,
    Product,
}

impl IdKind {
    fn of(annotation: Option<&Value>) -> Option<IdKind> {
        match annotation?.as_str()? {
            "user" => Some(IdKind::User),
            "product" => Some(IdKind::Product),
            _ => None,
        }
    }
}

/// The annotations of one result schema.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    nodes: Vec<Node>,
}

/// A place in a result.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// It holds an id.
    pub(crate) id: Option<IdKind>,
    /// It says whether the id beside it is known.
    pub(crate) known: Option<IdKind>,
    /// There are ids somewhere below.
    pub(crate) ids_below: bool,
    /// There is a `known` somewhere below.
    pub(crate) known_below: bool,
    members: BTreeMap<String, usize>,
    others: Option<usize>,
    items: Option<usize>,
}

impl Annotations {
    /// Reads a schema.
    pub(crate) fn of(schema: &Value) -> Annotations {
        let mut reader = SchemaReader {
            root: schema,
            annotations: Annotations::default(),
            seen: HashMap::new(),
            done: HashSet::new(),
        };
        reader.node(schema);
        let mut annotations = reader.annotations;
        // Annotations propagate upwards until nothing changes: at most one round for each node.
        while annotations.propagate() {}
        annotations
    }

    /// The whole result.
    pub(crate) fn root(&self) -> &Node {
        &self.nodes[0]
    }

    /// The place of a member.
    pub(crate) fn member(&self, node: &Node, key: &str) -> Option<&Node> {
        node.members.get(key).copied().or(node.others).map(|child| &self.nodes[child])
    }

    /// The place of the elements.
    pub(crate) fn items(&self, node: &Node) -> Option<&Node> {
        node.items.map(|child| &self.nodes[child])
    }

    fn propagate(&mut self) -> bool {
        let mut changed = false;
        for n in 0..self.nodes.len() {
            let node = &self.nodes[n];
            let members =
                || node.members.values().chain(&node.others).map(|child| &self.nodes[*child]);
            let items = node.items.map(|child| &self.nodes[child]);
            let ids = members().any(|child| child.id.is_some() || child.ids_below)
                || items.is_some_and(|child| child.ids_below);
            let known = members().any(|child| child.known.is_some() || child.known_below)
                || items.is_some_and(|child| child.known_below);
            changed |= (ids, known) != (node.ids_below, node.known_below);
            (self.nodes[n].ids_below, self.nodes[n].known_below) = (ids, known);
        }
        changed
    }
}

struct SchemaReader<'a> {
    root: &'a Value,
    annotations: Annotations,
    /// Node of each schema object, by address: the same object is the same place, so circles close.
    seen: HashMap<*const Value, usize>,
    done: HashSet<(usize, *const Value)>,
}

impl<'a> SchemaReader<'a> {
    fn node(&mut self, schema: &'a Value) -> usize {
        if let Some(node) = self.seen.get(&std::ptr::from_ref(schema)) {
            return *node;
        }
        let node = self.annotations.nodes.len();
        self.annotations.nodes.push(Node::default());
        self.seen.insert(schema, node);
        self.fill(node, schema);
        node
    }

    /// Adds what `schema` says to a node.
    fn fill(&mut self, node: usize, schema: &'a Value) {
        if !self.done.insert((node, std::ptr::from_ref(schema))) {
            return;
        }
        let here = &mut self.annotations.nodes[node];
        here.id = here.id.or(IdKind::of(schema.get("x-tally-id")));
        here.known = here.known.or(IdKind::of(schema.get("x-tally-known")));
        let target = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|target| self.root.pointer(target.strip_prefix('#')?));
        let choices = ["allOf", "anyOf", "oneOf"]
            .into_iter()
            .filter_map(|key| schema.get(key)?.as_array())
            .flatten();
        for other in target
            .into_iter()
            .chain(choices)
            .chain(["then", "else"].into_iter().filter_map(|key| schema.get(key)))
        {
            self.fill(node, other);
        }
        for (key, member) in
            schema.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            let child = self.annotations.nodes[node].members.get(key).copied();
            let child = self.child(child, member);
            self.annotations.nodes[node].members.insert(key.clone(), child);
        }
        let patterns = schema
            .get("patternProperties")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|patterns| patterns.values());
        for other in schema
            .get("additionalProperties")
            .into_iter()
            .chain(patterns)
            .filter(|other| other.is_object())
        {
            let child = self.child(self.annotations.nodes[node].others, other);
            self.annotations.nodes[node].others = Some(child);
        }
        let prefix = schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten();
        for items in schema.get("items").into_iter().chain(prefix).filter(|items| items.is_object())
        {
            let child = self.child(self.annotations.nodes[node].items, items);
            self.annotations.nodes[node].items = Some(child);
        }
    }

    fn child(&mut self, there: Option<usize>, schema: &'a Value) -> usize {
        match there {
            Some(there) => {
                self.fill(there, schema);
                there
            }
            None => self.node(schema),
        }
    }
}

/// The annotations of the metrics that were queried lately, one entry for each name.
pub(crate) struct AnnotationCache(Cache<String, Read>);

/// Entries that are kept; one takes some KiB, like its metric's schema.
const KEPT: usize = 1_024;

/// A schema and what was read from it.
type Read = (Arc<Value>, Arc<Annotations>);

impl Default for AnnotationCache {
    fn default() -> AnnotationCache {
        AnnotationCache(Cache::new(KEPT))
    }
}

impl AnnotationCache {
    /// The annotations of a metric's schema; read again only when the metric has another schema.
    pub(crate) fn of(&self, name: &str, schema: &Arc<Value>) -> Arc<Annotations> {
        if let Some((known, annotations)) = self.0.get(name)
            && Arc::ptr_eq(&known, schema)
        {
            return annotations;
        }
        let annotations = Arc::new(Annotations::of(schema));
        self.0.insert(name.to_owned(), (Arc::clone(schema), Arc::clone(&annotations)));
        annotations
    }
}
