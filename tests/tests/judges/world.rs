//! What is judged: an engine of its own for each test, with a catalogue and the known day, and the
//! documents that it gives.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tally_tests::day;
use tally_tests::tally::{Home, Tally};

/// A long deadline, so that a busy machine is no failure.
const CONFIG: &str =
    "[server]\nevaluation_deadline_ms = 10000\n[store]\ncheckpoint_interval_ms = 100\n";

const USERS: &str =
    "user_id,user_name,email\n1,Ada,ada@example.org\n2,Grace,\n3,Edsger,e@example.org\n";

const PRODUCTS: &str =
    "product_id,product_name,cost\n10,Lamp,29.90\n20,Chair,290.00\n30,Table,450.00\n";

/// Questions to the known day, and what is answered.
pub(crate) const CASES: &str = include_str!("../../fixtures/golden_cases.json");

/// An engine that has counted the known day.
pub(crate) struct World {
    /// The engine.
    pub(crate) tally: Tally,
    /// Its folder; also what judges read and write is put here.
    pub(crate) home: Home,
}

impl World {
    /// Starts one; `more` is put behind its configuration.
    ///
    /// # Errors
    /// It does not start, or does not count.
    pub(crate) fn new(more: &str) -> Result<World> {
        let home = Home::new(&format!("{CONFIG}{more}"))?;
        fs::create_dir(home.path().join("plugins"))?;
        home.write("users.csv", USERS)?;
        home.write("products.csv", PRODUCTS)?;
        home.succeed(&["import", "users", "users.csv"])?;
        home.succeed(&["import", "products", "products.csv"])?;
        let tally = home.start()?;
        let position = tally.client.post_all(&day::lines(&day::events()))?;
        tally.client.ask("event_frequencies", &json!({}), &position)?;
        Ok(World { tally, home })
    }

    /// A path in the engine's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// What a GET answers.
    ///
    /// # Errors
    /// Anything but 200.
    pub(crate) fn text(&self, path: &str) -> Result<String> {
        let answer = self.tally.client.get(path)?;
        ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.text);
        Ok(answer.text)
    }

    /// What a GET answers, as a file.
    ///
    /// # Errors
    /// As [`World::text`].
    pub(crate) fn document(&self, path: &str, name: &str) -> Result<PathBuf> {
        self.home.write(name, self.text(path)?)
    }
}

/// A file of JSON.
///
/// # Errors
/// It is none.
pub(crate) fn json_of(file: &Path) -> Result<Value> {
    let text = fs::read(file).with_context(|| format!("{}", file.display()))?;
    Ok(serde_json::from_slice(&text)?)
}
