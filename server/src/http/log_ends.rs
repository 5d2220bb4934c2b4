//! Whether a position from which somebody wants to go on is one of this log: each partition that it
//! names is there, and its offset is not beyond the end.
//!
//! The log is asked, on a blocking thread, unless what it said before shows that the position is
//! right: ends only grow, so many who come back at once cost one question. What waits for the end
//! of a transaction is in the log, too. Where the log does not answer in time nothing is judged:
//! who listens waits for the log anyhow.

use super::engine_api::EngineApi;
use std::sync::Arc;
use std::time::Duration;
use tally_engine::engine::Bounds;
use tally_engine::event::Position;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// How long a position waits to be judged.
const WITHIN: Duration = Duration::from_secs(6);

/// Why a position is none of this log. Trying again does not help, unless records come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum PositionFault {
    /// There is no such partition.
    #[error("the log has no partition {partition}; its last one is partition {last}")]
    NoPartition {
        /// The one that is named.
        partition: u32,
        /// The last one that there is.
        last: u32,
    },
    /// The partition is shorter.
    #[error("partition {partition} ends at offset {end}, and {offset} is beyond that")]
    BeyondEnd {
        /// The partition.
        partition: u32,
        /// The offset that is named.
        offset: u64,
        /// The offset after the last record.
        end: u64,
    },
}

/// What the log held when it was last asked; empty: it was not asked yet. One asks at a time.
#[derive(Default)]
pub(crate) struct LogEnds(Arc<Mutex<Vec<Bounds>>>);

impl LogEnds {
    /// Judges a position. Takes as long as the log needs to answer, some seconds at most.
    ///
    /// # Errors
    /// [`PositionFault`]: the first one.
    pub(crate) async fn judge(
        &self,
        engine: &Arc<dyn EngineApi>,
        since: &Position,
    ) -> Result<(), PositionFault> {
        let asked = async {
            let mut known = Arc::clone(&self.0).lock_owned().await;
            if !known.is_empty() && fault(since, &known).is_none() {
                return Ok(None);
            }
            let (engine, since) = (Arc::clone(engine), since.clone());
            // Who gives up leaves the thread its turn: there is one thread at a time.
            let work = move || match engine.log_bounds() {
                Ok(bounds) => {
                    *known = bounds;
                    fault(&since, &known)
                }
                Err(why) => {
                    tracing::debug!("a position is not judged, the log does not answer: {why}");
                    None
                }
            };
            tokio::task::spawn_blocking(work).await
        };
        match timeout(WITHIN, asked).await {
            Ok(Ok(Some(fault))) => Err(fault),
            Ok(Err(failed)) => {
                tracing::error!(%failed, "judging a position panicked");
                Ok(())
            }
            Ok(Ok(None)) | Err(_) => Ok(()),
        }
    }
}

/// The first thing that is wrong with a position in a log that holds this. Of a log without
/// partitions nothing can be said.
fn fault(since: &Position, held: &[Bounds]) -> Option<PositionFault> {
    let last = held.iter().map(|held| held.partition).max()?;
    since.0.iter().find_map(|(&partition, &offset)| {
        let Some(held) = held.iter().find(|held| held.partition == partition) else {
            return Some(PositionFault::NoPartition { partition, last });
        };
        let end = held.end.saturating_add(held.open);
        (offset > end).then_some(PositionFault::BeyondEnd { partition, offset, end })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_names_partitions_that_there_are_and_offsets_up_to_their_ends() {
        let held = |partition, end, open| Bounds { partition, start: 3, end, open };
        let log = [held(0, 17, 0), held(1, 9, 2)];
        let told = |since: &str| {
            let since = since.parse().expect("a position");
            fault(&since, &log).map(|fault| fault.to_string())
        };
        for right in ["", "0:0", "0:17", "1:11", "0:2,1:9"] {
            assert_eq!(told(right), None, "{right}");
        }
        for (wrong, words) in [
            ("0:18", "partition 0 ends at offset 17, and 18 is beyond that"),
            ("0:1,1:12", "partition 1 ends at offset 11, and 12 is beyond that"),
            ("0:17,2:0", "the log has no partition 2; its last one is partition 1"),
        ] {
            assert_eq!(told(wrong).as_deref(), Some(words), "{wrong}");
        }
        assert_eq!(fault(&"7:1".parse().expect("a position"), &[]), None);
    }
}
