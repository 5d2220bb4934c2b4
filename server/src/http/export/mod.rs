//! Answers of metrics as series of `/metrics`: `[export.prometheus.NAME]`.
//!
//! Each is a question that is watched, and evaluated by the engine when its answer may have
//! changed; a task makes the series of its answer, at the pace that is configured, and keeps them as
//! text. Reading `/metrics` puts the texts together and evaluates nothing. While there is no answer
//! there are no series, and `tally_export_up` is 0; the log says why, once for each other reason.
//!
//! Bounds: series of an export as configured, two large answers worked on at a time, within the
//! share of memory for answers, and the texts are taken from the share for what is watched. Without
//! room the export has no series, and is tried again at its pace.

mod rows;

use super::codes::Code;
use super::complete_answer::{COPIES, LARGE, take};
use super::exposition::{Exposition, FamilyKind};
use super::problem::Problem;
use super::{App, blocking, wait_for_stop};
use parking_lot::Mutex;
use rows::{LONGEST_LABEL, LeftOut, NoRows, SeriesPlan, ShownSeries};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tally_engine::config::{ExportFault, PrometheusExport};
use tally_engine::engine::{Evaluated, LiveAnswer, LiveQuestion, WatchRequest};
use tally_engine::memory::Held;
use tally_plugin::ask::Warning;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};

/// Large answers that are worked on at a time.
const AT_ONCE: usize = 2;

/// When a question that cannot be watched is tried again, at the latest.
const AGAIN: Duration = Duration::from_secs(5);

/// Warnings of an answer that are shown.
const WARNINGS: usize = 32;

/// What is exported, by the name of the series.
pub(crate) struct Exports {
    all: Vec<Arc<MetricExport>>,
    at_work: Semaphore,
}

/// One of them.
struct MetricExport {
    name: String,
    plan: Arc<SeriesPlan>,
    request: WatchRequest,
    state: Mutex<ExportState>,
}

#[derive(Default)]
struct ExportState {
    /// `None`: there is no answer now, or none yet.
    shown: Option<Arc<ExportedAnswer>>,
    /// What the log was told last: why there is no answer, or which rows are left out; empty:
    /// nothing is wrong.
    told: String,
}

/// An answer as it is shown.
struct ExportedAnswer {
    series: ShownSeries,
    /// Codes.
    warnings: BTreeSet<String>,
    since: Instant,
    _held: Held,
}

/// Why there is no answer.
struct NoAnswer {
    word: String,
    detail: String,
}

impl From<Problem> for NoAnswer {
    fn from(problem: Problem) -> NoAnswer {
        NoAnswer { word: problem.code().to_owned(), detail: problem.detail().to_owned() }
    }
}

impl From<NoRows> for NoAnswer {
    fn from(fault: NoRows) -> NoAnswer {
        NoAnswer { word: fault.word().to_owned(), detail: fault.to_string() }
    }
}

impl Exports {
    /// Nothing is watched yet.
    pub(crate) fn new(configured: &BTreeMap<String, PrometheusExport>) -> Exports {
        let export = |(name, export): (&String, &PrometheusExport)| {
            let made = MetricExport::new(name, export);
            let tell = |fault: &ExportFault| {
                tracing::error!(export = name, %fault, "a series is not exported");
            };
            // Of a configuration that was checked all can be.
            made.inspect_err(tell).ok().map(Arc::new)
        };
        let all = configured.iter().filter_map(export).collect();
        Exports { all, at_work: Semaphore::new(AT_ONCE) }
    }
}

/// Begins to watch what is exported, until the server stops.
pub(crate) fn start(app: &Arc<App>) {
    for export in &app.exports.all {
        tokio::spawn(Arc::clone(export).run(Arc::clone(app)));
    }
}

/// The series, and how the exports are.
pub(crate) fn text(app: &App) -> String {
    let all: Vec<(&MetricExport, Option<Arc<ExportedAnswer>>)> = app
        .exports
        .all
        .iter()
        .map(|export| (&**export, export.state.lock().shown.clone()))
        .collect();
    let mut out = Exposition::default();
    if all.is_empty() {
        return out.into_text();
    }
    let up = "1 while an export has an answer, else 0: then the log says why.";
    out.family("tally_export_up", FamilyKind::Gauge, up);
    for (export, shown) in &all {
        let labels = [("export", export.name.as_str())];
        out.sample("tally_export_up", &labels, u8::from(shown.is_some()));
    }
    let answers: Vec<(&str, &ExportedAnswer)> = all
        .iter()
        .filter_map(|(export, shown)| Some((export.name.as_str(), shown.as_deref()?)))
        .collect();
    describe(&mut out, &answers);
    for (export, shown) in &all {
        if let Some(shown) = shown.as_deref().filter(|shown| !shown.series.samples.is_empty()) {
            let help = format!("From the answer of the metric {}.", export.request.name);
            out.family(&export.name, FamilyKind::Gauge, &help);
            out.samples(&shown.series.samples);
        }
    }
    out.into_text()
}

/// What is to be known of answers beside their series.
fn describe(out: &mut Exposition, answers: &[(&str, &ExportedAnswer)]) {
    let now = Instant::now();
    if !answers.is_empty() {
        let name = "tally_export_age_seconds";
        out.family(name, FamilyKind::Gauge, "Time since the exported answer last changed.");
        for &(export, answer) in answers {
            let age = now.saturating_duration_since(answer.since).as_secs_f64();
            out.sample(name, &[("export", export)], format_args!("{age:.3}"));
        }
        let name = "tally_export_left_out";
        let help = "Rows of the exported answer that are no series, by reason.";
        out.family(name, FamilyKind::Gauge, help);
        for &(export, answer) in answers {
            for (reason, count) in answer.series.left_out.counts() {
                out.sample(name, &[("export", export), ("reason", reason)], count);
            }
        }
    }
    if answers.iter().any(|(_, answer)| !answer.warnings.is_empty()) {
        let name = "tally_export_warning";
        out.family(name, FamilyKind::Gauge, "1 for each warning that the exported answer has.");
        for &(export, answer) in answers {
            for code in &answer.warnings {
                out.sample(name, &[("export", export), ("code", code.as_str())], 1);
            }
        }
    }
}

impl MetricExport {
    fn new(name: &str, export: &PrometheusExport) -> Result<MetricExport, ExportFault> {
        let request = WatchRequest {
            name: export.metric.clone(),
            // Texts, numbers, lists and tables: there is nothing that JSON does not have.
            params: serde_json::to_value(&export.params).unwrap_or_default(),
            min_interval: export.pace()?,
        };
        let plan = Arc::new(SeriesPlan::new(name, export)?);
        Ok(MetricExport { name: name.to_owned(), plan, request, state: Mutex::default() })
    }

    async fn run(self: Arc<Self>, app: Arc<App>) {
        let mut phase = app.phase.subscribe();
        tokio::select! {
            () = wait_for_stop(&mut phase) => {}
            () = self.follow(&app) => {}
        }
    }

    /// Watches the question until the engine stops.
    async fn follow(&self, app: &Arc<App>) {
        loop {
            match app.engine.watch(&self.request) {
                Ok(question) => return self.show_all(app, question).await,
                Err(fault) => self.hide(Problem::from(fault).into()),
            }
            sleep(self.request.min_interval.min(AGAIN)).await;
        }
    }

    /// Shows the newest answer, each time that there is another one, at the configured pace: others
    /// may watch the same question and have it evaluated more often.
    async fn show_all(&self, app: &Arc<App>, mut question: LiveQuestion) {
        let mut newest = question.changed().await;
        while let Some(answer) = newest {
            let begun = Instant::now();
            // Without an answer it is asked sooner: what an engine lacks at a start passes in seconds.
            let mut pace = self.request.min_interval.min(AGAIN);
            let had_no_room = match self.made_of(app, &answer).await {
                Ok(shown) => {
                    self.show(shown);
                    pace = self.request.min_interval;
                    false
                }
                Err(why) => {
                    // What the engine refuses, it tries again by itself.
                    let is_ours = answer.outcome.is_ok() && why.word == Code::Overloaded.word();
                    self.hide(why);
                    is_ours
                }
            };
            // For up to a day nobody needs it here, and its memory is counted until it is dropped.
            drop(answer);
            question.set_pace(pace);
            sleep_until(begun + pace).await;
            newest = if had_no_room { question.newest().await } else { question.changed().await };
        }
    }

    /// The series of an answer.
    async fn made_of(
        &self,
        app: &Arc<App>,
        answer: &LiveAnswer,
    ) -> Result<ExportedAnswer, NoAnswer> {
        let evaluated = answer.outcome.as_ref().map_err(|fault| Problem::from(fault.clone()))?;
        let series = self.series_of(app, evaluated).await?;
        let held = app.limits.watched.take(series.samples.len() as u64).map_err(|_| {
            Problem::overloaded(
                "what is watched takes as much memory as it may, which is a share of [limits] \
                 memory",
            )
        })?;
        let warnings = evaluated.warnings.iter().take(WARNINGS).map(shown_code).collect();
        Ok(ExportedAnswer { series, warnings, since: Instant::now(), _held: held })
    }

    async fn series_of(
        &self,
        app: &Arc<App>,
        evaluated: &Evaluated,
    ) -> Result<ShownSeries, NoAnswer> {
        if evaluated.result.len() <= LARGE {
            return Ok(self.plan.series(&evaluated.result)?);
        }
        // It is not closed.
        let _place = app.exports.at_work.acquire().await;
        let held = take(app, evaluated.result.len() as u64 * COPIES)?;
        let (plan, result) = (Arc::clone(&self.plan), Arc::clone(&evaluated.result));
        Ok(blocking::run(blocking::holding(held, move || plan.series(&result))).await??)
    }

    fn show(&self, shown: ExportedAnswer) {
        let left_out: LeftOut = shown.series.left_out;
        let reasons = left_out.reasons();
        let mut state = self.state.lock();
        state.shown = Some(Arc::new(shown));
        if state.told == reasons {
            return;
        }
        let was_down = !state.told.is_empty();
        state.told = reasons;
        let (export, reasons) = (&self.name, &state.told);
        if !reasons.is_empty() {
            tracing::warn!(
                export,
                reasons,
                "rows of an exported answer are left out; tally_export_left_out says how many"
            );
        } else if was_down {
            tracing::info!(export, "all rows of an exported answer are shown again");
        }
    }

    fn hide(&self, why: NoAnswer) {
        let NoAnswer { word, detail } = why;
        let mut state = self.state.lock();
        state.shown = None;
        if state.told != word {
            tracing::warn!(
                export = self.name,
                metric = self.request.name,
                code = word,
                reason = detail,
                "an export has no series now; it is tried again"
            );
            state.told = word;
        }
    }
}

/// The code of a warning; a plugin may have chosen any text.
fn shown_code(warning: &Warning) -> String {
    warning.code[..warning.code.floor_char_boundary(LONGEST_LABEL)].to_owned()
}
