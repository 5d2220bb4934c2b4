//! Names plugins that do not return from a call. Nothing else can be done about one: it is code of this process, and holds up
//! the lane that called it, or keeps the thread that asked it for an answer. Lanes say on their boards whom they call, and since
//! when; what answers are under way `answering` knows.

use super::answer_slots::AnswerSlots;
use super::catalog::{MetricCatalog, ServedRevision};
use crate::pipeline::Board;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tally_plugin::ask::Warning;

/// A call that takes so long is taken for one that does not return.
pub(super) const STUCK: Duration = Duration::from_secs(5);

/// How often it is named in the log.
const SAY: Duration = Duration::from_secs(60);

/// What was said.
#[derive(Default)]
pub(super) struct Watchdog {
    said: Option<Instant>,
    /// Metrics with answers that did not come back, of which the log says so.
    answers: BTreeSet<String>,
}

impl Watchdog {
    /// Names them in the log.
    pub(super) fn look(&mut self, catalog: &MetricCatalog, main: &Board, answering: &AnswerSlots) {
        self.look_at_answers(&answering.long_stuck());
        if self.said.is_some_and(|said| said.elapsed() < SAY) {
            return;
        }
        main.mark_stuck(STUCK);
        catalog.answering.values().for_each(|served| served.board(main, |board| board.mark_stuck(STUCK)));
        for sentence in stuck(catalog, main) {
            self.said = Some(Instant::now());
            tracing::error!("{sentence}; what its lane counts waits for it");
        }
    }

    /// One line for a metric when some of its answers do not come back, and one when all have.
    fn look_at_answers(&mut self, stuck: &BTreeMap<String, usize>) {
        for (metric, answers) in stuck.iter().filter(|(metric, _)| !self.answers.contains(*metric)) {
            tracing::error!(
                metric,
                answers,
                "answers have not come back from the plugin by their deadline: each keeps a thread until it does; counting and other \
                 metrics go on; if that lasts, restart with --disable {metric}"
            );
        }
        for metric in self.answers.iter().filter(|metric| !stuck.contains_key(*metric)) {
            tracing::info!(metric, "all answers have come back from the plugin");
        }
        self.answers = stuck.keys().cloned().collect();
    }
}

/// Said with an answer of a metric that does not count now, because a plugin holds up its lane.
pub(super) fn stall_warning(catalog: &RwLock<MetricCatalog>, served: &ServedRevision, main: &Board) -> Option<Warning> {
    let (_, passed) = served.board(main, |board| board.stuck(STUCK))?;
    let why = stalled(&catalog.read(), served, main)?;
    let since = jiff::Timestamp::now() - jiff::SignedDuration::try_from(passed).unwrap_or_default();
    let detail = format!("{why}, and nothing is counted meanwhile; see /readyz");
    Some(
        Warning::new("counting_stalled", detail)
            .with("since", since.round(jiff::Unit::Second).unwrap_or(since).to_string()),
    )
}

/// Why a metric does not count now, if that is because a plugin holds up its lane.
pub(super) fn stalled(catalog: &MetricCatalog, served: &ServedRevision, main: &Board) -> Option<String> {
    let (metric, passed) = served.board(main, |board| board.stuck(STUCK))?;
    let name = catalog.all().find(|other| other.id == metric).map_or("a plugin", |other| other.askable.plugin.name());
    let seconds = passed.as_secs();
    Some(format!("plugin {name} has not returned for {seconds} s"))
}

/// A sentence for each plugin that has not returned from a call for [`STUCK`].
pub(super) fn stuck(catalog: &MetricCatalog, main: &Board) -> Vec<String> {
    let of = |served: &ServedRevision| {
        let (metric, passed) = served.board(main, |board| board.stuck(STUCK))?;
        let (name, seconds) = (served.askable.plugin.name(), passed.as_secs());
        (metric == served.id)
            .then(|| format!("plugin {name} has not returned for {seconds} s: restart with --disable {name}"))
    };
    catalog.all().filter_map(|served| of(served)).collect()
}
