//! Cells as values: what a number or a sketch holds, and what an event gives to it.

use super::events::{Event, moment};
use serde_json::Value;
use tally_plugin::description::{Description, From, Key, Merge, Property, PropertyType};
use tally_plugin::property::{LONGEST_TEXT, float, integer, scaled};
use tally_plugin::read::Id;
use tally_sketch::{Given, IdBytes, Sketch};

/// What a cell holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CellState {
    /// Of `Sum`, `Min`, `Max`.
    Number(i128),
    /// Of the others; none where no value came.
    Sketch(Option<Sketch>),
}

/// A value of an event's column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Id(Id),
    Number(i128),
    Float(f64),
}

impl CellState {
    /// A cell that was never fed.
    #[must_use]
    pub fn empty(merge: Merge) -> CellState {
        if merge.is_sketch() { CellState::Sketch(None) } else { CellState::Number(identity(merge)) }
    }

    /// Merges another cell of the same merge.
    pub fn merge(&mut self, merge: Merge, other: &CellState) {
        match (self, other) {
            (CellState::Number(own), CellState::Number(other)) => {
                *own = merged(merge, *own, *other)
            }
            (CellState::Sketch(Some(own)), CellState::Sketch(Some(other))) => own.merge(other),
            (own @ CellState::Sketch(None), other @ CellState::Sketch(_)) => *own = other.clone(),
            _ => {}
        }
    }

    /// As one number, as reads tell it; 0 for a sketch of nothing.
    #[must_use]
    pub fn number(&self) -> i128 {
        match self {
            CellState::Number(number) => *number,
            CellState::Sketch(sketch) => sketch.as_ref().map_or(0, Sketch::number),
        }
    }

    /// Its one encoding; numbers in little-endian.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            CellState::Number(number) => out.extend(number.to_le_bytes()),
            CellState::Sketch(Some(sketch)) => sketch.write(&mut out),
            CellState::Sketch(None) => {}
        }
        out
    }

    /// A cell that one value was given to.
    pub(super) fn of(merge: Merge, raw: &Raw, time: i64) -> Option<CellState> {
        let (mut fixed, mut buffer) = ([0; 17], Vec::new());
        let given = match raw {
            Raw::Number(number) => Given::of_number(merge, *number, time, &mut fixed),
            Raw::Float(float) => Given::of_float(merge, *float, time, &mut fixed)?,
            Raw::Id(Id::Integer(id)) => {
                Given::of_id(merge, IdBytes::Integer(*id), time, &mut buffer)?
            }
            Raw::Id(Id::Text(text)) => {
                Given::of_id(merge, IdBytes::Text(text.as_bytes()), time, &mut buffer)?
            }
        };
        Some(match given {
            Given::Number(number) => CellState::Number(number),
            given => CellState::Sketch(Sketch::of(&given)),
        })
    }
}

/// The number that changes nothing; a cell that was never fed has it. 0 for a merge of sketches.
pub(super) const fn identity(merge: Merge) -> i128 {
    match merge {
        Merge::Sum | Merge::Distinct | Merge::Quantiles | Merge::Latest => 0,
        Merge::Min => i128::MAX,
        Merge::Max => i128::MIN,
    }
}

/// Two numbers as one; the first for a merge of sketches.
pub(super) fn merged(merge: Merge, a: i128, b: i128) -> i128 {
    match merge {
        Merge::Sum => a.wrapping_add(b),
        Merge::Min => a.min(b),
        Merge::Max => a.max(b),
        Merge::Distinct | Merge::Quantiles | Merge::Latest => a,
    }
}

/// What feeds a cell declared `from`; `None`: nothing here (a null, or it is fed by `update`).
pub(super) fn fed(
    of: &Description,
    from: &From,
    event: &Event,
    computed: &dyn Fn(&str) -> Option<String>,
) -> Option<Raw> {
    match from {
        From::One => Some(Raw::Number(1)),
        From::EventTime => Some(Raw::Number(event.time.into())),
        From::Update => None,
        From::Column(Key::Property(name)) => value(declared(of, name)?, event),
        From::Column(key) => key_column(of, key, event, computed).map(Raw::Id),
    }
}

/// The id of an event in a key column.
pub(super) fn key_column(
    of: &Description,
    key: &Key,
    event: &Event,
    computed: &dyn Fn(&str) -> Option<String>,
) -> Option<Id> {
    match key {
        Key::UserId => event.user.clone(),
        Key::ProductId => event.product.clone(),
        Key::EventType => Some(Id::Text(event.event_type.clone())),
        Key::Computed(name) => computed(name).map(Id::Text),
        Key::Property(name) => {
            let property = declared(of, name)?;
            match (value(property, event)?, property.kind) {
                (Raw::Id(Id::Text(text)), _) => (text != "__other__").then_some(Id::Text(text)),
                (Raw::Number(number), PropertyType::Bool) => {
                    Some(Id::Text((number != 0).to_string()))
                }
                (Raw::Number(number), PropertyType::Integer) => match u64::try_from(number) {
                    Ok(id) if id < 1 << 53 => Some(Id::Integer(id)),
                    _ => Some(Id::Text(number.to_string())),
                },
                _ => None,
            }
        }
    }
}

fn declared<'d>(of: &'d Description, name: &str) -> Option<&'d Property> {
    of.properties.iter().find(|property| property.name == name)
}

/// A property of an event, read as declared.
pub(super) fn value(property: &Property, event: &Event) -> Option<Raw> {
    let (_, value) = event.properties.iter().find(|(pointer, _)| *pointer == property.pointer)?;
    match (property.kind, value) {
        (PropertyType::Text, Value::String(text)) if text.len() <= LONGEST_TEXT => {
            Some(Raw::Id(Id::Text(text.clone())))
        }
        (PropertyType::Integer, Value::Number(n)) => {
            integer(n.to_string().as_bytes()).map(|n| Raw::Number(n.into()))
        }
        (PropertyType::Float, Value::Number(n)) => float(n.to_string().as_bytes()).map(Raw::Float),
        (PropertyType::Decimal(scale), Value::Number(n)) => {
            Some(Raw::Number(scaled(n.to_string().as_bytes(), scale)?.0))
        }
        (PropertyType::Decimal(scale), Value::String(n)) => {
            Some(Raw::Number(scaled(n.as_bytes(), scale)?.0))
        }
        (PropertyType::Bool, Value::Bool(flag)) => Some(Raw::Number((*flag).into())),
        (PropertyType::Time, Value::String(text)) => {
            moment(text).ok().map(|time| Raw::Number(time.into()))
        }
        (PropertyType::Time, Value::Number(n)) => n.as_i64().map(|time| Raw::Number(time.into())),
        _ => None,
    }
}
