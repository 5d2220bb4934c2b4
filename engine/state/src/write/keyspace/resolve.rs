//! Resolves many keys at once: those of a batch, or of stored frames. All that a group of searches
//! touches is loaded before anything is compared, so that cache misses overlap.

use super::{Keyspace, NONE, hash};
use crate::write::columns::{Column as Key, Columns};
use crate::write::texts::Texts;
use std::hint::black_box;
use tally_event::ABSENT;
use tally_event::index::GROUP;

impl Keyspace {
    /// The key of each row of a batch; [`NONE`] if a column is absent or the event type is not
    /// among those taken. `columns` holds the batch's ids as numbers.
    pub(crate) fn resolve(
        &mut self,
        (columns, takes): (&Columns, Option<&[bool]>),
        rows: usize,
        texts: &Texts,
        out: &mut Vec<u32>,
    ) {
        out.clear();
        let taken = |code: u16| {
            takes.is_none_or(|takes| takes.get(usize::from(code)).copied().unwrap_or(false))
        };
        let masked: Vec<u64> = match takes {
            None => Vec::new(),
            Some(_) => {
                let kinds = columns.kinds.iter().zip(&columns.kind_codes);
                kinds.map(|(kind, code)| if taken(*code) { *kind } else { ABSENT }).collect()
            }
        };
        let of = |key: &Key| match key {
            Key::UserId => columns.users.as_slice(),
            Key::ProductId => columns.products.as_slice(),
            Key::EventType if takes.is_some() => masked.as_slice(),
            Key::EventType => columns.kinds.as_slice(),
            Key::Property(property) => columns.property(property),
            Key::Computed(_, n) => columns.computed.get(*n).map_or(&[][..], Vec::as_slice),
        };
        // A column that a plugin has not computed (yet) gives no key.
        if self.shape.columns.iter().any(|column| of(column).len() < rows) {
            out.resize(rows, NONE);
            return;
        }
        match self.shape.columns.clone().as_slice() {
            [] => {
                let key = self.intern(&[], texts);
                out.resize(rows, key);
            }
            // A handful of values: each is looked up once, not once a row.
            [Key::EventType] => {
                let kinds = (0..).zip(&columns.kind_numbers);
                let key = |(code, kind): (u16, &u64)| {
                    if taken(code) { self.intern(&[*kind], texts) } else { NONE }
                };
                let keys: Vec<u32> = kinds.map(key).collect();
                let known = |code: &u16| keys.get(usize::from(*code)).copied().unwrap_or(NONE);
                out.extend(columns.kind_codes.iter().map(known));
            }
            [a] => {
                let a = of(a);
                self.resolve_rows(rows, |row| [a[row]], texts, out);
            }
            [a, b] => {
                let (a, b) = (of(a), of(b));
                self.resolve_rows(rows, |row| [a[row], b[row]], texts, out);
            }
            [a, b, c] => {
                let (a, b, c) = (of(a), of(b), of(c));
                self.resolve_rows(rows, |row| [a[row], b[row], c[row]], texts, out);
            }
            // More columns than there may be.
            _ => out.resize(rows, NONE),
        }
    }

    /// The numbers of `keys` keys, whose columns lie end to end; adds those that are new.
    pub(crate) fn intern_all(
        &mut self,
        values: &[u64],
        keys: usize,
        texts: &Texts,
        out: &mut Vec<u32>,
    ) {
        out.clear();
        match self.width() {
            1 => self.resolve_rows(keys, |row| [values[row]], texts, out),
            2 => self.resolve_rows(keys, |row| [values[row * 2], values[row * 2 + 1]], texts, out),
            3 => self.resolve_rows(
                keys,
                |row| [values[row * 3], values[row * 3 + 1], values[row * 3 + 2]],
                texts,
                out,
            ),
            // Without columns there is only one key.
            _ => out.resize(keys, self.intern(&[], texts)),
        }
    }

    fn resolve_rows<const N: usize>(
        &mut self,
        rows: usize,
        of: impl Fn(usize) -> [u64; N],
        texts: &Texts,
        out: &mut Vec<u32>,
    ) {
        let (mut values, mut hashes) = ([[0; N]; GROUP], [0; GROUP]);
        for start in (0..rows).step_by(GROUP) {
            let count = GROUP.min(rows - start);
            let mut loaded = 0;
            for (n, (values, hash)) in values.iter_mut().zip(&mut hashes).take(count).enumerate() {
                *values = of(start + n);
                *hash = self::hash(&self.hasher, values);
                loaded ^= self.index.load(*hash).unwrap_or(0);
            }
            black_box(loaded);
            let mut loaded = 0;
            for hash in &hashes[..count] {
                let probable = self.index.load(*hash).unwrap_or(0);
                loaded ^= self.values.get(probable as usize * N).copied().unwrap_or(0);
            }
            black_box(loaded);
            for (values, hash) in values.iter().zip(&hashes).take(count) {
                out.push(if values.contains(&ABSENT) {
                    NONE
                } else {
                    self.intern_row(values, *hash, texts)
                });
            }
        }
    }

    /// As `intern`, for a width known at compile time: the comparison needs no loop.
    #[inline]
    fn intern_row<const N: usize>(&mut self, values: &[u64; N], hash: u32, texts: &Texts) -> u32 {
        let stored = &self.values;
        let same = |key: u32| stored[key as usize * N..].first_chunk() == Some(values);
        match self.index.find(hash, same) {
            Some(key) => key,
            None => self.settle(values, hash, texts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Shape;
    use super::*;

    #[test]
    fn an_absent_column_gives_no_key() {
        let texts = Texts::default();
        let mut keys =
            Keyspace::new(Shape { columns: vec![Key::UserId, Key::ProductId], group: 1 });
        let columns =
            Columns { users: vec![1, ABSENT], products: vec![2, 3], ..Columns::default() };
        let mut out = Vec::new();
        keys.resolve((&columns, None), 2, &texts, &mut out);
        assert_eq!(out, [0, NONE]);
    }
}
