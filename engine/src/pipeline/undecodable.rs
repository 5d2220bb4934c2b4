//! What becomes of a record that cannot be decoded, or whose keys cannot be found: work that all metrics share.
//!
//! Panics there end nothing: the record is found by trying each alone, whoever has counted up to it stands still before it, and
//! the partition is read again, for the dedupe window is in doubt. It is passed once a person said so (`tally skip`).

use super::counting::Counting;
use super::deaths::contained;
use super::effects::Driver;
use crate::decode::DedupeWindow;
use crate::event::{EventBatch, Record};
use crate::failpoint::poisoned;
use crate::progress::Event;

impl Counting {
    /// Whether everybody has passed a record that cannot be decoded. Who has counted up to it stands still before it.
    pub(super) fn passes(&mut self, partition: u32, offset: u64, driver: &mut Driver) -> bool {
        let Some(epoch) = self.deliveries.comes(partition) else { return false };
        if self.machine.due(partition, epoch, offset + 1).next().is_none() {
            return true;
        }
        // No record lies between what was counted and this one.
        self.pass(partition, offset, driver);
        driver.tell(self, Event::Undecodable(partition, epoch, offset));
        false
    }

    /// Finds the record, and has the partition read again from what is stored: the dedupe window is in doubt.
    pub(super) fn decode_panicked(&mut self, partition: u32, records: &[Record<'_>], what: &str, driver: &mut Driver) {
        let mut decoder = self.decoder.fresh();
        let panics = |record: &&Record<'_>| {
            let (mut window, mut batch, mut refused) = (DedupeWindow::new(0), EventBatch::default(), Vec::new());
            let alone = std::slice::from_ref(*record);
            contained(|| {
                poisoned("decode", partition, [record.offset].into_iter());
                decoder.decode(partition, alone, &mut window, 0, &mut batch, &mut refused);
            })
            .is_err()
        };
        // None alone: then it is the first, as far as anybody can tell.
        let found = records.iter().find(panics).or(records.first()).map(|record| record.offset);
        self.decoder = self.decoder.fresh();
        self.read_properties();
        self.cannot_decode(partition, found, what, driver);
    }

    /// The same, where it is the keys of a record that cannot be found.
    pub(super) fn keys_panicked(&mut self, partition: u32, what: &str, driver: &mut Driver) {
        let panics = |row: &usize| {
            let one = self.batch.rows(*row..row + 1);
            let metrics = self.metrics.iter().map(|metric| metric.id);
            contained(|| {
                poisoned("keys", partition, one.offsets.iter().copied());
                self.view.write().state.begin_for(&one, metrics);
            })
            .is_err()
        };
        let found = (0..self.batch.len()).find(panics).or((!self.batch.is_empty()).then_some(0));
        let found = found.map(|row| self.batch.offsets[row]);
        self.cannot_decode(partition, found, what, driver);
    }

    fn cannot_decode(&mut self, partition: u32, found: Option<u64>, what: &str, driver: &mut Driver) {
        if let Some(offset) = found {
            tracing::error!(partition, offset, "decoding a record panicked: {what}");
            self.deaths.cannot_decode(partition, offset);
        }
        driver.tell(self, Event::Lost(vec![partition]));
        self.assigned(&[partition]);
        driver.tell(self, Event::Assigned(vec![partition]));
    }
}
