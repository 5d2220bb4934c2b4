//! `tally verify`: counts everything again from the log of a running engine and compares.
//!
//! `tally_verify` counts; this file asks the engine, shows the result and sets the exit code: 0 if
//! nothing differs, 1 if anything differs or the engine could not be read.

use super::args::Verify;
use super::client::{Answer, Client, ClientError};
use super::output::{data, lively, note, tame};
use super::{Failure, output};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;
use tally_verify::{Engine, Outcome, Refused, Watch, verify};

pub(crate) fn run(args: &Verify) -> Result<(), Failure> {
    output::log("warn");
    let client = args.engine.client()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::Failed(format!("cannot use the network: {error}")))?;
    let mut screen = AuditScreen::default();
    let outcome = runtime.block_on(verify(&client, &args.names, &mut screen));
    screen.clear();
    let outcome = outcome.map_err(Failure::Failed)?;
    if args.json {
        data(&outcome.json().to_string());
    } else {
        outcome.lines().iter().for_each(|line| data(&tame(line)));
        note(&outcome.read());
    }
    close(&outcome)
}

fn close(outcome: &Outcome) -> Result<(), Failure> {
    match outcome.unequal() {
        0 => Ok(()),
        1 => Err(Failure::Failed("one metric differs from the log".into())),
        many => Err(Failure::Failed(format!("{many} metrics differ from the log"))),
    }
}

impl Engine for Client {
    async fn get(&self, path: &str) -> Result<Vec<u8>, Refused> {
        let answer = Client::get(self, path).await.map_err(|error| broken(&error))?;
        if answer.status == 200 { Ok(answer.body.into()) } else { Err(refused(&answer)) }
    }

    async fn lines(
        &self,
        path: &str,
        each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), Refused> {
        let refusal = Client::lines(self, path, each).await.map_err(|error| broken(&error))?;
        refusal.map_or(Ok(()), |answer| Err(refused(&answer)))
    }

    async fn pause(&self, length: Duration) {
        tokio::time::sleep(length).await;
    }
}

fn broken(error: &ClientError) -> Refused {
    Refused::Other(error.to_string())
}

fn refused(answer: &Answer) -> Refused {
    match answer.status {
        404 if answer.problem_line().contains("there is nothing at") => Refused::NoRoute,
        _ => Refused::Other(answer.problem()),
    }
}

/// The progress line on a terminal; nothing elsewhere.
#[derive(Default)]
struct AuditScreen(Option<ProgressBar>);

impl AuditScreen {
    fn clear(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }

    fn draw(&mut self, bar: ProgressBar, template: &str) {
        self.clear();
        if lively() {
            // The templates are constants; if one is wrong, the default bar is shown.
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.tick();
            self.0 = Some(bar);
        }
    }
}

impl Watch for AuditScreen {
    fn step(&mut self, what: &str) {
        self.draw(ProgressBar::new_spinner().with_message(what.to_owned()), "{msg} · {human_pos}");
    }

    fn reads(&mut self, offsets: u64) {
        self.draw(
            ProgressBar::new(offsets),
            "{bar:30} {human_pos}/{human_len} records · {per_sec} · {eta} left",
        );
    }

    fn done(&mut self, more: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(more);
        }
    }
}
