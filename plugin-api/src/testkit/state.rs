//! State as a map: every minute of every row, for ever.

use super::events::{Event, as_columns};
use super::execute::execute;
use super::question::Question;
use super::subject::Subject;
use crate::abi::{DeltaBuffer, RawDelta};
use crate::ask::{Refusal, Reply, Warning};
use crate::description::{Description, From, Key, Merge, Table};
use crate::metric::{self, Metric};
use crate::read::{Id, ReadAnswer, ReadRequest};
use serde_json::Value;
use std::collections::BTreeMap;

const MINUTE: i64 = 60_000;

/// The rows of one table: by key and by start of the minute, the cells in the order of the declaration.
pub type TableState = BTreeMap<(Vec<Id>, i64), Vec<i128>>;

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
    /// A sentence: it failed.
    pub fn deltas(&self, events: &[Event]) -> Result<Vec<RawDelta>, String> {
        let mut buffer = DeltaBuffer::default();
        as_columns(events, |columns| self.metric.update(&self.description.tables, columns, &mut buffer))?;
        Ok(buffer.deltas.into_vec())
    }

    /// Counts these events as one batch.
    ///
    /// # Errors
    /// A sentence: `update` failed, or handed over a delta that fits no event or no declared cell. Nothing was counted then.
    pub fn feed(&mut self, events: &[Event]) -> Result<(), String> {
        let deltas = self.deltas(events)?;
        for delta in &deltas {
            let cell = self
                .description
                .tables
                .get(usize::from(delta.table))
                .and_then(|table| table.cells.get(usize::from(delta.cell)));
            if events.len() <= delta.row as usize || cell.is_none_or(|cell| cell.from != From::Update) {
                return Err(format!("{delta:?} fits no event or no cell that is declared with UPDATE"));
            }
        }
        for (number, table) in self.description.tables.iter().enumerate() {
            for (row, event) in events.iter().enumerate() {
                let Some(key) = key_of(table, event) else { continue };
                let minute = event.time.div_euclid(MINUTE) * MINUTE;
                let fed = table.cells.iter().enumerate().filter_map(|(cell, declared)| match declared.from {
                    From::One => Some((cell, 1)),
                    From::EventTime => Some((cell, i128::from(event.time))),
                    From::Update => None,
                });
                let updated = deltas
                    .iter()
                    .filter(|delta| (delta.row as usize, usize::from(delta.table)) == (row, number))
                    .map(|delta| (usize::from(delta.cell), delta.value()));
                for (cell, value) in fed.chain(updated) {
                    let empty = || table.cells.iter().map(|cell| cell.merge.identity()).collect();
                    let cells = self.tables[number].entry((key.clone(), minute)).or_insert_with(empty);
                    cells[cell] = table.cells[cell].merge.of(cells[cell], value);
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
        execute(&self.description.tables[number], &self.tables[number], request)
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
        let first = self.tables.iter().flat_map(|table| table.keys().map(|(_, minute)| *minute)).min();
        let ask = question.ask(first)?;
        let read = |request: &ReadRequest| self.read(request);
        let reply = self.metric.answer(&self.description.tables, ask, &read);
        match reply.map_err(failed)? {
            Reply::Answer { result, warnings } => Ok((result, warnings)),
            Reply::Refusal(refusal) => Err(refusal),
        }
    }
}

impl Merge {
    /// The value that changes nothing; a cell that was never fed has it.
    #[must_use]
    pub const fn identity(self) -> i128 {
        match self {
            Merge::Sum => 0,
            Merge::Min => i128::MAX,
            Merge::Max => i128::MIN,
        }
    }

    /// Two values as one.
    #[must_use]
    pub fn of(self, a: i128, b: i128) -> i128 {
        match self {
            Merge::Sum => a.wrapping_add(b),
            Merge::Min => a.min(b),
            Merge::Max => a.max(b),
        }
    }
}

/// Code of the refusal that stands for a metric which failed while answering.
pub(super) const FAILED: &str = "failed";

fn failed(fault: String) -> Refusal {
    Refusal { code: FAILED.into(), ..Refusal::invalid("", fault) }
}

/// The row of the table that an event belongs to; `None` if it counts in none.
fn key_of(table: &Table, event: &Event) -> Option<Vec<Id>> {
    if !table.only.is_empty() && !table.only.contains(&event.event_type) {
        return None;
    }
    let id = |column: &Key| match column {
        Key::UserId => event.user.clone(),
        Key::ProductId => event.product.clone(),
        Key::EventType => Some(Id::Text(event.event_type.clone())),
    };
    table.key.iter().map(id).collect()
}
