//! A real Cluster of three masters: the contract; a slot that moves while commits go on.

use super::*;
use std::time::{Duration, Instant};
use tally_engine::store::StoreError;
use tally_tests::redis::Cluster;

#[test]
fn a_cluster_keeps_the_contract() {
    let cluster = Cluster::start(&[]).unwrap();
    contract::contract(&mut At(settings(&cluster.url())));
    contract::model(&mut At(settings(&cluster.url())), 3, 4_000);
    let store = RedisStore::open(&settings(&cluster.url())).unwrap();
    assert!(store.server().cluster && store.server().at.len() == 3, "{:?}", store.server());
    // Revisions are spread over the nodes, each whole on one.
    let metrics: Vec<RevisionId> =
        (0..12).map(|n| RevisionId { metric: format!("metric{n}"), fingerprint: n }).collect();
    let commits: Vec<Commit> = metrics
        .iter()
        .map(|metric| {
            let life = store.create(metric, b"").unwrap();
            Commit {
                revision: metric.clone(),
                ..step(life, 0, 0, 1, &[(0, b"a"), (1, b"b"), (2, b"c")])
            }
        })
        .collect();
    let answers = store.commit(&commits).unwrap();
    assert!(answers.iter().all(|answer| matches!(answer, CommitAnswer::Applied(_))), "{answers:?}");
    for node in &cluster.nodes {
        let keys: Vec<String> =
            redis::cmd("KEYS").arg("*metric*:0*").query(&mut node.connect().unwrap()).unwrap();
        assert!(!keys.is_empty() && keys.len().is_multiple_of(5), "{keys:?}");
    }
}

#[test]
fn a_node_that_ends_takes_its_revisions_with_it_until_it_is_back() {
    let mut cluster = Cluster::start(&[
        "--cluster-require-full-coverage",
        "no",
        "--cluster-node-timeout",
        "1000",
    ])
    .unwrap();
    let all: Vec<String> = cluster.nodes.iter().map(|node| node.at()).collect();
    let store = RedisStore::open(&settings(&all.join(","))).unwrap();
    let metrics: Vec<RevisionId> =
        (0..12).map(|n| RevisionId { metric: format!("metric{n}"), fingerprint: n }).collect();
    let lives: Vec<Life> =
        metrics.iter().map(|metric| store.create(metric, b"").unwrap()).collect();
    let here: Vec<String> =
        redis::cmd("KEYS").arg("*").query(&mut cluster.nodes[0].connect().unwrap()).unwrap();
    let on_first =
        |metric: &RevisionId| here.iter().any(|key| key.contains(&format!(":{}:", metric.metric)));
    let send = |at: usize, from: u64| {
        let commit = Commit {
            revision: metrics[at].clone(),
            ..step(lives[at], 0, from, from + 1, &[(0, b"x")])
        };
        store.commit(&[commit]).map(|mut answers| answers.remove(0))
    };
    cluster.nodes[0].kill().unwrap();
    // The first may meet the connection that broke.
    let _ = send(0, 0);
    let refused = (0..12)
        .filter(|at| matches!(send(*at, 0), Err(StoreError::Unavailable(_))))
        .collect::<Vec<_>>();
    let gone = (0..12).filter(|at| on_first(&metrics[*at])).collect::<Vec<_>>();
    assert!(
        !gone.is_empty() && gone.len() < 12 && refused == gone,
        "refused {refused:?}, gone {gone:?}"
    );
    cluster.nodes[0].restart().unwrap();
    let started = Instant::now();
    // It comes back with its slots and without its keys: the state is another's to create, and is
    // not begun by a commit.
    while !gone.iter().all(|at| matches!(send(*at, 0), Ok(CommitAnswer::OtherLife(None)))) {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", send(gone[0], 0));
    }
    let there = (0..12).find(|at| !gone.contains(at)).unwrap();
    assert_eq!(
        send(there, 0).unwrap(),
        CommitAnswer::Mismatch([(0, 1)].into()),
        "the others had gone on"
    );
}

#[test]
fn a_slot_that_moves_halves_no_commit() {
    let cluster = Cluster::start(&[]).unwrap();
    let store = RedisStore::open(&settings(&cluster.url())).unwrap();
    let life = store.create(&revision(), b"").unwrap();
    let frames: [(u32, &[u8]); 4] = [(0, b"a"), (1, b"b"), (2, b"c"), (3, b"d")];
    apply(&store, &step(life, 0, 0, 1, &frames));
    let mut links: Vec<redis::Connection> =
        cluster.nodes.iter().map(|node| node.connect().unwrap()).collect();
    let slot: u64 = redis::cmd("CLUSTER").arg("KEYSLOT").arg(key(0)).query(&mut links[0]).unwrap();
    let from =
        (0..3).find(|at| 16_384 * at / 3 <= slot && slot < 16_384 * (at + 1) / 3).unwrap() as usize;
    let to = (from + 1) % 3;
    let undeclared: Vec<String> =
        (0..4).map(|n| format!("{{tally:m:0000000000000abc}}:undeclared:{n}")).collect();
    let mut here = cluster.nodes[from].connect().unwrap();
    undeclared.iter().for_each(|key| redis::cmd("SET").arg(key).arg("y").exec(&mut here).unwrap());
    let ids: Vec<String> = links
        .iter_mut()
        .map(|link| redis::cmd("CLUSTER").arg("MYID").query(link).unwrap())
        .collect();
    let mut set_slot = |node: usize, how: &[&str]| assign_slot(&mut links[node], slot, how);
    set_slot(to, &["IMPORTING", &ids[from]]);
    set_slot(from, &["MIGRATING", &ids[to]]);
    let port: u16 = cluster.nodes[to].url().rsplit(':').next().unwrap().parse().unwrap();
    let mut plain = cluster.nodes[from].connect().unwrap();
    let mut migrate = |key: &str| migrate_key(&mut plain, port, key);
    // Half of the buckets are gone: the server refuses the script before it runs.
    migrate(&key(1));
    migrate(&key(3));
    let next = step(life, 0, 1, 2, &frames);
    for _ in 0..3 {
        match store.commit(std::slice::from_ref(&next)) {
            Err(StoreError::Unavailable(text)) if text.contains("a slot is being moved") => {}
            other => panic!("{other:?}"),
        }
    }
    // Keys that a script does not declare are found missing one by one: the same appends end half
    // way.
    migrate(&undeclared[1]);
    migrate(&undeclared[3]);
    let appends = "#!lua\nfor i = 1, #ARGV do redis.call('APPEND', ARGV[i], 'x') end";
    let halved =
        redis::cmd("EVAL").arg(appends).arg(1).arg(key(0)).arg(&undeclared).exec(&mut here);
    let length: u64 = redis::cmd("STRLEN").arg(&undeclared[0]).query(&mut here).unwrap();
    assert!(halved.is_err() && length == 2, "{halved:?}, {length}");
    let index =
        ["{tally:m:0000000000000abc}:b".to_owned(), "{tally:m:0000000000000abc}:state".to_owned()];
    for key in
        [key(0), key(2), undeclared[0].clone(), undeclared[2].clone()].into_iter().chain(index)
    {
        migrate(&key);
    }
    for node in [to, from, 3 - to - from] {
        set_slot(node, &["NODE", &ids[to]]);
    }
    // The store asks the other node by itself.
    apply(&store, &next);
    for bucket in 0..4 {
        assert_eq!(read(&store, bucket, None).1.len(), 2, "bucket {bucket}");
    }
}

fn assign_slot(link: &mut redis::Connection, slot: u64, how: &[&str]) {
    let () = redis::cmd("CLUSTER").arg("SETSLOT").arg(slot).arg(how).query(link).unwrap();
}

/// Moves a key to the node that listens at a port.
fn migrate_key(link: &mut redis::Connection, port: u16, key: &str) {
    let mut command = redis::cmd("MIGRATE");
    let () = command.arg("127.0.0.1").arg(port).arg(key).arg(0).arg(5_000).query(link).unwrap();
}
