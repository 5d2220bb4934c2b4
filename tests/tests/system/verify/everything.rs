//! Metrics with every kind of cell and column, counted again in both stores; and that each of their
//! cells can be found wrong.

use super::{CONFIG, DAY, between, event, lines, verify};
use serde_json::{Value, json};
use std::collections::HashMap;
use tally_tests::redis::Redis;
use tally_tests::tally::Home;

/// Every kind of cell and column that a metric without code of its own can have.
pub(super) const EVERYTHING: &str = r#"
[plugins]
shipped = ["event_frequencies", "products_popularity", "user_activities", "unique_visitors", "revenue", "conversion"]
[metrics.numbers]
plugin = "counts"
config.by = ["/brand", "/stars", "/member"]
config.types = { "/stars" = "integer", "/member" = "bool", "/weight" = "float", "/seen" = "time", "/price" = { decimal = 2 } }
config.cells = { n = "count", paid = { sum = "/price" }, stars = { sum = "/stars" }, least = { min = "/price" }, most = { max = "/stars" }, seen = { max = "/seen" } }
[metrics.sketches]
plugin = "counts"
config.by = ["event_type", "/brand"]
config.types = { "/weight" = "float", "/price" = { decimal = 2 }, "/seen" = "time", "/stars" = "integer", "/member" = "bool" }
config.cells.users = { distinct = "user_id" }
config.cells.sessions = { distinct = "/context/session" }
config.cells.weights_seen = { distinct = "/weight" }
config.cells.prices = { quantiles = "/price" }
config.cells.weights = { quantiles = "/weight" }
config.cells.last_user = { latest = "user_id" }
config.cells.last_price = { latest = "/price" }
config.cells.last_weight = { latest = "/weight" }
config.cells.last_seen = { latest = "/seen" }
config.cells.last_session = { latest = "/context/session" }
"#;

/// Event number `n` with properties, some of them absent or something else than is read.
pub(super) fn rich(n: u64) -> Value {
    let mut event = event(n);
    let or = |every: u64, other: Value, value: Value| {
        if n.is_multiple_of(every) { other } else { value }
    };
    event["user_id"] = or(7, event["user_id"].clone(), json!(n % 4_001));
    event["brand"] = or(11, json!(7), json!(["acme", "bolt", "__other__", ""][(n % 4) as usize]));
    event["stars"] = or(
        13,
        json!("5"),
        [json!(5.0), json!(-3), json!(9_007_199_254_740_993_u64), json!(4.5)][(n / 4 % 4) as usize]
            .clone(),
    );
    event["member"] = or(17, Value::Null, json!(n.is_multiple_of(2)));
    event["price"] = or(
        5,
        json!(format!("{}.995", n % 40)),
        json!((n * 7_919 % 100_000) as f64 / 1_000.0 - 20.0),
    );
    event["weight"] = or(7, json!("heavy"), json!((n * 31 % 10_007) as f64 * 1e-3));
    event["seen"] = or(3, json!("2026-01-01T00:00:00+01:00"), json!(DAY + n as i64));
    // Enough sessions for a set to become registers.
    event["context"] = json!({"session": format!("session {}", n % 40_009)});
    event
}

/// Each metric counted something and is equal, nothing of it unchecked.
fn everything_equal(home: &Home, url: &str) -> Value {
    let (said, code, err) = verify(home, url, &[]);
    assert_eq!((code, &said["equal"]), (0, &json!(true)), "{said} {err}");
    assert_eq!(said["metrics"].as_array().unwrap().len(), 8);
    for metric in said["metrics"].as_array().unwrap() {
        assert!(
            metric["in_log"].as_u64().unwrap() > 1_000 && metric["in_log"] == metric["counted"],
            "{metric}"
        );
        assert_eq!(
            (&metric["whole"], &metric["not_checked"]),
            (&json!(true), &json!([])),
            "{metric}"
        );
    }
    said
}

fn every_cell_is_counted_again(home: &Home) {
    let tally = home.start().unwrap();
    let post = |chunk: u64| {
        tally.client.post_all(&lines((chunk * 2_500..(chunk + 1) * 2_500).map(rich))).unwrap()
    };
    let posted = (0..16).map(post).last().unwrap();
    tally.client.ask("sketches", &json!({}), &posted).unwrap();
    let before = everything_equal(home, &tally.url());
    tally.stop().unwrap();
    let tally = home.start().unwrap();
    assert_eq!(everything_equal(home, &tally.url()), before, "as it was stored");
    let posted = tally.client.post_all(&lines((39_900..42_000).map(rich))).unwrap();
    for name in ["numbers", "sketches", "revenue", "conversion", "unique_visitors"] {
        tally.client.ask(name, &json!({}), &posted).unwrap();
    }
    everything_equal(home, &tally.url());

    // And each of them can fail, in the totals and in panes: a cell of a row, as another row has
    // it.
    for (metric, cells) in
        [("numbers", 6), ("sketches", 10), ("revenue", 3), ("unique_visitors", 1)]
    {
        for cell in 0..cells {
            let path = format!("/api/internal/state/{metric}");
            let alter = move |asked: &str, body: String| match asked == path {
                true => [false, true]
                    .into_iter()
                    .fold(body, |body, in_pane| with_another(&body, cell, in_pane)),
                false => body,
            };
            let altered = between(&tally, alter);
            let (said, code, err) = verify(home, &altered, &[metric]);
            assert_eq!(
                (code, &said["metrics"][0]["equal"]),
                (1, &json!(false)),
                "{metric} {cell}: {said} {err}"
            );
            let differences = said["metrics"][0]["differences"].as_array().unwrap();
            assert_eq!(differences.len(), 2, "{metric} {cell}: {said}");
            assert!(differences.iter().all(|d| d["expected"] != d["found"]), "{said}");
            assert_eq!([0, 1].map(|n| differences[n]["pane"].is_string()), [false, true], "{said}");
        }
    }
    tally.stop().unwrap();
}

/// A state in which one row, of the totals or of a pane, has a cell of another row of its table.
fn with_another(body: &str, cell: usize, in_pane: bool) -> String {
    let mut lines: Vec<Value> =
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let place = |line: &Value| format!("{} {} {}", line["table"], line["pane"], line["key"]);
    let mut pieces: HashMap<String, u32> = HashMap::new();
    lines.iter().for_each(|line| *pieces.entry(place(line)).or_default() += 1);
    // Where a key comes in pieces, those others may hide what one of them lacks.
    let is_row = |line: &Value| line.get("key").is_some() && line.get("pane").is_some() == in_pane;
    let rows: Vec<usize> = (0..lines.len())
        .filter(|n| is_row(&lines[*n]) && pieces[&place(&lines[*n])] == 1)
        .collect();
    let other = |a: &&usize, b: &&usize| {
        let (a, b) = (&lines[**a], &lines[**b]);
        a["table"] == b["table"]
            && !a["cells"][cell].is_null()
            && a["cells"][cell] != b["cells"][cell]
    };
    let (from, to) = rows
        .iter()
        .flat_map(|a| rows.iter().map(move |b| (a, b)))
        .find(|(a, b)| other(a, b))
        .unwrap();
    lines[*to]["cells"][cell] = lines[*from]["cells"][cell].clone();
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_kind_of_cell_is_counted_again_and_each_can_fail() {
    every_cell_is_counted_again(&Home::new(&format!("{CONFIG}{EVERYTHING}")).unwrap());
    let redis = Redis::start(&[]).unwrap();
    let mut home = Home::new(&format!("{CONFIG}{EVERYTHING}")).unwrap();
    home.env("REDIS_URL", &redis.at());
    every_cell_is_counted_again(&home);
}
