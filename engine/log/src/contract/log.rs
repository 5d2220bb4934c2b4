//! What every [`Log`] must do beside its sources: say what it is and holds, append, and be read
//! again.

use super::{PATIENCE, Recorder, WAIT, World, all_bounds, bounds, close, ends, texts, until};
use crate::{AppendOutcome, Log, LogError, LogRecord, RecordCopy, Start, Tail};
use std::collections::BTreeMap;
use std::time::Instant;
use tally_event::{Record, RecordOrigin};
use tally_progress::Position;
use tally_system::clock::wall_ms;

/// Bytes of a record that no log takes.
const TOO_LARGE: usize = 16 << 20;

pub(super) fn run(world: &mut dyn World) {
    says_which_log_it_is_and_what_it_holds(world);
    an_append_goes_where_its_key_belongs(world);
    what_is_too_large_is_refused_alone(world);
    a_copy_states_its_origin(world);
    a_range_is_read_exactly(world);
    a_tail_shows_what_is_appended(world);
    starts_are_found_by_time(world);
    a_replay_reads_all_that_is_wanted(world);
}

fn says_which_log_it_is_and_what_it_holds(world: &mut dyn World) {
    let log = world.log();
    assert!(!log.kind().is_empty() && !log.name().is_empty());
    let surveyed = log.survey().ask(PATIENCE).expect("the log answers");
    assert_eq!(surveyed.bounds, all_bounds(world), "asked in two ways");
    assert_eq!(log.survey().topic(PATIENCE).expect("the log answers"), surveyed.topic);
    let of_name = |topic: String| topic.split('/').next().is_some_and(|name| name == log.name());
    assert!(surveyed.topic.is_none_or(of_name), "an incarnation of {}", log.name());
    assert_eq!(surveyed.bounds.len(), world.partitions() as usize);
}

fn an_append_goes_where_its_key_belongs(world: &mut dyn World) {
    const KEYS: [&str; 5] = ["1", "2", "3", "abc", "é"];
    let log = world.log();
    let mut homes = BTreeMap::new();
    for round in 0..2 {
        let payloads: Vec<String> =
            (0..40).map(|n| format!("{}-{n}", KEYS[n % KEYS.len()])).collect();
        let records = (0..)
            .zip(&payloads)
            .map(|(n, payload)| (KEYS[n % KEYS.len()].as_bytes(), payload.as_bytes()));
        let records: Vec<(&[u8], &[u8])> = records.collect();
        let before = ends(world);
        let outcome = log.append(&records, wall_ms()).expect("it is appended");
        assert!(outcome.too_large.is_empty(), "{:?}", outcome.too_large);
        let written = outcome.position;
        let mut found = 0;
        for ((partition, from), (_, to)) in before.into_iter().zip(ends(world)) {
            let expected = written.0.get(&partition).copied().unwrap_or(from);
            assert_eq!(
                to, expected,
                "round {round}: the offset after the last record of partition {partition}"
            );
            let mut last = BTreeMap::new();
            for record in read(&*log, partition, from, to) {
                let text = String::from_utf8(record.payload.expect("a payload")).expect("text");
                let (key, number) = text.rsplit_once('-').expect("key and number");
                let number: usize = number.parse().expect("a number");
                assert_eq!(
                    *homes.entry(key.to_owned()).or_insert(partition),
                    partition,
                    "all of key {key}"
                );
                assert!(
                    last.insert(key.to_owned(), number).is_none_or(|before| before < number),
                    "{key} in order"
                );
                found += 1;
            }
        }
        assert_eq!(found, records.len(), "round {round}: each once");
        assert!(log.writing().is_ok(), "{:?}", log.writing());
    }
}

fn what_is_too_large_is_refused_alone(world: &mut dyn World) {
    let (log, large) = (world.log(), vec![b'x'; TOO_LARGE]);
    let records: [(&[u8], &[u8]); 3] = [(b"1", b"before"), (b"1", &large), (b"1", b"after")];
    let before = ends(world);
    let outcome = log.append(&records, wall_ms()).expect("the others are appended");
    assert_eq!(outcome.too_large, [1]);
    let (partition, to) = outcome.position.0.into_iter().next().expect("what was written");
    let from = before.into_iter().find(|(other, _)| *other == partition).expect("its end").1;
    let found = read(&*log, partition, from, to).into_iter().map(|record| record.payload);
    let expected = [Some(b"before".to_vec()), Some(b"after".to_vec())];
    assert_eq!(found.collect::<Vec<_>>(), expected);
    let outcome = log.append(&records[1..2], wall_ms()).expect("a refusal is no failure");
    assert_eq!(outcome, AppendOutcome { position: Position::default(), too_large: vec![0] });
    assert!(log.writing().is_ok(), "{:?}", log.writing());
}

fn a_copy_states_its_origin(world: &mut dyn World) {
    let (log, large) = (world.log(), vec![b'x'; TOO_LARGE]);
    let before = log.append(&[(b"1", b"before")], wall_ms()).expect("it is appended").position;
    let (partition, from) = before.0.into_iter().next().expect("what was written");
    let origin = |place, timestamp_ms| RecordOrigin { place, timestamp_ms };
    let copy = |payload, origin| RecordCopy { key: b"1", payload, origin };
    let copies = [
        copy(&b"one"[..], origin("shop.events/7/41", 1_700_000_000_000)),
        copy(&large, origin("shop.events/7/42", 0)),
        copy(b"two", origin("log/0/0", -1)),
    ];
    let now = wall_ms();
    let outcome = log.append_copies(&copies, now).expect("the others are appended");
    assert_eq!(outcome.too_large, [1]);
    assert_eq!(outcome.position, Position([(partition, from + 2)].into()), "where its key belongs");
    let after = log.append(&[(b"1", b"after")], wall_ms()).expect("it is appended").position;

    let found = read(&*log, partition, from - 1, after.0[&partition]);
    let seen: Vec<_> = found.iter().map(|record| (record.offset, &record.payload)).collect();
    let payload = |text: &[u8]| Some(text.to_vec());
    let expected = [payload(b"before"), payload(b"one"), payload(b"two"), payload(b"after")];
    assert_eq!(seen, (from - 1..).zip(&expected).collect::<Vec<_>>());
    let origins: Vec<_> = found.iter().map(|record| record.borrowed().origin).collect();
    let one = Some(origin("shop.events/7/41", 1_700_000_000_000));
    assert_eq!(origins, [None, one, Some(origin("log/0/0", -1)), None]);
    for record in &found[1..3] {
        assert!((record.timestamp_ms - now).abs() < 600_000, "when it was appended: {record:?}");
    }

    let mut tail = log.tail(&Position([(partition, from - 1)].into())).expect("a tail");
    let (mut shown, started) = (Vec::new(), Instant::now());
    while shown.len() < 4 {
        assert!(started.elapsed() < PATIENCE, "{} of 4 records are shown", shown.len());
        let polled = tail.poll(WAIT, 100, &mut |_, records: &[Record<'_>]| {
            shown.extend(records.iter().map(LogRecord::from));
        });
        assert!(!matches!(polled, Err(LogError::Fatal(_))), "{polled:?}");
    }
    assert_eq!(shown, found, "the same to who follows");
}

/// All records of a range.
fn read(log: &dyn Log, partition: u32, from: u64, to: u64) -> Vec<LogRecord> {
    let mut reader = log.range(partition, from, to).expect("the range is held");
    let mut all = Vec::new();
    loop {
        let batch = reader.batch().expect("the range is read");
        if batch.is_empty() {
            return all;
        }
        all.extend(batch);
    }
}

fn a_range_is_read_exactly(world: &mut dyn World) {
    world.append(0, &texts("range-", 200));
    world.hole(0);
    let (log, held) = (world.log(), bounds(world, 0));
    let all = read(&*log, 0, held.start, held.end);
    assert!(all.len() > 100, "{} records", all.len());
    assert!(all.windows(2).all(|pair| pair[0].offset < pair[1].offset), "in order");
    assert!(all.iter().all(|record| (held.start..held.end).contains(&record.offset)));
    for split in [all[0].offset, all[50].offset, all[50].offset + 1, held.end] {
        let (left, right) = (read(&*log, 0, held.start, split), read(&*log, 0, split, held.end));
        assert!(
            left.iter().all(|record| record.offset < split),
            "nothing behind the end of the range"
        );
        assert_eq!([left, right].concat(), all, "divided at {split}");
    }
    assert_eq!(read(&*log, 0, 0, held.end), all, "what is no longer held is passed over");
}

fn a_tail_shows_what_is_appended(world: &mut dyn World) {
    world.append(0, &texts("tail-", 30));
    let (log, end) = (world.log(), bounds(world, 0).end);
    let mut tail = log.tail(&Position([(0, end - 10)].into())).expect("a tail");
    let shown = show(&mut *tail, 10);
    let payloads: Vec<&[u8]> = shown.iter().map(|(_, _, payload)| payload.as_slice()).collect();
    assert_eq!(payloads, &texts("tail-", 30)[20..], "from the offset that was given");
    assert!(
        shown
            .iter()
            .zip(end - 10..end)
            .all(|((partition, at, _), offset)| (*partition, *at) == (0, offset))
    );
    world.append(1, &texts("tail-1-", 5));
    let shown = show(&mut *tail, 5);
    assert!(shown.iter().all(|(partition, ..)| *partition == 1), "others begin at their end");
    let payloads: Vec<&[u8]> = shown.iter().map(|(_, _, payload)| payload.as_slice()).collect();
    assert_eq!(payloads, texts("tail-1-", 5));
}

/// The next so many records of a tail: partition, offset, payload.
fn show(tail: &mut dyn Tail, count: usize) -> Vec<(u32, u64, Vec<u8>)> {
    let (mut shown, started) = (Vec::new(), Instant::now());
    while shown.len() < count {
        assert!(started.elapsed() < PATIENCE, "{} of {count} records are shown", shown.len());
        let polled = tail.poll(WAIT, 1_000, &mut |partition, records: &[Record<'_>]| {
            let copied = |record: &Record<'_>| {
                (partition, record.offset, record.payload.unwrap_or_default().to_vec())
            };
            shown.extend(records.iter().map(copied));
        });
        assert!(!matches!(polled, Err(LogError::Fatal(_))), "{polled:?}");
    }
    shown
}

fn starts_are_found_by_time(world: &mut dyn World) {
    for partition in 0..world.partitions() {
        world.append(partition, &texts("early-", 2));
    }
    let (log, held) = (world.log(), all_bounds(world));
    let starts = |since| log.starts(since).expect("the log answers");
    assert_eq!(
        starts(i64::MAX),
        ends(world).into_iter().collect(),
        "nothing is appended later than ever"
    );
    let first = starts(0);
    for held in &held {
        let all = read(&*log, held.partition, held.start, held.end);
        assert_eq!(
            first[&held.partition], all[0].offset,
            "the first record of partition {}",
            held.partition
        );
    }
    let newest = held.iter().flat_map(|held| read(&*log, held.partition, held.start, held.end));
    let newest = newest.map(|record| record.timestamp_ms).max().expect("there are records");
    while wall_ms() <= newest {
        std::thread::yield_now();
    }
    let now = wall_ms();
    world.append(0, &texts("late-", 3));
    let late = starts(now);
    for held in held {
        assert_eq!(
            late[&held.partition], held.end,
            "what was appended since, of partition {}",
            held.partition
        );
    }
}

fn a_replay_reads_all_that_is_wanted(world: &mut dyn World) {
    let (log, held) = (world.log(), all_bounds(world));
    let wanted: Vec<u32> = held.iter().map(|held| held.partition).collect();
    let mut source = log.replay(Box::new(move || wanted.clone())).expect("a replay");
    let mut sink = Recorder::new(Start::Earliest);
    let expected: usize =
        held.iter().map(|held| read(&*log, held.partition, held.start, held.end).len()).sum();
    until(&mut *source, &mut sink, "all records of all partitions", |sink| {
        sink.count() >= expected
    });
    assert_eq!(sink.count(), expected);
    close(source);
}
