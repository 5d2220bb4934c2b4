//! Sections that are put into the data directory while an engine runs: counted with their history,
//! kept over a restart and a kill at any moment, taken away; and what is refused of them.

use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tally_tests::client::{Answer, Client};
use tally_tests::folder::{post, state, until_state};
use tally_tests::points;
use tally_tests::tally::{Home, Tally, binary, failing_binary};

const LIMIT: Duration = Duration::from_secs(60);

const CONFIG: &str =
    "[store]\ncheckpoint_interval_ms = 200\n[server]\nevaluation_deadline_ms = 10000\n";

/// Events by product, or some of them.
fn by_product(only: &[&str]) -> Value {
    let mut config = json!({"by": ["product_id"], "cells": {"n": "count"}});
    if !only.is_empty() {
        config["only"] = json!(only);
    }
    json!({"plugin": "counts", "config": config})
}

fn try_put(client: &Client, name: &str, section: &Value) -> Result<Answer, String> {
    let headers = [("content-type", "application/json")];
    let path = format!("/api/sections/{name}");
    let answer = client.send("PUT", &path, &headers, section.to_string());
    answer.map_err(|fault| format!("{fault:#}"))
}

fn put(client: &Client, name: &str, section: &Value) -> Answer {
    try_put(client, name, section).unwrap()
}

fn delete(client: &Client, name: &str) -> Answer {
    client.send("DELETE", &format!("/api/sections/{name}"), &[], "").unwrap()
}

/// How many events a metric of [`by_product`] has counted.
fn counted(client: &Client, end: &str) -> Value {
    client.ask("by_product", &json!({"limit": 0}), end).unwrap()["total"]["n"].clone()
}

/// Name, place and whether it is shadowed of each section.
fn listed(client: &Client) -> Vec<(String, String, bool)> {
    let list = client.get("/api/sections").unwrap().json();
    let text = |section: &Value, key: &str| section[key].as_str().unwrap().to_owned();
    let one = |section: &Value| {
        (text(section, "name"), text(section, "place"), section["shadowed"] == true)
    };
    list["sections"].as_array().unwrap().iter().map(one).collect()
}

fn own(name: &str) -> (String, String, bool) {
    (name.to_owned(), "data_directory".to_owned(), false)
}

fn until_listed(client: &Client, wanted: &[(String, String, bool)]) {
    let seen = |client: &Client| {
        let seen = listed(client);
        if seen == wanted { Ok(String::new()) } else { Err(format!("{seen:?}")) }
    };
    client.until("the sections are listed", LIMIT, seen).unwrap();
}

fn file(home: &Home) -> PathBuf {
    home.path().join(".tally/sections.toml")
}

/// What other commands know of a section that was put.
fn every_command_sees_it(home: &Home, tally: &Tally) {
    let shown = home.succeed(&["config", "show"]).unwrap();
    let line = shown.lines().find(|line| line.starts_with("metrics.by_product.plugin")).unwrap();
    assert!(line.contains("\"counts\"") && line.contains(".tally/sections.toml:"), "{line}");
    let checked = home.succeed(&["config", "check"]).unwrap();
    assert!(checked.contains("1 sections in the data directory"), "{checked}");
    let stored = home.succeed(&["state", "tables", "--url", &tally.url()]).unwrap();
    assert!(stored.contains("by_product  revision "), "{stored}");
    let audit = home.succeed(&["verify", "by_product", "--url", &tally.url()]).unwrap();
    assert!(audit.contains("by_product"), "{audit}");
}

#[test]
fn a_section_counts_its_history_outlives_the_engine_and_is_retired() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = post(client, 0, 20_000);
    let added = put(client, "by_product", &by_product(&[]));
    assert_eq!(added.status, 201, "{}", added.text);
    let stored = added.json();
    assert_eq!(
        (&stored["place"], &stored["section"]),
        (&json!("data_directory"), &by_product(&[]))
    );
    let text = stored["toml"].as_str().unwrap();
    assert!(text.starts_with("[metrics.by_product]\nplugin = \"counts\"\n"), "{text}");
    until_state(client, "by_product", "active");
    assert_eq!(counted(client, &end), 20_000);
    let since = client.get("/api/metrics/by_product").unwrap().json()["since"].clone();
    let again = put(client, "by_product", &by_product(&[]));
    assert_eq!((again.status, again.json()), (200, stored), "and nothing has happened:");
    assert_eq!(client.get("/api/metrics/by_product").unwrap().json()["since"], since);
    until_listed(client, &[own("by_product")]);
    every_command_sees_it(&home, &tally);

    tally.kill().unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    assert_eq!(listed(client), [own("by_product")]);
    until_state(client, "by_product", "active");
    let end = post(client, 20_000, 21_000);
    assert_eq!(counted(client, &end), 21_000);

    // Another meaning is another revision, which counts all history beside the first.
    assert_eq!(put(client, "by_product", &by_product(&["buy"])).status, 200);
    let buys = (0..21_000).filter(|n| n % 5 == 4).count();
    let answers = |client: &Client| {
        let total = counted(client, &end);
        if total == buys { Ok(String::new()) } else { Err(total.to_string()) }
    };
    client.until("the new revision answers", LIMIT, answers).unwrap();

    let gone = delete(client, "by_product");
    assert_eq!(gone.status, 200, "{}", gone.text);
    assert!(gone.text.contains("tally plugin purge by_product"), "{}", gone.text);
    assert_eq!(state(client, "by_product"), "retired");
    assert_eq!(client.evaluate(&json!({"name": "by_product"})).unwrap().status, 404);
    let twice = delete(client, "by_product");
    assert_eq!((twice.status, &twice.json()["code"]), (404, &json!("section_not_found")));
    let end = post(client, 21_000, 22_000);
    assert_eq!(put(client, "by_product", &by_product(&["buy"])).status, 201);
    until_state(client, "by_product", "active");
    assert_eq!(counted(client, &end), (0..22_000).filter(|n| n % 5 == 4).count());
    assert_eq!(delete(client, "by_product").status, 200);
    home.succeed(&["plugin", "purge", "by_product", "--yes", "--url", &tally.url()]).unwrap();
    assert_eq!(state(client, "by_product"), "absent");
    tally.stop().unwrap();
}

/// What a change of the section `by_product` would do; nothing may come of it.
fn foreseen(home: &Home, client: &Client, section: Option<&Value>) -> Value {
    let before = (listed(client), fs::read(file(home)).ok());
    let path = "/api/sections/by_product?dry_run=true";
    let headers = [("content-type", "application/json")];
    let answer = match section {
        Some(section) => client.send("PUT", path, &headers, section.to_string()),
        None => client.send("DELETE", path, &[], ""),
    };
    let answer = answer.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!((listed(client), fs::read(file(home)).ok()), before, "nothing is written");
    answer.json()
}

/// Effect on the metric, whether history is counted, words of the sentence.
fn check_foreseen(told: &Value, effect: &str, counts_history: bool, words: &[&str]) {
    assert_eq!(
        (&told["metric"], &told["counts_history"]),
        (&json!(effect), &json!(counts_history)),
        "{told}"
    );
    let would = told["would"].as_str().unwrap();
    for word in words {
        assert!(would.contains(word), "{word}: {would}");
    }
}

#[test]
fn a_dry_run_says_what_a_change_does_before_it_does_it() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let end = post(client, 0, 1_000);
    let (all, buys) = (by_product(&[]), by_product(&["buy"]));
    let told = foreseen(&home, client, Some(&all));
    check_foreseen(&told, "added", true, &["plugin counts", "count all that the log holds"]);
    assert_eq!(told["section"]["section"], all);
    assert_eq!(state(client, "by_product"), "absent");

    assert_eq!(put(client, "by_product", &all).json(), told["section"]);
    until_state(client, "by_product", "active");
    assert_eq!(counted(client, &end), 1_000);
    let revision = |client: &Client| {
        let list = client.get("/api/metrics/by_product/versions").unwrap().json();
        list["versions"][0]["revision"].as_str().unwrap().to_owned()
    };
    let first = revision(client);
    check_foreseen(&foreseen(&home, client, Some(&all)), "kept", false, &["nothing would change"]);
    let mut other = all.clone();
    other["keep_old"] = json!("2h");
    let told = foreseen(&home, client, Some(&other));
    check_foreseen(&told, "kept", false, &[&first, "nothing would be counted again"]);
    let mut later = buys.clone();
    (later["history"], later["promote"]) = (json!("none"), json!("manual"));
    let told = foreseen(&home, client, Some(&later));
    check_foreseen(&told, "replaced", false, &[&first, "comes from then on", "wait for a promote"]);
    let told = foreseen(&home, client, Some(&buys));
    check_foreseen(&told, "replaced", true, &[&first, "count all", "events for 1 h longer"]);
    assert_eq!(revision(client), first);

    let off = json!({"plugin": "counts", "enabled": false});
    for gone in [foreseen(&home, client, Some(&off)), foreseen(&home, client, None)] {
        check_foreseen(&gone, "removed", false, &["would be retired", "purge by_product"]);
    }
    assert_eq!(state(client, "by_product"), "active");
    assert_eq!(delete(client, "by_product").status, 200);
    let told = foreseen(&home, client, Some(&all));
    check_foreseen(&told, "added", false, &[&first, "go on from what is stored"]);
    let refused = client.send("DELETE", "/api/sections/by_product?dry_run", &[], "").unwrap();
    assert_eq!((refused.status, &refused.json()["code"]), (404, &json!("section_not_found")));
    tally.stop().unwrap();
}

/// The body, JSON pointers of the faults, words of the advice.
fn wrong() -> Vec<(Value, Vec<&'static str>, &'static str)> {
    let counts = |config: Value| json!({"plugin": "counts", "config": config});
    let four = json!({"by": ["/a", "/b", "/c", "/d"], "cells": {"n": {"avg": "/x"}}});
    vec![
        (json!({"plugin": "cuonts"}), vec!["/plugin"], "did you mean counts?"),
        (json!({"plugin": "counts", "histroy": "all"}), vec!["/histroy"], "`history`"),
        (counts(four), vec!["/config/by", "/config/cells/n"], "must be one of"),
        (counts(json!({"by": ["/a"]})), vec!["/config"], "\"cells\" is missing"),
        (
            json!({"plugin": "event_frequencies", "retention": {"1m": "all"}}),
            vec!["/retention"],
            "kept as long as its",
        ),
        (json!({"plugin": "counts", "config": null}), vec!["/config"], "leave it out"),
        (json!({}), vec![""], "put its file into the plugin folder"),
    ]
}

#[test]
fn what_would_not_be_served_is_refused_with_pointers_and_changes_nothing() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    for (section, expected, words) in wrong() {
        let refused = put(client, "nothing_like_it", &section);
        let body = refused.json();
        assert_eq!((refused.status, &body["code"]), (422, &json!("section_invalid")), "{body}");
        let errors = body["errors"].as_array().unwrap();
        let mut pointers: Vec<&str> =
            errors.iter().map(|error| error["pointer"].as_str().unwrap()).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, expected, "{section}: {body}");
        assert!(refused.text.contains(&words.replace('"', "\\\"")), "{section}: {body}");
    }
    let name = put(client, "Top", &by_product(&[]));
    assert_eq!((name.status, &name.json()["errors"][0]["pointer"]), (422, &json!("")));
    assert!(listed(client).is_empty() && !file(&home).exists());
    tally.stop().unwrap();
}

#[test]
fn the_configuration_file_goes_before_the_data_directory() {
    let fixed = format!("{CONFIG}[metrics.fixed]\nplugin = \"event_frequencies\"\n");
    let home = Home::new(&fixed).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let in_file = |name: &str| (name.to_owned(), "file".to_owned(), false);
    assert_eq!(listed(client), [in_file("fixed")]);
    let code = |answer: Answer| (answer.status, answer.json()["code"].clone());
    let refused = (409, json!("section_in_file"));
    assert_eq!(code(put(client, "fixed", &by_product(&[]))), refused);
    assert_eq!(code(delete(client, "fixed")), refused);

    // What the file names later is the file's, and comes back once the file names it no more.
    let late = json!({"plugin": "event_frequencies", "history": "none"});
    assert_eq!(put(client, "late", &late).status, 201);
    let more = format!("{fixed}[metrics.late]\nplugin = \"event_frequencies\"\n");
    home.write("metrics.toml", &more).unwrap();
    let hidden = ("late".to_owned(), "data_directory".to_owned(), true);
    until_listed(client, &[in_file("fixed"), in_file("late"), hidden]);
    assert_eq!(code(put(client, "late", &late)), refused);
    assert_eq!(code(delete(client, "late")), refused);
    let output = home.run(&["config", "check"]).unwrap();
    let noted = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && noted.contains("[metrics.late] is not used"), "{noted}");
    home.write("metrics.toml", &fixed).unwrap();
    until_listed(client, &[in_file("fixed"), own("late")]);
    assert_eq!(delete(client, "late").status, 200);
    tally.stop().unwrap();
}

#[test]
fn an_end_at_each_moment_of_a_change_leaves_the_old_file_or_the_new_one() {
    let mut home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let end = post(&tally.client, 0, 2_000);
    tally.stop().unwrap();
    let moments: Vec<&str> = points::of_sections().collect();
    assert_eq!(moments.len(), 2);
    for moment in moments {
        for adds in [true, false] {
            home.use_binary(failing_binary().unwrap());
            let armed = format!("{moment}:1");
            let mut tally =
                home.with_env(&[("TALLY_FAILPOINT", armed.as_str())], |home| home.start().unwrap());
            let client = &tally.client;
            let cut_off = if adds {
                try_put(client, "by_product", &by_product(&[]))
            } else {
                let gone = client.send("DELETE", "/api/sections/by_product", &[], "");
                gone.map_err(|fault| format!("{fault:#}"))
            };
            assert!(cut_off.is_err(), "{moment}: {cut_off:?}");
            tally.process.ended(LIMIT).unwrap();
            drop(tally);
            home.use_binary(binary().unwrap());
            let tally = home.start().unwrap();
            let client = &tally.client;
            let is_there = adds == (moment == "sections.renamed");
            assert_eq!(listed(client).len(), usize::from(is_there), "{moment}, adds: {adds}");
            if adds {
                let expected = if is_there { 200 } else { 201 };
                assert_eq!(put(client, "by_product", &by_product(&[])).status, expected);
                until_state(client, "by_product", "active");
                assert_eq!(counted(client, &end), 2_000, "{moment}");
            } else {
                let expected = if is_there { 200 } else { 404 };
                assert_eq!(delete(client, "by_product").status, expected, "{moment}");
            }
            tally.stop().unwrap();
        }
    }
}

#[test]
fn requests_at_once_lose_nothing_of_each_other() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let address = tally.address;
    let name = |thread: u32, n: u32| format!("off_{thread}_{n}");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let client = Client::new(address).unwrap();
                for n in 0..8 {
                    let done = put(&client, &name(thread, n), &json!({"enabled": false}));
                    assert_eq!(done.status, 201, "{}", done.text);
                }
                assert_eq!(delete(&client, &name(thread, 3)).status, 200);
            });
        }
    });
    let mut expected: Vec<_> = (0..4)
        .flat_map(|thread| (0..8).filter(|n| *n != 3).map(move |n| own(&name(thread, n))))
        .collect();
    expected.sort();
    assert_eq!(listed(&tally.client), expected);
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    assert_eq!(listed(&tally.client), expected);
    tally.stop().unwrap();
}

#[test]
fn a_file_changed_by_hand_is_read_again_and_a_damaged_one_is_told() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    assert_eq!(put(client, "by_product", &by_product(&[])).status, 201);
    let text = fs::read_to_string(file(&home)).unwrap();
    fs::write(file(&home), format!("{text}\n[metrics.off]\nenabled = false\n")).unwrap();
    until_listed(client, &[own("by_product"), own("off")]);
    fs::write(file(&home), format!("{text}\n[metrics.off]\nenabled = 7\n")).unwrap();
    let told = |client: &Client| {
        let rejected = client.get("/api/metrics").unwrap().json()["rejected"].to_string();
        if rejected.contains("is not applied") { Ok(rejected) } else { Err(rejected) }
    };
    client.until("the damage is listed", LIMIT, told).unwrap();
    assert_eq!(listed(client).len(), 2, "what was served stays");
    let refused = put(client, "other", &json!({"enabled": false}));
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("not_possible")));
    tally.stop().unwrap();

    let line = text.lines().count() + 3;
    let place = format!("error: .tally/sections.toml:{line}:");
    let mut process = home.spawn().unwrap();
    assert_eq!(process.ended(LIMIT).unwrap().code(), Some(78));
    let said = process.tail();
    assert!(said.contains(&place) && said.contains("move the file away"), "{said}");
    let output = home.run(&["config", "check"]).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains(&place) && said.contains("move the file away"), "{said}");
    fs::rename(file(&home), home.path().join("damaged")).unwrap();
    let tally = home.start().unwrap();
    assert!(listed(&tally.client).is_empty());
    tally.stop().unwrap();
}
