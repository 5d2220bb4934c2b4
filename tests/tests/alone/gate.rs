//! Everything that may land in a plugin folder: what is no good is refused with one sentence, what
//! fails is contained, and counting goes on.

use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tally_tests::client::Client;
use tally_tests::corpus::{self, Fate, Specimen};
use tally_tests::tally::{Home, Tally, plugin};

const CONFIG: &str = r#"
[log]
partitions = 1
[plugins]
dir = "plugins"
[server]
evaluation_deadline_ms = 10000
"#;

/// A home with a folder of plugins, in which `event_frequencies` lies.
fn home(config: &str) -> (Home, PathBuf) {
    let home = Home::new(&format!("{CONFIG}{config}")).unwrap();
    let folder = home.path().join("plugins");
    fs::create_dir(&folder).unwrap();
    fs::copy(plugin("event_frequencies").unwrap(), folder.join("event_frequencies.so")).unwrap();
    (home, folder)
}

fn line(n: u64) -> String {
    json!({"event_id": n.to_string(), "user_id": n % 7, "product_id": n % 5, "event_type": "view"})
        .to_string()
        + "\n"
}

/// Posts events and sees each of them counted; how many there are now.
fn count_on(tally: &Tally, before: u64, how_many: u64) -> u64 {
    for n in before..before + how_many {
        let position = tally.client.post_all(&line(n)).unwrap();
        let counted = tally.client.ask("event_frequencies", &json!({}), &position).unwrap();
        assert_eq!(counted["total"], n + 1);
    }
    before + how_many
}

/// How counting went while something else happened.
struct Watched {
    /// Events there are now.
    counted: u64,
    /// How long each step took, from the post of some events to the answer that has them.
    steps: Vec<Duration>,
}

/// Steps that show how long one takes when nothing else happens.
const ALONE: usize = 300;

/// Posts events and sees them counted, step by step, for as long as `goes_on` says so of the number
/// of steps.
fn count_steps(tally: &Tally, before: u64, goes_on: impl Fn(usize) -> bool) -> Watched {
    let client = Client::new(tally.address).unwrap();
    let (mut counted, mut steps) = (before, Vec::new());
    while goes_on(steps.len()) {
        let step = Instant::now();
        let lines: String = (counted..counted + 20).map(line).collect();
        let position = client.post_all(&lines).unwrap();
        counted += 20;
        assert_eq!(
            client.ask("event_frequencies", &json!({}), &position).unwrap()["total"],
            counted
        );
        steps.push(step.elapsed());
    }
    Watched { counted, steps }
}

/// While nothing else happens.
fn alone(tally: &Tally, before: u64) -> Watched {
    count_steps(tally, before, |steps| steps < ALONE)
}

/// Does `work` while events are posted, and each is seen to be counted, in a thread of its own.
fn watched<T>(tally: &Tally, before: u64, work: impl FnOnce() -> T) -> (T, Watched) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let counting =
            scope.spawn(|| count_steps(tally, before, |_| !done.load(Ordering::Relaxed)));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let watched = counting.join().unwrap();
        (outcome.unwrap_or_else(|fault| std::panic::resume_unwind(fault)), watched)
    })
}

/// Whether counting went on as when it was alone. Files are loaded and failing batches are searched
/// meanwhile, and other programs may take the cores: all of that makes each step slower by some
/// factor. Counting that waits for any of it makes some steps long.
fn went_on(alone: &[Duration], during: &[Duration]) -> Result<(), String> {
    let median = |steps: &[Duration]| {
        let mut sorted = steps.to_vec();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    };
    let (usual, now, longest) =
        (median(alone), median(during), during.iter().max().copied().unwrap_or_default());
    // A step of an idle machine is short, and one more turn of another program is many times that.
    let slow = usual.max(Duration::from_millis(5)) * 8;
    let all: Duration = during.iter().sum();
    let waited: Duration = during.iter().filter(|step| **step > slow * 2).sum();
    let figures = format!(
        "{} steps, each {now:?}, alone {usual:?}; the longest {longest:?}; {waited:?} of {all:?} in those over {:?}",
        during.len(),
        slow * 2
    );
    let complaint = if during.is_empty() {
        "nothing was counted"
    } else if longest > Duration::from_secs(1) {
        "counting stopped"
    } else if now > slow {
        "counting is slow"
    } else if waited * 4 > all {
        "counting waits most of the time"
    } else {
        return Ok(());
    };
    Err(format!("{complaint}: {figures}"))
}

#[test]
fn counting_that_waits_is_told_from_counting_that_is_slower() {
    let _turn = crate::wait_for_turn();
    let each = |ms: u64, count: usize| vec![Duration::from_millis(ms); count];
    let alone = each(2, ALONE);
    for steps in [each(2, 1_000), each(30, 100), [each(2, 1_000), each(300, 2)].concat()] {
        assert_eq!(went_on(&alone, &steps), Ok(()));
    }
    for (steps, complaint) in [
        (Vec::new(), "nothing was counted"),
        ([each(2, 10_000), each(1_001, 1)].concat(), "counting stopped"),
        (each(50, 100), "counting is slow"),
        ([each(2, 500), each(150, 10)].concat(), "counting waits"),
    ] {
        let told = went_on(&alone, &steps).unwrap_err();
        assert!(told.starts_with(complaint), "{told}");
    }
}

/// The one refusal of a file.
fn refusal(listing: &Value, file: &str) -> String {
    let of = |rejected: &Value| {
        Path::new(rejected["file"].as_str().unwrap()).file_name().unwrap().to_owned()
    };
    let mut found =
        listing["rejected"].as_array().unwrap().iter().filter(|rejected| of(rejected) == file);
    let reason =
        found.next().unwrap_or_else(|| panic!("{file} is not refused: {}", listing["rejected"]));
    assert!(found.next().is_none(), "{file} is refused twice");
    reason["reason"].as_str().unwrap().to_owned()
}

fn names(listing: &Value) -> Vec<&str> {
    listing["metrics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|metric| metric["name"].as_str().unwrap())
        .collect()
}

/// Every specimen met its fate, and is told of in the API, in the list and in the log.
fn all_is_told(home: &Home, tally: &Tally, specimens: &[Specimen]) {
    let listing = tally.client.get("/api/metrics").unwrap().json();
    let printed = home.succeed(&["plugin", "list", "--url", &tally.url()]).unwrap();
    let log = fs::read_to_string(home.path().join("stderr.log")).unwrap();
    let mut refused = 0;
    for Specimen { name, fate, .. } in specimens {
        match fate {
            Fate::Refused(says) => {
                refused += 1;
                let reason = refusal(&listing, name);
                assert!(reason.contains(says), "{name}: {reason}");
                let sentence =
                    !reason.contains('\n') && reason.len() < 400 && reason.ends_with(')');
                assert!(sentence, "{name}: one sentence that ends with what to do: {reason}");
                let of = |line: &&str| {
                    line.starts_with("refused") && line.contains(&format!(" {name}:"))
                };
                let line = printed.lines().find(of);
                assert!(line.is_some_and(|line| line.contains(says)), "{name}: {printed}");
                let quoted = says.replace('"', "\\\"");
                let told =
                    |line: &&str| line.contains(&format!("/{name}\"")) && line.contains(&quoted);
                assert_eq!(
                    log.lines().filter(told).count(),
                    1,
                    "{name} is not in the log once: {log}"
                );
            }
            Fate::Serves(metric) => {
                assert!(names(&listing).contains(metric), "{name}: {}", listing["rejected"])
            }
            Fate::Fails(_) => {}
        }
    }
    assert!(refused > 20, "only {refused} files were refused");
    assert_eq!(listing["rejected"].as_array().unwrap().len(), refused, "{}", listing["rejected"]);
}

#[test]
fn what_is_no_good_is_refused_with_one_sentence_in_the_log_the_api_and_the_list() {
    let _turn = crate::wait_for_turn();
    let (home, folder) = home("");
    let specimens = corpus::all(&folder).unwrap();
    let tally = home.start().unwrap();
    let counted = count_on(&tally, 0, 20);
    all_is_told(&home, &tally, &specimens);
    for metric in ["corpus_good", "corpus_small"] {
        let position = tally
            .client
            .post_all("{\"user_id\":1,\"product_id\":1,\"event_type\":\"view\"}\n")
            .unwrap();
        assert!(
            tally.client.ask(metric, &json!({}), &position).unwrap().as_u64() > Some(counted),
            "{metric}"
        );
    }
    tally.stop().unwrap();
}

#[test]
fn what_lands_while_it_runs_is_told_likewise_and_counting_goes_on() {
    let _turn = crate::wait_for_turn();
    let (home, folder) = home("");
    // What has to be built is built before anything is measured.
    let staged = home.path().join("staged");
    fs::create_dir(&staged).unwrap();
    corpus::all(&staged).unwrap();
    let tally = home.start().unwrap();
    let alone = alone(&tally, 0);
    let (specimens, during) = watched(&tally, alone.counted, || {
        let specimens = corpus::all(&folder).unwrap();
        let expected = specimens.iter().filter(|one| matches!(one.fate, Fate::Refused(_))).count();
        let all = |client: &Client| {
            let listing = client.get("/api/metrics").unwrap().json();
            let told = listing["rejected"].as_array().unwrap().len();
            let serves = |metric| names(&listing).contains(&metric);
            let all = told == expected && serves("corpus_good") && serves("corpus_small");
            if all {
                Ok(String::new())
            } else {
                Err(format!("{told} of {expected}: {}", listing["rejected"]))
            }
        };
        tally.client.until("all is told", Duration::from_secs(60), all).unwrap();
        specimens
    });
    went_on(&alone.steps, &during.steps).unwrap();
    all_is_told(&home, &tally, &specimens);
    count_on(&tally, during.counted, 5);
    tally.stop().unwrap();
}

#[test]
fn a_file_that_is_copied_slowly_is_served_once_it_is_whole() {
    let _turn = crate::wait_for_turn();
    let (home, folder) = home("");
    let (from, to) = (corpus::built("good").unwrap(), folder.join("good.so"));
    let tally = home.start().unwrap();
    let alone = alone(&tally, 0);
    // Over more than two looks at the folder.
    let (told, during) = watched(&tally, alone.counted, || {
        let mut told = Vec::new();
        let look = || {
            let listing = tally.client.get("/api/metrics").unwrap().json();
            let printed = home.succeed(&["plugin", "list", "--url", &tally.url()]).unwrap();
            assert!(!names(&listing).contains(&"corpus_good"), "it is served before it is whole");
            if let Some(refused) = listing["rejected"].as_array().unwrap().first() {
                told.push((refused["reason"].as_str().unwrap().to_owned(), printed));
            }
        };
        corpus::copy_slowly(&from, &to, 30, Duration::from_millis(100), look).unwrap();
        told
    });
    went_on(&alone.steps, &during.steps).unwrap();
    let cut: Vec<&(String, String)> =
        told.iter().filter(|(reason, _)| reason.contains("is cut off")).collect();
    assert!(!cut.is_empty(), "it is not said that it is cut off: {told:?}");
    assert!(cut.iter().all(|(_, printed)| printed.contains("is cut off")), "{cut:?}");
    let log = fs::read_to_string(home.path().join("stderr.log")).unwrap();
    for (reason, _) in &told {
        let lines = log.lines().filter(|line| line.contains(&reason.replace('"', "\\\""))).count();
        assert_eq!(lines, 1, "{reason:?} is not in the log once: {log}");
    }
    let serves = |client: &Client| {
        let listing = client.get("/api/metrics").map_err(|fault| format!("{fault:#}"))?.json();
        let whole = names(&listing).contains(&"corpus_good") && listing["rejected"] == json!([]);
        if whole { Ok(String::new()) } else { Err(listing["rejected"].to_string()) }
    };
    tally.client.until("it is served", Duration::from_secs(60), serves).unwrap();
    count_on(&tally, during.counted, 3);
    tally.stop().unwrap();
}

#[test]
fn one_that_fails_when_it_is_used_stands_alone_and_the_others_count_on() {
    let _turn = crate::wait_for_turn();
    let (home, folder) = home("");
    let specimens = corpus::failing(&folder).unwrap();
    let tally = home.start().unwrap();
    let listing = tally.client.get("/api/metrics").unwrap().json();
    for Specimen { name, fate, .. } in &specimens {
        let Fate::Fails(metric) = fate else { panic!("{name} is meant to fail") };
        assert!(names(&listing).contains(metric), "{name}: {}", listing["rejected"]);
    }
    // One that fails on each event is stopped after a hundred of them on a partition.
    let ((), during) = watched(&tally, 0, || {
        let stopped = |client: &Client| {
            let told = client
                .get("/api/metrics/corpus_update")
                .map_err(|fault| format!("{fault:#}"))?
                .text;
            let why = ["quarantined", "failed on 100 events in a row", "broken in update"];
            if why.iter().all(|words| told.contains(words)) { Ok(told) } else { Err(told) }
        };
        tally
            .client
            .until("it is told why it stands still", Duration::from_secs(30), stopped)
            .unwrap();
    });
    let alone = alone(&tally, during.counted);
    went_on(&alone.steps, &during.steps).unwrap();
    let answer = tally.client.evaluate(&json!({"name": "corpus_update"})).unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text);
    let answer = tally.client.evaluate(&json!({"name": "corpus_answer"})).unwrap();
    assert!(
        answer.status == 500 && answer.text.contains("plugin_failed"),
        "{} {}",
        answer.status,
        answer.text
    );
    // What goes with its file is dropped, and fails at that.
    fs::remove_file(folder.join("fails_destroy.so")).unwrap();
    let retired = |client: &Client| {
        let told =
            client.get("/api/metrics/corpus_destroy").map_err(|fault| format!("{fault:#}"))?.json();
        if told["state"] == "retired" { Ok(String::new()) } else { Err(told.to_string()) }
    };
    tally.client.until("it is retired", Duration::from_secs(30), retired).unwrap();
    find_failures_told(&home, &tally);
    count_on(&tally, alone.counted, 10);
    tally.stop().unwrap();
}

/// What became of each is in the list, and its failure in the log, once.
fn find_failures_told(home: &Home, tally: &Tally) {
    let printed = home.succeed(&["plugin", "list", "--url", &tally.url()]).unwrap();
    let line = |metric: &str| {
        printed
            .lines()
            .map(str::trim_start)
            .find(|line| line.starts_with(metric))
            .unwrap_or_default()
            .to_owned()
    };
    for (metric, state) in [
        ("corpus_update", "quarantined"),
        ("corpus_answer", "active"),
        ("corpus_destroy", "retired"),
    ] {
        assert!(line(metric).contains(state), "{metric} is not {state}: {printed}");
    }
    assert!(line("corpus_update").contains("broken in update"), "{printed}");
    let said = |_: &Client| {
        let log = fs::read_to_string(home.path().join("stderr.log")).unwrap();
        let told = |words: [&str; 2]| {
            log.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
        };
        let quarantined = told(["corpus_update", "counting is stopped"]);
        let [answer, destroy] = ["answer", "destroy"].map(|at| {
            // Where it panicked, and why.
            told([&format!("panicked at corpus_{at}/"), &format!("broken in {at}")])
        });
        if (quarantined, answer, destroy) == (1, 1, 1) { Ok(String::new()) } else { Err(log) }
    };
    tally.client.until("each is in the log once", Duration::from_secs(10), said).unwrap();
}

#[test]
fn with_a_list_of_checksums_only_what_it_names_runs() {
    let _turn = crate::wait_for_turn();
    let (home, folder) = home("");
    let config = |word: &str| {
        CONFIG.replace("dir = \"plugins\"", &format!("dir = \"plugins\"\nchecksums = \"{word}\""))
    };
    fs::copy(corpus::built("good").unwrap(), folder.join("good.so")).unwrap();
    let sum = std::process::Command::new("sha256sum")
        .arg("event_frequencies.so")
        .current_dir(&folder)
        .output()
        .unwrap();
    fs::write(folder.join("SHA256SUMS"), sum.stdout).unwrap();
    for (word, serves) in [("enforce", false), ("warn", true), ("off", true)] {
        home.write("metrics.toml", config(word)).unwrap();
        fs::write(home.path().join("stderr.log"), "").unwrap();
        let tally = home.start().unwrap();
        let listing = tally.client.get("/api/metrics").unwrap().json();
        assert!(names(&listing).contains(&"event_frequencies"), "{word}: {listing}");
        assert_eq!(names(&listing).contains(&"corpus_good"), serves, "{word}: {listing}");
        let log = fs::read_to_string(home.path().join("stderr.log")).unwrap();
        assert_eq!(
            log.contains("is not in SHA256SUMS: it has sha256"),
            word != "off",
            "{word}: {log}"
        );
        if !serves {
            assert!(refusal(&listing, "good.so").contains("is not in SHA256SUMS"), "{listing}");
        }
        tally.stop().unwrap();
    }
}

#[test]
fn export_metric_does_not_compile_with_panic_abort() {
    let _turn = crate::wait_for_turn();
    let said = corpus::aborting_by_macro().unwrap();
    assert!(said.contains("build metric plugins with panic"), "{said}");
}
