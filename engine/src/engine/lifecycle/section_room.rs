//! Whether there is room for what a section that is put would add: a name, a revision that is
//! stored, a place in memory. None of these goes away by itself, so each has a bound.
//!
//! Only requests are judged. What is served, or was, goes on whatever there is, and so does what a
//! person writes into a file.

use super::purge::stored;
use crate::engine::catalog::MetricCatalog;
use crate::engine::lane_factory::LaneFactory;
use crate::engine::{OrderError, SectionError};
use crate::host;
use parking_lot::RwLock;

/// Metrics that are served, or were retired since the start.
const MOST_NAMES: usize = 1_000;

/// Revisions of a metric that are stored: also those that never answered, because another one came
/// first.
const MOST_REVISIONS: usize = 64;

/// Places that revisions were given in memory since the start. One that is free again keeps some
/// hundred bytes, and the shapes of its keys.
const MOST_PLACES: usize = 5_000;

/// What there is already.
struct Occupied {
    /// Metrics that are served or retired.
    names: usize,
    /// Whether this one is among them.
    is_known: bool,
    /// Revisions of it that are stored.
    revisions: usize,
    /// Whether this one is among them.
    is_stored: bool,
    /// Places in memory.
    places: usize,
}

/// Refuses a metric that is to be added, or another revision of one, where there is no room.
///
/// # Errors
/// [`OrderError::NotPossible`], with what to do; [`OrderError::Store`]: the store does not say what
/// is stored.
pub(super) fn require(
    plugin: &host::Metric,
    catalog: &RwLock<MetricCatalog>,
    factory: &LaneFactory,
) -> Result<(), SectionError> {
    let (name, revision) = (plugin.name(), factory.revision(plugin).0);
    let (names, is_known, retired) = {
        let catalog = catalog.read();
        if catalog.all().any(|served| served.revision == revision) {
            return Ok(());
        }
        let retired = catalog.retired.get(name).cloned();
        let is_known = retired.is_some() || catalog.answering.contains_key(name);
        (catalog.answering.len() + catalog.retired.len(), is_known, retired)
    };
    let stored = stored(&*factory.store, name, retired.as_ref()).map_err(|fault| {
        let what = format!("nothing was done: it is unknown what is stored of {name}");
        OrderError::Store { what, fault }
    })?;
    let occupied = Occupied {
        names,
        is_known,
        revisions: stored.len(),
        is_stored: stored.contains(&revision),
        places: factory.view.read().metrics.len(),
    };
    match occupied.lacks_room(name) {
        None => Ok(()),
        Some(why) => Err(OrderError::NotPossible(why).into()),
    }
}

impl Occupied {
    /// Why there is no room, and what to do.
    fn lacks_room(&self, name: &str) -> Option<String> {
        let Occupied { names, is_known, revisions, is_stored, places } = *self;
        if !is_known && names >= MOST_NAMES {
            return Some(format!(
                "{names} metrics are served or retired, and {MOST_NAMES} may be: purge retired \
                 ones first (GET /api/metrics lists them; tally plugin purge NAME)"
            ));
        }
        if !is_stored && revisions >= MOST_REVISIONS {
            return Some(format!(
                "{revisions} revisions of {name} are stored, and {MOST_REVISIONS} may be: put a \
                 section that it had, or take it away and purge all of them (tally plugin purge \
                 {name}; it then counts its history again)"
            ));
        }
        (places >= MOST_PLACES).then(|| {
            format!(
                "metrics were added, changed or begun anew {places} times since the start, each of \
                 which takes memory for good, and {MOST_PLACES} times are possible: restart the \
                 engine"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_revisions_and_places_are_bounded_and_what_is_there_goes_on() {
        let none =
            || Occupied { names: 0, is_known: false, revisions: 0, is_stored: false, places: 0 };
        let told = |occupied: Occupied| occupied.lacks_room("a").unwrap_or_default();
        assert_eq!(told(none()), "");
        let names = Occupied { names: MOST_NAMES, ..none() };
        assert!(told(names).contains("purge retired ones first"));
        assert_eq!(told(Occupied { names: MOST_NAMES, is_known: true, ..none() }), "");
        assert_eq!(told(Occupied { names: MOST_NAMES - 1, ..none() }), "");
        let revisions = Occupied { is_known: true, revisions: MOST_REVISIONS, ..none() };
        assert!(told(revisions).contains("tally plugin purge a;"));
        let stored = Occupied { revisions: MOST_REVISIONS, is_stored: true, ..none() };
        assert_eq!(told(stored), "");
        assert!(told(Occupied { places: MOST_PLACES, ..none() }).contains("restart the engine"));
        assert_eq!(told(Occupied { places: MOST_PLACES - 1, ..none() }), "");
    }
}
