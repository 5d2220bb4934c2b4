//! One budget of bytes for everything that input can make grow, in shares.
//!
//! Whoever wants bytes of a share asks before it takes them, and is refused where there are none:
//! each user has an answer for that. Nothing here allocates; what code, threads, the database and
//! the clients of Kafka and Redis need is not counted, so that the budget by default is a part of
//! what the machine has.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The part of what the machine has that is the budget by default, in hundredths.
const OF_MACHINE: u64 = 75;

/// The least that a budget may be: below it nothing useful can be counted.
pub const LEAST: u64 = 32 << 20;

/// The budget where nothing can be told of the machine.
const UNKNOWN: u64 = 1 << 30;

/// The budget of an engine.
#[derive(Debug)]
pub struct Budget {
    total: u64,
    /// What answers under way hold: what they have read, and their text until it is written.
    pub answers: Arc<Share>,
    /// Bodies of requests while they are read and judged.
    pub bodies: Arc<Share>,
    /// Answers that are watched, and what of them and of events waits for WebSockets and streams.
    pub sockets: Arc<Share>,
    /// The newest events, kept for those who listen. Nothing else takes of it.
    pub feed: Arc<Share>,
    /// Older events that are read again, while they wait for those who listen.
    pub replays: Arc<Share>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(0)
    }
}

impl Budget {
    /// A budget of so many bytes; of 0: three quarters of what this process may have.
    #[must_use]
    pub fn new(total: u64) -> Budget {
        let total = match total {
            0 => machine().map_or(UNKNOWN, |has| has / 100 * OF_MACHINE),
            total => total,
        };
        let total = total.max(LEAST);
        let share = |thousandths: u64| Arc::new(Share::new(total / 1_000 * thousandths));
        Budget {
            total,
            answers: share(160),
            bodies: share(80),
            sockets: share(40),
            feed: share(15),
            replays: share(5),
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What the state of all metrics may take: 60 %.
    #[must_use]
    pub fn state(&self) -> u64 {
        self.total / 100 * 60
    }

    /// What all that waits for WebSockets and streams has taken, and may take: 6 %.
    #[must_use]
    pub fn for_sockets(&self) -> (u64, u64) {
        let all = [&self.sockets, &self.feed, &self.replays];
        let sum = |of: fn(&Share) -> u64| -> u64 { all.iter().map(|share| of(share)).sum() };
        (sum(Share::used), sum(Share::limit))
    }

    /// What answers kept for the next question may take: 4 %.
    #[must_use]
    pub fn kept_answers(&self) -> u64 {
        self.total / 100 * 4
    }

    /// What replies kept for the next question may take: 2 %.
    #[must_use]
    pub fn kept_replies(&self) -> u64 {
        self.total / 100 * 2
    }

    /// What folds kept for the next read may take: 4 %, and no more than are found quickly.
    #[must_use]
    pub fn kept_folds(&self) -> u64 {
        (self.total / 100 * 4).min(64 << 20)
    }
}

/// Bytes that several users take and give back.
#[derive(Debug)]
pub struct Share {
    limit: u64,
    used: AtomicU64,
}

/// A share has not as many bytes left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Share {
    /// A share of so many bytes.
    #[must_use]
    pub fn new(limit: u64) -> Share {
        Share { limit, used: AtomicU64::new(0) }
    }

    /// Bytes that it has.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes so many bytes.
    ///
    /// # Errors
    /// [`Full`]: nothing was taken.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Result<Held, Full> {
        let mut held = Held { share: Arc::clone(self), bytes: 0 };
        held.resize(bytes)?;
        Ok(held)
    }
}

/// Bytes taken of a share, given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    share: Arc<Share>,
    bytes: u64,
}

impl Held {
    /// Holds so many bytes from now on. Fewer than before always succeeds.
    ///
    /// # Errors
    /// [`Full`]: it holds what it held.
    pub fn resize(&mut self, bytes: u64) -> Result<(), Full> {
        let Share { limit, used } = &*self.share;
        if bytes <= self.bytes {
            used.fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        } else {
            let more = bytes - self.bytes;
            let room = |used: u64| used.checked_add(more).filter(|all| all <= limit);
            used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).map_err(|_| Full)?;
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What this process may have: the machine's memory, or less where its control group (version 1 or
/// 2) says so.
fn machine() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let limits = [ram(&read), cgroups(&read)];
    limits.into_iter().flatten().min()
}

/// `MemTotal`.
fn ram(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let text = read(Path::new("/proc/meminfo"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The least that the process' control group, or one that it lies in, allows.
fn cgroups(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let own = read(Path::new("/proc/self/cgroup"))?;
    let group = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let path = path.trim_start_matches('/').to_owned();
        match controllers {
            "" => Some(("/sys/fs/cgroup", path, "memory.max")),
            some if some.split(',').any(|one| one == "memory") => {
                Some(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes"))
            }
            _ => None,
        }
    };
    let limits = own.lines().filter_map(group).flat_map(|(root, path, file)| {
        // In a container the path is often that outside of it: then only the root is there, and it
        // is the group itself.
        let root = Path::new(root);
        let inside = root.join(path);
        let folders: Vec<_> =
            inside.ancestors().take_while(|at| at.starts_with(root)).map(Path::to_owned).collect();
        folders.into_iter().map(move |folder| folder.join(file))
    });
    limits.filter_map(|file| read(&file)?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_share_gives_no_more_than_it_has_and_takes_all_back() {
        let share = Arc::new(Share::new(100));
        let mut first = share.take(60).expect("there is room");
        assert_eq!(share.take(41).err(), Some(Full));
        let second = share.take(40).expect("there is room");
        assert_eq!((first.resize(61), share.used()), (Err(Full), 100));
        drop(second);
        assert_eq!((first.resize(100), share.used()), (Ok(()), 100));
        assert_eq!((first.resize(10), share.used()), (Ok(()), 10));
        drop(first);
        assert_eq!(share.used(), 0);
        assert_eq!(share.take(u64::MAX).err(), Some(Full));
    }

    #[test]
    fn shares_are_no_more_than_the_whole() {
        for total in [LEAST, 1 << 30, 3 << 40] {
            let budget = Budget::new(total);
            let Budget { answers, bodies, sockets, feed, replays, .. } = &budget;
            let shares = [answers, bodies, sockets, feed, replays].map(|share| share.limit());
            let kept = budget.kept_answers() + budget.kept_replies() + budget.kept_folds();
            assert!(
                shares.iter().sum::<u64>() + kept + budget.state() <= budget.total(),
                "{budget:?}"
            );
            assert_eq!(budget.total(), total);
            // Each has its own: one that is full leaves the others what they have.
            let _all = sockets.take(sockets.limit()).expect("there is room");
            assert!(feed.take(feed.limit()).is_ok() && replays.take(replays.limit()).is_ok());
        }
        assert_eq!(Budget::new(1).total(), LEAST);
        assert!(Budget::new(0).total() >= LEAST);
    }

    #[test]
    fn the_control_group_is_found_wherever_it_says() {
        let cases: [(&[(&str, &str)], Option<u64>); 6] = [
            (&[], None),
            (
                &[("/proc/self/cgroup", "0::/a/b\n"), ("/sys/fs/cgroup/a/b/memory.max", "max\n")],
                None,
            ),
            (
                &[
                    ("/proc/self/cgroup", "0::/a/b\n"),
                    ("/sys/fs/cgroup/a/b/memory.max", "900\n"),
                    ("/sys/fs/cgroup/a/memory.max", "700\n"),
                ],
                Some(700),
            ),
            (
                &[("/proc/self/cgroup", "0::/outside\n"), ("/sys/fs/cgroup/memory.max", "500\n")],
                Some(500),
            ),
            (
                &[
                    ("/proc/self/cgroup", "5:cpu,memory:/x\n1:pids:/y\n"),
                    ("/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "300\n"),
                    ("/sys/fs/cgroup/memory.max", "1\n"),
                ],
                Some(300),
            ),
            (&[("/proc/self/cgroup", "rubbish"), ("/sys/fs/cgroup/memory.max", "500")], None),
        ];
        for (files, expected) in cases {
            let files: HashMap<&str, &str> = files.iter().copied().collect();
            let read = |path: &Path| files.get(path.to_str()?).map(ToString::to_string);
            assert_eq!(cgroups(&read), expected, "{files:?}");
        }
        let memory = |_: &Path| Some("MemFree: 1 kB\nMemTotal:        8000 kB\n".to_owned());
        assert_eq!(ram(&memory), Some(8_000 << 10));
    }
}
