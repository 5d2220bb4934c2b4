//! What every catalogue must do, whichever database is behind it. Run on an empty one; leaves rows
//! behind.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use super::{Catalogue, Cost, Page, Product, Upserted, User, Wanted};
use tally_plugin::read::Id;

/// Panics where a promise of [`Catalogue`] is not kept.
pub async fn holds(catalogue: &dyn Catalogue) {
    lists_by_lower_id(catalogue).await;
    upserts_are_idempotent_and_counted(catalogue).await;
    finds_and_names_what_exists(catalogue).await;
    keeps_cost_exactly(catalogue).await;
    a_later_row_wins(catalogue).await;
    keeps_texts_as_they_are(catalogue).await;
    writes_at_once_are_counted_once(catalogue).await;
    pages_join_without_gap_or_overlap(catalogue).await;
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
    let wanted = Wanted {
        users: vec![Id::Integer(3), Id::Text("a".into()), Id::Integer(999)],
        products: vec![Id::Integer(3)],
    };
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

async fn a_later_row_wins(catalogue: &dyn Catalogue) {
    let named = |name: &str| User { user_name: name.into(), ..user("twice") };
    let rows = vec![named("first"), named("second"), named("second")];
    let counts = catalogue.upsert_users(rows).await.unwrap();
    assert_eq!(counts, Upserted { inserted: 1, updated: 1, unchanged: 1 });
    assert_eq!(catalogue.user(Id::Text("twice".into())).await.unwrap(), Some(named("second")));
    let back = vec![named("third"), named("second")];
    assert_eq!(
        catalogue.upsert_users(back).await.unwrap(),
        Upserted { inserted: 0, updated: 2, unchanged: 0 }
    );
    assert_eq!(catalogue.user(Id::Text("twice".into())).await.unwrap(), Some(named("second")));
}

async fn keeps_texts_as_they_are(catalogue: &dyn Catalogue) {
    let texts = [
        "it's",
        "back\\slash",
        "{a,b}",
        "\"quoted\"",
        "%_",
        " space ",
        "Ünïcödé 𝄞",
        "NULL",
        "$1;--",
    ];
    let rows: Vec<User> = texts
        .iter()
        .map(|text| User {
            user_name: text.to_string(),
            email: Some(text.to_string()),
            ..user(text)
        })
        .collect();
    catalogue.upsert_users(rows.clone()).await.unwrap();
    for row in rows {
        assert_eq!(catalogue.user(row.user_id.clone()).await.unwrap(), Some(row));
    }
    let mut without = user("it's");
    without.user_name = "it's".into();
    assert_eq!(
        catalogue.upsert_users(vec![without.clone()]).await.unwrap().updated,
        1,
        "an address may go"
    );
    assert_eq!(catalogue.user(without.user_id.clone()).await.unwrap(), Some(without));
}

async fn writes_at_once_are_counted_once(catalogue: &dyn Catalogue) {
    let rows = |reversed: bool| {
        let mut rows: Vec<User> = (0..300).map(|n| user(&format!("many {n}"))).collect();
        if reversed {
            rows.reverse();
        }
        rows
    };
    let (mut one, other) = futures_util::future::join(
        catalogue.upsert_users(rows(false)),
        catalogue.upsert_users(rows(true)),
    )
    .await;
    *one.as_mut().unwrap() += other.unwrap();
    assert_eq!(one.unwrap(), Upserted { inserted: 300, updated: 0, unchanged: 300 });
}

async fn pages_join_without_gap_or_overlap(catalogue: &dyn Catalogue) {
    let products: Vec<Product> = (0..500)
        .map(|n: u32| Product {
            product_id: if n.is_multiple_of(2) {
                Id::Integer(1_000 + u64::from(n))
            } else {
                Id::Text(format!("p{n:03}"))
            },
            product_name: format!("thing {n}"),
            cost: Cost::from_cents(i64::from(n)).unwrap(),
        })
        .collect();
    catalogue.upsert_products(products.clone()).await.unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = catalogue.products(Page { after, limit: 7 }).await.unwrap();
        after = page.last().map(|product| product.product_id.clone());
        if after.is_none() {
            break;
        }
        seen.extend(page);
    }
    assert!(seen.is_sorted_by(|a, b| a.product_id < b.product_id), "strictly in the order of ids");
    assert!(products.iter().all(|product| seen.contains(product)), "all are there");
}
