//! Each key of `metrics.toml` has a test that shows its effect: a key without one does not exist.

use super::none;
use super::reading::{read, root};
use std::collections::BTreeSet;
use tally_engine::config::{Config, MetricConfig, PrometheusExport};

/// Key, file, test. A new key gets a line here, with the test that shows what it does.
#[rustfmt::skip]
const EFFECTS: &[(&str, &str, &str)] = &[
    ("source.kind", "tests/tests/system/kafka.rs", "odd_records_and_kills"),
    ("source.on_gap", "tests/tests/system/kafka.rs", "a_gap_is_told_and_what_only_the_window_misses_is_none"),
    ("source.on_state_loss", "tests/tests/system/kafka/shared.rs", "a_state_that_is_lost_is_counted_again_or_told"),
    ("kafka.brokers", "tests/tests/system/kafka.rs", "member"),
    ("kafka.topic", "engine/config/src/load_tests.rs", "flags_come_before_environment_before_file_before_default"),
    ("kafka.group", "engine/config/src/load_tests.rs", "flags_come_before_environment_before_file_before_default"),
    ("kafka.instance_id", "engine/log/src/kafka/settings.rs", "a_name_in_the_group_is_optional_and_only_the_member_has_it"),
    ("kafka.start", "tests/tests/system/kafka/begins.rs", "latest_is_found_once_and_before_the_first_count"),
    ("kafka.session_timeout_ms", "engine/log/src/kafka/settings.rs", "a_name_in_the_group_is_optional_and_only_the_member_has_it"),
    ("kafka.allow_compacted", "tests/tests/system/sources.rs", "a_compacted_topic_is_refused"),
    ("kafka.settings", "engine/log/src/kafka/settings.rs", "other_settings_are_passed_on_to_the_client_they_belong_to"),
    ("log.partitions", "tests/tests/system/configuration/effects.rs", "partitions_of_a_new_log"),
    ("log.retention_bytes", "engine/log/src/embedded/log_tests.rs", "retention_by_bytes_drops_the_oldest_and_frees_the_disk"),
    ("log.retention", "tests/tests/system/configuration/effects.rs", "retention_of_the_log_by_age"),
    ("log.durability", "engine/log/src/embedded/log_tests.rs", "concurrent_appends_share_commits_and_lose_nothing"),
    ("events.aliases", "engine/decode/src/tests.rs", "aliases_and_types"),
    ("events.types", "engine/decode/src/tests.rs", "aliases_and_types"),
    ("events.required", "tests/tests/system/cli.rs", "dead_letters_are_listed_with_reason_and_place"),
    ("events.max_types", "tests/tests/system/configuration/effects.rs", "so_many_event_types_stand_for_themselves"),
    ("events.keep", "tests/tests/system/events.rs", "event_types_without_end_count_together"),
    ("events.earliest", "engine/decode/src/tests/clocks.rs", "earliest_is_configured"),
    ("events.max_ahead", "engine/decode/src/tests/clocks.rs", "a_plausible_clock_that_is_behind_refuses_as_far_as_it_is_configured_and_a_hint_names_the_key"),
    ("events.dedupe_window", "tests/tests/system/verify.rs", "an_embedded_log_with_duplicates_poison_and_late_events"),
    ("events.fields.event_id", "engine/verify/src/record_tests.rs", "both_verdicts_agree_where_fields_are_elsewhere"),
    ("events.fields.user_id", "engine/decode/src/tests.rs", "pointers_lead_into_objects_and_arrays"),
    ("events.fields.product_id", "engine/decode/src/tests.rs", "pointers_lead_into_objects_and_arrays"),
    ("events.fields.event_type", "engine/verify/src/record_tests.rs", "both_verdicts_agree_where_fields_are_elsewhere"),
    ("events.fields.timestamp", "engine/verify/src/record_tests.rs", "both_verdicts_agree_where_fields_are_elsewhere"),
    ("plugins.dir", "tests/tests/system/plugins.rs", "bad_files_are_refused_with_a_sentence_and_good_ones_answer"),
    ("plugins.shipped", "tests/tests/system/configuration/effects.rs", "what_is_shipped_is_served_where_it_is_named"),
    ("plugins.checksums", "tests/tests/alone/gate.rs", "with_a_list_of_checksums_only_what_it_names_runs"),
    ("store.kind", "tests/tests/system/configuration/effects.rs", "the_port_of_redis_and_how_often_is_committed"),
    ("store.data_dir", "tests/tests/system/configuration/effects.rs", "the_data_directory_and_the_address_are_those_of_the_file"),
    ("store.checkpoint_interval_ms", "tests/tests/system/configuration/effects.rs", "state_is_stored_at_each_interval"),
    ("store.dead_letters", "tests/tests/system/configuration/effects.rs", "so_many_dead_letters_are_kept"),
    ("redis.url", "tests/tests/system/configuration/effects.rs", "the_port_of_redis_and_how_often_is_committed"),
    ("redis.port", "tests/tests/system/configuration/effects.rs", "the_port_of_redis_and_how_often_is_committed"),
    ("redis.namespace", "tests/tests/system/stores.rs", "two_tallies_share_a_redis"),
    ("redis.commit_interval_ms", "tests/tests/system/configuration/effects.rs", "the_port_of_redis_and_how_often_is_committed"),
    ("redis.max_bucket_bytes", "tests/tests/system/stores.rs", "large_states_are_read_in_pieces_and_as_one_moment"),
    ("catalogue.postgres_url", "tests/tests/system/postgres.rs", "what_waiting_does_not_mend_is_refused_with_a_sentence"),
    ("catalogue.migrate", "tests/tests/system/postgres.rs", "what_waiting_does_not_mend_is_refused_with_a_sentence"),
    ("server.listen", "tests/tests/system/configuration/effects.rs", "the_data_directory_and_the_address_are_those_of_the_file"),
    ("server.max_connections", "tests/tests/system/configuration/effects.rs", "connections_beyond_the_limit_are_refused"),
    ("server.evaluation_deadline_ms", "tests/tests/system/configuration/effects.rs", "an_evaluation_ends_at_its_deadline"),
    ("server.allowed_hosts", "tests/tests/system/place.rs", "names_and_pages_that_the_configuration_lists_may_ask"),
    ("server.allowed_origins", "tests/tests/system/place.rs", "names_and_pages_that_the_configuration_lists_may_ask"),
    ("server.boards", "tests/tests/system/boards.rs", "boards_of_the_folder_are_served_and_judged"),
    ("live.streams", "tests/tests/system/feed.rs", "so_many_streams_and_no_more"),
    ("live.subscriptions", "tests/tests/system/feed.rs", "so_many_subscriptions_and_replays_and_no_more"),
    ("live.replays", "tests/tests/system/feed.rs", "so_many_subscriptions_and_replays_and_no_more"),
    ("limits.memory", "tests/tests/system/limits.rs", "answers_together_take_their_share_of_memory_and_no_more"),
    ("limits.answer_bytes", "tests/tests/system/limits.rs", "an_answer_longer_than_answer_bytes_is_refused"),
    ("live.questions", "engine/src/engine/live/live_tests.rs", "so_many_questions_are_watched_and_no_more"),
    ("live.min_interval_ms", "engine/src/engine/live/live_tests.rs", "nobody_is_told_more_often_than_min_interval_ms"),
    ("live.threads", "tests/tests/system/configuration/effects.rs", "so_many_threads_evaluate_what_is_watched"),
    ("export.prometheus.NAME.metric", "tests/tests/system/prometheus.rs", "prometheus_reads_what_is_exported_and_its_alerts_fire"),
    ("export.prometheus.NAME.params", "server/src/http/tests/export.rs", "an_export_watches_one_question_and_a_scrape_evaluates_nothing"),
    ("export.prometheus.NAME.rows", "server/src/http/export/rows.rs", "objects_arrays_and_the_result_itself_have_rows"),
    ("export.prometheus.NAME.value", "server/src/http/export/rows.rs", "objects_arrays_and_the_result_itself_have_rows"),
    ("export.prometheus.NAME.labels", "server/src/http/export/rows.rs", "objects_arrays_and_the_result_itself_have_rows"),
    ("export.prometheus.NAME.max_series", "server/src/http/tests/export.rs", "what_is_left_out_is_told"),
    ("export.prometheus.NAME.every", "server/src/http/tests/export.rs", "an_export_watches_one_question_and_a_scrape_evaluates_nothing"),
    ("metrics.NAME.enabled", "tests/tests/system/plugins.rs", "one_file_serves_several_metrics_and_sections_are_obeyed"),
    ("metrics.NAME.plugin", "tests/tests/system/plugins.rs", "one_file_serves_several_metrics_and_sections_are_obeyed"),
    ("metrics.NAME.config", "tests/tests/system/plugins.rs", "counts_is_a_metric_without_code"),
    ("metrics.NAME.history", "tests/tests/system/life.rs", "a_metric_can_leave_history_out"),
    ("metrics.NAME.promote", "tests/tests/system/life.rs", "a_new_revision_waits_for_a_word_where_that_is_configured"),
    ("metrics.NAME.keep_old", "tests/tests/system/life.rs", "a_new_revision_waits_for_a_word_where_that_is_configured"),
    ("metrics.NAME.retention", "tests/tests/system/plugins.rs", "one_file_serves_several_metrics_and_sections_are_obeyed"),
    ("metrics.NAME.max_cells", "tests/tests/system/containment.rs", "a_metric_with_too_many_cells_stops_and_answers_from_there_until_it_may_hold_more"),
    ("metrics.NAME.overflow", "tests/tests/system/containment.rs", "a_metric_with_too_many_cells_counts_some_together_and_what_it_shows_is_exact"),
];

fn leaves(table: &toml::Table, path: &str, found: &mut BTreeSet<String>) {
    for (key, value) in table {
        let key = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            toml::Value::Table(inner) if !inner.is_empty() => leaves(inner, &key, found),
            _ => drop(found.insert(key)),
        }
    }
}

#[test]
fn each_key_of_the_configuration_has_a_test_that_shows_its_effect() {
    let mut keys = BTreeSet::new();
    leaves(&toml::Table::try_from(Config::default()).unwrap(), "", &mut keys);
    let metric = MetricConfig { plugin: Some(String::new()), ..MetricConfig::default() };
    leaves(&toml::Table::try_from(metric).unwrap(), "metrics.NAME", &mut keys);
    keys.remove("metrics");
    let export = toml::Table::try_from(PrometheusExport::default()).unwrap();
    leaves(&export, "export.prometheus.NAME", &mut keys);
    keys.remove("export.prometheus");
    let mut faults = Vec::new();
    for key in keys.iter().filter(|key| !EFFECTS.iter().any(|(named, ..)| named == key)) {
        faults.push(format!(
            "{key} has no test that shows its effect: name one in tests/tests/house/keys.rs, or take the key out"
        ));
    }
    for (key, file, test) in EFFECTS {
        if !keys.contains(*key) {
            faults.push(format!("{key} does not exist, and {file}::{test} is named for it"));
        } else if !root().join(file).exists() || !read(file).contains(&format!("fn {test}(")) {
            faults.push(format!("{key}: {file} has no test {test}"));
        } else {
            let word = key.rsplit('.').next().unwrap_or(key);
            if !read(file).contains(word) {
                faults.push(format!("{key}: {file} does not name it"));
            }
        }
    }
    none(faults);
}
