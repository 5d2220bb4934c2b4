//! `tally tap` over a real engine: what the log holds, filtered; and connections that are cut and
//! made again.

use serde_json::{Value, json};
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::proxy::Proxy;
use tally_tests::tally::Home;

/// One partition, so that events come in the order in which they were posted.
const CONFIG: &str = "[log]\npartitions = 1\n";

const LIMIT: Duration = Duration::from_secs(60);

/// Events `[from, to)`, each of a user of its own; the even ones are views, the odd ones buys.
fn events(from: u64, to: u64) -> String {
    let one = |n: u64| {
        let kind = if n.is_multiple_of(2) { "view" } else { "buy" };
        format!("{{\"user_id\":{n},\"product_id\":{},\"event_type\":\"{kind}\"}}\n", n % 7)
    };
    (from..to).map(one).collect()
}

/// The users of the events that were printed.
fn users(printed: &str) -> Vec<u64> {
    let user = |line: &str| serde_json::from_str::<Value>(line).unwrap()["user_id"].as_u64();
    printed.lines().map(|line| user(line).unwrap()).collect()
}

/// Waits until a WebSocket is open.
fn until_connected(client: &Client) {
    let seen = |client: &Client| {
        let status = client.get("/api/status").map_err(|fault| format!("{fault:#}"))?;
        match status.json()["sockets"]["websockets"].as_u64() {
            Some(1..) => Ok(String::new()),
            _ => Err(status.text),
        }
    };
    client.until("a WebSocket is open", LIMIT, seen).unwrap();
}

#[test]
fn what_the_log_holds_is_printed_as_far_as_it_is_wanted() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let url = tally.url();
    let end = tally.client.post_all(&events(0, 100)).unwrap();
    tally.client.ask("event_frequencies", &json!({}), &end).unwrap();
    let tap = |args: &[&str]| {
        home.succeed(&[&["tap", "--url", &url, "--since", "0:0"], args].concat()).unwrap()
    };
    assert_eq!(users(&tap(&["--limit", "100"])), (0..100).collect::<Vec<_>>());
    let buys: Vec<u64> = (0..100).filter(|n| n % 2 == 1).collect();
    assert_eq!(users(&tap(&["--type", "buy", "--limit", "50"])), buys);
    assert_eq!(users(&tap(&["--type", "buy,view", "--user", "8", "--limit", "1"])), [8]);
    assert_eq!(users(&tap(&["--product", "3", "--type", "view", "--limit", "3"])), [10, 24, 38]);
    let whole: Value = serde_json::from_str(&tap(&["--json", "--limit", "1"])).unwrap();
    assert_eq!(
        (&whole["type"], &whole["position"], &whole["event"]["user_id"]),
        (&json!("event"), &json!("0:1"), &json!(0))
    );
    for (since, detail) in [
        ("0:101", "partition 0 ends at offset 100, and 101 is beyond that"),
        ("0:0,3:7", "the log has no partition 3; its last one is partition 0"),
    ] {
        let output = home.run(&["tap", "--url", &url, "--since", since]).unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        let refused = format!("error: the engine refuses: {detail} (position_invalid)\n");
        assert!(told.contains(&refused), "{told}");
    }
    let output = home.run(&["tap", "--url", &url, "--since", "0:0", "--limit", "1"]).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(told, "note: --since 0:1 goes on from here\n");
    tally.stop().unwrap();
}

#[test]
fn a_connection_that_is_cut_is_made_again_and_nothing_is_missing_or_twice() {
    const CUTS: u64 = 6;
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let proxy = Proxy::start(&tally.address.to_string(), &[]).unwrap();
    let url = format!("http://{}", proxy.at());
    let limit = (CUTS * 25).to_string();
    let args = ["tap", "--url", &url, "--since", "0:0", "--limit", &limit];
    let output = std::thread::scope(|scope| {
        let tap = scope.spawn(|| home.run(&args).unwrap());
        for cut in 0..CUTS {
            until_connected(&tally.client);
            tally.client.post_all(&events(cut * 25, cut * 25 + 25)).unwrap();
            proxy.cut();
        }
        tap.join().unwrap()
    });
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(users(&printed), (0..CUTS * 25).collect::<Vec<_>>(), "{told}");
    assert!(told.contains(" again in "), "{told}");
    assert!(told.ends_with(&format!("note: --since 0:{limit} goes on from here\n")), "{told}");
    tally.stop().unwrap();
}
