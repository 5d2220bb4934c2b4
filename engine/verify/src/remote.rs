//! What is read from the engine, and the shapes in which it comes. Knows `/api/internal/` and
//! nothing of what it means.

use super::held::Found;
use super::panes::{Pane, Panes};
use super::property::Property;
use super::record::Settings;
use super::table::Description;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;

/// A running engine, as it is reached by whoever has it verified. Paths begin with `/api/`.
pub trait Engine {
    /// The answer to a GET.
    fn get(&self, path: &str) -> impl Future<Output = Result<Vec<u8>, Refused>>;

    /// The same where it is lines: each is handed over as soon as it is whole, without its end.
    fn lines(
        &self,
        path: &str,
        each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> impl Future<Output = Result<(), Refused>>;

    /// Lets time go by.
    fn pause(&self, length: Duration) -> impl Future<Output = ()>;
}

/// Why something cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The engine has no such route.
    NoRoute,
    /// A sentence: why else.
    Other(String),
}

/// A running engine, whose answers are understood.
pub(super) struct Remote<'a, E>(&'a E);

/// What the log holds of a partition.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Bounds {
    pub(super) partition: u32,
    pub(super) start: u64,
}

/// What comes before a metric's rows.
#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) partitions: Vec<CountedPartition>,
    pub(super) tables: Vec<Description>,
    /// Of each table.
    pub(super) held: Vec<Panes>,
    pub(super) properties: Vec<Property>,
    /// Whether it reads events by an earlier `[events]`.
    #[serde(default)]
    pub(super) reads_otherwise: bool,
}

/// Where a metric stands in a partition.
#[derive(Deserialize)]
pub(super) struct CountedPartition {
    pub(super) partition: u32,
    pub(super) start: u64,
    pub(super) next: u64,
    /// From, to.
    pub(super) gaps: Vec<[u64; 2]>,
    /// Events that are in no cell, for the metric's own code failed on them.
    #[serde(default)]
    pub(super) failed: u64,
}

/// A row as it is found.
pub(super) struct FoundRow {
    pub(super) table: usize,
    /// None: of the totals.
    pub(super) pane: Option<Pane>,
    pub(super) key: Vec<Value>,
    pub(super) cells: Vec<Option<Found>>,
}

/// A state comes as its header, then its rows.
pub(super) enum Part {
    Header(Header),
    Row(FoundRow),
}

/// A record of the log.
pub(super) struct Record {
    pub(super) offset: u64,
    pub(super) timestamp: i64,
    pub(super) payload: Option<Vec<u8>>,
    /// Where it first was, if it is a copy.
    pub(super) origin: Option<Origin>,
}

/// Where the record of a copy first was.
pub(super) struct Origin {
    /// `topic/partition/offset`.
    pub(super) place: String,
    /// Its timestamp there, Unix milliseconds.
    pub(super) timestamp: i64,
}

impl Record {
    /// The timestamp by which its event is judged, and which the event has if it states none.
    pub(super) fn event_time(&self) -> i64 {
        self.origin.as_ref().map_or(self.timestamp, |origin| origin.timestamp)
    }
}

/// A line of a state after the first.
#[derive(Deserialize)]
#[serde(untagged)]
enum StateLine {
    Row { table: usize, pane: Option<Pane>, key: Vec<Value>, cells: Vec<Option<CellText>> },
    End { end: u64 },
}

/// A cell that is not empty.
#[derive(Deserialize)]
#[serde(untagged)]
enum CellText {
    Number(String),
    /// Base64.
    Sketch {
        sketch: String,
    },
}

impl CellText {
    fn found(self) -> Result<Found, String> {
        match self {
            CellText::Number(text) => text
                .parse()
                .map(Found::Number)
                .map_err(|fault| format!("a cell is not an integer: {fault}")),
            CellText::Sketch { sketch } => STANDARD
                .decode(sketch)
                .map(Found::Sketch)
                .map_err(|fault| format!("a cell is not base64: {fault}")),
        }
    }
}

/// A line of the log.
#[derive(Deserialize)]
#[serde(untagged)]
enum LogLine<'a> {
    Record {
        offset: u64,
        timestamp: i64,
        payload: Option<&'a str>,
        origin: Option<String>,
        origin_time: Option<i64>,
    },
    End {
        end: u64,
    },
    Fault {
        fault: String,
    },
}

impl<'a, E: Engine> Remote<'a, E> {
    pub(super) fn new(engine: &'a E) -> Remote<'a, E> {
        Remote(engine)
    }

    pub(super) async fn pause(&self, length: Duration) {
        self.0.pause(length).await;
    }

    /// How records become events.
    pub(super) async fn events(&self) -> Result<Settings, String> {
        self.get("/api/internal/events").await
    }

    /// The names of all metrics.
    pub(super) async fn metrics(&self) -> Result<Vec<String>, String> {
        #[derive(Deserialize)]
        struct Named {
            name: String,
            state: String,
        }
        #[derive(Deserialize)]
        struct Listing {
            metrics: Vec<Named>,
        }
        let listing: Listing = self.get("/api/metrics").await?;
        // One that is retired counts no more.
        let served = listing.metrics.into_iter().filter(|named| named.state != "retired");
        Ok(served.map(|named| named.name).collect())
    }

    /// What the log holds.
    pub(super) async fn bounds(&self) -> Result<Vec<Bounds>, String> {
        self.get("/api/internal/log").await
    }

    /// The state of a metric at one moment: its header, then every row.
    pub(super) async fn state(
        &self,
        metric: &str,
        each: &mut dyn FnMut(Part) -> Result<(), String>,
    ) -> Result<(), String> {
        let (mut rows, mut begun, mut ended) = (0, false, None);
        let path = format!("/api/internal/state/{metric}");
        let line = &mut |line: &[u8]| {
            if !std::mem::replace(&mut begun, true) {
                return each(Part::Header(parse(line)?));
            }
            match parse(line)? {
                StateLine::Row { table, pane, key, cells } => {
                    rows += 1;
                    let cells = cells.into_iter().map(|cell| cell.map(CellText::found).transpose());
                    each(Part::Row(FoundRow {
                        table,
                        pane,
                        key,
                        cells: cells.collect::<Result<_, _>>()?,
                    }))
                }
                StateLine::End { end } => {
                    ended = Some(end);
                    Ok(())
                }
            }
        };
        self.lines(&path, line).await?;
        whole(&path, ended, rows)
    }

    /// The records of a partition in `[from, to)`, in order.
    pub(super) async fn records(
        &self,
        partition: u32,
        from: u64,
        to: u64,
        each: &mut dyn FnMut(Record) -> Result<(), String>,
    ) -> Result<(), String> {
        let (mut records, mut ended) = (0, None);
        let path = format!("/api/internal/log?partition={partition}&from={from}&to={to}");
        let line = &mut |line: &[u8]| match parse(line)? {
            LogLine::Record { offset, timestamp, payload, origin, origin_time } => {
                records += 1;
                let payload = payload.map(|payload| STANDARD.decode(payload)).transpose();
                let payload =
                    payload.map_err(|fault| format!("a record is not base64: {fault}"))?;
                let origin = match (origin, origin_time) {
                    (Some(place), Some(timestamp)) => Some(Origin { place, timestamp }),
                    (None, None) => None,
                    _ => return Err(format!("record {offset} states half of its origin")),
                };
                each(Record { offset, timestamp, payload, origin })
            }
            LogLine::End { end } => {
                ended = Some(end);
                Ok(())
            }
            LogLine::Fault { fault } => Err(fault),
        };
        self.lines(&path, line).await?;
        whole(&path, ended, records)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        parse(&self.0.get(path).await.map_err(refused)?)
    }

    async fn lines(
        &self,
        path: &str,
        each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        self.0.lines(path, each).await.map_err(refused)
    }
}

fn refused(why: Refused) -> String {
    match why {
        Refused::NoRoute => {
            "this engine is older than `tally verify` and cannot be verified; start the engine of \
             the same version"
                .into()
        }
        Refused::Other(why) => why,
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(json)
        .map_err(|error| format!("the engine's answer is not what this program expects: {error}"))
}

/// A cut answer is no answer.
fn whole(path: &str, ended: Option<u64>, came: u64) -> Result<(), String> {
    match ended {
        Some(end) if end == came => Ok(()),
        _ => Err(format!(
            "the answer to {path} was cut off after {came} lines: run the command again"
        )),
    }
}
