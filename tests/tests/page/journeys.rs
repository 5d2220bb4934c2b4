//! What is done on the page, and how it is: a script for each, with an engine of its own.

use crate::script::play;
use crate::world::World;
use std::time::Duration;

/// How long a script may take on a machine that has much else to do.
const LIMIT: Duration = Duration::from_secs(180);

/// Plays a script; it must have judged so much.
fn journey(script: &str, arguments: &[&str], mut world: World, least: u64) {
    play(script, arguments, &mut world, LIMIT).unwrap().tell(least).unwrap();
    world.end().unwrap();
}

fn plain() -> World {
    World::new("").unwrap()
}

#[test]
fn every_number_of_the_overview_is_that_of_a_post_and_live_that_of_its_message() {
    journey("overview.mjs", &[], plain(), 200);
}

#[test]
fn every_view_is_sound_in_light_dark_and_narrow() {
    journey("everywhere.mjs", &[], plain(), 50);
}

#[test]
fn a_question_is_explored_by_form_chart_and_address() {
    journey("explore.mjs", &[], plain(), 50);
}

#[test]
fn boards_are_pinned_arranged_shared_and_hung_on_a_wall() {
    journey("boards.mjs", &[], plain(), 10);
}

#[test]
fn events_are_seen_as_they_come_and_back_in_the_log() {
    journey("events.mjs", &[], plain(), 5);
}

#[test]
fn plugins_are_compared_promoted_and_rolled_back() {
    journey("plugins.mjs", &[], plain(), 2);
}

#[test]
fn a_metric_is_made_in_a_minute() {
    journey("new.mjs", &[], plain(), 300);
}

#[test]
fn health_shows_what_the_status_says() {
    journey("health.mjs", &[], plain(), 50);
}

#[test]
fn everything_goes_by_keyboard() {
    journey("keyboard.mjs", &[], plain(), 5);
}

#[test]
fn what_strangers_wrote_is_text() {
    journey("hostile.mjs", &[], plain(), 85);
}

#[test]
fn a_page_left_open_stays_right() {
    journey("left-open.mjs", &[], plain(), 100);
}

#[test]
fn states_of_engine_and_connection_have_their_pictures() {
    journey("states.mjs", &["plain"], plain(), 7);
}

#[test]
fn a_store_that_is_away_has_its_picture() {
    journey("states.mjs", &["redis"], World::on_redis().unwrap(), 1);
}

#[test]
fn too_many_cells_and_too_much_memory_have_their_pictures() {
    let config = "[limits]\nmemory = 67108864\n[metrics.user_activities]\nmax_cells = 100000000\n\
        [metrics.again]\nplugin = \"user_activities\"\n[metrics.once_more]\nplugin = \"user_activities\"\n\
        [metrics.few]\nplugin = \"products_popularity\"\nmax_cells = 10\n";
    journey("states.mjs", &["small"], World::new(config).unwrap(), 2);
}

#[test]
fn a_plugin_that_is_slow_fails_or_does_not_return_has_its_pictures() {
    let mut world = plain();
    // It does not return to the engine, so that there is no orderly end.
    play("states.mjs", &["failing"], &mut world, LIMIT).unwrap().tell(3).unwrap();
}

/// An engine with twelve metrics.
fn twelve() -> World {
    let copies = (1..=9).map(|n| format!("[metrics.copy{n}]\nplugin = \"event_frequencies\"\n"));
    World::new(&copies.collect::<String>()).unwrap()
}

#[test]
fn the_page_is_small_quick_and_does_not_grow() {
    journey("cost.mjs", &[], twelve(), 80);
}

#[test]
#[ignore = "takes as many minutes as TALLY_MINUTES says, else ten"]
fn the_page_does_not_grow_for_minutes() {
    let minutes: u64 = std::env::var("TALLY_MINUTES").map_or(10, |text| text.parse().unwrap());
    let mut world = twelve();
    let limit = LIMIT + Duration::from_secs(60 * minutes);
    let said = play("cost.mjs", &[&minutes.to_string()], &mut world, limit).unwrap();
    said.tell(minutes).unwrap();
    world.end().unwrap();
}
