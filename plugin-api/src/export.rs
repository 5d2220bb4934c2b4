//! What `export_metric!` puts into a plugin file: the entry points of generation 1 around an
//! author's [`Metric`].
//!
//! Every entry is fenced: no panic leaves the plugin. It becomes the call's error, and its text
//! goes to the host's log instead of stderr. Not for authors, except [`log`].
#![allow(unsafe_code)] // this file and `abi.rs` are the boundary

use crate::abi::{
    Columns, DeltaBuffer, Fallible, Host, Instance, Plugin, PluginRef, WRITING, Writing,
};
use crate::ask::Ask;
use crate::batch::{Batch, Deltas};
use crate::description::Description;
use crate::metric::{self, Metric};
use crate::read::ReadRequest;
use crate::reader::Reader;
use abi_stable::library::{CheckTypeLayout, LibHeader, RootModuleError};
use abi_stable::marker_type::ErasedPrefix;
use abi_stable::prefix_type::{PrefixRefTrait, PrefixTypeTrait};
use abi_stable::std_types::{RResult, RStr, RString};
use serde::Serialize;
use std::any::Any;
use std::cell::Cell;
use std::io::Error;
use std::io::Write;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::Once;

pub use abi_stable::library::LibHeader as Header;

/// Makes a crate of type `cdylib` a plugin file that serves this [`Metric`].
#[macro_export]
macro_rules! export_metric {
    ($metric:ty) => {
        #[cfg(panic = "abort")]
        compile_error!(
            "build metric plugins with panic = \"unwind\": the engine turns a panic into an error"
        );

        const _: () = {
            #[allow(unsafe_code)] // the name under which the host looks for it
            #[unsafe(export_name = "tally_plugin_handshake")]
            static HANDSHAKE: $crate::abi::Handshake = $crate::abi::Handshake::own();

            #[allow(unsafe_code)] // likewise
            #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
            static PLUGIN: $crate::export::Header = $crate::export::header::<$metric>();
        };
    };
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something is odd.
    Warn = 2,
    /// Worth knowing.
    Info = 3,
    /// For finding faults.
    Debug = 4,
    /// For finding faults, in great detail.
    Trace = 5,
}

/// Writes a line to the host's log, under the metric's name. Only while the host calls the metric,
/// on the same thread; outside of that (in tests, on threads of one's own) there is no log and the
/// line is dropped.
pub fn log(level: Level, text: &str) {
    if let Some(host) = CURRENT.get() {
        (host.log)(host.context, level as u8, RStr::from_str(text));
    }
}

/// The static that the loader finds.
#[must_use]
pub const fn header<M: Metric>() -> LibHeader {
    // SAFETY: `root` returns a `PluginRef`, whose root module trait is named here; its layout is
    // checked at load.
    unsafe { LibHeader::from_constructor::<PluginRef>(root::<M>, CheckTypeLayout::Yes) }
}

const _: () = {
    let theirs = abi_stable::library::ROOT_MODULE_LOADER_NAME.as_bytes();
    let ours = b"_1as_0lib_1header_0root_bmodule_bloader";
    assert!(
        theirs.len() == ours.len(),
        "the loader looks for another symbol than export_metric! writes"
    );
    let mut n = 0;
    while n < ours.len() {
        assert!(
            theirs[n] == ours[n],
            "the loader looks for another symbol than export_metric! writes"
        );
        n += 1;
    }
};

extern "C" fn root<M: Metric>() -> abi_stable::library::RootModuleResult {
    let plugin = Plugin {
        about: about::<M>,
        describe: describe::<M>,
        create: create::<M>,
        update: update::<M>,
        answer: answer::<M>,
        destroy: destroy::<M>,
    };
    match catch_unwind(|| plugin.leak_into_prefix()) {
        // SAFETY: the loader casts it back to `PluginRef`, the type given to
        // `LibHeader::from_constructor`.
        Ok(plugin) => RResult::ROk(unsafe { plugin.to_prefix_ref().cast::<ErasedPrefix>() }),
        Err(payload) => {
            discard(payload);
            RResult::RErr(RootModuleError::Unwound)
        }
    }
}

/// A metric with what its calls need.
struct Hosted<M> {
    metric: M,
    description: Description,
    host: Host,
}

extern "C" fn about<M: Metric>(host: Host) -> Fallible<RString> {
    fence(host, || json(&metric::about_text::<M>()))
}

extern "C" fn describe<M: Metric>(config: RStr<'_>, host: Host) -> Fallible<RString> {
    fence(host, || json(&metric::describe(&metric::create::<M>(config.as_str())?)))
}

extern "C" fn create<M: Metric>(config: RStr<'_>, host: Host) -> Fallible<Instance> {
    fence(host, || {
        let metric = metric::create::<M>(config.as_str())?;
        let description = metric.describe();
        Ok(Instance(Box::into_raw(Box::new(Hosted { metric, description, host })).cast()))
    })
}

extern "C" fn update<M: Metric>(
    instance: Instance,
    columns: &Columns<'_>,
    buffer: &mut DeltaBuffer,
) -> Fallible<()> {
    let hosted = hosted::<M>(&instance);
    fence(hosted.host, || {
        let batch = Batch::new(columns, &hosted.description.properties);
        hosted.metric.update(&batch, &mut Deltas::new(&hosted.description, batch.len(), buffer));
        Ok(())
    })
}

extern "C" fn answer<M: Metric>(
    instance: Instance,
    ask: RStr<'_>,
    call: usize,
) -> Fallible<RString> {
    let hosted = hosted::<M>(&instance);
    fence(hosted.host, || {
        let ask: Ask = serde_json::from_str(ask.as_str())
            .map_err(|fault| format!("the question is unreadable: {fault}"))?;
        let read = |request: &ReadRequest| {
            let text = serde_json::to_string(request).map_err(|fault| fault.to_string())?;
            let answer = (hosted.host.read)(call, RStr::from_str(&text))
                .into_result()
                .map_err(RString::into_string)?;
            serde_json::from_str(answer.as_str())
                .map_err(|fault| format!("the host's answer is unreadable: {fault}"))
        };
        let mut text = ReplyText::new(hosted.host, call);
        metric::write_answer(
            &hosted.metric,
            ask,
            &Reader::new(&hosted.description.tables, &read),
            &mut text,
        )?;
        text.end()
    })
}

extern "C" fn destroy<M: Metric>(instance: Instance) {
    let host = hosted::<M>(&instance).host;
    let outcome = fence(host, || {
        // SAFETY: made by `create::<M>` with `Box::into_raw`; the host calls `destroy` once and
        // nothing after it.
        drop(unsafe { Box::from_raw(instance.0.cast::<Hosted<M>>()) });
        Ok(())
    });
    if let RResult::RErr(fault) = outcome {
        (host.log)(host.context, Level::Error as u8, fault.as_rstr());
    }
}

fn hosted<M>(instance: &Instance) -> &Hosted<M> {
    // SAFETY: made by `create::<M>` and not destroyed yet, both by the contract of `Instance`;
    // shared access only.
    unsafe { &*instance.0.cast::<Hosted<M>>() }
}

/// A reply that is being written. The host is asked now and then whether it wants more of it: it
/// knows the time and the longest answer.
struct ReplyText {
    bytes: Vec<u8>,
    /// Length at which it is asked next.
    ask_at: usize,
    call: usize,
    writing: Option<Writing>,
}

/// Bytes written between two questions.
const WRITTEN: usize = 32 * 1024;

impl ReplyText {
    fn new(host: Host, call: usize) -> ReplyText {
        let writing = (host.extension)(host.context, RStr::from_str(WRITING));
        // SAFETY: a host that knows this name gives a function of this type for it, which is never
        // unloaded.
        let writing = (!writing.is_null())
            .then(|| unsafe { std::mem::transmute::<*const (), Writing>(writing) });
        ReplyText { bytes: Vec::new(), ask_at: WRITTEN, call, writing }
    }

    fn end(self) -> Result<RString, String> {
        String::from_utf8(self.bytes)
            .map(RString::from)
            .map_err(|fault| format!("not representable as JSON: {fault}"))
    }
}

impl Write for ReplyText {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let length = self.bytes.len() + bytes.len();
        if length >= self.ask_at {
            self.ask_at = length + WRITTEN;
            if self.writing.is_some_and(|wanted| !wanted(self.call, length)) {
                return Err(Error::other("the host stopped reading the answer"));
            }
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

fn json<T: Serialize>(value: &T) -> Result<RString, String> {
    serde_json::to_string(value)
        .map(RString::from)
        .map_err(|fault| format!("not representable as JSON: {fault}"))
}

thread_local! {
    /// Whose log lines and panics on this thread are.
    static CURRENT: Cell<Option<Host>> = const { Cell::new(None) };
}

/// Runs `f` so that no panic leaves it; the panic's text becomes the error.
fn fence<T>(host: Host, f: impl FnOnce() -> Result<T, String>) -> Fallible<T> {
    send_panics_to_the_host();
    let before = CURRENT.replace(Some(host));
    let outcome = catch_unwind(AssertUnwindSafe(f));
    CURRENT.set(before);
    match outcome {
        Ok(result) => result.map_err(RString::from).into(),
        Err(payload) => {
            let said = payload
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "without a text".into());
            discard(payload);
            RResult::RErr(format!("panicked: {said}").into())
        }
    }
}

/// Drops a panic's payload, whose destructor may panic in turn; then it is leaked.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(again);
    }
}

/// A plugin file has a standard library of its own, and so a panic hook of its own: this one.
/// Panics that do not happen in a call of the host go where they went before.
fn send_panics_to_the_host() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| match CURRENT.get() {
            Some(host) => {
                let said = info.payload_as_str().unwrap_or("without a text");
                let place = info.location().map(ToString::to_string).unwrap_or_default();
                (host.log)(
                    host.context,
                    Level::Error as u8,
                    RStr::from_str(&format!("panicked at {place}: {said}")),
                );
            }
            None => before(info),
        }));
    });
}
