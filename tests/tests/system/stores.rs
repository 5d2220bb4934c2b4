//! The contract of stores, kept on a real Redis and on a Redis Cluster; and what only Redis can do
//! to a store.
#![allow(clippy::print_stdout, reason = "measurements and seeds are printed")]

mod cluster;
mod encrypted;
mod faults;
mod histories;
mod measured;
mod splits;
mod world;

use tally_engine::store::contract;
use tally_engine::store::redis::{FRAME_OVERHEAD, RedisSettings, RedisStore, SNAPSHOT_OVERHEAD};
use tally_engine::store::{
    Advance, Bucket, BucketRead, Commit, CommitAnswer, Compaction, Known, Life, RevisionId, Store,
    StoredFrame, StoredProgress,
};
use tally_tests::redis::Redis;

/// A Redis at an address, as the suite's world.
struct At(RedisSettings);

impl contract::World for At {
    fn open(&mut self, max_bucket_bytes: u64) -> Box<dyn Store> {
        Box::new(RedisStore::open(&RedisSettings { max_bucket_bytes, ..self.0.clone() }).unwrap())
    }

    fn overhead(&self) -> (u64, u64) {
        (FRAME_OVERHEAD, SNAPSHOT_OVERHEAD)
    }
}

fn settings(url: &str) -> RedisSettings {
    RedisSettings { url: url.to_owned(), ..RedisSettings::default() }
}

fn revision() -> RevisionId {
    RevisionId { metric: "m".to_owned(), fingerprint: 0xabc }
}

const fn at(bucket: u32) -> Bucket {
    Bucket { table: 0, bucket }
}

/// The key of a bucket of [`revision`].
fn key(bucket: u32) -> String {
    format!("{{tally:m:0000000000000abc}}:b:0:{bucket}")
}

/// A step of one partition; the record at an offset is the offset.
fn step(life: Life, partition: u32, from: u64, to: u64, frames: &[(u32, &[u8])]) -> Commit {
    let base = (from > 0).then(|| from.to_le_bytes().to_vec());
    let to = StoredProgress { next: to, bytes: to.to_le_bytes().to_vec() };
    let frames = frames.iter().map(|(bucket, bytes)| (at(*bucket), bytes.to_vec())).collect();
    Commit {
        revision: revision(),
        life,
        advances: vec![Advance { partition, from, base, to }],
        frames,
    }
}

fn one(store: &RedisStore, commit: &Commit) -> CommitAnswer {
    store.commit(std::slice::from_ref(commit)).unwrap().remove(0)
}

fn apply(store: &RedisStore, commit: &Commit) {
    let answer = one(store, commit);
    assert!(matches!(answer, CommitAnswer::Applied(_)), "{answer:?}");
}

/// Whether what was known stood, and the frames.
fn read(store: &RedisStore, bucket: u32, last: Option<&StoredFrame>) -> (bool, Vec<StoredFrame>) {
    let known = Known { bucket: at(bucket), last: last.map(|frame| (frame.id, frame.end)) };
    match store.read(&revision(), &[known]).unwrap().unwrap().buckets.remove(0) {
        BucketRead::Tail(frames) => (true, frames),
        BucketRead::Whole(frames) => (false, frames),
        other => panic!("{other:?}"),
    }
}

fn compaction(life: Life, bucket: u32, last: &StoredFrame, snapshot: &[u8]) -> Compaction {
    let last = (last.id, last.end);
    Compaction { revision: revision(), life, bucket: at(bucket), last, snapshot: snapshot.to_vec() }
}

#[test]
fn redis_keeps_the_contract() {
    let redis = Redis::start(&[]).unwrap();
    contract::contract(&mut At(settings(&redis.url())));
}

#[test]
fn redis_agrees_with_a_naive_store() {
    let redis = Redis::start(&[]).unwrap();
    contract::model(&mut At(settings(&redis.url())), 2, 12_000);
}

#[test]
fn two_tallies_share_a_redis() {
    let redis = Redis::start(&[]).unwrap();
    let open = |namespace: &str| {
        RedisStore::open(&RedisSettings {
            namespace: namespace.to_owned(),
            ..settings(&redis.url())
        })
        .unwrap()
    };
    let (a, b) = (open("a"), open("b"));
    let life = a.create(&revision(), b"").unwrap();
    apply(&a, &step(life, 0, 0, 1, &[(0, b"a's")]));
    assert!(a.point(None, &revision()).unwrap());
    assert_eq!((b.stored(&revision()).unwrap(), b.current("m").unwrap()), (None, None));
    assert_eq!(one(&b, &step(life, 0, 0, 1, &[(0, b"b's")])), CommitAnswer::OtherLife(None));
    b.create(&revision(), b"").unwrap();
    assert_eq!(read(&a, 0, None).1[0].bytes, b"a's");
}

#[test]
fn large_states_are_read_in_pieces_and_as_one_moment() {
    let redis = Redis::start(&[]).unwrap();
    let store =
        RedisStore::open(&RedisSettings { max_bucket_bytes: 64 << 20, ..settings(&redis.url()) })
            .unwrap();
    let life = store.create(&revision(), b"").unwrap();
    let frame = |n: u64| -> Vec<u8> { (0..300_000u64).map(|at| (at * 7 + n * 13) as u8).collect() };
    let large = vec![5; 3 << 20];
    for n in 0..20 {
        apply(&store, &step(life, 0, n, n + 1, &[((n % 3) as u32, &frame(n))]));
    }
    apply(&store, &step(life, 0, 20, 21, &[(3, &large), (4, b"small")]));
    let known: Vec<Known> = (0..5).map(|bucket| Known { bucket: at(bucket), last: None }).collect();
    let calls = || {
        let info: String =
            redis::cmd("INFO").arg("commandstats").query(&mut redis.connect().unwrap()).unwrap();
        let line =
            info.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap().to_owned();
        line.split(['=', ',']).nth(1).unwrap().parse::<u64>().unwrap()
    };
    let before = calls();
    let reading = store.read(&revision(), &known).unwrap().unwrap();
    assert!(calls() - before > 6, "6 MB of frames came in {} replies", calls() - before);
    assert_eq!(reading.revision.progress[&0].next, 21);
    for (bucket, read) in reading.buckets.iter().enumerate() {
        let BucketRead::Whole(frames) = read else { panic!("a tail of nothing") };
        let expected: Vec<Vec<u8>> = match bucket {
            3 => vec![large.clone()],
            4 => vec![b"small".to_vec()],
            _ => (0..20).filter(|n| *n as usize % 3 == bucket).map(frame).collect(),
        };
        assert_eq!(
            frames.iter().map(|frame| &frame.bytes).collect::<Vec<_>>(),
            expected.iter().collect::<Vec<_>>()
        );
        // The tail after any of them, which is in pieces too.
        let last = &frames[0];
        let (tail, after) = self::read(&store, bucket as u32, Some(last));
        assert!(tail);
        assert_eq!(after, frames[1..]);
    }
}

/// One engine remembers where a frame stood that another has folded away since, whatever its
/// length.
#[test]
fn a_reader_notices_what_another_engine_compacted() {
    let redis = Redis::start(&[]).unwrap();
    let [here, there] = [(); 2].map(|()| RedisStore::open(&settings(&redis.url())).unwrap());
    for length in 0..80 {
        let life = here.create(&revision(), b"").unwrap();
        apply(&here, &step(life, 0, 0, 1, &[(0, &vec![1; length])]));
        apply(&here, &step(life, 0, 1, 2, &[(0, b"two")]));
        let frames = read(&here, 0, None).1;
        assert_eq!(read(&here, 0, Some(&frames[0])), (true, frames[1..].to_vec()));
        there.compact(&compaction(life, 0, &frames[0], b"snapshot")).unwrap();
        let (tail, whole) = read(&here, 0, Some(&frames[0]));
        assert!(!tail && whole[0].bytes == b"snapshot" && whole[1] == frames[1], "length {length}");
        assert_eq!(
            read(&here, 0, Some(&frames[1])),
            (true, vec![]),
            "what stands behind it is still known"
        );
        // Nor does it begin a compaction that has been made: what it remembers is looked up when
        // one seems due.
        apply(&here, &step(life, 0, 2, 3, &[(0, &[3; 100_000])]));
        let last = read(&here, 0, None).1.pop().unwrap();
        there.compact(&compaction(life, 0, &last, &[3; 100_000])).unwrap();
        let CommitAnswer::Applied(sizes) = one(&here, &step(life, 0, 3, 4, &[(0, b"4")])) else {
            panic!("not applied")
        };
        assert_eq!(
            (sizes[0].snapshot, sizes[0].tail),
            (100_000 + SNAPSHOT_OVERHEAD, 1 + FRAME_OVERHEAD)
        );
    }
}

#[test]
fn a_commit_touches_as_many_buckets_as_there_are() {
    let redis = Redis::start(&[]).unwrap();
    let store = RedisStore::open(&settings(&redis.url())).unwrap();
    let life = store.create(&revision(), b"").unwrap();
    let frames: Vec<(u32, &[u8])> = (0..20_000).map(|bucket| (bucket, &b"x"[..])).collect();
    for n in 0..2 {
        apply(&store, &step(life, 0, n, n + 1, &frames));
    }
    assert_eq!(store.buckets(&revision()).unwrap().len(), 20_000);
    let known: Vec<Known> =
        (0..20_000).map(|bucket| Known { bucket: at(bucket), last: None }).collect();
    let reading = store.read(&revision(), &known).unwrap().unwrap();
    assert!(
        reading
            .buckets
            .iter()
            .all(|read| matches!(read, BucketRead::Whole(frames) if frames.len() == 2))
    );
    let second = store.create(&revision(), b"").unwrap();
    assert!(second != life && store.buckets(&revision()).unwrap().is_empty());
    let keys: u64 = redis::cmd("DBSIZE").query(&mut redis.connect().unwrap()).unwrap();
    assert_eq!(
        keys, 2,
        "the state of the new life and the list of revisions, and nothing of the old one"
    );
    assert!(store.remove(&revision()).unwrap());
    let keys: u64 = redis::cmd("DBSIZE").query(&mut redis.connect().unwrap()).unwrap();
    assert_eq!(keys, 0, "nothing of what was removed");
}
