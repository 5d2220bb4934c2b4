//! A plugin file that is replaced again and again under a running engine, and what that engine
//! takes of the machine.

use crate::tally::Tally;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a process takes of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Footprint {
    /// Resident memory, bytes.
    pub resident: u64,
    /// Of it what belongs to no file.
    pub anonymous: u64,
    /// Mappings of any kind.
    pub mappings: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Private copies of plugin files on disk.
    pub copies: u64,
    /// Contents of plugin files in memory, as the engine says.
    pub loaded: u64,
    /// Bytes of their mappings, as the engine says, which looks twice a second.
    pub mapped: u64,
}

/// Looks at a running engine whose data directory is this.
///
/// # Errors
/// It does not answer, or `/proc` does not.
pub fn footprint(tally: &Tally, data: &Path) -> Result<Footprint> {
    let process = PathBuf::from(format!("/proc/{}", tally.process.pid()));
    let status = fs::read_to_string(process.join("status"))?;
    let of = |name: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .with_context(|| name.to_owned())?;
        anyhow::Ok(line.split_whitespace().next().unwrap_or_default().parse::<u64>()? * 1_024)
    };
    let maps = fs::read_to_string(process.join("maps"))?;
    let mapped =
        maps.lines().filter(|line| line.contains("/plugin-copies/")).filter_map(length).sum();
    tally.client.until("the engine says what is mapped", Duration::from_secs(20), |client| {
        let said = client
            .figure("tally_plugin_mapped_bytes", "")
            .map_err(|fault| format!("{fault:#}"))? as u64;
        if said == mapped { Ok(String::new()) } else { Err(format!("{said}, not {mapped}")) }
    })?;
    let copies = fs::read_dir(data.join("plugin-copies"))?.filter_map(Result::ok);
    Ok(Footprint {
        resident: of("VmRSS:")?,
        anonymous: of("RssAnon:")?,
        mappings: maps.lines().count() as u64,
        descriptors: fs::read_dir(process.join("fd"))?.count() as u64,
        copies: copies
            .filter(|entry| entry.path().extension().is_some_and(|end| end == "so"))
            .count() as u64,
        loaded: tally.client.figure("tally_plugins_loaded", "")? as u64,
        mapped,
    })
}

/// Bytes of a mapping, by its line in `/proc`.
fn length(line: &str) -> Option<u64> {
    let (from, to) = line.split_once(' ')?.0.split_once('-')?;
    u64::from_str_radix(to, 16).ok()?.checked_sub(u64::from_str_radix(from, 16).ok()?)
}

/// The most memory that a running process ever had resident, bytes.
///
/// # Errors
/// It is gone.
pub fn peak(tally: &Tally) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", tally.process.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse::<u64>()? * 1_024)
}

/// A plugin file in a folder; its contents differ in what follows the shared object, so that they
/// are of one revision and each is loaded on its own.
pub struct Replaced {
    file: PathBuf,
    bytes: Vec<u8>,
    metric: String,
    swaps: u64,
}

impl Replaced {
    /// The file that serves `metric`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn new(file: &Path, metric: &str) -> Result<Replaced> {
        Ok(Replaced {
            file: file.to_owned(),
            bytes: fs::read(file)?,
            metric: metric.into(),
            swaps: 0,
        })
    }

    /// Puts content `number` in the place of the one before, which must be another, and waits until
    /// its code is called.
    ///
    /// # Errors
    /// It is not, within a minute.
    pub fn swap(&mut self, tally: &Tally, number: u64) -> Result<()> {
        let unfinished = self.file.with_extension("unfinished");
        fs::write(&unfinished, [&self.bytes[..], b"note", &number.to_le_bytes()].concat())?;
        fs::rename(&unfinished, &self.file)?;
        tally.process.signal("HUP")?;
        self.swaps += 1;
        let (label, wanted) = (format!("metric=\"{}\"", self.metric), self.swaps as f64);
        let swapped =
            tally.client.until("the code is replaced", Duration::from_secs(60), |client| {
                let swaps = client
                    .figure("tally_plugin_swaps_total", &label)
                    .map_err(|fault| format!("{fault:#}"))?;
                if swaps >= wanted {
                    Ok(String::new())
                } else {
                    Err(format!("{swaps} of {wanted}"))
                }
            });
        swapped.map(drop).with_context(|| tally.process.tail())
    }
}
