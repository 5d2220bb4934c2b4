//! A real Redis for tests: one process, or a Cluster of three masters, on free loopback ports,
//! their data in a temporary folder.
//!
//! Nothing is kept on disk unless asked for. `redis-server` missing is an error that says what to
//! install, never a skipped test. Ends the processes that it started, by their ids, when dropped.

use anyhow::{Context, Result, bail, ensure};
use redis::{Connection, RedisResult};
use std::fs::File;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);

/// A running server.
pub struct Redis {
    process: Option<Child>,
    port: u16,
    arguments: Vec<String>,
    folder: TempDir,
}

impl Redis {
    /// Starts a server and waits until it answers. `settings` as on its command line: `--appendonly
    /// yes`.
    ///
    /// # Errors
    /// Says what is missing, or shows the server's log.
    pub fn start(settings: &[&str]) -> Result<Redis> {
        Redis::on(free_port()?, settings)
    }

    fn on(port: u16, settings: &[&str]) -> Result<Redis> {
        let folder = tempfile::Builder::new().prefix("redis").tempdir()?;
        let arguments = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut redis = Redis { process: None, port, arguments, folder };
        redis.run()?;
        Ok(redis)
    }

    fn run(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &self.port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(self.folder.path()).args(&self.arguments);
        let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
        let remedy = "tests against real Redis need redis-server: apt-get install redis-server";
        self.process =
            Some(process.with_context(|| format!("redis-server did not run: {remedy}"))?);
        let started = Instant::now();
        while self.connect().and_then(|mut link| redis::cmd("PING").exec(&mut link)).is_err() {
            let ended = self.process.as_mut().map(Child::try_wait).transpose()?.flatten();
            if let Some(status) = ended {
                bail!("redis-server ended ({status}):\n{}", self.log());
            }
            ensure!(
                started.elapsed() < START,
                "Redis does not answer after {START:?}:\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The end of its log.
    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Adds a setting, from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
    }

    /// What clients connect to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Host and port.
    #[must_use]
    pub fn at(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Process id, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// A plain connection.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn connect(&self) -> RedisResult<Connection> {
        redis::Client::open(self.url())?.get_connection_with_timeout(Duration::from_secs(5))
    }

    /// Everything it holds: each key with its value as Redis itself writes it, ascending.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn content(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut link = self.connect()?;
        let mut keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut link)?;
        keys.sort();
        let value = |key: String| Ok((key.clone(), redis::cmd("DUMP").arg(&key).query(&mut link)?));
        keys.into_iter().map(value).collect()
    }

    /// Ends the server as a crash would.
    ///
    /// # Errors
    /// When it could not be ended.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Keeps a copy of what it holds now.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep(&self) -> Result<Vec<u8>> {
        redis::cmd("SAVE").exec(&mut self.connect()?)?;
        Ok(std::fs::read(self.folder.path().join("dump.rdb"))?)
    }

    /// Kills the server and starts it again with what it held then, as after a failover to a
    /// replica that lagged. Without an append-only file: that would be read instead.
    ///
    /// # Errors
    /// As `start`.
    pub fn go_back(&mut self, kept: &[u8]) -> Result<()> {
        self.kill()?;
        std::fs::write(self.folder.path().join("dump.rdb"), kept)?;
        self.run()
    }

    /// Kills the server and starts it again on the same folder and port.
    ///
    /// # Errors
    /// As `start`.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.run()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // its data goes with it: there is nothing to end gently
        let _ = self.kill();
    }
}

/// A Cluster of three masters, without replicas.
pub struct Cluster {
    /// Its nodes.
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts the nodes, with these settings besides, spreads the slots evenly and waits until all
    /// see it.
    ///
    /// # Errors
    /// As `Redis::start`.
    pub fn start(settings: &[&str]) -> Result<Cluster> {
        let nodes = (0..3).map(|_| {
            Redis::on(cluster_port()?, &[&["--cluster-enabled", "yes"], settings].concat())
        });
        let nodes = nodes.collect::<Result<Vec<_>>>()?;
        for (at, node) in nodes.iter().enumerate() {
            let (first, last) = (16_384 * at / 3, 16_384 * (at + 1) / 3 - 1);
            let mut link = node.connect()?;
            redis::cmd("CLUSTER").arg("ADDSLOTSRANGE").arg(first).arg(last).exec(&mut link)?;
            for other in &nodes[..at] {
                redis::cmd("CLUSTER")
                    .arg("MEET")
                    .arg("127.0.0.1")
                    .arg(other.port)
                    .exec(&mut link)?;
            }
        }
        let started = Instant::now();
        let ready = |node: &Redis| -> Result<bool> {
            let mut link = node.connect()?;
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut link)?;
            let slots: Vec<redis::Value> = redis::cmd("CLUSTER").arg("SLOTS").query(&mut link)?;
            Ok(info.contains("cluster_state:ok")
                && info.contains("cluster_slots_ok:16384")
                && slots.len() == 3)
        };
        while !nodes.iter().map(ready).collect::<Result<Vec<_>>>()?.into_iter().all(|ready| ready) {
            ensure!(started.elapsed() < START, "the Cluster is not complete after {START:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Cluster { nodes })
    }

    /// What clients connect to: the first node.
    #[must_use]
    pub fn url(&self) -> String {
        self.nodes[0].url()
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A port whose partner for the Cluster's own talk, 10,000 above, is free too.
fn cluster_port() -> Result<u16> {
    for _ in 0..1_000 {
        let port = free_port()?;
        if port < 55_000 && TcpListener::bind(("127.0.0.1", port + 10_000)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no pair of free ports was found");
}
