//! State within its share of memory: metrics that would take more stop at an exact position, answer
//! from there, come up so after a restart, and go on by themselves when there is room.

use serde_json::{Value, json};
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::footprint::peak;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally};

/// State may take 38 MiB. Four metrics keep the same users, so that one by itself takes far less
/// than all.
const CONFIG: &str = "[server]\nevaluation_deadline_ms = 60000\n[store]\ncheckpoint_interval_ms = 100\n\
    [limits]\nmemory = 67108864\n[metrics.user_activities]\nmax_cells = 100000000\n";
const AGAIN: &str = "[metrics.again]\nplugin = \"user_activities\"\n\
    [metrics.once_more]\nplugin = \"user_activities\"\n[metrics.and_again]\nplugin = \"user_activities\"\n";

const LONG: Duration = Duration::from_secs(120);

/// Five thousand users that nobody saw before, each with one event on one of many days.
fn users(from: u64) -> String {
    let event = |n: u64| {
        let day = 1_000_000_000_000_u64 + n % 700 * 86_400_000;
        let user = format!("a-user-with-a-long-name-{n:08}");
        json!({"user_id": user, "product_id": n % 100, "event_type": "view", "timestamp": day})
            .to_string()
            + "\n"
    };
    (from..from + 5_000).map(event).collect()
}

fn state(client: &Client, metric: &str) -> (String, String) {
    let json = client.get(&format!("/api/metrics/{metric}")).unwrap().json();
    let text = |key: &str| json[key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("reason"))
}

fn until_state(tally: &Tally, metric: &str, wanted: &str) {
    let seen = tally.client.until(wanted, LONG, |client| match state(client, metric) {
        (state, _) if state == wanted => Ok(state),
        other => Err(format!("{other:?}")),
    });
    seen.unwrap_or_else(|fault| panic!("{metric}: {fault:#}\n{}", tally.process.tail()));
}

fn warnings(answer: &Value) -> Vec<&str> {
    answer["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect()
}

#[test]
fn a_metric_without_room_stops_answers_and_goes_on_when_there_is_some() {
    stops_answers_and_goes_on(&Home::new(&format!("{CONFIG}{AGAIN}")).unwrap(), CONFIG);
}

/// Answers come from what is read of the store, where each metric has ids of its own; and it is
/// looked at as often as is committed. So there is more memory.
#[test]
fn so_does_one_whose_state_is_shared() {
    let redis = Redis::start(&[]).unwrap();
    let config = CONFIG.replace("67108864", "268435456");
    let mut home = Home::new(&format!("{config}{AGAIN}")).unwrap();
    home.env("REDIS_URL", &redis.at());
    stops_answers_and_goes_on(&home, &config);
}

fn stops_answers_and_goes_on(home: &Home, config: &str) {
    let tally = home.start().unwrap();
    let (mut sent, mut position) = (0, String::new());
    let mut fill = |tally: &Tally| {
        while state(&tally.client, "user_activities").0 != "quarantined" {
            assert!(
                sent < 2_000_000,
                "nothing stops it: {:?}",
                state(&tally.client, "user_activities")
            );
            position = tally.client.post_all(&users(sent)).unwrap();
            sent += 5_000;
            // As far as it comes: who stopped is not waited for.
            let counted = tally.client.ask("event_frequencies", &json!({}), &position);
            let states = || {
                ["event_frequencies", "user_activities"].map(|metric| state(&tally.client, metric))
            };
            counted.unwrap_or_else(|fault| {
                panic!("{fault:#}\n{:?}\n{}", states(), tally.process.tail())
            });
        }
        (sent, position.clone())
    };
    let (sent, position) = fill(&tally);
    let (_, reason) = state(&tally.client, "user_activities");
    assert!(reason.starts_with("over_memory") && reason.contains("[limits] memory"), "{reason}");
    check_answers(&tally, sent, &position);
    check_figures(&tally);

    // A start goes on from there: what is loaded takes less than what was counted, so there may be
    // room for some more.
    tally.process.stop(LONG).unwrap();
    let tally = home.start().unwrap();
    let (sent, position) = fill(&tally);
    check_answers(&tally, sent, &position);

    // Without the other metrics there is room.
    home.write("metrics.toml", config).unwrap();
    tally.process.signal("HUP").unwrap();
    until_state(&tally, "user_activities", "active");
    let last = json!({"user_id": format!("a-user-with-a-long-name-{:08}", sent - 1)});
    let answer = tally.client.answer("user_activities", &last, &position).unwrap();
    assert_eq!(
        (answer["result"]["total"].as_u64(), warnings(&answer)),
        (Some(1), vec!["unknown_user"; 0]),
        "{answer}"
    );
}

/// What is large answers from where it stopped, and says so; what is small counts on.
fn check_answers(tally: &Tally, sent: u64, position: &str) {
    // What is small counts on, exactly.
    assert_eq!(tally.client.ask("event_frequencies", &json!({}), position).unwrap()["total"], sent);
    let of = |n: u64| json!({"user_id": format!("a-user-with-a-long-name-{n:08}")});
    let first = tally.client.answer("user_activities", &of(0), "").unwrap();
    assert_eq!(
        (first["result"]["total"].as_u64(), warnings(&first)),
        (Some(1), vec!["over_memory"]),
        "{first}"
    );
}

/// State keeps about its share, and metrics say of it what it says itself.
fn check_figures(tally: &Tally) {
    let (used, limit) = (
        tally.client.figure("tally_memory_used_bytes", "share=\"state\"").unwrap(),
        tally.client.figure("tally_memory_limit_bytes", "share=\"state\"").unwrap(),
    );
    assert!(used < limit * 1.25, "{used} of {limit}");
    // State is looked at now and then only.
    let agree = |client: &Client| {
        let (bytes, used) = (
            client.figure("tally_metric_bytes", "")?,
            client.figure("tally_memory_used_bytes", "share=\"state\"")?,
        );
        Ok(if (bytes / used - 1.0).abs() < 0.1 {
            Ok(String::new())
        } else {
            Err(format!("{bytes}, {used}"))
        })
    };
    let agreed = tally.client.until("metrics say what state says", LONG, |client| {
        agree(client).unwrap_or_else(|fault: anyhow::Error| Err(fault.to_string()))
    });
    agreed.unwrap();
    assert!(peak(tally).unwrap() < 512 << 20, "{}", peak(tally).unwrap());
}

/// State that is much larger than its share is not loaded: the engine comes up, and says so.
#[test]
fn a_start_far_over_its_share_comes_up_without_what_does_not_fit() {
    let home = Home::new(&CONFIG.replace("67108864", "0")).unwrap();
    let tally = home.start().unwrap();
    let mut position = String::new();
    for n in 0..50 {
        position = tally.client.post_all(&users(n * 5_000)).unwrap();
    }
    tally.client.ask("user_activities", &json!({"user_id": 1}), &position).unwrap();
    tally.process.stop(LONG).unwrap();
    home.write("metrics.toml", CONFIG.replace("67108864", "33554432")).unwrap();
    let tally = home.listening().unwrap();
    until_state(&tally, "user_activities", "quarantined");
    let refused = tally
        .client
        .evaluate(&json!({"name": "user_activities", "params": {"user_id": 1}}))
        .unwrap();
    assert_eq!(
        refused.status, 503,
        "what there is no room to load cannot answer: {}",
        refused.text
    );
    assert!(
        refused.text.contains("plugin_quarantined") && refused.text.contains("over_memory"),
        "{}",
        refused.text
    );
    // Nothing is held of it.
    let held = tally.client.figure("tally_metric_bytes", "metric=\"user_activities\"").unwrap();
    assert!(held < 100_000.0, "{held}");
    assert_eq!(
        tally.client.ask("event_frequencies", &json!({}), &position).unwrap()["total"],
        250_000
    );
}

/// One that becomes too large on its way through history comes no nearer: it answers from where it
/// stands, and says so.
#[test]
fn one_that_becomes_too_large_in_its_history_answers_from_there() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let position = tally.client.post_all(&users(0)).unwrap();
    tally.client.ask("event_frequencies", &json!({}), &position).unwrap();
    home.write(
        "metrics.toml",
        format!("{CONFIG}[metrics.small]\nplugin = \"user_activities\"\nmax_cells = 100\n"),
    )
    .unwrap();
    tally.process.signal("HUP").unwrap();
    until_state(&tally, "small", "quarantined");
    let answer = tally
        .client
        .answer("small", &json!({"user_id": "a-user-with-a-long-name-00000000"}), "")
        .unwrap();
    assert_eq!(warnings(&answer), ["over_max_cells", "unknown_user"], "{answer}");
    assert_eq!(answer["meta"]["history"]["state"], "partial", "{answer}");
}
