//! The one place where foreign code is loaded and called.
//!
//! What it is given is a whole shared object with a handshake that fits ([`super::elf`]), at an
//! absolute path that is never written again ([`super::plugin_file`]). What it gives is safe to
//! call: layouts are checked when a file is loaded, the entry points are fenced inside the plugin,
//! and a library is never unloaded. It cannot contain a plugin that breaks memory or does not
//! return.
#![allow(unsafe_code)] // loading and calling foreign code is what this file is for

use super::code::{Call, Label, MetricCode, PluginCode};
use super::refusal::{LoadError, LoadErrorKind};
pub(super) use abi_stable::library::LibHeader;
use abi_stable::library::{LibraryError, RawLibrary, lib_header_from_raw_library};
use abi_stable::std_types::{RResult, RStr, RString};
use rustix::fs::StatVfsMountFlags;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use tally_plugin::abi::{
    Columns, DeltaBuffer, Fallible, Host, Instance, PluginRef, WRITING, Writing,
};

/// A loaded plugin file. Stays loaded as long as the process lives.
#[derive(Clone, Copy)]
pub(super) struct Library {
    plugin: PluginRef,
}

/// A metric inside a plugin file.
pub(super) struct Hosted {
    plugin: PluginRef,
    instance: Instance,
}

// SAFETY: the instance is a `Metric`, which is `Send + Sync` by its trait; the entry points take it
// by shared reference.
unsafe impl Send for Hosted {}
// SAFETY: likewise.
unsafe impl Sync for Hosted {}

impl Library {
    /// Loads a private copy.
    ///
    /// # Errors
    /// [`LoadErrorKind::Incompatible`].
    pub(super) fn open(copy: &Path) -> Result<Library, LoadError> {
        let library = RawLibrary::load_at(copy).map_err(|fault| unloadable(copy, &fault))?;
        // Never unloaded: the layouts that the checker keeps, and whatever a plugin's threads run,
        // point into it.
        let library: &'static RawLibrary = Box::leak(Box::new(library));
        // SAFETY: the library lives as long as the process.
        let header = unsafe { lib_header_from_raw_library(library) }.map_err(|fault| {
            let what = format!("has no entry points of this kind: {}", one_line(&fault));
            incompatible(what, "rebuild it with a current tally-plugin")
        })?;
        Library::of(header, copy)
    }

    /// The checked entry points behind a header.
    pub(super) fn of(header: &'static LibHeader, copy: &Path) -> Result<Library, LoadError> {
        let plugin = header.init_root_module::<PluginRef>().map_err(|fault| {
            tracing::debug!(copy = %copy.display(), "{fault}");
            let what = "was built against an interface of another layout";
            incompatible(what.into(), "rebuild it with a matching tally-plugin")
        })?;
        Ok(Library { plugin })
    }
}

impl PluginCode for Library {
    fn about(&self, label: Label) -> Result<String, String> {
        text(self.plugin.about()(host(label)))
    }

    fn describe(&self, config: &str, label: Label) -> Result<String, String> {
        text(self.plugin.describe()(RStr::from_str(config), host(label)))
    }

    fn create(&self, config: &str, label: Label) -> Result<Box<dyn MetricCode>, String> {
        let created = self.plugin.create()(RStr::from_str(config), host(label)).into_result();
        let instance = created.map_err(RString::into_string)?;
        Ok(Box::new(Hosted { plugin: self.plugin, instance }))
    }
}

impl MetricCode for Hosted {
    fn update_columns(
        &self,
        columns: &Columns<'_>,
        buffer: &mut DeltaBuffer,
    ) -> Result<(), String> {
        self.plugin.update()(self.instance, columns, buffer)
            .into_result()
            .map_err(RString::into_string)
    }

    fn answer(&self, ask: &str, call: Call<'_>) -> Result<String, String> {
        let call = std::ptr::from_ref(&call) as usize;
        text(self.plugin.answer()(self.instance, RStr::from_str(ask), call))
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.plugin.destroy()(self.instance);
    }
}

fn text(said: Fallible<RString>) -> Result<String, String> {
    said.into_result().map(RString::into_string).map_err(RString::into_string)
}

/// Why a copy cannot be loaded, in the loader's own words, and what to do.
fn unloadable(copy: &Path, fault: &LibraryError) -> LoadError {
    let said = match fault {
        LibraryError::OpenError { err, .. } => one_line(err),
        other => one_line(other),
    };
    let folder = copy.parent().unwrap_or(copy);
    // The loader begins with the path that it was given, which says nothing: the copy is ours.
    let said = said.replace(&format!("{}: ", copy.display()), "");
    let noexec = rustix::fs::statvfs(folder)
        .is_ok_and(|mount| mount.f_flag.contains(StatVfsMountFlags::NOEXEC));
    if noexec {
        let what = format!(
            "cannot be loaded: {said}: {} lies on a file system that is mounted noexec",
            folder.display()
        );
        return incompatible(what, "mount it without noexec, or put [store] data_dir elsewhere");
    }
    incompatible(
        format!("cannot be loaded: {said}"),
        "install what it needs, or build it on this system",
    )
}

fn incompatible(what: String, fix: &str) -> LoadError {
    LoadError::new(LoadErrorKind::Incompatible, what, fix)
}

/// An error of several lines on one, whole but for what is far too long for a sentence.
fn one_line(fault: &dyn std::fmt::Display) -> String {
    /// Letters that are shown.
    const LONGEST: usize = 1_000;
    let text = fault.to_string();
    let line =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if line.is_empty() => "without a reason".to_owned(),
        None => line,
    }
}

/// What a metric may call. Its context is its label, a thin pointer to the two words of a name.
fn host(label: Label) -> Host {
    let context = std::ptr::from_ref(label) as usize;
    Host { context, log, read, extension }
}

thread_local! {
    /// Whether what plugins log on this thread is dropped.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`, and drops what plugins log meanwhile on this thread: whoever calls one again on what
/// it failed has it said before.
pub fn quietly<T>(f: impl FnOnce() -> T) -> T {
    /// Sets it back also where `f` panics.
    struct Back(bool);
    impl Drop for Back {
        fn drop(&mut self) {
            QUIET.set(self.0);
        }
    }
    let _back = Back(QUIET.replace(true));
    f()
}

extern "C" fn log(context: usize, level: u8, line: RStr<'_>) {
    if QUIET.get() {
        return;
    }
    // SAFETY: made by `host` of a label, which lives as long as the process.
    let metric = unsafe { *(context as *const &'static str) };
    let outcome = catch_unwind(AssertUnwindSafe(|| match level {
        1 => tracing::error!(metric, "{}", line.as_str()),
        2 => tracing::warn!(metric, "{}", line.as_str()),
        3 => tracing::info!(metric, "{}", line.as_str()),
        4 => tracing::debug!(metric, "{}", line.as_str()),
        _ => tracing::trace!(metric, "{}", line.as_str()),
    }));
    // A log that panics must not end the process; its payload may not even be dropped safely.
    if let Err(payload) = outcome {
        std::mem::forget(payload);
    }
}

extern "C" fn read(call: usize, request: RStr<'_>) -> Fallible<RString> {
    // SAFETY: made by `Hosted::answer`, which is still running: the reader that a metric is given
    // cannot leave the call.
    let call = unsafe { *(call as *const Call<'_>) };
    match catch_unwind(AssertUnwindSafe(|| (call.read)(request.as_str()))) {
        Ok(Ok(answer)) => RResult::ROk(answer.into()),
        Ok(Err(fault)) => RResult::RErr(fault.into()),
        Err(payload) => {
            std::mem::forget(payload);
            RResult::RErr("the engine failed while reading".into())
        }
    }
}

extern "C" fn extension(_: usize, name: RStr<'_>) -> *const () {
    match name.as_str() {
        WRITING => writing as Writing as *const (),
        _ => std::ptr::null(),
    }
}

extern "C" fn writing(call: usize, bytes: usize) -> bool {
    // SAFETY: as in `read`.
    let call = unsafe { *(call as *const Call<'_>) };
    match catch_unwind(AssertUnwindSafe(|| (call.writing)(bytes))) {
        Ok(wanted) => wanted,
        Err(payload) => {
            std::mem::forget(payload);
            false
        }
    }
}

#[cfg(test)]
#[path = "library_tests.rs"]
mod tests;
