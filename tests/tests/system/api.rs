//! The HTTP and WebSocket contract on a real engine: the examples of a known day, to the digit.

use serde_json::{Value, json};
use tally_tests::client::{Answer, Client};
use tally_tests::day;
use tally_tests::tally::{Home, Tally};

/// A long deadline, so that a busy machine is no failure.
const CONFIG: &str =
    "[server]\nevaluation_deadline_ms = 10000\n[store]\ncheckpoint_interval_ms = 100\n";

/// An engine that has counted the day, sent in all three forms; its position.
fn day_counted(home: &Home) -> (Tally, String) {
    let tally = home.start().unwrap();
    let events = day::events();
    let post = |body: &Value| tally.client.post("/api/events", body.to_string()).unwrap();
    let one = post(&events[0]);
    let (user, _) = (one.json(), assert_eq!(one.status, 200, "{}", one.text));
    assert_eq!((&user["accepted"], &user["rejected"]), (&json!(1), &json!([])));
    let some = post(&json!(events[1..6])).json();
    assert_eq!((&some["accepted"], &some["rejected"]), (&json!(5), &json!([])));
    let rest = tally.client.events(&day::lines(&events[6..])).unwrap();
    assert_eq!((rest.accepted, rest.rejected), (6, vec![]));
    // three users, three partitions at most: the position of all is that of each post
    let positions =
        [user["position"].as_str().unwrap(), some["position"].as_str().unwrap(), &rest.position];
    for position in positions {
        tally.client.ask("event_frequencies", &json!({}), position).unwrap();
    }
    (tally, rest.position)
}

/// The partitions of a position that something was counted of: of the others it may say 0 or
/// nothing.
fn counted(position: &str) -> Vec<&str> {
    position.split(',').filter(|part| !part.ends_with(":0")).collect()
}

fn check(client: &Client, at_least: &str) {
    check_frequencies(client, at_least);
    check_popularity(client, at_least);
    check_users(client, at_least);
}

/// Where the windows end that are asked for.
const TO: &str = "2026-01-01T02:00:00Z";

fn check_frequencies(client: &Client, at_least: &str) {
    let ask = |params: Value| client.ask("event_frequencies", &params, at_least).unwrap();
    let frequencies = json!({"total": 11, "by_type": {"add_to_cart": 1, "buy": 2, "view": 8},
        "share": {"add_to_cart": 0.090909, "buy": 0.181818, "view": 0.727273}});
    assert_eq!(ask(json!({})), frequencies);
    let mut bounded = frequencies;
    bounded["per_second"] = json!(0.001527778);
    assert_eq!(ask(json!({"window": "2h", "to": TO})), bounded);
    let hours = json!([
        {"start": "2026-01-01T00:00:00.000Z", "total": 7, "by_type": {"add_to_cart": 1, "buy": 1, "view": 5}},
        {"start": "2026-01-01T01:00:00.000Z", "total": 4, "by_type": {"buy": 1, "view": 3}},
    ]);
    bounded["series"] = hours;
    assert_eq!(ask(json!({"window": "2h", "to": TO, "bucket": "1h"})), bounded);
    let cut = json!({"from": "2026-01-01T00:58:00Z", "to": "2026-01-01T02:30:00Z", "bucket": "1h"});
    let series = json!([
        {"start": "2026-01-01T00:00:00.000Z", "total": 1, "by_type": {"view": 1}, "partial": true},
        {"start": "2026-01-01T01:00:00.000Z", "total": 4, "by_type": {"buy": 1, "view": 3}},
        {"start": "2026-01-01T02:00:00.000Z", "total": 0, "by_type": {}, "partial": true},
    ]);
    assert_eq!(ask(cut)["series"], series);
    let asked = ask(json!({"event_types": ["refund", "buy"]}));
    assert_eq!(
        asked,
        json!({"total": 2, "by_type": {"buy": 2, "refund": 0}, "share": {"buy": 1.0, "refund": 0.0}})
    );
}

fn check_popularity(client: &Client, at_least: &str) {
    let ask = |params: Value| client.ask("products_popularity", &params, at_least).unwrap();
    let weighted = ask(json!({"weights": {"view": 1, "add_to_cart": 3, "buy": 7}}));
    let products = json!([
        {"rank": 1, "product_id": 10, "interactions": 5, "score": 13, "by_type": {"add_to_cart": 1, "buy": 1, "view": 3}, "share": 0.454545},
        {"rank": 2, "product_id": 20, "interactions": 4, "score": 10, "by_type": {"buy": 1, "view": 3}, "share": 0.363636},
        {"rank": 3, "product_id": 30, "interactions": 2, "score": 2, "by_type": {"view": 2}, "share": 0.181818},
    ]);
    assert_eq!(weighted, json!({"total": 11, "products_total": 3, "products": products}));
    let first = ask(json!({"limit": 1, "order": "asc"}));
    assert_eq!(
        (&first["products"][0]["product_id"], &first["products_total"]),
        (&json!(30), &json!(3))
    );
    let filtered = ask(json!({"product_ids": [99, "20"], "limit": 1}));
    let listed = json!([
        {"rank": 1, "product_id": 20, "interactions": 4, "score": 4, "by_type": {"buy": 1, "view": 3}, "share": 1.0},
        {"rank": 2, "product_id": 99, "interactions": 0, "score": 0, "by_type": {}, "share": 0.0},
    ]);
    assert_eq!(filtered, json!({"total": 4, "products_total": 2, "products": listed}));
    let stepped = ask(json!({"product_ids": [10], "window": "2h", "to": TO, "bucket": "1h"}));
    let series = json!([
        {"start": "2026-01-01T00:00:00.000Z", "total": 5, "by_type": {"add_to_cart": 1, "buy": 1, "view": 3}},
        {"start": "2026-01-01T01:00:00.000Z", "total": 0, "by_type": {}},
    ]);
    assert_eq!(stepped["products"][0]["series"], series);
}

fn check_users(client: &Client, at_least: &str) {
    let ask = |params: Value| client.ask("user_activities", &params, at_least).unwrap();
    let user = json!({
        "user": {"user_id": 1, "known": true}, "total": 5, "by_type": {"add_to_cart": 1, "buy": 1, "view": 3},
        "first_seen": "2026-01-01T00:01:00.000Z", "last_seen": "2026-01-01T01:30:00.000Z", "products_total": 2,
        "products": [
            {"product_id": 20, "total": 1, "by_type": {"view": 1},
             "first_seen": "2026-01-01T01:30:00.000Z", "last_seen": "2026-01-01T01:30:00.000Z"},
            {"product_id": 10, "total": 4, "by_type": {"add_to_cart": 1, "buy": 1, "view": 2},
             "first_seen": "2026-01-01T00:01:00.000Z", "last_seen": "2026-01-01T00:05:00.000Z"},
        ],
    });
    assert_eq!(ask(json!({"user_id": 1})), user);
    assert_eq!(ask(json!({"user_id": "1"})), user);
    let limited = ask(json!({"user_id": 1, "order_by": "total", "limit": 1}));
    assert_eq!(
        (&limited["products"][0]["product_id"], &limited["products_total"]),
        (&json!(10), &json!(2))
    );
    let late = ask(json!({"user_id": 2, "window": "2h", "to": TO, "bucket": "1h"}));
    assert_eq!(
        late["series"][0],
        json!({"start": "2026-01-01T00:00:00.000Z", "total": 3, "by_type": {"view": 3}})
    );
    let nobody = client.answer("user_activities", &json!({"user_id": "nobody"}), at_least).unwrap();
    let zeros = json!({"user": {"user_id": "nobody", "known": false}, "total": 0, "by_type": {},
        "first_seen": null, "last_seen": null, "products_total": 0, "products": []});
    assert_eq!(
        (&nobody["result"], &nobody["warnings"][0]["code"]),
        (&zeros, &json!("unknown_user"))
    );
}

#[test]
fn the_day_of_the_contract_is_answered_to_the_digit_also_after_restarts() {
    let home = Home::new(CONFIG).unwrap();
    let (tally, position) = day_counted(&home);
    check(&tally.client, &position);
    let params = json!({"window": "2h", "to": "2026-01-01T02:00:00Z", "bucket": "1h"});
    let answer = tally.client.answer("event_frequencies", &params, &position).unwrap();
    assert_eq!(
        (&answer["name"], &answer["params"], &answer["warnings"]),
        (&json!("event_frequencies"), &params, &json!([]))
    );
    let window = json!({"from": "2026-01-01T00:00:00.000Z", "to": "2026-01-01T02:00:00.000Z"});
    assert_eq!(answer["meta"]["window"], window);
    assert_eq!(
        answer["meta"]["history"],
        json!({"state": "complete", "from": "2026-01-01T00:01:00.000Z"})
    );
    let (position, version) =
        (answer["meta"]["position"].clone(), answer["meta"]["version"].clone());
    assert!(
        version.is_string()
            && answer["meta"]["took_us"].is_u64()
            && answer["meta"]["as_of"].is_string()
    );

    tally.stop().unwrap();
    let tally = home.start().unwrap();
    check(&tally.client, position.as_str().unwrap());
    tally.kill().unwrap();
    let tally = home.start().unwrap();
    check(&tally.client, position.as_str().unwrap());
    let answer = tally.client.answer("event_frequencies", &params, "").unwrap();
    let (before, after) =
        (position.as_str().unwrap(), answer["meta"]["position"].as_str().unwrap());
    assert_eq!(counted(after), counted(before), "a restart moves nothing");

    let printed =
        home.succeed(&["query", "event_frequencies", "--json", "--url", &tally.url()]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap()["result"]["total"], 11);
    // the day once more: every id is known
    tally.client.post_all(&day::lines(&day::events())).unwrap();
    let new = json!({"event_id": "new", "user_id": 1, "product_id": 10, "event_type": "view", "timestamp": "2026-01-01T00:01:30Z"});
    let at = tally.client.post_all(&day::lines(&[new])).unwrap();
    assert_eq!(
        tally.client.ask("user_activities", &json!({"user_id": 1}), &at).unwrap()["total"],
        6
    );
    tally.stop().unwrap();
}

#[test]
fn what_was_posted_is_read_at_its_position() {
    let tally = Home::new(CONFIG).unwrap();
    let tally = tally.start().unwrap();
    for n in 1..=200 {
        let event = json!({"user_id": n, "product_id": 1, "event_type": "view", "timestamp": "2026-01-01T00:00:00Z"});
        let at = tally.client.post_all(&day::lines(&[event])).unwrap();
        let answer = tally.client.answer("event_frequencies", &json!({}), &at).unwrap();
        assert_eq!(answer["result"]["total"], n, "{answer}");
    }
    let ahead = json!({"name": "event_frequencies", "at_least": "0:100000", "wait_ms": 50});
    problem(&tally.client.evaluate(&ahead).unwrap(), 504, "position_not_reached", &[]);
    tally.stop().unwrap();
}

#[test]
fn an_equal_question_is_answered_alike_until_something_is_counted() {
    let home = Home::new(CONFIG).unwrap();
    let tally = home.start().unwrap();
    let post = |n: u64| {
        let event = json!({"user_id": n, "product_id": 1, "event_type": "view", "timestamp": "2026-01-01T00:00:00Z"});
        tally.client.post_all(&day::lines(&[event])).unwrap()
    };
    let ask = |question: &Value| {
        let answer = tally.client.evaluate(question).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text);
        let mut answer = answer.json();
        let as_of = answer["meta"].as_object_mut().unwrap().remove("as_of").unwrap();
        answer["meta"]["took_us"] = json!(0);
        (as_of.as_str().unwrap().to_owned(), answer)
    };
    let questions = [
        json!({"name": "event_frequencies"}),
        json!({"name": "products_popularity", "params": {"limit": 3}}),
        json!({"name": "user_activities", "params": {"user_id": 1}}),
    ];
    for n in 1..=20 {
        let at = post(n);
        for question in &questions {
            // whole only at the position of the post: then whatever is kept is older, or of it
            let mut at_least = question.clone();
            at_least["at_least"] = json!(at);
            let (asked, whole) = ask(&at_least);
            for _ in 0..3 {
                let (asked_again, again) = ask(question);
                assert_eq!(again, whole);
                assert!(asked_again >= asked, "{asked_again} is before {asked}");
            }
        }
    }
    tally.stop().unwrap();
}

#[test]
fn the_feed_shows_exactly_the_new_events() {
    let home = Home::new(CONFIG).unwrap();
    let (tally, position) = day_counted(&home);
    tally.client.ask("event_frequencies", &json!({}), &position).unwrap();
    let mut live = tally.client.live("/ws").unwrap();
    assert_eq!(
        live.hello["metrics"],
        json!(["event_frequencies", "products_popularity", "user_activities"])
    );
    assert_eq!((&live.hello["protocol"], live.hello["position"].is_string()), (&json!(1), true));
    let mut silent = tally.client.live("/ws?events=none").unwrap();

    let event = |n: u64| {
        json!({"event_id": format!("live-{n}"), "user_id": 7, "product_id": n, "event_type": "view",
            "timestamp": "2026-01-01T00:10:00.000Z", "price": "1.50"})
    };
    let mut body = String::new();
    for n in 0..50 {
        // each twice, with a line between that is no event
        body.push_str(&format!("{}\n{{\"user_id\":7}}\n{}\n", event(n), event(n)));
    }
    let posted = tally.client.events(&body).unwrap();
    assert_eq!((posted.accepted, posted.rejected.len()), (100, 50));
    let last = event(50);
    let end = tally.client.post_all(&day::lines(std::slice::from_ref(&last))).unwrap();
    let mut before = 0;
    for n in 0..=50 {
        let message = live.message().unwrap();
        assert_eq!(
            (&message["type"], &message["event"]),
            (&json!("event"), &event(n)),
            "{message}"
        );
        assert!(message.get("id").is_none(), "{message}");
        let (partition, offset) = message["position"].as_str().unwrap().split_once(':').unwrap();
        let offset: u64 = offset.parse().unwrap();
        assert!(offset > before, "{message}");
        before = offset;
        // the cursor names every partition, also those without an event
        let cursor: Vec<&str> = message["cursor"].as_str().unwrap().split(',').collect();
        assert_eq!(cursor.len(), 4, "{message}");
        assert!(cursor.iter().any(|part| *part == message["position"]), "{message}");
        // a position of an event is one to ask at
        if n == 50 {
            assert_eq!(end, format!("{partition}:{offset}"));
        }
    }
    silent.say(r#"{"type":"ping"}"#).unwrap();
    assert_eq!(
        silent.message().unwrap(),
        json!({"type": "pong"}),
        "a silent connection hears of no event"
    );
    live.say(r#"{"type":"ping"}"#).unwrap();
    assert_eq!(
        live.message().unwrap(),
        json!({"type": "pong"}),
        "nothing came that was not expected"
    );
    tally.stop().unwrap();
}

/// A problem as RFC 9457 and the contract say; pointers in any order.
fn problem(answer: &Answer, status: u16, code: &str, pointers: &[&str]) {
    let body = answer.json();
    assert_eq!((answer.status, &body["code"]), (status, &json!(code)), "{}", answer.text);
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(
        (&body["status"], &body["type"]),
        (&json!(status), &json!(format!("/problems/{code}")))
    );
    assert!(
        body["title"].is_string() && body["detail"].is_string() && body["request_id"].is_string(),
        "{body}"
    );
    let mut found: Vec<&str> = body["errors"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    found.sort_unstable();
    let mut pointers = pointers.to_vec();
    pointers.sort_unstable();
    assert_eq!(found, pointers, "{body}");
    assert!(status == 503 || answer.header("retry-after").is_empty(), "{:?}", answer.headers);
}

#[test]
fn errors_are_those_of_the_table() {
    let home = Home::new(CONFIG).unwrap();
    let (tally, _) = day_counted(&home);
    let client = &tally.client;
    check_questions_refused(client);
    check_params_refused(client);
    check_messages_refused(client);
    check_events_refused(client);
    tally.stop().unwrap();
}

fn check_questions_refused(client: &Client) {
    let metrics = |body: &str| client.post("/api/metrics", body.to_owned()).unwrap();
    problem(&metrics("{"), 400, "invalid_json", &[]);
    problem(&metrics("[]"), 422, "invalid_request", &[""]);
    problem(&metrics("{}"), 422, "invalid_request", &["/name"]);
    problem(
        &metrics(r#"{"name":"event_frequencies","windw":"1h"}"#),
        422,
        "invalid_request",
        &["/windw"],
    );
    let near = metrics(r#"{"name":"event_frequency"}"#);
    problem(&near, 404, "metric_not_found", &[]);
    assert_eq!(near.json()["suggestions"][0], "event_frequencies");
}

fn check_params_refused(client: &Client) {
    let invalid = |name: &str, params: Value, pointers: &[&str]| {
        problem(
            &client.evaluate(&json!({"name": name, "params": params})).unwrap(),
            422,
            "invalid_params",
            pointers,
        );
    };
    let (times, popular, users) = ("event_frequencies", "products_popularity", "user_activities");
    invalid(users, json!({}), &["/params/user_id"]);
    invalid(
        users,
        json!({"limit": 0, "order_by": "x", "windw": "1h"}),
        &["/params/user_id", "/params/limit", "/params/order_by", "/params/windw"],
    );
    invalid(users, json!({"user_id": 1.5}), &["/params/user_id"]);
    invalid(
        popular,
        json!({"limit": "3", "weights": {"buy": 1001}, "product_ids": []}),
        &["/params/limit", "/params/weights/buy", "/params/product_ids"],
    );
    invalid(times, json!({"limit": 3}), &["/params/limit"]);
    invalid(times, json!({"window": "1h", "from": "2026-01-01T00:00:00Z"}), &["/params/window"]);
    invalid(
        times,
        json!({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}),
        &["/params/from"],
    );
    invalid(
        times,
        json!({"window": "1h", "from": 0, "windw": 1}),
        &["/params/window", "/params/windw"],
    );
    invalid(
        times,
        json!({"from": 5, "to": 5, "bucket": "2m"}),
        &["/params/bucket", "/params/from"],
    );
    invalid(times, json!({"window": "1y"}), &["/params/window"]);
    invalid(times, json!({"bucket": "2m"}), &["/params/bucket"]);
    invalid(times, json!({"event_types": []}), &["/params/event_types"]);
    let many = json!({"name": times, "params": {"window": "30d", "bucket": "1m"}});
    problem(&client.evaluate(&many).unwrap(), 422, "too_many_points", &["/params/bucket"]);
}

/// What no route takes: too large, of another type, by another method, to nowhere.
fn check_messages_refused(client: &Client) {
    let json_type = [("content-type", "application/json")];
    let send = |method, path, headers: &[(&str, &str)], body: String| {
        client.send(method, path, headers, body).unwrap()
    };
    problem(
        &send("POST", "/api/metrics", &json_type, " ".repeat(65_537)),
        413,
        "payload_too_large",
        &[],
    );
    problem(
        &send("POST", "/api/events", &json_type, " ".repeat((1 << 20) + 1)),
        413,
        "payload_too_large",
        &[],
    );
    problem(&send("POST", "/api/metrics", &[], "{}".into()), 415, "unsupported_media_type", &[]);
    problem(
        &send("POST", "/api/events", &[("content-type", "text/csv")], "{}".into()),
        415,
        "unsupported_media_type",
        &[],
    );
    let method = send("DELETE", "/api/metrics", &[], String::new());
    problem(&method, 405, "method_not_allowed", &[]);
    assert!(method.header("allow").contains("POST"), "{:?}", method.headers);
    problem(&client.get("/api/nothing").unwrap(), 404, "not_found", &[]);
    problem(&client.get("/api/metrics/nothing").unwrap(), 404, "metric_not_found", &[]);
    problem(&client.get("/api/users/999").unwrap(), 404, "user_not_found", &[]);
    problem(&client.get("/api/product/999").unwrap(), 404, "product_not_found", &[]);
    assert_eq!(client.get("/api/users/%00").unwrap().status, 422);
}

fn check_events_refused(client: &Client) {
    let events = |body: &str| client.post("/api/events", body.to_owned()).unwrap();
    problem(&events("{"), 400, "invalid_json", &[]);
    let future = (jiff::Timestamp::now().as_millisecond() + 600_000).to_string();
    let event = |time: &str| {
        format!(r#"{{"user_id":1,"product_id":1,"event_type":"view","timestamp":{time}}}"#)
    };
    let mixed = events(&format!("[1,{},{},{{}}]", event("0"), event(&future))).json();
    let rejected = json!([{"index": 0, "reason": "not_an_object"}, {"index": 1, "reason": "timestamp_too_early"}, {"index": 2, "reason": "timestamp_in_future"},
        {"index": 3, "reason": "missing_field:user_id"}]);
    assert_eq!((&mixed["accepted"], &mixed["rejected"]), (&json!(0), &rejected));
}
