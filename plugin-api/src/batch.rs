//! What `update` sees and what it hands over: a batch of events, and deltas to cells.

use crate::abi::{self, Columns, DeltaBuffer, KeyColumn, RawDelta};
use crate::description::{Description, Property, Table};
use crate::property::LONGEST_TEXT;
use crate::read::Id;
use std::collections::HashMap;

const TEXT_BIT: u64 = 1 << 63;
const ABSENT: u64 = u64::MAX;

/// Events of one partition, in log order. Rows are numbered from 0.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    columns: &'a Columns<'a>,
    properties: &'a [Property],
}

impl<'a> Batch<'a> {
    /// What `update` sees of columns. For hosts and test kits.
    #[doc(hidden)]
    #[must_use]
    pub fn new(columns: &'a Columns<'a>, properties: &'a [Property]) -> Self {
        Batch { columns, properties }
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

    /// A declared property.
    ///
    /// # Panics
    /// If the description declares no such property. The host turns that into a failure of the
    /// plugin.
    #[must_use]
    pub fn property(&self, name: &str) -> Column<'a> {
        let at = self.properties.iter().position(|property| property.name == name);
        let at = at.unwrap_or_else(|| panic!("the description declares no property {name}"));
        Column { batch: *self, property: self.columns.properties.as_slice().get(at).copied() }
    }

    fn id(&self, value: Option<&u64>) -> Option<Id> {
        match *value? {
            ABSENT => None,
            value if value & TEXT_BIT != 0 => {
                Some(Id::Text(self.text((value & !TEXT_BIT) as usize)?.to_string()))
            }
            value => Some(Id::Integer(value)),
        }
    }

    fn text(&self, n: usize) -> Option<&'a str> {
        let ends = self.columns.text_ends.as_slice();
        let start = if n == 0 { 0 } else { *ends.get(n - 1)? as usize };
        let bytes = self.columns.text_bytes.as_slice().get(start..*ends.get(n)? as usize)?;
        std::str::from_utf8(bytes).ok()
    }
}

/// A declared property, row by row. Each method answers `None` where the event lacks it, and for a
/// property of another type than the method's.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    batch: Batch<'a>,
    property: Option<abi::Property<'a>>,
}

impl<'a> Column<'a> {
    /// Of a text.
    #[must_use]
    pub fn text(&self, row: usize) -> Option<&'a str> {
        self.low(row, &[0]).and_then(|number| self.batch.text(number as usize))
    }

    /// Of an integer, or of a time in Unix milliseconds.
    #[must_use]
    pub fn integer(&self, row: usize) -> Option<i64> {
        self.low(row, &[1, 5]).map(|bits| bits as i64)
    }

    /// Of a float.
    #[must_use]
    pub fn float(&self, row: usize) -> Option<f64> {
        self.low(row, &[2]).map(f64::from_bits)
    }

    /// Of a decimal: its value times 10 to the declared scale.
    #[must_use]
    pub fn decimal(&self, row: usize) -> Option<i128> {
        let (low, high) =
            (self.low(row, &[3])?, *self.property.as_ref()?.high.as_slice().get(row)?);
        Some(i128::from(high) << 64 | i128::from(low))
    }

    /// Of a bool.
    #[must_use]
    pub fn flag(&self, row: usize) -> Option<bool> {
        self.low(row, &[4]).map(|bits| bits != 0)
    }

    fn low(&self, row: usize, kinds: &[u8]) -> Option<u64> {
        let property = self.property.as_ref().filter(|property| kinds.contains(&property.kind))?;
        let there = property.present.as_slice().get(row).is_some_and(|present| *present != 0);
        property.low.as_slice().get(row).copied().filter(|_| there)
    }
}

/// Where `update` puts what it adds to cells. Only cells declared with `UPDATE` take deltas; the
/// host feeds the others.
pub struct Deltas<'a> {
    tables: &'a [Table],
    computed: &'a [String],
    rows: usize,
    buffer: &'a mut DeltaBuffer,
    /// For each computed column the number of each text.
    known: Vec<HashMap<Box<str>, u32>>,
}

/// A computed key column, looked up once per batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComputedRef(usize);

/// A cell of a table, looked up once per batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellRef {
    table: u16,
    cell: u16,
}

impl<'a> Deltas<'a> {
    /// What `update` writes to. For hosts and test kits.
    #[doc(hidden)]
    #[must_use]
    pub fn new(description: &'a Description, rows: usize, buffer: &'a mut DeltaBuffer) -> Self {
        let Description { tables, computed, .. } = description;
        let empty = || KeyColumn { rows: vec![u32::MAX; rows].into(), ..KeyColumn::default() };
        buffer.keys = computed.iter().map(|_| empty()).collect();
        Deltas { tables, computed, rows, buffer, known: vec![HashMap::new(); computed.len()] }
    }

    /// A declared computed key column.
    ///
    /// # Panics
    /// If the description declares no such column. The host turns that into a failure of the
    /// plugin.
    #[must_use]
    pub fn computed(&self, name: &str) -> ComputedRef {
        let at = self.computed.iter().position(|declared| declared == name);
        ComputedRef(
            at.unwrap_or_else(|| panic!("the description declares no computed column {name}")),
        )
    }

    /// The key of event `row` in a computed column, 1 to 255 bytes. An event that is given none
    /// counts in no table with this column in its key.
    ///
    /// # Panics
    /// If there is no such row, or the text is empty or too long. The host turns that into a
    /// failure of the plugin.
    pub fn set(&mut self, row: usize, column: ComputedRef, key: &str) {
        assert!(row < self.rows, "the batch has no row {row}");
        assert!(
            (1..=LONGEST_TEXT).contains(&key.len()),
            "a computed key must have 1 to {LONGEST_TEXT} bytes: {key:?}"
        );
        let (keys, known) = (&mut self.buffer.keys[column.0], &mut self.known[column.0]);
        let number = known.get(key).copied().unwrap_or_else(|| {
            let number = keys.ends.len() as u32;
            keys.bytes.extend(key.as_bytes().iter().copied());
            keys.ends.push(keys.bytes.len() as u32);
            known.insert(key.into(), number);
            number
        });
        keys.rows[row] = number;
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

    /// Merges `value` into the cell, in the table's row that event `row` belongs to. A `Latest`
    /// cell takes it with the event's time; for a text use a computed column as what feeds the
    /// cell.
    pub fn merge(&mut self, row: usize, cell: CellRef, value: impl Into<i128>) {
        self.buffer.deltas.push(RawDelta::new(row as u32, cell.table, cell.cell, value.into()));
    }
}
