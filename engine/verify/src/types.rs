//! Which event types a table shows for themselves, by the rule of `[events] max_types`, worked out
//! a second time.
//!
//! Nothing is shared with the engine but the hash function of the contract (SipHash-1-3 without a
//! key, of a 1, the length and the text).

use siphasher::sip::SipHasher13;
use std::collections::BTreeSet;
use std::hash::Hasher;

/// Where types count that do not stand for themselves.
pub(super) const OTHER: &str = "__other__";

/// The rule.
#[derive(Clone, Debug)]
pub(super) struct TypeRule {
    /// Types of a table that stand for themselves at most.
    pub(super) most: usize,
    /// Those that do however many there are.
    pub(super) always: BTreeSet<String>,
}

impl Default for TypeRule {
    fn default() -> Self {
        TypeRule { most: 1_000, always: BTreeSet::new() }
    }
}

impl TypeRule {
    /// Of all the types that a table counted, those that count together.
    pub(super) fn folded(&self, counted: &BTreeSet<String>) -> BTreeSet<String> {
        let (always, mut others): (Vec<&String>, Vec<&String>) = counted
            .iter()
            .filter(|kind| *kind != OTHER)
            .partition(|kind| self.always.contains(*kind));
        if always.len() + others.len() <= self.most {
            return BTreeSet::new();
        }
        let room = self.most.saturating_sub(always.len());
        let fits = |bits: &u32| others.iter().filter(|kind| zeros(kind) >= *bits).count() <= room;
        let bits = (0..=64).find(fits).unwrap_or(65);
        others.retain(|kind| zeros(kind) < bits);
        others.into_iter().cloned().collect()
    }
}

/// Zero bits at the end of a type's hash.
fn zeros(kind: &str) -> u32 {
    let mut hash = SipHasher13::new();
    hash.write_u8(1);
    hash.write_u8(kind.len() as u8);
    hash.write(kind.as_bytes());
    hash.finish().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(count: usize) -> BTreeSet<String> {
        (0..count).map(|n| format!("type_{n}")).collect()
    }

    #[test]
    fn as_many_as_may_be_are_shown_and_those_that_are_named_always() {
        let rule =
            TypeRule { most: 100, always: ["type_7".to_owned(), "absent".to_owned()].into() };
        assert!(rule.folded(&types(100)).is_empty());
        for count in [101, 1_000, 20_000] {
            let all = types(count);
            let folded = rule.folded(&all);
            let shown = count - folded.len();
            assert!(
                (25..=100).contains(&shown) && !folded.contains("type_7"),
                "{shown} of {count}"
            );
        }
        let few =
            TypeRule { most: 1, always: ["type_1", "type_2", "type_3"].map(String::from).into() };
        assert_eq!(few.folded(&types(5)), ["type_0", "type_4"].map(String::from).into());
    }
}
