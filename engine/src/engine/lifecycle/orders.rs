//! Carries out orders of a person, between two steps of a pass.
//!
//! `reconcile::orders` decides whether a promote or a rollback is possible; it is done here, with a
//! sentence on what was done. A dry run decides the same and does nothing (`foreseen`).

use super::foreseen;
use super::manager::PluginManager;
use super::reconcile::Step;
use super::reconcile::orders::{PromoteOutcome, RollbackOutcome, promote, rollback};
use crate::engine::catalog::MetricCatalog;
use crate::engine::notices::events_failed;
use crate::engine::{MetricChange, MetricOrder, Order, OrderError};
use std::path::Path;

impl PluginManager {
    /// Carries out an order; the sentence says what was done, or of a dry run what would be.
    pub(super) fn execute_order(&mut self, order: &Order) -> Result<String, OrderError> {
        match order {
            Order::Metric(MetricOrder { metric, change, dry_run }) => match change {
                MetricChange::Promote => self.order_promote(metric, *dry_run),
                MetricChange::Rollback => self.order_rollback(metric, *dry_run),
                MetricChange::Purge => self.purge(metric, *dry_run),
            },
            Order::Skip { partition, offset } => self.order_skip(*partition, *offset),
            // `Engine::order` has done it already.
            Order::AcceptClock => Ok("the clock was confirmed".into()),
            Order::Check => Ok(self.order_check()),
        }
    }

    fn order_promote(&mut self, name: &str, dry_run: bool) -> Result<String, OrderError> {
        let lacks = |failed| {
            if failed > 0 { format!("; {}", events_failed(name, failed)) } else { String::new() }
        };
        let outcome =
            self.observe_one(name).map_or(PromoteOutcome::NoNewer, |metric| promote(&metric));
        match outcome {
            PromoteOutcome::NoNewer => {
                Err(OrderError::NotPossible(no_newer(&self.catalog.read(), name)))
            }
            PromoteOutcome::Stopped(halt) => Err(OrderError::NotPossible(format!(
                "{name}: the newer revision is quarantined and cannot answer: {halt}"
            ))),
            PromoteOutcome::Now(failed) if dry_run => {
                Ok(foreseen::promoted(&self.catalog.read(), name, true, &lacks(failed)))
            }
            PromoteOutcome::Later(failed) if dry_run => {
                Ok(foreseen::promoted(&self.catalog.read(), name, false, &lacks(failed)))
            }
            PromoteOutcome::Now(failed) => {
                self.promote(name);
                Ok(format!("{name}: the new revision answers{}", lacks(failed)))
            }
            PromoteOutcome::Later(failed) => {
                self.accept(name, failed);
                let lacks = lacks(failed);
                Ok(format!(
                    "{name}: the new revision still counts its history; it answers as soon as it \
                     has, unless its code fails on events meanwhile{lacks}"
                ))
            }
        }
    }

    fn order_rollback(&mut self, name: &str, dry_run: bool) -> Result<String, OrderError> {
        let outcome =
            self.observe_one(name).map_or(RollbackOutcome::NoPrevious, |metric| rollback(&metric));
        match outcome {
            RollbackOutcome::NoPrevious => {
                Err(OrderError::NotPossible(no_previous(&self.catalog.read(), name)))
            }
            RollbackOutcome::Stopped(halt) => Err(OrderError::NotPossible(format!(
                "{name}: the previous revision is quarantined and cannot answer: {halt}"
            ))),
            RollbackOutcome::Now if dry_run => {
                Ok(foreseen::rolled_back(&self.catalog.read(), name))
            }
            RollbackOutcome::Now => {
                self.rollback(name);
                Ok(format!(
                    "{name}: the previous revision answers; the other one still receives events \
                     and waits for a promote"
                ))
            }
        }
    }

    fn order_skip(&self, partition: u32, offset: u64) -> Result<String, OrderError> {
        match self.skip(partition, offset) {
            None => Err(OrderError::Failed(
                "a lane has not answered in time, so it is unknown whether the partition \
                 continues; check /readyz?verbose, and try again"
                    .into(),
            )),
            Some(true) => Ok(format!(
                "partition {partition} continues without the records at offset {offset}; the gap \
                 is noted"
            )),
            Some(false) => Err(OrderError::NotPossible(format!(
                "partition {partition} is not stopped at offset {offset}; /readyz?verbose shows \
                 what is stopped, where and why"
            ))),
        }
    }

    /// Checks configuration and folders now; the sentence says what was found.
    fn order_check(&mut self) -> String {
        self.check_folders(true);
        self.pass(Step::LaneStarts);
        let catalog = self.catalog.read();
        let (metrics, refused) = (catalog.answering.len(), catalog.rejected.len());
        tracing::info!(
            metrics,
            refused,
            "configuration and plugin folders were checked, as requested"
        );
        format!("{metrics} metrics are served, {refused} files or sections are refused")
    }
}

fn no_newer(catalog: &MetricCatalog, name: &str) -> String {
    let Some(served) = catalog.answering.get(name) else { return not_served(catalog, name) };
    let plugin = served.askable.plugin.plugin();
    let of = |file: &str| {
        let stem = Path::new(file).file_stem().map(|stem| stem.to_string_lossy());
        stem.is_some_and(|stem| stem.trim_start_matches("lib") == plugin)
            || file == format!("[metrics.{name}]")
    };
    match catalog.rejected.iter().find(|rejected| of(&rejected.file)) {
        Some(refused) => {
            // Without its folder.
            let file = Path::new(&refused.file)
                .file_name()
                .unwrap_or(refused.file.as_ref())
                .to_string_lossy();
            format!(
                "there is no other revision of {name} to promote: {file} is refused: {}",
                refused.reason
            )
        }
        None => format!(
            "there is no other revision of {name} to promote: put its file into the plugin folder \
             first"
        ),
    }
}

fn no_previous(catalog: &MetricCatalog, name: &str) -> String {
    if !catalog.answering.contains_key(name) {
        return not_served(catalog, name);
    }
    format!(
        "no earlier revision of {name} receives events any more: put its file into the plugin \
         folder, and it counts its history again"
    )
}

fn not_served(catalog: &MetricCatalog, name: &str) -> String {
    let what = if catalog.retired.contains_key(name) { "is retired" } else { "is not served" };
    format!("{name} {what}; tally plugin list shows which metrics are")
}
