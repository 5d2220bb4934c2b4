//! A metric by configuration alone: which columns are counted by, and what is counted, summed, or
//! told of their spread.
//!
//! Nothing is served without a `[metrics.NAME]` section that says so. Columns are the fields
//! `user_id`, `product_id` and `event_type`, or JSON pointers into the event (`/brand`).

use tally_plugin::prelude::*;

mod config;

pub use config::{Config, Counts};
use config::{Measured, Of};

/// What can be asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Only rows with one of these values in a key column: `{"brand": ["acme"]}`.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 3))]
    only: BTreeMap<String, Vec<Id>>,
    /// The key columns that make a group; all of them unless told otherwise, none for the total
    /// alone.
    by: Option<Vec<String>>,
    /// The cell by which groups are ordered; the first one that can unless told otherwise.
    order_by: Option<String>,
    /// Largest first (`desc`) or smallest first (`asc`).
    #[serde(default)]
    order: Direction,
    /// How many groups.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 1000))]
    limit: usize,
}

fn ten() -> usize {
    10
}

/// Order of the list.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Largest first.
    #[default]
    Desc,
    /// Smallest first.
    Asc,
}

/// The cells by name: a number, for a time a text, for quantiles an object (`p50`, `p95` …); a cell
/// without values is absent.
type Values = BTreeMap<String, Value>;

/// The answer.
#[derive(Serialize, JsonSchema)]
pub struct Answer {
    /// Over all groups of the filter.
    total: Values,
    /// Number of groups, before `limit`.
    #[schemars(extend("x-tally-view" = {"title": "Groups"}))]
    groups_total: u64,
    /// In the order asked for; of equal ones the lower key.
    #[schemars(extend("x-tally-view" = {"as": "table"}))]
    groups: Vec<Row>,
}

/// A group.
#[derive(Serialize, JsonSchema)]
pub struct Row {
    /// Where it is a key column.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<UserId>,
    /// Where it is a key column.
    #[serde(skip_serializing_if = "Option::is_none")]
    product_id: Option<ProductId>,
    /// The other key columns.
    key: BTreeMap<String, Value>,
    /// The cells.
    values: Values,
    /// With `bucket`.
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<Vec<Step>>,
}

/// A step of a series.
#[derive(Serialize, JsonSchema)]
pub struct Step {
    /// Start, UTC-aligned.
    start: Time,
    /// The cells.
    values: Values,
}

impl Metric for Counts {
    const ABOUT: About = about!("counts", revision = 1);
    type Config = Config;
    type Params = Params;
    type Answer = Answer;

    fn new(config: Config) -> Result<Self, String> {
        Counts::of(config)
    }

    fn describe(&self) -> Description {
        self.description()
    }

    fn answer(&self, asked: &Request<Params>, read: &Reader<'_>) -> Result<Answer, Refusal> {
        let Params { only, by, order_by, order, limit } = &asked.params;
        let by =
            by.clone().unwrap_or_else(|| self.keys.iter().map(|key| key.name.clone()).collect());
        let column = |name: &String, pointer: &str| {
            let found =
                self.keys.iter().find(|key| key.name == *name).map(|key| key.column.clone());
            found.ok_or_else(|| {
                Refusal::invalid(
                    pointer,
                    format!("\"{name}\" is not one of the key columns{}", self.names()),
                )
            })
        };
        let mut query =
            read.table("rows").within(asked.window).quantiles(self.quantiles.iter().copied());
        for (name, ids) in only {
            // The text "7" is the id 7, as in events; a property is what it is.
            let column = column(name, &format!("/params/only/{name}"))?;
            let is_id = matches!(column, Key::UserId | Key::ProductId);
            let id = |id: &Id| if is_id { Id::of_text(&id.text()) } else { id.clone() };
            query = query.only(column, ids.iter().map(id));
        }
        if let Some(types) = &asked.event_types {
            let fault =
                "this metric does not distinguish event types: its \"by\" has no event_type";
            let column = column(&"event_type".into(), "")
                .map_err(|_| Refusal::invalid("/params/event_types", fault))?;
            query = query.only(column, texts(types));
        }
        let columns =
            by.iter().map(|name| column(name, "/params/by")).collect::<Result<Vec<_>, _>>()?;
        let ranked = self
            .ranked(order_by.as_deref())
            .map_err(|fault| Refusal::invalid("/params/order_by", fault))?;
        let order = match order {
            Direction::Desc => Order::Desc,
            Direction::Asc => Order::Asc,
        };
        let found = query.group_by(columns).rank(order, *limit, ranked).steps(asked.steps).run()?;
        let row = |group: Group<'_>| {
            let ids = |wanted: &str| {
                by.iter().position(|name| name == wanted).map(|n| group.key(n).clone())
            };
            let is_other = |name: &&String| !matches!(name.as_str(), "user_id" | "product_id");
            let key = by.iter().enumerate().filter(|(_, name)| is_other(name));
            let step = |step: StepView<'_>| Step {
                start: Time(step.start),
                values: self.values(step.parts),
            };
            Row {
                user_id: ids("user_id").map(UserId),
                product_id: ids("product_id").map(ProductId),
                key: key.map(|(n, name)| (name.clone(), json!(group.key(n)))).collect(),
                values: self.values(group.parts()),
                series: asked.steps.map(|_| group.series().map(step).collect()),
            }
        };
        Ok(Answer {
            total: self.values(found.total()),
            groups_total: found.groups_total(),
            groups: found.groups().map(row).collect(),
        })
    }
}

impl Counts {
    fn values(&self, parts: Parts<'_>) -> Values {
        self.cells
            .iter()
            .filter_map(|cell| Some((cell.name.clone(), self.value(cell, parts)?)))
            .collect()
    }

    fn value(&self, cell: &Measured, parts: Parts<'_>) -> Option<Value> {
        let number = |value: i128| match cell.scale {
            _ if cell.time => json!(Time::from_cell(value)),
            scale => json!(Decimal { value, scale }),
        };
        Some(match cell.of {
            Of::Count => json!(parts.count(&cell.name)),
            Of::Sum => number(parts.sum(&cell.name)),
            Of::Min => number(parts.min(&cell.name)?),
            Of::Max => number(parts.max(&cell.name)?),
            Of::Distinct => json!(parts.distinct(&cell.name)),
            Of::Quantiles => {
                let (unit, told) = (10_f64.powi(cell.scale.into()), parts.quantiles(&cell.name));
                let name = |q: f64| format!("p{}", ratio(q * 100.0, 1.0, 6));
                let named = self
                    .quantiles
                    .iter()
                    .zip(told)
                    .map(|(q, value)| (name(*q), json!(ratio(*value, unit, 9))));
                Value::Object((!told.is_empty()).then(|| named.collect())?)
            }
            Of::Latest => match parts.latest(&cell.name)?.1 {
                Scalar::Integer(value) => number(*value),
                Scalar::Float(value) => json!(value),
                Scalar::Text(text) => json!(text),
            },
        })
    }
}

export_metric!(Counts);
