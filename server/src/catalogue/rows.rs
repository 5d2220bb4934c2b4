//! Tables and columns as `migrations/` makes them: the same words for every database.
//!
//! Knows no driver: how a row is read and written is the implementation's.

use super::{Product, User};
use tally_plugin::read::Id;

/// A row type and its table. The columns are: id, `id_number`, name, one more.
pub(super) trait Stored: Sized + Send + Sync + 'static {
    const TABLE: &'static str;
    const ID: &'static str;
    const NAME: &'static str;
    const MORE: &'static str;
    fn id(&self) -> &Id;
    fn name(&self) -> &str;
}

impl Stored for User {
    const TABLE: &'static str = "users";
    const ID: &'static str = "user_id";
    const NAME: &'static str = "user_name";
    const MORE: &'static str = "email";

    fn id(&self) -> &Id {
        &self.user_id
    }

    fn name(&self) -> &str {
        &self.user_name
    }
}

impl Stored for Product {
    const TABLE: &'static str = "products";
    const ID: &'static str = "product_id";
    const NAME: &'static str = "product_name";
    const MORE: &'static str = "cost_cents";

    fn id(&self) -> &Id {
        &self.product_id
    }

    fn name(&self) -> &str {
        &self.product_name
    }
}

/// The column `id_number`: texts come after every integer.
pub(super) fn number(id: &Id) -> i64 {
    match id {
        Id::Integer(number) => i64::try_from(*number).unwrap_or(i64::MAX),
        Id::Text(_) => i64::MAX,
    }
}
