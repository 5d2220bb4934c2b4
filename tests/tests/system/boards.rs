//! Boards of a folder that the configuration names: served, judged, and the one that is shipped.

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tally_tests::tally::Home;

const CONFIG: &str = "[server]\nboards = \"boards\"\n";

/// The board that is shipped as an example.
fn shipped() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib/boards/shop.json");
    fs::read_to_string(path).unwrap()
}

#[test]
fn boards_of_the_folder_are_served_and_judged() {
    let home = Home::new(CONFIG).unwrap();
    let folder = home.path().join("boards");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("shop.json"), shipped()).unwrap();
    let config = home.path().join("metrics.toml");
    let check = ["config", "check", "-c", config.to_str().unwrap()];
    home.succeed(&check).unwrap();
    let tally = home.start().unwrap();
    let client = &tally.client;
    let entry = json!({"name": "shop", "title": "Shop", "items": 4});
    assert_eq!(
        client.get("/api/boards").unwrap().json(),
        json!({"boards": [entry], "rejected": []})
    );
    let board = client.get("/api/boards/shop").unwrap();
    assert_eq!((board.status, board.text.as_str()), (200, shipped().as_str()));

    // Each of its questions is one.
    let document: Value = serde_json::from_str(&board.text).unwrap();
    for item in document["items"].as_array().unwrap() {
        let mut question = json!({"name": item["metric"], "params": item["params"]});
        if let Some(expand) = item.get("expand") {
            question["expand"] = expand.clone();
        }
        let answer = client.post("/api/metrics", question.to_string()).unwrap();
        assert_eq!(answer.status, 200, "{item}: {}", answer.text);
    }

    // What is no board is told, while the engine runs and before it starts.
    fs::write(folder.join("bad.json"), shipped().replace("\"w\": 8", "\"w\": 13")).unwrap();
    let listed = client.get("/api/boards").unwrap().json();
    let reason = listed["rejected"][0]["reason"].as_str().unwrap();
    assert_eq!((&listed["boards"][0], reason.contains("items/1/w: ")), (&entry, true), "{listed}");
    let refused = client.get("/api/boards/bad").unwrap();
    assert_eq!((refused.status, &refused.json()["code"]), (404, &json!("board_not_found")));
    let checked = home.run(&check).unwrap();
    let words = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!(checked.status.code(), Some(78), "{words}");
    assert!(words.contains("metrics.toml:2:10: bad.json is no board: items/1/w: "), "{words}");
    tally.stop().unwrap();

    fs::remove_dir_all(&folder).unwrap();
    let checked = home.run(&check).unwrap();
    let words = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(words.contains("[server] boards names a folder that cannot be read"), "{words}");
}
