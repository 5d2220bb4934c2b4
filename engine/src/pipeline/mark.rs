//! Marks on disk: which plugin a lane is calling, and with what. After a sudden end the next start reads who was being called.
//!
//! A mark is one small write before a call and one after it, into pages of the system: it survives the process, not a power cut, after
//! which nobody is suspected. Marks judge nobody; what follows from them is decided at the start (`engine::culprits`).
//!
//! The file: a head, then a slot for each lane. Integers are little-endian, and all of it is of one machine. What is not as
//! this file writes it is read as no mark.

use crate::store::RevisionId;
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Length of the head and of each slot, bytes.
const SLOT: u64 = 256;
/// Lanes at once: the main one, those that replay history, some that are just ending, and one for each revision that reads events
/// otherwise than is configured now.
const SLOTS: usize = 1_024;
/// Longest name of a metric that is noted whole, bytes.
const NAME: usize = 128;
/// First byte of a slot: a call is under way.
const CALLING: u8 = 1;

/// What the process said of its own end: first byte of the head, then the signal (0: `exit`), then the thread (4 bytes).
const SPOKE: u8 = 1;

/// The file.
pub struct Marks {
    file: Arc<File>,
    taken: Arc<Mutex<Box<[bool]>>>,
}

/// A lane's slot; free again when this is dropped.
#[derive(Debug)]
pub struct Mark {
    file: Arc<File>,
    slot: usize,
    taken: Arc<Mutex<Box<[bool]>>>,
}

/// What a lane called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// The revision.
    pub revision: RevisionId,
    /// First half of the SHA-256 of the plugin's file, as hexadecimal digits.
    pub code: String,
    /// The partition.
    pub partition: u32,
    /// First offset.
    pub from: u64,
    /// Offset after the last.
    pub to: u64,
}

/// A call that did not return before the process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreturned {
    /// What was called.
    pub called: Called,
    /// Why the process ended, where it is known to have ended in this call.
    pub cause: Option<Cause>,
}

/// Why a process ended in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A fatal signal that the thread itself caused.
    Signal(u8),
    /// The code ended the process.
    Exit,
    /// The call had not returned for longer than calls may take.
    Hung,
}

impl Marks {
    /// Opens the file, empties it, and returns what a process before left in it.
    ///
    /// # Errors
    /// It cannot be opened, read or written.
    pub fn open(path: &Path) -> io::Result<(Marks, Vec<Unreturned>)> {
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
        let marks = Marks { file: Arc::new(file), taken: Arc::new(Mutex::new(taken)) };
        Ok((marks, found))
    }

    /// The file, for the process's last words, which are written at its start.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// A slot for a lane; `None` where all are taken: then its calls leave no mark.
    #[must_use]
    pub fn slot(&self) -> Option<Mark> {
        let mut taken = self.taken.lock();
        let Some(slot) = taken.iter().position(|taken| !taken) else {
            tracing::warn!(
                "more than {SLOTS} lanes: the calls of one more leave no mark, and a plugin that ends the process there is not found"
            );
            return None;
        };
        taken[slot] = true;
        Some(Mark { file: self.file.clone(), slot, taken: self.taken.clone() })
    }
}

/// Reads what there is.
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

/// The words that stand in `/proc` for this thread.
fn thread() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned()
}

impl Mark {
    /// A call begins. A mark that cannot be written is none: the call goes on.
    pub fn enter(&self, called: &Called) {
        let mut slot = [0_u8; SLOT as usize];
        let name = &called.revision.metric.as_bytes()[..called.revision.metric.floor_char_boundary(NAME)];
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

    /// It returned.
    pub fn leave(&self) {
        let _ = self.file.write_all_at(&[0, 0], self.at());
    }

    /// It has not returned for longer than calls may take. Told by another thread; one that returns after all takes it back.
    pub fn hangs(&self) {
        let _ = self.file.write_all_at(&[1], self.at() + 1);
    }

    fn at(&self) -> u64 {
        (self.slot as u64 + 1) * SLOT
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.leave();
        self.taken.lock()[self.slot] = false;
    }
}

/// The call that a slot tells of, if it had not returned.
fn unreturned(head: &[u8; SLOT as usize], slot: &[u8; SLOT as usize]) -> Option<Unreturned> {
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
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
    let called = Called {
        revision: RevisionId { metric, fingerprint: number(&slot[8..16]) },
        code,
        partition: number(&slot[16..20]) as u32,
        from: number(&slot[20..28]),
        to: number(&slot[28..36]),
    };
    let spoke = head[0] == SPOKE && head[4..8] == slot[4..8];
    let cause = match (spoke, head[1], slot[1]) {
        (true, 0, _) => Some(Cause::Exit),
        (true, signal, _) => Some(Cause::Signal(signal)),
        (false, _, 1) => Some(Cause::Hung),
        _ => None,
    };
    Some(Unreturned { called, cause })
}

#[cfg(test)]
#[path = "mark_tests.rs"]
mod tests;
