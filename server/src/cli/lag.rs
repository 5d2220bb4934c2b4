//! `tally lag`: how far each partition is counted, and what is not counted yet, from `/api/status`.
//!
//! What the log holds is as of the last time the engine asked it, which is some seconds ago at
//! most. Exit code 0 whatever the lag is; 1 if the engine does not answer, or does not know its
//! partitions yet.

use super::Failure;
use super::engine_args::Lag;
use super::output::{data, note, thousands};
use super::query::{ask, lines, text};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

pub(crate) fn run(args: &Lag) -> Result<(), Failure> {
    let client = args.engine.client()?;
    let status = ask(async { client.get("/api/status").await })?;
    if partitions(&status).is_empty() {
        return Err(Failure::Failed(
            "the engine does not know its partitions yet; /readyz?verbose says why if this lasts"
                .into(),
        ));
    }
    if args.json {
        let [as_of, log, partitions, lag] =
            ["as_of", "log", "partitions", "lag"].map(|key| &status[key]);
        let shown = json!({"as_of": as_of, "log": log, "partitions": partitions, "lag": lag});
        data(&shown.to_string());
        return Ok(());
    }
    data(&table(&status));
    for stalled in partitions(&status).iter().filter(|one| one["stalled"] == true) {
        note(&format!(
            "note: partition {} delivered nothing although the log has more, and was restarted",
            stalled["partition"]
        ));
    }
    Ok(())
}

/// The partitions in a status.
fn partitions(status: &Value) -> &[Value] {
    status.get("partitions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn table(status: &Value) -> String {
    let number = |of: &Value, key: &str| of.get(key).and_then(Value::as_u64);
    // What is not known is not zero.
    let shown = |number: Option<u64>| number.map_or_else(|| "-".into(), thousands);
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "PARTITION",
        "OWNER",
        "POSITION",
        "END",
        "LAG",
        "OPEN",
    ]);
    for partition in partitions(status) {
        let position = text(partition, "position");
        let offset = position.split_once(':').map_or("-", |(_, offset)| offset);
        let owner = Some(text(partition, "owner")).filter(|owner| !owner.is_empty());
        table.add_row([
            number(partition, "partition").unwrap_or_default().to_string(),
            owner.unwrap_or_else(|| "-".into()),
            offset.to_owned(),
            number(partition, "end").unwrap_or_default().to_string(),
            shown(number(partition, "lag")),
            shown(number(partition, "open")),
        ]);
    }
    let sum = |key: &str| shown(status.get("lag").and_then(|lag| number(lag, key)));
    let none = String::new;
    table.add_row(["total".to_owned(), none(), none(), none(), sum("records"), sum("open")]);
    lines(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_a_line_and_what_is_unknown_is_not_zero() {
        let status = json!({
            "partitions": [
                {"partition": 0, "owner": "this", "position": "0:1204", "start": 3, "end": 2_604, "lag": 1_400, "open": 2},
                {"partition": 1, "owner": "other", "start": 0, "end": 7, "open": 0},
                {"partition": 2, "start": 0, "end": 0, "open": 0},
            ],
            "lag": {"records": 1_400, "open": 2},
        });
        let table = table(&status);
        let rows: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            rows,
            [
                vec!["PARTITION", "OWNER", "POSITION", "END", "LAG", "OPEN"],
                vec!["0", "this", "1204", "2604", "1,400", "2"],
                vec!["1", "other", "-", "7", "-", "0"],
                vec!["2", "-", "-", "0", "-", "0"],
                vec!["total", "1,400", "2"],
            ]
        );
    }
}
