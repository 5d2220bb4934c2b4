//! The columns of a batch that keys consist of, as numbers of this process, resolved once for all
//! tables.
//!
//! Metrics name properties as they like. Here a property is a pointer and a type, so that metrics
//! which read the same property share it.

use super::texts::Texts;
use std::hint::black_box;
use std::sync::Arc;
use tally_event::index::GROUP;
use tally_event::{ABSENT, EventBatch, OTHER, PropertyColumn, PropertySource, TEXT_BIT};
use tally_plugin::description::{Description, Key, PropertyType};

/// A column of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    UserId,
    ProductId,
    EventType,
    Property(Arc<PropertySource>),
    /// Returned by a metric's plugin: number of the metric, and of the column.
    Computed(usize, usize),
}

impl Column {
    /// The column that a metric means. A property that it does not declare (`tally-host`
    /// refuses it) is one that no event has.
    pub(crate) fn of(key: &Key, description: &Description, metric: usize) -> Column {
        match key {
            Key::UserId => Column::UserId,
            Key::ProductId => Column::ProductId,
            Key::EventType => Column::EventType,
            Key::Property(name) => {
                let declared =
                    description.properties.iter().find(|property| property.name == *name);
                let source = declared.map(|property| (property.pointer.clone(), property.kind));
                let (pointer, kind) = source.unwrap_or_else(|| (String::new(), PropertyType::Text));
                Column::Property(Arc::new(PropertySource { pointer, kind }))
            }
            Key::Computed(name) => {
                let declared = description.computed.iter().position(|computed| computed == name);
                Column::Computed(metric, declared.unwrap_or(usize::MAX))
            }
        }
    }
}

/// The id columns of a batch as numbers of this process.
#[derive(Default)]
pub(crate) struct Columns {
    pub(crate) users: Vec<u64>,
    pub(crate) products: Vec<u64>,
    pub(crate) kinds: Vec<u64>,
    pub(crate) kind_numbers: Vec<u64>,
    pub(crate) kind_codes: Vec<u16>,
    /// The properties that are key columns.
    pub(crate) properties: Vec<(Arc<PropertySource>, Vec<u64>)>,
    /// The key columns that a plugin returned for this batch.
    pub(crate) computed: Vec<Vec<u64>>,
}

/// A key column that a plugin returned, already checked: per row the number of a text (`u32::MAX`:
/// none), the texts end to end, and the end of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ComputedKeys {
    /// Per row of the batch.
    pub rows: Vec<u32>,
    /// The texts, end to end.
    pub bytes: Vec<u8>,
    /// End of each text.
    pub ends: Vec<u32>,
}

impl Columns {
    /// Fills the wanted columns from a batch. Ids of other columns are not stored.
    pub(crate) fn fill(&mut self, batch: &EventBatch, wanted: &[&Column], texts: &mut Texts) {
        self.kind_numbers.clear();
        self.kind_numbers.extend(batch.kind_names.iter().map(|name| texts.intern(name.as_bytes())));
        // ABSENT in `kinds` means "no event type": its code is beyond the dictionary.
        let numbers = &self.kind_numbers;
        self.kind_codes.clear();
        self.kind_codes.extend_from_slice(&batch.kinds);
        self.kinds.clear();
        self.kinds.extend(
            batch
                .kinds
                .iter()
                .map(|kind| numbers.get(usize::from(*kind)).copied().unwrap_or(ABSENT)),
        );
        self.users.clear();
        if wanted.contains(&&Column::UserId) {
            intern_column(&batch.users, batch, texts, &mut self.users);
        }
        self.products.clear();
        if wanted.contains(&&Column::ProductId) {
            intern_column(&batch.products, batch, texts, &mut self.products);
        }
        self.computed.clear();
        for (property, keys) in &mut self.properties {
            keys.clear();
            if !wanted
                .iter()
                .any(|column| matches!(column, Column::Property(source) if source == property))
            {
                continue;
            }
            match property_column(batch, property) {
                Some(column) => keys.extend(
                    (0..batch.len()).map(|row| key_of(batch, column, row, texts).unwrap_or(ABSENT)),
                ),
                None => keys.resize(batch.len(), ABSENT),
            }
        }
    }

    /// From now on this property is filled as well.
    pub(crate) fn want(&mut self, property: &Arc<PropertySource>) {
        if self.properties.iter().all(|(known, _)| known != property) {
            self.properties.push((Arc::clone(property), Vec::new()));
        }
    }

    /// A property that [`Columns::want`] named.
    pub(crate) fn property(&self, property: &Arc<PropertySource>) -> &[u64] {
        self.properties.iter().find(|(known, _)| known == property).map_or(&[], |(_, keys)| keys)
    }

    /// Takes over the key columns that a plugin computed for a batch of so many rows.
    pub(crate) fn compute(&mut self, computed: &[ComputedKeys], rows: usize, texts: &mut Texts) {
        let number = |keys: &ComputedKeys, texts: &mut Texts| -> Vec<u64> {
            let mut start = 0;
            let mut intern = |end: &u32| {
                let text = keys.bytes.get(start..*end as usize).unwrap_or_default();
                start = *end as usize;
                texts.intern(text)
            };
            let numbers: Vec<u64> = keys.ends.iter().map(&mut intern).collect();
            let of = |row: usize| numbers.get(*keys.rows.get(row)? as usize).copied();
            (0..rows).map(|row| of(row).unwrap_or(ABSENT)).collect()
        };
        self.computed = computed.iter().map(|keys| number(keys, texts)).collect();
    }
}

/// Looks texts up in groups: all slots of a group are loaded before any is compared.
fn intern_column(column: &[u64], batch: &EventBatch, texts: &mut Texts, out: &mut Vec<u64>) {
    out.clear();
    let is_text = |id: u64| id & TEXT_BIT != 0 && id != ABSENT;
    let text = |id: u64| batch.text((id & !TEXT_BIT) as usize);
    let mut hashes = [0; GROUP];
    for group in column.chunks(GROUP) {
        let mut loaded = 0;
        for (hash, &id) in hashes.iter_mut().zip(group).filter(|(_, id)| is_text(**id)) {
            *hash = texts.hash(text(id));
            loaded ^= texts.load(*hash);
        }
        black_box(loaded);
        let number = |(&id, &hash): (&u64, &u64)| {
            if is_text(id) { texts.intern_hashed(text(id), hash) } else { id }
        };
        out.extend(group.iter().zip(&hashes).map(number));
    }
}

/// The column of a batch that holds a property.
pub(super) fn property_column<'a>(
    batch: &'a EventBatch,
    source: &PropertySource,
) -> Option<&'a PropertyColumn> {
    batch.properties.iter().find(|column| *column.source == *source)
}

/// The id of a row's property as part of a key, a text or an integer; `None` if it is null.
fn key_of(
    batch: &EventBatch,
    column: &PropertyColumn,
    row: usize,
    texts: &mut Texts,
) -> Option<u64> {
    match column.source.kind {
        PropertyType::Text => {
            let text = batch.text(column.value(row)? as usize);
            (text != OTHER.as_bytes()).then(|| texts.intern(text))
        }
        PropertyType::Integer => {
            let number = column.number(row)?;
            match u64::try_from(number) {
                Ok(id) if id < 1 << 53 => Some(id),
                _ => Some(texts.intern(number.to_string().as_bytes())),
            }
        }
        PropertyType::Bool => {
            Some(texts.intern(if column.number(row)? == 0 { b"false" } else { b"true" }))
        }
        PropertyType::Float | PropertyType::Decimal(_) | PropertyType::Time => None,
    }
}
