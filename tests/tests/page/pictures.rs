//! The screenshots of the documents, taken anew on demand:
//! `cargo test --release -p tally-tests --test page -- --ignored pictures`.
//!
//! They show a shop (`shop.json`, `shop.mjs`) whose users and products have believable names, with a
//! board that is served.

use crate::script::play;
use crate::world::World;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long all of them may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Most bytes of a picture: everybody who reads the documents loads it.
const MOST: u64 = 150_000;

/// Settings with which records are events that are none by default: they become dead letters when the
/// script restarts the engine without.
const LENIENT: &str = "[events]\nrequired = [\"event_type\"]\nearliest = \"1970-01-01\"\n\
    max_ahead = \"off\"\naliases = { Purchase = \"buy\" }\n";

/// What stands between the names of users who have the same first and last ones.
const MIDDLE: [&str; 4] = ["", "A. ", "B. ", "C. "];

/// Number of the first product.
const FIRST_PRODUCT: usize = 101;

fn texts(of: &Value) -> Vec<&str> {
    of.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// Users from 1 on: each first name with each last one, and all of them again for each [`MIDDLE`].
fn users(shop: &Value) -> String {
    let (first, last) = (texts(&shop["first"]), texts(&shop["last"]));
    let pairs = first.len() * last.len();
    let mut rows = "user_id,user_name\n".to_owned();
    for (round, middle) in MIDDLE.iter().enumerate() {
        for pair in 0..pairs {
            let second = last[(pair + pair / first.len()) % last.len()];
            let id = 1 + round * pairs + pair;
            rows += &format!("{id},{} {middle}{second}\n", first[pair % first.len()]);
        }
    }
    rows
}

fn products(shop: &Value) -> String {
    let mut rows = "product_id,product_name,cost\n".to_owned();
    for (at, product) in shop["products"].as_array().unwrap().iter().enumerate() {
        // Name and price; a text in JSON is one in CSV where nothing in it is escaped.
        rows += &format!("{},{},{}\n", FIRST_PRODUCT + at, product[0], product[3]);
    }
    rows
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images")
}

#[test]
#[ignore = "writes docs/images"]
fn pictures_of_the_page_are_taken() {
    let folder = folder();
    fs::create_dir_all(&folder).unwrap();
    let folder = folder.canonicalize().unwrap().to_string_lossy().into_owned();
    let shop: Value = serde_json::from_str(include_str!("shop.json")).unwrap();
    let mut world = World::of((&users(&shop), &products(&shop)), LENIENT).unwrap();
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/boards");
    fs::create_dir(world.path("boards")).unwrap();
    fs::copy(boards.join("shop.json"), world.path("boards/shop.json")).unwrap();
    play("pictures.mjs", &[folder.as_str()], &mut world, LIMIT).unwrap().tell(10).unwrap();
    world.end().unwrap();
}

#[test]
fn pictures_in_the_documents_are_small() {
    let entries = fs::read_dir(folder()).expect("docs has pictures");
    for entry in entries.map(Result::unwrap) {
        let size = entry.metadata().unwrap().len();
        assert!(size < MOST, "{:?} has {size} bytes", entry.file_name());
    }
}
