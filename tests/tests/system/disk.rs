//! A data directory whose disk is full, or whose writes fail: nothing is lost, and what cannot be
//! done is said.
//!
//! The full disk is a small one in memory, so these tests need the right to mount (root).

use serde_json::json;
use std::time::Duration;
use tally_tests::client::{Answer, NotPosted};
use tally_tests::disk::{Disk, limit_files};
use tally_tests::tally::{Home, Tally};

const CONFIG: &str =
    "[store]\ncheckpoint_interval_ms = 100\n[server]\nevaluation_deadline_ms = 10000\n";

const LONG: Duration = Duration::from_secs(30);

fn lines(name: &str, count: usize) -> String {
    let line = |n| json!({"event_id": format!("{name}-{n}"), "user_id": n % 50, "product_id": n % 7, "event_type": "view"});
    (0..count).map(|n| format!("{}\n", line(n))).collect()
}

fn total(tally: &Tally, at_least: &str) -> u64 {
    tally.client.ask("event_frequencies", &json!({}), at_least).unwrap()["total"].as_u64().unwrap()
}

/// It does not take events, and says so for that reason.
fn refuses(tally: &Tally, why: &str) {
    let refused = tally.client.events(&lines("refused", 10)).unwrap_err();
    assert!(matches!(&refused, NotPosted::Unknown(text) if text.contains(why)), "{refused:?}");
}

#[test]
fn a_full_disk_is_waited_for() {
    let home = Home::new(CONFIG).unwrap();
    let disk = Disk::mount(home.path().join(".tally"), "size=200m").unwrap();
    let tally = home.start().unwrap();
    let at = tally.client.post_all(&lines("first", 1_000)).unwrap();
    assert_eq!(total(&tally, &at), 1_000);

    disk.fill(30).unwrap();
    // Nothing is to be written, and yet it is told.
    let full =
        |answer: &Answer| answer.status == 503 && answer.text.contains("free some disk space");
    tally.client.readyz("a full disk is told", LONG, full).unwrap();
    refuses(&tally, "free some disk space");
    assert_eq!(total(&tally, &at), 1_000, "what is known is answered");
    disk.empty().unwrap();
    tally.client.ready(LONG).unwrap();
    let at = tally.client.post_all(&lines("refused", 10)).unwrap();
    assert_eq!(total(&tally, &at), 1_010, "and it goes on by itself");

    // The same with an end between: what was acknowledged is there.
    let at = tally.client.post_all(&lines("second", 500)).unwrap();
    disk.fill(30).unwrap();
    tally.kill().unwrap();
    disk.empty().unwrap();
    let tally = home.start().unwrap();
    assert_eq!(total(&tally, &at), 1_510);
    tally.stop().unwrap();
}

#[test]
fn after_a_failed_write_it_goes_on_by_itself_once_writing_works() {
    let mut home = Home::new(CONFIG).unwrap();
    home.ignore_file_limits().unwrap();
    let tally = home.start().unwrap();
    let mut at = String::new();
    for part in 0..4 {
        at = tally.client.post_all(&lines(&format!("first-{part}"), 5_000)).unwrap();
    }
    assert_eq!(total(&tally, &at), 20_000);

    let limit = |bytes| limit_files(tally.process.pid(), bytes).unwrap();
    // Twice: what mended the first failure mends the next.
    for round in ["one", "two"] {
        limit(Some(1_000_000));
        refuses(&tally, "the database failed");
        let failed =
            |answer: &Answer| answer.status == 503 && answer.text.contains("check disk and limits");
        tally.client.readyz("a failed write is told", LONG, failed).unwrap();
        assert_eq!(
            total(&tally, &at),
            if round == "one" { 20_000 } else { 20_060 },
            "what is known is answered"
        );
        assert_eq!(tally.client.get("/livez").unwrap().status, 200);

        limit(None);
        tally.client.ready(LONG).unwrap();
        // Sent again, as a client does that does not know: whether the failed write applied makes
        // no difference.
        tally.client.post_all(&lines("refused", 10)).unwrap();
        at = tally.client.post_all(&lines("last", 50)).unwrap();
        assert_eq!(total(&tally, &at), 20_060, "{round}: the same process goes on");
    }
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    assert_eq!(total(&tally, &at), 20_060);
    tally.stop().unwrap();
}
