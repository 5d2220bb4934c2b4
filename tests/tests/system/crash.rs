//! Every event counts once, whatever moment the engine dies in: real kills under load, and an
//! oracle of plain maps.
//!
//! `TALLY_SEED=n` repeats a run's events, and its kills as far as a real clock lets it.
//!
//! That these tests can fail is shown by two of them: without the dedupe window what is sent twice
//! is found to be doubled, and an acknowledged event that is not in the log is found to be lost.
#![allow(clippy::print_stdout, reason = "measurements and seeds are printed")]

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tally_tests::chaos::{Feeder, Pace, seed, settle};
use tally_tests::client::Client;
use tally_tests::ends::Ends;
use tally_tests::fleet::{Fault, Place, Plan, run};
use tally_tests::folder::{self, drop_in, post};
use tally_tests::oracle::Oracle;
use tally_tests::points;
use tally_tests::poison::poison;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally};

/// Small checkpoints; a long deadline, so that a busy machine is no failure.
const CONFIG: &str =
    "[store]\ncheckpoint_interval_ms = 100\n[server]\nevaluation_deadline_ms = 10000\n";

/// No checkpoint before the engine is killed.
const UNSTORED: &str =
    "[store]\ncheckpoint_interval_ms = 600000\n[server]\nevaluation_deadline_ms = 10000\n";

/// One partition, so that events are counted as they were posted, and a checkpoint after each batch.
const SLOW: &str = "[plugins]\ndir = \"plugins\"\n[log]\npartitions = 1\n[store]\ncheckpoint_interval_ms = 50\n[server]\nevaluation_deadline_ms = 10000\n";

/// How long counting may take on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(60);

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
        let (stop, pace) = (AtomicBool::new(false), Pace::default());
        let address = tally.address;
        let ended = std::thread::scope(|scope| {
            let (stop, pace) = (&stop, &pace);
            let running: Vec<_> = feeders
                .iter_mut()
                .map(|feeder| scope.spawn(move || feeder.run(address, stop, pace)))
                .collect();
            let ends = Ends(stop);
            let begun = Instant::now();
            while pace.acknowledged() < 20_000 {
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
        let whole = questions.filter(|(metric, part)| {
            // The list says no more than an answer does.
            let listed = client.get(&format!("/api/metrics/{metric}")).unwrap().json();
            let is_whole = is_whole(client, metric, *part, EVENTS);
            let is_listed = listed["state"] == "active" || listed["history"]["state"] == "complete";
            assert!(is_whole || !is_listed, "{metric}: {listed}");
            is_whole
        });
        whole.count() == 4
    };
    let counted_again = || {
        let tally = home.listening().unwrap();
        assert_eq!(tally.client.get("/livez").unwrap().status, 200);
        let begun = Instant::now();
        while !all_whole(&tally.client) {
            assert!(begun.elapsed() < LIMIT, "it is not counted");
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

#[test]
fn an_engine_is_ready_once_what_it_had_acknowledged_is_counted_again() {
    const EVENTS: u64 = 30_000;
    let home = Home::new(UNSTORED).unwrap();
    // What is stored is that nothing was there to be counted.
    home.start().unwrap().stop().unwrap();
    let tally = home.start().unwrap();
    post(&tally.client, 0, EVENTS);
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    // No position is asked for: who is ready has at least what was acknowledged.
    let answer = tally.client.answer("event_frequencies", &json!({}), "").unwrap();
    assert_eq!(answer["result"]["total"], EVENTS, "{answer}");
    tally.stop().unwrap();
}

/// The events of the tests that end an engine in the middle of its first count, which takes some
/// five seconds.
const SOME_SLOW: u64 = 30_000;

/// The metric that is asked in them; beside it one is counted that takes 80 ms for product 777.
const METRIC: &str = "event_frequencies";

/// Events `[from, to)`, each five hundredth of product 777.
fn some_slow(from: u64, to: u64) -> String {
    let event = |n: u64| {
        let product = if n % 500 == 499 { 777 } else { n % 89 };
        let event = json!({"event_id": format!("s{n}"), "user_id": n % 97, "product_id": product, "event_type": "view", "timestamp": "2026-01-01T00:00:00Z"});
        format!("{event}\n")
    };
    (from..to).map(event).collect()
}

/// The offset after what is stored of [`METRIC`] in the only partition.
fn stored(home: &Home, tally: &Tally) -> u64 {
    let output = home.run(&["state", "tables", "--json", "--url", &tally.url()]).unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let mut metrics = said["metrics"].as_array().into_iter().flatten();
    let found = metrics.find(|stored| stored["metric"] == METRIC);
    found.and_then(|stored| stored["partitions"][0]["next"].as_u64()).unwrap_or(0)
}

/// Neither question passes for the whole, or both do.
fn are_whole(client: &Client) -> bool {
    let in_part = is_whole(client, METRIC, true, SOME_SLOW);
    // Meanwhile the rest may have been counted.
    is_whole(client, METRIC, false, SOME_SLOW) && in_part
}

fn until_whole(client: &Client) {
    let begun = Instant::now();
    while !are_whole(client) {
        assert!(begun.elapsed() < LIMIT, "it is not counted");
    }
}

/// A home that serves one metric, and its plugin folder.
fn slow_home() -> (Home, PathBuf) {
    let (home, folder) = folder::home();
    home.write("metrics.toml", SLOW).unwrap();
    drop_in(&folder, "products_popularity");
    (home, folder)
}

/// An engine that has counted all events, after two that were killed when a part was stored.
fn killed_in_the_first_count(home: &Home, folder: &Path) -> Tally {
    let tally = home.start().unwrap();
    for from in (0..SOME_SLOW).step_by(5_000) {
        tally.client.post_all(&some_slow(from, from + 5_000)).unwrap();
    }
    tally.stop().unwrap();
    // Nothing is stored of the metrics that are served from now on.
    fs::remove_file(folder.join("products_popularity.so")).unwrap();
    drop_in(folder, METRIC);
    fs::copy(poison(true).unwrap(), folder.join("poison.so")).unwrap();
    let mut next = 0;
    for _ in 0..2 {
        let tally = home.listening().unwrap();
        let (begun, before) = (Instant::now(), next);
        while next <= before {
            assert!(!are_whole(&tally.client), "it has counted too fast");
            assert!(begun.elapsed() < LIMIT, "nothing is stored");
            next = stored(home, &tally);
        }
        assert!(next < SOME_SLOW, "it has counted too fast");
        tally.kill().unwrap();
    }
    let tally = home.listening().unwrap();
    assert!(!are_whole(&tally.client), "a part of it was stored");
    until_whole(&tally.client);
    tally
}

#[test]
fn a_part_of_history_that_is_stored_never_passes_for_the_whole() {
    let (home, folder) = slow_home();
    killed_in_the_first_count(&home, &folder).stop().unwrap();
    let tally = home.start().unwrap();
    assert!(are_whole(&tally.client), "all of it is stored");
    tally.stop().unwrap();
}

#[test]
fn the_same_in_redis_which_also_loses_it() {
    let redis = Redis::start(&[]).unwrap();
    let (mut home, folder) = slow_home();
    home.env("REDIS_URL", &redis.url());
    let tally = killed_in_the_first_count(&home, &folder);
    redis::cmd("FLUSHALL").exec(&mut redis.connect().unwrap()).unwrap();
    assert!(!are_whole(&tally.client), "it is gone");
    until_whole(&tally.client);
    tally.stop().unwrap();
    let tally = home.start().unwrap();
    assert!(are_whole(&tally.client), "all of it is stored");
    tally.stop().unwrap();
}
