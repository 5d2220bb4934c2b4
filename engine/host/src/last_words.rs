//! The process's last words: a fatal signal, or an `exit` from within, notes which thread caused
//! it, in the file that marks calls of plugins (the engine's `pipeline::call_marks` defines the
//! format).
//!
//! A signal that somebody sent from outside is nobody's fault and is not noted. Who handled a
//! signal before still does: what the runtime says of an overflown stack is said. Nothing is
//! promised of an end by `_exit`, SIGKILL or lack of memory: these have no last words.
#![allow(unsafe_code)] // signal handlers exist only in C's interface

use std::fs::File;
use std::os::fd::IntoRawFd;
use std::sync::OnceLock;

/// What a thread can do to itself.
const FATAL: [i32; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT];

/// Where they are written, for as long as the process lives.
static PAPER: OnceLock<Paper> = OnceLock::new();

struct Paper {
    file: i32,
    /// What handled these signals before, in the order of [`FATAL`].
    before: [libc::sigaction; FATAL.len()],
}

/// From now on the process notes in `file` why it ends. The first file of a process stays the one.
///
/// # Errors
/// The file cannot be shared.
pub fn note_in(file: &File) -> std::io::Result<()> {
    if PAPER.get().is_some() {
        return Ok(());
    }
    let file = file.try_clone()?.into_raw_fd();
    // SAFETY: a sigaction of zeros is the default action; `sigaction` only reads the new one and
    // writes the old one.
    let before = FATAL.map(|signal| unsafe {
        let mut before: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut before);
        before
    });
    if PAPER.set(Paper { file, before }).is_err() {
        return Ok(());
    }
    for signal in FATAL {
        // SAFETY: the handler has the form that SA_SIGINFO asks for, and calls nothing that a
        // signal handler may not call. It runs on the stack that the runtime gave each thread for
        // it, so an overflown stack is noted too.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(_, _, _) as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
    // SAFETY: the function takes nothing and may be called at any end of the process.
    unsafe { libc::atexit(on_exit) };
    Ok(())
}

extern "C" fn on_signal(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let Some(paper) = PAPER.get() else { return };
    // SAFETY: the kernel hands over a valid siginfo.
    let code = unsafe { (*info).si_code };
    // A thread's own `abort` is sent too, to the thread itself.
    if code > 0 || code == libc::SI_TKILL {
        write(paper, signal as u8);
    }
    if let Some(n) = FATAL.iter().position(|fatal| *fatal == signal) {
        // SAFETY: what was there before is put back. The instruction is run again, or the signal
        // sent again, and ends it.
        unsafe {
            libc::sigaction(signal, &raw const paper.before[n], std::ptr::null_mut());
            if code <= 0 && code != libc::SI_TKILL {
                libc::raise(signal);
            }
        }
    }
}

extern "C" fn on_exit() {
    if let Some(paper) = PAPER.get() {
        write(paper, 0);
    }
}

fn write(paper: &Paper, signal: u8) {
    // SAFETY: the buffer lives during the call; both calls may be made in a signal handler.
    unsafe {
        let thread = (libc::syscall(libc::SYS_gettid) as u32).to_le_bytes();
        let words = [1, signal, 0, 0, thread[0], thread[1], thread[2], thread[3]];
        libc::pwrite(paper.file, words.as_ptr().cast(), words.len(), 0);
    }
}
