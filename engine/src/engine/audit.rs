//! What somebody needs who counts again: the log, record by record, and the state of a metric at one moment.
//!
//! Everything here only reads. The state is copied under the lock that readers take, which counting waits for (measured:
//! `state::Dump`); rows are taken apart afterwards. Nothing here judges, folds or compares.

use super::{Engine, EvaluateError};
use crate::config::{EventsConfig, KafkaConfig};
use crate::event::Position;
use crate::pipeline::Origin;
use crate::source::embedded::Log;
use crate::source::kafka::Tail;
use crate::source::{Bounds, SourceError};
use crate::state::{Dump, DumpRow};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_plugin::description::{Pane, Property, Table};

/// Bytes of the embedded log that are read at a time.
const BYTES: usize = 512 << 10;

/// Records of a topic that are handed over at a time.
const RECORDS: usize = 2_048;

/// How long a topic may be silent although it holds more.
const SILENCE: Duration = Duration::from_secs(20);

/// Where the log is.
pub(super) enum LogAccess {
    Log(Arc<Log>),
    Kafka(KafkaConfig),
}

/// A record as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// Its place in the partition.
    pub offset: u64,
    /// The log's own timestamp, Unix milliseconds.
    pub timestamp_ms: i64,
    /// The bytes; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
}

/// A metric's state at one moment.
pub struct StateDump {
    /// Exactly what is counted.
    pub position: Position,
    /// Per partition where counting began, and what it passed over.
    pub origins: BTreeMap<u32, Origin>,
    /// What the tables are.
    pub tables: Vec<Table>,
    /// The properties of events that tables name.
    pub properties: Vec<Property>,
    /// Whether it reads events otherwise than is configured now.
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

    /// Of each table the panes it holds, shorter ones first, and from which time on: [`Dump::held`].
    pub fn held(&self) -> impl Iterator<Item = Vec<(Pane, Option<i64>)>> + '_ {
        self.rows.held()
    }

    /// The totals of every row, then the rows of all panes, in no order. A key may have several rows in a pane, which
    /// hold together what it has.
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
    /// A sentence: the log does not answer.
    pub fn log_bounds(&self) -> Result<Vec<Bounds>, String> {
        match &self.log {
            LogAccess::Log(log) => Ok(log.bounds()),
            LogAccess::Kafka(config) => Tail::bounds(config).map_err(|fault| fault.to_string()),
        }
    }

    /// Reads the records of a partition in `[from, to)` again, in order. What is no longer held is passed over: compare
    /// the bounds afterwards. Blocks while a broker is asked.
    ///
    /// # Errors
    /// A sentence: the log does not answer, has no such partition, or ends before `to`.
    pub fn log_read(&self, partition: u32, from: u64, to: u64) -> Result<LogReader, String> {
        let bounds = self.log_bounds()?;
        let Some(bounds) = bounds.into_iter().find(|bounds| bounds.partition == partition) else {
            return Err(format!("the log has no partition {partition}"));
        };
        if to > bounds.end {
            return Err(format!("partition {partition} ends at offset {}, before {to}", bounds.end));
        }
        let way = match &self.log {
            LogAccess::Log(log) => Way::Log(Arc::clone(log)),
            LogAccess::Kafka(config) => {
                let tail = Tail::of_partition(config, partition, from.max(bounds.start));
                Way::Kafka(Box::new(tail.map_err(|fault| fault.to_string())?))
            }
        };
        Ok(LogReader { way, partition, next: from.max(bounds.start), to })
    }

    /// A copy of what a metric has counted, at one moment. Blocks: call it off the async threads.
    ///
    /// # Errors
    /// [`EvaluateError::NotFound`], [`EvaluateError::StoreUnavailable`].
    pub fn state_dump(&self, name: &str) -> Result<StateDump, EvaluateError> {
        let served = self.served(name)?;
        let (tables, properties) = (served.description.tables.clone(), served.description.properties.clone());
        let reads_otherwise = served.reads.is_some();
        let Some(follower) = &served.follower else {
            let counted = self.view.read();
            if served.is_gone() {
                drop(counted);
                return self.state_dump(name);
            }
            let begun = Instant::now();
            let place = &counted.metrics[served.id.0];
            let (position, origins) = (place.position.clone(), place.origins.clone());
            let rows = counted.state.dump(served.id);
            drop(counted);
            tracing::debug!(name, rows = rows.len(), held = ?begun.elapsed(), "the state was copied");
            return Ok(StateDump { position, origins, tables, properties, reads_otherwise, rows });
        };
        follower.refresh(Instant::now()).map_err(|fault| EvaluateError::StoreUnavailable(fault.to_string()))?;
        let followed = follower.read();
        let (position, origins) = (followed.position.clone(), followed.origins.clone());
        let rows = followed.state.dump(crate::pipeline::FOLLOWED);
        Ok(StateDump { position, origins, tables, properties, reads_otherwise, rows })
    }
}

/// Reads a stretch of a partition, a batch at a time.
pub struct LogReader {
    way: Way,
    partition: u32,
    next: u64,
    to: u64,
}

enum Way {
    Log(Arc<Log>),
    Kafka(Box<Tail>),
}

impl LogReader {
    /// The next records; none: everything before the end of the stretch was handed over. Blocks.
    ///
    /// # Errors
    /// A sentence: the log does not answer or cannot be read.
    pub fn batch(&mut self) -> Result<Vec<LogRecord>, String> {
        let mut records = Vec::new();
        let silent = Instant::now() + SILENCE;
        while records.is_empty() && self.next < self.to {
            let (from, to) = (self.next, self.to);
            match &mut self.way {
                Way::Log(log) => {
                    let held = log.records(self.partition, from, BYTES).map_err(|fault| fault.to_string())?;
                    let copied =
                        |(offset, timestamp_ms, payload)| LogRecord { offset, timestamp_ms, payload: Some(payload) };
                    records.extend(held.into_iter().map(copied));
                    if records.is_empty() {
                        // Dropped since: what is held goes on behind.
                        let start = log.bounds()[self.partition as usize].start;
                        if start <= from {
                            return Err(format!("partition {}, offset {from} cannot be read", self.partition));
                        }
                        self.next = start;
                    }
                }
                Way::Kafka(tail) => {
                    let polled = tail.poll(Duration::from_millis(500), RECORDS, |_, found| {
                        records.extend(found.iter().map(|record| LogRecord {
                            offset: record.offset,
                            timestamp_ms: record.timestamp_ms,
                            payload: record.payload.map(<[u8]>::to_vec),
                        }));
                    });
                    match polled {
                        Err(SourceError::Fatal(what)) => return Err(what),
                        // It goes on, or ends, with offsets that hold no record.
                        _ if records.is_empty() && tail.reached(self.partition) > from => {
                            self.next = tail.reached(self.partition);
                        }
                        Err(SourceError::Transient(_, what)) if Instant::now() >= silent => return Err(what),
                        _ if records.is_empty() && Instant::now() >= silent => {
                            return Err(format!(
                                "partition {} gave no record from offset {from} on within {SILENCE:?}, though it holds some before {to}",
                                self.partition
                            ));
                        }
                        _ => {}
                    }
                }
            }
            if let Some(last) = records.last() {
                self.next = last.offset + 1;
            }
            records.retain(|record| record.offset < to);
        }
        Ok(records)
    }
}
