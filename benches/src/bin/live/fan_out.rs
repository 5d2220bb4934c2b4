//! Events to many subscribers, of Tally and of the bare broadcast by turns.

use super::Bench;
use anyhow::{Context, Result};
use serde_json::json;
use std::time::{Duration, Instant};
use tally_benches::http::Serving;
use tally_benches::measure::{self, median, quantile, spread};
use tally_benches::posts::{Moments, Poster};
use tally_benches::sockets::Socket;
use tokio::time::timeout_at;

/// Parts of the rate, in hundredths, that are tried until one is without loss.
const PARTS: [u64; 6] = [100, 75, 50, 25, 10, 5];

/// What a run came to.
struct Run {
    /// Microseconds of the server's processor time for each message that came.
    cpu_us: f64,
    /// The same of this process.
    client_us: f64,
    lost: u64,
    /// How long posting took.
    took: Duration,
    /// From posting an event until one subscriber had it, milliseconds.
    delays: Vec<f64>,
}

impl Run {
    fn is_without_loss(&self, seconds: u64) -> bool {
        self.lost == 0 && self.took.as_secs_f64() < seconds as f64 * 1.1
    }
}

/// What a listener got.
#[derive(Default)]
pub(super) struct Listened {
    pub(super) events: u64,
    pub(super) skipped: u64,
    /// Milliseconds from each event's moment, if moments were given.
    pub(super) delays: Vec<f64>,
}

impl Listened {
    fn take(&mut self, text: &[u8], moments: Option<&Moments>) {
        if text.starts_with(b"{\"type\":\"event\"") {
            if let Some(moments) = moments {
                let number = (self.events + self.skipped) as usize;
                let posted = moments.lock().get(number).copied();
                self.delays.extend(posted.map(|posted| posted.elapsed().as_secs_f64() * 1_000.0));
            }
            self.events += 1;
        } else if let Some(count) = text.strip_prefix(b"{\"type\":\"skipped\",\"count\":") {
            self.skipped += leading_number(count);
        }
    }
}

/// The number with which a text begins; 0 without one.
pub(super) fn leading_number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

/// Listens until so many events came or were told as missed, or until `end`.
pub(super) async fn listen(
    mut socket: Socket,
    wanted: u64,
    end: Instant,
    moments: Option<Moments>,
) -> Result<Listened> {
    let mut listened = Listened::default();
    while listened.events + listened.skipped < wanted {
        let read = socket.read(|text| listened.take(text, moments.as_ref()));
        match timeout_at(end.into(), read).await {
            Ok(done) => done?,
            Err(_) => break,
        }
    }
    Ok(listened)
}

/// One run at a rate.
async fn run(
    server: &Serving,
    poster: &mut Poster,
    (subscribers, rate, seconds): (usize, u64, u64),
) -> Result<Run> {
    let (wanted, moments) = (rate * seconds, Moments::default());
    let mut open = Vec::new();
    for _ in 0..subscribers {
        open.push(Socket::open(&server.address, "/ws").await?);
    }
    let end = Instant::now() + Duration::from_secs(seconds * 2 + 10);
    let (before, own) = (measure::cpu_of(&server.id()), measure::cpu());
    let mut moments_of_first = Some(moments.clone());
    let listeners: Vec<_> = open
        .into_iter()
        .map(|socket| tokio::spawn(listen(socket, wanted, end, moments_of_first.take())))
        .collect();
    let took = poster.post(rate, seconds, &moments).await?;
    let (mut came, mut delays) = (0_u64, Vec::new());
    for listener in listeners {
        let listened = listener.await??;
        came += listened.events;
        delays.extend(listened.delays);
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / came.max(1) as f64;
    let cpu_us = micros(measure::cpu_of(&server.id()) - before);
    let client_us = micros(measure::cpu() - own);
    let lost = (wanted * subscribers as u64).saturating_sub(came);
    Ok(Run { cpu_us, client_us, lost, took, delays })
}

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bare = Serving::start(&std::env::current_exe()?, &["--broadcast"], folder.path())?;
    let mut bare_poster = Poster::open(&bare.address).await?;
    let (subscribers, seconds) = (bench.args.subscribers, bench.args.seconds);
    let (mut rate, mut at_full, mut is_without_loss) = (0, None, false);
    for part in PARTS {
        rate = (bench.args.rate * part / 100).max(1);
        let tried = run(&bench.tally, &mut bench.poster, (subscribers, rate, seconds)).await?;
        is_without_loss = tried.is_without_loss(seconds);
        at_full.get_or_insert(tried);
        if is_without_loss {
            break;
        }
    }
    let mut runs = [Vec::new(), Vec::new()];
    for _ in 0..bench.args.rounds {
        let load = (subscribers, rate, seconds);
        runs[0].push(run(&bare, &mut bare_poster, load).await?);
        runs[1].push(run(&bench.tally, &mut bench.poster, load).await?);
    }
    let at_full = at_full.context("no part was tried")?;
    report(bench, (rate, is_without_loss), &at_full, &runs);
    Ok(())
}

fn report(
    bench: &mut Bench,
    (rate, is_without_loss): (u64, bool),
    at_full: &Run,
    runs: &[Vec<Run>; 2],
) {
    let (subscribers, wanted) = (bench.args.subscribers, bench.args.rate);
    let of = |server: usize, what: fn(&Run) -> f64| -> Vec<f64> {
        runs[server].iter().map(what).collect()
    };
    let lost = |runs: &[Run]| runs.iter().map(|run| run.lost).sum::<u64>();
    let (bare, cpu, client) =
        (of(0, |run| run.cpu_us), of(1, |run| run.cpu_us), of(1, |run| run.client_us));
    let ratios: Vec<f64> = cpu.iter().zip(&bare).map(|(cpu, bare)| cpu / bare).collect();
    let p99 = |server: usize| of(server, |run| quantile(&run.delays, 0.99));
    let p50 = of(1, |run| quantile(&run.delays, 0.5));
    let what = format!("{subscribers} subscribers × {rate} events/s");
    let largest = if is_without_loss { rate.to_string() } else { format!("none, also not {rate}") };
    bench.row(
        format!("largest tried rate without loss, {subscribers} subscribers, events/s"),
        format!(
            "{largest} (at {wanted}: {} lost, {:.1} s instead of {})",
            at_full.lost,
            at_full.took.as_secs_f64(),
            bench.args.seconds
        ),
        &format!("{wanted}"),
    );
    bench.row(
        format!("{what}: CPU µs a message, Tally / bare"),
        format!("{} / {}", spread(&cpu, 2), spread(&bare, 2)),
        "",
    );
    bench.row(format!("{what}: Tally ÷ bare"), spread(&ratios, 2), "at most 1.3");
    bench.row(format!("{what}: client's CPU µs a message"), spread(&client, 2), "");
    bench.row(
        format!("{what}: lost in all rounds, Tally / bare"),
        format!("{} / {}", lost(&runs[1]), lost(&runs[0])),
        "0",
    );
    bench.row(
        format!("{what}: p50, p99, bare p99, ms"),
        format!("{}, {}, {}", spread(&p50, 1), spread(&p99(1), 1), spread(&p99(0), 1)),
        "",
    );
    let figures = json!({"subscribers": subscribers, "events_per_s": rate,
        "without_loss": is_without_loss, "wanted": wanted,
        "cpu_us": median(&cpu), "bare_cpu_us": median(&bare), "ratio": median(&ratios),
        "client_us": median(&client), "lost": lost(&runs[1]), "bare_lost": lost(&runs[0]),
        "p50_ms": median(&p50), "p99_ms": median(&p99(1)), "bare_p99_ms": median(&p99(0))});
    bench.note("fan_out", figures);
}
