//! Debian's real nginx with the configuration that is in `contrib`, on free loopback ports, with all
//! that it writes in a folder of its own.
//!
//! A missing one is an error that says what to install. It is ended when dropped: the first of its
//! processes is asked to by its id, and takes the others along.

use crate::client::Client;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Starts that are tried: another process may take a port that was free.
const TRIES: usize = 5;

/// A running nginx.
pub struct Nginx {
    process: Child,
    /// Where it listens for who asks an engine.
    pub address: SocketAddr,
    status: SocketAddr,
    folder: TempDir,
}

/// A request that it has answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedRequest {
    /// In which ten seconds it came.
    pub round: String,
    /// `MISS`: the engine was asked. `HIT`: it was answered with what another one got. `-`: no cache
    /// was used.
    pub cache: String,
    /// Status of the answer.
    pub status: u16,
    /// Path and query.
    pub target: String,
}

impl Nginx {
    /// Starts one in front of an engine, and waits until it listens.
    ///
    /// # Errors
    /// Says what is missing, or shows its log.
    pub fn start(engine: SocketAddr) -> Result<Nginx> {
        for _ in 1..TRIES {
            match Nginx::started(engine) {
                Err(fault) if fault.to_string().contains("Address already in use") => {}
                done => return done,
            }
        }
        Nginx::started(engine)
    }

    fn started(engine: SocketAddr) -> Result<Nginx> {
        let folder = tempfile::Builder::new().prefix("nginx").tempdir()?;
        let (address, status) = (free()?, free()?);
        fs::write(
            folder.path().join("tally.conf"),
            configuration(engine, address, folder.path())?,
        )?;
        fs::write(folder.path().join("nginx.conf"), around(status, folder.path()))?;
        let mut command = Command::new(binary());
        command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
        command.arg("-e").arg(folder.path().join("error.log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().context("no nginx: apt-get install nginx")?;
        let mut nginx = Nginx { process, address, status, folder };
        let begun = Instant::now();
        while TcpStream::connect(nginx.status).is_err() {
            if let Some(ended) = nginx.process.try_wait()? {
                bail!("nginx ended ({ended}):\n{}", nginx.read("error.log"));
            }
            ensure!(
                begun.elapsed() < LIMIT,
                "nginx does not listen after {LIMIT:?}:\n{}",
                nginx.read("error.log")
            );
            // There is nothing to be told by; a refused connection costs next to nothing.
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(nginx)
    }

    /// How many requests it has and has not answered yet.
    ///
    /// # Errors
    /// It does not say.
    pub fn open(&self) -> Result<usize> {
        let text = Client::new(self.status)?.get("/")?.text;
        let writing = text.split("Writing: ").nth(1).and_then(|rest| rest.split(' ').next());
        let writing: usize =
            writing.with_context(|| text.clone())?.parse().with_context(|| text.clone())?;
        // This one is one.
        Ok(writing.saturating_sub(1))
    }

    /// The requests that it has answered so far.
    ///
    /// # Errors
    /// Its log is not what it was told to write.
    pub fn passed(&self) -> Result<Vec<PassedRequest>> {
        let passed = |line: &str| -> Result<PassedRequest> {
            let mut words = line.split(' ').map(str::to_owned);
            let mut word = || words.next().with_context(|| line.to_owned());
            let (round, cache, status, target) = (word()?, word()?, word()?, word()?);
            Ok(PassedRequest { round, cache, status: status.parse()?, target })
        };
        self.read("access.log").lines().map(passed).collect()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The shell's own `kill`: no other program is needed.
        let kill = format!("kill -TERM {}", self.process.id());
        let asked = Command::new("sh").args(["-c", &kill]).status();
        if !asked.is_ok_and(|status| status.success()) {
            // It has ended, or cannot be asked.
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
    }
}

/// Debian has it where not everybody looks for programs.
fn binary() -> PathBuf {
    let usual = Path::new("/usr/sbin/nginx");
    if usual.exists() { usual.to_owned() } else { "nginx".into() }
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// What is in `contrib`, with these addresses and this folder.
fn configuration(engine: SocketAddr, address: SocketAddr, folder: &Path) -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/nginx/tally.conf");
    let mut text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    for (written, here) in [
        ("server 127.0.0.1:8080;", format!("server {engine};")),
        ("listen 80;", format!("listen {address};")),
        ("/var/cache/nginx/tally", folder.join("cache").display().to_string()),
    ] {
        ensure!(text.matches(written).count() == 1, "{} has no {written:?}", file.display());
        text = text.replace(written, &here);
    }
    Ok(text)
}

/// The configuration that includes it. What it writes as root belongs to root.
fn around(status: SocketAddr, folder: &Path) -> String {
    let at = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|of| format!("{of}_temp_path {at}/{of};\n"))
        .concat();
    format!(
        "user root;\ndaemon off;\nworker_processes 2;\npid {at}/pid;\nerror_log {at}/error.log warn;\n\
         events {{ worker_connections 2048; }}\n\
         http {{\n{temporary}\
         log_format passed '$tally_round $upstream_cache_status $status $request_uri';\n\
         access_log {at}/access.log passed;\n\
         include {at}/tally.conf;\n\
         server {{ listen {status}; access_log off; location / {{ stub_status; }} }}\n}}\n"
    )
}
