//! `GET /docs`: a page that shows the OpenAPI document, and the files that it consists of.
//!
//! It works without any other host: the files are Swagger UI (`swagger-ui-dist`, Apache-2.0; its
//! licence and notice lie beside them), compressed, and a script of our own. They are sent
//! compressed to everybody, because there is no other form of them. A file of Swagger UI has its
//! version in its name and may be kept for good. Styles inside of elements and images inside of
//! styles are allowed here, which nothing else of this server needs.

use super::answer;
use super::codes::Code;
use super::problem::Problem;
use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

const PAGE: &str = include_str!("../../assets/docs/page.html");

/// What the page does once it is there.
const SCRIPT: &str = include_str!("../../assets/docs/page.js");

const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");

/// A file that never changes under its name.
struct DocsFile {
    name: &'static str,
    kind: HeaderValue,
    /// Compressed with gzip.
    bytes: &'static [u8],
}

const FILES: [DocsFile; 2] = [
    DocsFile {
        name: "swagger-ui-5.35.0.js",
        kind: JAVASCRIPT,
        bytes: include_bytes!("../../assets/docs/swagger-ui-bundle.js.gz"),
    },
    DocsFile {
        name: "swagger-ui-5.35.0.css",
        kind: HeaderValue::from_static("text/css; charset=utf-8"),
        bytes: include_bytes!("../../assets/docs/swagger-ui.css.gz"),
    },
];

/// What the page may load, in place of the policy of all other answers.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         object-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    ),
);

const FOR_GOOD: (HeaderName, HeaderValue) =
    (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));

const COMPRESSED: (HeaderName, HeaderValue) =
    (header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));

pub(crate) async fn page() -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    ([POLICY], answer::full(kind, PAGE)).into_response()
}

pub(crate) async fn file(name: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let name = name.map(|Path(name)| name).unwrap_or_default();
    if name == "page.js" {
        return Ok(([POLICY], answer::full(JAVASCRIPT, SCRIPT)).into_response());
    }
    let found = FILES.into_iter().find(|file| file.name == name);
    let Some(DocsFile { kind, bytes, .. }) = found else {
        return Err(Problem::new(Code::NotFound, "/docs has no such file"));
    };
    let headers = [POLICY, FOR_GOOD, COMPRESSED, (header::CONTENT_TYPE, kind)];
    Ok((headers, Body::from(bytes)).into_response())
}
