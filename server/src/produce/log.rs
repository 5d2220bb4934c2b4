//! The outlet that writes directly to a shared log, without an engine in between.
//!
//! The log's client bounds what is in flight and sends by itself; it reports every record,
//! acknowledged or not.

use super::{Counts, Outgoing, Outlet, OutletError};
use tally_engine::engine::{DeliveryCounts, LogProducer};

/// Sends to the log.
pub(crate) struct LogOutlet(Box<dyn LogProducer>);

impl LogOutlet {
    pub(crate) fn new(producer: Box<dyn LogProducer>) -> LogOutlet {
        LogOutlet(producer)
    }
}

impl Outlet for LogOutlet {
    fn send(&mut self, event: Outgoing) -> Result<(), OutletError> {
        self.0
            .send(event.key.as_bytes(), &event.json)
            .map_err(|error| OutletError(error.to_string()))
    }

    fn flush(&mut self) -> Result<(), OutletError> {
        Ok(())
    }

    fn counts(&self) -> Counts {
        let DeliveryCounts { acknowledged, errors } = self.0.counts();
        Counts { acknowledged, errors }
    }

    fn complaints(&mut self) -> Vec<String> {
        self.0.take_failures()
    }

    fn finish(&mut self) -> Result<(), OutletError> {
        self.0.finish();
        Ok(())
    }
}
