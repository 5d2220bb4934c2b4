//! Which log is counted: a topic that was deleted and created again has the same name and other
//! records.
//!
//! An id is `NAME/INCARNATION`, or `NAME` alone where the source knows no incarnations; empty: a
//! log without an id.

use super::machine::Machine;
use super::protocol::*;

/// Whether two ids may name the same log: one that lacks its incarnation is taken for any of that
/// name.
#[must_use]
pub fn same_log(one: &str, other: &str) -> bool {
    let bare = |id: &str, name: &str| !id.contains('/') && name.split('/').next() == Some(id);
    one == other || one.is_empty() || other.is_empty() || bare(one, other) || bare(other, one)
}

impl Machine {
    /// The log's id as it is now. If it is another log than before, nothing that was counted and is
    /// not stored can be trusted, for it may be of either: all is loaded and compared anew.
    pub(super) fn told_topic(&mut self, topic: String, out: &mut Vec<Effect>) {
        let same = same_log(&self.settings.topic, &topic);
        if self.settings.topic.len() < topic.len() || !same {
            self.settings.topic = topic;
        }
        if same {
            return;
        }
        for r in 0..self.revisions.len() {
            self.restart(r, out);
        }
        for part in &mut self.partitions {
            // What is read next is read from where the loaded state says, with an empty dedupe
            // window.
            part.read = None;
            part.bounds_asked = None;
        }
        self.settle(false, out);
    }

    /// The id that records and commits are counted under; empty while it is not known.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.settings.topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Progress;

    const NO: RevisionNo = RevisionNo(0);

    /// A store, and a log of 100 records, around a machine.
    struct World {
        machine: Machine,
        stored: Option<Progress>,
        sent: Option<(Ticket, Progress)>,
        reads: Vec<u64>,
    }

    impl World {
        fn new(memory: Memory, stored: Option<Progress>) -> World {
            let machine = Machine::new(Settings {
                dedupe_window: 0,
                on_gap: OnGap::Halt,
                on_state_loss: OnStateLoss::Rebuild,
                memory,
                max_pending_rows: 1_000,
                topic: String::new(),
            });
            let mut world = World { machine, stored, sent: None, reads: Vec::new() };
            world.tell(Event::Topic("t/1".into()));
            world.tell(Event::Joined(NO, History::Whole, None));
            world.tell(Event::Assigned(vec![0]));
            world
        }

        fn tell(&mut self, event: Event) {
            let mut events = vec![event];
            while let Some(event) = events.pop() {
                for effect in self.machine.on(event) {
                    match effect {
                        Effect::Load { revision, ticket, .. } => {
                            let progress =
                                self.stored.iter().map(|progress| (0, progress.clone())).collect();
                            events.push(Event::Loaded(
                                revision,
                                ticket,
                                Ok(Some(Found { life: 1, progress })),
                            ));
                        }
                        Effect::Bounds(ticket, _) => {
                            events.push(Event::Bounds(
                                ticket,
                                vec![Bounds { partition: 0, start: 0, end: 100 }],
                            ));
                        }
                        Effect::Commit { ticket, advances, .. } => {
                            self.sent = Some((ticket, advances[0].to.clone()));
                        }
                        Effect::Read { from, .. } => self.reads.push(from),
                        _ => {}
                    }
                }
            }
        }

        fn count(&mut self, to: u64) {
            // Epochs are numbered from 1 in the order of the reads.
            let epoch = self.reads.len() as u64;
            let counts = vec![Count { revision: NO, rows: 1, times: None, failed: 0 }];
            self.tell(Event::Counted(Counted { partition: 0, epoch, to, last: None, counts }));
        }

        fn apply(&mut self) {
            let (ticket, progress) = self.sent.take().unwrap_or_else(|| panic!("nothing was sent"));
            self.stored = Some(progress);
            self.tell(Event::Answered(NO, ticket, Answer::Applied));
        }

        fn halts(&self) -> Vec<String> {
            self.machine.halts().map(|(_, _, halt)| halt.to_string()).collect()
        }
    }

    #[test]
    fn a_log_that_was_made_anew_halts_what_is_stored_and_drops_what_is_not() {
        for memory in [Memory::Resident, Memory::Apart] {
            let mut world = World::new(memory, None);
            world.count(40);
            world.tell(Event::CheckpointDue);
            world.apply();
            assert_eq!(
                world.stored.as_ref().map(|stored| (stored.topic.as_str(), stored.next)),
                Some(("t/1", 40))
            );
            world.count(50);
            world.tell(Event::Topic("t/2".into()));
            assert!(
                world
                    .halts()
                    .concat()
                    .contains("was counted from topic t/1, but the log is now t/2"),
                "{memory:?}"
            );
            world.tell(Event::CheckpointDue);
            assert_eq!(
                world.sent, None,
                "records of the new log would be stored as those of the old: {memory:?}"
            );
            // Between two runs it is the same.
            let mut world = World::new(memory, world.stored);
            assert_eq!(world.halts(), Vec::<String>::new());
            world.tell(Event::Topic("t/2".into()));
            assert_eq!(world.halts().len(), 1);
        }
    }

    #[test]
    fn of_what_was_never_stored_the_new_log_is_counted_whole() {
        for memory in [Memory::Resident, Memory::Apart] {
            let mut world = World::new(memory, None);
            world.count(40);
            world.tell(Event::Topic("t/2".into()));
            assert_eq!((world.halts(), world.reads.clone()), (vec![], vec![0, 0]), "{memory:?}");
            world.count(60);
            world.tell(Event::CheckpointDue);
            world.apply();
            assert_eq!(
                world.stored.map(|stored| (stored.topic, stored.next)),
                Some(("t/2".into(), 60))
            );
        }
    }

    #[test]
    fn an_id_without_its_incarnation_is_that_of_any_of_the_name() {
        for (one, other, same) in [
            ("t/1", "t/1", true),
            ("t/1", "t", true),
            ("t", "t/1", true),
            ("", "t/1", true),
            ("t/1", "t/2", false),
            ("t/1", "u/1", false),
            ("t", "u/1", false),
            ("t", "u", false),
        ] {
            assert_eq!(same_log(one, other), same, "{one} {other}");
        }
        let mut world = World::new(
            Memory::Apart,
            Some(Progress { topic: "t".into(), next: 40, ..Progress::default() }),
        );
        assert_eq!(world.halts(), Vec::<String>::new());
        world.tell(Event::Topic("t".into()));
        assert_eq!((world.machine.topic(), world.halts().len()), ("t/1", 0));
    }
}
