//! `tally top`: a full-screen view of a running engine, from `/api/status` once a second.
//!
//! `view` holds what is shown and what keys change, `draw` makes a frame of it; neither knows a
//! terminal. A thread asks the engine, so that keys are answered while it does not. The terminal is
//! given back however this ends: by a key, a signal, an error or a panic.

mod draw;
mod view;

use super::client::Client;
use super::engine_args::Top;
use super::query::ask;
use super::stop::Stop;
use super::{Failure, output};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event;
use serde_json::Value;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use view::TopView;

/// Between two questions to the engine.
const EVERY: Duration = Duration::from_secs(1);

/// How long a key is waited for before news are looked for.
const TICK: Duration = Duration::from_millis(100);

/// What came of a question to the engine.
enum News {
    Status(Value),
    /// Why there is no answer.
    Trouble(String),
}

pub(crate) fn run(args: &Top) -> Result<(), Failure> {
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return Err(Failure::Usage(
            "tally top draws on a terminal, and there is none; for programs: tally lag --json, or \
             GET /api/status"
                .into(),
        ));
    }
    let target = args.engine.target()?;
    let (client, asking) = (target.client()?, target.client()?);
    // An engine that is not there is said as by any other command.
    let first = ask(async { client.get("/api/status").await })?;
    let stop = Stop::on_signals().map_err(Failure::Failed)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::Failed(format!("cannot use the network: {error}")))?;
    let (tell, news) = sync_channel(1);
    std::thread::Builder::new()
        .name("status".into())
        .spawn(move || keep_asking(&runtime, &asking, &tell))
        .map_err(|error| Failure::Failed(format!("cannot start a thread: {error}")))?;
    let mut view = TopView::new(output::tame(&target.to_string()), first);
    show(&mut view, &news, &stop)
        .map_err(|error| Failure::Failed(format!("the terminal cannot be used: {error}")))
}

/// Asks once a second, until nobody listens any more.
fn keep_asking(runtime: &Runtime, client: &Client, tell: &SyncSender<News>) {
    loop {
        let begun = Instant::now();
        if tell.send(runtime.block_on(status(client))).is_err() {
            return;
        }
        std::thread::sleep(EVERY.saturating_sub(begun.elapsed()));
    }
}

async fn status(client: &Client) -> News {
    match client.get("/api/status").await {
        Ok(answer) if answer.status == 200 => match serde_json::from_slice(&answer.body) {
            Ok(status) => News::Status(status),
            Err(error) => News::Trouble(format!("the engine's answer is not JSON: {error}")),
        },
        Ok(answer) => News::Trouble(answer.problem_line()),
        Err(error) => News::Trouble(error.to_string()),
    }
}

/// Gives the terminal back when it is dropped.
struct GivenBack;

impl Drop for GivenBack {
    fn drop(&mut self) {
        // There is nothing else to write to if this fails.
        let _ = ratatui::try_restore();
    }
}

/// Shows the view until a key or a signal ends it.
fn show(view: &mut TopView, news: &Receiver<News>, stop: &Stop) -> io::Result<()> {
    // Before the terminal is taken: taking it may fail half way.
    let _given_back = GivenBack;
    let mut terminal: DefaultTerminal = ratatui::try_init()?;
    while !stop.asked() {
        terminal.draw(|frame| draw::draw(frame, view))?;
        if event::poll(TICK)? && view.handle(&event::read()?) {
            break;
        }
        match news.try_recv() {
            Ok(News::Status(status)) => view.answered(status),
            Ok(News::Trouble(why)) => view.unanswered(&why),
            Err(_) => {}
        }
    }
    Ok(())
}
