//! The id columns of a batch as numbers of this process, resolved once for all tables.

use super::texts::Texts;
use crate::event::{ABSENT, EventBatch, TEXT_BIT};

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

fn intern_column(column: &[u64], batch: &EventBatch, texts: &mut Texts, out: &mut Vec<u64>) {
    out.clear();
    out.extend(column.iter().map(|&id| {
        if id & TEXT_BIT == 0 || id == ABSENT { id } else { texts.intern(batch.text((id & !TEXT_BIT) as usize)) }
    }));
}
