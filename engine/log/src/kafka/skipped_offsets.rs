//! Which offsets hold no record (markers of transactions, aborted or compacted records): no message
//! arrives for them, so the client's own position shows that they are over.
//!
//! Each message that the client hands over raises its position, and so does each marker that it
//! takes off its queue itself. The position is wrong in two cases: for a moment after a partition
//! was taken up again it is still the old one, and a message that carries a fault raises it past a
//! record that was not handed over. A position that may be wrong is ignored until it changes.

/// How far the client is in one partition, as far as that is certain. Offsets; 0: not known yet.
#[derive(Debug, Default)]
pub(super) struct ClientPosition {
    /// The position that is ignored.
    stale: u64,
    /// A fault arrived with the last messages: the next position is ignored.
    doubted: bool,
}

impl ClientPosition {
    /// Of a partition that is being taken up; the client's position stays `reached` until that has
    /// happened.
    pub(super) fn taken_up(reached: u64) -> ClientPosition {
        ClientPosition { stale: reached, doubted: false }
    }

    /// Whether a position is ignored.
    pub(super) fn is_stale(&self) -> bool {
        self.stale > 0
    }

    /// A fault of this partition arrived among messages.
    pub(super) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Takes the client's position, asked after its messages were handed over; returns it if it is
    /// certain.
    pub(super) fn observe(&mut self, reached: u64) -> Option<u64> {
        if std::mem::take(&mut self.doubted) {
            self.stale = reached;
        }
        if reached == self.stale {
            return None;
        }
        self.stale = 0;
        (reached > 0).then_some(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_position_is_ignored_until_it_changes() {
        let mut position = ClientPosition::taken_up(100);
        assert_eq!([100, 100, 0, 0].map(|reached| position.observe(reached)), [None; 4]);
        assert_eq!(position.observe(100), Some(100), "it was seen to be reset, so this one is new");
        let mut position = ClientPosition::taken_up(100);
        assert_eq!(
            [100, 52, 100].map(|reached| position.observe(reached)),
            [None, Some(52), Some(100)]
        );
        assert_eq!(ClientPosition::taken_up(0).observe(7), Some(7), "there was none before");
    }

    #[test]
    fn a_position_that_a_fault_raised_is_ignored_until_it_changes() {
        let mut position = ClientPosition::taken_up(0);
        assert_eq!(position.observe(7), Some(7));
        position.doubt();
        assert_eq!(
            [8, 8, 8, 12].map(|reached| position.observe(reached)),
            [None, None, None, Some(12)]
        );
    }
}
