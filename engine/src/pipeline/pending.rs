//! What was counted and is not stored yet: sealed deltas, per revision and partition, until the
//! store has them.
//!
//! Promises that a range that was sent once is sent again with exactly the same deltas, until it is
//! stored or void. It knows neither the protocol nor the store: `progress` decides which deltas are
//! due, stored or void.

use crate::progress::RevisionNo;
use crate::state::Sealed;
use std::collections::HashMap;

/// Deltas that wait to be stored.
#[derive(Default)]
pub(super) struct Pending(HashMap<(RevisionNo, u32), Deltas>);

/// The deltas of one revision in one partition.
#[derive(Default)]
struct Deltas {
    /// Counted since the last commit was sent.
    open: Vec<Sealed>,
    /// Sent, up to this offset; kept until they are stored.
    sent: Option<(u64, Vec<Sealed>)>,
}

impl Pending {
    /// The deltas that the next commit takes; callers add what they seal.
    pub(super) fn open(&mut self, no: RevisionNo, partition: u32) -> &mut Vec<Sealed> {
        &mut self.0.entry((no, partition)).or_default().open
    }

    /// Adds deltas that were sealed outside a batch.
    pub(super) fn add(&mut self, no: RevisionNo, sealed: Vec<(u32, Sealed)>) {
        for (partition, sealed) in sealed {
            self.open(no, partition).push(sealed);
        }
    }

    /// Fixes the contents of a commit up to `to`: the open deltas, and the tail, which is sealed
    /// now. Does nothing if that was done for the same `to` before.
    pub(super) fn freeze(
        &mut self,
        no: RevisionNo,
        partition: u32,
        to: u64,
        seal_tail: impl FnOnce() -> Sealed,
    ) {
        let deltas = self.0.entry((no, partition)).or_default();
        if deltas.sent.as_ref().is_none_or(|(sent, _)| *sent != to) {
            let mut all = std::mem::take(&mut deltas.open);
            all.push(seal_tail());
            deltas.sent = Some((to, all));
        }
    }

    /// The deltas of a partition that were fixed last, and may be under way to the store.
    pub(super) fn frozen(&self, no: RevisionNo, partition: u32) -> &[Sealed] {
        let sent = self.0.get(&(no, partition)).and_then(|deltas| deltas.sent.as_ref());
        sent.map_or(&[], |(_, sealed)| sealed)
    }

    /// The deltas up to this offset are stored.
    pub(super) fn stored(&mut self, no: RevisionNo, partition: u32, to: u64) {
        if let Some(deltas) = self.0.get_mut(&(no, partition)) {
            deltas.sent.take_if(|(sent, _)| *sent <= to);
        }
    }

    /// Nothing of this partition is valid any more.
    pub(super) fn drop_partition(&mut self, no: RevisionNo, partition: u32) {
        self.0.remove(&(no, partition));
    }

    /// Nothing of this revision is valid any more.
    pub(super) fn drop_revision(&mut self, no: RevisionNo) {
        self.0.retain(|(of, _), _| *of != no);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::State;

    const NO: RevisionNo = RevisionNo(3);

    /// Empty deltas: the tests compare where they are, not what they hold.
    fn sealed() -> Sealed {
        let mut state = State::default();
        let id = state.add(crate::host::plain_metric().description());
        state.seal(id, 0)
    }

    #[test]
    fn a_range_is_sent_again_as_it_was() {
        let mut pending = Pending::default();
        pending.add(NO, vec![(0, sealed()), (1, sealed())]);
        pending.freeze(NO, 0, 10, sealed);
        assert_eq!(pending.frozen(NO, 0).len(), 2);
        // More is counted meanwhile: it belongs to the next range.
        pending.open(NO, 0).push(sealed());
        pending.freeze(NO, 0, 10, || panic!("the same range is sealed once"));
        assert_eq!(pending.frozen(NO, 0).len(), 2);
        pending.stored(NO, 0, 10);
        assert!(pending.frozen(NO, 0).is_empty());
        pending.freeze(NO, 0, 20, sealed);
        assert_eq!(pending.frozen(NO, 0).len(), 2);
        // An answer to an older commit says nothing of this one.
        pending.stored(NO, 0, 10);
        assert_eq!(pending.frozen(NO, 0).len(), 2);
    }

    #[test]
    fn what_is_void_is_gone_for_its_own_partition_and_revision_only() {
        let other = RevisionNo(4);
        let mut pending = Pending::default();
        for no in [NO, other] {
            for partition in [0, 1] {
                pending.freeze(no, partition, 10, sealed);
                pending.open(no, partition).push(sealed());
            }
        }
        pending.drop_partition(NO, 0);
        assert!(pending.frozen(NO, 0).is_empty() && pending.open(NO, 0).is_empty());
        assert_eq!((pending.frozen(NO, 1).len(), pending.open(NO, 1).len()), (1, 1));
        pending.drop_revision(NO);
        assert!(pending.frozen(NO, 1).is_empty() && pending.open(NO, 1).is_empty());
        assert_eq!((pending.frozen(other, 0).len(), pending.open(other, 1).len()), (1, 1));
    }
}
