//! Random histories on the real scripts: several owners that believe different things, zombies,
//! late and repeated requests, readers with cached views, compactions and splits carried out later,
//! a Redis that goes back in time or is emptied. Every read must equal a recount of the log up to
//! the position that was read with it; and each rule that is taken out of a script must make a read
//! wrong.

use super::world::{Seen, World, copy, set_back};
use super::*;
use tally_engine::store::redis::ScriptName;

const STEPS: u32 = 110_000;

/// Random steps; what was seen, or the first thing that was wrong.
fn histories(
    redis: &Redis,
    stores: &[RedisStore; 2],
    seed: u64,
    careless: bool,
) -> Result<Seen, String> {
    let mut link = redis.connect().unwrap();
    let () = redis::cmd("FLUSHALL").query(&mut link).unwrap();
    let mut world = World::new(stores, seed);
    world.careless = careless;
    for step in 0..STEPS {
        world.step(&mut link).map_err(|wrong| format!("seed {seed} step {step}: {wrong}"))?;
    }
    Ok(world.seen)
}

/// Small enough that buckets are full now and then.
fn small(redis: &Redis) -> RedisSettings {
    RedisSettings { max_bucket_bytes: 700, ..settings(&redis.url()) }
}

#[test]
fn no_read_is_ever_wrong() {
    let redis = Redis::start(&[]).unwrap();
    let stores = [(); 2].map(|()| RedisStore::open(&small(&redis)).unwrap());
    let seeds = std::env::var("TALLY_SEED")
        .map_or(1..2, |seed| seed.parse().map(|seed| seed..seed + 1).unwrap());
    let seen = seeds.map(|seed| histories(&redis, &stores, seed, false).unwrap()).last().unwrap();
    println!("{STEPS} steps: {seen:?}");
    let all = [
        seen.tails,
        seen.late,
        seen.applied,
        seen.refused,
        seen.full,
        seen.other_lives,
        seen.compacted,
        seen.stale,
    ];
    assert!([seen.splits, seen.layouts, seen.ended].iter().all(|count| *count > 50), "{seen:?}");
    assert!(
        all.iter().all(|count| *count > 100) && seen.rollbacks > 500 && seen.reads > 30_000,
        "{seen:?}"
    );
}

/// What is taken out of which script.
const MUTANTS: [(&str, ScriptName, &str, &str); 11] = [
    ("the fence does not compare progress", ScriptName::Commit, "if differs then", "if false then"),
    (
        "the fence does not compare the life",
        ScriptName::Commit,
        "if life ~= ARGV[1] then",
        "if not life then",
    ),
    (
        "the id is the request's, and a request sent again has the same",
        ScriptName::Commit,
        "struct.pack('<I4I4', now[1], now[2]) .. ARGV[2]",
        "string.sub(redis.sha1hex(table.concat(ARGV, '|', 5)), 1, 16)",
    ),
    (
        "a compaction does not look whether its last frame stands",
        ScriptName::Compact,
        "or redis.call('GETRANGE', key, at - 16, at - 1) ~= ARGV[3] then",
        "then",
    ),
    (
        "a read does not look at the id",
        ScriptName::Read,
        "return bytes == id end",
        "return #bytes == 16 end",
    ),
    (
        "progress is set apart from the frames",
        ScriptName::Commit,
        "if stored[i] ~= ARGV[at + 2] then",
        "if touched == 0 then",
    ),
    (
        "a snapshot does not say up to where it goes",
        ScriptName::Compact,
        "#snapshot, last - #snapshot)",
        "#snapshot, 0 * last)",
    ),
    (
        "a commit does not look whether a bucket was split",
        ScriptName::Commit,
        "    if held and string.sub(held, 1, 5) == 'split' then return {'LAYOUT', i} end\n    if held then return {'LOST', i, 0} end\n",
        "",
    ),
    (
        "a commit begins what only a split can make",
        ScriptName::Commit,
        "if string.find(name, '.', 1, true) then return {'LAYOUT', i} end",
        "",
    ),
    (
        "a split does not look whether its last frame is the last",
        ScriptName::Split,
        "if at < 32 or at ~= length or redis.call('GETRANGE', key, at - 16, at - 1) ~= ARGV[3] then",
        "if at < 32 then",
    ),
    (
        "a read of what was split does not look at the id",
        ScriptName::Read,
        "#kept >= 16 and is(string.sub(kept, 1, 16), id)",
        "#kept >= 16",
    ),
];

#[test]
fn every_rule_that_is_taken_out_is_missed() {
    let redis = Redis::start(&[]).unwrap();
    for (what, script, rule, without) in MUTANTS {
        let alter = |name: ScriptName, text: &str| {
            if name != script {
                return text.to_owned();
            }
            assert_eq!(text.matches(rule).count(), 1, "{rule} stands in the script");
            text.replace(rule, without)
        };
        let stores =
            [(); 2].map(|()| RedisStore::open_altered(&small(&redis), &alter, None).unwrap());
        let found = (1..=3).find_map(|seed| histories(&redis, &stores, seed, false).err());
        println!("{what}: {}", found.as_deref().unwrap_or("not found"));
        assert!(found.is_some(), "{what}: no read was wrong");
    }
}

/// A reader that folds a tail onto whatever it holds counts some of it twice.
#[test]
fn a_tail_on_another_view_is_missed() {
    let redis = Redis::start(&[]).unwrap();
    let stores = [(); 2].map(|()| RedisStore::open(&small(&redis)).unwrap());
    let found = histories(&redis, &stores, 1, true).err();
    println!("careless readers: {}", found.as_deref().unwrap_or("not found"));
    assert!(found.is_some(), "no read was wrong");
}

/// What a commit looks at before it writes: without, a foreign type in the last bucket leaves half
/// a commit, and a bucket grows without a bound.
#[test]
fn what_is_looked_at_before_the_first_write_is_missed() {
    let redis = Redis::start(&[]).unwrap();
    let checks = [
        ("elseif type(length) == 'table' then", "elseif false then"),
        (
            "elseif length + #ARGV[first + i] + 16 > limit and length * 4 > limit then",
            "elseif false then",
        ),
    ];
    let frames: [(u32, &[u8]); 3] = [(0, &[1; 200]), (1, b"b"), (2, b"c")];
    let history = |without: &[(&str, &str)]| {
        let mut link = redis.connect().unwrap();
        let () = redis::cmd("FLUSHALL").query(&mut link).unwrap();
        let alter = |name: ScriptName, text: &str| {
            let without = without.iter().filter(|_| name == ScriptName::Commit);
            without.fold(text.to_owned(), |text, (rule, instead)| {
                assert_eq!(text.matches(rule).count(), 1, "{rule} stands in the script");
                text.replace(rule, instead)
            })
        };
        let store = RedisStore::open_altered(&small(&redis), &alter, None).unwrap();
        let life = store.create(&revision(), b"").unwrap();
        apply(&store, &step(life, 0, 0, 1, &frames[..1]));
        let () = redis::cmd("RPUSH").arg(key(2)).arg("foreign").query(&mut link).unwrap();
        // Whatever is said of it.
        let _ = store.commit(&[step(life, 0, 1, 2, &frames)]);
        let halves = read(&store, 0, None).1.len() - 1;
        let full = one(&store, &step(life, 0, 1, 2, &[(0, &[7; 700])]));
        (halves, matches!(full, CommitAnswer::Full(_)))
    };
    assert_eq!(history(&[]), (0, true));
    assert_eq!(history(&checks), (1, false));
}

/// Two frames are lost with a crash; one is made again with another range of the same length, the
/// other is sent again, byte for byte. A reader that had both must not take the second for the one
/// it knows.
fn same_bytes_around_a_crash(alter: &dyn Fn(ScriptName, &str) -> String) -> bool {
    let redis = Redis::start(&[]).unwrap();
    let store = RedisStore::open_altered(&settings(&redis.url()), alter, Some(7)).unwrap();
    let mut link = redis.connect().unwrap();
    let life = store.create(&revision(), b"").unwrap();
    let before = copy(&mut link);
    let first = step(life, 1, 0, 3, &[(0, b"[0,3)")]);
    let second = step(life, 0, 0, 5, &[(0, b"[0,5)")]);
    apply(&store, &first);
    apply(&store, &second);
    let known = read(&store, 0, None).1;
    set_back(&mut link, &before);
    apply(&store, &step(life, 1, 0, 4, &[(0, b"[0,4)")]));
    apply(&store, &second);
    let (tail, frames) = read(&store, 0, known.last());
    assert!(tail || frames.iter().map(|frame| &frame.bytes[..]).eq([&b"[0,4)"[..], b"[0,5)"]));
    tail
}

#[test]
fn the_same_bytes_executed_twice_are_two_frames() {
    assert!(!same_bytes_around_a_crash(&|_, text| text.to_owned()), "a tail over another prefix");
    // Without the time of the execution it would be the same frame at the same place.
    let no_time = |_: ScriptName, text: &str| text.replace("redis.call('TIME')", "{1, 1}");
    assert!(same_bytes_around_a_crash(&no_time), "this test can fail");
}
