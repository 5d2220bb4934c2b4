//! The id columns of a batch as numbers of this process, resolved once for all tables.

use super::source::{self, Column};
use super::texts::Texts;
use crate::event::{ABSENT, EventBatch, PropertySource, TEXT_BIT};
use crate::slots::GROUP;
use std::hint::black_box;
use std::sync::Arc;

/// The id columns of a batch as numbers of this process.
#[derive(Default)]
pub(crate) struct Columns {
    pub(crate) users: Vec<u64>,
    pub(crate) products: Vec<u64>,
    pub(crate) kinds: Vec<u64>,
    pub(crate) kind_numbers: Vec<u64>,
    pub(crate) kind_codes: Vec<u16>,
    /// The properties that stand in keys.
    pub(crate) properties: Vec<(Arc<PropertySource>, Vec<u64>)>,
    /// The key columns that a plugin handed over for this batch.
    pub(crate) computed: Vec<Vec<u64>>,
}

/// A key column that a plugin handed over: per row the number of a text (all ones: none), the texts end to end, and the end of
/// each. It was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComputedKeys {
    /// Per row of the batch.
    pub rows: Vec<u32>,
    /// The texts, end to end.
    pub bytes: Vec<u8>,
    /// End of each text.
    pub ends: Vec<u32>,
}

impl Columns {
    /// Fills the columns that are wanted from a batch. An id in a column that nobody wants is not remembered.
    pub(crate) fn fill(&mut self, batch: &EventBatch, wanted: &[&Column], texts: &mut Texts) {
        self.kind_numbers.clear();
        self.kind_numbers.extend(batch.kind_names.iter().map(|name| texts.intern(name.as_bytes())));
        // ABSENT in `kinds` stands for "no event type": its code is beyond the dictionary.
        let numbers = &self.kind_numbers;
        self.kind_codes.clear();
        self.kind_codes.extend_from_slice(&batch.kinds);
        self.kinds.clear();
        self.kinds.extend(batch.kinds.iter().map(|kind| numbers.get(usize::from(*kind)).copied().unwrap_or(ABSENT)));
        self.users.clear();
        if wanted.contains(&&Column::UserId) {
            intern_column(&batch.users, batch, texts, &mut self.users);
        }
        self.products.clear();
        if wanted.contains(&&Column::ProductId) {
            intern_column(&batch.products, batch, texts, &mut self.products);
        }
        self.computed.clear();
        for (property, keys) in &mut self.properties {
            keys.clear();
            if !wanted.iter().any(|column| matches!(column, Column::Property(source) if source == property)) {
                continue;
            }
            match source::property(batch, property) {
                Some(column) => {
                    keys.extend((0..batch.len()).map(|row| source::key_of(batch, column, row, texts).unwrap_or(ABSENT)))
                }
                None => keys.resize(batch.len(), ABSENT),
            }
        }
    }

    /// From now on this property is filled too.
    pub(crate) fn want(&mut self, property: &Arc<PropertySource>) {
        if self.properties.iter().all(|(known, _)| known != property) {
            self.properties.push((Arc::clone(property), Vec::new()));
        }
    }

    /// A property that is wanted.
    pub(crate) fn property(&self, property: &Arc<PropertySource>) -> &[u64] {
        self.properties.iter().find(|(known, _)| known == property).map_or(&[], |(_, keys)| keys)
    }

    /// Takes over what a plugin computed for a batch of so many rows.
    pub(crate) fn compute(&mut self, computed: &[ComputedKeys], rows: usize, texts: &mut Texts) {
        let number = |keys: &ComputedKeys, texts: &mut Texts| -> Vec<u64> {
            let mut start = 0;
            let mut intern = |end: &u32| {
                let text = keys.bytes.get(start..*end as usize).unwrap_or_default();
                start = *end as usize;
                texts.intern(text)
            };
            let numbers: Vec<u64> = keys.ends.iter().map(&mut intern).collect();
            let of = |row: usize| numbers.get(*keys.rows.get(row)? as usize).copied();
            (0..rows).map(|row| of(row).unwrap_or(ABSENT)).collect()
        };
        self.computed = computed.iter().map(|keys| number(keys, texts)).collect();
    }
}

/// Texts are looked up in groups, whose slots are all loaded before any is compared.
fn intern_column(column: &[u64], batch: &EventBatch, texts: &mut Texts, out: &mut Vec<u64>) {
    out.clear();
    let is_text = |id: u64| id & TEXT_BIT != 0 && id != ABSENT;
    let text = |id: u64| batch.text((id & !TEXT_BIT) as usize);
    let mut hashes = [0; GROUP];
    for group in column.chunks(GROUP) {
        let mut loaded = 0;
        for (hash, &id) in hashes.iter_mut().zip(group).filter(|(_, id)| is_text(**id)) {
            *hash = texts.hash(text(id));
            loaded ^= texts.load(*hash);
        }
        black_box(loaded);
        let number = |(&id, &hash): (&u64, &u64)| if is_text(id) { texts.intern_hashed(text(id), hash) } else { id };
        out.extend(group.iter().zip(&hashes).map(number));
    }
}
