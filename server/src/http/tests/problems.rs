//! Every code of the list is documented and occurs: on the fake, or in a test beside this one.

use super::fake::{Answer, World, evaluated};
use crate::http::Limits;
use crate::http::codes::{Code, Way};
use axum::body::Body;
use axum::http::{Request, request};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::time::Duration;
use tally_engine::engine::{
    EvaluateError, LetterReplayFault, MakeFault, OrderError, PreviewError, SectionError,
    StateUnavailable,
};
use tally_engine::progress::Halt;
use tally_plugin::ask::Fault;

const DOCUMENT: &str = include_str!("../../../../docs/api.md");

/// Codes that a single request on the fake does not give, each with the test that shows it.
const ELSEWHERE: &[(Code, &str, &str)] = &[
    (Code::Stopping, "waiting", "a_stop_wakes_those_who_wait"),
    (Code::BadRequest, "sockets", "what_is_refused_before_it_is_a_request_is_a_problem_too"),
    (Code::HeadTooLarge, "sockets", "what_is_refused_before_it_is_a_request_is_a_problem_too"),
    (Code::RequestTimeout, "sockets", "a_slow_body_is_answered_408"),
    (Code::CatalogueUnavailable, "enrich", "without_the_catalogue_answers_go_on"),
    (Code::UnknownType, "live", "bad_messages_get_an_error_and_the_connection_stays"),
    (Code::UnknownId, "subscriptions", "since_is_given_to_the_engine_and_what_cannot_be_is_told"),
    (Code::IdInUse, "subscriptions", "since_is_given_to_the_engine_and_what_cannot_be_is_told"),
    (
        Code::TooManySubscriptions,
        "subscriptions",
        "since_is_given_to_the_engine_and_what_cannot_be_is_told",
    ),
    (Code::ProtocolError, "live", "bad_frames_are_told_and_closed_with_the_code_that_names_them"),
    (Code::BinaryMessage, "live", "bad_frames_are_told_and_closed_with_the_code_that_names_them"),
    (Code::InvalidUtf8, "live", "bad_frames_are_told_and_closed_with_the_code_that_names_them"),
    (Code::TooManyMessages, "live", "bad_frames_are_told_and_closed_with_the_code_that_names_them"),
    (Code::MessageTooLarge, "live", "bad_frames_are_told_and_closed_with_the_code_that_names_them"),
];

/// Codes in the tables of the document's problems, each with the number before it.
fn documented() -> Vec<(Option<u16>, &'static str)> {
    let from = DOCUMENT.find("\n## Problems").unwrap();
    let section = DOCUMENT[from + 4..].split("\n## ").next().unwrap();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    let mut found = Vec::new();
    for cell in cells {
        let number = cell.split([' ', '`']).find_map(|word| word.parse().ok());
        found.extend(cell.split('`').skip(1).step_by(2).map(|word| (number, word)));
    }
    found
}

#[test]
fn every_code_is_documented_and_every_documented_one_is_in_the_list() {
    let found = documented();
    assert!(found.len() > 30, "{found:?}");
    for code in Code::ALL {
        let number = match code.entry().way {
            Way::Answer | Way::Both => Some(code.entry().status),
            Way::Message => None,
            Way::Close(number) => Some(number),
        };
        let word = code.word();
        let told: Vec<_> = found.iter().filter(|(_, found)| *found == word).collect();
        assert_eq!(told, [&(number, word)], "docs/api.md names {word} once, with its number");
    }
    for number in [1001, 1013] {
        let row = format!("\n| {number} | ");
        assert!(DOCUMENT.contains(&row), "docs/api.md does not say what the close {number} means");
    }
    let unknown: Vec<_> = found.iter().filter(|(_, word)| Code::find(word).is_none()).collect();
    assert!(unknown.is_empty(), "docs/api.md names codes that there are not: {unknown:?}");
}

#[test]
fn codes_that_are_shown_elsewhere_are_tested_there() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/tests");
    for (code, file, test) in ELSEWHERE {
        let text = std::fs::read_to_string(folder.join(format!("{file}.rs"))).unwrap();
        let body = text.split(&format!("fn {test}(")).nth(1).unwrap_or_default();
        let body = body.split("\n}\n").next().unwrap_or_default();
        assert!(body.contains(code.word()), "{file}.rs::{test} does not name {}", code.word());
    }
}

#[tokio::test]
async fn every_code_occurs_with_its_status() {
    for code in Code::ALL.iter().filter(|code| !ELSEWHERE.iter().any(|(of, ..)| of == *code)) {
        let limits = Limits { place: Duration::ZERO, ..Limits::default() };
        let world = World::new(limits).await;
        let answer = match refused_by_the_engine(*code) {
            Some(fault) => {
                world.fake.answers(move |_| Err(fault.clone()));
                world.ask(json!({"name": "a"})).await
            }
            None => refused(&world, *code).await,
        };
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["code"], &body["status"]),
            (code.status(), &json!(code.word()), &json!(code.entry().status)),
            "{body}"
        );
    }
}

/// What the engine says for a code that is its own.
pub(super) fn refused_by_the_engine(code: Code) -> Option<EvaluateError> {
    let invalid = || EvaluateError::Invalid {
        code: code.word().into(),
        errors: vec![Fault { pointer: "/params/bucket".into(), detail: "no".into() }],
    };
    Some(match code {
        Code::TooManyPoints | Code::AnswerTooLarge => invalid(),
        Code::PluginFailed => EvaluateError::PluginFailed("no".into()),
        Code::Backfilling => EvaluateError::Backfilling { done: 0.5 },
        Code::PluginQuarantined => EvaluateError::Quarantined(Halt::StateLost),
        Code::PartitionsMissing => EvaluateError::PartitionsMissing("half".into()),
        Code::StoreUnavailable => StateUnavailable::Loading.into(),
        Code::Overloaded => EvaluateError::Overloaded("full".into()),
        Code::PositionNotReached => EvaluateError::PositionNotReached("0:1".parse().unwrap()),
        Code::DeadlineExceeded => EvaluateError::DeadlineExceeded(Duration::from_millis(250)),
        _ => return None,
    })
}

/// The answer to a request that is refused with a code.
async fn refused(world: &World, code: Code) -> Answer {
    let send =
        async |request: request::Builder, body: Body| world.send(request.body(body).unwrap()).await;
    let posted = |path: &str| Request::post(path).header("content-type", "application/json");
    match code {
        Code::InvalidJson => world.post("/api/metrics", "{").await,
        Code::InvalidRequest => world.post("/api/metrics", "{}").await,
        Code::InvalidParams => world.get("/api/users?limit=0").await,
        Code::MetricNotFound => world.get("/api/metrics/nothing").await,
        Code::PayloadTooLarge => world.post("/api/metrics", " ".repeat(64 * 1024 + 1)).await,
        Code::UnsupportedMediaType => send(Request::post("/api/metrics"), Body::empty()).await,
        Code::InternalError => {
            world.fake.answers(|_| panic!("no"));
            world.ask(json!({"name": "a"})).await
        }
        Code::InvalidHost => {
            let twice = Request::get("/livez").header("host", "localhost");
            send(twice.header("host", "localhost"), Body::empty()).await
        }
        Code::InvalidBody => {
            let broken = Error::from(ErrorKind::UnexpectedEof);
            let body = Body::from_stream(stream::iter([Err::<Bytes, Error>(broken)]));
            send(posted("/api/metrics"), body).await
        }
        Code::McpInvalid => world.post("/mcp", "[]").await,
        Code::HostNotAllowed => {
            send(Request::get("/livez").header("host", "evil.example"), Body::empty()).await
        }
        Code::OriginNotAllowed => {
            let foreign = posted("/api/events").header("origin", "http://evil.example");
            send(foreign, Body::from("{}")).await
        }
        Code::NotFound => world.get("/nothing").await,
        Code::UserNotFound => world.get("/api/users/999").await,
        Code::ProductNotFound => world.get("/api/product/999").await,
        Code::BoardNotFound => world.get("/api/boards/nothing").await,
        Code::MethodNotAllowed => send(Request::delete("/api/users"), Body::empty()).await,
        Code::PositionInvalid => world.get("/api/events?before=x").await,
        Code::RecordNotFound => world.get("/api/records/7/0").await,
        Code::UriTooLong => world.get(&format!("/livez?{}", "x".repeat(5_000))).await,
        Code::UpgradeRequired => world.get("/ws").await,
        Code::LogUnavailable => {
            *world.fake.append_fails.lock() = true;
            world.post("/api/events", "{}").await
        }
        Code::ReplayRunning => {
            *world.fake.replayed.lock() = Err(LetterReplayFault::Busy);
            world.post("/api/dead-letters/replay", "{}").await
        }
        Code::PluginNotFound | Code::InvalidConfig | Code::PreviewTooLarge => {
            refused_preview(world, code).await
        }
        Code::SectionInFile | Code::SectionNotFound | Code::SectionInvalid => {
            refused_section(world, code).await
        }
        Code::NotReady => {
            world.fake.checks.lock().iter_mut().for_each(|check| check.ok = false);
            world.get("/readyz").await
        }
        Code::NotPossible | Code::OrderFailed | Code::OutcomeUnknown => {
            *world.fake.order_outcome.lock() = Err(match code {
                Code::NotPossible => OrderError::NotPossible("no".into()),
                Code::OrderFailed => OrderError::Failed("no".into()),
                _ => OrderError::OutcomeUnknown(Duration::from_secs(5)),
            });
            world.post("/api/metrics/a/promote", "{}").await
        }
        other => panic!("no request is known that is refused with {}", other.word()),
    }
}

async fn refused_preview(world: &World, code: Code) -> Answer {
    let fault = || Fault { pointer: "/config/cells".into(), detail: "no".into() };
    *world.fake.preview.lock() = Err(match code {
        Code::PluginNotFound => MakeFault::Unknown(vec!["counts".into()]).into(),
        Code::InvalidConfig => MakeFault::Config(vec![fault()]).into(),
        _ => PreviewError::Memory(128 << 20),
    });
    world.post("/api/preview", r#"{"plugin":"a"}"#).await
}

async fn refused_section(world: &World, code: Code) -> Answer {
    if code == Code::SectionInFile {
        let (name, file) = ("a".into(), "metrics.toml".into());
        *world.fake.section_fails.lock() = Some(SectionError::InFile { name, file });
    }
    let request = if code == Code::SectionInvalid {
        let put = Request::put("/api/sections/a").header("content-type", "application/json");
        put.body(Body::from(r#"{"plugin":null}"#))
    } else {
        Request::delete("/api/sections/a").body(Body::empty())
    };
    world.send(request.unwrap()).await
}

#[tokio::test]
async fn a_plugin_refuses_with_a_code_of_its_own() {
    let world = World::new(Limits::default()).await;
    world.fake.answers(|_| {
        let errors = vec![Fault { pointer: "/params/x".into(), detail: "too odd".into() }];
        Err(EvaluateError::Invalid { code: "too_odd".into(), errors })
    });
    let answer = world.ask(json!({"name": "a"})).await;
    let body = answer.json();
    assert_eq!((answer.status.as_u16(), &body["code"]), (422, &json!("too_odd")));
    assert_eq!((&body["title"], &body["detail"]), (&json!("Too odd"), &json!("too odd")));
    world.fake.answers(|_| Ok(evaluated("1", json!({}))));
    assert_eq!(world.ask(json!({"name": "a"})).await.status, 200);
}

#[tokio::test]
async fn what_a_problem_means_is_where_its_type_leads() {
    let world = World::new(Limits::default()).await;
    let problem = world.post("/api/metrics", "{").await.json();
    let answer = world.get(problem["type"].as_str().unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.header("vary"), "accept");
    let told = answer.json();
    assert_eq!(
        (&told["code"], &told["status"], &told["title"], &told["retry"], &told["where"]),
        (
            &json!("invalid_json"),
            &json!(400),
            &json!("Invalid json"),
            &json!(false),
            &json!(["answer", "websocket"])
        )
    );
    assert!(told["means"].is_string() && told["remedy"].is_string() && told.get("close").is_none());
    let close = world.get("/problems/message_too_large").await.json();
    assert_eq!((&close["close"], close.get("status")), (&json!(1009), None));

    let all = world.get("/problems").await.json();
    let words: Vec<&Value> =
        all["problems"].as_array().unwrap().iter().map(|problem| &problem["code"]).collect();
    let listed: Vec<Value> = Code::ALL.iter().map(|code| json!(code.word())).collect();
    assert_eq!(words, listed.iter().collect::<Vec<_>>());

    for path in ["/problems/too_odd", "/problems/%ff", "/problems/Invalid_Json"] {
        let answer = world.get(path).await;
        let body = answer.json();
        assert_eq!((answer.status.as_u16(), &body["code"]), (404, &json!("not_found")), "{path}");
        assert!(body["detail"].as_str().unwrap().contains("codes of its own"), "{body}");
    }
}

#[tokio::test]
async fn browsers_get_a_page() {
    let world = World::new(Limits::default()).await;
    let open = async |path: &str| {
        let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
        let answer = world.send(request).await;
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{path}");
        assert_eq!(answer.header("vary"), "accept", "{path}");
        answer.text
    };
    let one = open("/problems/invalid_params").await;
    assert!(one.contains("<h1>Invalid params</h1>") && one.contains("status 422"), "{one}");
    let all = open("/problems").await;
    for code in Code::ALL {
        assert!(all.contains(&format!("href=\"/problems/{}\"", code.word())), "{all}");
        let page = open(&format!("/problems/{}", code.word())).await;
        assert!(page.contains("What to do") && !page.contains("{"), "{page}");
    }
}
