//! A user's activity on every product ever interacted with.
//!
//! One row per user, product and event type: how many events, and the first and the last of them.
//! The host feeds all three cells; the rows of a user lie together.

use tally_plugin::prelude::*;

/// The metric.
pub struct UserActivities;

/// What can be asked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Whose activity.
    user_id: UserId,
    /// On this product only.
    product_id: Option<ProductId>,
    /// Order of the products, largest first.
    #[serde(default)]
    order_by: OrderBy,
    /// How many products.
    #[serde(default = "fifty")]
    #[schemars(range(min = 1, max = 1000))]
    limit: usize,
}

/// Order of the products.
#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderBy {
    /// The product of the latest event first.
    #[default]
    LastSeen,
    /// The product with most events first.
    Total,
}

fn fifty() -> usize {
    50
}

/// The answer.
#[derive(Serialize, JsonSchema)]
pub struct Activity {
    /// Who was asked for.
    user: User,
    /// Number of events.
    #[schemars(extend("x-tally-view" = {"title": "Events"}))]
    total: u64,
    /// Number of events by type.
    #[schemars(extend("x-tally-view" = {"title": "Events by type"}))]
    by_type: BTreeMap<String, u64>,
    /// Time of the first event; null where there is none.
    first_seen: Option<Time>,
    /// Time of the last event; null where there is none.
    last_seen: Option<Time>,
    /// Number of products, before `limit`.
    #[schemars(extend("x-tally-view" = {"title": "Products"}))]
    products_total: u64,
    /// The products; equal ones by lower id.
    products: Vec<Product>,
    /// With `bucket`: the user's events on all these products.
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<Vec<StepCounts>>,
}

/// Who was asked for.
#[derive(Serialize, JsonSchema)]
pub struct User {
    /// The user.
    user_id: UserId,
    /// In the catalogue, or has events.
    #[schemars(extend("x-tally-known" = "user"))]
    known: bool,
}

/// A product that the user interacted with.
#[derive(Serialize, JsonSchema)]
pub struct Product {
    /// The product.
    #[schemars(extend("x-tally-view" = {"title": "Product"}))]
    product_id: ProductId,
    /// Number of the user's events on it.
    #[schemars(extend("x-tally-view" = {"title": "Events"}))]
    total: u64,
    /// The same by type.
    by_type: BTreeMap<String, u64>,
    /// Time of the first of them.
    first_seen: Option<Time>,
    /// Time of the last of them.
    last_seen: Option<Time>,
}

impl Metric for UserActivities {
    const ABOUT: About = about!("user_activities", revision = 1);
    type Config = ();
    type Params = Params;
    type Answer = Activity;

    fn new((): ()) -> Result<Self, String> {
        Ok(UserActivities)
    }

    fn describe(&self) -> Description {
        let activity = table("activity").key([USER_ID, PRODUCT_ID, EVENT_TYPE]).group(1);
        let cells = activity
            .cell("n", sum(ONE))
            .cell("first", min(EVENT_TIME))
            .cell("last", max(EVENT_TIME));
        Description::new("A user's activity on every product ever interacted with")
            .table(cells.tiers([MINUTES.keep(hours(2)), HOURS.keep(days(30)), DAYS.keep_all()]))
            .time()
            .example(json!({"user_id": 1}), "everything a user did")
            .example(
                json!({"user_id": 1, "product_id": 10, "window": "2h", "bucket": "1h"}),
                "on one product, hour by hour",
            )
            .example(
                json!({"user_id": 1, "order_by": "total", "limit": 3}),
                "the user's favourites",
            )
    }

    fn answer(&self, asked: &Request<Params>, read: &Reader<'_>) -> Result<Activity, Refusal> {
        let Params { user_id, product_id, order_by, limit } = &asked.params;
        let of_user = || read.table("activity").only(USER_ID, [user_id.clone()]);
        let mut query = of_user()
            .within(asked.window)
            .only_types(asked.event_types.as_deref())
            .part_by([EVENT_TYPE]);
        if let Some(product) = product_id {
            query = query.only(PRODUCT_ID, [product.clone()]);
        }
        let by = match order_by {
            OrderBy::LastSeen => measure("last"),
            OrderBy::Total => measure("n"),
        };
        let found = query.clone().group_by([PRODUCT_ID]).top(*limit, [by]).run()?;
        let series = match asked.steps {
            Some(_) => Some(
                query
                    .steps(asked.steps)
                    .run()?
                    .series()
                    .map(|step| StepCounts::of(step, "n"))
                    .collect(),
            ),
            None => None,
        };

        // Whether there is such a user does not depend on what of the user's events was asked for.
        let known = !found.total().is_empty() || !of_user().run()?.total().is_empty();
        let time = |value: Option<i128>| value.map(Time::from_cell);
        let product = |group: Group<'_>| Product {
            product_id: group.id().into(),
            total: group.parts().count("n"),
            by_type: group.parts().counts("n"),
            first_seen: time(group.parts().min("first")),
            last_seen: time(group.parts().max("last")),
        };
        Ok(Activity {
            user: User { user_id: user_id.clone(), known },
            total: found.total().count("n"),
            by_type: found.total().counts("n"),
            first_seen: time(found.total().min("first")),
            last_seen: time(found.total().max("last")),
            products_total: found.groups_total(),
            products: found.groups().map(product).collect(),
            series,
        })
    }
}

export_metric!(UserActivities);
