//! The names of metrics that log lines of a plugin carry: a plugin may write a line as long as the
//! process lives, so its label is never freed.
//!
//! A name has one label for a plugin, however often metrics of it are made, judged or refused.
//! Bounded: so many names; metrics of further ones share a label.

use super::code::Label;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Names of a plugin's metrics; each takes some hundred bytes.
pub(super) const MOST: usize = 4_096;

/// The label of metrics of further names.
const OTHER: Label = &"(another metric)";

/// The labels of a plugin.
#[derive(Default)]
pub(super) struct Labels(Mutex<BTreeMap<&'static str, Label>>);

impl Labels {
    /// That of a metric.
    pub(super) fn of(&self, name: &str) -> Label {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(label) = known.get(name).copied() {
            return label;
        }
        if known.len() >= MOST {
            return OTHER;
        }
        let text: &'static str = Box::leak(name.to_owned().into_boxed_str());
        let label: Label = Box::leak(Box::new(text));
        known.insert(text, label);
        label
    }

    /// Whether a metric of this name has a label of its own, or would have one.
    pub(super) fn has_room(&self, name: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < MOST || known.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_label_and_there_are_so_many() {
        let labels = Labels::default();
        let first = labels.of("a");
        assert!(*first == "a" && std::ptr::eq(first, labels.of("a")));
        (1..MOST).for_each(|n| assert_eq!(*labels.of(&format!("m{n}")), format!("m{n}")));
        assert!(labels.has_room("a") && !labels.has_room("b"));
        assert_eq!((*labels.of("b"), *labels.of("c")), (*OTHER, *OTHER));
        assert!(!labels.has_room("b") && std::ptr::eq(first, labels.of("a")));
    }
}
