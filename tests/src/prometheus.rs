//! A real Prometheus for tests, on a free loopback port, with its data in a temporary folder; and
//! `promtool`, which judges what Prometheus reads.
//!
//! A missing one is an error that says what to install, never a skipped test. Ends the process that
//! it started, by its id, when dropped.

use crate::client::Client;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long a start may take.
const START: Duration = Duration::from_secs(60);

/// What to do where it is missing.
const REMEDY: &str = "tests against a real Prometheus need it: apt-get install prometheus";

/// A running Prometheus.
pub struct Prometheus {
    process: Child,
    /// Of its HTTP API.
    pub client: Client,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one in a folder with these files, of which `prometheus.yml` is its configuration, and
    /// waits until it answers.
    ///
    /// # Errors
    /// Says what is missing, or shows its log.
    pub fn start(files: &[(&str, &str)]) -> Result<Prometheus> {
        let folder = tempfile::Builder::new().prefix("prometheus").tempdir()?;
        for (name, text) in files {
            fs::write(folder.path().join(name), text)?;
        }
        let path = |name: &str| folder.path().join(name).display().to_string();
        let address: SocketAddr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = File::create(folder.path().join("log"))?;
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", path("prometheus.yml")))
            .arg(format!("--storage.tsdb.path={}", path("data")))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("prometheus did not run: {REMEDY}"))?;
        let log = folder.path().join("log");
        let prometheus = Prometheus { process, client: Client::new(address)?, _folder: folder };
        let ready = |client: &Client| match client.get("/-/ready") {
            Ok(answer) if answer.status == 200 => Ok(String::new()),
            other => Err(format!("{other:?}\n{}", fs::read_to_string(&log).unwrap_or_default())),
        };
        prometheus.client.until("Prometheus is ready", START, ready)?;
        Ok(prometheus)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What an expression gives now: a list of series, each with `metric` (its labels) and `value`.
    ///
    /// # Errors
    /// It does not parse, or there is no answer.
    pub fn query(&self, expression: &str) -> Result<Value> {
        let answer = self.client.get(&format!("/api/v1/query?query={}", form(expression)))?;
        let mut json = answer.json();
        ensure!(json["status"] == "success", "{expression}: {} {}", answer.status, answer.text);
        Ok(json["data"]["result"].take())
    }

    /// The names of the alerts that fire.
    ///
    /// # Errors
    /// There is no answer.
    pub fn firing(&self) -> Result<BTreeSet<String>> {
        let json = self.client.get("/api/v1/alerts")?.json();
        let alerts = json["data"]["alerts"].as_array().context("a list of alerts")?.iter();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().map(str::to_owned);
        firing.map(name).collect::<Option<_>>().context("each alert has a name")
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Its data goes with it: there is nothing to end gently.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs `promtool`, with this text on its standard input. It must find nothing wrong; what it says.
///
/// # Errors
/// What it finds, or that it is missing.
pub fn promtool(arguments: &[&str], input: &str) -> Result<String> {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("promtool did not run: {REMEDY}"))?;
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    // It reads all of it before it says anything; what does not read its input has none.
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if !output.status.success() {
        bail!("promtool {arguments:?}: {}\n{said}", output.status);
    }
    written?;
    Ok(said)
}

/// A text in a query, as forms have it and Go's `url.QueryEscape`.
#[must_use]
pub fn form(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b' ' => "+".to_owned(),
        b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_query_are_escaped_as_go_does() {
        assert_eq!(form("a b+{\"ü\":1}~-_."), "a+b%2B%7B%22%C3%BC%22%3A1%7D~-_.");
    }
}
