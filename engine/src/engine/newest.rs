//! Where the newest records of the log begin, in each of its partitions.
//!
//! The log is asked where its partitions were at some times, a few times whatever it holds; between
//! two of them records are taken to have come evenly. So the ranges have as many offsets as are
//! wanted, and are about those of one time. Reads no record.

use crate::log::{Bounds, Log, LogError};
use std::time::Instant;

/// How long ago it is looked first, milliseconds; then so many times as long, up to centuries.
const FIRST: i64 = 60_000;
const FURTHER: i64 = 8;
const LOOKS: u32 = 10;

/// How often the time between two looks is halved.
const HALVINGS: u32 = 6;

/// The part of the wanted records between two looks with which that is good enough.
const CLOSE: u64 = 16;

/// A part of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewestRange {
    pub(super) partition: u32,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// The newest records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NewestRecords {
    /// One of each partition; some may be empty.
    pub(super) ranges: Vec<NewestRange>,
    /// Whether they are all that the log holds.
    pub(super) all: bool,
}

/// Where each partition was at a time.
struct Look {
    ago: i64,
    starts: Vec<u64>,
}

/// The newest offsets, at most `most` of them. `now` in Unix milliseconds; from `until` on nothing
/// more is asked, and a question that is not answered is left.
///
/// # Errors
/// [`LogError`].
pub(super) fn newest(
    log: &dyn Log,
    most: u64,
    now: i64,
    until: Instant,
) -> Result<NewestRecords, LogError> {
    let bounds = log.bounds()?;
    let held: Vec<u64> = bounds.iter().map(|held| held.start).collect();
    if count(&bounds, &held) <= most {
        return Ok(NewestRecords { ranges: ranges(&bounds, &held), all: true });
    }
    let mut newer = Look { ago: 0, starts: bounds.iter().map(|held| held.end).collect() };
    let mut older = Look { ago: i64::MAX, starts: held };
    // Where each partition has so few of them, a look costs more than it tells: they are divided
    // over all that is held.
    let looks = if bounds.len() as u64 * 2 > most { 0 } else { LOOKS };
    let look = |ago: i64, newer: &Look, older: &Look| -> Result<Option<Look>, LogError> {
        let Some(found) = log.starts_until(now.saturating_sub(ago), until)? else {
            return Ok(None);
        };
        let starts = bounds.iter().zip(newer.starts.iter().zip(&older.starts));
        // Timestamps may go back, and the log may have grown since: the looks stay in order.
        let starts = starts.map(|(held, (newer, older))| {
            found.get(&held.partition).map_or(*older, |start| (*start).clamp(*older, *newer))
        });
        Ok(Some(Look { ago, starts: starts.collect() }))
    };
    let mut ago = FIRST;
    for _ in 0..looks {
        if Instant::now() >= until {
            break;
        }
        let Some(found) = look(ago, &newer, &older)? else { break };
        if count(&bounds, &found.starts) > most {
            older = found;
            break;
        }
        newer = found;
        ago = ago.saturating_mul(FURTHER);
    }
    for _ in 0..HALVINGS {
        let span = count(&bounds, &older.starts) - count(&bounds, &newer.starts);
        let ago = newer.ago + (older.ago - newer.ago) / 2;
        let is_close = span <= most / CLOSE || ago == newer.ago || older.ago == i64::MAX;
        if is_close || Instant::now() >= until {
            break;
        }
        let Some(found) = look(ago, &newer, &older)? else { break };
        let place = if count(&bounds, &found.starts) > most { &mut older } else { &mut newer };
        *place = found;
    }
    let starts = divided(&bounds, &newer.starts, &older.starts, most);
    Ok(NewestRecords { ranges: ranges(&bounds, &starts), all: false })
}

/// Offsets from these starts on.
fn count(bounds: &[Bounds], starts: &[u64]) -> u64 {
    bounds.iter().zip(starts).map(|(held, start)| held.end.saturating_sub(*start)).sum()
}

/// Starts between two looks from which on there are `most` offsets: each partition gives the same
/// part of what it has between them.
fn divided(bounds: &[Bounds], newer: &[u64], older: &[u64], most: u64) -> Vec<u64> {
    let mut rest = most.saturating_sub(count(bounds, newer));
    let span: u64 = newer.iter().zip(older).map(|(newer, older)| newer - older).sum();
    let wanted = rest;
    let mut starts: Vec<u64> = newer.to_vec();
    for (start, older) in starts.iter_mut().zip(older) {
        let part = u128::from(wanted) * u128::from(*start - older) / u128::from(span.max(1));
        let part = u64::try_from(part).unwrap_or(u64::MAX).min(*start - older);
        *start -= part;
        rest = rest.saturating_sub(part);
    }
    // What is left by rounding: fewer than there are partitions.
    for (start, older) in starts.iter_mut().zip(older) {
        if rest > 0 && *start > *older {
            *start -= 1;
            rest -= 1;
        }
    }
    starts
}

fn ranges(bounds: &[Bounds], starts: &[u64]) -> Vec<NewestRange> {
    let range = |(held, start): (&Bounds, &u64)| NewestRange {
        partition: held.partition,
        from: *start,
        to: held.end,
    };
    bounds.iter().zip(starts).map(range).collect()
}

#[cfg(test)]
#[path = "newest_tests.rs"]
mod tests;
