//! `tally query --watch`: the answer of a metric, and another one whenever it changes, until it is
//! ended.
//!
//! Subscribes on `/ws` with the params of a question; a connection that is lost is made again, and
//! subscribes again: of answers nothing is missed, the newest says all. What the engine refuses
//! ends it as it ends a question; what only keeps it from answering now is said, and it goes on. On
//! a terminal the answer is drawn in place (`screen`), elsewhere it is a line (`output`).

mod output;
mod screen;
#[cfg(test)]
mod tests;

use super::Failure;
use super::client::{ProblemText, on_one_line};
use super::engine_args::Query;
use super::following::{self, FollowStep, Following};
use super::heard::{Heard, hear};
use super::output::{json_line, note, redraw, screen_size, tame};
use crate::http::{LONGEST_MESSAGE, status_of_code, title_of_code};
use output::{LineForm, LineOutput, ScreenOutput, WatchOutput, WatchedAnswer};
use serde_json::json;
use std::time::Duration;

/// What is watched, what was told of it, and where it goes.
struct Watching<'o> {
    /// The message that asks for it.
    subscription: String,
    /// The least time between two updates that is asked for and was not compared with the engine's
    /// yet.
    asked: Option<Duration>,
    /// How many updates are still wanted.
    left: Option<u64>,
    /// What was shown last of what can be seen.
    shown: Option<[String; 3]>,
    /// The reason that was told last why there is no answer.
    told: Option<String>,
    output: &'o mut dyn WatchOutput,
}

/// Runs until it has what it wants.
///
/// # Errors
/// The engine refuses the question, or was never there.
pub(super) fn run(args: &Query) -> Result<(), Failure> {
    if !args.json && screen_size().is_some() {
        let title = tame(&format!("{} {}", args.name, args.params));
        let (mut draw, mut size) = (redraw, || screen_size().unwrap_or((80, 24)));
        return watch(args, &mut ScreenOutput::new(title, &mut size, &mut draw));
    }
    let form = if args.json {
        let (name, params) = (json!(args.name), &args.params);
        LineForm::Whole { question: format!("\"name\":{name},\"params\":{params}") }
    } else {
        LineForm::Result
    };
    let (mut out, mut say) = (json_line, note);
    watch(args, &mut LineOutput::new(form, &mut out, &mut say))
}

fn watch(args: &Query, output: &mut dyn WatchOutput) -> Result<(), Failure> {
    let subscription = subscription(args);
    if subscription.len() > LONGEST_MESSAGE {
        return Err(Failure::Failed(format!(
            "the question is too long to be watched: its message would have {} bytes, and may have \
             {LONGEST_MESSAGE}",
            subscription.len()
        )));
    }
    let target = args.engine.target()?;
    let (url, place) = (target.socket("/ws?events=none")?, target.to_string());
    let (asked, left) = (args.interval, args.limit);
    let mut watching = Watching { subscription, asked, left, shown: None, told: None, output };
    following::run(&mut watching, (&url, &place))
}

fn subscription(args: &Query) -> String {
    let mut message =
        json!({"type": "subscribe", "id": "q", "metric": args.name, "params": args.params});
    if args.expand.is_some() {
        message["expand"] = json!(["names"]);
    }
    if let Some(interval) = args.interval {
        // At most a day.
        message["min_interval_ms"] = json!(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX));
    }
    message.to_string()
}

impl Following for Watching<'_> {
    fn take(&mut self, text: &str) -> FollowStep {
        match hear(text) {
            Heard::Hello { least_ms, .. } => {
                self.compare_pace(least_ms);
                FollowStep::Say(self.subscription.clone())
            }
            Heard::Update { result, meta, warnings } => {
                self.show(&WatchedAnswer { result, meta, warnings })
            }
            Heard::Refused { code, detail, .. } if code == "overloaded" => {
                FollowStep::Again(detail)
            }
            Heard::Refused { code, detail, errors } => {
                let suggestions = Vec::new();
                let title = title_of_code(&code);
                let problem = ProblemText { title, detail, errors, suggestions }.text();
                self.refused(code, problem.unwrap_or_default())
            }
            Heard::Event { .. } | Heard::Skipped(_) | Heard::Gap { .. } | Heard::Other => {
                FollowStep::On
            }
        }
    }

    fn note(&mut self, line: &str) {
        self.output.note(line);
    }
}

impl Watching<'_> {
    /// Says once that updates come less often than they are asked for.
    fn compare_pace(&mut self, least_ms: Option<u64>) {
        let (Some(least), Some(asked)) = (least_ms, self.asked.take()) else { return };
        if asked < Duration::from_millis(least) {
            self.output.keep(&format!(
                "note: --interval {} ms counts as {least} ms, the engine's least ([live] \
                 min_interval_ms)",
                asked.as_millis()
            ));
        }
    }

    fn show(&mut self, answer: &WatchedAnswer<'_>) -> FollowStep {
        self.told = None;
        // Who subscribes again gets what he has.
        let seen = [answer.result.to_owned(), answer.window(), answer.warnings.to_owned()];
        if self.shown.as_ref() == Some(&seen) {
            return if self.output.again() { FollowStep::On } else { FollowStep::Done };
        }
        self.shown = Some(seen);
        if !self.output.update(answer) {
            return FollowStep::Done;
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return FollowStep::Done;
            }
        }
        FollowStep::On
    }

    /// A question that is wrong is refused as one that is not watched. One that had an answer is
    /// asked again: its metric may be back.
    fn refused(&mut self, code: String, problem: String) -> FollowStep {
        match (status_of_code(&code) < 500, self.shown.is_some()) {
            (true, false) => return FollowStep::Refused(problem),
            (true, true) => return FollowStep::Again(on_one_line(&problem)),
            (false, _) => {}
        }
        if self.told.as_ref() != Some(&code) {
            let problem = on_one_line(&problem);
            self.output.note(&format!("no answer now: {problem}; waiting for one"));
            self.told = Some(code);
        }
        FollowStep::On
    }
}
