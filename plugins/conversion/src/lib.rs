//! How many different users viewed, carted and bought, and the ratios between these numbers,
//! overall and per product.
//!
//! Order is not considered: who bought without having viewed in the window counts as a buyer all
//! the same, so a ratio may be above 1. Numbers of users are sets merged over the window, so a user
//! counts once however often they came.

use tally_plugin::prelude::*;

/// The metric.
pub struct Conversion(Config);

/// What can be configured.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The event types that are the stages, in order.
    #[schemars(length(min = 2, max = 8))]
    stages: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config { stages: ["view", "add_to_cart", "buy"].map(String::from).into() }
    }
}

/// A stage.
#[derive(Serialize, JsonSchema)]
pub struct Stage {
    /// Its event type.
    #[schemars(extend("x-tally-view" = {"title": "Stage"}))]
    event_type: String,
    /// Number of different users, about: exact for small numbers, within 2 % in 95 % of all cases
    /// beyond 2,000.
    #[schemars(extend("x-tally-view" = {"title": "Users"}))]
    users: u64,
    /// `users` ÷ those of the stage before, 6 decimals; of the first stage 1.
    #[schemars(extend("x-tally-view" = {"title": "Of the stage before", "unit": "share"}))]
    of_previous: f64,
    /// `users` ÷ those of the first stage, 6 decimals.
    #[schemars(extend("x-tally-view" = {"title": "Of the first", "unit": "share"}))]
    of_first: f64,
}

/// A product.
#[derive(Serialize, JsonSchema)]
pub struct Product {
    /// The product.
    product_id: ProductId,
    /// In order.
    stages: Vec<Stage>,
}

/// The answer. The order in which a user went through the stages is not considered.
#[derive(Serialize, JsonSchema)]
pub struct Answer {
    /// Over all products, in order.
    #[schemars(extend("x-tally-view" = {"as": "table", "title": "Stages"}))]
    stages: Vec<Stage>,
    /// Those with the most different users first; of equal ones the lower id.
    products: Vec<Product>,
}

impl Metric for Conversion {
    const ABOUT: About = about!("conversion", revision = 1);
    type Config = Config;
    type Params = Products;
    type Answer = Answer;

    fn new(config: Config) -> Result<Self, String> {
        Ok(Conversion(config))
    }

    fn describe(&self) -> Description {
        let kept = [MINUTES.keep(hours(48)), HOURS.keep(days(90)), DAYS.keep_all()];
        let stages = || self.0.stages.iter().map(String::as_str);
        let of = |name, key: &[Key]| {
            table(name)
                .key(key.to_vec())
                .only(stages())
                .cell("users", distinct(USER_ID))
                .tiers(kept)
        };
        Description::new("Users who viewed, carted and bought; order is not considered")
            .table(of("overall", &[EVENT_TYPE]))
            .table(of("by_product", &[PRODUCT_ID, EVENT_TYPE]).group(1))
            .time()
            .example(json!({"limit": 3}), "overall, and the three products with the most users")
            .example(json!({"product_ids": [10], "window": "7d"}), "one product, last week")
    }

    fn answer(&self, asked: &Request<Products>, read: &Reader<'_>) -> Result<Answer, Refusal> {
        let types = asked.event_types.as_deref();
        let table =
            |name| read.table(name).within(asked.window).only_types(types).part_by([EVENT_TYPE]);
        let products = asked.params.top(table("by_product"), [measure("users")]).run()?;
        let stages = |parts: Parts<'_>| self.stages(parts);
        let product = |group: Group<'_>| Product {
            product_id: group.id().into(),
            stages: stages(group.parts()),
        };
        let overall = table("overall").run()?;
        Ok(Answer {
            stages: stages(overall.total()),
            products: products.groups().map(product).collect(),
        })
    }
}

impl Conversion {
    fn stages(&self, parts: Parts<'_>) -> Vec<Stage> {
        let users = |stage: &String| {
            let part = parts.split().find(|(key, _)| key.first() == Some(&Id::Text(stage.clone())));
            part.map_or(0, |(_, part)| part.distinct("users"))
        };
        let users: Vec<u64> = self.0.stages.iter().map(users).collect();
        let of = |n: usize, other: usize| {
            if n == other { 1.0 } else { ratio(users[n] as f64, users[other] as f64, 6) }
        };
        let stage = |(n, name): (usize, &String)| Stage {
            event_type: name.clone(),
            users: users[n],
            of_previous: of(n, n.saturating_sub(1)),
            of_first: of(n, 0),
        };
        self.0.stages.iter().enumerate().map(stage).collect()
    }
}

export_metric!(Conversion);
