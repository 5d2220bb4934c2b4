//! The judges, installed by the first test that needs them, each in one version, into
//! `target/judges`; a later run finds them.
//!
//! Versions are in `requirements.txt`, `package-lock.json` and here; what is installed of others is
//! replaced. Python, Node.js, Java and Maven are not installed: a missing one is an error that says
//! how to get it, never a skipped test.

use crate::process::{program, run};
use anyhow::{Context, Result};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long an installation may take.
const LIMIT: Duration = Duration::from_secs(480);

const REQUIREMENTS: &str = include_str!("requirements.txt");
const PACKAGE: &str = include_str!("package.json");
const PACKAGES: &str = include_str!("package-lock.json");

/// The version of openapi-generator.
pub(crate) const GENERATOR: &str = "7.25.0";

/// What to do where something is missing.
const REMEDY: &str = "the judges need: apt-get install python3 python3-venv nodejs npm jq maven default-jre-headless";

/// The folder of the scripts.
pub(crate) fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges")
}

/// A program that pip installed, with the others in its path.
///
/// # Errors
/// It is not to be had.
pub(crate) fn python(name: &str) -> Result<Command> {
    let folder = installed("python", REQUIREMENTS, |folder| {
        run(program("python3").args(["-m", "venv"]).arg(folder), LIMIT).context(REMEDY)?;
        let wanted = folder.join("requirements.txt");
        fs::write(&wanted, REQUIREMENTS)?;
        let pip = folder.join("bin/pip");
        let install = ["install", "--quiet", "--disable-pip-version-check", "-r"];
        run(program(pip).args(install).arg(wanted), LIMIT)?;
        Ok(())
    })?;
    let programs = folder.join("bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = program(programs.join(name));
    command.env("PATH", format!("{}:{path}", programs.display()));
    Ok(command)
}

/// A script of Python.
///
/// # Errors
/// As [`python`].
pub(crate) fn script(name: &str) -> Result<Command> {
    let mut command = python("python")?;
    command.arg(scripts().join(name));
    Ok(command)
}

/// The folder with `node_modules`.
///
/// # Errors
/// It is not to be had.
pub(crate) fn node() -> Result<PathBuf> {
    installed("node", &format!("{PACKAGE}{PACKAGES}"), |folder| {
        fs::write(folder.join("package.json"), PACKAGE)?;
        fs::write(folder.join("package-lock.json"), PACKAGES)?;
        // No script of a package runs.
        let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
        run(program("npm").args(install).current_dir(folder), LIMIT).context(REMEDY)?;
        Ok(())
    })
}

/// The jar of openapi-generator.
///
/// # Errors
/// It is not to be had.
pub(crate) fn generator() -> Result<PathBuf> {
    let folder = installed("generator", GENERATOR, |folder| {
        let mut maven = program("mvn");
        maven
            .args(["-q", "-B", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"])
            .arg(format!("-Dartifact=org.openapitools:openapi-generator-cli:{GENERATOR}"))
            .arg(format!("-DoutputDirectory={}", folder.display()))
            .current_dir(folder);
        run(&mut maven, LIMIT).context(REMEDY)?;
        Ok(())
    })?;
    Ok(folder.join(format!("openapi-generator-cli-{GENERATOR}.jar")))
}

/// A folder below `target/judges` that was filled for exactly this `wanted`; other test processes
/// and threads wait here.
fn installed(name: &str, wanted: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
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
        fill(&folder).with_context(|| format!("{name}: the judges were not installed"))?;
        fs::write(&complete, wanted)?;
    }
    Ok(folder)
}
