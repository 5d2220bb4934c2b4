//! Where the fields and declared properties of a record are, laid out for the scan: a tree of the
//! JSON pointers.
//!
//! Says which pointer is wrong; never looks at a record and knows no rule of `[events]`.

use crate::EventsError;
use crate::reason::Field;
use tally_config::{FieldsConfig, pointer};

/// What the scan looks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// The tree of pointers; the first node is the record itself.
    pub(super) nodes: Vec<Node>,
    /// Fields with the pointer of an earlier field, each with that field. The slot of all others is
    /// their place in [`Field::ALL`].
    pub(super) shared: Vec<(usize, usize)>,
    /// Per field, the top-level key that it alone is read from.
    pub(super) top_keys: Vec<String>,
    /// Top-level keys that declared properties begin at.
    pub(super) roots: Vec<String>,
    /// For each member of the record that matters, which of `roots` it is too; empty without
    /// properties.
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
    /// # Errors
    /// [`EventsError`]: a pointer is not valid, or crosses another.
    pub(super) fn new(fields: &FieldsConfig) -> Result<Plan, EventsError> {
        let mut plan = Plan { nodes: vec![Node::default()], ..Plan::default() };
        let pointers = [
            &fields.event_id,
            &fields.user_id,
            &fields.product_id,
            &fields.event_type,
            &fields.timestamp,
        ];
        for ((place, field), pointer) in Field::ALL.into_iter().enumerate().zip(pointers) {
            let keys = pointer::keys(pointer).map_err(|fault| EventsError::Pointer {
                field,
                pointer: pointer.clone(),
                fault,
            })?;
            let slot = plan
                .insert(&keys, place)
                .ok_or_else(|| EventsError::Crossing { field, pointer: pointer.clone() })?;
            if slot != place {
                plan.shared.push((place, slot));
            }
            if let [key] = keys.as_slice() {
                plan.top_keys.push(key.clone());
            }
        }
        Ok(plan)
    }

    /// The member of `node` with this key.
    #[inline]
    pub(super) fn child(&self, node: usize, key: &[u8]) -> Option<usize> {
        self.nodes[node].children.iter().position(|child| child.key.as_bytes() == key)
    }

    /// From now on the values of these top-level keys are found too.
    pub(super) fn read_also(&mut self, roots: Vec<String>) {
        let root = |child: &Child| roots.iter().position(|root| *root == child.key);
        self.also = if roots.is_empty() {
            Vec::new()
        } else {
            self.nodes[0].children.iter().map(root).collect()
        };
        self.roots = roots;
    }

    /// The further top-level key that this is.
    #[cold]
    pub(super) fn root(&self, key: &[u8]) -> Option<usize> {
        self.roots.iter().position(|root| root.as_bytes() == key)
    }

    /// Adds the path to the tree; the slot at its end (that of an earlier field with the same
    /// pointer, else `slot`).
    fn insert(&mut self, tokens: &[String], slot: usize) -> Option<usize> {
        let mut node = 0;
        for (n, token) in tokens.iter().enumerate() {
            let last = n + 1 == tokens.len();
            let known = self
                .child(node, token.as_bytes())
                .map(|child| self.nodes[node].children[child].target);
            let target = known.unwrap_or(if last {
                Target::Slot(slot)
            } else {
                Target::Node(self.nodes.len())
            });
            if known.is_none() {
                self.nodes[node].children.push(Child {
                    key: token.clone(),
                    index: index(token),
                    target,
                });
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
    let canonical = token == "0"
        || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    if canonical { token.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: impl FnOnce(&mut FieldsConfig)) -> Option<String> {
        let mut fields = FieldsConfig::default();
        change(&mut fields);
        Plan::new(&fields).err().map(|fault| fault.to_string())
    }

    #[test]
    fn a_wrong_pointer_is_named() {
        assert_eq!(fault(|_| {}), None);
        assert!(
            fault(|f| f.user_id = "user_id".into())
                .is_some_and(|f| f.contains("user_id") && f.contains("begin with"))
        );
        assert!(fault(|f| f.user_id = String::new()).is_some());
        assert!(fault(|f| f.user_id = "/a~2".into()).is_some_and(|f| f.contains("~0")));
        assert!(
            fault(|f| f.user_id = "/product_id/x".into()).is_some_and(|f| f.contains("leads into"))
        );
        assert!(fault(|f| f.product_id = "/a".into()).is_none());
        assert!(
            fault(|f| (f.user_id, f.product_id) = ("/a/b".into(), "/a".into()))
                .is_some_and(|f| f.contains("leads into"))
        );
        assert!(fault(|f| f.user_id = "/a".repeat(33)).is_some_and(|f| f.contains("deeper")));
    }

    #[test]
    fn a_pointer_of_two_fields_has_one_slot() {
        let fields = FieldsConfig { product_id: "/user_id".into(), ..FieldsConfig::default() };
        assert_eq!(Plan::new(&fields).map(|plan| plan.shared), Ok(vec![(2, 1)]));
        assert_eq!(Plan::new(&FieldsConfig::default()).map(|plan| plan.shared), Ok(vec![]));
    }
}
