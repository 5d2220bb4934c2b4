//! Many clients that hold one GET at an nginx that caches, and one event that ends it for all.

use super::Bench;
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tally_benches::measure::{self, median, quantile, spread};
use tally_benches::posts::Moments;
use tally_benches::sockets;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Where Debian has it, which is not in everybody's path.
const PROGRAMS: [&str; 2] = ["nginx", "/usr/sbin/nginx"];

/// Files that this process needs beside clients.
const OTHERS: usize = 500;

/// How long the clients are held before the event: the first request is under way, and nginx keeps
/// the others back.
const HELD: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_secs(50);

const PATH: &str = "/api/metrics/event_frequencies/answer";

/// A running nginx.
struct Nginx {
    process: Child,
    address: String,
    folder: TempDir,
}

/// What a round came to.
struct Round {
    /// From posting the event until each client had the answer, milliseconds.
    delays: Vec<f64>,
    /// Requests that nginx passed on.
    passed_on: usize,
    /// Processor time of the server from the first client to the last answer, milliseconds.
    cpu_ms: f64,
}

impl Nginx {
    /// Starts one in front of a server; `None`: there is no such program.
    async fn start(server: &str, files: usize) -> Result<Option<Nginx>> {
        let is_there = |program: &&&str| {
            let mut asked = Command::new(program);
            asked.arg("-v").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let Some(program) = PROGRAMS.iter().find(is_there) else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        // The port is free again when nginx takes it.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = folder.path().join("nginx.conf");
        fs::write(&config, configuration(&folder, server, &address, files))?;
        let process = Command::new(program)
            .arg("-e")
            .arg(folder.path().join("error.log"))
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut nginx = Nginx { process, address, folder };
        let begun = Instant::now();
        while TcpStream::connect(&nginx.address).await.is_err() {
            let ended = nginx.process.try_wait()?.is_some();
            if ended || begun.elapsed() > Duration::from_secs(10) {
                let why = fs::read_to_string(nginx.folder.path().join("error.log"))?;
                bail!("nginx does not listen: {why}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Some(nginx))
    }

    /// Requests that were answered so far, and how many of them were passed on.
    fn answered(&self) -> Result<(usize, usize)> {
        let log = fs::read_to_string(self.folder.path().join("access.log"))?;
        Ok((log.lines().count(), log.lines().filter(|status| *status != "HIT").count()))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // it is of no more use either way
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(folder: &TempDir, server: &str, address: &str, files: usize) -> String {
    let folder = folder.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {folder}/pid;\nworker_rlimit_nofile {files};\n\
         events {{ worker_connections {files}; }}\n\
         http {{\n\
         log_format cache '$upstream_cache_status';\naccess_log {folder}/access.log cache;\n\
         {temporary}\
         proxy_cache_path {folder}/cache keys_zone=answers:1m;\n\
         server {{\nlisten {address} backlog=4096;\n\
         location / {{\nproxy_pass http://{server};\nproxy_http_version 1.1;\n\
         proxy_cache answers;\nproxy_cache_valid 200 304 1s;\nproxy_cache_lock on;\n\
         proxy_cache_lock_timeout 65s;\nproxy_cache_lock_age 65s;\nproxy_read_timeout 75s;\n\
         }}\n}}\n}}\n"
    )
}

/// Waits for the answer, which must be a new one.
async fn answered(mut client: TcpStream) -> Result<Instant> {
    let mut head = [0; 1_024];
    let read = timeout(PATIENCE, client.read(&mut head)).await.context("no answer")??;
    let now = Instant::now();
    let head = String::from_utf8_lossy(&head[..read]);
    ensure!(head.starts_with("HTTP/1.1 200 "), "wrong: {head}");
    Ok(now)
}

async fn round(bench: &mut Bench, nginx: &Nginx, clients: usize) -> Result<Round> {
    let (head, _) = sockets::get(&bench.tally.address, PATH).await?;
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).context("no ETag")?;
    let tag = tag.trim().replace('"', "%22");
    let request = format!("GET {PATH}?after={tag}&wait=50s HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let (before, cpu) = (nginx.answered()?, measure::cpu_of(&bench.tally.id()));
    let mut waiting = Vec::new();
    for _ in 0..clients {
        let mut client = TcpStream::connect(&nginx.address).await?;
        client.write_all(request.as_bytes()).await?;
        waiting.push(tokio::spawn(answered(client)));
    }
    sleep(HELD).await;
    ensure!(!waiting.iter().any(|one| one.is_finished()), "wrong: a GET was not held");
    let moments = Moments::default();
    bench.poster.post(1, 1, &moments).await?;
    let posted = *moments.lock().first().context("nothing was posted")?;
    let mut delays = Vec::new();
    for one in waiting {
        delays.push(one.await??.duration_since(posted).as_secs_f64() * 1_000.0);
    }
    let cpu_ms = (measure::cpu_of(&bench.tally.id()) - cpu).as_secs_f64() * 1_000.0;
    // nginx writes a line when the answer is written.
    let begun = Instant::now();
    let mut after = nginx.answered()?;
    while after.0 < before.0 + clients && begun.elapsed() < Duration::from_secs(5) {
        sleep(Duration::from_millis(20)).await;
        after = nginx.answered()?;
    }
    Ok(Round { delays, passed_on: after.1 - before.1, cpu_ms })
}

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let files = tally_engine::descriptors::limit();
    let clients = bench.args.held.min(files.saturating_sub(OTHERS));
    let Some(nginx) = Nginx::start(&bench.tally.address, files).await? else {
        println!("held: left out, because there is no nginx (apt-get install nginx)");
        bench.row("GETs held behind nginx", "left out: there is no nginx", "");
        bench.note("held", json!({"left_out": "there is no nginx"}));
        return Ok(());
    };
    let mut rounds = Vec::new();
    for _ in 0..bench.args.rounds {
        rounds.push(round(bench, &nginx, clients).await?);
    }
    let of = |what: fn(&Round) -> f64| -> Vec<f64> { rounds.iter().map(what).collect() };
    let p50 = of(|round| quantile(&round.delays, 0.5));
    let p99 = of(|round| quantile(&round.delays, 0.99));
    let (passed_on, cpu) = (of(|round| round.passed_on as f64), of(|round| round.cpu_ms));
    let what = format!("{clients} GETs held behind nginx");
    bench.row(
        format!("{what}: event to answer, p50, p99, ms"),
        format!("{}, {}", spread(&p50, 0), spread(&p99, 0)),
        "",
    );
    bench.row(format!("{what}: requests that reached Tally"), spread(&passed_on, 0), "few");
    bench.row(format!("{what}: Tally's CPU, ms"), spread(&cpu, 0), "");
    let figures = json!({"clients": clients, "p50_ms": median(&p50), "p99_ms": median(&p99),
        "passed_on": median(&passed_on), "cpu_ms": median(&cpu)});
    bench.note("held", figures);
    Ok(())
}
