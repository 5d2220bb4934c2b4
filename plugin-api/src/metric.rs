//! What an author writes: a type that implements [`Metric`].
//!
//! The functions below the trait turn its typed methods into the texts of the boundary; the plugin
//! file and the test kit both use them, so that a metric under test is the metric that is loaded.

use crate::ask::{Ask, Fault, Refusal, Reply, Steps, Warning, Window};
use crate::batch::{Batch, Deltas};
use crate::description::{AboutText, Description};
use crate::reader::Reader;
use crate::schema;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::cell::RefCell;
use std::io::Write;

/// A metric: a description and two pure functions.
///
/// A whole plugin file, the products by number of purchases:
///
/// ```
/// use tally_plugin::prelude::*;
///
/// /// The products bought most.
/// struct Bestsellers;
///
/// #[params]
/// struct Params {
///     /// How many products.
///     #[serde(default = "ten")]
///     #[schemars(range(min = 1, max = 100))]
///     limit: usize,
/// }
///
/// fn ten() -> usize {
///     10
/// }
///
/// #[answer]
/// struct Seller {
///     product_id: ProductId,
///     bought: u64,
/// }
///
/// impl Metric for Bestsellers {
///     const ABOUT: About = about!("bestsellers", revision = 1);
///     type Config = ();
///     type Params = Params;
///     type Answer = Vec<Seller>;
///
///     fn new((): ()) -> Result<Self, String> {
///         Ok(Bestsellers)
///     }
///
///     fn describe(&self) -> Description {
///         let bought = table("bought").key([PRODUCT_ID]).only(["buy"]).cell("n", sum(ONE));
///         Description::new("Products by number of purchases")
///             .table(bought.tiers([MINUTES.keep(hours(48)), HOURS.keep(days(90)), DAYS.keep_all()]))
///             .time()
///             .example(json!({"limit": 3}), "the three bestsellers")
///     }
///
///     fn answer(&self, asked: &Request<Params>, read: &Reader) -> Result<Vec<Seller>, Refusal> {
///         let query = read.table("bought").within(asked.window).group_by([PRODUCT_ID]);
///         let found = query.top(asked.params.limit, [measure("n")]).run()?;
///         let seller = |group: Group| Seller { product_id: group.id().into(), bought: group.parts().count("n") };
///         Ok(found.groups().map(seller).collect())
///     }
/// }
///
/// export_metric!(Bestsellers);
/// ```
///
/// Its `Cargo.toml` says `crate-type = ["cdylib", "rlib"]` and depends on `tally-plugin` alone;
/// tests depend on `tally-testkit` as well. `#[params]`, `#[config]` and `#[answer]` stand for the
/// derives of serde and schemars, with their attributes inside as documented there.
///
/// Both functions must be *pure*: the same input gives the same output, whatever the time, the
/// place and the calls before. That is why history can be counted again and why nothing is counted
/// twice.
pub trait Metric: Sized + Send + Sync + 'static {
    /// Name, version, revision.
    const ABOUT: About;

    /// `[metrics.NAME.config]` of `metrics.toml`; `()` where there is nothing to configure. A file
    /// whose schema does not accept `{}` is meant for sections: dropped in without one it serves
    /// nothing.
    type Config: DeserializeOwned + JsonSchema + 'static;

    /// What can be asked, besides the time params; `()` where there is nothing. Unknown keys are
    /// always refused.
    type Params: DeserializeOwned + JsonSchema + 'static;

    /// What is answered.
    type Answer: Serialize + JsonSchema;

    /// The metric for a configuration.
    ///
    /// # Errors
    /// A sentence: what is wrong with the configuration, beyond what its schema can say.
    fn new(config: Self::Config) -> Result<Self, String>;

    /// Summary, tables, examples.
    fn describe(&self) -> Description;

    /// Adds to the cells declared with `UPDATE`, for each event of the batch. Most metrics have
    /// none.
    fn update(&self, batch: &Batch<'_>, deltas: &mut Deltas<'_>) {
        let _ = (batch, deltas);
    }

    /// Answers a question from the tables.
    ///
    /// # Errors
    /// [`Refusal`]: the question cannot be answered as asked. Errors of the reader are passed on
    /// with `?`.
    fn answer(
        &self,
        asked: &Request<Self::Params>,
        read: &Reader<'_>,
    ) -> Result<Self::Answer, Refusal>;
}

/// What a plugin file is. Made by [`about!`](crate::about).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// Name of the metric: `^[a-z][a-z0-9_]{0,63}$`.
    pub name: &'static str,
    /// Version of the code.
    pub version: &'static str,
    /// The number of what the stored cells *mean*. Raise it when cells counted by older code must
    /// not be continued: history is then counted again.
    pub revision: u32,
}

/// Name and revision of a metric; the version is that of the crate.
#[macro_export]
macro_rules! about {
    ($name:literal, revision = $revision:literal) => {
        $crate::About { name: $name, version: env!("CARGO_PKG_VERSION"), revision: $revision }
    };
}

/// A question.
#[derive(Debug)]
pub struct Request<P> {
    /// The metric's own params.
    pub params: P,
    /// The time range; give it to [`Query::within`](crate::reader::Query::within).
    pub window: Window,
    /// The grid of the series, if one is asked for.
    pub steps: Option<Steps>,
    /// The event types asked for; `None`: all.
    pub event_types: Option<Vec<String>>,
    /// "Now", Unix milliseconds. There is no other clock.
    pub as_of: i64,
    warnings: RefCell<Vec<Warning>>,
}

impl<P> Request<P> {
    /// Tells the asker something beside the answer: a stable word, and a sentence.
    pub fn warn(&self, code: &str, detail: impl Into<String>) {
        self.warnings.borrow_mut().push(Warning::new(code, detail));
    }
}

impl Refusal {
    /// A param that its schema accepts and the metric does not: pointer (`/params/limit`) and
    /// sentence.
    #[must_use]
    pub fn invalid(pointer: &str, detail: impl Into<String>) -> Self {
        Refusal {
            code: "invalid_params".into(),
            errors: vec![Fault { pointer: pointer.into(), detail: detail.into() }],
        }
    }
}

/// What a plugin file says of itself.
#[must_use]
pub fn about_text<M: Metric>() -> AboutText {
    AboutText {
        name: M::ABOUT.name.into(),
        version: M::ABOUT.version.into(),
        revision: M::ABOUT.revision,
        config_schema: schema::of_input::<M::Config>(),
    }
}

/// A metric for a configuration in JSON.
///
/// # Errors
/// A sentence.
pub fn create<M: Metric>(config: &str) -> Result<M, String> {
    let config: Value = serde_json::from_str(config)
        .map_err(|fault| format!("the configuration is unreadable: {fault}"))?;
    M::new(
        schema::read(config).map_err(|fault| format!("the configuration does not fit: {fault}"))?,
    )
}

/// The description with the schemas of params and answer.
#[must_use]
pub fn describe<M: Metric>(metric: &M) -> Description {
    Description {
        params_schema: schema::of_input::<M::Params>(),
        result_schema: schema::of_output::<M::Answer>(),
        ..metric.describe()
    }
}

/// Answers a question.
///
/// # Errors
/// A sentence: the answer cannot be written as JSON.
pub fn answer<M: Metric>(metric: &M, ask: Ask, read: &Reader<'_>) -> Result<Reply, String> {
    match answered(metric, ask, read) {
        Ok((answer, warnings)) => {
            let result = serde_json::to_value(answer).map_err(not_json)?;
            Ok(Reply::Answer { result, warnings })
        }
        Err(refusal) => Ok(Reply::Refusal(refusal)),
    }
}

/// Answers a question and writes the [`Reply`] as JSON, as it goes: no value of it is built in
/// between.
///
/// # Errors
/// A sentence: the answer cannot be written as JSON, or `out` takes no more.
pub fn write_answer<M: Metric>(
    metric: &M,
    ask: Ask,
    read: &Reader<'_>,
    out: impl Write,
) -> Result<(), String> {
    /// As [`Reply`] is written.
    #[derive(Serialize)]
    #[serde(rename_all = "snake_case")]
    enum Text<'a, A> {
        Answer { result: &'a A, warnings: &'a [Warning] },
        Refusal(&'a Refusal),
    }
    let answered = answered(metric, ask, read);
    let text = match &answered {
        Ok((result, warnings)) => Text::Answer { result, warnings },
        Err(refusal) => Text::Refusal(refusal),
    };
    serde_json::to_writer(out, &text).map_err(not_json)
}

fn not_json(fault: serde_json::Error) -> String {
    format!("the answer is not representable as JSON: {fault}")
}

fn answered<M: Metric>(
    metric: &M,
    ask: Ask,
    read: &Reader<'_>,
) -> Result<(M::Answer, Vec<Warning>), Refusal> {
    let params = schema::read(ask.params).map_err(|fault| Refusal::invalid("/params", fault))?;
    let Ask { window, steps, event_types, as_of, .. } = ask;
    let asked = Request { params, window, steps, event_types, as_of, warnings: RefCell::default() };
    let answer = metric.answer(&asked, read)?;
    Ok((answer, asked.warnings.into_inner()))
}
