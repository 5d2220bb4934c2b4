//! From a file to a plugin that says what it is: read, checked as bytes, copied, loaded, asked.
//! Each step refuses with what to do.

use super::code::PluginCode;
use super::description_check as check;
use super::elf;
use super::labels::Labels;
use super::library::Library;
use super::plugin_file::{self, Candidate};
use super::refusal::{LoadError, LoadErrorKind};
use serde_json::Value;
use std::path::Path;
use tally_plugin::abi::{GENERATION, Handshake, HandshakeText};
use tally_plugin::description::AboutText;

/// A plugin file that is loaded.
pub(super) struct Plugin {
    pub(super) about: AboutText,
    pub(super) code: Box<dyn PluginCode>,
    pub(super) sha256: String,
    /// Of its metrics.
    pub(super) labels: Labels,
}

/// A trusted, whole shared object with our handshake.
///
/// # Errors
/// [`LoadError`]; nothing of it has run.
pub(super) fn candidate(file: &Path) -> Result<(Candidate, HandshakeText), LoadError> {
    let candidate = plugin_file::read(file)?;
    let handshake = elf::inspect(&candidate.bytes)?;
    Ok((candidate, handshake.ok_or_else(without_handshake)?))
}

/// What is wrong with a shared object that has no handshake.
pub(super) fn without_handshake() -> LoadError {
    let what = "is a shared object but not a Tally plugin: it has no export_metric!";
    LoadError::new(LoadErrorKind::NotAPlugin, what, "add it and build again, or move the file away")
}

/// Loads a candidate from a private copy, and asks it what it is.
///
/// # Errors
/// [`LoadError`]: its handshake or layout does not fit, or what it says of itself cannot be served.
pub(super) fn load(
    file: &Path,
    candidate: &Candidate,
    handshake: &HandshakeText,
    private: &Path,
) -> Result<Plugin, LoadError> {
    fits(handshake)?;
    if candidate.group_writable {
        tracing::warn!(file = %file.display(), "this plugin file can be written by its group");
    }
    let code = code_of(&plugin_file::keep(private, candidate)?)?;
    let about = about(code.as_ref())?;
    tracing::info!(
        plugin = about.name,
        version = about.version,
        file = %file.display(),
        sdk = handshake.sdk,
        rustc = handshake.rustc,
        "plugin loaded"
    );
    Ok(Plugin { about, code, sha256: candidate.sha256.clone(), labels: Labels::default() })
}

/// The code in a private copy. Every kind of plugin file becomes code here.
fn code_of(copy: &Path) -> Result<Box<dyn PluginCode>, LoadError> {
    Ok(Box::new(Library::open(copy)?))
}

/// What loaded code says of itself.
fn about(code: &dyn PluginCode) -> Result<AboutText, LoadError> {
    let invalid = |what: String| LoadError::new(LoadErrorKind::Invalid, what, "fix the plugin");
    let text = code.about(&"(a plugin being loaded)");
    let text = text.map_err(|fault| invalid(format!("does not say what it is: {fault}")))?;
    let about: AboutText = readable(&text)
        .map_err(|fault| invalid(format!("does not say what it is: its text {fault}")))?;
    let faults = check::about(&about);
    if faults.is_empty() {
        Ok(about)
    } else {
        Err(invalid(format!("cannot be served: {}", faults.join("; "))))
    }
}

/// Whether a file was built for this engine.
pub(super) fn fits(handshake: &HandshakeText) -> Result<(), LoadError> {
    let other =
        |what: String, fix: String| Err(LoadError::new(LoadErrorKind::Incompatible, what, fix));
    if handshake.generation != GENERATION {
        let fix = match handshake.generation > GENERATION {
            true => "update the engine",
            false => "rebuild the plugin with a current tally-plugin",
        };
        let built = handshake.generation;
        let what =
            format!("was built for plugin interface {built}, this engine supports {GENERATION}");
        return other(what, fix.into());
    }
    let own = Handshake::own();
    let padded = |text: &str, field: &[u8]| {
        field.starts_with(text.as_bytes()) && field[text.len()..].iter().all(|byte| *byte == 0)
    };
    if !padded(&handshake.target, &own.target) {
        let own = String::from_utf8_lossy(&own.target).trim_end_matches('\0').to_string();
        let what = format!("was built for {}, this engine for {own}", handshake.target);
        return other(what, format!("rebuild it with --target {own}"));
    }
    if handshake.panic != "unwind" {
        let what = format!(
            "was built with panic = \"{}\": a fault in it would end the engine",
            handshake.panic
        );
        return other(what, "build it with panic = \"unwind\"".into());
    }
    Ok(())
}

/// A text of a plugin as what it should be.
///
/// # Errors
/// What is wrong with the text, to go after its name.
pub(super) fn readable<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    if text.len() > check::LARGEST_TEXT {
        return Err(format!("is longer than {} KiB", check::LARGEST_TEXT >> 10));
    }
    let value: Value =
        serde_json::from_str(text).map_err(|fault| format!("is not JSON: {fault}"))?;
    serde_json::from_value(value).map_err(|fault| {
        format!("is not one that this engine understands: {fault} (update the engine)")
    })
}
