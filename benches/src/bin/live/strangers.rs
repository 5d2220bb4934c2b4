//! A listener's delay, and what is counted, alone and beside strangers.
//!
//! Strangers are idle, watch a question and ping, send what is no message, do not read, or come and
//! go; all at once.

use super::fan_out::listen;
use super::{Bench, counted_in_time, total};
use anyhow::Result;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tally_benches::measure::{median, quantile, spread};
use tally_benches::posts::Moments;
use tally_benches::sockets::Socket;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout_at};

/// Clients that do not read, in a round.
const UNREAD: usize = 100;

/// Bytes in which the system receives for them.
const NARROW: u32 = 4_096;

/// Clients that send what is no message.
const WRONG: usize = 10;

/// Between two of such messages.
const PAUSE: Duration = Duration::from_millis(20);

/// What a run came to.
struct Run {
    counted: f64,
    missed: u64,
    delays: Vec<f64>,
}

/// Strangers, until it is dropped.
struct Crowd {
    opened: Arc<AtomicU64>,
    /// Those that are idle or do not read.
    _still: Vec<Socket>,
    moving: JoinSet<Result<()>>,
}

impl Crowd {
    async fn gather(address: &str, (each, opens): (usize, u32), time: Duration) -> Result<Crowd> {
        let (mut still, mut moving) = (Vec::new(), JoinSet::new());
        for _ in 0..each {
            still.push(Socket::open(address, "/ws?events=none").await?);
            let socket = Socket::open(address, "/ws?events=none").await?;
            moving.spawn(watch_and_ping(socket));
        }
        for _ in 0..UNREAD {
            still.push(Socket::open_narrow(address, "/ws", NARROW).await?);
        }
        for _ in 0..WRONG {
            moving.spawn(say_nonsense(address.to_owned()));
        }
        let opened = Arc::new(AtomicU64::new(0));
        let (address, count) = (address.to_owned(), Arc::clone(&opened));
        moving.spawn(come_and_go(address, opens, time, count));
        Ok(Crowd { opened, _still: still, moving })
    }

    /// Whether all are still what they are meant to be.
    fn check(&mut self) -> Result<()> {
        while let Some(ended) = self.moving.try_join_next() {
            ended??;
        }
        Ok(())
    }
}

async fn watch_and_ping(mut socket: Socket) -> Result<()> {
    let question = json!({"type": "subscribe", "id": "q", "metric": "event_frequencies"});
    socket.say(&question.to_string()).await?;
    loop {
        let ping = Instant::now() + Duration::from_secs(1);
        while let Ok(read) = timeout_at(ping.into(), socket.read(|_| {})).await {
            read?;
        }
        socket.say(r#"{"type":"ping"}"#).await?;
    }
}

async fn say_nonsense(address: String) -> Result<()> {
    let too_large = "x".repeat(5_000);
    loop {
        let mut socket = Socket::open(&address, "/ws?events=none").await?;
        for text in ["{", "[]", "{\"type\":\"dance\"}", too_large.as_str()] {
            socket.say(text).await?;
            // The last one ends it.
            if socket.read(|_| {}).await.is_err() {
                break;
            }
            sleep(PAUSE).await;
        }
    }
}

/// Opens and drops so many in that time, as far as it comes.
async fn come_and_go(
    address: String,
    opens: u32,
    time: Duration,
    opened: Arc<AtomicU64>,
) -> Result<()> {
    let started = Instant::now();
    for n in 0..opens {
        sleep_until((started + time * n / opens).into()).await;
        drop(Socket::open(&address, "/ws").await?);
        opened.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn run(bench: &mut Bench) -> Result<Run> {
    let Bench { args, tally, poster, .. } = bench;
    let (wanted, moments) = (args.busy * args.seconds, Moments::default());
    let socket = Socket::open(&tally.address, "/ws").await?;
    let before = total(&tally.address).await?;
    let end = Instant::now() + args.time() * 2 + Duration::from_secs(10);
    let listening = tokio::spawn(listen(socket, wanted, end, Some(moments.clone())));
    let (posted, counted) = tokio::join!(
        poster.post(args.busy, args.seconds, &moments),
        counted_in_time(&tally.address, args, before)
    );
    posted?;
    let listened = listening.await??;
    let missed = wanted.saturating_sub(listened.events);
    Ok(Run { counted: counted?, missed, delays: listened.delays })
}

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let (mut alone, mut beside, mut opened) = (Vec::new(), Vec::new(), 0_u64);
    for _ in 0..bench.args.rounds {
        alone.push(run(bench).await?);
        let load = (bench.args.strangers, bench.args.opens);
        let time = bench.args.time();
        let mut crowd = Crowd::gather(&bench.tally.address, load, time).await?;
        beside.push(run(bench).await?);
        crowd.check()?;
        opened += crowd.opened.load(Ordering::Relaxed);
        drop(crowd);
    }
    report(bench, (&alone, &beside), opened / bench.args.rounds.max(1) as u64);
    Ok(())
}

fn report(bench: &mut Bench, (alone, beside): (&[Run], &[Run]), opened: u64) {
    let of = |runs: &[Run], what: fn(&Run) -> f64| -> Vec<f64> { runs.iter().map(what).collect() };
    let missed = |runs: &[Run]| runs.iter().map(|run| run.missed).sum::<u64>();
    let p99 = |runs: &[Run]| of(runs, |run| quantile(&run.delays, 0.99));
    let counted = |runs: &[Run]| of(runs, |run| run.counted * 100.0);
    let strangers = bench.args.strangers;
    let what = format!(
        "{} events/s; {strangers} idle, {strangers} busy, {UNREAD} that do not read, {opened} that come and go",
        bench.args.busy
    );
    bench.row(
        format!("{what}: a listener's p99, ms, alone / beside"),
        format!("{} / {}", spread(&p99(alone), 1), spread(&p99(beside), 1)),
        "the same",
    );
    bench.row(
        "the same: counted in time, %, alone / beside",
        format!("{} / {}", spread(&counted(alone), 1), spread(&counted(beside), 1)),
        "at least 98",
    );
    bench.row(
        "the same: events that the listener missed, alone / beside",
        format!("{} / {}", missed(alone), missed(beside)),
        "0",
    );
    let figures = json!({"each": strangers, "opened": opened, "events_per_s": bench.args.busy,
        "p99_ms_alone": median(&p99(alone)), "p99_ms": median(&p99(beside)),
        "counted_percent_alone": median(&counted(alone)), "counted_percent": median(&counted(beside)),
        "missed_alone": missed(alone), "missed": missed(beside)});
    bench.note("strangers", figures);
}
