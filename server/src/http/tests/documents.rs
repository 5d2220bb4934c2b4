//! The documents that programs read: they say which routes there are, follow the metrics, and are
//! kept; and the page that shows one of them.

use super::fake::World;
use crate::http::Limits;
use crate::http::codes::{Code, Way};
use crate::http::openapi;
use crate::http::routes::{ROUTES, RouteInfo};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tally_engine::engine::MetricState;

/// Methods of requests that are tried.
const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

/// The document without metrics.
fn base() -> Value {
    serde_json::from_str(&openapi::text(&[])).unwrap()
}

/// What stands at a place, or where that refers to.
fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    let target = value["$ref"].as_str();
    target.map_or(value, |target| document.pointer(target.strip_prefix('#').unwrap()).unwrap())
}

fn is_public(route: &&RouteInfo) -> bool {
    !route.operations.is_empty()
}

#[test]
fn the_document_has_the_routes_of_the_contract_and_no_others() {
    let document = base();
    let paths = document["paths"].as_object().unwrap();
    let mut idents = BTreeSet::new();
    for route in ROUTES {
        let described = paths.get(route.path);
        let internal = route.path.starts_with("/api/internal/");
        assert_eq!(internal, !is_public(&route), "{}: internal is what is not named", route.path);
        assert_eq!(described.is_none(), internal, "{}", route.path);
        let Some(described) = described else { continue };
        let told: Vec<(&str, &str)> = described
            .as_object()
            .unwrap()
            .iter()
            .map(|(method, operation)| (&**method, operation["operationId"].as_str().unwrap()))
            .collect();
        assert_eq!(told, route.operations, "{}", route.path);
        for (_, ident) in told {
            assert!(idents.insert(ident), "{ident} is the name of two");
            // Those of metrics begin with these.
            assert!(!ident.starts_with("answer") && !ident.starts_with("stream"), "{ident}");
        }
    }
    for path in paths.keys() {
        let is_there = ROUTES.iter().any(|route| route.path == path);
        assert!(is_there, "{path} is described and is not there");
    }
}

#[tokio::test]
async fn routes_take_the_methods_of_the_list_and_no_others() {
    let world = World::new(Limits::default()).await;
    for route in ROUTES.iter().filter(is_public) {
        // An unknown key ends what would be a stream.
        let path = route.path.split('/').map(|step| if step.starts_with('{') { "1" } else { step });
        let target = format!("{}?unknown=1", path.collect::<Vec<_>>().join("/"));
        for method in METHODS {
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&target);
            let request = request.header("content-type", "application/json");
            let (status, headers, _) = world.send_raw(request.body("{}".into()).unwrap()).await;
            let takes = route.operations.iter().any(|(taken, _)| *taken == method);
            let refused = status == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(refused, !takes, "{method} {}: {status}", route.path);
            let allow = headers.get("allow").map(|allow| allow.to_str().unwrap().to_lowercase());
            for (taken, _) in route.operations.iter().filter(|_| refused) {
                assert!(allow.as_ref().unwrap().contains(taken), "{allow:?}: {}", route.path);
            }
        }
    }
}

#[test]
fn every_code_of_an_answer_is_in_the_document_with_its_status() {
    let document = base();
    let mut told = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for operation in item.as_object().unwrap().values() {
            for (status, response) in operation["responses"].as_object().unwrap() {
                let response = resolved(&document, response);
                for word in response["x-codes"].as_array().into_iter().flatten() {
                    let word = word.as_str().unwrap();
                    let description = response["description"].as_str().unwrap();
                    assert!(description.contains(&format!("`{word}`")), "{path}: {description}");
                    let code = Code::find(word);
                    let code = code.unwrap_or_else(|| panic!("{path}: there is no code {word}"));
                    assert_eq!(code.entry().status.to_string(), *status, "{path}: {word}");
                    told.insert(word.to_owned());
                }
            }
        }
    }
    for code in Code::ALL {
        let expected = matches!(code.entry().way, Way::Answer | Way::Both);
        assert_eq!(told.contains(code.word()), expected, "{}", code.word());
    }
}

#[test]
fn everything_that_is_referred_to_is_there_and_nothing_is_there_in_vain() {
    let document = base();
    let text = document.to_string();
    let targets: BTreeSet<&str> =
        text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for target in &targets {
        assert!(document.pointer(target).is_some(), "{target} is not there");
    }
    for (kind, named) in document["components"].as_object().unwrap() {
        for name in named.as_object().unwrap().keys() {
            let place = format!("/components/{kind}/{name}");
            let is_named = targets.contains(&*place) || text.contains(&format!("`#{place}`"));
            assert!(is_named, "nobody refers to {place}");
        }
    }
}

#[tokio::test]
async fn a_document_follows_the_metrics_and_is_not_sent_again() {
    let world = World::new(Limits::default()).await;
    for (path, version, place) in [
        ("/api/openapi.json", "openapi", "/paths/~1api~1metrics~1event_frequencies~1answer"),
        ("/api/asyncapi.json", "asyncapi", "/components/schemas/metric.event_frequencies.result"),
    ] {
        let first = world.get(path).await;
        assert_eq!(
            (first.status.as_u16(), first.header("content-type")),
            (200, "application/json")
        );
        assert_eq!(first.header("cache-control"), "no-cache");
        let document = first.json();
        assert!(document[version].is_string() && document.pointer(place).is_some(), "{path}");
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));

        let known = |tag: &str| Request::get(path).header("if-none-match", tag).body(Body::empty());
        let tag = first.header("etag").to_owned();
        let again = world.send(known(&tag).unwrap()).await;
        assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""), "{path}");
        assert_eq!(again.header("etag"), tag);

        // One that is being counted is described, one that is gone is not; and it comes back.
        *world.fake.states.lock() = MetricState::Backfilling { done: 0.5, eta_s: None };
        assert_eq!(world.get(path).await.header("etag"), tag, "{path}");
        *world.fake.states.lock() = MetricState::Retired;
        let gone = world.send(known(&tag).unwrap()).await;
        assert_eq!(gone.status, 200, "{path}");
        assert!(gone.json().pointer(place).is_none(), "{path}");
        *world.fake.states.lock() = MetricState::Active;
        assert_eq!(world.get(path).await.text, first.text, "{path}");
    }
}

#[tokio::test]
async fn a_document_is_made_in_one_of_few_places() {
    let limits = Limits { audits: 0, place: std::time::Duration::ZERO, ..Limits::default() };
    let world = World::new(limits).await;
    for path in ["/api/openapi.json", "/api/asyncapi.json"] {
        let answer = world.get(path).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (503, &json!("overloaded")));
    }
}

/// The files that a text of the page names.
fn named_files(text: &str) -> Vec<&str> {
    let quoted = text.split('"').skip(1).step_by(2);
    quoted.filter(|text| text.contains('/') && !text.contains(' ')).collect()
}

#[tokio::test]
async fn the_page_needs_no_other_host() {
    let world = World::new(Limits::default()).await;
    let page = world.get("/docs").await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    let script = world.get("/docs/page.js").await;
    assert_eq!(
        (script.status.as_u16(), script.header("content-type")),
        (200, "text/javascript; charset=utf-8")
    );
    let policy = page.header("content-security-policy");
    for allowed in policy.split([';', ' ']).filter(|word| !word.is_empty()) {
        let is_host = allowed.contains(['.', '*']) || allowed.contains("http");
        assert!(!is_host, "{policy}");
    }
    assert!(policy.contains("default-src 'self'") && !policy.contains("'unsafe-eval'"), "{policy}");
    assert!(!policy.contains("script-src"), "scripts come from here alone: {policy}");
    let mut files = BTreeSet::new();
    for text in [&page.text, &script.text] {
        assert!(!text.contains("://") && !text.contains("=\"//"), "{text}");
        files.extend(named_files(text));
    }
    assert!(files.len() >= 4, "{files:?}");
    for file in files {
        // As a browser reads them on a page at /docs.
        let request = Request::get(format!("/{file}")).body(Body::empty()).unwrap();
        let (status, headers, body) = world.send_raw(request).await;
        assert_eq!(status, StatusCode::OK, "{file}");
        if file.starts_with("docs/") {
            assert_eq!(headers["content-security-policy"], policy, "{file}");
        }
        if file.contains("swagger-ui") {
            let kind = if file.ends_with(".js") { "text/javascript" } else { "text/css" };
            assert_eq!(headers["content-type"], format!("{kind}; charset=utf-8").as_str());
            assert_eq!(headers["content-encoding"], "gzip", "{file}");
            assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable", "{file}");
            assert!(body.starts_with(&[0x1f, 0x8b, 8]) && body.len() > 10_000, "{file}");
        }
    }
}

#[tokio::test]
async fn only_the_page_has_a_policy_of_its_own_and_only_its_own_script_may_change() {
    let world = World::new(Limits::default()).await;
    let usual = "default-src 'self'; frame-ancestors 'none'";
    for path in ["/docs/nothing", "/docs/", "/api/openapi.json", "/livez"] {
        assert_eq!(world.get(path).await.header("content-security-policy"), usual, "{path}");
    }
    let missing = world.get("/docs/nothing").await;
    assert_eq!((missing.status.as_u16(), &missing.json()["code"]), (404, &json!("not_found")));
    for path in ["/docs", "/docs/page.js"] {
        let answer = world.get(path).await;
        assert_eq!(answer.header("cache-control"), "no-cache", "{path}");
        assert!(answer.header("etag").starts_with("W/\""), "{path}");
    }
}
