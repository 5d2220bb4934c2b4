//! What the system says of disk and memory: asked by a thread that may wait for it, and read by
//! threads that must not.

use crate::database::Database;
use crate::host;
use std::path::Path;

/// The latest answers of the system. Asking may wait for a disk, which threads that answer
/// questions must not.
#[derive(Clone, Debug, Default)]
pub(super) struct SystemReport {
    /// Why the database takes no writes, if it takes none.
    pub(super) unwritable: Option<String>,
    /// Mappings of plugin copies, and their bytes.
    pub(super) mapped: (u64, u64),
}

impl SystemReport {
    /// Asks the system.
    pub(super) fn ask(database: &Database, private: &Path) -> SystemReport {
        let unwritable = database.writable().err().map(|fault| fault.to_string());
        SystemReport { unwritable, mapped: host::mapped(private) }
    }
}
