//! The private copies of plugin files as a whole: which may go, and what those that are loaded take
//! of the address space.
//!
//! A copy is needed on disk only by a start that loads it; what is loaded stays in memory without
//! its name. The disk gives its blocks back when the process ends.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// Removes the copies whose content is not among `needed`, and what an interrupted copy left.
/// Nothing else in the folder is touched.
///
/// # Errors
/// What the system says of the first that could not be removed; the others are gone.
pub fn sweep(private: &Path, needed: &BTreeSet<String>) -> io::Result<()> {
    let entries = match fs::read_dir(private) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let mut outcome = Ok(());
    for entry in entries {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((content, end)) = name.split_once('.') else { continue };
        let ours = content.len() == 64 && content.bytes().all(|byte| byte.is_ascii_hexdigit());
        if ours && (end == "so" && !needed.contains(content) || end.ends_with(".tmp")) {
            outcome = outcome.and(fs::remove_file(&file));
        }
    }
    outcome
}

/// Number and bytes of the mappings of private copies in this process; zeros where the system does
/// not tell.
#[must_use]
pub fn mapped(private: &Path) -> (u64, u64) {
    let Ok(private) = private.canonicalize() else { return (0, 0) };
    let folder = format!("{}/", private.display());
    sum(&fs::read_to_string("/proc/self/maps").unwrap_or_default(), &folder)
}

fn sum(maps: &str, folder: &str) -> (u64, u64) {
    let length = |line: &str| {
        let (from, to) = line.split_once(' ')?.0.split_once('-')?;
        u64::from_str_radix(to, 16).ok()?.checked_sub(u64::from_str_radix(from, 16).ok()?)
    };
    let lines = maps.lines().filter(|line| line.contains(folder));
    lines
        .filter_map(length)
        .fold((0, 0), |(mappings, bytes), length| (mappings + 1, bytes + length))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that cannot make its files has failed
mod tests {
    use super::*;

    #[test]
    fn copies_that_nobody_needs_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let [needed, old, broken] = ["a", "b", "c"].map(|digit| digit.repeat(64));
        let names = [
            format!("{needed}.so"),
            format!("{old}.so"),
            format!("{broken}.7.tmp"),
            "answering.json".into(),
            "answering.json.new".into(),
            "own.so".into(),
        ];
        for name in &names {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        sweep(folder.path(), &[needed.clone()].into()).unwrap();
        let left = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: BTreeSet<String> = left.collect();
        assert_eq!(left, [&names[0], &names[3], &names[4], &names[5]].map(Clone::clone).into());
        sweep(&folder.path().join("absent"), &BTreeSet::new()).unwrap();
    }

    #[test]
    fn mappings_of_the_folder_add_up() {
        let maps = "7f00-7f10 r--p 00000000 08:01 1 /d/plugins/aa.so\n7f10-7f30 r-xp 00000000 08:01 1 /d/plugins/aa.so (deleted)\n\
                    8000-9000 r--p 00000000 08:01 2 /lib/libc.so\n9000-9100 rw-p 00000000 00:00 0\n";
        assert_eq!(sum(maps, "/d/plugins/"), (2, 0x30));
        assert_eq!(sum("", "/d/plugins/"), (0, 0));
    }
}
