//! Who is let in: by the name that a request calls the server, and by the page that a browser sends it from.
//!
//! A page can give its own name the address of this machine and then ask as if it were at home here; only the name betrays it. So
//! `Host` must be a loopback name or address, or one that is listed. An `Origin` must be the server's own or a listed one, except
//! for a plain GET, whose answer the browser keeps from the page. Judged before anything else of a request, for every route.
//! Without `Origin` nothing of it is judged: that is no browser.

use super::problem::Problem;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use tally_engine::config::{HostName, Origin};

/// Names and origins that are allowed beside loopback names and the server's own origin.
#[derive(Clone, Debug, Default)]
pub struct Door {
    hosts: Vec<String>,
    origins: Vec<Origin>,
}

/// Who asks.
pub(crate) enum Guest {
    /// Anybody who asks as at home.
    Own,
    /// A page of a listed origin, which is to be told that it may read the answer.
    Page(HeaderValue),
    /// The browser of such a page, whether that may ask.
    Preflight(HeaderValue),
}

/// Longest part of a request's own text that a refusal repeats.
const REPEATED: usize = 100;

/// What a listed page may send, and for how many seconds its browser may remember that.
const PREFLIGHT: [(HeaderName, HeaderValue); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE")),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization, content-type, request-id")),
    (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
];

const EXPOSED: HeaderValue = HeaderValue::from_static("request-id, retry-after");

impl Door {
    /// As `[server] allowed_hosts` and `allowed_origins` say. What is no name or origin allows nobody; `config::load` refuses it.
    #[must_use]
    pub fn new(hosts: &[String], origins: &[String]) -> Door {
        Door { hosts: hosts.to_vec(), origins: origins.iter().filter_map(|origin| Origin::parse(origin)).collect() }
    }

    /// Judges a request.
    ///
    /// # Errors
    /// 400 `invalid_host`, 403 `host_not_allowed`, 403 `origin_not_allowed`.
    pub(crate) fn judge<B>(&self, request: &Request<B>) -> Result<Guest, Problem> {
        let headers = request.headers();
        let host = self.host(headers)?;
        // A target that is a whole URL says the name once more.
        if let Some(authority) = request.uri().authority() {
            self.named(authority.as_str())?;
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(Guest::Own) };
        let stated = origin.to_str().ok().filter(|_| origins.next().is_none()).and_then(Origin::parse);
        let plain = matches!(*request.method(), Method::GET | Method::HEAD) && request.uri().path() != "/ws";
        match stated {
            Some(stated) if stated == Origin::of(false, &host) => Ok(Guest::Own),
            Some(stated) if self.origins.contains(&stated) => {
                let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
                let preflight = *request.method() == Method::OPTIONS && asks;
                Ok(if preflight { Guest::Preflight(origin.clone()) } else { Guest::Page(origin.clone()) })
            }
            _ if plain => Ok(Guest::Own),
            _ => {
                let detail = format!(
                    "a page at {} may not ask this; [server] allowed_origins lists those that may",
                    shown(origin.as_bytes())
                );
                Err(Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail))
            }
        }
    }

    fn host<'h>(&self, headers: &'h HeaderMap) -> Result<HostName<'h>, Problem> {
        let invalid = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, "invalid_host", detail).closing();
        let mut hosts = headers.get_all(header::HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => self.named(host.to_str().map_err(|_| invalid("the Host header is not ASCII"))?),
            (None, _) => Err(invalid("there is no Host header: it says which server is meant")),
            (Some(_), Some(_)) => Err(invalid("there are several Host headers: one says which server is meant")),
        }
    }

    fn named<'h>(&self, text: &'h str) -> Result<HostName<'h>, Problem> {
        let name = HostName::parse(text).filter(|name| {
            let listed = |listed: &String| HostName::parse(listed).is_some_and(|listed| name.is_covered_by(&listed));
            name.is_loopback() || self.hosts.iter().any(listed)
        });
        name.ok_or_else(|| {
            let detail = format!(
                "{} is not a name of this server; ask by a loopback name or address, or add it to [server] allowed_hosts",
                shown(text.as_bytes())
            );
            Problem::new(StatusCode::FORBIDDEN, "host_not_allowed", detail)
        })
    }
}

/// Tells the browser of a listed page that it may ask.
pub(crate) fn preflight(origin: HeaderValue) -> Response {
    let mut response = (StatusCode::NO_CONTENT, PREFLIGHT).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// Tells the browser of a listed page that it may read the answer.
pub(crate) fn readable(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
}

fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let short: String = text.chars().take(REPEATED).collect();
    format!("\"{}\"", short.escape_debug())
}
