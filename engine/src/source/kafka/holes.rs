//! How far the client says it has come in a partition, as far as that can be believed: so offsets are passed that hold no
//! record (markers of transactions, aborted or compacted records), which no message tells of.
//!
//! The client's place is raised by each message that it hands over and by each marker that it takes off its queue itself. It
//! lies in two cases: for a moment after a partition was taken up anew it is still that of before, and a message that tells of a
//! fault raises it past a record that was not handed over. A place that may be such a lie is not believed until it changes.

/// What is known of the client's place in one partition. Offsets; 0: none yet.
#[derive(Debug, Default)]
pub(super) struct Believed {
    /// The place that must not be believed.
    stale: u64,
    /// A fault came with what was taken last: the next place seen is not believed.
    doubted: bool,
}

impl Believed {
    /// Of a partition that is being taken up, where the client's place is `reached` until that has happened.
    pub(super) fn taken_up(reached: u64) -> Believed {
        Believed { stale: reached, doubted: false }
    }

    /// Whether the place told last is not believed.
    pub(super) fn is_stale(&self) -> bool {
        self.stale > 0
    }

    /// Among what was taken was a fault of this partition.
    pub(super) fn doubt(&mut self) {
        self.doubted = true;
    }

    /// The place that the client tells after what was taken is handed over, if it can be believed.
    pub(super) fn place(&mut self, reached: u64) -> Option<u64> {
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
    fn a_place_of_before_is_not_believed_until_it_changes() {
        let mut believed = Believed::taken_up(100);
        assert_eq!([100, 100, 0, 0].map(|reached| believed.place(reached)), [None; 4]);
        assert_eq!(believed.place(100), Some(100), "it was seen to be reset, so this one is new");
        let mut believed = Believed::taken_up(100);
        assert_eq!([100, 52, 100].map(|reached| believed.place(reached)), [None, Some(52), Some(100)]);
        assert_eq!(Believed::taken_up(0).place(7), Some(7), "there was none before");
    }

    #[test]
    fn a_place_that_a_fault_raised_is_not_believed_until_it_changes() {
        let mut believed = Believed::taken_up(0);
        assert_eq!(believed.place(7), Some(7));
        believed.doubt();
        assert_eq!([8, 8, 8, 12].map(|reached| believed.place(reached)), [None, None, None, Some(12)]);
    }
}
