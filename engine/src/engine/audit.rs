//! What an audit reads to count again: the log, record by record, and the state of a metric at one
//! moment.
//!
//! Everything here only reads. It holds one moment of the state and decodes its rows in pieces,
//! while counting continues. Nothing here judges, folds or compares.

use super::{Engine, EvaluateError, StateUnavailable};
use crate::config::EventsConfig;
use crate::event::Position;
use crate::log::{Bounds, LogError, LogReader};
use crate::pipeline::Coverage;
use crate::state::{Dump, DumpRow};
use std::collections::BTreeMap;
use std::time::Instant;
use tally_plugin::description::{Pane, Property, Table};
use thiserror::Error;

/// A range of the log cannot be read.
#[derive(Debug, Error)]
pub enum ReadLogError {
    /// There is no such partition.
    #[error("the log has no partition {0}")]
    NoPartition(u32),
    /// The range ends where nothing was appended yet.
    #[error("partition {partition} ends at offset {end}, before {to}")]
    BeyondEnd {
        /// The partition.
        partition: u32,
        /// Offset after its last record.
        end: u64,
        /// End of the range.
        to: u64,
    },
    /// So much had to be read for it that there was no time.
    #[error("the records before it were not read in time; ask again")]
    TooSlow,
    /// The log does not answer.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl ReadLogError {
    /// Whether the same call can succeed later.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            ReadLogError::NoPartition(_) => false,
            ReadLogError::BeyondEnd { .. } | ReadLogError::TooSlow => true,
            ReadLogError::Log(fault) => fault.retry_helps(),
        }
    }
}

/// A metric's state at one moment.
pub struct StateDump {
    /// Exactly what has been counted.
    pub position: Position,
    /// Per partition where counting began, and which records were skipped.
    pub coverages: BTreeMap<u32, Coverage>,
    /// The tables.
    pub tables: Vec<Table>,
    /// The properties of events that tables name.
    pub properties: Vec<Property>,
    /// Whether it reads events by an earlier `[events]`.
    pub reads_otherwise: bool,
    rows: Dump,
}

impl StateDump {
    /// Number of rows of totals.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// For each table the panes that it holds, shorter ones first, and from which time on:
    /// [`Dump::held`].
    pub fn held(&self) -> impl Iterator<Item = Vec<(Pane, Option<i64>)>> + '_ {
        self.rows.held()
    }

    /// The totals of every row, then the rows of all panes, in no order. A key may have several
    /// rows in a pane, which hold together what it has.
    pub fn rows(&self) -> impl Iterator<Item = DumpRow> + '_ {
        self.rows.rows().chain(self.rows.pane_rows())
    }
}

impl Engine {
    /// How records become events.
    pub fn events(&self) -> &EventsConfig {
        &self.events
    }

    /// What the log holds of each partition. Blocks while a broker is asked.
    ///
    /// # Errors
    /// [`LogError`]: the log does not answer.
    pub fn log_bounds(&self) -> Result<Vec<Bounds>, LogError> {
        self.log.bounds()
    }

    /// Reads the records of a partition in `[from, to)` again, in order. Records that are no longer
    /// held are skipped: compare the bounds afterwards. Blocks while a broker is asked.
    ///
    /// # Errors
    /// [`ReadLogError`].
    pub fn log_read(
        &self,
        partition: u32,
        from: u64,
        to: u64,
    ) -> Result<Box<dyn LogReader>, ReadLogError> {
        let bounds = self.log.bounds()?.into_iter().find(|bounds| bounds.partition == partition);
        let Bounds { start, end, .. } = bounds.ok_or(ReadLogError::NoPartition(partition))?;
        if to > end {
            return Err(ReadLogError::BeyondEnd { partition, end, to });
        }
        Ok(self.log.range(partition, from.max(start), to)?)
    }

    /// What a metric has counted, at one moment. While the dump is held, changes of the state take
    /// extra memory. Blocks: call it off the async threads.
    ///
    /// # Errors
    /// [`EvaluateError::NotFound`], [`EvaluateError::StoreUnavailable`].
    pub fn state_dump(&self, name: &str) -> Result<StateDump, EvaluateError> {
        let served = self.served(name)?;
        let (tables, properties) =
            (served.description.tables.clone(), served.description.properties.clone());
        let reads_otherwise = served.reads.is_some();
        let Some(follower) = &served.follower else {
            let counted = self.view.read();
            if served.is_gone() {
                drop(counted);
                return self.state_dump(name);
            }
            let progress = &counted.metrics[served.id.0];
            if progress.in_doubt {
                return Err(StateUnavailable::Loading.into());
            }
            let (position, coverages) = (progress.position.clone(), progress.coverages.clone());
            let rows = counted.state.dump(served.id);
            return Ok(StateDump {
                position,
                coverages,
                tables,
                properties,
                reads_otherwise,
                rows,
            });
        };
        follower.refresh(Instant::now()).map_err(StateUnavailable::Store)?;
        let followed = follower.read();
        let (position, coverages) = (followed.position.clone(), followed.coverages.clone());
        let rows = followed.state.dump(crate::pipeline::FOLLOWED);
        Ok(StateDump { position, coverages, tables, properties, reads_otherwise, rows })
    }
}
