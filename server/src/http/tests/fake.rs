//! An engine that answers what a test tells it to, and ways to ask the server in front of it.
//!
//! Over 480 lines: the whole of what the server asks of an engine, once.

use crate::catalogue::embedded::Embedded;
use crate::catalogue::{Catalogue, Cost, Product, User};
use crate::http::middleware;
use crate::http::routes::Routes;
use crate::http::{App, Bound, Drained, EngineApi, Limits, OriginCheck, Parts, Records, Server};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_engine::config::{EventsConfig, PrometheusExport, StoreKind};
use tally_engine::database::DatabaseError;
use tally_engine::engine::{
    AppendError, Appended, Bounds, Check, CommitStatus, Cost as MetricCost, EngineStatus,
    EvaluateError, Evaluated, EventPage, EventRate, FeedFilter, FeedListener, FieldReport,
    ForeseenSection, FoundRecord, History, JudgedRecord, LetterReplayCounts, LetterReplayFault,
    ListenRefused, LiveAnswer, LivePublisher, LiveQuestion, LogError, LogRecord, MemoryStatus,
    MemoryUse, MetricEffect, MetricInfo, MetricState, Order, OrderError, OwnedOrigin, PageRequest,
    PastEvent, PluginInfo, Preview, PreviewError, PreviewRequest, PutSection, Question,
    ReadLogError, RecordVerdict, Refusals, Rejected, ReplayTurns, Revision, Role, SectionChange,
    SectionError, SectionInfo, SectionPlace, StateDump, StateUnavailable, StoredMetric, StoredRows,
    WatchRequest, live_question,
};
use tally_engine::event::Position;
use tally_engine::feed::{Feed, NewEvent};
use tally_engine::memory::Share;
use tally_engine::outage::Cause;
use tally_plugin::description::{Cell, Description, Example, From, Key, Merge, Pane, Table, Tier};
use tally_plugin::read::Id;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use toml::Table as TomlTable;

/// Bytes of memory for the newest events.
const FEED: u64 = 64 << 20;

pub(super) type Evaluate = dyn Fn(&Question) -> Result<Evaluated, EvaluateError> + Send + Sync;

pub(super) struct Fake {
    pub(super) evaluate: Mutex<Arc<Evaluate>>,
    pub(super) asked: Mutex<Vec<Question>>,
    /// Whether it has its answers ready.
    pub(super) ready: Mutex<bool>,
    pub(super) written: Mutex<Vec<String>>,
    pub(super) position: Mutex<Position>,
    pub(super) append_fails: Mutex<bool>,
    /// What becomes of an order.
    pub(super) order_outcome: Mutex<Result<String, OrderError>>,
    pub(super) orders: Mutex<Vec<Order>>,
    pub(super) sections: Mutex<Vec<SectionInfo>>,
    /// Why no section is changed, if none is.
    pub(super) section_fails: Mutex<Option<SectionError>>,
    pub(super) letters: Mutex<Result<Refusals, DatabaseError>>,
    pub(super) letters_asked: Mutex<Vec<(usize, Option<String>)>>,
    pub(super) replayed: Mutex<Result<LetterReplayCounts, LetterReplayFault>>,
    /// The reasons of which letters were replayed.
    pub(super) replay_asked: Mutex<Vec<Option<String>>>,
    pub(super) plugins: Mutex<Vec<PluginInfo>>,
    pub(super) fields: Mutex<FieldReport>,
    /// Of how many records fields were asked.
    pub(super) fields_asked: Mutex<Vec<u64>>,
    pub(super) preview: Mutex<Result<Preview, PreviewError>>,
    pub(super) previewed: Mutex<Vec<PreviewRequest>>,
    pub(super) checks: Mutex<Vec<Check>>,
    /// But for its readiness, which is `checks`.
    pub(super) status: Mutex<EngineStatus>,
    pub(super) states: Mutex<MetricState>,
    pub(super) feed: Feed,
    /// Positions that were listened from.
    pub(super) since: Mutex<Vec<Position>>,
    /// What is watched, also by those who are gone.
    pub(super) watched: Mutex<Vec<(WatchRequest, LivePublisher)>>,
}

impl Fake {
    fn new() -> Arc<Fake> {
        Arc::new(Fake {
            evaluate: Mutex::new(Arc::new(|_| {
                Ok(evaluated("{\"total\":11,\"by_type\":{}}", json!({})))
            })),
            asked: Mutex::default(),
            ready: Mutex::default(),
            written: Mutex::default(),
            position: Mutex::new("0:1204,1:998".parse().unwrap()),
            append_fails: Mutex::new(false),
            order_outcome: Mutex::new(Err(OrderError::NotPossible("there is only one".into()))),
            orders: Mutex::default(),
            sections: Mutex::new(vec![section("event_frequencies", SectionPlace::File, "")]),
            section_fails: Mutex::default(),
            letters: Mutex::new(Ok(Refusals::default())),
            letters_asked: Mutex::default(),
            replayed: Mutex::new(Ok(LetterReplayCounts::default())),
            replay_asked: Mutex::default(),
            plugins: Mutex::new(vec![plugin("counts"), plugin("event_frequencies")]),
            fields: Mutex::default(),
            fields_asked: Mutex::default(),
            preview: Mutex::new(Ok(Preview {
                evaluated: evaluated("{\"total\":11}", json!({})),
                records: 12,
                params_schema: json!({}),
            })),
            previewed: Mutex::default(),
            checks: Mutex::new(vec![Check {
                name: "store",
                ok: true,
                needed: true,
                detail: "embedded".into(),
                remedy: None,
            }]),
            status: Mutex::new(status()),
            states: Mutex::new(MetricState::Active),
            feed: Feed::new(&Arc::new(Share::new(FEED)), &Arc::new(Share::new(FEED))),
            since: Mutex::default(),
            watched: Mutex::default(),
        })
    }

    pub(super) fn answers(
        &self,
        evaluate: impl Fn(&Question) -> Result<Evaluated, EvaluateError> + Send + Sync + 'static,
    ) {
        *self.evaluate.lock() = Arc::new(evaluate);
    }

    /// Answers all that is watched anew.
    pub(super) fn changed(&self) {
        self.changed_at(Instant::now());
    }

    /// The same at another time.
    pub(super) fn changed_at(&self, at: Instant) {
        let watched = self.watched.lock();
        watched.iter().for_each(|(request, publisher)| self.publish(request, publisher, at));
    }

    fn publish(&self, request: &WatchRequest, publisher: &LivePublisher, at: Instant) {
        let outcome = self.watched_outcome(request);
        publisher.publish(Arc::new(LiveAnswer::new(1, outcome, at)));
    }

    fn watched_outcome(&self, request: &WatchRequest) -> Result<Evaluated, EvaluateError> {
        let evaluate = Arc::clone(&self.evaluate.lock());
        evaluate(&Question {
            name: request.name.clone(),
            params: request.params.clone(),
            at_least: None,
            wait: Duration::ZERO,
            allow_partial: false,
            calling: Arc::default(),
        })
    }

    /// An event of this user, before this offset.
    pub(super) fn event(&self, n: u64) {
        self.show(n, format!("{{\"user_id\":{n}}}"));
    }

    /// An event with this text, before this offset.
    pub(super) fn show(&self, next: u64, event: String) {
        let user = Some(Id::Integer(next));
        let new = NewEvent { next, event_type: "view".into(), user, product: None, event };
        self.feed.publish(0, next, vec![new]);
    }
}

/// A section with these keys.
pub(super) fn section(name: &str, place: SectionPlace, keys: &str) -> SectionInfo {
    let toml = format!("[metrics.{name}]\n{keys}");
    SectionInfo { name: name.into(), place, shadowed: false, section: keys.parse().unwrap(), toml }
}

/// Of an engine that has nothing yet.
fn status() -> EngineStatus {
    let share = |limit| MemoryUse { used: 0, limit };
    EngineStatus {
        started: 1_767_225_600_000,
        uptime: Duration::from_millis(12_345),
        as_of: 1_767_225_612_345,
        rate: EventRate::default(),
        log: ("log", "log".into()),
        store: StoreKind::Embedded,
        partitions: Vec::new(),
        commits: CommitStatus::default(),
        readiness: Vec::new(),
        metrics: Vec::new(),
        memory: MemoryStatus {
            limit: 1_000,
            state: share(600),
            answers: share(160),
            sockets: share(60),
        },
    }
}

fn plugin(name: &str) -> PluginInfo {
    PluginInfo {
        name: name.into(),
        version: "1.0.0".into(),
        file: format!("/plugins/lib{name}.so").into(),
        sha256: "0".repeat(64),
        config_schema: json!({"type": "object"}),
    }
}

pub(super) fn evaluated(result: &str, schema: Value) -> Evaluated {
    Evaluated {
        result: result.into(),
        result_schema: Arc::new(schema),
        window: (None, None),
        position: "0:1204,1:998".parse().unwrap(),
        as_of: 1_767_225_600_000,
        version: "1.0.0".into(),
        revision: 7,
        history: History { complete: true, from: Some(1_767_225_660_000) },
        warnings: Vec::new(),
        validity: None,
    }
}

impl EngineApi for Fake {
    fn metrics(&self) -> Vec<MetricInfo> {
        vec![self.metric("event_frequencies").unwrap()]
    }

    fn metric(&self, name: &str) -> Option<MetricInfo> {
        let tiers = vec![
            Tier { pane: Pane::Minute, keep_ms: Some(48 * 3_600_000) },
            Tier { pane: Pane::Hour, keep_ms: Some(90 * 86_400_000) },
            Tier { pane: Pane::Day, keep_ms: None },
        ];
        let cell = Cell { name: "n".into(), merge: Merge::Sum, from: From::One };
        let table = Table {
            name: "t".into(),
            key: vec![Key::EventType],
            group: 0,
            only: vec![],
            cells: vec![cell],
            tiers: tiers.clone(),
        };
        (name == "event_frequencies").then(|| MetricInfo {
            name: name.into(),
            version: "1.0.0".into(),
            plugin: name.into(),
            file: "/plugins/libevent_frequencies.so".into(),
            description: Arc::new(Description {
                summary: "How often".into(),
                tables: vec![table],
                properties: vec![],
                computed: vec![],
                time: true,
                params_schema: json!({"type": "object"}),
                result_schema: json!({"type": "object"}),
                examples: vec![Example { params: json!({}), note: "all".into() }],
            }),
            config: json!({}),
            notice: None,
            failed: 0,
            newer: None,
            before: None,
            state: self.states.lock().clone(),
            since: 1_767_225_600_000,
            history: History { complete: true, from: None },
            cost: MetricCost { ns_per_event: 12.5, cells: 1234, bytes: 98765, unreadable: None },
            tiers,
        })
    }

    fn metric_states(&self) -> Vec<(String, &'static str)> {
        let word = match &*self.states.lock() {
            MetricState::Active => "active",
            MetricState::Backfilling { .. } => "backfilling",
            MetricState::Quarantined(_) => "quarantined",
            MetricState::Retired => "retired",
        };
        vec![("event_frequencies".into(), word)]
    }

    fn revisions(&self, name: &str) -> Vec<Revision> {
        let of = |info| Revision {
            role: Role::Answering,
            id: "00000000000000ab".into(),
            info,
            sha256: "0f".repeat(32),
            keep_old: Duration::from_secs(3_600),
            held: None,
            until: None,
            examples: vec![Ok(evaluated("{\"total\":11,\"by_type\":{}}", json!({})))],
        };
        self.metric(name).map(of).into_iter().collect()
    }

    fn order(&self, order: Order) -> Result<String, OrderError> {
        self.orders.lock().push(order);
        self.order_outcome.lock().clone()
    }

    fn plugins(&self) -> Vec<PluginInfo> {
        self.plugins.lock().clone()
    }

    fn sections(&self) -> Arc<Vec<SectionInfo>> {
        Arc::new(self.sections.lock().clone())
    }

    /// Adds what is there to the list of sections.
    fn put_section(&self, name: &str, given: TomlTable) -> Result<PutSection, SectionError> {
        self.section_fails.lock().clone().map_or(Ok(()), Err)?;
        let put = section(name, SectionPlace::DataDirectory, &given.to_string());
        let mut sections = self.sections.lock();
        let before = sections.iter().position(|section| section.name == name);
        let change = match before.map(|n| std::mem::replace(&mut sections[n], put.clone())) {
            None => SectionChange::Added,
            Some(before) if before == put => SectionChange::Unchanged,
            Some(_) => SectionChange::Changed,
        };
        if change == SectionChange::Added {
            sections.push(put.clone());
        }
        Ok(PutSection { change, section: put })
    }

    fn delete_section(&self, name: &str) -> Result<String, SectionError> {
        self.section_fails.lock().clone().map_or(Ok(()), Err)?;
        let mut sections = self.sections.lock();
        let before = sections.len();
        sections.retain(|section| section.name != name);
        if sections.len() == before {
            return Err(SectionError::NotFound(name.to_owned()));
        }
        Ok(format!("{name} is retired"))
    }

    fn foresee_put_section(
        &self,
        name: &str,
        given: TomlTable,
    ) -> Result<ForeseenSection, SectionError> {
        self.section_fails.lock().clone().map_or(Ok(()), Err)?;
        Ok(ForeseenSection {
            effect: MetricEffect::Added,
            counts_history: true,
            would: format!("{name} would be served"),
            section: Some(section(name, SectionPlace::DataDirectory, &given.to_string())),
        })
    }

    fn foresee_delete_section(&self, name: &str) -> Result<ForeseenSection, SectionError> {
        self.section_fails.lock().clone().map_or(Ok(()), Err)?;
        if !self.sections.lock().iter().any(|section| section.name == name) {
            return Err(SectionError::NotFound(name.to_owned()));
        }
        Ok(ForeseenSection {
            effect: MetricEffect::Removed,
            counts_history: false,
            would: format!("{name} would be retired"),
            section: None,
        })
    }

    fn rejected(&self) -> Vec<Rejected> {
        vec![Rejected { file: "x.so".into(), reason: "no".into(), since: 0 }]
    }

    fn evaluate(&self, question: &Question) -> Result<Evaluated, EvaluateError> {
        self.asked.lock().push(question.clone());
        let evaluate = Arc::clone(&self.evaluate.lock());
        evaluate(question)
    }

    fn evaluate_together(
        &self,
        questions: &[Question],
        _: usize,
    ) -> Vec<Result<Evaluated, EvaluateError>> {
        questions.iter().map(|question| self.evaluate(question)).collect()
    }

    fn ready_answer(&self, question: &Question) -> Option<Result<Evaluated, EvaluateError>> {
        if !*self.ready.lock() {
            return None;
        }
        let evaluate = Arc::clone(&self.evaluate.lock());
        Some(evaluate(question))
    }

    /// Refuses at once what the engine would, and answers what is watched only when told to.
    fn watch(&self, request: &WatchRequest) -> Result<LiveQuestion, EvaluateError> {
        if let Err(refused) = self.watched_outcome(request)
            && matches!(refused, EvaluateError::NotFound { .. } | EvaluateError::Invalid { .. })
        {
            return Err(refused);
        }
        let (publisher, question) = live_question(&request.params.to_string());
        self.publish(request, &publisher, Instant::now());
        self.watched.lock().push((request.clone(), publisher));
        Ok(question)
    }

    fn dead_letters(&self, limit: usize, reason: Option<&str>) -> Result<Refusals, DatabaseError> {
        self.letters_asked.lock().push((limit, reason.map(str::to_owned)));
        self.letters.lock().clone()
    }

    fn replay_letters(
        &self,
        reason: Option<&str>,
    ) -> Result<LetterReplayCounts, LetterReplayFault> {
        self.replay_asked.lock().push(reason.map(str::to_owned));
        self.replayed.lock().clone()
    }

    fn append(&self, events: &[&[u8]]) -> Result<Appended, AppendError> {
        if *self.append_fails.lock() {
            return Err(AppendError::Unavailable("the disk is full".into()));
        }
        let events: Vec<String> =
            events.iter().map(|event| String::from_utf8_lossy(event).into_owned()).collect();
        let bad = |event: &str| !event.starts_with('{');
        let rejected: Vec<_> = events
            .iter()
            .enumerate()
            .filter(|(_, event)| bad(event))
            .map(|(n, _)| (n, "not_an_object".to_owned()))
            .collect();
        let accepted = (events.len() - rejected.len()) as u64;
        self.written.lock().extend(events);
        Ok(Appended { accepted, rejected, position: "0:17".parse().unwrap() })
    }

    /// Replays nothing; at `9:9` too many wait for one, at `8:8` it ends by an internal error.
    fn listen(
        &self,
        filter: FeedFilter,
        since: Option<Position>,
        _: &ReplayTurns,
    ) -> Result<FeedListener, ListenRefused> {
        if since.as_ref().is_some_and(|since| since.0.contains_key(&9)) {
            return Err(ListenRefused::TooManyWait(8));
        }
        if let Some(since) = since.as_ref().filter(|since| since.0.contains_key(&8)) {
            return Ok(FeedListener::failed(since));
        }
        self.since.lock().extend(since);
        Ok(self.feed.listen(filter))
    }

    /// As many events as are wanted, if they may be of user 1; none before `0:1`.
    fn events_before(&self, request: &PageRequest) -> Result<EventPage, ReadLogError> {
        let first = request.before.as_ref().map_or(1_204, |before| before.0[&0]);
        let event = |next| PastEvent {
            partition: 0,
            next,
            timestamp_ms: 1_767_225_600_000,
            event: format!("{{\"user_id\":1,\"x\":1.50,\"n\":{next}}}"),
        };
        let of_user = request.filter.user.as_ref().is_none_or(|user| *user == Id::Integer(1));
        let nexts = (1..=first).rev().take(if of_user { request.limit } else { 0 });
        let events: Vec<PastEvent> = nexts.map(event).collect();
        let last = events.last().map_or(1, |event| event.next);
        let next = (last > 1).then(|| Position([(0, last - 1)].into()));
        Ok(EventPage { events, next })
    }

    /// At 0 an event, at 1 its duplicate, at 2 no event, at 3 a tombstone, at 4 none, at 5 a copy.
    fn record(&self, partition: u32, offset: u64) -> Result<FoundRecord, ReadLogError> {
        let refused = |reason: &str| RecordVerdict::Refused(reason.into());
        let (payload, verdict) = match (partition, offset) {
            (1.., _) => return Err(ReadLogError::NoPartition(partition)),
            (0, 0 | 5) => (Some(&b"{}"[..]), RecordVerdict::Event("{\"n\":1.50}".into())),
            (0, 1) => (Some(&b"{}"[..]), RecordVerdict::Duplicate),
            (0, 2) => (Some(&b"\xff"[..]), refused("invalid_utf8")),
            (0, 3) => (None, refused("empty_payload")),
            (0, _) => return Ok(FoundRecord::NotHeld { start: 0, end: 4 }),
        };
        let payload = payload.map(<[u8]>::to_vec);
        let origin = OwnedOrigin { place: "log/0/7".into(), timestamp_ms: 1_767_225_500_000 };
        let origin = Some(origin).filter(|_| offset == 5);
        let record = LogRecord { offset, timestamp_ms: 1_767_225_600_000, payload, origin };
        Ok(FoundRecord::Judged(JudgedRecord { record, topic: "log".into(), verdict }))
    }

    /// Of 13 records none: the log is away.
    fn fields(&self, records: u64) -> Result<FieldReport, ReadLogError> {
        self.fields_asked.lock().push(records);
        if records == 13 {
            return Err(LogError::Transient(Cause::Network, "it is away".into()).into());
        }
        Ok(self.fields.lock().clone())
    }

    fn preview(&self, request: &PreviewRequest) -> Result<Preview, PreviewError> {
        self.previewed.lock().push(request.clone());
        self.preview.lock().clone()
    }

    fn position(&self) -> Position {
        "0:1204,1:998".parse().unwrap()
    }

    fn metric_position(&self, _: &str) -> Option<Position> {
        Some(self.position.lock().clone())
    }

    fn readiness(&self) -> Vec<Check> {
        self.checks.lock().clone()
    }

    fn status(&self) -> EngineStatus {
        EngineStatus { readiness: self.readiness(), ..self.status.lock().clone() }
    }

    fn events(&self) -> EventsConfig {
        EventsConfig::default()
    }

    fn log_bounds(&self) -> Result<Vec<Bounds>, LogError> {
        let held = |partition, start, end| Bounds { partition, start, end, open: 0 };
        Ok(vec![held(0, 3, 1_204), held(1, 0, 998), held(8, 0, 8), held(9, 0, 9)])
    }

    /// Three records, the second a tombstone, the third a copy; from 100 on it breaks off.
    fn log_read(&self, partition: u32, from: u64, _: u64) -> Result<Records, ReadLogError> {
        if partition > 0 {
            return Err(ReadLogError::NoPartition(partition));
        }
        let record =
            |offset, payload: Option<&[u8]>| LogRecord::new(offset, 7, payload.map(<[u8]>::to_vec));
        let origin = Some(OwnedOrigin { place: "log/0/1".into(), timestamp_ms: 3 });
        let broken = || LogError::Fatal("it broke off".into());
        let last = if from < 100 {
            Ok(vec![LogRecord { origin, ..record(from + 2, Some(b"\xff")) }])
        } else {
            Err(broken())
        };
        Ok(Box::new(
            [Ok(vec![record(from, Some(b"{}")), record(from + 1, None)]), last].into_iter(),
        ))
    }

    fn state_dump(&self, name: &str) -> Result<StateDump, EvaluateError> {
        Err(EvaluateError::NotFound {
            suggestions: Vec::new(),
            detail: format!("there is no {name}"),
        })
    }

    fn stored(&self) -> Result<Vec<StoredMetric>, EvaluateError> {
        Err(StateUnavailable::Loading.into())
    }

    fn stored_rows(
        &self,
        metric: &str,
        _: &str,
        key: &[String],
    ) -> Result<StoredRows, EvaluateError> {
        Err(EvaluateError::NotFound {
            suggestions: Vec::new(),
            detail: format!("{metric} has no {key:?}"),
        })
    }
}

/// A server over a fake engine; the catalogue holds users 1, 2, 10, `abc` and product 10.
pub(super) struct World {
    pub(super) fake: Arc<Fake>,
    parts: Option<Parts>,
    routes: Routes,
    folder: tempfile::TempDir,
}

/// An answer taken apart.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// On which headers of a request it depends, in the order in which it says so.
    pub(super) fn varies(&self) -> Vec<&str> {
        self.headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect()
    }
}

impl World {
    pub(super) async fn new(limits: Limits) -> World {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Embedded::open(&folder.path().join("catalogue.db")).unwrap();
        let user = |id: Id, name: &str, email: Option<&str>| User {
            user_id: id,
            user_name: name.into(),
            email: email.map(Into::into),
        };
        let users = vec![
            user(Id::Text("abc".into()), "Text", None),
            user(Id::Integer(10), "Ten", None),
            user(Id::Integer(1), "Ada", Some("ada@example.com")),
            user(Id::Integer(2), "Bo \"b\"", None),
        ];
        catalogue.upsert_users(users).await.unwrap();
        let product = Product {
            product_id: Id::Integer(10),
            product_name: "lamp".into(),
            cost: Cost::from_cents(29_000).unwrap(),
        };
        catalogue.upsert_products(vec![product]).await.unwrap();
        World::with(Arc::new(catalogue), folder, limits)
    }

    pub(super) fn with(
        catalogue: Arc<dyn Catalogue>,
        folder: tempfile::TempDir,
        limits: Limits,
    ) -> World {
        World::exporting(catalogue, folder, limits, &BTreeMap::new())
    }

    /// With an empty catalogue, and these `[export.prometheus.NAME]`, which nothing watches yet.
    pub(super) fn of_exports(limits: Limits, exports: &str) -> World {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Embedded::open(&folder.path().join("catalogue.db")).unwrap();
        World::exporting(Arc::new(catalogue), folder, limits, &toml::from_str(exports).unwrap())
    }

    fn exporting(
        catalogue: Arc<dyn Catalogue>,
        folder: tempfile::TempDir,
        limits: Limits,
        exports: &BTreeMap<String, PrometheusExport>,
    ) -> World {
        let fake = Fake::new();
        let boards = folder.path().join("boards");
        std::fs::create_dir_all(&boards).unwrap();
        let parts = || Parts {
            engine: Arc::clone(&fake) as Arc<dyn EngineApi>,
            catalogue: Arc::clone(&catalogue),
            render: Arc::new(|| "tally_up 1\n".to_owned()),
            exports: exports.clone(),
            boards: boards.clone(),
            origin_check: OriginCheck::new(
                &["tally.example".into()],
                &["https://shop.example".into()],
            ),
            limits: limits.clone(),
        };
        let (routes, parts) = (Routes::new(&App::new(parts())), parts());
        World { routes, parts: Some(parts), fake, folder }
    }

    /// Writes a file into its folder of boards.
    pub(super) fn board(&self, file: &str, text: &str) {
        std::fs::write(self.folder.path().join("boards").join(file), text).unwrap();
    }

    /// What its routes share.
    pub(super) fn app(&self) -> &Arc<App> {
        self.routes.app()
    }

    /// How many more questions may be held until their answer changes.
    pub(super) fn free_to_hold(&self) -> usize {
        self.routes.app().held.available_permits()
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let (status, headers, bytes) = self.send_raw(request).await;
        Answer { status, headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }

    /// Of an answer that may be no text.
    pub(super) async fn send_raw(
        &self,
        mut request: Request<Body>,
    ) -> (StatusCode, HeaderMap, Bytes) {
        request.headers_mut().entry("host").or_insert(HeaderValue::from_static("localhost"));
        let response = middleware::respond(request, &self.routes, None).await;
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.unwrap().to_bytes())
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        self.send(
            Request::post(path)
                .header("content-type", "application/json")
                .body(body.into())
                .unwrap(),
        )
        .await
    }

    pub(super) async fn ask(&self, body: Value) -> Answer {
        self.post("/api/metrics", body.to_string()).await
    }

    /// Listens on a real socket.
    pub(super) async fn listen(&mut self) -> Listening {
        let bound: Bound = Server::bind("127.0.0.1:0").await.unwrap();
        let address = bound.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let parts = self.parts.take().unwrap();
        let served = tokio::spawn(bound.serve(parts, async move {
            let _ = stopped.await;
        }));
        Listening { address, stop: Some(stop), served }
    }
}

/// A server on a socket.
pub(super) struct Listening {
    pub(super) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Drained>,
}

impl Listening {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes and reads until the server closes.
    pub(super) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        let mut text = Vec::new();
        // A reset after the answer is a close too.
        let _ = stream.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }

    /// Tells it to stop.
    pub(super) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for its end.
    pub(super) async fn end(self) -> Drained {
        self.served.await.unwrap()
    }
}
