//! A table counted again: plain maps of rows, of the totals and of each pane, with what each should
//! hold and what was found.

use super::held::{Cells, Found, Held, Merge};
use super::panes::{Pane, Panes};
use super::property::Scalar;
use super::record::Event;
use super::types::{OTHER, TypeRule};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

/// A table as the engine describes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) key: Vec<Column>,
    /// How many leading columns are kept or counted with others together; 0: all.
    #[serde(default)]
    pub(super) group: usize,
    /// Event types that count; empty: all.
    #[serde(default)]
    pub(super) only: Vec<String>,
    pub(super) cells: Vec<Cell>,
}

/// A key column.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Column {
    UserId,
    ProductId,
    EventType,
    /// A declared property.
    Property(String),
    /// Only the plugin can compute it.
    Computed(String),
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Cell {
    pub(super) name: String,
    pub(super) merge: Merge,
    pub(super) from: From,
}

/// What feeds a cell.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum From {
    One,
    EventTime,
    Update,
    /// A column of the event.
    Column(Column),
}

impl Cell {
    /// Whether it is counted again: only what plugins say is not.
    pub(super) fn is_recounted(&self) -> bool {
        !matches!(self.from, From::Update | From::Column(Column::Computed(_)))
    }
}

/// A row.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// What it should hold; `None`: there should be no row.
    pub(super) expected: Option<Cells>,
    /// What was found.
    pub(super) found: Option<Cells>,
    /// Events of it of which nobody can say whether they are duplicates.
    pub(super) uncertain: u64,
}

impl Row {
    /// What another row should hold, it should hold too.
    fn expect(&mut self, merges: &[Merge], other: Row) {
        self.uncertain += other.uncertain;
        match (&mut self.expected, other.expected) {
            (_, None) => {}
            (own @ None, cells) => *own = cells,
            (Some(own), Some(cells)) => merge(own, merges.iter().copied(), cells),
        }
    }
}

/// Rows by key, as JSON.
pub(super) type Rows = HashMap<Rc<str>, Row>;

/// A table under audit.
pub(super) struct Table {
    pub(super) description: Description,
    pub(super) totals: Rows,
    pub(super) panes: BTreeMap<Pane, Rows>,
    held: Panes,
    /// Updates counted again.
    pub(super) counted_again: u64,
    /// Of these, such of which nobody can say whether they are duplicates.
    pub(super) uncertain: u64,
    /// What the first cell that counts held before the first update that is counted again.
    pub(super) begun_with: i128,
    /// Where in an event's list the properties are, by name.
    places: BTreeMap<String, usize>,
    types: TypeRule,
    /// Whether it is counted on from rows that count types together.
    begun_folded: bool,
}

impl Description {
    /// The cell that counts events, if there is one.
    pub(super) fn counter(&self) -> Option<usize> {
        self.cells.iter().position(|cell| (cell.merge, &cell.from) == (Merge::Sum, &From::One))
    }

    /// Whether its rows cannot be told here: only the plugin says which there are.
    pub(super) fn is_foreign(&self) -> bool {
        self.cells.iter().all(|cell| cell.from == From::Update)
            || self.key.iter().any(|column| matches!(column, Column::Computed(_)))
    }
}

impl Table {
    /// `held`: its panes. `places`: where in an event's list the properties are, by name.
    pub(super) fn new(
        description: Description,
        held: Panes,
        places: BTreeMap<String, usize>,
        types: TypeRule,
    ) -> Table {
        let (totals, panes) = (Rows::new(), BTreeMap::new());
        let (counted_again, uncertain, begun_with, begun_folded) = (0, 0, 0, false);
        Table {
            description,
            totals,
            panes,
            held,
            counted_again,
            uncertain,
            begun_with,
            places,
            types,
            begun_folded,
        }
    }

    /// Where the event type stands in a key.
    fn kind_column(&self) -> Option<usize> {
        self.description.key.iter().position(|column| *column == Column::EventType)
    }

    /// The key of an event; `None`: it does not count here.
    fn key_of(&self, event: &Event) -> Option<String> {
        let Description { only, key, .. } = &self.description;
        if self.description.is_foreign() || (!only.is_empty() && !only.contains(&event.kind)) {
            return None;
        }
        let key: Option<Vec<Value>> =
            key.iter().map(|column| self.key_value(column, event)).collect();
        key.map(|key| Value::Array(key).to_string())
    }

    fn key_value(&self, column: &Column, event: &Event) -> Option<Value> {
        match self.value(column, event)? {
            Scalar::Id(id) => Some(id.into()),
            Scalar::Text(text) => {
                // The event type of those that are not listed; of a property it is reserved.
                let reserved = matches!(column, Column::Property(_)) && text == OTHER;
                (!reserved).then(|| text.into())
            }
            // An integer that can be an id is one.
            Scalar::Whole(whole @ 0..0x20_0000_0000_0000) => Some((whole as u64).into()),
            Scalar::Whole(whole) => Some(whole.to_string().into()),
            Scalar::Bool(value) => Some(value.to_string().into()),
            Scalar::Float(_) => None,
        }
    }

    /// What stands in a column of an event.
    fn value(&self, column: &Column, event: &Event) -> Option<Scalar> {
        let id = |id: &Value| match id.as_u64() {
            Some(id) => Some(Scalar::Id(id)),
            None => id.as_str().map(|text| Scalar::Text(text.to_owned())),
        };
        match column {
            Column::UserId => id(event.user.as_ref()?),
            Column::ProductId => id(event.product.as_ref()?),
            Column::EventType => Some(Scalar::Text(event.kind.clone())),
            Column::Property(name) => event.properties.get(*self.places.get(name)?)?.clone(),
            Column::Computed(_) => None,
        }
    }

    /// A row that is counted on; without a pane it is of the totals.
    ///
    /// # Errors
    /// A sentence: it is no row of this table, or one of the totals that came before.
    pub(super) fn begin(
        &mut self,
        pane: Option<Pane>,
        key: Vec<Value>,
        cells: Vec<Option<Found>>,
    ) -> Result<(), String> {
        let counter = self.description.counter();
        let counted = counter.and_then(|cell| match cells.get(cell)? {
            Some(Found::Number(number)) if pane.is_none() => Some(*number),
            _ => None,
        });
        self.begun_folded |=
            self.kind_column().is_some_and(|kind| key.get(kind).is_some_and(|kind| kind == OTHER));
        self.put(pane, key, cells, |row| &mut row.expected)?;
        self.begun_with += counted.unwrap_or(0);
        Ok(())
    }

    /// A row that is found.
    ///
    /// # Errors
    /// As `begin`.
    pub(super) fn find(
        &mut self,
        pane: Option<Pane>,
        key: Vec<Value>,
        cells: Vec<Option<Found>>,
    ) -> Result<(), String> {
        self.put(pane, key, cells, |row| &mut row.found)
    }

    /// From now on it holds these panes; what it began with moves with them.
    pub(super) fn holds(&mut self, held: Panes) {
        let merges: Vec<Merge> = self.description.cells.iter().map(|cell| cell.merge).collect();
        for (pane, rows) in std::mem::take(&mut self.panes) {
            let into = self.panes.entry(held.settle(pane)).or_default();
            for (key, row) in rows {
                into.entry(key).or_default().expect(&merges, row);
            }
        }
        self.held = held;
    }

    fn put(
        &mut self,
        pane: Option<Pane>,
        key: Vec<Value>,
        cells: Vec<Option<Found>>,
        place: impl Fn(&mut Row) -> &mut Option<Cells>,
    ) -> Result<(), String> {
        let Description { name, key: columns, cells: described, .. } = &self.description;
        let fault = || format!("a row of {name} does not fit its description");
        if key.len() != columns.len() || cells.len() != described.len() {
            return Err(fault());
        }
        let held = |(found, cell): (Option<Found>, &Cell)| match found {
            None => Ok(None),
            Some(found) => Held::of(cell.merge, found).map(Some).ok_or_else(fault),
        };
        let cells: Cells = cells.into_iter().zip(described).map(held).collect::<Result<_, _>>()?;
        let key = shared(&self.totals, Value::Array(key).to_string());
        let Some(pane) = pane else {
            return match place(self.totals.entry(key).or_default()).replace(cells) {
                None => Ok(()),
                Some(_) => Err(format!("a row of {name} was sent twice")),
            };
        };
        // What a key has in a pane comes in pieces.
        let held =
            place(self.panes.entry(self.held.settle(pane)).or_default().entry(key).or_default());
        match held {
            None => *held = Some(cells),
            Some(held) => merge(held, described.iter().map(|cell| cell.merge), cells),
        }
        Ok(())
    }

    /// Where more event types came than may stand for themselves, counts those together that do
    /// not. Of a table that is counted on, and had done so before, nobody knows which they were:
    /// there the state's choice is taken.
    pub(super) fn fold_types(&mut self) {
        let Some(kind) = self.kind_column() else { return };
        let of = |key: &str| {
            let key: Vec<Value> = serde_json::from_str(key).unwrap_or_default();
            key.get(kind).and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
        };
        let kinds = |takes: fn(&Row) -> bool| -> BTreeSet<String> {
            self.totals.iter().filter(|(_, row)| takes(row)).map(|(key, _)| of(key)).collect()
        };
        let counted = kinds(|row| row.expected.is_some());
        let mut folded = self.types.folded(&counted);
        if self.begun_folded {
            let found = kinds(|row| row.found.is_some());
            folded.extend(
                counted
                    .into_iter()
                    .filter(|kind| !found.contains(kind) && !self.types.always.contains(kind)),
            );
        }
        if folded.is_empty() {
            return;
        }
        let merges: Vec<Merge> = self.description.cells.iter().map(|cell| cell.merge).collect();
        for rows in std::iter::once(&mut self.totals).chain(self.panes.values_mut()) {
            let gone: Vec<Rc<str>> =
                rows.keys().filter(|key| folded.contains(&of(key))).cloned().collect();
            for key in gone {
                let Some(mut row) = rows.remove(&key) else { continue };
                let mut other: Vec<Value> = serde_json::from_str(&key).unwrap_or_default();
                other.iter_mut().skip(kind).take(1).for_each(|kind| *kind = OTHER.into());
                let moved =
                    Row { expected: row.expected.take(), found: None, uncertain: row.uncertain };
                // What the state shows of it all the same is wrong, and stays to be named.
                if row.found.is_some() {
                    rows.insert(key, Row { uncertain: 0, ..row });
                }
                rows.entry(Value::Array(other).to_string().into())
                    .or_default()
                    .expect(&merges, moved);
            }
        }
    }

    /// Where the state counts keys together (`overflow = "other"`), does so with what it should
    /// hold: groups of which it shows nothing belong there. Which groups it keeps is its own
    /// choice; what each holds, and all the others together, is not.
    pub(super) fn fold(&mut self) {
        let Description { key: columns, group, cells, .. } = &self.description;
        let group = if *group == 0 { columns.len() } else { *group };
        let of = |key: &str| serde_json::from_str::<Vec<Value>>(key).unwrap_or_default();
        let is_kind = |column: &Column| *column == Column::EventType;
        let is_other = |key: &[Value]| {
            key.iter().zip(columns).any(|(id, column)| !is_kind(column) && id == OTHER)
        };
        let (mut kept, mut folds) = (HashSet::new(), false);
        for (key, _) in self.totals.iter().filter(|(_, row)| row.found.is_some()) {
            let key = of(key);
            match is_other(&key) {
                true => folds = true,
                false => drop(kept.insert(Value::from(&key[..group.min(key.len())]).to_string())),
            }
        }
        if !folds {
            return;
        }
        let goes = |key: &str| {
            let key = of(key);
            !is_other(&key)
                && !kept.contains(&Value::from(&key[..group.min(key.len())]).to_string())
        };
        let merges: Vec<Merge> = cells.iter().map(|cell| cell.merge).collect();
        for rows in std::iter::once(&mut self.totals).chain(self.panes.values_mut()) {
            let gone: Vec<Rc<str>> = rows.keys().filter(|key| goes(key)).cloned().collect();
            for key in gone {
                let Some(row) = rows.remove(&key) else { continue };
                let id = |(id, column): (Value, &Column)| {
                    if is_kind(column) { id } else { OTHER.into() }
                };
                let other: Vec<Value> = of(&key).into_iter().zip(columns).map(id).collect();
                rows.entry(Value::Array(other).to_string().into())
                    .or_default()
                    .expect(&merges, row);
            }
        }
    }

    /// Counts an event. `certain`: whether it is known to be no duplicate.
    pub(super) fn count(&mut self, event: &Event, certain: bool) {
        let Some(key) = self.key_of(event) else { return };
        let given = |cell: &Cell| match &cell.from {
            From::One => Some(Scalar::Whole(1)),
            From::EventTime => Some(Scalar::Whole(event.time.into())),
            From::Update => None,
            From::Column(column) => self.value(column, event),
        };
        let cells = &self.description.cells;
        let values: Vec<Option<Scalar>> = cells.iter().map(given).collect();
        let add = |row: &mut Row| {
            let held = row.expected.get_or_insert_with(|| vec![None; cells.len()].into());
            for ((held, cell), value) in held.iter_mut().zip(cells).zip(&values) {
                if let Some(value) = value {
                    Held::add(held, cell.merge, value, event.time);
                }
            }
            row.uncertain += u64::from(!certain);
        };
        let key = shared(&self.totals, key);
        if let Some(pane) = self.held.of(event.time) {
            add(self.panes.entry(pane).or_default().entry(Rc::clone(&key)).or_default());
        }
        add(self.totals.entry(key).or_default());
        self.counted_again += 1;
        self.uncertain += u64::from(!certain);
    }
}

/// The key, as the totals have it.
fn shared(totals: &Rows, key: String) -> Rc<str> {
    totals.get_key_value(&*key).map_or_else(|| key.as_str().into(), |(known, _)| Rc::clone(known))
}

fn merge(held: &mut Cells, merges: impl Iterator<Item = Merge>, other: Cells) {
    for ((held, merge), other) in held.iter_mut().zip(merges).zip(other) {
        Held::merge(held, merge, other);
    }
}
