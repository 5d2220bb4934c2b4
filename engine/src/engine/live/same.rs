//! What is worth an update: an answer that says something else than the one before.
//!
//! Position, the time of asking and words for people do not count: they are other ones with each
//! evaluation.

use crate::engine::{EvaluateError, Evaluated};
use std::sync::Arc;
use tally_plugin::ask::Warning;

/// Whether two outcomes tell an asker the same.
pub(super) fn says_the_same(
    a: &Result<Evaluated, EvaluateError>,
    b: &Result<Evaluated, EvaluateError>,
) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => {
            // The schema is another one where other code answers.
            Arc::ptr_eq(&a.result_schema, &b.result_schema)
                && (a.window, &a.history, &a.version) == (b.window, &b.history, &b.version)
                && a.warnings.len() == b.warnings.len()
                && a.warnings.iter().zip(&b.warnings).all(|(a, b)| is_same_warning(a, b))
                && a.result == b.result
        }
        (
            Err(EvaluateError::Invalid { code: a, errors: of_a }),
            Err(EvaluateError::Invalid { code: b, errors: of_b }),
        ) => a == b && of_a == of_b,
        (Err(a), Err(b)) => word(a) == word(b),
        _ => false,
    }
}

fn is_same_warning(a: &Warning, b: &Warning) -> bool {
    a.code == b.code && a.more == b.more
}

/// Why there is no answer, in a word.
pub(super) fn word(error: &EvaluateError) -> &str {
    match error {
        EvaluateError::NotFound { .. } => "not_found",
        EvaluateError::Invalid { code, .. } => code,
        EvaluateError::Backfilling { .. } => "backfilling",
        EvaluateError::Quarantined(_) => "quarantined",
        EvaluateError::PluginFailed(_) => "plugin_failed",
        EvaluateError::PositionNotReached(_) => "position_not_reached",
        EvaluateError::DeadlineExceeded(_) => "deadline_exceeded",
        EvaluateError::Overloaded(_) => "overloaded",
        EvaluateError::PartitionsMissing(_) => "partitions_missing",
        EvaluateError::StoreUnavailable(_) => "store_unavailable",
    }
}
