//! Types that the parts of a read share: column values of a group or part, and rows by part.

use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::row::Row;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tally_event::ABSENT;

/// Column values of up to three columns; unused places hold [`ABSENT`].
pub(crate) type Values = [u64; 3];

/// The values of some columns.
#[inline]
pub(crate) fn select(values: &[u64], columns: &[usize]) -> Values {
    let mut selected = [ABSENT; 3];
    for (place, column) in selected.iter_mut().zip(columns) {
        *place = values[*column];
    }
    selected
}

/// Number of parts from which on they are found through an index; fewer (event types) are searched
/// one by one.
const INDEXED: usize = 17;

/// Folded rows by part.
#[derive(Clone, Default)]
pub(crate) struct PartRows {
    pub(crate) values: Vec<Values>,
    pub(crate) rows: Block,
    index: HashMap<Values, usize, RandomState>,
}

impl PartRows {
    /// Merges a row into that of its part.
    #[inline]
    pub(crate) fn merge(&mut self, layout: &Layout, part: Values, row: Row<'_>) {
        let at = if self.index.is_empty() {
            self.values.iter().position(|values| *values == part)
        } else {
            self.index.get(&part).copied()
        };
        match at {
            Some(at) => layout.merge(&mut self.rows.row_mut(layout, at), row),
            None => self.add(layout, part, row),
        }
    }

    /// Adds the first row of a part.
    #[cold]
    pub(crate) fn add(&mut self, layout: &Layout, part: Values, row: Row<'_>) {
        self.values.push(part);
        self.rows.push(layout, row);
        if self.values.len() == INDEXED {
            self.index.extend(self.values.iter().enumerate().map(|(n, values)| (*values, n)));
        } else if self.values.len() > INDEXED {
            self.index.insert(part, self.values.len() - 1);
        }
    }
}
