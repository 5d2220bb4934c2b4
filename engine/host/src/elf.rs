//! Whether bytes are a whole shared object for this machine, and what its handshake says: decided
//! before any of it runs.
//!
//! The loader of the C library trusts a file's headers: one that is cut off inside a segment kills
//! the process. So every bound is checked here first. Whether the code is harmless cannot be
//! checked.

use super::refusal::{LoadError, LoadErrorKind};
use object::elf::{ET_DYN, FileHeader64, PT_DYNAMIC, PT_LOAD};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _};
use tally_plugin::abi::{HANDSHAKE_SYMBOL, Handshake, HandshakeText};

/// The machine that this engine was built for, as in the ELF header.
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("add the ELF machine number of this architecture");

/// Checks a file's bytes. `Ok(None)`: a sound shared object that is not a plugin of ours.
///
/// # Errors
/// [`LoadError`]: it is not a shared object, not whole, or for another machine.
pub(super) fn inspect(bytes: &[u8]) -> Result<Option<HandshakeText>, LoadError> {
    let refused = |kind, what: &str, fix: &str| Err(LoadError::new(kind, what, fix));
    let cut_off = |what: &str| {
        LoadError::new(LoadErrorKind::Damaged, format!("is cut off: {what}"), "copy it again")
    };
    let (not, damaged, other) =
        (LoadErrorKind::NotAPlugin, LoadErrorKind::Damaged, LoadErrorKind::Incompatible);
    if bytes.is_empty() {
        return refused(damaged, "is empty", "copy it again");
    }
    if bytes.get(..4) != Some(b"\x7fELF") {
        let what = "is not a shared object: it has no ELF header";
        return refused(not, what, "build the plugin as a cdylib and copy the .so file");
    }
    if bytes.get(4..6) != Some(&[2, 1]) {
        return refused(
            other,
            "is not a 64-bit little-endian shared object",
            "build the plugin for this machine",
        );
    }
    let cut = |_| cut_off("its headers point beyond its end");
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(cut)?;
    let endian = header.endian().map_err(cut)?;
    let machine = header.e_machine.get(endian);
    if machine != MACHINE {
        let what =
            format!("was built for another machine: ELF machine {machine}, this one is {MACHINE}");
        return refused(other, &what, "build it for this machine");
    }
    if header.e_type.get(endian) != ET_DYN {
        let fix = "build it with crate-type = [\"cdylib\"]";
        return refused(not, "is an ELF file but not a shared object", fix);
    }
    let length = bytes.len() as u64;
    let segments = header.program_headers(endian, bytes).map_err(cut)?;
    if !segments.iter().any(|segment| segment.p_type(endian) == PT_LOAD) {
        return refused(
            damaged,
            "has nothing to load",
            "build it again, and strip no segments from it",
        );
    }
    for segment in segments {
        let (offset, size) = segment.file_range(endian);
        let kind = segment.p_type(endian);
        if (kind == PT_LOAD || kind == PT_DYNAMIC)
            && offset.checked_add(size).is_none_or(|end| end > length)
        {
            return Err(cut_off("a segment ends beyond the end of the file"));
        }
    }
    // The section table stands last in a file: with it, nothing is missing.
    let sections = header.e_shoff.get(endian).checked_add(
        u64::from(header.e_shnum.get(endian)) * u64::from(header.e_shentsize.get(endian)),
    );
    if sections.is_none_or(|end| end > length) {
        return Err(cut_off("its section table is missing"));
    }
    let file = ElfFile64::<Endianness>::parse(bytes).map_err(cut)?;
    let dynamic = file.elf_dynamic_table().map_err(cut)?;
    if dynamic.iter().next().is_none() {
        return refused(damaged, "has no dynamic table", "build it again as a cdylib");
    }
    Ok(handshake(&file, bytes))
}

/// The bytes of the handshake symbol, where the file says they are.
fn handshake(file: &ElfFile64<'_>, bytes: &[u8]) -> Option<HandshakeText> {
    let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok(HANDSHAKE_SYMBOL))?;
    let endian = file.endian();
    let segment = file.elf_program_headers().iter().find(|segment| {
        let start = segment.p_vaddr(endian);
        segment.p_type(endian) == PT_LOAD
            && (start..start.saturating_add(segment.p_filesz(endian))).contains(&symbol.address())
    })?;
    let at = segment.p_offset(endian).checked_add(symbol.address() - segment.p_vaddr(endian))?;
    let end = at.checked_add(symbol.size())?.min(bytes.len() as u64);
    Handshake::read(bytes.get(usize::try_from(at).ok()?..usize::try_from(end).ok()?)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that cannot read its file has failed
mod tests {
    use super::*;

    /// The test program itself: a real ELF file of type ET_DYN.
    fn whole() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()
    }

    #[test]
    fn a_whole_file_passes_and_is_no_plugin() {
        assert_eq!(inspect(&whole()), Ok(None));
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused() {
        let whole = whole();
        for percent in [1, 25, 50, 70, 99] {
            let cut = &whole[..whole.len() * percent / 100];
            assert!(inspect(cut).unwrap_err().to_string().contains("cut off"), "{percent} %");
        }
        for length in 0..64 {
            assert!(inspect(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn other_machines_and_other_files_are_refused() {
        let patched = |at: usize, value: &[u8]| {
            let mut bytes = whole();
            bytes[at..at + value.len()].copy_from_slice(value);
            inspect(&bytes).unwrap_err().to_string()
        };
        assert!(patched(18, &243_u16.to_le_bytes()).contains("another machine"));
        assert!(patched(16, &2_u16.to_le_bytes()).contains("not a shared object"));
        assert!(patched(4, &[1]).contains("64-bit"));
        assert!(patched(0, b"MZ").contains("no ELF header"));
        assert!(inspect(b"").unwrap_err().to_string().contains("empty"));
        assert!(inspect(b"#!/bin/sh\n").unwrap_err().to_string().contains("no ELF header"));
        let refusals =
            [patched(18, &[0, 0]), patched(16, &[2, 0]), patched(4, &[1]), patched(0, b"MZ")];
        for refusal in refusals.into_iter().chain([inspect(b"").unwrap_err().to_string()]) {
            assert!(refusal.ends_with(')'), "no cure in {refusal:?}");
        }
    }

    #[test]
    fn headers_that_lie_are_refused() {
        let mut bytes = whole();
        bytes[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(inspect(&bytes).is_err(), "program headers beyond the end");
        let mut bytes = whole();
        let at = u64::from_le_bytes(bytes[32..40].try_into().unwrap()) as usize;
        let load = (0..)
            .map(|n| at + n * 56)
            .find(|at| bytes[*at..at + 4] == PT_LOAD.to_le_bytes())
            .unwrap();
        bytes[load + 32..load + 40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(
            inspect(&bytes).unwrap_err().to_string().contains("cut off"),
            "a segment longer than the file"
        );
    }
}
