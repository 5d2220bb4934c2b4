//! What `update` sees and what it hands over: a batch of events, and deltas to cells.

use crate::abi::{Columns, DeltaBuffer, RawDelta};
use crate::description::Table;
use crate::read::Id;

const TEXT_BIT: u64 = 1 << 63;
const ABSENT: u64 = u64::MAX;

/// Events of one partition, in log order. Rows are numbered from 0.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    columns: &'a Columns<'a>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(columns: &'a Columns<'a>) -> Self {
        Batch { columns }
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.columns.kinds.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who acted; `None` where the event has no `user_id`, or there is no such row.
    #[must_use]
    pub fn user(&self, row: usize) -> Option<Id> {
        self.id(self.columns.users.as_slice().get(row))
    }

    /// On what; `None` where the event has no `product_id`, or there is no such row.
    #[must_use]
    pub fn product(&self, row: usize) -> Option<Id> {
        self.id(self.columns.products.as_slice().get(row))
    }

    /// How: an index into [`Batch::type_names`], per row.
    #[must_use]
    pub fn types(&self) -> &'a [u16] {
        self.columns.kinds.as_slice()
    }

    /// The event types that occur in this batch.
    #[must_use]
    pub fn type_names(&self) -> Vec<&'a str> {
        self.columns.kind_names.as_slice().iter().map(|name| name.as_str()).collect()
    }

    /// When, in Unix milliseconds, per row.
    #[must_use]
    pub fn times(&self) -> &'a [i64] {
        self.columns.times.as_slice()
    }

    fn id(&self, value: Option<&u64>) -> Option<Id> {
        match *value? {
            ABSENT => None,
            value if value & TEXT_BIT != 0 => {
                let (n, ends) = ((value & !TEXT_BIT) as usize, self.columns.text_ends.as_slice());
                let start = if n == 0 { 0 } else { *ends.get(n - 1)? as usize };
                let bytes = self.columns.text_bytes.as_slice().get(start..*ends.get(n)? as usize)?;
                Some(Id::Text(std::str::from_utf8(bytes).ok()?.to_string()))
            }
            value => Some(Id::Integer(value)),
        }
    }
}

/// Where `update` puts what it adds to cells. Only cells declared with `UPDATE` take deltas; the host feeds the others.
pub struct Deltas<'a> {
    tables: &'a [Table],
    buffer: &'a mut DeltaBuffer,
}

/// A cell of a table, looked up once per batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellRef {
    table: u16,
    cell: u16,
}

impl<'a> Deltas<'a> {
    pub(crate) fn new(tables: &'a [Table], buffer: &'a mut DeltaBuffer) -> Self {
        Deltas { tables, buffer }
    }

    /// A declared cell.
    ///
    /// # Panics
    /// If the description declares no such cell. The host turns that into a failure of the plugin.
    #[must_use]
    pub fn cell(&self, table: &str, cell: &str) -> CellRef {
        let found = self.tables.iter().enumerate().find_map(|(number, declared)| {
            let at = declared.cells.iter().position(|declared| declared.name == cell)?;
            (declared.name == table).then_some(CellRef { table: number as u16, cell: at as u16 })
        });
        found.unwrap_or_else(|| panic!("the description declares no cell {table}.{cell}"))
    }

    /// Merges `value` into the cell, in the table's row that event `row` belongs to.
    pub fn merge(&mut self, row: usize, cell: CellRef, value: impl Into<i128>) {
        self.buffer.deltas.push(RawDelta::new(row as u32, cell.table, cell.cell, value.into()));
    }
}
