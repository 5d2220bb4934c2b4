//! What state costs as it grows: memory of a cell, time of an update, time to be back after a
//! crash.
//!
//! `state` fills one table like that of `products_popularity` (key: product and event type, one
//! count) with 1,000 to 10,000,000 keys, each in a child process: once with totals only, once with
//! minute, hour and day panes (all events within ten minutes; each key in one minute, so a key has
//! four cells: total, minute, hour, day). Memory is the growth of the child's anonymous resident
//! set; updates are batches of 2,048 events of random keys, sealed every 100,000. At last half of
//! the keys are made to count together (`overflow = "other"`), during which an engine neither
//! counts nor answers. Then an engine with a million cells of `user_activities` is killed with
//! SIGKILL and started again.
//!
//! Goals: at most 80 bytes a cell; back in less than 2 s.
#![allow(clippy::print_stdout)] // a measurement program prints

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tally_benches::engine;
use tally_benches::events::KINDS;
use tally_benches::measure::{self, median, spread};
use tally_engine::database::Database;
use tally_engine::event::EventBatch;
use tally_engine::log::embedded::SegmentLog;
use tally_engine::state::State;
use tally_plugin::description::{Cell, Description, From, Key, Merge, Pane, Table, Tier};
use tally_plugin::read::{ReadAnswer, ReadRequest};

const BATCH: usize = 2_048;
const SEAL: usize = 100_000;
const START: i64 = 1_767_225_600_000;
const SPAN: i64 = 600_000;

/// The cost of state by its size.
#[derive(Parser)]
struct Args {
    /// Updates at each size, after each key was counted once
    #[arg(long, default_value_t = 2_000_000)]
    events: usize,
    /// Rounds; each does everything once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Most keys
    #[arg(long, default_value_t = 10_000_000)]
    most: usize,
    /// One size, as a child of this program: KEYS PANES
    #[arg(long, hide = true, num_args = 2)]
    size: Option<Vec<String>>,
    /// An engine to be killed or started again, as a child: EVENTS DATA
    #[arg(long, hide = true, num_args = 2)]
    engine: Option<Vec<String>>,
}

/// What a child says of one size.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Measured {
    bytes: u64,
    /// Cells as the state counts them, panes included.
    cells: u64,
    ns: f64,
    /// To let half of the keys count together.
    narrow_ms: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some([keys, panes]) = args.size.as_deref() {
        let measured = fill(keys.parse()?, panes == "panes", args.events)?;
        println!("{}", serde_json::to_string(&measured)?);
        return Ok(());
    }
    if let Some([events, data]) = args.engine.as_deref() {
        return serve(events.parse()?, Path::new(data));
    }
    let sizes: Vec<usize> =
        (3..=7).map(|power| 10usize.pow(power)).filter(|size| *size <= args.most).collect();
    let mut measured = vec![Vec::new(); sizes.len() * 2];
    let mut ready = Vec::new();
    let (data, events) = million()?;
    for _ in 0..args.rounds {
        for (place, (panes, keys)) in
            ["totals", "panes"].iter().flat_map(|p| sizes.iter().map(move |s| (*p, *s))).enumerate()
        {
            measured[place].push(child(keys, panes, args.events)?);
        }
        ready.push(restart(data.path(), events)?);
    }
    report(&args, &sizes, &measured, &ready);
    Ok(())
}

fn child(keys: usize, panes: &str, events: usize) -> Result<Measured> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command
        .args(["--size", &keys.to_string(), panes, "--events", &events.to_string()])
        .output()?;
    ensure!(output.status.success(), "{keys} keys: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("a child's answer")
}

fn table(panes: bool) -> Table {
    let tier = |pane| Tier { pane, keep_ms: None };
    Table {
        name: "interactions".into(),
        key: vec![Key::ProductId, Key::EventType],
        group: 1,
        only: Vec::new(),
        cells: vec![Cell { name: "n".into(), merge: Merge::Sum, from: From::One }],
        tiers: if panes {
            [Pane::Minute, Pane::Hour, Pane::Day].map(tier).into()
        } else {
            Vec::new()
        },
    }
}

fn fill(keys: usize, panes: bool, events: usize) -> Result<Measured> {
    let description = Description {
        summary: String::new(),
        tables: vec![table(panes)],
        properties: vec![],
        computed: vec![],
        time: panes,
        params_schema: Value::Null,
        result_schema: Value::Null,
        examples: Vec::new(),
    };
    let mut batch = EventBatch {
        kind_names: KINDS.iter().map(|(name, _)| (*name).into()).collect(),
        ..EventBatch::default()
    };
    let before = measure::resident();
    let mut state = State::default();
    let id = state.add(&description);
    let mut next = 0u64;
    let mut run = |numbers: &mut dyn Iterator<Item = usize>| {
        let mut since = 0;
        loop {
            columns(&mut batch, numbers, keys, &mut next);
            if batch.is_empty() {
                break;
            }
            state.begin(&batch);
            state.apply(id, &batch, batch.from, &[]);
            since += batch.len();
            if since >= SEAL {
                since = 0;
                state.seal(id, 0);
            }
        }
        state.seal(id, 0);
    };
    run(&mut (0..keys));
    let bytes = measure::resident().saturating_sub(before);
    let mut random = SmallRng::seed_from_u64(keys as u64);
    let started = Instant::now();
    run(&mut (0..events).map(|_| random.random_range(0..keys)));
    let ns = started.elapsed().as_nanos() as f64 / events.max(1) as f64;
    check(&state, id, (keys + events) as u64)?;
    let started = Instant::now();
    let to = state.thresholds_for(id, keys as u64 - 1);
    state.narrow(id, &to);
    let narrow_ms = started.elapsed().as_secs_f64() * 1_000.0;
    check(&state, id, (keys + events) as u64)?;
    let cells = keys as u64 * if panes { 4 } else { 1 };
    Ok(Measured { bytes, cells, ns, narrow_ms })
}

/// Fills a batch with the next keys; a key is a product and a type, and has its minute.
fn columns(
    batch: &mut EventBatch,
    numbers: &mut dyn Iterator<Item = usize>,
    keys: usize,
    next: &mut u64,
) {
    let names = std::mem::take(&mut batch.kind_names);
    batch.clear();
    batch.kind_names = names;
    batch.from = *next;
    for key in numbers.take(BATCH) {
        batch.offsets.push(*next);
        batch.users.push(0);
        batch.products.push((key / KINDS.len()) as u64);
        batch.kinds.push((key % KINDS.len()) as u16);
        batch.times.push(START + (key as i64 * SPAN) / keys as i64);
        *next += 1;
    }
    batch.to = *next;
    batch.records = batch.offsets.len() as u64;
    batch.measure_times();
}

/// Every update must be in the total.
fn check(state: &State, id: tally_engine::state::MetricId, expected: u64) -> Result<()> {
    let request = ReadRequest { table: "interactions".into(), ..ReadRequest::default() };
    let ReadAnswer { total, .. } =
        state.read(id, &request, &|| false).map_err(|fault| anyhow::anyhow!("{fault:?}"))?;
    let found = total.first().and_then(|part| part.cells.first()).copied();
    ensure!(found == Some(i128::from(expected)), "wrong: {found:?} updates instead of {expected}");
    Ok(())
}

/// Users of the engine that is started again.
const USERS: u64 = 100_000;

/// A data directory in which a million rows of `user_activities` are counted, and how many events
/// made them.
fn million() -> Result<(tempfile::TempDir, u64)> {
    let data = tempfile::tempdir()?;
    let events = 1_000_000u64;
    {
        let log =
            SegmentLog::open(&Database::open(data.path())?, &engine::embedded(data.path()).log)?;
        let now = jiff::Timestamp::now().as_millisecond();
        for from in (0..events).step_by(1_000) {
            let payload = |n: u64| {
                let time = START + n as i64;
                let (user, product) = (n % USERS, n / USERS);
                format!(
                    r#"{{"user_id":"u{user:07}","product_id":"p{product:06}","event_type":"view","timestamp":{time}}}"#
                )
            };
            let payloads: Vec<String> = (from..from + 1_000).map(payload).collect();
            let records: Vec<(&[u8], i64)> =
                payloads.iter().map(|payload| (payload.as_bytes(), now)).collect();
            // whole thousands by turns: users are spread over the partitions, each in one
            log.append(((from / 1_000) % 4) as u32, &records)?;
        }
    }
    let mut child = engine_child(events, data.path())?;
    child.kill()?;
    child.wait()?;
    Ok((data, events))
}

/// Starts an engine in a child process and waits until it has counted everything and answers.
fn engine_child(events: u64, data: &Path) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child =
        command.args(["--engine", &events.to_string()]).arg(data).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no pipe")?).read_line(&mut line)?;
    ensure!(line.trim() == "ready", "the engine did not start");
    Ok(child)
}

/// Seconds from the start of the process to right answers; ends by SIGKILL, as all of them do.
fn restart(data: &Path, events: u64) -> Result<f64> {
    let started = Instant::now();
    let mut child = engine_child(events, data)?;
    let seconds = started.elapsed().as_secs_f64();
    child.kill()?;
    child.wait()?;
    Ok(seconds)
}

/// The child. All that was counted is made durable before it says so, then it waits to be killed
/// with everything open.
fn serve(events: u64, data: &Path) -> Result<()> {
    let engine = engine::start(engine::embedded(data))?;
    engine::counted(&engine, events)?;
    for user in (0..USERS).step_by(10_000) {
        let answer =
            engine::ask(&engine, "user_activities", json!({"user_id": format!("u{user:07}")}))?;
        ensure!(answer["total"] == json!(events / USERS), "wrong: {}", answer["total"]);
    }
    let mut out = std::io::stdout();
    let committed = data.join("committed");
    if !committed.exists() {
        let totals = engine.stop(Duration::from_secs(60));
        ensure!(totals.committed == events, "wrong: {} of {events} are durable", totals.committed);
        std::fs::write(committed, "")?;
    }
    writeln!(out, "ready")?;
    loop {
        std::thread::park(); // until killed
    }
}

fn report(args: &Args, sizes: &[usize], measured: &[Vec<Measured>], ready: &[f64]) {
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    let places = ["totals only", "totals and panes"]
        .iter()
        .flat_map(|what| sizes.iter().map(move |size| (*what, *size)));
    for ((what, size), measured) in places.zip(measured) {
        let bytes: Vec<f64> = measured.iter().map(|m| m.bytes as f64 / m.cells as f64).collect();
        let ns: Vec<f64> = measured.iter().map(|m| m.ns).collect();
        let narrow: Vec<f64> = measured.iter().map(|m| m.narrow_ms).collect();
        rows.push(vec![
            what.to_owned(),
            size.to_string(),
            spread(&bytes, 0),
            spread(&ns, 0),
            spread(&narrow, 0),
        ]);
        lines.push(json!({
            "state": what, "keys": size, "bytes_per_cell": median(&bytes), "ns_per_update": median(&ns),
            "narrow_ms": median(&narrow),
        }));
    }
    println!(
        "{} updates of random keys at each size, {} rounds; median [least..most]",
        args.events, args.rounds
    );
    println!(
        "killed with a million rows of user_activities: right answers after {} s",
        spread(ready, 2)
    );
    measure::print(
        &["state", "keys", "bytes per cell", "ns per update", "half together, ms"],
        &rows,
        &json!({"bench": "state", "updates": args.events, "rounds": args.rounds, "restart_s": median(ready), "results": lines}),
    );
}
