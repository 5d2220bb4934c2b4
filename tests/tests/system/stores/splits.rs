//! Tables that outgrow their buckets: what is stored stays small at any size, answers stay the
//! same, and a split in between loses and doubles nothing.

use super::*;
use std::sync::Arc;
use std::time::Instant;
use tally_engine::event::EventBatch;
use tally_engine::pipeline::{FOLLOWED, Follower, Shrink};
use tally_engine::progress::Progress;
use tally_engine::state::{MetricId, Sealed, State};
use tally_engine::store::BucketSize;
use tally_plugin::description::{Cell, Description, From, Key, Merge, Pane, Table, Tier};
use tally_plugin::read::{Rank, ReadAnswer, ReadRequest};

/// A bucket whose snapshot is larger is split.
const LARGEST: u64 = 64 << 10;

/// Times of events: some hours.
const BEGIN: i64 = 1_767_225_600_000;

fn description() -> Description {
    let cell = |name: &str, merge, from| Cell { name: name.into(), merge, from };
    Description {
        summary: String::new(),
        tables: vec![Table {
            name: "t".into(),
            key: vec![Key::UserId],
            group: 0,
            only: Vec::new(),
            cells: vec![
                cell("n", Merge::Sum, From::One),
                cell("last", Merge::Max, From::EventTime),
            ],
            tiers: vec![
                Tier { pane: Pane::Hour, keep_ms: Some(48 * 3_600_000) },
                Tier { pane: Pane::Day, keep_ms: None },
            ],
        }],
        properties: Vec::new(),
        computed: Vec::new(),
        time: true,
        params_schema: serde_json::Value::Null,
        result_schema: serde_json::Value::Null,
        examples: Vec::new(),
    }
}

/// Record `offset` of a log in which user `offset % users` comes around.
fn batch(from: u64, to: u64, users: u64) -> EventBatch {
    let mut batch = EventBatch { from, to, records: to - from, ..EventBatch::default() };
    batch.kind_names = vec!["view".into()];
    for offset in from..to {
        batch.offsets.push(offset);
        let user = batch.push_text(format!("u{:07}", offset % users).as_bytes());
        batch.users.push(user);
        batch.products.push(1);
        batch.kinds.push(0);
        batch.times.push(BEGIN + offset as i64 * 10);
    }
    batch
}

/// An engine in small: it counts a log of one partition and commits, as the pipeline does.
struct Engine {
    store: Arc<RedisStore>,
    state: State,
    metric: MetricId,
    life: Life,
    at: u64,
    /// Sent, and not answered.
    sealed: Option<(Sealed, u64)>,
    regrouped: u64,
}

impl Engine {
    fn new(redis: &Redis) -> Engine {
        let settings = RedisSettings { max_bucket_bytes: 4 << 20, ..settings(&redis.url()) };
        let store = Arc::new(RedisStore::open(&settings).unwrap());
        let stored = store.stored(&revision()).unwrap();
        let (life, at) = match stored {
            Some(stored) => {
                (stored.life, stored.progress.get(&0).map_or(0, |progress| progress.next))
            }
            None => (store.create(&revision(), b"").unwrap(), 0),
        };
        let mut state = State::tails_only();
        let metric = state.add(&description());
        Engine { store, state, metric, life, at, sealed: None, regrouped: 0 }
    }

    fn record(at: u64) -> Vec<u8> {
        Progress { topic: "t".into(), next: at, rows: at, ..Progress::default() }.encode()
    }

    fn count(&mut self, events: u64, users: u64) {
        let batch = batch(self.at, self.at + events, users);
        self.state.begin(&batch);
        self.state.apply(self.metric, &batch, self.at, &[]);
        self.sealed = Some((self.state.seal(self.metric, 0), batch.to));
    }

    fn send(&mut self) -> CommitAnswer {
        let (sealed, to) = self.sealed.as_ref().unwrap();
        let frames = self.state.frames(self.metric, &[sealed]).into_iter();
        let frames =
            frames.map(|f| (Bucket { table: f.table, bucket: f.bucket }, f.bytes)).collect();
        let advance = Advance {
            partition: 0,
            from: self.at,
            base: (self.at > 0).then(|| Engine::record(self.at)),
            to: StoredProgress { next: *to, bytes: Engine::record(*to) },
        };
        let commit =
            Commit { revision: revision(), life: self.life, advances: vec![advance], frames };
        one(&self.store, &commit)
    }

    fn lay_out(&mut self) {
        let held: Vec<(u16, u32)> = self
            .store
            .buckets(&revision())
            .unwrap()
            .iter()
            .map(|bucket| (bucket.table, bucket.bucket))
            .collect();
        self.state.lay_out(self.metric, &held).unwrap();
        self.regrouped += 1;
    }

    /// Commits what was counted; in which buckets there is much now.
    fn commit(&mut self) -> Vec<BucketSize> {
        loop {
            match self.send() {
                CommitAnswer::Applied(sizes) => {
                    self.at = self.sealed.take().unwrap().1;
                    return sizes;
                }
                CommitAnswer::Layout(_) => self.lay_out(),
                CommitAnswer::Full(bucket) => self.shrink(bucket, LARGEST / 4),
                other => panic!("{other:?}"),
            }
        }
    }

    fn shrink(&self, bucket: Bucket, largest: u64) {
        let table = &description().tables[0];
        let watermark = BEGIN + self.at as i64 * 10;
        let shrink = Shrink {
            revision: &revision(),
            life: self.life,
            bucket,
            table,
            watermark,
            expired: false,
            unfolded: 0,
            largest,
        };
        shrink.carry_out(&*self.store).unwrap();
    }
}

/// Lengths of snapshots, as the index has them; of what is no longer a bucket none.
fn snapshots(redis: &Redis) -> Vec<u64> {
    let index: Vec<(String, String)> = redis::cmd("HGETALL")
        .arg("{tally:m:0000000000000abc}:b")
        .query(&mut redis.connect().unwrap())
        .unwrap();
    let entries = index.iter().filter(|(_, entry)| !entry.starts_with("split"));
    entries.map(|(_, entry)| entry.split(' ').next().unwrap().parse().unwrap()).collect()
}

fn ask(follower: &Follower, limit: usize) -> ReadAnswer {
    follower.refresh(Instant::now()).unwrap();
    let measure = tally_plugin::read::Measure { cell: "n".into(), weights: None };
    let rank = Rank { by: vec![measure], order: tally_plugin::read::Order::Desc, limit };
    let request = ReadRequest {
        table: "t".into(),
        group_by: vec![Key::UserId],
        rank: Some(rank),
        ..ReadRequest::default()
    };
    follower.read().state.read(FOLLOWED, &request, &|| false).unwrap()
}

#[test]
fn a_million_keys_are_stored_in_small_buckets() {
    let redis = Redis::start(&[]).unwrap();
    let (mut engine, users) = (Engine::new(&redis), 1_000_000);
    let follower = Follower::new(engine.store.clone(), revision(), &description());
    let (mut whole, metric) = (State::default(), MetricId(0));
    whole.add(&description());
    let started = Instant::now();
    while engine.at < users + users / 4 {
        let counted = batch(engine.at, engine.at + 25_000, users);
        whole.begin(&counted);
        whole.apply(metric, &counted, counted.from, &[]);
        engine.count(25_000, users);
        for size in engine.commit() {
            if size.tail >= size.snapshot.max(256 << 10) {
                engine.shrink(size.bucket, LARGEST);
            }
        }
        // A reader looks now and then, and finds exactly what was committed.
        if engine.at.is_multiple_of(250_000) {
            let total = ask(&follower, 1).total;
            assert_eq!(
                (total[0].cells[0], follower.read().position.0[&0]),
                (i128::from(engine.at), engine.at)
            );
        }
    }
    let counted = started.elapsed();
    for bucket in engine.store.buckets(&revision()).unwrap() {
        engine.shrink(bucket, LARGEST);
    }
    let sizes = snapshots(&redis);
    let (sum, largest) = (sizes.iter().sum::<u64>(), sizes.iter().max().unwrap());
    // What readers go on with is gone after a minute; here at once.
    let mut link = redis.connect().unwrap();
    let kept: Vec<String> = redis::cmd("KEYS").arg("*:was").query(&mut link).unwrap();
    let () = redis::cmd("DEL").arg(&kept).query(&mut link).unwrap();
    let info: String =
        redis::cmd("INFO").arg("memory").query(&mut redis.connect().unwrap()).unwrap();
    let used = info
        .lines()
        .find_map(|line| line.strip_prefix("used_memory:"))
        .unwrap()
        .trim()
        .parse::<u64>()
        .unwrap();
    println!(
        "1 M keys: {} buckets, largest snapshot {largest} B, {:.1} B a row stored, {:.1} B a row in Redis, counted in {counted:.1?}",
        sizes.len(),
        sum as f64 / 1e6,
        used as f64 / 1e6
    );
    assert!(
        *largest <= LARGEST + SNAPSHOT_OVERHEAD && sizes.len() >= 256,
        "{largest} in {}",
        sizes.len()
    );
    assert!(engine.regrouped > 0, "no commit met a split");
    compare_answers(&engine, &follower, &whole, metric);
}

/// The same answers: from views that went along, and from all that is stored, read anew.
fn compare_answers(engine: &Engine, follower: &Follower, whole: &State, metric: MetricId) {
    let request = |from: Option<i64>| ReadRequest {
        table: "t".into(),
        group_by: vec![Key::UserId],
        from,
        ..ReadRequest::default()
    };
    let anew = Follower::new(engine.store.clone(), revision(), &description());
    for follower in [follower, &anew] {
        follower.refresh(Instant::now()).unwrap();
        for from in [None, Some(BEGIN + 3_600_000)] {
            let found = follower.read().state.read(FOLLOWED, &request(from), &|| false).unwrap();
            let expected = whole.read(metric, &request(from), &|| false).unwrap();
            assert!(found == expected, "answers from {from:?} differ");
        }
    }
}

/// The engine counts, another splits, the engine sends what it had made before: it is told, and
/// sends it in the new buckets. The answer to that is lost, and it sends it once more.
#[test]
fn a_split_between_a_commit_and_its_repetition_loses_and_doubles_nothing() {
    let redis = Redis::start(&[]).unwrap();
    let (mut engine, users) = (Engine::new(&redis), 3_000);
    let follower = Follower::new(engine.store.clone(), revision(), &description());
    engine.count(6_000, users);
    engine.commit();
    assert_eq!(ask(&follower, 1).total[0].cells[0], 6_000);
    let other = Engine::new(&redis);
    engine.count(3_000, users);
    for bucket in other.store.buckets(&revision()).unwrap() {
        other.shrink(bucket, 1_000);
    }
    assert!(other.store.buckets(&revision()).unwrap().len() > 32);
    assert!(matches!(engine.send(), CommitAnswer::Layout(_)));
    assert_eq!(ask(&follower, 1).total[0].cells[0], 6_000, "nothing of it was applied");
    engine.lay_out();
    assert!(matches!(engine.send(), CommitAnswer::Applied(_)));
    assert_eq!(
        engine.send(),
        CommitAnswer::Mismatch([(0, 9_000)].into()),
        "sent again, it is done once"
    );
    let anew = Follower::new(engine.store.clone(), revision(), &description());
    for follower in [&follower, &anew] {
        let answer = ask(follower, users as usize);
        assert_eq!((answer.total[0].cells[0], answer.groups_total), (9_000, users));
        assert!(answer.groups.iter().all(|group| group.measures[0] == 3));
    }
}

/// A bucket that nothing comes to any more is made smaller when its panes expire, and then left
/// alone.
#[test]
fn expired_panes_are_dropped_from_quiet_buckets() {
    let redis = Redis::start(&[]).unwrap();
    let mut engine = Engine::new(&redis);
    // One user in each of 40 hours: as many panes.
    for hour in 0..40 {
        let mut batch = batch(engine.at, engine.at + 1, 1);
        batch.times[0] = BEGIN + hour * 3_600_000;
        engine.state.begin(&batch);
        engine.state.apply(engine.metric, &batch, engine.at, &[]);
        engine.sealed = Some((engine.state.seal(engine.metric, 0), batch.to));
        engine.commit();
    }
    let bucket = engine.store.buckets(&revision()).unwrap()[0];
    let table = &description().tables[0];
    let shrink = |hours: i64| {
        let watermark = BEGIN + hours * 3_600_000;
        let (revision, life) = (revision(), engine.life);
        let shrink = Shrink {
            revision: &revision,
            life,
            bucket,
            table,
            watermark,
            expired: true,
            unfolded: 0,
            largest: LARGEST,
        };
        shrink.carry_out(&*engine.store).unwrap().map(|shrunk| shrunk.snapshot.len())
    };
    let follower = Follower::new(engine.store.clone(), revision(), &description());
    let before = ask(&follower, 1);
    let whole = shrink(40).unwrap();
    assert_eq!((shrink(40), shrink(47)), (None, None), "nothing more has expired");
    let day = shrink(72).unwrap();
    let both = shrink(96).unwrap();
    assert!(
        both < day && day * 2 < whole + 100,
        "{whole} bytes with 40 hours, {day} with 16, {both} with none"
    );
    assert_eq!(ask(&follower, 1), before, "totals are what they were");
    assert_eq!(follower.read().state.held(FOLLOWED).hour_floor, BEGIN + 48 * 3_600_000);
}

/// A view goes on over splits without being read anew, also one that was some frames behind.
#[test]
fn a_reader_that_was_close_goes_on_over_a_split() {
    let redis = Redis::start(&[]).unwrap();
    let (mut engine, users) = (Engine::new(&redis), 20_000);
    let follower = Follower::new(engine.store.clone(), revision(), &description());
    engine.count(20_000, users);
    engine.commit();
    ask(&follower, 1);
    for _ in 0..5 {
        engine.count(1_000, users);
        engine.commit();
    }
    for bucket in engine.store.buckets(&revision()).unwrap() {
        engine.shrink(bucket, 4_000);
    }
    engine.count(1_000, users);
    engine.commit();
    let sent = || {
        let info: String =
            redis::cmd("INFO").arg("stats").query(&mut redis.connect().unwrap()).unwrap();
        let sent =
            info.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:")).unwrap();
        sent.trim().parse::<u64>().unwrap()
    };
    let before = sent();
    assert_eq!(ask(&follower, 1).total[0].cells[0], 26_000);
    let tail = sent() - before;
    let before = sent();
    let anew = Follower::new(engine.store.clone(), revision(), &description());
    assert_eq!(ask(&anew, 1).total[0].cells[0], 26_000);
    let whole = sent() - before;
    assert!(tail * 2 < whole, "{tail} bytes for the tail, {whole} for all");
}

/// Also what is kept for readers of buckets that were split goes with a revision.
#[test]
fn a_revision_that_is_removed_leaves_nothing_of_its_splits() {
    let redis = Redis::start(&[]).unwrap();
    let mut engine = Engine::new(&redis);
    engine.count(20_000, 20_000);
    engine.commit();
    for bucket in engine.store.buckets(&revision()).unwrap() {
        engine.shrink(bucket, 4_000);
    }
    let keys = || redis.content().unwrap().into_iter().map(|(key, _)| key);
    assert!(keys().any(|key| key.ends_with(":was")), "something is kept");
    assert!(engine.store.remove(&revision()).unwrap());
    assert_eq!(keys().collect::<Vec<_>>(), Vec::<String>::new());
}
