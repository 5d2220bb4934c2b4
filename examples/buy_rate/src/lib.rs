//! How many of a product's views end in a purchase.

use tally_plugin::prelude::*;

/// The metric.
pub struct BuyRate;

/// What can be asked, besides the time.
#[params]
pub struct Params {
    /// How many products.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 100))]
    limit: usize,
}

fn ten() -> usize {
    10
}

/// A product.
#[answer]
pub struct Product {
    product_id: ProductId,
    views: u64,
    buys: u64,
    /// `buys` ÷ `views`, 4 decimals.
    rate: f64,
}

impl Metric for BuyRate {
    const ABOUT: About = about!("buy_rate", revision = 1);
    type Config = ();
    type Params = Params;
    type Answer = Vec<Product>;

    fn new((): ()) -> Result<Self, String> {
        Ok(BuyRate)
    }

    fn describe(&self) -> Description {
        let events = table("events").key([PRODUCT_ID, EVENT_TYPE]).group(1).only(["view", "buy"]);
        Description::new("How many of a product's views end in a purchase")
            .table(events.cell("n", sum(ONE)).tiers([MINUTES.keep(hours(48)), HOURS.keep(days(90)), DAYS.keep_all()]))
            .time()
            .example(json!({"limit": 3}), "the three products seen and bought most")
            .example(json!({"window": "24h"}), "of the last day")
    }

    fn answer(&self, asked: &Request<Params>, read: &Reader<'_>) -> Result<Vec<Product>, Refusal> {
        let query = read.table("events").within(asked.window).only_types(asked.event_types.as_deref());
        let query = query.group_by([PRODUCT_ID]).part_by([EVENT_TYPE]);
        let found = query.top(asked.params.limit, [measure("n")]).run()?;
        let product = |group: Group<'_>| {
            let counts = group.parts().counts("n");
            let of = |kind: &str| counts.get(kind).copied().unwrap_or(0);
            let (views, buys) = (of("view"), of("buy"));
            Product { product_id: group.id().into(), views, buys, rate: ratio(buys as f64, views as f64, 4) }
        };
        Ok(found.groups().map(product).collect())
    }
}

export_metric!(BuyRate);
