//! Values of JSON as JSON Schema compares them: numbers by what they are, objects without order.

use crate::number;
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Whether two values are equal: `1` and `1.0` are, and objects with the same members in another
/// order.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            number::compare(one, other) == Ordering::Equal
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
        }
        _ => one == other,
    }
}

/// Whether two items of an array are equal. Takes n log n comparisons.
pub(crate) fn has_equals(items: &[Value]) -> bool {
    let mut sorted: Vec<&Value> = items.iter().collect();
    sorted.sort_unstable_by(|one, other| order(one, other));
    sorted.windows(2).any(|pair| order(pair[0], pair[1]) == Ordering::Equal)
}

/// Any total order under which exactly the values that are [`same`] are equal.
fn order(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => number::compare(one, other),
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Array(one), Value::Array(other)) => {
            let items = one.iter().zip(other).map(|(one, other)| order(one, other));
            one.len().cmp(&other.len()).then_with(|| first_difference(items))
        }
        (Value::Object(one), Value::Object(other)) => one.len().cmp(&other.len()).then_with(|| {
            let members = sorted(one).into_iter().zip(sorted(other));
            first_difference(
                members.map(|(one, other)| one.0.cmp(other.0).then_with(|| order(one.1, other.1))),
            )
        }),
        _ => rank(one).cmp(&rank(other)),
    }
}

fn first_difference(mut orders: impl Iterator<Item = Ordering>) -> Ordering {
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn sorted(members: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    sorted
}

fn rank(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    }
}

/// Steps of work that comparing with a value takes, about.
pub(crate) fn weight(value: &Value) -> u64 {
    match value {
        Value::String(text) => text_weight(text),
        Value::Array(items) => items.iter().fold(1, |all, item| all + weight(item)),
        Value::Object(members) => {
            members.iter().fold(1, |all, (name, value)| all + text_weight(name) + weight(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

/// Steps of work that reading a text takes, about.
pub(crate) fn text_weight(text: &str) -> u64 {
    1 + text.len() as u64 / 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_that_are_equal_are_equal_in_their_order_too() {
        let values = [
            json!(null),
            json!(false),
            json!(true),
            json!(0),
            json!(1),
            json!(1.5),
            json!(""),
            json!("a"),
            json!([]),
            json!([1]),
            json!([1, 2]),
            json!({}),
            json!({"a": 1}),
            json!({"b": 1}),
            json!({"a": 1, "b": [2]}),
        ];
        for (n, one) in values.iter().enumerate() {
            for (m, other) in values.iter().enumerate() {
                assert_eq!(same(one, other), n == m, "{one} {other}");
                assert_eq!(order(one, other) == Ordering::Equal, n == m, "{one} {other}");
                assert_eq!(order(one, other), order(other, one).reverse(), "{one} {other}");
            }
        }
        let (one, other) = (json!({"a": 1, "b": [1.0]}), json!({"b": [1], "a": 1.0}));
        assert!(same(&one, &other) && order(&one, &other) == Ordering::Equal);
        assert!(has_equals(&[json!(2), one, json!(3), other]) && !has_equals(&values));
    }
}
