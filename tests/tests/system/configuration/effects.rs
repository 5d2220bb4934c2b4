//! Keys of `metrics.toml` whose effect no other test shows; which test shows that of each key:
//! `house/keys.rs`.

use super::LIMIT;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;
use tally_tests::client::Client;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally, binary};

fn start(config: &str) -> (Home, Tally) {
    let home = Home::new(config).unwrap();
    let tally = home.start().unwrap();
    (home, tally)
}

fn event(n: u64) -> String {
    format!("{{\"user_id\":{n},\"product_id\":{n},\"event_type\":\"view\"}}\n")
}

fn log(client: &Client) -> Vec<(u64, u64)> {
    let bounds = client.get("/api/internal/log").unwrap().json();
    let partitions = bounds.as_array().unwrap().iter();
    partitions.map(|of| (of["start"].as_u64().unwrap(), of["end"].as_u64().unwrap())).collect()
}

#[test]
fn partitions_of_a_new_log() {
    for partitions in [1, 7] {
        let (_home, tally) = start(&format!("[log]\npartitions = {partitions}\n"));
        assert_eq!(log(&tally.client).len(), partitions);
        tally.stop().unwrap();
    }
}

#[test]
fn retention_of_the_log_by_age() {
    let (_home, tally) = start("[log]\npartitions = 1\nretention = \"1s\"\n");
    tally.client.post_all(&event(1)).unwrap();
    // What is in the newest segment goes too, and an append is what looks.
    let gone = tally.client.until("old events are dropped", LIMIT, |client| match log(client)[0] {
        (start, _) if start > 0 => Ok(String::new()),
        bounds => {
            client.post_all(&event(2)).unwrap();
            Err(format!("{bounds:?}"))
        }
    });
    gone.unwrap();
    tally.stop().unwrap();
    let (_home, tally) = start("[log]\npartitions = 1\nretention = \"all\"\n");
    let old = "{\"user_id\":1,\"product_id\":1,\"event_type\":\"view\",\"timestamp\":\"2001-01-01T00:00:00Z\"}\n";
    tally.client.post_all(old).unwrap();
    tally.client.post_all(&event(2)).unwrap();
    assert_eq!(log(&tally.client), [(0, 2)]);
    tally.stop().unwrap();
}

#[test]
fn state_is_stored_at_each_interval() {
    let stored = |home: &Home, tally: &Tally| {
        let text = home.succeed(&["state", "tables", "--json", "--url", &tally.url()]).unwrap();
        let tables: serde_json::Value = serde_json::from_str(&text).unwrap();
        tables["metrics"][0]["partitions"][0]["next"].as_u64().unwrap_or(0)
    };
    for (interval, often) in [(50, true), (600_000, false)] {
        let (home, tally) = start(&format!(
            "[log]\npartitions = 1\n[store]\ncheckpoint_interval_ms = {interval}\n"
        ));
        let end = tally.client.post_all(&[event(1), event(2)].concat()).unwrap();
        assert_eq!(tally.client.ask("event_frequencies", &json!({}), &end).unwrap()["total"], 2);
        if often {
            let is_stored = |_: &Client| {
                Some(stored(&home, &tally))
                    .filter(|next| *next == 2)
                    .map(|next| next.to_string())
                    .ok_or_else(String::new)
            };
            tally.client.until("it is stored", LIMIT, is_stored).unwrap();
        } else {
            assert!(stored(&home, &tally) < 2, "ten minutes are not over");
        }
        tally.stop().unwrap();
    }
}

#[test]
fn so_many_dead_letters_are_kept() {
    // What one reading of events accepts is refused by another.
    let config = "[log]\npartitions = 1\n[store]\ndead_letters = 2\n";
    let home = Home::new(&format!("{config}[events]\nrequired = [\"user_id\"]\n")).unwrap();
    let tally = home.start().unwrap();
    tally.client.post_all("{\"user_id\":1}\n{\"user_id\":2}\n{\"user_id\":3}\n").unwrap();
    tally.stop().unwrap();
    home.write("metrics.toml", config).unwrap();
    let tally = home.start().unwrap();
    let kept = tally.client.until("the letters are stored", LIMIT, |client| {
        let answer = client.get("/api/dead-letters").map_err(|fault| format!("{fault:#}"))?;
        let json = answer.json();
        let all: u64 = json["counts"]
            .as_object()
            .into_iter()
            .flat_map(|all| all.values().filter_map(serde_json::Value::as_u64))
            .sum();
        if all == 3 {
            Ok(json["items"].as_array().unwrap().len().to_string())
        } else {
            Err(answer.text)
        }
    });
    assert_eq!(kept.unwrap(), "2");
    tally.stop().unwrap();
}

#[test]
fn the_data_directory_and_the_address_are_those_of_the_file() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let home = Home::new(&format!(
        "[store]\ndata_dir = \"elsewhere\"\n[server]\nlisten = \"127.0.0.1:{port}\"\n"
    ))
    .unwrap();
    let mut child = Command::new(binary().unwrap())
        .arg("run")
        .current_dir(home.path())
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let ready = Client::new(address).and_then(|client| client.ready(LIMIT));
    let made = home.path().join("elsewhere").exists() && !home.path().join(".tally").exists();
    child.kill().unwrap();
    child.wait().unwrap();
    ready.unwrap();
    assert!(made);
}

#[test]
fn connections_beyond_the_limit_are_refused() {
    let (_home, tally) = start("[server]\nmax_connections = 3\n");
    let connected = || {
        let mut stream = TcpStream::connect(tally.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let host = tally.address;
        stream
            .write_all(format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .unwrap_or_default();
        let mut first = [0; 12];
        let answered = stream.read(&mut first).unwrap_or(0) == 12 && &first == b"HTTP/1.1 200";
        (stream, answered)
    };
    // The client that waited for readiness may still hold one.
    let held: Vec<_> = (0..6).map(|_| connected()).collect();
    let answered = held.iter().filter(|(_, answered)| *answered).count();
    assert!((1..=3).contains(&answered), "{answered} of 6 were answered");
    drop(held);
    tally.stop().unwrap();
}

#[test]
fn an_evaluation_ends_at_its_deadline() {
    for (deadline, status) in [(1, 504), (60_000, 200)] {
        let (_home, tally) = start(&format!("[server]\nevaluation_deadline_ms = {deadline}\n"));
        let mut end = String::new();
        for at in (0..60_000).step_by(10_000) {
            end = tally.client.post_all(&(at..at + 10_000).map(event).collect::<String>()).unwrap();
        }
        let question = json!({"name": "products_popularity", "params": {"limit": 1000, "order": "asc"}, "at_least": end, "wait_ms": 30_000});
        tally
            .client
            .until("everything is counted", LIMIT, |client| {
                let answer = client.evaluate(&question).map_err(|fault| format!("{fault:#}"))?;
                if answer.text.contains("position_not_reached") {
                    Err(answer.text)
                } else {
                    Ok(answer.text)
                }
            })
            .unwrap();
        let answered = tally.client.evaluate(&question).unwrap();
        assert_eq!(answered.status, status, "{}", &answered.text[..answered.text.len().min(500)]);
        assert!(status == 200 || answered.text.contains("deadline_exceeded"), "{}", answered.text);
        tally.stop().unwrap();
    }
}

#[test]
fn so_many_threads_evaluate_what_is_watched() {
    for threads in [1, 5] {
        let (_home, tally) = start(&format!("[live]\nthreads = {threads}\n"));
        let tasks = std::fs::read_dir(format!("/proc/{}/task", tally.process.pid())).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")));
        // One that ends meanwhile has no name.
        let names: Vec<String> = names.filter_map(Result::ok).collect();
        let evaluate = names.iter().filter(|name| name.starts_with("tally-live-")).count();
        assert_eq!(evaluate, threads, "{names:?}");
        tally.stop().unwrap();
    }
}

#[test]
fn what_is_shipped_is_served_where_it_is_named() {
    let (_home, tally) = start("[plugins]\nshipped = [\"event_frequencies\", \"conversion\"]\n");
    let listing = tally.client.get("/api/metrics").unwrap().json();
    let names: Vec<&str> = listing["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| metric["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["conversion", "event_frequencies"]);
    tally.stop().unwrap();
}

#[test]
fn the_port_of_redis_and_how_often_is_committed() {
    let redis = Redis::start(&[]).unwrap();
    let port: u16 = redis.url().rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap();
    for (n, (interval, counted)) in [(5, true), (60_000, false)].into_iter().enumerate() {
        let config = format!(
            "[store]\nkind = \"redis\"\n[redis]\nurl = \"redis://127.0.0.1:1\"\nport = {port}\nnamespace = \"n{n}\"\ncommit_interval_ms = {interval}\n"
        );
        let (_home, tally) = start(&config);
        let end = tally.client.post_all(&event(1)).unwrap();
        let question =
            json!({"name": "event_frequencies", "params": {}, "at_least": end, "wait_ms": 3_000});
        let answer = tally.client.evaluate(&question).unwrap();
        let told = (answer.status, answer.json()["code"].as_str().map(str::to_owned));
        let expected =
            if counted { (200, None) } else { (504, Some("position_not_reached".to_owned())) };
        assert_eq!(told, expected, "{}", answer.text);
        tally.process.stop(Duration::from_secs(30)).unwrap();
    }
}

#[test]
fn so_many_event_types_stand_for_themselves() {
    for (most, shown) in [(5, 1..=6), (1_000, 50..=50)] {
        let (_home, tally) = start(&format!("[events]\nmax_types = {most}\n"));
        let kinds =
            |n: u64| format!("{{\"user_id\":{n},\"product_id\":1,\"event_type\":\"kind_{n}\"}}\n");
        let end = tally.client.post_all(&(0..50).map(kinds).collect::<String>()).unwrap();
        let answer = tally.client.ask("event_frequencies", &json!({}), &end).unwrap();
        let types = answer["by_type"].as_object().unwrap().len();
        assert!(answer["total"] == 50 && shown.contains(&types), "{answer}");
        tally.stop().unwrap();
    }
}
