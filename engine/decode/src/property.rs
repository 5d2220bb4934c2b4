//! Declared properties: what metrics read of an event beside the five fields, as typed columns.
//!
//! They are taken from what the scan has judged already, so no verdict depends on them: what is absent, or something else
//! than declared, is a null. Only what some metric declares is looked at. Of a key that stands twice the last counts.

use super::plan::{Plan, index};
use super::text::{Use, string, unescape};
use std::borrow::Cow;
use std::sync::Arc;
use tally_config::pointer;
use tally_event::time::{FIRST_MS, LAST_MS, rfc3339};
use tally_event::{EventBatch, PropertyColumn, PropertySource, TEXT_BIT};
use tally_plugin::description::PropertyType;
use tally_plugin::property::{LONGEST_TEXT, float, integer, scaled};

/// What a decoder reads beside the mapped fields.
#[derive(Clone, Debug, Default)]
pub(super) struct Properties {
    list: Vec<Declared>,
}

#[derive(Clone, Debug)]
struct Declared {
    source: Arc<PropertySource>,
    /// Which of the plan's further top-level keys it begins at.
    root: usize,
    /// The keys after that.
    path: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    key: String,
    index: Option<u64>,
}

/// Where the values of the further top-level keys stand in a record; nowhere: `(0, 0)`.
#[derive(Clone, Debug, Default)]
pub(super) struct Found(Vec<(u32, u32)>);

impl Found {
    /// Begins a record.
    #[inline(always)]
    pub(super) fn begin(&mut self) {
        self.0.fill((0, 0));
    }

    /// Notes where a value stands. A record has at most 64 KiB.
    #[inline]
    pub(super) fn note(&mut self, root: usize, start: usize, end: usize) {
        if let Some(span) = self.0.get_mut(root) {
            *span = (start as u32, end as u32);
        }
    }
}

impl Properties {
    /// Lays out these properties, each once, and tells the plan which top-level keys they begin at.
    ///
    /// # Errors
    /// One sentence: a pointer is none.
    pub(super) fn new(sources: &[PropertySource], plan: &mut Plan) -> Result<(Properties, Found), String> {
        let mut list: Vec<Declared> = Vec::new();
        let mut roots: Vec<String> = Vec::new();
        for source in sources {
            if list.iter().any(|known| *known.source == *source) {
                continue;
            }
            let mut path =
                pointer::keys(&source.pointer).map_err(|fault| format!("\"{}\": {fault}", source.pointer))?;
            let first = path.remove(0);
            let root = roots.iter().position(|root| *root == first).unwrap_or_else(|| {
                roots.push(first);
                roots.len() - 1
            });
            let path = path.into_iter().map(|key| Step { index: index(&key), key }).collect();
            list.push(Declared { source: Arc::new(source.clone()), root, path });
        }
        let found = Found(vec![(0, 0); roots.len()]);
        plan.read_also(roots);
        Ok((Properties { list }, found))
    }

    /// Makes the batch's columns those of this list, empty.
    pub(super) fn begin(&self, out: &mut EventBatch) {
        let same = |(declared, column): (&Declared, &PropertyColumn)| declared.source == column.source;
        if out.properties.len() == self.list.len() && self.list.iter().zip(&out.properties).all(same) {
            return;
        }
        let empty = |declared: &Declared| PropertyColumn::new(Arc::clone(&declared.source));
        out.properties = self.list.iter().map(empty).collect();
    }

    /// Adds the properties of the accepted record that was pushed last to its columns. `json`: what was scanned.
    #[inline]
    pub(super) fn push(&self, json: &[u8], found: &Found, out: &mut EventBatch) {
        for (n, declared) in self.list.iter().enumerate() {
            let (start, end) = found.0.get(declared.root).copied().unwrap_or((0, 0));
            let value = json.get(start as usize..end as usize).unwrap_or_default();
            let value = declared.path.iter().try_fold(value, |value, step| member(value, step)).unwrap_or_default();
            let read = read(value, declared.source.kind, out);
            let row = out.offsets.len().saturating_sub(1) as u32;
            let column = &mut out.properties[n];
            if read.is_none() && !value.is_empty() && value != b"null" {
                column.unreadable.push(row);
            }
            column.present.push(u8::from(read.is_some()));
            let read = read.unwrap_or(0);
            column.low.push(read as u64);
            if matches!(declared.source.kind, PropertyType::Decimal(_)) {
                column.high.push((read >> 64) as i64);
            }
        }
    }
}

/// A value as the bits of its column; a text is added to the batch, its number is the value.
fn read(value: &[u8], kind: PropertyType, out: &mut EventBatch) -> Option<i128> {
    let first = *value.first()?;
    let is_number = first == b'-' || first.is_ascii_digit();
    match kind {
        PropertyType::Text => {
            let text = text(value)?;
            (text.len() <= LONGEST_TEXT).then(|| (out.push_text(&text) & !TEXT_BIT).into())
        }
        PropertyType::Integer if is_number => integer(value).map(|value| i128::from(value as u64)),
        PropertyType::Float if is_number => float(value).map(|value| value.to_bits().into()),
        PropertyType::Decimal(scale) if is_number => scaled(value, scale).map(|(value, _)| value),
        PropertyType::Decimal(scale) => scaled(&text(value)?, scale).map(|(value, _)| value),
        PropertyType::Bool if value == b"true" => Some(1),
        PropertyType::Bool if value == b"false" => Some(0),
        PropertyType::Time if is_number => {
            let time = integer(value).filter(|time| (FIRST_MS..=LAST_MS).contains(time))?;
            Some(i128::from(time as u64))
        }
        PropertyType::Time => rfc3339(&text(value)?).map(|time| i128::from(time as u64)),
        _ => None,
    }
}

/// The text that a JSON string is; `None` where it is none, or half a character.
fn text(value: &[u8]) -> Option<Cow<'_, [u8]>> {
    if value.first() != Some(&b'"') {
        return None;
    }
    let span = string(value, 1, Use::Read).ok()?;
    let raw = &value[1..span.end];
    Some(if span.escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) })
}

/// The member of a container (right JSON) that a step leads to.
fn member<'a>(container: &'a [u8], step: &Step) -> Option<&'a [u8]> {
    let object = match container.first()? {
        b'{' => true,
        b'[' => false,
        _ => return None,
    };
    let (mut at, mut number, mut found) = (skip_space(container, 1), 0_u64, None);
    while !matches!(container.get(at)?, b'}' | b']') {
        let mut wanted = step.index == Some(number);
        if object {
            let key_end = skip(container, at);
            wanted = is_key(container.get(at..key_end)?, &step.key);
            // The colon.
            at = skip_space(container, skip_space(container, key_end) + 1);
        }
        let end = skip(container, at);
        if wanted {
            found = container.get(at..end);
        }
        number += 1;
        at = skip_space(container, end);
        if container.get(at) == Some(&b',') {
            at = skip_space(container, at + 1);
        }
    }
    found
}

fn is_key(quoted: &[u8], key: &str) -> bool {
    let raw = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if raw.contains(&b'\\') {
        string(quoted, 1, Use::Read).is_ok() && unescape(raw) == key.as_bytes()
    } else {
        raw == key.as_bytes()
    }
}

/// The index after a value of right JSON.
fn skip(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0_u32;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while let Some(&inner) = bytes.get(at) {
                    at += if inner == b'\\' { 2 } else { 1 };
                    if inner == b'"' {
                        break;
                    }
                }
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                if depth <= 1 {
                    return at + usize::from(depth == 1);
                }
                depth -= 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at.min(bytes.len())
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = bytes.get(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
#[path = "property_tests.rs"]
mod tests;
