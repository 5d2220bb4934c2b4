//! Values of params and answers that mean something to the host and to people: ids, times, ratios.

use crate::read::Id;
use crate::reader::StepView;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Largest id that is an integer: 2⁵³−1, the largest that every JSON reader keeps exact.
const MAX_INTEGER: u64 = (1 << 53) - 1;

impl Id {
    /// The id that a text stands for: canonical decimal integers up to 2⁵³−1 are integers.
    #[must_use]
    pub fn of_text(text: &str) -> Id {
        let canonical = text == "0"
            || (text.starts_with(|c: char| ('1'..='9').contains(&c)) && text.len() <= 16);
        match text.parse::<u64>() {
            Ok(number) if canonical && number <= MAX_INTEGER => Id::Integer(number),
            _ => Id::Text(text.into()),
        }
    }

    /// As text: integers in decimal.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Id::Integer(number) => Cow::Owned(number.to_string()),
            Id::Text(text) => Cow::Borrowed(text),
        }
    }
}

/// Texts as ids, for filters on `EVENT_TYPE`.
#[must_use]
pub fn texts(texts: &[String]) -> Vec<Id> {
    texts.iter().cloned().map(Id::Text).collect()
}

macro_rules! id_type {
    ($name:ident, $kind:literal, $about:literal) => {
        #[doc = $about]
        ///
        /// In params, the text `"7"` is the integer 7, as in events. In a result the schema marks
        /// it `x-tally-id`, so that the host can add names.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub Id);

        impl From<Id> for $name {
            fn from(id: Id) -> Self {
                $name(id)
            }
        }

        impl From<$name> for Id {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Ok($name(match Id::deserialize(from)? {
                    Id::Text(text) => Id::of_text(&text),
                    id => id,
                }))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": ["integer", "string"],
                    "minimum": 0,
                    "maximum": MAX_INTEGER,
                    "minLength": 1,
                    "maxLength": 64,
                    "x-tally-id": $kind,
                })
            }
        }
    };
}

id_type!(UserId, "user", "The id of a user.");
id_type!(ProductId, "product", "The id of a product.");

impl JsonSchema for Id {
    fn schema_name() -> Cow<'static, str> {
        "Id".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["integer", "string"], "minimum": 0, "maximum": MAX_INTEGER, "maxLength": 255})
    }
}

/// A moment, in Unix milliseconds; in JSON RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl Time {
    /// From the value of a cell. Cells hold 128 bits; what no clock shows becomes the nearest
    /// moment.
    #[must_use]
    pub fn from_cell(value: i128) -> Self {
        Time(value.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }
}

/// The first and the last millisecond that a [`Time`] is written as: times beyond are written as
/// the nearer of the two.
const WRITTEN: (i64, i64) = (-377_705_023_201_000, 253_402_207_200_999);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let time = self.0.clamp(WRITTEN.0, WRITTEN.1);
        let (day, millis) = (time.div_euclid(86_400_000), time.rem_euclid(86_400_000));
        let (year, month, day) = civil(day);
        // ISO 8601 writes years before 0 with a sign and six digits.
        let (sign, digits) = if year < 0 { ("-", 6) } else { ("", 4) };
        let (hour, minute, second) =
            (millis / 3_600_000, millis / 60_000 % 60, millis / 1_000 % 60);
        to.collect_str(&format_args!(
            "{sign}{:0digits$}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            year.abs(),
            millis % 1_000
        ))
    }
}

/// Year, month and day (from 1) of a number of days since 1970-01-01, in the proleptic Gregorian
/// calendar (H. Hinnant, "chrono-compatible low-level date algorithms").
#[doc(hidden)]
#[must_use]
pub fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "date-time"})
    }
}

/// An exact decimal: a whole number with so many of its digits behind the point. In JSON a number;
/// beyond 15 digits, which not every JSON reader keeps, a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    /// Its value times 10 to the scale.
    pub value: i128,
    /// Digits behind the point.
    pub scale: u8,
}

impl Decimal {
    /// As the nearest float.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.value as f64 / 10_f64.powi(self.scale.into())
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits =
            format!("{:0width$}", self.value.unsigned_abs(), width = usize::from(self.scale) + 1);
        let (whole, fraction) = digits.split_at(digits.len() - usize::from(self.scale));
        let (sign, fraction) =
            (if self.value < 0 { "-" } else { "" }, fraction.trim_end_matches('0'));
        let point = if fraction.is_empty() { "" } else { "." };
        write!(out, "{sign}{whole}{point}{fraction}")
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let whole = 10_i128.pow(self.scale.min(38).into());
        if self.value.unsigned_abs() >= 10_u128.pow(15) {
            to.collect_str(self)
        } else if self.value % whole == 0 {
            to.serialize_i64((self.value / whole) as i64)
        } else {
            // The shortest text of the float nearest to 15 digits are these digits.
            to.serialize_f64(self.to_string().parse().unwrap_or_else(|_| self.to_f64()))
        }
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["number", "string"], "pattern": "^-?[0-9]+(\\.[0-9]+)?$"})
    }
}

/// One step of a series of counts, as the answers of Tally's own metrics show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StepCounts {
    /// Start, UTC-aligned.
    pub start: Time,
    /// Number of events.
    pub total: u64,
    /// Number of events by type; empty for an empty step.
    pub by_type: BTreeMap<String, u64>,
    /// Whether the window cuts the step; absent unless it does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl StepCounts {
    /// The counts in `cell` of a query that is broken down by `EVENT_TYPE`.
    ///
    /// # Panics
    /// As [`Parts::counts`](crate::reader::Parts::counts).
    #[must_use]
    pub fn of(step: StepView<'_>, cell: &str) -> Self {
        let StepView { start, partial, parts } = step;
        StepCounts {
            start: Time(start),
            total: parts.count(cell),
            by_type: parts.counts(cell),
            partial,
        }
    }
}

/// `part ÷ whole`, rounded to so many decimals; 0 where the whole is 0.
#[must_use]
pub fn ratio(part: f64, whole: f64, decimals: i32) -> f64 {
    if whole == 0.0 {
        return 0.0;
    }
    let scale = 10_f64.powi(decimals);
    (part / whole * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn canonical_decimal_texts_are_integers() {
        for (text, id) in [
            ("7", Id::Integer(7)),
            ("0", Id::Integer(0)),
            ("9007199254740991", Id::Integer(MAX_INTEGER)),
            ("9007199254740992", Id::Text("9007199254740992".into())),
            ("07", Id::Text("07".into())),
            ("+7", Id::Text("+7".into())),
            ("-1", Id::Text("-1".into())),
            ("", Id::Text(String::new())),
        ] {
            assert_eq!(Id::of_text(text), id, "{text}");
        }
        assert!(Id::Integer(MAX_INTEGER) < Id::Text("0a".into()), "integers before text");
    }

    #[test]
    fn times_are_written_with_milliseconds() {
        assert_eq!(
            serde_json::to_value(Time(1_767_225_660_000)).ok(),
            Some(json!("2026-01-01T00:01:00.000Z"))
        );
        let text = |time: i64| serde_json::to_value(Time(time)).unwrap_or_default();
        assert_eq!(
            (text(i64::MAX), text(i64::MIN)),
            (text(WRITTEN.1), text(WRITTEN.0)),
            "beyond the calendar"
        );
        // Steps of no whole day, so that all months, leap days and times of day come.
        for time in
            (WRITTEN.0..=WRITTEN.1).step_by(2_345_678_901_234).chain([WRITTEN.0, WRITTEN.1, -1, 0])
        {
            let jiff = jiff::Timestamp::from_millisecond(time).unwrap_or(jiff::Timestamp::MAX);
            assert_eq!(text(time), json!(format!("{jiff:.3}")), "{time}");
        }
    }

    #[test]
    fn decimals_are_written_exactly() {
        for (value, scale, text) in [
            (0, 2, "0"),
            (1_250, 2, "12.5"),
            (-5, 2, "-0.05"),
            (120_000, 2, "1200"),
            (999_999_999_999_999, 4, "99999999999.9999"),
            (10_000_000_000_000_001, 4, "\"1000000000000.0001\""),
            (i128::MIN, 0, "\"-170141183460469231731687303715884105728\""),
        ] {
            assert_eq!(
                serde_json::to_string(&Decimal { value, scale }).ok().as_deref(),
                Some(text)
            );
        }
    }

    #[test]
    fn ratios_are_rounded() {
        assert_eq!(ratio(5.0, 11.0, 6), 0.454_545);
        assert_eq!(ratio(11.0, 7200.0, 9), 0.001_527_778);
        assert_eq!(ratio(0.0, 0.0, 6), 0.0);
    }
}
