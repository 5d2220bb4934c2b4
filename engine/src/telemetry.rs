//! The engine's own figures, by name, on the `metrics` facade; the program that hosts the engine
//! decides where they go.
//!
//! Labels come from closed sets (reasons, partitions, loaded metrics), never from what an event or
//! a caller says.

use metrics::{counter, describe_counter, describe_gauge, gauge};
use std::collections::BTreeMap;

/// Describes every figure, and begins to count at 0 what has no labels, so that the first one is
/// seen to come; call once a recorder is installed.
pub fn describe() {
    describe_events();
    describe_state();
    describe_plugins();
    describe_live();
    COUNTERS.into_iter().for_each(|name| counter!(name).increment(0));
}

/// Counters without labels.
const COUNTERS: [&str; 7] = [
    "tally_events_total",
    "tally_duplicates_total",
    "tally_conflicts_total",
    "tally_dead_letters_lost_total",
    "tally_stalls_total",
    "tally_live_evaluations_total",
    "tally_live_unknown_total",
];

fn describe_events() {
    describe_counter!("tally_events_total", "Events counted.");
    describe_counter!(
        "tally_duplicates_total",
        "Records that repeat an event id within the dedupe window."
    );
    describe_counter!(
        "tally_conflicts_total",
        "Duplicates whose content differs from that of the first record of their id."
    );
    describe_counter!("tally_hints_total", "Records whose meaning is doubtful, by kind of doubt.");
    describe_counter!(
        "tally_rejected_total",
        "Records refused, by reason; they are kept as dead letters."
    );
    describe_counter!(
        "tally_plugin_slow_batches_total",
        "Batches for which a plugin took more than 50 ms."
    );
    describe_counter!("tally_dead_letters_lost_total", "Refused records that could not be kept.");
    describe_counter!(
        "tally_stalls_total",
        "Partitions found to deliver nothing although the log had more."
    );
    describe_gauge!("tally_lag_records", "Records of a partition that are not counted yet.");
    describe_gauge!(
        "tally_open_records",
        "Offsets of a partition that wait for the end of an open transaction."
    );
}

fn describe_state() {
    describe_gauge!(
        "tally_checkpoint_timestamp_seconds",
        "When state was last made durable, Unix time."
    );
    describe_gauge!("tally_checkpoint_age_seconds", "Time since state was last made durable.");
    describe_gauge!(
        "tally_metric_seconds_per_event",
        "Time a metric takes per event, mean since start."
    );
    describe_gauge!("tally_metric_cells", "Cells that a metric holds.");
    describe_gauge!("tally_metric_bytes", "Approximate bytes of memory that a metric holds.");
    describe_gauge!("tally_memory_used_bytes", "Bytes taken of a share of [limits] memory.");
    describe_gauge!("tally_memory_limit_bytes", "Bytes of a share of [limits] memory.");
}

fn describe_plugins() {
    describe_gauge!(
        "tally_answers_stuck",
        "Answers that have not come back from a metric's plugin by their deadline."
    );
    describe_gauge!(
        "tally_metric_events_failed",
        "Events that no number of a metric contains, because its code failed on them."
    );
    describe_gauge!(
        "tally_metric_newer_held",
        "1 while a newer revision of a metric is quarantined or held back, else 0."
    );
    describe_gauge!("tally_plugins_rejected", "Plugin files that were refused.");
    describe_gauge!(
        "tally_plugins_loaded",
        "Plugin files in memory, by content: each stays until a restart."
    );
    describe_gauge!("tally_plugin_mapped_bytes", "Address space that plugin files take.");
    describe_gauge!(
        "tally_plugin_mappings",
        "Mappings of plugin files; the kernel allows vm.max_map_count in all."
    );
    describe_counter!(
        "tally_property_unreadable_total",
        "Values of a declared property that could not be read as declared: null for the metric; \
         absent ones and nulls are not counted."
    );
    describe_counter!(
        "tally_plugin_swaps_total",
        "Times that a metric's code was replaced and its state kept."
    );
}

fn describe_live() {
    describe_gauge!("tally_live_questions", "Different questions that are watched.");
    describe_gauge!(
        "tally_live_delay_seconds",
        "Longest time from a change to its update since the figures were last read."
    );
    describe_counter!("tally_live_evaluations_total", "Evaluations of questions that are watched.");
    describe_counter!(
        "tally_live_unknown_total",
        "Times that all watched questions of a metric were evaluated, because rows that came were \
         gone or too many."
    );
}

/// A batch was counted.
pub(crate) fn counted(events: u64, duplicates: u64, conflicts: u64) {
    counter!("tally_events_total").increment(events);
    if duplicates > 0 {
        counter!("tally_duplicates_total").increment(duplicates);
    }
    if conflicts > 0 {
        counter!("tally_conflicts_total").increment(conflicts);
    }
}

/// Something about so many records deserves a look.
pub(crate) fn hint(what: &'static str, count: u64) {
    if count > 0 {
        counter!("tally_hints_total", "hint" => what).increment(count);
    }
}

/// Records were refused, or events went to the dead letters of a plugin.
pub(crate) fn refused(reason: &str, records: u64) {
    counter!("tally_rejected_total", "reason" => reason.to_owned()).increment(records);
}

/// A plugin took long for a batch.
pub(crate) fn slow_batch(metric: &str) {
    counter!("tally_plugin_slow_batches_total", "metric" => metric.to_owned()).increment(1);
}

/// Refused records could not be kept.
pub(crate) fn letters_lost(count: u64) {
    counter!("tally_dead_letters_lost_total").increment(count);
}

/// So many more partitions deliver nothing though the log has more; they were restarted.
pub(crate) fn stalled(partitions: u64) {
    counter!("tally_stalls_total").increment(partitions);
}

/// How far behind each partition is, and what of it waits for the end of an open transaction.
pub(crate) fn lag(lag: &BTreeMap<u32, u64>, open: &BTreeMap<u32, u64>) {
    for (partition, records) in open {
        gauge!("tally_open_records", "partition" => partition.to_string()).set(*records as f64);
    }
    for (partition, records) in lag {
        gauge!("tally_lag_records", "partition" => partition.to_string()).set(*records as f64);
    }
}

/// State was made durable at this Unix millisecond.
pub(crate) fn committed(now_ms: i64) {
    gauge!("tally_checkpoint_timestamp_seconds").set(now_ms as f64 / 1_000.0);
}

/// What a metric costs.
pub(crate) fn cost(metric: &str, ns_per_event: f64, cells: u64, bytes: u64) {
    gauge!("tally_metric_seconds_per_event", "metric" => metric.to_owned()).set(ns_per_event / 1e9);
    gauge!("tally_metric_cells", "metric" => metric.to_owned()).set(cells as f64);
    gauge!("tally_metric_bytes", "metric" => metric.to_owned()).set(bytes as f64);
}

/// Values of a property that a metric declares could not be read.
pub(crate) fn unreadable(metric: &str, property: &str, values: u64) {
    let (metric, property) = (metric.to_owned(), property.to_owned());
    counter!("tally_property_unreadable_total", "metric" => metric, "property" => property)
        .increment(values);
}

/// How many answers of a metric have not come back by their deadline.
pub(crate) fn answers_stuck(metric: &str, answers: usize) {
    gauge!("tally_answers_stuck", "metric" => metric.to_owned()).set(answers as f64);
}

/// What a metric's numbers lack, and whether a newer revision does not take its place by itself.
pub(crate) fn left_out(metric: &str, events_failed: u64, newer_held: bool) {
    gauge!("tally_metric_events_failed", "metric" => metric.to_owned()).set(events_failed as f64);
    gauge!("tally_metric_newer_held", "metric" => metric.to_owned()).set(if newer_held {
        1.0
    } else {
        0.0
    });
}

/// Of each share of the budget: what is taken, and what it is.
pub(crate) fn memory(shares: [(&'static str, u64, u64); 3]) {
    for (share, used, limit) in shares {
        gauge!("tally_memory_used_bytes", "share" => share).set(used as f64);
        gauge!("tally_memory_limit_bytes", "share" => share).set(limit as f64);
    }
}

/// A metric's code was replaced.
pub(crate) fn code_replaced(metric: &str) {
    counter!("tally_plugin_swaps_total", "metric" => metric.to_owned()).increment(1);
}

/// How many questions are watched, and the longest time that an update took.
pub(crate) fn live(questions: usize, delay_s: f64) {
    gauge!("tally_live_questions").set(questions as f64);
    gauge!("tally_live_delay_seconds").set(delay_s);
}

/// A question that is watched was evaluated.
pub(crate) fn live_evaluated() {
    counter!("tally_live_evaluations_total").increment(1);
}

/// It is unknown which questions what came to a metric concerns.
pub(crate) fn live_unknown() {
    counter!("tally_live_unknown_total").increment(1);
}

/// What plugin files take of the address space.
pub(crate) fn mapped(mappings: u64, bytes: u64) {
    gauge!("tally_plugin_mappings").set(mappings as f64);
    gauge!("tally_plugin_mapped_bytes").set(bytes as f64);
}

/// Age of the last checkpoint, files refused, plugin contents in memory.
pub(crate) fn plugins_and_checkpoint(
    checkpoint_age_s: f64,
    plugins_rejected: usize,
    plugins_loaded: usize,
) {
    gauge!("tally_checkpoint_age_seconds").set(checkpoint_age_s);
    gauge!("tally_plugins_rejected").set(plugins_rejected as f64);
    gauge!("tally_plugins_loaded").set(plugins_loaded as f64);
}
