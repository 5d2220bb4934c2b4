//! Interactions per product; each event is one interaction, which may be weighted by its type.
//!
//! One row per product and event type, counted by the host. Weights are applied while reading, so
//! that they can be chosen with each question; `[metrics.NAME.config] weights` sets those of a
//! question without any.

use tally_plugin::prelude::*;

/// The metric.
pub struct ProductsPopularity {
    weights: Option<Weights>,
}

/// Weights by event type; types that are not named weigh 0.
type Weights = BTreeMap<String, Weight>;

/// Weight of an event type.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Weight(#[schemars(range(min = 0, max = 1000))] u16);

/// What can be configured.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Weights of a question that gives none; without them each event weighs 1.
    #[schemars(extend("maxProperties" = 64))]
    weights: Option<Weights>,
}

/// What can be asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Only these products; each is listed, at zero too, and `limit` does not apply.
    #[schemars(length(min = 1, max = 100))]
    product_ids: Option<Vec<ProductId>>,
    /// Weight of each event type in `score`; types that are not named weigh 0.
    #[schemars(extend("maxProperties" = 64))]
    weights: Option<Weights>,
    /// Most popular first (`desc`) or least popular first (`asc`).
    #[serde(default)]
    order: Direction,
    /// How many products.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 1000))]
    limit: usize,
}

/// Order of the list.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Largest score first.
    #[default]
    Desc,
    /// Smallest score first.
    Asc,
}

fn ten() -> usize {
    10
}

/// The answer.
#[derive(Serialize, JsonSchema)]
pub struct Popularity {
    /// Number of interactions with all products of the filter.
    #[schemars(extend("x-tally-view" = {"title": "Interactions"}))]
    total: u64,
    /// Number of products with interactions, before `limit`; with `product_ids` the number of
    /// these.
    #[schemars(extend("x-tally-view" = {"title": "Products"}))]
    products_total: u64,
    /// By score, then by interactions, then the lower id first.
    products: Vec<Product>,
}

/// A product.
#[derive(Serialize, JsonSchema)]
pub struct Product {
    /// 1 … n, without ties.
    #[schemars(extend("x-tally-view" = {"as": "hidden"}))]
    rank: u64,
    /// The product.
    #[schemars(extend("x-tally-view" = {"title": "Product"}))]
    product_id: ProductId,
    /// Number of events.
    interactions: u64,
    /// Weighted sum of the events.
    score: u64,
    /// Number of events by type.
    by_type: BTreeMap<String, u64>,
    /// Share of `interactions` in `total`, 6 decimals.
    #[schemars(extend("x-tally-view" = {"unit": "share"}))]
    share: f64,
    /// With `bucket`.
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<Vec<StepCounts>>,
}

impl Metric for ProductsPopularity {
    const ABOUT: About = about!("products_popularity", revision = 1);
    type Config = Config;
    type Params = Params;
    type Answer = Popularity;

    fn new(config: Config) -> Result<Self, String> {
        Ok(ProductsPopularity { weights: config.weights })
    }

    fn describe(&self) -> Description {
        Description::new("Interactions per product")
            .table(
                table("interactions")
                    .key([PRODUCT_ID, EVENT_TYPE])
                    .group(1)
                    .cell("n", sum(ONE))
                    .tiers([MINUTES.keep(hours(48)), HOURS.keep(days(90)), DAYS.keep_all()]),
            )
            .time()
            .example(json!({"limit": 3}), "the three most popular products")
            .example(
                json!({"weights": {"view": 1, "add_to_cart": 3, "buy": 7}, "window": "24h"}),
                "a purchase weighs more",
            )
            .example(
                json!({"product_ids": [10, 20], "window": "2h", "bucket": "1h"}),
                "two products, hour by hour",
            )
    }

    fn answer(&self, asked: &Request<Params>, read: &Reader<'_>) -> Result<Popularity, Refusal> {
        let Params { product_ids, weights, order, limit } = &asked.params;
        let score = match weights.as_ref().or(self.weights.as_ref()) {
            Some(weights) => weighted(
                "n",
                weights.iter().map(|(name, weight)| (name.clone(), weight.0.into())).collect(),
                0,
            ),
            None => measure("n"),
        };
        let order = match order {
            Direction::Desc => Order::Desc,
            Direction::Asc => Order::Asc,
        };
        let mut query = read
            .table("interactions")
            .within(asked.window)
            .only_types(asked.event_types.as_deref());
        if let Some(ids) = product_ids {
            query = query.only(PRODUCT_ID, ids.iter().cloned());
        }
        let limit = product_ids.as_ref().map_or(*limit, Vec::len);
        let query = query.group_by([PRODUCT_ID]).part_by([EVENT_TYPE]).rank(
            order,
            limit,
            [score, measure("n")],
        );
        let found = query.steps(asked.steps).run()?;
        let total = found.total().count("n");

        let mut groups: Vec<Group<'_>> = found.groups().collect();
        let mut products_total = found.groups_total();
        let absent: Vec<Id>;
        if let Some(ids) = product_ids {
            // A product without events has the smallest score and count there can be: it stands at
            // that end of the list.
            let listed: Vec<Id> = groups.iter().map(Group::id).collect();
            let mut ids: Vec<Id> = ids.iter().cloned().map(Id::from).collect();
            ids.sort();
            ids.dedup();
            products_total = ids.len() as u64;
            absent = ids.into_iter().filter(|id| !listed.contains(id)).collect();
            let at = if order == Order::Desc { groups.len() } else { 0 };
            groups.splice(at..at, absent.iter().map(|id| found.group(id)));
        }
        let product = |(rank, group): (u64, Group<'_>)| Product {
            rank,
            product_id: group.id().into(),
            interactions: group.parts().count("n"),
            score: group.measure(0).clamp(0, u64::MAX.into()) as u64,
            by_type: group.parts().counts("n"),
            share: ratio(group.parts().count("n") as f64, total as f64, 6),
            series: asked
                .steps
                .map(|_| group.series().map(|step| StepCounts::of(step, "n")).collect()),
        };
        Ok(Popularity { total, products_total, products: (1..).zip(groups).map(product).collect() })
    }
}

export_metric!(ProductsPopularity);
