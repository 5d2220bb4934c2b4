//! Appends events to the log on behalf of a caller: each is checked, keyed by its user and
//! acknowledged.

use super::{AppendError, Appended, Engine};
use crate::failpoint::point;

impl Engine {
    /// Validates events, then appends those that pass to the log, keyed by user, and waits until
    /// they are durable there. Blocks.
    ///
    /// # Errors
    /// [`AppendError`] says whether some of them may have been written.
    pub fn append(&self, events: &[&[u8]]) -> Result<Appended, AppendError> {
        let now = crate::clock::wall_ms();
        let mut appended = Appended::default();
        let mut passed: Vec<(Box<str>, &[u8])> = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            match self.checker.check(event, now) {
                Ok(checked) => passed.push((checked.user_id.unwrap_or_default(), event)),
                Err(reason) => appended.rejected.push((index, reason.to_string())),
            }
        }
        appended.accepted = passed.len() as u64;
        if passed.is_empty() {
            return Ok(appended);
        }
        let records: Vec<(&[u8], &[u8])> =
            passed.iter().map(|(user, event)| (user.as_bytes(), *event)).collect();
        point("append.begin");
        appended.position = self.log.append(&records, now)?;
        point("append.done");
        Ok(appended)
    }
}
