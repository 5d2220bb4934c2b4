//! Asks a running engine over plain HTTP. An answer is read up to [`LARGEST_ANSWER`].

use super::output::tame;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Method, Request, Response, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use std::time::Duration;
use tally_engine::outage::with_causes;

/// More than any answer the API gives: 1,000 products with a series each.
pub(super) const LARGEST_ANSWER: usize = 256 << 20;

/// Longer than the longest wait that a request can ask for (30 s).
const PATIENCE: Duration = Duration::from_secs(40);

/// Talks to one engine.
pub(crate) struct Client {
    base: String,
    /// As messages name it.
    place: String,
    http: hyper_util::client::legacy::Client<HttpConnector, Full<Bytes>>,
}

/// What to send.
pub(crate) enum Body {
    /// `application/json`.
    Json(Bytes),
    /// `application/x-ndjson`.
    Ndjson(Bytes),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// When a busy engine wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
    /// The body.
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// No engine listens there.
    #[error("no engine answers at {0}; start one with `tally run` or give --url")]
    NoEngine(String),
    /// The connection broke off, or the answer took too long.
    #[error("{0}")]
    Broken(String),
    /// The answer can never be used.
    #[error("{0}")]
    Unusable(String),
}

impl Client {
    /// A client of the engine at `url`; nothing is sent yet.
    ///
    /// # Errors
    /// It is not an `http://` address.
    pub(crate) fn new(url: &str) -> Result<Client, String> {
        let fault = || format!("{url:?} is not an address like http://127.0.0.1:8080");
        let uri: Uri = url.parse().map_err(|_| fault())?;
        if uri.scheme_str() == Some("https") {
            return Err("https is not supported; give the engine's http:// address".into());
        }
        if uri.scheme_str() != Some("http") || uri.authority().is_none() || uri.query().is_some() {
            return Err(fault());
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        connector.set_nodelay(true);
        let http =
            hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        let base = url.trim_end_matches('/').to_owned();
        Ok(Client { place: base.clone(), base, http })
    }

    /// The same client, whose messages name the engine so.
    pub(crate) fn called(self, place: &str) -> Client {
        Client { place: place.to_owned(), ..self }
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.ask(Method::GET, path, None, &[]).await
    }

    /// POST.
    pub(crate) async fn post(&self, path: &str, body: Body) -> Result<Answer, ClientError> {
        self.ask(Method::POST, path, Some(body), &[]).await
    }

    /// POST with further headers.
    ///
    /// # Errors
    /// [`ClientError`]; `Unusable` if a header cannot be sent.
    pub(crate) async fn post_with(
        &self,
        path: &str,
        body: Body,
        headers: &[(&str, String)],
    ) -> Result<Answer, ClientError> {
        self.ask(Method::POST, path, Some(body), headers).await
    }

    /// GET of lines, each handed over as soon as it is complete. `Some`: the answer, if it is not
    /// 200.
    ///
    /// # Errors
    /// [`ClientError`], or what `each` says.
    pub(crate) async fn lines(
        &self,
        path: &str,
        each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<Option<Answer>, ClientError> {
        let request = Request::builder().uri(format!("{}{path}", self.base)).body(Full::default());
        let request = request.map_err(|error| ClientError::Unusable(error.to_string()))?;
        let late = |_| ClientError::Broken(format!("the engine at {} stopped sending", self.place));
        let broke = |error: hyper::Error| {
            ClientError::Broken(format!("the answer of {} was cut off: {error}", self.place))
        };
        let response =
            tokio::time::timeout(PATIENCE, self.begin(request)).await.map_err(late)??;
        if response.status() != 200 {
            return tokio::time::timeout(PATIENCE, self.gather(response))
                .await
                .map_err(late)?
                .map(Some);
        }
        let mut body = response.into_body();
        let mut begun: Vec<u8> = Vec::new();
        while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame()).await.map_err(late)? {
            let Ok(data) = frame.map_err(broke)?.into_data() else { continue };
            let mut rest = &data[..];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                begun.extend_from_slice(&rest[..end]);
                each(&begun).map_err(ClientError::Broken)?;
                begun.clear();
                rest = &rest[end + 1..];
            }
            begun.extend_from_slice(rest);
            if begun.len() > LARGEST_ANSWER {
                return Err(ClientError::Broken(format!(
                    "the answer of {} ends in the middle of a line",
                    self.place
                )));
            }
        }
        Ok(None)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Body>,
        headers: &[(&str, String)],
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let bytes = match body {
            None => Bytes::new(),
            Some(Body::Json(bytes)) => {
                request = request.header(CONTENT_TYPE, "application/json");
                bytes
            }
            Some(Body::Ndjson(bytes)) => {
                request = request.header(CONTENT_TYPE, "application/x-ndjson");
                bytes
            }
        };
        let request = request
            .body(Full::new(bytes))
            .map_err(|error| ClientError::Unusable(error.to_string()))?;
        match tokio::time::timeout(PATIENCE, self.exchange(request)).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::Broken(format!(
                "the engine at {} did not answer within {} s",
                self.place,
                PATIENCE.as_secs()
            ))),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, ClientError> {
        let response = self.begin(request).await?;
        self.gather(response).await
    }

    async fn begin(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ClientError> {
        self.http.request(request).await.map_err(|error| match error.is_connect() {
            true => ClientError::NoEngine(self.place.clone()),
            false => ClientError::Broken(format!(
                "the engine at {} closed the connection: {}",
                self.place,
                with_causes(&error)
            )),
        })
    }

    async fn gather(&self, response: Response<Incoming>) -> Result<Answer, ClientError> {
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
        let body = body
            .map_err(|error| {
                ClientError::Broken(format!("the answer of {} was cut off: {error}", self.place))
            })?
            .to_bytes();
        Ok(Answer { status, retry_after, body })
    }
}

/// RFC 9457, as the API writes it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct ProblemText {
    /// The code in words.
    pub(crate) title: String,
    /// What happened.
    pub(crate) detail: String,
    /// What is wrong with the request, and where.
    pub(crate) errors: Vec<Pointed>,
    /// Near names, the nearest first.
    pub(crate) suggestions: Vec<String>,
}

/// What is wrong with a part of a request.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Pointed {
    /// The part, as a JSON pointer.
    pub(crate) pointer: String,
    /// What is wrong with it.
    pub(crate) detail: String,
}

impl ProblemText {
    /// For people: title and detail, then a line for each pointer, or on the same line the only
    /// one; `None`: it says nothing.
    pub(crate) fn text(&self) -> Option<String> {
        let mut text = match (self.title.as_str(), self.detail.as_str()) {
            ("", "") => return None,
            (title, "") => tame(title),
            ("", detail) => tame(detail),
            (title, detail) => format!("{}: {}", tame(title), tame(detail)),
        };
        match self.errors.as_slice() {
            // What is wrong is not said twice.
            [one] if one.detail == self.detail && one.pointer.is_empty() => {}
            [one] if one.detail == self.detail => {
                text.push_str(&format!(" ({})", tame(&one.pointer)));
            }
            errors => {
                for Pointed { pointer, detail } in errors {
                    text.push_str(&format!("\n  {}: {}", tame(pointer), tame(detail)));
                }
            }
        }
        if let Some(near) = self.suggestions.first()
            && !text.contains(near.as_str())
        {
            text.push_str(&format!("\n  did you mean {:?}?", tame(near)));
        }
        Some(text)
    }
}

/// The text of a problem on one line.
pub(crate) fn on_one_line(problem: &str) -> String {
    problem.replace("\n  ", "; ")
}

impl Answer {
    /// The problem for people: title and detail, then a line for each pointer.
    pub(crate) fn problem(&self) -> String {
        match serde_json::from_slice::<ProblemText>(&self.body) {
            Err(_) => format!(
                "the engine answered {} without a reason; is it a Tally engine?",
                self.status
            ),
            Ok(problem) => {
                let nothing = || format!("the engine answered {}", self.status);
                problem.text().unwrap_or_else(nothing)
            }
        }
    }

    /// The same on one line.
    pub(crate) fn problem_line(&self) -> String {
        on_one_line(&self.problem())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;

    fn answer(body: &'static str) -> Answer {
        Answer { status: 422, retry_after: None, body: Bytes::from_static(body.as_bytes()) }
    }

    #[test]
    fn problems_are_readable_with_every_pointer() {
        let problem = answer(
            r#"{"title":"Invalid params","status":422,"detail":"2 faults","errors":[{"pointer":"/params/limit","detail":"0 is less than 1"},{"pointer":"/params/x","detail":"unknown"}]}"#,
        );
        assert_eq!(
            problem.problem(),
            "Invalid params: 2 faults\n  /params/limit: 0 is less than 1\n  /params/x: unknown"
        );
        let one = r#"{"title":"Invalid params","detail":"user_id is missing","errors":[{"pointer":"/params/user_id","detail":"user_id is missing"}]}"#;
        assert_eq!(answer(one).problem(), "Invalid params: user_id is missing (/params/user_id)");
        let whole = r#"{"title":"Invalid request","detail":"the body is not an object","errors":[{"pointer":"","detail":"the body is not an object"}]}"#;
        assert_eq!(answer(whole).problem(), "Invalid request: the body is not an object");
        assert_eq!(
            answer(r#"{"title":"Not found","suggestions":["a_b"]}"#).problem(),
            "Not found\n  did you mean \"a_b\"?"
        );
        assert!(answer("<html>").problem().contains("is it a Tally engine"));
    }

    #[test]
    fn addresses_are_checked() {
        assert!(Client::new("http://127.0.0.1:8080/").is_ok());
        for url in ["127.0.0.1:8080", "https://x", "ftp://x", "", "http://", "http://x/?y"] {
            assert!(Client::new(url).is_err(), "{url}");
        }
    }

    #[test]
    fn nobody_there_is_said_in_one_sentence() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // Bound and dropped at once: a port that nobody listens on.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::new(&format!("http://{address}")).unwrap();
        let error = runtime.block_on(client.get("/livez")).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "no engine answers at http://{address}; start one with `tally run` or give --url"
            )
        );
    }
}
