//! Numbers that lack events say so, wherever they leave; revisions that lack some do not answer by
//! themselves; and what was said of a revision outlives the engine.

use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::folder::{CONFIG, drop_in, home, until_state};
use tally_tests::poison::{poison, poison_of};
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally};

const LIMIT: Duration = Duration::from_secs(60);
const ALL: Value = Value::Null;

/// One partition, so that events follow each other as they are posted.
const ONE: &str = "[log]\npartitions = 1\n";

/// Events `[from, to)`; the poisoned ones on product 666.
fn events(from: u64, to: u64, poisoned: impl Fn(u64) -> bool) -> String {
    let event = |n: u64| {
        let product = if poisoned(n) { 666 } else { n % 89 };
        format!(
            "{{\"event_id\":\"e{n}\",\"user_id\":{},\"product_id\":{product},\"event_type\":\"view\",\"timestamp\":\"2026-01-01T00:00:00Z\"}}\n",
            1_000 + n % 97
        )
    };
    (from..to).map(event).collect()
}

/// What `poison` counted, and how many events it says are missing.
fn counted(client: &Client, metric: &str, end: &str) -> (u64, Option<u64>) {
    let answer = client.answer(metric, &ALL, end).unwrap();
    let warnings = answer["warnings"].as_array().unwrap();
    let failed = warnings.iter().find(|warning| warning["code"] == "events_failed");
    if let Some(failed) = failed {
        let detail = failed["detail"].as_str().unwrap();
        assert!(detail.contains("raise its `revision`") && detail.contains(metric), "{detail}");
    }
    (
        answer["result"]["fed"].as_u64().unwrap(),
        failed.map(|failed| failed["count"].as_u64().unwrap()),
    )
}

fn with_poison(config: &str, plugin: PathBuf) -> (Home, PathBuf) {
    let (home, folder) = home();
    home.write("metrics.toml", format!("{CONFIG}{ONE}{config}")).unwrap();
    fs::copy(plugin, folder.join("poison.so")).unwrap();
    drop_in(&folder, "event_frequencies");
    (home, folder)
}

fn descriptor(client: &Client, name: &str) -> Value {
    client.get(&format!("/api/metrics/{name}")).unwrap().json()
}

/// Waits until the catalogue says something of a metric.
fn until_said(client: &Client, what: &str, name: &str, said: impl Fn(&Value) -> bool) -> Value {
    let seen = |client: &Client| {
        let seen = descriptor(client, name);
        if said(&seen) { Ok(seen.to_string()) } else { Err(seen.to_string()) }
    };
    serde_json::from_str(&client.until(what, LIMIT, seen).unwrap()).unwrap()
}

fn listed(home: &Home, tally: &Tally) -> String {
    home.succeed(&["plugin", "list", "--url", &tally.url()]).unwrap()
}

fn log(home: &Home) -> String {
    fs::read_to_string(home.path().join("stderr.log")).unwrap()
}

#[test]
fn no_number_lacks_events_without_saying_so() {
    let (home, folder) = with_poison("", poison(true).unwrap());
    let mut tally = home.start().unwrap();
    let end = tally.client.post_all(&events(0, 1_000, |_| false)).unwrap();
    assert_eq!(counted(&tally.client, "poison", &end), (1_000, None));
    assert!(descriptor(&tally.client, "poison").get("events_failed").is_none());

    // Runs of failures of all lengths, over batches, commits, crashes and orderly ends: each event
    // counts in one of both figures.
    let poisoned = |n: u64| n % 100 < n / 100 % 40;
    let mut failed = 0;
    for (round, from) in (1_000..8_000_u64).step_by(1_000).enumerate() {
        for from in (from..from + 1_000).step_by(250) {
            tally.client.post_all(&events(from, from + 250, poisoned)).unwrap();
        }
        failed += (from..from + 1_000).filter(|n| poisoned(*n)).count() as u64;
        match round % 3 {
            0 => tally.kill().unwrap(),
            1 => drop(tally.stop().unwrap()),
            _ => continue,
        }
        tally = home.start().unwrap();
    }
    let end = tally.client.post_all(&events(8_000, 8_001, |_| false)).unwrap();
    let client = &tally.client;
    let right = (8_001 - failed, Some(failed));
    assert!(failed > 500, "{failed}");
    assert_eq!(counted(client, "poison", &end), right);
    // Without at_least: at once, from what was answered before, and an equal body again.
    for _ in 0..3 {
        assert_eq!(counted(client, "poison", ""), right);
    }
    failures_are_told(&home, &tally, failed);

    // Another metric of the same code meets the same events while it counts history, and says the
    // same.
    home.write(
        "metrics.toml",
        format!("{CONFIG}{ONE}[metrics.again]\nplugin = \"poison\"\n[metrics.poison]\n"),
    )
    .unwrap();
    until_state(client, "again", "active");
    assert_eq!(counted(client, "again", &end), right);

    // Mended code of the same revision lacks what the state lacks, which is said; of a higher one
    // nothing is missing.
    fs::copy(poison(false).unwrap(), folder.join("poison.so")).unwrap();
    wait_for_swap(client);
    until_said(client, "the mended code is there", "poison", |seen| seen["version"] == "1.0.1");
    let end = client.post_all(&events(8_001, 8_100, |n| n % 2 == 0)).unwrap();
    assert_eq!(counted(client, "poison", &end), (8_100 - failed, Some(failed)));
    assert!(
        log(&home).contains(
            "the new code continues with the state as it is, so missing events stay missing"
        ),
        "{}",
        tally.process.tail()
    );
    fs::copy(poison_of(false, 2).unwrap(), folder.join("poison.so")).unwrap();
    until_said(client, "the new revision answers", "poison", |seen| {
        seen["version"] == "2.0.1" && seen["before"].is_object()
    });
    assert_eq!(counted(client, "poison", &end), (8_100, None));
    assert_eq!(descriptor(client, "poison")["before"]["events_failed"], failed);
    tally.stop().unwrap();
}

fn wait_for_swap(client: &Client) {
    let swapped =
        |client: &Client| match client.figure("tally_plugin_swaps_total", "metric=\"poison\"") {
            Ok(swaps) if swaps >= 1.0 => Ok(String::new()),
            other => Err(format!("{other:?}")),
        };
    client.until("the mended code counts", LIMIT, swapped).unwrap();
}

/// Wherever numbers leave, they say how many events they lack.
fn failures_are_told(home: &Home, tally: &Tally, failed: u64) {
    let client = &tally.client;
    assert_eq!(descriptor(client, "poison")["events_failed"], failed);
    assert!(descriptor(client, "poison")["reason"].as_str().unwrap().contains("events_failed"));
    assert_eq!(
        client.figure("tally_metric_events_failed", "metric=\"poison\"").unwrap() as u64,
        failed
    );
    let versions = client.get("/api/metrics/poison/versions").unwrap().json();
    assert_eq!(versions["versions"][0]["events_failed"], failed);
    assert_eq!(versions["examples"][0]["answers"][0]["warnings"][0]["count"], failed, "{versions}");
    assert!(
        listed(home, tally).contains(&format!("{failed} events are in none of its numbers")),
        "{}",
        listed(home, tally)
    );
    let thousands =
        format!("{},{:03}", failed / 1_000, failed % 1_000).trim_start_matches("0,").to_owned();
    // What is stored follows what is counted.
    let stored = |_: &Client| {
        let stored = home.succeed(&["state", "tables", "--url", &tally.url()]).unwrap();
        if stored.contains(&format!("{thousands} events are missing from it")) {
            Ok(stored)
        } else {
            Err(stored)
        }
    };
    client.until("it is stored with the offset", LIMIT, stored).unwrap();
    let audit = home.succeed(&["verify", "poison", "--url", &tally.url()]).unwrap();
    assert!(audit.contains("0 missing · 0 double") && audit.contains("events failed"), "{audit}");
}

#[test]
fn engines_that_share_a_store_say_what_another_one_could_not_count() {
    let redis = Redis::start(&[]).unwrap();
    let (mut home, _) = with_poison("", poison(true).unwrap());
    home.env("REDIS_URL", &redis.at());
    let tally = home.start().unwrap();
    let end = tally.client.post_all(&events(0, 3_000, |n| n % 500 < 3)).unwrap();
    assert_eq!(counted(&tally.client, "poison", &end), (3_000 - 18, Some(18)));
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    assert_eq!(counted(&tally.client, "poison", &end), (3_000 - 18, Some(18)));
    home.succeed(&["verify", "poison", "--url", &tally.url()]).unwrap();
    tally.stop().unwrap();
}

#[test]
fn a_newer_revision_on_which_events_fail_is_held_back_until_a_person_promotes_it() {
    let (home, folder) = with_poison("", poison(false).unwrap());
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = client.post_all(&events(0, 3_000, |n| n % 500 == 7)).unwrap();
    assert_eq!(counted(client, "poison", &end), (3_000, None));
    fs::copy(poison_of(true, 2).unwrap(), folder.join("poison.so")).unwrap();
    let held = |seen: &Value| {
        seen["newer"]["state"] == "active"
            && seen["newer"]["held"].as_str().is_some_and(|why| why.contains("failed on 6 events"))
    };
    let seen = until_said(client, "it is held back", "poison", held);
    assert_eq!(
        (&seen["version"], &seen["newer"]["version"], &seen["newer"]["events_failed"]),
        (&json!("1.0.1"), &json!("2.0.0"), &json!(6))
    );
    assert_eq!(counted(client, "poison", &end), (3_000, None));
    assert!(
        listed(&home, &tally).contains("held back: its code failed on 6 events"),
        "{}",
        listed(&home, &tally)
    );
    client
        .readyz("readiness says so", LIMIT, |answer| {
            answer.status == 200 && answer.text.contains("1 newer revisions are")
        })
        .unwrap();
    assert_eq!(client.figure("tally_metric_newer_held", "metric=\"poison\"").unwrap(), 1.0);
    let versions = client.get("/api/metrics/poison/versions").unwrap().json();
    assert!(
        versions["versions"][1]["held"].as_str().unwrap().contains("failed on 6 events"),
        "{versions}"
    );

    tally.kill().unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    until_said(client, "it is held back after a restart", "poison", held);
    assert_eq!(counted(client, "poison", &end), (3_000, None));
    let said = home.succeed(&["plugin", "promote", "poison", "--url", &tally.url()]).unwrap();
    assert!(
        said.contains("the new revision answers; 6 events are in none of its numbers"),
        "{said}"
    );
    assert_eq!(counted(client, "poison", &end), (2_994, Some(6)));
    assert_eq!(client.figure("tally_metric_newer_held", "metric=\"poison\"").unwrap(), 0.0);
    home.succeed(&["plugin", "rollback", "poison", "--url", &tally.url()]).unwrap();
    assert_eq!(counted(client, "poison", &end), (3_000, None));
    tally.stop().unwrap();
}

#[test]
fn a_newer_revision_that_is_quarantined_is_told_everywhere_and_goes_on_once_it_is_mended() {
    let (home, folder) = with_poison("", poison(false).unwrap());
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = client.post_all(&events(0, 2_000, |n| n >= 500)).unwrap();
    assert_eq!(counted(client, "poison", &end), (2_000, None));
    let promote = |name: &str| {
        let output = home.run(&["plugin", "promote", name, "--url", &tally.url()]).unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(promote("poison").contains("there is no other revision of poison to promote"));
    assert!(promote("nosuch").contains("nosuch is not served"), "{}", promote("nosuch"));
    fs::copy(poison_of(true, 2).unwrap(), folder.join("poison.so")).unwrap();
    let seen = until_said(client, "it is quarantined", "poison", |seen| {
        seen["newer"]["state"] == "quarantined"
    });
    assert!(
        seen["newer"]["reason"].as_str().unwrap().contains("100 events in a row, from offset 500"),
        "{seen}"
    );
    assert_eq!((&seen["state"], &seen["version"]), (&json!("active"), &json!("1.0.1")));
    assert!(
        listed(&home, &tally).contains("quarantined: the plugin failed on 100 events in a row"),
        "{}",
        listed(&home, &tally)
    );
    client
        .readyz("readiness says so", LIMIT, |answer| {
            answer.status == 200 && answer.text.contains("1 newer revisions are")
        })
        .unwrap();
    let refused = promote("poison");
    assert!(
        refused.contains("quarantined and cannot answer") && refused.contains("from offset 500"),
        "{refused}"
    );
    assert_eq!(counted(client, "poison", &end), (2_000, None));

    // Its mended code goes on from where it stood; until that has counted, the other one answers.
    fs::copy(poison_of(false, 2).unwrap(), folder.join("poison.so")).unwrap();
    let seen = until_said(client, "the mended one answers", "poison", |seen| {
        assert_eq!(seen["state"], "active", "{seen}");
        seen["version"] == "2.0.1"
    });
    assert_eq!(seen["before"]["version"], "1.0.1", "{seen}");
    assert_eq!(counted(client, "poison", &end), (2_000, None));

    // A file that is no good is told as well.
    fs::write(folder.join("poison.so"), "nothing").unwrap();
    let refused = |client: &Client| {
        let listing = client.get("/api/metrics").unwrap().json()["rejected"].to_string();
        if listing.contains("poison.so") { Ok(listing) } else { Err(listing) }
    };
    client.until("it is refused", LIMIT, refused).unwrap();
    tally.stop().unwrap();
}

/// A section under which `products_popularity` means something else: another revision.
fn weighted(buy: u32, rest: &str) -> String {
    format!("{CONFIG}{ONE}{rest}[metrics.products_popularity.config.weights]\nbuy = {buy}\n")
}

/// The score of product 1, of which each event is a purchase.
fn score(client: &Client, end: &str) -> u64 {
    let answer = client.ask("products_popularity", &json!({"product_ids": [1]}), end).unwrap();
    answer["products"][0]["score"].as_u64().unwrap()
}

/// So many purchases of product 1, each of about a kilobyte.
fn purchases(from: u64, to: u64) -> String {
    let event = |n: u64| {
        json!({"event_id": format!("p{n}"), "user_id": n % 97, "product_id": 1, "event_type": "buy", "timestamp": "2026-01-01T00:00:00Z",
            "padding": "x".repeat(1_000)})
    };
    (from..to).map(|n| format!("{}\n", event(n))).collect()
}

#[test]
fn a_roll_back_outlives_the_engine_and_ends_when_it_was_said_to() {
    let (home, folder) = home();
    drop_in(&folder, "products_popularity");
    home.write("metrics.toml", weighted(2, "")).unwrap();
    let tally = home.start().unwrap();
    let end = tally.client.post_all(&purchases(0, 500)).unwrap();
    assert_eq!(score(&tally.client, &end), 1_000);
    home.write("metrics.toml", weighted(5, "")).unwrap();
    let both = |seen: &Value| seen["before"]["state"] == "active" && seen.get("newer").is_none();
    let seen = until_said(&tally.client, "the new one answers", "products_popularity", both);
    let until = seen["before"]["until"].clone();
    assert!(until.as_str().is_some_and(|until| until.ends_with('Z')), "{seen}");
    // Gently and not, and the promise is the same.
    tally.stop().unwrap();
    home.start().unwrap().kill().unwrap();
    let tally = home.start().unwrap();
    let seen = until_said(&tally.client, "both are there again", "products_popularity", both);
    assert_eq!(seen["before"]["until"], until);
    let end = tally.client.post_all(&purchases(500, 600)).unwrap();
    assert_eq!(score(&tally.client, &end), 3_000);
    home.succeed(&["plugin", "rollback", "products_popularity", "--url", &tally.url()]).unwrap();
    assert_eq!(score(&tally.client, &end), 1_200, "it was fed on");
    home.succeed(&["plugin", "promote", "products_popularity", "--url", &tally.url()]).unwrap();
    assert_eq!(score(&tally.client, &end), 3_000);
    tally.kill().unwrap();

    // An hour later, as far as the book knows.
    let book = home.path().join(".tally/plugin-copies/answering.json");
    let mut noted: Value = serde_json::from_slice(&fs::read(&book).unwrap()).unwrap();
    noted["products_popularity"]["before"]["until"] = json!(1_000);
    fs::write(&book, noted.to_string()).unwrap();
    let tally = home.start().unwrap();
    assert!(descriptor(&tally.client, "products_popularity").get("before").is_none());
    let refused =
        home.run(&["plugin", "rollback", "products_popularity", "--url", &tally.url()]).unwrap();
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("no earlier revision"),
        "{refused:?}"
    );
    assert_eq!(score(&tally.client, &end), 3_000);
    tally.stop().unwrap();
}

#[test]
fn a_shorter_history_takes_no_place_by_itself_whatever_was_changed_while_nobody_ran() {
    let (home, folder) = home();
    drop_in(&folder, "products_popularity");
    let small = "retention_bytes = 1500000\n";
    home.write("metrics.toml", weighted(2, small)).unwrap();
    let tally = home.start().unwrap();
    let mut end = String::new();
    for from in (0..5_000).step_by(500) {
        end = tally.client.post_all(&purchases(from, from + 500)).unwrap();
        tally.client.ask("products_popularity", &ALL, &end).unwrap();
    }
    assert_eq!(score(&tally.client, &end), 10_000);
    let dropped = |client: &Client| {
        let bounds = client.get("/api/internal/log").unwrap().json();
        if bounds[0]["start"].as_u64() > Some(0) {
            Ok(bounds.to_string())
        } else {
            Err(bounds.to_string())
        }
    };
    tally.client.until("the log drops its oldest records", LIMIT, dropped).unwrap();

    let held = |seen: &Value| {
        seen["newer"]["held"].as_str().is_some_and(|why| why.contains("its history is shorter"))
    };
    // While it runs, another section; then with another start, other events as well.
    home.write("metrics.toml", weighted(3, small)).unwrap();
    until_said(&tally.client, "it is held back", "products_popularity", held);
    assert_eq!(score(&tally.client, &end), 10_000);
    tally.stop().unwrap();
    home.write(
        "metrics.toml",
        weighted(3, &format!("{small}[events.aliases]\npurchase = \"buy\"\n")),
    )
    .unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    until_said(client, "it is held back after a restart", "products_popularity", held);
    assert_eq!(score(client, &end), 10_000);
    // The one that answers is counted on, and reads events as ever.
    let alias = purchases(5_000, 5_010).replace("\"buy\"", "\"purchase\"");
    let end = client.post_all(&[purchases(5_010, 5_110), alias].concat()).unwrap();
    assert_eq!(score(client, &end), 10_200);
    let audit = home.succeed(&["verify", "--url", &tally.url()]).unwrap();
    assert!(
        audit.contains("not checked: anything: it reads events by an earlier configuration"),
        "{audit}"
    );
    let said =
        home.succeed(&["plugin", "promote", "products_popularity", "--url", &tally.url()]).unwrap();
    assert!(said.contains("the new revision answers"), "{said}");
    let score_now = score(client, &end);
    assert!((3 * 110..3 * 5_110).contains(&score_now), "{score_now}");
    home.succeed(&["plugin", "rollback", "products_popularity", "--url", &tally.url()]).unwrap();
    assert_eq!(score(client, &end), 10_200);
    tally.stop().unwrap();
}

#[test]
fn a_plugin_that_does_not_return_hides_nothing_of_what_was_done() {
    let (home, folder) = with_poison("", poison(true).unwrap());
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = client.post_all(&events(0, 1_500, |_| false)).unwrap();
    assert_eq!(counted(client, "poison", &end), (1_500, None));
    client.post_all(&events(1_500, 1_501, |_| true).replace("666", "888")).unwrap();
    let stalled = |seen: &Value| {
        seen["reason"]
            .as_str()
            .is_some_and(|why| why.contains("counting_stalled: plugin poison has not returned"))
    };
    until_said(client, "it is told of the metric", "poison", stalled);
    until_said(client, "and of others in its lane", "event_frequencies", stalled);
    fs::copy(poison(false).unwrap(), folder.join("poison.so")).unwrap();
    until_said(client, "the mended code is there", "poison", |seen| seen["version"] == "1.0.1");
    let told = |_: &Client| {
        if log(&home).contains("the new code is not called yet") {
            Ok(String::new())
        } else {
            Err(log(&home))
        }
    };
    client.until("the log says that nothing moved", LIMIT, told).unwrap();
    let ended = tally.process.stop(LIMIT).unwrap();
    let line = ended.out.iter().find(|line| line.starts_with("stopping")).unwrap();
    assert!(
        line.contains("1,500 events processed, ")
            && line.contains(" committed, 0 lost (counting did not end in"),
        "{line}"
    );
    // The mended code counts on.
    let tally = home.start().unwrap();
    let end = tally.client.post_all(&events(1_501, 1_600, |_| false)).unwrap();
    assert_eq!(counted(&tally.client, "poison", &end), (1_600, None));
    tally.stop().unwrap();
}
