//! Which requests are accepted, judged by the name by which a request calls the server and by the
//! page from which a browser sends it.
//!
//! A page can point its own name at the address of this machine and then send requests as if it
//! were local; only the name reveals it. So `Host` must be a loopback name or address, or one that
//! is listed. An `Origin` must be the server's own or a listed one, except for a plain GET, whose
//! answer the browser hides from the page. This check is the first, on every route. A request
//! without `Origin` does not come from a browser and is accepted.

use super::App;
use super::codes::Code;
use super::middleware::{Exchange, Head};
use super::problem::Problem;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use std::ops::ControlFlow;
use tally_engine::config::{HostName, Origin};

/// Names and origins that are allowed beside loopback names and the server's own origin.
#[derive(Clone, Debug, Default)]
pub struct OriginCheck {
    hosts: Vec<String>,
    origins: Vec<Origin>,
}

/// Who sends a request.
enum Sender {
    /// No browser, or a page of this server, or one whose browser hides the answer from it.
    Local,
    /// A page of a listed origin; its browser needs permission to show it the answer.
    Page(HeaderValue),
    /// The browser of such a page, which asks whether the page may send its request.
    Preflight(HeaderValue),
}

/// Most characters of a request that a refusal repeats.
const REPEATED: usize = 100;

/// What a listed page may send, and for how many seconds its browser may remember that.
const PREFLIGHT: [(HeaderName, HeaderValue); 3] = [
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "authorization, content-type, if-none-match, mcp-method, mcp-name, \
             mcp-protocol-version, request-id",
        ),
    ),
    (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")),
];

const EXPOSED: HeaderValue = HeaderValue::from_static(
    "etag, request-id, retry-after, tally-as-of, tally-history, tally-next, tally-position, \
     tally-warnings, tally-window",
);

impl OriginCheck {
    /// From `[server] allowed_hosts` and `allowed_origins`. An entry that is not a host name or
    /// origin allows nothing; `config::load` refuses it.
    #[must_use]
    pub fn new(hosts: &[String], origins: &[String]) -> OriginCheck {
        OriginCheck {
            hosts: hosts.to_vec(),
            origins: origins.iter().filter_map(|origin| Origin::parse(origin)).collect(),
        }
    }

    /// Who sends a request that may be answered.
    ///
    /// # Errors
    /// 400 `invalid_host`, 403 `host_not_allowed`, 403 `origin_not_allowed`.
    fn sender(&self, head: &Head<'_>) -> Result<Sender, Problem> {
        let Head { method, uri, headers } = *head;
        let host = self.host(headers)?;
        // A target that is a whole URL contains the name once more.
        if let Some(authority) = uri.authority() {
            self.check_name(authority.as_str())?;
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return Ok(Sender::Local) };
        let stated =
            origin.to_str().ok().filter(|_| origins.next().is_none()).and_then(Origin::parse);
        let plain = matches!(*method, Method::GET | Method::HEAD) && uri.path() != "/ws";
        match stated {
            Some(stated) if stated == Origin::of(false, &host) => Ok(Sender::Local),
            Some(stated) if self.origins.contains(&stated) => {
                let asks = headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
                let preflight = *method == Method::OPTIONS && asks;
                Ok(if preflight {
                    Sender::Preflight(origin.clone())
                } else {
                    Sender::Page(origin.clone())
                })
            }
            _ if plain => Ok(Sender::Local),
            _ => {
                let detail = format!(
                    "a page at {} may not send this request; [server] allowed_origins lists the \
                     origins that may",
                    quoted(origin.as_bytes())
                );
                Err(Problem::new(Code::OriginNotAllowed, detail))
            }
        }
    }

    fn host<'h>(&self, headers: &'h HeaderMap) -> Result<HostName<'h>, Problem> {
        let invalid = |detail: &str| Problem::new(Code::InvalidHost, detail).closing();
        let mut hosts = headers.get_all(header::HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) => {
                self.check_name(host.to_str().map_err(|_| invalid("the Host header is not ASCII"))?)
            }
            (None, _) => {
                Err(invalid("the Host header is missing; it names the server that is asked"))
            }
            (Some(_), Some(_)) => Err(invalid(
                "there are several Host headers; send one, which names the server that is asked",
            )),
        }
    }

    fn check_name<'h>(&self, text: &'h str) -> Result<HostName<'h>, Problem> {
        let name = HostName::parse(text).filter(|name| {
            let listed = |listed: &String| {
                HostName::parse(listed).is_some_and(|listed| name.is_covered_by(&listed))
            };
            name.is_loopback() || self.hosts.iter().any(listed)
        });
        name.ok_or_else(|| {
            let detail = format!(
                "{} is not a name of this server; use a loopback name or address, or add it to \
                 [server] allowed_hosts",
                quoted(text.as_bytes())
            );
            Problem::new(Code::HostNotAllowed, detail)
        })
    }
}

/// Refuses requests to other hosts and from other origins, and answers preflights of listed pages.
pub(crate) fn check(app: &App, head: &Head<'_>, exchange: &mut Exchange) -> ControlFlow<Response> {
    match app.origin_check.sender(head) {
        Ok(Sender::Local) => ControlFlow::Continue(()),
        Ok(Sender::Page(origin)) => {
            exchange.page = Some(origin);
            ControlFlow::Continue(())
        }
        Ok(Sender::Preflight(origin)) => ControlFlow::Break(preflight(origin)),
        Err(refusal) => ControlFlow::Break(refusal.into_response()),
    }
}

/// Tells the browser of a listed page that the page may read the answer.
pub(crate) fn allow_page(app: &App, exchange: &Exchange, response: &mut Response) {
    let headers = response.headers_mut();
    if let Some(origin) = &exchange.page {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    // What a cache keeps of an answer without that permission is not for a listed page.
    let is_kept = !app.origin_check.origins.is_empty() && headers.contains_key(header::ETAG);
    if exchange.page.is_some() || is_kept {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

/// Tells the browser of a listed page that the page may send its request.
fn preflight(origin: HeaderValue) -> Response {
    let mut response = (StatusCode::NO_CONTENT, PREFLIGHT).into_response();
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}

fn quoted(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let short: String = text.chars().take(REPEATED).collect();
    format!("\"{}\"", short.escape_debug())
}
