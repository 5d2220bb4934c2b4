//! What tests need of package registries: installed by the first test that needs it, each in one
//! version, into `target/judges`, where a later run finds it.
//!
//! What was installed for another list of versions is replaced. Node.js itself is not installed: a
//! missing one is an error that says how to get it, never a skipped test.

use crate::programs::{program, run};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an installation may take.
pub const LIMIT: Duration = Duration::from_secs(480);

/// What to do where Node.js is missing.
const REMEDY: &str = "Node.js and npm are needed: apt-get install nodejs npm";

/// A folder with the `node_modules` of this `package.json` and `package-lock.json`.
///
/// # Errors
/// It is not to be had.
pub fn packages(name: &str, package: &str, lock: &str) -> Result<PathBuf> {
    installed(name, &format!("{package}{lock}"), |folder| {
        fs::write(folder.join("package.json"), package)?;
        fs::write(folder.join("package-lock.json"), lock)?;
        // No script of a package runs.
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        run(program("npm").args(install).current_dir(folder), LIMIT).context(REMEDY)?;
        Ok(())
    })
}

/// A folder below `target/judges` that was filled for exactly this `wanted`; other test processes
/// and threads wait here.
///
/// # Errors
/// It could not be filled.
pub fn installed(
    name: &str,
    wanted: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"), PathBuf::from);
    let judges = target.join("judges");
    fs::create_dir_all(&judges)?;
    // Paths are written into what is installed, and commands run in other folders.
    let judges = judges.canonicalize()?;
    let lock = File::create(judges.join(format!("{name}.lock")))?;
    lock.lock()?;
    let folder = judges.join(name);
    let complete = judges.join(format!("{name}.complete"));
    let found = fs::read_to_string(&complete).unwrap_or_default();
    if found != wanted || !folder.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir(&folder)?;
        fill(&folder).with_context(|| format!("{name}: it was not installed"))?;
        fs::write(&complete, wanted)?;
    }
    Ok(folder)
}
