//! What is exported, read by a real Prometheus; and what the dashboards and rules of `contrib` ask
//! for, asked of a real engine. They are run as they lie there, with another address and shorter
//! times.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;
use tally_tests::client::{Answer, Client};
use tally_tests::dashboards::{self, PanelRequest, project};
use tally_tests::day;
use tally_tests::prometheus::{Prometheus, promtool};
use tally_tests::tally::{Home, Tally};

const LIMIT: Duration = Duration::from_secs(60);

/// Its answer has a warning: one event of long ago makes the series longer than any may be.
const WITH_A_WARNING: &str = "[export.prometheus.shop_all_time]\nmetric = \"event_frequencies\"\n\
                              params = { bucket = \"1d\" }\nvalue = \"/total\"\n";

/// Has no answer.
const DOWN: &str = "[export.prometheus.shop_nothing]\nmetric = \"nothing_like_it\"\n";

/// The records that were refused.
const REFUSED: &str = "tally_rejected_total{reason=";

fn contrib(path: &str) -> String {
    fs::read_to_string(project("contrib").join(path)).unwrap()
}

fn event(n: u64, kind: &str) -> String {
    format!("{{\"user_id\":{n},\"product_id\":7,\"event_type\":\"{kind}\"}}\n")
}

/// An engine that exports what `contrib` says, and has refused a record: what one reading of events
/// accepts is refused by another.
fn exporting(more: &str) -> (Home, Tally) {
    let exports = contrib("prometheus/exports.toml") + more;
    let exports = exports.replace("\nmetric = ", "\nevery = \"1s\"\nmetric = ");
    let config = format!(
        "{exports}[log]\npartitions = 1\n[store]\ncheckpoint_interval_ms = 100\n[server]\n\
         evaluation_deadline_ms = 10000\n"
    );
    let home = Home::new(&format!("{config}[events]\nrequired = [\"user_id\"]\n")).unwrap();
    let tally = home.start().unwrap();
    tally.client.post_all("{\"user_id\":1}\n").unwrap();
    tally.stop().unwrap();
    home.write("metrics.toml", &config).unwrap();
    let tally = home.start().unwrap();
    (home, tally)
}

/// Waits until `/metrics` has lines that begin so; all of it.
fn scraped(client: &Client, lines: &[&str]) -> String {
    let seen = |client: &Client| {
        let text = client.get("/metrics").map_err(|fault| format!("{fault:#}"))?.text;
        let missing =
            lines.iter().find(|line| !text.lines().any(|found| found.starts_with(**line)));
        missing.map_or(Ok(text.clone()), |missing| Err(format!("no {missing}:\n{text}")))
    };
    client.until("it is exported", LIMIT, seen).unwrap()
}

/// The names that a text of Prometheus has.
fn names(scraped: &str) -> BTreeSet<&str> {
    let lines = scraped.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.filter_map(|line| line.split(['{', ' ']).next()).collect()
}

/// The engine's and the shop's figures that an expression names.
fn named(expression: &str) -> Vec<&str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || "_:".contains(letter);
    let words = expression.split(|letter: char| !is_part(letter));
    words.filter(|word| word.starts_with("tally_") || word.starts_with("shop_")).collect()
}

/// A Prometheus that reads this engine every second, with the rules of `contrib` without delay.
fn reading(tally: &Tally) -> Prometheus {
    let config = contrib("prometheus/prometheus.yml")
        .replace("127.0.0.1:8080", &tally.address.to_string())
        .replace(" 15s", " 1s");
    let pages = contrib("prometheus/alerts.yml").lines().map(without_delay).collect::<String>();
    assert!(config.contains("scrape_interval: 1s") && config.contains("[alerts.yml]"), "{config}");
    Prometheus::start(&[("prometheus.yml", &config), ("alerts.yml", &pages)]).unwrap()
}

fn without_delay(line: &str) -> String {
    match line.find("for: ") {
        Some(at) => format!("{}for: 0s\n", &line[..at]),
        None => format!("{line}\n"),
    }
}

/// Waits until Prometheus has these values, by the label of this name.
fn read(prometheus: &Prometheus, series: &str, label: &str, wanted: &[(&str, &str)]) {
    let wanted: BTreeMap<String, String> =
        wanted.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let seen = |_: &Client| {
        let found = prometheus.query(series).map_err(|fault| format!("{fault:#}"))?;
        let pair = |series: &Value| {
            let key = series["metric"][label].as_str().unwrap_or_default().to_owned();
            (key, series["value"][1].as_str().unwrap_or_default().to_owned())
        };
        let pairs: BTreeMap<String, String> =
            found.as_array().into_iter().flatten().map(pair).collect();
        if pairs == wanted { Ok(String::new()) } else { Err(found.to_string()) }
    };
    prometheus.client.until(series, LIMIT, seen).unwrap();
}

/// Waits until an alert fires, or does not.
fn fires(prometheus: &Prometheus, alert: &str, wanted: bool) -> BTreeSet<String> {
    let seen = |_: &Client| {
        let firing = prometheus.firing().map_err(|fault| format!("{fault:#}"))?;
        let told = firing.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        if firing.contains(alert) == wanted { Ok(told) } else { Err(told) }
    };
    let told = prometheus.client.until(alert, LIMIT, seen).unwrap();
    told.split(' ').map(str::to_owned).collect()
}

#[test]
fn prometheus_reads_what_is_exported_and_its_alerts_fire() {
    let (_home, tally) = exporting(DOWN);
    let views: String = (0..3).map(|n| event(n, "view")).collect();
    tally.client.post_all(&views).unwrap();
    scraped(&tally.client, &["shop_events{type=\"view\"} 3", REFUSED]);
    let prometheus = reading(&tally);
    let types = |buy| [("view", "3"), ("add_to_cart", "0"), ("buy", buy)];
    read(&prometheus, "shop_events", "type", &types("0"));
    read(&prometheus, "shop_product_interactions", "product", &[("7", "3")]);
    let up = [("shop_events", "1"), ("shop_product_interactions", "1"), ("shop_nothing", "0")];
    read(&prometheus, "tally_export_up", "export", &up);
    read(&prometheus, "tally_ready", "job", &[("tally", "1")]);
    read(&prometheus, "tally:rejected:sum > bool 0", "job", &[("tally", "1")]);
    // Nobody buys; one export has no answer; nothing else is wrong.
    fires(&prometheus, "TallyExportDown", true);
    let firing = fires(&prometheus, "ShopSellsNothing", true);
    let expected = ["ShopSellsNothing", "TallyExportDown"].map(str::to_owned);
    assert_eq!(firing, BTreeSet::from(expected));
    // Somebody does.
    tally.client.post_all(&event(9, "buy")).unwrap();
    read(&prometheus, "shop_events", "type", &types("1"));
    fires(&prometheus, "ShopSellsNothing", false);
    // The engine is gone.
    tally.stop().unwrap();
    fires(&prometheus, "TallyDown", true);
}

#[test]
fn promtool_has_nothing_against_what_is_scraped_and_the_rules() {
    let (_home, tally) = exporting(&format!("{WITH_A_WARNING}{DOWN}"));
    let old = "{\"user_id\":1,\"product_id\":1,\"event_type\":\"view\",\"timestamp\":\"1995-01-01T00:00:00Z\"}\n";
    tally.client.post_all(&format!("{old}{}", event(1, "view"))).unwrap();
    let warned = "tally_export_warning{export=\"shop_all_time\",code=\"series_shortened\"} 1";
    let lines = [warned, "shop_events{type=\"view\"} 1", "shop_all_time 2", REFUSED];
    let text = scraped(&tally.client, &lines);
    // It says what it finds, and ends without success.
    assert_eq!(promtool(&["check", "metrics"], &text).unwrap(), "");
    let wrong = text.replace("tally_events_total", "tally_events_ms");
    assert!(promtool(&["check", "metrics"], &wrong).is_err(), "it judges");
    for (what, file) in [("rules", "alerts.yml"), ("config", "prometheus.yml")] {
        let file = project("contrib/prometheus").join(file);
        promtool(&["check", what, file.to_str().unwrap()], "").unwrap();
    }
    let cases = project("tests/fixtures/alerts_test.yml");
    promtool(&["test", "rules", cases.to_str().unwrap()], "").unwrap();
    // Rules and dashboards name nothing that is not there.
    let there = names(&text);
    let rules = contrib("prometheus/alerts.yml");
    let rules = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let missing: Vec<&str> = rules.flat_map(named).filter(|name| !there.contains(name)).collect();
    assert!(missing.is_empty(), "alerts.yml names {missing:?}, which /metrics does not have");
    let prometheus = reading(&tally);
    for panel in dashboards::expressions().unwrap() {
        let expression = panel.expression.replace("$__rate_interval", "5m");
        let named = named(&expression);
        assert!(!named.is_empty(), "{}: {expression}", panel.place);
        let missing: Vec<_> = named.iter().filter(|name| !there.contains(**name)).collect();
        assert!(missing.is_empty(), "{}: /metrics does not have {missing:?}", panel.place);
        prometheus.query(&expression).unwrap_or_else(|fault| panic!("{}: {fault:#}", panel.place));
    }
    tally.stop().unwrap();
}

#[test]
fn what_a_dashboard_asks_of_the_api_is_answered_with_its_columns() {
    let recorded = project("tests/fixtures/infinity.json");
    let recorded: Value = serde_json::from_str(&fs::read_to_string(recorded).unwrap()).unwrap();
    let variables = [
        ("__from", recorded["from"].to_string()),
        ("__to", recorded["to"].to_string()),
        ("bucket", recorded["bucket"].as_str().unwrap().to_owned()),
    ];
    let requests = dashboards::requests(&variables).unwrap();
    let made: Vec<&Value> = requests.iter().map(|request| &request.request).collect();
    let recorded = recorded["requests"].as_array().unwrap();
    assert_eq!(made, recorded.iter().collect::<Vec<_>>(), "record tests/fixtures/infinity.json");
    let home =
        Home::new("[log]\npartitions = 1\n[server]\nevaluation_deadline_ms = 10000\n").unwrap();
    let tally = home.start().unwrap();
    let at = tally.client.post_all(&day::lines(&day::events())).unwrap();
    for metric in ["event_frequencies", "products_popularity"] {
        tally.client.ask(metric, &json!({}), &at).unwrap();
    }
    for request in requests {
        // What the log holds is shown once it was looked at.
        let seen = |client: &Client| columns(&request, &sent(client, &request));
        tally.client.until(&request.request.to_string(), LIMIT, seen).unwrap();
    }
    tally.stop().unwrap();
}

fn sent(client: &Client, request: &PanelRequest) -> Answer {
    let request = &request.request;
    let text = |key: &str| request[key].as_str().unwrap_or_default();
    let headers: Vec<(&str, &str)> = request["headers"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect();
    let answer = client.send(text("method"), text("target"), &headers, text("body").to_owned());
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{request}: {}", answer.text);
    answer
}

/// Whether an answer has rows, and each row what the panel reads of it.
fn columns(request: &PanelRequest, answer: &Answer) -> Result<String, String> {
    let follow = |value: &Value, path: &str| {
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        value.pointer(&path.replace('.', "/")).cloned()
    };
    if request.kind == "csv" {
        assert!(answer.header("content-type").starts_with("text/csv"), "{answer:?}");
        let mut lines = answer.text.lines();
        let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let has_all = request.columns.iter().all(|column| header.contains(&column.as_str()));
        let has_rows = lines.next().is_some();
        return if has_all && has_rows { Ok(String::new()) } else { Err(answer.text.clone()) };
    }
    assert!(answer.header("content-type").starts_with("application/json"), "{answer:?}");
    let root = follow(&answer.json(), &request.root).unwrap_or_default();
    // An object is the only row.
    let rows =
        if root.is_object() { vec![root] } else { root.as_array().cloned().unwrap_or_default() };
    let has_all = |row: &Value| request.columns.iter().all(|column| follow(row, column).is_some());
    if !rows.is_empty() && rows.iter().all(has_all) {
        Ok(String::new())
    } else {
        Err(answer.text.clone())
    }
}
