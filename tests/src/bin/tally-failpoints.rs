//! `tally` with something to do at the moments that a test names: the command line of the binary
//! that is shipped, which does nothing there.
//!
//! `TALLY_FAILPOINT=commit.stored:3` ends the process when the third call comes past
//! `commit.stored`, and `…:3:stop` stops it there (SIGSTOP) until somebody lets it go on.
//! `TALLY_POISON=decode:1:42` has the decoding of offset 42 of partition 1 panic. The moments are
//! listed where they are tried, in `tests/src/points.rs`.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use tally_failpoint::{FailPoints, set_fail_points};

/// When the process ends or stops.
struct Moment {
    name: String,
    at: u64,
    stop: bool,
    passed: AtomicU64,
}

impl Moment {
    fn parse(text: &str) -> Option<Moment> {
        let mut parts = text.split(':');
        let (name, at) = (parts.next()?.to_owned(), parts.next()?.parse().ok()?);
        Some(Moment { name, at, stop: parts.next() == Some("stop"), passed: AtomicU64::new(0) })
    }
}

/// A record on which a piece of work panics.
struct Poison {
    work: String,
    partition: u32,
    offset: u64,
}

impl Poison {
    fn parse(text: &str) -> Option<Poison> {
        let mut parts = text.split(':');
        let work = parts.next()?.to_owned();
        Some(Poison {
            work,
            partition: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
        })
    }
}

/// What the environment asks for.
struct Asked {
    moment: Option<Moment>,
    poison: Option<Poison>,
}

impl FailPoints for Asked {
    fn point(&self, name: &str) {
        let Some(moment) = self.moment.as_ref().filter(|moment| moment.name == name) else {
            return;
        };
        if moment.passed.fetch_add(1, Ordering::SeqCst) + 1 != moment.at {
            return;
        }
        // If it cannot be said, the end says enough.
        let _ = writeln!(std::io::stderr(), "failpoint {name}");
        if moment.stop {
            let stop = format!("kill -STOP {}", std::process::id());
            let _ = Command::new("sh").args(["-c", &stop]).status();
        } else {
            std::process::abort();
        }
    }

    fn poisoned(&self, work: &str, partition: u32, offsets: &mut dyn Iterator<Item = u64>) {
        let Some(poison) = &self.poison else { return };
        if poison.work != work || poison.partition != partition {
            return;
        }
        for offset in offsets {
            if offset == poison.offset {
                panic!("poisoned: {work} at offset {offset} of partition {partition}");
            }
        }
    }
}

fn main() -> ExitCode {
    let asked = |name: &str| std::env::var(name).unwrap_or_default();
    set_fail_points(Box::new(Asked {
        moment: Moment::parse(&asked("TALLY_FAILPOINT")),
        poison: Poison::parse(&asked("TALLY_POISON")),
    }));
    tally_server::cli::main()
}
