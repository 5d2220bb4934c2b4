//! Every event counts once, whatever moment the engine dies in: real kills under load, and an
//! oracle of plain maps.
//!
//! `TALLY_SEED=n` repeats a run's events, and its kills as far as a real clock lets it.
//!
//! That these tests can fail is shown by two of them: without the dedupe window what is sent twice
//! is found to be doubled, and an acknowledged event that is not in the log is found to be lost.
#![allow(clippy::print_stdout, reason = "measurements and seeds are printed")]

use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tally_tests::chaos::{Feeder, seed, settle};
use tally_tests::client::Client;
use tally_tests::ends::Ends;
use tally_tests::fleet::{Fault, Place, Plan, run};
use tally_tests::folder::post;
use tally_tests::oracle::Oracle;
use tally_tests::points;
use tally_tests::tally::Home;

/// Small checkpoints; a long deadline, so that a busy machine is no failure.
const CONFIG: &str =
    "[store]\ncheckpoint_interval_ms = 100\n[server]\nevaluation_deadline_ms = 10000\n";

/// No checkpoint before the engine is killed.
const UNSTORED: &str =
    "[store]\ncheckpoint_interval_ms = 600000\n[server]\nevaluation_deadline_ms = 10000\n";

fn plan(faults: &[Fault], seed: u64) -> Plan {
    Plan::new(1, Place::Embedded, faults, seed)
}

#[test]
fn thirty_kills_lose_nothing_and_double_nothing() {
    let seed = seed();
    println!("TALLY_SEED={seed}");
    let begun = Instant::now();
    let faults = [Fault::Kill, Fault::Kill, Fault::KillStarting].repeat(10);
    let report = run(None, &plan(&faults, seed))
        .unwrap_or_else(|fault| panic!("TALLY_SEED={seed}: {fault:#}"));
    println!("{report:?} in {:?}", begun.elapsed());
    assert_eq!((report.lost, report.doubled), (0, 0));
}

#[test]
fn an_end_at_each_moment_of_the_protocol() {
    let seed = seed();
    println!("TALLY_SEED={seed}");
    println!(
        "{:?}",
        points::alone(1, seed).unwrap_or_else(|fault| panic!("TALLY_SEED={seed}: {fault:#}"))
    );
}

#[test]
fn doubled_events_would_be_found() {
    let config = "[events]\ndedupe_window = 0\n".into();
    let fault = run(None, &Plan { config, ..plan(&[Fault::Kill; 2], 1) }).unwrap_err();
    assert!(format!("{fault:#}").contains("counted wrong"), "{fault:#}");
}

#[test]
fn a_lost_event_would_be_found() {
    let fault = run(None, &Plan { lies: true, ..plan(&[Fault::Kill; 2], 1) }).unwrap_err();
    assert!(format!("{fault:#}").contains("counted wrong"), "{fault:#}");
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
            let running: Vec<_> = feeders
                .iter_mut()
                .map(|feeder| scope.spawn(move || feeder.run(address, stop, acknowledged)))
                .collect();
            let ends = Ends(stop);
            let begun = Instant::now();
            while acknowledged.load(Ordering::SeqCst) < 20_000 {
                assert!(begun.elapsed() < Duration::from_secs(60), "20,000 events took a minute");
                std::thread::sleep(Duration::from_millis(2));
            }
            let ended = tally.process.stop(Duration::from_secs(20));
            drop(ends);
            running.into_iter().for_each(|feeder| feeder.join().unwrap().unwrap());
            ended.unwrap()
        });
        assert_eq!((ended.code, ended.signal), (Some(0), None), "{ended:?}");
        assert!(ended.took < Duration::from_secs(5), "{ended:?}");
        let closing = ended.out.last().unwrap();
        assert!(
            closing.starts_with("stopping…") && closing.ends_with(" committed, 0 lost"),
            "{closing}"
        );
    }
    let tally = home.start().unwrap();
    settle(&mut feeders, &mut oracle, &tally.client, Some(20)).unwrap();
    tally.stop().unwrap();
}

/// Whether an answer passes for the whole: then it holds all `events`. Otherwise the question is
/// refused or, where it allows that, answered as partial.
fn is_whole(client: &Client, metric: &str, allow_partial: bool, events: u64) -> bool {
    let question = json!({"name": metric, "allow_partial": allow_partial});
    let answer = client.evaluate(&question).unwrap();
    let body = answer.json();
    match answer.status {
        200 => {
            let is_whole = body["meta"]["history"]["state"] == "complete";
            assert!(is_whole || allow_partial, "{question}: {body}");
            assert!(!is_whole || body["result"]["total"] == events, "{question}: {body}");
            is_whole
        }
        503 => {
            let codes = ["backfilling", "partitions_missing", "store_unavailable"];
            assert!(codes.iter().any(|code| body["code"] == *code), "{question}: {body}");
            assert!(!answer.header("retry-after").is_empty(), "{question}: {body}");
            false
        }
        status => panic!("{question}: {status} {body}"),
    }
}

#[test]
fn what_was_never_stored_is_counted_again_before_an_answer_passes_for_the_whole() {
    const EVENTS: u64 = 60_000;
    let home = Home::new(UNSTORED).unwrap();
    let tally = home.start().unwrap();
    assert!(is_whole(&tally.client, "event_frequencies", false, 0), "the log is empty");
    let end = post(&tally.client, 0, EVENTS);
    assert_eq!(tally.client.ask("event_frequencies", &json!({}), &end).unwrap()["total"], EVENTS);
    tally.kill().unwrap();

    let all_whole = |client: &Client| {
        let metrics = ["event_frequencies", "products_popularity"].into_iter();
        let questions = metrics.flat_map(|metric| [(metric, false), (metric, true)]);
        // Each of them each time: also one that is whole is asked again.
        let whole = questions.filter(|(metric, part)| is_whole(client, metric, *part, EVENTS));
        whole.count() == 4
    };
    let counted_again = || {
        let tally = home.listening().unwrap();
        assert_eq!(tally.client.get("/livez").unwrap().status, 200);
        let begun = Instant::now();
        while !all_whole(&tally.client) {
            assert!(begun.elapsed() < Duration::from_secs(60), "it is not counted");
        }
        tally
    };
    for _ in 0..3 {
        counted_again().kill().unwrap();
    }
    counted_again().stop().unwrap();
    // Now it is stored, and nothing has to be counted.
    let tally = home.start().unwrap();
    assert!(all_whole(&tally.client));
    tally.stop().unwrap();
}
