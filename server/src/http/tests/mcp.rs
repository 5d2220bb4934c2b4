//! The Model Context Protocol: metrics as tools, lists as resources, and what is refused how.

use super::fake::{Answer, World, evaluated};
use crate::http::{EngineApi, Limits};
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;
use tally_engine::database::DatabaseError;
use tally_engine::engine::{DeadLetter, EvaluateError, Evaluated, MetricState, Refusals};
use tally_engine::memory::Share;
use tally_plugin::ask::{Fault, Warning};

/// The metric that there is.
const NAME: &str = "event_frequencies";
const LONG: Duration = Duration::from_secs(30);

fn patient() -> Limits {
    Limits { evaluation: LONG, place: LONG, ..Limits::default() }
}

async fn with_headers(world: &World, headers: &[(&str, &str)], body: String) -> Answer {
    let mut request = Request::post("/mcp").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = world.send(request.body(Body::from(body)).unwrap());
    tokio::time::timeout(LONG, sent).await.expect("a request has an end")
}

/// The message that answers a request.
async fn reply(world: &World, method: &str, params: Value) -> Value {
    let request = json!({"jsonrpc": "2.0", "id": "a-1", "method": method, "params": params});
    let answer = with_headers(world, &[], request.to_string()).await;
    let told = (answer.status.as_u16(), answer.header("content-type"));
    assert_eq!(told, (200, "application/json"), "{}", answer.text);
    assert_eq!((answer.header("mcp-session-id"), answer.header("etag")), ("", ""));
    let reply = answer.json();
    assert_eq!((&reply["jsonrpc"], &reply["id"]), (&json!("2.0"), &json!("a-1")), "{reply}");
    reply
}

async fn result(world: &World, method: &str, params: Value) -> Value {
    let mut reply = reply(world, method, params).await;
    assert!(reply.get("error").is_none(), "{reply}");
    reply["result"].take()
}

async fn error(world: &World, method: &str, params: Value) -> Value {
    let mut reply = reply(world, method, params).await;
    assert!(reply.get("result").is_none(), "{reply}");
    reply["error"].take()
}

async fn call(world: &World, arguments: Value) -> Value {
    result(world, "tools/call", json!({"name": NAME, "arguments": arguments})).await
}

/// The JSON in the only text of a result.
#[track_caller]
fn text(result: &Value) -> Value {
    let content = result["content"].as_array().unwrap();
    assert_eq!((content.len(), &content[0]["type"]), (1, &json!("text")), "{result}");
    serde_json::from_str(content[0]["text"].as_str().unwrap()).unwrap()
}

/// The problem of a refused call.
#[track_caller]
fn refusal(result: &Value) -> Value {
    assert_eq!(result["isError"], true, "{result}");
    assert!(result.get("structuredContent").is_none(), "{result}");
    text(result)
}

fn of_objects(result: &str) -> Evaluated {
    evaluated(result, json!({"type": "object"}))
}

#[tokio::test]
async fn a_client_is_greeted_in_its_version_and_no_session_is_kept() {
    let world = World::new(Limits::default()).await;
    let client = json!({"name": "test", "version": "1"});
    for (asked, agreed) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let params = json!({"protocolVersion": asked, "capabilities": {}, "clientInfo": client});
        let greeting = result(&world, "initialize", params).await;
        assert_eq!(greeting["protocolVersion"], agreed, "{asked}");
        assert_eq!(greeting["serverInfo"]["name"], "tally");
        assert_eq!(greeting["capabilities"], json!({"resources": {}, "tools": {}}));
        assert!(greeting["instructions"].as_str().unwrap().contains("warnings"));
    }
    let said = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    let answer = with_headers(&world, &[], said.to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (202, ""));
    assert_eq!(result(&world, "ping", json!({})).await, json!({}));
}

#[tokio::test]
async fn the_version_in_a_header_must_be_one_that_there_is() {
    let world = World::new(Limits::default()).await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    let known = [("mcp-protocol-version", "2025-06-18")];
    assert_eq!(with_headers(&world, &known, list.clone()).await.status, 200);
    let unknown = [("mcp-protocol-version", "1999-01-01")];
    let answer = with_headers(&world, &unknown, list).await;
    let problem = answer.json();
    assert_eq!((answer.status.as_u16(), &problem["code"]), (400, &json!("mcp_invalid")));
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(problem["detail"], "Unsupported MCP-Protocol-Version: 1999-01-01");
}

#[tokio::test]
async fn the_version_without_a_greeting_says_itself_in_each_message_and_its_headers() {
    let world = World::new(patient()).await;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let params = json!({"name": NAME, "_meta": meta});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    world.fake.answers(|_| Ok(of_objects("{\"total\":3}")));
    let headers =
        [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", NAME)];
    let answer = with_headers(&world, &headers, call.to_string()).await;
    let called = &answer.json()["result"];
    assert_eq!((answer.status.as_u16(), &called["structuredContent"]["total"]), (200, &json!(3)));
    let answer = with_headers(&world, &headers[..1], call.to_string()).await;
    let told = (answer.status.as_u16(), answer.header("content-type"));
    assert_eq!(told, (400, "application/json"), "{}", answer.text);
    assert!(answer.json()["error"]["message"].as_str().unwrap().contains("Mcp-Method"));
}

#[tokio::test]
async fn metrics_that_answer_are_tools() {
    let world = World::new(Limits::default()).await;
    let tools = result(&world, "tools/list", json!({})).await["tools"].take();
    let [tool] = tools.as_array().unwrap().as_slice() else { panic!("{tools}") };
    assert_eq!((&tool["name"], &tool["description"]), (&json!(NAME), &json!("How often")));
    assert_eq!(tool["inputSchema"]["type"], "object");
    assert_eq!(tool["inputSchema"]["properties"]["expand"]["type"], "array");
    assert_eq!(tool["outputSchema"], json!({"type": "object"}));
    let hints = json!({"readOnlyHint": true, "destructiveHint": false, "openWorldHint": false});
    assert_eq!(tool["annotations"], hints);
    for state in [
        MetricState::Backfilling { done: 0.5, eta_s: None },
        MetricState::Quarantined("no".into()),
        MetricState::Retired,
    ] {
        *world.fake.states.lock() = state;
        assert_eq!(result(&world, "tools/list", json!({})).await["tools"], json!([]));
    }
}

#[tokio::test]
async fn each_tool_answers_its_example_as_a_post_does() {
    let world = World::new(patient()).await;
    world.fake.answers(|_| {
        let warnings = vec![Warning::new("late", "some came late")];
        Ok(Evaluated { warnings, ..of_objects("{\"total\":1.50,\"n\":12345678901234567890123}") })
    });
    let description = world.fake.metric(NAME).unwrap().description;
    assert!(!description.examples.is_empty());
    for example in &description.examples {
        let params = json!({"name": NAME, "arguments": example.params});
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
        let answer = with_headers(&world, &[], request.to_string()).await;
        let result = "\"structuredContent\":{\"total\":1.50,\"n\":12345678901234567890123}";
        assert!(answer.text.contains(result), "as it was written: {}", answer.text);
        let called = answer.json()["result"].take();
        assert_eq!(called["isError"], false);
        let mut whole = world.ask(json!({"name": NAME, "params": example.params})).await.json();
        let said = text(&called);
        assert_eq!(said["warnings"][0]["code"], "late");
        whole["meta"]["took_us"] = said["meta"]["took_us"].clone();
        assert_eq!(said, whole);
    }
    let bare = result(&world, "tools/call", json!({"name": NAME})).await;
    assert_eq!((&bare["isError"], &text(&bare)["params"]), (&json!(false), &json!({})));
}

#[tokio::test]
async fn names_come_beside_ids_where_they_are_wanted() {
    let world = World::new(patient()).await;
    world.fake.answers(|_| {
        let schema = json!({"type": "object", "properties": {"user_id": {"x-tally-id": "user"}}});
        Ok(evaluated("{\"user_id\":1}", schema))
    });
    let called = call(&world, json!({"limit": 5, "expand": ["names"]})).await;
    assert_eq!(called["structuredContent"], json!({"user_id": 1, "name": "Ada"}));
    let asked = world.fake.asked.lock().last().cloned().unwrap();
    assert_eq!(asked.params, json!({"limit": 5}));
    assert_eq!(call(&world, json!({})).await["structuredContent"], json!({"user_id": 1}));
    let problem = refusal(&call(&world, json!({"expand": "all"})).await);
    assert_eq!(
        (&problem["code"], &problem["errors"][0]["pointer"]),
        (&json!("invalid_request"), &json!("/expand"))
    );
}

#[tokio::test]
async fn results_that_are_no_objects_are_in_the_text_alone() {
    let world = World::new(patient()).await;
    for (answer, schema) in
        [("[1,2]", json!({"type": "array"})), ("{\"a\":1}", json!({})), ("5", json!(true))]
    {
        world.fake.answers(move |_| Ok(evaluated(answer, schema.clone())));
        let called = call(&world, json!({})).await;
        assert!(called.get("structuredContent").is_none(), "{called}");
        assert_eq!(text(&called)["result"].to_string(), answer);
    }
}

#[tokio::test]
async fn a_refused_call_is_an_error_of_the_tool_and_says_where() {
    let world = World::new(patient()).await;
    world.fake.answers(|_| {
        let fault = |at: &str| Fault { pointer: format!("/params/{at}"), detail: "no".into() };
        let errors = vec![fault("limit"), fault("window")];
        Err(EvaluateError::Invalid { code: "invalid_params".into(), errors })
    });
    let problem = refusal(&call(&world, json!({"limit": 0, "window": 5})).await);
    assert_eq!(
        (&problem["type"], &problem["status"], &problem["code"]),
        (&json!("/problems/invalid_params"), &json!(422), &json!("invalid_params"))
    );
    let at: Vec<&Value> =
        problem["errors"].as_array().unwrap().iter().map(|error| &error["pointer"]).collect();
    assert_eq!(at, ["/params/limit", "/params/window"]);

    world.fake.answers(|_| Err(EvaluateError::Backfilling { done: 0.5 }));
    let problem = refusal(&call(&world, json!({})).await);
    assert_eq!(
        (&problem["code"], &problem["progress"]["done"]),
        (&json!("backfilling"), &json!(0.5))
    );

    world.fake.answers(|_| {
        let suggestions = vec!["event_frequencies".into()];
        Err(EvaluateError::NotFound { suggestions, detail: "there is none".into() })
    });
    let unknown = error(&world, "tools/call", json!({"name": "frequencies"})).await;
    assert_eq!((&unknown["code"], &unknown["message"]), (&json!(-32602), &json!("there is none")));
    assert_eq!(unknown["data"]["code"], "metric_not_found");
    assert_eq!(unknown["data"]["suggestions"], json!([NAME]));
}

#[tokio::test]
async fn calls_have_the_limits_of_a_post() {
    let world = World::new(Limits { evaluations: 0, place: Duration::ZERO, ..patient() }).await;
    assert_eq!(refusal(&call(&world, json!({})).await)["code"], "overloaded");
    assert_eq!(world.app().limits_hit.reached(), [("overloaded", 1)]);

    let limits = Limits { evaluation: Duration::from_millis(50), ..Limits::default() };
    let world = World::new(limits).await;
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    world.fake.answers(move |_| {
        // It ends with the test.
        let _ = held.lock().unwrap().recv();
        Ok(of_objects("{}"))
    });
    assert_eq!(refusal(&call(&world, json!({})).await)["code"], "deadline_exceeded");
    drop(release);
}

#[tokio::test]
async fn long_answers_hold_memory_until_they_are_sent() {
    let result = json!({"text": "\"".repeat(100 << 10)}).to_string();
    let long = result.clone();
    // The answer takes four times the length of its result, the reply three times.
    for (room, is_refused) in [(10, false), (6, true)] {
        let share = Arc::new(Share::new(room * result.len() as u64));
        let world = World::new(Limits { answers: share.clone(), ..patient() }).await;
        let answer = long.clone();
        world.fake.answers(move |_| Ok(of_objects(&answer)));
        let called = call(&world, json!({})).await;
        if is_refused {
            assert_eq!(refusal(&called)["code"], "overloaded");
        } else {
            assert_eq!(called["structuredContent"].to_string(), result);
            assert_eq!(text(&called)["result"], called["structuredContent"]);
        }
        assert_eq!(share.used(), 0);
    }
}

#[tokio::test]
async fn what_panics_has_an_answer_too() {
    let world = World::new(patient()).await;
    // In the handler itself.
    *world.fake.ready.lock() = true;
    world.fake.answers(|question| panic!("asked for {}", question.name));
    let failed = error(&world, "tools/call", json!({"name": NAME})).await;
    assert_eq!(failed["code"], -32603);
    assert!(!failed.to_string().contains("asked for"), "the reason is in the log: {failed}");
    *world.fake.ready.lock() = false;
    assert_eq!(refusal(&call(&world, json!({})).await)["code"], "internal_error");
}

#[tokio::test]
async fn methods_that_there_are_not_and_params_that_do_not_fit() {
    let world = World::new(Limits::default()).await;
    for (method, params, code) in [
        ("tools/fly", json!({}), -32601),
        ("prompts/list", json!({}), -32601),
        ("tools/call", json!({}), -32602),
        ("tools/call", json!({"name": NAME, "arguments": []}), -32602),
        ("initialize", json!({"protocolVersion": 7}), -32602),
        ("resources/read", json!({}), -32602),
    ] {
        let refused = error(&world, method, params.clone()).await;
        assert_eq!(refused["code"], code, "{method} {params}: {refused}");
        assert!(!refused["message"].as_str().unwrap().is_empty(), "{refused}");
    }
    assert!(world.fake.asked.lock().is_empty());
}

#[tokio::test]
async fn what_is_no_message_is_refused_before_anything_is_asked() {
    let world = World::new(Limits::default()).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let deep = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{}",
        "[".repeat(500)
    );
    for (body, words) in [
        ("{".to_owned(), "not JSON"),
        (String::new(), "not JSON"),
        (json!([ping, ping]).to_string(), "request of its own"),
        ("[]".to_owned(), "request of its own"),
        ("7".to_owned(), "no message of MCP"),
        (json!({"name": NAME}).to_string(), "no message of MCP"),
        (json!({"jsonrpc": "1.0", "id": 1, "method": "ping"}).to_string(), "no message of MCP"),
        (deep + &"]".repeat(500) + "}", "no message of MCP"),
    ] {
        let answer = with_headers(&world, &[], body.clone()).await;
        let problem = answer.json();
        let told = (answer.status.as_u16(), &problem["code"]);
        assert_eq!(told, (400, &json!("mcp_invalid")), "{body}");
        assert_eq!(problem["request_id"], json!(answer.header("request-id")));
        assert!(problem["detail"].as_str().unwrap().contains(words), "{problem}");
    }
    let text = Request::post("/mcp").header("content-type", "text/plain");
    let answer = world.send(text.body(Body::from(ping.to_string())).unwrap()).await;
    let told = (answer.status.as_u16(), answer.json()["code"].clone());
    assert_eq!(told, (415, json!("unsupported_media_type")));
    let answer = world.post("/mcp", " ".repeat(64 * 1024 + 1)).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (413, &json!("payload_too_large"))
    );
    for method in [Method::GET, Method::DELETE, Method::PUT] {
        let request = Request::builder().method(method.clone()).uri("/mcp");
        let request = request.header("accept", "text/event-stream").body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"), "{method}");
        assert_eq!(answer.json()["code"], "method_not_allowed");
    }
    assert!(world.fake.asked.lock().is_empty());
}

#[tokio::test]
async fn resources_are_what_a_get_gives() {
    let world = World::new(Limits::default()).await;
    let list = result(&world, "resources/list", json!({})).await["resources"].take();
    let uris: Vec<&str> =
        list.as_array().unwrap().iter().map(|one| one["uri"].as_str().unwrap()).collect();
    let paths = ["/api/metrics", "/api/dead-letters", "/api/status", "/api/users", "/api/products"];
    let names = ["metrics", "dead-letters", "status", "users", "products"];
    assert_eq!(uris, names.map(|name| format!("tally://{name}")));
    for (uri, path) in uris.into_iter().zip(paths) {
        let read = result(&world, "resources/read", json!({"uri": uri})).await;
        let [content] = read["contents"].as_array().unwrap().as_slice() else { panic!("{read}") };
        assert_eq!(
            (&content["uri"], &content["mimeType"]),
            (&json!(uri), &json!("application/json"))
        );
        assert_eq!(content["text"], world.get(path).await.text, "{uri}");
    }
    let unknown = error(&world, "resources/read", json!({"uri": "tally://x"})).await;
    assert_eq!(unknown["code"], -32002);
    assert!(unknown["message"].as_str().unwrap().contains("tally://status"), "{unknown}");

    let fault = DatabaseError::Failed { reason: "the disk failed".into() };
    *world.fake.letters.lock() = Err(fault);
    let failed = error(&world, "resources/read", json!({"uri": "tally://dead-letters"})).await;
    assert_eq!(
        (&failed["code"], &failed["data"]["code"]),
        (&json!(-32603), &json!("store_unavailable"))
    );
}

#[tokio::test]
async fn a_long_resource_takes_memory_as_a_call_does_and_has_a_bound() {
    let payload = vec![b'x'; 60_000];
    let time = 1_767_225_600_000;
    let letter = DeadLetter::new("invalid_json", "events", 3, 9, time, Some(&payload));
    let refusals = Refusals { letters: vec![letter; 5], ..Refusals::default() };
    let read = json!({"uri": "tally://dead-letters"});
    // A little more than 300,000 bytes: four times for what is made of them, once for the reply.
    for (room, answer_bytes, refused) in [
        (1_800_000, 400_000, None),
        (1_500_000, 400_000, Some("overloaded")),
        (1_200_000, 400_000, Some("overloaded")),
        (1_800_000, 300_000, Some("answer_too_large")),
    ] {
        let share = Arc::new(Share::new(room));
        let limits = Limits { answers: share.clone(), answer_bytes, ..patient() };
        let world = World::new(limits).await;
        *world.fake.letters.lock() = Ok(refusals.clone());
        match refused {
            Some(code) => {
                let refused = error(&world, "resources/read", read.clone()).await;
                assert_eq!(refused["data"]["code"], code, "{room} {answer_bytes}");
            }
            None => {
                let told = result(&world, "resources/read", read.clone()).await;
                let whole = world.get("/api/dead-letters").await.text;
                assert_eq!(told["contents"][0]["text"], whole);
            }
        }
        assert_eq!(share.used(), 0);
    }
}

#[tokio::test]
async fn requests_at_once_keep_their_answers_apart() {
    let world = World::new(patient()).await;
    world.fake.answers(|question| Ok(of_objects(&json!({"of": question.params}).to_string())));
    let calls = (0..50).map(|n| call(&world, json!({ "n": n })));
    for (n, called) in futures_util::future::join_all(calls).await.into_iter().enumerate() {
        assert_eq!(called["structuredContent"], json!({"of": {"n": n}}));
        assert_eq!(text(&called)["params"], json!({"n": n}));
    }
}
