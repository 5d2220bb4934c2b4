//! Why metrics are stopped, according to the machine; a reason that it withdraws is no longer
//! shown.
//!
//! A stopped partition may count again without a restart: after it was revoked and assigned again
//! with a repaired log, or after its metric was loaded again. This module decides nothing; it keeps
//! a reason until it is known whether the reason still holds.

use crate::progress::{Halt, Machine, RevisionNo};
use crate::state::MetricId;
use std::collections::BTreeMap;

/// Why each metric is stopped: the first reason of each. `shown`: what is shown so far, `held`: the
/// partitions held.
pub(super) fn stop_reasons(
    machine: &Machine,
    metrics: impl Iterator<Item = (RevisionNo, MetricId)>,
    held: &[u32],
    shown: &BTreeMap<MetricId, Halt>,
) -> BTreeMap<MetricId, Halt> {
    let reason = |(no, id): (RevisionNo, MetricId)| {
        if let Some((_, _, halt)) = machine.halts().find(|(halted, _, _)| *halted == no) {
            return Some((id, halt.clone()));
        }
        // Until each partition is loaded and compared with its log, what is shown is kept.
        let known =
            !held.is_empty() && held.iter().all(|partition| machine.next(no, *partition).is_some());
        shown.get(&id).filter(|_| !known).map(|why| (id, why.clone()))
    };
    metrics.filter_map(reason).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::{
        Bounds, Effect, Event, Found, History, Memory, OnGap, OnStateLoss, Progress, Quarantine,
        Settings,
    };

    const NO: RevisionNo = RevisionNo(0);
    const ID: MetricId = MetricId(0);

    /// Answers what the machine asks: the store holds progress up to 10, the log ends at `end`.
    fn drive(machine: &mut Machine, event: Event, end: u64) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for effect in machine.on(event) {
                match effect {
                    Effect::Load { revision, ticket, .. } => {
                        let progress = vec![(0, Progress { next: 10, ..Progress::default() })];
                        events.push(Event::Loaded(
                            revision,
                            ticket,
                            Ok(Some(Found { life: 1, progress })),
                        ));
                    }
                    Effect::Bounds(ticket, _) => {
                        events.push(Event::Bounds(
                            ticket,
                            vec![Bounds { partition: 0, start: 0, end }],
                        ));
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn what_counts_again_is_no_longer_shown_and_what_is_not_known_yet_still_is() {
        let mut machine = Machine::new(Settings {
            dedupe_window: 5,
            on_gap: OnGap::Halt,
            on_state_loss: OnStateLoss::Rebuild,
            memory: Memory::Resident,
            max_pending_rows: 100,
            topic: String::new(),
        });
        let now = |machine: &Machine, held: &[u32], shown: &BTreeMap<MetricId, Halt>| {
            stop_reasons(machine, [(NO, ID)].into_iter(), held, shown)
        };
        drive(&mut machine, Event::Joined(NO, History::Whole, None), 5);
        drive(&mut machine, Event::Assigned(vec![0]), 5);
        let halted = now(&machine, &[0], &BTreeMap::new());
        assert!(halted[&ID].to_string().contains("the log ends at 5"), "{halted:?}");

        drive(&mut machine, Event::Lost(vec![0]), 5);
        assert_eq!(
            now(&machine, &[], &halted),
            halted,
            "nothing is known of a partition that is not held"
        );
        // Assigned, and not loaded yet.
        machine.on(Event::Assigned(vec![0]));
        assert_eq!(now(&machine, &[0], &halted), halted, "it is not known yet");
        drive(&mut machine, Event::Assigned(vec![0]), 20);
        assert_eq!(machine.next(NO, 0), Some(10));
        assert_eq!(
            now(&machine, &[0], &halted),
            BTreeMap::new(),
            "the log was restored: it counts again"
        );

        let failing = Quarantine::Failing("it failed".into());
        drive(&mut machine, Event::Quarantined(NO, failing), 20);
        let quarantined = now(&machine, &[0], &BTreeMap::new());
        drive(&mut machine, Event::Assigned(vec![0]), 20);
        assert_eq!(
            now(&machine, &[0], &quarantined),
            quarantined,
            "a plugin that failed stays out until a restart"
        );
    }
}
