//! What a schema is once it is compiled: subschemas with numbers, each a list of keywords in the
//! order in which they are checked.

use crate::pattern::Pattern;
use serde_json::{Number, Value};
use std::collections::HashMap;
use std::fmt;

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    pub(crate) nodes: Vec<Node>,
}

/// The number of a subschema; the whole schema is the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(pub(crate) u32);

impl NodeId {
    pub(crate) const ROOT: NodeId = NodeId(0);
}

/// A subschema. Without keywords it accepts everything.
#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) keywords: Vec<Keyword>,
}

impl Node {
    /// Whether it is the schema `false`.
    pub(crate) fn accepts_nothing(&self) -> bool {
        matches!(self.keywords.first(), Some(Keyword::Never))
    }
}

/// One assertion, or several that belong together.
#[derive(Debug)]
pub(crate) enum Keyword {
    /// The schema `false`.
    Never,
    Type(Types),
    Const(Constants),
    Enum(Constants),
    Number(NumberKeyword),
    Text(TextKeyword),
    Array(ArrayKeyword),
    Object(ObjectKeyword),
    Apply(Applicator),
}

/// Values that are compared with.
#[derive(Debug)]
pub(crate) struct Constants {
    pub(crate) values: Vec<Value>,
    /// Steps of work that comparing with all of them takes.
    pub(crate) weight: u64,
}

/// Asserts something of a number.
#[derive(Debug)]
pub(crate) enum NumberKeyword {
    Bound(Bound, Number),
    MultipleOf(Number),
}

/// The bounds that a number can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `minimum`.
    Minimum,
    /// `exclusiveMinimum`.
    ExclusiveMinimum,
    /// `maximum`.
    Maximum,
    /// `exclusiveMaximum`.
    ExclusiveMaximum,
}

/// Asserts something of a text.
#[derive(Debug)]
pub(crate) enum TextKeyword {
    /// In characters.
    MinLength(u64),
    MaxLength(u64),
    Pattern {
        pattern: Pattern,
        /// What the schema says of the text.
        description: Option<String>,
    },
}

/// Asserts something of an array.
#[derive(Debug)]
pub(crate) enum ArrayKeyword {
    MinItems(u64),
    MaxItems(u64),
    Unique,
    /// `prefixItems`, and `items` for those after them.
    Items {
        prefix: Vec<NodeId>,
        rest: Option<NodeId>,
    },
    Contains {
        node: NodeId,
        least: u64,
        most: Option<u64>,
    },
}

/// Asserts something of an object.
#[derive(Debug)]
pub(crate) enum ObjectKeyword {
    MinProperties(u64),
    MaxProperties(u64),
    Required(Vec<String>),
    /// The names that must be there where a name is.
    DependentRequired(Vec<(String, Vec<String>)>),
    Names(NodeId),
    /// `properties`, `patternProperties`, and `additionalProperties` for the others.
    Members(Members),
    /// Each member that no other keyword has looked at. Always the last one.
    Unevaluated(NodeId),
}

/// What the members of an object must be.
#[derive(Debug, Default)]
pub(crate) struct Members {
    pub(crate) named: HashMap<String, NodeId>,
    /// The names in the order in which the schema declares them.
    pub(crate) names: Vec<String>,
    pub(crate) patterns: Vec<(Pattern, NodeId)>,
    pub(crate) rest: Option<NodeId>,
}

/// Applies other subschemas to the same value.
#[derive(Debug)]
pub(crate) enum Applicator {
    Ref(NodeId),
    AllOf(Vec<NodeId>),
    AnyOf(Vec<NodeId>),
    OneOf(Vec<NodeId>),
    Not(NodeId),
    If {
        condition: NodeId,
        then: Option<NodeId>,
        otherwise: Option<NodeId>,
    },
    /// A subschema for an object that has a member of this name.
    DependentSchemas(Vec<(String, NodeId)>),
}

impl Applicator {
    /// The subschemas that it applies.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        match self {
            Applicator::Ref(node) | Applicator::Not(node) => vec![*node],
            Applicator::AllOf(nodes) | Applicator::AnyOf(nodes) | Applicator::OneOf(nodes) => {
                nodes.clone()
            }
            Applicator::If { condition, then, otherwise } => {
                [Some(*condition), *then, *otherwise].into_iter().flatten().collect()
            }
            Applicator::DependentSchemas(schemas) => {
                schemas.iter().map(|(_, node)| *node).collect()
            }
        }
    }
}

/// A set of the seven types of JSON Schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Types(u8);

impl Types {
    const NAMES: [&'static str; 7] =
        ["null", "boolean", "integer", "number", "string", "array", "object"];

    /// The set with the type of this name as well; `None`: there is no such type.
    pub(crate) fn with(self, name: &str) -> Option<Types> {
        let bit = Types::NAMES.iter().position(|known| *known == name)?;
        Some(Types(self.0 | 1 << bit))
    }

    /// Whether a value has one of these types. A number without a fraction is an integer, however
    /// it is written.
    pub(crate) fn contain(self, value: &Value) -> bool {
        let bits = match value {
            Value::Null => 1,
            Value::Bool(_) => 1 << 1,
            Value::Number(number) if crate::number::is_integer(number) => 1 << 2 | 1 << 3,
            Value::Number(_) => 1 << 3,
            Value::String(_) => 1 << 4,
            Value::Array(_) => 1 << 5,
            Value::Object(_) => 1 << 6,
        };
        self.0 & bits != 0
    }

    /// The names of the types.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Types::NAMES
            .into_iter()
            .enumerate()
            .filter(move |(bit, _)| self.0 & 1 << bit != 0)
            .map(|(_, name)| name)
    }
}

impl fmt::Display for Types {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, name) in self.names().enumerate() {
            write!(to, "{}{name:?}", if n == 0 { "" } else { " or " })?;
        }
        Ok(())
    }
}
