//! Plugins of the folders: what is told of them.

use super::fake::World;
use crate::http::Limits;

const PATH: &str = "/api/plugins";

#[tokio::test]
async fn plugins_are_told_with_what_they_serve_and_without_their_folder() {
    let world = World::new(Limits::default()).await;
    let answer = world.get(PATH).await;
    let hash = "0".repeat(64);
    assert_eq!(
        answer.text,
        format!(
            r#"{{"plugins":[{{"name":"counts","version":"1.0.0","file":"libcounts.so","sha256":"{hash}","config_schema":{{"type":"object"}},"metrics":[]}},{{"name":"event_frequencies","version":"1.0.0","summary":"How often","file":"libevent_frequencies.so","sha256":"{hash}","config_schema":{{"type":"object"}},"metrics":["event_frequencies"]}}]}}"#
        )
    );
    let tag = answer.header("etag").to_owned();
    world.fake.plugins.lock().clear();
    let none = world.get(PATH).await;
    assert_eq!((none.status.as_u16(), none.text.as_str()), (200, r#"{"plugins":[]}"#));
    assert!(tag.starts_with("W/") && none.header("etag") != tag, "{tag}");
}
