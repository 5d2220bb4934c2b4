//! What the threads of this process do: how many have a name, and how much of a core they take.
//!
//! Read from the system at most once a second, however often somebody asks; where the system does
//! not say, there are none. A name may be a plugin's: it is foreign text. Blocks: of thousands of
//! threads a reading takes a while. Says nothing of other processes.

use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

/// Where the system lists the threads of a process that asks.
const OWN: &str = "/proc/self/task";

/// Least time between two readings.
const EVERY: Duration = Duration::from_secs(1);

/// Units of the times in a thread's `stat`, in a second.
const TICKS: f64 = 100.0;

/// Threads that are read; the others are counted.
const MOST: usize = 4_096;

/// The name of the row of those that are not read.
const UNREAD: &str = "unread";

/// Names that have a row of their own, those that take most; the others share one.
const ROWS: usize = 32;

/// Threads whose names differ by a number at the end at most.
#[derive(Clone, Debug, PartialEq)]
pub struct ThreadUse {
    /// Their name, as far as they share it.
    pub name: String,
    /// How many there are.
    pub count: usize,
    /// How many cores they took between the last two readings; `None` after the first.
    pub cores: Option<f64>,
}

/// Reads what the threads of this process do.
pub struct ThreadMeter(Mutex<Measured>);

struct Measured {
    newest: ThreadTimes,
    rows: Vec<ThreadUse>,
}

/// What each thread has taken since it began.
struct ThreadTimes {
    at: Instant,
    threads: HashMap<u32, ThreadTime>,
    /// How many there are beside these.
    unread: usize,
}

struct ThreadTime {
    name: String,
    ticks: u64,
}

impl Default for ThreadMeter {
    fn default() -> ThreadMeter {
        let newest = ThreadTimes::read(Path::new(OWN), MOST);
        let rows = rows(&newest, None);
        ThreadMeter(Mutex::new(Measured { newest, rows }))
    }
}

impl ThreadMeter {
    /// Threads by name, those that take most first.
    #[must_use]
    pub fn rows(&self) -> Vec<ThreadUse> {
        let mut measured = self.0.lock();
        if measured.newest.at.elapsed() >= EVERY {
            let newest = ThreadTimes::read(Path::new(OWN), MOST);
            measured.rows = rows(&newest, Some(&measured.newest));
            measured.newest = newest;
        }
        measured.rows.clone()
    }
}

impl ThreadTimes {
    /// So many at most; one that ends meanwhile is left out.
    fn read(folder: &Path, most: usize) -> ThreadTimes {
        let mut threads = HashMap::new();
        let mut entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries.by_ref().take(most) {
            let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
            // A name may be no UTF-8.
            let stat = std::fs::read(entry.path().join("stat")).unwrap_or_default();
            if let (Some(id), Some(time)) = (id, parse(&String::from_utf8_lossy(&stat))) {
                threads.insert(id, time);
            }
        }
        ThreadTimes { at: Instant::now(), threads, unread: entries.count() }
    }
}

/// `7 (tally-live-3) S 1 … 12 3 …`: the name in brackets, which it may have in it too, and the 14th
/// and 15th field.
fn parse(stat: &str) -> Option<ThreadTime> {
    let (start, rest) = stat.rsplit_once(')')?;
    let (_, name) = start.split_once('(')?;
    let mut times = rest.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    Some(ThreadTime { name: shared_name(name).to_owned(), ticks: user.saturating_add(system) })
}

/// A name without the number at its end.
fn shared_name(name: &str) -> &str {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
    if stem.is_empty() { name } else { stem }
}

fn rows(newest: &ThreadTimes, before: Option<&ThreadTimes>) -> Vec<ThreadUse> {
    let mut by_name: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for (id, time) in &newest.threads {
        // A number may have been another thread's, which had taken more.
        let known = before.and_then(|before| before.threads.get(id)).map_or(0, |known| known.ticks);
        let taken = time.ticks.checked_sub(known).unwrap_or(time.ticks);
        let (count, ticks) = by_name.entry(&time.name).or_default();
        *count += 1;
        *ticks += taken;
    }
    let mut all: Vec<(&str, usize, u64)> =
        by_name.into_iter().map(|(name, (count, ticks))| (name, count, ticks)).collect();
    all.sort_by_key(|(_, _, ticks)| std::cmp::Reverse(*ticks));
    let rest = all.split_off(all.len().min(ROWS));
    if !rest.is_empty() {
        let sum = |(count, ticks): (usize, u64), (_, more, taken): (&str, usize, u64)| {
            (count + more, ticks + taken)
        };
        let (count, ticks) = rest.into_iter().fold((0, 0), sum);
        all.push(("others", count, ticks));
    }
    let seconds = before.map(|before| newest.at.duration_since(before.at).as_secs_f64());
    let cores = |ticks: u64| {
        seconds.filter(|seconds| *seconds > 0.0).map(|seconds| ticks as f64 / TICKS / seconds)
    };
    let read = all.into_iter().map(|(name, count, ticks)| ThreadUse {
        name: name.to_owned(),
        count,
        cores: cores(ticks),
    });
    let unread = ThreadUse { name: UNREAD.to_owned(), count: newest.unread, cores: None };
    read.chain((unread.count > 0).then_some(unread)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn times(at: Instant, threads: &[(u32, &str, u64)]) -> ThreadTimes {
        let one = |(id, name, ticks): &(u32, &str, u64)| {
            (*id, ThreadTime { name: shared_name(name).to_owned(), ticks: *ticks })
        };
        ThreadTimes { at, threads: threads.iter().map(one).collect(), unread: 0 }
    }

    #[test]
    fn a_name_may_hold_anything() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 120 30 0 0";
        for (stat, expected) in [
            (format!("7 (tally-live-3) {rest}"), Some("tally-live")),
            (format!("7 (a (b) c) d) {rest}"), Some("a (b) c) d")),
            (format!("7 (42) {rest}"), Some("42")),
            (format!("7 (rdk:broker12) {rest}"), Some("rdk:broker")),
            ("7 (short) S 1 2".into(), None),
            (String::new(), None),
        ] {
            let parsed = parse(&stat);
            assert_eq!(parsed.as_ref().map(|time| time.name.as_str()), expected, "{stat}");
            assert!(parsed.is_none_or(|time| time.ticks == 150), "{stat}");
        }
    }

    #[test]
    fn cores_are_what_was_taken_between_two_readings() {
        let start = Instant::now();
        let before = times(start, &[(1, "lane", 1_000), (2, "live-1", 10), (3, "gone", 5)]);
        let after = times(
            start + Duration::from_secs(2),
            // 4 is new, and 2 is the number of another thread than before.
            &[(1, "lane", 1_100), (2, "live-1", 4), (4, "live-2", 6)],
        );
        let row = |name: &str, count, cores| ThreadUse { name: name.into(), count, cores };
        assert_eq!(
            rows(&after, Some(&before)),
            [row("lane", 1, Some(0.5)), row("live", 2, Some(0.05))]
        );
        assert_eq!(rows(&after, None), [row("lane", 1, None), row("live", 2, None)]);
    }

    #[test]
    fn many_names_are_bounded_and_no_thread_is_lost() {
        let names: Vec<String> = (0..100_u32).map(|n| format!("t{n}x")).collect();
        let threads: Vec<(u32, &str, u64)> =
            names.iter().zip(0..).map(|(name, n)| (n, name.as_str(), u64::from(n))).collect();
        let rows = rows(&times(Instant::now(), &threads), None);
        assert_eq!(rows.len(), ROWS + 1);
        assert_eq!(rows.first().map(|row| row.name.as_str()), Some("t99x"));
        assert_eq!(rows.last().map(|row| (row.name.as_str(), row.count)), Some(("others", 68)));
    }

    #[test]
    fn threads_that_are_not_read_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        for id in 0..5 {
            let thread = folder.path().join(id.to_string());
            std::fs::create_dir(&thread).unwrap();
            std::fs::write(thread.join("stat"), "1 (a) S 1 2 3 4 5 6 7 8 9 10 1 2 0").unwrap();
        }
        let told = |most: usize| {
            let rows = rows(&ThreadTimes::read(folder.path(), most), None);
            rows.into_iter().map(|row| (row.name, row.count)).collect::<Vec<_>>()
        };
        assert_eq!(told(5), [("a".to_owned(), 5)]);
        assert_eq!(told(3), [("a".to_owned(), 3), (UNREAD.to_owned(), 2)]);
    }

    #[test]
    fn the_threads_of_this_process_are_found() {
        let (going, done) = std::sync::mpsc::channel::<()>();
        let named = std::thread::Builder::new().name("meter-tests".into());
        let thread = named.spawn(move || done.recv().is_ok()).unwrap();
        // It gives itself its name, after it has begun.
        let found = || ThreadMeter::default().rows().iter().any(|row| row.name == "meter-tests");
        let end = Instant::now() + Duration::from_secs(10);
        while !found() && Instant::now() < end {
            std::thread::yield_now();
        }
        assert!(found());
        drop(going);
        thread.join().unwrap();
    }
}
