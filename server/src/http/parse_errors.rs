//! Errors that hyper answers by itself, before there is a request: heads that cannot be parsed, or
//! are too large. hyper writes them without a body; here they become problems.
//!
//! Such an answer is the last thing that hyper writes on a connection. It is known by its shape: no
//! body, and no `request-id`, which every other answer has.

use super::codes::Code;
use super::problem::Problem;
use super::redact_paths::PathRedactor;
use axum::response::Response;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;

/// The problem to write in place of `bytes`, if they are such an answer.
pub(crate) fn problem_for(bytes: &[u8]) -> Option<Bytes> {
    let head = std::str::from_utf8(bytes.strip_suffix(b"\r\n\r\n")?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 4")?;
    let is_bare = lines.clone().any(|line| line.eq_ignore_ascii_case("content-length: 0"))
        && !lines
            .any(|line| line.get(..10).is_some_and(|name| name.eq_ignore_ascii_case("request-id")));
    let (code, detail) = match (status.get(..2)?, is_bare) {
        ("00", true) => {
            (Code::BadRequest, "the request is not HTTP/1.1, or its head contradicts itself")
        }
        ("14", true) => (Code::UriTooLong, "the target of the request is too long"),
        ("31", true) => {
            (Code::HeadTooLarge, "the head of the request has more than 64 fields or 16 KiB")
        }
        _ => return None,
    };
    let status = code.status();
    let mut response = Response::default();
    let id = super::middleware::fresh_id();
    Problem::new(code, detail).write(
        &mut response,
        id.to_str().unwrap_or_default(),
        &PathRedactor::default(),
    );
    let mut text = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\nrequest-id: {}\r\n\
         connection: close\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default(),
        id.to_str().unwrap_or_default()
    )
    .into_bytes();
    // The body of a problem is one piece: it never waits.
    let body = response.into_body().collect().now_or_never()?.ok()?.to_bytes();
    text.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
    text.extend_from_slice(&body);
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::problem_for;

    #[test]
    fn only_answers_without_a_body_and_an_id_are_replaced() {
        for (bytes, replaced) in [
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\ndate: x\r\n\r\n", true),
            (
                "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                true,
            ),
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nrequest-id: 7\r\n\r\n", false),
            ("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}", false),
            ("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", false),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", false),
            ("{\"HTTP/1.1 400\":\"content-length: 0\"}", false),
        ] {
            assert_eq!(problem_for(bytes.as_bytes()).is_some(), replaced, "{bytes}");
        }
    }
}
