//! A process that may open few files, and callers that take all they can get: posts are taken again
//! by themselves.

use serde_json::json;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};
use tally_tests::client::{Answer, NotPosted};
use tally_tests::tally::{Home, Tally};

const CONFIG: &str =
    "[store]\ncheckpoint_interval_ms = 100\n[server]\nevaluation_deadline_ms = 10000\n";

const LONG: Duration = Duration::from_secs(60);

/// About 1 MB of events.
fn lines(name: &str) -> String {
    let line = |n| {
        let filler = "x".repeat(200);
        json!({"event_id": format!("{name}-{n}"), "user_id": n % 50, "product_id": n % 7, "event_type": "view", "x": filler})
    };
    (0..3_000).map(|n| format!("{}\n", line(n))).collect()
}

fn limit(tally: &Tally, files: &str) {
    let pid = tally.process.pid().to_string();
    let set = Command::new("prlimit")
        .args([&format!("--nofile={files}"), "--pid", &pid])
        .status()
        .unwrap();
    assert!(set.success());
}

fn limits(tally: &Tally) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{}/limits", tally.process.pid())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap_or(u64::MAX));
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Posts until all of it was taken; how often it was refused first.
fn post(tally: &Tally, lines: &str) -> (String, usize) {
    let begun = Instant::now();
    let mut refused = 0;
    loop {
        match tally.client.events(lines) {
            Ok(posted) => return (posted.position, refused),
            Err(NotPosted::Unknown(_)) => refused += 1,
            Err(wrong) => panic!("{wrong:?}"),
        }
        assert!(begun.elapsed() < LONG, "nothing is taken any more");
    }
}

fn total(tally: &Tally, at: &str) -> u64 {
    tally.client.ask("event_frequencies", &json!({}), at).unwrap()["total"].as_u64().unwrap()
}

#[test]
fn silent_connections_leave_the_engine_what_it_needs() {
    // The sockets are this process's too, which runs other tests meanwhile: the limit is raised,
    // never lowered.
    tally_engine::descriptors::raise().unwrap();
    let mut home = Home::new(CONFIG).unwrap();
    home.wrapped("ulimit -Sn 1024; ulimit -Hn 1024").unwrap();
    let tally = home.start().unwrap();
    assert_eq!(limits(&tally), (1_024, 1_024));
    let silent: Vec<TcpStream> =
        (0..1_010).map(|_| TcpStream::connect(tally.address).unwrap()).collect();
    let mut at = String::new();
    // 40 MB: flushes and journals need files of their own.
    for part in 0..40 {
        at = post(&tally, &lines(&part.to_string())).0;
    }
    assert_eq!(total(&tally, &at), 120_000);
    drop(silent);
    tally.client.ready(LONG).unwrap();
    tally.stop().unwrap();
}

#[test]
fn the_soft_limit_is_raised() {
    let mut home = Home::new(CONFIG).unwrap();
    home.wrapped("ulimit -Sn 256; ulimit -Hn 4096").unwrap();
    let tally = home.start().unwrap();
    assert_eq!(limits(&tally), (4_096, 4_096));
    tally.stop().unwrap();
}

/// Even where they run out, by whatever took them, that passes: nothing is written meanwhile, and
/// nothing has to be started again.
#[test]
fn running_out_of_descriptors_passes_with_its_cause() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let (mut at, _) = post(&tally, &lines("first"));
    let before = limits(&tally);
    for round in 0..3 {
        // Fewer than are in use.
        limit(&tally, &format!("12:{}", before.1));
        let refused = tally.client.events(&lines(&format!("refused-{round}"))).unwrap_err();
        assert!(
            matches!(&refused, NotPosted::Unknown(text) if text.contains("files that this process may have open")),
            "{refused:?}"
        );
        let told = |answer: &Answer| answer.status == 503 && answer.text.contains("LimitNOFILE");
        tally.client.readyz("it is told", LONG, told).unwrap();
        limit(&tally, &format!("{}:{}", before.0, before.1));
        tally.client.ready(LONG).unwrap();
        let (position, refused) = post(&tally, &lines(&format!("round-{round}")));
        assert_eq!(refused, 0, "it goes on by itself");
        at = position;
    }
    assert_eq!(total(&tally, &at), 12_000);
    tally.stop().unwrap();
}
