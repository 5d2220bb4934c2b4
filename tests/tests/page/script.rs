//! A script that drives a browser: a process with an end. It asks for acts of the harness by lines on
//! its stdout, and reads from its stdin what came of them.

use crate::world::World;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};
use tally_tests::installed::packages;
use tally_tests::programs::{Verdict, program};

const PACKAGE: &str = include_str!("package.json");
const PACKAGES: &str = include_str!("package-lock.json");

/// What to do where something is missing.
const REMEDY: &str = "the page is tested in Chromium: apt-get install chromium nodejs npm";

/// Lines that wait to be read: a script waits for its acts.
const LINES: usize = 64;

/// Ends a script and all that it started, also where a test panics. Its browser ends with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            // It may end just then.
            let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
            let _ = self.0.wait();
        }
    }
}

/// The folder of the scripts.
fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page")
}

/// The browser.
///
/// # Errors
/// There is none.
fn chromium() -> Result<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let browser = named.unwrap_or_else(|| "/usr/bin/chromium".into());
    ensure!(browser.exists(), "{} is missing: {REMEDY}", browser.display());
    Ok(browser)
}

fn lines(out: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = sync_channel(LINES);
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Plays a script with the engine of a world; what it says in the end.
///
/// # Errors
/// It failed, or did not end within `limit`; what it wrote is shown.
pub(crate) fn play(
    script: &str,
    arguments: &[&str],
    world: &mut World,
    limit: Duration,
) -> Result<Verdict> {
    let folder = packages("page", PACKAGE, PACKAGES)?;
    let log = world.path("script.log");
    let mut command = program("node");
    command.arg(scripts().join(script)).arg(world.url()).args(arguments).current_dir(folder);
    command.env("CHROMIUM", chromium()?);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log)?);
    let mut running = Running(command.spawn().context(REMEDY)?);
    let mut stdin = running.0.stdin.take().context("stdin is piped")?;
    let lines = lines(running.0.stdout.take().context("stdout is piped")?);
    let end = Instant::now() + limit;
    let mut said = String::new();
    let wrote = |said: &str| format!("{said}{}", fs::read_to_string(&log).unwrap_or_default());
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => match line.strip_prefix("act ") {
                Some(act) => writeln!(stdin, "{}", world.act(act))
                    .with_context(|| format!("{script} has ended:\n{}", wrote(&said)))?,
                None => {
                    if let Some(figure) = line.strip_prefix("measured: ") {
                        // Past what holds back the output of tests that pass.
                        writeln!(std::io::stderr(), "measured: {script}: {figure}")?;
                    }
                    said += &format!("{line}\n");
                }
            },
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                bail!("{script} had not ended after {limit:?}:\n{}", wrote(&said))
            }
        }
    }
    let status = running.0.wait()?;
    ensure!(status.success(), "{script}: {status}\n{}\n{}", wrote(&said), world.tail());
    Verdict::read(&said)
}
