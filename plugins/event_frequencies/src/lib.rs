//! How many times each type of interaction happened.
//!
//! One row per event type, counted by the host; an answer is a read and two divisions.

use tally_plugin::prelude::*;

/// The metric.
pub struct EventFrequencies;

/// The answer.
#[derive(Serialize, JsonSchema)]
pub struct Frequencies {
    /// Number of events.
    #[schemars(extend("x-tally-view" = {"title": "Events"}))]
    total: u64,
    /// Number of events by type; types asked for appear at 0 too.
    #[schemars(extend("x-tally-view" = {"title": "Events by type"}))]
    by_type: BTreeMap<String, u64>,
    /// Share of each type in `total`, 6 decimals.
    #[schemars(extend("x-tally-view" = {"as": "hidden", "unit": "share"}))]
    share: BTreeMap<String, f64>,
    /// `total` ÷ seconds of the window, 9 decimals; only for a window with start and end.
    #[schemars(extend("x-tally-view" = {"title": "Rate", "unit": "/s"}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<f64>,
    /// With `bucket`.
    #[schemars(extend("x-tally-view" = {"title": "Events over time"}))]
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<Vec<StepCounts>>,
}

impl Metric for EventFrequencies {
    const ABOUT: About = about!("event_frequencies", revision = 1);
    type Config = ();
    type Params = ();
    type Answer = Frequencies;

    fn new((): ()) -> Result<Self, String> {
        Ok(EventFrequencies)
    }

    fn describe(&self) -> Description {
        Description::new("How many times each type of interaction happened")
            .table(table("events").key([EVENT_TYPE]).cell("n", sum(ONE)).tiers([
                MINUTES.keep(hours(48)),
                HOURS.keep(days(90)),
                DAYS.keep_all(),
            ]))
            .time()
            .example(json!({}), "all events so far")
            .example(json!({"window": "2h", "bucket": "1h"}), "the last two hours, hour by hour")
            .example(json!({"event_types": ["buy", "refund"]}), "two types only")
    }

    fn answer(&self, asked: &Request<()>, read: &Reader<'_>) -> Result<Frequencies, Refusal> {
        let types = asked.event_types.as_deref();
        let query =
            read.table("events").within(asked.window).only_types(types).part_by([EVENT_TYPE]);
        let found = query.steps(asked.steps).run()?;

        let mut by_type: BTreeMap<String, u64> =
            types.unwrap_or_default().iter().map(|name| (name.clone(), 0)).collect();
        by_type.extend(found.total().counts("n"));
        let total = found.total().count("n");
        let share = by_type
            .iter()
            .map(|(name, n)| (name.clone(), ratio(*n as f64, total as f64, 6)))
            .collect();
        let seconds =
            asked.window.from.zip(asked.window.to).map(|(from, to)| (to - from) as f64 / 1_000.0);
        Ok(Frequencies {
            total,
            by_type,
            share,
            per_second: seconds.map(|seconds| ratio(total as f64, seconds, 9)),
            series: asked
                .steps
                .map(|_| found.series().map(|step| StepCounts::of(step, "n")).collect()),
        })
    }
}

export_metric!(EventFrequencies);
