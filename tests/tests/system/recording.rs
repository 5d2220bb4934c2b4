//! The recording in docs/watching.md, made anew: an engine that is killed while one terminal watches
//! its events and another one a metric. All but the times is compared; `UPDATE=1` writes it.
//!
//! How often a terminal tries to connect depends on the machine, so that only its first try is
//! compared.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};
use tally_tests::client::Client;
use tally_tests::tally::{Home, binary};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/watching.md");

/// How the recording begins in it.
const BEGIN: &str = "```text recording\n";

/// The address in it.
const ADDRESS: &str = "127.0.0.1:8080";

const LIMIT: Duration = Duration::from_secs(60);

/// Columns of the time and the blanks behind it.
const TIME: usize = 8;

/// What is recorded, and where it runs.
struct Recorder {
    home: Home,
    /// The engine's.
    address: String,
    begun: Instant,
    text: String,
}

/// A command in a terminal.
struct Running {
    name: char,
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // A test that fails has nothing to say to it any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody takes for a connection of his own while the engine is down.
fn address() -> String {
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    let free = (first..first + 2_000).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    format!("127.0.0.1:{}", free.unwrap())
}

impl Recorder {
    fn note(&mut self, at: Instant, terminal: char, text: &str) {
        let seconds = at.duration_since(self.begun).as_secs_f64();
        let text = text.replace(&self.address, ADDRESS);
        self.text.push_str(&format!("{seconds:6.2}  {terminal}  {text}\n"));
    }

    /// Starts a command of the program in a terminal; `errors`: where that leads what goes to stderr.
    fn start(&mut self, terminal: char, args: &[&str], errors: &str) -> Running {
        let shown = format!("$ tally {}{errors}", args.join(" "));
        self.note(Instant::now(), terminal, &shown);
        // One stream, so that lines stay in their order.
        let errors = if errors.is_empty() { "2>&1" } else { "2>engine.log" };
        let mut command = Command::new("sh");
        command.args(["-c", &format!("exec \"$0\" \"$@\" {errors}")]).arg(binary().unwrap());
        command.args(args).current_dir(self.home.path()).env_clear().stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stream = child.stdout.take().unwrap();
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                // Nobody may listen any more, and it is read all the same.
                let _ = tell.send((Instant::now(), line));
            }
        });
        Running { name: terminal, child, lines }
    }

    /// Records what a command says, up to a line with these words.
    fn until(&mut self, running: &Running, words: &str) {
        loop {
            let next = running.lines.recv_timeout(LIMIT);
            let (at, line) = next.unwrap_or_else(|_| panic!("no {words:?} came: {}", self.text));
            self.note(at, running.name, &line);
            if line.contains(words) {
                return;
            }
        }
    }

    fn engine(&mut self) -> Running {
        let engine = self.start('A', &["run"], " 2>engine.log &");
        self.until(&engine, "ready in");
        engine
    }

    /// Posts an event from the first terminal.
    fn post(&mut self, event: &str) {
        let shown = format!("curl -s {ADDRESS}/api/events --json '{event}'");
        self.note(Instant::now(), 'A', &format!("$ {shown}"));
        let script = shown.replace(ADDRESS, &self.address);
        let said = Command::new("sh").args(["-euc", &script]).output().unwrap();
        assert!(said.status.success(), "{script}");
        self.note(Instant::now(), 'A', String::from_utf8(said.stdout).unwrap().trim_end());
    }

    /// Ends a command as Ctrl-C does, and records what it still says.
    fn interrupt(&mut self, mut running: Running) {
        self.note(Instant::now(), running.name, "$ ^C");
        let kill = format!("kill -INT {}", running.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.end(&mut running);
    }

    /// Records what a command says to its end, which must be a good one.
    fn end(&mut self, running: &mut Running) {
        loop {
            match running.lines.recv_timeout(LIMIT) {
                Ok((at, line)) => self.note(at, running.name, &line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {}", self.text),
            }
        }
        assert!(running.child.wait().unwrap().success(), "{}", self.text);
    }
}

/// Waits until nothing is left to be read again after a crash.
fn until_committed(client: &Client, records: u64) {
    let seen = |client: &Client| {
        let status = client.get("/api/status").map_err(|fault| format!("{fault:#}"))?;
        let commits = &status.json()["commits"];
        match commits["committed"].as_u64() == Some(records) {
            true => Ok(String::new()),
            false => Err(status.text),
        }
    };
    client.until("everything is committed", LIMIT, seen).unwrap();
}

/// The lines without what differs from run to run.
fn compared(recording: &str) -> Vec<String> {
    let (mut lines, mut broken) = (Vec::new(), Vec::new());
    for line in recording.lines() {
        let line = line.get(TIME..).unwrap_or(line);
        let terminal = line.chars().next();
        if line.contains(" again in ") || line.contains("no answer now: ") {
            if !broken.contains(&terminal) {
                lines.push(format!("{terminal:?} connects again"));
                broken.push(terminal);
            }
        } else if let Some((before, _)) = line.split_once("ready in") {
            lines.push(format!("{before}ready"));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines
}

fn recorded() -> String {
    let address = address();
    let config = format!(
        "[server]\nlisten = \"{address}\"\n[log]\npartitions = 1\n[store]\ncheckpoint_interval_ms = 100\n"
    );
    let home = Home::new(&config).unwrap();
    let begun = Instant::now();
    let mut a = Recorder { home, address: address.clone(), begun, text: String::new() };
    let client = Client::new(address.parse().unwrap()).unwrap();
    let event = |user: u64, product: u64, kind: &str, minute: u64| {
        format!(
            "{{\"user_id\":{user},\"product_id\":{product},\"event_type\":\"{kind}\",\"timestamp\":\"2026-01-01T00:0{minute}:00Z\"}}"
        )
    };
    let engine = a.engine();
    let events = a.start('B', &["tap", "--since", "0:0"], "");
    let metric = a.start('C', &["query", "event_frequencies", "--watch"], "");
    a.until(&metric, "\"total\":0");
    for (n, (user, kind)) in [(1, (1, "view")), (2, (2, "buy"))] {
        a.post(&event(user, 10, kind, n));
        a.until(&events, &format!("00:0{n}:00"));
        a.until(&metric, &format!("\"total\":{n}"));
    }
    until_committed(&client, 2);
    a.note(Instant::now(), 'A', "$ kill -9 %1");
    // Which ends it so.
    drop(engine);
    a.until(&events, " again in ");
    a.until(&metric, " again in ");
    let _engine = a.engine();
    a.post(&event(1, 20, "view", 3));
    a.until(&events, "00:03:00");
    a.until(&metric, "\"total\":3");
    a.interrupt(events);
    a.post(&event(2, 20, "buy", 4));
    a.until(&metric, "\"total\":4");
    let mut events = a.start('B', &["tap", "--since", "0:3", "--limit", "1"], "");
    a.end(&mut events);
    a.interrupt(metric);
    a.text
}

#[test]
fn the_recording_of_a_crash_is_what_happens() {
    let recorded = recorded();
    let document = fs::read_to_string(Path::new(DOCUMENT)).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once("```\n").unwrap();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(DOCUMENT, format!("{before}{BEGIN}{recorded}```\n{after}")).unwrap();
        return;
    }
    assert_eq!(compared(&recorded), compared(shown), "UPDATE=1 writes it:\n{recorded}");
    let of = |terminal: char| {
        let printed = compared(&recorded).into_iter();
        printed.filter(|line| line.starts_with(&format!("{terminal}  {{\""))).count()
    };
    assert_eq!((of('B'), of('C')), (4, 5), "each event and each total once");
}

#[test]
fn only_times_and_tries_are_left_out() {
    let one = "  0.10  B  a\n  0.20  B  x; connecting to y again in 0.5 s\n 10.30  C  ready in 0.1 s\n  0.40  B  z; connecting to y again in 0.9 s\n";
    let other =
        "  9.99  B  a\n  9.99  B  x; connecting to y again in 0.4 s\n  9.99  C  ready in 7.1 s\n";
    assert_eq!(compared(one), compared(other));
    assert_ne!(compared(one), compared(&other.replace("B  a", "B  b")));
}
