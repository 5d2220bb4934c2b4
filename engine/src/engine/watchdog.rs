//! Names plugins that do not return from a call. Nothing else can be done about one: it is code of
//! this process, and blocks the lane that called it, or the thread that asked it for an answer. The
//! statuses of lanes say which plugin is being called, and since when; `answering` knows the
//! answers under way.

use super::answer_slots::AnswerSlots;
use super::catalog::{MetricCatalog, ServedRevision};
use crate::pipeline::LaneStatus;
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tally_plugin::ask::Warning;

/// A call that takes so long is considered stuck.
pub(super) const STUCK: Duration = Duration::from_secs(5);

/// How often it is named in the log.
const NAME_AGAIN: Duration = Duration::from_secs(60);

/// What was logged.
#[derive(Default)]
pub(super) struct CallWatchdog {
    /// When stuck plugins were last named.
    named: Option<Instant>,
    /// Metrics whose stuck answers were logged.
    answers: BTreeSet<String>,
}

impl CallWatchdog {
    /// Names them in the log.
    pub(super) fn check(
        &mut self,
        catalog: &MetricCatalog,
        main: &LaneStatus,
        answering: &AnswerSlots,
    ) {
        self.check_answers(&answering.long_stuck());
        if self.named.is_some_and(|named| named.elapsed() < NAME_AGAIN) {
            return;
        }
        main.mark_stuck(STUCK);
        catalog
            .answering
            .values()
            .for_each(|served| served.status(main, |status| status.mark_stuck(STUCK)));
        for sentence in stuck(catalog, main) {
            self.named = Some(Instant::now());
            tracing::error!("{sentence}; what its lane counts waits for it");
        }
    }

    /// Logs one line for a metric when some of its answers do not return, and one when all have.
    fn check_answers(&mut self, stuck: &BTreeMap<String, usize>) {
        for (metric, answers) in stuck.iter().filter(|(metric, _)| !self.answers.contains(*metric))
        {
            tracing::error!(
                metric,
                answers,
                "answers have not returned from the plugin by their deadline: each keeps a thread \
                 until it does; counting and other metrics continue; if this lasts, restart with \
                 `tally run --disable {metric}`"
            );
        }
        for metric in self.answers.iter().filter(|metric| !stuck.contains_key(*metric)) {
            tracing::info!(metric, "all answers have returned from the plugin");
        }
        self.answers = stuck.keys().cloned().collect();
    }
}

/// The warning with an answer of a metric that does not count now, because a plugin blocks its
/// lane.
pub(super) fn stall_warning(
    catalog: &RwLock<MetricCatalog>,
    served: &ServedRevision,
    main: &LaneStatus,
) -> Option<Warning> {
    let (_, passed) = served.status(main, |status| status.stuck(STUCK))?;
    let why = stalled(&catalog.read(), served, main)?;
    let since = jiff::Timestamp::now() - jiff::SignedDuration::try_from(passed).unwrap_or_default();
    let detail = format!("{why}, and nothing is counted meanwhile; see /readyz");
    Some(
        Warning::new("counting_stalled", detail)
            .with("since", since.round(jiff::Unit::Second).unwrap_or(since).to_string()),
    )
}

/// Why a metric does not count now, if a plugin blocks its lane.
pub(super) fn stalled(
    catalog: &MetricCatalog,
    served: &ServedRevision,
    main: &LaneStatus,
) -> Option<String> {
    let (metric, passed) = served.status(main, |status| status.stuck(STUCK))?;
    let name = catalog
        .all()
        .find(|other| other.id == metric)
        .map_or("a plugin", |other| other.askable.plugin.name());
    let seconds = passed.as_secs();
    Some(format!("plugin {name} has not returned for {seconds} s"))
}

/// A sentence for each plugin that has not returned from a call for [`STUCK`].
pub(super) fn stuck(catalog: &MetricCatalog, main: &LaneStatus) -> Vec<String> {
    let of = |served: &ServedRevision| {
        let (metric, passed) = served.status(main, |status| status.stuck(STUCK))?;
        let (name, seconds) = (served.askable.plugin.name(), passed.as_secs());
        (metric == served.id).then(|| {
            format!(
                "plugin {name} has not returned for {seconds} s: restart with `tally run --disable \
                 {name}`"
            )
        })
    };
    catalog.all().filter_map(|served| of(served)).collect()
}
