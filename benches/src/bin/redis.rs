//! What a commit to Redis costs, against counting there with plain commands.
//!
//! `redis` starts a real Redis (nothing kept on disk) and counts the same 1,000,000 events (100,000
//! users, 10,000 products, Zipf, text ids) in two ways, in turn: (a) three `HINCRBY` an event (user
//! and product, product and type, type), 1,000 events a pipeline; (b) the three shipped tables,
//! with first and last seen and minute panes, folded and committed as frames at windows of 1,000
//! and of 10,000 events. Cost is CPU time: of Redis, and here of what follows decoding, in two
//! parts: counting (ids and keys to numbers, which every store needs) and storing (folding,
//! encoding, committing). Afterwards what Redis holds is read back and must add up.
//!
//! Goals at windows of 1,000: five times the events per core of storing and Redis in (a), and a
//! commit p99 of at most 5 ms.
#![allow(clippy::print_stdout)] // a measurement program prints

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tally_benches::events::{Generator, Ids, KINDS};
use tally_benches::measure::{self, median, quantile, spread};
use tally_engine::event::EventBatch;
use tally_engine::pipeline::Shrink;
use tally_engine::state::{self, MetricId, State};
use tally_engine::store::redis::{RedisSettings, RedisStore};
use tally_engine::store::{
    Advance, Bucket, BucketRead, Commit, CommitAnswer, Known, Life, RevisionId, Store,
    StoredProgress,
};
use tally_plugin::description::{Cell, Description, From, Key, Merge, Pane, Table, Tier};
use tally_plugin::read::ReadRequest;
use tally_tests::redis::Redis;

/// Events of a pipeline of plain commands.
const PIPELINE: usize = 1_000;

/// Cost of a commit to Redis.
#[derive(Parser)]
struct Args {
    /// Events
    #[arg(long, default_value_t = 1_000_000)]
    events: usize,
    /// Rounds; each does everything once
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// An event as numbers: user, product, type, time.
type Event = (u64, u64, usize, i64);

/// CPU nanoseconds an event: here, for counting (which any store needs) and for storing; of Redis.
/// And how long single commits took, milliseconds.
#[derive(Clone, Debug)]
struct Cost {
    counting: f64,
    storing: f64,
    redis: f64,
    commits: Vec<f64>,
}

/// What was counted as frames: revisions of the descriptions' tables, in a Redis that holds nothing
/// else.
struct Counted {
    redis: Redis,
    store: RedisStore,
    metrics: Vec<(MetricId, RevisionId, Life)>,
}

/// What a table occupies in Redis: rows, cells of a row, bytes before and after its buckets were
/// compacted.
struct Held {
    table: &'static str,
    rows: u64,
    cells: usize,
    before: u64,
    after: u64,
}

/// How long commits took, milliseconds, and the CPU time of counting.
type Done = (Vec<f64>, Duration);

fn main() -> Result<()> {
    let args = Args::parse();
    let mut made = Generator::new(Ids::Text, 2_000.0, 42);
    let events: Vec<Event> = (0..args.events).map(|_| made.draw()).collect();
    let (mut plain, mut small, mut large) = (Vec::new(), Vec::new(), Vec::new());
    let mut held = Vec::new();
    for _ in 0..args.rounds {
        plain.push(commands(&events)?);
        let (cost, counted) = frames(&events, 1_000)?;
        small.push(cost);
        held = compacted(&counted, events.iter().map(|event| event.3).max().unwrap_or(0))?;
        large.push(frames(&events, 10_000)?.0);
    }
    report_memory(&held);
    report(
        &args,
        &[
            ("3 × HINCRBY", plain),
            ("frames, windows of 1,000", small),
            ("frames, windows of 10,000", large),
        ],
    );
    Ok(())
}

/// CPU of this process and of Redis while `work` runs, per event.
fn measured(redis: &Redis, events: usize, work: impl FnOnce() -> Result<Done>) -> Result<Cost> {
    let id = redis.pid().context("Redis runs")?.to_string();
    let before = (measure::cpu(), measure::cpu_of(&id));
    let (commits, counting) = work()?;
    let each = |time: Duration| time.as_nanos() as f64 / events as f64;
    let storing = measure::cpu().saturating_sub(before.0 + counting);
    let redis = measure::cpu_of(&id) - before.1;
    Ok(Cost { counting: each(counting), storing: each(storing), redis: each(redis), commits })
}

fn commands(events: &[Event]) -> Result<Cost> {
    let redis = Redis::start(&[])?;
    let mut link = redis.connect()?;
    let cost = measured(&redis, events.len(), || {
        let mut took = Vec::new();
        for events in events.chunks(PIPELINE) {
            let mut pipeline = redis::pipe();
            for (user, product, kind, _) in events {
                let kind = KINDS[*kind].0;
                pipeline
                    .cmd("HINCRBY")
                    .arg("user")
                    .arg(format!("u{user:07}:p{product:06}"))
                    .arg(1)
                    .ignore();
                pipeline
                    .cmd("HINCRBY")
                    .arg("product")
                    .arg(format!("p{product:06}:{kind}"))
                    .arg(1)
                    .ignore();
                pipeline.cmd("HINCRBY").arg("type").arg(kind).arg(1).ignore();
            }
            let begun = Instant::now();
            pipeline.exec(&mut link)?;
            took.push(begun.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok((took, Duration::ZERO))
    })?;
    let counted: Vec<u64> = redis::cmd("HVALS").arg("type").query(&mut link)?;
    ensure!(
        counted.iter().sum::<u64>() == events.len() as u64,
        "wrong: {counted:?} of {}",
        events.len()
    );
    Ok(cost)
}

/// A metric's table as it is shipped.
fn descriptions() -> Vec<Description> {
    let tier =
        |pane, hours: Option<i64>| Tier { pane, keep_ms: hours.map(|hours| hours * 3_600_000) };
    let cell = |name: &str, merge, from| Cell { name: name.into(), merge, from };
    let count = || cell("n", Merge::Sum, From::One);
    let description = |key: &[Key], group, cells, minutes| Description {
        summary: String::new(),
        tables: vec![Table {
            name: "t".into(),
            key: key.into(),
            group,
            only: Vec::new(),
            cells,
            tiers: vec![
                tier(Pane::Minute, Some(minutes)),
                tier(Pane::Hour, Some(24 * 30)),
                tier(Pane::Day, None),
            ],
        }],
        properties: Vec::new(),
        computed: Vec::new(),
        time: true,
        params_schema: Value::Null,
        result_schema: Value::Null,
        examples: Vec::new(),
    };
    let seen = || {
        vec![cell("first", Merge::Min, From::EventTime), cell("last", Merge::Max, From::EventTime)]
    };
    vec![
        description(
            &[Key::UserId, Key::ProductId, Key::EventType],
            1,
            [vec![count()], seen()].concat(),
            2,
        ),
        description(&[Key::ProductId, Key::EventType], 1, vec![count()], 48),
        description(&[Key::EventType], 0, vec![count()], 48),
    ]
}

fn frames(events: &[Event], window: usize) -> Result<(Cost, Counted)> {
    let redis = Redis::start(&[])?;
    let settings =
        RedisSettings { url: redis.url(), max_bucket_bytes: 64 << 20, ..RedisSettings::default() };
    let store = RedisStore::open(&settings)?;
    let descriptions = descriptions();
    let mut state = State::tails_only();
    let metrics: Vec<(MetricId, RevisionId, Life)> = descriptions
        .iter()
        .enumerate()
        .map(|(n, description)| {
            let revision = RevisionId { metric: format!("m{n}"), fingerprint: 1 };
            let life = store.create(&revision, b"bench")?;
            Ok((state.add(description), revision, life))
        })
        .collect::<Result<_>>()?;
    let mut batches = batches(events, window);
    let cost = measured(&redis, events.len(), || {
        let (mut took, mut counting) = (Vec::new(), Duration::ZERO);
        for batch in &mut batches {
            let begun = measure::cpu_of_thread();
            state.begin(batch);
            for (metric, ..) in &metrics {
                state.apply(*metric, batch, batch.from, &[]);
            }
            counting += measure::cpu_of_thread() - begun;
            let mut commits = Vec::new();
            for (metric, revision, life) in &metrics {
                let sealed = state.seal(*metric, 0);
                let frames = state.frames(*metric, &[&sealed]).into_iter();
                let frames = frames
                    .map(|f| (Bucket { table: f.table, bucket: f.bucket }, f.bytes))
                    .collect();
                let advance = Advance {
                    partition: 0,
                    from: batch.from,
                    base: (batch.from > 0).then(|| progress(batch.from)),
                    to: StoredProgress { next: batch.to, bytes: progress(batch.to) },
                };
                commits.push(Commit {
                    revision: revision.clone(),
                    life: *life,
                    advances: vec![advance],
                    frames,
                });
            }
            let begun = Instant::now();
            let answers = store.commit(&commits)?;
            took.push(begun.elapsed().as_secs_f64() * 1_000.0);
            ensure!(
                answers.iter().all(|answer| matches!(answer, CommitAnswer::Applied(_))),
                "{answers:?}"
            );
        }
        Ok((took, counting))
    })?;
    for (description, (_, revision, _)) in descriptions.iter().zip(&metrics) {
        let counted = total(&store, description, revision)?;
        ensure!(counted == events.len() as i128, "wrong: {counted} of {}", events.len());
    }
    Ok((cost, Counted { redis, store, metrics }))
}

/// Compacts every bucket; what each table occupied before and occupies then.
fn compacted(counted: &Counted, watermark: i64) -> Result<Vec<Held>> {
    let Counted { redis, store, metrics } = counted;
    let mut held = Vec::new();
    let tables = ["user, product, type; n, first, last", "product, type; n", "type; n"];
    for ((description, (_, revision, life)), name) in descriptions().iter().zip(metrics).zip(tables)
    {
        let table = &description.tables[0];
        let before = bytes_of(redis, revision)?;
        for bucket in store.buckets(revision)? {
            let (life, largest) = (*life, 64 << 10);
            Shrink {
                revision,
                life,
                bucket,
                table,
                watermark,
                expired: false,
                unfolded: 0,
                largest,
            }
            .carry_out(store)?;
        }
        let known: Vec<Known> = store
            .buckets(revision)?
            .into_iter()
            .map(|bucket| Known { bucket, last: None })
            .collect();
        let mut rows = 0;
        for read in store.read(revision, &known)?.context("it was created")?.buckets {
            let (BucketRead::Whole(frames) | BucketRead::Tail(frames)) = read else { continue };
            for frame in frames {
                rows += state::facts(table, &frame.bytes)?.rows;
            }
        }
        let (cells, after) = (table.cells.len(), bytes_of(redis, revision)?);
        held.push(Held { table: name, rows, cells, before, after });
    }
    Ok(held)
}

/// Bytes that the keys of a revision occupy, but for the frames that a split keeps for a minute.
fn bytes_of(redis: &Redis, revision: &RevisionId) -> Result<u64> {
    let mut link = redis.connect()?;
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("*:{}:*", revision.metric)).query(&mut link)?;
    keys.iter().filter(|key| !key.ends_with(":was")).try_fold(0, |all, key| {
        let bytes: u64 =
            redis::cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0).query(&mut link)?;
        Ok(all + bytes)
    })
}

fn report_memory(held: &[Held]) {
    let each = |bytes: u64, things: u64| format!("{:.1}", bytes as f64 / things.max(1) as f64);
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for Held { table, rows: of, cells, before, after } in held {
        let per_cell = each(*after, of * *cells as u64);
        rows.push(vec![
            (*table).to_owned(),
            of.to_string(),
            each(*before, *of),
            each(*after, *of),
            per_cell.clone(),
        ]);
        lines.push(json!({"table": table, "rows": of, "bytes_before": before, "bytes": after, "per_cell": per_cell}));
    }
    measure::print(
        &["table", "rows", "bytes per row before compaction", "bytes per row", "bytes per cell"],
        &rows,
        &json!({"bench": "redis memory", "results": lines}),
    );
}

/// A record of about the size of a real one.
fn progress(next: u64) -> Vec<u8> {
    [&next.to_le_bytes()[..], &[0; 72]].concat()
}

fn batches(events: &[Event], window: usize) -> Vec<EventBatch> {
    let mut next = 0;
    let batch = |events: &[Event]| {
        let mut batch = EventBatch { from: next, ..EventBatch::default() };
        batch.kind_names = KINDS.iter().map(|(name, _)| (*name).into()).collect();
        for (user, product, kind, time) in events {
            batch.offsets.push(next);
            let user = batch.push_text(format!("u{user:07}").as_bytes());
            let product = batch.push_text(format!("p{product:06}").as_bytes());
            batch.users.push(user);
            batch.products.push(product);
            batch.kinds.push(*kind as u16);
            batch.times.push(*time);
            next += 1;
        }
        batch.to = next;
        batch.records = events.len() as u64;
        batch
    };
    events.chunks(window).map(batch).collect()
}

/// What the stored frames of a metric add up to.
fn total(store: &RedisStore, description: &Description, revision: &RevisionId) -> Result<i128> {
    let buckets = store.buckets(revision)?.into_iter();
    let known: Vec<Known> = buckets.map(|bucket| Known { bucket, last: None }).collect();
    let reading = store.read(revision, &known)?.context("it was created")?;
    let mut state = State::default();
    let metric = state.add(description);
    for read in reading.buckets {
        let (BucketRead::Whole(frames) | BucketRead::Tail(frames)) = read else { continue };
        for frame in frames {
            state.load(metric, 0, &frame.bytes)?;
        }
    }
    let answer = state.read(
        metric,
        &ReadRequest { table: "t".into(), ..ReadRequest::default() },
        &|| false,
    )?;
    Ok(answer.total.first().map_or(0, |part| part.cells[0]))
}

fn report(args: &Args, ways: &[(&str, Vec<Cost>)]) {
    let both = |cost: &Cost| cost.storing + cost.redis;
    let whole = |cost: &Cost| both(cost) + cost.counting;
    let plain: Vec<f64> = ways[0].1.iter().map(both).collect();
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for (name, costs) in ways {
        let of = |what: &dyn Fn(&Cost) -> f64| -> Vec<f64> { costs.iter().map(what).collect() };
        let (counting, storing, redis) =
            (of(&|c| c.counting), of(&|c| c.storing), of(&|c| c.redis));
        let ratios = |costs: Vec<f64>| -> Vec<f64> {
            plain.iter().zip(&costs).map(|(plain, cost)| plain / cost).collect()
        };
        let (ratio, with_counting) = (ratios(of(&both)), ratios(of(&whole)));
        let p99 = of(&|c| quantile(&c.commits, 0.99));
        let costs = [&counting, &storing, &redis].map(|cost| spread(cost, 0));
        let ratios = [&ratio, &with_counting].map(|ratio| spread(ratio, 1));
        rows.push(
            [vec![(*name).to_owned()], costs.into(), ratios.into(), vec![spread(&p99, 2)]].concat(),
        );
        lines.push(json!({"way": name, "counting_ns": median(&counting), "storing_ns": median(&storing), "redis_ns": median(&redis), "per_core_ratio": median(&ratio), "with_counting": median(&with_counting), "commit_p99_ms": median(&p99)}));
    }
    println!("{} events, {} rounds; median [least..most]", args.events, args.rounds);
    measure::print(
        &[
            "way",
            "counting, CPU ns/event",
            "storing, CPU ns/event",
            "Redis, CPU ns/event",
            "events per core (storing + Redis) ÷ HINCRBY",
            "with counting",
            "commit p99, ms",
        ],
        &rows,
        &json!({"bench": "redis", "events": args.events, "rounds": args.rounds, "results": lines}),
    );
}
