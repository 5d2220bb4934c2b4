//! Programs that others wrote, as processes: each with an end, after which its whole group is ended,
//! and with what it wrote. A program that judges says in the end how much it judged.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// How much of what a process wrote is shown, bytes, from its end.
const SHOWN: usize = 20_000;

/// How long a group that was ended may take to be gone.
const GONE: Duration = Duration::from_secs(10);

/// A program in a group of its own, without input.
#[must_use]
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    // What Python compiles would land beside the sources.
    command.process_group(0).stdin(Stdio::null()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Runs it to its end, whatever that is.
///
/// # Errors
/// It does not run, or not end within `limit`; then it, and all that it started, is ended, and what
/// it wrote is shown.
pub fn output(command: &mut Command, limit: Duration) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{name} does not run"))?;
    let group = Pid::from_child(&child);
    let (done, ended) = sync_channel(1);
    std::thread::spawn(move || {
        // Nobody waits any more where the group could not be ended.
        let _ = done.send(child.wait_with_output());
    });
    match ended.recv_timeout(limit) {
        Ok(output) => Ok(output?),
        Err(RecvTimeoutError::Disconnected) => bail!("{name}: the thread that reads it ended"),
        Err(RecvTimeoutError::Timeout) => {
            kill_process_group(group, Signal::KILL)?;
            let wrote = ended.recv_timeout(GONE).map_err(anyhow::Error::from);
            let wrote = wrote.and_then(|output| Ok(written(&output?)));
            bail!("{name} had not ended after {limit:?}:\n{}", wrote.unwrap_or_default())
        }
    }
}

/// As [`output`], of one that must succeed: what it wrote to stdout.
///
/// # Errors
/// As [`output`]; it failed, with what it wrote.
pub fn run(command: &mut Command, limit: Duration) -> Result<String> {
    let output = output(command, limit)?;
    ensure!(output.status.success(), "{command:?}: {}\n{}", output.status, written(&output));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The end of what a process wrote.
#[must_use]
pub fn written(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = text.get(text.len().saturating_sub(SHOWN)..).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// What a judge says in the end: who it is, in which version, and how much it judged.
#[derive(Debug)]
pub struct Verdict {
    /// `NAME VERSION`.
    pub judge: String,
    /// How many.
    pub count: u64,
    /// Of what.
    pub of: String,
}

impl Verdict {
    /// Reads the line `verdict: NAME VERSION: COUNT WHAT` of a script.
    ///
    /// # Errors
    /// There is none.
    pub fn read(text: &str) -> Result<Verdict> {
        let read = || {
            let line = text.lines().rev().find_map(|line| line.strip_prefix("verdict: "))?;
            let (judge, rest) = line.split_once(": ")?;
            let (count, of) = rest.split_once(' ')?;
            Some(Verdict { judge: judge.into(), count: count.parse().ok()?, of: of.into() })
        };
        read().with_context(|| format!("no verdict in:\n{text}"))
    }

    /// Prints it, whether the test passes or not.
    ///
    /// # Errors
    /// It judged less than `least`, or says no version.
    pub fn tell(&self, least: u64) -> Result<()> {
        let Verdict { judge, count, of } = self;
        // Past what holds back the output of tests that pass.
        writeln!(std::io::stderr(), "verdict: {judge}: {count} {of}")?;
        self.check(least)
    }

    fn check(&self, least: u64) -> Result<()> {
        let Verdict { judge, count, of } = self;
        let version = judge.rsplit_once(' ').map(|(_, version)| version).unwrap_or_default();
        ensure!(version.starts_with(|c: char| c.is_ascii_digit()), "no version: {judge:?}");
        ensure!(*count >= least, "{judge}: {count} {of} are less than {least}");
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_an_end_and_so_has_what_it_started() {
        let started = std::time::Instant::now();
        let mut endless = program("sh");
        endless.args(["-c", "echo begun; sleep 600 & wait"]);
        let fault = run(&mut endless, Duration::from_secs(2)).unwrap_err().to_string();
        assert!(fault.contains("had not ended") && fault.contains("begun"), "{fault}");
        assert!(started.elapsed() < GONE, "what it started held its output open");
        let mut failing = program("sh");
        failing.args(["-c", "echo why >&2; exit 3"]);
        let fault = run(&mut failing, GONE).unwrap_err().to_string();
        assert!(fault.contains("exit status: 3") && fault.contains("why"), "{fault}");
        assert!(Verdict::read("all is well").is_err());
        let small = Verdict::read("x\nverdict: someone 1.2.3: 5 things").unwrap();
        assert!(small.check(5).is_ok() && small.check(6).is_err(), "{small:?}");
    }
}
