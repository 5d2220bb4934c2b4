//! From an event to the first update that contains it, of one question and of many.
//!
//! Each question counts every so many events, so that its total says which are in an update.

use super::fan_out::leading_number;
use super::{Bench, counted_in_time, figure, total};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tally_benches::measure::{median, quantile, spread};
use tally_benches::posts::{Moments, USERS};
use tally_benches::sockets::Socket;
use tokio::time::timeout_at;

/// Subscriptions of a socket.
const OF_SOCKET: usize = 60;

/// The least interval that `[live] min_interval_ms` allows by default, milliseconds.
const LEAST: u64 = 50;

/// How long after the end of a run the last update may come.
const SETTLED: Duration = Duration::from_secs(10);

/// A question that counts event `first` of a run and every `stride`-th from there on.
struct Question {
    metric: &'static str,
    params: Value,
    first: u64,
    stride: u64,
}

/// How far the updates of a question are.
struct Progress {
    first: u64,
    stride: u64,
    /// What it counted before the run.
    base: Option<u64>,
    /// Events of the run in its updates.
    seen: u64,
    /// Events of the run that it counts.
    wanted: u64,
}

/// One socket and its questions, by their ids.
struct Watcher {
    socket: Socket,
    watched: Vec<Progress>,
    delays: Vec<f64>,
    updates: u64,
    errors: u64,
}

/// What a run came to.
struct Run {
    evaluations_per_s: f64,
    counted: f64,
    updates_per_s: f64,
    errors: u64,
    delays: Vec<f64>,
}

impl Question {
    fn subscribe(&self, id: usize, interval: u64) -> String {
        json!({"type": "subscribe", "id": id.to_string(), "metric": self.metric,
            "params": self.params, "min_interval_ms": interval})
        .to_string()
    }
}

impl Watcher {
    /// Subscribes, and waits for the first answer to each question.
    async fn open(address: &str, of: &[Question], interval: u64, events: u64) -> Result<Watcher> {
        let mut socket = Socket::open(address, "/ws?events=none").await?;
        let mut watched: Vec<Progress> = of
            .iter()
            .map(|Question { first, stride, .. }| Progress {
                first: *first,
                stride: *stride,
                base: None,
                seen: 0,
                wanted: events.saturating_sub(*first).div_ceil(*stride),
            })
            .collect();
        for (id, question) in of.iter().enumerate() {
            socket.say(&question.subscribe(id, interval)).await?;
        }
        let mut open = of.len();
        socket
            .until(|text| {
                if let Some((id, total)) = parse(text)
                    && let Some(progress) = watched.get_mut(id)
                {
                    open -= usize::from(progress.base.replace(total).is_none());
                }
                open == 0
            })
            .await?;
        Ok(Watcher { socket, watched, delays: Vec::new(), updates: 0, errors: 0 })
    }

    /// Reads until all events are in updates.
    async fn read(mut self, moments: Moments, end: Instant) -> Result<Watcher> {
        while self.watched.iter().any(|progress| progress.seen < progress.wanted) {
            let Watcher { socket, watched, delays, updates, errors } = &mut self;
            let read = socket.read(|text| match parse(text) {
                Some((id, total)) => {
                    *updates += 1;
                    if let Some(progress) = watched.get_mut(id) {
                        progress.note(total, &moments, delays);
                    }
                }
                None => *errors += u64::from(text.starts_with(b"{\"type\":\"error\"")),
            });
            timeout_at(end.into(), read).await.context("wrong: an update lacks events")??;
        }
        Ok(self)
    }
}

impl Progress {
    fn note(&mut self, total: u64, moments: &Moments, delays: &mut Vec<f64>) {
        let now = Instant::now();
        let seen = total.saturating_sub(self.base.unwrap_or(total));
        let moments = moments.lock();
        for number in self.seen..seen {
            let posted = moments.get((self.first + number * self.stride) as usize);
            delays.extend(posted.map(|posted| (now - *posted).as_secs_f64() * 1_000.0));
        }
        self.seen = seen.max(self.seen);
    }
}

/// The id and the total of an update.
fn parse(text: &[u8]) -> Option<(usize, u64)> {
    const TOTAL: &[u8] = b"\"total\":";
    let rest = text.strip_prefix(b"{\"type\":\"update\",\"id\":\"")?;
    let total = rest.windows(TOTAL.len()).position(|part| part == TOTAL)? + TOTAL.len();
    Some((leading_number(rest) as usize, leading_number(&rest[total..])))
}

async fn run(bench: &mut Bench, questions: &[Question], interval: u64) -> Result<Run> {
    let Bench { args, tally, poster, .. } = bench;
    let (address, moments) = (tally.address.as_str(), Moments::default());
    let mut open = Vec::new();
    for some in questions.chunks(OF_SOCKET) {
        open.push(Watcher::open(address, some, interval, args.busy * args.seconds).await?);
    }
    let evaluated = figure(address, "tally_live_evaluations_total").await?;
    let (before, started) = (total(address).await?, Instant::now());
    let end = started + args.time() * 2 + SETTLED;
    let reading: Vec<_> =
        open.into_iter().map(|watcher| tokio::spawn(watcher.read(moments.clone(), end))).collect();
    let (posted, counted) = tokio::join!(
        poster.post(args.busy, args.seconds, &moments),
        counted_in_time(address, args, before)
    );
    let seconds = posted?.as_secs_f64();
    let evaluations = figure(address, "tally_live_evaluations_total").await? - evaluated;
    let evaluations_per_s = evaluations / started.elapsed().as_secs_f64();
    let (mut delays, mut updates, mut errors) = (Vec::new(), 0_u64, 0_u64);
    for watcher in reading {
        let watcher = watcher.await??;
        delays.extend(watcher.delays);
        updates += watcher.updates;
        errors += watcher.errors;
    }
    ensure!(!delays.is_empty(), "wrong: no update came");
    let updates_per_s = updates as f64 / seconds;
    Ok(Run { evaluations_per_s, counted: counted?, updates_per_s, errors, delays })
}

/// Many different questions to one metric.
pub(super) async fn measure_many(bench: &mut Bench) -> Result<()> {
    let question = |user: u64| Question {
        metric: "user_activities",
        params: json!({"user_id": user, "limit": 1}),
        first: user,
        stride: USERS,
    };
    let questions: Vec<Question> = (0..bench.args.questions).map(question).collect();
    let interval = bench.args.interval;
    let mut runs = Vec::new();
    for _ in 0..bench.args.rounds {
        runs.push(run(bench, &questions, interval).await?);
    }
    let what = format!("{} questions, {} events/s", questions.len(), bench.args.busy);
    report(bench, ("questions", &what), &runs, (interval, ""));
    Ok(())
}

/// One question, as often as may be.
pub(super) async fn measure_one(bench: &mut Bench) -> Result<()> {
    let params = json!({});
    let questions = [Question { metric: "event_frequencies", params, first: 0, stride: 1 }];
    let mut runs = Vec::new();
    for _ in 0..bench.args.rounds {
        runs.push(run(bench, &questions, LEAST).await?);
    }
    let what = format!("one question every {LEAST} ms, {} events/s", bench.args.busy);
    let goal = format!("p99 at most {}", LEAST + 20);
    report(bench, ("delay", &what), &runs, (LEAST, &goal));
    Ok(())
}

fn report(
    bench: &mut Bench,
    (name, what): (&str, &str),
    runs: &[Run],
    (interval, goal): (u64, &str),
) {
    let of = |what: fn(&Run) -> f64| -> Vec<f64> { runs.iter().map(what).collect() };
    let evaluations = of(|run| run.evaluations_per_s);
    let updates = of(|run| run.updates_per_s);
    let counted = of(|run| run.counted * 100.0);
    let errors: u64 = runs.iter().map(|run| run.errors).sum();
    let p50 = of(|run| quantile(&run.delays, 0.5));
    let p99 = of(|run| quantile(&run.delays, 0.99));
    bench.row(
        format!("{what}: evaluations a second / updates"),
        format!("{} / {}", spread(&evaluations, 0), spread(&updates, 0)),
        "",
    );
    bench.row(
        format!("{what}: event to update, p50, p99, ms"),
        format!("{}, {}", spread(&p50, 1), spread(&p99, 1)),
        goal,
    );
    bench.row(format!("{what}: counted in time, %"), spread(&counted, 1), "at least 90");
    bench.row(format!("{what}: errors"), errors.to_string(), "0");
    let figures = json!({"min_interval_ms": interval, "events_per_s": bench.args.busy,
        "evaluations_per_s": median(&evaluations), "updates_per_s": median(&updates),
        "p50_ms": median(&p50), "p99_ms": median(&p99), "counted_percent": median(&counted),
        "errors": errors});
    bench.note(name, figures);
}
