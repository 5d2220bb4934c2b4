//! The store in Redis, shared by several engines: one script per step of a revision, so that each
//! step is atomic.
//!
//! A bucket is one string, its frames one after the other (`frame`); appending is `APPEND`. Beside
//! the buckets a revision has two hashes: *state* (life, meta, progress per partition) and *index*
//! (which buckets there are, and of each the length of its snapshot and what turns a place in the
//! string into the logical one). All keys of a revision carry one hash tag, all are declared, so
//! that a Cluster either runs a script or refuses it. docs/redis-layout.md is the layout for
//! people.
//!
//! Promises what [`Store`] does. A script looks at everything that could fail before it writes:
//! life, progress record for record, type and size of each bucket, that buckets and index agree.
//! The id of a frame is made by the execution that wrote it (the server's time, then a nonce of the
//! request). Nothing is sent twice by itself; an error is a sentence that says what to do. It
//! decides nothing, and of what it remembers (`hints`) it believes nothing: engines that share a
//! Redis share no memory.
//!
//! Over 480 lines: each step of a revision with its script, in the order of the trait.

mod answers;
mod fault;
mod frame;
mod hints;
mod keys;
mod pool;
mod read;
mod remove;
mod scripts;
mod server;
mod settings;

pub use frame::{FRAME_OVERHEAD, SNAPSHOT_OVERHEAD};
pub use scripts::Name as ScriptName;
pub use server::{Persistence, ServerFacts};
pub use settings::RedisSettings;

use crate::kinds::Opener;
use crate::{
    Advance, Bucket, BucketSize, Commit, CommitAnswer, CompactAnswer, Compaction, Known, Life,
    OpenError, Opened, Reading, RevisionId, Split, SplitAnswer, Store, StoreError, StoredRevision,
};
use answers::{Reply, array, bytes, number, strange};
use hints::{Entry, Hints};
use keys::RevisionKeys;
use pool::Pool;
use redis::{RedisResult, Value};
use scripts::{Call, Name, Scripts};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tally_config::Config;

/// The kind `redis`: in a Redis that the engines of a group share.
pub(crate) const KIND: Opener = Opener {
    // It may always be there: another engine may write it.
    find: |_| Ok(()),
    open: |config, _| open(config),
    judge: |config| RedisSettings::from(&config.redis).judge(),
};

fn open(config: &Config) -> Result<Opened, OpenError> {
    let store = RedisStore::open(&RedisSettings::from(&config.redis)).map_err(|fault| {
        // A running engine asks again; a start ends.
        let text = fault.to_string();
        let ends = [": it is tried again", "; it is asked again"];
        OpenError::Server(
            ends.iter().find_map(|end| text.strip_suffix(end)).unwrap_or(&text).to_owned(),
        )
    })?;
    let says = store.server().to_string();
    Ok(Opened {
        shared: true,
        commit_interval: Duration::from_millis(config.redis.commit_interval_ms),
        place: format!("Redis, {says}"),
        says,
        warnings: store.server().warnings.clone(),
        store: Arc::new(store),
    })
}

/// How often `create` looks again when others wrote in between.
const LOOKS: usize = 16;

/// A bucket whose tail is believed to have this many bytes, and those of its snapshot, is looked
/// up: another engine may have compacted it. Again when it is shorter than it was then, or a
/// quarter of this longer.
const LOOK_AGAIN: u64 = 64 << 10;

/// How long the newest frames of a bucket that was split are kept, milliseconds: a reader looks
/// more often.
const KEPT: u64 = 60_000;

/// State in Redis.
pub struct RedisStore {
    pool: Pool,
    scripts: Scripts,
    namespace: String,
    max_bucket_bytes: u64,
    facts: ServerFacts,
    nonce: Nonce,
    hints: Hints,
}

/// What requests are told apart by.
enum Nonce {
    /// Another one for each.
    Counted(AtomicU64),
    /// The same for all, to send the same bytes twice.
    #[cfg(feature = "contract")]
    Fixed(u64),
}

impl Nonce {
    fn next(&self) -> Cow<'static, [u8]> {
        let nonce = match self {
            Self::Counted(next) => next.fetch_add(1, Ordering::Relaxed),
            #[cfg(feature = "contract")]
            Self::Fixed(nonce) => *nonce,
        };
        Cow::Owned(nonce.to_le_bytes().to_vec())
    }
}

impl RedisStore {
    /// Connects, and looks whether state can be held there: Redis 7.0 or newer that evicts nothing.
    /// A Cluster is recognised by itself.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: it does not answer, or is not fit; the text says what to do.
    pub fn open(settings: &RedisSettings) -> Result<Self, StoreError> {
        Self::with(
            settings,
            Scripts::new(),
            Nonce::Counted(AtomicU64::new(tally_system::clock::unique() as u64)),
        )
    }

    /// As `open`, with changed scripts or one nonce for all requests: tests that must be able to
    /// fail.
    ///
    /// # Errors
    /// As `open`.
    #[cfg(feature = "contract")]
    #[doc(hidden)]
    pub fn open_altered(
        settings: &RedisSettings,
        alter: &dyn Fn(ScriptName, &str) -> String,
        nonce: Option<u64>,
    ) -> Result<Self, StoreError> {
        let counted = Nonce::Counted(AtomicU64::new(tally_system::clock::unique() as u64));
        Self::with(settings, Scripts::altered(alter), nonce.map_or(counted, Nonce::Fixed))
    }

    fn with(settings: &RedisSettings, scripts: Scripts, nonce: Nonce) -> Result<Self, StoreError> {
        settings.check()?;
        let (pool, facts) = Pool::open(settings)?;
        let (namespace, max_bucket_bytes) = (settings.namespace.clone(), settings.max_bucket_bytes);
        Ok(Self {
            pool,
            scripts,
            namespace,
            max_bucket_bytes,
            facts,
            nonce,
            hints: Hints::default(),
        })
    }

    /// What the server said when the store was opened: where, version, persistence, what could not
    /// be checked.
    #[must_use]
    pub fn server(&self) -> &ServerFacts {
        &self.facts
    }

    fn keys(&self, revision: &RevisionId) -> RevisionKeys {
        RevisionKeys::new(&self.namespace, revision)
    }

    fn call(&self, call: Call<'_>) -> Result<Reply, StoreError> {
        Reply::new(&self.pool.at, self.answer(call)?)
    }

    /// What the server answers to one call, not looked into.
    fn answer(&self, call: Call<'_>) -> Result<RedisResult<Value>, StoreError> {
        let mut answers = self.pool.calls(&self.scripts, &[call], false)?;
        answers.pop().ok_or_else(|| strange(&self.pool.at))
    }

    fn commit_call<'a>(
        &self,
        commit: &'a Commit,
        keys: &RevisionKeys,
        names: &[String],
    ) -> Result<Call<'a>, StoreError> {
        let mut call = Call {
            script: Name::Commit,
            keys: vec![keys.state.clone(), keys.index.clone()],
            args: vec![Cow::Owned(keys::life_value(keys, commit.life)), self.nonce.next()],
        };
        call.args.push(text(self.max_bucket_bytes));
        call.args.push(text(commit.advances.len() as u64));
        for advance in &commit.advances {
            let to =
                keys::progress_value(keys, advance.partition, advance.to.next, &advance.to.bytes);
            let field = keys::progress_field(advance.partition).into_bytes();
            call.args.extend([
                Cow::Owned(field),
                Cow::Owned(expected(keys, advance)),
                Cow::Owned(to),
            ]);
        }
        for ((bucket, payload), name) in commit.frames.iter().zip(names) {
            call.args.push(Cow::Owned(frame::frame(name, *bucket, payload)?));
        }
        call.keys.extend_from_slice(names);
        Ok(call)
    }

    /// Parts sizes into snapshot and tail: by what is remembered, unless by that a compaction is
    /// due. What cannot be looked up now stays as it is: the commit has been applied.
    fn part(&self, revision: &RevisionId, keys: &RevisionKeys, sizes: &mut [BucketSize]) {
        let mut entries = self.hints.of(revision, sizes.iter().map(|size| size.bucket));
        let due = |size: &BucketSize, entry: &Entry| {
            let known =
                size.tail.checked_sub(entry.looked).is_some_and(|since| since < LOOK_AGAIN / 4);
            size.tail >= entry.snapshot + entry.snapshot.max(LOOK_AGAIN) && !known
        };
        let doubtful: Vec<usize> = (0..sizes.len())
            .filter(|at| entries[*at].as_ref().is_none_or(|entry| due(&sizes[*at], entry)))
            .collect();
        if !doubtful.is_empty() {
            let mut command = redis::cmd("HMGET");
            command.arg(&keys.index);
            for at in &doubtful {
                command.arg(keys::bucket_field(sizes[*at].bucket));
            }
            let found = self.pool.read(&command).ok().and_then(array).unwrap_or_default();
            for (at, value) in doubtful.iter().zip(found) {
                let entry = bytes(value).and_then(|value| keys::index_entry(&value));
                entries[*at] = entry.map(|entry| Entry { looked: sizes[*at].tail, ..entry });
            }
            self.hints.set(revision, doubtful.iter().map(|at| (sizes[*at].bucket, entries[*at])));
        }
        for (size, entry) in sizes.iter_mut().zip(entries) {
            size.snapshot = entry.map_or(0, |entry| entry.snapshot.min(size.tail));
            size.tail -= size.snapshot;
        }
    }

    /// The buckets that a revision has and had, as the index has them, and whether each was split.
    fn listed(&self, keys: &RevisionKeys) -> Result<Vec<(Bucket, bool)>, StoreError> {
        let fields = self.pool.read(redis::cmd("HGETALL").arg(&keys.index))?;
        let fields = array(fields).ok_or_else(|| strange(&self.pool.at))?;
        let mut fields = fields.into_iter().map(bytes);
        let mut buckets = Vec::with_capacity(fields.len() / 2);
        while let Some(name) = fields.next() {
            let (name, entry) =
                name.zip(fields.next().flatten()).ok_or_else(|| strange(&self.pool.at))?;
            let why = || format!("field {:.40} names no bucket", String::from_utf8_lossy(&name));
            let bucket =
                keys::bucket_of(&name).ok_or_else(|| keys::corrupt(&keys.index, &why()))?;
            buckets.push((bucket, keys::split_entry(&entry).is_some()));
        }
        buckets.sort_unstable();
        Ok(buckets)
    }
}

/// What must be stored for a partition: empty for nothing.
fn expected(keys: &RevisionKeys, advance: &Advance) -> Vec<u8> {
    match &advance.base {
        Some(base) => keys::progress_value(keys, advance.partition, advance.from, base),
        None if advance.from == 0 => Vec::new(),
        // Nothing stored is at 0: a value that none equals.
        None => b"-".to_vec(),
    }
}

fn text(number: u64) -> Cow<'static, [u8]> {
    Cow::Owned(number.to_string().into_bytes())
}

impl Store for RedisStore {
    fn create(&self, revision: &RevisionId, meta: &[u8]) -> Result<Life, StoreError> {
        let keys = self.keys(revision);
        let life = Life(tally_system::clock::unique());
        self.list(revision)?;
        for _ in 0..LOOKS {
            let old = self.pool.read(redis::cmd("HGET").arg(&keys.state).arg("life"))?;
            let buckets = self.listed(&keys)?;
            let mut call = Call {
                script: Name::Create,
                keys: vec![keys.state.clone(), keys.index.clone()],
                args: vec![
                    Cow::Owned(bytes(old).unwrap_or_default()),
                    Cow::Borrowed(keys::FORMAT.as_bytes()),
                    Cow::Owned(keys::life_value(&keys, life)),
                    Cow::Owned(keys::meta_value(&keys, meta)),
                ],
            };
            call.keys.extend(buckets.into_iter().map(|(bucket, _)| keys.bucket(bucket)));
            match &self.call(call)?.word[..] {
                b"OK" => {
                    self.hints.forget(revision);
                    // Another engine may have removed it in between.
                    self.list(revision)?;
                    return Ok(life);
                }
                b"AGAIN" => {}
                _ => return Err(strange(&self.pool.at)),
            }
        }
        Err(StoreError::Unavailable(format!(
            "Redis at {}: others kept writing to {:016x} of {} while it was being reset: retrying",
            self.pool.at, revision.fingerprint, revision.metric
        )))
    }

    fn stored(&self, revision: &RevisionId) -> Result<Option<StoredRevision>, StoreError> {
        let keys = self.keys(revision);
        let fields = self.pool.read(redis::cmd("HGETALL").arg(&keys.state))?;
        let fields = array(fields).ok_or_else(|| strange(&self.pool.at))?;
        if fields.is_empty() {
            Ok(None)
        } else {
            answers::revision(&self.pool.at, &keys, fields).map(Some)
        }
    }

    fn current(&self, metric: &str) -> Result<Option<RevisionId>, StoreError> {
        let key = keys::current_key(&self.namespace, metric);
        let Some(value) = bytes(self.pool.read(redis::cmd("GET").arg(&key))?) else {
            return Ok(None);
        };
        let fingerprint = keys::current_of(&key, &value)?;
        Ok(Some(RevisionId { metric: metric.to_owned(), fingerprint }))
    }

    fn point(
        &self,
        expected: Option<&RevisionId>,
        revision: &RevisionId,
    ) -> Result<bool, StoreError> {
        if expected.is_some_and(|expected| expected.metric != revision.metric) {
            return Ok(false);
        }
        let key = keys::current_key(&self.namespace, &revision.metric);
        let expected = expected
            .map(|expected| keys::current_value(&key, expected.fingerprint))
            .unwrap_or_default();
        let new = keys::current_value(&key, revision.fingerprint);
        let args = vec![Cow::Owned(expected), Cow::Owned(new)];
        match &self.call(Call { script: Name::Point, keys: vec![key], args })?.word[..] {
            b"YES" => Ok(true),
            b"NO" => Ok(false),
            _ => Err(strange(&self.pool.at)),
        }
    }

    fn begun(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let key = keys::begun_key(&self.namespace);
        let value = bytes(self.pool.read(redis::cmd("GET").arg(&key))?);
        value.map(|value| keys::begun_of(&key, &value)).transpose()
    }

    fn begin(&self, how: &[u8]) -> Result<Vec<u8>, StoreError> {
        let key = keys::begun_key(&self.namespace);
        // Who sends it twice writes once.
        self.pool.read(redis::cmd("SET").arg(&key).arg(keys::begun_value(&key, how)).arg("NX"))?;
        self.begun()?.ok_or_else(|| strange(&self.pool.at))
    }

    fn metrics(&self) -> Result<Vec<String>, StoreError> {
        self.all_lists()
    }

    fn revisions(&self, metric: &str) -> Result<Vec<RevisionId>, StoreError> {
        self.on_list(metric)
    }

    fn remove(&self, revision: &RevisionId) -> Result<bool, StoreError> {
        self.take_away(revision)
    }

    fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitAnswer>, StoreError> {
        if commits.is_empty() {
            return Ok(Vec::new());
        }
        let places: Vec<(RevisionKeys, Vec<String>)> = commits
            .iter()
            .map(|commit| {
                let keys = self.keys(&commit.revision);
                let names = commit.frames.iter().map(|(bucket, _)| keys.bucket(*bucket)).collect();
                (keys, names)
            })
            .collect();
        let calls = commits
            .iter()
            .zip(&places)
            .map(|(commit, (keys, names))| self.commit_call(commit, keys, names));
        let answers =
            self.pool.calls(&self.scripts, &calls.collect::<Result<Vec<_>, _>>()?, false)?;
        if answers.len() != commits.len() {
            return Err(strange(&self.pool.at));
        }
        let answers = answers.into_iter().zip(commits.iter().zip(&places));
        let answers = answers.map(|(answer, (commit, (keys, names)))| {
            match answers::committed(&self.pool.at, commit, keys, names, answer) {
                // The other commits have their own answers.
                Err(StoreError::Corrupt(what)) => Ok(CommitAnswer::Broken(what)),
                Ok(CommitAnswer::Applied(mut sizes)) => {
                    self.part(&commit.revision, keys, &mut sizes);
                    Ok(CommitAnswer::Applied(sizes))
                }
                other => other,
            }
        });
        answers.collect()
    }

    fn read(&self, revision: &RevisionId, known: &[Known]) -> Result<Option<Reading>, StoreError> {
        self.moment(revision, known)
    }

    fn buckets(&self, revision: &RevisionId) -> Result<Vec<Bucket>, StoreError> {
        let listed = self.listed(&self.keys(revision))?.into_iter();
        Ok(listed.filter(|(_, split)| !split).map(|(bucket, _)| bucket).collect())
    }

    fn sizes(&self, revision: &RevisionId) -> Result<Vec<BucketSize>, StoreError> {
        let (keys, buckets) = (self.keys(revision), self.buckets(revision)?);
        let mut sizes = Vec::with_capacity(buckets.len());
        for buckets in buckets.chunks(read::TOGETHER) {
            let name = |bucket: &Bucket| redis::cmd("STRLEN").arg(keys.bucket(*bucket)).to_owned();
            let lengths = self.pool.reads(&buckets.iter().map(name).collect::<Vec<_>>())?;
            let known = self.hints.of(revision, buckets.iter().copied());
            for ((bucket, length), known) in buckets.iter().zip(lengths).zip(known) {
                let length = number(&length).ok_or_else(|| strange(&self.pool.at))?;
                let snapshot = known.map_or(0, |entry| entry.snapshot.min(length));
                sizes.push(BucketSize { bucket: *bucket, snapshot, tail: length - snapshot });
            }
        }
        Ok(sizes)
    }

    fn compact(&self, compaction: &Compaction) -> Result<CompactAnswer, StoreError> {
        let keys = self.keys(&compaction.revision);
        let name = keys.bucket(compaction.bucket);
        let (last, end) = compaction.last;
        let snapshot = frame::snapshot(&name, compaction.bucket, end, &compaction.snapshot)?;
        let args = vec![
            Cow::Owned(keys::life_value(&keys, compaction.life)),
            text(end),
            Cow::Owned(last.0.to_le_bytes().to_vec()),
            self.nonce.next(),
            Cow::Owned(snapshot),
        ];
        let call = Call {
            script: Name::Compact,
            keys: vec![keys.state.clone(), keys.index.clone(), name],
            args,
        };
        let answer = self.answer(call)?;
        let length = compaction.snapshot.len() as u64 + SNAPSHOT_OVERHEAD;
        let answer = answers::compacted(&self.pool.at, compaction, &keys, answer)?;
        if answer == CompactAnswer::Done {
            let entry = Entry::new(length, end);
            self.hints.set(&compaction.revision, [(compaction.bucket, Some(entry))]);
        }
        Ok(answer)
    }

    fn split(&self, split: &Split) -> Result<SplitAnswer, StoreError> {
        let keys = self.keys(&split.revision);
        let (last, end) = split.last;
        let mut names = vec![keys.bucket(split.bucket)];
        let mut args = vec![
            Cow::Owned(keys::life_value(&keys, split.life)),
            text(end),
            Cow::Owned(last.0.to_le_bytes().to_vec()),
            self.nonce.next(),
            text(split.kept),
            text(KEPT),
        ];
        for (bucket, snapshot) in &split.halves {
            let name = keys.bucket(*bucket);
            args.push(Cow::Owned(frame::snapshot(&name, *bucket, end, snapshot)?));
            names.push(name);
        }
        let mut call =
            Call { script: Name::Split, keys: vec![keys.state.clone(), keys.index.clone()], args };
        call.keys.extend_from_slice(&names);
        call.keys.push(keys.kept(split.bucket));
        let answer = answers::split(&self.pool.at, &names, self.answer(call)?)?;
        if matches!(answer, SplitAnswer::Done(_)) {
            let entry =
                |snapshot: &[u8]| Entry::new(snapshot.len() as u64 + SNAPSHOT_OVERHEAD, end);
            let halves =
                split.halves.iter().map(|(bucket, snapshot)| (*bucket, Some(entry(snapshot))));
            self.hints.set(&split.revision, halves.chain([(split.bucket, None)]));
        }
        Ok(answer)
    }
}
