//! Where ids stand in a result, read from its JSON Schema once.
//!
//! A property whose schema carries `x-tally-id` holds an id; one that carries `x-tally-known` says whether the id
//! beside it is known. The schema becomes a graph of nodes (`$ref` may go round in circles), so that a result is
//! walked only where a mark can be.

use quick_cache::sync::Cache;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// What an id is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    User,
    Product,
}

impl Kind {
    fn of(mark: Option<&Value>) -> Option<Kind> {
        match mark?.as_str()? {
            "user" => Some(Kind::User),
            "product" => Some(Kind::Product),
            _ => None,
        }
    }
}

/// The marks of one result schema.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    nodes: Vec<Node>,
}

/// A place in a result.
#[derive(Debug, Default)]
pub(crate) struct Node {
    /// It holds an id.
    pub(crate) id: Option<Kind>,
    /// It says whether the id beside it is known.
    pub(crate) known: Option<Kind>,
    /// Ids stand somewhere below.
    pub(crate) ids_below: bool,
    /// `known` stands somewhere below.
    pub(crate) known_below: bool,
    members: BTreeMap<String, usize>,
    others: Option<usize>,
    items: Option<usize>,
}

impl Plan {
    /// Reads a schema.
    pub(crate) fn of(schema: &Value) -> Plan {
        let mut reader = Reader { root: schema, plan: Plan::default(), seen: HashMap::new(), done: HashSet::new() };
        reader.node(schema);
        let mut plan = reader.plan;
        // Marks rise until nothing changes: at most once round for each node.
        while plan.rise() {}
        plan
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

    fn rise(&mut self) -> bool {
        let mut changed = false;
        for n in 0..self.nodes.len() {
            let node = &self.nodes[n];
            let members = || node.members.values().chain(&node.others).map(|child| &self.nodes[*child]);
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

struct Reader<'a> {
    root: &'a Value,
    plan: Plan,
    /// Node of each schema object, by address: the same object is the same place, so circles close.
    seen: HashMap<*const Value, usize>,
    done: HashSet<(usize, *const Value)>,
}

impl<'a> Reader<'a> {
    fn node(&mut self, schema: &'a Value) -> usize {
        if let Some(node) = self.seen.get(&std::ptr::from_ref(schema)) {
            return *node;
        }
        let node = self.plan.nodes.len();
        self.plan.nodes.push(Node::default());
        self.seen.insert(schema, node);
        self.fill(node, schema);
        node
    }

    /// Adds what `schema` says to a node.
    fn fill(&mut self, node: usize, schema: &'a Value) {
        if !self.done.insert((node, std::ptr::from_ref(schema))) {
            return;
        }
        let here = &mut self.plan.nodes[node];
        here.id = here.id.or(Kind::of(schema.get("x-tally-id")));
        here.known = here.known.or(Kind::of(schema.get("x-tally-known")));
        let target =
            schema.get("$ref").and_then(Value::as_str).and_then(|target| self.root.pointer(target.strip_prefix('#')?));
        let choices = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
        for other in
            target.into_iter().chain(choices).chain(["then", "else"].into_iter().filter_map(|key| schema.get(key)))
        {
            self.fill(node, other);
        }
        for (key, member) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let child = self.plan.nodes[node].members.get(key).copied();
            let child = self.child(child, member);
            self.plan.nodes[node].members.insert(key.clone(), child);
        }
        let patterns = schema
            .get("patternProperties")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|patterns| patterns.values());
        for other in schema.get("additionalProperties").into_iter().chain(patterns).filter(|other| other.is_object()) {
            let child = self.child(self.plan.nodes[node].others, other);
            self.plan.nodes[node].others = Some(child);
        }
        let prefix = schema.get("prefixItems").and_then(Value::as_array).into_iter().flatten();
        for items in schema.get("items").into_iter().chain(prefix).filter(|items| items.is_object()) {
            let child = self.child(self.plan.nodes[node].items, items);
            self.plan.nodes[node].items = Some(child);
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

/// The plans of the metrics' schemas, one for each name, of the metrics that were asked lately.
pub(crate) struct Plans(Cache<String, Read>);

/// Plans that are kept; a plan is some KiB, as its metric's schema is.
const KEPT: usize = 1_024;

/// A schema and what was read from it.
type Read = (Arc<Value>, Arc<Plan>);

impl Default for Plans {
    fn default() -> Plans {
        Plans(Cache::new(KEPT))
    }
}

impl Plans {
    /// The plan of a schema; read again only when the metric has another one.
    pub(crate) fn of(&self, name: &str, schema: &Arc<Value>) -> Arc<Plan> {
        if let Some((known, plan)) = self.0.get(name)
            && Arc::ptr_eq(&known, schema)
        {
            return plan;
        }
        let plan = Arc::new(Plan::of(schema));
        self.0.insert(name.to_owned(), (Arc::clone(schema), Arc::clone(&plan)));
        plan
    }
}
