//! `tally verify`: the log counted again and compared with the state of running engines, embedded
//! and on real Kafka and Redis; and that it can fail: between it and the engine stands somebody who
//! alters one thing.

mod everything;

use everything::{EVERYTHING, rich};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::ends::Ends;
use tally_tests::kafka::Kafka;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, START, Tally};

const CONFIG: &str =
    "[store]\ncheckpoint_interval_ms = 100\n[server]\nevaluation_deadline_ms = 10000\n";

const METRICS: [&str; 3] = ["event_frequencies", "products_popularity", "user_activities"];

/// 2026-01-01T00:00:00Z.
const DAY: i64 = 1_767_225_600_000;

/// Event number `n`: ids of both sorts, times that come late.
fn event(n: u64) -> Value {
    let user = if n.is_multiple_of(7) { json!(format!("user {}", n % 20)) } else { json!(n % 50) };
    let kind = ["view", "buy", "wishlist"][(n % 3) as usize];
    let late = (n * 7_919 % 5_000) as i64 * 60_000;
    json!({"event_id": format!("e-{n}"), "user_id": user, "product_id": n % 31, "event_type": kind, "timestamp": DAY - late})
}

fn lines(events: impl Iterator<Item = Value>) -> String {
    events.map(|event| format!("{event}\n")).collect()
}

/// What `tally verify` says, and its exit code.
fn verify(home: &Home, url: &str, names: &[&str]) -> (Value, i32, String) {
    let output = home.run(&[&["verify", "--json", "--url", url], names].concat()).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (said, output.status.code().unwrap(), err)
}

/// Everything is equal, and each metric counted `events`.
fn equal(home: &Home, url: &str, events: u64) -> Value {
    let (said, code, err) = verify(home, url, &[]);
    assert_eq!((code, &said["equal"]), (0, &json!(true)), "{said} {err}");
    let names: Vec<&str> = said["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| metric["metric"].as_str().unwrap())
        .collect();
    assert_eq!(names, METRICS);
    for metric in said["metrics"].as_array().unwrap() {
        let figures =
            ["in_log", "counted", "missing", "double", "other_cells_wrong", "pane_cells_wrong"]
                .map(|figure| &metric[figure]);
        assert_eq!(
            figures.map(|figure| figure.as_u64().unwrap()),
            [events, events, 0, 0, 0, 0],
            "{metric}"
        );
        assert_eq!((&metric["whole"], &metric["not_checked"]), (&json!(true), &json!([])));
    }
    said
}

fn reached(client: &Client, position: &str) {
    METRICS.iter().for_each(|name| drop(client.ask(name, &params(name), position).unwrap()));
}

fn params(name: &str) -> Value {
    if name == "user_activities" { json!({"user_id": 1}) } else { json!({}) }
}

#[test]
fn an_embedded_log_with_duplicates_poison_and_late_events() {
    let lenient = format!(
        "{CONFIG}[events]\nrequired = [\"user_id\", \"event_type\"]\ndedupe_window = 100\n"
    );
    let home = Home::new(&lenient).unwrap();
    let tally = home.start().unwrap();
    let url = tally.url();
    equal(&home, &url, 0);
    tally.client.post_all(&lines((0..2_000).map(event))).unwrap();
    // Again within the window of their partitions, and again far outside of it.
    tally.client.post_all(&lines((1_900..2_000).map(event))).unwrap();
    tally.client.post_all(&lines((0..500).map(event))).unwrap();
    let without_product = |n| {
        let mut event = event(n);
        event.as_object_mut().unwrap().remove("product_id");
        event
    };
    let position = tally.client.post_all(&lines((5_000..5_040).map(without_product))).unwrap();
    reached(&tally.client, &position);
    let (said, code, err) = verify(&home, &url, &["event_frequencies"]);
    assert_eq!(code, 0, "{said} {err}");
    assert_eq!(
        said["log"],
        json!({"records": 2_640, "events": 2_540, "duplicates": 100, "refused": 0}),
        "{said}"
    );
    assert_eq!(
        (&said["metrics"][0]["counted"], said["metrics"].as_array().unwrap().len()),
        (&json!(2_540), 1)
    );
    // An event without a product counts in no table that has products in its key.
    let (said, code, _) = verify(&home, &url, &["products_popularity"]);
    assert_eq!((code, &said["metrics"][0]["in_log"]), (0, &json!(2_500)));
    tally.kill().unwrap();

    // Read another way, the log holds poison, and everything is counted anew.
    home.write("metrics.toml", CONFIG).unwrap();
    let tally = home.start().unwrap();
    let posted = tally.client.post_all(&lines((2_000..2_100).map(event))).unwrap();
    reached(&tally.client, &posted);
    wait_for_reading(&tally.client);
    let said = equal(&home, &tally.url(), 2_100);
    assert_eq!(
        said["log"],
        json!({"records": 2_740, "events": 2_100, "duplicates": 600, "refused": 40})
    );
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    equal(&home, &tally.url(), 2_100);

    let printed = home.succeed(&["verify", "--url", &tally.url()]).unwrap();
    let line = "event_frequencies  2,100 in log · 2,100 counted · 0 missing · 0 double";
    assert_eq!(printed.lines().next(), Some(line));
    let (_, code, err) = verify(&home, &tally.url(), &["nothing"]);
    assert!(code == 1 && err.contains("unknown metric \""), "{code} {err}");
    tally.stop().unwrap();
    let (_, code, err) = verify(&home, "http://127.0.0.1:1", &[]);
    assert!(code == 1 && err.contains("no engine answers"), "{code} {err}");
}

/// What answered before does so until this reading has counted the log.
fn wait_for_reading(client: &Client) {
    let replaced = |client: &Client| match client
        .get("/api/metrics")
        .map_err(|fault| format!("{fault:#}"))?
        .json()
    {
        said if !said.to_string().contains("\"newer\"") => Ok(String::new()),
        said => Err(said.to_string()),
    };
    client.until("it is read as it is configured now", Duration::from_secs(60), replaced).unwrap();
}

/// Posts events until told to stop, so that the log moves on.
fn while_events_come<T>(client: &Client, from: u64, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let feeding = scope.spawn(|| {
            let mut n = from;
            while !done.load(Ordering::SeqCst) {
                client.post_all(&lines((n..n + 20).map(rich))).unwrap();
                n += 15; // a quarter of them twice
                // Some 200 kB a second: in the seconds that a difference takes the log must not
                // drop what is being counted.
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let ends = Ends(&done);
        let worked = work();
        drop(ends);
        feeding.join().unwrap();
        worked
    })
}

/// Only a difference could be checked, which is equal, and it is said what was not checked.
fn equal_in_part(said: &Value, code: i32, err: &str) {
    assert_eq!((code, &said["equal"]), (0, &json!(true)), "{said} {err}");
    for metric in said["metrics"].as_array().unwrap() {
        let figure = |name: &str| metric[name].as_u64().unwrap();
        assert!(figure("in_log") > 20 && figure("in_log") == figure("counted"), "{metric}");
        let not_checked = metric["not_checked"].to_string();
        assert!(metric["whole"] == false && not_checked.contains("the log begins at"), "{metric}");
        assert!(not_checked.contains("the difference of two states"), "{metric}");
    }
}

#[test]
fn what_retention_has_dropped_is_named_and_the_rest_is_checked() {
    let log = "[log]\nretention_bytes = 2000000\npartitions = 2\n[events]\ndedupe_window = 1000\n";
    let config = format!("{CONFIG}{log}{EVERYTHING}");
    let home = Home::new(&config).unwrap();
    let tally = home.start().unwrap();
    let padded = |n| {
        let mut event = rich(n);
        event["padding"] = "x".repeat(1_000).into();
        event
    };
    for n in 0..10 {
        let posted = tally.client.post_all(&lines((n * 500..(n + 1) * 500).map(padded))).unwrap();
        reached(&tally.client, &posted);
    }
    let poster = Client::new(tally.address).unwrap();
    let (said, code, err) =
        while_events_come(&poster, 100_000, || verify(&home, &tally.url(), &[]));
    equal_in_part(&said, code, &err);
    // Without any events there is nothing to check, which is said.
    let posted = tally.client.post_all(&lines((90_000..90_100).map(event))).unwrap();
    reached(&tally.client, &posted);
    let (said, code, _) = verify(&home, &tally.url(), &["event_frequencies"]);
    assert_eq!((code, &said["metrics"][0]["in_log"]), (0, &json!(0)));
    assert!(
        said["metrics"][0]["not_checked"].to_string().contains("nothing was counted meanwhile"),
        "{said}"
    );
    tally.stop().unwrap();
}

/// Stands between a client and an engine, and alters what comes from one address. Ends with the
/// test's process.
fn between(tally: &Tally, alter: impl Fn(&str, String) -> String + Send + 'static) -> String {
    let client = Client::new(tally.address).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let Some(path) = asked(&stream) else { continue };
            let answer = client.get(&path).unwrap();
            let body = alter(&path, answer.text);
            let head = format!(
                "HTTP/1.1 {} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                answer.status,
                body.len()
            );
            // A client that has heard enough is none of our business.
            let _ =
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
        }
    });
    url
}

/// The path of a GET; none on a connection that was opened in vain.
fn asked(stream: &TcpStream) -> Option<String> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    lines.find(String::is_empty);
    first.split(' ').nth(1).map(str::to_owned)
}

/// The row of product 3 and "view" in the totals of products_popularity, changed; the rest as it
/// is.
fn alter_row(path: &str, body: &str, change: impl Fn(&mut Value) -> Option<()>) -> String {
    alter_rows(path, body, |row| if row.get("pane").is_none() { change(row) } else { Some(()) })
}

/// The same in its totals and in all panes.
fn alter_rows(path: &str, body: &str, change: impl Fn(&mut Value) -> Option<()>) -> String {
    if path != "/api/internal/state/products_popularity" {
        return body.to_owned();
    }
    let mut rows = 0;
    let mut out = String::new();
    for line in body.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let stays = line["key"] != json!([3, "view"]) || change(&mut line).is_some();
        rows += u64::from(stays && line.get("key").is_some());
        if line.get("end").is_some() {
            line["end"] = rows.into();
        }
        if stays {
            out.push_str(&format!("{line}\n"));
        }
    }
    out
}

#[test]
fn it_can_fail() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let posted = tally.client.post_all(&lines((0..930).map(event))).unwrap();
    reached(&tally.client, &posted);
    let faithful = between(&tally, |_, body| body);
    equal(&home, &faithful, 930);

    let key = json!({"product_id": 3, "event_type": "view"});
    let named = |said: &Value, expected: Value, found: Value| {
        let wrong: Vec<&Value> = said["metrics"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|metric| metric["equal"] == false)
            .collect();
        assert_eq!(wrong.len(), 1, "one metric and no other: {said}");
        assert_eq!(wrong[0]["metric"], "products_popularity");
        let difference = json!({"table": "interactions", "key": key, "pane": null, "cell": "n", "expected": expected, "found": found});
        assert_eq!(wrong[0]["differences"], json!([difference]));
        wrong[0].clone()
    };

    // One event counted twice.
    let doubled = between(&tally, |path, body| {
        alter_row(path, &body, |row| {
            row["cells"] = json!(["11"]);
            Some(())
        })
    });
    let (said, code, err) = verify(&home, &doubled, &[]);
    assert!(code == 1 && err.contains("one metric differs from the log"), "{code} {err}");
    let wrong = named(&said, json!(10), json!(11));
    assert_eq!((&wrong["in_log"], &wrong["counted"]), (&json!(930), &json!(931)));
    assert_eq!((&wrong["missing"], &wrong["double"]), (&json!(0), &json!(1)));
    let output = home.run(&["verify", "--url", &doubled]).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let line = "  interactions product_id=3 event_type=\"view\" · n: expected 10, found 11";
    assert!(
        output.status.code() == Some(1) && printed.lines().any(|found| found == line),
        "{printed}"
    );

    // A row lost.
    let lost = between(&tally, |path, body| alter_row(path, &body, |_| None));
    let (said, code, _) = verify(&home, &lost, &[]);
    assert_eq!((code, &named(&said, json!(10), Value::Null)["missing"]), (1, &json!(10)));

    a_pane_a_day_early_is_named(&home, &tally);
    forge_event(&home, &tally);

    // An answer that is cut is no answer.
    let cut = between(&tally, |path, body| match path {
        "/api/internal/state/user_activities" => {
            body.lines().take(5).map(|line| format!("{line}\n")).collect()
        }
        _ => body,
    });
    let (_, code, err) = verify(&home, &cut, &[]);
    assert!(code == 1 && err.contains("was cut off after 4 lines"), "{code} {err}");
    equal(&home, &tally.url(), 930);
}

/// An event that the log does not hold: one of each metric's counts is too many.
fn forge_event(home: &Home, tally: &Tally) {
    let forged = between(tally, |path, body| {
        if !path.contains("partition=0") {
            return body;
        }
        let mut kept: Vec<&str> = body.lines().collect();
        kept.remove(3);
        let end = kept
            .pop()
            .unwrap()
            .trim_start_matches("{\"end\":")
            .trim_end_matches('}')
            .parse::<u64>()
            .unwrap()
            - 1;
        format!("{}\n{{\"end\":{end}}}\n", kept.join("\n"))
    });
    let (said, code, err) = verify(home, &forged, &[]);
    assert!(code == 1 && err.contains("3 metrics differ from the log"), "{code} {err}");
    assert!(
        said["metrics"].as_array().unwrap().iter().all(|metric| metric["double"] == 1),
        "{said}"
    );
}

/// What one pane holds a day early: the totals are right.
fn a_pane_a_day_early_is_named(home: &Home, tally: &Tally) {
    let key = json!({"product_id": 3, "event_type": "view"});
    let moved = between(tally, |path, body| {
        alter_rows(path, &body, |row| {
            if let Some(start) = row["pane"][1].as_i64().filter(|start| *start > DAY - 86_400_000) {
                row["pane"][1] = json!(start - 86_400_000);
            }
            Some(())
        })
    });
    let (said, code, _) = verify(home, &moved, &["products_popularity"]);
    let wrong = &said["metrics"][0];
    let figures =
        ["missing", "double", "other_cells_wrong"].map(|figure| wrong[figure].as_u64().unwrap());
    assert_eq!((code, figures), (1, [0, 0, 0]), "{said}");
    let differences = wrong["differences"].as_array().unwrap();
    assert_eq!(wrong["pane_cells_wrong"], differences.len(), "{said}");
    let found = |value: &Value| differences.iter().filter(|d| d["found"] == *value).count();
    assert!(found(&Value::Null) > 0 && found(&Value::Null) < differences.len(), "{said}");
    let is_minute =
        |d: &Value| d["pane"].as_str().unwrap().starts_with("minute 202") || !d["found"].is_null();
    assert!(differences.iter().all(|d| d["key"] == key && is_minute(d)), "{said}");
}

const TOPIC: &str = "verified";
const PARTITIONS: i32 = 4;

/// Two engines that share Kafka and Redis: state and log are the same through both.
#[test]
fn real_kafka_and_redis_with_two_engines() {
    let kafka = Kafka::start().unwrap();
    let redis = Redis::start(&[]).unwrap();
    kafka.create_topic(TOPIC, PARTITIONS, &[]).unwrap();
    let home = || {
        let mut home = Home::new(&format!("[kafka]\nsession_timeout_ms = 1500\n{CONFIG}")).unwrap();
        home.env("KAFKA_BROKER", &kafka.brokers());
        home.env("TOPIC", TOPIC);
        home.env("GROUP_ID", TOPIC);
        home.env("REDIS_URL", &redis.url());
        home
    };
    let homes = [home(), home()];
    let payload = |n| event(n).to_string().into_bytes();
    for partition in 0..PARTITIONS {
        let first = u64::try_from(partition).unwrap() * 10_000;
        let events: Vec<Vec<u8>> = (first..first + 500).map(payload).collect();
        kafka.produce(TOPIC, partition, &events).unwrap();
        kafka.produce(TOPIC, partition, &events[400..]).unwrap();
        kafka
            .produce(TOPIC, partition, &[b"not json".to_vec(), b"\xff".to_vec(), b"{}".to_vec()])
            .unwrap();
        kafka.tombstone(TOPIC, partition).unwrap();
        kafka.produce_in_transaction(TOPIC, partition, &[payload(first + 600)], false).unwrap();
        kafka.produce_in_transaction(TOPIC, partition, &[payload(first + 700)], true).unwrap();
    }
    let tallies = [homes[0].listening().unwrap(), homes[1].listening().unwrap()];
    tallies.iter().for_each(|tally| tally.client.ready(START).unwrap());
    let posted = tallies[0].client.post_all(&lines((50_000..50_100).map(event))).unwrap();
    tallies.iter().for_each(|tally| reached(&tally.client, &posted));
    let all = 4 * 501 + 100;
    let wait = |client: &Client| {
        let seen = |client: &Client| match client.ask("event_frequencies", &json!({}), "") {
            Ok(answer) if answer["total"] == all => Ok(answer.to_string()),
            other => Err(format!("{other:?}")),
        };
        client.until("all events", Duration::from_secs(30), seen).unwrap();
    };
    wait(&tallies[0].client);
    let log = json!({"records": 4 * (500 + 100 + 3 + 1 + 1) + 100, "events": all, "duplicates": 400, "refused": 16});
    for (home, tally) in homes.iter().zip(&tallies) {
        assert_eq!(equal(home, &tally.url(), all)["log"], log);
    }

    let [first, second] = tallies;
    first.kill().unwrap();
    second.client.ready(START).unwrap();
    equal(&homes[1], &second.url(), all);

    // The log loses its beginning.
    for partition in 0..PARTITIONS {
        kafka.delete_before(TOPIC, partition, 300).unwrap();
    }
    let poster = Client::new(second.address).unwrap();
    let (said, code, err) =
        while_events_come(&poster, 100_000, || verify(&homes[1], &second.url(), &[]));
    equal_in_part(&said, code, &err);
    second.stop().unwrap();
}
