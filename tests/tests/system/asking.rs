//! Asking by GET, as rows and together, on a real engine: what is tagged is not sent again, what is
//! held wakes when it changes, and a batch is of one position.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tally_tests::client::{Answer, Client};
use tally_tests::day;
use tally_tests::redis::Redis;
use tally_tests::tally::{Home, Tally};

/// A long deadline, so that a busy machine is no failure.
const CONFIG: &str =
    "[server]\nevaluation_deadline_ms = 10000\n[store]\ncheckpoint_interval_ms = 100\n";

const FREQUENCIES: &str = "/api/metrics/event_frequencies/answer";

/// An engine that has counted the day.
fn day_counted(home: &Home) -> Tally {
    let tally = home.start().unwrap();
    post(&tally.client, &day::events());
    tally
}

/// Posts events and waits until they are counted.
fn post(client: &Client, events: &[Value]) {
    let at = client.post_all(&day::lines(events)).unwrap();
    client.ask("event_frequencies", &json!({}), &at).unwrap();
}

fn view(user: u64) -> Value {
    json!({"user_id": user, "product_id": 10, "event_type": "view", "timestamp": "2026-01-01T00:01:30Z"})
}

fn get(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.send("GET", path, headers, "").unwrap()
}

/// The same if it is another one than that of `tag`.
fn other(client: &Client, path: &str, tag: &str) -> Answer {
    get(client, path, &[("if-none-match", tag)])
}

fn with_params(path: &str, params: &Value) -> String {
    let encoded: String = params.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("{path}?params={encoded}")
}

#[test]
fn what_has_not_changed_is_not_sent_again_also_after_a_restart() {
    let home = Home::new(CONFIG).unwrap();
    let tally = day_counted(&home);
    let bounded = with_params(FREQUENCIES, &json!({"window": "2h", "to": "2026-01-01T02:00:00Z"}));
    let paths =
        [FREQUENCIES, bounded.as_str(), "/api/users", "/api/dead-letters", "/problems/not_found"];
    let tags: Vec<String> = paths.iter().map(|path| tag_of(&tally.client, path)).collect();
    post(&tally.client, &[view(7)]);
    for (path, tag) in paths.iter().zip(&tags).take(2) {
        let changed = other(&tally.client, path, tag);
        assert_eq!(changed.status, 200, "{path}: one more is counted");
        assert_ne!(changed.header("etag"), tag, "{path}");
    }
    let tags: Vec<String> = paths.iter().map(|path| tag_of(&tally.client, path)).collect();
    tally.stop().unwrap();
    let tally = home.start().unwrap();
    for (path, tag) in paths.iter().zip(&tags) {
        assert_eq!(other(&tally.client, path, tag).status, 304, "{path}");
    }
    let problem = get(&tally.client, "/api/nothing", &[]);
    assert_eq!((problem.status, problem.header("etag")), (404, ""));
    let means = get(&tally.client, problem.json()["type"].as_str().unwrap(), &[]).json();
    assert_eq!((&means["code"], &means["status"]), (&json!("not_found"), &json!(404)));
    tally.stop().unwrap();
}

/// Of each metric where its history begins, in an answer and in the list, and the tag of the answer.
fn beginnings(client: &Client) -> Vec<[String; 3]> {
    let user = with_params("/api/metrics/user_activities/answer", &json!({"user_id": 1}));
    let series = with_params(FREQUENCIES, &json!({"to": "2026-01-02T00:00:00Z", "bucket": "1d"}));
    let products = "/api/metrics/products_popularity/answer";
    let of = |path: &str| {
        let answer = get(client, path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        let listed = path.split("/answer").next().unwrap();
        let listed = get(client, listed, &[]).json();
        let from = |of: &Value| {
            assert_eq!(of["history"]["state"], "complete", "{path}: {of}");
            of["history"]["from"].as_str().unwrap_or_default().to_owned()
        };
        [from(&answer.json()["meta"]), from(&listed), answer.header("etag").to_owned()]
    };
    [FREQUENCIES, series.as_str(), products, user.as_str()].map(of).into()
}

/// Posts a view at this time, and waits until each metric has counted it.
fn view_at(client: &Client, user: u64, time: &str) {
    let event = json!({"user_id": user, "product_id": 10, "event_type": "view", "timestamp": time});
    let at = client.post_all(&day::lines(&[event])).unwrap();
    let metrics = ["event_frequencies", "products_popularity", "user_activities"];
    for (metric, params) in metrics.into_iter().zip([json!({}), json!({}), json!({"user_id": 1})]) {
        client.answer(metric, &params, &at).unwrap();
    }
}

/// History begins with the first event, however old the pane is in which that lies, and whoever
/// loaded it.
fn begins_with_the_first_event(home: &Home) {
    // So old that neither its minute nor its hour has to be held.
    const FIRST: &str = "2025-03-04T05:06:07.089Z";
    let begins = |tally: &Tally, time: &str| {
        let all = beginnings(&tally.client);
        assert!(all.iter().all(|[said, listed, _]| said == time && listed == time), "{all:?}");
        all
    };
    let tally = day_counted(home);
    view_at(&tally.client, 2, FIRST);
    view_at(&tally.client, 1, "2025-03-04T05:06:40.500Z");
    let before = begins(&tally, FIRST);
    tally.stop().unwrap();
    let tally = home.start().unwrap();
    assert_eq!(begins(&tally, FIRST), before);
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    assert_eq!(begins(&tally, FIRST), before);
    // What comes later is another answer with the same beginning; what is earlier moves it.
    view_at(&tally.client, 1, "2025-03-04T05:06:07.090Z");
    assert!(begins(&tally, FIRST).iter().zip(&before).all(|(now, before)| now[2] != before[2]));
    view_at(&tally.client, 3, "2025-03-04T05:06:07.088Z");
    let before = begins(&tally, "2025-03-04T05:06:07.088Z");
    tally.stop().unwrap();
    let tally = home.start().unwrap();
    assert_eq!(begins(&tally, "2025-03-04T05:06:07.088Z"), before);
    tally.stop().unwrap();
}

#[test]
fn where_history_begins_is_the_same_after_a_restart() {
    begins_with_the_first_event(&Home::new(CONFIG).unwrap());
}

#[test]
fn where_history_begins_is_the_same_after_a_restart_in_redis() {
    let redis = Redis::start(&[]).unwrap();
    let mut home = Home::new(CONFIG).unwrap();
    home.env("REDIS_URL", &redis.url());
    begins_with_the_first_event(&home);
}

/// The tag of what is there, for GET and HEAD alike; who has it gets no body.
fn tag_of(client: &Client, path: &str) -> String {
    let whole = get(client, path, &[]);
    assert_eq!(whole.status, 200, "{path}: {}", whole.text);
    let tag = whole.header("etag");
    assert!(tag.starts_with("W/\""), "{path}: {tag}");
    let head = client.send("HEAD", path, &[], "").unwrap();
    assert_eq!((head.status, head.header("etag"), head.text.as_str()), (200, tag, ""), "{path}");
    for method in ["GET", "HEAD"] {
        let again = client.send(method, path, &[("if-none-match", tag)], "").unwrap();
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{method} {path}");
        assert_eq!((again.header("etag"), again.header("content-length")), (tag, ""));
    }
    tag.to_owned()
}

#[test]
fn a_series_comes_as_rows() {
    let home = Home::new(CONFIG).unwrap();
    let tally = day_counted(&home);
    let client = &tally.client;
    let params = json!({"window": "2h", "to": "2026-01-01T02:00:00Z", "bucket": "1h"});
    let path = with_params(FREQUENCIES, &params);
    let csv = get(client, &path, &[("accept", "text/csv")]);
    let expected = "start,total,by_type.add_to_cart,by_type.buy,by_type.view\r\n\
                    2026-01-01T00:00:00.000Z,7,1,1,5\r\n2026-01-01T01:00:00.000Z,4,,1,3\r\n";
    assert_eq!((csv.status, csv.text.as_str()), (200, expected));
    assert!(csv.header("content-type").starts_with("text/csv"), "{:?}", csv.headers);
    let window = "2026-01-01T00:00:00.000Z/2026-01-01T02:00:00.000Z";
    assert_eq!(csv.header("tally-window"), window);
    assert_eq!(csv.header("tally-history"), "complete; from=2026-01-01T00:01:00.000Z");
    let whole = get(client, &path, &[]).json();
    assert_eq!(whole["meta"]["position"], csv.header("tally-position"));

    let lines = get(client, &path, &[("accept", "application/x-ndjson")]);
    let rows: Vec<Value> =
        lines.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(json!(rows), whole["result"]["series"]);
    let headers = [("accept", "text/csv"), ("content-type", "application/json")];
    let body = json!({"name": "event_frequencies", "params": params}).to_string();
    let posted = client.send("POST", "/api/metrics", &headers, body).unwrap();
    assert_eq!(posted.text, expected);

    let params = json!({"product_ids": [10, 20], "window": "2h", "to": "2026-01-01T02:00:00Z", "bucket": "1h"});
    let path = with_params("/api/metrics/products_popularity/answer", &params);
    let groups = get(client, &path, &[("accept", "text/csv")]).text;
    assert!(groups.starts_with("rank,product_id,interactions,score,"), "{groups}");
    assert!(groups.contains(",share,series.start,series.total,"), "{groups}");
    assert_eq!(groups.lines().count(), 1 + 2 * 2, "{groups}");
    tally.stop().unwrap();
}

/// Ends a feeder, also if the test fails.
struct Feeding<'a>(&'a AtomicBool);

impl Drop for Feeding<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_batch_is_of_one_position_while_events_come() {
    let home = Home::new(CONFIG).unwrap();
    let tally = day_counted(&home);
    let done = AtomicBool::new(false);
    let queries = json!({"queries": [
        {"name": "event_frequencies"},
        {"name": "products_popularity"},
        {"name": "user_activities", "params": {"user_id": 1}},
        {"name": "nothing"},
        {"name": "event_frequencies", "params": {"event_types": ["view"]}},
        {"name": "products_popularity", "params": {"product_ids": [10]}},
    ]});
    let mut seen = BTreeSet::new();
    thread::scope(|scope| {
        let feeding = Feeding(&done);
        let feeder = scope.spawn(|| {
            let client = Client::new(tally.address).unwrap();
            let lines = day::lines(&[view(1), view(2), view(3)]);
            while !done.load(Ordering::Relaxed) {
                client.post_all(&lines).unwrap();
            }
        });
        let begun = Instant::now();
        // As long as it takes until many positions were seen.
        while seen.len() < 50 && begun.elapsed() < Duration::from_secs(60) {
            let answer = tally.client.post("/api/metrics/batch", queries.to_string()).unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text);
            seen.insert(check_batch(&answer.json()["answers"]));
        }
        drop(feeding);
        feeder.join().unwrap();
    });
    assert!(seen.len() >= 50, "only {} positions were seen", seen.len());
    tally.stop().unwrap();
}

/// All answers are of one position, and say the same of what was counted; that position.
fn check_batch(answers: &Value) -> String {
    let at = |n: usize| answers[n]["meta"]["position"].as_str().unwrap_or_default();
    for n in [1, 2, 4, 5] {
        assert_eq!(at(n), at(0), "{answers}");
        assert_eq!(answers[n]["meta"]["as_of"], answers[0]["meta"]["as_of"]);
    }
    assert_eq!(answers[3]["code"], "metric_not_found");
    let (all, products) = (&answers[0]["result"], &answers[1]["result"]);
    assert_eq!(all["total"], products["total"], "{answers}");
    assert_eq!(all["by_type"]["view"], answers[4]["result"]["total"], "{answers}");
    assert_eq!(products["products"][0]["interactions"], answers[5]["result"]["total"], "{answers}");
    assert!(answers[2]["result"]["total"].is_u64(), "{answers}");
    at(0).to_owned()
}

#[test]
fn a_batch_waits_for_what_was_written() {
    let home = Home::new(CONFIG).unwrap();
    let tally = day_counted(&home);
    for n in 1..=20 {
        let at = tally.client.post_all(&day::lines(&[view(100)])).unwrap();
        let asked = json!({"name": "user_activities", "params": {"user_id": 100}, "at_least": at});
        let body = json!({"queries": [asked, {"name": "event_frequencies"}]}).to_string();
        let answers = tally.client.post("/api/metrics/batch", body).unwrap().json();
        let answers = &answers["answers"];
        assert_eq!(answers[0]["result"]["total"], n, "{answers}");
        assert_eq!(answers[0]["meta"]["position"], answers[1]["meta"]["position"]);
    }
    tally.stop().unwrap();
}

#[test]
fn a_held_question_wakes_when_it_changes_and_not_before() {
    let home = Home::new(CONFIG).unwrap();
    let tally = day_counted(&home);
    let one = with_params("/api/metrics/user_activities/answer", &json!({"user_id": 1}));
    let held = |wait: &str, tag: &str| {
        let client = Client::new(tally.address).unwrap();
        let begun = Instant::now();
        (other(&client, &format!("{one}&wait={wait}"), tag), begun.elapsed())
    };
    let tag = get(&tally.client, &one, &[]).header("etag").to_owned();
    // What others do is counted and changes nothing here: it is held to its end.
    let (answer, took) = thread::scope(|scope| {
        let held = scope.spawn(|| held("2s", &tag));
        while !held.is_finished() {
            post(&tally.client, &[view(2)]);
        }
        held.join().unwrap()
    });
    assert_eq!((answer.status, answer.text.as_str(), answer.header("etag")), (304, "", &*tag));
    assert!(took >= Duration::from_secs(2), "{took:?}");
    // Its own event wakes it, long before the end.
    let (answer, took) = thread::scope(|scope| {
        let held = scope.spawn(|| held("30s", &tag));
        post(&tally.client, &[view(2), view(1)]);
        held.join().unwrap()
    });
    assert_eq!((answer.status, &answer.json()["result"]["total"]), (200, &json!(6)));
    assert_ne!(answer.header("etag"), tag);
    assert!(took < Duration::from_secs(30), "{took:?}");
    // Nothing is counted at all.
    let tag = answer.header("etag").to_owned();
    let (answer, took) = held("500ms", &tag);
    assert_eq!((answer.status, answer.header("etag")), (304, &*tag));
    assert!(took >= Duration::from_millis(500), "{took:?}");
    tally.stop().unwrap();
}
