//! A table counted again: plain maps of rows, each with what it should hold and what was found.

use super::property::Scalar;
use super::record::Event;
use super::sketch::{Last, Set, Spread};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What keys that are counted together are called.
const OTHER: &str = "__other__";

/// A cell as it comes.
#[derive(Debug)]
pub(super) enum Found {
    Number(i128),
    /// As it is stored.
    Sketch(Vec<u8>),
}

/// What a cell holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Number(i128),
    Set(Box<Set>),
    Spread(Box<Spread>),
    Last(Box<Last>),
}

/// The cells of a row; `None`: nothing was merged into it.
pub(super) type Cells = Box<[Option<Held>]>;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Merge {
    Sum,
    Min,
    Max,
    Distinct,
    Quantiles,
    Latest,
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

impl Held {
    pub(super) fn number(&self) -> Option<i128> {
        if let Held::Number(number) = self { Some(*number) } else { None }
    }

    /// What a cell that merges so holds.
    fn of(merge: Merge, found: Found) -> Option<Held> {
        Some(match (merge, found) {
            (Merge::Sum | Merge::Min | Merge::Max, Found::Number(number)) => Held::Number(number),
            (Merge::Distinct, Found::Sketch(bytes)) => Held::Set(Set::of(&bytes)?.into()),
            (Merge::Quantiles, Found::Sketch(bytes)) => Held::Spread(Spread::of(&bytes)?.into()),
            (Merge::Latest, Found::Sketch(bytes)) => Held::Last(Last::of(&bytes)?.into()),
            _ => return None,
        })
    }

    /// Merges a value of an event at `time` into what a cell holds. One that the cell does not take changes nothing.
    fn add(held: &mut Option<Held>, merge: Merge, value: &Scalar, time: i64) {
        if let Merge::Sum | Merge::Min | Merge::Max = merge {
            let value = match value {
                Scalar::Whole(value) => *value,
                Scalar::Bool(value) => (*value).into(),
                Scalar::Id(_) | Scalar::Text(_) | Scalar::Float(_) => return,
            };
            let before = held.as_ref().and_then(Held::number);
            let merged = match (merge, before) {
                (_, None) => value,
                // 128 bits hold what 2³³ of the largest decimals add up to.
                (Merge::Sum, Some(before)) => before.wrapping_add(value),
                (Merge::Min, Some(before)) => before.min(value),
                (_, Some(before)) => before.max(value),
            };
            *held = Some(Held::Number(merged));
            return;
        }
        let nothing = || match merge {
            Merge::Distinct => Held::Set(Set::Few(BTreeMap::new()).into()),
            Merge::Quantiles => Held::Spread(Spread::default().into()),
            _ => Held::Last(Last::new(time, value).into()),
        };
        match held.get_or_insert_with(nothing) {
            Held::Set(set) => set.add(value),
            Held::Spread(spread) => spread.add(value),
            Held::Last(last) => {
                let other = Last::new(time, value);
                if other > **last {
                    **last = other;
                }
            }
            Held::Number(_) => {}
        }
    }

    /// What two cells that merge so hold together.
    fn merge(own: &mut Option<Held>, merge: Merge, other: Option<Held>) {
        let Some(other) = other else { return };
        let Some(held) = own else {
            *own = Some(other);
            return;
        };
        match (held, other) {
            (Held::Set(set), Held::Set(other)) => set.merge(*other),
            (Held::Spread(spread), Held::Spread(other)) => spread.merge(*other),
            (Held::Last(last), Held::Last(other)) => *last = other.max(last.clone()),
            (Held::Number(_), Held::Number(other)) => Held::add(own, merge, &Scalar::Whole(other), 0),
            _ => {}
        }
    }

    /// A number where JSON has room for it, else a text.
    pub(super) fn shown(&self) -> Value {
        match self {
            Held::Number(number) => i64::try_from(*number).map_or_else(|_| number.to_string().into(), Value::from),
            Held::Set(set) => set.to_string().into(),
            Held::Spread(spread) => spread.to_string().into(),
            Held::Last(last) => last.to_string().into(),
        }
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

/// A table under audit.
pub(super) struct Table {
    pub(super) description: Description,
    /// By key, as JSON.
    pub(super) rows: HashMap<String, Row>,
    /// Updates counted again.
    pub(super) counted_again: u64,
    /// Of these, such of which nobody can say whether they are duplicates.
    pub(super) uncertain: u64,
    /// What the first cell that counts held before the first update that is counted again.
    pub(super) begun_with: i128,
    /// Where in an event's list the properties are, by name.
    places: BTreeMap<String, usize>,
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
    /// `places`: where in an event's list the properties are, by name.
    pub(super) fn new(description: Description, places: BTreeMap<String, usize>) -> Table {
        Table { description, rows: HashMap::new(), counted_again: 0, uncertain: 0, begun_with: 0, places }
    }

    /// The key of an event; `None`: it does not count here.
    fn key_of(&self, event: &Event) -> Option<String> {
        let Description { only, key, .. } = &self.description;
        if self.description.is_foreign() || (!only.is_empty() && !only.contains(&event.kind)) {
            return None;
        }
        let key: Option<Vec<Value>> = key.iter().map(|column| self.key_value(column, event)).collect();
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

    /// A row that is counted on.
    ///
    /// # Errors
    /// A sentence: it is no row of this table, or came before.
    pub(super) fn begin(&mut self, key: Vec<Value>, cells: Vec<Option<Found>>) -> Result<(), String> {
        let counter = self.description.counter();
        let counted = counter.and_then(|cell| match cells.get(cell)? {
            Some(Found::Number(number)) => Some(*number),
            _ => None,
        });
        self.put(key, cells, |row| &mut row.expected)?;
        self.begun_with += counted.unwrap_or(0);
        Ok(())
    }

    /// A row that is found.
    ///
    /// # Errors
    /// As `begin`.
    pub(super) fn find(&mut self, key: Vec<Value>, cells: Vec<Option<Found>>) -> Result<(), String> {
        self.put(key, cells, |row| &mut row.found)
    }

    fn put(
        &mut self,
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
        let key = Value::Array(key).to_string();
        let row = self.rows.entry(key).or_default();
        match place(row).replace(cells) {
            None => Ok(()),
            Some(_) => Err(format!("a row of {name} came twice")),
        }
    }

    /// Where the state counts keys together (`overflow = "other"`), does so with what it should hold: groups of which it shows
    /// nothing belong there. Which groups it keeps is its own choice; what each holds, and all the others together, is not.
    pub(super) fn fold(&mut self) {
        let Description { key: columns, group, cells, .. } = &self.description;
        let group = if *group == 0 { columns.len() } else { *group };
        let of = |key: &str| serde_json::from_str::<Vec<Value>>(key).unwrap_or_default();
        let is_kind = |column: &Column| *column == Column::EventType;
        let is_other = |key: &[Value]| key.iter().zip(columns).any(|(id, column)| !is_kind(column) && id == OTHER);
        let (mut kept, mut folds) = (HashSet::new(), false);
        for (key, _) in self.rows.iter().filter(|(_, row)| row.found.is_some()) {
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
            !is_other(&key) && !kept.contains(&Value::from(&key[..group.min(key.len())]).to_string())
        };
        let gone: Vec<String> = self.rows.keys().filter(|key| goes(key)).cloned().collect();
        for key in gone {
            let Some(Row { expected: Some(held), uncertain, .. }) = self.rows.remove(&key) else { continue };
            let id = |(id, column): (Value, &Column)| if is_kind(column) { id } else { OTHER.into() };
            let other: Vec<Value> = of(&key).into_iter().zip(columns).map(id).collect();
            let row = self.rows.entry(Value::Array(other).to_string()).or_default();
            row.uncertain += uncertain;
            let together = row.expected.get_or_insert_with(|| vec![None; cells.len()].into());
            for ((own, cell), held) in together.iter_mut().zip(cells).zip(held) {
                Held::merge(own, cell.merge, held);
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
        let row = self.rows.entry(key).or_default();
        let held = row.expected.get_or_insert_with(|| vec![None; cells.len()].into());
        for ((held, cell), value) in held.iter_mut().zip(cells).zip(&values) {
            if let Some(value) = value {
                Held::add(held, cell.merge, value, event.time);
            }
        }
        self.counted_again += 1;
        row.uncertain += u64::from(!certain);
        self.uncertain += u64::from(!certain);
    }
}
