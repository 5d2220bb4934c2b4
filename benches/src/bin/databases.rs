//! Which embedded database: redb or fjall, for the two things Tally stores in it.
//!
//! `databases` prints a line for each figure of: `log` (many small durable appends that must
//! survive `kill -9`, reading, dropping the oldest half), `state` (one large transaction of frames
//! at a time, buckets compacted now and then) and retention. The writer of `log` is a child process
//! that is killed with SIGKILL. The decision: `docs/decisions/0001-embedded-database.md`.
#![allow(clippy::print_stdout)] // a measurement program prints

use anyhow::{Context, Result, bail};
use fjall::{KeyspaceCreateOptions, PersistMode};
use redb::{ReadableDatabase, TableDefinition};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tally_benches::measure::cpu;

const EVENT: usize = 185;
const PARTITIONS: u64 = 4;
/// Commits of state; after every tenth all 200 buckets are compacted.
const COMMITS: u64 = 600;
const LOG_BYTES: usize = 1 << 30;
const TABLES: [&str; 2] = ["log", "state"];

/// One change: table, key, value (`None` removes).
type Change = (usize, [u8; 16], Option<Vec<u8>>);

trait Database {
    /// Durable against the end of the process when it returns.
    fn commit(&self, changes: Vec<Change>) -> Result<()>;
    fn scan(
        &self,
        table: usize,
        from: [u8; 16],
        to: [u8; 16],
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()>;
}

struct Redb(redb::Database);

impl Redb {
    fn open(path: &Path) -> Result<Redb> {
        std::fs::create_dir_all(path)?;
        Ok(Redb(redb::Builder::new().set_cache_size(64 << 20).create(path.join("redb"))?))
    }
}

impl Database for Redb {
    fn commit(&self, changes: Vec<Change>) -> Result<()> {
        let transaction = self.0.begin_write()?;
        for (index, name) in TABLES.iter().enumerate() {
            let mut table = transaction.open_table(TableDefinition::<&[u8], &[u8]>::new(name))?;
            for (_, key, value) in changes.iter().filter(|(table, ..)| *table == index) {
                match value {
                    Some(value) => drop(table.insert(&key[..], &value[..])?),
                    None => drop(table.remove(&key[..])?),
                }
            }
        }
        Ok(transaction.commit()?)
    }

    fn scan(
        &self,
        table: usize,
        from: [u8; 16],
        to: [u8; 16],
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        let table =
            self.0.begin_read()?.open_table(TableDefinition::<&[u8], &[u8]>::new(TABLES[table]))?;
        for row in table.range(&from[..]..&to[..])? {
            let (key, value) = row?;
            each(key.value(), value.value());
        }
        Ok(())
    }
}

struct Fjall(fjall::Database, Vec<fjall::Keyspace>);

impl Fjall {
    fn open(path: &Path, separate: bool) -> Result<Fjall> {
        let database = fjall::Database::builder(path)
            .cache_size(64 << 20)
            .journal_compression(fjall::CompressionType::None)
            .max_journaling_size(128 << 20)
            .open()?;
        let keyspaces = TABLES
            .iter()
            .map(|name| database.keyspace(name, || options(separate)))
            .collect::<Result<_, _>>()?;
        Ok(Fjall(database, keyspaces))
    }
}

fn options(separate: bool) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default()
        .data_block_compression_policy(fjall::config::CompressionPolicy::all(
            fjall::CompressionType::None,
        ))
        .max_memtable_size(32 << 20);
    let blobs = fjall::KvSeparationOptions::default().compression(fjall::CompressionType::None);
    options.with_kv_separation(separate.then_some(blobs))
}

impl Database for Fjall {
    fn commit(&self, changes: Vec<Change>) -> Result<()> {
        let mut batch = self.0.batch().durability(Some(PersistMode::Buffer));
        for (table, key, value) in changes {
            match value {
                Some(value) => batch.insert(&self.1[table], key, value),
                None => batch.remove(&self.1[table], key),
            }
        }
        Ok(batch.commit()?)
    }

    fn scan(
        &self,
        table: usize,
        from: [u8; 16],
        to: [u8; 16],
        each: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        for row in self.1[table].range(from..to) {
            let (key, value) = row.into_inner()?;
            each(&key, &value);
        }
        Ok(())
    }
}

fn open(kind: &str, path: &Path) -> Result<Box<dyn Database>> {
    Ok(match kind {
        "redb" => Box::new(Redb::open(path)?),
        "fjall" => Box::new(Fjall::open(path, false)?),
        "fjall-blobs" => Box::new(Fjall::open(path, true)?),
        other => bail!("no database \"{other}\": redb, fjall or fjall-blobs"),
    })
}

fn key(high: u64, low: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&high.to_be_bytes());
    key[8..].copy_from_slice(&low.to_be_bytes());
    key
}

fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

/// p50 and p99 in microseconds.
fn quantiles(times: &mut [Duration]) -> (u128, u128) {
    times.sort_unstable();
    (times[times.len() / 2].as_micros(), times[times.len() * 99 / 100].as_micros())
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Event-like bytes: repetitive JSON with random ids.
fn events(count: usize, seed: &mut u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count * EVENT);
    for _ in 0..count {
        let mut text = format!("{{\"event_id\":\"{:016x}{:016x}\",\"user_id\":\"user-{}\",\"product_id\":\"product-{}\",\"event_type\":\"view\",\"timestamp\":\"2026-01-01T00:01:00.000Z\"}}", random(seed), random(seed), random(seed) % 100_000, random(seed) % 10_000).into_bytes();
        text.resize(EVENT, b' ');
        bytes.extend_from_slice(&text);
    }
    bytes
}

/// The child: appends until killed.
fn fill(kind: &str, path: &Path) -> Result<()> {
    let database = open(kind, path)?;
    let mut seed = 7;
    let mut offsets = [0u64; PARTITIONS as usize];
    let mut out = std::io::stdout();
    for (count, commits) in [
        (1usize, 2_000usize),
        (100, 2_000),
        (1_000, LOG_BYTES / (1_000 * EVENT * PARTITIONS as usize)),
    ] {
        let payload = events(count, &mut seed);
        let (mut times, before) = (Vec::with_capacity(commits), cpu());
        for _ in 0..commits {
            let changes = (0..PARTITIONS).map(|partition| {
                let offset = &mut offsets[partition as usize];
                let change = (0, key(partition, *offset), Some(payload.clone()));
                *offset += count as u64;
                change
            });
            let changes = changes.collect();
            let started = Instant::now();
            database.commit(changes)?;
            times.push(started.elapsed());
        }
        let events = commits * count * PARTITIONS as usize;
        let (p50, p99) = quantiles(&mut times);
        let spent = (cpu() - before).as_nanos() as f64 / events as f64;
        writeln!(
            out,
            "{kind} log append {} x {count} events: p50 {p50} us, p99 {p99} us, {spent:.0} ns CPU/event",
            PARTITIONS
        )?;
    }
    writeln!(out, "full {}", offsets.iter().sum::<u64>())?;
    loop {
        std::thread::park(); // until killed
    }
}

fn log(kind: &str, path: &Path) -> Result<()> {
    let expected = fill_and_kill(kind, path)?;
    let full = size(path);
    let (started, before) = (Instant::now(), cpu());
    let database = open(kind, path)?;
    println!(
        "{kind} open after kill -9: {} ms wall, {} ms CPU, {} MB on disk",
        started.elapsed().as_millis(),
        (cpu() - before).as_millis(),
        full >> 20
    );
    read_twice(kind, &*database, expected)?;
    drop_older_half(kind, &*database, expected, path)?;
    let mut seed = 9;
    let (payload, before) = (events(1_000, &mut seed), cpu());
    for n in 0..700u64 {
        database.commit(
            (0..PARTITIONS)
                .map(|partition| (0, key(partition, expected + n * 1_000), Some(payload.clone())))
                .collect(),
        )?;
    }
    println!(
        "{kind} half a GB later: {} MB on disk, {} ms CPU",
        size(path) >> 20,
        (cpu() - before).as_millis()
    );
    Ok(())
}

/// Has a child fill a database, kills it, and returns how many events it appended.
fn fill_and_kill(kind: &str, path: &Path) -> Result<u64> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["fill", kind])
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut expected = 0u64;
    for line in BufReader::new(child.stdout.take().context("no pipe")?).lines() {
        let line = line?;
        println!("{line}");
        if let Some(count) = line.strip_prefix("full ") {
            expected = count.parse()?;
            break;
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(expected)
}

fn read_twice(kind: &str, database: &dyn Database, expected: u64) -> Result<()> {
    for round in ["first", "second"] {
        let (started, before, mut held, mut sum) = (Instant::now(), cpu(), 0u64, 0u64);
        database.scan(0, key(0, 0), key(PARTITIONS, 0), &mut |_, value| {
            held += (value.len() / EVENT) as u64;
            sum =
                value.iter().step_by(64).fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
        })?;
        println!(
            "{kind} {round} reading: {held} events ({} lost), {:.0} ns wall, {:.0} ns CPU/event ({sum})",
            expected - held,
            started.elapsed().as_nanos() as f64 / held as f64,
            (cpu() - before).as_nanos() as f64 / held as f64
        );
    }
    Ok(())
}

fn drop_older_half(kind: &str, database: &dyn Database, expected: u64, path: &Path) -> Result<()> {
    let (started, before, mut dropped) = (Instant::now(), cpu(), 0u64);
    for partition in 0..PARTITIONS {
        let mut keys = Vec::new();
        database.scan(
            0,
            key(partition, 0),
            key(partition, expected / PARTITIONS / 2),
            &mut |key, _| keys.push(<[u8; 16]>::try_from(key)),
        )?;
        for step in keys.chunks(100) {
            let changes = step.iter().flatten().map(|key| (0, *key, None)).collect();
            database.commit(changes)?;
        }
        dropped += keys.len() as u64;
    }
    println!(
        "{kind} dropping the older half ({dropped} batches): {} ms, {} ms CPU, {} MB on disk",
        started.elapsed().as_millis(),
        (cpu() - before).as_millis(),
        size(path) >> 20
    );
    Ok(())
}

fn state(kind: &str, path: &Path) -> Result<()> {
    let database = open(kind, path)?;
    let mut seed = 11;
    let noise: Vec<u8> = (0..100_000).map(|_| random(&mut seed) as u8).collect();
    let (mut times, mut compactions, mut bytes, before) = (Vec::new(), Vec::new(), 0usize, cpu());
    for commit in 0..COMMITS {
        let mut changes: Vec<Change> = (0..200u64)
            .map(|bucket| {
                // log-uniform between 1 kB and 100 kB
                let length =
                    (1_000.0 * 100f64.powf(random(&mut seed) as f64 / u64::MAX as f64)) as usize;
                (1, key(bucket, commit), Some(noise[..length].to_vec()))
            })
            .collect();
        bytes +=
            changes.iter().filter_map(|(.., value)| value.as_ref()).map(Vec::len).sum::<usize>();
        changes.extend((0..20u64).map(|n| (1, key(1_000, n), Some(noise[..120].to_vec()))));
        let started = Instant::now();
        database.commit(changes)?;
        times.push(started.elapsed());
        if commit % 10 == 9 {
            for bucket in 0..200 {
                let mut changes: Vec<Change> = Vec::new();
                let mut length = 0;
                database.scan(1, key(bucket, 0), key(bucket + 1, 0), &mut |found, value| {
                    length += value.len();
                    changes.extend(<[u8; 16]>::try_from(found).map(|found| (1, found, None)));
                })?;
                // half of what is folded stands on a cell that is already there
                changes.push((
                    1,
                    key(bucket, commit),
                    Some(noise.iter().copied().cycle().take(length / 2).collect()),
                ));
                let started = Instant::now();
                database.commit(changes)?;
                compactions.push(started.elapsed());
            }
        }
    }
    let spent = cpu() - before;
    let ((p50, p99), (c50, c99)) = (quantiles(&mut times), quantiles(&mut compactions));
    println!(
        "{kind} state commit of 200 frames ({} kB): p50 {p50} us, p99 {p99} us; compaction p50 {c50} us, p99 {c99} us; {} ms CPU for {COMMITS} commits and their compactions, {} MB of frames; {} MB on disk",
        bytes as u64 / COMMITS / 1_000,
        spent.as_millis(),
        bytes >> 20,
        size(path) >> 20
    );
    drop(database);
    let started = Instant::now();
    let database = open(kind, path)?;
    let mut held = 0;
    database.scan(1, key(0, 0), key(1_000, 0), &mut |_, value| held += value.len())?;
    println!(
        "{kind} open and read {} MB of state: {} ms",
        held >> 20,
        started.elapsed().as_millis()
    );
    Ok(())
}

/// Appends 4 GB while only the newest 512 MB are held: what the disk holds then.
fn retention(kind: &str, path: &Path) -> Result<()> {
    const HELD: u64 = (512 << 20) / (1_000 * EVENT as u64 * PARTITIONS);
    let database = open(kind, path)?;
    let mut seed = 13;
    let (payload, before, started, mut most) = (events(1_000, &mut seed), cpu(), Instant::now(), 0);
    for n in 0..HELD * 8 {
        let mut changes: Vec<Change> = (0..PARTITIONS)
            .map(|partition| (0, key(partition, n), Some(payload.clone())))
            .collect();
        if let Some(old) = n.checked_sub(HELD) {
            changes.extend((0..PARTITIONS).map(|partition| (0, key(partition, old), None)));
        }
        database.commit(changes)?;
        if n % 100 == 0 {
            most = most.max(size(path));
        }
    }
    println!(
        "{kind} retention: 4 GB through 512 MB held in {} ms, {} ms CPU; {} MB on disk at most, {} MB at the end",
        started.elapsed().as_millis(),
        (cpu() - before).as_millis(),
        most >> 20,
        size(path) >> 20
    );
    Ok(())
}

/// The same with a keyspace for each 64 MB, dropped as a whole.
fn segments(path: &Path) -> Result<()> {
    const SEGMENT: u64 = (64 << 20) / (1_000 * EVENT as u64 * PARTITIONS);
    const HELD: usize = 8;
    let Fjall(database, _) = Fjall::open(path, true)?;
    let mut seed = 13;
    let (payload, before, started, mut most) = (events(1_000, &mut seed), cpu(), Instant::now(), 0);
    let mut held = std::collections::VecDeque::new();
    for number in 0..HELD as u64 * 8 {
        let segment = database.keyspace(&format!("segment-{number}"), || options(true))?;
        for n in 0..SEGMENT {
            let mut batch = database.batch().durability(Some(PersistMode::Buffer));
            for partition in 0..PARTITIONS {
                batch.insert(&segment, key(partition, n), payload.as_slice());
            }
            batch.commit()?;
            if n % 20 == 0 {
                most = most.max(size(path));
            }
        }
        held.push_back(segment);
        if held.len() > HELD
            && let Some(oldest) = held.pop_front()
        {
            database.delete_keyspace(oldest)?;
        }
    }
    println!(
        "fjall-blobs retention by segments: 4 GB through 512 MB held in {} ms, {} ms CPU; {} MB on disk at most, {} MB at the end",
        started.elapsed().as_millis(),
        (cpu() - before).as_millis(),
        most >> 20,
        size(path) >> 20
    );
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [fill_word, kind, path] = &arguments[..]
        && fill_word == "fill"
    {
        return fill(kind, Path::new(path));
    }
    segments(&tempfile::tempdir()?.path().join("segments"))?;
    for kind in ["fjall", "fjall-blobs", "redb"] {
        let folder = tempfile::tempdir()?;
        retention(kind, &folder.path().join("retention"))?;
        state(kind, &folder.path().join("state"))?;
        log(kind, &folder.path().join("log"))?;
    }
    Ok(())
}
