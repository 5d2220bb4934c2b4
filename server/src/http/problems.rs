//! `GET /problems` and `GET /problems/{code}`: what each code of an error means and what to do.
//!
//! Where the `type` of a problem leads: a page for browsers, JSON for everybody else. Knows the
//! list (`codes`) and nothing of the metrics, whose plugins may refuse with codes of their own.

use super::answer::BY_ACCEPT;
use super::codes::{Code, CodeEntry, Way, title};
use super::problem::Problem;
use super::{accept, answer};
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

const HTML: &str = "text/html";

/// A code as JSON.
#[derive(Serialize)]
struct CodeText {
    code: &'static str,
    /// Of an answer; absent where the code is told on WebSockets only.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// With which a WebSocket is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<u16>,
    title: String,
    means: &'static str,
    remedy: &'static str,
    retry: bool,
    r#where: Vec<&'static str>,
}

#[derive(Serialize)]
struct CodeList {
    problems: Vec<CodeText>,
}

pub(crate) async fn list(headers: HeaderMap) -> Response {
    if accept::preferred(&headers, &[HTML]).is_none() {
        let problems = Code::ALL.iter().map(|code| code_text(*code)).collect();
        return ([BY_ACCEPT], answer::json(&CodeList { problems })).into_response();
    }
    let mut text = String::from("<h1>Problems</h1>\n<table>\n");
    for code in Code::ALL {
        let CodeEntry { word, means, .. } = code.entry();
        let (told, means) = (told_where(*code), escaped(means));
        text.push_str(&format!(
            "<tr><td><a href=\"/problems/{word}\">{word}</a><td>{told}<td>{means}\n"
        ));
    }
    text.push_str("</table>\n<p>A metric may refuse with codes of its own.\n");
    ([BY_ACCEPT], page("Problems", &text)).into_response()
}

pub(crate) async fn describe(
    headers: HeaderMap,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let word = path.map(|Path(word)| word).unwrap_or_default();
    let code = Code::find(&word).ok_or_else(|| {
        let detail = "there is no such code; GET /problems lists those of the server, and a metric \
                      may refuse with codes of its own, which its documentation explains";
        Problem::new(Code::NotFound, detail)
    })?;
    if accept::preferred(&headers, &[HTML]).is_none() {
        return Ok(([BY_ACCEPT], answer::json(&code_text(code))).into_response());
    }
    let CodeEntry { word, retry, means, remedy, .. } = code.entry();
    let (name, told) = (title(word), told_where(code));
    let (means, remedy) = (escaped(means), escaped(remedy));
    let later = if *retry { "may succeed later" } else { "is refused again" };
    let text = format!(
        "<h1>{name}</h1>\n<p><code>{word}</code>, {told}\n<p>{means}\n<h2>What to do</h2>\n\
         <p>{remedy}\n<p>While nobody changes anything, the same request {later}.\n\
         <p><a href=\"/problems\">All problems</a>\n"
    );
    Ok(([BY_ACCEPT], page(&name, &text)).into_response())
}

fn code_text(code: Code) -> CodeText {
    let CodeEntry { word, status, way, retry, means, remedy } = *code.entry();
    let (answer, socket) = ("answer", "websocket");
    let (status, close, places) = match way {
        Way::Answer => (Some(status), None, vec![answer]),
        Way::Both => (Some(status), None, vec![answer, socket]),
        Way::Message => (None, None, vec![socket]),
        Way::Close(number) => (None, Some(number), vec![socket]),
    };
    let title = title(word);
    CodeText { code: word, status, close, title, means, remedy, retry, r#where: places }
}

fn told_where(code: Code) -> String {
    let CodeEntry { status, way, .. } = code.entry();
    match way {
        Way::Answer => format!("status {status}"),
        Way::Both => format!("status {status}; a message on a WebSocket"),
        Way::Message => "a message on a WebSocket".to_owned(),
        Way::Close(number) => format!("closes a WebSocket with {number}"),
    }
}

fn page(name: &str, text: &str) -> Response {
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{name} - \
         Tally</title>\n{text}"
    );
    answer::full(kind, page)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
