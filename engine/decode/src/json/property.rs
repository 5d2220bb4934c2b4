//! Where declared properties stand in a JSON record, and what is there.
//!
//! Values are taken from what the scan has judged already, so no verdict depends on them. Only what
//! some metric declares is looked at. Of a key that occurs twice, the last counts. How a value
//! becomes a column is decided outside of the format.

use super::plan::{Plan, index};
use super::text::{Use, string, unescape};
use crate::PropertyError;
use crate::property::PropertyValue;
use std::borrow::Cow;
use std::sync::Arc;
use tally_config::pointer;
use tally_event::PropertySource;

/// Where each declared property is.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    list: Vec<Path>,
}

#[derive(Clone, Debug)]
struct Path {
    /// Which of the plan's further top-level keys it begins at.
    root: usize,
    /// The keys after that.
    steps: Vec<Step>,
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
    /// Room for the further top-level keys of a plan.
    pub(super) fn new(plan: &Plan) -> Found {
        Found(vec![(0, 0); plan.roots.len()])
    }

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

impl Paths {
    /// Lays out these properties, and adds the top-level keys that they begin at to the plan.
    ///
    /// # Errors
    /// [`PropertyError`].
    pub(super) fn new(
        sources: &[Arc<PropertySource>],
        plan: &mut Plan,
    ) -> Result<Paths, PropertyError> {
        let mut list: Vec<Path> = Vec::with_capacity(sources.len());
        let mut roots: Vec<String> = Vec::new();
        for source in sources {
            let mut keys = pointer::keys(&source.pointer)
                .map_err(|fault| PropertyError { pointer: source.pointer.clone(), fault })?;
            let first = keys.remove(0);
            let root = roots.iter().position(|root| *root == first).unwrap_or_else(|| {
                roots.push(first);
                roots.len() - 1
            });
            let steps = keys.into_iter().map(|key| Step { index: index(&key), key }).collect();
            list.push(Path { root, steps });
        }
        plan.read_also(roots);
        Ok(Paths { list })
    }

    /// The value of the `n`-th property of a record. `json`: what was scanned; `found`: what that
    /// scan noted.
    #[inline]
    pub(super) fn value<'a>(&self, n: usize, json: &'a [u8], found: &Found) -> PropertyValue<'a> {
        let Some(path) = self.list.get(n) else { return PropertyValue::Absent };
        let (start, end) = found.0.get(path.root).copied().unwrap_or((0, 0));
        let value = json.get(start as usize..end as usize).unwrap_or_default();
        value_of(
            path.steps
                .iter()
                .try_fold(value, |value, step| member(value, step))
                .unwrap_or_default(),
        )
    }
}

/// What a value is that stands in right JSON; nothing stands there: empty.
#[inline]
fn value_of(written: &[u8]) -> PropertyValue<'_> {
    match written.first() {
        None | Some(b'n') => PropertyValue::Absent,
        Some(b'-' | b'0'..=b'9') => PropertyValue::Number(written),
        Some(b'"') => text(written).map_or(PropertyValue::Other, PropertyValue::Text),
        Some(b't') => PropertyValue::Bool(true),
        Some(b'f') => PropertyValue::Bool(false),
        Some(_) => PropertyValue::Other,
    }
}

/// The text that a JSON string is; `None`: half a character.
fn text(value: &[u8]) -> Option<Cow<'_, [u8]>> {
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
