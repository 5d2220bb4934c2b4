//! What was paid: the sum, the average and quantiles of the price of purchases, overall and per
//! product.
//!
//! The price is a declared decimal, so sums are exact; events without one count as purchases
//! without a price. Where it stands, how many digits it has and what counts as a purchase can be
//! configured.

use tally_plugin::prelude::*;

/// The metric.
pub struct Revenue(Config);

/// What can be configured.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the price stands in an event: a JSON pointer.
    price: String,
    /// Digits of the price after the point; more are rounded.
    #[schemars(range(min = 0, max = 9))]
    digits: u8,
    /// The event types that are purchases.
    #[schemars(length(min = 1, max = 16))]
    event_types: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config { price: "/price".into(), digits: 4, event_types: vec!["buy".into()] }
    }
}

/// What was paid.
#[derive(Serialize, JsonSchema)]
pub struct Paid {
    /// Number of purchases, with a price or without.
    purchases: u64,
    /// Sum of the prices, exact.
    #[schemars(extend("x-tally-view" = {"title": "Revenue"}))]
    revenue: Decimal,
    /// Average price; absent where there is none.
    #[schemars(extend("x-tally-view" = {"title": "Average price"}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    average: Option<f64>,
    /// Half of the prices are at most this (within 1 %).
    #[schemars(extend("x-tally-view" = {"title": "Median price"}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    p50: Option<f64>,
    /// 95 of 100 prices are at most this (within 1 %).
    #[schemars(extend("x-tally-view" = {"title": "95 % of prices up to"}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    p95: Option<f64>,
}

/// A product.
#[derive(Serialize, JsonSchema)]
pub struct Product {
    /// The product.
    product_id: ProductId,
    #[serde(flatten)]
    paid: Paid,
}

/// The answer.
#[derive(Serialize, JsonSchema)]
pub struct Answer {
    /// Over all products of the filter.
    #[serde(flatten)]
    total: Paid,
    /// By revenue; of equal ones the lower id.
    products: Vec<Product>,
}

impl Metric for Revenue {
    const ABOUT: About = about!("revenue", revision = 1);
    type Config = Config;
    type Params = Products;
    type Answer = Answer;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Revenue(config))
    }

    fn describe(&self) -> Description {
        let paid =
            table("paid").key([PRODUCT_ID]).only(self.0.event_types.iter().map(String::as_str));
        let paid = paid
            .cell("n", sum(ONE))
            .cell("sum", sum(property("price")))
            .cell("prices", quantiles(property("price")));
        Description::new("Revenue of purchases, overall and per product")
            .property("price", &self.0.price, PropertyType::Decimal(self.0.digits))
            .table(paid.tiers([MINUTES.keep(hours(48)), HOURS.keep(days(90)), DAYS.keep_all()]))
            .time()
            .example(json!({"limit": 3}), "the three products that brought most")
            .example(json!({"product_ids": [10, 20], "window": "24h"}), "two products, last day")
    }

    fn answer(&self, asked: &Request<Products>, read: &Reader<'_>) -> Result<Answer, Refusal> {
        if asked.event_types.is_some() {
            let types = self.0.event_types.join(", ");
            let fault = format!(
                "these are the purchases ({types}); they are not distinguished by event type"
            );
            return Err(Refusal::invalid("/params/event_types", fault));
        }
        let query = read.table("paid").within(asked.window).quantiles([0.5, 0.95]);
        let found = asked.params.top(query, [measure("sum"), measure("n")]).run()?;
        let paid = |parts: Parts<'_>| self.paid(parts);
        let product =
            |group: Group<'_>| Product { product_id: group.id().into(), paid: paid(group.parts()) };
        Ok(Answer { total: paid(found.total()), products: found.groups().map(product).collect() })
    }
}

impl Revenue {
    fn paid(&self, parts: Parts<'_>) -> Paid {
        let scale = self.0.digits;
        let (revenue, unit) =
            (Decimal { value: parts.sum("sum"), scale }, 10_f64.powi(scale.into()));
        let [p50, p95] =
            [0, 1].map(|n| parts.quantiles("prices").get(n).map(|price| ratio(*price, unit, 6)));
        let priced = parts.values("prices");
        let average = (priced > 0).then(|| ratio(revenue.to_f64(), priced as f64, 6));
        Paid { purchases: parts.count("n"), revenue, average, p50, p95 }
    }
}

export_metric!(Revenue);
