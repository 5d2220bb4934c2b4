//! What answers cost: latency while events stream in, and requests per second against a bare axum
//! route.
//!
//! `query` starts the built `tally` on an embedded log that holds 2,000,000 events of 100,000 users
//! and 10,000 products (text ids). **Latency**: while `POST /api/events` takes 50,000 events a
//! second (NDJSON, 500 in a request), each question is posted 50 times a second on a connection of
//! its own; its latency runs from the moment at which it was due, so that waiting in a queue
//! counts. **Throughput**: no events; eight connections ask as fast as they can, a second at a time
//! in turn with a bare axum route, in a process of its own, that reads the body and returns the
//! same bytes. The load client shares the machine with the server. Answers that were given up at
//! the server's deadline (504) are counted, and are in the latencies. Afterwards the counts must
//! add up.
//!
//! Goals: p99 at most 5 ms; at least half the requests per second of the bare route.
#![allow(clippy::print_stdout)] // a measurement program prints

use anyhow::{Context, Result, bail, ensure};
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use bytes::Bytes;
use clap::Parser;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tally_benches::events::{Generator, Ids, Oracle};
use tally_benches::http::{Connection, Serving};
use tally_benches::measure::{self, median, quantile, spread};
use tally_benches::topics::{self, Place};

const JSON: &str = "application/json";
/// Events in a request of the stream.
const POSTED: u64 = 500;
/// Questions of one kind in a second.
const ASKED: u64 = 50;
/// Connections that ask as fast as they can.
const BUSY: usize = 8;

/// Latency and throughput of answers.
#[derive(Parser)]
struct Args {
    /// Events in the log before
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    /// Events posted in a second
    #[arg(long, default_value_t = 50_000)]
    rate: u64,
    /// Rounds; each is some seconds of latency, then a second of each server and question
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of latency in a round
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Keeps the log here for the next run
    #[arg(long, value_name = "DIR")]
    keep_topic: Option<PathBuf>,
    /// Serves the bytes of this file, as a child of this program
    #[arg(long, hide = true)]
    echo: Option<PathBuf>,
}

/// Name in the table, and the request's body.
fn questions() -> Vec<(&'static str, Value)> {
    vec![
        ("event_frequencies", json!({"name": "event_frequencies"})),
        ("products_popularity", json!({"name": "products_popularity"})),
        (
            "products_popularity, last hour",
            json!({"name": "products_popularity", "params": {"window": "1h"}}),
        ),
        ("user_activities", json!({"name": "user_activities", "params": {"user_id": "u0048271"}})),
    ]
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(file) = &args.echo {
        return echo(std::fs::read(file)?.into()).await;
    }
    let place = Place::new(args.keep_topic.clone())?;
    let (log, oracle) = place.log(Ids::Text, args.events)?;
    let data = topics::fresh(&log)?;
    let program = std::env::current_exe()?.with_file_name("tally");
    let data_dir = data.path().display().to_string();
    let tally = Serving::start(
        &program,
        &["run", "--listen", "127.0.0.1:0", "--data-dir", &data_dir],
        data.path(),
    )?;
    until(&tally.address, args.events).await?;

    let (mut latencies, mut rates) = (vec![Asked::default(); questions().len()], Vec::new());
    let mut posted = Generator::new(Ids::Text, 1.0, 7);
    for _ in 0..args.rounds {
        latency(&args, &tally.address, &mut posted, &mut latencies).await?;
        until(&tally.address, args.events + posted.oracle.total).await?;
        rates.push(throughput(&tally).await?);
    }
    check(&tally.address, &oracle, &posted.oracle).await?;
    report(&args, &latencies, &rates);
    Ok(())
}

/// Latencies in milliseconds, and how many answers were 504.
type Asked = (Vec<f64>, usize);

/// The bare route.
async fn echo(bytes: Bytes) -> Result<()> {
    let answer = move |_: Bytes| {
        let bytes = bytes.clone();
        async move { ([(CONTENT_TYPE, JSON)], bytes) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    hyper_serve(listener, Router::new().route("/api/metrics", post(answer))).await
}

async fn hyper_serve(listener: tokio::net::TcpListener, router: Router) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let io = hyper_util::rt::TokioIo::new(stream);
        // a client that leaves ends its own connection only
        drop(tokio::spawn(
            hyper::server::conn::http1::Builder::new().serve_connection(io, service),
        ));
    }
}

async fn ask(connection: &mut Connection, body: &Bytes) -> Result<Bytes> {
    connection.post("/api/metrics", JSON, body.clone()).await
}

fn body(question: &Value) -> Bytes {
    question.to_string().into()
}

/// Waits until so many events are counted.
async fn until(address: &str, events: u64) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    let started = Instant::now();
    let question = body(&json!({"name": "event_frequencies"}));
    loop {
        // not ready yet is no fault here
        if let Ok(answer) = ask(&mut connection, &question).await
            && serde_json::from_slice::<Value>(&answer)?["result"]["total"] == json!(events)
        {
            return Ok(());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(120),
            "{events} events were not counted within two minutes"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn latency(
    args: &Args,
    address: &str,
    posted: &mut Generator,
    latencies: &mut [Asked],
) -> Result<()> {
    let asking = Arc::new(AtomicBool::new(true));
    let mut askers = Vec::new();
    for (_, question) in questions() {
        let (asking, address) = (asking.clone(), address.to_owned());
        askers.push(tokio::spawn(async move { asker(&address, body(&question), &asking).await }));
    }
    let streamed = stream(args, address, posted).await;
    asking.store(false, Ordering::Relaxed);
    streamed?;
    for (latencies, asker) in latencies.iter_mut().zip(askers) {
        let (taken, late) = asker.await??;
        latencies.0.extend(taken);
        latencies.1 += late;
    }
    Ok(())
}

/// Milliseconds from when each question was due to its answer, and how many were refused as taking
/// too long.
async fn asker(address: &str, question: Bytes, asking: &AtomicBool) -> Result<(Vec<f64>, usize)> {
    let mut connection = Connection::open(address).await?;
    let (mut taken, mut late) = (Vec::new(), 0);
    let started = Instant::now();
    while asking.load(Ordering::Relaxed) {
        let due = started + Duration::from_micros(1_000_000 / ASKED) * taken.len() as u32;
        // the timer's own lateness is not the server's; the time a question had to wait for the one
        // before is
        let begun = if Instant::now() > due {
            due
        } else {
            tokio::time::sleep_until(due.into()).await;
            Instant::now()
        };
        let (status, answer) = connection.exchange("/api/metrics", JSON, question.clone()).await?;
        taken.push(begun.elapsed().as_secs_f64() * 1_000.0);
        match status {
            StatusCode::OK => {}
            StatusCode::GATEWAY_TIMEOUT => late += 1,
            other => bail!("{other}: {}", String::from_utf8_lossy(&answer)),
        }
    }
    Ok((taken, late))
}

/// Posts events at the rate for some seconds, two requests on their way at a time.
async fn stream(args: &Args, address: &str, posted: &mut Generator) -> Result<()> {
    let mut connections = [Connection::open(address).await?, Connection::open(address).await?];
    let (requests, started) = (args.rate * args.seconds / POSTED, Instant::now());
    let mut text = String::new();
    for n in (0..requests).step_by(2) {
        let due = Duration::from_secs_f64((n * POSTED) as f64 / args.rate as f64);
        tokio::time::sleep_until((started + due).into()).await;
        posted.now_ms = Some(jiff::Timestamp::now().as_millisecond());
        let mut bodies = [String::new(), String::new()];
        for body in &mut bodies {
            for _ in 0..POSTED {
                posted.next_into(&mut text);
                body.push_str(&text);
                body.push('\n');
            }
        }
        let [one, other] = bodies.map(Bytes::from);
        let [first, second] = &mut connections;
        let kind = "application/x-ndjson";
        tokio::try_join!(
            first.post("/api/events", kind, one),
            second.post("/api/events", kind, other)
        )?;
    }
    let (taken, planned) = (started.elapsed().as_secs_f64(), args.seconds as f64);
    ensure!(
        taken < planned * 1.1,
        "{} events a second were not taken: {taken:.1} s instead of {planned} s",
        args.rate
    );
    Ok(())
}

/// Requests per second and server CPU microseconds per request, of Tally and of the bare route, for
/// each question.
type Rates = Vec<[(f64, f64); 2]>;

async fn throughput(tally: &Serving) -> Result<Rates> {
    let mut rates = Vec::new();
    for (_, question) in questions().into_iter().take(2) {
        let question = body(&question);
        let answer = ask(&mut Connection::open(&tally.address).await?, &question).await?;
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(&file, &answer)?;
        let bare = Serving::start(
            &std::env::current_exe()?,
            &["--echo", &file.path().display().to_string()],
            file.path().parent().context("a file lies in a folder")?,
        )?;
        let mut of_question = [(0.0, 0.0); 2];
        for (server, measured) in [tally, &bare].into_iter().zip(&mut of_question) {
            let (before, started) = (measure::cpu_of(&server.id()), Instant::now());
            let end = started + Duration::from_secs(1);
            let busy: Vec<_> = (0..BUSY)
                .map(|_| tokio::spawn(hurry(server.address.clone(), question.clone(), end)))
                .collect();
            let mut requests = 0u64;
            for busy in busy {
                requests += busy.await??;
            }
            let (seconds, spent) =
                (started.elapsed().as_secs_f64(), measure::cpu_of(&server.id()) - before);
            *measured = (requests as f64 / seconds, spent.as_secs_f64() * 1e6 / requests as f64);
        }
        rates.push(of_question);
    }
    Ok(rates)
}

async fn hurry(address: String, question: Bytes, end: Instant) -> Result<u64> {
    let mut connection = Connection::open(&address).await?;
    let mut requests = 0;
    while Instant::now() < end {
        ask(&mut connection, &question).await?;
        requests += 1;
    }
    Ok(requests)
}

/// What was in the log and what was posted must add up.
async fn check(address: &str, before: &Oracle, posted: &Oracle) -> Result<()> {
    let answer =
        ask(&mut Connection::open(address).await?, &body(&json!({"name": "event_frequencies"})))
            .await?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let count = |oracle: &Oracle, name: &str| oracle.by_type()[name].as_u64().unwrap_or(0);
    for (name, found) in answer["result"]["by_type"].as_object().context("no types")? {
        let expected = count(before, name) + count(posted, name);
        ensure!(
            found.as_u64() == Some(expected),
            "wrong: {found} of type {name} instead of {expected}"
        );
    }
    Ok(())
}

fn report(args: &Args, latencies: &[Asked], rounds: &[Rates]) {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (n, ((name, _), (latencies, late))) in questions().iter().zip(latencies).enumerate() {
        let of = |server: usize, what: fn(&(f64, f64)) -> f64| -> Vec<f64> {
            rounds
                .iter()
                .filter_map(|rates| rates.get(n))
                .map(|servers| what(&servers[server]))
                .collect()
        };
        let (rate, bare) = (of(0, |m| m.0), of(1, |m| m.0));
        let (cpu, bare_cpu) = (of(0, |m| m.1), of(1, |m| m.1));
        let ratios: Vec<f64> = rate.iter().zip(&bare).map(|(rate, bare)| rate / bare).collect();
        let (p50, p99) = (quantile(latencies, 0.5), quantile(latencies, 0.99));
        let shown = |text: String| if rate.is_empty() { String::new() } else { text };
        rows.push(vec![
            (*name).to_owned(),
            format!("{p50:.2}"),
            format!("{p99:.2}"),
            late.to_string(),
            shown(spread(&rate, 0)),
            shown(spread(&bare, 0)),
            shown(spread(&ratios, 2)),
            shown(format!("{:.1} / {:.1}", median(&cpu), median(&bare_cpu))),
        ]);
        lines.push(json!({"question": name, "asked": latencies.len(), "p50_ms": p50, "p99_ms": p99, "late": late, "requests_per_s": median(&rate),
            "bare_requests_per_s": median(&bare), "ratio": median(&ratios), "cpu_us": median(&cpu), "bare_cpu_us": median(&bare_cpu)}));
    }
    println!(
        "{} events a second, {} rounds of {} s; median [least..most]",
        args.rate, args.rounds, args.seconds
    );
    measure::print(
        &[
            "question",
            "p50 ms",
            "p99 ms",
            "504",
            "requests/s, idle",
            "bare axum",
            "ratio",
            "CPU µs a request / bare",
        ],
        &rows,
        &json!({"bench": "query", "events_per_s": args.rate, "rounds": args.rounds, "results": lines}),
    );
}
