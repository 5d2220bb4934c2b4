//! Which events a listener wants.
//!
//! Compares what decoding found: types after aliases, ids as answers carry them. Reads no text of
//! an event.

use super::FeedEvent;
use tally_plugin::read::Id;

/// Which events are wanted; by default all. An event must satisfy each part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeedFilter {
    /// One of these types; empty: any.
    pub event_types: Vec<Box<str>>,
    /// Of this user; `None`: of any, or of none.
    pub user: Option<Id>,
    /// Of this product, likewise.
    pub product: Option<Id>,
}

impl FeedFilter {
    /// Whether an event is wanted.
    #[must_use]
    pub fn takes(&self, event: &FeedEvent) -> bool {
        self.wants(&event.event_type, &event.user, &event.product)
    }

    /// Whether an event of this type, user and product is wanted.
    #[must_use]
    pub fn wants(&self, event_type: &str, user: &Option<Id>, product: &Option<Id>) -> bool {
        let is = |wanted: &Option<Id>, found: &Option<Id>| wanted.is_none() || wanted == found;
        let types = &self.event_types;
        (types.is_empty() || types.iter().any(|wanted| **wanted == *event_type))
            && is(&self.user, user)
            && is(&self.product, product)
    }
}
