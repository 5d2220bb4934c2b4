//! A real PgBouncer before a real PostgreSQL: pooling by transaction, few connections, so that
//! sessions change hands all the time.
//!
//! A missing one is an error that says what to install. Ends the process that it started, by its
//! id, when dropped.

use crate::postgres::{PASSWORD, Postgres, USER, other_user};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A running pooler.
pub struct PgBouncer {
    process: Child,
    /// Where it listens.
    pub port: u16,
    _folder: TempDir,
}

impl PgBouncer {
    /// Starts one with two connections to `server` for each database, and waits until it listens.
    ///
    /// # Errors
    /// Says what is missing, or shows its log.
    pub fn start(server: &Postgres) -> Result<PgBouncer> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = tempfile::Builder::new().prefix("pgbouncer").tempdir()?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("users"), format!("\"{USER}\" \"{PASSWORD}\"\n"))?;
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 2\nmax_client_conn = 200\nlogfile = {}\n",
            server.port(),
            path("users").display(),
            path("log").display()
        );
        fs::write(path("settings"), settings)?;
        fs::write(path("log"), "")?;
        let mut command = Command::new("pgbouncer");
        command
            .arg("-q")
            .arg(path("settings"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((user, group)) = other_user()? {
            for file in [folder.path().to_owned(), path("users"), path("settings"), path("log")] {
                chown(file, Some(user), Some(group))?;
            }
            command.uid(user).gid(group);
        }
        let started = command.spawn().context("no pgbouncer: apt-get install pgbouncer")?;
        let mut pooler = PgBouncer { process: started, port, _folder: folder };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let log = || fs::read_to_string(pooler._folder.path().join("log")).unwrap_or_default();
            if let Some(status) = pooler.process.try_wait()? {
                bail!("PgBouncer ended ({status}):\n{}", log());
            }
            ensure!(
                begun.elapsed() < LIMIT,
                "PgBouncer does not listen after {LIMIT:?}:\n{}",
                log()
            );
            // There is nothing to be told by; a refused connection costs next to nothing.
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(pooler)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // It keeps nothing; whether it ends in order does not matter.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
