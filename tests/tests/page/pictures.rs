//! The screenshots of the documents, taken anew on demand:
//! `cargo test --release -p tally-tests --test page -- --ignored pictures`.

use crate::script::play;
use crate::world::World;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How long all of them may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Most bytes of a picture: everybody who reads the documents loads it.
const MOST: u64 = 150_000;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images")
}

#[test]
#[ignore = "writes docs/images"]
fn pictures_of_the_page_are_taken() {
    let folder = folder();
    fs::create_dir_all(&folder).unwrap();
    let folder = folder.canonicalize().unwrap().to_string_lossy().into_owned();
    let mut world = World::new("").unwrap();
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
