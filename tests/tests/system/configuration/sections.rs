//! Sections `[metrics.NAME]` that no engine would serve: `config check` points at the line, the
//! engine says so where the metric is asked for. And exports that no metric would answer.

use super::{ending, texts};
use serde_json::json;
use std::fs;
use tally_tests::tally::Home;

/// The section, the line at which it is wrong, words of the advice.
#[rustfmt::skip]
const WRONG: &[(&str, usize, &str)] = &[
    ("plugin = \"cuonts\"", 2, "did you mean counts?"),
    ("plugin = \"nothing_like_it\"", 2, "put its file into the plugin folder"),
    ("plugin = \"counts\"\nconfig.cells = { n = { avg = \"/price\" } }", 3, "must be one of \"count\", { sum = … }, { min = … }"),
    ("plugin = \"counts\"\nconfig.cells = { n = { sum = \"price\" } }", 3, "nor a JSON pointer such as \"/brand\""),
    ("plugin = \"counts\"\nconfig.by = [\"/a\", \"/b\", \"/c\", \"/d\"]\nconfig.cells = { n = \"count\" }", 3, "/by: "),
    ("plugin = \"counts\"\nconfig.only = \"buy\"\nconfig.cells = { n = \"count\" }", 3, "/only: "),
    ("plugin = \"counts\"\nconfig.types = { \"/price\" = \"decimal\" }\nconfig.cells = { n = { sum = \"/price\" } }", 3, "{ decimal = … }"),
    ("plugin = \"counts\"\nconfig.tiers = [\"5m\"]\nconfig.cells = { n = \"count\" }", 3, "/tiers/0: "),
    ("plugin = \"counts\"\nconfig.quantiles = [95]\nconfig.cells = { n = { quantiles = \"/ms\" } }", 3, "/quantiles/0: "),
    ("plugin = \"counts\"\nconfig.cells = {}", 3, "/cells: "),
    ("plugin = \"counts\"\nconfig.by = [\"/brand\"]", 3, "\"cells\" is missing"),
    ("plugin = \"counts\"\nconfig.by = [\"/price\"]\nconfig.types = { \"/price\" = { decimal = 2 } }\nconfig.cells = { n = \"count\" }", 3, "the property \"/price\", read as a decimal with 2 digits cannot be used in a key"),
    ("plugin = \"counts\"\nconfig.types = { \"/w\" = \"float\" }\nconfig.cells = { n = { sum = \"/w\" } }", 3, "a float has no exact sum: read it as a decimal"),
    ("plugin = \"counts\"\nconfig.by = [\"/a/id\", \"/b/id\"]\nconfig.cells = { n = \"count\" }", 3, "has no name of its own"),
    ("plugin = \"counts\"\nconfig.cells = { n = { sum = \"user_id\" } }", 3, "an id can be counted distinct"),
    ("plugin = \"counts\"\nconfig.celsl = { n = \"count\" }\nconfig.cells = { n = \"count\" }", 3, "did you mean `cells`?"),
    ("plugin = \"event_frequencies\"\nretention = { 1m = \"all\" }", 3, "kept as long as its"),
    ("plugin = \"event_frequencies\"\nconfig = { depth = 3 }", 3, "unknown key \"depth\""),
];

#[test]
fn check_points_at_the_line_and_the_404_says_why() {
    assert_eq!(WRONG.len(), 18);
    let mut wrong = Vec::new();
    let mut all = String::new();
    for (n, (section, line, words)) in WRONG.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("[metrics.m{n}]\n{section}\n");
        fs::write(folder.path().join("metrics.toml"), &text).unwrap();
        all += &text;
        let output = ending(folder.path(), &["config", "check"], &[]);
        let told = texts(&output);
        let first = told.lines().next().unwrap_or_default().to_owned();
        let right = output.status.code() == Some(78)
            && first.starts_with(&format!("error: metrics.toml:{line}:"))
            && first.contains(words)
            && !first.contains("fix the plugin")
            && !first.contains("\"p0\"");
        if !right {
            wrong.push(format!(
                "{section}\n  at {line} with {words:?} gave {:?}\n{told}",
                output.status.code()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));

    let home = Home::new(&all).unwrap();
    let tally = home.start().unwrap();
    let listing = tally.client.get("/api/metrics").unwrap().json();
    for (n, (_, _, words)) in WRONG.iter().enumerate() {
        let asked = tally.client.evaluate(&json!({"name": format!("m{n}"), "params": {}})).unwrap();
        let one = tally.client.get(&format!("/api/metrics/m{n}")).unwrap();
        let versions = tally.client.get(&format!("/api/metrics/m{n}/versions")).unwrap();
        for answer in [asked, one, versions] {
            assert_eq!(answer.status, 404, "{}", answer.text);
            let detail = answer.json()["detail"].as_str().unwrap().to_owned();
            assert!(
                detail.starts_with(&format!("[metrics.m{n}] was refused: "))
                    && detail.contains(words),
                "{detail}"
            );
        }
        let file = format!("[metrics.m{n}]");
        let rejected = listing["rejected"].as_array().unwrap();
        assert!(
            rejected.iter().any(|rejected| rejected["file"] == file.as_str()),
            "{file} is not in {listing}"
        );
    }
    let unknown = tally.client.evaluate(&json!({"name": "nothing", "params": {}})).unwrap();
    assert!(unknown.text.contains("unknown metric"), "{}", unknown.text);
    tally.stop().unwrap();
}

#[test]
fn sections_that_are_right_pass_and_plugins_that_are_no_good_are_only_noted() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("plugins")).unwrap();
    fs::write(folder.path().join("plugins/bad.so"), "no plugin").unwrap();
    let text = "[metrics.sales]\nplugin = \"counts\"\nhistory = \"90s\"\nkeep_old = \"45s\"\nconfig.by = [\"/brand\"]\nconfig.cells = { n = \"count\" }\n\
                [log]\nretention = \"90s\"\n";
    fs::write(folder.path().join("metrics.toml"), text).unwrap();
    let output = ending(folder.path(), &["config", "check"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output));
    assert!(
        texts(&output).contains("note: refused: ")
            && texts(&output).contains("bad.so is not a shared object"),
        "{}",
        texts(&output)
    );
    // The same grammar of lengths of time is read by the log and by the plugins.
    let home = Home::new(text).unwrap();
    let tally = home.start().unwrap();
    assert_eq!(tally.client.get("/api/metrics/sales").unwrap().status, 200);
    tally.stop().unwrap();
}

/// The section of an export, the line at which it is wrong, what is told.
#[rustfmt::skip]
const EXPORTS: &[(&str, usize, &str)] = &[
    ("metric = \"event_frequency\"", 2, "export.prometheus.x.metric: no metric has the name \"event_frequency\" (did you mean event_frequencies?)"),
    ("metric = \"nothing_like_it\"", 2, "export.prometheus.x.metric: no metric has the name \"nothing_like_it\" (add a section [metrics.NAME] or the plugin's file)"),
    ("metric = \"off\"\n[metrics.off]\nplugin = \"event_frequencies\"\nenabled = false", 2, "export.prometheus.x.metric: off is not served: [metrics.off] says enabled = false"),
    ("metric = \"event_frequencies\"\nparams = 7", 3, "export.prometheus.x.params"),
    ("metric = \"event_frequencies\"\nparams = { window = \"1y\" }", 3, "export.prometheus.x.params.window: \"1y\" does not fit: a number and m, h, d or w, such as 2h, or all"),
    ("metric = \"event_frequencies\"\nparams = { window = \"1h\", from = 0 }", 3, "export.prometheus.x.params.window: give either window or from, not both"),
    ("metric = \"products_popularity\"\nparams = { limit = 0 }", 3, "export.prometheus.x.params.limit: 0 is less than the minimum of 1"),
    ("metric = \"products_popularity\"\nparams = { windw = \"1h\" }", 3, "export.prometheus.x.params.windw: windw is not a param of this metric"),
    ("metric = \"products_popularity\"\nparams = { password = \"hushhush\" }", 3, "export.prometheus.x.params.password: the value does not fit"),
    ("metric = \"user_activities\"", 1, "export.prometheus.x.params.user_id: user_id is missing"),
];

#[test]
fn exports_that_no_metric_would_answer_are_told_with_their_line() {
    let mut wrong = Vec::new();
    for (section, line, words) in EXPORTS {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("[export.prometheus.x]\n{section}\n");
        fs::write(folder.path().join("metrics.toml"), text).unwrap();
        let output = ending(folder.path(), &["config", "check"], &[]);
        let told = texts(&output);
        let first = told.lines().next().unwrap_or_default();
        let right = output.status.code() == Some(78)
            && first.starts_with(&format!("error: metrics.toml:{line}:"))
            && first.contains(words)
            && !told.contains("hushhush");
        if !right {
            wrong.push(format!("{section}\n  at {line} with {words:?} gave\n{told}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn of_exports_that_are_right_it_is_said_what_only_an_answer_shows() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[export.prometheus.x]\nmetric = \"n\"\nparams = { window = \"1h\" }\n\
                [export.prometheus.y]\nmetric = \"products_popularity\"\nparams = { limit = 5.0 }\n\
                rows = \"/products\"\nlabels = { product = \"/product_id\" }\n\
                [metrics.n]\nplugin = \"event_frequencies\"\n";
    fs::write(folder.path().join("metrics.toml"), text).unwrap();
    let output = ending(folder.path(), &["config", "check"], &[]);
    let told = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("is known once its metric has answered"), "{told}");
    fs::write(folder.path().join("metrics.toml"), "").unwrap();
    let output = ending(folder.path(), &["config", "check"], &[]);
    assert!(!texts(&output).contains("export"), "{}", texts(&output));
}
