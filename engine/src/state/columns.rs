//! The id columns of a batch as numbers of this process, resolved once for all tables.

use super::index::GROUP;
use super::texts::Texts;
use crate::event::{ABSENT, EventBatch, TEXT_BIT};
use std::hint::black_box;

/// The id columns of a batch as numbers of this process.
#[derive(Default)]
pub(crate) struct Columns {
    pub(crate) users: Vec<u64>,
    pub(crate) products: Vec<u64>,
    pub(crate) kinds: Vec<u64>,
    pub(crate) kind_numbers: Vec<u64>,
    pub(crate) kind_codes: Vec<u16>,
}

impl Columns {
    /// Fills the columns from a batch.
    pub(crate) fn fill(&mut self, batch: &EventBatch, texts: &mut Texts) {
        self.kind_numbers.clear();
        self.kind_numbers.extend(batch.kind_names.iter().map(|name| texts.intern(name.as_bytes())));
        // ABSENT in `kinds` stands for "no event type": its code is beyond the dictionary.
        let numbers = &self.kind_numbers;
        self.kind_codes.clear();
        self.kind_codes.extend_from_slice(&batch.kinds);
        self.kinds.clear();
        self.kinds.extend(batch.kinds.iter().map(|kind| numbers.get(usize::from(*kind)).copied().unwrap_or(ABSENT)));
        intern_column(&batch.users, batch, texts, &mut self.users);
        intern_column(&batch.products, batch, texts, &mut self.products);
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
