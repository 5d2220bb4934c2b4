//! Whether what a plugin says of itself can be served: names, tables, tiers, schemas, examples.
//!
//! Every check yields a fault; all of them are reported at once. Nothing here loads or calls
//! anything.

use super::schema_faults::against;
use serde_json::Value;
use std::collections::BTreeSet;
use tally_config::secret::quoted;
use tally_config::{is_event_type, is_identifier, is_metric_name, pointer};
use tally_plugin::description::{
    AboutText, Cell, Description, From, Key, Merge, Pane, Property, PropertyType, Table,
};
use tally_plugin::property::LARGEST_SCALE;
use tally_schema::Schema;

/// A description longer than this is refused: it is held in memory and served with every catalogue
/// request.
pub(super) const LARGEST_TEXT: usize = 256 << 10;

/// Tables of a metric, cells of a table. Deltas number both with 16 bits; state is laid out per
/// cell.
const MOST: usize = 64;

/// Longest name of a table, a cell, a property and a computed column, bytes.
const LONGEST_NAME: usize = 64;

/// Key columns of a table: reads are made for so many.
const MOST_KEYS: usize = 3;

/// Properties, and computed columns, of a metric: each is a column of every batch.
const MOST_COLUMNS: usize = 32;

/// Params that the host adds to every metric with a time axis.
const TIME_PARAMS: [&str; 5] = ["window", "from", "to", "bucket", "event_types"];

/// What is wrong with what a file says of itself.
pub(super) fn about(about: &AboutText) -> Vec<String> {
    let mut faults = Vec::new();
    if !is_metric_name(&about.name) {
        faults.push(format!(
            "its name {:?} is not of the form [a-z][a-z0-9_]*, 1 to 64 characters",
            about.name
        ));
    }
    if about.version.is_empty() || about.version.len() > 64 {
        faults.push("its version must have 1 to 64 characters".into());
    }
    if let Err(fault) = Schema::compile(&about.config_schema) {
        faults.push(format!("its config schema cannot be used: {fault}"));
    }
    faults
}

/// Whether a plugin serves nothing without a configuration: it is meant for sections.
pub(super) fn needs_config(about: &AboutText) -> bool {
    Schema::compile(&about.config_schema)
        .is_ok_and(|schema| !schema.accepts(&Value::Object(Default::default())))
}

/// What is wrong with a description.
pub(super) fn description(description: &Description) -> Vec<String> {
    let mut faults = Vec::new();
    if description.summary.trim().is_empty() || description.summary.len() > 500 {
        faults.push("its summary must have 1 to 500 characters".into());
    }
    if description.tables.is_empty() || description.tables.len() > MOST {
        faults.push(format!("it declares {} tables, not 1 to {MOST}", description.tables.len()));
    }
    let mut names = BTreeSet::new();
    for declared in &description.tables {
        if !names.insert(&declared.name) {
            faults.push(format!("two tables are named {:?}", declared.name));
        }
        let columns = columns(declared, description);
        faults.extend(
            table(declared)
                .into_iter()
                .chain(columns)
                .map(|fault| format!("table {:?}: {fault}", declared.name)),
        );
    }
    faults.extend(properties(description));
    if description.time && description.tables.iter().all(|table| table.tiers.is_empty()) {
        faults.push("it has a time axis, but no table has tiers".into());
    }
    faults.extend(schemas(description));
    faults
}

fn table(table: &Table) -> Vec<String> {
    let mut faults = Vec::new();
    if !is_identifier(&table.name, LONGEST_NAME) {
        faults.push("its name is not of the form [a-z][a-z0-9_]*, 1 to 64 characters".into());
    }
    if table.key.len() > MOST_KEYS {
        faults.push(format!("its key has {} columns, more than {MOST_KEYS}", table.key.len()));
    }
    if table.key.iter().collect::<BTreeSet<_>>().len() != table.key.len() {
        faults.push("a column appears twice in its key".into());
    }
    if table.group > table.key.len() {
        faults.push(format!("its group has {} columns, its key {}", table.group, table.key.len()));
    }
    for name in table.only.iter().filter(|name| !is_event_type(name) && *name != "__other__") {
        faults.push(format!("{name:?} cannot be an event type"));
    }
    if table.cells.is_empty() || table.cells.len() > MOST {
        faults.push(format!("it has {} cells, not 1 to {MOST}", table.cells.len()));
    }
    let mut names = BTreeSet::new();
    for cell in &table.cells {
        if !is_identifier(&cell.name, LONGEST_NAME) {
            faults
                .push(format!("the cell name {:?} is not of the form [a-z][a-z0-9_]*", cell.name));
        }
        if !names.insert(&cell.name) {
            faults.push(format!("two cells are named {:?}", cell.name));
        }
    }
    faults.extend(tiers(table));
    faults
}

/// What is wrong with the declared properties and computed columns.
fn properties(description: &Description) -> Vec<String> {
    let mut faults = Vec::new();
    let Description { properties, computed, .. } = description;
    if properties.len().max(computed.len()) > MOST_COLUMNS {
        faults.push(format!("it declares more than {MOST_COLUMNS} properties or computed columns"));
    }
    let mut names = BTreeSet::new();
    for name in properties.iter().map(|property| &property.name).chain(computed) {
        if !is_identifier(name, LONGEST_NAME) {
            faults.push(format!(
                "the name {name:?} of a property or column is not of the form [a-z][a-z0-9_]*"
            ));
        }
        if !names.insert(name) {
            faults.push(format!("two properties or computed columns are named {name:?}"));
        }
    }
    for Property { name, pointer, kind } in properties {
        if let Err(fault) = pointer::keys(pointer) {
            faults.push(format!("property {name:?}: {}: {fault}", quoted(pointer)));
        }
        if matches!(kind, PropertyType::Decimal(scale) if *scale > LARGEST_SCALE) {
            faults.push(format!(
                "property {name:?}: a decimal has at most {LARGEST_SCALE} digits after the point"
            ));
        }
    }
    faults
}

/// What is wrong with the columns that a table's key and cells name.
fn columns(table: &Table, description: &Description) -> Vec<String> {
    let mut faults = Vec::new();
    for key in &table.key {
        match (kind_of(key, description), key) {
            (Err(fault), _) => faults.push(fault),
            (
                Ok(Some(PropertyType::Float | PropertyType::Decimal(_) | PropertyType::Time)),
                Key::Property(name),
            ) => {
                let named = named(name, description);
                faults.push(format!(
                    "{named} cannot be used in a key: only a text, an integer or a bool can"
                ));
            }
            (Ok(_), _) => {}
        }
    }
    faults.extend(table.cells.iter().filter_map(|cell| cell_fault(cell, description)));
    faults
}

/// A property as whoever wrote the configuration knows it: by its place in the event.
fn named(name: &str, description: &Description) -> String {
    let declared = description.properties.iter().find(|property| property.name == name);
    declared.map_or_else(
        || format!("property {name:?}"),
        |property| {
            format!("the property {:?}, read as {}", property.pointer, kind_name(property.kind))
        },
    )
}

fn kind_name(kind: PropertyType) -> String {
    match kind {
        PropertyType::Text => "a text".into(),
        PropertyType::Integer => "an integer".into(),
        PropertyType::Float => "a float".into(),
        PropertyType::Decimal(digits) => format!("a decimal with {digits} digits"),
        PropertyType::Bool => "a bool".into(),
        PropertyType::Time => "a time".into(),
    }
}

/// What a column is read as; `None`: an id, an event type, a computed text.
fn kind_of(key: &Key, description: &Description) -> Result<Option<PropertyType>, String> {
    match key {
        Key::UserId | Key::ProductId | Key::EventType => Ok(None),
        Key::Property(name) => {
            let declared = description.properties.iter().find(|property| property.name == *name);
            declared
                .map(|property| Some(property.kind))
                .ok_or_else(|| format!("no property {name:?} is declared"))
        }
        Key::Computed(name) => {
            let declared = description.computed.contains(name);
            declared
                .then_some(None)
                .ok_or_else(|| format!("no computed column {name:?} is declared"))
        }
    }
}

/// Whether a cell can be fed as it is declared.
fn cell_fault(cell: &Cell, description: &Description) -> Option<String> {
    let fits = match &cell.from {
        From::Update => true,
        From::One | From::EventTime => !cell.merge.is_sketch(),
        From::Column(key) => match kind_of(key, description) {
            Err(fault) => return Some(format!("cell {:?}: {fault}", cell.name)),
            Ok(kind) => match (cell.merge, kind) {
                (Merge::Distinct | Merge::Latest, _) => true,
                (_, None | Some(PropertyType::Text)) => false,
                (Merge::Sum, Some(kind)) => {
                    !matches!(kind, PropertyType::Float | PropertyType::Time)
                }
                (Merge::Min | Merge::Max, Some(kind)) => {
                    !matches!(kind, PropertyType::Float | PropertyType::Bool)
                }
                (Merge::Quantiles, Some(kind)) => {
                    !matches!(kind, PropertyType::Time | PropertyType::Bool)
                }
            },
        },
    };
    (!fits).then(|| {
        let merge = format!("{:?}", cell.merge).to_lowercase();
        let (of, why) = match &cell.from {
            From::Update => ("what is computed".into(), "it takes no values"),
            From::One => ("events".into(), "only a sum, min or max counts them"),
            From::EventTime => ("the event's time".into(), "a time has a min and a max"),
            From::Column(Key::Property(property)) => {
                let kind =
                    description.properties.iter().find(|declared| declared.name == *property);
                let why = match (cell.merge, kind.map(|kind| kind.kind)) {
                    (Merge::Sum, Some(PropertyType::Float)) => {
                        "a float has no exact sum: read it as a decimal"
                    }
                    (_, Some(PropertyType::Text)) => {
                        "a text can be counted distinct, or be the latest"
                    }
                    (_, Some(PropertyType::Time)) => "a time has a min and a max",
                    (Merge::Min | Merge::Max, Some(PropertyType::Float)) => {
                        "read it as a decimal, whose values are exact"
                    }
                    _ => "read it as another type",
                };
                (named(property, description), why)
            }
            From::Column(Key::Computed(name)) => {
                (format!("the computed column {name:?}"), "it is a text")
            }
            From::Column(Key::UserId) => {
                ("user_id".into(), "an id can be counted distinct, or be the latest")
            }
            From::Column(Key::ProductId) => {
                ("product_id".into(), "an id can be counted distinct, or be the latest")
            }
            From::Column(Key::EventType) => {
                ("event_type".into(), "it can be counted distinct, or be the latest")
            }
        };
        format!("cell {:?}: {merge} cannot be computed from {of} ({why})", cell.name)
    })
}

/// What is wrong with a table's tiers, also after a configuration has changed them.
pub(super) fn tiers(table: &Table) -> Vec<String> {
    let mut faults = Vec::new();
    for tier in &table.tiers {
        if tier.keep_ms.is_some_and(|keep| keep < tier.pane.millis()) {
            faults.push(format!(
                "its {} panes are kept for less than one of them lasts",
                pane_name(tier.pane)
            ));
        }
    }
    for pair in table.tiers.windows(2) {
        let (fine, coarse) = (pair[0], pair[1]);
        if fine.pane >= coarse.pane {
            faults.push(format!(
                "its tiers are not in order: {} comes before {}",
                pane_name(fine.pane),
                pane_name(coarse.pane)
            ));
        } else if fine.keep_ms.unwrap_or(i64::MAX) >= coarse.keep_ms.unwrap_or(i64::MAX)
            && fine.keep_ms != coarse.keep_ms
            || fine.keep_ms.is_none()
        {
            let (fine, coarse) = (pane_name(fine.pane), pane_name(coarse.pane));
            faults
                .push(format!("its {fine} panes are kept as long as its {coarse} panes or longer"));
        }
    }
    faults
}

/// As people write it: `1m`, `1h`, `1d`.
pub(super) fn pane_name(pane: Pane) -> &'static str {
    match pane {
        Pane::Minute => "1m",
        Pane::Hour => "1h",
        Pane::Day => "1d",
    }
}

fn schemas(description: &Description) -> Vec<String> {
    let mut faults = Vec::new();
    if let Err(fault) = Schema::compile(&description.result_schema) {
        faults.push(format!("its result schema cannot be used: {fault}"));
    }
    let schema = &description.params_schema;
    if schema.get("type") != Some(&Value::from("object")) {
        faults.push("its params schema must have \"type\": \"object\"".into());
    }
    if description.time {
        for name in TIME_PARAMS
            .iter()
            .filter(|name| schema.pointer(&format!("/properties/{name}")).is_some())
        {
            faults.push(format!(
                "its param {name:?} is one that the engine adds to metrics with a time axis"
            ));
        }
    }
    match Schema::compile(schema) {
        Err(fault) => faults.push(format!("its params schema cannot be used: {fault}")),
        Ok(schema) => {
            if description.examples.is_empty() || description.examples.len() > MOST {
                faults.push(format!(
                    "it has {} examples, not 1 to {MOST}",
                    description.examples.len()
                ));
            }
            for example in &description.examples {
                let mut params = example.params.clone();
                if let (true, Some(object)) = (description.time, params.as_object_mut()) {
                    object.retain(|name, _| !TIME_PARAMS.contains(&name.as_str()));
                }
                faults.extend(
                    against(&schema, &params)
                        .into_iter()
                        .map(|fault| format!("its example {:?}: {fault}", example.note)),
                );
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tally_plugin::prelude::{
        DAYS, EVENT_TIME, EVENT_TYPE, HOURS, MINUTES, ONE, PRODUCT_ID, UPDATE, USER_ID, computed,
        days, distinct, hours, latest, max, min, property, quantiles, sum,
    };

    fn good() -> Description {
        let tiers = [MINUTES.keep(hours(48)), HOURS.keep(days(90)), DAYS.keep_all()];
        let table = tally_plugin::prelude::table("t")
            .key([USER_ID])
            .cell("n", sum(ONE))
            .cell("last", max(EVENT_TIME))
            .tiers(tiers);
        Description {
            params_schema: json!({"type": "object", "properties": {"limit": {"type": "integer", "minimum": 1}}, "additionalProperties": false}),
            result_schema: json!({"type": "object"}),
            ..Description::new("A summary")
                .property("price", "/price", PropertyType::Decimal(4))
                .property("weight", "/weight", PropertyType::Float)
                .property("brand", "/brand", PropertyType::Text)
                .computed("hour")
                .table(table)
                .table(
                    tally_plugin::prelude::table("more")
                        .key([property("brand"), computed("hour")])
                        .cell("a", sum(property("price")))
                        .cell("b", min(property("price")))
                        .cell("c", quantiles(property("weight")))
                        .cell("d", distinct(USER_ID))
                        .cell("e", latest(property("weight")))
                        .cell("f", distinct(computed("hour")))
                        .cell("g", distinct(UPDATE)),
                )
                .time()
                .example(json!({"limit": 1, "window": "2h"}), "one")
        }
    }

    #[test]
    fn a_good_description_has_no_faults() {
        assert_eq!(description(&good()), Vec::<String>::new());
    }

    #[test]
    fn each_fault_is_named() {
        type Break = fn(&mut Description);
        let broken: [(&str, Break); 28] = [
            ("summary", |d| d.summary.clear()),
            ("0 tables", |d| d.tables.clear()),
            ("two tables", |d| d.tables.push(d.tables[0].clone())),
            ("its name", |d| d.tables[0].name = "T".into()),
            ("twice in its key", |d| d.tables[0].key = vec![USER_ID, USER_ID]),
            ("4 columns", |d| {
                d.tables[0].key = vec![USER_ID, PRODUCT_ID, EVENT_TYPE, property("brand")]
            }),
            ("no property", |d| d.tables[0].key = vec![property("model")]),
            ("no computed", |d| d.tables[0].key = vec![computed("model")]),
            ("in a key", |d| d.tables[0].key = vec![property("price")]),
            ("two properties", |d| d.computed.push("price".into())),
            ("not a JSON pointer", |d| d.properties[0].pointer = "price".into()),
            ("18 digits", |d| d.properties[0].kind = PropertyType::Decimal(19)),
            ("sum cannot be computed from", |d| {
                d.tables[0].cells[0].from = property("weight").into()
            }),
            ("sum cannot be computed from", |d| d.tables[0].cells[0].from = USER_ID.into()),
            ("distinct cannot be computed from", |d| d.tables[0].cells[0].merge = Merge::Distinct),
            ("no property", |d| d.tables[0].cells[0].from = property("model").into()),
            ("its group", |d| d.tables[0].group = 2),
            ("event type", |d| d.tables[0].only = vec!["Buy".into()]),
            ("0 cells", |d| d.tables[0].cells.clear()),
            ("two cells", |d| d.tables[0].cells[1].name = "n".into()),
            ("cell name", |d| d.tables[0].cells[1].name = "a b".into()),
            ("less than one", |d| d.tables[0].tiers[0].keep_ms = Some(1)),
            ("in order", |d| d.tables[0].tiers.swap(0, 1)),
            ("or longer", |d| d.tables[0].tiers[0].keep_ms = None),
            ("no table has tiers", |d| d.tables[0].tiers.clear()),
            ("params schema", |d| d.params_schema = json!({"type": "array"})),
            ("result schema", |d| d.result_schema = json!({"type": 7})),
            ("/limit: 0 is less", |d| d.examples[0].params = json!({"limit": 0})),
        ];
        for (expected, break_it) in broken {
            let mut changed = good();
            break_it(&mut changed);
            let faults = description(&changed).join("; ");
            assert!(faults.contains(expected), "{expected:?} is not in {faults:?}");
        }
    }
}
