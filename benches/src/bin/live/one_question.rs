//! What it costs that many watch one question, beside one who does.

use super::Bench;
use anyhow::Result;
use serde_json::json;
use std::time::Instant;
use tally_benches::measure::{self, median, spread};
use tally_benches::posts::Moments;
use tally_benches::sockets::Socket;
use tokio::time::timeout_at;

/// Share of a core that the server takes while so many watch, and updates that came.
async fn run(bench: &mut Bench, subscribers: usize) -> Result<(f64, u64)> {
    let interval = bench.args.interval;
    let question = json!({"type": "subscribe", "id": "q", "metric": "event_frequencies",
        "min_interval_ms": interval})
    .to_string();
    let mut open = Vec::new();
    for _ in 0..subscribers {
        let mut socket = Socket::open(&bench.tally.address, "/ws?events=none").await?;
        socket.say(&question).await?;
        socket.until(is_update).await?;
        open.push(socket);
    }
    let started = Instant::now();
    let end = started + bench.args.time();
    let before = measure::cpu_of(&bench.tally.id());
    let watching: Vec<_> =
        open.into_iter().map(|socket| tokio::spawn(updates(socket, end))).collect();
    bench.poster.post(bench.args.busy, bench.args.seconds, &Moments::default()).await?;
    let mut came = 0;
    for one in watching {
        came += one.await??;
    }
    let spent = measure::cpu_of(&bench.tally.id()) - before;
    Ok((spent.as_secs_f64() / started.elapsed().as_secs_f64(), came))
}

fn is_update(text: &[u8]) -> bool {
    text.starts_with(b"{\"type\":\"update\"")
}

/// The updates that come until then.
async fn updates(mut socket: Socket, end: Instant) -> Result<u64> {
    let mut came = 0;
    while let Ok(read) =
        timeout_at(end.into(), socket.read(|text| came += u64::from(is_update(text)))).await
    {
        read?;
    }
    Ok(came)
}

pub(super) async fn measure(bench: &mut Bench) -> Result<()> {
    let many = bench.args.subscribers;
    let (mut alone, mut together, mut ratios, mut came) =
        (Vec::new(), Vec::new(), Vec::new(), 0_u64);
    for _ in 0..bench.args.rounds {
        let (one, _) = run(bench, 1).await?;
        let (all, updates) = run(bench, many).await?;
        alone.push(one);
        together.push(all);
        ratios.push(all / one);
        came += updates;
    }
    let seconds = bench.args.seconds * bench.args.rounds as u64;
    let busy = bench.args.busy;
    bench.row(
        format!("one question, {busy} events/s: share of a core, 1 / {many} who watch"),
        format!("{} / {}", spread(&alone, 2), spread(&together, 2)),
        "",
    );
    bench.row(format!("one question: {many} ÷ 1"), spread(&ratios, 2), "at most 1.5");
    bench.row("one question: updates that came, a second", (came / seconds).to_string(), "");
    let figures = json!({"subscribers": many, "events_per_s": busy, "one": median(&alone),
        "many": median(&together), "ratio": median(&ratios), "updates_per_s": came / seconds});
    bench.note("one_question", figures);
    Ok(())
}
