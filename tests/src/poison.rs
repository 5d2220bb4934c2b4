//! A plugin that fails on certain events (product 666 panics, 777 is slow, 888 does not return, 901
//! to 903 end the process by abort, exit and SIGKILL, user 13 is an error) and answers as slowly as
//! it is told (`sleep_ms` between two reads, `hangs`), and the same one mended: crates outside of
//! the workspace, as those of other people are, built in a target folder that the next run finds
//! again.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

const SOURCE: &str = include_str!("poison.rs.in");

/// One build at a time.
static BUILDING: Mutex<()> = Mutex::new(());

/// The plugin file of the metric `poison`: the one that fails, or the mended one.
///
/// # Errors
/// It does not build.
pub fn poison(breaks: bool) -> Result<PathBuf> {
    poison_of(breaks, 1)
}

/// The same with another `revision` of its author.
///
/// # Errors
/// It does not build.
pub fn poison_of(breaks: bool, revision: u32) -> Result<PathBuf> {
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, patch) = if breaks { ("poisoned", 0) } else { ("mended", 1) };
    let (name, version) = (
        if revision == 1 { name.into() } else { format!("{name}{revision}") },
        format!("{revision}.0.{patch}"),
    );
    // target/release/deps/containment-… → target/corpus
    let test = std::env::current_exe()?;
    let home = test.ancestors().nth(3).context("the test lies in no target folder")?.join("corpus");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("the tests have a folder above them")?;
    let folder = home.join("poison").join(&name);
    let manifest = format!(
        "[workspace]\n[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\npublish = false\n\n\
        [lib]\npath = \"lib.rs\"\ncrate-type = [\"cdylib\"]\n\n[dependencies]\ntally-plugin = {{ path = {:?} }}\n",
        root.join("plugin-api")
    );
    let (about, code) = SOURCE.split_once("\n\n").context("the source begins with what it is")?;
    let head = format!(
        "const BREAKS: bool = {breaks};\nconst VERSION: &str = \"{version}\";\nconst REVISION: u32 = {revision};\n"
    );
    write(&folder.join("Cargo.toml"), &manifest)?;
    write(&folder.join("lib.rs"), &format!("{about}\n\n{head}{code}"))?;
    // The versions of the workspace, until cargo has made them its own.
    if !folder.join("Cargo.lock").exists() {
        fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--offline"]).current_dir(&folder).env_remove("RUSTFLAGS");
    let output = cargo.env("CARGO_TARGET_DIR", home.join("target")).output()?;
    ensure!(
        output.status.success(),
        "{name} does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(home.join("target/debug").join(format!("lib{name}.so")))
}

/// Writes a file whose content is another, so that what did not change is not built again.
fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).ok().as_deref() == Some(text) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("a file has a folder")?)?;
    fs::write(path, text).with_context(|| path.display().to_string())
}
