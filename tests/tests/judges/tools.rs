//! The judges, installed by the first test that needs them, each in one version, into
//! `target/judges`; a later run finds them.
//!
//! Versions are in `requirements.txt`, `package-lock.json` and here; what is installed of others is
//! replaced. Python, Node.js, Java and Maven are not installed: a missing one is an error that says
//! how to get it, never a skipped test.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tally_tests::installed::{LIMIT, installed, packages};
use tally_tests::programs::{program, run};

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
    packages("node", PACKAGE, PACKAGES)
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
