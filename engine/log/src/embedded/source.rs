//! Reading the embedded log as a [`Source`]: all partitions are ours, each in turn.

use super::log::SegmentLog;
use super::lookup::StoredBatch;
use super::value;
use crate::{Bounds, LogError, Sink, Source, Start};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally_event::Record;
use tally_system::outage::Cause;

/// Bytes read ahead of a partition at a time: about one batch of a lane, so that no small one is
/// left over, and little enough to stay in the processor's cache until it is decoded.
const READ_AHEAD: usize = 384 << 10;

/// Between two reads while they fail.
const RETRY: Duration = Duration::from_millis(50);

/// How often age is checked while nothing is appended.
const RETAIN_EVERY: Duration = Duration::from_secs(60);

/// Reads the log; several may read one log independently.
pub struct EmbeddedSource {
    log: Arc<SegmentLog>,
    /// Empty before the first poll.
    cursors: Vec<Cursor>,
    /// The partition that is served first next time.
    turn: usize,
    retained: Instant,
}

/// How far a partition was read.
struct Cursor {
    next: u64,
    paused: bool,
    /// A gap was reported: nothing until `rewind`.
    halted: bool,
    /// Verified batches not yet handed over, the first one in part.
    ahead: VecDeque<StoredBatch>,
    /// Bytes of the first batch not yet handed over.
    left: usize,
}

impl Cursor {
    fn jump(&mut self, offset: u64) {
        self.next = offset;
        self.halted = false;
        self.ahead.clear();
        self.left = 0;
    }
}

impl EmbeddedSource {
    /// A reader of `log`; the first poll asks the sink where to start.
    #[must_use]
    pub fn new(log: Arc<SegmentLog>) -> EmbeddedSource {
        EmbeddedSource { log, cursors: Vec::new(), turn: 0, retained: Instant::now() }
    }

    fn assign(&mut self, sink: &mut dyn Sink) -> Result<(), LogError> {
        let partitions: Vec<u32> = (0..self.log.partitions()).collect();
        let starts = sink.assigned(&partitions);
        if starts.len() != partitions.len() {
            return Err(LogError::Fatal(format!(
                "the sink gave {} starts for {} partitions",
                starts.len(),
                partitions.len()
            )));
        }
        let place = |(start, bounds): (Start, Bounds)| match start {
            Start::At(offset) => offset,
            Start::Earliest => bounds.start,
        };
        let nexts = starts.into_iter().zip(self.log.bounds()).map(place);
        self.cursors = nexts
            .map(|next| Cursor {
                next,
                paused: false,
                halted: false,
                ahead: VecDeque::new(),
                left: 0,
            })
            .collect();
        Ok(())
    }

    /// Hands over what there is, at most `budget` records; whether there was anything.
    fn scan(&mut self, mut budget: usize, sink: &mut dyn Sink) -> Result<bool, LogError> {
        let bounds = self.log.bounds();
        let (first, count) = (self.turn, self.cursors.len());
        let mut any = false;
        for index in (first..first + count).map(|index| index % count) {
            let cursor = &mut self.cursors[index];
            let held = bounds[index];
            if cursor.paused || cursor.halted || cursor.next == held.end {
                continue;
            }
            if cursor.next < held.start && cursor.ahead.is_empty() || cursor.next > held.end {
                cursor.halted = true;
                any = true;
                sink.gap(held.partition, cursor.next, held.start);
                continue;
            }
            if budget == 0 {
                break;
            }
            self.turn = (index + 1) % count;
            budget -= serve(&self.log, held.partition, cursor, budget, sink)?;
            any = true;
        }
        Ok(any)
    }
}

/// Hands over records of one partition; how many.
fn serve(
    log: &SegmentLog,
    partition: u32,
    cursor: &mut Cursor,
    budget: usize,
    sink: &mut dyn Sink,
) -> Result<usize, LogError> {
    if cursor.ahead.is_empty() {
        if let Err(fault) = log.read(partition, cursor.next, READ_AHEAD, &mut cursor.ahead) {
            cursor.ahead.clear();
            return Err(fault.into());
        }
        for batch in &cursor.ahead {
            value::verify(&batch.bytes).map_err(|fault| damaged(partition, batch.base, fault))?;
        }
        let Some(first) = cursor.ahead.front() else {
            let held = log.bounds()[partition as usize];
            return match (held.start..held.end).contains(&cursor.next) {
                true => Err(damaged(partition, cursor.next, "it is missing")),
                false => Ok(0), // just dropped: the next scan reports the gap
            };
        };
        let mut records = value::records(&first.bytes, first.base);
        let mut offset = first.base;
        cursor.left = records.left();
        while offset < cursor.next && records.next().is_some() {
            offset += 1;
            cursor.left = records.left();
        }
    }
    let mut records: Vec<Record<'_>> = Vec::with_capacity(budget.min(8_192));
    let (mut finished, mut left) = (0, cursor.left);
    for (index, batch) in cursor.ahead.iter().enumerate() {
        let mut reader = match index {
            0 => value::resume(&batch.bytes, cursor.left, cursor.next),
            _ => value::records(&batch.bytes, batch.base),
        };
        records.extend(reader.by_ref().take(budget - records.len()));
        left = reader.left();
        if left > 0 {
            break;
        }
        finished += 1;
    }
    let count = records.len();
    if let Some(last) = records.last() {
        let next = last.offset + 1;
        sink.records(partition, &records);
        cursor.next = next;
    }
    drop(records);
    if count == 0 && finished > 0 {
        return Err(damaged(partition, cursor.next, "the batch that should hold it does not"));
    }
    cursor.ahead.drain(..finished);
    cursor.left = match (left, cursor.ahead.front()) {
        (0, Some(front)) => value::records(&front.bytes, front.base).left(),
        _ => left,
    };
    Ok(count)
}

fn damaged(partition: u32, base: u64, fault: &str) -> LogError {
    LogError::Fatal(format!(
        "the log is damaged: the batch at partition {partition}, offset {base} cannot be read: \
         {fault}; restore the data directory from a backup"
    ))
}

impl Source for EmbeddedSource {
    fn poll(
        &mut self,
        wait: Duration,
        max_records: usize,
        sink: &mut dyn Sink,
    ) -> Result<(), LogError> {
        if self.cursors.is_empty() {
            self.assign(sink)?;
        }
        let version = self.log.version();
        match self.scan(max_records, sink) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(fault) => {
                if matches!(fault, LogError::Transient(..)) {
                    std::thread::sleep(wait.min(RETRY));
                }
                return Err(fault);
            }
        }
        if self.retained.elapsed() >= RETAIN_EVERY {
            self.retained = Instant::now();
            self.log
                .retain()
                .map_err(|fault| LogError::Transient(Cause::Unclear, fault.to_string()))?;
        }
        if self.log.wait_beyond(version, wait) {
            self.scan(max_records, sink)?;
        }
        Ok(())
    }

    fn pause(&mut self, partition: u32) {
        if let Some(cursor) = self.cursors.get_mut(partition as usize) {
            cursor.paused = true;
        }
    }

    fn resume(&mut self, partition: u32) -> Result<(), LogError> {
        if let Some(cursor) = self.cursors.get_mut(partition as usize) {
            cursor.paused = false;
        }
        Ok(())
    }

    fn rewind(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        if let Some(cursor) = self.cursors.get_mut(partition as usize) {
            cursor.jump(offset);
        }
        Ok(())
    }

    fn publish_progress(&mut self, _offsets: &[(u32, u64)]) {} // no lag tool reads an embedded log

    fn close(self: Box<Self>, _limit: Duration) {}
}
