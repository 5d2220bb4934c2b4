//! An engine whose plugin folder a test owns: files that it drops in, events that it posts, states
//! that it waits for.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test that called it")]

use crate::client::Client;
use crate::tally::{Home, binary, plugin};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What such a home is configured with; sections may follow.
pub const CONFIG: &str = "[plugins]\ndir = \"plugins\"\n[store]\ncheckpoint_interval_ms = 200\n[server]\nevaluation_deadline_ms = 10000\n";

/// A home whose binary lies alone, so that only what is put into its plugin folder is found; and
/// that folder.
#[must_use]
pub fn home() -> (Home, PathBuf) {
    let mut home = Home::new(CONFIG).unwrap();
    let (bin, folder) = (home.path().join("bin"), home.path().join("plugins"));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&folder).unwrap();
    fs::copy(binary().unwrap(), bin.join("tally")).unwrap();
    home.use_binary(bin.join("tally"));
    (home, folder)
}

/// Copies a shipped plugin into a folder.
pub fn drop_in(folder: &Path, name: &str) {
    fs::copy(plugin(name).unwrap(), folder.join(format!("{name}.so"))).unwrap();
}

/// Events `[from, to)`, each with an id of its own.
fn events(from: u64, to: u64) -> String {
    let event = |n: u64| {
        let kind = ["view", "view", "view", "add_to_cart", "buy"][n as usize % 5];
        format!(
            "{{\"event_id\":\"e{n}\",\"user_id\":{},\"product_id\":\"p{}\",\"event_type\":\"{kind}\",\"timestamp\":\"2026-01-0{}T0{}:00:00Z\"}}\n",
            n % 977,
            n * n % 499,
            1 + n % 7,
            n % 10
        )
    };
    (from..to).map(event).collect()
}

/// Posts events `[from, to)`; the position after them.
pub fn post(client: &Client, from: u64, to: u64) -> String {
    let ends = (from..to)
        .step_by(5_000)
        .map(|at| client.post_all(&events(at, (at + 5_000).min(to))).unwrap());
    ends.last().unwrap_or_default()
}

/// State of a metric in the list of metrics; `absent`: it is not listed.
#[must_use]
pub fn state(client: &Client, name: &str) -> String {
    let listing = client.get("/api/metrics").unwrap().json();
    let mut metrics = listing["metrics"].as_array().unwrap().iter();
    let found = metrics.find(|metric| metric["name"] == name);
    found.map_or("absent".into(), |metric| metric["state"].as_str().unwrap().to_owned())
}

/// Waits until a metric is listed in this state.
pub fn until_state(client: &Client, name: &str, wanted: &str) {
    let seen = |client: &Client| {
        Some(state(client, name)).filter(|seen| seen == wanted).ok_or_else(|| state(client, name))
    };
    client.until(&format!("{name} is {wanted}"), Duration::from_secs(60), seen).unwrap();
}
