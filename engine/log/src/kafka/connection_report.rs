//! What a client reported of its connection lately: it explains failures that follow. A refused
//! password is reported once and then seen only as a broker that does not answer.

use super::errors::cause;
use super::raw::Fault;
use std::time::{Duration, Instant};

/// librdkafka reports the same fault of a connection at most every 30 s; so long a report explains
/// what follows.
pub(super) const LASTS: Duration = Duration::from_secs(45);

/// Of the faults that were reported lately the one that says most.
#[derive(Default)]
pub(super) struct ConnectionReport(Option<(Fault, Instant)>);

impl ConnectionReport {
    /// Keeps a fault, unless the one that is kept says more.
    pub(super) fn note(&mut self, fault: Fault) {
        if self.kept().is_none_or(|kept| !cause(kept).tells_more_than(cause(&fault))) {
            self.0 = Some((fault, Instant::now()));
        }
    }

    /// What explains a failure best: what was reported, or the failure itself.
    pub(super) fn explain<'a>(&'a self, failure: &'a Fault) -> &'a Fault {
        self.kept().filter(|kept| cause(kept).tells_more_than(cause(failure))).unwrap_or(failure)
    }

    /// The connection works: nothing that was reported explains a later failure.
    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    fn kept(&self) -> Option<&Fault> {
        self.0.as_ref().filter(|(_, when)| when.elapsed() < LASTS).map(|(fault, _)| fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::raw::Kind;
    use tally_system::outage::Cause;

    fn fault(cause: Cause) -> Fault {
        Fault { kind: Kind::Outage(cause, None), text: String::new(), partition: None }
    }

    #[test]
    fn a_report_explains_what_says_less_until_the_connection_works() {
        let mut report = ConnectionReport::default();
        let explained = |report: &ConnectionReport, failure| cause(report.explain(&fault(failure)));
        assert_eq!(explained(&report, Cause::Network), Cause::Network);
        report.note(fault(Cause::Authentication));
        report.note(fault(Cause::Network));
        assert_eq!(explained(&report, Cause::Network), Cause::Authentication);
        report.note(fault(Cause::Tls));
        assert_eq!(explained(&report, Cause::Missing), Cause::Tls);
        report.clear();
        assert_eq!(explained(&report, Cause::Missing), Cause::Missing);
    }
}
