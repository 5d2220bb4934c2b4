//! `tally mcp`: the Model Context Protocol over stdin and stdout, for assistants that start a
//! program; a running engine answers.
//!
//! Each line of the input is a message and becomes a `POST /mcp`, its answer is one line of output.
//! Up to [`AT_ONCE`] are under way, and their answers come as they are ready. Notifications get
//! none. A request that the engine does not answer gets an error with its id, and stderr says why.
//! Ends with its input. Understands no more of a message than it must to send it.

use super::Failure;
use super::client::{Body, Client};
use super::engine_args::Mcp;
use super::output::{json_line, note};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use std::io::{self, BufRead, ErrorKind};
use std::pin::pin;
use std::thread;
use tokio::sync::mpsc::{self, Receiver};

/// Requests under way; while there are so many, no further line is read.
const AT_ONCE: usize = 8;

/// Most bytes of a line: the engine takes no longer message.
const LONGEST: usize = 64 * 1024;

/// Codes of JSON-RPC: not JSON; no message; and one that is left to servers, for an engine that
/// does not answer.
const NOT_JSON: i32 = -32_700;
const NO_MESSAGE: i32 = -32_600;
const NO_ANSWER: i32 = -32_000;

/// Where a message says by which version of the protocol it is to be read; earlier versions do not.
const VERSION: &str = "/_meta/io.modelcontextprotocol~1protocolVersion";

/// A line of the input.
#[derive(Debug, PartialEq, Eq)]
enum InputLine {
    /// Its bytes, without the end of the line.
    Message(Vec<u8>),
    /// It has more than [`LONGEST`] bytes, which were dropped.
    TooLong,
}

/// What is read of a message.
#[derive(Deserialize, Default)]
struct McpMessage<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(default)]
    method: Option<String>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// What is read of an answer: whether it is a message.
#[derive(Deserialize)]
struct McpReply<'a> {
    #[serde(borrow)]
    jsonrpc: &'a RawValue,
}

/// An error in place of an answer.
#[derive(Serialize)]
struct McpErrorLine<'a> {
    jsonrpc: &'static str,
    id: Option<&'a RawValue>,
    error: McpError<'a>,
}

#[derive(Serialize)]
struct McpError<'a> {
    code: i32,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

pub(crate) fn run(args: &Mcp) -> Result<(), Failure> {
    let target = args.engine.target()?;
    let client = target.client()?;
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Failure::Failed(format!("cannot {what}: {error}"))
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed("use the network", &error))?;
    let (lines, taken) = mpsc::channel(1);
    let read =
        move || read_lines(&mut io::stdin().lock(), |line| lines.blocking_send(line).is_ok());
    let reader = thread::Builder::new().name("stdin".into()).spawn(read);
    let reader = reader.map_err(|error| failed("read the input", &error))?;
    note(&format!("note: MCP for the engine at {target}, until the input ends"));
    if !runtime.block_on(serve(&client, taken)) {
        // Nobody reads the answers, and the thread waits for input that nobody needs.
        return Ok(());
    }
    match reader.join() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(failed("read the input", &error)),
        Err(_) => Err(failed("read the input", &"its reader panicked")),
    }
}

/// Hands over each line, until there are no more or nobody takes them.
fn read_lines(input: &mut impl BufRead, take: impl Fn(InputLine) -> bool) -> io::Result<()> {
    while let Some(line) = next_line(input)? {
        if !take(line) {
            break;
        }
    }
    Ok(())
}

/// The next line; `None`: there is none.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<InputLine>> {
    let (mut line, mut any, mut fits) = (Vec::new(), false, true);
    loop {
        let piece = match input.fill_buf() {
            Ok(piece) => piece,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let end = piece.iter().position(|byte| *byte == b'\n');
        let (text, used) = match end {
            Some(end) => (&piece[..end], end + 1),
            None => (piece, piece.len()),
        };
        let is_last = end.is_some() || used == 0;
        any |= used > 0;
        fits = fits && line.len() + text.len() <= LONGEST;
        if fits {
            line.extend_from_slice(text);
        } else {
            line = Vec::new();
        }
        input.consume(used);
        if is_last {
            let line = if fits { InputLine::Message(line) } else { InputLine::TooLong };
            return Ok(any.then_some(line));
        }
    }
}

/// Answers lines until there are no more; false: nobody reads the answers.
async fn serve(client: &Client, mut lines: Receiver<InputLine>) -> bool {
    let lines = stream::poll_fn(move |context| lines.poll_recv(context));
    let mut answers = pin!(lines.map(|line| answer(client, line)).buffer_unordered(AT_ONCE));
    while let Some(answer) = answers.next().await {
        if answer.is_some_and(|line| !json_line(&line)) {
            return false;
        }
    }
    true
}

/// The line that answers a line, if one does.
async fn answer(client: &Client, line: InputLine) -> Option<String> {
    let InputLine::Message(text) = line else {
        let detail = format!("the line has more than {LONGEST} bytes");
        note(&format!("refused: {detail}"));
        return Some(error_line(None, NO_MESSAGE, &detail, None));
    };
    if text.trim_ascii().is_empty() {
        return None;
    }
    if let Err(fault) = serde_json::from_slice::<&RawValue>(&text) {
        let detail = format!("the line is not JSON: {fault}");
        note(&format!("refused: {detail}"));
        return Some(error_line(None, NOT_JSON, &detail, None));
    }
    // What is no message is refused by the engine. A list would be read as one, key by key.
    let is_object = text.trim_ascii_start().starts_with(b"{");
    let message = is_object.then(|| serde_json::from_slice(&text).ok()).flatten();
    let McpMessage { id, method, params } = message.unwrap_or_default();
    let is_answered = id.is_some() || method.is_none();
    let headers = headers(method.as_deref(), params);
    let sent = client.post_with("/mcp", Body::Json(text.clone().into()), &headers).await;
    let line = match sent {
        Ok(reply) if is_message(&reply.body) => one_line(&reply.body),
        Ok(reply) if reply.status == 202 && !is_answered => return None,
        Ok(reply) => {
            let detail = reply.problem_line();
            note(&format!("refused: {detail}"));
            let code = if (400..500).contains(&reply.status) { NO_MESSAGE } else { NO_ANSWER };
            error_line(id, code, &detail, serde_json::from_slice(&reply.body).ok())
        }
        Err(error) => {
            let detail = error.to_string();
            note(&format!("error: {detail}"));
            error_line(id, NO_ANSWER, &detail, None)
        }
    };
    is_answered.then_some(line)
}

/// What must be in headers, too, of a message that says its version.
fn headers(method: Option<&str>, params: Option<&RawValue>) -> Vec<(&'static str, String)> {
    let params: Option<Value> = params.and_then(|params| serde_json::from_str(params.get()).ok());
    let (Some(method), Some(params)) = (method, params) else { return Vec::new() };
    let Some(version) = params.pointer(VERSION).and_then(Value::as_str) else { return Vec::new() };
    let mut headers =
        vec![("mcp-protocol-version", version.to_owned()), ("mcp-method", method.to_owned())];
    let named = match method {
        "prompts/get" | "tools/call" => "name",
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => "uri",
        "tasks/cancel" | "tasks/get" | "tasks/update" => "taskId",
        _ => return headers,
    };
    if let Some(name) = params.get(named).and_then(Value::as_str) {
        headers.push(("mcp-name", header_text(name)));
    }
    headers
}

/// A text as it can be sent in a header; the protocol says how.
fn header_text(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && text.trim() == text
        && !text.starts_with("=?base64?");
    if is_plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) }
}

fn is_message(body: &[u8]) -> bool {
    serde_json::from_slice::<McpReply<'_>>(body).is_ok_and(|reply| reply.jsonrpc.get() == "\"2.0\"")
}

/// JSON on one line: what ends a line stands between tokens only.
fn one_line(body: &[u8]) -> String {
    String::from_utf8_lossy(body).replace(['\n', '\r', '\t'], " ")
}

fn error_line(id: Option<&RawValue>, code: i32, message: &str, data: Option<&RawValue>) -> String {
    let error = McpError { code, message, data };
    let line = McpErrorLine { jsonrpc: "2.0", id, error };
    // Texts and what was JSON always serialise.
    one_line(serde_json::to_string(&line).unwrap_or_default().as_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::BufReader;

    fn lines(text: &[u8], buffer: usize) -> Vec<InputLine> {
        let mut input = BufReader::with_capacity(buffer, text);
        std::iter::from_fn(|| next_line(&mut input).unwrap()).collect()
    }

    #[test]
    fn lines_are_taken_apart_and_long_ones_are_dropped() {
        let message = |text: &[u8]| InputLine::Message(text.to_vec());
        for buffer in [1, 3, 100_000] {
            assert!(lines(b"", buffer).is_empty());
            let two = [message(b"a"), message(b""), message(b"bcd")];
            assert_eq!(lines(b"a\n\nbcd\n", buffer), two);
            assert_eq!(lines(b"a\n\nbcd", buffer), two, "the last one may have no end");
            let mut text = vec![b'x'; LONGEST];
            text.extend_from_slice(b"\ny\n");
            assert_eq!(lines(&text, buffer), [message(&text[..LONGEST]), message(b"y")]);
            text.insert(0, b'x');
            assert_eq!(lines(&text, buffer), [InputLine::TooLong, message(b"y")]);
            text.truncate(LONGEST + 1);
            assert_eq!(lines(&text, buffer), [InputLine::TooLong], "at the end of the input");
        }
    }

    fn headers_of(message: &Value) -> Vec<(&'static str, String)> {
        let text = message.to_string();
        let McpMessage { method, params, .. } = serde_json::from_str(&text).unwrap();
        headers(method.as_deref(), params)
    }

    #[test]
    fn a_message_that_says_its_version_says_it_in_headers_too() {
        let call = |name: &str| {
            let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28"});
            json!({"id": 1, "method": "tools/call", "params": {"name": name, "_meta": meta}})
        };
        let expected = |name: &str| {
            [
                ("mcp-protocol-version", "2026-07-28".to_owned()),
                ("mcp-method", "tools/call".to_owned()),
                ("mcp-name", name.to_owned()),
            ]
        };
        assert_eq!(headers_of(&call("revenue")), expected("revenue"));
        assert_eq!(headers_of(&call("é")), expected("=?base64?w6k=?="));
        assert_eq!(headers_of(&call(" a")), expected("=?base64?IGE=?="));
        assert!(headers_of(&json!({"method": "tools/call", "params": {"name": "a"}})).is_empty());
        assert!(headers_of(&json!({"method": "ping"})).is_empty());
    }

    #[test]
    fn errors_are_messages_with_the_id_as_it_was_written() {
        let id: &RawValue = serde_json::from_str("12345678901234567890123").unwrap();
        let data: &RawValue = serde_json::from_str("{\"a\":\n1}").unwrap();
        assert_eq!(
            error_line(Some(id), NO_ANSWER, "no \"engine\"\n", Some(data)),
            "{\"jsonrpc\":\"2.0\",\"id\":12345678901234567890123,\"error\":{\"code\":-32000,\
             \"message\":\"no \\\"engine\\\"\\n\",\"data\":{\"a\": 1}}}"
        );
        let unknown: Value = serde_json::from_str(&error_line(None, NOT_JSON, "x", None)).unwrap();
        let error = json!({"code": -32700, "message": "x"});
        assert_eq!(unknown, json!({"jsonrpc": "2.0", "id": null, "error": error}));
    }

    #[test]
    fn answers_are_told_from_problems() {
        assert!(is_message(b"{\"result\":{},\"jsonrpc\":\"2.0\",\"id\":1}"));
        for other in [&b""[..], b"{}", b"{\"type\":\"/problems/x\"}", b"[]", b"<html>"] {
            assert!(!is_message(other), "{other:?}");
        }
        assert_eq!(one_line(b"{\r\n\t\"a\": 1}"), "{   \"a\": 1}");
    }
}
