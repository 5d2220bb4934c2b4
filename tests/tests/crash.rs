//! Every event counts once, whatever moment the engine dies in: real kills under load, and an oracle of plain maps.
//!
//! `TALLY_SEED=n` repeats a run's events, and its kills as far as a real clock lets it.
//!
//! That these tests can fail is shown by two of them: without the dedupe window what is sent twice is found to be doubled,
//! and an acknowledged event that is not in the log is found to be lost.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking, and says its seed")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tally_tests::chaos::{Feeder, Plan, run, seed, settle};
use tally_tests::oracle::Oracle;
use tally_tests::tally::Home;

/// Small checkpoints, so that kills meet many; a long deadline, so that a busy machine is no failure.
const CONFIG: &str = "[store]\ncheckpoint_interval_ms = 100\n[server]\nevaluation_deadline_ms = 10000\n";

#[test]
fn thirty_kills_lose_nothing_and_double_nothing() {
    let seed = seed();
    println!("TALLY_SEED={seed}");
    let begun = Instant::now();
    let report = run(&Plan { config: CONFIG.into(), kills: 30, seed, lies: false });
    let report = report.unwrap_or_else(|fault| panic!("TALLY_SEED={seed}: {fault:#}"));
    println!("{report:?} in {:?}", begun.elapsed());
    assert!(report.kills.0 >= 30, "too few kills under load: {report:?}");
}

#[test]
fn doubled_events_would_be_found() {
    let config = format!("{CONFIG}[events]\ndedupe_window = 0\n");
    let fault = run(&Plan { config, kills: 2, seed: 1, lies: false }).unwrap_err().to_string();
    assert!(fault.starts_with("counted wrong"), "{fault}");
}

#[test]
fn a_lost_event_would_be_found() {
    let fault = run(&Plan { config: CONFIG.into(), kills: 2, seed: 1, lies: true }).unwrap_err().to_string();
    assert!(fault.starts_with("counted wrong"), "{fault}");
}

#[test]
fn sigterm_under_load_ends_in_time_and_loses_nothing() {
    let seed = seed();
    println!("TALLY_SEED={seed}");
    let home = Home::new(CONFIG).unwrap();
    let mut feeders = Feeder::several(2, seed, jiff::Timestamp::now().as_millisecond());
    let mut oracle = Oracle::default();
    for _ in 0..3 {
        let tally = home.start().unwrap();
        settle(&mut feeders, &mut oracle, &tally.client, None).unwrap();
        let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
        let address = tally.address;
        let ended = std::thread::scope(|scope| {
            let (stop, acknowledged) = (&stop, &acknowledged);
            let running: Vec<_> =
                feeders.iter_mut().map(|feeder| scope.spawn(move || feeder.run(address, stop, acknowledged))).collect();
            let begun = Instant::now();
            while acknowledged.load(Ordering::SeqCst) < 100 {
                assert!(begun.elapsed() < Duration::from_secs(60), "100 posts took a minute");
                std::thread::sleep(Duration::from_millis(2));
            }
            let ended = tally.process.stop(Duration::from_secs(20));
            stop.store(true, Ordering::SeqCst);
            running.into_iter().for_each(|feeder| feeder.join().unwrap().unwrap());
            ended.unwrap()
        });
        assert_eq!((ended.code, ended.signal), (Some(0), None), "{ended:?}");
        assert!(ended.took < Duration::from_secs(5), "{ended:?}");
        let closing = ended.out.last().unwrap();
        assert!(closing.starts_with("stopping…") && closing.ends_with(" committed, 0 lost"), "{closing}");
    }
    let tally = home.start().unwrap();
    settle(&mut feeders, &mut oracle, &tally.client, Some(20)).unwrap();
    tally.stop().unwrap();
}
