//! `tally import`: names of users and products from a CSV file.

use super::args::{Import, What};
use super::output::{data, note, tame, thousands};
use super::{Failure, settings, start};
use serde_json::json;
use tally_engine::files;

pub(crate) fn run(args: &Import) -> Result<(), Failure> {
    let config = settings::read(&args.config, None, args.data_dir.as_deref())?.config;
    let name = tame(&args.file.to_string_lossy());
    let file =
        files::open(&args.file).map_err(|fault| Failure::Failed(format!("{name} {fault}")))?;
    let report = start::import(args.what, file, &config)?;
    for warning in &report.warnings {
        note(&format!("warning: {name}: {}", tame(warning)));
    }
    for (line, reason) in &report.faults {
        note(&format!("error: {name}:{line}: {}", tame(reason)));
    }
    let what = match args.what {
        What::Users => "users",
        What::Products => "products",
    };
    let start::Imported { inserted, updated, unchanged, refused, .. } = report;
    if args.json {
        data(&json!({"what": what, "inserted": inserted, "updated": updated, "unchanged": unchanged, "refused": refused}).to_string());
    } else {
        let [inserted, updated, unchanged, refused] =
            [inserted, updated, unchanged, refused].map(thousands);
        data(&format!(
            "{what}: {inserted} new · {updated} changed · {unchanged} unchanged · {refused} refused"
        ));
    }
    if refused > 0 { Err(Failure::Reported) } else { Ok(()) }
}
