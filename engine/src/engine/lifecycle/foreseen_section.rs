//! What a change of a section of the data directory would do to its metric, while nothing is
//! changed yet.
//!
//! A section is judged as one that is to be stored, and what it makes is compared with what is
//! served as a pass does (`reconcile`); the actions are told instead of carried out.

use super::foreseen::{described, lasting};
use super::manager::PluginManager;
use super::reconcile::{Action, Step, reconcile};
use super::section_room;
use super::snapshot::{Folder, FolderMetric, Snapshot};
use crate::config::Promote;
use crate::engine::catalog::{MetricCatalog, number};
use crate::engine::{ForeseenSection, MetricEffect, OrderError, SectionChange, SectionError};
use crate::host::{self, History};
use crate::store::RevisionId;
use std::sync::Arc;
use tally_plugin::description::Description;
use toml::Table;

/// What a metric would be from then on.
struct WantedMetric {
    plugin: Arc<host::Metric>,
    revision: RevisionId,
    /// Something is stored of this revision.
    is_stored: bool,
}

impl PluginManager {
    /// What adding or changing a section would do.
    pub(super) fn foresee_put(
        &mut self,
        name: &str,
        section: Table,
    ) -> Result<ForeseenSection, SectionError> {
        let (catalog, factory) = (&self.catalog, &self.factory);
        let room = |metric: &host::Metric| section_room::require(metric, catalog, factory);
        let planned = self.scan.plan_section(name, section, room)?;
        let mut foreseen = if planned.change == SectionChange::Unchanged {
            let effect = effect(&[], self.catalog.read().answering.contains_key(name));
            let would = format!("{name}: the same section stands there; nothing would change");
            ForeseenSection { effect, counts_history: false, would, section: None }
        } else {
            self.foresee(name, planned.metric())?
        };
        foreseen.section = planned.info(name);
        Ok(foreseen)
    }

    /// What taking a section away would do.
    pub(super) fn foresee_delete(&mut self, name: &str) -> Result<ForeseenSection, SectionError> {
        let metric = self.scan.plan_removal(name)?;
        self.foresee(name, metric)
    }

    /// `plugin`: what the folders and the sections would make of this name.
    fn foresee(
        &self,
        name: &str,
        plugin: Option<Arc<host::Metric>>,
    ) -> Result<ForeseenSection, SectionError> {
        let wanted = plugin.map(|plugin| self.wanted(name, plugin)).transpose()?;
        let metric = |wanted: &WantedMetric| {
            (name.to_owned(), FolderMetric::of(&wanted.plugin, &wanted.revision))
        };
        let folder: Folder = wanted.iter().map(metric).collect();
        let served = self.observe_one(name).map(|served| (name.to_owned(), served));
        let now = Snapshot { metrics: served.into_iter().collect(), ..Snapshot::default() };
        let actions = reconcile(Step::Folder(&folder), &now);
        let effect = effect(&actions, !now.metrics.is_empty());
        let is_new =
            |action: &Action| matches!(action, Action::Admit(_) | Action::AdmitNewer { .. });
        let is_new = actions.iter().any(is_new);
        let would = sentence(&self.catalog.read(), name, (effect, is_new), wanted.as_ref());
        let counts_history = is_new && wanted.is_some_and(|wanted| wanted.counts_history());
        Ok(ForeseenSection { effect, counts_history, would, section: None })
    }

    fn wanted(&self, name: &str, plugin: Arc<host::Metric>) -> Result<WantedMetric, SectionError> {
        let revision = self.factory.revision(&plugin).0;
        let stored = self.factory.store.revisions(name).map_err(|fault| OrderError::Store {
            what: format!("what is stored of {name} cannot be read"),
            fault,
        })?;
        Ok(WantedMetric { is_stored: stored.contains(&revision), plugin, revision })
    }
}

impl WantedMetric {
    /// Whether it would count what the log holds already.
    fn counts_history(&self) -> bool {
        !self.is_stored && self.plugin.history() != History::None
    }

    fn described(&self) -> String {
        format!("revision {} (version {})", number(&self.revision), self.plugin.version())
    }
}

/// What the actions of a pass come to for the one metric that they are about.
fn effect(actions: &[Action], is_served: bool) -> MetricEffect {
    let some = |is: fn(&Action) -> bool| actions.iter().any(is);
    if some(|action| matches!(action, Action::Admit(_))) {
        MetricEffect::Added
    } else if some(|action| matches!(action, Action::AdmitNewer { .. } | Action::Rollback(_))) {
        MetricEffect::Replaced
    } else if some(|action| matches!(action, Action::Retire(_))) {
        MetricEffect::Removed
    } else if is_served {
        MetricEffect::Kept
    } else {
        MetricEffect::Unserved
    }
}

/// `is_new`: the revision is not counted now.
fn sentence(
    catalog: &MetricCatalog,
    name: &str,
    (effect, is_new): (MetricEffect, bool),
    wanted: Option<&WantedMetric>,
) -> String {
    let served = catalog.answering.get(name);
    let dropped = catalog.newer.get(name).map_or_else(String::new, |newer| {
        format!("; {} would be counted no more", described(&newer.served))
    });
    match (effect, wanted, served) {
        (MetricEffect::Added, Some(wanted), _) => {
            let (revision, plugin) = (wanted.described(), wanted.plugin.plugin());
            let counts = counting(wanted.plugin.history(), wanted.is_stored);
            format!("{name}: {revision} of the plugin {plugin} would be served; it {counts}")
        }
        (MetricEffect::Replaced, Some(wanted), Some(served)) if is_new => {
            let (revision, before) = (wanted.described(), described(served));
            let counts = counting(wanted.plugin.history(), wanted.is_stored);
            let keep = lasting(wanted.plugin.keep_old());
            let answers = match wanted.plugin.section().promote {
                Promote::Auto => "answer once it has counted as far",
                Promote::Manual => "wait for a promote",
            };
            format!(
                "{name}: {revision} {counts} beside {before}, and {answers}; the other one would \
                 then receive events for {keep} longer, and what it counted stays stored until a \
                 purge{dropped}"
            )
        }
        (MetricEffect::Replaced, Some(wanted), Some(served)) => format!(
            "{name}: {} would answer again at once, without counting anything again; {} would be \
             counted no more, and what it counted stays stored until a purge",
            wanted.described(),
            described(served)
        ),
        (MetricEffect::Kept, Some(wanted), Some(served)) => {
            // The one that is wanted may be the newer one.
            let newer = catalog.newer.get(name).map(|newer| &newer.served);
            let newer = newer.filter(|newer| newer.revision == wanted.revision);
            let dropped = if newer.is_some() { "" } else { dropped.as_str() };
            let before = newer.unwrap_or(served).askable.plugin.description();
            let lost = if keeps_less(before, wanted.plugin.description()) {
                "; what is older than the shorter retention allows would be removed"
            } else {
                ""
            };
            let revision = wanted.described();
            format!(
                "{name}: {revision} would go on, and nothing would be counted again{lost}{dropped}"
            )
        }
        (MetricEffect::Removed, ..) => format!(
            "{name} would be retired; what it counted stays stored: tally plugin purge {name} \
             removes it, and the same section goes on from there"
        ),
        (MetricEffect::Unserved, ..) => format!("{name}: it is not served, and would not be"),
        // It has changed meanwhile.
        _ => format!("{name}: nothing would change"),
    }
}

/// What a revision that is not counted would count.
fn counting(history: History, is_stored: bool) -> String {
    if is_stored {
        return "would go on from what is stored of it, without counting that again".into();
    }
    match history {
        History::All => "would count all that the log holds".into(),
        History::None => "would count what comes from then on".into(),
        History::Last(length) => format!("would count the last {} of the log", lasting(length)),
    }
}

/// Whether a table keeps some of its panes shorter than before. Both are of one revision, so they
/// have the same tables.
fn keeps_less(before: &Description, after: &Description) -> bool {
    let keeps = |description: &Description| -> Vec<i64> {
        let tiers = description.tables.iter().flat_map(|table| table.tiers.iter());
        tiers.map(|tier| tier.keep_ms.unwrap_or(i64::MAX)).collect()
    };
    keeps(before).iter().zip(keeps(after)).any(|(before, after)| after < *before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::RevisionNo;
    use std::time::Duration;
    use tally_plugin::prelude::{DAYS, HOURS, ONE, days, hours, sum, table};

    const NAME: &str = "orders";

    #[test]
    fn the_actions_of_a_pass_have_one_effect() {
        let name = || NAME.to_owned();
        let replace = || Action::ReplaceCode(name(), RevisionNo(1));
        let admit_newer = Action::AdmitNewer { metric: name(), waits: false };
        for (actions, is_served, expected) in [
            (vec![], false, MetricEffect::Unserved),
            (vec![], true, MetricEffect::Kept),
            (vec![Action::Admit(name())], false, MetricEffect::Added),
            (vec![replace()], true, MetricEffect::Kept),
            (vec![Action::DropNewer(name()), replace()], true, MetricEffect::Kept),
            (vec![Action::DropNewer(name()), admit_newer], true, MetricEffect::Replaced),
            (
                vec![Action::Rollback(name()), Action::DropNewer(name()), replace()],
                true,
                MetricEffect::Replaced,
            ),
            (vec![Action::Retire(name())], true, MetricEffect::Removed),
        ] {
            assert_eq!(effect(&actions, is_served), expected, "{actions:?}");
        }
    }

    #[test]
    fn what_would_be_counted_is_told() {
        let month = History::Last(Duration::from_secs(30 * 86_400));
        for (history, is_stored, told) in [
            (History::All, false, "would count all that the log holds"),
            (History::None, false, "would count what comes from then on"),
            (month, false, "would count the last 30 d of the log"),
            (History::All, true, "would go on from what is stored of it"),
        ] {
            let counts = counting(history, is_stored);
            assert!(counts.starts_with(told), "{counts}");
        }
    }

    #[test]
    fn a_shorter_retention_is_seen() {
        let of = |hour: Option<i64>| {
            let hour = hour.map_or_else(|| HOURS.keep_all(), |keep| HOURS.keep(keep));
            let tiers = [hour, DAYS.keep_all()];
            Description::new("x").table(table("t").cell("n", sum(ONE)).tiers(tiers))
        };
        for (before, after, less) in [
            (Some(hours(48)), Some(hours(48)), false),
            (Some(hours(48)), Some(days(3)), false),
            (Some(hours(48)), None, false),
            (Some(hours(48)), Some(hours(47)), true),
            (None, Some(days(900)), true),
        ] {
            assert_eq!(keeps_less(&of(before), &of(after)), less, "{before:?} {after:?}");
        }
    }

    #[test]
    fn what_is_not_there_changes_nothing() {
        let nothing = MetricCatalog::default();
        let told = |effect| sentence(&nothing, NAME, (effect, false), None);
        assert_eq!(told(MetricEffect::Unserved), "orders: it is not served, and would not be");
        assert_eq!(told(MetricEffect::Kept), "orders: nothing would change");
        assert!(told(MetricEffect::Removed).starts_with("orders would be retired; "));
    }
}
