//! What `[events]` asks for, checked and laid out for the scan: a tree of the JSON pointers, aliases, types.
//!
//! Immutable once made. Says in one sentence what is wrong with a configuration; never looks at a record.

use super::reason::Field;
use std::collections::{BTreeMap, BTreeSet};
use tally_config::EventsConfig;
use tally_config::pointer;
use tally_event::time::EVENT_TIMES;

/// The largest dedupe window, in offsets: some 10 GB a partition.
pub const MAX_DEDUPE_WINDOW: u64 = 100_000_000;

/// The checked configuration.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// The tree of pointers; the first node is the record itself.
    pub(super) nodes: Vec<Node>,
    /// For each field of [`Field::ALL`], the slot that holds its value.
    pub(super) slot_of: [usize; 5],
    /// For each field of [`Field::ALL`], whether a record without it is refused.
    pub(super) required: [bool; 5],
    /// The earliest time that an event can have, Unix milliseconds.
    pub(super) earliest: i64,
    /// How far an event may be ahead of its record's own timestamp, milliseconds; `None`: as far as it likes.
    pub(super) max_ahead: Option<i64>,
    /// Event types renamed before they are checked.
    pub(super) aliases: BTreeMap<String, String>,
    /// The event types that exist; empty: any.
    pub(super) types: BTreeSet<String>,
    /// Per field, the top-level key that it alone is read from.
    pub(super) top_keys: Vec<String>,
    /// Top-level keys that declared properties begin at.
    pub(super) roots: Vec<String>,
    /// For each member of the record that matters, which of `roots` it is too; empty without properties.
    pub(super) also: Vec<Option<usize>>,
}

/// A container that pointers lead through.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// The members that matter. At most one per field.
    pub(super) children: Vec<Child>,
}

/// A member that matters.
#[derive(Clone, Debug)]
pub(super) struct Child {
    /// Its key, unescaped.
    pub(super) key: String,
    /// Its index, where the container is an array and the key is one.
    pub(super) index: Option<u64>,
    /// What it is.
    pub(super) target: Target,
}

/// What a member that matters is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A value to keep, in this slot.
    Slot(usize),
    /// A container to look into, this node.
    Node(usize),
}

impl Plan {
    pub(super) fn new(events: &EventsConfig) -> Result<Plan, String> {
        if events.dedupe_window > MAX_DEDUPE_WINDOW {
            return Err(format!(
                "[events] dedupe_window is {}: at most {MAX_DEDUPE_WINDOW} offsets fit in memory",
                events.dedupe_window
            ));
        }
        let mut plan = Plan {
            nodes: vec![Node::default()],
            slot_of: [0; 5],
            required: required(&events.required)?,
            earliest: events.earliest_ms().map_err(|fault| format!("[events] earliest {fault}"))?,
            max_ahead: events.max_ahead_ms().map_err(|fault| format!("[events] max_ahead {fault}"))?,
            aliases: aliases(&events.aliases)?,
            types: types(&events.types)?,
            top_keys: Vec::new(),
            roots: Vec::new(),
            also: Vec::new(),
        };
        let fields = &events.fields;
        let pointers = [&fields.event_id, &fields.user_id, &fields.product_id, &fields.event_type, &fields.timestamp];
        for ((place, field), pointer) in Field::ALL.into_iter().enumerate().zip(pointers) {
            let keys = pointer::keys(pointer)
                .map_err(|fault| format!("[events.fields] {} = \"{pointer}\": {fault}", field.name()))?;
            plan.slot_of[place] = plan.insert(&keys, place).ok_or_else(|| {
                format!(
                    "[events.fields] {} = \"{pointer}\" leads into a value that another field takes whole, or the other way round",
                    field.name()
                )
            })?;
            if let [key] = keys.as_slice() {
                plan.top_keys.push(key.clone());
            }
        }
        Ok(plan)
    }

    /// Whether a record's own timestamp can be the time of an event: a wrong clock, or seconds for milliseconds, mostly is none.
    #[inline(always)]
    pub(super) fn is_plausible(&self, record_ms: i64) -> bool {
        (self.earliest..EVENT_TIMES.end).contains(&record_ms)
    }

    /// The member of `node` with this key.
    #[inline]
    pub(super) fn child(&self, node: usize, key: &[u8]) -> Option<usize> {
        self.nodes[node].children.iter().position(|child| child.key.as_bytes() == key)
    }

    /// From now on the values of these top-level keys are found too.
    pub(super) fn read_also(&mut self, roots: Vec<String>) {
        let root = |child: &Child| roots.iter().position(|root| *root == child.key);
        self.also = if roots.is_empty() { Vec::new() } else { self.nodes[0].children.iter().map(root).collect() };
        self.roots = roots;
    }

    /// The further top-level key that this is.
    #[cold]
    pub(super) fn root(&self, key: &[u8]) -> Option<usize> {
        self.roots.iter().position(|root| root.as_bytes() == key)
    }

    /// Adds the path to the tree; the slot at its end (that of an earlier field with the same pointer, else `slot`).
    fn insert(&mut self, tokens: &[String], slot: usize) -> Option<usize> {
        let mut node = 0;
        for (n, token) in tokens.iter().enumerate() {
            let last = n + 1 == tokens.len();
            let known = self.child(node, token.as_bytes()).map(|child| self.nodes[node].children[child].target);
            let target = known.unwrap_or(if last { Target::Slot(slot) } else { Target::Node(self.nodes.len()) });
            if known.is_none() {
                self.nodes[node].children.push(Child { key: token.clone(), index: index(token), target });
            }
            match target {
                Target::Slot(slot) => return last.then_some(slot),
                Target::Node(_) if last => return None,
                Target::Node(next) => {
                    if known.is_none() {
                        self.nodes.push(Node::default());
                    }
                    node = next;
                }
            }
        }
        None
    }
}

/// A key that can be an array index: digits without a leading zero.
pub(super) fn index(token: &str) -> Option<u64> {
    let canonical = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    if canonical { token.parse().ok() } else { None }
}

fn required(names: &[String]) -> Result<[bool; 5], String> {
    let mut required = [false; 5];
    for name in names {
        match name.as_str() {
            "user_id" => required[1] = true,
            "product_id" => required[2] = true,
            "event_type" => required[3] = true,
            _ => {
                return Err(format!(
                    "[events] required names \"{name}\": only user_id, product_id and event_type can be required"
                ));
            }
        }
    }
    Ok(required)
}

fn aliases(aliases: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
    match aliases.iter().find(|(_, to)| !is_event_type(to.as_bytes())) {
        Some((from, to)) => Err(format!(
            "[events.aliases] \"{from}\" = \"{to}\": an event type is a-z, then up to 31 of a-z, 0-9 and _"
        )),
        None => Ok(aliases.clone()),
    }
}

fn types(types: &[String]) -> Result<BTreeSet<String>, String> {
    match types.iter().find(|name| !is_event_type(name.as_bytes())) {
        Some(name) => {
            Err(format!("[events] types names \"{name}\": an event type is a-z, then up to 31 of a-z, 0-9 and _"))
        }
        None => Ok(types.iter().cloned().collect()),
    }
}

/// `^[a-z][a-z0-9_]{0,31}$`.
pub(super) fn is_event_type(name: &[u8]) -> bool {
    matches!(name, [b'a'..=b'z', rest @ ..] if rest.len() < 32 && rest.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_event::OTHER;

    fn fault(change: impl FnOnce(&mut EventsConfig)) -> Option<String> {
        let mut events = EventsConfig::default();
        change(&mut events);
        Plan::new(&events).err()
    }

    #[test]
    fn a_wrong_configuration_is_named() {
        assert_eq!(fault(|_| {}), None);
        assert!(
            fault(|e| e.fields.user_id = "user_id".into())
                .is_some_and(|f| f.contains("user_id") && f.contains("begin with"))
        );
        assert!(fault(|e| e.fields.user_id = String::new()).is_some());
        assert!(fault(|e| e.fields.user_id = "/a~2".into()).is_some_and(|f| f.contains("~0")));
        assert!(fault(|e| e.fields.user_id = "/product_id/x".into()).is_some_and(|f| f.contains("leads into")));
        assert!(fault(|e| e.fields.product_id = "/a".into()).is_none());
        assert!(
            fault(|e| (e.fields.user_id, e.fields.product_id) = ("/a/b".into(), "/a".into()))
                .is_some_and(|f| f.contains("leads into"))
        );
        assert!(fault(|e| e.fields.user_id = "/a".repeat(33)).is_some_and(|f| f.contains("deeper")));
        assert!(fault(|e| e.required = vec!["event_id".into()]).is_some_and(|f| f.contains("event_id")));
        assert!(fault(|e| e.types = vec!["View".into()]).is_some_and(|f| f.contains("View")));
        assert!(fault(|e| drop(e.aliases.insert("x".into(), OTHER.into()))).is_some_and(|f| f.contains(OTHER)));
        assert!(fault(|e| e.dedupe_window = u64::MAX).is_some_and(|f| f.contains("dedupe_window")));
    }

    #[test]
    fn event_types_are_checked_to_the_letter() {
        for (name, good) in [
            ("view", true),
            ("a", true),
            ("a_1", true),
            ("", false),
            ("_a", false),
            ("1a", false),
            ("VIEW!", false),
            ("vieW", false),
            ("a-b", false),
            ("é", false),
        ] {
            assert_eq!(is_event_type(name.as_bytes()), good, "{name}");
        }
        assert!(is_event_type("a".repeat(32).as_bytes()));
        assert!(!is_event_type("a".repeat(33).as_bytes()));
    }
}
