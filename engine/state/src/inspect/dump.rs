//! A copy of a metric's totals and panes at one moment, for audits.
//!
//! The state's lock is held while a copy is made, so making one only copies lists end to end (a
//! million rows of three columns and three cells: see `a_million_rows_are_copied_quickly`) and
//! sketches, each in its own piece of memory (some 30 ns for a small one); panes are shared. Keys
//! and values are taken apart afterwards, row by row. Nothing is folded here: a key may have
//! several rows in a pane, whose merge is what the key has there.

use crate::read::pending_events::PendingEvents;
use crate::rows::block::Block;
use crate::rows::cells::Layout;
use crate::rows::floors::{Floors, PaneId, start};
use crate::rows::row::Row;
use crate::rows::run::{Run, Runs};
use crate::write::keyspace::Keyspace;
use crate::write::metric::SharedTable;
use crate::write::table::set_bits;
use crate::write::tail::Tail;
use crate::write::texts::{Texts, text_of};
use std::collections::HashMap;
use std::iter::from_fn;
use std::sync::Arc;
use tally_event::TEXT_BIT;
use tally_plugin::description::Pane;
use tally_plugin::read::Id;

/// The tables of a metric.
pub struct Dump {
    tables: Vec<Copied>,
    /// The state's texts end to end, and the end of each.
    text_bytes: Vec<u8>,
    text_ends: Vec<usize>,
}

struct Copied {
    layout: Arc<Layout>,
    rows: usize,
    /// A row for each key of the keyspace, and a bit for each key that has one.
    totals: Block,
    present: Vec<u64>,
    /// Column values of each key, end to end, and how many columns there are.
    keys: Vec<u64>,
    width: usize,
    floors: Floors,
    panes: Vec<(PaneId, Runs)>,
    /// What is in no pane yet.
    tails: Vec<Tail>,
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
    pub(crate) fn new(tables: &[SharedTable], keyspaces: &[Keyspace], texts: &Texts) -> Dump {
        let copied = |table: &SharedTable| {
            let table = table.read();
            let keys = &keyspaces[table.keyspace];
            let (totals, present) = table.copy();
            let has_panes = !table.description.tiers.is_empty();
            let (panes, tails) = if has_panes { table.copy_panes() } else { Default::default() };
            Copied {
                layout: Arc::clone(&table.layout),
                rows: table.len(),
                totals,
                present,
                keys: keys.values.clone(),
                width: keys.shape().columns.len(),
                floors: *table.floors(),
                panes,
                tails,
            }
        };
        let (text_bytes, text_ends) = texts.copy();
        Dump { tables: tables.iter().map(copied).collect(), text_bytes, text_ends }
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
            panes.into_iter().filter(|(_, floor)| *floor < i64::MAX).map(|(pane, floor)| (pane, from(floor))).collect()
        };
        self.tables.iter().map(move |table| of(&table.floors))
    }

    /// The rows of the totals, table by table, in no particular order.
    pub fn rows(&self) -> impl Iterator<Item = DumpRow> + '_ {
        self.tables.iter().enumerate().flat_map(move |(n, table)| {
            table.keys().map(move |key| self.row(n, None, key, table.totals.row(&table.layout, key)))
        })
    }

    /// The rows of the panes, table by table, in no particular order.
    pub fn pane_rows(&self) -> impl Iterator<Item = DumpRow> + '_ {
        (0..self.tables.len()).flat_map(move |n| {
            let panes = self.tables[n].panes.iter().flat_map(|(pane, runs)| runs.iter().map(move |run| (*pane, run)));
            panes.flat_map(move |(pane, run)| self.run(n, pane, run)).chain(self.unsealed(n))
        })
    }

    fn run<'a>(&'a self, number: usize, pane: PaneId, run: &'a Run) -> impl Iterator<Item = DumpRow> + 'a {
        let mut rows = run.rows(&self.tables[number].layout);
        let pane = DumpPane { length: pane.0, start: start(pane) };
        from_fn(move || {
            let (place, row) = rows.next()?;
            Some(self.row(number, Some(pane), (place & u64::from(u32::MAX)) as usize, row))
        })
    }

    /// What came since the last seal, by key and minute: single events may be many.
    fn unsealed(&self, number: usize) -> impl Iterator<Item = DumpRow> + '_ {
        let Copied { layout, tails, .. } = &self.tables[number];
        let (mut places, mut rows, mut slots) = (Vec::new(), Block::default(), HashMap::new());
        let mut events = PendingEvents::new(layout, (None, None));
        for tail in tails {
            events.each_row(tail.rows(), tail.updates(), tail.values(), |key, begin, row| {
                let slot = *slots.entry((key, begin)).or_insert(places.len());
                if slot < places.len() {
                    layout.merge(&mut rows.row_mut(layout, slot), row);
                } else {
                    places.push((key, begin));
                    rows.push(layout, row);
                }
            });
        }
        places.into_iter().enumerate().map(move |(slot, (key, begin))| {
            let pane = DumpPane { length: Some(Pane::Minute), start: begin };
            self.row(number, Some(pane), key as usize, rows.row(layout, slot))
        })
    }

    fn row(&self, number: usize, pane: Option<DumpPane>, key: usize, row: Row<'_>) -> DumpRow {
        let table = &self.tables[number];
        let columns = &table.keys[key * table.width..][..table.width];
        DumpRow {
            table: number,
            pane,
            key: columns.iter().map(|column| self.id(*column)).collect(),
            cells: (0..table.layout.len()).map(|cell| Dump::cell(&table.layout, row, cell)).collect(),
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

    fn id(&self, column: u64) -> Id {
        if column & TEXT_BIT == 0 {
            return Id::Integer(column);
        }
        let text = text_of(&self.text_bytes, &self.text_ends, (column & !TEXT_BIT) as usize);
        Id::Text(String::from_utf8_lossy(text).into_owned())
    }
}

impl Copied {
    /// The numbers of the keys that have a row.
    fn keys(&self) -> impl Iterator<Item = usize> + '_ {
        set_bits(&self.present).map(|key| key as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::State;
    use std::collections::BTreeMap;
    use std::time::Instant;
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
        let users = Cell { name: "users".into(), merge: Merge::Distinct, from: From::Column(Key::UserId) };
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
            let DumpRow { pane: Some(pane), ref key, ref cells, .. } = row else { panic!("{row:?}") };
            assert_eq!(pane.length, Some(Pane::Minute));
            let (Id::Integer(user), DumpCell::Number(n)) = (&key[0], &cells[0]) else { panic!("{row:?}") };
            *found.entry((*user, pane.start)).or_default() += n;
            rows += 1;
        }
        assert_eq!(found, counted);
        assert!(rows > counted.len(), "two runs and a tail");
        let held = vec![(Pane::Minute, None), (Pane::Hour, None)];
        assert_eq!(dump.held().collect::<Vec<_>>(), [held]);
    }

    /// The lock is held for the copy alone: 9 to 24 ms in a running engine (docs/measurements.md).
    /// The bounds allow for a busy machine.
    #[test]
    fn a_million_rows_are_copied_quickly() {
        copied_within(500, description(vec![Key::UserId, Key::ProductId, Key::EventType], &[]));
        let mut with_sets = description(vec![Key::UserId], &[]);
        let users = Cell { name: "users".into(), merge: Merge::Distinct, from: From::Column(Key::UserId) };
        with_sets.tables[0].cells = vec![users];
        copied_within(2_000, with_sets);
    }

    fn copied_within(milliseconds: u128, description: Description) {
        let mut state = State::default();
        let metric = state.add(&description);
        for chunk in 0..20 {
            let events = batch((chunk * 50_000..(chunk + 1) * 50_000).collect());
            state.begin(&events);
            state.apply(metric, &events, 0, &[]);
        }
        let begun = Instant::now();
        let dump = state.dump(metric);
        let took = begun.elapsed();
        assert_eq!((dump.len(), dump.rows().count()), (1_000_000, 1_000_000));
        assert!(took.as_millis() < milliseconds, "{took:?}");
    }
}
