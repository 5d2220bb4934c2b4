//! What is pushed is what is pulled: whatever is counted, sealed, raised and rolled, however time
//! passes with and without events, and at whatever moment of an evaluation: each answer that is
//! made is the one that a fresh recount gives, and once nothing is due, the last answer of each
//! question is the one that it would get now. What concerns no question has none evaluated.
//!
//! The lane is stepped by hand and the clock is handed in; the rest is what the threads use.
//!
//! Over 480 lines: one world, the questions to it, and what must hold in it.
#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]

use super::{LiveMachine, LiveOutcome, Walker};
use crate::event::{EventBatch, Position};
use crate::host::{self, ReadTable, function_metric};
use crate::memory::Share;
use crate::query::{Answer, Answers, Askable, Footprint, Limits, Moment, Refused, canonical};
use crate::state::{Folds, MetricId, Reading, State, compact};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_plugin::ask::{Ask, Reply, Warning};
use tally_plugin::description::{Cell, Description, From, Key, Merge, Pane, Table, Tier};
use tally_plugin::read::{Id, Measure, Only, Order, Rank, ReadRequest};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const KINDS: [&str; 3] = ["buy", "cart", "view"];

/// 2026-01-01T10:00:00Z.
const BEGIN: i64 = 1_767_261_600_000;

const METRIC: &str = "m";

#[derive(Clone, Debug)]
struct Event {
    partition: u32,
    user: u64,
    product: u64,
    kind: u16,
    /// How long before the clock; an event may be a little ahead of it.
    age: i64,
}

#[derive(Clone, Debug)]
enum Step {
    Count(Vec<Event>),
    Seal(u32),
    /// Raises floors to what is due now, and rolls up so many rows.
    Raise(usize),
    /// Time passes.
    Pass(i64),
    /// A look, while so much is counted between its cursor and its walk.
    Look(Vec<Event>),
    /// Evaluates what is due, at a moment from now on.
    Begin,
    /// The evaluations that have begun end.
    End,
    /// So much time passes for paces.
    Wait(u64),
    /// A question is watched at a pace, or no longer.
    Open(usize, u64),
    Close(usize),
}

fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    let age = prop_oneof![4 => -2 * MINUTE..90 * MINUTE, 1 => 0..60 * HOUR];
    let event = (0..2u32, 0..5u64, 0..4u64, 0..3u16, age).prop_map(
        |(partition, user, product, kind, age)| Event { partition, user, product, kind, age },
    );
    prop::collection::vec(event, 0..most)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let passes = prop_oneof![0..MINUTE, MINUTE..90 * MINUTE, Just(26 * HOUR)];
    let step = prop_oneof![
        6 => events(6).prop_map(Step::Count),
        2 => (0..2u32).prop_map(Step::Seal),
        1 => (1..40usize).prop_map(Step::Raise),
        3 => passes.prop_map(Step::Pass),
        5 => events(3).prop_map(Step::Look),
        5 => Just(Step::Begin),
        4 => Just(Step::End),
        3 => (0..400u64).prop_map(Step::Wait),
        2 => (0..6usize, 0..300u64).prop_map(|(question, pace)| Step::Open(question, pace)),
        1 => (0..6usize).prop_map(Step::Close),
    ];
    prop::collection::vec(step, 1..50)
}

/// Params of questions.
fn questions() -> impl Strategy<Value = Vec<Value>> {
    let read = prop::sample::select(vec!["user", "top", "types", "chain", "own"]);
    let window = prop::sample::select(vec!["1m", "1h", "3h", "30h", "all"]);
    let bucket = prop::sample::select(vec!["1m", "1h", "1d"]);
    let (window, bucket) = (prop::option::of(window), prop::option::weighted(0.3, bucket));
    let to = prop::option::weighted(0.2, -3 * HOUR..3 * HOUR);
    let one = (read, 0..5u64, window, bucket, any::<bool>(), to);
    let one = one.prop_map(|(read, user, window, bucket, views, to)| {
        let mut params = Map::new();
        params.insert("read".into(), json!(read));
        params.insert("user".into(), json!(user));
        params.extend(window.map(|window| ("window".to_owned(), json!(window))));
        params.extend(bucket.map(|bucket| ("bucket".to_owned(), json!(bucket))));
        params.extend(views.then(|| ("event_types".to_owned(), json!(["view"]))));
        params.extend(to.map(|to| ("to".to_owned(), json!(BEGIN + to))));
        Value::Object(params)
    });
    prop::collection::vec(one, 1..6)
}

fn description() -> Description {
    let keep = |pane, hours: Option<i64>| Tier { pane, keep_ms: hours.map(|hours| hours * HOUR) };
    let tiers =
        vec![keep(Pane::Minute, Some(3)), keep(Pane::Hour, Some(24)), keep(Pane::Day, None)];
    let cells = vec![Cell { name: "n".into(), merge: Merge::Sum, from: From::One }];
    let table = |name: &str, key: Vec<Key>, group| Table {
        name: name.into(),
        key,
        group,
        only: Vec::new(),
        cells: cells.clone(),
        tiers: tiers.clone(),
    };
    Description {
        summary: String::new(),
        tables: vec![
            table("users", vec![Key::UserId, Key::ProductId, Key::EventType], 1),
            table("products", vec![Key::ProductId, Key::EventType], 0),
            table("types", vec![Key::EventType], 0),
        ],
        properties: Vec::new(),
        computed: Vec::new(),
        time: true,
        params_schema: json!({"type": "object", "properties": {"read": {}, "user": {}}}),
        result_schema: json!({}),
        examples: Vec::new(),
    }
}

fn user_id(user: u64) -> Id {
    if user.is_multiple_of(2) { Id::Text(format!("user-{user}")) } else { Id::Integer(user) }
}

/// Reads that depend on params, on the window, and on what is found.
fn answer(ask: &Ask, read: &ReadTable<'_>) -> Reply {
    let user = ask.params["user"].as_u64().unwrap_or_default();
    let types = ask.event_types.iter().map(|types| Only {
        column: Key::EventType,
        ids: types.iter().cloned().map(Id::Text).collect(),
    });
    let types: Vec<Only> = types.collect();
    let of = |table: &str| ReadRequest {
        table: table.into(),
        from: ask.window.from,
        to: ask.window.to,
        only: types.clone(),
        part_by: vec![Key::EventType],
        step_ms: ask.steps.map(|steps| steps.step_ms),
        ..ReadRequest::default()
    };
    let of_user = |user: u64| {
        let mut request = of("users");
        request.only.push(Only { column: Key::UserId, ids: vec![user_id(user)] });
        request
    };
    let mut found = Vec::new();
    match ask.params["read"].as_str().unwrap_or_default() {
        "user" => found.push(read(&of_user(user))),
        "top" => {
            let by = vec![Measure { cell: "n".into(), weights: None }];
            let rank = Some(Rank { by, order: Order::Desc, limit: 2 });
            found.push(read(&ReadRequest {
                group_by: vec![Key::ProductId],
                rank,
                ..of("products")
            }));
        }
        // One user after the other, as long as each has an odd number of events.
        "chain" => {
            for user in user..user + 3 {
                let one = read(&of_user(user));
                let parts = one.iter().flat_map(|one| &one.total);
                let events: i128 = parts.map(|part| part.cells[0]).sum();
                found.push(one);
                if events % 2 == 0 {
                    break;
                }
            }
        }
        // A series that nobody asked for, over everything: of days, which are held for ever.
        "own" => {
            let (from, to, step_ms) = (None, None, Some(24 * HOUR));
            found.push(read(&ReadRequest { from, to, step_ms, ..of("types") }));
        }
        _ => found.push(read(&of("types"))),
    }
    let grid: Option<Vec<(i64, bool)>> = ask.steps.map(|steps| steps.iter().collect());
    let window = (ask.window.from, ask.window.to);
    let result = json!({"found": found, "grid": grid, "window": window});
    Reply::Answer { result, warnings: Vec::new() }
}

fn limits() -> Limits {
    Limits {
        deadline: Duration::from_secs(60),
        answer_bytes: 16 << 20,
        memory: Arc::new(Share::new(1 << 30)),
    }
}

/// What an asker is told.
type Told = Result<(Arc<str>, (Option<i64>, Option<i64>), Vec<Warning>), Refused>;

fn told(answer: &Result<Arc<Answer>, Refused>) -> Told {
    let answer = answer.as_ref().map_err(Clone::clone)?;
    Ok((answer.result.clone(), answer.window, answer.warnings.clone()))
}

/// A metric that is counted, the same counted once more without seals and caches, and who watches.
struct World {
    plugin: Arc<host::Metric>,
    askable: Askable,
    state: State,
    twin: State,
    metric: MetricId,
    next: [u64; 2],
    version: u64,
    clock: i64,
    start: Instant,
    /// Milliseconds since the start, for paces.
    passed: u64,
    machine: LiveMachine,
    walker: Walker,
    generation: u64,
    params: Vec<Arc<Value>>,
    /// Number and pace of each that is watched.
    open: BTreeMap<usize, (u64, Duration)>,
    running: Vec<(u64, LiveOutcome, Told)>,
    last: BTreeMap<u64, Told>,
    evaluations: usize,
}

impl World {
    fn new(params: Vec<Value>) -> World {
        let plugin = Arc::new(function_metric(METRIC, description(), answer));
        let answers = Arc::new(Answers::new(1 << 20));
        let mut state = State::default();
        let mut twin = State::default().keeping(Arc::new(Folds::new(0)));
        let metric = state.add(&description());
        assert_eq!(twin.add(&description()), metric);
        let askable = Askable::new(metric, plugin.clone(), &answers, &limits()).unwrap();
        let mut different: BTreeMap<String, Arc<Value>> = BTreeMap::new();
        for params in params {
            different.insert(canonical(params.as_object().unwrap()), Arc::new(params));
        }
        World {
            plugin,
            askable,
            state,
            twin,
            metric,
            next: [0; 2],
            version: 1,
            clock: BEGIN,
            start: Instant::now(),
            passed: 0,
            machine: LiveMachine::default(),
            walker: Walker::default(),
            generation: 1,
            params: different.into_values().collect(),
            open: BTreeMap::new(),
            running: Vec::new(),
            last: BTreeMap::new(),
            evaluations: 0,
        }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.passed)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Count(events) => self.count(&events),
            Step::Seal(partition) => drop(self.state.seal(self.metric, partition)),
            Step::Raise(rows) => self.raise(rows),
            Step::Pass(ms) => self.clock += ms,
            Step::Look(meanwhile) => self.look(&meanwhile),
            Step::Begin => self.begin(),
            Step::End => self.end(),
            Step::Wait(ms) => self.passed += ms,
            Step::Open(n, pace) => self.watch(n, Duration::from_millis(pace)),
            Step::Close(n) => self.close(n),
        }
    }

    fn count(&mut self, events: &[Event]) {
        for partition in 0..2 {
            let from = self.next[partition as usize];
            let batch = self.batch(events, partition, from);
            self.next[partition as usize] = batch.to;
            for state in [&mut self.state, &mut self.twin] {
                state.begin(&batch);
                state.apply(self.metric, &batch, batch.from, &[]);
            }
        }
        self.version += 1;
    }

    fn batch(&self, events: &[Event], partition: u32, from: u64) -> EventBatch {
        let mut batch = EventBatch { partition, from, ..EventBatch::default() };
        batch.kind_names = KINDS.map(Box::from).into();
        for event in events.iter().filter(|event| event.partition == partition) {
            let user = match user_id(event.user) {
                Id::Text(text) => batch.push_text(text.as_bytes()),
                Id::Integer(user) => user,
            };
            batch.users.push(user);
            batch.offsets.push(from + batch.offsets.len() as u64);
            batch.products.push(event.product);
            batch.kinds.push(event.kind);
            batch.times.push(self.clock - event.age);
        }
        batch.to = from + batch.offsets.len() as u64;
        batch
    }

    fn raise(&mut self, rows: usize) {
        let event = Event { partition: 0, user: 1, product: 1, kind: 0, age: 0 };
        let batch = self.batch(&[event], 0, 0);
        let mut once = State::tails_only();
        let one = once.add(&description());
        once.begin(&batch);
        once.apply(one, &batch, 0, &[]);
        let sealed = once.seal(one, 0);
        for frame in once.frames(one, &[&sealed]) {
            let table = usize::from(frame.table);
            let of = &description().tables[table];
            let snapshot = compact(of, &[frame.bytes], self.clock).unwrap();
            self.state.raise(self.metric, table, &snapshot).unwrap();
            self.twin.raise(self.metric, table, &snapshot).unwrap();
        }
        self.state.roll(rows);
    }

    fn watch(&mut self, n: usize, pace: Duration) {
        let Some(params) = self.params.get(n).cloned() else { return };
        self.close(n);
        let canonical = canonical(params.as_object().unwrap());
        let key = (&Arc::from(METRIC), &Arc::from(canonical));
        let question = self.machine.open(key, &params, pace, self.now());
        self.open.insert(n, (question, pace));
    }

    fn close(&mut self, n: usize) {
        if let Some((question, pace)) = self.open.remove(&n) {
            assert!(self.machine.close(question, pace));
            self.last.remove(&question);
        }
    }

    /// As the thread does that watches, with events that come beside it.
    fn look(&mut self, meanwhile: &[Event]) {
        let (now, clock, version) = (self.now(), self.clock, self.version);
        let held = self.state.held(self.metric);
        let came = self.walker.is_behind(version, &held);
        let cursor = came.then(|| self.state.cursor(self.metric));
        let Some(look) = self.machine.begin_look(METRIC, self.generation, "", now) else {
            self.generation += 1;
            return;
        };
        if look.restarted {
            self.walker = Walker::default();
        }
        self.walker.change(&look.changes);
        if !meanwhile.is_empty() {
            self.count(meanwhile);
        }
        if let Some(cursor) = cursor {
            let ends_moved = self.walker.ends_moved(&held, clock);
            let mut walked = self.walker.walk((version, cursor), held, clock, look.idle);
            if walked.reading == Reading::Exact && ends_moved {
                for (question, params, meant) in self.machine.following(METRIC) {
                    let params = params.as_object().unwrap();
                    if self.askable.meaning(params, clock, &held) != Some(meant) {
                        walked.hits.push(question);
                    }
                }
            }
            self.machine.moved(METRIC, &walked, now);
        }
        self.machine.clock(clock, now);
    }

    /// As the threads do that evaluate.
    fn begin(&mut self) {
        let Some(round) = self.machine.due(self.now()) else { return };
        for (question, params) in round.questions {
            self.evaluations += 1;
            let moment = self.moment(&self.state);
            let answer = self.ask(&self.askable, &params, &moment);
            let (pushed, pulled) = (told(&answer), self.pulled(&params));
            assert_eq!(pushed, pulled, "at {} with {params}", self.clock);
            let (object, held) = (params.as_object().unwrap(), moment.state.held());
            let outcome = match &answer {
                Ok(answer) => LiveOutcome {
                    version: self.version,
                    footprint: answer.footprint.clone(),
                    edge: self.askable.next_edge(object, self.clock, held),
                    meaning: self.askable.meaning(object, self.clock, held),
                    failed: false,
                },
                Err(_) => LiveOutcome { failed: true, ..LiveOutcome::default() },
            };
            self.running.push((question, outcome, pushed));
        }
    }

    fn end(&mut self) {
        for (question, outcome, pushed) in std::mem::take(&mut self.running) {
            if self.machine.finish(question, outcome, self.now()).is_some() {
                self.last.insert(question, pushed);
            }
        }
    }

    fn moment(&self, state: &State) -> Moment {
        let (state, position) = (state.moment(self.metric), Position::default());
        Moment { state, position, version: self.version }
    }

    fn ask(
        &self,
        askable: &Askable,
        params: &Value,
        moment: &Moment,
    ) -> Result<Arc<Answer>, Refused> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let params = askable.check(params, self.clock)?;
        askable.answer(&params, self.clock, deadline, moment)
    }

    /// What a question would be answered now by who has kept nothing.
    fn pulled(&self, params: &Value) -> Told {
        let answers = Arc::new(Answers::new(1 << 16));
        let plugin = self.plugin.clone();
        let askable = Askable::new(self.metric, plugin, &answers, &limits()).unwrap();
        told(&self.ask(&askable, params, &self.moment(&self.twin)))
    }

    /// Looks and evaluates until nothing is due but what is refused, which is tried for ever.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.end();
            self.look(&[]);
            self.passed += 2_000;
            while self.machine.next_ready().is_some_and(|ready| ready <= self.now()) {
                self.begin();
                self.end();
            }
        }
    }

    /// Whether each question that is watched was told last what it would be told now.
    fn is_up_to_date(&self) -> Result<(), TestCaseError> {
        for (n, (question, _)) in &self.open {
            let params = &self.params[*n];
            let last = self.last.get(question).cloned();
            prop_assert_eq!(last, Some(self.pulled(params)), "{} at {}", params, self.clock);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_pushed_is_what_is_pulled(steps in steps(), questions in questions()) {
        let mut world = World::new(questions);
        world.watch(0, Duration::ZERO);
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.is_up_to_date()?;
        // And again after nothing but time.
        world.clock += 70 * MINUTE;
        world.settle();
        world.is_up_to_date()?;
    }
}

fn event(user: u64, product: u64, age: i64) -> Event {
    Event { partition: 0, user, product, kind: 0, age }
}

/// A world in which these questions have their answers, after some events.
fn settled(questions: Vec<Value>) -> World {
    let mut world = World::new(questions);
    world.count(&[event(1, 1, MINUTE), event(2, 2, MINUTE), event(3, 3, MINUTE)]);
    (0..world.params.len()).for_each(|n| world.watch(n, Duration::ZERO));
    world.settle();
    world.evaluations = 0;
    world.settle();
    assert_eq!(world.evaluations, 0, "nothing came");
    world
}

#[test]
fn what_concerns_nobody_has_nothing_evaluated() {
    let of = |user: u64, window: &str| json!({"read": "user", "user": user, "window": window});
    let mut world = settled(vec![of(1, "1h"), of(1, "all"), of(2, "1h"), of(2, "all")]);
    for n in 0..100 {
        // Other users, checkpoints, and a user whose window this is not.
        world.count(&[event(3, n % 4, MINUTE), event(4, 1, MINUTE), event(100 + n, 1, MINUTE)]);
        if n % 10 == 0 {
            world.state.seal(world.metric, 0);
        }
        world.settle();
    }
    assert_eq!(world.evaluations, 0);
    world.count(&[event(1, 1, 5 * HOUR)]);
    world.settle();
    assert_eq!(world.evaluations, 1, "before the one window, and in the other");
    world.count(&[event(1, 1, MINUTE), event(1, 1, MINUTE), event(1, 1, MINUTE)]);
    world.settle();
    assert_eq!(world.evaluations, 3, "once each for all three");
    world.is_up_to_date().unwrap();
}

#[test]
fn a_window_that_ends_now_moves_without_events() {
    let mut world = settled(vec![json!({"read": "types", "window": "1h"}), json!({})]);
    let with_events = world.last.values().filter(|told| found(told) == 3).count();
    assert_eq!(with_events, 2);
    world.clock += 30 * MINUTE;
    world.settle();
    assert!(world.evaluations >= 1, "its window is another one");
    world.clock += 31 * MINUTE;
    world.settle();
    let mut left: Vec<i64> = world.last.values().map(found).collect();
    left.sort_unstable();
    assert_eq!(left, [0, 3], "one hour later only the window without an end has them");
    world.is_up_to_date().unwrap();
}

/// Events in an answer of one read.
fn found(told: &Told) -> i64 {
    let result: Value = serde_json::from_str(&told.as_ref().unwrap().0).unwrap();
    let parts = result["found"][0]["total"].as_array().unwrap();
    parts.iter().map(|part| part["cells"][0].as_i64().unwrap()).sum()
}

#[test]
fn a_footprint_is_what_was_read() {
    let mut world = settled(vec![json!({"read": "chain", "user": 1})]);
    let moment = world.moment(&world.state);
    let answer = world.ask(&world.askable, &json!({"read": "chain", "user": 1}), &moment).unwrap();
    let users: Vec<&Id> = read_users(&answer.footprint);
    assert_eq!(users, [&user_id(1), &user_id(2), &user_id(3)], "each has one event");
    drop(moment);
    world.count(&[event(1, 1, MINUTE)]);
    world.settle();
    assert_eq!(world.evaluations, 1);
    // The second and third are not looked at any more.
    world.count(&[event(2, 1, MINUTE), event(3, 1, MINUTE)]);
    world.settle();
    assert_eq!(world.evaluations, 1);
    world.count(&[event(1, 1, MINUTE)]);
    world.settle();
    assert_eq!(world.evaluations, 2);
    world.is_up_to_date().unwrap();
}

fn read_users(footprint: &Footprint) -> Vec<&Id> {
    let filters = footprint.interests().unwrap().iter().flat_map(|interest| &interest.only);
    filters.filter(|only| only.column == Key::UserId).flat_map(|only| &only.ids).collect()
}
