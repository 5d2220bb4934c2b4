//! The page: it is there with all that it names, may be kept as long as it stays, needs no other
//! host, and has nothing in it that its policy forbids.

use super::fake::World;
use crate::http::Limits;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use serde_json::json;

const POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; \
                      form-action 'self'; frame-ancestors 'none'";

async fn send(
    world: &World,
    method: Method,
    path: &str,
    encoding: &str,
) -> (StatusCode, HeaderMap, Bytes) {
    let request = Request::builder().method(method).uri(path).header("accept-encoding", encoding);
    world.send_raw(request.body(Body::empty()).unwrap()).await
}

/// The files that the page loads.
fn loaded(page: &str) -> Vec<&str> {
    let named = ["src=\"", "href=\""].into_iter().flat_map(|start| page.split(start).skip(1));
    let names = named.filter_map(|rest| rest.split('"').next());
    names.filter(|name| !name.starts_with('#')).collect()
}

#[tokio::test]
async fn the_page_and_its_files_are_there() {
    let world = World::new(Limits::default()).await;
    let page = world.get("/").await;
    assert_eq!(
        (page.status.as_u16(), page.header("content-type")),
        (200, "text/html; charset=utf-8")
    );
    assert_eq!(page.header("cache-control"), "no-cache");
    assert!(page.header("etag").starts_with("W/\""));
    let mut kept = 0;
    for name in loaded(&page.text).into_iter().filter(|name| name.contains('.')) {
        assert!(!name.starts_with('/') && !name.contains("//"), "{name} is relative");
        let (status, headers, body) = send(&world, Method::GET, &format!("/{name}"), "").await;
        assert_eq!(status, StatusCode::OK, "{name}");
        assert!(!body.is_empty(), "{name}");
        assert_eq!(headers["content-security-policy"], POLICY, "{name}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{name}");
        if headers["cache-control"] == "public, max-age=31536000, immutable" {
            kept += 1;
        }
    }
    assert!(kept >= 2, "script and style may be kept for good");
}

#[tokio::test]
async fn files_are_sent_as_the_client_takes_them() {
    let world = World::new(Limits::default()).await;
    let page = world.get("/").await;
    let script = loaded(&page.text).into_iter().find(|name| name.ends_with(".js")).unwrap();
    let path = format!("/{script}");
    let (_, plain, whole) = send(&world, Method::GET, &path, "identity").await;
    let (_, packed, short) = send(&world, Method::GET, &path, "br, gzip").await;
    assert!(plain.get("content-encoding").is_none());
    assert_eq!(packed["content-encoding"], "gzip");
    assert!(short.len() < whole.len() && short.starts_with(&[0x1f, 0x8b]));
    assert_ne!(plain["etag"], packed["etag"]);
    for headers in [&plain, &packed] {
        assert_eq!(headers["content-type"], "text/javascript; charset=utf-8");
        let varies = headers.get_all("vary").iter().any(|vary| vary == "accept-encoding");
        assert!(varies, "{headers:?}");
    }
    let (status, headers, body) = send(&world, Method::HEAD, &path, "gzip").await;
    assert_eq!((status, body.len()), (StatusCode::OK, 0));
    assert_eq!(headers["content-encoding"], "gzip");
}

#[tokio::test]
async fn nothing_in_the_page_is_what_its_policy_forbids() {
    let world = World::new(Limits::default()).await;
    let page = world.get("/").await;
    assert_eq!(page.header("content-security-policy"), POLICY);
    let text = page.text.to_lowercase();
    for forbidden in ["<style", " style=", "javascript:", "data:", "http://", "https://", "<base"] {
        assert!(!text.contains(forbidden), "{forbidden}");
    }
    for tag in text.split('<').filter_map(|rest| rest.split('>').next()) {
        let is_inline = tag.starts_with("script") && !tag.contains("src=");
        let handles =
            tag.split_whitespace().any(|part| part.starts_with("on") && part.contains('='));
        assert!(!is_inline && !handles, "<{tag}>");
    }
}

#[tokio::test]
async fn what_is_no_file_of_the_page_is_not_there() {
    let world = World::new(Limits::default()).await;
    for path in ["/index.html", "/files.rs", "/app.js", "/nothing", "/../Cargo.toml"] {
        let answer = world.get(path).await;
        let code = answer.json()["code"].clone();
        assert_eq!((answer.status.as_u16(), code), (404, json!("not_found")), "{path}");
    }
    let (status, headers, _) = send(&world, Method::POST, "/", "").await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(headers["allow"], "GET,HEAD");
}
