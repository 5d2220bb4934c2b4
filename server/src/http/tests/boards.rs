//! Boards over HTTP: listed, read, tagged, and refused.

use super::fake::World;
use crate::http::Limits;
use serde_json::json;

const OPS: &str = r#"{"version":1,"title":"Ops","items":[
  {"id":"a","metric":"event_frequencies","params":{},"x":0,"y":0,"w":12,"h":2}]}"#;

#[tokio::test]
async fn boards_are_listed_and_read_as_they_are() {
    let world = World::new(Limits::default()).await;
    assert_eq!(world.get("/api/boards").await.json(), json!({"boards": [], "rejected": []}));
    world.board("ops.json", OPS);
    world.board("bad.json", "[]");
    let listed = world.get("/api/boards").await.json();
    assert_eq!(listed["boards"], json!([{"name": "ops", "title": "Ops", "items": 1}]));
    assert_eq!(listed["rejected"][0]["file"], "bad.json");
    assert!(listed["rejected"][0]["reason"].as_str().unwrap().starts_with("is no board: "));

    let board = world.get("/api/boards/ops").await;
    assert_eq!((board.status.as_u16(), board.header("content-type")), (200, "application/json"));
    assert_eq!(board.text, OPS);
    assert_eq!(board.header("cache-control"), "no-cache");
    let tag = board.header("etag").to_owned();
    world.board("ops.json", &OPS.replace("\"h\":2", "\"h\":3"));
    assert_ne!(world.get("/api/boards/ops").await.header("etag"), tag, "it is read again");
}

#[tokio::test]
async fn what_is_no_board_says_why() {
    let world = World::new(Limits::default()).await;
    world.board("bad.json", "[]");
    for (name, words) in [
        ("bad", "bad.json is no board: the whole: "),
        ("nothing", "there is no board \"nothing\""),
        ("..%2Fcatalogue", "there is no board \"../catalogue\""),
        ("%ff", "the name is not UTF-8"),
    ] {
        let answer = world.get(&format!("/api/boards/{name}")).await;
        let (code, detail) = (answer.json()["code"].clone(), answer.json()["detail"].clone());
        assert_eq!((answer.status.as_u16(), code), (404, json!("board_not_found")), "{name}");
        assert!(detail.as_str().unwrap().contains(words), "{detail}");
    }
}
