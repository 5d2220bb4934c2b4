//! A metric at one moment: what a question reads, however long it takes and whatever is counted
//! meanwhile.
//!
//! Taking a moment copies a few list heads: panes are shared, tails are marked with how far they
//! had come, and rows of totals are kept before they change (`write::previous_rows`). Numbers of
//! ids and keys only grow; where they are assigned anew, readers keep the old ones. So writers
//! never wait for a read to end.

use super::access::{ReadContext, TableMoment, TableReader};
use super::aggregate;
use super::allowance::{Allowance, ReadError};
use super::fold_cache::Folds;
use crate::write::metric::{HeldRange, SharedTable};
use crate::write::names::Names;
use crate::write::threshold::Threshold;
use parking_lot::RwLock;
use std::sync::Arc;
use tally_plugin::read::{ReadAnswer, ReadRequest};

/// The tables of a metric at one moment.
pub struct Moment {
    names: Arc<RwLock<Names>>,
    tables: Vec<TableMoment>,
    folds: Arc<Folds>,
    held: HeldRange,
    thresholds: Vec<Threshold>,
}

impl Moment {
    pub(crate) fn new(
        names: &Arc<RwLock<Names>>,
        tables: &[SharedTable],
        folds: &Arc<Folds>,
        held: HeldRange,
    ) -> Moment {
        let open = names.read();
        let tables: Vec<TableMoment> =
            tables.iter().map(|table| TableMoment::new(table, &open.keyspaces)).collect();
        let thresholds = tables.iter().map(|table| table.threshold(&open)).collect();
        drop(open);
        Moment { names: Arc::clone(names), tables, folds: Arc::clone(folds), held, thresholds }
    }

    /// Executes a read on a table. `allow` says what it may cost.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(
        &self,
        request: &ReadRequest,
        allow: &dyn Allowance,
    ) -> Result<ReadAnswer, ReadError> {
        let table = self.tables.iter().find(|table| table.description().name == request.table);
        let table =
            table.ok_or_else(|| ReadError::Bad(format!("unknown table \"{}\"", request.table)))?;
        let reader = TableReader::new(&self.names, table);
        aggregate::read(ReadContext { table, reader: &reader, allow }, request, &self.folds)
    }

    /// A table, by its index in the metric's description.
    pub(crate) fn table(&self, number: usize) -> &TableMoment {
        &self.tables[number]
    }

    /// Reads a table, by its index in the metric's description.
    pub(crate) fn reader(&self, number: usize) -> TableReader<'_> {
        TableReader::new(&self.names, &self.tables[number])
    }

    /// The times that a window of the metric may cover.
    #[must_use]
    pub fn held(&self) -> &HeldRange {
        &self.held
    }

    /// Which keys each table keeps.
    #[must_use]
    pub fn thresholds(&self) -> &[Threshold] {
        &self.thresholds
    }
}
