//! The pairs of a query, read strictly: each key is known, and given once.
//!
//! All faults are told at once, in the order of the query. A known key without a value counts as not
//! given; an unknown one is told whatever its value, as it may be one that is misspelt. What values
//! mean is judged by whoever asks for them. Not read here are the query of `/readyz`, which
//! orchestrators write in their own way, and those of `/api/internal`.

use super::codes::Code;
use super::problem::Problem;
use super::request_object::{key_fault, key_faults, key_pointer};
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use tally_plugin::ask::Fault;

/// The pairs of a query as a handler gets them.
pub(crate) type RawPairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// What a query says, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct QueryPairs {
    pairs: Vec<(String, String)>,
    faults: Vec<Fault>,
    /// Of the problem that tells the faults.
    code: Code,
}

impl QueryPairs {
    /// Reads a query that may have the keys `known`.
    ///
    /// # Errors
    /// 422 `code`: it is not UTF-8.
    pub(crate) fn new(query: RawPairs, known: &[&str], code: Code) -> Result<QueryPairs, Problem> {
        let Query(pairs) = query.map_err(|_| Problem::fault(code, "", "the query is not UTF-8"))?;
        let said = pairs.iter().filter(|(key, value)| {
            let is_known = known.contains(&key.as_str());
            !(is_known && value.is_empty())
        });
        let faults = key_faults(said.map(|(key, _)| key.as_str()), known);
        Ok(QueryPairs { pairs, faults, code })
    }

    /// The value of a key: the first, if it is given twice.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.pairs.iter().filter(|(name, _)| name == key).map(|(_, value)| value);
        values.find(|value| !value.is_empty()).map(String::as_str)
    }

    /// The value of a key as `parse` reads it. What it cannot read is a fault: `detail` says what it
    /// could.
    pub(crate) fn read<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        detail: &str,
    ) -> Option<T> {
        let value = self.get(key)?;
        let read = parse(value);
        if read.is_none() {
            self.fault(key, detail);
        }
        read
    }

    /// The value of a key as an integer of a range.
    pub(crate) fn integer<N: FromStr + PartialOrd + Display>(
        &mut self,
        key: &str,
        range: RangeInclusive<N>,
    ) -> Option<N> {
        let detail = format!("{key} is not an integer from {} to {}", range.start(), range.end());
        let fits = |text: &str| text.parse::<N>().ok().filter(|number| range.contains(number));
        self.read(key, fits, &detail)
    }

    /// Whether a key is there, alone or as `true`.
    pub(crate) fn flag(&mut self, key: &str) -> bool {
        let parse = |text: &str| match text {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        let is_true = self.read(key, parse, &format!("{key} is neither true nor false"));
        let is_alone = self.pairs.iter().any(|(name, value)| name == key && value.is_empty());
        is_alone || is_true.unwrap_or_default()
    }

    /// Notes that the value of a key does not fit.
    pub(crate) fn fault(&mut self, key: &str, detail: &str) {
        self.add([key_fault(key, detail.into())]);
    }

    /// Notes faults.
    pub(crate) fn add(&mut self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.extend(faults);
    }

    /// Whether nothing is wrong with it so far.
    pub(crate) fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    /// What was read of it.
    ///
    /// # Errors
    /// 422 with all faults.
    pub(crate) fn finish<T>(self, read: T) -> Result<T, Problem> {
        if self.is_sound() { Ok(read) } else { Err(self.refused()) }
    }

    /// The problem that tells the faults.
    pub(crate) fn refused(self) -> Problem {
        let QueryPairs { pairs, mut faults, code } = self;
        let mut places = HashMap::new();
        for (place, (key, _)) in pairs.iter().enumerate() {
            places.entry(key_pointer(key)).or_insert(place);
        }
        faults.sort_by_key(|fault| places.get(&fault.pointer).copied().unwrap_or(usize::MAX));
        Problem::invalid(code, faults)
    }
}

#[cfg(test)]
impl QueryPairs {
    /// Those of a query as it is written in an address.
    pub(crate) fn of(query: &str, known: &[&str]) -> Result<QueryPairs, Problem> {
        let uri: axum::http::Uri = format!("/?{query}").parse().expect("an address");
        QueryPairs::new(Query::try_from_uri(&uri), known, Code::InvalidParams)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    const KNOWN: [&str; 3] = ["limit", "reason", "dry_run"];

    fn of(query: &str) -> QueryPairs {
        QueryPairs::of(query, &KNOWN).unwrap()
    }

    /// What is read of a query, and the faults.
    fn read(query: &str) -> Result<(Option<usize>, Option<String>, bool), Vec<String>> {
        let mut pairs = of(query);
        let limit = pairs.integer("limit", 1..=100);
        let reason = pairs.get("reason").map(str::to_owned);
        let dry_run = pairs.flag("dry_run");
        pairs.finish((limit, reason, dry_run)).map_err(|problem| {
            let told = problem.errors().iter();
            told.map(|fault| format!("{} {}", fault.pointer, fault.detail)).collect()
        })
    }

    #[test]
    fn a_known_key_without_a_value_is_not_given() {
        assert_eq!(read(""), Ok((None, None, false)));
        assert_eq!(read("limit=&reason&limit=7"), Ok((Some(7), None, false)));
        assert_eq!(read("reason=a%20b&limit=100"), Ok((Some(100), Some("a b".into()), false)));
    }

    #[test]
    fn all_faults_are_told_in_the_order_of_the_query() {
        let known = "known keys: limit, reason, dry_run";
        for (query, told) in [
            ("limit=0", &["/limit limit is not an integer from 1 to 100"][..]),
            (
                "limit=x&limit=7",
                &["/limit limit is given twice", "/limit limit is not an integer from 1 to 100"],
            ),
            ("reason=a&reason=a", &["/reason reason is given twice"]),
            ("lmit=", &[&*format!("/lmit unknown key \"lmit\"; {known}")]),
            ("=", &[&*format!("/ unknown key \"\"; {known}")]),
            (
                "limit=101&a/b=1&a/b=2&dry_run=yes",
                &[
                    "/limit limit is not an integer from 1 to 100",
                    &*format!("/a~1b unknown key \"a/b\"; {known}"),
                    "/dry_run dry_run is neither true nor false",
                ],
            ),
        ] {
            assert_eq!(read(query).unwrap_err(), told, "{query}");
        }
    }

    #[test]
    fn a_flag_is_there_alone_or_as_true() {
        for (query, is_set) in [
            ("", false),
            ("dry_run=false", false),
            ("dry_run", true),
            ("dry_run=", true),
            ("dry_run=true", true),
            ("dry_run=false&dry_run", true),
        ] {
            assert_eq!(read(query), Ok((None, None, is_set)), "{query}");
        }
        for wrong in
            ["dry_run=yes", "dry_run=TRUE", "dry_run=1", "dryrun", "dry_run=true&dry_run=false"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
