//! HTTP and WebSocket: the routes of the contract over the engine's façade and the catalogue.
//!
//! [`Server::bind`] opens a listener on an address, [`Bound::serve`] answers requests until it
//! receives a stop. Connections come from a `listener`; every request passes the steps of
//! `middleware` and ends in one of the `routes`. Every request and connection is bounded in size
//! and time ([`Limits`]); every error is a problem (RFC 9457). Counts nothing and stores nothing.

mod accept;
mod answer;
mod answer_get;
mod asyncapi;
mod audit;
mod batch;
mod blocking;
mod boards;
mod budgeted_body;
mod catalogue;
mod codes;
mod complete_answer;
mod connection;
mod csv_cells;
mod dead_letters;
mod descriptor;
mod docs;
mod document_draft;
mod documents;
mod engine_api;
mod enrich;
mod envelope;
mod error_message;
mod etag;
mod event_filter;
mod events;
mod events_back;
mod export;
mod exposition;
mod feed_messages;
mod fields;
mod figures;
mod health;
mod id_annotations;
mod json_members;
mod letter_replay;
mod listener;
mod live;
mod log_ends;
mod mcp;
mod metric_request;
mod metrics;
mod middleware;
mod openapi;
mod orders;
mod origin_check;
mod page;
mod parse_errors;
mod plugins;
mod preview;
mod problem;
mod problems;
mod query_pairs;
mod question_query;
mod redact_paths;
mod refusals;
mod reply_cache;
mod request_body;
mod request_object;
mod routes;
mod rows;
mod section_body;
mod sections;
mod server;
mod sse;
mod sse_events;
mod sse_metric;
mod status;
mod stored;
mod versions;
mod wait_for_position;
mod ws;

#[cfg(test)]
mod tests;

// For the command line, which shows what it gets from here.
pub(crate) use codes::{status_of_code, title as title_of_code};
pub(crate) use event_filter::{EVENT_TYPE, is_event_type};
pub(crate) use live::LONGEST_PACE_MS;
pub(crate) use rows::rows_for_people;
pub(crate) use ws::LONGEST as LONGEST_MESSAGE;

pub use engine_api::{EngineApi, Records};
pub use listener::ListenError;
pub use origin_check::OriginCheck;
pub use server::{Bound, Drained, Server};
pub use stored::stored_rows;

use crate::boards::Boards;
use crate::catalogue::Catalogue;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tally_engine::config::PrometheusExport;
use tally_engine::memory::Share;
use tally_engine::threads::ThreadMeter;
use tokio::sync::{Semaphore, watch};

/// Writes the program's own metrics in Prometheus text.
pub type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// What the server answers with.
pub struct Parts {
    /// The engine.
    pub engine: Arc<dyn EngineApi>,
    /// Users and products.
    pub catalogue: Arc<dyn Catalogue>,
    /// For `/metrics`.
    pub render: Render,
    /// Answers that are shown in `/metrics`, by the name of the series.
    pub exports: BTreeMap<String, PrometheusExport>,
    /// The folder of boards; empty: there is none.
    pub boards: PathBuf,
    /// Which hosts and origins are answered.
    pub origin_check: OriginCheck,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of connections, requests and work. Each says what happens when it is reached.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections, WebSockets included; one more is answered 503 and closed at once, without
    /// reading.
    pub connections: usize,
    /// Open connections from one address that is not loopback; one more is treated the same.
    pub connections_per_address: usize,
    /// Until the first byte of a new connection; then it is closed.
    pub first_byte: Duration,
    /// From the first byte of a request to the end of its head; then the connection is closed.
    pub head: Duration,
    /// From the head of a request to the end of its body; then 408.
    pub body: Duration,
    /// Between two requests of a connection; then it is closed.
    pub idle: Duration,
    /// How long a socket may stay blocked while a response is written; then it is closed.
    pub write: Duration,
    /// Evaluations at once, and again as many that wait for a position. One more waits as long as
    /// `place`, then it is answered 503.
    pub evaluations: usize,
    /// How long an evaluation may take, waiting for a position not counted; then 504.
    pub evaluation: Duration,
    /// Posts to the log at once; one more is answered 503.
    pub appends: usize,
    /// How long the log may take to acknowledge; then 503. Orders, too, are waited for so long: a
    /// second longer than the engine does (`ORDER_LIMIT`), so that it says what is known of them.
    pub append: Duration,
    /// Requests for dead letters at once; one more is answered 503.
    pub letters: usize,
    /// How long reading them may take; then 503.
    pub letter: Duration,
    /// How long dead letters may be replayed for one request, appending included; then 503, and the
    /// work goes on.
    pub replay: Duration,
    /// How long a preview may take, a little longer than the engine gives it; then 504, and a
    /// plugin that does not return is left behind.
    pub preview: Duration,
    /// Requests for the raw log or state that work at once; one more waits as long as `place`, then
    /// it is answered 503.
    pub audits: usize,
    /// Readers of the raw log or state at once, most of them waiting to continue; one more is
    /// answered 503.
    pub listings: usize,
    /// Readers of state at once; one more is answered 503. While one reads, what counting changes
    /// is kept twice.
    pub dumps: usize,
    /// How long such a reader may take to read 64 KiB; then its answer is cut off.
    pub listing: Duration,
    /// How long a question waits for its place among those that are bounded in number.
    pub place: Duration,
    /// How long the catalogue may take; then 503, or an answer without names.
    pub catalogue: Duration,
    /// Questions held until their answer changes, at once; one more is answered 503.
    pub held: usize,
    /// WebSockets and streams of server-sent events at once; one more is answered 503.
    pub sockets: usize,
    /// Subscriptions of one WebSocket; one more is refused.
    pub subscriptions: usize,
    /// The least time between two updates of a metric that is watched, as the engine has it; who
    /// asks for less gets this.
    pub min_interval: Duration,
    /// Between two pings to a WebSocket.
    pub socket_ping: Duration,
    /// How long a WebSocket may be silent; then it is closed.
    pub socket_dead: Duration,
    /// How long a WebSocket may stay blocked while a message is written; then it is closed with
    /// 1013.
    pub socket_write: Duration,
    /// Between two comments on a stream of events on which nothing happens.
    pub heartbeat: Duration,
    /// How long requests may take to finish once the server stops; then they are cut off.
    pub drain: Duration,
    /// Bytes of replies that are kept for the next equal question; the least used are dropped
    /// first.
    pub kept_replies: u64,
    /// Bytes of an answer as rows, and of all answers of a batch; more are refused.
    pub answer_bytes: usize,
    /// Memory that long answers hold until they are written; one more is answered 503.
    pub answers: Arc<Share>,
    /// Memory that answers hold for those who watch them; where there is none they are told
    /// `overloaded`, and get the next one for which there is.
    pub watched: Arc<Share>,
}

impl Default for Limits {
    fn default() -> Limits {
        let seconds = Duration::from_secs;
        Limits {
            connections: 4_096,
            connections_per_address: 64,
            first_byte: seconds(5),
            head: seconds(5),
            body: seconds(10),
            idle: seconds(60),
            write: seconds(10),
            evaluations: 64,
            evaluation: Duration::from_millis(250),
            appends: 16,
            append: seconds(10),
            letters: 2,
            letter: seconds(5),
            replay: seconds(35),
            preview: seconds(6),
            audits: 4,
            listings: 64,
            dumps: 2,
            listing: seconds(5),
            place: seconds(1),
            catalogue: seconds(1),
            held: 2_048,
            sockets: 4_096,
            subscriptions: 64,
            min_interval: Duration::from_millis(50),
            socket_ping: seconds(20),
            socket_dead: seconds(30),
            socket_write: seconds(10),
            heartbeat: seconds(15),
            drain: seconds(10),
            kept_replies: 16 << 20,
            answer_bytes: 16 << 20,
            answers: Arc::new(Share::new(256 << 20)),
            watched: Arc::new(Share::new(64 << 20)),
        }
    }
}

/// How far a stop has come. Each task that serves a connection holds a receiver until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Finish the requests under way.
    Draining,
    /// Drop everything.
    Cut,
}

/// Waits until the server stops.
async fn wait_for_stop(phase: &mut watch::Receiver<Phase>) {
    // A dropped sender is a stop too.
    let _ = phase.wait_for(|phase| *phase != Phase::Serving).await;
}

/// What the handlers share.
struct App {
    engine: Arc<dyn EngineApi>,
    catalogue: Arc<dyn Catalogue>,
    render: Render,
    boards: Arc<Boards>,
    origin_check: OriginCheck,
    limits: Limits,
    annotations: id_annotations::AnnotationCache,
    replies: reply_cache::ReplyCache,
    live: live::LiveAnswers,
    exports: export::Exports,
    openapi: Arc<documents::KeptDocument>,
    asyncapi: Arc<documents::KeptDocument>,
    redactor: redact_paths::PathRedactor,
    position_waits: Arc<wait_for_position::PositionWaits>,
    log_ends: log_ends::LogEnds,
    limits_hit: refusals::LimitsHit,
    evaluations: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    appends: Arc<Semaphore>,
    letters: Arc<Semaphore>,
    audits: Arc<Semaphore>,
    listings: Arc<Semaphore>,
    dumps: Arc<Semaphore>,
    held: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    /// Each open stream of server-sent events holds it, too.
    streams: Arc<()>,
    slots: connection::ConnectionSlots,
    threads: ThreadMeter,
    notices: ws::PluginNotices,
    phase: watch::Sender<Phase>,
}

impl App {
    fn new(parts: Parts) -> Arc<App> {
        let Parts { engine, catalogue, render, exports, boards, origin_check, limits } = parts;
        let permits = |permits: usize| Arc::new(Semaphore::new(permits));
        let position_waits = wait_for_position::PositionWaits::new(&engine);
        Arc::new(App {
            engine,
            catalogue,
            render,
            boards: Arc::new(Boards::of(&boards)),
            origin_check,
            annotations: id_annotations::AnnotationCache::default(),
            replies: reply_cache::ReplyCache::new(limits.kept_replies),
            live: live::LiveAnswers::default(),
            exports: export::Exports::new(&exports),
            openapi: documents::KeptDocument::new(openapi::text),
            asyncapi: documents::KeptDocument::new(asyncapi::text),
            redactor: redact_paths::PathRedactor::new(),
            position_waits,
            log_ends: log_ends::LogEnds::default(),
            limits_hit: refusals::LimitsHit::default(),
            evaluations: permits(limits.evaluations),
            waiting: permits(limits.evaluations),
            appends: permits(limits.appends),
            letters: permits(limits.letters),
            audits: permits(limits.audits),
            listings: permits(limits.listings),
            dumps: permits(limits.dumps),
            held: permits(limits.held),
            sockets: permits(limits.sockets),
            streams: Arc::default(),
            slots: connection::ConnectionSlots::new(&limits),
            threads: ThreadMeter::default(),
            notices: ws::PluginNotices::default(),
            phase: watch::channel(Phase::Serving).0,
            limits,
        })
    }
}
