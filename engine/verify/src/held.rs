//! What a cell holds, and how values and other cells are merged into it.

use super::property::Scalar;
use super::sketch::{Last, Set, Spread};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// How a cell merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Merge {
    Sum,
    Min,
    Max,
    Distinct,
    Quantiles,
    Latest,
}

/// A cell as it comes.
#[derive(Debug)]
pub(super) enum Found {
    Number(i128),
    /// As it is stored.
    Sketch(Vec<u8>),
}

/// What a cell holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Number(i128),
    Set(Box<Set>),
    Spread(Box<Spread>),
    Last(Box<Last>),
}

/// The cells of a row; `None`: nothing was merged into it.
pub(super) type Cells = Box<[Option<Held>]>;

impl Held {
    pub(super) fn number(&self) -> Option<i128> {
        if let Held::Number(number) = self { Some(*number) } else { None }
    }

    /// What a cell that merges so holds.
    pub(super) fn of(merge: Merge, found: Found) -> Option<Held> {
        Some(match (merge, found) {
            (Merge::Sum | Merge::Min | Merge::Max, Found::Number(number)) => Held::Number(number),
            (Merge::Distinct, Found::Sketch(bytes)) => Held::Set(Set::of(&bytes)?.into()),
            (Merge::Quantiles, Found::Sketch(bytes)) => Held::Spread(Spread::of(&bytes)?.into()),
            (Merge::Latest, Found::Sketch(bytes)) => Held::Last(Last::of(&bytes)?.into()),
            _ => return None,
        })
    }

    /// Merges a value of an event at `time` into what a cell holds. One that the cell does not take
    /// changes nothing.
    pub(super) fn add(held: &mut Option<Held>, merge: Merge, value: &Scalar, time: i64) {
        if let Merge::Sum | Merge::Min | Merge::Max = merge {
            let value = match value {
                Scalar::Whole(value) => *value,
                Scalar::Bool(value) => (*value).into(),
                Scalar::Id(_) | Scalar::Text(_) | Scalar::Float(_) => return,
            };
            let before = held.as_ref().and_then(Held::number);
            let merged = match (merge, before) {
                (_, None) => value,
                // 128 bits hold what 2³³ of the largest decimals add up to.
                (Merge::Sum, Some(before)) => before.wrapping_add(value),
                (Merge::Min, Some(before)) => before.min(value),
                (_, Some(before)) => before.max(value),
            };
            *held = Some(Held::Number(merged));
            return;
        }
        let nothing = || match merge {
            Merge::Distinct => Held::Set(Set::Few(BTreeMap::new()).into()),
            Merge::Quantiles => Held::Spread(Spread::default().into()),
            _ => Held::Last(Last::new(time, value).into()),
        };
        match held.get_or_insert_with(nothing) {
            Held::Set(set) => set.add(value),
            Held::Spread(spread) => spread.add(value),
            Held::Last(last) => {
                let other = Last::new(time, value);
                if other > **last {
                    **last = other;
                }
            }
            Held::Number(_) => {}
        }
    }

    /// What two cells that merge so hold together.
    pub(super) fn merge(own: &mut Option<Held>, merge: Merge, other: Option<Held>) {
        let Some(other) = other else { return };
        let Some(held) = own else {
            *own = Some(other);
            return;
        };
        match (held, other) {
            (Held::Set(set), Held::Set(other)) => set.merge(*other),
            (Held::Spread(spread), Held::Spread(other)) => spread.merge(*other),
            (Held::Last(last), Held::Last(other)) => *last = other.max(last.clone()),
            (Held::Number(_), Held::Number(other)) => {
                Held::add(own, merge, &Scalar::Whole(other), 0)
            }
            _ => {}
        }
    }

    /// A number where JSON has room for it, else a text.
    pub(super) fn shown(&self) -> Value {
        match self {
            Held::Number(number) => {
                i64::try_from(*number).map_or_else(|_| number.to_string().into(), Value::from)
            }
            Held::Set(set) => set.to_string().into(),
            Held::Spread(spread) => spread.to_string().into(),
            Held::Last(last) => last.to_string().into(),
        }
    }
}
