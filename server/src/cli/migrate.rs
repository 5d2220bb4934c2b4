//! `tally migrate`: creates and changes the catalogue's tables as this version needs them.

use super::args::Migrate;
use super::output::data;
use super::{Failure, settings, start};

pub(crate) fn run(args: &Migrate) -> Result<(), Failure> {
    let config = settings::read(&args.config, None, args.data_dir.as_deref())?.config;
    let start::Migrated { place, migrations } = start::migrate(&config, args.dry_run)?;
    let word = if args.dry_run { "pending" } else { "applied" };
    for migration in &migrations {
        data(&format!("{word}  {migration}"));
    }
    if migrations.is_empty() {
        data(&format!("nothing to apply: {place} is up to date"));
    }
    Ok(())
}
