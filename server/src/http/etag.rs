//! Tags of answers, by which a client that has one learns whether it is still right.
//!
//! Every answer to a GET or HEAD that is data has a weak `ETag` and, unless its handler says how
//! long it holds, `Cache-Control: no-cache`: it may be kept, and is asked for again with
//! `If-None-Match`. A client that has it already gets 304 without a body. Problems, streams and
//! what says how the process is (`/livez`, `/readyz`, `/metrics`) have no tag.

use super::App;
use super::answer::FullBody;
use super::metric_request::MetricRequest;
use super::middleware::{Exchange, Head};
use super::rows::RowForm;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::ops::ControlFlow;
use tally_engine::engine::Evaluated;

/// Bytes of a digest that a tag has: enough that no two answers share one.
const BYTES: usize = 16;

const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// The tags of what a client has.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownTags(Vec<HeaderValue>);

impl KnownTags {
    /// Those of `If-None-Match`.
    pub(crate) fn of(headers: &HeaderMap) -> KnownTags {
        KnownTags(headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect())
    }

    /// With a tag that was given in another place; the quotes may be left out there.
    #[must_use]
    pub(crate) fn and(mut self, tag: Option<HeaderValue>) -> KnownTags {
        self.0.extend(tag);
        self
    }

    /// Whether it has what `tag` stands for: a comparison by what is between the quotes.
    pub(crate) fn has(&self, tag: &HeaderValue) -> bool {
        let wanted = opaque(tag.as_bytes());
        let listed = self.0.iter().flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
        listed.map(<[u8]>::trim_ascii).any(|listed| listed == b"*" || opaque(listed) == wanted)
    }
}

/// What a tag consists of, without the mark of a weak one and without quotes.
fn opaque(tag: &[u8]) -> &[u8] {
    let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
    let inside = tag.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    inside.unwrap_or(tag)
}

/// What a tag consists of, as the id of a server-sent event.
pub(crate) fn id_of(tag: &HeaderValue) -> &str {
    std::str::from_utf8(opaque(tag.as_bytes())).unwrap_or_default()
}

/// The tag of such an id, if it may be one.
pub(crate) fn of_id(id: &str) -> Option<HeaderValue> {
    let is_one = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| HeaderValue::from_str(&format!("W/\"{id}\"")).ok()).flatten()
}

/// The tag of a body.
pub(crate) fn of_bytes(body: &[u8]) -> HeaderValue {
    of_digest(Sha256::new().chain_update(body))
}

/// The tag of the answer to a question. When it was asked, how long it took and how far was counted
/// make no other answer of it, and neither do words for people. As rows it is another one.
pub(crate) fn of_answer(
    asked: &MetricRequest,
    evaluated: &Evaluated,
    form: Option<RowForm>,
) -> HeaderValue {
    let Evaluated { revision, result, window, history, warnings, .. } = evaluated;
    let mut digest = Sha256::new();
    // With its length before each part, so that no two lists of parts read alike.
    let mut add = |part: &[u8]| {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    };
    add(asked.question.name.as_bytes());
    add(&revision.to_be_bytes());
    add(asked.canonical_params().as_bytes());
    add(&[u8::from(asked.names)]);
    add(result.as_bytes());
    add(format!("{window:?} {history:?}").as_bytes());
    for warning in warnings {
        add(warning.code.as_bytes());
        add(Value::Object(warning.more.clone()).to_string().as_bytes());
    }
    if let Some(form) = form {
        add(form.kind().as_bytes());
    }
    of_digest(digest)
}

fn of_digest(digest: Sha256) -> HeaderValue {
    let mut text = String::with_capacity(4 + 2 * BYTES);
    text.push_str("W/\"");
    for byte in digest.finalize().iter().take(BYTES) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('"');
    HeaderValue::from_str(&text).unwrap_or_else(|_| unreachable!("digits are ASCII"))
}

/// Notes what the client has, if it only reads.
pub(crate) fn check(_: &App, head: &Head<'_>, exchange: &mut Exchange) -> ControlFlow<Response> {
    if matches!(*head.method, Method::GET | Method::HEAD) {
        exchange.known = Some(KnownTags::of(head.headers));
    }
    ControlFlow::Continue(())
}

/// Tags an answer that is data, and leaves its body out where the client has it.
pub(crate) fn finish(_: &App, exchange: &Exchange, response: &mut Response) {
    let Some(known) = &exchange.known else { return };
    let body = response.extensions_mut().remove::<FullBody>();
    if response.status() == StatusCode::NOT_MODIFIED {
        // Of a handler. The router has stated the length of the body that is not there.
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if response.status() != StatusCode::OK {
        return;
    }
    let own = response.headers().get(header::ETAG).cloned();
    let Some(tag) = own.or_else(|| body.map(|FullBody(body)| of_bytes(&body))) else { return };
    let is_known = known.has(&tag);
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(ASK_AGAIN);
    headers.insert(header::ETAG, tag);
    if is_known {
        leave_out(response);
    }
}

/// 304: what describes the body goes with it.
pub(crate) fn leave_out(response: &mut Response) {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = Body::empty();
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
        response.headers_mut().remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_by_what_they_consist_of() {
        let tag = of_bytes(b"a");
        let text = tag.to_str().unwrap_or_default();
        assert_eq!(text, "W/\"ca978112ca1bbdcafac231b39a23dc4d\"");
        assert_ne!(of_bytes(b"b"), tag);
        assert_eq!(id_of(&tag), "ca978112ca1bbdcafac231b39a23dc4d");
        assert_eq!(of_id(id_of(&tag)), Some(tag.clone()));
        assert_eq!((of_id(""), of_id("*"), of_id("0:17")), (None, None, None));
        let strong = text.trim_start_matches("W/");
        for (lists, expected) in [
            (vec![text.to_owned()], true),
            (vec![strong.to_owned()], true),
            (vec![format!("\"x\", {text}")], true),
            (vec!["\"x\"".to_owned(), format!("{strong} ,W/\"y\"")], true),
            (vec!["*".to_owned()], true),
            (vec![], false),
            (vec![String::new()], false),
            (vec!["\"*\"".to_owned()], false),
            (vec!["W/\"ca978112\"".to_owned()], false),
        ] {
            let mut headers = HeaderMap::new();
            for list in &lists {
                let value = HeaderValue::from_str(list).expect("it is a value");
                headers.append(header::IF_NONE_MATCH, value);
            }
            assert_eq!(KnownTags::of(&headers).has(&tag), expected, "{lists:?}");
        }
    }
}
