//! Which revision of a metric a start looks for, and the roles of the revisions that it found.
//!
//! The one that answered when the engine ended still answers, whatever the folder holds by now; the
//! folder's revision is newer.

use crate::engine::catalog::{PromotionWish, number};
use crate::engine::lifecycle::notebook::{NotedCode, NotedMetric, NotedPrevious};
use crate::store::RevisionId;

/// The revision that is to answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::engine::lifecycle) enum Sought<'a> {
    /// The folder's.
    Folder,
    /// A stored one whose code was not noted: it may be the folder's code, which read events
    /// otherwise.
    Stored(&'a RevisionId),
    /// Another one, by its noted code.
    Noted(&'a NotedCode),
}

/// The roles of the revisions of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::lifecycle) struct RolesFound {
    /// What a person decided on the folder's revision, if another one answers.
    pub(in crate::engine::lifecycle) newer: Option<PromotionWish>,
    /// Whether the previous revision receives events.
    pub(in crate::engine::lifecycle) previous: bool,
}

/// Which revision is to answer. `own`: the folder's; `noted`: what was noted of the metric;
/// `current`: which revision the store says is current, where nothing was noted.
pub(in crate::engine::lifecycle) fn sought<'a>(
    own: &RevisionId,
    noted: Option<&'a NotedMetric>,
    current: Option<&'a RevisionId>,
) -> Sought<'a> {
    match (noted, current) {
        (Some(noted), _) if noted.answering.revision.as_ref() == Some(&number(own)) => {
            Sought::Folder
        }
        (Some(noted), _) => Sought::Noted(&noted.answering),
        (None, Some(current)) if current != own => Sought::Stored(current),
        (None, _) => Sought::Folder,
    }
}

/// The previous revision, if it is still to receive events. `now`: Unix milliseconds.
pub(in crate::engine::lifecycle) fn sought_previous(
    noted: Option<&NotedMetric>,
    now: i64,
) -> Option<&NotedPrevious> {
    noted?.before.as_ref().filter(|previous| previous.until > now)
}

/// The roles of the revisions that were found. `waits`: whether the folder's section requires a
/// person to promote it.
pub(in crate::engine::lifecycle) fn roles(
    own: &RevisionId,
    waits: bool,
    noted: Option<&NotedMetric>,
    answering: &RevisionId,
    previous: Option<&RevisionId>,
) -> RolesFound {
    let wish = || match noted {
        Some(NotedMetric { newer: Some(newer), .. }) if newer.revision == number(own) => newer.will,
        // Noted by an older engine, without revisions.
        Some(NotedMetric { newer: None, held: true, .. }) => {
            PromotionWish { waits: true, accepted: None }
        }
        _ => PromotionWish { waits, accepted: None },
    };
    RolesFound {
        newer: (answering != own).then(wish),
        previous: previous.is_some_and(|previous| previous != own && previous != answering),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::id;
    use super::*;
    use crate::config::MetricConfig;
    use crate::engine::lifecycle::notebook::NotedNewer;

    fn code(fingerprint: u64) -> NotedCode {
        NotedCode {
            sha256: "aa".into(),
            section: MetricConfig::default(),
            revision: Some(number(&id(fingerprint))),
        }
    }

    fn noted(answering: u64) -> NotedMetric {
        NotedMetric { answering: code(answering), held: false, newer: None, before: None }
    }

    fn with_newer(fingerprint: u64, will: PromotionWish) -> NotedMetric {
        NotedMetric {
            newer: Some(NotedNewer { revision: number(&id(fingerprint)), will }),
            ..noted(0xA)
        }
    }

    const WAITS: PromotionWish = PromotionWish { waits: true, accepted: None };
    const ACCEPTED: PromotionWish = PromotionWish { waits: false, accepted: Some(5) };

    #[test]
    fn the_revision_that_answered_is_looked_for() {
        let (own, other) = (id(0xB), id(0xA));
        assert_eq!(sought(&own, None, None), Sought::Folder, "nothing is known");
        assert_eq!(sought(&own, None, Some(&own)), Sought::Folder);
        assert_eq!(
            sought(&own, None, Some(&other)),
            Sought::Stored(&other),
            "only the configuration changed, perhaps"
        );
        assert_eq!(sought(&own, Some(&noted(0xB)), None), Sought::Folder);
        let answered = noted(0xA);
        assert_eq!(sought(&own, Some(&answered), None), Sought::Noted(&answered.answering));
        let unknown =
            NotedMetric { answering: NotedCode { revision: None, ..code(0) }, ..noted(0) };
        assert_eq!(
            sought(&own, Some(&unknown), None),
            Sought::Noted(&unknown.answering),
            "by its code"
        );
    }

    #[test]
    fn the_folders_revision_is_newer_with_what_was_wanted_of_it() {
        let (own, other) = (id(0xB), id(0xA));
        let wish = |waits, noted: Option<&NotedMetric>, answering| {
            roles(&own, waits, noted, answering, None).newer
        };
        assert_eq!(wish(true, Some(&noted(0xB)), &own), None, "it answers");
        assert_eq!(wish(false, Some(&noted(0xA)), &other), Some(PromotionWish::default()));
        assert_eq!(wish(true, Some(&noted(0xA)), &other), Some(WAITS), "its section says so");
        assert_eq!(
            wish(true, Some(&with_newer(0xB, ACCEPTED)), &other),
            Some(ACCEPTED),
            "a person said so"
        );
        assert_eq!(
            wish(false, Some(&with_newer(0xC, WAITS)), &other),
            Some(PromotionWish::default()),
            "of another"
        );
        let older = NotedMetric { held: true, ..noted(0xA) };
        assert_eq!(wish(false, Some(&older), &other), Some(WAITS), "noted by an older engine");
    }

    #[test]
    fn the_previous_revision_is_fed_until_its_time_and_has_no_other_role() {
        let previous = NotedPrevious { code: code(0xC), until: 100 };
        let noted = NotedMetric { before: Some(previous.clone()), ..noted(0xA) };
        assert_eq!(sought_previous(Some(&noted), 99), Some(&previous));
        assert_eq!(sought_previous(Some(&noted), 100), None);
        assert_eq!(sought_previous(None, 0), None);
        let fed = |previous: Option<&RevisionId>| {
            roles(&id(0xB), false, Some(&noted), &id(0xA), previous).previous
        };
        assert!(fed(Some(&id(0xC))) && !fed(None));
        assert!(!fed(Some(&id(0xB))) && !fed(Some(&id(0xA))), "it is the folder's, or answers");
    }
}
