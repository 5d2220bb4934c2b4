//! Sentences on a metric that are shown with its numbers: with its answers, in the list of metrics,
//! and in the log.
//!
//! Sentences only. Nothing here decides when one is shown.

use crate::state::{MetricId, State, Threshold};
use tally_plugin::ask::Warning;

/// Shown with every answer of a metric, and in the list of metrics, once it counts keys together.
pub(super) fn keys_limited(state: &State, metric: MetricId) -> Vec<Warning> {
    let all = state.thresholds(metric).into_iter().fold(Threshold::NONE, Threshold::and);
    let mut warnings = Vec::new();
    if all.bits() > 0 {
        warnings.push(Warning::new(
            "keys_limited",
            "a table came to hold more than max_cells: only some of its keys, chosen by hash, are \
             counted separately; the others are counted together under __other__. Totals are \
             exact, and so is what is shown of a key; a question for a key that is counted \
             together with others shows nothing",
        ));
    }
    if all.types() > 0 {
        let warning = Warning::new(
            "keys_limited",
            "more event types came than [events] max_types: only some of them, chosen by hash, and \
             those that [events] types, aliases and keep name are counted separately; the others \
             are counted together under __other__. Totals are exact, and so is what is shown of a \
             type; a question for a type that is counted together with others shows nothing: name \
             it in [events] keep",
        );
        warnings.push(warning.with("column", "event_type"));
    }
    warnings
}

/// Shown wherever numbers of a metric are that lack events.
pub(super) fn events_failed(name: &str, count: u64) -> String {
    format!(
        "{count} events are in none of its numbers: the code of {name} failed on them. tally \
         dead-letters --reason plugin_failed:{name} shows them; to count them, fix the plugin and \
         raise its `revision`"
    )
}

/// Shown with a metric while another revision is the current one.
pub(super) fn another_revision_is_current(other: u64) -> String {
    format!(
        "the current revision of this metric in the store is {other:016x}: another engine has a \
         different plugin, configuration or [events], and answers with that; give all engines the \
         same"
    )
}
