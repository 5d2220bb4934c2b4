//! CPU time and memory of this process, medians, and the table and JSON line that a program ends
//! with.

use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// User and system time of this process so far, all its threads, ended ones too; in steps of 10 ms.
#[must_use]
pub fn cpu() -> Duration {
    cpu_of("self")
}

/// As [`cpu`], of another process, by its id.
#[must_use]
pub fn cpu_of(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // the name, in brackets, may hold blanks; user and system time are the 12th and 13th field
    // after it
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// CPU time of the calling thread, user and kernel: for parts that are short.
#[must_use]
pub fn cpu_of_thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// As a number.
#[must_use]
pub fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

/// Resident bytes of this process that belong to no file.
#[must_use]
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// The middle one (of an even number, the upper of the two); 0 of none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that `share` of all do not exceed; 0 of none.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let place = (values.len() as f64 * share) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// `median [least..most]`.
#[must_use]
pub fn spread(values: &[f64], digits: usize) -> String {
    let (least, most) = (quantile(values, 0.0), quantile(values, 1.0));
    format!("{:.digits$} [{least:.digits$}..{most:.digits$}]", median(values))
}

/// Prints the table and, below it, the line.
#[allow(clippy::print_stdout)] // what a measurement program is for
pub fn print(header: &[&str], rows: &[Vec<String>], line: &Value) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN).set_header(header).add_rows(rows);
    println!("{table}\n{line}");
}

/// Copies a folder with all that is in it.
///
/// # Errors
/// What the system says.
pub fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (entry, to) = (entry?, to);
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?
        } else {
            std::fs::copy(entry.path(), to).map(drop)?
        }
    }
    Ok(())
}
