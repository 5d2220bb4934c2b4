//! The times that a section of the configuration says: how long panes are kept, which history is
//! counted, and how long what was replaced is fed on. What is wrong with them is a list of sentences.

use super::description_check as check;
use super::metric::History;
use std::collections::BTreeMap;
use std::time::Duration;
use tally_config::{MetricConfig, duration};
use tally_plugin::description::Description;

/// Applies the configured retention; what is wrong with it.
pub(super) fn retain(
    description: &mut Description,
    retention: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut faults = Vec::new();
    for (pane, keep) in retention {
        let keep_ms = match duration::retention_ms(keep) {
            Ok(kept) => kept,
            Err(fault) => {
                faults.push(format!("retention.{pane} {fault}"));
                continue;
            }
        };
        let tiers = description.tables.iter_mut().flat_map(|table| &mut table.tiers);
        let mut tiers = tiers.filter(|tier| check::pane_name(tier.pane) == pane).peekable();
        if tiers.peek().is_none() {
            faults.push(format!("no table has a tier {pane:?}"));
        }
        tiers.for_each(|tier| tier.keep_ms = keep_ms);
    }
    faults.extend(description.tables.iter().flat_map(check::tiers));
    faults
}

/// Reads which history a section asks for, and how long it keeps what was replaced; adds what is
/// wrong with them.
pub(super) fn read_spans(section: &MetricConfig, faults: &mut Vec<String>) -> (History, Duration) {
    let history = match section.history.as_str() {
        "none" => Ok(History::None),
        text => {
            duration::parse_retention(text).map(|kept| kept.map_or(History::All, History::Last))
        }
    };
    let history =
        history.map_err(|fault| faults.push(format!("history {fault}, or \"none\""))).ok();
    let keep_old = duration::parse(&section.keep_old)
        .map_err(|fault| faults.push(format!("keep_old {fault}")))
        .ok();
    (history.unwrap_or(History::All), keep_old.unwrap_or_default())
}
