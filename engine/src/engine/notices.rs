//! What is said of a metric wherever its numbers are shown: with its answers, in the list of metrics, and in the log.
//!
//! Sentences only. Nothing here decides when one is said.

use crate::state::{MetricId, State, Threshold};
use tally_plugin::ask::Warning;

/// Said with every answer of a metric, and in the catalogue, once it counts keys together.
pub(super) fn keys_limited(state: &State, metric: MetricId) -> Vec<Warning> {
    let all = state.thresholds(metric).into_iter().fold(Threshold::NONE, Threshold::and);
    let mut warnings = Vec::new();
    if all.bits() > 0 {
        warnings.push(Warning::new(
            "keys_limited",
            "a table came to hold more than max_cells: only some of its keys, chosen by hash, stand for themselves; the others count \
             together under __other__. What is shown of a key is exact, and totals are; a key that is asked for and counts with the \
             others shows nothing",
        ));
    }
    if all.types() > 0 {
        let warning = Warning::new(
            "keys_limited",
            "more event types came than [events] max_types: only some of them, chosen by hash, and those that [events] types, aliases and \
             keep name stand for themselves; the others count together under __other__. What is shown of a type is exact, and totals \
             are; a type that is asked for and counts with the others shows nothing. Name it in [events] keep",
        );
        warnings.push(warning.with("column", "event_type"));
    }
    warnings
}

/// Said with every answer of a metric, and wherever its numbers are.
pub(super) fn events_failed(name: &str, count: u64) -> String {
    format!(
        "{count} events are in none of its numbers: the code of {name} failed on them. tally dead-letters --reason plugin_failed:{name} \
         shows them; to count them, fix the plugin and raise its `revision`"
    )
}

/// Said of a metric while another revision is the current one.
pub(super) fn another_revision_is_current(other: u64) -> String {
    format!(
        "the current revision of this metric in the store is {other:016x}: another engine has another plugin, configuration or \
         [events], and answers with that; give all engines the same"
    )
}
