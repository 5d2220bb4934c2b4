//! The built binary as a process: its folder, its start on a free loopback port, its end, gentle or
//! not.
//!
//! The binary is `TALLY_BIN`, else `tally` in the target folder of the test; the shipped plugins
//! lie beside it. A process that a test leaves behind, also by a panic, is ended by its id. What it
//! wrote is shown when something fails.

use crate::client::Client;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::yield_now;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start may take on a machine that has much else to do.
pub const START: Duration = Duration::from_secs(60);

/// The binary under test.
///
/// # Errors
/// It is not built.
pub fn binary() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("TALLY_BIN") {
        return Ok(binary.into());
    }
    // target/release/deps/crash-… or target/release/faults → target/release/tally
    let test = std::env::current_exe()?;
    let mut binaries = test.ancestors().skip(1).take(2).map(|folder| folder.join("tally"));
    binaries
        .find(|binary| binary.exists())
        .context("no tally beside the test: cargo build --release, or set TALLY_BIN")
}

/// Starts it. A binary that was written just now may be busy: what another thread forks holds it
/// open until it executes something.
fn started(command: &mut Command) -> std::io::Result<Child> {
    let limit = Instant::now() + START;
    loop {
        match command.spawn() {
            Err(fault)
                if fault.kind() == ErrorKind::ExecutableFileBusy && Instant::now() < limit =>
            {
                yield_now()
            }
            done => return done,
        }
    }
}

/// The binary that ends where `TALLY_FAILPOINT` says.
///
/// # Errors
/// It is not built.
pub fn failing_binary() -> Result<PathBuf> {
    let file = binary()?.with_file_name("tally-failpoints");
    let build = "cargo build --release --workspace --exclude tally-benches";
    ensure!(file.exists(), "{} is missing: {build}", file.display());
    Ok(file)
}

/// The file of a shipped plugin.
///
/// # Errors
/// It is not built.
pub fn plugin(name: &str) -> Result<PathBuf> {
    let file = binary()?.with_file_name(format!("lib{name}.so"));
    ensure!(file.exists(), "{} is missing: cargo build --release", file.display());
    Ok(file)
}

/// A folder with `metrics.toml` and, once an engine ran, its data; processes run in it with this
/// environment and no other.
pub struct Home {
    folder: TempDir,
    binary: PathBuf,
    env: Vec<(String, String)>,
    flags: Vec<String>,
}

impl Home {
    /// With this `metrics.toml`.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn new(config: &str) -> Result<Home> {
        let home = Home {
            folder: tempfile::tempdir()?,
            binary: binary()?,
            env: Vec::new(),
            flags: Vec::new(),
        };
        home.write("metrics.toml", config)?;
        Ok(home)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs another copy of the binary from now on.
    pub fn use_binary(&mut self, binary: PathBuf) {
        self.binary = binary;
    }

    /// Lets a write beyond a limit of the process (`prlimit --fsize`) fail like one on a broken
    /// disk, where it would end it.
    ///
    /// # Errors
    /// The wrapper cannot be written.
    pub fn ignore_file_limits(&mut self) -> Result<()> {
        self.wrapped("trap '' XFSZ")
    }

    /// Runs these lines of shell before each start of the binary, in the same process: limits, a
    /// mask.
    ///
    /// # Errors
    /// The wrapper cannot be written.
    pub fn wrapped(&mut self, lines: &str) -> Result<()> {
        let script = format!("#!/bin/sh\n{lines}\nexec {} \"$@\"\n", self.binary.display());
        self.binary = self.write("wrapper", script)?;
        Ok(fs::set_permissions(&self.binary, fs::Permissions::from_mode(0o755))?)
    }

    /// Starts get these arguments too, in place of those that were set before.
    pub fn flags(&mut self, flags: &[&str]) {
        self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }

    /// Sets an environment variable.
    pub fn env(&mut self, name: &str, value: &str) {
        self.env.push((name.into(), value.into()));
    }

    /// Does something with these environment variables set too.
    pub fn with_env<T>(&mut self, env: &[(&str, &str)], act: impl FnOnce(&Home) -> T) -> T {
        let before = self.env.len();
        env.iter().for_each(|(name, value)| self.env(name, value));
        let done = act(self);
        self.env.truncate(before);
        done
    }

    /// Writes a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, content)?;
        Ok(path)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(args).current_dir(self.path()).env_clear().stdin(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `tally ARGS` to its end.
    ///
    /// # Errors
    /// It does not run.
    pub fn run(&self, args: &[&str]) -> Result<Output> {
        Ok(started(self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()))?
            .wait_with_output()?)
    }

    /// Runs `tally ARGS` to its end, with this as its input.
    ///
    /// # Errors
    /// It does not run, or does not take its input.
    pub fn run_with(&self, args: &[&str], input: &str) -> Result<Output> {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = started(&mut command)?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        std::thread::scope(|scope| {
            let written = scope.spawn(move || stdin.write_all(input.as_bytes()));
            let output = child.wait_with_output()?;
            let written = written.join().map_err(|_| anyhow!("the writer panicked"))?;
            written.with_context(|| format!("tally {args:?} takes its input"))?;
            Ok(output)
        })
    }

    /// Runs `tally ARGS`, which must succeed; what it printed.
    ///
    /// # Errors
    /// It failed.
    pub fn succeed(&self, args: &[&str]) -> Result<String> {
        let output = self.run(args)?;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "tally {args:?}: {}\n{out}{err}", output.status);
        Ok(out.into_owned())
    }

    /// Starts `tally run` and returns at once: it may be anywhere in its start.
    ///
    /// # Errors
    /// It does not run.
    pub fn spawn(&self) -> Result<Process> {
        let flags = self.flags.iter().map(String::as_str);
        let args: Vec<&str> = ["run", "--listen", "127.0.0.1:0"].into_iter().chain(flags).collect();
        self.begin(&args, "stderr.log")
    }

    /// Starts `tally ARGS` and returns at once. What it says on stderr is appended to the file `log`
    /// of the folder.
    ///
    /// # Errors
    /// It does not run.
    pub fn begin(&self, args: &[&str], log: &str) -> Result<Process> {
        let log = self.path().join(log);
        let err = File::options().create(true).append(true).open(&log)?;
        let mut child = started(self.command(args).stdout(Stdio::piped()).stderr(err))?;
        let out = child.stdout.take().context("stdout is piped")?;
        let lines = Arc::new(Lines::default());
        let reader = lines.clone();
        std::thread::spawn(move || reader.read(out));
        Ok(Process { child, lines, log })
    }

    /// Starts `tally run` and waits until it listens.
    ///
    /// # Errors
    /// It ends instead, or takes too long.
    pub fn listening(&self) -> Result<Tally> {
        let process = self.spawn()?;
        let line = process.line("listening", START)?;
        let address = line.trim_start_matches("listening").trim().trim_start_matches("http://");
        let address: SocketAddr =
            address.parse().with_context(|| format!("an address in {line:?}"))?;
        Ok(Tally { client: Client::new(address)?, process, address })
    }

    /// Starts `tally run` and waits until it is ready.
    ///
    /// # Errors
    /// It ends instead, or takes too long.
    pub fn start(&self) -> Result<Tally> {
        let tally = self.listening()?;
        tally.client.ready(START).with_context(|| tally.process.tail())?;
        Ok(tally)
    }
}

/// What a process wrote to stdout.
#[derive(Default)]
struct Lines {
    seen: Mutex<(Vec<String>, bool)>,
    news: Condvar,
}

impl Lines {
    fn read(&self, out: impl Read) {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            self.lock().0.push(line);
            self.news.notify_all();
        }
        self.lock().1 = true;
        self.news.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<String>, bool)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process under test.
pub struct Process {
    child: Child,
    lines: Arc<Lines>,
    log: PathBuf,
}

/// How a process ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// The signal.
    pub signal: Option<i32>,
    /// How long it took.
    pub took: Duration,
    /// What it wrote to stdout.
    pub out: Vec<String>,
}

impl Process {
    /// Waits for a line of stdout that begins so.
    ///
    /// # Errors
    /// The process ended without, or it does not come within `limit`.
    pub fn line(&self, begins: &str, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        let mut seen = self.lines.lock();
        loop {
            if let Some(line) = seen.0.iter().find(|line| line.starts_with(begins)) {
                return Ok(line.clone());
            }
            let left = end.saturating_duration_since(Instant::now());
            if seen.1 || left.is_zero() {
                bail!("no line {begins:?} within {limit:?}; {:?}\n{}", seen.0, self.tail());
            }
            seen =
                self.lines.news.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would, and waits for its end.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it had ended by itself: {status}\n{}", self.tail());
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends it a signal: `STOP`, `CONT` …
    ///
    /// # Errors
    /// It could not be sent.
    pub fn signal(&self, name: &str) -> Result<()> {
        // The shell's own `kill`: no other program is needed.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()?;
        ensure!(sent.success(), "SIG{name} was not sent; {}", self.tail());
        Ok(())
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It does not within `limit`.
    pub fn ended(&mut self, limit: Duration) -> Result<ExitStatus> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(begun.elapsed() < limit, "it has not ended within {limit:?}\n{}", self.tail());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether it is stopped (SIGSTOP).
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        status.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
    }

    /// Asks it to end (SIGTERM) and waits for that.
    ///
    /// # Errors
    /// It did not within `limit`.
    pub fn stop(mut self, limit: Duration) -> Result<Ended> {
        let begun = Instant::now();
        self.signal("TERM")?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                let took = begun.elapsed();
                let mut seen = self.lines.lock();
                while !seen.1 && begun.elapsed() < limit + START {
                    seen = self
                        .lines
                        .news
                        .wait_timeout(seen, START)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
                return Ok(Ended {
                    code: status.code(),
                    signal: status.signal(),
                    took,
                    out: seen.0.clone(),
                });
            }
            ensure!(
                begun.elapsed() < limit,
                "it has not ended {limit:?} after SIGTERM\n{}",
                self.tail()
            );
            // There is no wait with an end in the standard library.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The end of what it and those before it wrote to stderr.
    #[must_use]
    pub fn tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that fails has nothing to say to it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An engine that listens.
pub struct Tally {
    /// A client of it.
    pub client: Client,
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Tally {
    /// What `--url` takes.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// It had ended before.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }

    /// Ends it orderly, which must succeed within 20 s.
    ///
    /// # Errors
    /// It did not.
    pub fn stop(self) -> Result<Ended> {
        let ended = self.process.stop(Duration::from_secs(20))?;
        ensure!(ended.code == Some(0), "{ended:?}");
        Ok(ended)
    }
}
