//! `tally config show` and `tally config check`.

use super::args::{Config, ConfigCommand, ConfigFile};
use super::{Failure, output, settings};
use crate::boards::{BoardList, Boards, RefusedBoard};
use serde_json::json;
use tally_engine::config::fault::{ConfigError, Fault, Place};
use tally_engine::config::load::Loaded;
use tally_engine::engine::judge_sections;
use tempfile::TempDir;

pub(crate) fn run(args: &Config) -> Result<(), Failure> {
    match &args.command {
        ConfigCommand::Show { config, json } => show(config, *json),
        ConfigCommand::Check { config } => check(config),
    }
}

fn show(config: &ConfigFile, json: bool) -> Result<(), Failure> {
    let loaded = settings::read_with_sections(config)?;
    let settings = loaded.settings();
    if json {
        let listed: Vec<_> = settings
            .iter()
            .map(|setting| {
                let value =
                    setting.value.as_ref().map_or_else(|| json!("***"), |value| json!(value));
                json!({"key": setting.key, "value": value, "origin": origin(&setting.origin)})
            })
            .collect();
        output::data(&json!({ "settings": listed }).to_string());
        return Ok(());
    }
    let lines: Vec<(String, String)> = settings
        .iter()
        .map(|setting| {
            let value = setting.value.as_ref().map_or_else(|| "***".into(), ToString::to_string);
            (format!("{} = {value}", setting.key), origin(&setting.origin))
        })
        .collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(60);
    for (line, origin) in lines {
        output::data(&format!("{line:<width$}   ({origin})"));
    }
    Ok(())
}

fn origin(place: &Place) -> String {
    match place {
        Place::Default => "default".into(),
        Place::File(file) => format!("file {}", output::tame(&file.to_string_lossy())),
        Place::Spot { file, line, .. } => {
            format!("file {}:{line}", output::tame(&file.to_string_lossy()))
        }
        Place::Env(name) => format!("env {name}"),
        Place::Flag(_) => "flag".into(),
    }
}

fn check(config: &ConfigFile) -> Result<(), Failure> {
    let loaded = settings::read_with_sections(config)?;
    let folder = TempDir::with_prefix("tally-check-").map_err(|fault| {
        Failure::Failed(format!("cannot create a temporary folder for copies of plugins: {fault}"))
    })?;
    let (mut faults, files) =
        judge_sections(&loaded, &settings::plugin_dirs(&loaded.config), folder.path());
    faults.extend(judge_boards(&loaded));
    files.iter().for_each(|file| output::note(&format!("note: refused: {file}")));
    if let Some(error) = ConfigError::listing(faults) {
        return Err(error.into());
    }
    if !loaded.config.export.prometheus.is_empty() {
        output::note(
            "note: whether `rows`, `value` and `labels` of an export lead to something is known once \
             its metric has answered: then tally_export_up and tally_export_left_out in /metrics say \
             so, and the log why",
        );
    }
    output::data(&summary(&loaded));
    Ok(())
}

/// What is wrong with the boards of the folder that the configuration names.
fn judge_boards(loaded: &Loaded) -> Vec<Fault> {
    let BoardList { rejected, .. } = Boards::of(&loaded.config.server.boards).list();
    let fault =
        |RefusedBoard { file, reason }| loaded.fault("server.boards", format!("{file} {reason}"));
    rejected.into_iter().map(fault).collect()
}

fn summary(loaded: &Loaded) -> String {
    let file = loaded.file.as_ref().map_or_else(
        || "no metrics.toml: built-in defaults".into(),
        |file| file.display().to_string(),
    );
    let settings = loaded.settings();
    let count = |wanted: &dyn Fn(&Place) -> bool| {
        settings.iter().filter(|setting| wanted(&setting.origin)).count()
    };
    let read = loaded.file.as_ref();
    let set = count(
        &|place| matches!(place, Place::Spot { file, .. } if read.is_some_and(|read| read == file)),
    );
    let env = count(&|place| matches!(place, Place::Env(_)));
    let added = match loaded.count_added() {
        0 => String::new(),
        count => format!(", {count} sections in the data directory"),
    };
    format!("ok  {file}: {set} settings, {env} from the environment{added}")
}
