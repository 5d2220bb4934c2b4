//! The world of random histories: a log, owners, requests under way, readers, prepared compactions, copies to go back to.

use super::*;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use redis::{Commands, Connection};
use std::collections::{BTreeMap, HashMap};
use tally_engine::store::{CompactAnswer, FrameId, Reading};

const PARTITIONS: usize = 3;
const BUCKETS: u32 = 3;
const OWNERS: usize = 3;
const READERS: usize = 3;

/// What a bucket counts: two keys. All frames have one length, so that places coincide.
pub(crate) type Cells = [u32; 2];

/// Of each life and partition, the sums of `[0, offset)`: bucket by bucket. Another life is another log.
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
            next[event.random_range(0..BUCKETS as usize)][event.random_range(0..2)] += event.random_range(1..9);
            sums.push(next);
        }
        sums[offset as usize]
    }

    fn range(&mut self, life: Life, partition: usize, from: u64, to: u64) -> [Cells; BUCKETS as usize] {
        let (mut after, before) = (self.until(life, partition, to), self.until(life, partition, from));
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

/// All keys of the server, as they are.
pub(crate) type Copy = Vec<(String, Vec<u8>)>;

pub(crate) fn copy(link: &mut Connection) -> Copy {
    let keys: Vec<String> = link.keys("*").unwrap();
    keys.into_iter().map(|key| (key.clone(), redis::cmd("DUMP").arg(key).query(link).unwrap())).collect()
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
    prepared: Vec<Compaction>,
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
            None => (self.store().create(&revision(), b"").map_err(|fault| fault.to_string())?, [0; PARTITIONS]),
            Some(stored) => {
                let next = |partition| stored.progress.get(&(partition as u32)).map_or(0, |progress| progress.next);
                (stored.life, std::array::from_fn(next))
            }
        };
        Ok(())
    }

    fn prepare(&mut self, owner: usize) -> Commit {
        let (life, next) = self.owners[owner];
        let first = self.rng.random_range(0..PARTITIONS);
        let partitions = if self.rng.random_bool(0.2) { vec![first, (first + 1) % PARTITIONS] } else { vec![first] };
        let (mut advances, mut cells) = (Vec::new(), [Cells::default(); BUCKETS as usize]);
        for partition in partitions {
            let (from, to) = (next[partition], next[partition] + self.rng.random_range(0..5));
            let more = self.log.range(life, partition, from, to);
            cells.iter_mut().flatten().zip(more.iter().flatten()).for_each(|(cell, more)| *cell += more);
            advances.extend(step(life, partition as u32, from, to, &[]).advances);
        }
        let touched = (0..BUCKETS).zip(cells).filter(|(_, cells)| *cells != Cells::default());
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
                self.start_compaction(bucket.bucket)?;
                self.compact()?;
            }
            CommitAnswer::Broken(what) => return Err(what),
        }
        Ok(())
    }

    fn send(&mut self, commit: &Commit) -> Result<CommitAnswer, String> {
        let mut answers = self.store().commit(std::slice::from_ref(commit)).map_err(|fault| fault.to_string())?;
        let answer = answers.remove(0);
        *match &answer {
            CommitAnswer::Applied(_) => &mut self.seen.applied,
            CommitAnswer::Full(_) => &mut self.seen.full,
            CommitAnswer::OtherLife(_) => &mut self.seen.other_lives,
            _ => &mut self.seen.refused,
        } += 1;
        Ok(answer)
    }

    /// A reader asks for some of its views; the answer comes at once, or after answers to later questions.
    fn read(&mut self, reader: usize) -> Result<(), String> {
        let mut buckets: Vec<u32> = (0..BUCKETS).filter(|_| self.rng.random_bool(0.6)).collect();
        if buckets.is_empty() {
            buckets.push(0);
        }
        let store = self.store();
        let views = &self.readers[reader];
        let known = buckets
            .iter()
            .map(|bucket| Known { bucket: at(*bucket), last: views.get(bucket).and_then(|view| view.last) });
        let known: Vec<Known> = known.collect();
        let reading = store.read(&revision(), &known).map_err(|fault| fault.to_string())?;
        let Some(reading) = reading else { return Ok(()) };
        if self.rng.random_bool(0.2) {
            self.replies.push((reader, known, reading));
            if self.replies.len() > 10 {
                self.replies.remove(0);
            }
            return Ok(());
        }
        self.answered(reader, &known, reading)
    }

    /// A reader folds what came into its views and compares them with the log.
    fn answered(&mut self, reader: usize, known: &[Known], reading: Reading) -> Result<(), String> {
        let views = &mut self.readers[reader];
        // A tail belongs to the view whose last frame was sent with the question.
        let holds = |known: &Known| views.get(&known.bucket.bucket).and_then(|view| view.last) == known.last;
        let late = known
            .iter()
            .zip(&reading.buckets)
            .any(|(known, read)| matches!(read, BucketRead::Tail(_)) && !holds(known));
        if late && !self.careless {
            self.seen.late += 1;
            return Ok(());
        }
        for (known, read) in known.iter().zip(reading.buckets) {
            let bucket = known.bucket.bucket;
            let view = views.entry(bucket).or_default();
            let frames = match read {
                BucketRead::Tail(frames) => {
                    self.seen.tails += 1;
                    frames
                }
                BucketRead::Whole(frames) => {
                    *view = View::default();
                    frames
                }
            };
            fold(&mut view.cells, &frames);
            view.last = frames.last().map(|frame| (frame.id, frame.end)).or(view.last);
            let mut expected = Cells::default();
            for (partition, progress) in &reading.revision.progress {
                let sums = self.log.until(reading.revision.life, *partition as usize, progress.next);
                for (cell, more) in expected.iter_mut().zip(sums[bucket as usize]) {
                    *cell += more;
                }
            }
            self.seen.reads += 1;
            if view.cells != expected {
                return Err(format!("bucket {bucket}: {:?} instead of {expected:?}", view.cells));
            }
        }
        Ok(())
    }

    /// Reads and folds a bucket; the result is put in place later, if at all.
    fn start_compaction(&mut self, bucket: u32) -> Result<(), String> {
        let known = [Known { bucket: at(bucket), last: None }];
        let reading = self.store().read(&revision(), &known).map_err(|fault| fault.to_string())?;
        let Some(reading) = reading else { return Ok(()) };
        if let BucketRead::Whole(frames) = &reading.buckets[0]
            && !frames.is_empty()
        {
            // Not always all of it: some frames stay behind the snapshot.
            let upto = frames.len() - self.rng.random_range(0..frames.len().min(3));
            let mut cells = Cells::default();
            fold(&mut cells, &frames[..upto]);
            self.prepared.push(compaction(reading.revision.life, bucket, &frames[upto - 1], &encode(cells)));
        }
        Ok(())
    }

    fn compact(&mut self) -> Result<(), String> {
        if self.prepared.is_empty() {
            return Ok(());
        }
        // The newest most often, else one that waited.
        let waited = self.rng.random_bool(0.4);
        let which = if waited { self.rng.random_range(0..self.prepared.len()) } else { self.prepared.len() - 1 };
        let compaction = self.prepared.remove(which);
        if self.prepared.len() > 10 {
            self.prepared.remove(0);
        }
        match self.store().compact(&compaction).map_err(|fault| fault.to_string())? {
            CompactAnswer::Done => self.seen.compacted += 1,
            CompactAnswer::Stale => self.seen.stale += 1,
        }
        Ok(())
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
                self.answered(reader, &known, reading)?;
            }
            560..820 => {
                let reader = self.rng.random_range(0..READERS);
                self.read(reader)?;
            }
            820..890 => {
                let bucket = self.rng.random_range(0..BUCKETS);
                self.start_compaction(bucket)?;
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
                let which = if self.rng.random_bool(0.7) { newest } else { self.rng.random_range(0..=newest) };
                set_back(link, &self.copies[which]);
                self.seen.rollbacks += 1;
                // What was under way comes again: unchanged, or cut anew by an owner that lost its memory.
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
