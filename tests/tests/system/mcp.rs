//! `tally mcp` between an assistant's pipes and a real engine: what goes in as lines comes out as
//! lines.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use tally_tests::day;
use tally_tests::tally::{Home, Tally};

/// A long deadline, so that a busy machine is no failure.
const CONFIG: &str = "[server]\nevaluation_deadline_ms = 10000\n";

fn day_counted(home: &Home) -> Tally {
    let tally = home.start().unwrap();
    let end = tally.client.post_all(&day::lines(&day::events())).unwrap();
    tally.client.ask("event_frequencies", &json!({}), &end).unwrap();
    tally
}

fn request(id: impl Into<Value>, method: &str, params: Value) -> String {
    let id: Value = id.into();
    format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

fn notification(method: &str) -> String {
    format!("{}\n", json!({"jsonrpc": "2.0", "method": method}))
}

/// The answers to these lines, in whatever order they came, by the text of their ids; and stderr.
fn answers(home: &Home, url: &str, input: &str) -> (BTreeMap<String, Vec<Value>>, String) {
    let output = home.run_with(&["mcp", "--url", url], input).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{told}");
    let mut answers: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let answer: Value = serde_json::from_str(line).unwrap();
        assert_eq!(answer["jsonrpc"], "2.0", "{line}");
        answers.entry(answer["id"].to_string()).or_default().push(answer);
    }
    (answers, told)
}

fn one(answers: &mut BTreeMap<String, Vec<Value>>, id: &str) -> Value {
    let found = answers.remove(id).unwrap_or_default();
    let [one] = found.as_slice() else { panic!("{id} has {} answers", found.len()) };
    one.clone()
}

#[test]
fn an_assistant_is_greeted_lists_the_metrics_and_calls_each_with_its_examples() {
    let home = Home::new(CONFIG).unwrap();
    let tally = day_counted(&home);
    let client = json!({"name": "test", "version": "1"});
    let greeting =
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    let input = request(1, "initialize", greeting)
        + &notification("notifications/initialized")
        + "\n"
        + &request("list", "tools/list", json!({}))
        + request(2, "resources/read", json!({"uri": "tally://status"})).trim_end();
    let (mut found, told) = answers(&home, &tally.url(), &input);
    assert!(told.starts_with(&format!("note: MCP for the engine at {}", tally.url())), "{told}");
    assert_eq!(one(&mut found, "1")["result"]["serverInfo"]["name"], "tally");
    let status = one(&mut found, "2");
    let status = status["result"]["contents"][0]["text"].as_str().unwrap();
    let status: Value = serde_json::from_str(status).unwrap();
    assert_eq!(status["ready"], true);
    let tools = one(&mut found, "\"list\"")["result"]["tools"].take();
    assert!(found.is_empty(), "nothing else is answered: {found:?}");

    let list = tally.client.get("/api/metrics").unwrap().json();
    let metrics = list["metrics"].as_array().unwrap();
    let of = |all: &Value| all["name"].as_str().unwrap().to_owned();
    let names: Vec<String> = metrics.iter().map(of).collect();
    assert!(names.len() >= 3, "{names:?}");
    assert_eq!(tools.as_array().unwrap().iter().map(of).collect::<Vec<_>>(), names);

    let mut asked = Vec::new();
    for (metric, tool) in metrics.iter().zip(tools.as_array().unwrap()) {
        assert_eq!(tool["description"], metric["summary"]);
        assert_eq!(tool["outputSchema"]["properties"], metric["result_schema"]["properties"]);
        for (name, schema) in metric["params_schema"]["properties"].as_object().unwrap() {
            assert_eq!(tool["inputSchema"]["properties"][name], *schema, "{name}");
        }
        let examples = metric["examples"].as_array().unwrap();
        asked.extend(examples.iter().map(|example| (of(metric), example["params"].clone())));
    }
    let calls = asked.iter().enumerate().map(|(n, (name, params))| {
        request(n, "tools/call", json!({"name": name, "arguments": params}))
    });
    let (mut found, _) = answers(&home, &tally.url(), &calls.collect::<String>());
    for (n, (name, params)) in asked.iter().enumerate() {
        let answer = one(&mut found, &n.to_string());
        let called = &answer["result"];
        assert_eq!(called["isError"], false, "{name} {params}: {answer}");
        let text: Value =
            serde_json::from_str(called["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text["result"], called["structuredContent"], "{name} {params}");
        assert_eq!(&text["params"], params);
        // What ends now may be another one by now.
        if params.get("window").is_none() {
            let posted = tally.client.ask(name, params, "").unwrap();
            assert_eq!(called["structuredContent"], posted, "{name} {params}");
        }
    }
    tally.stop().unwrap();
}

#[test]
fn what_is_refused_is_an_answer_with_its_id() {
    let home = Home::new(CONFIG).unwrap();
    let tally = day_counted(&home);
    let call = |name: &str, arguments: Value| json!({"name": name, "arguments": arguments});
    let batch = format!("[{}]\n", request(9, "ping", json!({})).trim_end());
    let input = request("a", "tools/call", call("products_popularity", json!({"limit": 0})))
        + &request("b", "tools/call", call("product_popularity", json!({})))
        + &request("c", "tools/fly", json!({}))
        + &notification("notifications/unknown")
        + &batch;
    let (mut found, told) = answers(&home, &tally.url(), &input);
    let refused = one(&mut found, "\"a\"")["result"].take();
    assert_eq!(refused["isError"], true, "{refused}");
    let problem = refused["content"][0]["text"].as_str().unwrap();
    let problem: Value = serde_json::from_str(problem).unwrap();
    assert_eq!(problem["code"], "invalid_params");
    assert_eq!(problem["errors"][0]["pointer"], "/params/limit");
    let unknown = one(&mut found, "\"b\"")["error"].take();
    assert_eq!(unknown["code"], -32602);
    assert_eq!(unknown["data"]["suggestions"][0], "products_popularity");
    assert_eq!(one(&mut found, "\"c\"")["error"]["code"], -32601);
    let batch = one(&mut found, "null")["error"].take();
    assert_eq!((&batch["code"], &batch["data"]["code"]), (&json!(-32600), &json!("mcp_invalid")));
    assert!(found.is_empty() && told.contains("refused: "), "{found:?} {told}");

    let long = format!("{}\n", "x".repeat(64 * 1024 + 1));
    let ping = request(1, "ping", json!({}));
    let (mut found, told) = answers(&home, &tally.url(), &format!("{{\n{long}{ping}"));
    assert_eq!(one(&mut found, "1")["result"], json!({}), "the lines before harm nothing");
    let mut codes: Vec<i64> =
        found["null"].iter().map(|answer| answer["error"]["code"].as_i64().unwrap()).collect();
    codes.sort_unstable();
    assert_eq!(codes, [-32700, -32600]);
    assert!(told.contains("not JSON") && told.contains("more than 65536 bytes"), "{told}");
    tally.stop().unwrap();
}

#[test]
fn an_engine_that_is_not_there_is_told_to_each_request() {
    let home = Home::new("").unwrap();
    // Bound and dropped at once: a port that nobody listens on.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{nobody}");
    let input = request(1, "ping", json!({}))
        + &notification("notifications/initialized")
        + &request(12, "tools/list", json!({}));
    let (mut found, told) = answers(&home, &url, &input);
    for id in ["1", "12"] {
        let error = one(&mut found, id)["error"].take();
        assert_eq!(error["code"], -32000);
        let said = error["message"].as_str().unwrap().to_owned();
        assert!(said.starts_with(&format!("no engine answers at {url}")), "{said}");
    }
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(told.matches("error: no engine answers at").count(), 3, "{told}");
}
