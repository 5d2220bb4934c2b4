//! Params that many metrics have.

use crate::describe::PRODUCT_ID;
use crate::read::Measure;
use crate::reader::Query;
use crate::values::ProductId;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which products an answer lists: those that are named, or the first ones.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Products {
    /// Only these products; `limit` does not apply.
    #[schemars(length(min = 1, max = 100))]
    pub product_ids: Option<Vec<ProductId>>,
    /// How many products; 0 for what is told over all of them alone.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 1000))]
    pub limit: usize,
}

fn ten() -> usize {
    10
}

impl Products {
    /// A query of a table with `PRODUCT_ID` in its key, by product: those that are named, or the
    /// first by these measures; both with the largest first.
    pub fn top<'q>(&self, query: Query<'q>, by: impl IntoIterator<Item = Measure>) -> Query<'q> {
        let query = query.group_by([PRODUCT_ID]);
        match &self.product_ids {
            Some(ids) => query.only(PRODUCT_ID, ids.iter().cloned()).top(ids.len(), by),
            None => query.top(self.limit, by),
        }
    }
}
