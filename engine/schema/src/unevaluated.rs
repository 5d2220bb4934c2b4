//! `unevaluatedProperties`: the members of an object that neither its schema nor any schema that it
//! applies has looked at.

use crate::check::{At, Check};
use crate::fault::{FaultKind, Step};
use crate::tree::{Applicator, Keyword, NodeId, ObjectKeyword};
use serde_json::{Map, Value};
use std::collections::HashSet;

impl<'a> Check<'a> {
    /// Whether the members that no other keyword looks at fit `node`.
    pub(crate) fn holds_of_unevaluated(
        &mut self,
        id: NodeId,
        node: NodeId,
        members: &'a Map<String, Value>,
        value: &'a Value,
        at: At<'_, 'a>,
    ) -> bool {
        let mut evaluated = HashSet::new();
        self.evaluate(id, members, value, at, &mut evaluated);
        let left = members.iter().filter(|(key, _)| !evaluated.contains(key.as_str()));
        if self.node(node).accepts_nothing() {
            let unknown: Vec<&str> = left.map(|(key, _)| key.as_str()).collect();
            return unknown.is_empty()
                || self.fault(at, value, || FaultKind::UnknownKeys { unknown, known: &[] });
        }
        let mut fits = true;
        for (key, member) in left {
            fits &= self.visit(node, member, &at.below(Step::Key(key)));
        }
        fits
    }

    /// Adds the members that a subschema, and those that it applies and that fit, look at.
    /// `unevaluatedProperties` of the subschema where it begins is not one of those: it is what
    /// asks.
    fn evaluate(
        &mut self,
        id: NodeId,
        members: &'a Map<String, Value>,
        value: &'a Value,
        at: At<'_, 'a>,
        evaluated: &mut HashSet<&'a str>,
    ) {
        self.spend(1 + members.len() as u64);
        if self.exhausted {
            return;
        }
        for keyword in &self.node(id).keywords {
            match keyword {
                Keyword::Object(ObjectKeyword::Members(of)) => {
                    let looks_at = |key: &str| {
                        let named = of.rest.is_some() || of.named.contains_key(key);
                        named || of.patterns.iter().any(|(pattern, _)| pattern.is_in(key))
                    };
                    evaluated
                        .extend(members.keys().map(String::as_str).filter(|key| looks_at(key)));
                }
                Keyword::Apply(of) => {
                    for node in self.applied(of, members, value, at) {
                        let others = &self.node(node).keywords;
                        let all = |keyword: &Keyword| {
                            matches!(keyword, Keyword::Object(ObjectKeyword::Unevaluated(_)))
                        };
                        if others.iter().any(all) {
                            evaluated.extend(members.keys().map(String::as_str));
                        }
                        self.evaluate(node, members, value, at, evaluated);
                    }
                }
                _ => {}
            }
        }
    }

    /// The subschemas that an applicator applies and that fit.
    fn applied(
        &mut self,
        of: &'a Applicator,
        members: &Map<String, Value>,
        value: &'a Value,
        at: At<'_, 'a>,
    ) -> Vec<NodeId> {
        match of {
            Applicator::Ref(node) => vec![*node],
            Applicator::AllOf(nodes) => nodes.clone(),
            Applicator::AnyOf(nodes) | Applicator::OneOf(nodes) => {
                nodes.iter().copied().filter(|node| self.fits(*node, value, at)).collect()
            }
            Applicator::Not(_) => Vec::new(),
            Applicator::If { condition, then, otherwise } => match self.fits(*condition, value, at)
            {
                true => [Some(*condition), *then].into_iter().flatten().collect(),
                false => otherwise.iter().copied().collect(),
            },
            Applicator::DependentSchemas(schemas) => schemas
                .iter()
                .filter(|(key, _)| members.contains_key(key))
                .map(|(_, node)| *node)
                .collect(),
        }
    }
}
