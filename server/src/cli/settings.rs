//! Makes the configuration from file, environment and arguments.

use super::args::ConfigFile;
use super::{Failure, output};
use crate::catalogue::postgres;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tally_engine::config::fault::ConfigError;
use tally_engine::config::load::{FileChoice, Flag, Inputs, Loaded, load};
use tally_engine::config::{Config, SECTIONS_FILE, Sections};
use tally_engine::engine;
use tally_engine::files::{self, ReadError};

/// The file that is read if none is named.
pub(super) const USUAL_FILE: &str = "metrics.toml";

/// Reads file and environment, with flags on top.
pub(crate) fn read(
    file: &ConfigFile,
    listen: Option<SocketAddr>,
    data_dir: Option<&Path>,
) -> Result<Loaded, Failure> {
    let file = match &file.file {
        Some(file) => FileChoice::Given(file.clone()),
        None => FileChoice::IfPresent(USUAL_FILE.into()),
    };
    let loaded = load(Inputs {
        file,
        env: &|name| std::env::var(name).ok(),
        flags: flags(listen, data_dir)?,
    })?;
    loaded.ignored.iter().for_each(|line| output::note(&format!("note: {line}")));
    judge(loaded)
}

/// As [`read`], with the sections that stand in the data directory, if this user may read it.
pub(crate) fn read_with_sections(file: &ConfigFile) -> Result<Loaded, Failure> {
    let mut loaded = read(file, None, None)?;
    let path = loaded.config.store.data_dir.join(SECTIONS_FILE);
    let place = path.display().to_string();
    if let Err(ReadError::Io(fault)) = files::open(&path)
        && fault.kind() == ErrorKind::PermissionDenied
    {
        output::note(&output::tame(&format!(
            "note: {place} belongs to another user, so the sections in it are left out"
        )));
        return Ok(loaded);
    }
    let sections = Sections::open(&loaded.config.store.data_dir)?;
    sections.judge_beside(&loaded.config.metrics)?;
    for name in loaded.add_sections(sections) {
        output::note(&output::tame(&format!(
            "note: {place}: [metrics.{name}] is not used: the configuration file has one, too"
        )));
    }
    Ok(loaded)
}

/// Everything that a start would refuse of a configuration, found by the same code: every command
/// that reads one asks here.
fn judge(loaded: Loaded) -> Result<Loaded, Failure> {
    let mut faults = engine::judge(&loaded);
    let url = loaded.config.catalogue.postgres_url.reveal();
    if !url.is_empty()
        && let Err(fault) = postgres::Settings::parse(url)
    {
        faults.push(loaded.fault("catalogue.postgres_url", fault.to_string()));
    }
    match ConfigError::listing(faults) {
        None => Ok(loaded),
        Some(error) => Err(error.into()),
    }
}

/// The file whose changes are applied; it may appear later.
pub(crate) fn watched(file: &ConfigFile, loaded: &Loaded) -> engine::ConfigFile {
    let path = file.file.clone().unwrap_or_else(|| USUAL_FILE.into());
    engine::ConfigFile { path, stamp: loaded.stamp }
}

/// The defaults with flags on top, without file and environment.
pub(crate) fn defaults(
    listen: Option<SocketAddr>,
    data_dir: Option<&Path>,
) -> Result<Config, Failure> {
    let inputs =
        Inputs { file: FileChoice::Nothing, env: &|_| None, flags: flags(listen, data_dir)? };
    Ok(load(inputs)?.config)
}

fn flags(listen: Option<SocketAddr>, data_dir: Option<&Path>) -> Result<Vec<Flag>, Failure> {
    let mut flags = Vec::new();
    if let Some(listen) = listen {
        flags.push(Flag { flag: "--listen", key: "server.listen", value: listen.to_string() });
    }
    if let Some(data_dir) = data_dir {
        let value = data_dir.to_str().ok_or_else(|| {
            Failure::Usage(format!("--data-dir {} is not UTF-8", data_dir.display()))
        })?;
        flags.push(Flag { flag: "--data-dir", key: "store.data_dir", value: value.into() });
    }
    Ok(flags)
}

/// The folders of plugin files: the configured one, then the one beside this binary.
pub(crate) fn plugin_dirs(config: &Config) -> Vec<PathBuf> {
    let mut dirs = vec![config.plugins.dir.clone()];
    if let Some(beside) =
        std::env::current_exe().ok().and_then(|binary| binary.parent().map(Path::to_owned))
    {
        dirs.push(beside);
    }
    dirs
}
