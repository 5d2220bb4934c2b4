//! Plugins that fail while events are counted: their faults stay theirs, and what they missed is
//! counted once they are mended.

use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::poison::poison;
use tally_tests::tally::{Home, binary, plugin};

/// One partition, so that events follow each other as they are posted.
const CONFIG: &str =
    "[plugins]\ndir = \"plugins\"\n[store]\ncheckpoint_interval_ms = 100\n[log]\npartitions = 1\n";

const LIMIT: Duration = Duration::from_secs(60);

const ALL: Value = Value::Null;

/// A home whose binary lies alone; in its plugin folder two shipped plugins, and the one that
/// fails.
fn home(config: &str) -> (Home, PathBuf) {
    let mut home = Home::new(&format!("{CONFIG}{config}")).unwrap();
    let (bin, folder) = (home.path().join("bin"), home.path().join("plugins"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::copy(binary().unwrap(), bin.join("tally")).unwrap();
    home.use_binary(bin.join("tally"));
    for name in ["event_frequencies", "products_popularity"] {
        fs::copy(plugin(name).unwrap(), folder.join(format!("{name}.so"))).unwrap();
    }
    (home, folder)
}

/// Event number `n`: of this user, on this product.
fn event(n: u64, user: u64, product: u64) -> String {
    format!(
        "{{\"event_id\":\"e{n}\",\"user_id\":{user},\"product_id\":{product},\"event_type\":\"view\",\"timestamp\":\"2026-01-01T00:00:00Z\"}}\n"
    )
}

/// Events `[from, to)`, on product 666 where `poisoned`.
fn events(from: u64, to: u64, poisoned: impl Fn(u64) -> bool) -> String {
    (from..to).map(|n| event(n, 1_000 + n % 97, if poisoned(n) { 666 } else { n % 89 })).collect()
}

fn total(client: &Client, metric: &str, end: &str) -> u64 {
    client.ask(metric, &ALL, end).unwrap()["total"].as_u64().unwrap()
}

/// What `poison` counted: both cells count the same events.
fn counted(client: &Client, metric: &str, end: &str) -> u64 {
    let answer = client.ask(metric, &ALL, end).unwrap();
    assert_eq!(
        answer["fed"], answer["updated"],
        "what the host feeds, and what the plugin hands over"
    );
    answer["fed"].as_u64().unwrap()
}

/// How many dead letters there were of a reason, and the offsets of the newest 100, ascending.
fn letters(client: &Client, reason: &str) -> (u64, Vec<u64>) {
    let listing =
        client.get(&format!("/api/dead-letters?limit=100&reason={reason}")).unwrap().json();
    let kept = listing["items"].as_array().unwrap_or_else(|| panic!("{listing}")).iter();
    let mut offsets: Vec<u64> = kept.map(|letter| letter["offset"].as_u64().unwrap()).collect();
    offsets.sort_unstable();
    (listing["counts"][reason].as_u64().unwrap_or(0), offsets)
}

fn until_letters(client: &Client, reason: &str, wanted: &(u64, Vec<u64>)) {
    let seen = |client: &Client| {
        let seen = letters(client, reason);
        if seen == *wanted { Ok(String::new()) } else { Err(format!("{seen:?}")) }
    };
    client.until(&format!("dead letters of {reason}"), LIMIT, seen).unwrap();
}

fn until_state(client: &Client, name: &str, wanted: &str) {
    let seen = |client: &Client| {
        let state =
            client.get(&format!("/api/metrics/{name}")).unwrap().json()["state"].to_string();
        if state == format!("{wanted:?}") { Ok(state) } else { Err(state) }
    };
    client.until(&format!("{name} is {wanted}"), LIMIT, seen).unwrap();
}

#[test]
fn an_event_on_which_a_plugin_fails_is_its_dead_letter_and_counts_everywhere_else() {
    let (home, folder) = home("");
    fs::copy(poison(true).unwrap(), folder.join("poison.so")).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let mut lines: Vec<String> =
        events(0, 5_000, |n| n == 2_345).lines().map(|line| format!("{line}\n")).collect();
    lines[3_000] = event(3_000, 13, 1);
    let end = client.post_all(&lines.concat()).unwrap();
    assert_eq!(total(client, "event_frequencies", &end), 5_000);
    assert_eq!(total(client, "products_popularity", &end), 5_000);
    assert_eq!(counted(client, "poison", &end), 4_998);
    until_letters(client, "plugin_failed:poison", &(2, vec![2_345, 3_000]));

    // Another metric of the same plugin meets them while it counts history.
    home.write(
        "metrics.toml",
        format!("{CONFIG}[metrics.again]\nplugin = \"poison\"\n[metrics.poison]\n"),
    )
    .unwrap();
    until_state(client, "again", "active");
    assert_eq!(counted(client, "again", &end), 4_998);
    until_letters(client, "plugin_failed:again", &(2, vec![2_345, 3_000]));
    assert_eq!(letters(client, "plugin_failed:poison").0, 2);

    // 99 in a row are not stored before an event succeeds, so they are read again after a crash;
    // and are dead letters once.
    let end = client.post_all(&events(5_000, 5_099, |_| true)).unwrap();
    assert_eq!(total(client, "event_frequencies", &end), 5_099);
    assert_eq!(letters(client, "plugin_failed:poison").0, 2);
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = client.post_all(&events(5_099, 5_100, |_| false)).unwrap();
    assert_eq!(counted(client, "poison", &end), 4_999);
    let offsets = [vec![3_000], (5_000..5_099).collect()].concat();
    until_letters(client, "plugin_failed:poison", &(101, offsets.clone()));
    until_letters(client, "plugin_failed:again", &(101, offsets));
    assert_eq!(client.figure("tally_rejected_total", "plugin_failed:poison").unwrap() as u64, 99);
    assert_eq!(total(client, "event_frequencies", &end), 5_100);
    tally.stop().unwrap();
}

#[test]
fn a_plugin_that_keeps_failing_stops_before_the_first_and_a_mended_one_counts_them_all() {
    let (home, folder) = home("");
    fs::copy(poison(true).unwrap(), folder.join("poison.so")).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let poisoned = |n| (1_000..1_150).contains(&n);
    let mut end = String::new();
    for from in (0..2_000).step_by(500) {
        end = client.post_all(&events(from, from + 500, poisoned)).unwrap();
    }
    assert_eq!(total(client, "event_frequencies", &end), 2_000);
    assert_eq!(total(client, "products_popularity", &end), 2_000);
    until_state(client, "poison", "quarantined");
    let refused = client.evaluate(&json!({"name": "poison"})).unwrap();
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("plugin_quarantined")));
    assert!(
        refused.text.contains("100 events in a row, from offset 1000 of partition 0"),
        "{}",
        refused.text
    );
    assert_eq!(
        letters(client, "plugin_failed:poison"),
        (0, vec![]),
        "they wait for a mended plugin"
    );
    client.readyz("one plugin harms no other", LIMIT, |answer| answer.status == 200).unwrap();

    // A restart changes nothing, and the others go on.
    tally.stop().unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = client.post_all(&events(2_000, 2_500, |_| false)).unwrap();
    assert_eq!(total(client, "event_frequencies", &end), 2_500);
    until_state(client, "poison", "quarantined");

    fs::copy(poison(false).unwrap(), folder.join("poison.so")).unwrap();
    until_state(client, "poison", "active");
    assert_eq!(counted(client, "poison", &end), 2_500);
    let end = client.post_all(&events(2_500, 3_000, |n| n % 2 == 0)).unwrap();
    assert_eq!(counted(client, "poison", &end), 3_000);
    assert_eq!(letters(client, "plugin_failed:poison").0, 0);
    tally.stop().unwrap();
}

#[test]
fn a_plugin_that_is_slow_or_does_not_return_is_named_and_can_be_left_out() {
    let (mut home, folder) = home("");
    fs::copy(poison(true).unwrap(), folder.join("poison.so")).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = client.post_all(&[events(0, 100, |_| false), event(100, 1, 777)].concat()).unwrap();
    assert_eq!(counted(client, "poison", &end), 101);
    assert!(client.figure("tally_plugin_slow_batches_total", "metric=\"poison\"").unwrap() >= 1.0);

    client.post_all(&[event(101, 1, 888), events(102, 200, |_| false)].concat()).unwrap();
    let named = "plugin poison has not returned for";
    let told = client
        .readyz("it is named", LIMIT, |answer| answer.status == 503 && answer.text.contains(named))
        .unwrap();
    assert!(told.contains("restart with `tally run --disable poison`"), "{told}");
    tally.kill().unwrap();

    home.flags(&["--disable", "poison"]);
    let tally = home.start().unwrap();
    let client = &tally.client;
    assert_eq!(client.evaluate(&json!({"name": "poison"})).unwrap().status, 404);
    let end = client.post_all(&events(200, 300, |_| false)).unwrap();
    assert_eq!(total(client, "event_frequencies", &end), 300);
    assert_eq!(total(client, "products_popularity", &end), 300);
    tally.stop().unwrap();
}

#[test]
fn a_metric_with_too_many_cells_stops_and_answers_from_there_until_it_may_hold_more() {
    let section = |max: u64| format!("[metrics.products_popularity]\nmax_cells = {max}\n");
    let (home, _) = home(&section(500));
    let tally = home.start().unwrap();
    let client = &tally.client;
    let products = |from: u64, to: u64, of: u64| -> String {
        (from..to).map(|n| event(n, 1, n % of)).collect()
    };
    let end = client.post_all(&products(0, 1_000, 10)).unwrap();
    let answer = client.answer("products_popularity", &ALL, &end).unwrap();
    assert_eq!((&answer["result"]["total"], &answer["warnings"]), (&json!(1_000), &json!([])));
    let mut end = String::new();
    for from in (1_000..11_000).step_by(1_000) {
        end = client.post_all(&products(from, from + 1_000, 1_000_000)).unwrap();
    }
    assert_eq!(total(client, "event_frequencies", &end), 11_000);
    until_state(client, "products_popularity", "quarantined");
    let stands = |client: &Client| {
        let answer = client.answer("products_popularity", &ALL, "").unwrap();
        assert_eq!(answer["warnings"][0]["code"], "over_max_cells");
        assert!(
            answer["warnings"][0]["detail"].as_str().unwrap().contains("max_cells = 500"),
            "{answer}"
        );
        // One partition, no duplicates: so many records, so many events.
        assert_eq!(answer["meta"]["position"], format!("0:{}", answer["result"]["total"]));
        answer["result"]["total"].as_u64().unwrap()
    };
    let stood = stands(client);
    assert!((1_000..11_000).contains(&stood), "{stood}");
    client.readyz("one metric harms no other", LIMIT, |answer| answer.status == 200).unwrap();

    // Not killed: what is not stored is counted again from where it is stored, and stops where a
    // batch then ends.
    tally.stop().unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    until_state(client, "products_popularity", "quarantined");
    assert_eq!(stands(client), stood, "a restart does not count on");

    home.write("metrics.toml", format!("{CONFIG}{}", section(1_000_000))).unwrap();
    until_state(client, "products_popularity", "active");
    let answer = client.answer("products_popularity", &ALL, &end).unwrap();
    assert_eq!((&answer["result"]["total"], &answer["warnings"]), (&json!(11_000), &json!([])));
    tally.stop().unwrap();
}

/// Product `pN` is seen N % 7 + 1 times, 4 times on average.
fn of_many(from: u64, to: u64) -> String {
    let times = |product: u64| (0..product % 7 + 1).map(move |time| product * 10 + time);
    let line = |n: u64| {
        event(n, n % 97, n / 10)
            .replace("\"product_id\":", "\"product_id\":\"p")
            .replace(",\"event_type", "\",\"event_type")
    };
    (from..to).flat_map(times).map(line).collect()
}

/// What `products_popularity` shows of the products below `below`: each that stands for itself is
/// exact, and all together are.
fn shown(client: &Client, end: &str, below: u64) -> usize {
    let answer = client.answer("products_popularity", &json!({"limit": 1000}), end).unwrap();
    assert_eq!(answer["warnings"][0]["code"], "keys_limited", "{answer}");
    let products = answer["result"]["products"].as_array().unwrap();
    let expected: u64 = (0..below).map(|product| product % 7 + 1).sum();
    assert_eq!(answer["result"]["total"], expected);
    assert_eq!(
        products.iter().map(|product| product["interactions"].as_u64().unwrap()).sum::<u64>(),
        expected
    );
    let named = products.iter().filter(|product| product["product_id"] != "__other__");
    for product in named.clone() {
        let number: u64 = product["product_id"].as_str().unwrap()[1..].parse().unwrap();
        assert_eq!(product["interactions"], number % 7 + 1, "{product}");
    }
    named.count()
}

#[test]
fn a_metric_with_too_many_cells_counts_some_together_and_what_it_shows_is_exact() {
    let section = "[metrics.products_popularity]\nmax_cells = 500\noverflow = \"other\"\n";
    let (home, _) = home(section);
    let tally = home.start().unwrap();
    let client = &tally.client;
    let mut end = client.post_all(&of_many(0, 400)).unwrap();
    let answer = client.answer("products_popularity", &ALL, &end).unwrap();
    assert_eq!(
        (&answer["result"]["products_total"], &answer["warnings"]),
        (&json!(400), &json!([]))
    );
    for from in (400..20_400).step_by(1_000) {
        end = client.post_all(&of_many(from, from + 1_000)).unwrap();
    }
    let kept = shown(client, &end, 20_400);
    assert!((200..500).contains(&kept), "{kept}");
    let entry = client.get("/api/metrics/products_popularity").unwrap().json();
    assert_eq!(entry["state"], "active");
    assert!(entry["reason"].as_str().unwrap().starts_with("keys_limited"), "{entry}");
    client.readyz("nothing stands still", LIMIT, |answer| answer.status == 200).unwrap();
    tally.kill().unwrap();

    let tally = home.start().unwrap();
    let client = &tally.client;
    assert_eq!(shown(client, &end, 20_400), kept, "read from the store");
    home.succeed(&["verify", "--url", &tally.url()]).unwrap();
    let get = [
        "state",
        "get",
        "products_popularity/interactions",
        "__other__",
        "--json",
        "--url",
        &tally.url(),
    ];
    let stored: Value = serde_json::from_str(&home.succeed(&get).unwrap()).unwrap();
    assert!(
        !stored["rows"].as_array().unwrap().is_empty(),
        "it lies in more buckets than one: {stored}"
    );
    let end = client.post_all(&of_many(20_400, 21_400)).unwrap();
    shown(client, &end, 21_400);
    home.succeed(&["verify", "products_popularity", "--url", &tally.url()]).unwrap();
    tally.stop().unwrap();

    // What counts together stays together, however many it may hold now; the others go on.
    home.write(
        "metrics.toml",
        format!("{CONFIG}[metrics.products_popularity]\nmax_cells = 100000\n"),
    )
    .unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = client.post_all(&of_many(21_400, 22_400)).unwrap();
    shown(client, &end, 22_400);

    // Less than it holds, while it runs: the next batch meets a table that is to be made smaller
    // first.
    home.write("metrics.toml", format!("{CONFIG}{}", section.replace("500", "100"))).unwrap();
    wait_for_fewer_cells(client);
    tally.stop().unwrap();
}

/// Posts events until no more than a hundred products are shown, which still add up.
fn wait_for_fewer_cells(client: &Client) {
    let fewer = |client: &Client| {
        let product = 30_000_000 + u64::from(std::process::id());
        let end = client.post_all(&event(product, 1, product)).unwrap();
        let answer = client.answer("products_popularity", &json!({"limit": 1000}), &end).unwrap();
        let held = answer["result"]["products"].as_array().unwrap().len();
        if held <= 100 { Ok(String::new()) } else { Err(format!("{held} products")) }
    };
    client.until("it is made smaller", LIMIT, fewer).unwrap();
    let answer = client.answer("products_popularity", &json!({"limit": 1000}), "").unwrap();
    let total: u64 = answer["result"]["products"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["interactions"].as_u64().unwrap())
        .sum();
    assert_eq!(answer["result"]["total"], total);
}
