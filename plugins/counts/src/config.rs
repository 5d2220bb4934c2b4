//! What `[metrics.NAME.config]` may say, and the description that follows from it.
//!
//! Texts that name a column say so in the schema (`x-tally-column`): which columns have a name, what is
//! taken, and as what it is read unless `types` says otherwise. Whoever draws a form finds it there.

use tally_plugin::describe::table;
use tally_plugin::description::{From, Key, Property};
use tally_plugin::prelude::{
    BTreeMap, DAYS, Description, Deserialize, HOURS, JsonSchema, MINUTES, ONE, PropertyType, days,
    distinct, hours, json, latest, max, measure, min, property, quantiles, sum,
};
use tally_plugin::read::Measure;

/// What is counted.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the metric tells, in one line.
    summary: Option<String>,
    /// Key columns: `user_id`, `product_id`, `event_type`, or JSON pointers into the event, which
    /// are then called by their last part (`/brand` is `brand`). None: one row.
    #[serde(default)]
    #[schemars(
        title = "count by",
        length(max = 3),
        extend("x-tally-column" = {
            "names": ["user_id", "product_id", "event_type"],
            "takes": ["text", "integer", "bool"],
            "read_as": "text"
        })
    )]
    by: Vec<String>,
    /// Event types that count; none: all.
    #[serde(default)]
    #[schemars(title = "event types", extend("x-tally-column" = {"values_of": "event_type"}))]
    only: Vec<String>,
    /// What each row holds, by name.
    #[schemars(extend(
        "minProperties" = 1, "maxProperties" = 32, "examples" = [{"events": "count"}]
    ))]
    cells: BTreeMap<String, Cell>,
    /// What a JSON pointer is read as: `"text"`, `"integer"`, `"float"`, `{ decimal = 2 }`,
    /// `"bool"`, `"time"`. Unless it is said, key columns and what is `distinct` or `latest` are
    /// texts, the others decimals with 4 digits.
    #[serde(default)]
    types: BTreeMap<String, Read>,
    /// Which quantiles, from 0 to 1; only for `quantiles of`.
    #[serde(default = "usual")]
    #[schemars(length(min = 1, max = 16), inner(range(min = 0.0, max = 1.0)))]
    quantiles: Vec<f64>,
    /// Resolutions of the time axis: all, unless it is said; none: totals only.
    #[serde(default = "all")]
    #[schemars(title = "resolutions", length(max = 3))]
    tiers: Vec<Resolution>,
}

fn usual() -> Vec<f64> {
    vec![0.5, 0.9, 0.95, 0.99]
}

fn all() -> Vec<Resolution> {
    vec![Resolution::Minute, Resolution::Hour, Resolution::Day]
}

/// A cell: `"count"`, or of which column what: `{ sum = "/price" }`.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Cell {
    /// Number of events.
    #[schemars(title = "number of events")]
    Count,
    /// Exact sum.
    #[schemars(title = "sum of")]
    Sum(
        #[schemars(extend(
            "x-tally-column" = {"takes": ["number"], "read_as": {"decimal": 4}}
        ))]
        String,
    ),
    /// Smallest value.
    #[schemars(title = "smallest")]
    Min(
        #[schemars(extend(
            "x-tally-column" = {"takes": ["number", "time"], "read_as": {"decimal": 4}}
        ))]
        String,
    ),
    /// Largest value.
    #[schemars(title = "largest")]
    Max(
        #[schemars(extend(
            "x-tally-column" = {"takes": ["number", "time"], "read_as": {"decimal": 4}}
        ))]
        String,
    ),
    /// Number of different values.
    #[schemars(title = "different values of")]
    Distinct(#[schemars(extend("x-tally-column" = {"read_as": "text"}))] String),
    /// Quantiles of the values.
    #[schemars(title = "quantiles of")]
    Quantiles(
        #[schemars(extend(
            "x-tally-column" = {"takes": ["number"], "read_as": {"decimal": 4}}
        ))]
        String,
    ),
    /// Value of the latest event.
    #[schemars(title = "latest")]
    Latest(#[schemars(extend("x-tally-column" = {"read_as": "text"}))] String),
}

/// What a property is read as.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Read {
    Text,
    Integer,
    Float,
    Decimal(#[schemars(range(min = 0, max = 9))] u8),
    Bool,
    Time,
}

/// A resolution of the time axis; how long it is kept, `retention` may say.
#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
enum Resolution {
    #[serde(rename = "1m")]
    Minute,
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "1d")]
    Day,
}

/// The metric.
pub struct Counts {
    pub(crate) keys: Vec<KeyColumn>,
    pub(crate) cells: Vec<Measured>,
    pub(crate) quantiles: Vec<f64>,
    config: Config,
    properties: Vec<Property>,
}

/// A key column.
pub(crate) struct KeyColumn {
    pub(crate) name: String,
    pub(crate) column: Key,
}

/// A cell.
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) of: Of,
    from: From,
    /// Digits of its numbers after the point.
    pub(crate) scale: u8,
    /// Whether its numbers are times.
    pub(crate) time: bool,
}

/// What a cell tells.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Of {
    Count,
    Sum,
    Min,
    Max,
    Distinct,
    Quantiles,
    Latest,
}

impl Counts {
    pub(crate) fn of(config: Config) -> Result<Counts, String> {
        let mut properties = Vec::new();
        let mut keys: Vec<KeyColumn> = Vec::new();
        for name in &config.by {
            let column = column(name, &config.types, Read::Text, &mut properties)?.0;
            let short = name.rsplit('/').next().unwrap_or(name).to_string();
            if short.is_empty() || keys.iter().any(|key| key.name == short) {
                return Err(format!("\"by\": {name:?} has no name of its own"));
            }
            keys.push(KeyColumn { name: short, column });
        }
        let mut cells = Vec::new();
        for (name, cell) in &config.cells {
            let decimal = Read::Decimal(4);
            let (of, column_of) = match cell {
                Cell::Count => (Of::Count, None),
                Cell::Sum(of) => (Of::Sum, Some((of, decimal))),
                Cell::Min(of) => (Of::Min, Some((of, decimal))),
                Cell::Max(of) => (Of::Max, Some((of, decimal))),
                Cell::Quantiles(of) => (Of::Quantiles, Some((of, decimal))),
                Cell::Distinct(of) => (Of::Distinct, Some((of, Read::Text))),
                Cell::Latest(of) => (Of::Latest, Some((of, Read::Text))),
            };
            let (from, read) = match column_of {
                None => (ONE, Read::Integer),
                Some((of, usual)) => {
                    let (key, read) = column(of, &config.types, usual, &mut properties)
                        .map_err(|fault| format!("cell \"{name}\": {fault}"))?;
                    (From::Column(key), read)
                }
            };
            let scale = if let Read::Decimal(scale) = read { scale } else { 0 };
            cells.push(Measured { name: name.clone(), of, from, scale, time: read == Read::Time });
        }
        Ok(Counts { keys, cells, quantiles: config.quantiles.clone(), config, properties })
    }

    pub(crate) fn description(&self) -> Description {
        let mut rows = table("rows").key(self.keys.iter().map(|key| key.column.clone()));
        rows = rows.only(self.config.only.iter().map(String::as_str));
        for cell in &self.cells {
            let from = cell.from.clone();
            rows = rows.cell(
                &cell.name,
                match cell.of {
                    Of::Count | Of::Sum => sum(from),
                    Of::Min => min(from),
                    Of::Max => max(from),
                    Of::Distinct => distinct(from),
                    Of::Quantiles => quantiles(from),
                    Of::Latest => latest(from),
                },
            );
        }
        let tiers = &self.config.tiers;
        let tier = |(n, tier): (usize, &Resolution)| {
            let (pane, keep) = match tier {
                Resolution::Minute => (MINUTES, hours(48)),
                Resolution::Hour => (HOURS, days(90)),
                Resolution::Day => (DAYS, days(3_650)),
            };
            if n + 1 == tiers.len() { pane.keep_all() } else { pane.keep(keep) }
        };
        let by: Vec<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
        let cells: Vec<&str> = self.cells.iter().map(|cell| cell.name.as_str()).collect();
        let usual = match by.as_slice() {
            [] => cells.join(", "),
            by => format!("{} by {}", cells.join(", "), by.join(" and ")),
        };
        let summary =
            self.config.summary.clone().unwrap_or_else(|| usual.chars().take(400).collect());
        let mut description =
            Description::new(&summary).table(rows.tiers(tiers.iter().enumerate().map(tier)));
        description.properties.clone_from(&self.properties);
        if tiers.is_empty() {
            return description.example(json!({"limit": 3}), "the three first groups");
        }
        let description = description
            .time()
            .example(json!({"limit": 3, "window": "24h"}), "the three first groups of a day");
        description
            .example(json!({"by": [], "window": "24h", "bucket": "1h"}), "the total, hour by hour")
    }

    /// The measures by which groups are ordered.
    pub(crate) fn ranked(&self, by: Option<&str>) -> Result<Vec<Measure>, String> {
        let can = |cell: &&Measured| !matches!(cell.of, Of::Quantiles | Of::Latest);
        let found = match by {
            None => self.cells.iter().find(can),
            Some(name) => {
                let cell = self.cells.iter().find(|cell| cell.name == name);
                let cell = cell.ok_or_else(|| format!("\"{name}\" is not one of the cells"))?;
                Some(
                    Some(cell)
                        .filter(can)
                        .ok_or("groups cannot be ordered by quantiles and latest values")?,
                )
            }
        };
        Ok(found.map(|cell| measure(&cell.name)).into_iter().collect())
    }

    /// The names of the key columns, for a fault.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
        if names.is_empty() { String::new() } else { format!(" {}", names.join(", ")) }
    }
}

/// The column that a text of the configuration names, and what it is read as.
fn column(
    name: &str,
    types: &BTreeMap<String, Read>,
    usual: Read,
    properties: &mut Vec<Property>,
) -> Result<(Key, Read), String> {
    match name {
        "user_id" => return Ok((Key::UserId, Read::Text)),
        "product_id" => return Ok((Key::ProductId, Read::Text)),
        "event_type" => return Ok((Key::EventType, Read::Text)),
        _ if name.starts_with('/') => {}
        _ => {
            return Err(format!(
                "{name:?} is neither user_id, product_id, event_type nor a JSON pointer such as \
                 \"/brand\""
            ));
        }
    }
    let read = types.get(name).copied().unwrap_or(usual);
    let kind = match read {
        Read::Text => PropertyType::Text,
        Read::Integer => PropertyType::Integer,
        Read::Float => PropertyType::Float,
        Read::Decimal(scale) => PropertyType::Decimal(scale),
        Read::Bool => PropertyType::Bool,
        Read::Time => PropertyType::Time,
    };
    let known = properties.iter().find(|known| known.pointer == name && known.kind == kind);
    let declared = known.map(|known| known.name.clone()).unwrap_or_else(|| {
        let declared = format!("p{}", properties.len());
        properties.push(Property { name: declared.clone(), pointer: name.into(), kind });
        declared
    });
    Ok((property(&declared), read))
}
