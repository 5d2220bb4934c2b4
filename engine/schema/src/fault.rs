//! What a value has against a schema: where, which assertion, and what there could be instead.
//!
//! A fault borrows the value and the schema. Its text is one line that names the value as JSON;
//! [`Fault::masked`] is the same without it.

use crate::tree::{Applicator, Bound, Keyword, Node, NodeId, ObjectKeyword, Types};
use serde_json::{Number, Value};
use std::fmt;

/// Forms that are listed, and alternatives of alternatives that are followed to find them.
const FORMS: usize = 64;
const FORMS_DEEP: u32 = 4;

/// A place in a value that does not fit, and why.
#[derive(Clone, Debug)]
pub struct Fault<'a> {
    /// The steps from the whole value to the one that is at fault.
    pub path: Vec<Step<'a>>,
    /// The value at fault.
    pub value: &'a Value,
    /// What is wrong with it.
    pub kind: FaultKind<'a>,
}

/// A step into a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The member of this name.
    Key(&'a str),
    /// The item with this number, from zero.
    Item(usize),
}

/// What is wrong with a value.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind<'a> {
    /// Nothing is allowed here.
    NothingAllowed,
    /// It has none of these types.
    Type(Types),
    /// It is none of these values.
    Enum(&'a [Value]),
    /// It is below or above this bound.
    Bound(Bound, &'a Number),
    /// It is not a multiple of this number.
    MultipleOf(&'a Number),
    /// It has fewer characters.
    MinLength(u64),
    /// It has more characters.
    MaxLength(u64),
    /// It does not match this expression, of which the schema says nothing.
    Pattern(&'a str),
    /// It does not match an expression of which the schema says this.
    Described(&'a str),
    /// It has fewer items.
    MinItems(u64),
    /// It has more items.
    MaxItems(u64),
    /// Two of its items are equal.
    Unique,
    /// Fewer, or more, of its items are as they must be: how many are, the least and the most.
    Contains {
        /// Items that fit.
        fitting: u64,
        /// The least number of them.
        least: u64,
        /// The largest number of them.
        most: Option<u64>,
    },
    /// It has fewer keys.
    MinProperties(u64),
    /// It has more keys.
    MaxProperties(u64),
    /// A key that it must have is missing; with `beside`, because that one is given.
    Missing {
        /// The key.
        key: &'a str,
        /// The key that asks for it.
        beside: Option<&'a str>,
    },
    /// It has keys that are not known here.
    UnknownKeys {
        /// The keys.
        unknown: Vec<&'a str>,
        /// The keys that are known, in the order of the schema.
        known: &'a [String],
    },
    /// One of its keys is not named as keys must be: the key, and what is wrong with it.
    KeyName(&'a str, String),
    /// None of the alternatives fits: the forms that do.
    NoAlternative(Vec<Form<'a>>),
    /// More than one of the alternatives fits.
    SeveralAlternatives,
    /// It is what it must not be.
    Excluded,
    /// Whether it fits takes too much work, or it is nested too deeply.
    TooMuchWork,
}

/// A form that an alternative of a schema allows, as far as it can be said in a word.
#[derive(Clone, Debug, PartialEq)]
pub enum Form<'a> {
    /// This value.
    Value(&'a Value),
    /// An object with this key, among others.
    Key(&'a str),
    /// Any value of these types.
    Types(Types),
}

impl Fault<'_> {
    /// The place as a JSON pointer (RFC 6901); empty: the whole value.
    #[must_use]
    pub fn pointer(&self) -> String {
        self.path
            .iter()
            .map(|step| format!("/{}", step.to_string().replace('~', "~0").replace('/', "~1")))
            .collect()
    }

    /// The text of the fault, with "the value" in the place of the value.
    pub fn masked(&self) -> impl fmt::Display {
        Masked(&self.kind)
    }
}

impl<'a> Form<'a> {
    /// What alternatives allow: of each its values, its keys, or else its types.
    pub(crate) fn of_any(nodes: &'a [Node], alternatives: &[NodeId]) -> Vec<Form<'a>> {
        let mut forms = Vec::new();
        alternatives.iter().for_each(|node| add_forms(nodes, *node, FORMS_DEEP, &mut forms));
        forms
    }
}

fn add_forms<'a>(nodes: &'a [Node], id: NodeId, deep: u32, forms: &mut Vec<Form<'a>>) {
    let keywords = &nodes[id.0 as usize].keywords;
    let before = forms.len();
    for keyword in keywords {
        match keyword {
            Keyword::Const(of) | Keyword::Enum(of) => {
                forms.extend(of.values.iter().map(Form::Value))
            }
            Keyword::Object(ObjectKeyword::Members(of)) => {
                forms.extend(of.names.iter().map(|name| Form::Key(name)))
            }
            Keyword::Apply(
                of @ (Applicator::Ref(_) | Applicator::AnyOf(_) | Applicator::OneOf(_)),
            ) if deep > 0 => {
                of.nodes().into_iter().for_each(|node| add_forms(nodes, node, deep - 1, forms));
            }
            _ => {}
        }
        if forms.len() > before {
            break;
        }
    }
    if forms.len() == before {
        forms.extend(keywords.iter().find_map(|keyword| match keyword {
            Keyword::Type(types) => Some(Form::Types(*types)),
            _ => None,
        }));
    }
    forms.truncate(FORMS);
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(&self.kind, self.value, to)
    }
}

struct Masked<'a>(&'a FaultKind<'a>);

impl fmt::Display for Masked<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(self.0, &"the value", to)
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Key(key) => to.write_str(key),
            Step::Item(number) => number.fmt(to),
        }
    }
}

impl fmt::Display for Form<'_> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Form::Value(value) => value.fmt(to),
            Form::Key(key) => write!(to, "{{{key:?}: …}}"),
            Form::Types(types) => write!(to, "a value of type {types}"),
        }
    }
}

fn describe(
    kind: &FaultKind<'_>,
    value: &dyn fmt::Display,
    to: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match kind {
        FaultKind::NothingAllowed => write!(to, "{value} is not allowed here: nothing is"),
        FaultKind::Type(types) => write!(to, "{value} is not of type {types}"),
        FaultKind::Enum([one]) => write!(to, "{value} is not {one}"),
        FaultKind::Enum(values) => write!(to, "{value} is not one of {}", listed(values.iter())),
        FaultKind::Bound(bound, number) => {
            write!(to, "{value} is {} {number}", relate_to_bound(*bound))
        }
        FaultKind::MultipleOf(of) => write!(to, "{value} is not a multiple of {of}"),
        FaultKind::MinLength(least) => {
            write!(to, "{value} is shorter than {}", counted(*least, "character"))
        }
        FaultKind::MaxLength(most) => {
            write!(to, "{value} is longer than {}", counted(*most, "character"))
        }
        FaultKind::Pattern(pattern) => write!(to, "{value} does not match \"{pattern}\""),
        FaultKind::Described(what) => write!(to, "{value} does not fit: {what}"),
        FaultKind::MinItems(least) => {
            write!(to, "{value} has fewer than {}", counted(*least, "item"))
        }
        FaultKind::MaxItems(most) => write!(to, "{value} has more than {}", counted(*most, "item")),
        FaultKind::Unique => write!(to, "{value} has equal items"),
        FaultKind::Contains { fitting, least, .. } if fitting < least => {
            write!(
                to,
                "{value} has {} of the required kind, fewer than {least}",
                counted(*fitting, "item")
            )
        }
        FaultKind::Contains { fitting, most, .. } => {
            let most = most.unwrap_or(u64::MAX);
            write!(
                to,
                "{value} has {} of a kind of which at most {most} are allowed",
                counted(*fitting, "item")
            )
        }
        FaultKind::MinProperties(least) => {
            write!(to, "{value} has fewer than {}", counted(*least, "key"))
        }
        FaultKind::MaxProperties(most) => {
            write!(to, "{value} has more than {}", counted(*most, "key"))
        }
        FaultKind::Missing { key, beside: None } => write!(to, "{key:?} is missing"),
        FaultKind::Missing { key, beside: Some(beside) } => {
            write!(to, "{key:?} is missing; {beside:?} needs it")
        }
        FaultKind::UnknownKeys { unknown, known } => describe_unknown_keys(unknown, known, to),
        FaultKind::KeyName(key, why) => write!(to, "the key {key:?} is not allowed here: {why}"),
        FaultKind::NoAlternative(forms) if forms.is_empty() => {
            write!(to, "{value} fits none of the alternatives")
        }
        FaultKind::NoAlternative(forms) => {
            write!(to, "{value} is not one of {}", listed(forms.iter()))
        }
        FaultKind::SeveralAlternatives => {
            write!(to, "{value} fits more than one of the alternatives")
        }
        FaultKind::Excluded => write!(to, "{value} is not allowed here"),
        FaultKind::TooMuchWork => {
            to.write_str("the value is too large or nested too deeply to be checked")
        }
    }
}

/// How a number stands to a bound that it violates.
fn relate_to_bound(bound: Bound) -> &'static str {
    match bound {
        Bound::Minimum => "less than the minimum of",
        Bound::Maximum => "greater than the maximum of",
        Bound::ExclusiveMinimum => "not greater than",
        Bound::ExclusiveMaximum => "not less than",
    }
}

fn describe_unknown_keys(
    unknown: &[&str],
    known: &[String],
    to: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    let unknown = listed(unknown.iter().map(Quoted));
    match known {
        [] => write!(to, "unknown key {unknown}"),
        known => {
            write!(to, "unknown key {unknown}; the keys are {}", listed(known.iter().map(Quoted)))
        }
    }
}

struct Quoted<T>(T);

impl<T: AsRef<str>> fmt::Display for Quoted<T> {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?}", self.0.as_ref())
    }
}

/// `a, b, c`.
fn listed<T: fmt::Display>(all: impl Iterator<Item = T>) -> String {
    all.map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
