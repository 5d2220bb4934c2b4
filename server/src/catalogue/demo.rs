//! The demo's catalogue: three users and three products that the documentation names, and as many
//! more as wanted.
//!
//! A pure function of counts and seed, so every demo shows the same names; seeding again changes
//! nothing.

use super::{Catalogue, CatalogueError, Cost, Product, Upserted, User};
use tally_plugin::read::Id;

/// Rows written in one transaction.
const BATCH: usize = 1_000;

/// How much of a demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DemoRows {
    /// Users in all, at least 3.
    pub users: u64,
    /// Products in all, at least 3.
    pub products: u64,
    /// Names and costs follow from it.
    pub seed: u64,
}

/// Writes users 1…`users` and products 1…`products`; the outcome for the users and for the
/// products.
///
/// # Errors
/// [`CatalogueError`]; batches written before it stay.
pub async fn seed(
    catalogue: &dyn Catalogue,
    demo: DemoRows,
) -> Result<(Upserted, Upserted), CatalogueError> {
    let (mut users, mut products) = (Upserted::default(), Upserted::default());
    let mut ids = (1..=demo.users.max(3)).peekable();
    while ids.peek().is_some() {
        users += catalogue
            .upsert_users(ids.by_ref().take(BATCH).map(|id| user(id, demo.seed)).collect())
            .await?;
    }
    let mut ids = (1..=demo.products.max(3)).peekable();
    while ids.peek().is_some() {
        products += catalogue
            .upsert_products(ids.by_ref().take(BATCH).map(|id| product(id, demo.seed)).collect())
            .await?;
    }
    Ok((users, products))
}

fn user(id: u64, seed: u64) -> User {
    let (user_name, email) = match id {
        1 => ("userA".into(), Some("userA@example.com".into())),
        2 => ("userB".into(), None),
        3 => ("userC".into(), None),
        _ => {
            let number = mixed(seed, id);
            let name = format!("{} {}", pick(&FIRST, number), pick(&LAST, number >> 16));
            let address = format!("{}.{id}@example.com", pick(&FIRST, number).to_lowercase());
            (name, (number >> 32).is_multiple_of(2).then_some(address))
        }
    };
    User { user_id: Id::Integer(id), user_name, email }
}

fn product(id: u64, seed: u64) -> Product {
    let (product_name, cents) = match id {
        1 => ("productA".into(), 29_000),
        2 => ("productB".into(), 21_000),
        3 => ("productA".into(), 19_000),
        _ => {
            let number = mixed(seed, !id);
            (
                format!("{} {}", pick(&KIND, number), pick(&THING, number >> 16)),
                99 + (number >> 32) % 100_000,
            )
        }
    };
    let cost = i64::try_from(cents)
        .ok()
        .and_then(Cost::from_cents)
        .unwrap_or_else(|| unreachable!("{cents} cents are in range"));
    Product { product_id: Id::Integer(id), product_name, cost }
}

fn pick(of: &[&'static str; 16], number: u64) -> &'static str {
    of[(number % 16) as usize]
}

/// splitmix64 (Steele, Lea, Flood 2014): a fixed function, unlike a library's generator, which may
/// change by version.
fn mixed(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

const FIRST: [&str; 16] = [
    "Ada",
    "Alan",
    "Barbara",
    "Claude",
    "Donald",
    "Edsger",
    "Frances",
    "Grace",
    "Hedy",
    "John",
    "Katherine",
    "Leslie",
    "Margaret",
    "Niklaus",
    "Radia",
    "Tony",
];
const LAST: [&str; 16] = [
    "Adler", "Berg", "Castro", "Diaz", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito", "Jensen",
    "Kovacs", "Lopez", "Moreau", "Novak", "Okafor", "Perez",
];
const KIND: [&str; 16] = [
    "Blue", "Bright", "Classic", "Compact", "Folding", "Green", "Heavy", "Light", "Little", "Long",
    "Plain", "Quiet", "Red", "Round", "Soft", "Warm",
];
const THING: [&str; 16] = [
    "backpack", "bottle", "chair", "cup", "desk", "jacket", "kettle", "lamp", "mug", "notebook",
    "pen", "radio", "scarf", "shoe", "speaker", "tent",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::catalogue::Page;
    use crate::catalogue::embedded::Embedded;

    #[tokio::test]
    async fn seeds_the_known_rows_and_as_many_as_wanted_once() {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Embedded::open(&folder.path().join("c.db")).unwrap();
        let demo = DemoRows { users: 1_500, products: 40, seed: 7 };
        let (users, products) = seed(&catalogue, demo).await.unwrap();
        assert_eq!((users.inserted, products.inserted), (1_500, 40));
        let (users, products) = seed(&catalogue, demo).await.unwrap();
        assert_eq!((users.unchanged, products.unchanged), (1_500, 40));

        let known = catalogue.users(Page { after: None, limit: 3 }).await.unwrap();
        assert_eq!(
            known.iter().map(|user| user.email.is_some()).collect::<Vec<_>>(),
            [true, false, false]
        );
        let known = catalogue.products(Page { after: None, limit: 3 }).await.unwrap();
        let known: Vec<_> = known
            .iter()
            .map(|product| (product.product_name.as_str(), product.cost.to_string()))
            .collect();
        assert_eq!(
            known,
            [
                ("productA", "290.00".into()),
                ("productB", "210.00".into()),
                ("productA", "190.00".into())
            ]
        );
    }
}
