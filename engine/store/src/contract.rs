//! What every store promises, as tests: run on the embedded store in the unit tests, on real Redis
//! in `tests`. `contract` runs the named cases, `model` random steps against a naive store in
//! memory. Failures panic with what was seen.
//!
//! Over 480 lines: the promises are one list, and the model stands beside what it shares with them.

#![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]

use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A store under test.
pub trait World {
    /// The same store again, as after a restart; with this limit of a bucket.
    fn open(&mut self, max_bucket_bytes: u64) -> Box<dyn Store>;

    /// Bytes that it keeps around a frame, and around a snapshot.
    fn overhead(&self) -> (u64, u64);
}

/// The limit that the named cases need.
const MAX_BUCKET_BYTES: u64 = 400;

fn id(metric: &str) -> RevisionId {
    RevisionId { metric: metric.to_owned(), fingerprint: 7 }
}

const fn at(bucket: u32) -> Bucket {
    Bucket { table: 1, bucket }
}

/// A step of partition 3. The record at an offset is the offset; nothing is stored at 0.
fn step(revision: &RevisionId, life: Life, from: u64, to: u64, frames: &[(u32, &[u8])]) -> Commit {
    let base = (from > 0).then(|| from.to_le_bytes().to_vec());
    let to = StoredProgress { next: to, bytes: to.to_le_bytes().to_vec() };
    let frames = frames.iter().map(|(bucket, bytes)| (at(*bucket), bytes.to_vec())).collect();
    Commit {
        revision: revision.clone(),
        life,
        advances: vec![Advance { partition: 3, from, base, to }],
        frames,
    }
}

fn one(store: &dyn Store, commit: Commit) -> CommitAnswer {
    store.commit(&[commit]).unwrap().remove(0)
}

fn applied(answer: &CommitAnswer) -> bool {
    matches!(answer, CommitAnswer::Applied(_))
}

fn read(
    store: &dyn Store,
    revision: &RevisionId,
    bucket: u32,
    last: Option<(FrameId, u64)>,
) -> (bool, Vec<StoredFrame>) {
    match store
        .read(revision, &[Known { bucket: at(bucket), last }])
        .unwrap()
        .unwrap()
        .buckets
        .remove(0)
    {
        BucketRead::Tail(frames) => (true, frames),
        BucketRead::Whole(frames) => (false, frames),
        other => panic!("{other:?}"),
    }
}

fn texts(frames: &[StoredFrame]) -> Vec<&[u8]> {
    frames.iter().map(|frame| &frame.bytes[..]).collect()
}

fn compaction(
    revision: &RevisionId,
    life: Life,
    bucket: u32,
    last: &StoredFrame,
    snapshot: &[u8],
) -> Compaction {
    let last = (last.id, last.end);
    Compaction {
        revision: revision.clone(),
        life,
        bucket: at(bucket),
        last,
        snapshot: snapshot.to_vec(),
    }
}

/// The named cases, in one store.
pub fn contract(world: &mut dyn World) {
    let store = world.open(MAX_BUCKET_BYTES);
    let (frame, snapshot) = world.overhead();
    commits_are_fenced(&*store, frame);
    records_are_fenced(&*store);
    several_are_answered_each(&*store);
    reads_and_compactions(&*store, frame, snapshot);
    full_buckets(&*store);
    splits(&*store, frame, snapshot);
    pointers(&*store);
    removals(&*store);
    drop(store);
    reopening_keeps_everything(world);
}

fn commits_are_fenced(store: &dyn Store, frame: u64) {
    let r = id("fenced");
    assert_eq!(store.stored(&r).unwrap(), None);
    assert_eq!(
        one(store, step(&r, Life(1), 0, 5, &[])),
        CommitAnswer::OtherLife(None),
        "a commit never creates"
    );
    assert!(store.read(&r, &[]).unwrap().is_none());
    let life = store.create(&r, b"meta").unwrap();
    let first = step(&r, life, 0, 5, &[(0, b"abc"), (1, b"d")]);
    let size = |bucket: u32, bytes: u64| BucketSize {
        bucket: at(bucket),
        snapshot: 0,
        tail: bytes + frame,
    };
    let sizes = vec![size(0, 3), size(1, 1)];
    assert_eq!(one(store, first.clone()), CommitAnswer::Applied(sizes));
    // The answer was lost, the range is sent again: stored == to, nothing doubled.
    assert_eq!(one(store, first), CommitAnswer::Mismatch([(3, 5)].into()));
    assert_eq!(texts(&read(store, &r, 0, None).1), [b"abc"]);
    assert_eq!(
        one(store, step(&r, life, 4, 9, &[(0, b"x")])),
        CommitAnswer::Mismatch([(3, 5)].into())
    );
    assert!(applied(&one(store, step(&r, life, 5, 5, &[]))), "a heartbeat at the right place");
    assert_eq!(
        one(store, step(&r, life, 4, 4, &[])),
        CommitAnswer::Mismatch([(3, 5)].into()),
        "a heartbeat elsewhere"
    );
    assert_eq!(
        one(store, step(&r, Life(life.0 ^ 1), 5, 9, &[(0, b"x")])),
        CommitAnswer::OtherLife(Some(life))
    );
    // One partition of two differs: nothing of either.
    let mut two = step(&r, life, 5, 9, &[(0, b"x")]);
    let to = StoredProgress { next: 3, bytes: vec![] };
    two.advances.push(Advance { partition: 4, from: 2, base: Some(vec![]), to });
    assert_eq!(one(store, two), CommitAnswer::Mismatch([(3, 5), (4, 0)].into()));
    let stored = store.stored(&r).unwrap().unwrap();
    assert_eq!(
        (stored.life, &stored.meta[..], stored.progress[&3].next, stored.progress.len()),
        (life, &b"meta"[..], 5, 1)
    );
    assert_eq!(store.buckets(&r).unwrap(), [at(0), at(1)]);
    assert_eq!(store.sizes(&r).unwrap(), [size(0, 3), size(1, 1)]);
    // A new life is empty, and the old one is over.
    let second = store.create(&r, b"new").unwrap();
    assert_ne!(second, life);
    assert_eq!(
        store.stored(&r).unwrap().unwrap(),
        StoredRevision { life: second, meta: b"new".to_vec(), progress: BTreeMap::new() }
    );
    assert!(store.buckets(&r).unwrap().is_empty() && read(store, &r, 0, None).1.is_empty());
    assert_eq!(
        one(store, step(&r, life, 0, 5, &[(0, b"x")])),
        CommitAnswer::OtherLife(Some(second))
    );
}

/// Two histories at one offset, told apart by their records only.
fn records_are_fenced(store: &dyn Store) {
    let r = id("records");
    let life = store.create(&r, b"").unwrap();
    let based =
        |base: Option<&[u8]>, from: u64, to: u64, record: &[u8], frames: &[(u32, &[u8])]| {
            let mut commit = step(&r, life, from, to, frames);
            commit.advances[0].base = base.map(<[u8]>::to_vec);
            commit.advances[0].to.bytes = record.to_vec();
            commit
        };
    assert_eq!(
        one(store, based(Some(b"x"), 0, 5, b"whole", &[])),
        CommitAnswer::Mismatch([(3, 0)].into())
    );
    assert!(applied(&one(store, based(None, 0, 5, b"whole", &[]))));
    for base in [None, Some(&b"gap"[..]), Some(b""), Some(b"whole!")] {
        let other = based(base, 5, 9, b"more", &[(0, b"x")]);
        assert_eq!(one(store, other), CommitAnswer::Mismatch([(3, 5)].into()), "{base:?}");
        assert_eq!(
            one(store, based(base, 5, 5, b"whole", &[])),
            CommitAnswer::Mismatch([(3, 5)].into()),
            "{base:?}"
        );
    }
    assert!(store.buckets(&r).unwrap().is_empty(), "nothing of them was applied");
    assert_eq!(
        one(store, based(Some(b"whole"), 5, 5, b"whole", &[])),
        CommitAnswer::Applied(vec![]),
        "a heartbeat"
    );
    assert!(
        applied(&one(store, based(Some(b"whole"), 5, 5, b"gap", &[]))),
        "a record may change where it stands"
    );
    assert_eq!(
        one(store, based(Some(b"whole"), 5, 9, b"", &[])),
        CommitAnswer::Mismatch([(3, 5)].into())
    );
    assert!(applied(&one(store, based(Some(b"gap"), 5, 9, b"", &[(0, b"y")]))));
    assert_eq!(
        store.stored(&r).unwrap().unwrap().progress[&3],
        StoredProgress { next: 9, bytes: vec![] }
    );
}

fn several_are_answered_each(store: &dyn Store) {
    let (a, b) = (id("several_a"), id("several_b"));
    let (life_a, life_b) = (store.create(&a, b"").unwrap(), store.create(&b, b"").unwrap());
    let commits = [
        step(&a, life_a, 1, 2, &[(0, b"no")]),
        step(&b, life_b, 0, 2, &[(0, b"yes")]),
        step(&b, life_b, 2, 4, &[(0, b"and")]),
    ];
    let answers = store.commit(&commits).unwrap();
    assert_eq!(answers[0], CommitAnswer::Mismatch([(3, 0)].into()));
    assert!(applied(&answers[1]) && applied(&answers[2]), "the second rests on the first");
    assert!(read(store, &a, 0, None).1.is_empty());
    assert_eq!(texts(&read(store, &b, 0, None).1), [&b"yes"[..], b"and"]);
    assert!(store.commit(&[]).unwrap().is_empty());
}

fn reads_and_compactions(store: &dyn Store, frame: u64, snapshot: u64) {
    let r = id("compacted");
    let life = store.create(&r, b"").unwrap();
    for n in 0..3 {
        assert!(applied(&one(store, step(&r, life, n, n + 1, &[(0, &[n as u8; 10])]))));
    }
    let (_, frames) = read(store, &r, 0, None);
    assert_eq!(
        frames.iter().map(|frame| frame.end).collect::<Vec<_>>(),
        [10, 20, 30].map(|end| end + end / 10 * frame),
        "logical ends"
    );
    let known = |n: usize| Some((frames[n].id, frames[n].end));
    assert_eq!(read(store, &r, 0, known(0)), (true, frames[1..].to_vec()));
    assert_eq!(read(store, &r, 0, known(2)), (true, vec![]));
    assert!(
        !read(store, &r, 0, Some((FrameId(1), 10 + frame))).0,
        "a frame that does not stand there"
    );
    // A frame that is appended while the snapshot is made stays behind it.
    assert!(applied(&one(store, step(&r, life, 3, 4, &[(0, b"meanwhile")]))));
    let compact = compaction(&r, life, 0, &frames[1], b"snap");
    assert_eq!(
        store.compact(&compaction(&r, Life(life.0 ^ 1), 0, &frames[1], b"x")).unwrap(),
        CompactAnswer::Stale
    );
    assert_eq!(store.compact(&compact).unwrap(), CompactAnswer::Done);
    assert_eq!(store.compact(&compact).unwrap(), CompactAnswer::Stale, "sent twice");
    let (tail, after) = read(store, &r, 0, None);
    assert!(!tail);
    assert_eq!(texts(&after), [&b"snap"[..], &[2; 10], b"meanwhile"]);
    assert_eq!(after[0].end, frames[1].end, "a snapshot keeps the end of what it folded");
    assert!(read(store, &r, 0, known(2)).0, "its frame still stands behind the snapshot");
    assert!(!read(store, &r, 0, known(0)).0, "the compaction went past it");
    let sizes = vec![BucketSize { bucket: at(0), snapshot: 4 + snapshot, tail: 20 + 3 * frame }];
    assert_eq!(one(store, step(&r, life, 4, 5, &[(0, b"z")])), CommitAnswer::Applied(sizes));
    assert_eq!(
        store.compact(&compaction(&id("none"), life, 0, &frames[2], b"")).unwrap(),
        CompactAnswer::Stale
    );
}

fn full_buckets(store: &dyn Store) {
    let r = id("full");
    let life = store.create(&r, b"").unwrap();
    assert!(applied(&one(store, step(&r, life, 0, 1, &[(0, &[1; 300])]))));
    let next = step(&r, life, 1, 2, &[(1, b"a"), (0, &[2; 200])]);
    assert_eq!(one(store, next.clone()), CommitAnswer::Full(at(0)));
    assert_eq!(store.buckets(&r).unwrap(), [at(0)], "nothing of it was applied");
    let last = read(store, &r, 0, None).1.remove(0);
    assert_eq!(
        store.compact(&compaction(&r, life, 0, &last, b"small")).unwrap(),
        CompactAnswer::Done
    );
    assert!(applied(&one(store, next)));
    // A frame beyond the limit: a bucket that holds little takes it, since nothing could make room
    // for it.
    assert!(applied(&one(store, step(&r, life, 2, 3, &[(2, &[3; 40])]))));
    assert!(applied(&one(
        store,
        step(&r, life, 3, 4, &[(2, &[4; 3 * MAX_BUCKET_BYTES as usize])])
    )));
    assert_eq!(one(store, step(&r, life, 4, 5, &[(2, b"b")])), CommitAnswer::Full(at(2)));
}

fn read_split(
    store: &dyn Store,
    r: &RevisionId,
    bucket: u32,
    last: Option<(FrameId, u64)>,
) -> BucketRead {
    store.read(r, &[Known { bucket: at(bucket), last }]).unwrap().unwrap().buckets.remove(0)
}

fn splits(store: &dyn Store, frame: u64, snapshot: u64) {
    let r = id("split");
    let life = store.create(&r, b"").unwrap();
    let halves = [BEGUN + 8, BEGUN + 9];
    // What only a split can make is not begun by a commit; nothing else of that commit is applied.
    let early = step(&r, life, 0, 1, &[(0, b"a"), (halves[0], b"b")]);
    assert_eq!(one(store, early), CommitAnswer::Layout(at(halves[0])));
    assert!(store.buckets(&r).unwrap().is_empty());
    assert_eq!(read_split(store, &r, halves[0], None), BucketRead::None);
    assert!(applied(&one(store, step(&r, life, 0, 1, &[(4, b"one"), (5, b"other")]))));
    assert!(applied(&one(store, step(&r, life, 1, 2, &[(4, b"two")]))));
    let frames = read(store, &r, 4, None).1;
    let split = |last: &StoredFrame| Split {
        revision: r.clone(),
        life,
        bucket: at(4),
        last: (last.id, last.end),
        halves: [(at(halves[0]), b"left".to_vec()), (at(halves[1]), b"right!".to_vec())],
        kept: frames[0].end,
    };
    // Not what is stored: another last frame, another life, a bucket that is none.
    assert_eq!(
        store.split(&split(&frames[0])).unwrap(),
        SplitAnswer::Stale,
        "a frame came after it"
    );
    assert_eq!(
        store.split(&Split { life: Life(life.0 ^ 1), ..split(&frames[1]) }).unwrap(),
        SplitAnswer::Stale
    );
    assert_eq!(
        store.split(&Split { bucket: at(6), ..split(&frames[1]) }).unwrap(),
        SplitAnswer::Stale
    );
    assert_eq!(store.buckets(&r).unwrap(), [at(4), at(5)]);
    let SplitAnswer::Done(made) = store.split(&split(&frames[1])).unwrap() else { panic!("stale") };
    assert_eq!(store.split(&split(&frames[1])).unwrap(), SplitAnswer::Stale, "sent twice");
    assert_eq!(store.buckets(&r).unwrap(), [at(5), at(halves[0]), at(halves[1])]);
    let begin = (made, frames[1].end);
    for (half, bytes) in halves.into_iter().zip([&b"left"[..], b"right!"]) {
        let (_, whole) = read(store, &r, half, None);
        assert_eq!((texts(&whole), (whole[0].id, whole[0].end)), (vec![bytes], begin));
        assert_eq!(
            read(store, &r, half, Some(begin)),
            (true, vec![]),
            "who folded all of it goes on there"
        );
    }
    // Readers of what was: one that knew all, one that knew nothing, one that knew what never stood
    // there.
    let known = Some((frames[1].id, frames[1].end));
    assert_eq!(read_split(store, &r, 4, known), BucketRead::Split { tail: Some(vec![]), begin });
    assert_eq!(read_split(store, &r, 4, None), BucketRead::Split { tail: None, begin });
    assert_eq!(
        read_split(store, &r, 4, Some((FrameId(1), frames[1].end))),
        BucketRead::Split { tail: None, begin }
    );
    commits_made_before_a_split(store, &r, life, (&frames[1], begin), halves[1], [frame, snapshot]);
    halves_are_split(store, &r, life, halves);
}

/// A commit that was made before a split is refused whole, also when it is compacted or sent again;
/// then it is made anew. `last`, `begin`: what bucket 4 ended with, and where its halves begin.
fn commits_made_before_a_split(
    store: &dyn Store,
    r: &RevisionId,
    life: Life,
    (last, begin): (&StoredFrame, (FrameId, u64)),
    right: u32,
    [frame, snapshot]: [u64; 2],
) {
    let late = step(r, life, 2, 3, &[(5, b"x"), (4, b"late")]);
    for _ in 0..2 {
        assert_eq!(one(store, late.clone()), CommitAnswer::Layout(at(4)));
        assert_eq!(
            store.compact(&compaction(r, life, 4, last, b"no")).unwrap(),
            CompactAnswer::Stale
        );
    }
    assert_eq!(
        (read(store, r, 5, None).1.len(), store.stored(r).unwrap().unwrap().progress[&3].next),
        (1, 2)
    );
    let again = step(r, life, 2, 3, &[(5, b"x"), (right, b"late")]);
    let sizes = vec![
        BucketSize { bucket: at(5), snapshot: 0, tail: 6 + 2 * frame },
        BucketSize { bucket: at(right), snapshot: 6 + snapshot, tail: 4 + frame },
    ];
    assert_eq!(one(store, again), CommitAnswer::Applied(sizes));
    assert_eq!(texts(&read(store, r, right, Some(begin)).1), [b"late"]);
}

/// A half is split like any other bucket; another life has none of it.
fn halves_are_split(store: &dyn Store, r: &RevisionId, life: Life, [left, right]: [u32; 2]) {
    let last = read(store, r, right, None).1.pop().unwrap();
    let quarters = [2 * BEGUN + 18, 2 * BEGUN + 19];
    let next = Split {
        revision: r.clone(),
        life,
        bucket: at(right),
        last: (last.id, last.end),
        halves: quarters.map(|quarter| (at(quarter), b"q".to_vec())),
        kept: last.end,
    };
    assert!(matches!(store.split(&next).unwrap(), SplitAnswer::Done(_)));
    assert_eq!(store.buckets(r).unwrap(), [5, left, quarters[0], quarters[1]].map(at));
    let second = store.create(r, b"").unwrap();
    assert!(store.buckets(r).unwrap().is_empty());
    assert_eq!(read_split(store, r, quarters[0], None), BucketRead::None);
    assert!(applied(&one(store, step(r, second, 0, 1, &[(4, b"anew")]))));
    assert_eq!(texts(&read(store, r, 4, None).1), [b"anew"]);
}

fn pointers(store: &dyn Store) {
    let (old, new) = (id("pointed"), RevisionId { fingerprint: 8, ..id("pointed") });
    assert_eq!(store.current("pointed").unwrap(), None);
    assert!(!store.point(Some(&old), &new).unwrap());
    assert!(store.point(None, &old).unwrap());
    assert!(!store.point(None, &new).unwrap());
    assert!(store.point(Some(&old), &new).unwrap());
    assert_eq!(store.current("pointed").unwrap(), Some(new));
}

fn removals(store: &dyn Store) {
    let (old, new) = (id("removed"), RevisionId { fingerprint: 8, ..id("removed") });
    assert!(!store.remove(&old).unwrap() && store.revisions("removed").unwrap().is_empty());
    let (life, other) = (store.create(&old, b"").unwrap(), store.create(&new, b"").unwrap());
    store.create(&id("removed2"), b"").unwrap();
    for (revision, life) in [(&old, life), (&new, other)] {
        assert!(applied(&one(store, step(revision, life, 0, 1, &[(0, b"a"), (4, b"one")]))));
    }
    let [last, whole] = [4, 0].map(|bucket| read(store, &old, bucket, None).1.remove(0));
    let halves = [BEGUN + 8, BEGUN + 9].map(|half| (at(half), b"half".to_vec()));
    let (bucket, kept) = (at(4), 0);
    let split =
        Split { revision: old.clone(), life, bucket, last: (last.id, last.end), halves, kept };
    assert!(matches!(store.split(&split).unwrap(), SplitAnswer::Done(_)));
    assert!(store.point(None, &old).unwrap());
    assert_eq!(store.revisions("removed").unwrap(), [old.clone(), new.clone()]);
    let listed =
        |name: &str| store.metrics().unwrap().iter().filter(|metric| *metric == name).count();
    assert_eq!((listed("removed"), listed("removed2"), listed("gone")), (1, 1, 0));
    assert!(store.remove(&old).unwrap());
    // Nothing of it is left, and nobody who still counts it brings a part of it back.
    assert_eq!((store.stored(&old).unwrap(), store.current("removed").unwrap()), (None, None));
    assert!(store.buckets(&old).unwrap().is_empty() && store.read(&old, &[]).unwrap().is_none());
    assert_eq!(
        one(store, step(&old, life, 1, 2, &[(0, b"late"), (1, b"late")])),
        CommitAnswer::OtherLife(None)
    );
    assert_eq!(
        store.compact(&compaction(&old, life, 0, &whole, b"late")).unwrap(),
        CompactAnswer::Stale
    );
    assert_eq!(store.split(&Split { bucket: at(0), ..split }).unwrap(), SplitAnswer::Stale);
    assert_eq!((store.stored(&old).unwrap(), store.buckets(&old).unwrap()), (None, vec![]));
    assert!(!store.remove(&old).unwrap(), "sent twice");
    // The other revision is as it was; a pointer to it stays when one is removed that it does not
    // name.
    assert_eq!(store.revisions("removed").unwrap().as_slice(), std::slice::from_ref(&new));
    assert_eq!(texts(&read(store, &new, 4, None).1), [b"one"]);
    assert!(store.point(None, &new).unwrap());
    let second = store.create(&old, b"").unwrap();
    assert!(second != life && store.buckets(&old).unwrap().is_empty());
    assert_eq!(one(store, step(&old, life, 0, 1, &[])), CommitAnswer::OtherLife(Some(second)));
    assert!(
        applied(&one(store, step(&old, second, 0, 1, &[(4, b"anew")]))),
        "the split went with it"
    );
    assert!(store.remove(&old).unwrap());
    assert_eq!(store.current("removed").unwrap(), Some(new));
    assert_eq!(store.revisions("removed2").unwrap(), [id("removed2")]);
    let gone = id("gone");
    store.create(&gone, b"").unwrap();
    assert_eq!(listed("gone"), 1);
    assert!(store.remove(&gone).unwrap());
    assert_eq!((listed("gone"), listed("removed")), (0, 1));
}

fn reopening_keeps_everything(world: &mut dyn World) {
    let r = id("reopened");
    let (frame, snapshot) = world.overhead();
    let store = world.open(MAX_BUCKET_BYTES);
    let life = store.create(&r, b"m").unwrap();
    assert!(applied(&one(&*store, step(&r, life, 0, 9, &[(0, b"one"), (5, b"two")]))));
    let first = read(&*store, &r, 0, None).1.remove(0);
    store.compact(&compaction(&r, life, 0, &first, b"snapshot")).unwrap();
    assert!(applied(&one(&*store, step(&r, life, 9, 10, &[(0, b"three")]))));
    let last = read(&*store, &r, 5, None).1.remove(0);
    let (bucket, halves) =
        (at(5), [BEGUN + 10, BEGUN + 11].map(|half| (at(half), b"half".to_vec())));
    let split = Split {
        revision: r.clone(),
        life,
        bucket,
        last: (last.id, last.end),
        halves,
        kept: last.end,
    };
    assert!(matches!(store.split(&split).unwrap(), SplitAnswer::Done(_)));
    let was = |store: &dyn Store| read_split(store, &r, 5, Some((last.id, last.end)));
    let ended = was(&*store);
    let before =
        (store.stored(&r).unwrap(), store.buckets(&r).unwrap(), read(&*store, &r, 0, None));
    drop(store);
    let store = world.open(MAX_BUCKET_BYTES);
    assert_eq!(
        (store.stored(&r).unwrap(), store.buckets(&r).unwrap(), read(&*store, &r, 0, None)),
        before
    );
    assert_eq!(was(&*store), ended);
    assert_eq!(one(&*store, step(&r, life, 10, 11, &[(5, b"4")])), CommitAnswer::Layout(at(5)));
    let sizes = vec![BucketSize { bucket: at(0), snapshot: 8 + snapshot, tail: 6 + 2 * frame }];
    assert_eq!(one(&*store, step(&r, life, 10, 11, &[(0, b"4")])), CommitAnswer::Applied(sizes));
    let frames = read(&*store, &r, 0, None).1;
    assert!(
        frames
            .iter()
            .enumerate()
            .all(|(n, frame)| frames[..n].iter().all(|other| other.id != frame.id)),
        "ids are unique"
    );
    assert_eq!(store.current("pointed").unwrap().unwrap().fingerprint, 8);
    assert_eq!(
        (store.stored(&id("removed")).unwrap(), store.buckets(&id("removed")).unwrap()),
        (None, vec![])
    );
    assert_eq!(store.revisions("removed").unwrap().len(), 1);
}

/// A naive store of one revision: progress, and per bucket what its frames contain, in order, and
/// which is a snapshot.
#[derive(Default)]
struct Naive {
    life: Option<Life>,
    progress: BTreeMap<u32, StoredProgress>,
    buckets: BTreeMap<u32, Vec<(bool, Vec<u8>)>>,
}

impl Naive {
    /// Its next life, or its end.
    fn begin(&mut self, life: Option<Life>) {
        *self = Naive { life, ..Naive::default() };
    }

    /// What the frames of a bucket contain together.
    fn contents(&self, bucket: u32) -> Vec<u8> {
        self.buckets
            .get(&bucket)
            .into_iter()
            .flatten()
            .flat_map(|(_, bytes)| bytes.clone())
            .collect()
    }
}

/// Random steps against the naive model. Compaction concatenates, so contents must stay equal
/// throughout.
pub fn model(world: &mut dyn World, seed: u64, steps: u32) {
    let (frame, snapshot) = world.overhead();
    let limit = MAX_BUCKET_BYTES + 40 * frame;
    let sizes = ModelSizes { frame, snapshot, limit };
    let mut rng = SmallRng::seed_from_u64(seed);
    let begun =
        |metric| Model { revision: id(metric), naive: Naive::default(), known: BTreeMap::new() };
    let mut models = ["model_a", "model_b"].map(begun);
    let mut store = world.open(limit);
    for n in 0..steps {
        let model = &mut models[rng.random_range(0..2)];
        match rng.random_range(0..1000) {
            0..600 => model.commit(&*store, &mut rng, n, &sizes),
            600..900 if model.naive.life.is_some() => model.read(&*store, &mut rng, n),
            900..985 if model.naive.life.is_some() => model.compact(&*store, &mut rng),
            985..990 => {
                drop(store);
                store = world.open(limit);
            }
            990..994 => model.create(&*store),
            994..996 => {
                assert_eq!(
                    store.remove(&model.revision).unwrap(),
                    model.naive.life.is_some(),
                    "step {n}"
                );
                model.begin(None);
            }
            _ => {
                let stored = store.stored(&model.revision).unwrap();
                assert_eq!(stored.as_ref().map(|stored| stored.life), model.naive.life, "step {n}");
                let progress = stored.map(|stored| stored.progress).unwrap_or_default();
                assert_eq!(progress, model.naive.progress, "step {n}");
            }
        }
    }
}

/// What a store keeps around a frame and a snapshot, and the limit of a bucket.
struct ModelSizes {
    frame: u64,
    snapshot: u64,
    limit: u64,
}

/// A revision under random steps: what must be stored, and what a reader has folded.
struct Model {
    revision: RevisionId,
    naive: Naive,
    known: BTreeMap<u32, (FrameId, u64, Vec<u8>)>,
}

impl Model {
    fn begin(&mut self, life: Option<Life>) {
        self.naive.begin(life);
        self.known.clear();
    }

    fn create(&mut self, store: &dyn Store) {
        let life = store.create(&self.revision, b"").unwrap();
        self.begin(Some(life));
    }

    /// A commit that mostly is right.
    fn commit(&mut self, store: &dyn Store, rng: &mut SmallRng, n: u32, sizes: &ModelSizes) {
        let naive = &mut self.naive;
        let (partition, bucket) = (rng.random_range(0..3), rng.random_range(0..3));
        let stored = naive.progress.get(&partition);
        let (right, record) =
            (stored.map_or(0, |stored| stored.next), stored.map(|stored| stored.bytes.clone()));
        let from = if rng.random_bool(0.8) { right } else { rng.random_range(0..20) };
        let wrong = if rng.random_bool(0.3) { None } else { Some(vec![rng.random()]) };
        let base = if rng.random_bool(0.8) { record.clone() } else { wrong };
        let life = if rng.random_bool(0.95) { naive.life.unwrap_or(Life(0)) } else { Life(1) };
        let bytes = vec![n as u8; rng.random_range(1..12)];
        let to = StoredProgress { next: from + rng.random_range(0..3), bytes: vec![n as u8] };
        let advances = vec![Advance { partition, from, base: base.clone(), to: to.clone() }];
        let frames = vec![(at(bucket), bytes.clone())];
        let answer = one(store, Commit { revision: self.revision.clone(), life, advances, frames });
        let around = |is_snapshot: bool| if is_snapshot { sizes.snapshot } else { sizes.frame };
        let size =
            |(is_snapshot, bytes): &(bool, Vec<u8>)| bytes.len() as u64 + around(*is_snapshot);
        let length: u64 =
            naive.buckets.get(&bucket).map_or(0, |frames| frames.iter().map(size).sum());
        let longer = length + bytes.len() as u64 + sizes.frame;
        if naive.life != Some(life) {
            assert_eq!(answer, CommitAnswer::OtherLife(naive.life), "step {n}");
        } else if from != right || base != record {
            assert_eq!(answer, CommitAnswer::Mismatch([(partition, right)].into()), "step {n}");
        } else if longer > sizes.limit && length * 4 > sizes.limit {
            assert_eq!(answer, CommitAnswer::Full(at(bucket)), "step {n}");
            self.create(store);
        } else {
            assert!(applied(&answer), "step {n}: {answer:?}");
            naive.progress.insert(partition, to);
            naive.buckets.entry(bucket).or_default().push((false, bytes));
        }
    }

    /// A reader that keeps what it folded, and trusts a tail.
    fn read(&mut self, store: &dyn Store, rng: &mut SmallRng, n: u32) {
        let bucket = rng.random_range(0..3);
        let view = self.known.get(&bucket);
        let (tail, frames) =
            read(store, &self.revision, bucket, view.map(|(id, end, _)| (*id, *end)));
        let mut bytes =
            if tail { view.map(|view| view.2.clone()).unwrap_or_default() } else { Vec::new() };
        bytes.extend(frames.iter().flat_map(|frame| frame.bytes.clone()));
        assert_eq!(bytes, self.naive.contents(bucket), "step {n}");
        if let Some(last) = frames.last() {
            self.known.insert(bucket, (last.id, last.end, bytes));
        }
    }

    /// Folds the first frames of a bucket, and then none with the same order.
    fn compact(&mut self, store: &dyn Store, rng: &mut SmallRng) {
        let bucket = rng.random_range(0..3);
        let (_, frames) = read(store, &self.revision, bucket, None);
        if frames.is_empty() {
            return;
        }
        let last = rng.random_range(0..frames.len());
        let snapshot: Vec<u8> =
            frames[..=last].iter().flat_map(|frame| frame.bytes.clone()).collect();
        let life = self.naive.life.unwrap_or(Life(0));
        let compact = |snapshot: &[u8]| {
            store
                .compact(&compaction(&self.revision, life, bucket, &frames[last], snapshot))
                .unwrap()
        };
        assert_eq!(compact(&snapshot), CompactAnswer::Done);
        assert_eq!(compact(b"?"), CompactAnswer::Stale);
        self.naive.buckets.entry(bucket).or_default().splice(..=last, [(true, snapshot)]);
    }
}
