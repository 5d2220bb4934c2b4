//! A metric that can be called: what the rest of the engine sees of a plugin.

use super::code::{Call, MetricCode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tally_config::{MetricConfig, Overflow};
use tally_event::{EventBatch, PropertyColumn, PropertySource};
use tally_plugin::abi::{
    ColumnParts, DeltaBuffer, KeyParts, PropertyParts, RawDelta, with_columns,
};
use tally_plugin::ask::{Ask, Fault, Refusal, Reply, Warning};
use tally_plugin::description::{Description, From};
use tally_plugin::property::LONGEST_TEXT;
use tally_plugin::read::{ReadAnswer, ReadRequest};
use thiserror::Error;

/// Executes reads for a metric that is answering; all at one position.
pub trait Read {
    /// Executes one.
    ///
    /// # Errors
    /// [`ReadFault`].
    fn read(&self, request: &ReadRequest) -> Result<ReadAnswer, ReadFault>;

    /// Asked while the reply is written, and when it is whole: it has so many bytes.
    ///
    /// # Errors
    /// [`ReadFault`]: no more is wanted of it.
    fn writing(&self, bytes: usize) -> Result<(), ReadFault> {
        let _ = bytes;
        Ok(())
    }
}

/// What a metric answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// The result as JSON text, and what the asker should know.
    Answer(Arc<str>, Vec<Warning>),
    /// The question cannot be answered as asked.
    Refusal(Refusal),
}

impl Answered {
    /// The same, with the result taken apart.
    ///
    /// # Errors
    /// A sentence: it is no JSON.
    pub fn into_reply(self) -> Result<Reply, String> {
        Ok(match self {
            Answered::Answer(text, warnings) => {
                let result = serde_json::from_str(&text).map_err(|fault| fault.to_string())?;
                Reply::Answer { result, warnings }
            }
            Answered::Refusal(refusal) => Reply::Refusal(refusal),
        })
    }
}

/// A reply as it crosses the boundary, its result left as it was written.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Text<'a> {
    Answer {
        #[serde(borrow)]
        result: &'a RawValue,
        warnings: Vec<Warning>,
    },
    Refusal(Refusal),
}

/// Why a read was not executed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadFault {
    /// The evaluation has taken too long.
    #[error("the evaluation took longer than its deadline")]
    Deadline,
    /// State cannot be read now.
    #[error("state cannot be read: {0}")]
    Store(String),
    /// What is asked for is more than an answer may be: the code of the refusal, and where.
    #[error("{}", .1.detail)]
    Refused(&'static str, Fault),
    /// As much memory as answers may take is in use.
    #[error("as much memory as answers may take is in use")]
    Memory,
    /// The plugin asks for what it has not declared.
    #[error("the plugin asks for what it has not declared: {0}")]
    Request(String),
}

/// Why a metric did not answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnswerFailure {
    /// One of its reads failed. This holds whatever the plugin made of it.
    #[error(transparent)]
    Read(ReadFault),
    /// The plugin failed.
    #[error("{0}")]
    Plugin(String),
}

/// "Merge `value` into a cell of the table's row that the event belongs to."
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Row of the batch; below its length.
    pub row: u32,
    /// Index of the table in the description; declared.
    pub table: u16,
    /// Index of the cell in its table; declared with `From::Update`.
    pub cell: u16,
    /// What is merged into it.
    pub value: i128,
}

/// A key column that a plugin computed for a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Computed {
    /// Per row the number of a text; all ones: none.
    pub rows: Vec<u32>,
    /// The texts (1 to 255 bytes each), end to end.
    pub bytes: Vec<u8>,
    /// End of each text.
    pub ends: Vec<u32>,
}

/// What a new metric counts of what the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// All of it.
    All,
    /// Nothing.
    None,
    /// What was appended within the last so long.
    Last(Duration),
}

/// A metric that can be called, from several threads at once.
pub struct Metric {
    pub(super) name: String,
    pub(super) plugin: String,
    pub(super) version: String,
    pub(super) revision: u32,
    pub(super) file: PathBuf,
    pub(super) sha256: String,
    pub(super) config: Value,
    pub(super) section: MetricConfig,
    pub(super) keep_old: Duration,
    pub(super) history: History,
    pub(super) description: Arc<Description>,
    pub(super) code: Box<dyn MetricCode>,
}

impl Metric {
    /// Name under which it answers.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Name of the plugin that serves it.
    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// Version of the plugin's code.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The author's number for the meaning of its cells.
    #[must_use]
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// The file that was found (not the private copy that was loaded).
    #[must_use]
    pub fn file(&self) -> &PathBuf {
        &self.file
    }

    /// Hash of that file's content, hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Its configuration; `{}` without a section.
    #[must_use]
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Its section of the configuration.
    #[must_use]
    pub fn section(&self) -> &MetricConfig {
        &self.section
    }

    /// What it counts of what the log holds when it is new.
    #[must_use]
    pub fn history(&self) -> History {
        self.history
    }

    /// How long the revision that it replaces is fed on.
    #[must_use]
    pub fn keep_old(&self) -> Duration {
        self.keep_old
    }

    /// Cells that one of its tables may hold.
    #[must_use]
    pub fn max_cells(&self) -> u64 {
        self.section.max_cells
    }

    /// Whether keys are counted together where a table has more.
    #[must_use]
    pub fn folds_overflow(&self) -> bool {
        self.section.overflow == Overflow::Other
    }

    /// What it is, with the configured retention.
    #[must_use]
    pub fn description(&self) -> &Arc<Description> {
        &self.description
    }

    /// Whether [`Metric::update`] must be called; otherwise the host feeds all cells.
    #[must_use]
    pub fn needs_update(&self) -> bool {
        let mut cells = self.description.tables.iter().flat_map(|table| &table.cells);
        !self.description.computed.is_empty() || cells.any(|cell| cell.from == From::Update)
    }

    /// The properties of events that it reads: a batch that it counts must carry them.
    #[must_use]
    pub fn properties(&self) -> Vec<PropertySource> {
        let source = |property: &tally_plugin::description::Property| PropertySource {
            pointer: property.pointer.clone(),
            kind: property.kind,
        };
        self.description.properties.iter().map(source).collect()
    }

    /// Appends the deltas of a batch, and returns the key columns that it computed, in the order of
    /// their declaration. Both are a pure function of the batch.
    ///
    /// # Errors
    /// The plugin failed (panicked, or handed over what it has not declared); `deltas` is as
    /// before.
    pub fn update(
        &self,
        batch: &EventBatch,
        deltas: &mut Vec<Delta>,
    ) -> Result<Vec<Computed>, String> {
        let before = deltas.len();
        let mut fault = None;
        let mut computed = Vec::new();
        let columns = self.columns(batch);
        let columns: Vec<&PropertyColumn> = columns.iter().map(AsRef::as_ref).collect();
        let mut take = |raw: &RawDelta| {
            let delta =
                Delta { row: raw.row, table: raw.table, cell: raw.cell, value: raw.value() };
            let table = self.description.tables.get(usize::from(delta.table));
            let cell = table.and_then(|table| table.cells.get(usize::from(delta.cell)));
            if delta.row as usize >= batch.len()
                || cell.is_none_or(|cell| cell.from != From::Update)
            {
                fault.get_or_insert_with(|| {
                    format!(
                        "the plugin handed over a delta that fits no event or no cell fed by \
                         update: {delta:?}"
                    )
                });
            } else {
                deltas.push(delta);
            }
        };
        let buffer = self.call_update(batch, &columns)?;
        buffer.deltas.iter().for_each(&mut take);
        buffer.keys.iter().for_each(|keys| computed.push(key_column(keys.parts(), batch.len())));
        let computed: Result<Vec<Computed>, String> = computed.into_iter().collect();
        let declared = self.description.computed.len();
        let fault = fault.map_or(Ok(()), Err).and(computed).and_then(|computed| {
            let fault =
                || format!("the plugin handed over {} key columns, not {declared}", computed.len());
            (computed.len() == declared).then_some(()).ok_or_else(fault).map(|()| computed)
        });
        if fault.is_err() {
            deltas.truncate(before);
        }
        fault
    }

    /// What the code makes of a batch, unchecked. `properties`: the declared ones, in their order.
    fn call_update(
        &self,
        batch: &EventBatch,
        properties: &[&PropertyColumn],
    ) -> Result<DeltaBuffer, String> {
        let properties: Vec<PropertyParts<'_>> = properties
            .iter()
            .map(|column| PropertyParts {
                kind: column.source.kind,
                present: &column.present,
                low: &column.low,
                high: &column.high,
            })
            .collect();
        let parts = ColumnParts {
            users: &batch.users,
            products: &batch.products,
            kinds: &batch.kinds,
            times: &batch.times,
            kind_names: &batch.kind_names,
            text_bytes: &batch.text_bytes,
            text_ends: &batch.text_ends,
            properties: &properties,
        };
        let mut buffer = DeltaBuffer::default();
        with_columns(parts, |columns| self.code.update_columns(columns, &mut buffer))?;
        Ok(buffer)
    }

    /// The declared properties in this batch; one that it lacks (nobody has had it read) is null
    /// throughout.
    fn columns<'b>(&self, batch: &'b EventBatch) -> Vec<Cow<'b, PropertyColumn>> {
        let column = |source: PropertySource| {
            let known = batch.properties.iter().find(|column| *column.source == source);
            known.map(Cow::Borrowed).unwrap_or_else(|| {
                let rows = batch.len();
                let null = PropertyColumn::new(Arc::new(source));
                Cow::Owned(PropertyColumn {
                    present: vec![0; rows],
                    low: vec![0; rows],
                    high: vec![0; rows],
                    ..null
                })
            })
        };
        self.properties().into_iter().map(column).collect()
    }

    /// Answers a question. May block as long as `reader` does.
    ///
    /// # Errors
    /// [`AnswerFailure`]. A refusal is a reply, not an error.
    pub fn answer(&self, ask: &Ask, reader: &dyn Read) -> Result<Answered, AnswerFailure> {
        let failed = AnswerFailure::Plugin;
        let ask = serde_json::to_string(ask)
            .map_err(|fault| failed(format!("the question is not representable: {fault}")))?;
        let fault = RefCell::new(None);
        let note = |happened: ReadFault| {
            let text = happened.to_string();
            fault.borrow_mut().get_or_insert(happened);
            text
        };
        let read = |request: &str| serve(reader, request).map_err(note);
        let writing = |bytes: usize| reader.writing(bytes).map_err(note).is_ok();
        let answered = self.code.answer(&ask, Call { read: &read, writing: &writing });
        if let Ok(text) = &answered {
            // Also of one that did not ask.
            writing(text.len());
        }
        if let Some(fault) = fault.into_inner() {
            return Err(AnswerFailure::Read(fault));
        }
        let text = answered.map_err(failed)?;
        let text = serde_json::from_str(&text)
            .map_err(|fault| failed(format!("the answer is unreadable: {fault}")))?;
        Ok(match text {
            Text::Answer { result, warnings } => Answered::Answer(result.get().into(), warnings),
            Text::Refusal(refusal) => Answered::Refusal(refusal),
        })
    }
}

/// A computed key column, checked: what it says is used without looking.
fn key_column(keys: KeyParts<'_>, rows: usize) -> Result<Computed, String> {
    let fault = |what: &str| Err(format!("the plugin handed over a key column {what}"));
    if keys.rows.len() != rows {
        return fault("that has not one key for each event");
    }
    let mut start = 0;
    for end in keys.ends {
        let text =
            keys.bytes.get(start..*end as usize).and_then(|text| std::str::from_utf8(text).ok());
        if text.is_none_or(|text| text.is_empty() || text.len() > LONGEST_TEXT) {
            return fault("with a key that is not a text of 1 to 255 bytes");
        }
        start = *end as usize;
    }
    if keys.rows.iter().any(|number| *number != u32::MAX && *number as usize >= keys.ends.len()) {
        return fault("with the number of a text that it has not");
    }
    Ok(Computed { rows: keys.rows.to_vec(), bytes: keys.bytes.to_vec(), ends: keys.ends.to_vec() })
}

/// One read, from text to text.
fn serve(reader: &dyn Read, request: &str) -> Result<String, ReadFault> {
    let request =
        serde_json::from_str(request).map_err(|fault| ReadFault::Request(fault.to_string()))?;
    let answer = reader.read(&request)?;
    serde_json::to_string(&answer).map_err(|fault| ReadFault::Store(fault.to_string()))
}
