//! The list of contents that may be loaded: `SHA256SUMS` in a plugin folder, as `sha256sum *.so`
//! writes it.
//!
//! It is looked at before a file is loaded, since the first thing that loading does is to run code
//! of the file. The list is trusted as little as a plugin file: whoever may write to it may say
//! what runs.

use super::plugin_file;
use super::refusal::{LoadError, LoadErrorKind};
use std::path::Path;
use tally_config::Checksums;

/// The file that holds the list.
pub(super) const LIST: &str = "SHA256SUMS";

/// Whether a content may be loaded under this name. `Ok(Some(…))`: it may, with a warning.
///
/// # Errors
/// [`LoadErrorKind::Untrusted`].
pub(super) fn allowed(
    policy: Checksums,
    file: &Path,
    sha256: &str,
) -> Result<Option<LoadError>, LoadError> {
    if policy == Checksums::Off {
        return Ok(None);
    }
    match listed(file, sha256) {
        Ok(()) => Ok(None),
        Err(fault) if policy == Checksums::Warn => Ok(Some(fault)),
        Err(fault) => Err(fault),
    }
}

fn listed(file: &Path, sha256: &str) -> Result<(), LoadError> {
    let untrusted = |what: String, fix: &str| LoadError::new(LoadErrorKind::Untrusted, what, fix);
    let list = file.with_file_name(LIST);
    if !list.exists() {
        let fix = format!("sha256sum *.so > {LIST}");
        return Err(untrusted(format!("is in no list: {} does not exist", list.display()), &fix));
    }
    let read = plugin_file::read_list(&list);
    let read = read.map_err(|fault| {
        untrusted(format!("cannot be compared: {LIST} {}", fault.what), &fault.fix)
    })?;
    if read.group_writable {
        return Err(untrusted(
            format!("cannot be compared: {LIST} can be written by its group"),
            "chmod g-w it",
        ));
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let text = String::from_utf8_lossy(&read.bytes);
    let mut named = false;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        // HASH, a space, a space or the star of binary mode, NAME.
        let (hash, rest) = line.split_once(' ').unwrap_or((line, ""));
        let of = rest.strip_prefix(['*', ' ']).unwrap_or(rest).trim_start_matches("./");
        if of != name {
            continue;
        }
        if hash.eq_ignore_ascii_case(sha256) {
            return Ok(());
        }
        named = true;
    }
    let what = match named {
        true => format!("is another content than the one in {LIST}: it has sha256 {sha256}"),
        false => format!("is not in {LIST}: it has sha256 {sha256}"),
    };
    Err(untrusted(what, "put that there if you trust it"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that cannot make its files has failed
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_what_is_listed_under_its_name_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, list) = (folder.path().join("a.so"), folder.path().join(LIST));
        let (hash, other) = ("ab".repeat(32), "cd".repeat(32));
        let enforced = || allowed(Checksums::Enforce, &file, &hash);
        assert!(enforced().unwrap_err().to_string().contains("is in no list"));
        assert_eq!(allowed(Checksums::Off, &file, &hash), Ok(None));
        let write = |text: String, mode| {
            fs::write(&list, text).unwrap();
            fs::set_permissions(&list, fs::Permissions::from_mode(mode)).unwrap();
        };
        for good in [
            format!("{hash}  a.so\n"),
            format!("# ours\n\n{other}  a.so\n{hash} *a.so\n"),
            format!("{}  ./a.so", hash.to_uppercase()),
        ] {
            write(good.clone(), 0o644);
            assert_eq!(enforced(), Ok(None), "{good}");
        }
        for (bad, words) in [
            (
                format!("{other}  a.so\n"),
                "is another content than the one in SHA256SUMS: it has sha256 abab",
            ),
            (format!("{hash}  b.so\n"), "is not in SHA256SUMS"),
            (format!("{hash}\n"), "is not in SHA256SUMS"),
            (String::new(), "is not in SHA256SUMS"),
        ] {
            write(bad.clone(), 0o644);
            assert!(enforced().unwrap_err().to_string().contains(words), "{bad}");
            assert!(
                allowed(Checksums::Warn, &file, &hash)
                    .unwrap()
                    .unwrap()
                    .to_string()
                    .contains(words),
                "{bad}"
            );
        }
        for mode in [0o666, 0o664] {
            write(format!("{hash}  a.so\n"), mode);
            assert!(
                enforced()
                    .unwrap_err()
                    .to_string()
                    .contains("cannot be compared: SHA256SUMS can be written by")
            );
        }
    }
}
