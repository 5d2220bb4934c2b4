//! A small disk that can be filled: a file system in memory, mounted until dropped. Needs the right
//! to mount (root).

use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A file system in memory.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts it on a folder, which is made. `size` as `mount` takes it: `size=200m`.
    ///
    /// # Errors
    /// It cannot be mounted.
    pub fn mount(at: PathBuf, size: &str) -> Result<Disk> {
        fs::create_dir_all(&at)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("{size},mode=0755"), "tmpfs"])
            .arg(&at)
            .status()?;
        ensure!(mounted.success(), "a small disk cannot be mounted: run the tests as root");
        Ok(Disk(at))
    }

    /// Leaves so many MB free.
    ///
    /// # Errors
    /// It cannot be filled.
    pub fn fill(&self, free: u64) -> Result<()> {
        let filler = fs::File::create(self.0.join("filler"))?;
        for _ in 0..100 {
            let stat = rustix::fs::statvfs(&self.0)?;
            let room = (stat.f_bavail * stat.f_frsize)
                .checked_sub(free << 20)
                .context("less is free already")?;
            match rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, room) {
                // Somebody wrote meanwhile.
                Err(fault) if fault == rustix::io::Errno::NOSPC => {}
                done => return Ok(done?),
            }
        }
        bail!("the disk fills as fast by itself")
    }

    /// Undoes `fill`.
    ///
    /// # Errors
    /// It was not filled.
    pub fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.0.join("filler"))?)
    }
}

/// Lets a process write files of so many bytes at most, from now on; `None`: of any size.
///
/// # Errors
/// It is not this user's to say.
pub fn limit_files(pid: u32, bytes: Option<u64>) -> Result<()> {
    let limit = bytes.map_or("unlimited".to_owned(), |bytes| format!("{bytes}:unlimited"));
    let set = Command::new("prlimit")
        .args([&format!("--fsize={limit}"), "--pid", &pid.to_string()])
        .status()?;
    ensure!(set.success(), "prlimit (util-linux) does not set a limit");
    Ok(())
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that is being ended may still hold it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
