//! Declared properties as typed columns: what metrics read of an event beside the five fields.
//!
//! A format says what is in a record where a property is declared; here it becomes a column, or a
//! null where it is absent or something else than declared. No verdict depends on it.

use std::borrow::Cow;
use std::sync::Arc;
use tally_event::time::{FIRST_MS, LAST_MS, rfc3339};
use tally_event::{EventBatch, PropertyColumn, PropertySource, TEXT_BIT};
use tally_plugin::description::PropertyType;
use tally_plugin::property::{LONGEST_TEXT, float, integer, scaled};

/// What stands in a record where a property is declared.
#[derive(Clone, Debug)]
pub(super) enum PropertyValue<'a> {
    /// Nothing, or a null.
    Absent,
    /// A text, UTF-8.
    Text(Cow<'a, [u8]>),
    /// A number, written as JSON writes numbers: exactly, in ASCII.
    Number(&'a [u8]),
    /// A truth value.
    Bool(bool),
    /// Something that no property can be: a container, a text that is not one.
    Other,
}

/// These properties, each once.
pub(super) fn distinct(sources: &[PropertySource]) -> Vec<Arc<PropertySource>> {
    let mut list: Vec<Arc<PropertySource>> = Vec::with_capacity(sources.len());
    for source in sources {
        if !list.iter().any(|known| **known == *source) {
            list.push(Arc::new(source.clone()));
        }
    }
    list
}

/// Makes a batch's columns those of the declared properties, empty. A batch that was cleared keeps
/// the memory of its columns.
pub(super) fn begin(declared: &[Arc<PropertySource>], out: &mut EventBatch) {
    let same =
        |(declared, column): (&Arc<PropertySource>, &PropertyColumn)| *declared == column.source;
    if out.properties.len() != declared.len() || !declared.iter().zip(&out.properties).all(same) {
        out.properties =
            declared.iter().map(|declared| PropertyColumn::new(Arc::clone(declared))).collect();
    }
}

/// Adds what the event that was pushed last has as its `n`-th property.
#[inline]
pub(super) fn push(n: usize, value: PropertyValue<'_>, out: &mut EventBatch) {
    let kind = out.properties[n].source.kind;
    let absent = matches!(value, PropertyValue::Absent);
    let read = bits(value, kind, out);
    let row = out.offsets.len().saturating_sub(1) as u32;
    let column = &mut out.properties[n];
    if read.is_none() && !absent {
        column.unreadable.push(row);
    }
    column.present.push(u8::from(read.is_some()));
    let read = read.unwrap_or(0);
    column.low.push(read as u64);
    if matches!(kind, PropertyType::Decimal(_)) {
        column.high.push((read >> 64) as i64);
    }
}

/// A value as the bits of its column; a text is added to the batch, its number is the value.
fn bits(value: PropertyValue<'_>, kind: PropertyType, out: &mut EventBatch) -> Option<i128> {
    use PropertyValue::{Bool, Number, Text};
    match (kind, value) {
        (PropertyType::Text, Text(text)) => {
            (text.len() <= LONGEST_TEXT).then(|| (out.push_text(&text) & !TEXT_BIT).into())
        }
        (PropertyType::Integer, Number(written)) => {
            integer(written).map(|value| i128::from(value as u64))
        }
        (PropertyType::Float, Number(written)) => {
            float(written).map(|value| value.to_bits().into())
        }
        (PropertyType::Decimal(scale), Number(written)) => {
            scaled(written, scale).map(|(value, _)| value)
        }
        (PropertyType::Decimal(scale), Text(text)) => scaled(&text, scale).map(|(value, _)| value),
        (PropertyType::Bool, Bool(value)) => Some(value.into()),
        (PropertyType::Time, Number(written)) => {
            let time = integer(written).filter(|time| (FIRST_MS..=LAST_MS).contains(time))?;
            Some(i128::from(time as u64))
        }
        (PropertyType::Time, Text(text)) => rfc3339(&text).map(|time| i128::from(time as u64)),
        _ => None,
    }
}
