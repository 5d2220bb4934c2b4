//! JSON Schema (2020-12), compiled once and checked often: whether a value fits, and if not, each
//! fault with its place.
//!
//! Keywords: `type enum const`, `$ref` (inside the same schema), `allOf anyOf oneOf not`, `if then
//! else`, the bounds of numbers, texts, arrays and objects, `pattern`, `items prefixItems contains
//! uniqueItems`, `properties patternProperties additionalProperties propertyNames required`,
//! `dependentRequired dependentSchemas`, `unevaluatedProperties`. `format` and all other keywords
//! that do not assert anything are ignored. A keyword that asserts something and is not checked
//! here (`unevaluatedItems`, `$dynamicRef`, what only earlier drafts know) makes the schema
//! invalid: it never passes in silence.
//!
//! Where a text does not match a `pattern`, its fault says the `description` beside the pattern:
//! people read that, and not the expression, which is told where there is no description.
//!
//! Neither a schema nor a value is trusted. The number of subschemas, the patterns, the depth and
//! the work of a check are bounded; a value on which the work runs out does not fit. Nothing is
//! fetched from anywhere.

mod check;
mod compile;
mod fault;
mod number;
mod pattern;
mod tree;
mod unevaluated;
mod value;

#[cfg(test)]
mod cases_tests;
#[cfg(test)]
mod oracle_tests;

pub use compile::{SchemaError, SchemaProblem};
pub use fault::{Fault, FaultKind, Form, Step};
pub use tree::{Bound, Schema, Types};
