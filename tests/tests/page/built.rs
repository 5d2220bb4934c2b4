//! What is served is what the sources make: `dist/` is built anew from the lock file and does not
//! differ, types, form and tests of the sources are sound, and what is broken or too large is not
//! built.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tally_tests::installed::packages;
use tally_tests::programs::{program, run};
use tempfile::TempDir;

const PACKAGE: &str = include_str!("../../../server/ui/package.json");
const PACKAGES: &str = include_str!("../../../server/ui/package-lock.json");

/// How long a script of the sources may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Where the sources are.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../server/ui")
}

/// What tests of the sources read beside them, and the scripts that have their form.
const BESIDE: [&str; 4] = ["docs", "contrib", "server/src", "tests/tests/page"];

/// The sources alone, with what the lock file names, where they can be changed and built.
struct Copy {
    _whole: TempDir,
    sources: PathBuf,
}

impl Copy {
    fn path(&self) -> &Path {
        &self.sources
    }
}

fn copy() -> Result<Copy> {
    let whole = tempfile::tempdir()?;
    let folder = whole.path().join("server/ui");
    fs::create_dir_all(&folder)?;
    for beside in BESIDE {
        let original = sources().join("../..").join(beside).canonicalize()?;
        let link = whole.path().join(beside);
        fs::create_dir_all(link.parent().context("it is beside nothing")?)?;
        symlink(original, link)?;
    }
    for entry in fs::read_dir(sources())? {
        let entry = entry?;
        let name = entry.file_name();
        if name != "node_modules" && name != "dist" {
            copy_all(&entry.path(), &folder.join(name))?;
        }
    }
    let modules = packages("ui", PACKAGE, PACKAGES)?.join("node_modules");
    symlink(modules, folder.join("node_modules"))?;
    Ok(Copy { _whole: whole, sources: folder })
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        fs::copy(from, to).with_context(|| from.display().to_string())?;
        return Ok(());
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy_all(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Runs a script of the sources.
fn npm(folder: &Copy, script: &str) -> Result<String> {
    run(program("npm").args(["run", "--silent", script]).current_dir(folder.path()), LIMIT)
}

/// What was built: names with content.
fn dist(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder.join("dist")).context("there is no dist/")? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.insert(name, fs::read(entry.path())?);
    }
    Ok(files)
}

/// Puts text behind a file.
fn append(folder: &Copy, file: &str, text: &str) {
    let path = folder.path().join(file);
    let before = fs::read_to_string(&path).unwrap_or_default();
    fs::write(path, before + text).unwrap();
}

/// Why it is not built so.
fn refused(folder: &Copy, script: &str) -> String {
    match npm(folder, script) {
        Ok(said) => panic!("npm run {script} succeeds:\n{said}"),
        Err(fault) => format!("{fault:#}"),
    }
}

/// Holds what is kept against what was built.
///
/// # Errors
/// In what they differ.
fn same(kept: &BTreeMap<String, Vec<u8>>, built: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    let remedy = "in server/ui: npm ci && npm run build, and commit dist/";
    if names(kept) != names(built) {
        bail!("dist/ has {:?}, and the sources make {:?}: {remedy}", names(kept), names(built));
    }
    let differs = kept.iter().find(|(name, content)| built.get(*name) != Some(content));
    match differs {
        Some((name, _)) => bail!("dist/{name} is not what the sources make: {remedy}"),
        None => Ok(()),
    }
}

#[test]
fn dist_is_what_the_sources_make() {
    let folder = copy().unwrap();
    npm(&folder, "build").unwrap();
    let (kept, built) = (dist(&sources()).unwrap(), dist(folder.path()).unwrap());
    same(&kept, &built).unwrap();
    // And this would be seen.
    append(&folder, "src/main.js", "\nglobalThis.changed = 1;\n");
    npm(&folder, "build").unwrap();
    same(&kept, &dist(folder.path()).unwrap()).unwrap_err();
}

#[test]
fn types_and_tests_of_the_sources_are_sound() {
    let folder = copy().unwrap();
    npm(&folder, "check").unwrap();
    npm(&folder, "test").unwrap();
    append(
        &folder,
        "src/lib/format.js",
        "\n/** @type {number} */\nexport const broken = 'text';\n",
    );
    let why = refused(&folder, "check");
    assert!(why.contains("format.js") && why.contains("TS2322"), "{why}");
    append(
        &folder,
        "src/lib/broken.test.js",
        "import { test } from 'node:test';\ntest('fails', () => { throw new Error('as it should'); });\n",
    );
    let why = refused(&folder, "test");
    assert!(why.contains("as it should"), "{why}");
}

#[test]
fn sources_have_their_form_and_width() {
    let folder = copy().unwrap();
    append(&folder, "src/main.js", &format!("\n// {}\n", "wide ".repeat(20).trim_end()));
    let why = refused(&folder, "check");
    assert!(why.contains("main.js") && why.contains("102 of 100 columns"), "{why}");

    let folder = copy().unwrap();
    append(&folder, "src/style/base.css", "\nmain{color:red}\n");
    let why = refused(&folder, "check");
    assert!(why.contains("base.css"), "{why}");
}

#[test]
fn what_is_broken_or_too_large_is_not_built() {
    let folder = copy().unwrap();
    append(&folder, "src/main.js", "\nimport './nowhere.js';\n");
    let why = refused(&folder, "build");
    assert!(why.contains("nowhere.js"), "{why}");

    let folder = copy().unwrap();
    append(&folder, "src/main.js", "\nconst = 1;\n");
    let why = refused(&folder, "build");
    assert!(why.contains("main.js"), "{why}");

    // Text that does not become smaller: 128 KiB.
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + (state >> 25) as u8 % 94)
    };
    let text: String = (0..128 << 10).map(|_| next()).collect();
    let folder = copy().unwrap();
    let text = serde_json::to_string(&text).unwrap();
    append(&folder, "src/main.js", &format!("\nglobalThis.large = {text};\n"));
    let why = refused(&folder, "build");
    assert!(why.contains("too large"), "{why}");
}
