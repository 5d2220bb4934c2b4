//! What can happen to a Redis: foreign writes, damage, memory that is full, restarts, silence,
//! refusals. Each leads to a sentence, and none to half a commit.

use super::*;
use redis::Commands;
use std::time::{Duration, Instant};
use tally_engine::store::StoreError;

fn unavailable<T: std::fmt::Debug>(result: Result<T, StoreError>, says: &str) {
    match result {
        Err(StoreError::Unavailable(text)) if text.contains(says) => {}
        other => panic!("expected unavailable: … {says} …, got {other:?}"),
    }
}

fn broken(answer: &CommitAnswer, says: &str) {
    assert!(matches!(answer, CommitAnswer::Broken(text) if text.contains(says)), "{answer:?}");
}

fn commit(store: &RedisStore, commit: &Commit) -> Result<Vec<CommitAnswer>, StoreError> {
    store.commit(std::slice::from_ref(commit))
}

#[test]
fn a_wrong_type_in_the_last_bucket_leaves_nothing_half_done() {
    let redis = Redis::start(&[]).unwrap();
    let (store, mut link) =
        (RedisStore::open(&settings(&redis.url())).unwrap(), redis.connect().unwrap());
    let life = store.create(&revision(), b"").unwrap();
    apply(&store, &step(life, 0, 0, 1, &[(0, b"a")]));
    let () = link.rpush(key(3), "foreign").unwrap();
    let next = step(life, 0, 1, 2, &[(0, b"b"), (1, b"c"), (2, b"d"), (3, b"e")]);
    let other = RevisionId { metric: "other".to_owned(), ..revision() };
    let other_life = store.create(&other, b"").unwrap();
    let fine = Commit { revision: other.clone(), ..step(other_life, 0, 0, 1, &[(0, b"fine")]) };
    let answers = store.commit(&[next.clone(), fine]).unwrap();
    broken(&answers[0], &key(3));
    assert!(matches!(answers[1], CommitAnswer::Applied(_)), "another revision's commit is its own");
    assert_eq!(read(&store, 0, None).1.len(), 1, "nothing was appended");
    assert_eq!(store.buckets(&revision()).unwrap(), [at(0)]);
    assert_eq!(store.stored(&revision()).unwrap().unwrap().progress[&0].next, 1);
    let all = Known { bucket: at(3), last: None };
    assert!(
        matches!(store.read(&revision(), &[all]), Err(StoreError::Corrupt(text)) if text.contains(&key(3)))
    );
    // A string is no better where the index knows of none.
    let () = link.del(key(3)).unwrap();
    let () = link.set(key(3), "foreign").unwrap();
    let unlisted = store.read(&revision(), &[all]);
    assert!(
        matches!(unlisted, Err(StoreError::Corrupt(text)) if text.contains("the index does not list it"))
    );
    let () = link.del(key(3)).unwrap();
    apply(&store, &next);
    // A bucket that vanishes is noticed, not begun anew.
    let () = link.del(key(2)).unwrap();
    broken(&one(&store, &step(life, 0, 2, 3, &[(2, b"f")])), "evicted or deleted");
    let gone = Known { bucket: at(2), last: None };
    assert!(
        matches!(store.read(&revision(), &[gone]), Err(StoreError::Corrupt(text)) if text.contains("evicted"))
    );
}

#[test]
fn a_foreign_state_or_index_is_refused_before_anything_is_written() {
    let redis = Redis::start(&[]).unwrap();
    let (store, mut link) =
        (RedisStore::open(&settings(&redis.url())).unwrap(), redis.connect().unwrap());
    let life = store.create(&revision(), b"").unwrap();
    let index = "{tally:m:0000000000000abc}:b";
    let () = link.set(index, "foreign").unwrap();
    broken(&one(&store, &step(life, 0, 0, 1, &[(0, b"a")])), "another type");
    assert!(store.stored(&revision()).unwrap().unwrap().progress.is_empty());
    let () = link.set("{tally:m:0000000000000abc}:state", "foreign").unwrap();
    broken(&one(&store, &step(life, 0, 0, 1, &[])), "another type");
    assert!(matches!(store.stored(&revision()), Err(StoreError::Corrupt(_))));
}

#[test]
fn every_damaged_byte_is_noticed() {
    let redis = Redis::start(&[]).unwrap();
    let (store, mut link) =
        (RedisStore::open(&settings(&redis.url())).unwrap(), redis.connect().unwrap());
    let life = store.create(&revision(), b"meta").unwrap();
    apply(&store, &step(life, 0, 0, 1, &[(0, b"frame")]));
    let first = read(&store, 0, None).1.remove(0);
    store.compact(&compaction(life, 0, &first, b"snapshot")).unwrap();
    apply(&store, &step(life, 0, 1, 2, &[(0, b"more")]));
    let whole = || store.read(&revision(), &[Known { bucket: at(0), last: None }]);
    let bytes: Vec<u8> = link.get(key(0)).unwrap();
    let (first, second) = (8 + SNAPSHOT_OVERHEAD as usize, bytes.len());
    for place in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[place] ^= 0x11;
        let () = link.set(key(0), bad).unwrap();
        // Another id is no damage: a reader that knew the old one reads all again.
        let stamp = (first - 16..first).contains(&place) || (second - 16..second).contains(&place);
        match whole() {
            Err(StoreError::Corrupt(_)) if !stamp => {}
            Ok(_) if stamp => {}
            other => panic!("byte {place}: {other:?}"),
        }
        let () = link.set(key(0), &bytes[..place]).unwrap();
        // Cut between two frames it looks whole: there the rows counted in progress and in frames
        // differ.
        assert!(place == first || matches!(whole(), Err(StoreError::Corrupt(_))), "cut at {place}");
    }
    let () = link.set(key(0), &bytes).unwrap();
    for (hash, field) in
        [("state", "life"), ("state", "meta"), ("state", "format"), ("state", "p:0"), ("b", "0:0")]
    {
        let hash = format!("{{tally:m:0000000000000abc}}:{hash}");
        let good: Vec<u8> = link.hget(&hash, field).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0x11;
            let () = link.hset(&hash, field, bad).unwrap();
            assert!(
                matches!(whole(), Err(StoreError::Corrupt(_) | StoreError::Unavailable(_))),
                "{field} byte {place}"
            );
        }
        let () = link.hset(&hash, field, good).unwrap();
    }
    assert!(whole().is_ok());
}

#[test]
fn scripts_are_sent_again_where_they_are_not_known() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]).unwrap();
    let store = RedisStore::open(&settings(&redis.url())).unwrap();
    let life = store.create(&revision(), b"").unwrap();
    apply(&store, &step(life, 0, 0, 1, &[(0, b"a")]));
    let () = redis::cmd("SCRIPT").arg("FLUSH").query(&mut redis.connect().unwrap()).unwrap();
    let two = [step(life, 0, 1, 2, &[(0, b"b")]), step(life, 0, 2, 3, &[(0, b"c")])];
    let answers = store.commit(&two).unwrap();
    assert!(answers.iter().all(|answer| matches!(answer, CommitAnswer::Applied(_))), "{answers:?}");
    // It ends and comes back with what it had: connections are made again, and scripts sent again.
    redis.kill().unwrap();
    unavailable(commit(&store, &step(life, 0, 3, 4, &[(0, b"d")])), "Redis at 127.0.0.1:");
    unavailable(commit(&store, &step(life, 0, 3, 4, &[(0, b"d")])), "does not listen: start it");
    redis.restart().unwrap();
    apply(&store, &step(life, 0, 3, 4, &[(0, b"d")]));
    assert_eq!(read(&store, 0, None).1.len(), 4);
    // A reader does not notice a restart between two reads.
    redis.restart().unwrap();
    assert_eq!(read(&store, 0, None).1.len(), 4);
    assert!(store.server().persistence.as_ref().is_some_and(|persistence| persistence.append_only));
}

#[test]
fn what_cannot_be_done_now_says_what_to_do() {
    let redis = Redis::start(&[]).unwrap();
    let (store, mut link) =
        (RedisStore::open(&settings(&redis.url())).unwrap(), redis.connect().unwrap());
    let mut config = |name: &str, value: &str| {
        let () = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query(&mut link).unwrap();
    };
    let life = store.create(&revision(), b"").unwrap();
    apply(&store, &step(life, 0, 0, 1, &[(0, b"a"), (1, b"b")]));
    let next = step(life, 0, 1, 2, &[(0, b"c"), (1, b"d")]);
    config("maxmemory", "1");
    unavailable(commit(&store, &next), "its memory is full");
    unavailable(store.create(&revision(), b""), "its memory is full");
    let last = read(&store, 0, None).1.remove(0);
    let done = store.compact(&compaction(life, 0, &last, b"s")).unwrap();
    assert_eq!(done, tally_engine::store::CompactAnswer::Done, "what makes room is let through");
    config("maxmemory", "0");
    let () = redis::cmd("REPLICAOF")
        .arg("127.0.0.1")
        .arg(1)
        .query(&mut redis.connect().unwrap())
        .unwrap();
    unavailable(commit(&store, &next), "it is a replica");
    let () =
        redis::cmd("REPLICAOF").arg("NO").arg("ONE").query(&mut redis.connect().unwrap()).unwrap();
    assert_eq!(
        store.stored(&revision()).unwrap().unwrap().progress[&0].next,
        1,
        "nothing of it was done"
    );
    apply(&store, &next);
}

#[test]
fn a_script_of_another_that_does_not_end_is_named() {
    let redis = Redis::start(&["--busy-reply-threshold", "20"]).unwrap();
    let store = RedisStore::open(&settings(&redis.url())).unwrap();
    let life = store.create(&revision(), b"").unwrap();
    std::thread::scope(|scope| {
        let endless = scope.spawn(|| {
            let mut link = redis.connect().unwrap();
            redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut link)
        });
        let next = step(life, 0, 0, 1, &[(0, b"a")]);
        let started = Instant::now();
        // Until the other's script has begun, the commit is done; then it only finds that it was.
        while let Ok(answers) = commit(&store, &next) {
            assert!(
                !matches!(answers[0], CommitAnswer::Broken(_))
                    && started.elapsed() < Duration::from_secs(20)
            );
        }
        unavailable(commit(&store, &next), "another client's script blocks it");
        let () = redis::cmd("SCRIPT").arg("KILL").query(&mut redis.connect().unwrap()).unwrap();
        assert!(endless.join().unwrap().is_err());
        assert!(commit(&store, &next).is_ok());
    });
    assert_eq!(read(&store, 0, None).1.len(), 1);
}

#[test]
fn a_silent_redis_is_left_in_time() {
    let redis = Redis::start(&[]).unwrap();
    let limit = Duration::from_millis(300);
    let store =
        RedisStore::open(&RedisSettings { response_timeout: limit, ..settings(&redis.url()) })
            .unwrap();
    let life = store.create(&revision(), b"").unwrap();
    let signal = |signal: &str| {
        let pid = redis.pid().unwrap().to_string();
        assert!(
            std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success()
        );
    };
    signal("-STOP");
    let started = Instant::now();
    unavailable(commit(&store, &step(life, 0, 0, 1, &[(0, b"a")])), "did not answer in time");
    assert!(started.elapsed() < limit * 5);
    signal("-CONT");
    // It may have been done or not: the same range again says which, and it is done once.
    match one(&store, &step(life, 0, 0, 1, &[(0, b"a")])) {
        CommitAnswer::Applied(_) => {}
        other => assert_eq!(other, CommitAnswer::Mismatch([(0, 1)].into())),
    }
    assert_eq!(read(&store, 0, None).1.len(), 1);
}

#[test]
fn what_is_not_fit_is_refused_with_the_remedy() {
    let redis = Redis::start(&["--maxmemory-policy", "allkeys-lru"]).unwrap();
    let mut link = redis.connect().unwrap();
    let remedy = "CONFIG SET maxmemory-policy noeviction";
    unavailable(RedisStore::open(&settings(&redis.url())).map(|_| ()), remedy);
    let mut config = |name: &str, value: &str| {
        let () = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query(&mut link).unwrap();
    };
    config("maxmemory-policy", "noeviction");
    config("requirepass", "hunter2");
    let with = |user: &str| settings(&redis.url().replace("//", &format!("//{user}@")));
    RedisStore::open(&with(":hunter2")).unwrap();
    for wrong in [settings(&redis.url()), with(":secret1"), with("me:secret1")] {
        let Err(fault) = RedisStore::open(&wrong) else { panic!("opened without the password") };
        let text = format!("{fault} {fault:?} {wrong:?}");
        assert!(text.contains("user and password") && !text.contains("secret1"), "{text}");
    }
    let silent = Redis::start(&["--rename-command", "CONFIG", "HIDDEN"]).unwrap();
    let store = RedisStore::open(&settings(&silent.url())).unwrap();
    assert!(store.server().warnings[0].contains("noeviction"), "{:?}", store.server());
    assert!(RedisStore::open(&settings("redis://127.0.0.1:1")).is_err());
}

#[test]
fn a_server_that_would_evict_is_noticed_when_it_is_connected_to_again() {
    let mut redis = Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]).unwrap();
    let store = RedisStore::open(&settings(&redis.url())).unwrap();
    let life = store.create(&revision(), b"").unwrap();
    redis.set("--maxmemory-policy", "volatile-lru");
    redis.restart().unwrap();
    let _ = commit(&store, &step(life, 0, 0, 1, &[]));
    unavailable(
        commit(&store, &step(life, 0, 0, 1, &[])),
        "CONFIG SET maxmemory-policy noeviction",
    );
}

#[test]
fn more_callers_than_connections_wait_for_each_other() {
    let redis = Redis::start(&[]).unwrap();
    let store =
        RedisStore::open(&RedisSettings { connections: 2, ..settings(&redis.url()) }).unwrap();
    store.create(&revision(), b"").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                (0..200).for_each(|_| assert!(store.stored(&revision()).unwrap().is_some()))
            });
        }
    });
    let info: String =
        redis::cmd("INFO").arg("clients").query(&mut redis.connect().unwrap()).unwrap();
    let clients = info.lines().find_map(|line| line.strip_prefix("connected_clients:")).unwrap();
    assert!(clients.trim().parse::<u32>().unwrap() <= 3, "{clients}");
}
