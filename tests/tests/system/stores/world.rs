//! The world of random histories: a log, owners, requests under way, readers, prepared compactions,
//! copies to go back to.
//!
//! Over 480 lines: owners, readers and what they do to each other are one world.

use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redis::{Commands, Connection};
use std::collections::{BTreeMap, HashMap};
use tally_engine::store::{BEGUN, CompactAnswer, FrameId, Reading, Split, SplitAnswer};

const PARTITIONS: usize = 3;
const BUCKETS: u32 = 3;
const OWNERS: usize = 3;
const READERS: usize = 3;

/// Keys of a bucket as it begins: it can be split twice.
const KEYS: usize = 4;

/// What a bucket counts. All frames have one length, so that places coincide.
pub(crate) type Cells = [u32; KEYS];

/// The bucket as it began that `bucket` was made of, and the keys that it has.
fn share(bucket: u32) -> (u32, std::ops::Range<usize>) {
    let (splits, number) = (bucket / BEGUN, bucket % BEGUN);
    let keys = KEYS >> splits;
    let first = number as usize % (1 << splits) * keys;
    (number >> splits, first..first + keys)
}

fn halves(bucket: u32) -> Option<[u32; 2]> {
    let (splits, number) = (bucket / BEGUN, bucket % BEGUN);
    let first = (splits + 1) * BEGUN + 2 * number;
    (splits < 2).then_some([first, first + 1])
}

/// The cells of a bucket alone.
fn of(bucket: u32, mut cells: Cells) -> Cells {
    let (_, keys) = share(bucket);
    cells
        .iter_mut()
        .enumerate()
        .filter(|(key, _)| !keys.contains(key))
        .for_each(|(_, cell)| *cell = 0);
    cells
}

/// The buckets there are when these hold something.
fn leaves(held: &[u32]) -> Vec<u32> {
    let within = |bucket: u32, other: u32| {
        let ((root, keys), (other_root, others)) = (share(bucket), share(other));
        root == other_root
            && others.start >= keys.start
            && others.end <= keys.end
            && other / BEGUN > bucket / BEGUN
    };
    let mut open: Vec<u32> = (0..BUCKETS).collect();
    let mut leaves = Vec::new();
    while let Some(bucket) = open.pop() {
        match halves(bucket).filter(|_| held.iter().any(|held| within(bucket, *held))) {
            Some(halves) => open.extend(halves),
            None => leaves.push(bucket),
        }
    }
    leaves
}

/// Of each life and partition, the sums of `[0, offset)`: bucket by bucket. Another life is another
/// log.
#[derive(Default)]
struct Log {
    /// As they came, so that a seed gives the same logs each time.
    lives: Vec<Life>,
    sums: HashMap<(usize, usize), Vec<[Cells; BUCKETS as usize]>>,
}

impl Log {
    fn until(&mut self, life: Life, partition: usize, offset: u64) -> [Cells; BUCKETS as usize] {
        let number = self.lives.iter().rposition(|known| *known == life).unwrap_or_else(|| {
            self.lives.push(life);
            self.lives.len() - 1
        });
        let sums = self.sums.entry((number, partition)).or_insert_with(|| vec![Default::default()]);
        while sums.len() as u64 <= offset {
            let place = (number as u64) << 40 | (partition as u64) << 32 | sums.len() as u64;
            let mut event = SmallRng::seed_from_u64(place);
            let mut next = sums[sums.len() - 1];
            next[event.random_range(0..BUCKETS as usize)][event.random_range(0..KEYS)] +=
                event.random_range(1..9);
            sums.push(next);
        }
        sums[offset as usize]
    }

    fn range(
        &mut self,
        life: Life,
        partition: usize,
        from: u64,
        to: u64,
    ) -> [Cells; BUCKETS as usize] {
        let (mut after, before) =
            (self.until(life, partition, to), self.until(life, partition, from));
        for (cells, before) in after.iter_mut().flatten().zip(before.iter().flatten()) {
            *cells -= before;
        }
        after
    }
}

fn encode(cells: Cells) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_le_bytes()).collect()
}

fn fold(cells: &mut Cells, frames: &[StoredFrame]) {
    for frame in frames {
        for (cell, bytes) in cells.iter_mut().zip(frame.bytes.chunks_exact(4)) {
            *cell = cell.wrapping_add(u32::from_le_bytes(bytes.try_into().unwrap()));
        }
    }
}

#[derive(Clone, Default)]
struct View {
    last: Option<(FrameId, u64)>,
    cells: Cells,
}

impl View {
    fn add(&mut self, frames: &[StoredFrame]) {
        fold(&mut self.cells, frames);
        self.last = frames.last().map(|frame| (frame.id, frame.end)).or(self.last);
    }
}

/// All keys of the server, as they are.
pub(crate) type Copy = Vec<(String, Vec<u8>)>;

pub(crate) fn copy(link: &mut Connection) -> Copy {
    let keys: Vec<String> = link.keys("*").unwrap();
    keys.into_iter()
        .map(|key| (key.clone(), redis::cmd("DUMP").arg(key).query(link).unwrap()))
        .collect()
}

pub(crate) fn set_back(link: &mut Connection, copy: &Copy) {
    let mut all = redis::pipe();
    all.cmd("FLUSHALL").ignore();
    for (key, bytes) in copy {
        all.cmd("RESTORE").arg(key).arg(0).arg(bytes).ignore();
    }
    let () = all.query(link).unwrap();
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) reads: u64,
    pub(crate) tails: u64,
    pub(crate) late: u64,
    pub(crate) applied: u64,
    pub(crate) refused: u64,
    pub(crate) full: u64,
    pub(crate) other_lives: u64,
    pub(crate) compacted: u64,
    pub(crate) stale: u64,
    pub(crate) rollbacks: u64,
    pub(crate) splits: u64,
    pub(crate) layouts: u64,
    pub(crate) ended: u64,
}

/// To be carried out later, if at all.
enum Prepared {
    Compact(Compaction),
    Split(Split),
}

pub(crate) struct World<'a> {
    /// Of several engines: what one of them remembers, another has changed.
    stores: &'a [RedisStore; 2],
    rng: SmallRng,
    log: Log,
    owners: Vec<(Life, [u64; PARTITIONS])>,
    late: Vec<Commit>,
    readers: Vec<BTreeMap<u32, View>>,
    /// Answers to reads that are on their way: reader, what was sent, what came.
    replies: Vec<(usize, Vec<Known>, Reading)>,
    prepared: Vec<Prepared>,
    /// The buckets that each owner believes in.
    laid_out: Vec<Vec<u32>>,
    copies: Vec<Copy>,
    pub(crate) seen: Seen,
    /// Readers fold whatever tail comes, whether it follows what they hold or not.
    pub(crate) careless: bool,
}

impl<'a> World<'a> {
    /// Nothing has happened.
    pub(crate) fn new(stores: &'a [RedisStore; 2], seed: u64) -> Self {
        World {
            stores,
            rng: SmallRng::seed_from_u64(seed),
            log: Log::default(),
            owners: vec![(Life(0), [0; PARTITIONS]); OWNERS],
            late: Vec::new(),
            readers: vec![BTreeMap::new(); READERS],
            replies: Vec::new(),
            careless: false,
            prepared: Vec::new(),
            laid_out: vec![leaves(&[]); OWNERS],
            copies: Vec::new(),
            seen: Seen::default(),
        }
    }

    fn store(&mut self) -> &'a RedisStore {
        &self.stores[self.rng.random_range(0..2)]
    }

    /// An owner that believes nothing loads what is stored; the first creates.
    fn load(&mut self, owner: usize) -> Result<(), String> {
        let stored = self.store().stored(&revision()).map_err(|fault| fault.to_string())?;
        self.owners[owner] = match stored {
            None => (
                self.store().create(&revision(), b"").map_err(|fault| fault.to_string())?,
                [0; PARTITIONS],
            ),
            Some(stored) => {
                let next = |partition| {
                    stored.progress.get(&(partition as u32)).map_or(0, |progress| progress.next)
                };
                (stored.life, std::array::from_fn(next))
            }
        };
        Ok(())
    }

    fn prepare(&mut self, owner: usize) -> Commit {
        let (life, next) = self.owners[owner];
        let first = self.rng.random_range(0..PARTITIONS);
        let partitions = if self.rng.random_bool(0.2) {
            vec![first, (first + 1) % PARTITIONS]
        } else {
            vec![first]
        };
        let (mut advances, mut cells) = (Vec::new(), [Cells::default(); BUCKETS as usize]);
        for partition in partitions {
            let (from, to) = (next[partition], next[partition] + self.rng.random_range(0..5));
            let more = self.log.range(life, partition, from, to);
            cells
                .iter_mut()
                .flatten()
                .zip(more.iter().flatten())
                .for_each(|(cell, more)| *cell += more);
            advances.extend(step(life, partition as u32, from, to, &[]).advances);
        }
        let cells = self.laid_out[owner]
            .iter()
            .map(|bucket| (*bucket, of(*bucket, cells[share(*bucket).0 as usize])));
        let touched = cells.filter(|(_, cells)| *cells != Cells::default());
        let frames = touched.map(|(bucket, cells)| (at(bucket), encode(cells))).collect();
        Commit { revision: revision(), life, advances, frames }
    }

    fn commit(&mut self, owner: usize) -> Result<(), String> {
        let commit = self.prepare(owner);
        // On its way until later; or sent, and once more later.
        let delayed = self.rng.random_bool(0.1);
        if delayed || self.rng.random_bool(0.15) {
            self.late.push(commit.clone());
            if self.late.len() > 20 {
                self.late.remove(0);
            }
        }
        if delayed {
            return Ok(());
        }
        let mut answer = self.send(&commit)?;
        if self.rng.random_bool(0.05) {
            answer = self.send(&commit)?;
        }
        if self.rng.random_bool(0.1) {
            return Ok(()); // the answer is lost: the owner goes on believing what it did
        }
        match answer {
            CommitAnswer::Applied(_) => {
                for advance in &commit.advances {
                    self.owners[owner].1[advance.partition as usize] = advance.to.next;
                }
            }
            CommitAnswer::Mismatch(stored) => {
                for (partition, next) in stored {
                    self.owners[owner].1[partition as usize] = next;
                }
            }
            CommitAnswer::OtherLife(_) => self.load(owner)?,
            CommitAnswer::Full(bucket) => {
                self.start_compaction(bucket.bucket, false)?;
                self.compact()?;
            }
            // The same range again, later, in the buckets there are.
            CommitAnswer::Layout(_) => self.laid_out[owner] = leaves(&self.held()?),
            CommitAnswer::Broken(what) => return Err(what),
        }
        Ok(())
    }

    fn held(&mut self) -> Result<Vec<u32>, String> {
        let buckets = self.store().buckets(&revision()).map_err(|fault| fault.to_string())?;
        Ok(buckets.into_iter().map(|bucket| bucket.bucket).collect())
    }

    fn send(&mut self, commit: &Commit) -> Result<CommitAnswer, String> {
        let mut answers =
            self.store().commit(std::slice::from_ref(commit)).map_err(|fault| fault.to_string())?;
        let answer = answers.remove(0);
        *match &answer {
            CommitAnswer::Applied(_) => &mut self.seen.applied,
            CommitAnswer::Full(_) => &mut self.seen.full,
            CommitAnswer::OtherLife(_) => &mut self.seen.other_lives,
            CommitAnswer::Layout(_) => &mut self.seen.layouts,
            _ => &mut self.seen.refused,
        } += 1;
        Ok(answer)
    }

    /// A reader asks for some of its views; the answer comes at once, or after answers to later
    /// questions.
    fn read(&mut self, reader: usize) -> Result<(), String> {
        let mut roots: Vec<u32> = (0..BUCKETS).filter(|_| self.rng.random_bool(0.6)).collect();
        if roots.is_empty() {
            roots.push(0);
        }
        if self.readers[reader].is_empty() {
            let held = self.held()?;
            self.readers[reader] =
                leaves(&held).into_iter().map(|bucket| (bucket, View::default())).collect();
        }
        self.look(reader, &roots)
    }

    /// Asks until an answer is whole, or on its way.
    fn look(&mut self, reader: usize, roots: &[u32]) -> Result<(), String> {
        loop {
            let asked = self.readers[reader]
                .iter()
                .filter(|(bucket, _)| roots.contains(&share(**bucket).0));
            let known: Vec<Known> = asked
                .map(|(bucket, view)| Known { bucket: at(*bucket), last: view.last })
                .collect();
            let reading =
                self.store().read(&revision(), &known).map_err(|fault| fault.to_string())?;
            let Some(reading) = reading else { return Ok(()) };
            if self.rng.random_bool(0.2) {
                self.replies.push((reader, known, reading));
                if self.replies.len() > 10 {
                    self.replies.remove(0);
                }
                return Ok(());
            }
            if self.answered(reader, &known, &reading)? {
                return Ok(());
            }
        }
    }

    /// A reader folds what came into its views and compares them with the log. Not whole where
    /// buckets were split: what their halves hold more is still to be read.
    fn answered(
        &mut self,
        reader: usize,
        known: &[Known],
        reading: &Reading,
    ) -> Result<bool, String> {
        let views = &mut self.readers[reader];
        // A tail belongs to the view whose last frame was sent with the question, and any answer to
        // buckets there are.
        let other = |known: &Known| {
            views.get(&known.bucket.bucket).is_none_or(|view| view.last != known.last)
        };
        let gone = known.iter().any(|known| !views.contains_key(&known.bucket.bucket));
        let late = known.iter().zip(&reading.buckets).any(|(known, read)| match read {
            BucketRead::Tail(_) => !self.careless && other(known),
            BucketRead::Split { .. } => other(known),
            BucketRead::Whole(_) | BucketRead::None => false,
        });
        if gone || late {
            self.seen.late += 1;
            return Ok(true);
        }
        let mut whole = true;
        for (known, read) in known.iter().zip(&reading.buckets) {
            let bucket = known.bucket.bucket;
            let view = views.entry(bucket).or_default();
            match read {
                BucketRead::Tail(frames) => {
                    self.seen.tails += 1;
                    view.add(frames);
                }
                BucketRead::Whole(frames) => {
                    *view = View::default();
                    view.add(frames);
                }
                BucketRead::Split { tail, begin } => {
                    whole = false;
                    if let Some(frames) = tail {
                        self.seen.ended += 1;
                        view.add(frames);
                    }
                    let (cells, goes_on) = (view.cells, tail.is_some());
                    views.remove(&bucket);
                    for half in halves(bucket).ok_or("a bucket of one key is split")? {
                        let view = View { last: Some(*begin), cells: of(half, cells) };
                        views.insert(half, if goes_on { view } else { View::default() });
                    }
                }
                // It looks anew next time.
                BucketRead::None => {
                    views.clear();
                    return Ok(true);
                }
            }
        }
        if !whole {
            return Ok(false);
        }
        self.compare_views(reader, known, reading)?;
        Ok(true)
    }

    /// Compares what a reader has of these buckets with the log.
    fn compare_views(
        &mut self,
        reader: usize,
        known: &[Known],
        reading: &Reading,
    ) -> Result<(), String> {
        for bucket in known.iter().map(|known| known.bucket.bucket) {
            let mut expected = Cells::default();
            for (partition, progress) in &reading.revision.progress {
                let sums =
                    self.log.until(reading.revision.life, *partition as usize, progress.next);
                let sums = of(bucket, sums[share(bucket).0 as usize]);
                expected.iter_mut().zip(sums).for_each(|(cell, more)| *cell += more);
            }
            self.seen.reads += 1;
            let cells =
                self.readers[reader].get(&bucket).map(|view| view.cells).unwrap_or_default();
            if cells != expected {
                return Err(format!("bucket {bucket}: {cells:?} instead of {expected:?}"));
            }
        }
        Ok(())
    }

    /// Reads and folds a bucket; the result is put in place later, if at all.
    fn start_compaction(&mut self, bucket: u32, split: bool) -> Result<(), String> {
        let known = [Known { bucket: at(bucket), last: None }];
        let reading = self.store().read(&revision(), &known).map_err(|fault| fault.to_string())?;
        let Some(reading) = reading else { return Ok(()) };
        if let BucketRead::Whole(frames) = &reading.buckets[0]
            && !frames.is_empty()
        {
            // Not always all of it: some frames stay behind the snapshot.
            let upto = if split {
                frames.len()
            } else {
                frames.len() - self.rng.random_range(0..frames.len().min(3))
            };
            let mut cells = Cells::default();
            fold(&mut cells, &frames[..upto]);
            let (life, last) = (reading.revision.life, &frames[upto - 1]);
            let prepared = match halves(bucket).filter(|_| split) {
                Some(halves) => Prepared::Split(Split {
                    revision: revision(),
                    life,
                    bucket: at(bucket),
                    last: (last.id, last.end),
                    halves: halves.map(|half| (at(half), encode(of(half, cells)))),
                    kept: frames[frames.len().saturating_sub(self.rng.random_range(1..6))].end,
                }),
                None => Prepared::Compact(compaction(life, bucket, last, &encode(cells))),
            };
            self.prepared.push(prepared);
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), String> {
        if self.prepared.is_empty() {
            return Ok(());
        }
        // The newest most often, else one that waited.
        let waited = self.rng.random_bool(0.4);
        let which = if waited {
            self.rng.random_range(0..self.prepared.len())
        } else {
            self.prepared.len() - 1
        };
        let prepared = self.prepared.remove(which);
        if self.prepared.len() > 10 {
            self.prepared.remove(0);
        }
        let done = match prepared {
            Prepared::Compact(compaction) => {
                let answer =
                    self.store().compact(&compaction).map_err(|fault| fault.to_string())?;
                (answer == CompactAnswer::Done).then_some(&mut self.seen.compacted)
            }
            Prepared::Split(split) => {
                let answer = self.store().split(&split).map_err(|fault| fault.to_string())?;
                matches!(answer, SplitAnswer::Done(_)).then_some(&mut self.seen.splits)
            }
        };
        *done.unwrap_or(&mut self.seen.stale) += 1;
        Ok(())
    }

    /// One of the buckets there are.
    fn some_bucket(&mut self) -> Result<u32, String> {
        let leaves = leaves(&self.held()?);
        Ok(leaves[self.rng.random_range(0..leaves.len())])
    }

    /// One random step, or what was wrong.
    pub(crate) fn step(&mut self, link: &mut Connection) -> Result<(), String> {
        let owner = self.rng.random_range(0..OWNERS);
        match self.rng.random_range(0..1000) {
            0..480 => self.commit(owner)?,
            480..560 if !self.late.is_empty() => {
                let which = self.rng.random_range(0..self.late.len());
                let commit = self.late.remove(which);
                if let CommitAnswer::Broken(what) = self.send(&commit)? {
                    return Err(what);
                }
            }
            560..600 if !self.replies.is_empty() => {
                let which = self.rng.random_range(0..self.replies.len());
                let (reader, known, reading) = self.replies.remove(which);
                if !self.answered(reader, &known, &reading)? {
                    let roots: Vec<u32> =
                        known.iter().map(|known| share(known.bucket.bucket).0).collect();
                    self.look(reader, &roots)?;
                }
            }
            560..820 => {
                let reader = self.rng.random_range(0..READERS);
                self.read(reader)?;
            }
            820..890 => {
                let (bucket, split) = (self.some_bucket()?, self.rng.random_bool(0.2));
                self.start_compaction(bucket, split)?;
            }
            890..950 => self.compact()?,
            950..970 => {
                self.copies.push(copy(link));
                if self.copies.len() > 4 {
                    self.copies.remove(0);
                }
            }
            970..984 if !self.copies.is_empty() => {
                let newest = self.copies.len() - 1;
                let which = if self.rng.random_bool(0.7) {
                    newest
                } else {
                    self.rng.random_range(0..=newest)
                };
                set_back(link, &self.copies[which]);
                self.seen.rollbacks += 1;
                // What was under way comes again: unchanged, or cut anew by an owner that lost its
                // memory.
                self.load(owner)?;
                for commit in self.late.clone() {
                    if self.rng.random_bool(0.3) {
                        self.commit(owner)?;
                    }
                    if let CommitAnswer::Broken(what) = self.send(&commit)? {
                        return Err(what);
                    }
                }
            }
            984..990 => self.load(owner)?,
            990..992 => {
                let () = redis::cmd("FLUSHALL").query(link).unwrap();
                self.load(owner)?;
            }
            992..994 => {
                let () = redis::cmd("SCRIPT").arg("FLUSH").query(link).unwrap();
            }
            _ => {}
        }
        Ok(())
    }
}
