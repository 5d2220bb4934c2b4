//! The projecting scanner: one pass over a record that judges all of its JSON and keeps the mapped
//! values only.
//!
//! It promises the verdict of a conforming parser (RFC 8259) on the whole record, ignored members
//! included, bounded depth, and no allocation unless a mapped key is written with escapes. It does
//! not judge what the values mean and does not check UTF-8.

use super::number::{number, settled};
use super::plan::{Plan, Target};
use super::property::Found;
use super::text::{Use, string, unescape};
use crate::format::Value;
use crate::reason::Reason;

/// The mapped values of a record as they stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scanned<'a> {
    /// By slot of the plan. A text is its raw bytes between the quotes; its escapes are right.
    pub(super) values: [Value<'a>; 5],
    /// One bit for each slot whose text holds escapes.
    pub(super) escaped: u8,
}

/// How many members of the record itself are predicted.
const PREDICTED: usize = 16;
/// Child number that says: no pointer leads here.
const IGNORED: u32 = u32::MAX;
/// Child numbers from here on: further top-level keys, which declared properties begin at.
const ROOTS: u32 = 1 << 16;

/// The keys of the last records by place, so that the next record's need not be searched. Only a
/// cache: a prediction is compared to the bytes before it is used, so the verdict does not depend
/// on it.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    keys: [Predicted; PREDICTED],
}

#[derive(Clone, Copy, Debug)]
struct Predicted {
    /// `"key":` in the lowest bytes.
    bytes: u128,
    /// Ones over these bytes.
    mask: u128,
    /// How many they are; none: nothing is predicted.
    length: usize,
    /// The child it is, or [`IGNORED`].
    child: u32,
}

impl Default for Shape {
    fn default() -> Self {
        let keys = [Predicted { bytes: 0, mask: 0, length: 0, child: IGNORED }; PREDICTED];
        Shape { keys }
    }
}

/// Scans a record (UTF-8, without byte order mark).
///
/// # Errors
/// `invalid_json`, `too_deep`, `trailing_data`, `not_an_object`, `duplicate_field`.
#[inline]
pub(super) fn scan<'a>(
    plan: &Plan,
    shape: &mut Shape,
    found: &mut Found,
    bytes: &'a [u8],
) -> Result<Scanned<'a>, Reason> {
    found.begin();
    let nothing = Scanned { values: [Value::Absent; 5], escaped: 0 };
    let mut scan = Scan { bytes, plan, shape, found, scanned: nothing, duplicate: false };
    let start = scan.skip_space(0);
    let object = bytes.get(start) == Some(&b'{');
    let end = if object { scan.object(start, Some(0), 1)? } else { scan.skip_value(start, 0)? };
    if scan.skip_space(end) != bytes.len() {
        return Err(Reason::TrailingData);
    }
    if !object {
        return Err(Reason::NotAnObject);
    }
    if scan.duplicate {
        return Err(Reason::DuplicateField);
    }
    Ok(scan.scanned)
}

/// A key without its quotes, and its value as it stands in the record.
pub(super) type Member<'a> = (&'a [u8], &'a [u8]);

/// The members of a record that [`scan`] accepted.
pub(super) fn members(bytes: &[u8]) -> Result<Vec<Member<'_>>, Reason> {
    let (plan, shape, found) = (&Plan::default(), &mut Shape::default(), &mut Found::default());
    let nothing = Scanned { values: [Value::Absent; 5], escaped: 0 };
    let scan = Scan { bytes, plan, shape, found, scanned: nothing, duplicate: false };
    let mut members = Vec::new();
    let mut at = scan.skip_space(scan.skip_space(0) + 1);
    while bytes.get(at) == Some(&b'"') {
        let key_end = string(bytes, at + 1, Use::Skipped)?.end;
        let start = scan.skip_space(scan.colon(key_end + 1)?);
        let end = scan.skip_value(start, 1)?;
        members.push((&bytes[at + 1..key_end], &bytes[start..end]));
        at = scan.skip_space(end);
        if bytes.get(at) == Some(&b',') {
            at = scan.skip_space(at + 1);
        }
    }
    Ok(members)
}

struct Scan<'a, 's> {
    bytes: &'a [u8],
    plan: &'s Plan,
    shape: &'s mut Shape,
    found: &'s mut Found,
    scanned: Scanned<'a>,
    duplicate: bool,
}

impl<'a> Scan<'a, '_> {
    /// An object that begins at `start`, looked into as `node` says; the index after it.
    fn object(&mut self, start: usize, node: Option<usize>, depth: usize) -> Result<usize, Reason> {
        self.check_depth(depth)?;
        let mut at = self.skip_space(start + 1);
        if self.at(at) == b'}' {
            return Ok(at + 1);
        }
        let mut seen = 0_u8;
        let mut place = 0;
        loop {
            if self.at(at) != b'"' {
                return Err(Reason::InvalidJson);
            }
            let child;
            (child, at) = match node {
                None => (IGNORED, self.skip_key(at)?),
                Some(0) => self.predicted_key(at, place)?,
                Some(node) => self.key(at, node)?,
            };
            place += 1;
            at = self.skip_space(at);
            at = match (child, node) {
                (IGNORED, _) | (_, None) => self.skip_value(at, depth)?,
                (child, Some(node)) if child < ROOTS => {
                    self.duplicate |= seen & (1 << child) != 0;
                    seen |= 1 << child;
                    let end = self.value(
                        at,
                        self.plan.nodes[node].children[child as usize].target,
                        depth,
                    )?;
                    if node == 0
                        && let Some(Some(root)) = self.plan.also.get(child as usize)
                    {
                        self.found.note(*root, at, end);
                    }
                    end
                }
                (root, _) => {
                    let end = self.skip_value(at, depth)?;
                    self.found.note((root - ROOTS) as usize, at, end);
                    end
                }
            };
            at = self.skip_space(at);
            match self.at(at) {
                b',' => at = self.skip_space(at + 1),
                b'}' => return Ok(at + 1),
                _ => return Err(Reason::InvalidJson),
            }
        }
    }

    /// An array that begins at `start`, looked into as `node` says; the index after it.
    fn array(&mut self, start: usize, node: Option<usize>, depth: usize) -> Result<usize, Reason> {
        self.check_depth(depth)?;
        let mut at = self.skip_space(start + 1);
        if self.at(at) == b']' {
            return Ok(at + 1);
        }
        let mut index = 0_u64;
        loop {
            let children = node.map_or(&[][..], |node| &self.plan.nodes[node].children);
            at = match children.iter().find(|child| child.index == Some(index)) {
                Some(child) => self.value(at, child.target, depth)?,
                None => self.skip_value(at, depth)?,
            };
            index += 1;
            at = self.skip_space(at);
            match self.at(at) {
                b',' => at = self.skip_space(at + 1),
                b']' => return Ok(at + 1),
                _ => return Err(Reason::InvalidJson),
            }
        }
    }

    /// A value that pointers lead to; the index after it.
    #[inline(always)]
    fn value(&mut self, at: usize, target: Target, depth: usize) -> Result<usize, Reason> {
        let slot = match target {
            Target::Slot(slot) => slot,
            Target::Node(node) => {
                return match self.at(at) {
                    b'{' => self.object(at, Some(node), depth + 1),
                    b'[' => self.array(at, Some(node), depth + 1),
                    _ => self.skip_value(at, depth),
                };
            }
        };
        let (value, end) = match self.at(at) {
            b'"' => {
                let span = string(self.bytes, at + 1, Use::Read)?;
                let raw = &self.bytes[at + 1..span.end];
                if span.escaped {
                    self.scanned.escaped |= 1 << slot;
                }
                (Value::Text(raw), span.end + 1)
            }
            b'-' | b'0'..=b'9' => {
                let (number, end) = number(self.bytes, at)?;
                (Value::Number(settled(number, &self.bytes[at..end])), end)
            }
            b'n' => (Value::Absent, self.literal(at, b"null")?),
            _ => (Value::Other, self.skip_value(at, depth)?),
        };
        self.scanned.values[slot] = value;
        Ok(end)
    }

    /// Any value; the index after it. `depth` is that of what holds it.
    #[inline(always)]
    fn skip_value(&self, at: usize, depth: usize) -> Result<usize, Reason> {
        match self.at(at) {
            b'"' => Ok(string(self.bytes, at + 1, Use::Skipped)?.end + 1),
            b'-' | b'0'..=b'9' => Ok(number(self.bytes, at)?.1),
            b'{' | b'[' => self.skip_container(at, depth + 1),
            b't' => self.literal(at, b"true"),
            b'f' => self.literal(at, b"false"),
            b'n' => self.literal(at, b"null"),
            _ => Err(Reason::InvalidJson),
        }
    }

    fn skip_container(&self, start: usize, depth: usize) -> Result<usize, Reason> {
        self.check_depth(depth)?;
        let object = self.at(start) == b'{';
        let close = if object { b'}' } else { b']' };
        let mut at = self.skip_space(start + 1);
        if self.at(at) == close {
            return Ok(at + 1);
        }
        loop {
            if object {
                if self.at(at) != b'"' {
                    return Err(Reason::InvalidJson);
                }
                at = self.skip_space(self.skip_key(at)?);
            }
            at = self.skip_space(self.skip_value(at, depth)?);
            match self.at(at) {
                b',' => at = self.skip_space(at + 1),
                byte if byte == close => return Ok(at + 1),
                _ => return Err(Reason::InvalidJson),
            }
        }
    }

    /// The key at `at` (its quote) of the record itself, by prediction if it holds; the child it is
    /// and the index after its colon.
    #[inline(always)]
    fn predicted_key(&mut self, at: usize, place: usize) -> Result<(u32, usize), Reason> {
        if let Some(predicted) = self.shape.keys.get(place)
            && predicted.length > 0
            && let Some(chunk) = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<16>())
            && (u128::from_le_bytes(*chunk) ^ predicted.bytes) & predicted.mask == 0
        {
            return Ok((predicted.child, at + predicted.length));
        }
        let (child, after) = self.key(at, 0)?;
        self.learn(at, after, place, child);
        Ok((child, after))
    }

    /// Remembers a key that was written as `"key":` in at most 16 bytes, without escapes.
    fn learn(&mut self, at: usize, after: usize, place: usize, child: u32) {
        let written = &self.bytes[at..after];
        let plain = written.ends_with(b"\":") && !written.contains(&b'\\');
        if let (Some(predicted), true, 1..=16) =
            (self.shape.keys.get_mut(place), plain, written.len())
        {
            let mut padded = [0; 16];
            padded[..written.len()].copy_from_slice(written);
            let mask = u128::MAX >> (8 * (16 - written.len()));
            *predicted = Predicted {
                bytes: u128::from_le_bytes(padded),
                mask,
                length: written.len(),
                child,
            };
        }
    }

    /// The key at `at` (its quote) of `node`; the child it is and the index after its colon.
    fn key(&self, at: usize, node: usize) -> Result<(u32, usize), Reason> {
        let span = string(self.bytes, at + 1, Use::Read)?;
        let raw = &self.bytes[at + 1..span.end];
        let child =
            if span.escaped { self.child(node, &unescape(raw)) } else { self.child(node, raw) };
        Ok((child, self.colon(span.end + 1)?))
    }

    /// The number of the member of `node` with this key.
    fn child(&self, node: usize, key: &[u8]) -> u32 {
        match self.plan.child(node, key) {
            Some(child) => child as u32,
            None if node == 0 => self.plan.root(key).map_or(IGNORED, |root| ROOTS + root as u32),
            None => IGNORED,
        }
    }

    fn skip_key(&self, at: usize) -> Result<usize, Reason> {
        self.colon(string(self.bytes, at + 1, Use::Skipped)?.end + 1)
    }

    /// The index after the colon that must come.
    #[inline(always)]
    fn colon(&self, at: usize) -> Result<usize, Reason> {
        let at = self.skip_space(at);
        if self.at(at) == b':' { Ok(at + 1) } else { Err(Reason::InvalidJson) }
    }

    fn literal(&self, at: usize, word: &[u8]) -> Result<usize, Reason> {
        let found = self.bytes.get(at..).is_some_and(|rest| rest.starts_with(word));
        if found { Ok(at + word.len()) } else { Err(Reason::InvalidJson) }
    }

    #[inline(always)]
    fn check_depth(&self, depth: usize) -> Result<(), Reason> {
        if depth > crate::MAX_DEPTH { Err(Reason::TooDeep) } else { Ok(()) }
    }

    /// The byte at `at`; past the end 0, which begins and continues nothing in JSON.
    #[inline(always)]
    fn at(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn skip_space(&self, mut at: usize) -> usize {
        while let b' ' | b'\t' | b'\n' | b'\r' = self.at(at) {
            at += 1;
        }
        at
    }
}
