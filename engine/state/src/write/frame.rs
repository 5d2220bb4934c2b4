//! What a commit appends to a bucket: folded rows of one range of the log, self-contained and
//! checksummed.
//!
//! ```text
//! header   format u8 · snapshot? | threshold << 1 u8 · table u16 · bucket u32 · layout u24 · threshold of types u8 · rows u64 ·
//!          payload length u32 · crc32 u32
//! snapshot + floors 3 × i64                                                        (all little-endian)
//! payload  texts: count, (length, bytes)… · panes: (tier u8, number, row count, rows…)…
//! row      key columns (integer << 1, or text number << 1 | 1), then the cells (a sketch: length, bytes)
//! ```
//! Format 1 has no threshold of types (its layout is a u32); frames without such a threshold are
//! still written in it. Numbers in the payload are LEB128. `rows` counts updates before folding:
//! their sum over all buckets must equal what progress says was applied. Frames cross engines and
//! restarts, so they carry the ids themselves, each text once per frame. Reading checks everything
//! and never panics; an unknown format is an error and is never skipped.

use super::threshold::Threshold;
use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::floors::{Floors, PaneId, exists, start};
use crate::rows::row::Row;
use crate::rows::varint;
use tally_plugin::description::Pane;
use thiserror::Error;

/// First byte of a frame without a threshold of types, and with one.
const FORMAT: u8 = 1;
const WITH_TYPES: u8 = 2;
const HEADER: usize = 28;
const FLOORS: usize = 24;
/// The bits of the layout in a header with a threshold of types.
const LAYOUT: u32 = 0x00ff_ffff;

/// Why bytes are not a frame of this table.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// Written by an engine that is newer than this one. Upgrade the engine; a retry does not help.
    #[error("frame format {0} is not known to this engine")]
    Format(u8),
    /// Cut off or altered. A retry does not help: the bucket must be restored or counted again.
    #[error("a frame is damaged: {0}")]
    Damaged(&'static str),
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) table: u16,
    pub(crate) bucket: u32,
    /// Raised when a table's buckets are split; 0 as created.
    pub(crate) layout: u32,
    /// Updates counted before folding.
    pub(crate) rows: u64,
    /// Which keys stand for themselves.
    pub(crate) threshold: Threshold,
    /// In a snapshot: from which time on each tier is held.
    pub(crate) floors: Option<Floors>,
}

/// Writes frames one after the other.
#[derive(Default)]
pub(crate) struct FrameWriter {
    texts: Vec<u8>,
    text_count: u64,
    panes: Vec<u8>,
    open: Option<(PaneId, u64)>,
    open_rows: Vec<u8>,
}

impl FrameWriter {
    /// Adds a text; returns its number in this frame.
    pub(crate) fn text(&mut self, text: &[u8]) -> u64 {
        varint::put(&mut self.texts, text.len() as u64);
        self.texts.extend_from_slice(text);
        self.text_count += 1;
        self.text_count - 1
    }

    /// Begins a row in a pane; its key columns and cells follow through `key` and `cells`. Rows of
    /// a pane come together.
    pub(crate) fn row(&mut self, pane: PaneId) {
        match &mut self.open {
            Some((open, rows)) if *open == pane => *rows += 1,
            _ => {
                self.close_pane();
                self.open = Some((pane, 1));
            }
        }
    }

    /// One key column of the current row.
    #[inline]
    pub(crate) fn key(&mut self, is_text: bool, number: u64) {
        varint::put(&mut self.open_rows, number << 1 | u64::from(is_text));
    }

    /// The cells of the current row.
    #[inline]
    pub(crate) fn cells(&mut self, layout: &Layout, row: Row<'_>) {
        let base = self.open.map_or(0, |(pane, _)| start(pane));
        layout.write(row, base, &mut self.open_rows);
    }

    fn close_pane(&mut self) {
        if let Some((pane, rows)) = self.open.take() {
            self.panes.push(tier_code(pane.0));
            varint::put(&mut self.panes, varint::zigzag(pane.1));
            varint::put(&mut self.panes, rows);
            self.panes.append(&mut self.open_rows);
        }
    }

    /// Returns the frame's bytes and begins the next frame.
    pub(crate) fn finish(&mut self, header: Header) -> Vec<u8> {
        self.close_pane();
        let mut count = Vec::new();
        varint::put(&mut count, self.text_count);
        let payload = [&count, &self.texts, &self.panes];
        let length: usize = payload.iter().map(|part| part.len()).sum();
        let mut out = Vec::with_capacity(HEADER + FLOORS + length);
        let types = header.threshold.types();
        let format = if types == 0 { FORMAT } else { WITH_TYPES };
        out.extend([format, u8::from(header.floors.is_some()) | header.threshold.bits() << 1]);
        out.extend(header.table.to_le_bytes());
        out.extend(header.bucket.to_le_bytes());
        // A bucket is split some dozen times at most.
        out.extend((header.layout & LAYOUT | u32::from(types) << 24).to_le_bytes());
        out.extend(header.rows.to_le_bytes());
        out.extend((length as u32).to_le_bytes());
        let floors: Vec<u8> = header
            .floors
            .iter()
            .flat_map(|floors| [floors.minute, floors.hour, floors.day])
            .flat_map(i64::to_le_bytes)
            .collect();
        let mut crc = crc32fast::Hasher::new();
        [&out, &floors].into_iter().chain(payload).for_each(|part| crc.update(part));
        out.extend(crc.finalize().to_le_bytes());
        out.extend(floors);
        payload.into_iter().for_each(|part| out.extend_from_slice(part));
        self.texts.clear();
        self.text_count = 0;
        self.panes.clear();
        out
    }
}

fn tier_code(tier: Option<Pane>) -> u8 {
    match tier {
        Some(Pane::Minute) => 0,
        Some(Pane::Hour) => 1,
        Some(Pane::Day) => 2,
        None => 3,
    }
}

/// A checked frame that is read row by row.
pub(crate) struct FrameReader<'a> {
    pub(crate) header: Header,
    /// Texts of the frame, by number.
    pub(crate) texts: Vec<&'a [u8]>,
    rest: &'a [u8],
    columns: usize,
    pane: PaneId,
    left: u64,
}

/// One key column of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyValue {
    Integer(u64),
    /// Number in [`FrameReader::texts`].
    Text(usize),
}

impl<'a> FrameReader<'a> {
    /// Checks length, format and checksum; `columns` is the table's number of key columns.
    pub(crate) fn open(frame: &'a [u8], columns: usize) -> Result<FrameReader<'a>, FrameError> {
        let (header, payload) = open_header(frame)?;
        let mut rest = payload;
        let cut = FrameError::Damaged("its texts are cut off");
        let count =
            varint::take(&mut rest).filter(|count| *count <= rest.len() as u64).ok_or(cut)?;
        let mut texts = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let cut = FrameError::Damaged("a text is cut off");
            let len = varint::take(&mut rest).filter(|len| *len <= rest.len() as u64).ok_or(cut)?;
            let (text, after) = rest.split_at(len as usize);
            texts.push(text);
            rest = after;
        }
        Ok(FrameReader { header, texts, rest, columns, pane: (None, 0), left: 0 })
    }

    /// Reads the next row into `key` and `row` (of one row) and returns its pane; `None` at the
    /// end.
    pub(crate) fn next(
        &mut self,
        layout: &Layout,
        key: &mut Vec<KeyValue>,
        row: &mut Block,
    ) -> Result<Option<PaneId>, FrameError> {
        while self.left == 0 {
            if self.rest.is_empty() {
                return Ok(None);
            }
            self.open_pane().ok_or(FrameError::Damaged("a pane is cut off"))?;
        }
        self.left -= 1;
        self.take_row(layout, key, row).ok_or(FrameError::Damaged("a row is cut off"))?;
        Ok(Some(self.pane))
    }

    fn open_pane(&mut self) -> Option<()> {
        let (&code, rest) = self.rest.split_first()?;
        self.rest = rest;
        let tier = match code {
            0 => Some(Pane::Minute),
            1 => Some(Pane::Hour),
            2 => Some(Pane::Day),
            3 => None,
            _ => return None,
        };
        let pane = (tier, varint::unzigzag(varint::take(&mut self.rest)?));
        if !exists(pane) {
            return None;
        }
        self.pane = pane;
        self.left = varint::take(&mut self.rest)?;
        Some(())
    }

    fn take_row(
        &mut self,
        layout: &Layout,
        key: &mut Vec<KeyValue>,
        row: &mut Block,
    ) -> Option<()> {
        key.clear();
        for _ in 0..self.columns {
            let value = varint::take(&mut self.rest)?;
            key.push(match (value & 1, value >> 1) {
                (0, integer) => KeyValue::Integer(integer),
                (_, text) => KeyValue::Text(
                    usize::try_from(text).ok().filter(|text| *text < self.texts.len())?,
                ),
            });
        }
        if layout.has_sketches() {
            row.clear_row(layout);
        }
        layout.read(&mut self.rest, start(self.pane), &mut row.row_mut(layout, 0))
    }
}

fn open_header(frame: &[u8]) -> Result<(Header, &[u8]), FrameError> {
    let short = FrameError::Damaged("it is shorter than its header");
    let head = frame.get(..HEADER).ok_or(short)?;
    let with_types = match head[0] {
        FORMAT => false,
        WITH_TYPES => true,
        other => return Err(FrameError::Format(other)),
    };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let is_snapshot = head[1] & 1 == 1;
    let floors_len = if is_snapshot { FLOORS } else { 0 };
    let (layout, types) = if with_types { (word(8) & LAYOUT, head[11]) } else { (word(8), 0) };
    let threshold = Threshold::stated(head[1] >> 1, types)
        .ok_or(FrameError::Damaged("its threshold is invalid"))?;
    let (len, crc) = (word(20) as usize, word(24));
    let body = &frame[HEADER..];
    if body.len() != floors_len + len {
        return Err(FrameError::Damaged("its length is not what its header says"));
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..24]);
    hasher.update(body);
    if hasher.finalize() != crc {
        return Err(FrameError::Damaged("its checksum does not match"));
    }
    let (floors, payload) = body.split_at(floors_len);
    let floor = |n: usize| {
        floors[n * 8..].first_chunk().map_or(i64::MAX, |bytes| i64::from_le_bytes(*bytes))
    };
    let header = Header {
        table: u16::from_le_bytes([head[2], head[3]]),
        bucket: word(4),
        layout,
        rows: u64::from(word(12)) | u64::from(word(16)) << 32,
        threshold,
        floors: is_snapshot.then(|| Floors { minute: floor(0), hour: floor(1), day: floor(2) }),
    };
    Ok((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tally_plugin::description::{Cell, From, Merge};

    fn layout() -> Layout {
        let cell = |merge, from| Cell { name: "c".into(), merge, from };
        Layout::new(&[cell(Merge::Sum, From::One), cell(Merge::Min, From::EventTime)])
    }

    type Row = (PaneId, Vec<KeyValue>, Vec<i64>);

    fn write(texts: &[Vec<u8>], rows: &[Row], header: Header) -> Vec<u8> {
        let mut writer = FrameWriter::default();
        for text in texts {
            writer.text(text);
        }
        for (pane, key, words) in rows {
            writer.row(*pane);
            for value in key {
                match value {
                    KeyValue::Integer(n) => writer.key(false, *n),
                    KeyValue::Text(n) => writer.key(true, *n as u64),
                }
            }
            writer.cells(&layout(), Block::of(words.clone()).row(&layout(), 0));
        }
        writer.finish(header)
    }

    fn read(frame: &[u8]) -> Result<(Header, Vec<Row>), FrameError> {
        let mut reader = FrameReader::open(frame, 2)?;
        let (mut key, mut row, mut rows) = (Vec::new(), Block::of(vec![0; 2]), Vec::new());
        while let Some(pane) = reader.next(&layout(), &mut key, &mut row)? {
            rows.push((pane, key.clone(), row.words.clone()));
        }
        Ok((reader.header, rows))
    }

    fn header() -> impl Strategy<Value = Header> {
        (
            any::<u16>(),
            any::<u32>(),
            any::<u64>(),
            (0..98u8, 0..66u8),
            prop::option::of((any::<i64>(), any::<i64>(), any::<i64>())),
        )
            .prop_map(|(table, bucket, rows, (groups, types), floors)| Header {
                table,
                bucket,
                layout: bucket % 40,
                rows,
                threshold: Threshold::stated(groups, types).expect("below the last"),
                floors: floors.map(|(minute, hour, day)| Floors { minute, hour, day }),
            })
    }

    fn rows(texts: usize) -> impl Strategy<Value = Vec<Row>> {
        let tier =
            prop::option::of(prop::sample::select(vec![Pane::Minute, Pane::Hour, Pane::Day]));
        let pane = (tier, tally_event::time::FIRST_MS..=tally_event::time::LAST_MS).prop_map(
            |(tier, time)| (tier, tier.map_or(0, |tier: Pane| time.div_euclid(tier.millis()))),
        );
        let value = prop_oneof![
            (0..1u64 << 53).prop_map(KeyValue::Integer),
            (0..texts).prop_map(KeyValue::Text)
        ];
        let row = (pane, prop::collection::vec(value, 2), (1..1_000i64, any::<i32>()));
        prop::collection::vec(
            row.prop_map(|(pane, key, (n, t))| (pane, key, vec![n, i64::from(t)])),
            0..60,
        )
    }

    proptest! {
        #[test]
        fn a_frame_comes_back(header in header(), texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..64), 5), rows in rows(5)) {
            prop_assert_eq!(read(&write(&texts, &rows, header)), Ok((header, rows)));
        }

        #[test]
        fn a_changed_bit_is_noticed(header in header(), rows in rows(1), at in any::<prop::sample::Index>(), bit in 0..8u32) {
            let mut frame = write(&[b"t".to_vec()], &rows, header);
            let at = at.index(frame.len());
            frame[at] ^= 1u8 << bit;
            prop_assert!(read(&frame).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&bytes).is_err());
        }
    }

    /// A frame may be damaged before it is written, with a valid checksum: a pane that cannot exist
    /// is refused in every tier.
    #[test]
    fn a_pane_beyond_all_time_is_refused() {
        let header = Header {
            table: 0,
            bucket: 0,
            layout: 0,
            rows: 1,
            threshold: Threshold::NONE,
            floors: None,
        };
        let key = vec![KeyValue::Integer(1); 2];
        for tier in [Pane::Minute, Pane::Hour, Pane::Day] {
            let [first, last] = [tally_event::time::FIRST_MS, tally_event::time::LAST_MS]
                .map(|t| t.div_euclid(tier.millis()));
            for (number, known) in [
                (first, true),
                (last, true),
                (first - 1, false),
                (last + 1, false),
                (i64::MIN, false),
                (1 << 40, false),
            ] {
                let rows = vec![((Some(tier), number), key.clone(), vec![1, 1])];
                // The writer computes with existing panes only.
                let Ok(frame) = std::panic::catch_unwind(|| write(&[], &rows, header)) else {
                    continue;
                };
                let expected = if known {
                    Ok((header, rows))
                } else {
                    Err(FrameError::Damaged("a pane is cut off"))
                };
                assert_eq!(read(&frame), expected, "{tier:?} {number}");
            }
        }
        let other = vec![((None, 1), key, vec![1, 1])];
        assert_eq!(
            read(&write(&[], &other, header)),
            Err(FrameError::Damaged("a pane is cut off"))
        );
    }

    #[test]
    fn a_newer_format_is_named() {
        let header = Header {
            table: 0,
            bucket: 0,
            layout: 0,
            rows: 0,
            threshold: Threshold::NONE,
            floors: None,
        };
        let mut frame = write(&[], &[], header);
        frame[0] = 9;
        assert_eq!(read(&frame), Err(FrameError::Format(9)));
    }
}
