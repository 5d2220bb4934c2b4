//! How many different users there were: overall, and per product.
//!
//! Two tables of sets of users, by event type, so that any types can be asked together; an answer
//! merges the sets of its window.

use tally_plugin::prelude::*;

/// The metric.
pub struct UniqueVisitors;

/// What can be asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Only these products; each is listed, at zero too, and `limit` does not apply.
    #[schemars(length(min = 1, max = 100))]
    product_ids: Option<Vec<ProductId>>,
    /// How many products, the most visited first; 0 for the overall number alone.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 1000))]
    limit: usize,
}

fn ten() -> usize {
    10
}

/// The answer. Numbers of users are estimates: exact for small ones, within 2 % in 95 % of all
/// cases beyond 2,000.
#[derive(Serialize, JsonSchema)]
pub struct Visitors {
    /// Number of different users, of all products.
    #[schemars(extend("x-tally-view" = {"title": "Visitors"}))]
    users: u64,
    /// Most visited first; of equal ones the lower id.
    products: Vec<Product>,
    /// With `bucket`: different users of each step. Their sum is not `users`, since a user may come
    /// again.
    #[schemars(extend("x-tally-view" = {"title": "Visitors over time"}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<Vec<Step>>,
}

/// A product.
#[derive(Serialize, JsonSchema)]
pub struct Product {
    /// The product.
    product_id: ProductId,
    /// Number of different users.
    #[schemars(extend("x-tally-view" = {"title": "Visitors"}))]
    users: u64,
}

/// A step of the series.
#[derive(Serialize, JsonSchema)]
pub struct Step {
    /// Start, UTC-aligned.
    start: Time,
    /// Number of different users.
    users: u64,
}

impl Metric for UniqueVisitors {
    const ABOUT: About = about!("unique_visitors", revision = 1);
    type Config = ();
    type Params = Params;
    type Answer = Visitors;

    fn new((): ()) -> Result<Self, String> {
        Ok(UniqueVisitors)
    }

    fn describe(&self) -> Description {
        let kept = [MINUTES.keep(hours(48)), HOURS.keep(days(90)), DAYS.keep_all()];
        let of = |name, key: &[Key]| {
            table(name).key(key.to_vec()).cell("users", distinct(USER_ID)).tiers(kept)
        };
        Description::new("Different users, overall and per product")
            .table(of("overall", &[EVENT_TYPE]))
            .table(of("by_product", &[PRODUCT_ID, EVENT_TYPE]).group(1))
            .time()
            .example(json!({"limit": 3}), "the three products with the most visitors")
            .example(json!({"limit": 0, "window": "2h", "bucket": "1h"}), "overall, hour by hour")
            .example(
                json!({"product_ids": [10, 40], "event_types": ["buy"]}),
                "who bought two products",
            )
    }

    fn answer(&self, asked: &Request<Params>, read: &Reader<'_>) -> Result<Visitors, Refusal> {
        let (types, ids) = (asked.event_types.as_deref(), asked.params.product_ids.as_deref());
        let table = |name| read.table(name).within(asked.window).only_types(types);
        let overall = table("overall").steps(asked.steps).run()?;
        let by_product = table("by_product").group_by([PRODUCT_ID]);
        let product = |group: Group<'_>| Product {
            product_id: group.id().into(),
            users: group.parts().distinct("users"),
        };
        let (users, products) = match ids {
            None => {
                let top = by_product.top(asked.params.limit, [measure("users")]).run()?;
                (overall.total().distinct("users"), top.groups().map(product).collect())
            }
            Some(ids) => {
                let found = by_product.only(PRODUCT_ID, ids.iter().cloned()).run()?;
                let mut ids: Vec<Id> = ids.iter().cloned().map(Id::from).collect();
                ids.sort();
                ids.dedup();
                let mut products: Vec<Product> =
                    ids.iter().map(|id| product(found.group(id))).collect();
                products.sort_by_key(|product| std::cmp::Reverse(product.users));
                (overall.total().distinct("users"), products)
            }
        };
        let step = |step: tally_plugin::reader::StepView<'_>| Step {
            start: Time(step.start),
            users: step.parts.distinct("users"),
        };
        Ok(Visitors {
            users,
            products,
            series: asked.steps.map(|_| overall.series().map(step).collect()),
        })
    }
}

export_metric!(UniqueVisitors);
