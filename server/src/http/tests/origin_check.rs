//! Which names and pages are let in, on every route and on the way past the router.

use super::fake::World;
use crate::http::Limits;
use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// A route of each kind.
pub(super) const ROUTES: [(&str, &str); 27] = [
    ("GET", "/api/users"),
    ("GET", "/api/product/10"),
    ("GET", "/api/metrics"),
    ("POST", "/api/metrics"),
    ("POST", "/api/metrics/batch"),
    ("GET", "/api/metrics/event_frequencies/answer"),
    ("GET", "/api/metrics/event_frequencies/versions"),
    ("POST", "/api/events"),
    ("GET", "/api/events"),
    ("GET", "/api/events/stream?user_ids=1"),
    ("GET", "/api/records/0/1"),
    ("GET", "/api/dead-letters"),
    ("POST", "/api/dead-letters/replay"),
    ("GET", "/api/sections"),
    ("PUT", "/api/sections/x"),
    ("DELETE", "/api/sections/x"),
    ("GET", "/api/status"),
    ("GET", "/api/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/api/internal/events"),
    ("POST", "/api/metrics/x/purge"),
    ("POST", "/mcp"),
    ("GET", "/ws"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/nothing"),
];

async fn asked(world: &World, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request =
        Request::builder().method(method).uri(path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = world.send(request.body(Body::from(r#"{"name":"a"}"#)).unwrap()).await;
    let problem = answer.header("content-type") == "application/problem+json";
    let code = if problem {
        answer.json()["code"].as_str().unwrap_or_default().to_owned()
    } else {
        String::new()
    };
    (answer.status.as_u16(), code)
}

#[tokio::test]
async fn only_names_of_this_server_are_answered_whatever_is_asked() {
    let world = World::new(Limits::default()).await;
    for (method, path) in ROUTES {
        let refused = (403, "host_not_allowed".to_owned());
        for host in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "0.0.0.0:8080",
            "10.0.0.1",
            "tally.example.evil",
        ] {
            assert_eq!(
                asked(&world, method, path, &[("host", host)]).await,
                refused,
                "{method} {path} {host}"
            );
            // As a page does whose name was given this address: its origin is its host.
            let origin = format!("http://{host}");
            let both = [("host", host), ("origin", origin.as_str())];
            assert_eq!(asked(&world, method, path, &both).await, refused, "{method} {path} {host}");
        }
        for host in [
            "localhost",
            "LOCALHOST:1",
            "127.0.0.1:8080",
            "127.8.8.8",
            "[::1]:8080",
            "Tally.Example",
            "tally.example:99",
        ] {
            let (status, code) = asked(&world, method, path, &[("host", host)]).await;
            assert!(
                code != "host_not_allowed" && code != "origin_not_allowed",
                "{method} {path} {host}: {status} {code}"
            );
        }
    }
    let reached = (world.fake.asked.lock().len(), world.fake.written.lock().len());
    assert_eq!(reached, (14, 7), "only by good names");
}

#[tokio::test]
async fn one_host_is_stated() {
    let mut world = World::new(Limits::default()).await;
    for path in ["/livez", "/api/users"] {
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(asked(&world, "GET", path, &twice).await, (400, "invalid_host".into()));
    }
    let absolute =
        asked(&world, "GET", "http://evil.example/livez", &[("host", "localhost")]).await;
    assert_eq!(absolute, (403, "host_not_allowed".into()));
    let server = world.listen().await;
    for version in ["1.1", "1.0"] {
        let answer = server.exchange(format!("GET /livez HTTP/{version}\r\n\r\n").as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/{version} 400")) && answer.contains("invalid_host"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_read_nothing_and_change_nothing() {
    let world = World::new(Limits::default()).await;
    for (method, path) in ROUTES {
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:3000",
            "https://localhost",
            "http://shop.example",
            "http://tally.example",
            "",
        ] {
            let (status, code) =
                asked(&world, method, path, &[("host", "localhost"), ("origin", origin)]).await;
            let refused = method != "GET" || path == "/ws";
            assert_eq!(
                code == "origin_not_allowed",
                refused,
                "{method} {path} {origin}: {status} {code}"
            );
        }
        for (host, origin) in [
            ("localhost", "http://localhost"),
            ("localhost:80", "http://LOCALHOST"),
            ("[::1]:8080", "http://[::1]:8080"),
            ("localhost", "https://shop.example"),
            ("tally.example:9", "https://shop.example:443"),
        ] {
            let (_, code) =
                asked(&world, method, path, &[("host", host), ("origin", origin)]).await;
            assert_ne!(code, "origin_not_allowed", "{method} {path} {origin}");
        }
    }
    let two =
        [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://evil.example")];
    assert_eq!(
        asked(&world, "POST", "/api/events", &two).await,
        (403, "origin_not_allowed".into())
    );
}

#[tokio::test]
async fn browsers_of_listed_pages_are_told_so_and_no_others() {
    let world = World::new(Limits::default()).await;
    let send = async |method: Method, origin: &str| {
        let request =
            Request::builder().method(method).uri("/api/metrics").header("origin", origin);
        let request = request
            .header("access-control-request-method", "POST")
            .header("content-type", "application/json");
        world.send(request.body(Body::from(r#"{"name":"a"}"#)).unwrap()).await
    };
    let preflight = send(Method::OPTIONS, "https://shop.example").await;
    assert_eq!((preflight.status.as_u16(), preflight.text.as_str()), (204, ""));
    assert_eq!(preflight.header("access-control-allow-origin"), "https://shop.example");
    assert!(preflight.header("access-control-allow-methods").contains("POST"));
    assert!(preflight.header("access-control-allow-headers").contains("content-type"));
    for method in [Method::GET, Method::POST] {
        let answer = send(method, "https://shop.example").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), "https://shop.example");
        assert_eq!(answer.varies().last(), Some(&"origin"));
    }
    for (method, origin) in [
        (Method::GET, "http://evil.example"),
        (Method::OPTIONS, "http://evil.example"),
        (Method::POST, "http://localhost"),
    ] {
        assert_eq!(
            send(method, origin).await.header("access-control-allow-origin"),
            "",
            "{origin}"
        );
    }
}

#[tokio::test]
async fn a_websocket_is_opened_from_own_and_listed_pages_only() {
    let mut world = World::new(Limits::default()).await;
    let server = world.listen().await;
    let open = async |host: &str, origin: Option<&str>| {
        let mut request = format!("ws://{}/ws", server.address).into_client_request().unwrap();
        request.headers_mut().insert("host", host.parse().unwrap());
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        match client_async(request, server.connect().await).await.map(drop) {
            Ok(()) => json!(101),
            Err(Error::Http(answer)) => {
                let body = answer.into_body().unwrap_or_default();
                serde_json::from_slice::<serde_json::Value>(&body).unwrap()["code"].clone()
            }
            Err(other) => panic!("{other:?}"),
        }
    };
    let own = server.address.to_string();
    assert_eq!(open(&own, None).await, json!(101));
    assert_eq!(open(&own, Some(&format!("http://{own}"))).await, json!(101));
    assert_eq!(open("tally.example", Some("https://shop.example")).await, json!(101));
    assert_eq!(open("evil.example", Some("http://evil.example")).await, json!("host_not_allowed"));
    assert_eq!(open("evil.example", None).await, json!("host_not_allowed"));
    for origin in
        ["http://evil.example", "null", "http://localhost:3000", &format!("https://{own}")]
    {
        assert_eq!(open(&own, Some(origin)).await, json!("origin_not_allowed"), "{origin}");
    }
}
