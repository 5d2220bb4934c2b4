//! `GET /`: the page, and the files that it consists of.
//!
//! They are those of `server/ui/dist`, part of the program: nothing is read when it runs, and Node
//! is not needed to build it. `server/ui/embed.mjs` writes `dist/files.rs`, which holds [`FILES`]: of
//! each file its name, its media type, whether its name is made from its content, its bytes, and
//! these compressed where that is shorter. The build fails if a file that is listed is not there.
//!
//! A file whose name is made from its content may be kept for good; the others have a tag. Names are
//! relative, so that the page works behind a path of a proxy. Files that are not listed are answered
//! as everything is that there is not. The policy allows what comes from this server, and no script
//! or style inside of elements.

use super::{App, accept, answer};
use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use std::future::ready;
use std::sync::Arc;

#[path = "../../ui/dist/files.rs"]
mod files;

use files::FILES;

/// The file that `/` is.
const INDEX: &str = "index.html";

/// A file of the page.
struct PageFile {
    name: &'static str,
    /// Its media type.
    kind: &'static str,
    /// Whether its name is made from its content, so that it never changes under its name.
    hashed: bool,
    bytes: &'static [u8],
    /// The same, compressed.
    gzip: Option<&'static [u8]>,
}

/// What the page may load, in place of the policy of all other answers.
const POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'none'",
    ),
);

/// The form depends on what the client unpacks.
const BY_ENCODING: (HeaderName, HeaderValue) =
    (header::VARY, HeaderValue::from_static("accept-encoding"));

const FOR_GOOD: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

pub(crate) async fn index(headers: HeaderMap) -> Response {
    let index = FILES.iter().find(|file| file.name == INDEX);
    show(index.expect("a page has an index, as a test says"), &headers)
}

/// Adds the routes of the other files.
pub(super) fn add_files(router: Router<Arc<App>>) -> Router<Arc<App>> {
    FILES.iter().filter(|file| file.name != INDEX).fold(router, |router, file| {
        let handler = move |headers: HeaderMap| ready(show(file, &headers));
        router.route(&format!("/{}", file.name), get(handler))
    })
}

fn show(file: &'static PageFile, headers: &HeaderMap) -> Response {
    let packed = file.gzip.filter(|_| takes_gzip(headers));
    let body = Bytes::from_static(packed.unwrap_or(file.bytes));
    let answer = answer::full(HeaderValue::from_static(file.kind), body);
    let mut response = ([POLICY, BY_ENCODING], answer).into_response();
    let headers = response.headers_mut();
    if packed.is_some() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    if file.hashed {
        headers.insert(header::CACHE_CONTROL, FOR_GOOD);
    }
    response
}

/// Whether a client says that it unpacks gzip.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut takes_any = false;
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    for coding in texts.flat_map(|text| text.split(',')) {
        let mut pieces = coding.split(';').map(str::trim);
        let named = pieces.next().unwrap_or_default();
        let is_taken = pieces.find_map(accept::quality).is_none_or(|weight| weight > 0.0);
        if named.eq_ignore_ascii_case("gzip") || named.eq_ignore_ascii_case("x-gzip") {
            return is_taken;
        }
        takes_any = takes_any || named == "*" && is_taken;
    }
    takes_any
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What a first visit does not fetch.
    const LICENCES: &str = "licenses.txt";

    /// Bytes of a first visit, as they are sent to who unpacks gzip.
    const MOST: usize = 80 << 10;

    #[test]
    fn there_is_an_index_and_what_is_compressed_is_shorter() {
        assert!(FILES.iter().any(|file| file.name == INDEX && !file.hashed));
        let names: BTreeSet<&str> = FILES.iter().map(|file| file.name).collect();
        assert_eq!(names.len(), FILES.len());
        let mut sent = 0;
        for file in FILES {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
            assert!(file.name.bytes().all(plain), "{}", file.name);
            assert!(HeaderValue::from_str(file.kind).is_ok(), "{}", file.kind);
            if file.name != LICENCES {
                sent += file.gzip.unwrap_or(file.bytes).len();
            }
            let Some(packed) = file.gzip else { continue };
            assert!(packed.len() < file.bytes.len(), "{}", file.name);
            // What a gzip file begins with, and the length of its content, with which it ends.
            let length = file.bytes.len() as u32;
            assert!(packed.starts_with(&[0x1f, 0x8b, 8]), "{}", file.name);
            assert!(packed.ends_with(&length.to_le_bytes()), "{} is another file", file.name);
        }
        assert!(sent <= MOST, "a first visit has {sent} bytes, more than {MOST}");
    }

    #[test]
    fn gzip_is_sent_to_who_takes_it() {
        for (accepted, expected) in [
            (vec![], false),
            (vec!["gzip"], true),
            (vec!["GZIP;q=0.5"], true),
            (vec!["gzip, deflate, br, zstd"], true),
            (vec!["br", "x-gzip"], true),
            (vec!["*"], true),
            (vec!["gzip;q=0, *"], false),
            (vec!["*, gzip;q=0"], false),
            (vec!["gzip; q=0.000"], false),
            (vec!["*;q=0"], false),
            (vec!["identity", "br"], false),
            (vec![""], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in &accepted {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(takes_gzip(&headers), expected, "{accepted:?}");
        }
    }
}
