//! The laws that every metric keeps, and answers that are known.

use buy_rate::BuyRate;
use tally_plugin::prelude::json;
use tally_testkit::{conforms, fits, golden};

#[test]
fn conforms_to_the_laws() {
    conforms::<BuyRate>(json!({}), &fits);
}

#[test]
fn a_day() {
    golden!(BuyRate, "tests/golden/day");
}
