//! Logs full of made-up events, Kafka's and the embedded one, filled once and kept if a folder is
//! given.

use crate::engine;
use crate::events::{Generator, Ids, Oracle, PARTITIONS};
use crate::measure;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use tally_engine::database::Database;
use tally_engine::log::embedded::SegmentLog;
use tally_tests::kafka::Kafka;
use tempfile::TempDir;

/// Events per second of event time.
pub const RATE: f64 = 2_000.0;
/// Events appended to the embedded log in one step, all partitions together.
const APPEND: usize = 1_000;
/// Events handed to the producer at once.
const SEND: usize = 200_000;

/// A folder that is kept, or removed at the end.
pub struct Place {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl Place {
    /// `kept`: the folder that stays.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(kept: Option<PathBuf>) -> Result<Place> {
        match kept {
            Some(path) => {
                fs::create_dir_all(&path)?;
                Ok(Place { path: path.canonicalize()?, _temporary: None })
            }
            None => {
                let temporary = tempfile::tempdir()?;
                Ok(Place { path: temporary.path().to_owned(), _temporary: Some(temporary) })
            }
        }
    }

    /// Starts the broker whose data is here.
    ///
    /// # Errors
    /// What is missing.
    pub fn kafka(&self) -> Result<Kafka> {
        Kafka::keep(&self.path.join("kafka"))
    }

    /// A topic of so many events; its name.
    ///
    /// # Errors
    /// What the broker says.
    pub fn topic(&self, kafka: &Kafka, ids: Ids, events: u64) -> Result<(String, Oracle)> {
        let name = format!("{}-{events}", ids.name());
        let oracle = self.once(&format!("topic-{name}"), |_| {
            // what an unfinished filling left behind is no good
            kafka.create_topic(&name, PARTITIONS as i32, &[])?;
            filled(ids, events, SEND, |parts| {
                for (partition, payloads) in parts.iter().enumerate() {
                    kafka.produce(&name, partition as i32, payloads)?;
                }
                Ok(())
            })
        })?;
        Ok((name, oracle))
    }

    /// A data directory with so many events in its log and nothing counted; copy it before use
    /// ([`fresh`]).
    ///
    /// # Errors
    /// What the log says.
    pub fn log(&self, ids: Ids, events: u64) -> Result<(PathBuf, Oracle)> {
        let name = format!("log-{}-{events}", ids.name());
        let data = self.path.join(&name);
        let oracle = self.once(&name, |folder| {
            let config = engine::embedded(folder);
            let database = Database::open(folder)?;
            let log = SegmentLog::open(&database, &config.log)?;
            let oracle = filled(ids, events, APPEND, |parts| {
                let now = jiff::Timestamp::now().as_millisecond();
                let parts: Vec<Vec<(&[u8], i64)>> = parts
                    .iter()
                    .map(|part| part.iter().map(|payload| (payload.as_slice(), now)).collect())
                    .collect();
                let parts: Vec<_> = (0..)
                    .zip(parts.iter().map(Vec::as_slice))
                    .filter(|(_, part)| !part.is_empty())
                    .collect();
                log.append_all(&parts).map(drop).context("the log takes no more")
            })?;
            Ok(oracle)
        })?;
        Ok((data, oracle))
    }

    /// Does `fill` in a folder of this name, unless it was done completely before; the oracle
    /// stands beside it.
    fn once(&self, name: &str, fill: impl FnOnce(&Path) -> Result<Oracle>) -> Result<Oracle> {
        let (folder, complete) = (self.path.join(name), self.path.join(format!("{name}.json")));
        if let Ok(oracle) = fs::read(&complete) {
            return Ok(serde_json::from_slice(&oracle)?);
        }
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let oracle = fill(&folder)?;
        fs::write(complete, serde_json::to_vec(&oracle)?)?;
        Ok(oracle)
    }
}

/// A copy of a data directory, removed when dropped.
///
/// # Errors
/// What the system says.
pub fn fresh(data: &Path) -> Result<TempDir> {
    let copy = tempfile::tempdir()?;
    measure::copy(data, copy.path())?;
    Ok(copy)
}

fn filled(
    ids: Ids,
    events: u64,
    step: usize,
    mut put: impl FnMut(&[Vec<Vec<u8>>]) -> Result<()>,
) -> Result<Oracle> {
    let mut generator = Generator::new(ids, RATE, 42);
    let mut text = String::new();
    while generator.oracle.total < events {
        let mut parts = vec![Vec::new(); PARTITIONS as usize];
        for _ in 0..step.min((events - generator.oracle.total) as usize) {
            let partition = generator.next_into(&mut text);
            parts[partition as usize].push(text.clone().into_bytes());
        }
        put(&parts)?;
    }
    Ok(generator.oracle)
}
