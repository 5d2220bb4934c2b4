//! What of the machine's words the source has taken over, per partition: from where it reads, under
//! which stamp, whether it is paused.
//!
//! Promises: a stamp is in force only once the source stands where its read begins; whatever comes
//! before is thrown away, and read again from there. What the source did not do stays due, and the
//! partition is paused until it is done. The driver asks for what is due and says what was done;
//! nothing here does it, waits or counts.

use std::collections::{BTreeMap, BTreeSet};

/// All partitions that are held.
#[derive(Debug, Default)]
pub struct Deliveries {
    partitions: BTreeMap<u32, Delivery>,
    /// Those of which something is due.
    due: BTreeSet<u32>,
}

/// From where a partition is to be read, and how: see [`super::Effect::Read`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFrom {
    /// First offset.
    pub from: u64,
    /// Stamp of what is read from there on.
    pub epoch: u64,
    /// Whether the dedupe window starts empty.
    pub fresh: bool,
}

/// Something the source is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Stop delivery of this partition.
    Pause(u32),
    /// Deliver this partition from here on. `strayed`: the source may stand anywhere; else it
    /// stands where it was started.
    Read {
        /// The partition.
        partition: u32,
        /// From where, and under which stamp.
        read: ReadFrom,
        /// See above.
        strayed: bool,
    },
    /// Go on with this partition.
    Resume(u32),
}

#[derive(Debug, Default)]
struct Delivery {
    /// Stamp of what comes now; `None`: it is thrown away.
    epoch: Option<u64>,
    /// Said by the machine, not taken over yet.
    read: Option<ReadFrom>,
    /// Whether records were thrown away, or a rewind failed, since the source was last put in its
    /// place.
    strayed: bool,
    /// Whether the last rewind failed.
    failed: bool,
    /// As the machine wants it.
    to_pause: bool,
    /// As the source has it.
    paused: bool,
}

impl Delivery {
    fn pauses(&self) -> bool {
        self.to_pause || self.failed
    }

    fn is_due(&self) -> bool {
        self.read.is_some() || self.pauses() != self.paused
    }
}

impl Deliveries {
    /// A partition is held, and begins anew: what comes is thrown away until a read is taken over.
    pub fn begin(&mut self, partition: u32) {
        let paused = self.partitions.get(&partition).is_some_and(|delivery| delivery.paused);
        self.change(partition, |delivery| *delivery = Delivery { paused, ..Delivery::default() });
    }

    /// A partition is no longer held by the source, which forgets what it was told.
    pub fn end(&mut self, partition: u32) {
        self.partitions.remove(&partition);
        self.due.remove(&partition);
    }

    /// The machine says from where to read. From now on nothing that comes counts until the source
    /// stands there.
    pub fn read(&mut self, partition: u32, read: ReadFrom) {
        self.of_held(partition, |delivery| (delivery.epoch, delivery.read) = (None, Some(read)));
    }

    /// The machine says whether to pause.
    pub fn pause(&mut self, partition: u32, pause: bool) {
        self.of_held(partition, |delivery| delivery.to_pause = pause);
    }

    /// What the source is to be told now, in this order; nothing in most cases. A partition is
    /// resumed once its read is taken over: ask again after that.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for partition in &self.due {
            let Some(delivery) = self.partitions.get(partition) else { continue };
            if delivery.pauses() && !delivery.paused {
                steps.push(Step::Pause(*partition));
            }
            match delivery.read {
                Some(read) => {
                    steps.push(Step::Read {
                        partition: *partition,
                        read,
                        strayed: delivery.strayed,
                    });
                }
                None if delivery.paused && !delivery.pauses() => {
                    steps.push(Step::Resume(*partition))
                }
                None => {}
            }
        }
        steps
    }

    /// The source stands where this read begins: its stamp is in force. Whether it is still the one
    /// that is wanted.
    pub fn took_over(&mut self, partition: u32, epoch: u64) -> bool {
        let mut taken = false;
        self.of_held(partition, |delivery| {
            if delivery.read.take_if(|read| read.epoch == epoch).is_some() {
                (delivery.epoch, delivery.strayed, delivery.failed) = (Some(epoch), false, false);
                taken = true;
            }
        });
        taken
    }

    /// The source did not go where it was told, and may stand anywhere.
    pub fn failed(&mut self, partition: u32) {
        self.of_held(partition, |delivery| (delivery.strayed, delivery.failed) = (true, true));
    }

    /// The source has paused a partition or goes on with it.
    pub fn has_paused(&mut self, partition: u32, paused: bool) {
        self.of_held(partition, |delivery| delivery.paused = paused);
    }

    /// The stamp that is in force; `None`: what comes is thrown away.
    #[must_use]
    pub fn in_force(&self, partition: u32) -> Option<u64> {
        self.partitions.get(&partition)?.epoch
    }

    /// Something of a partition comes: the stamp under which it counts. `None`: it is thrown away,
    /// and that is noted.
    pub fn comes(&mut self, partition: u32) -> Option<u64> {
        let delivery = self.partitions.get_mut(&partition)?;
        delivery.strayed |= delivery.epoch.is_none();
        delivery.epoch
    }

    /// The partitions held.
    pub fn held(&self) -> impl Iterator<Item = u32> + '_ {
        self.partitions.keys().copied()
    }

    fn of_held(&mut self, partition: u32, change: impl FnOnce(&mut Delivery)) {
        if self.partitions.contains_key(&partition) {
            self.change(partition, change);
        }
    }

    fn change(&mut self, partition: u32, change: impl FnOnce(&mut Delivery)) {
        let delivery = self.partitions.entry(partition).or_default();
        change(delivery);
        if delivery.is_due() {
            self.due.insert(partition);
        } else {
            self.due.remove(&partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(from: u64, epoch: u64) -> ReadFrom {
        ReadFrom { from, epoch, fresh: true }
    }

    #[test]
    fn what_fails_stays_due_and_counts_under_no_stamp_meanwhile() {
        let mut deliveries = Deliveries::default();
        deliveries.begin(3);
        deliveries.read(3, read(10, 1));
        assert_eq!(
            deliveries.steps(),
            [Step::Read { partition: 3, read: read(10, 1), strayed: false }]
        );
        assert!(deliveries.took_over(3, 1));
        assert_eq!((deliveries.comes(3), deliveries.steps()), (Some(1), vec![]));

        deliveries.read(3, read(5, 2));
        assert_eq!(deliveries.comes(3), None, "what comes before the rewind is of neither read");
        deliveries.failed(3);
        let again = Step::Read { partition: 3, read: read(5, 2), strayed: true };
        assert_eq!(deliveries.steps(), [Step::Pause(3), again]);
        deliveries.has_paused(3, true);
        deliveries.failed(3);
        assert_eq!((deliveries.comes(3), deliveries.steps()), (None, vec![again]));

        // Another word of the machine meanwhile: only the last one is taken over.
        deliveries.read(3, read(7, 3));
        assert!(!deliveries.took_over(3, 2));
        assert_eq!(deliveries.comes(3), None);
        assert!(deliveries.took_over(3, 3));
        assert_eq!((deliveries.comes(3), deliveries.steps()), (Some(3), vec![Step::Resume(3)]));
        deliveries.has_paused(3, false);
        assert_eq!(deliveries.steps(), []);
    }

    #[test]
    fn what_was_thrown_away_since_the_assignment_is_read_again() {
        let mut deliveries = Deliveries::default();
        deliveries.begin(0);
        assert_eq!(deliveries.comes(0), None);
        deliveries.read(0, read(0, 1));
        assert_eq!(
            deliveries.steps(),
            [Step::Read { partition: 0, read: read(0, 1), strayed: true }]
        );
    }

    #[test]
    fn a_pause_outlives_a_new_beginning_and_ends_with_the_assignment() {
        let mut deliveries = Deliveries::default();
        deliveries.begin(0);
        deliveries.pause(0, true);
        deliveries.has_paused(0, true);
        deliveries.begin(0);
        assert_eq!(deliveries.steps(), [Step::Resume(0)], "the source still pauses it");
        deliveries.end(0);
        deliveries.begin(0);
        assert_eq!(deliveries.steps(), [], "the source holds it anew");
        deliveries.pause(9, true);
        deliveries.read(9, read(0, 1));
        assert_eq!(
            (deliveries.comes(9), deliveries.steps()),
            (None, vec![]),
            "of what is not held nothing is due"
        );
    }
}
