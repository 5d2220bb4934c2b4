//! Plugin files that are no good, and unusual ones that are: what a plugin folder may be hit with.
//!
//! Crates are written and built once per run in a target folder of their own (`target/corpus`),
//! where the next run finds them; the rest is made from them by changing bytes. Specimens are
//! copied into the folder that a test names. Crates are outside of the workspace, as those of other
//! people are.

mod build;

use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use build::{aborting_by_macro, built};

/// First bytes of a handshake, as the contract for plugins fixes them.
pub const MAGIC: &[u8; 16] = b"tally-plugin\0\0\0\x01";

/// Length of a handshake.
const HANDSHAKE: usize = 264;

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is refused with a sentence that contains this.
    Refused(&'static str),
    /// It serves the metric of this name.
    Serves(&'static str),
    /// It serves the metric of this name, which fails when it is used.
    Fails(&'static str),
}

/// A file of the corpus.
#[derive(Clone, Debug)]
pub struct Specimen {
    /// Name of the file.
    pub name: &'static str,
    /// Where it lies.
    pub path: PathBuf,
    /// What becomes of it.
    pub fate: Fate,
}

/// Crates that load and fail later, each named after the entry point in which it panics.
pub const FAIL: [(&str, &str); 3] = [
    ("fails_update.so", "corpus_update"),
    ("fails_answer.so", "corpus_answer"),
    ("fails_destroy.so", "corpus_destroy"),
];

/// Puts all files that are refused, or must load, into a folder. `taken.so` has a name that
/// `good.so` took before it.
///
/// # Errors
/// A crate does not build, or the folder cannot be written.
pub fn all(folder: &Path) -> Result<Vec<Specimen>> {
    let mut specimens = refused(folder)?;
    specimens.extend(loads(folder)?);
    Ok(specimens)
}

/// The files that are refused.
///
/// # Errors
/// As [`all`].
pub fn refused(folder: &Path) -> Result<Vec<Specimen>> {
    let good = fs::read(built("good")?)?;
    let mut made = Maker { folder, specimens: Vec::new() };
    made.file(
        "not_elf.so",
        b"#!/bin/sh\necho hello\n",
        "is not a shared object: it has no ELF header",
    )?;
    made.file("empty.so", b"", "is empty (copy it again)")?;
    for (name, percent) in
        [("cut01.so", 1), ("cut25.so", 25), ("cut50.so", 50), ("cut70.so", 70), ("cut99.so", 99)]
    {
        made.file(name, &good[..good.len() * percent / 100], "is cut off")?;
    }
    let machine = if cfg!(target_arch = "aarch64") { 62_u16 } else { 183 };
    made.file(
        "other_arch.so",
        &with(&good, 18, &machine.to_le_bytes()),
        "was built for another machine",
    )?;
    made.file(
        "no_metadata.so",
        &shaken(&good, 0, b"X")?,
        "not a Tally plugin: it has no export_metric!",
    )?;
    made.file(
        "older.so",
        &shaken(&good, 20, &0_u32.to_le_bytes())?,
        "(rebuild the plugin with a current tally-plugin)",
    )?;
    made.file("newer.so", &shaken(&good, 20, &9_u32.to_le_bytes())?, "(update the engine)")?;
    made.file("other_target.so", &shaken(&good, 24, b"z")?, "(rebuild it with --target")?;
    made.file(
        "other_panic.so",
        &shaken(&good, 88, b"abort\0\0\0")?,
        "(build it with panic = \"unwind\")",
    )?;
    made.crate_("no_export.so", "unexported", "not a Tally plugin: it has no export_metric!")?;
    made.crate_("built_abort.so", "abort", "(build it with panic = \"unwind\")")?;
    made.crate_("layout.so", "layout", "was built against an interface of another layout")?;
    made.crate_("schema.so", "schema", "its params schema cannot be used")?;
    made.crate_("descriptor.so", "descriptor", "is longer than 256 KiB")?;
    made.crate_("panics_about.so", "about", "does not say what it is: panicked: broken in about")?;
    made.crate_("panics_create.so", "create", "panicked: broken in create")?;
    made.crate_("panics_describe.so", "describe", "panicked: broken in describe")?;
    made.file("everybody.so", &with(&good, good.len(), &[1]), "can be written by everybody")?;
    fs::set_permissions(folder.join("everybody.so"), fs::Permissions::from_mode(0o666))?;
    symlink(built("good")?, folder.join("symlink.so"))?;
    made.note("symlink.so", Fate::Refused("is a link to another folder"));
    fs::create_dir(folder.join("folder.so"))?;
    made.note("folder.so", Fate::Refused("is not a regular file"));
    Ok(made.specimens)
}

/// The files that must load, and one that comes after them with a name that is taken.
///
/// # Errors
/// As [`all`].
pub fn loads(folder: &Path) -> Result<Vec<Specimen>> {
    let mut made = Maker { folder, specimens: Vec::new() };
    for (name, of, metric) in
        [("good.so", "good", "corpus_good"), ("small.so", "small", "corpus_small")]
    {
        copy(&built(of)?, &folder.join(name))?;
        made.note(name, Fate::Serves(metric));
    }
    let good = fs::read(built("good")?)?;
    made.file("taken.so", &with(&good, good.len(), &[0]), "is another plugin named corpus_good")?;
    Ok(made.specimens)
}

/// The files that load and fail when they are used: [`FAIL`].
///
/// # Errors
/// As [`all`].
pub fn failing(folder: &Path) -> Result<Vec<Specimen>> {
    let mut made = Maker { folder, specimens: Vec::new() };
    for (name, metric) in FAIL {
        copy(&built(metric.trim_start_matches("corpus_"))?, &folder.join(name))?;
        made.note(name, Fate::Fails(metric));
    }
    Ok(made.specimens)
}

/// Writes a file as a slow copy does: open, then piece by piece. `between` is called before each
/// piece.
///
/// # Errors
/// A file cannot be read or written.
pub fn copy_slowly(
    from: &Path,
    to: &Path,
    pieces: usize,
    pause: Duration,
    mut between: impl FnMut(),
) -> Result<()> {
    let bytes = fs::read(from)?;
    let mut file = fs::File::create(to)?;
    for piece in bytes.chunks(bytes.len().div_ceil(pieces.max(1)).max(1)) {
        between();
        file.write_all(piece)?;
        file.flush()?;
        // The pace of the copy; nothing waits for it.
        std::thread::sleep(pause);
    }
    Ok(())
}

/// Puts specimens into a folder.
struct Maker<'a> {
    folder: &'a Path,
    specimens: Vec<Specimen>,
}

impl Maker<'_> {
    fn file(&mut self, name: &'static str, bytes: &[u8], says: &'static str) -> Result<()> {
        let path = self.folder.join(name);
        fs::write(&path, bytes)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        self.note(name, Fate::Refused(says));
        Ok(())
    }

    fn crate_(&mut self, name: &'static str, of: &str, says: &'static str) -> Result<()> {
        copy(&built(of)?, &self.folder.join(name))?;
        self.note(name, Fate::Refused(says));
        Ok(())
    }

    fn note(&mut self, name: &'static str, fate: Fate) {
        self.specimens.push(Specimen { name, path: self.folder.join(name), fate });
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o644))?;
    Ok(())
}

/// The bytes with others at a place; at the end they are appended.
fn with(bytes: &[u8], at: usize, other: &[u8]) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed.resize(bytes.len().max(at + other.len()), 0);
    changed[at..at + other.len()].copy_from_slice(other);
    changed
}

/// The bytes with others at a place of the handshake, wherever it lies.
fn shaken(bytes: &[u8], at: usize, other: &[u8]) -> Result<Vec<u8>> {
    let places = bytes
        .windows(MAGIC.len())
        .enumerate()
        .filter(|(_, window)| window == MAGIC)
        .map(|(place, _)| place);
    let places: Vec<usize> = places.filter(|place| place + HANDSHAKE <= bytes.len()).collect();
    ensure!(!places.is_empty(), "no handshake");
    Ok(places.into_iter().fold(bytes.to_vec(), |bytes, place| with(&bytes, place + at, other)))
}
