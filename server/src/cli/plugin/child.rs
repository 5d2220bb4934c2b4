//! The process in which a plugin file is loaded, seen from outside: its job, its messages, its end.
//!
//! Messages are JSON, one per line, each after the character RS, which distinguishes them from what
//! a plugin prints itself. A child that is silent for too long is ended.

use super::super::Failure;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;
use tempfile::TempDir;

/// Goes before each message.
pub(super) const MARK: char = '\u{1e}';

/// Longest line that is read: more than the answers of any golden case.
const LONGEST: u64 = 256 << 20;

/// Messages that may wait to be read; a child that sends more waits.
const WAITING: usize = 64;

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    /// The plugin file.
    pub(super) file: PathBuf,
    /// `[metrics.NAME.config]`.
    pub(super) config: Value,
    /// Where the copy that is loaded may lie.
    pub(super) private: PathBuf,
    /// Golden cases to answer; without them the file is checked.
    pub(super) golden: Option<Questions>,
}

/// What a golden case asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Questions {
    /// `events.ndjson`.
    pub(super) events: String,
    /// `questions.ndjson`.
    pub(super) questions: String,
}

/// A message of a child.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Message {
    /// A check has begun.
    Begun(String),
    /// It holds.
    Good(String),
    /// It does not hold.
    Bad(String),
    /// What was answered to a golden case.
    Answers(Vec<Value>),
    /// The job is done.
    Done,
}

/// What came next.
pub(super) enum Next {
    /// A message.
    Said(Message),
    /// The child ended, or was ended, before it was done; the predicate of a sentence says how.
    Ended(String),
}

/// What a plugin wrote to stdout itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Printed {
    /// How many lines.
    pub(super) lines: u64,
    /// The first of them.
    pub(super) first: String,
}

/// A child at work; dropping this ends it.
pub(super) struct Worker {
    child: Child,
    said: Receiver<Message>,
    printed: Arc<Mutex<Printed>>,
    limit: Duration,
    /// Holds the private copy.
    _folder: TempDir,
}

impl Worker {
    /// Starts one. Each of its messages may take as long as `limit`.
    pub(super) fn start(
        file: PathBuf,
        config: Value,
        golden: Option<Questions>,
        limit: Duration,
    ) -> Result<Worker, Failure> {
        let failed =
            |what: &str, fault: &dyn std::fmt::Display| Failure::Failed(format!("{what}: {fault}"));
        let folder = TempDir::with_prefix("tally-plugin-")
            .map_err(|fault| failed("cannot create a temporary folder", &fault))?;
        let job = Job { file, config, private: folder.path().join("plugins"), golden };
        let job = serde_json::to_vec(&job)
            .map_err(|fault| failed("cannot write the job as JSON", &fault))?;
        let own = std::env::current_exe()
            .map_err(|fault| failed("cannot find this program's own file", &fault))?;
        let started = Command::new(own)
            .args(["plugin", "inside"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = started.map_err(|fault| failed("cannot start a process", &fault))?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let printed = Arc::new(Mutex::new(Printed::default()));
        let said = listen(from, printed.clone());
        let worker = Worker { child, said, printed, limit, _folder: folder };
        // If it has gone already, that is found below.
        let _ = to.map(|mut to| to.write_all(&job));
        Ok(worker)
    }

    /// What comes next.
    pub(super) fn next(&mut self) -> Next {
        match self.said.recv_timeout(self.limit) {
            Ok(message) => Next::Said(message),
            Err(RecvTimeoutError::Timeout) => {
                self.end();
                let seconds = self.limit.as_secs_f64();
                Next::Ended(format!(
                    "did not return within {seconds} s and was ended (look for an endless loop)"
                ))
            }
            // If it is ending already, this changes nothing.
            Err(RecvTimeoutError::Disconnected) => Next::Ended(match self.end() {
                Some(status) => format!("ended the process: {}", exit_text(status)),
                None => "ended the process".into(),
            }),
        }
    }

    /// What the plugin printed so far.
    pub(super) fn printed(&self) -> Printed {
        self.printed.lock().clone()
    }

    fn end(&mut self) -> Option<ExitStatus> {
        // An error means that it has gone already.
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.end();
    }
}

fn listen(
    from: Option<impl Read + Send + 'static>,
    said_itself: Arc<Mutex<Printed>>,
) -> Receiver<Message> {
    let (tell, said) = sync_channel(WAITING);
    std::thread::spawn(move || {
        let mut from = BufReader::new(from.into_iter().next()?);
        let mut line = Vec::new();
        while from.by_ref().take(LONGEST).read_until(b'\n', &mut line).ok()? > 0 {
            let text = String::from_utf8_lossy(&line);
            let (printed, message) = text.split_once(MARK).unwrap_or((&text, ""));
            if !printed.trim().is_empty() {
                let mut all = said_itself.lock();
                if all.lines == 0 {
                    all.first = printed.trim_end().chars().take(200).collect();
                }
                all.lines += 1;
            }
            if !message.is_empty() {
                tell.send(serde_json::from_str(message).ok()?).ok()?;
            }
            line.clear();
        }
        Some(())
    });
    said
}

fn exit_text(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(4), _) => "SIGILL".into(),
        (Some(6), _) => "SIGABRT (a panic that could not unwind, or abort)".into(),
        (Some(7), _) => "SIGBUS".into(),
        (Some(8), _) => "SIGFPE".into(),
        (Some(9), _) => "SIGKILL".into(),
        (Some(11), _) => "SIGSEGV (invalid memory access, or too deep a recursion)".into(),
        (Some(signal), _) => format!("signal {signal}"),
        (None, code) => format!("exit code {}", code.unwrap_or_default()),
    }
}
