//! A value against a compiled schema: every assertion at its place, with bounded depth and work.
//!
//! Without a wish for faults it stops at the first one and allocates next to nothing: what nearly
//! every check comes to.

use crate::fault::{Fault, FaultKind, Form, Step};
use crate::number;
use crate::tree::{
    Applicator, ArrayKeyword, Bound, Constants, Keyword, Members, Node, NodeId, NumberKeyword,
};
use crate::tree::{ObjectKeyword, Schema, TextKeyword};
use crate::value::{has_equals, same, text_weight};
use serde_json::{Map, Number, Value};
use std::cmp::Ordering;

/// Subschemas that lie inside one another, or apply one another, while a value is checked.
const DEEPEST: u32 = 400;

/// Steps of a check: a subschema on a value, a comparison, some bytes of a text.
const STEPS: u64 = 4_000_000;

impl Schema {
    /// Whether a value fits.
    #[must_use]
    pub fn accepts(&self, value: &Value) -> bool {
        let mut check = Check::new(&self.nodes, STEPS, 0);
        check.visit(NodeId::ROOT, value, Place::WHOLE) && !check.exhausted
    }

    /// The first faults of a value, in the order in which they are found; none: it fits. A value
    /// that has another type than it must has no other fault.
    #[must_use]
    pub fn faults<'a>(&'a self, value: &'a Value, most: usize) -> Vec<Fault<'a>> {
        let mut check = Check::new(&self.nodes, STEPS, most);
        check.visit(NodeId::ROOT, value, Place::WHOLE);
        let mut faults = check.faults;
        if check.exhausted && faults.len() < most {
            faults.push(Fault { path: Vec::new(), value, kind: FaultKind::TooMuchWork });
        }
        faults
    }
}

pub(crate) struct Check<'a> {
    nodes: &'a [Node],
    /// Steps that are left.
    steps: u64,
    depth: u32,
    /// No steps are left, or it was too deep: nothing that is concluded holds, but that it does not
    /// fit.
    pub(crate) exhausted: bool,
    /// How many faults are wanted; none: only whether there is one.
    wanted: usize,
    faults: Vec<Fault<'a>>,
}

/// Where a check is.
#[derive(Clone, Copy)]
pub(crate) struct Place<'p, 'a> {
    above: Option<(&'p Place<'p, 'a>, Step<'a>)>,
}

impl<'p, 'a> Place<'p, 'a> {
    const WHOLE: &'static Place<'static, 'static> = &Place { above: None };

    pub(crate) fn below(&'p self, step: Step<'a>) -> Place<'p, 'a> {
        Place { above: Some((self, step)) }
    }

    fn path(&self) -> Vec<Step<'a>> {
        let mut path = Vec::new();
        let mut place = self.above;
        while let Some((above, step)) = place {
            path.push(step);
            place = above.above;
        }
        path.reverse();
        path
    }
}

pub(crate) type At<'p, 'a> = &'p Place<'p, 'a>;

impl<'a> Check<'a> {
    fn new(nodes: &'a [Node], steps: u64, wanted: usize) -> Check<'a> {
        Check { nodes, steps, depth: 0, exhausted: false, wanted, faults: Vec::new() }
    }

    pub(crate) fn node(&self, id: NodeId) -> &'a Node {
        &self.nodes[id.0 as usize]
    }

    /// Takes so many steps.
    pub(crate) fn spend(&mut self, steps: u64) {
        match self.steps.checked_sub(steps) {
            Some(left) => self.steps = left,
            None => (self.steps, self.exhausted) = (0, true),
        }
    }

    /// Whether nothing more is to be found out.
    fn is_over(&self) -> bool {
        self.exhausted || self.faults.len() >= self.wanted
    }

    /// Whether a value fits a subschema; its faults are noted.
    pub(crate) fn visit(&mut self, id: NodeId, value: &'a Value, at: At<'_, 'a>) -> bool {
        self.spend(1);
        if self.exhausted || self.depth == DEEPEST {
            self.exhausted = true;
            return false;
        }
        self.depth += 1;
        let mut fits = true;
        for keyword in &self.node(id).keywords {
            if !self.holds(id, keyword, value, at) {
                fits = false;
                if self.is_over() || matches!(keyword, Keyword::Type(_)) {
                    break;
                }
            }
        }
        self.depth -= 1;
        fits
    }

    /// Whether a value fits a subschema; its faults are nobody's.
    pub(crate) fn fits(&mut self, id: NodeId, value: &'a Value, at: At<'_, 'a>) -> bool {
        let (wanted, faults) = (std::mem::take(&mut self.wanted), std::mem::take(&mut self.faults));
        let fits = self.visit(id, value, at);
        (self.wanted, self.faults) = (wanted, faults);
        fits
    }

    /// Notes a fault, if it is wanted; `false`.
    pub(crate) fn fault(
        &mut self,
        at: At<'_, 'a>,
        value: &'a Value,
        kind: impl FnOnce() -> FaultKind<'a>,
    ) -> bool {
        if !self.is_over() {
            self.faults.push(Fault { path: at.path(), value, kind: kind() });
        }
        false
    }

    fn holds(
        &mut self,
        id: NodeId,
        keyword: &'a Keyword,
        value: &'a Value,
        at: At<'_, 'a>,
    ) -> bool {
        match (keyword, value) {
            (Keyword::Never, _) => self.fault(at, value, || FaultKind::NothingAllowed),
            (Keyword::Type(types), _) => {
                types.contain(value) || self.fault(at, value, || FaultKind::Type(*types))
            }
            (Keyword::Const(of) | Keyword::Enum(of), _) => {
                self.is_one_of(of, value) || self.fault(at, value, || FaultKind::Enum(&of.values))
            }
            (Keyword::Number(of), Value::Number(number)) => match number_fault(of, number) {
                Some(kind) => self.fault(at, value, || kind),
                None => true,
            },
            (Keyword::Text(of), Value::String(text)) => self.holds_of_text(of, text, value, at),
            (Keyword::Array(of), Value::Array(items)) => self.holds_of_array(of, items, value, at),
            (Keyword::Object(of), Value::Object(members)) => {
                self.holds_of_object(id, of, members, value, at)
            }
            (Keyword::Apply(of), _) => self.holds_applied(of, value, at),
            (Keyword::Number(_) | Keyword::Text(_) | Keyword::Array(_) | Keyword::Object(_), _) => {
                true
            }
        }
    }

    fn is_one_of(&mut self, of: &Constants, value: &Value) -> bool {
        self.spend(of.weight);
        of.values.iter().any(|one| same(one, value))
    }

    fn holds_of_text(
        &mut self,
        of: &'a TextKeyword,
        text: &str,
        value: &'a Value,
        at: At<'_, 'a>,
    ) -> bool {
        self.spend(text_weight(text));
        // Characters are only counted where the bytes do not say it.
        let characters = |bound: u64| {
            if text.len() as u64 <= bound { text.len() as u64 } else { text.chars().count() as u64 }
        };
        match of {
            TextKeyword::MinLength(least) => {
                text.chars().count() as u64 >= *least
                    || self.fault(at, value, || FaultKind::MinLength(*least))
            }
            TextKeyword::MaxLength(most) => {
                characters(*most) <= *most || self.fault(at, value, || FaultKind::MaxLength(*most))
            }
            TextKeyword::Pattern { pattern, description } => {
                pattern.is_in(text)
                    || self.fault(at, value, || match description {
                        Some(description) => FaultKind::Described(description),
                        None => FaultKind::Pattern(&pattern.text),
                    })
            }
        }
    }

    fn holds_of_array(
        &mut self,
        of: &'a ArrayKeyword,
        items: &'a [Value],
        value: &'a Value,
        at: At<'_, 'a>,
    ) -> bool {
        let length = items.len() as u64;
        match of {
            ArrayKeyword::MinItems(least) => {
                length >= *least || self.fault(at, value, || FaultKind::MinItems(*least))
            }
            ArrayKeyword::MaxItems(most) => {
                length <= *most || self.fault(at, value, || FaultKind::MaxItems(*most))
            }
            ArrayKeyword::Unique => {
                self.spend(length.saturating_mul(u64::from(length.max(1).ilog2() + 1)));
                self.exhausted || !has_equals(items) || self.fault(at, value, || FaultKind::Unique)
            }
            ArrayKeyword::Items { prefix, rest } => {
                let nodes = prefix.iter().copied().map(Some).chain(std::iter::repeat(*rest));
                let mut fits = true;
                for (number, (item, node)) in items.iter().zip(nodes).enumerate() {
                    let Some(node) = node else { break };
                    fits &= self.visit(node, item, &at.below(Step::Item(number)));
                    if !fits && self.is_over() {
                        break;
                    }
                }
                fits
            }
            ArrayKeyword::Contains { node, least, most } => {
                let mut fitting = 0;
                for (number, item) in items.iter().enumerate() {
                    fitting += u64::from(self.fits(*node, item, &at.below(Step::Item(number))));
                    if self.exhausted {
                        return false;
                    }
                }
                let holds = fitting >= *least && most.is_none_or(|most| fitting <= most);
                holds
                    || self.fault(at, value, || FaultKind::Contains {
                        fitting,
                        least: *least,
                        most: *most,
                    })
            }
        }
    }

    fn holds_of_object(
        &mut self,
        id: NodeId,
        of: &'a ObjectKeyword,
        members: &'a Map<String, Value>,
        value: &'a Value,
        at: At<'_, 'a>,
    ) -> bool {
        let length = members.len() as u64;
        match of {
            ObjectKeyword::MinProperties(least) => {
                length >= *least || self.fault(at, value, || FaultKind::MinProperties(*least))
            }
            ObjectKeyword::MaxProperties(most) => {
                length <= *most || self.fault(at, value, || FaultKind::MaxProperties(*most))
            }
            ObjectKeyword::Required(keys) => self.has_all(keys, None, members, value, at),
            ObjectKeyword::DependentRequired(dependents) => {
                self.spend(dependents.len() as u64);
                let mut holds = true;
                for (key, keys) in dependents.iter().filter(|(key, _)| members.contains_key(key)) {
                    holds &= self.has_all(keys, Some(key), members, value, at);
                }
                holds
            }
            ObjectKeyword::Names(node) => {
                let mut holds = true;
                for key in members.keys() {
                    holds &= self.is_named_well(*node, key, value, at);
                    if !holds && self.is_over() {
                        break;
                    }
                }
                holds
            }
            ObjectKeyword::Members(of) => self.holds_of_members(of, members, value, at),
            ObjectKeyword::Unevaluated(node) => {
                self.holds_of_unevaluated(id, *node, members, value, at)
            }
        }
    }

    fn has_all(
        &mut self,
        keys: &'a [String],
        beside: Option<&'a str>,
        members: &Map<String, Value>,
        value: &'a Value,
        at: At<'_, 'a>,
    ) -> bool {
        self.spend(keys.len() as u64);
        let mut holds = true;
        for key in keys.iter().filter(|key| !members.contains_key(*key)) {
            holds = self.fault(at, value, || FaultKind::Missing { key, beside });
            if self.is_over() {
                break;
            }
        }
        holds
    }

    fn is_named_well(
        &mut self,
        node: NodeId,
        key: &'a str,
        value: &'a Value,
        at: At<'_, 'a>,
    ) -> bool {
        self.spend(text_weight(key));
        let name = Value::String(key.to_owned());
        let mut check = Check::new(self.nodes, self.steps, usize::from(!self.is_over()));
        check.depth = self.depth;
        let holds = check.visit(node, &name, Place::WHOLE);
        (self.steps, self.exhausted) = (check.steps, self.exhausted || check.exhausted);
        let why = check.faults.first().map(ToString::to_string).unwrap_or_default();
        holds || self.fault(at, value, || FaultKind::KeyName(key, why))
    }

    fn holds_of_members(
        &mut self,
        of: &'a Members,
        members: &'a Map<String, Value>,
        value: &'a Value,
        at: At<'_, 'a>,
    ) -> bool {
        self.spend(members.len() as u64);
        let mut fits = true;
        let mut unknown = Vec::new();
        for (key, member) in members {
            let below = at.below(Step::Key(key));
            let named = of.named.get(key).copied();
            if let Some(node) = named {
                fits &= self.visit(node, member, &below);
            }
            let mut is_known = named.is_some();
            for (pattern, node) in &of.patterns {
                self.spend(text_weight(key));
                if pattern.is_in(key) {
                    is_known = true;
                    fits &= self.visit(*node, member, &below);
                }
            }
            match of.rest {
                Some(rest) if !is_known && self.node(rest).accepts_nothing() => {
                    fits = false;
                    unknown.push(key.as_str());
                }
                Some(rest) if !is_known => fits &= self.visit(rest, member, &below),
                _ => {}
            }
            if !fits && self.is_over() {
                break;
            }
        }
        if !unknown.is_empty() {
            self.fault(at, value, || FaultKind::UnknownKeys { unknown, known: &of.names });
        }
        fits
    }

    fn holds_applied(&mut self, of: &'a Applicator, value: &'a Value, at: At<'_, 'a>) -> bool {
        match of {
            Applicator::Ref(node) => self.visit(*node, value, at),
            Applicator::AllOf(nodes) => {
                let mut fits = true;
                for node in nodes {
                    fits &= self.visit(*node, value, at);
                    if !fits && self.is_over() {
                        break;
                    }
                }
                fits
            }
            Applicator::AnyOf(nodes) => {
                nodes.iter().any(|node| self.fits(*node, value, at))
                    || self.fault_of_none(nodes, value, at)
            }
            Applicator::OneOf(nodes) => {
                let fitting =
                    nodes.iter().filter(|node| self.fits(**node, value, at)).take(2).count();
                match fitting {
                    0 => self.fault_of_none(nodes, value, at),
                    1 => true,
                    _ => self.fault(at, value, || FaultKind::SeveralAlternatives),
                }
            }
            Applicator::Not(node) => {
                !self.fits(*node, value, at) || self.fault(at, value, || FaultKind::Excluded)
            }
            Applicator::If { condition, then, otherwise } => {
                let branch = if self.fits(*condition, value, at) { then } else { otherwise };
                branch.is_none_or(|node| self.visit(node, value, at))
            }
            Applicator::DependentSchemas(schemas) => {
                let Some(members) = value.as_object() else { return true };
                let mut fits = true;
                for (_, node) in schemas.iter().filter(|(key, _)| members.contains_key(key)) {
                    fits &= self.visit(*node, value, at);
                }
                fits
            }
        }
    }

    fn fault_of_none(&mut self, nodes: &'a [NodeId], value: &'a Value, at: At<'_, 'a>) -> bool {
        let all = self.nodes;
        self.fault(at, value, || FaultKind::NoAlternative(Form::of_any(all, nodes)))
    }
}

fn number_fault<'a>(of: &'a NumberKeyword, number: &Number) -> Option<FaultKind<'a>> {
    match of {
        NumberKeyword::Bound(bound, limit) => {
            let order = number::compare(number, limit);
            let holds = match bound {
                Bound::Minimum => order != Ordering::Less,
                Bound::ExclusiveMinimum => order == Ordering::Greater,
                Bound::Maximum => order != Ordering::Greater,
                Bound::ExclusiveMaximum => order == Ordering::Less,
            };
            (!holds).then_some(FaultKind::Bound(*bound, limit))
        }
        NumberKeyword::MultipleOf(of) => {
            (!number::is_multiple(number, of)).then_some(FaultKind::MultipleOf(of))
        }
    }
}
