//! The log and its source: the contract, what survives, what is dropped, how concurrent appends
//! meet.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::*;
use crate::Bounds;
use crate::contract::{self, World};
use crate::embedded::{EmbeddedLog, EmbeddedSource};
use crate::{Log, Sink, Source, Start};
use std::time::{Duration, Instant};
use tally_event::Record;
use tally_system::clock::wall_ms as now;

struct Embedded {
    log: Arc<SegmentLog>,
    _folder: tempfile::TempDir,
}

impl World for Embedded {
    fn log(&mut self) -> Arc<dyn Log> {
        Arc::new(EmbeddedLog(self.log.clone()))
    }

    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn append(&mut self, partition: u32, payloads: &[Vec<u8>]) {
        let now = now();
        for portion in payloads.chunks(37) {
            let records: Vec<(&[u8], i64)> =
                portion.iter().map(|payload| (payload.as_slice(), now)).collect();
            self.log.append(partition, &records).unwrap();
        }
    }

    fn truncate(&mut self, partition: u32) -> bool {
        let start = self.log.bounds()[partition as usize].start;
        let filler = vec![b'x'; 300_000];
        while self.log.bounds()[partition as usize].start == start {
            self.append(partition, std::slice::from_ref(&filler));
        }
        true
    }

    fn hole(&mut self, _partition: u32) -> bool {
        false // its offsets are consecutive
    }

    fn shares(&self) -> bool {
        false // each source reads all
    }
}

fn config() -> LogConfig {
    LogConfig { partitions: 3, ..LogConfig::default() }
}

#[test]
fn keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let log =
        SegmentLog::open(&database, &LogConfig { retention_bytes: 4 << 20, ..config() }).unwrap();
    contract::run(&mut Embedded { log, _folder: folder });
}

#[test]
fn appends_are_there_after_reopening_and_offsets_go_on() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3u64 {
        let database = Database::open(folder.path()).unwrap();
        let log = SegmentLog::open(&database, &config()).unwrap();
        assert_eq!(log.bounds()[1], Bounds { partition: 1, start: 0, end: round * 2, open: 0 });
        assert_eq!(log.append(1, &[(b"a", now()), (b"b", now())]).unwrap(), round * 2 + 2);
    }
}

#[test]
fn a_log_that_expired_wholly_keeps_its_offsets() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let log =
        SegmentLog::open(&database, &LogConfig { retention: "1h".into(), ..config() }).unwrap();
    assert_eq!(
        log.append(0, &[(b"old", now() - 7_200_000), (b"old", now() - 7_100_000)]).unwrap(),
        2
    );
    assert_eq!(
        log.bounds()[0],
        Bounds { partition: 0, start: 2, end: 2, open: 0 },
        "older than an hour: dropped"
    );
    assert_eq!(log.append(0, &[(b"new", now())]).unwrap(), 3);
    drop((log, database));
    let database = Database::open(folder.path()).unwrap();
    let log = SegmentLog::open(&database, &config()).unwrap();
    assert_eq!(log.bounds()[0], Bounds { partition: 0, start: 2, end: 3, open: 0 });
}

#[test]
fn retention_by_bytes_drops_the_oldest_and_frees_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let log =
        SegmentLog::open(&database, &LogConfig { retention_bytes: 16 << 20, ..config() }).unwrap();
    let payload = vec![b'x'; 100_000];
    for n in 0..1_000 {
        log.append(n % 3, &[(&payload, now())]).unwrap();
    }
    let held: u64 = log.bounds().iter().map(|bounds| (bounds.end - bounds.start) * 100_000).sum();
    assert!((12 << 20..=16 << 20).contains(&held), "{held} bytes held");
    assert!(log.bounds().iter().all(|bounds| bounds.start > 200));
    let kept = database.keyspaces("log-").unwrap();
    assert!(kept.len() <= 18, "{kept:?}");
}

#[test]
fn concurrent_appends_share_commits_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let log = SegmentLog::open(&database, &LogConfig { durability: Durability::Power, ..config() })
        .unwrap();
    let ends: Vec<Vec<u64>> = std::thread::scope(|scope| {
        let append = |thread: u64| {
            let log = &log;
            scope.spawn(move || {
                (0..100u64)
                    .map(|n| log.append(0, &[(&(thread * 100 + n).to_le_bytes(), now())]).unwrap())
                    .collect::<Vec<u64>>()
            })
        };
        let threads: Vec<_> = (0..8).map(append).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut all: Vec<u64> = ends.iter().flatten().copied().collect();
    assert!(ends.iter().all(|ends| ends.is_sorted()), "a caller's own appends are in order");
    all.sort_unstable();
    assert_eq!(all, (1..=800).collect::<Vec<u64>>(), "each append has its own offset");
    assert!(log.version() < 800, "{} commits for 800 appends of 8 callers", log.version());
}

#[test]
fn what_cannot_be_is_refused_with_nothing_written() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let log = SegmentLog::open(&database, &config()).unwrap();
    assert!(matches!(
        log.append(3, &[(b"x", 0)]),
        Err(SegmentLogError::NoPartition { partition: 3, last: 2 })
    ));
    let large = vec![0; MAX_RECORD + 1];
    assert!(matches!(
        log.append_all(&[(0, &[(b"x", 0)]), (1, &[(&large, 0)])]),
        Err(SegmentLogError::TooLarge(_))
    ));
    assert_eq!(log.append(1, &[]).unwrap(), 0, "nothing to append is no error");
    assert!(log.bounds().iter().all(|bounds| bounds.end == 0));
    for retention in ["", "d", "-1d", "1y", "99999999999999999999d", "é"] {
        let config = LogConfig { retention: retention.into(), ..config() };
        assert!(
            SegmentLog::open(&database, &config)
                .is_err_and(|fault| fault.to_string().contains("is not a duration")),
            "{retention}"
        );
    }
}

#[test]
fn a_leader_that_panics_leaves_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let log = SegmentLog::open(&database, &config()).unwrap();
    log.state.lock().committing = true;
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| log.append(0, &[(b"x", 0)]));
        while log.state.lock().pending.waiting.lock().counts[0] == 0 {
            std::thread::yield_now();
        }
        let group = std::mem::replace(&mut log.state.lock().pending, Group::new(log.partitions()));
        drop(Leading { log: &log, group: &group });
        let told = waiting.join().unwrap().unwrap_err().to_string();
        assert!(told.contains("internal error"), "{told}");
    });
    assert_eq!(log.append(0, &[(b"y", now())]).unwrap(), 1, "another leads");
}

#[test]
fn a_batch_that_is_missing_is_told_and_not_asked_for_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let log = SegmentLog::open(&database, &config()).unwrap();
    log.append(0, &[(b"x", now())]).unwrap();
    let keyspace = log.state.lock().segments[0].keyspace.clone();
    let mut batch = database.batch();
    batch.remove(&keyspace, segment::key(0, 0));
    database.commit(batch, Durability::Process).unwrap();
    let mut source = EmbeddedSource::new(log);
    let told =
        source.poll(Duration::ZERO, 10, &mut Count { seen: 0, bytes: 0 }).unwrap_err().to_string();
    assert!(told.contains("partition 0, offset 0") && told.contains("it is missing"), "{told}");
}

struct Count {
    seen: u64,
    bytes: u64,
}

impl Sink for Count {
    fn assigned(&mut self, partitions: &[u32]) -> Vec<Start> {
        vec![Start::Earliest; partitions.len()]
    }
    fn revoked(&mut self, _: &[u32], _: bool) {}
    fn records(&mut self, _: u32, records: &[Record<'_>]) {
        self.seen += records.len() as u64;
        self.bytes += records
            .iter()
            .filter_map(|record| record.payload)
            .map(|payload| u64::from(payload[0]))
            .sum::<u64>();
    }
    fn passed(&mut self, _: u32, _: u64) {}
    fn gap(&mut self, partition: u32, from: u64, to: u64) {
        panic!("gap in {partition}: {from} to {to}");
    }
}

/// `cargo test --release -p tally-engine log_speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout)] // a measurement prints
fn log_speed() {
    let folder = tempfile::tempdir().unwrap();
    let database = Database::open(folder.path()).unwrap();
    let log = SegmentLog::open(&database, &LogConfig { partitions: 4, ..config() }).unwrap();
    let payload = [b'x'; 185];
    for portion in [1usize, 100, 1_000] {
        let records: Vec<(&[u8], i64)> = vec![(&payload, now()); portion];
        let rounds = 400_000 / portion.max(10);
        let (started, busy) = (Instant::now(), cpu());
        for n in 0..rounds {
            log.append(n as u32 % 4, &records).unwrap();
        }
        let events = (rounds * portion) as f64;
        println!(
            "append {portion}: {:.0} ns wall, {:.0} ns CPU/event, {:.1} us/call",
            started.elapsed().as_nanos() as f64 / events,
            (cpu() - busy) * 1e9 / events,
            started.elapsed().as_micros() as f64 / rounds as f64
        );
    }
    let records: Vec<(&[u8], i64)> = vec![(&payload, now()); 1_000];
    for n in 0..2_000 {
        log.append(n % 4, &records).unwrap();
    }
    let total: u64 = log.bounds().iter().map(|bounds| bounds.end).sum();
    for _ in 0..3 {
        let (mut source, mut count) =
            (EmbeddedSource::new(Arc::clone(&log)), Count { seen: 0, bytes: 0 });
        let (started, busy) = (Instant::now(), cpu());
        while count.seen < total {
            source.poll(Duration::from_millis(10), 2_048, &mut count).unwrap();
        }
        println!(
            "read {total}: {:.0} ns wall, {:.0} ns CPU/event",
            started.elapsed().as_nanos() as f64 / total as f64,
            (cpu() - busy) * 1e9 / total as f64
        );
    }
}

/// Seconds of CPU of this process.
fn cpu() -> f64 {
    let usage = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: u64 = usage
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|n| n.parse::<u64>().unwrap())
        .sum();
    ticks as f64 / 100.0
}
