//! Turns what was sealed into frames: a self-contained frame for each bucket that it touches.

use super::{MetricState, Sealed, SealedFrame};
use crate::rows::floors::Floors;
use crate::write::buckets::{Buckets, splits};
use crate::write::frame::{FrameWriter, Header};
use crate::write::keyspace::Keyspace;
use crate::write::table::{SealedTail, TableState};
use crate::write::tail::Folded;
use crate::write::texts::Texts;
use crate::write::threshold::Threshold;
use parking_lot::Mutex;
use std::hint::black_box;
use std::sync::{Arc, Weak};
use tally_event::TEXT_BIT;
use tally_event::index::GROUP;

impl MetricState {
    /// `others`: all metrics of the state, some of which may count like this one.
    pub(crate) fn frames(
        &self,
        sealed: &[&Sealed],
        (keyspaces, others): (&[Keyspace], &[MetricState]),
        texts: &Texts,
        writing: &Mutex<Writing>,
    ) -> Vec<SealedFrame> {
        let mut frames = Vec::new();
        let mut writing = writing.lock();
        let Writing { written, numbers, writer } = &mut *writing;
        for (n, (table, buckets)) in self.tables.iter().zip(&self.buckets).enumerate() {
            let table = &*table.read();
            let (number, threshold) = (n as u16, keyspaces[table.keyspace].threshold());
            let parts: Vec<Arc<SealedTail>> =
                sealed.iter().filter_map(|sealed| sealed.tables.get(n)).cloned().collect();
            let folded: Vec<_> =
                parts.iter().map(|part| (&part.folded, &keyspaces[part.keyspace])).collect();
            let mut write = |out: &mut Vec<SealedFrame>| {
                write_frames(
                    (number, buckets),
                    (table, threshold),
                    &folded,
                    texts,
                    (numbers, writer),
                    out,
                );
            };
            let alike = others.iter().filter_map(|other| other.tables.get(n));
            // One of them is the table itself.
            let alike = alike.filter(|other| other.read_recursive().counts_like(table));
            if alike.count() < 2 {
                write(&mut frames);
                continue;
            }
            let known = written.iter().position(|known| known.number == number);
            let known = known.map(|at| written.swap_remove(at));
            let known = match known.filter(|known| known.of(&parts, (table, threshold), buckets)) {
                Some(known) => known,
                None => {
                    let mut fresh = Vec::new();
                    write(&mut fresh);
                    let (floors, buckets) = (*table.floors(), buckets.clone());
                    let parts = parts.iter().map(Arc::downgrade).collect();
                    Written { number, parts, floors, threshold, buckets, frames: fresh }
                }
            };
            frames.extend_from_slice(&known.frames);
            written.push(known);
        }
        frames
    }
}

/// What is reused from frame to frame.
#[derive(Default)]
pub(crate) struct Writing {
    /// At most one entry for each number of a table, and only for tables that others count like.
    written: Vec<Written>,
    numbers: FrameTexts,
    writer: FrameWriter,
}

impl Writing {
    /// Drops the frames of parts that nobody keeps any more.
    pub(crate) fn release(&mut self) {
        self.written.retain(|written| written.parts.iter().all(|part| part.strong_count() > 0));
    }
}

/// The frames last written for the table of a number: a table that counts alike has the same.
struct Written {
    number: u16,
    /// Kept by the metrics that sealed them: a copy of what was written keeps no keys.
    parts: Vec<Weak<SealedTail>>,
    floors: Floors,
    threshold: Threshold,
    buckets: Arc<Buckets>,
    frames: Vec<SealedFrame>,
}

impl Written {
    /// Whether they are what `table` would write of these parts. Only tables of one keyspace and
    /// layout share parts.
    fn of(
        &self,
        parts: &[Arc<SealedTail>],
        (table, threshold): (&TableState, Threshold),
        buckets: &Arc<Buckets>,
    ) -> bool {
        let is = |(known, part): (&Weak<SealedTail>, &Arc<SealedTail>)| {
            Weak::as_ptr(known) == Arc::as_ptr(part)
        };
        let same = self.parts.len() == parts.len() && self.parts.iter().zip(parts).all(is);
        let laid_out = Arc::ptr_eq(&self.buckets, buckets) || self.buckets == *buckets;
        let alike = self.floors == *table.floors() && self.threshold == threshold;
        same && laid_out && alike && !parts.is_empty()
    }
}

/// By the text's number in this process: its number in a frame, and the number of the frame for
/// which that holds.
#[derive(Default)]
struct FrameTexts {
    frame: u32,
    numbers: Vec<(u32, u32)>,
}

impl FrameTexts {
    fn next_frame(&mut self, texts: usize) {
        self.frame = self.frame.checked_add(1).unwrap_or_else(|| {
            self.numbers.clear();
            1
        });
        self.numbers.resize(texts, (0, 0));
    }

    #[inline]
    fn number(&mut self, number: u64, texts: &Texts, writer: &mut FrameWriter) -> u64 {
        let (frame, in_frame) = &mut self.numbers[(number & !TEXT_BIT) as usize];
        if *frame != self.frame {
            *frame = self.frame;
            *in_frame = writer.text(texts.text(number)) as u32;
        }
        u64::from(*in_frame)
    }
}

fn write_frames(
    (number, buckets): (u16, &Buckets),
    (table, threshold): (&TableState, Threshold),
    parts: &[(&Folded, &Keyspace)],
    texts: &Texts,
    (numbers, writer): (&mut FrameTexts, &mut FrameWriter),
    out: &mut Vec<SealedFrame>,
) {
    let has_panes = !table.description.tiers.is_empty();
    let all: usize = parts.iter().map(|(folded, _)| folded.keys.len()).sum();
    let share = all / buckets.leaves().len().max(1);
    let mut rows_of: Vec<Vec<(u32, u32)>> =
        buckets.leaves().iter().map(|_| Vec::with_capacity(share)).collect();
    for (part, (folded, keys)) in parts.iter().enumerate() {
        for (row, group) in folded.groups.iter().enumerate() {
            rows_of[buckets.place(keys.bucket_hash(*group))].push((part as u32, row as u32));
        }
    }
    let mut updates: u64 = parts.iter().map(|(folded, _)| folded.updates).sum();
    for (&bucket, rows) in
        buckets.leaves().iter().zip(&rows_of).filter(|(_, rows)| !rows.is_empty())
    {
        numbers.next_frame(texts.len());
        let key = |&(part, row): &(u32, u32)| {
            let (folded, keys) = parts[part as usize];
            keys.key(folded.keys[row as usize])
        };
        // The pane of the rows of part `of` before row `until`.
        let (mut pane, mut of, mut until) = ((None, 0), 0, 0);
        for group in rows.chunks(GROUP) {
            // Keys lie anywhere: they are loaded first, so that their cache misses overlap.
            black_box(
                group.iter().filter_map(|at| key(at).first()).fold(0, |all, first| all ^ first),
            );
            for at @ &(part, row) in group {
                let ((folded, _), row) = (parts[part as usize], row as usize);
                if row >= until || part != of {
                    let at = folded.minutes.partition_point(|(_, end)| *end <= row);
                    let (minute, end) = folded.minutes.get(at).copied().unwrap_or_default();
                    (of, until) = (part, end);
                    pane =
                        if has_panes { table.floors().pane(i64::from(minute)) } else { (None, 0) };
                }
                writer.row(pane);
                for &value in key(at) {
                    if value & TEXT_BIT == 0 {
                        writer.key(false, value);
                    } else {
                        let in_frame = numbers.number(value, texts, writer);
                        writer.key(true, in_frame);
                    }
                }
                writer.cells(&table.layout, folded.rows.row(&table.layout, row));
            }
        }
        // The first frame of a commit accounts for all of its updates: only the sum over all
        // buckets is ever compared.
        let rows = std::mem::take(&mut updates);
        let header =
            Header { table: number, bucket, layout: splits(bucket), rows, threshold, floors: None };
        out.push(SealedFrame { table: number, bucket, bytes: writer.finish(header) });
    }
}
