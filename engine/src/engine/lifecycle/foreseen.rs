//! What an order about a metric would do, as a sentence, while nothing is done yet.
//!
//! Sentences only: whether the order is possible is decided elsewhere (`reconcile::orders`).

use crate::engine::catalog::{MetricCatalog, ServedRevision};
use std::time::Duration;

/// Of a promote: the newer revision answers `now`, or once it has counted its history. `lacks`: what
/// its numbers lack.
pub(super) fn promoted(catalog: &MetricCatalog, name: &str, now: bool, lacks: &str) -> String {
    let (Some(served), Some(newer)) = (catalog.answering.get(name), catalog.newer.get(name)) else {
        return format!("{name}: nothing would change");
    };
    let when = if now { "at once" } else { "as soon as it has counted its history" };
    let unless = if now { "" } else { ", unless its code fails on events meanwhile" };
    let (answers, kept) = (described(&newer.served), described(served));
    let keep = lasting(newer.served.askable.plugin.keep_old());
    let released = catalog.previous.get(name).map_or_else(String::new, |previous| {
        format!("; {} would receive no more events", described(&previous.served))
    });
    format!(
        "{name}: {answers} would answer {when}{unless}; {kept} would receive events for {keep} \
         longer, and until then a rollback would return to it{released}{lacks}"
    )
}

/// Of a rollback, which is done at once.
pub(super) fn rolled_back(catalog: &MetricCatalog, name: &str) -> String {
    let (Some(served), Some(previous)) = (catalog.answering.get(name), catalog.previous.get(name))
    else {
        return format!("{name}: nothing would change");
    };
    let (answers, waits) = (described(&previous.served), described(served));
    let dropped = catalog.newer.get(name).map_or_else(String::new, |newer| {
        format!("; {} would be counted no more", described(&newer.served))
    });
    format!(
        "{name}: {answers} would answer again at once; {waits} would still receive events and wait \
         for a promote{dropped}"
    )
}

/// Of a purge.
pub(super) fn purged(name: &str, revisions: usize) -> String {
    format!(
        "{name}: everything stored of it would be removed, {revisions} revisions; that cannot be \
         undone"
    )
}

/// A revision, for people.
pub(super) fn described(served: &ServedRevision) -> String {
    format!("revision {} (version {})", served.number(), served.askable.plugin.version())
}

/// A length of time in its largest whole unit.
pub(super) fn lasting(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let whole = units.into_iter().find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    whole
        .map_or_else(|| format!("{seconds} s"), |(unit, word)| format!("{} {word}", seconds / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_told_in_whole_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (5_400, "90 min"),
            (7_200, "2 h"),
            (86_400, "1 d"),
        ] {
            assert_eq!(lasting(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn what_is_not_there_changes_nothing() {
        let nothing = MetricCatalog::default();
        assert_eq!(promoted(&nothing, "a", true, ""), "a: nothing would change");
        assert_eq!(rolled_back(&nothing, "a"), "a: nothing would change");
        assert!(purged("a", 2).starts_with("a: everything stored of it would be removed, 2"));
    }
}
