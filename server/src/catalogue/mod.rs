//! The catalogue: which users and products exist, and what they are called.
//!
//! It lists, looks up, names and takes rows; it decorates answers and never takes part in counting.
//! One trait, one module per database behind it, one contract suite for all of them. It does not
//! delete and has no history.

pub mod demo;
pub mod embedded;
pub mod id;
pub mod import;
pub mod late;
mod migrations;
pub mod postgres;
mod rows;

#[cfg(any(test, feature = "contract"))]
pub mod contract;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use tally_plugin::read::Id;
use thiserror::Error;

/// A catalogue call under way.
pub type CatalogueFuture<'a, T> =
    Pin<Box<dyn Future<Output = Result<T, CatalogueError>> + Send + 'a>>;

/// Users and products. Order is "lower id" everywhere: integers first, by value, then texts, by
/// bytes.
pub trait Catalogue: Send + Sync + 'static {
    /// A page of users.
    fn users(&self, page: Page) -> CatalogueFuture<'_, Vec<User>>;

    /// One user.
    fn user(&self, id: Id) -> CatalogueFuture<'_, Option<User>>;

    /// A page of products.
    fn products(&self, page: Page) -> CatalogueFuture<'_, Vec<Product>>;

    /// One product.
    fn product(&self, id: Id) -> CatalogueFuture<'_, Option<Product>>;

    /// The names of those that exist, in one round trip.
    fn names(&self, wanted: Wanted) -> CatalogueFuture<'_, Names>;

    /// Writes users in one transaction: all or none. A later row of the same id wins.
    fn upsert_users(&self, rows: Vec<User>) -> CatalogueFuture<'_, Upserted>;

    /// Writes products in one transaction: all or none. A later row of the same id wins.
    fn upsert_products(&self, rows: Vec<Product>) -> CatalogueFuture<'_, Upserted>;

    /// Why it does not answer, as last seen; none if it does. Returns at once.
    fn health_error(&self) -> Option<String> {
        None
    }
}

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The last id of the page before; none for the first page.
    pub after: Option<Id>,
    /// At most this many rows.
    pub limit: usize,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct User {
    /// Id.
    pub user_id: Id,
    /// Name.
    pub user_name: String,
    /// E-mail address, if known.
    pub email: Option<String>,
}

/// A product. Its name need not be unique.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Product {
    /// Id.
    pub product_id: Id,
    /// Name.
    pub product_name: String,
    /// Cost.
    pub cost: Cost,
}

/// A cost of 0.00 … 9,999,999,999.99 in whole cents. In JSON a number with two places: `290.00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost(i64);

impl Cost {
    /// The largest, in cents.
    pub const MAX_CENTS: i64 = 999_999_999_999;

    /// From cents; `None` outside the range.
    #[must_use]
    pub fn from_cents(cents: i64) -> Option<Cost> {
        (0..=Cost::MAX_CENTS).contains(&cents).then_some(Cost(cents))
    }

    /// In cents.
    #[must_use]
    pub fn cents(self) -> i64 {
        self.0
    }

    /// Reads `290`, `290.5` or `290.0000`: digits, and a point with digits of which only the first
    /// two say anything.
    #[must_use]
    pub fn parse(text: &str) -> Option<Cost> {
        let (whole, places) =
            text.split_once('.').map_or((text, "00"), |(whole, places)| (whole, places));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(places) {
            return None;
        }
        let (whole, places) = (whole.trim_start_matches('0'), places.trim_end_matches('0'));
        if places.len() > 2 || whole.len() > 10 {
            return None;
        }
        format!("{whole:0>1}{places:0<2}").parse().ok().and_then(Cost::from_cents)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = RawValue::from_string(self.to_string()).map_err(serde::ser::Error::custom)?;
        number.serialize(serializer)
    }
}

/// Ids whose names are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Users.
    pub users: Vec<Id>,
    /// Products.
    pub products: Vec<Id>,
}

/// Names of those that exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Users.
    pub users: HashMap<Id, String>,
    /// Products.
    pub products: HashMap<Id, String>,
}

/// What became of written rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upserted {
    /// New.
    pub inserted: u64,
    /// There before, with other content.
    pub updated: u64,
    /// There before, the same.
    pub unchanged: u64,
}

impl std::ops::AddAssign for Upserted {
    fn add_assign(&mut self, more: Upserted) {
        self.inserted += more.inserted;
        self.updated += more.updated;
        self.unchanged += more.unchanged;
    }
}

/// The catalogue did not do what it was asked to. Metrics continue without it.
#[derive(Clone, Debug, Error)]
pub enum CatalogueError {
    /// It may again later.
    #[error("the catalogue is unavailable: {0}")]
    Unavailable(String),
    /// It has as much to do as it takes on; it may again at once.
    #[error("too many catalogue calls at once")]
    Overloaded,
    /// It cannot be opened as it is; says what to do.
    #[error("{0}")]
    Refused(String),
}

impl CatalogueError {
    /// Whether the same call may succeed later, without a change by a person.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            CatalogueError::Unavailable(_) | CatalogueError::Overloaded => true,
            CatalogueError::Refused(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn cost_is_exact_and_printed_with_two_places() {
        for (text, cents) in [
            ("290", 29_000),
            ("290.5", 29_050),
            ("19.9900", 1_999),
            ("00000000000012.500", 1_250),
            ("000", 0),
            ("290.05", 29_005),
            ("0", 0),
            ("9999999999.99", Cost::MAX_CENTS),
        ] {
            assert_eq!(Cost::parse(text).unwrap().cents(), cents, "{text}");
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "1.234",
            "-1",
            "+1",
            "1e3",
            "10000000000",
            "1,5",
            " 1",
            "NaN",
            "١",
        ] {
            assert_eq!(Cost::parse(text), None, "{text}");
        }
        assert_eq!(serde_json::to_string(&Cost::parse("290").unwrap()).unwrap(), "290.00");
        assert_eq!(serde_json::to_string(&Cost::parse("0.07").unwrap()).unwrap(), "0.07");
    }
}
