//! The invariants of ARCHITECTURE.md, held by reading the sources. No engine runs here.
//!
//! What a compiler or a linter already refuses is not looked for again. Each test lists all that
//! breaks it at once.
#![allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]

#[path = "house/crates.rs"]
mod crates;
#[path = "house/documents.rs"]
mod documents;
#[path = "house/exceptions.rs"]
mod exceptions;
#[path = "house/functions.rs"]
mod functions;
#[path = "house/homonyms.rs"]
mod homonyms;
#[path = "house/keys.rs"]
mod keys;
#[path = "house/layers.rs"]
mod layers;
#[path = "house/pipeline.rs"]
mod pipeline;
#[path = "house/reading.rs"]
mod reading;
#[path = "house/sleeps.rs"]
mod sleeps;
#[path = "house/text_errors.rs"]
mod text_errors;

use reading::{Source, read, sources, words};

/// Lines that a file may have without a reason.
const LINES: usize = 480;

/// What stands before the reason, in the module's own words.
const REASON: &str = "//! Over 480 lines: ";

fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent = sources().into_iter().filter(|file| !file.text.starts_with("//! "));
    none(silent.map(|file| format!("{} does not open with //!", file.path)).collect());
}

#[test]
fn long_files_say_why() {
    let long = |file: &Source| file.text.lines().count() > LINES;
    let reason = |file: &Source| {
        file.text.lines().any(|line| line.starts_with(REASON) && line.len() > REASON.len())
    };
    let silent = sources().into_iter().filter(|file| long(file) && !reason(file));
    none(
        silent
            .map(|file| format!("{}: over {LINES} lines without \"{REASON}…\"", file.path))
            .collect(),
    );
}

#[test]
fn unsafe_and_the_abi_are_confined() {
    let (abi, export) = ("plugin-api/src/abi.rs", "plugin-api/src/export.rs");
    let (library, last_words) = ("engine/host/src/library.rs", "engine/host/src/last_words.rs");
    let [callbacks, client, consumer, objects, fault] = [
        "engine/log/src/kafka/raw/callbacks.rs",
        "engine/log/src/kafka/raw/client.rs",
        "engine/log/src/kafka/raw/consumer.rs",
        "engine/log/src/kafka/raw/objects.rs",
        "engine/log/src/kafka/raw/fault.rs",
    ];
    let confined = [
        ("unsafe", &[export, last_words, library, callbacks, client, consumer, objects][..]),
        ("abi_stable", &[abi, export, library][..]),
        ("libloading", &[][..]),
        ("rdkafka_sys", &[callbacks, client, consumer, objects, fault][..]),
    ];
    let mut faults = Vec::new();
    for file in sources() {
        for (word, places) in confined {
            let named = words(&file.code).any(|found| found == word);
            if named != places.contains(&file.path.as_str()) {
                let what = if named { "names" } else { "no longer names" };
                faults.push(format!("{} {what} {word}", file.path));
            }
        }
        let blocks = file.code.matches("unsafe {").count();
        let reasons = file.text.matches("// SAFETY:").count();
        if reasons < blocks {
            faults.push(format!("{} has {blocks} unsafe blocks and {reasons} reasons", file.path));
        }
    }
    none(faults);
}

#[test]
fn connections_come_from_listeners_only() {
    let kinds = "server/src/http/listener/";
    let sockets = ["TcpListener", "TcpStream", "UnixListener", "UnixStream"];
    let mut faults = Vec::new();
    for file in sources().iter().filter(|file| file.is_in("server/src/http/") && !file.is_test()) {
        let code = file.without_tests();
        let named = sockets.into_iter().filter(|socket| words(code).any(|word| word == *socket));
        if !file.is_in(kinds) {
            faults.extend(
                named.map(|socket| {
                    format!("{} names {socket}; only kinds of listeners do", file.path)
                }),
            );
        }
    }
    let tcp = read(&format!("{kinds}tcp.rs"));
    assert!(words(&tcp).any(|word| word == "TcpListener"), "TCP is such a kind");
    none(faults);
}

#[test]
fn plugins_and_their_contract_touch_nothing_outside() {
    let outside = ["fs", "net", "process", "io", "env", "thread", "time"];
    let mut faults = Vec::new();
    let theirs = |file: &&Source| {
        file.is_in("plugin-api/") && file.path.contains("/src/") || file.is_in("plugins/")
    };
    for file in sources().iter().filter(theirs) {
        if file.is_test() {
            continue;
        }
        // A trait that a text in memory has too, and its error.
        let code = file.code.replace("std::io::Write", "").replace("std::io::Error", "");
        for module in outside {
            if code.contains(&format!("std::{module}")) {
                faults.push(format!("{} names std::{module}", file.path));
            }
        }
        if file.code.contains("std::{") {
            faults.push(format!(
                "{}: `use std::{{…}}` hides what is used; one line for each",
                file.path
            ));
        }
    }
    none(faults);
}

#[test]
fn nothing_is_global_and_every_queue_is_bounded() {
    let changeable =
        ["Mutex", "RwLock", "OnceLock", "LazyLock", "OnceCell", "Atomic", "Once:", "RefCell"];
    let mut faults = Vec::new();
    for file in sources()
        .iter()
        .filter(|file| !file.is_test() && !file.is_in("benches/") && !file.is_in("tests/"))
    {
        let code = file.without_tests();
        // What belongs to a thread is not shared: the plugin's way to the host while it is called.
        // What ends the process in a test is the whole process's, and so are fatal signals.
        let shared =
            code.lines().filter(|line| line.contains("static ") && !line.contains("'static "));
        for line in shared.filter(|line| changeable.iter().any(|kind| line.contains(kind))) {
            if ![
                "plugin-api/src/export.rs",
                "engine/failpoint/src/lib.rs",
                "engine/host/src/last_words.rs",
            ]
            .contains(&file.path.as_str())
            {
                faults.push(format!("{}: global state: {}", file.path, line.trim()));
            }
        }
        let standard = |line: &str| {
            line.contains("std::sync::mpsc") && words(line).any(|word| word == "channel")
        };
        let unbounded = code.contains("unbounded_channel") || code.lines().any(standard);
        if unbounded {
            faults.push(format!("{}: a queue without a bound", file.path));
        }
    }
    none(faults);
}

#[test]
fn every_outside_system_has_a_twin_under_one_contract() {
    // Who runs which contract: each implementation that there is, outside systems and their twins.
    let runs = [
        ("engine/log/src/embedded/", "contract::run("),
        ("tests/tests/system/sources.rs", "contract::run("),
        ("engine/decode/src/json/", "contract::run("),
        ("engine/store/src/embedded", "contract(&mut"),
        ("tests/tests/system/stores.rs", "contract::contract("),
        ("server/src/catalogue/embedded", "contract::holds("),
        ("tests/tests/system/postgres.rs", "contract::holds("),
    ];
    let sources = sources();
    let runs_it = |place: &str, call: &str| {
        sources.iter().any(|file| file.is_in(place) && file.code.contains(call))
    };
    let idle = runs.into_iter().filter(|(place, call)| !runs_it(place, call));
    none(idle.map(|(place, call)| format!("{place} no longer runs {call}…)")).collect());
    assert!(
        read("server/src/catalogue/embedded.rs").contains("migrations"),
        "the catalogue is made by migrations/"
    );
    let migrations: Vec<String> = reading::names("migrations");
    assert!(migrations.iter().any(|name| name.starts_with("V1__")), "{migrations:?}");
    for name in &migrations {
        assert!(name.starts_with('V') && name.contains("__") && name.ends_with(".sql"), "{name}");
    }
}
