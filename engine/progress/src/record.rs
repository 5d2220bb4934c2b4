//! The record of a revision's progress on one partition: what stands beside the fence in a store.
//!
//! It is a pure function of the record before it and of the log range counted (and of the gaps
//! met), so two engines that count on from one record write the same one. The first record of a
//! partition also says how far the log went then; of two engines that begin at once one finds the
//! other's.
//!
//! The smallest and the largest event time are here because frames do not have them: those say in
//! which pane an event lies, and compaction puts it into a longer one. So where history begins is
//! one time, the same for every engine and after every start.
//!
//! The binary form is versioned and carries a checksum; an unknown format is refused, never
//! skipped. What an older format can say is written in that format, byte for byte: stores compare
//! records, and a record that was stored by an older engine must stay the same when it is read and
//! named again.

use thiserror::Error;

/// The newest format that this engine reads. Format 4 has [`HAS_FIRST`], format 3 has
/// [`HAS_HISTORY`], format 2 has at most [`HAS_FAILED`]; format 1 is what is left without these.
const FORMAT: u8 = 4;
/// How many gaps are listed; what older ones lost is kept as a sum in [`Progress::lost_before`].
pub const MAX_GAPS: usize = 32;
/// Longest topic id, bytes.
pub const MAX_TOPIC: usize = 512;

const HAS_WATERMARK: u8 = 1;
const HAS_ANCHOR: u8 = 2;
const HAS_DEDUPE_GAP: u8 = 4;
/// Since format 2.
const HAS_FAILED: u8 = 8;
/// Since format 3.
const HAS_HISTORY: u8 = 16;
/// Since format 4.
const HAS_FIRST: u8 = 32;

/// Identifies a record by its place and contents, to notice a log that was truncated or made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Its offset.
    pub offset: u64,
    /// Its broker timestamp, Unix milliseconds.
    pub timestamp_ms: i64,
    /// CRC-32 of its payload (0 for a tombstone).
    pub crc32: u32,
}

/// Offsets `[from, to)`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First offset.
    pub from: u64,
    /// Offset after the last.
    pub to: u64,
}

/// How far a revision has counted a partition, and what there is to know about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Id of the topic incarnation counted; empty where the source has none. At most [`MAX_TOPIC`]
    /// bytes.
    pub topic: String,
    /// Where counting began: records below were never meant to be counted.
    pub start: u64,
    /// The offset after the last record counted.
    pub next: u64,
    /// Smallest event time counted, Unix milliseconds. `None`: nothing is counted, or the first
    /// event was by an engine that did not write this.
    pub first: Option<i64>,
    /// Largest event time counted, Unix milliseconds. `None`: nothing is counted.
    pub watermark: Option<i64>,
    /// The last record applied; `next - 1` may be a hole.
    pub anchor: Option<Anchor>,
    /// Updates counted since `start`, before folding.
    pub rows: u64,
    /// Records that were gone when the dedupe window was last rebuilt: duplicates of these would
    /// have counted twice.
    pub dedupe_gap: Option<Span>,
    /// Offsets lost in gaps that are no longer listed.
    pub lost_before: u64,
    /// The latest gaps, ascending: records that were to be counted but were gone. At most
    /// [`MAX_GAPS`].
    pub gaps: Vec<Span>,
    /// Events since `start` that are in no cell, because the metric's own code fails on them. Those
    /// of records that an engine counted which wrote format 1 are not known.
    pub failed: u64,
    /// Where history ends: how far the log went when counting began, for as long as `next` is
    /// before that. `None`: all of it is counted, or an engine began which did not write this.
    pub history_to: Option<u64>,
}

/// How a metric is counted again from the log when its stored state is of no use: the end of a
/// sentence.
pub(crate) const RECOUNT: &str = "have the metric counted again from the log: take its file out of \
                                  the plugin folder, or its section out of the configuration, run \
                                  `tally plugin purge NAME`, and put it back";

/// Why bytes are no progress record. No retry helps.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unreadable {
    /// Written by another version of the engine.
    #[error(
        "progress record of format {0}; this engine reads formats 1 to {FORMAT}: use the engine \
         that wrote it, or {RECOUNT}"
    )]
    Format(u8),
    /// Damaged.
    #[error("progress record is damaged ({0}): restore the store, or {RECOUNT}")]
    Damaged(&'static str),
}

impl Progress {
    /// Adds a gap. Beyond [`MAX_GAPS`] the oldest leaves the list and only its length is kept.
    pub fn add_gap(&mut self, gap: Span) {
        self.gaps.push(gap);
        if self.gaps.len() > MAX_GAPS {
            let oldest = self.gaps.remove(0);
            self.lost_before = self.lost_before.saturating_add(oldest.to - oldest.from);
        }
    }

    /// Adds the smallest and the largest event time of what was counted since. What an older engine
    /// began has no smallest one, and gets none: events that it counted may be earlier.
    pub fn add_times(&mut self, (first, last): (i64, i64)) {
        self.first = match self.watermark {
            None => Some(first),
            Some(_) => self.first.map(|known| known.min(first)),
        };
        self.watermark = self.watermark.max(Some(last));
    }

    /// The oldest format that can say all of it.
    fn format(&self) -> u8 {
        match (self.first, self.history_to) {
            (Some(_), _) => 4,
            (None, Some(_)) => 3,
            (None, None) if self.failed > 0 => 2,
            (None, None) => 1,
        }
    }

    /// Offsets lost in gaps, all of them.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.gaps.iter().fold(self.lost_before, |sum, gap| sum.saturating_add(gap.to - gap.from))
    }

    /// The binary form: format, fields in little-endian, CRC-32 of all before it. A topic longer
    /// than [`MAX_TOPIC`] is cut at a character.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let topic = &self.topic.as_bytes()[..self.topic.floor_char_boundary(MAX_TOPIC)];
        let mut out = Vec::with_capacity(96 + topic.len() + 16 * self.gaps.len());
        out.push(self.format());
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out.push(
            flag(self.watermark.is_some(), HAS_WATERMARK)
                | flag(self.anchor.is_some(), HAS_ANCHOR)
                | flag(self.dedupe_gap.is_some(), HAS_DEDUPE_GAP)
                | flag(self.failed > 0, HAS_FAILED)
                | flag(self.history_to.is_some(), HAS_HISTORY)
                | flag(self.first.is_some(), HAS_FIRST),
        );
        out.extend_from_slice(&(topic.len() as u16).to_le_bytes());
        out.extend_from_slice(topic);
        for number in [self.start, self.next, self.rows, self.lost_before] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        if let Some(watermark) = self.watermark {
            out.extend_from_slice(&watermark.to_le_bytes());
        }
        if let Some(anchor) = self.anchor {
            out.extend_from_slice(&anchor.offset.to_le_bytes());
            out.extend_from_slice(&anchor.timestamp_ms.to_le_bytes());
            out.extend_from_slice(&anchor.crc32.to_le_bytes());
        }
        let first = self.gaps.len().saturating_sub(MAX_GAPS);
        out.push((self.gaps.len() - first) as u8);
        for gap in self.dedupe_gap.iter().chain(&self.gaps[first..]) {
            out.extend_from_slice(&gap.from.to_le_bytes());
            out.extend_from_slice(&gap.to.to_le_bytes());
        }
        let failed = Some(self.failed).filter(|failed| *failed > 0);
        for number in failed.iter().chain(&self.history_to) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        if let Some(first) = self.first {
            out.extend_from_slice(&first.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// [`Unreadable`]: unknown format, or bytes that `encode` cannot have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (format, mut rest) = open(bytes)?;
        let [flags] = take(&mut rest)?;
        let known =
            HAS_WATERMARK | HAS_ANCHOR | HAS_DEDUPE_GAP | HAS_FAILED | HAS_HISTORY | HAS_FIRST;
        if flags & !known != 0 {
            return Err(Unreadable::Damaged("it has unknown flags"));
        }
        let length = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let (topic, after) =
            rest.split_at_checked(length).ok_or(Unreadable::Damaged("it is too short"))?;
        rest = after;
        let topic = std::str::from_utf8(topic)
            .map_err(|_| Unreadable::Damaged("its topic id is not UTF-8"))?;
        let mut progress = Self {
            topic: topic.to_owned(),
            start: number(&mut rest)?,
            next: number(&mut rest)?,
            rows: number(&mut rest)?,
            lost_before: number(&mut rest)?,
            ..Self::default()
        };
        if flags & HAS_WATERMARK != 0 {
            progress.watermark = Some(i64::from_le_bytes(take(&mut rest)?));
        }
        if flags & HAS_ANCHOR != 0 {
            progress.anchor = Some(Anchor {
                offset: number(&mut rest)?,
                timestamp_ms: i64::from_le_bytes(take(&mut rest)?),
                crc32: u32::from_le_bytes(take(&mut rest)?),
            });
        }
        let [gaps] = take(&mut rest)?;
        if flags & HAS_DEDUPE_GAP != 0 {
            progress.dedupe_gap = Some(span(&mut rest)?);
        }
        for _ in 0..gaps {
            progress.gaps.push(span(&mut rest)?);
        }
        if flags & HAS_FAILED != 0 {
            progress.failed = number(&mut rest)?;
        }
        if flags & HAS_HISTORY != 0 {
            progress.history_to = Some(number(&mut rest)?);
        }
        if flags & HAS_FIRST != 0 {
            progress.first = Some(i64::from_le_bytes(take(&mut rest)?));
        }
        // Each record has one form: another one would not be the same to a store.
        let one_form =
            format == progress.format() && (flags & HAS_FAILED != 0) == (progress.failed > 0);
        let sound = one_form && length <= MAX_TOPIC && progress.is_sound();
        if !rest.is_empty() || !sound {
            return Err(Unreadable::Damaged("its fields contradict each other"));
        }
        Ok(progress)
    }

    /// Whether its fields do not contradict each other.
    fn is_sound(&self) -> bool {
        self.history_to.is_none_or(|end| end > self.next)
            && self.first.is_none_or(|first| Some(first) <= self.watermark)
            && self.gaps.len() <= MAX_GAPS
            && self.start <= self.next
            && self.gaps.windows(2).all(|pair| pair[0].to <= pair[1].from)
            && self.gaps.last().is_none_or(|gap| gap.to <= self.next)
            && self.anchor.is_none_or(|anchor| anchor.offset < self.next)
    }
}

/// The format of a record, and what stands between that and its checksum.
fn open(bytes: &[u8]) -> Result<(u8, &[u8]), Unreadable> {
    let format = match bytes.first() {
        None => return Err(Unreadable::Damaged("it is empty")),
        Some(&format @ 1..=FORMAT) => format,
        Some(&other) => return Err(Unreadable::Format(other)),
    };
    let too_short = Unreadable::Damaged("it is too short");
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else { return Err(too_short) };
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(Unreadable::Damaged("its checksum differs"));
    }
    body.get(1..).map(|rest| (format, rest)).ok_or(too_short)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Unreadable> {
    let (head, tail) =
        rest.split_first_chunk::<N>().ok_or(Unreadable::Damaged("it is too short"))?;
    *rest = tail;
    Ok(*head)
}

fn number(rest: &mut &[u8]) -> Result<u64, Unreadable> {
    Ok(u64::from_le_bytes(take(rest)?))
}

fn span(rest: &mut &[u8]) -> Result<Span, Unreadable> {
    let span = Span { from: number(rest)?, to: number(rest)? };
    if span.from < span.to { Ok(span) } else { Err(Unreadable::Damaged("it has an empty gap")) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]
    use super::*;
    use proptest::prelude::*;

    fn records() -> impl Strategy<Value = Progress> {
        let failed = prop_oneof![Just(0), any::<u64>()];
        let numbers = (any::<u32>(), 0..u64::from(u32::MAX), any::<u64>(), any::<u64>(), failed);
        let maybe = (
            proptest::option::of((any::<i64>(), proptest::option::of(any::<u32>()))),
            proptest::option::of((any::<i64>(), any::<u32>())),
            any::<bool>(),
            proptest::option::of(1..9u64),
        );
        (".{0,40}", numbers, maybe, proptest::collection::vec((1..9u64, 1..9u64), 0..MAX_GAPS + 9))
            .prop_map(
                |(
                    topic,
                    (start, more, rows, lost_before, failed),
                    (times, anchor, dedupe, history),
                    gaps,
                )| {
                    let start = u64::from(start);
                    let mut progress = Progress {
                        topic,
                        start,
                        next: start,
                        watermark: times.map(|(last, _)| last),
                        rows,
                        failed,
                        ..Progress::default()
                    };
                    progress.lost_before = lost_before / 2;
                    progress.first =
                        times.and_then(|(last, before)| Some(last.saturating_sub(before?.into())));
                    for (skip, length) in gaps {
                        let from = progress.next + skip;
                        progress.next = from + length;
                        progress.add_gap(Span { from, to: from + length });
                    }
                    progress.next += more + 1;
                    let offset = progress.next - 1;
                    progress.anchor =
                        anchor.map(|(timestamp_ms, crc32)| Anchor { offset, timestamp_ms, crc32 });
                    progress.dedupe_gap = dedupe.then_some(Span { from: start, to: start + 1 });
                    progress.history_to = history.map(|more| progress.next + more);
                    progress
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(progress in records()) {
            prop_assert_eq!(Progress::decode(&progress.encode()), Ok(progress));
        }

        #[test]
        fn garbage_is_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Progress::decode(&bytes).is_err());
        }

        #[test]
        fn garbage_with_a_right_checksum_does_not_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 1..200), format in 1..=FORMAT,
        ) {
            bytes[0] = format;
            let crc = crc32fast::hash(&bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
            if let Ok(progress) = Progress::decode(&bytes) {
                prop_assert_eq!(progress.encode(), bytes);
            }
        }

        #[test]
        fn any_change_or_cut_is_noticed(progress in records(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
            let mut bytes = progress.encode();
            let at = at.index(bytes.len());
            prop_assert!(Progress::decode(&bytes[..at]).is_err());
            bytes[at] ^= flip;
            prop_assert!(Progress::decode(&bytes).is_err());
        }
    }

    #[test]
    fn another_format_is_named() {
        let mut bytes = Progress::default().encode();
        bytes[0] = 9;
        assert_eq!(Progress::decode(&bytes), Err(Unreadable::Format(9)));
    }

    /// As an engine wrote it that knew no failed events.
    const OF_FORMAT_1: &str = "010303006c6f670000000000000000d204000000000000e8030000000000000000000000000000f2a8da\
                               769b010000d10400000000000000a8da769b010000785634120102000000000000000400000000000000";

    #[test]
    fn a_record_has_the_oldest_format_that_can_say_it_and_stays_the_same_to_a_store() {
        let digit = |at: usize| u8::from_str_radix(&OF_FORMAT_1[at..at + 2], 16).unwrap();
        let mut bytes: Vec<u8> = (0..OF_FORMAT_1.len()).step_by(2).map(digit).collect();
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        let progress = Progress::decode(&bytes).unwrap();
        assert_eq!(
            (progress.topic.as_str(), progress.next, progress.rows, progress.failed),
            ("log", 1_234, 1_000, 0)
        );
        assert_eq!(progress.gaps, [Span { from: 2, to: 4 }]);
        assert_eq!(progress.encode(), bytes);
        let failed = Progress { failed: 563, ..progress.clone() };
        assert_eq!(failed.encode()[0], 2);
        assert_eq!(Progress::decode(&failed.encode()), Ok(failed.clone()));
        for record in [progress, failed] {
            let begun = Progress { history_to: Some(1_235), ..record };
            assert_eq!(begun.encode()[0], 3);
            assert_eq!(Progress::decode(&begun.encode()), Ok(begun.clone()));
            let counted = Progress { history_to: Some(1_234), ..begun };
            assert!(Progress::decode(&counted.encode()).is_err(), "there is nothing left of it");
        }
    }

    #[test]
    fn the_smallest_time_is_that_of_all_events_or_unknown() {
        let mut progress = Progress::default();
        let expected = [((20, 30), 20, 30), ((25, 26), 20, 30), ((10, 40), 10, 40)];
        for (times, first, last) in expected {
            progress.add_times(times);
            assert_eq!((progress.first, progress.watermark), (Some(first), Some(last)));
            assert_eq!(progress.encode()[0], 4);
            assert_eq!(Progress::decode(&progress.encode()), Ok(progress.clone()));
        }
        // One of whose events an older engine counted some.
        let mut old = Progress { first: None, ..progress.clone() };
        old.add_times((5, 50));
        assert_eq!((old.first, old.watermark, old.encode()[0]), (None, Some(50), 1));
        for watermark in [None, Some(9)] {
            let damaged = Progress { watermark, ..progress.clone() };
            assert!(Progress::decode(&damaged.encode()).is_err(), "it has counted something");
        }
    }

    #[test]
    fn the_list_of_gaps_is_bounded_and_loses_no_sum() {
        let mut progress = Progress::default();
        for n in 0..100 {
            progress.add_gap(Span { from: n * 10, to: n * 10 + 3 });
        }
        assert_eq!(progress.gaps.len(), MAX_GAPS);
        assert_eq!(progress.lost(), 300);
    }
}
