//! Appends events to the log on behalf of a caller: each is checked, keyed by its user and
//! acknowledged, or rejected with a reason.

use super::{AppendError, Appended, Engine};
use crate::decode::Reason;
use crate::failpoint::point;
use crate::log::AppendOutcome;

impl Engine {
    /// Validates events, then appends those that pass to the log, keyed by user, and waits until
    /// they are durable there. An event that the log finds too large is rejected, too. Blocks.
    ///
    /// # Errors
    /// [`AppendError`] says whether some of them may have been written.
    pub fn append(&self, events: &[&[u8]]) -> Result<Appended, AppendError> {
        let now = crate::clock::wall_ms();
        let mut appended = Appended::default();
        let mut passed: Vec<(usize, Box<str>, &[u8])> = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            match self.checker.check(event, now) {
                Ok(checked) => passed.push((index, checked.user_id.unwrap_or_default(), event)),
                Err(reason) => appended.rejected.push((index, reason.to_string())),
            }
        }
        if passed.is_empty() {
            return Ok(appended);
        }
        let records: Vec<(&[u8], &[u8])> =
            passed.iter().map(|(_, user, event)| (user.as_bytes(), *event)).collect();
        point("append.begin");
        let AppendOutcome { position, too_large } = self.log.append(&records, now)?;
        point("append.done");
        appended.accepted = (passed.len() - too_large.len()) as u64;
        appended.position = position;
        if !too_large.is_empty() {
            let reason = Reason::PayloadTooLarge.to_string();
            let refused = too_large.into_iter().map(|place| (passed[place].0, reason.clone()));
            appended.rejected.extend(refused);
            appended.rejected.sort_by_key(|(index, _)| *index);
        }
        Ok(appended)
    }
}
