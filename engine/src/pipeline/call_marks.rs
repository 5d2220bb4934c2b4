//! Marks on disk: which plugin a lane is calling, and with which offsets; or which one is loaded or
//! tried. After a sudden end the next start reads which call was under way.
//!
//! A mark is one small write before a call and one after it, into pages of the operating system: it
//! survives the process but not a power cut, after which no plugin is suspected. Marks decide
//! nothing: `engine::crash_suspects` does, at the start.
//!
//! The file is a head, then a slot for each lane. Integers are little-endian; the file is read only
//! on the machine that wrote it. A slot that does not have the format of this module is read as no
//! mark.

use crate::store::RevisionId;
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Length of the head and of each slot, bytes.
const SLOT: u64 = 256;
/// Most lanes at once: the main lane, those that replay history, some that are ending, and one for
/// each revision that reads events by an earlier `[events]`; and the few places where plugins are
/// tried.
const SLOTS: usize = 1_024;
/// Longest metric name that is marked whole, bytes.
const NAME: usize = 128;
/// First byte of a slot: a call is under way.
const CALLING: u8 = 1;

/// First byte of the head: the process recorded its own end. Then follow the signal (0: `exit`)
/// and, from byte 4 on, the thread.
const RECORDED: u8 = 1;

/// The file of marks.
pub struct CallMarks {
    file: Arc<File>,
    taken: Arc<Mutex<Box<[bool]>>>,
}

/// A slot in the file, of a lane or a place; dropping it frees the slot.
#[derive(Debug)]
pub struct CallMark {
    file: Arc<File>,
    slot: usize,
    taken: Arc<Mutex<Box<[bool]>>>,
}

/// A call of a plugin, as its mark describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarkedCall {
    /// The revision that was called.
    pub revision: RevisionId,
    /// First half of the SHA-256 of the plugin's file, as hexadecimal digits.
    pub code: String,
    /// The partition of the batch.
    pub partition: u32,
    /// First offset of the batch.
    pub from: u64,
    /// Offset after the last one.
    pub to: u64,
}

impl MarkedCall {
    /// A call that counts nothing: the plugin of this name is loaded or tried.
    #[must_use]
    pub fn of_trial(plugin: &str) -> MarkedCall {
        let revision = RevisionId { metric: plugin.to_owned(), fingerprint: 0 };
        MarkedCall { revision, code: String::new(), partition: 0, from: 0, to: 0 }
    }

    /// Whether it is one with events.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.from < self.to
    }
}

/// A call that did not return before the process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreturnedCall {
    /// The call.
    pub called: MarkedCall,
    /// Why the process ended, if it is known to have ended in this call.
    pub cause: Option<EndCause>,
}

/// Why a process ended in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// A fatal signal of the calling thread.
    Signal(u8),
    /// The plugin called `exit`.
    Exit,
    /// The call had not returned within the time that calls may take.
    Hung,
}

impl CallMarks {
    /// Opens and empties the file. Returns the calls that had not returned when the process before
    /// ended.
    ///
    /// # Errors
    /// The file cannot be opened, read or written.
    pub fn open(path: &Path) -> io::Result<(CallMarks, Vec<UnreturnedCall>)> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits() as i32;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
        let file = options.open(path)?;
        let mut bytes = Vec::new();
        let mut buffer = [0_u8; SLOT as usize];
        for slot in 0..=SLOTS as u64 {
            buffer.fill(0);
            read_up_to(&file, &mut buffer, slot * SLOT)?;
            bytes.push(buffer);
        }
        let found = bytes[1..].iter().filter_map(|slot| unreturned(&bytes[0], slot)).collect();
        file.set_len(0)?;
        file.set_len((SLOTS as u64 + 1) * SLOT)?;
        let taken = vec![false; SLOTS].into_boxed_slice();
        let marks = CallMarks { file: Arc::new(file), taken: Arc::new(Mutex::new(taken)) };
        Ok((marks, found))
    }

    /// The file, for the signal handlers that write its head.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Takes a slot; `None`: all are taken, and the calls of who asks are not marked.
    #[must_use]
    pub fn take_slot(&self) -> Option<CallMark> {
        let mut taken = self.taken.lock();
        let Some(slot) = taken.iter().position(|taken| !taken) else {
            tracing::warn!(
                "more than {SLOTS} lanes: the calls of one more are not marked, and a plugin that \
                 ends the process there is not found"
            );
            return None;
        };
        taken[slot] = true;
        Some(CallMark { file: self.file.clone(), slot, taken: self.taken.clone() })
    }
}

/// Reads into `buffer` until it is full or the file ends.
fn read_up_to(file: &File, mut buffer: &mut [u8], mut at: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read_at(buffer, at) {
            Ok(0) => break,
            Ok(read) => {
                buffer = &mut buffer[read..];
                at += read as u64;
            }
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// The kernel's id of this thread.
fn thread() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

impl CallMark {
    /// Marks the beginning of a call. A failed write is ignored: the call goes on without a mark.
    pub fn begin(&self, called: &MarkedCall) {
        let mut slot = [0_u8; SLOT as usize];
        let name =
            &called.revision.metric.as_bytes()[..called.revision.metric.floor_char_boundary(NAME)];
        slot[0] = CALLING;
        slot[2] = name.len() as u8;
        slot[4..8].copy_from_slice(&thread().to_le_bytes());
        slot[8..16].copy_from_slice(&called.revision.fingerprint.to_le_bytes());
        slot[16..20].copy_from_slice(&called.partition.to_le_bytes());
        slot[20..28].copy_from_slice(&called.from.to_le_bytes());
        slot[28..36].copy_from_slice(&called.to.to_le_bytes());
        let code = called.code.as_bytes();
        slot[36..36 + code.len().min(32)].copy_from_slice(&code[..code.len().min(32)]);
        slot[72..72 + name.len()].copy_from_slice(name);
        let crc = crc32fast::hash(&slot[2..72 + name.len()]);
        slot[68..72].copy_from_slice(&crc.to_le_bytes());
        let _ = self.file.write_all_at(&slot[..72 + name.len()], self.at());
    }

    /// Marks the end of the call.
    pub fn end(&self) {
        let _ = self.file.write_all_at(&[0, 0], self.at());
    }

    /// Marks that the call has not returned within the time that calls may take. Another thread
    /// calls this; a later [`CallMark::end`] undoes it.
    pub fn set_hung(&self) {
        let _ = self.file.write_all_at(&[1], self.at() + 1);
    }

    fn at(&self) -> u64 {
        (self.slot as u64 + 1) * SLOT
    }
}

impl Drop for CallMark {
    fn drop(&mut self) {
        self.end();
        self.taken.lock()[self.slot] = false;
    }
}

/// The call in a slot, if it had not returned.
fn unreturned(head: &[u8; SLOT as usize], slot: &[u8; SLOT as usize]) -> Option<UnreturnedCall> {
    let number = |bytes: &[u8]| {
        bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let length = usize::from(slot[2]);
    if slot[0] != CALLING || length > NAME {
        return None;
    }
    let mut checked = *slot;
    checked[68..72].fill(0);
    if u64::from(crc32fast::hash(&checked[2..72 + length])) != number(&slot[68..72]) {
        return None;
    }
    let metric = std::str::from_utf8(&slot[72..72 + length]).ok()?.to_owned();
    let code = std::str::from_utf8(&slot[36..68]).ok()?.trim_end_matches('\0').to_owned();
    let called = MarkedCall {
        revision: RevisionId { metric, fingerprint: number(&slot[8..16]) },
        code,
        partition: number(&slot[16..20]) as u32,
        from: number(&slot[20..28]),
        to: number(&slot[28..36]),
    };
    let recorded = head[0] == RECORDED && head[4..8] == slot[4..8];
    let cause = match (recorded, head[1], slot[1]) {
        (true, 0, _) => Some(EndCause::Exit),
        (true, signal, _) => Some(EndCause::Signal(signal)),
        (false, _, 1) => Some(EndCause::Hung),
        _ => None,
    };
    Some(UnreturnedCall { called, cause })
}

#[cfg(test)]
#[path = "call_marks_tests.rs"]
mod tests;
