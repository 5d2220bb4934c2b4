//! `GET /api/status`: what this engine does now, for operators and for programs that show it.
//!
//! Made of what the engine and this server know already: no request goes to the log or the store.
//! What the log holds is as of the last survey, sizes and threads are at most a second old. A key that does not
//! apply is absent; paths are redacted.

use super::App;
use super::connection::Peers;
use super::descriptor::{Progress, describe_state, nonzero};
use super::redact_paths::PathRedactor;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use tally_engine::config::StoreKind;
use tally_engine::engine::{
    Check, CommitStatus, EngineStatus, MemoryStatus, MemoryUse, MetricStatus, PartitionOwner,
    PartitionStatus,
};
use tally_engine::threads::ThreadUse;
use tally_engine::time::to_text;

/// What to do while the catalogue does not answer.
const CATALOGUE_REMEDY: &str =
    "make the database of [catalogue] answer; metrics do not need it, only names are missing";

/// Keys in the contract's order.
#[derive(Serialize)]
struct StatusText {
    version: &'static str,
    started: String,
    uptime_s: u64,
    as_of: String,
    ready: bool,
    rate: RateText,
    log: LogText,
    partitions: Vec<PartitionText>,
    lag: LagText,
    commits: CommitsText,
    store: StoreText,
    catalogue: CatalogueText,
    readiness: Vec<LineText>,
    metrics: Vec<MetricText>,
    memory: MemoryText,
    sockets: SocketsText,
    connections: ConnectionsText,
    limits_hit: Vec<LimitText>,
    threads: Vec<ThreadText>,
}

#[derive(Serialize)]
struct RateText {
    events_per_s: f64,
    window_s: f64,
}

#[derive(Serialize)]
struct LogText {
    kind: &'static str,
    name: String,
}

#[derive(Serialize)]
struct PartitionText {
    partition: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    start: u64,
    end: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    open: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stalled: bool,
}

/// Sums over the partitions of which the position is known.
#[derive(Serialize)]
struct LagText {
    records: u64,
    open: u64,
}

#[derive(Serialize)]
struct CommitsText {
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_s: Option<f64>,
    processed: u64,
    committed: u64,
}

#[derive(Serialize)]
struct StoreText {
    kind: StoreKind,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

#[derive(Serialize)]
struct CatalogueText {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// A line of readiness: what it says if it is in order, why it is not otherwise.
#[derive(Serialize)]
struct LineText {
    name: &'static str,
    ok: bool,
    needed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    what: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<&'static str>,
}

#[derive(Serialize)]
struct MetricText {
    name: String,
    state: &'static str,
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    ns_per_event: f64,
    cells: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    events_failed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers_stuck: Option<u64>,
}

#[derive(Serialize)]
struct MemoryText {
    limit: u64,
    state: ShareText,
    answers: ShareText,
    sockets: ShareText,
}

#[derive(Serialize)]
struct ShareText {
    used: u64,
    limit: u64,
}

/// WebSockets and streams are bounded together.
#[derive(Serialize)]
struct SocketsText {
    websockets: usize,
    streams: usize,
    limit: usize,
    held: usize,
    held_limit: usize,
}

/// `addresses`: of those that are not local.
#[derive(Serialize)]
struct ConnectionsText {
    open: usize,
    local: usize,
    addresses: usize,
    limit: usize,
}

#[derive(Serialize)]
struct ThreadText {
    name: String,
    count: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    cores: Option<f64>,
}

#[derive(Serialize)]
struct LimitText {
    code: &'static str,
    count: u64,
}

pub(crate) async fn show(State(app): State<Arc<App>>) -> Response {
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A process may have thousands of threads: they are read off the async threads.
    let metered = Arc::clone(&app);
    let threads = tokio::task::spawn_blocking(move || metered.threads.rows()).await;
    let threads = threads.unwrap_or_else(|failed| {
        tracing::error!(%failed, "reading the threads of the process panicked");
        Vec::new()
    });
    let status = StatusText::of(app.engine.status(), threads, &app);
    ([no_store], Json(status)).into_response()
}

impl StatusText {
    fn of(status: EngineStatus, threads: Vec<ThreadUse>, app: &App) -> StatusText {
        let redactor = &app.redactor;
        let catalogue = app.catalogue.health_error().map(|why| hide(&why, redactor));
        let ready = status.readiness.iter().all(|check| check.ok || !check.needed);
        let mut readiness: Vec<LineText> =
            status.readiness.into_iter().map(|check| LineText::of(check, redactor)).collect();
        let store = StoreText::of(status.store, &readiness);
        readiness.push(LineText::of_catalogue(catalogue.clone()));
        StatusText {
            version: env!("CARGO_PKG_VERSION"),
            started: to_text(status.started),
            uptime_s: status.uptime.as_secs(),
            as_of: to_text(status.as_of),
            ready,
            rate: RateText {
                events_per_s: tenths(status.rate.per_second),
                window_s: tenths(status.rate.window.as_secs_f64()),
            },
            log: LogText { kind: status.log.0, name: status.log.1 },
            lag: LagText::of(&status.partitions),
            partitions: status.partitions.into_iter().map(PartitionText::of).collect(),
            commits: CommitsText::of(status.commits, status.as_of),
            store,
            catalogue: CatalogueText { ok: catalogue.is_none(), why: catalogue },
            readiness,
            metrics: status
                .metrics
                .into_iter()
                .map(|metric| MetricText::of(metric, redactor))
                .collect(),
            memory: MemoryText::of(status.memory),
            sockets: SocketsText::of(app),
            connections: ConnectionsText::of(app),
            limits_hit: app
                .limits_hit
                .reached()
                .into_iter()
                .map(|(code, count)| LimitText { code, count })
                .collect(),
            threads: threads.into_iter().map(ThreadText::of).collect(),
        }
    }
}

impl PartitionText {
    fn of(of: PartitionStatus) -> PartitionText {
        let PartitionStatus { partition, owner, position, start, end, lag, open, stalled } = of;
        let owner = owner.map(|owner| match owner {
            PartitionOwner::This => "this",
            PartitionOwner::Other => "other",
        });
        let position = position.map(|next| format!("{partition}:{next}"));
        PartitionText { partition, owner, position, start, end, lag, open, stalled }
    }
}

impl LagText {
    fn of(partitions: &[PartitionStatus]) -> LagText {
        LagText {
            records: partitions.iter().filter_map(|partition| partition.lag).sum(),
            open: partitions.iter().map(|partition| partition.open).sum(),
        }
    }
}

impl CommitsText {
    fn of(commits: CommitStatus, as_of: i64) -> CommitsText {
        let CommitStatus { last, processed, committed } = commits;
        let age = last.map(|last| tenths((as_of - last).max(0) as f64 / 1_000.0));
        CommitsText { last: last.map(to_text), age_s: age, processed, committed }
    }
}

impl StoreText {
    /// The store's line says how it is.
    fn of(kind: StoreKind, readiness: &[LineText]) -> StoreText {
        let line = readiness.iter().find(|line| line.name == "store");
        StoreText {
            kind,
            ok: line.is_none_or(|line| line.ok),
            what: line.and_then(|line| line.what.clone()),
            why: line.and_then(|line| line.why.clone()),
        }
    }
}

impl LineText {
    fn of(check: Check, redactor: &PathRedactor) -> LineText {
        let Check { name, ok, needed, detail, remedy } = check;
        let detail = Some(hide(&detail, redactor)).filter(|detail| !detail.is_empty());
        let (what, why) = if ok { (detail, None) } else { (None, detail) };
        LineText { name, ok, needed, what, why, remedy: remedy.filter(|_| !ok) }
    }

    fn of_catalogue(why: Option<String>) -> LineText {
        let remedy = why.as_ref().map(|_| CATALOGUE_REMEDY);
        LineText { name: "catalogue", ok: why.is_none(), needed: false, what: None, why, remedy }
    }
}

impl MetricText {
    fn of(metric: MetricStatus, redactor: &PathRedactor) -> MetricText {
        let (state, progress, reason) = describe_state(&metric.state);
        let reason = reason.or(metric.notice.as_deref()).map(|reason| hide(reason, redactor));
        MetricText {
            name: metric.name,
            state,
            version: metric.version,
            progress,
            reason,
            ns_per_event: metric.cost.ns_per_event,
            cells: metric.cost.cells,
            bytes: metric.cost.bytes,
            events_failed: nonzero(metric.events_failed),
            answers_stuck: nonzero(metric.answers_stuck as u64),
        }
    }
}

impl MemoryText {
    fn of(memory: MemoryStatus) -> MemoryText {
        let share = |MemoryUse { used, limit }| ShareText { used, limit };
        MemoryText {
            limit: memory.limit,
            state: share(memory.state),
            answers: share(memory.answers),
            sockets: share(memory.sockets),
        }
    }
}

impl SocketsText {
    fn of(app: &App) -> SocketsText {
        let (limit, held_limit) = (app.limits.sockets, app.limits.held);
        // One reference is the server's own.
        let streams = Arc::strong_count(&app.streams).saturating_sub(1);
        let open = limit.saturating_sub(app.sockets.available_permits());
        SocketsText {
            websockets: open.saturating_sub(streams),
            streams,
            limit,
            held: held_limit.saturating_sub(app.held.available_permits()),
            held_limit,
        }
    }
}

impl ConnectionsText {
    fn of(app: &App) -> ConnectionsText {
        let Peers { open, local, addresses } = app.slots.peers();
        ConnectionsText { open, local, addresses, limit: app.limits.connections }
    }
}

impl ThreadText {
    fn of(ThreadUse { name, count, cores }: ThreadUse) -> ThreadText {
        ThreadText { name, count, cores: cores.map(|cores| (cores * 1_000.0).round() / 1_000.0) }
    }
}

fn hide(text: &str, redactor: &PathRedactor) -> String {
    redactor.redact(text).into_owned()
}

/// Rounded to a tenth.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
