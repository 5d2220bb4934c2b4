//! The contract between Tally and a metric plugin.
//!
//! An author writes one type that implements [`Metric`] and one `export_metric!`; [`prelude`] has
//! the words for it. A metric is a description and two pure functions: the host owns state, clock
//! and catalogue. Plugins do no I/O, start no threads and keep nothing between calls.
//!
//! [`description`], [`read`] and [`ask`] are the texts that cross the boundary; they grow by
//! optional fields. [`abi`] is the frozen binary part under them; neither is needed to write a
//! metric. The crate `tally-testkit` runs a metric without an engine.

pub mod abi;
pub mod ask;
pub mod batch;
pub mod describe;
pub mod description;
#[doc(hidden)]
pub mod export;
pub mod metric;
pub mod params;
pub mod property;
pub mod read;
pub mod reader;
mod schema;
pub mod values;

pub use metric::{About, Metric, Request};
pub use tally_plugin_macros::{answer, config, params};

// What the attributes and macros above write into an author's code, so that it needs no dependency
// but this.
#[doc(hidden)]
pub use schemars;
#[doc(hidden)]
pub use serde;

/// Everything a metric needs: `use tally_plugin::prelude::*;`.
pub mod prelude {
    pub use crate::ask::{Fault, Refusal, Steps, Window};
    pub use crate::batch::{Batch, Deltas};
    pub use crate::describe::{
        DAYS, EVENT_TIME, EVENT_TYPE, HOURS, MINUTES, ONE, PRODUCT_ID, UPDATE, USER_ID, computed,
        days, distinct, hours, latest, max, min, property, quantiles, sum, table,
    };
    pub use crate::description::{Description, Key, PropertyType};
    pub use crate::export::{Level, log};
    pub use crate::metric::{About, Metric, Request};
    pub use crate::params::Products;
    pub use crate::read::{Id, Order, Scalar};
    pub use crate::reader::{Group, Parts, Reader, StepView, measure, weighted};
    pub use crate::values::{Decimal, ProductId, StepCounts, Time, UserId, ratio, texts};
    pub use crate::{about, answer, config, export_metric, params};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use serde_json::{Value, json};
    pub use std::collections::BTreeMap;
}
