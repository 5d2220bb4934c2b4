//! State as a map: every minute of every row, for ever.

use super::cell::{CellState, Raw, fed, key_column};
use super::events::{Event, as_columns};
use super::execute::execute;
use super::question::Question;
use super::subject::Subject;
use serde_json::Value;
use std::collections::BTreeMap;
use tally_plugin::abi::{DeltaBuffer, KeyColumn, RawDelta};
use tally_plugin::ask::{Refusal, Reply, Warning};
use tally_plugin::description::{Description, From, Table};
use tally_plugin::metric::{self, Metric};
use tally_plugin::read::{Id, ReadAnswer, ReadRequest};

const MINUTE: i64 = 60_000;

/// The rows of one table: by key and by start of the minute, the cells in the order of the
/// declaration.
pub type TableState = BTreeMap<(Vec<Id>, i64), Vec<CellState>>;

/// Of each event its key in a computed column.
pub type Keys = Vec<Option<String>>;

/// A metric with all that it has counted.
pub struct State<M> {
    metric: M,
    description: Description,
    tables: Vec<TableState>,
}

impl<M: Metric> State<M> {
    /// A metric that has counted nothing, for a configuration.
    ///
    /// # Errors
    /// A sentence: the configuration does not fit.
    pub fn new(config: Value) -> Result<Self, String> {
        Ok(State::of(metric::create(&config.to_string())?))
    }
}

impl<M: Subject> State<M> {
    /// A metric, wherever it is, that has counted nothing.
    pub fn of(metric: M) -> Self {
        let description = metric.describe();
        let tables = vec![TableState::new(); description.tables.len()];
        State { metric, description, tables }
    }

    /// What the metric says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The metric.
    pub fn metric(&self) -> &M {
        &self.metric
    }

    /// What was counted, table by table.
    pub fn tables(&self) -> &[TableState] {
        &self.tables
    }

    /// What `update` makes of these events as one batch.
    ///
    /// # Errors
    /// As [`State::updated`].
    pub fn deltas(&self, events: &[Event]) -> Result<Vec<RawDelta>, String> {
        self.updated(events).map(|(deltas, _)| deltas)
    }

    /// What `update` makes of these events as one batch: deltas, and for each computed column the
    /// key of each event.
    ///
    /// # Errors
    /// A sentence: it failed, or handed over key columns that are none.
    pub fn updated(&self, events: &[Event]) -> Result<(Vec<RawDelta>, Vec<Keys>), String> {
        let mut buffer = DeltaBuffer::default();
        let of = &self.description;
        as_columns(events, &of.properties, |columns| self.metric.update(of, columns, &mut buffer))?;
        if buffer.keys.len() != of.computed.len() {
            return Err(format!(
                "{} key columns were given, not {}",
                buffer.keys.len(),
                of.computed.len()
            ));
        }
        let computed: Result<Vec<Keys>, String> =
            buffer.keys.iter().map(|keys| texts(keys, events.len())).collect();
        Ok((buffer.deltas.into_vec(), computed?))
    }

    /// Counts these events as one batch.
    ///
    /// # Errors
    /// A sentence: `update` failed, or handed over a delta that fits no event or no declared cell.
    /// Nothing was counted then.
    pub fn feed(&mut self, events: &[Event]) -> Result<(), String> {
        let (deltas, computed) = self.updated(events)?;
        for delta in &deltas {
            let cell = self
                .description
                .tables
                .get(usize::from(delta.table))
                .and_then(|table| table.cells.get(usize::from(delta.cell)));
            if events.len() <= delta.row as usize
                || cell.is_none_or(|cell| cell.from != From::Update)
            {
                return Err(format!(
                    "{delta:?} fits no event or no cell that is declared with UPDATE"
                ));
            }
        }
        let of = &self.description;
        for (number, table) in of.tables.iter().enumerate() {
            for (row, event) in events.iter().enumerate() {
                let computed = |name: &str| {
                    let column = of.computed.iter().position(|declared| declared == name)?;
                    computed[column].get(row)?.clone()
                };
                let Some(key) = key_of(of, table, event, &computed) else { continue };
                let minute = event.time.div_euclid(MINUTE) * MINUTE;
                let host =
                    table.cells.iter().enumerate().filter(|(_, cell)| cell.from != From::Update);
                let host = host.map(|(n, cell)| (n, fed(of, &cell.from, event, &computed)));
                let updated = deltas
                    .iter()
                    .filter(|delta| (delta.row as usize, usize::from(delta.table)) == (row, number))
                    .map(|delta| (usize::from(delta.cell), Some(Raw::Number(delta.value()))));
                for (cell, raw) in host.chain(updated) {
                    let empty =
                        || table.cells.iter().map(|cell| CellState::empty(cell.merge)).collect();
                    let cells =
                        self.tables[number].entry((key.clone(), minute)).or_insert_with(empty);
                    let merge = table.cells[cell].merge;
                    if let Some(given) = raw.and_then(|raw| CellState::of(merge, &raw, event.time))
                    {
                        cells[cell].merge(merge, &given);
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads a table.
    ///
    /// # Errors
    /// A sentence: the request names what is not declared.
    pub fn read(&self, request: &ReadRequest) -> Result<ReadAnswer, String> {
        let number = self.description.tables.iter().position(|table| table.name == request.table);
        let number = number.ok_or_else(|| format!("no table \"{}\" is declared", request.table))?;
        execute(&self.description, &self.description.tables[number], &self.tables[number], request)
    }

    /// Asks the metric.
    ///
    /// # Errors
    /// The refusal.
    pub fn answer(&self, question: &Question) -> Result<Value, Refusal> {
        self.answer_and_warn(question).map(|(result, _)| result)
    }

    /// Asks the metric; the answer with its warnings.
    ///
    /// # Errors
    /// The refusal.
    pub fn answer_and_warn(&self, question: &Question) -> Result<(Value, Vec<Warning>), Refusal> {
        let first =
            self.tables.iter().flat_map(|table| table.keys().map(|(_, minute)| *minute)).min();
        let ask = question.ask(first)?;
        let read = |request: &ReadRequest| self.read(request);
        let reply = self.metric.answer(&self.description.tables, ask, &read);
        match reply.map_err(failed)? {
            Reply::Answer { result, warnings } => Ok((result, warnings)),
            Reply::Refusal(refusal) => Err(refusal),
        }
    }
}

/// The keys of a column that `update` handed over.
fn texts(keys: &KeyColumn, rows: usize) -> Result<Keys, String> {
    let (ends, bytes) = (keys.ends.as_slice(), keys.bytes.as_slice());
    let text = |number: &u32| {
        if *number == u32::MAX {
            return Some(None);
        }
        let end = *ends.get(*number as usize)? as usize;
        let start = number.checked_sub(1).map_or(0, |before| ends[before as usize] as usize);
        Some(Some(std::str::from_utf8(bytes.get(start..end)?).ok()?.to_owned()))
    };
    let keys: Option<Keys> = keys.rows.iter().map(text).collect();
    keys.filter(|keys| keys.len() == rows)
        .ok_or_else(|| "a key column does not have one text for each event".into())
}

/// Code of the refusal that stands for a metric which failed while answering.
pub(super) const FAILED: &str = "failed";

fn failed(fault: String) -> Refusal {
    Refusal { code: FAILED.into(), ..Refusal::invalid("", fault) }
}

/// The row of the table that an event belongs to; `None` if it counts in none.
fn key_of(
    of: &Description,
    table: &Table,
    event: &Event,
    computed: &dyn Fn(&str) -> Option<String>,
) -> Option<Vec<Id>> {
    if !table.only.is_empty() && !table.only.contains(&event.event_type) {
        return None;
    }
    table.key.iter().map(|column| key_column(of, column, event, computed)).collect()
}
