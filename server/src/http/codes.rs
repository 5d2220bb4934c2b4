//! Every code of an error that a caller can get, with what it means and what to do about it.
//!
//! The one list: answers take their status from it, `GET /problems/{code}` shows it, and
//! docs/api.md is compared with it. A code keeps its word and its status for good. A metric's
//! plugin may refuse with codes of its own, which are not here. Decides nothing: who refuses a
//! request chooses the code.

use axum::http::StatusCode;

/// Where callers meet a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In an answer.
    Answer,
    /// In an answer, and in an `error` message of a WebSocket.
    Both,
    /// In an `error` message of a WebSocket, which stays open.
    Message,
    /// In the last `error` message before a WebSocket is closed with this number.
    Close(u16),
}

/// What is known of a code.
#[derive(Debug)]
pub(crate) struct CodeEntry {
    /// The word in `snake_case`.
    pub(crate) word: &'static str,
    /// Status of an answer with it, or what comes nearest to it on a WebSocket.
    pub(crate) status: u16,
    pub(crate) way: Way,
    /// Whether the same request may succeed later although nobody changes anything. An answer that
    /// knows better says so by its `Retry-After`.
    pub(crate) retry: bool,
    /// When it is told.
    pub(crate) means: &'static str,
    /// What to do about it.
    pub(crate) remedy: &'static str,
}

/// Makes the enum and its table, so that neither lacks what the other has.
macro_rules! codes {
    ($($name:ident $word:literal $status:literal $way:expr, $retry:literal,
        $means:literal, $remedy:literal;)+) => {
        /// A stable word for what went wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $($name,)+
        }

        impl Code {
            /// All of them, in the order of docs/api.md.
            pub(crate) const ALL: &'static [Code] = &[$(Code::$name),+];

            /// What is known of it.
            pub(crate) const fn entry(self) -> &'static CodeEntry {
                match self {
                    $(Code::$name => &CodeEntry {
                        word: $word,
                        status: $status,
                        way: $way,
                        retry: $retry,
                        means: $means,
                        remedy: $remedy,
                    },)+
                }
            }
        }
    };
}

codes! {
    InvalidJson "invalid_json" 400 Way::Both, false,
        "The body, or the message, is not JSON.",
        "Correct it: the detail gives line and column.";
    MetricNotFound "metric_not_found" 404 Way::Both, false,
        "No metric of this name is served: a typo, a retired metric, or a refused section.",
        "See the suggestions and the detail; GET /api/metrics names the metrics.";
    PayloadTooLarge "payload_too_large" 413 Way::Answer, false,
        "The body has more bytes, or more events, than the route takes.",
        "Send less at once: 64 KiB for a question, 1 MiB and 20,000 events for events.";
    UnsupportedMediaType "unsupported_media_type" 415 Way::Answer, false,
        "The Content-Type is not one that the route takes, or the body is compressed.",
        "Send it as application/json, uncompressed.";
    InvalidRequest "invalid_request" 422 Way::Both, false,
        "A key of the request is missing, unknown, given twice or of the wrong type.",
        "Correct what errors names.";
    InvalidParams "invalid_params" 422 Way::Both, false,
        "Params are missing, unknown, or do not fit, or a window contradicts itself.",
        "Correct what errors names: all faults are listed at once.";
    TooManyPoints "too_many_points" 422 Way::Both, false,
        "More than 10,000 points in a series, or 100,000 in all series of the answer.",
        "Ask for a longer bucket, a shorter window or a lower limit; errors says which.";
    AnswerTooLarge "answer_too_large" 422 Way::Both, false,
        "The answer would have more bytes than [limits] answer_bytes.",
        "Ask for less, or raise [limits] answer_bytes.";
    PluginNotFound "plugin_not_found" 404 Way::Answer, false,
        "The plugin folders hold no plugin of this name, or it is refused.",
        "See the suggestions; GET /api/metrics lists what was refused.";
    InvalidConfig "invalid_config" 422 Way::Answer, false,
        "The configuration does not fit the plugin, or makes of it what cannot be served.",
        "Correct what errors names, below /config.";
    PreviewTooLarge "preview_too_large" 422 Way::Answer, false,
        "What a preview counts takes more than 128 MiB, or half of the memory of answers.",
        "Ask for fewer records, or count fewer keys.";
    PluginFailed "plugin_failed" 500 Way::Both, false,
        "The metric's own code failed on this question.",
        "The plugin has a fault; the detail and the log say which. Other metrics go on.";
    InternalError "internal_error" 500 Way::Both, false,
        "Tally has a fault.",
        "The log has the reason under the request_id; please report it.";
    Backfilling "backfilling" 503 Way::Both, true,
        "The metric counts its history for the first time; progress.done is 0 to 1.",
        "Wait, or ask with allow_partial for an answer from what is counted so far.";
    PluginQuarantined "plugin_quarantined" 503 Way::Both, false,
        "The metric is stopped; the detail says why.",
        "Remove the cause that the detail names. With Retry-After, it may go on by itself.";
    PartitionsMissing "partitions_missing" 503 Way::Both, true,
        "The engine does not hold all partitions, so its numbers would not be whole.",
        "It passes within seconds after a start; if not, see /readyz.";
    StoreUnavailable "store_unavailable" 503 Way::Both, true,
        "The store does not answer, or what a metric has counted is being loaded again.",
        "Retry; /readyz names the cause if it lasts.";
    Overloaded "overloaded" 503 Way::Both, true,
        "Too many questions, connections or sockets at once, or too much memory in answers.",
        "Retry after a second; if it lasts, see tally_answers_stuck in /metrics.";
    Stopping "stopping" 503 Way::Answer, true,
        "The engine is stopping.",
        "Ask another engine, or this one once it is back.";
    PositionNotReached "position_not_reached" 504 Way::Answer, true,
        "at_least was not counted within wait_ms; position says how far the metric is.",
        "Retry, or wait longer. If the position does not move, see /readyz.";
    DeadlineExceeded "deadline_exceeded" 504 Way::Both, false,
        "The work took longer than its limit, which the detail names.",
        "Ask for less, or raise the limit.";
    BadRequest "bad_request" 400 Way::Answer, false,
        "What came is not HTTP/1.1, or its head contradicts itself.",
        "Check the client and the proxy.";
    InvalidHost "invalid_host" 400 Way::Answer, false,
        "There is no Host header, or there are several.",
        "Send one, which names the server that is asked.";
    InvalidBody "invalid_body" 400 Way::Answer, false,
        "The body ended early, or is not framed as its head says.",
        "Check the client and the proxy.";
    McpInvalid "mcp_invalid" 400 Way::Answer, false,
        "What came to /mcp is no message of the Model Context Protocol, or of another version.",
        "Send one JSON-RPC 2.0 message in each POST; the detail says what is wrong.";
    HostNotAllowed "host_not_allowed" 403 Way::Answer, false,
        "The Host is no loopback name and not in [server] allowed_hosts.",
        "Use a name of this server, or add it to [server] allowed_hosts.";
    OriginNotAllowed "origin_not_allowed" 403 Way::Answer, false,
        "A page of another origin sent this, and [server] allowed_origins does not list it.",
        "Add the page's origin to [server] allowed_origins.";
    NotFound "not_found" 404 Way::Answer, false,
        "There is nothing at this path.",
        "Check the path: docs/api.md has the routes.";
    UserNotFound "user_not_found" 404 Way::Answer, false,
        "The catalogue has no user of this id.",
        "Check the id; tally import users fills the catalogue.";
    ProductNotFound "product_not_found" 404 Way::Answer, false,
        "The catalogue has no product of this id.",
        "Check the id; tally import products fills the catalogue.";
    BoardNotFound "board_not_found" 404 Way::Answer, false,
        "[server] boards has no board of this name, or its file is none.",
        "See the detail; GET /api/boards names the boards, and the files that are refused.";
    MethodNotAllowed "method_not_allowed" 405 Way::Answer, false,
        "The route does not take this method.",
        "The Allow header lists those that it takes.";
    RequestTimeout "request_timeout" 408 Way::Answer, true,
        "The body did not arrive within 10 seconds.",
        "Send it faster, or in smaller parts.";
    NotPossible "not_possible" 409 Way::Answer, false,
        "An order, or a change of a section, cannot be carried out; nothing was done.",
        "The detail says why.";
    OrderFailed "order_failed" 503 Way::Answer, true,
        "An order failed and was not done, or only in part; or the engine is stopping.",
        "The detail says what failed. With Retry-After, give the order again.";
    OutcomeUnknown "outcome_unknown" 504 Way::Answer, false,
        "An order was not done within some seconds, and is still to be done; or it was done, and a \
         power cut may undo it.",
        "Look at tally plugin list before you give it again.";
    SectionInFile "section_in_file" 409 Way::Answer, false,
        "The configuration file has a section of this name, which goes before any other.",
        "Change it in that file, or take it out there first.";
    SectionNotFound "section_not_found" 404 Way::Answer, false,
        "The data directory has no section of this name.",
        "GET /api/sections lists all, and says where each stands.";
    SectionInvalid "section_invalid" 422 Way::Answer, false,
        "It would not be served: a key is unknown or does not fit, or its plugin refuses it.",
        "Correct what errors names.";
    ReplayRunning "replay_running" 409 Way::Answer, true,
        "Dead letters are being replayed: one call at a time.",
        "Ask again once that call has ended, which takes seconds.";
    UriTooLong "uri_too_long" 414 Way::Answer, false,
        "The path and the query have more than 4 KiB.",
        "Shorten them; a long question goes into the body of a POST.";
    UpgradeRequired "upgrade_required" 426 Way::Answer, false,
        "/ws was asked without a WebSocket handshake.",
        "Use a WebSocket client (RFC 6455, version 13).";
    HeadTooLarge "head_too_large" 431 Way::Answer, false,
        "The head of the request has more than 64 fields or 16 KiB.",
        "Send fewer headers.";
    LogUnavailable "log_unavailable" 503 Way::Answer, true,
        "The log does not take events now, did not acknowledge in time, or cannot be read.",
        "With Retry-After, retry: events with an event_id count once.";
    CatalogueUnavailable "catalogue_unavailable" 503 Way::Answer, true,
        "Users and products cannot be read now.",
        "Retry; /readyz?verbose says what is wrong with the catalogue. Metrics do not need it.";
    NotReady "not_ready" 503 Way::Answer, true,
        "The engine cannot answer questions; errors names the parts that are not in order.",
        "/readyz?verbose shows all parts.";
    PositionInvalid "position_invalid" 422 Way::Both, false,
        "What should say which events are known is no position, or none of this log.",
        "Give back a position or cursor as it was received, such as 0:17,1:9. If the log is another one \
         than then, begin without.";
    RecordNotFound "record_not_found" 404 Way::Answer, false,
        "The log holds no record at this offset.",
        "The detail says what it holds: retention may have taken the record.";
    UnknownId "unknown_id" 404 Way::Message, false,
        "No subscription of this socket has the id.",
        "It ended, or never began: see the errors before.";
    IdInUse "id_in_use" 409 Way::Message, false,
        "A subscription of this socket has the id already; it goes on.",
        "Choose another id, or unsubscribe first.";
    TooManySubscriptions "too_many_subscriptions" 429 Way::Message, false,
        "The socket has as many subscriptions as [live] subscriptions allows.",
        "End one, or open another socket.";
    UnknownType "unknown_type" 422 Way::Message, false,
        "A message has a type that there is not.",
        "The detail names the types.";
    ProtocolError "protocol_error" 400 Way::Close(1002), false,
        "A frame is not one of RFC 6455.",
        "Check the client and the proxy.";
    BinaryMessage "binary_message" 415 Way::Close(1003), false,
        "A message was binary.",
        "Send text.";
    InvalidUtf8 "invalid_utf8" 400 Way::Close(1007), false,
        "A text message is not UTF-8.",
        "Send UTF-8.";
    TooManyMessages "too_many_messages" 429 Way::Close(1008), true,
        "A client sent more than 256 messages at once, or more than 64 a second.",
        "Send fewer, and reconnect.";
    MessageTooLarge "message_too_large" 413 Way::Close(1009), false,
        "A message has more than 4 KiB.",
        "Send shorter ones, and reconnect.";
}

impl Code {
    /// The word in `snake_case`.
    pub(crate) const fn word(self) -> &'static str {
        self.entry().word
    }

    /// Status of an answer with it.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.entry().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The code of this word, if it is in the list.
    pub(crate) fn find(word: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.word() == word)
    }
}

/// Status of an answer with the code of this word; one that is not in the list is a refusal of a
/// plugin.
pub(crate) fn status_of_code(word: &str) -> u16 {
    Code::find(word).map_or(422, |code| code.entry().status)
}

/// A code in words, for people: those that plugins chose, too.
pub(crate) fn title(word: &str) -> String {
    let words = word.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_once_and_statuses_are_statuses() {
        for code in Code::ALL {
            assert_eq!(Code::find(code.word()), Some(*code), "two codes have one word");
            assert_eq!(code.status().as_u16(), code.entry().status, "{code:?}");
            let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(code.word().chars().all(letters), "{code:?}");
        }
        assert_eq!(Code::find("no_such_code"), None);
        assert_eq!((status_of_code("backfilling"), status_of_code("no_such_code")), (503, 422));
        assert_eq!(title("invalid_params"), "Invalid params");
        assert_eq!(title(""), "");
    }
}
