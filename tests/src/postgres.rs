//! A real PostgreSQL for tests: Debian's binaries, a cluster of its own in a temporary folder, a
//! free loopback port.
//!
//! Its language is not that of bytes (ICU, en-US), as it is on most machines. A missing PostgreSQL
//! is an error that says what to install, never a skipped test. The server refuses to run as root:
//! then it runs as `postgres` or `nobody`. Ends the process that it started, by its id, when
//! dropped.

use crate::certificate::Certificate;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start or an end may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Owner of everything in the cluster.
pub const USER: &str = "tally";

/// Their password: with every kind of character that a URL has to escape.
pub const PASSWORD: &str = "p@ss/w:rd?#%";

/// The same, as a URL holds it.
pub const ESCAPED: &str = "p%40ss%2Fw%3Ard%3F%23%25";

/// A running server.
pub struct Postgres {
    process: Option<Child>,
    port: u16,
    binaries: PathBuf,
    owner: Option<(u32, u32)>,
    folder: TempDir,
    /// More settings, as arguments.
    settings: Vec<String>,
}

impl Postgres {
    /// Makes a cluster, starts it and waits until it answers.
    ///
    /// # Errors
    /// Says what is missing, or shows the end of the server's log.
    pub fn start() -> Result<Postgres> {
        Postgres::with(None)
    }

    /// The same with `ssl = on`; over TCP it lets in who is encrypted alone, `psql` of this program
    /// included.
    ///
    /// # Errors
    /// As `start`.
    pub fn encrypted(certificate: &Certificate) -> Result<Postgres> {
        Postgres::with(Some(certificate))
    }

    fn with(certificate: Option<&Certificate>) -> Result<Postgres> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = tempfile::Builder::new().prefix("postgres").tempdir()?;
        let mut postgres = Postgres {
            process: None,
            port,
            binaries: binaries()?,
            owner: other_user()?,
            folder,
            settings: Vec::new(),
        };
        if let Some((user, group)) = postgres.owner {
            chown(postgres.folder.path(), Some(user), Some(group))?;
        }
        postgres.format()?;
        if let Some(certificate) = certificate {
            postgres.show(certificate)?;
        }
        postgres.run()?;
        Ok(postgres)
    }

    fn format(&self) -> Result<()> {
        let password = self.folder.path().join("password");
        fs::write(&password, PASSWORD)?;
        if let Some((user, group)) = self.owner {
            chown(&password, Some(user), Some(group))?;
        }
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(self.data()).args([
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--no-sync",
        ]);
        initdb.args(["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]);
        let made = initdb.arg("--pwfile").arg(&password).output()?;
        ensure!(made.status.success(), "initdb: {}", told(&made));
        Ok(())
    }

    /// Copies of the certificate that nobody else can read.
    fn show(&mut self, certificate: &Certificate) -> Result<()> {
        let mut own = |setting: &str, file: &Path| -> Result<()> {
            let copy = self.data().join(setting);
            fs::copy(file, &copy)?;
            fs::set_permissions(&copy, Permissions::from_mode(0o600))?;
            if let Some((user, group)) = self.owner {
                chown(&copy, Some(user), Some(group))?;
            }
            self.settings.extend(["-c".into(), format!("{setting}={}", copy.display())]);
            Ok(())
        };
        own("ssl_cert_file", &certificate.certificate)?;
        own("ssl_key_file", &certificate.key)?;
        self.settings.extend(["-c".into(), "ssl=on".into()]);
        let rules = "local all all scram-sha-256\nhostssl all all all scram-sha-256\n";
        Ok(fs::write(self.data().join("pg_hba.conf"), rules)?)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// As the one who may run it, in a folder that they may enter.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.current_dir(self.folder.path()).env_clear().stdin(Stdio::null());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command
    }

    /// Starts the server that was stopped, on the same port and data.
    ///
    /// # Errors
    /// The end of its log.
    pub fn run(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"))?;
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data()).args([
            "-p",
            &self.port.to_string(),
            "-h",
            "127.0.0.1",
            "-k",
        ]);
        server.arg(self.folder.path()).args(["-c", "fsync=off", "-c", "max_connections=200"]);
        server.args(&self.settings);
        self.process = Some(server.stdout(log.try_clone()?).stderr(log).spawn()?);
        let begun = Instant::now();
        while !self
            .command("pg_isready")
            .args(["-q", "-h", "127.0.0.1", "-p"])
            .arg(self.port.to_string())
            .status()?
            .success()
        {
            if let Some(status) = self.process.as_mut().map(Child::try_wait).transpose()?.flatten()
            {
                bail!("PostgreSQL ended ({status}):\n{}", self.log());
            }
            ensure!(
                begun.elapsed() < LIMIT,
                "PostgreSQL does not answer after {LIMIT:?}:\n{}",
                self.log()
            );
            // Each question is a process of its own: that is pause enough.
        }
        Ok(())
    }

    /// Stops it and waits for its end; open connections are cut.
    ///
    /// # Errors
    /// It does not end.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        let sent =
            Command::new("sh").args(["-c", &format!("kill -INT {}", process.id())]).status()?;
        ensure!(sent.success(), "SIGINT was not sent");
        let begun = Instant::now();
        while process.try_wait()?.is_none() {
            if begun.elapsed() > LIMIT {
                process.kill()?;
                bail!("PostgreSQL has not ended {LIMIT:?} after SIGINT:\n{}", self.log());
            }
            // There is no wait with an end in the standard library.
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What `POSTGRES_URL` takes.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_of(USER, ESCAPED, database)
    }

    /// The same for another user; the password as a URL holds it.
    #[must_use]
    pub fn url_of(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database; its URL.
    ///
    /// # Errors
    /// What the server says.
    pub fn database(&self, name: &str) -> Result<String> {
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(self.url(name))
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL; rows as text, columns with `|` between.
    ///
    /// # Errors
    /// What the server says.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String> {
        self.sql_at(self.port, database, sql)
    }

    /// The same by another port, of what stands before the server.
    ///
    /// # Errors
    /// What the server says.
    pub fn sql_at(&self, port: u16, database: &str, sql: &str) -> Result<String> {
        let mut psql = self.command("psql");
        // Where a certificate has no hash, libpq connects only if it is told not to bind to it.
        psql.env("PGPASSWORD", PASSWORD).env("PGCHANNELBINDING", "disable").args([
            "-X",
            "-A",
            "-t",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            "127.0.0.1",
        ]);
        let done =
            psql.args(["-p", &port.to_string(), "-U", USER, "-d", database, "-c", sql]).output()?;
        ensure!(done.status.success(), "{sql}: {}", told(&done));
        Ok(String::from_utf8(done.stdout)?.trim_end().to_owned())
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its data goes with it. Not SIGKILL: the server's own processes and shared memory are to
        // go as well.
        let _ = self.stop();
    }
}

/// Debian keeps them out of the path.
fn binaries() -> Result<PathBuf> {
    const REMEDY: &str =
        "tests against real PostgreSQL need version 15 or later: apt-get install postgresql";
    let version = |folder: &Path| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let installed = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let newest = installed
        .filter(|folder| folder.join("bin/initdb").exists())
        .max_by_key(|folder| version(folder));
    Ok(newest.with_context(|| format!("no PostgreSQL: {REMEDY}"))?.join("bin"))
}

/// Who runs what refuses to be run by root: ourselves, or if we are root somebody else.
///
/// # Errors
/// There is nobody else.
pub fn other_user() -> Result<Option<(u32, u32)>> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        let fields: Vec<&str> = users
            .lines()
            .map(|line| line.split(':').collect())
            .find(|f: &Vec<&str>| f[0] == name)?;
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    let other = find("postgres").or_else(|| find("nobody"));
    Ok(Some(other.context(
        "PostgreSQL does not run as root, and there is neither a user postgres nor nobody",
    )?))
}

fn told(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
