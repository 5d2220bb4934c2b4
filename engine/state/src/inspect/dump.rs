//! A metric's totals and panes at one moment, row by row, for audits.
//!
//! Nothing is copied beforehand: a moment is held ([`Moment`]), and its rows are taken apart a few
//! thousand at a time while others count. It takes memory for those rows, and for what changes
//! until its reader is done. Nothing is folded here: a key may have several rows in a pane, whose
//! merge is what the key has there.

use crate::read::access::{OpenTable, PIECE};
use crate::read::moment::Moment;
use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::floors::{Floors, PaneId, start};
use crate::rows::row::Row;
use crate::rows::run::Run;
use crate::write::metric::SharedTable;
use crate::write::texts::Texts;
use std::collections::HashMap;
use std::iter::from_fn;
use tally_event::TEXT_BIT;
use tally_plugin::description::Pane;
use tally_plugin::read::Id;

/// The tables of a metric.
pub struct Dump {
    moment: Moment,
    tables: Vec<TableFacts>,
}

/// What is known of a table before its rows are read.
struct TableFacts {
    /// Rows of totals.
    rows: usize,
    floors: Floors,
    has_panes: bool,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpRow {
    /// Index of the table in the metric's description.
    pub table: usize,
    /// The pane; `None`: the row is one of the totals.
    pub pane: Option<DumpPane>,
    /// The key, in the order of the table's key columns; an event type is a text.
    pub key: Vec<Id>,
    /// The cells, in the table's order.
    pub cells: Vec<DumpCell>,
}

/// Where a row lies in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpPane {
    /// Its length; `None`: everything older than the panes that are held.
    pub length: Option<Pane>,
    /// Unix milliseconds; 0 for what is older.
    pub start: i64,
}

/// What a cell holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DumpCell {
    /// A minimum, a maximum or a sketch of nothing.
    Nothing,
    /// A number.
    Number(i128),
    /// A sketch in its one encoding, as it is stored.
    Sketch(Vec<u8>),
}

impl Dump {
    pub(crate) fn new(moment: Moment, tables: &[SharedTable]) -> Dump {
        let facts = |table: &SharedTable| {
            let table = table.read();
            TableFacts {
                rows: table.len(),
                floors: *table.floors(),
                has_panes: !table.description.tiers.is_empty(),
            }
        };
        Dump { moment, tables: tables.iter().map(facts).collect() }
    }

    /// Number of rows of totals, over all tables.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tables.iter().map(|table| table.rows).sum()
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Of each table, which panes it holds, shorter ones first, and from which time on (Unix
    /// milliseconds; `None`: from the beginning). A row is in the shortest pane that is held at its
    /// time.
    pub fn held(&self) -> impl Iterator<Item = Vec<(Pane, Option<i64>)>> + '_ {
        let from = |floor: i64| (floor > i64::MIN).then_some(floor);
        let of = move |floors: &Floors| {
            let panes = [Pane::Minute, Pane::Hour, Pane::Day].map(|pane| (pane, floors.of(pane)));
            panes
                .into_iter()
                .filter(|(_, floor)| *floor < i64::MAX)
                .map(|(pane, floor)| (pane, from(floor)))
                .collect()
        };
        self.tables.iter().map(move |table| of(&table.floors))
    }

    /// The rows of the totals, table by table, in no particular order.
    pub fn rows(&self) -> impl Iterator<Item = DumpRow> + '_ {
        (0..self.tables.len()).flat_map(move |n| {
            let mut next = 0;
            in_pieces(move |rows| {
                let reader = self.moment.reader(n);
                reader.with(PIECE, |open| {
                    let keys = next..open.keys().len().min(next + PIECE);
                    next = keys.end;
                    let has_more = !keys.is_empty();
                    for key in keys {
                        rows.extend(
                            open.total(key as u32)
                                .map(|row| Dump::row(open, (n, None), key as u32, row)),
                        );
                    }
                    has_more
                })
            })
        })
    }

    /// The rows of the panes, table by table, in no particular order.
    pub fn pane_rows(&self) -> impl Iterator<Item = DumpRow> + '_ {
        let with_panes = (0..self.tables.len()).filter(|n| self.tables[*n].has_panes);
        with_panes.flat_map(move |n| {
            let panes = self
                .moment
                .table(n)
                .panes_in((None, None))
                .flat_map(|(pane, runs)| runs.iter().map(move |run| (pane, run)));
            panes.flat_map(move |(pane, run)| self.run(n, pane, run)).chain(self.unsealed(n))
        })
    }

    fn run<'a>(
        &'a self,
        number: usize,
        pane: PaneId,
        run: &'a Run,
    ) -> impl Iterator<Item = DumpRow> + 'a {
        let mut of_run = run.rows(&self.moment.table(number).layout);
        let pane = DumpPane { length: pane.0, start: start(pane) };
        in_pieces(move |rows| {
            let reader = self.moment.reader(number);
            reader.with(PIECE, |open| {
                for _ in 0..PIECE {
                    let Some((place, row)) = of_run.next() else { return false };
                    rows.push(Dump::row(
                        open,
                        (number, Some(pane)),
                        (place & u64::from(u32::MAX)) as u32,
                        row,
                    ));
                }
                true
            })
        })
    }

    /// What came since the last seal, by key and minute: single events may be many.
    fn unsealed(&self, number: usize) -> impl Iterator<Item = DumpRow> + '_ {
        let table = self.moment.table(number);
        let layout = &*table.layout;
        let (mut places, mut merged, mut slots) = (Vec::new(), Block::default(), HashMap::new());
        // All of it is there while the moment is held.
        let _ =
            table.unsealed_in(&self.moment.reader(number), (None, None), |_, key, begin, row| {
                let slot = *slots.entry((key, begin)).or_insert(places.len());
                if slot < places.len() {
                    layout.merge(&mut merged.row_mut(layout, slot), row);
                } else {
                    places.push((key, begin));
                    merged.push(layout, row);
                }
            });
        let mut next = 0;
        in_pieces(move |rows| {
            let slots = next..places.len().min(next + PIECE);
            next = slots.end;
            let has_more = !slots.is_empty();
            let reader = self.moment.reader(number);
            reader.with(PIECE, |open| {
                for slot in slots {
                    let (key, begin) = places[slot];
                    let pane = DumpPane { length: Some(Pane::Minute), start: begin };
                    rows.push(Dump::row(open, (number, Some(pane)), key, merged.row(layout, slot)));
                }
            });
            has_more
        })
    }

    fn row(
        open: &OpenTable<'_>,
        (table, pane): (usize, Option<DumpPane>),
        key: u32,
        row: Row<'_>,
    ) -> DumpRow {
        let layout = open.layout();
        DumpRow {
            table,
            pane,
            key: open.keys().key(key).iter().map(|column| id(*column, open.texts())).collect(),
            cells: (0..layout.len()).map(|cell| Dump::cell(layout, row, cell)).collect(),
        }
    }

    fn cell(layout: &Layout, row: Row<'_>, cell: usize) -> DumpCell {
        if let Some(sketch) = layout.sketch(row, cell) {
            let mut bytes = Vec::new();
            sketch.write(&mut bytes);
            return DumpCell::Sketch(bytes);
        }
        layout.held(row, cell).map_or(DumpCell::Nothing, DumpCell::Number)
    }
}

fn id(column: u64, texts: &Texts) -> Id {
    if column & TEXT_BIT == 0 {
        return Id::Integer(column);
    }
    Id::Text(String::from_utf8_lossy(texts.text(column)).into_owned())
}

/// All rows, some at a time: `more` adds them and says whether it may have others.
fn in_pieces(mut more: impl FnMut(&mut Vec<DumpRow>) -> bool) -> impl Iterator<Item = DumpRow> {
    let pieces = from_fn(move || {
        let mut rows = Vec::new();
        let has_more = more(&mut rows);
        (has_more || !rows.is_empty()).then_some(rows)
    });
    pieces.flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::State;
    use std::collections::BTreeMap;
    use tally_event::EventBatch;
    use tally_plugin::description::{Cell, Description, From, Key, Merge, Table, Tier};
    use tally_sketch::{Distinct, hash_id, hash_text};

    fn description(key: Vec<Key>, only: &[&str]) -> Description {
        let cell = |name: &str, merge, from| Cell { name: name.into(), merge, from };
        let table = Table {
            name: "t".into(),
            key,
            group: 0,
            only: only.iter().map(|only| (*only).to_owned()).collect(),
            cells: vec![
                cell("n", Merge::Sum, From::One),
                cell("first", Merge::Min, From::EventTime),
                cell("given", Merge::Max, From::Update),
            ],
            tiers: Vec::new(),
        };
        Description {
            summary: String::new(),
            tables: vec![table],
            properties: Vec::new(),
            computed: Vec::new(),
            time: false,
            params_schema: serde_json::json!({}),
            result_schema: serde_json::json!({}),
            examples: Vec::new(),
        }
    }

    fn batch(users: Vec<u64>) -> EventBatch {
        let rows = users.len();
        EventBatch {
            to: rows as u64,
            offsets: (0..rows as u64).collect(),
            products: vec![7; rows],
            kinds: (0..rows).map(|row| (row % 2) as u16).collect(),
            times: (0..rows as i64).collect(),
            kind_names: vec!["buy".into(), "view".into()],
            users,
            ..EventBatch::default()
        }
    }

    #[test]
    fn every_row_that_was_counted_is_there_with_its_ids() {
        let mut state = State::default();
        let mut described = description(vec![Key::UserId, Key::EventType], &["buy"]);
        let users =
            Cell { name: "users".into(), merge: Merge::Distinct, from: From::Column(Key::UserId) };
        described.tables[0].cells.push(users);
        let metric = state.add(&described);
        let mut events = batch(vec![1, 1, 1, 0]);
        events.users[0] = events.push_text(b"ann");
        state.begin(&events);
        state.apply(metric, &events, 0, &[]);
        let dump = state.dump(metric);
        let row = |user, first, hash| {
            let (mut set, mut bytes) = (Distinct::default(), Vec::new());
            set.add(hash);
            set.write(&mut bytes);
            let numbers = [DumpCell::Number(1), DumpCell::Number(first), DumpCell::Nothing];
            let cells = numbers.into_iter().chain([DumpCell::Sketch(bytes)]).collect();
            DumpRow { table: 0, pane: None, key: vec![user, Id::Text("buy".into())], cells }
        };
        assert_eq!(dump.len(), 2);
        assert_eq!(
            dump.rows().collect::<Vec<_>>(),
            [row(Id::Text("ann".into()), 0, hash_text(b"ann")), row(Id::Integer(1), 2, hash_id(1))],
            "views do not count"
        );
    }

    #[test]
    fn a_table_without_a_key_has_one_row() {
        let mut state = State::default();
        let metric = state.add(&description(Vec::new(), &[]));
        assert!(state.dump(metric).is_empty());
        let events = batch(vec![1, 2, 3]);
        state.begin(&events);
        state.apply(metric, &events, 0, &[]);
        let rows: Vec<DumpRow> = state.dump(metric).rows().collect();
        let cells = vec![DumpCell::Number(3), DumpCell::Number(0), DumpCell::Nothing];
        assert_eq!(rows, [DumpRow { table: 0, pane: None, key: Vec::new(), cells }]);
    }

    #[test]
    fn panes_hold_together_what_totals_hold_sealed_or_not() {
        let mut state = State::default();
        let mut described = description(vec![Key::UserId], &[]);
        let tier = |pane| Tier { pane, keep_ms: None };
        described.tables[0].tiers = vec![tier(Pane::Minute), tier(Pane::Hour)];
        let metric = state.add(&described);
        let mut counted: BTreeMap<(u64, i64), i128> = BTreeMap::new();
        for round in 0..5 {
            let users: Vec<u64> = (0..100).map(|n| n * 7 % (11 + round)).collect();
            let mut events = batch(users);
            (events.from, events.to) = (round * 100, round * 100 + 100);
            events.offsets.iter_mut().for_each(|offset| *offset += round * 100);
            events.times.iter_mut().for_each(|time| *time = *time * 2_000 - 60_000);
            for (user, time) in events.users.iter().zip(&events.times) {
                *counted.entry((*user, time.div_euclid(60_000) * 60_000)).or_default() += 1;
            }
            state.begin(&events);
            state.apply(metric, &events, events.from, &[]);
            if round == 1 || round == 3 {
                state.seal(metric, 0);
            }
        }
        let dump = state.dump(metric);
        let mut found: BTreeMap<(u64, i64), i128> = BTreeMap::new();
        let mut rows = 0;
        for row in dump.pane_rows() {
            let DumpRow { pane: Some(pane), ref key, ref cells, .. } = row else {
                panic!("{row:?}")
            };
            assert_eq!(pane.length, Some(Pane::Minute));
            let (Id::Integer(user), DumpCell::Number(n)) = (&key[0], &cells[0]) else {
                panic!("{row:?}")
            };
            *found.entry((*user, pane.start)).or_default() += n;
            rows += 1;
        }
        assert_eq!(found, counted);
        assert!(rows > counted.len(), "two runs and a tail");
        let held = vec![(Pane::Minute, None), (Pane::Hour, None)];
        assert_eq!(dump.held().collect::<Vec<_>>(), [held]);
    }

    /// A dump is of its moment, however much is counted, sealed and swept while it is read, and
    /// takes no copy of what is held.
    #[test]
    fn a_dump_is_of_one_moment_and_copies_nothing() {
        let mut state = State::default();
        let mut described = description(vec![Key::UserId], &[]);
        described.tables[0].tiers = vec![Tier { pane: Pane::Minute, keep_ms: None }];
        let metric = state.add(&described);
        let count = |state: &mut State, users: std::ops::Range<u64>| {
            let mut events = batch(users.clone().collect());
            users.clone().enumerate().for_each(|(n, user)| {
                events.users[n] = events.push_text(user.to_string().as_bytes())
            });
            state.begin(&events);
            state.apply(metric, &events, 0, &[]);
        };
        count(&mut state, 0..1_000);
        state.seal(metric, 0);
        count(&mut state, 500..1_500);
        let before = state.size(metric).1;
        let dump = state.dump(metric);
        assert!(state.size(metric).1 - before < 1_000, "nothing is copied");
        let (mut totals, mut panes) = (dump.rows(), dump.pane_rows());
        let (mut of_totals, mut of_panes) = (Vec::new(), Vec::new());
        of_totals.extend(totals.by_ref().take(10));
        of_panes.extend(panes.by_ref().take(10));
        count(&mut state, 0..3_000);
        state.seal(metric, 0);
        count(&mut state, 0..3_000);
        of_totals.extend(totals);
        of_panes.extend(panes);
        let sum = |rows: &[DumpRow]| {
            let number = |row: &DumpRow| if let DumpCell::Number(n) = row.cells[0] { n } else { 0 };
            rows.iter().map(number).sum::<i128>()
        };
        assert_eq!((of_totals.len(), sum(&of_totals)), (1_500, 2_000));
        assert_eq!(sum(&of_panes), 2_000);
        assert_eq!(dump.len(), 1_500);
    }
}
