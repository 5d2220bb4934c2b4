//! Names beside ids and what is said about users nobody knows.

use super::fake::{World, evaluated};
use crate::catalogue::{
    Catalogue, CatalogueError, CatalogueFuture, Names, Page, Product, Upserted, User, Wanted,
};
use crate::http::Limits;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tally_plugin::ask::Warning;
use tally_plugin::read::Id;

fn schema() -> Value {
    json!({
        "$defs": {
            "Product": {"properties": {"product_id": {"$ref": "#/$defs/ProductId"}, "parts": {"items": {"$ref": "#/$defs/Product"}}}},
            "ProductId": {"x-tally-id": "product", "type": ["integer", "string"]}
        },
        "properties": {
            "user": {"anyOf": [{"properties": {
                "user_id": {"x-tally-id": "user"},
                "known": {"type": "boolean", "x-tally-known": "user"}
            }}, {"type": "null"}]},
            "products": {"type": "array", "items": {"$ref": "#/$defs/Product"}},
            "by": {"additionalProperties": {"properties": {"user_id": {"x-tally-id": "user"}, "product_id": {"x-tally-id": "product"}}}}
        }
    })
}

async fn asked(world: &World, result: &'static str, names: bool) -> Value {
    let schema = schema();
    world.fake.answers(move |_| Ok(evaluated(result, schema.clone())));
    let expand = if names { json!(["names"]) } else { json!([]) };
    let answer = world.ask(json!({"name": "a", "expand": expand})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn names_stand_beside_ids_wherever_the_schema_marks_them() {
    let world = World::new(Limits::default()).await;
    let result = r#"{"z":1.50,"products":[{"product_id":10,"n":1,"parts":[{"product_id":11}]}],"by":{"x":{"user_id":"abc","product_id":10}},"other":{"product_id":10}}"#;
    let schema = schema();
    world.fake.answers(move |_| Ok(evaluated(result, schema.clone())));
    let text = world.ask(json!({"name": "a", "expand": ["names"]})).await.text;
    let expected = r#""result":{"z":1.50,"products":[{"product_id":10,"name":"lamp","n":1,"parts":[{"product_id":11,"name":null}]}],"by":{"x":{"user_id":"abc","user_name":"Text","product_id":10,"product_name":"lamp"}},"other":{"product_id":10}},"#;
    assert!(text.contains(expected), "{text}");
    assert!(text.ends_with("\"warnings\":[]}"));
    let plain = world.ask(json!({"name": "a"})).await.text;
    assert!(plain.contains(&format!("\"result\":{result},")), "unasked, nothing changes: {plain}");
}

#[tokio::test]
async fn known_is_in_the_catalogue_or_has_events() {
    let world = World::new(Limits::default()).await;
    let answer = asked(&world, r#"{"user":{"user_id":2,"known":false}}"#, false).await;
    assert_eq!(answer["result"], json!({"user": {"user_id": 2, "known": true}}));
    assert_eq!(answer["warnings"], json!([]));
    let answer = asked(&world, r#"{"user":{"user_id":999,"known":false}}"#, true).await;
    assert_eq!(answer["result"], json!({"user": {"user_id": 999, "name": null, "known": false}}));
    assert_eq!(answer["warnings"][0]["code"], json!("unknown_user"));
    let answer = asked(&world, r#"{"user":{"user_id":999,"known":true}}"#, false).await;
    assert_eq!(
        (&answer["result"]["user"]["known"], &answer["warnings"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(asked(&world, r#"{"user":null}"#, true).await["result"], json!({"user": null}));
}

#[tokio::test]
async fn what_the_plugin_said_of_an_id_is_not_said_again() {
    let world = World::new(Limits::default()).await;
    let schema = schema();
    for (said, warnings) in [("99 has no events", 2), ("999: no events", 1)] {
        let schema = schema.clone();
        world.fake.answers(move |_| {
            let mut answer = evaluated(r#"{"user":{"user_id":999,"known":false}}"#, schema.clone());
            answer.warnings.push(Warning::new("unknown_user", said));
            Ok(answer)
        });
        let answer = world.ask(json!({"name": "a"})).await.json();
        assert_eq!(answer["warnings"].as_array().unwrap().len(), warnings, "{said}");
    }
}

#[tokio::test]
async fn a_result_that_is_not_as_its_schema_says_is_left_as_it_is() {
    let world = World::new(Limits::default()).await;
    for result in [r#"{"products":7,"user":[1]}"#, r#"[1]"#, "null", r#"{"user":{"known":false}}"#]
    {
        let answer = asked(&world, result, true).await;
        assert_eq!(answer["result"], serde_json::from_str::<Value>(result).unwrap());
    }
}

/// Says how often it was asked, and fails, hangs, or knows nobody.
pub(super) struct Counting {
    pub(super) fails: AtomicBool,
    pub(super) hangs: AtomicBool,
    asked: Mutex<Vec<Wanted>>,
}

impl Catalogue for Counting {
    fn users(&self, _: Page) -> CatalogueFuture<'_, Vec<User>> {
        Box::pin(async { Err(CatalogueError::Unavailable("/secret/path".into())) })
    }
    fn user(&self, _: Id) -> CatalogueFuture<'_, Option<User>> {
        Box::pin(std::future::pending())
    }
    fn products(&self, _: Page) -> CatalogueFuture<'_, Vec<Product>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn product(&self, _: Id) -> CatalogueFuture<'_, Option<Product>> {
        Box::pin(async { Ok(None) })
    }
    fn names(&self, wanted: Wanted) -> CatalogueFuture<'_, Names> {
        self.asked.lock().push(wanted);
        let [fails, hangs] = [&self.fails, &self.hangs].map(|of| of.load(Ordering::Relaxed));
        Box::pin(async move {
            if hangs {
                std::future::pending().await
            } else if fails {
                Err(CatalogueError::Unavailable("down".into()))
            } else {
                Ok(Names::default())
            }
        })
    }
    fn upsert_users(&self, _: Vec<User>) -> CatalogueFuture<'_, Upserted> {
        Box::pin(async { Ok(Upserted::default()) })
    }
    fn upsert_products(&self, _: Vec<Product>) -> CatalogueFuture<'_, Upserted> {
        Box::pin(async { Ok(Upserted::default()) })
    }
}

fn counting(fails: bool) -> (Arc<Counting>, World) {
    counting_for(fails, Duration::from_millis(50))
}

/// One that is waited for so long.
pub(super) fn counting_for(fails: bool, limit: Duration) -> (Arc<Counting>, World) {
    let fails = AtomicBool::new(fails);
    let catalogue =
        Arc::new(Counting { fails, hangs: AtomicBool::new(false), asked: Mutex::default() });
    let limits = Limits { catalogue: limit, ..Limits::default() };
    (Arc::clone(&catalogue), World::with(catalogue, tempfile::tempdir().unwrap(), limits))
}

#[tokio::test]
async fn an_answer_costs_one_lookup() {
    let (catalogue, world) = counting(false);
    asked(
        &world,
        r#"{"user":{"user_id":1,"known":false},"products":[{"product_id":10},{"product_id":10},{"product_id":9}]}"#,
        true,
    )
    .await;
    let wanted =
        Wanted { users: vec![Id::Integer(1)], products: vec![Id::Integer(9), Id::Integer(10)] };
    assert_eq!(*catalogue.asked.lock(), [wanted]);
    asked(&world, r#"{"products":[]}"#, true).await;
    assert_eq!(catalogue.asked.lock().len(), 1, "nothing to look up, nothing asked");
}

#[tokio::test]
async fn without_the_catalogue_answers_go_on() {
    let (_, world) = counting(true);
    let answer = asked(
        &world,
        r#"{"user":{"user_id":1,"known":false},"products":[{"product_id":10}]}"#,
        true,
    )
    .await;
    let expected = json!({"user": {"user_id": 1, "name": null, "known": false}, "products": [{"product_id": 10, "name": null}]});
    assert_eq!(answer["result"], expected);
    let codes: Vec<_> = answer["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].clone())
        .collect();
    assert_eq!(codes, ["catalogue_unavailable"]);
    for path in ["/api/users", "/api/users/1"] {
        let answer = world.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["code"]),
            (503, &json!("catalogue_unavailable")),
            "{path}"
        );
        assert!(!answer.text.contains("secret"), "no path leaks");
    }
}
