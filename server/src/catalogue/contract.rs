//! What every catalogue must do, whichever database is behind it. Run on an empty one; leaves rows behind.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::{Catalogue, Cost, Page, Product, Upserted, User, Wanted};
use tally_plugin::read::Id;

pub(crate) async fn holds(catalogue: &dyn Catalogue) {
    lists_by_lower_id(catalogue).await;
    upserts_are_idempotent_and_counted(catalogue).await;
    finds_and_names_what_exists(catalogue).await;
    keeps_cost_exactly(catalogue).await;
}

fn user(id: &str) -> User {
    User { user_id: super::id::parse(id).unwrap(), user_name: format!("user {id}"), email: None }
}

async fn lists_by_lower_id(catalogue: &dyn Catalogue) {
    let ordered = ["0", "2", "10", "9007199254740991", "07", "9007199254740992", "B", "a", "é"];
    let mut shuffled: Vec<User> = ordered.iter().map(|id| user(id)).collect();
    shuffled.sort_by_key(|user| std::cmp::Reverse(user.user_name.clone()));
    catalogue.upsert_users(shuffled).await.unwrap();
    let expected: Vec<Id> = ordered.iter().map(|id| super::id::parse(id).unwrap()).collect();
    assert!(expected.is_sorted(), "the expectation itself is in the order of ids");
    for limit in [1, 2, 4, 100] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = catalogue.users(Page { after: after.clone(), limit }).await.unwrap();
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.user_id.clone());
            seen.extend(page.into_iter().map(|user| user.user_id));
        }
        assert_eq!(seen, expected, "in pages of {limit}");
    }
}

async fn upserts_are_idempotent_and_counted(catalogue: &dyn Catalogue) {
    let mut changed = user("2");
    changed.email = Some("two@example.com".into());
    let rows = vec![user("0"), changed.clone(), user("3")];
    let counts = |inserted, updated, unchanged| Upserted { inserted, updated, unchanged };
    assert_eq!(catalogue.upsert_users(rows.clone()).await.unwrap(), counts(1, 1, 1));
    assert_eq!(catalogue.upsert_users(rows).await.unwrap(), counts(0, 0, 3));
    assert_eq!(catalogue.user(Id::Integer(2)).await.unwrap(), Some(changed));
    assert_eq!(catalogue.upsert_users(Vec::new()).await.unwrap(), counts(0, 0, 0));
}

async fn finds_and_names_what_exists(catalogue: &dyn Catalogue) {
    assert_eq!(catalogue.user(Id::Text("nobody".into())).await.unwrap(), None);
    assert_eq!(catalogue.product(Id::Integer(2)).await.unwrap(), None);
    let wanted =
        Wanted { users: vec![Id::Integer(3), Id::Text("a".into()), Id::Integer(999)], products: vec![Id::Integer(3)] };
    let names = catalogue.names(wanted).await.unwrap();
    assert_eq!(names.users.len(), 2);
    assert_eq!(names.users[&Id::Text("a".into())], "user a");
    assert!(names.products.is_empty(), "users and products do not share ids");
}

async fn keeps_cost_exactly(catalogue: &dyn Catalogue) {
    let product = |id, cents| Product {
        product_id: Id::Integer(id),
        product_name: "same".into(),
        cost: Cost::from_cents(cents).unwrap(),
    };
    let rows = vec![product(1, 1), product(2, 29_000), product(3, Cost::MAX_CENTS)];
    catalogue.upsert_products(rows.clone()).await.unwrap();
    assert_eq!(catalogue.products(Page { after: None, limit: 10 }).await.unwrap(), rows);
}
