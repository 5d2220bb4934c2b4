//! `tally plugin new`: a crate that builds anywhere, with one dependency and the test kit, a metric
//! that works, and its tests.

use super::super::output;
use super::Failure;
use super::args::New;
use std::fs;
use std::path::{Path, PathBuf};
use tally_engine::config::is_metric_name;
use tally_engine::files;

/// Files of the crate; the `HOLES` in them are filled.
const FILES: [(&str, &str); 8] = [
    ("Cargo.toml", include_str!("template/Cargo.toml.in")),
    ("src/lib.rs", include_str!("template/lib.rs.in")),
    ("tests/metric.rs", include_str!("template/metric.rs.in")),
    ("tests/golden/day/events.ndjson", include_str!("template/events.ndjson")),
    ("tests/golden/day/questions.ndjson", include_str!("template/questions.ndjson")),
    ("tests/golden/day/answers.ndjson", include_str!("template/answers.ndjson")),
    ("README.md", include_str!("template/README.md.in")),
    (".gitignore", "/target\n"),
];

/// What the templates have in place of name, type, dependency and test kit.
const HOLES: [&str; 4] = ["@NAME@", "@TYPE@", "@SDK@", "@KIT@"];

/// What cargo or rustc would refuse as a crate, or what would hide a crate that the code names.
const TAKEN: [&str; 55] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "tally_plugin",
    "tally_testkit",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "unsafe",
    "use",
    "virtual",
    "where",
    "while",
];

pub(super) fn run(args: &New) -> Result<(), Failure> {
    let name = args.name.as_str();
    checked(name).map_err(Failure::Usage)?;
    let dir = args.dir.clone().unwrap_or_else(|| name.into());
    let failed = |path: &Path, fault: std::io::Error| {
        Failure::Failed(format!("{}: {fault}", path.display()))
    };
    if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::Failed(format!(
            "{} already exists and is not empty; give another --dir",
            dir.display()
        )));
    }
    let sdk = Sdk::find(args.sdk.as_deref()).map_err(Failure::Usage)?;
    let filled = [name.to_owned(), camel(name), sdk.dependency(), sdk.kit()];
    for (path, template) in FILES {
        let path = dir.join(path);
        let text = HOLES
            .iter()
            .zip(&filled)
            .fold(template.to_owned(), |text, (hole, with)| text.replace(hole, with));
        let folder = path.parent().unwrap_or(&dir);
        fs::create_dir_all(folder).map_err(|fault| failed(folder, fault))?;
        fs::write(&path, text).map_err(|fault| failed(&path, fault))?;
    }
    // The versions that this program was built and tested with; without it cargo takes the newest.
    let locked = sdk.lock().map(|lock| fs::copy(lock, dir.join("Cargo.lock")));
    if let Some(Err(fault)) = locked {
        return Err(failed(&dir.join("Cargo.lock"), fault));
    }
    let dir = dir.display();
    output::data(&format!(
        "\
created {dir}/
  Cargo.toml           {}
  src/lib.rs           the metric: tables, params, answer
  tests/metric.rs      the laws, and the golden cases
  tests/golden/day/    events, questions, answers
next: cd {dir} && cargo test --release && cargo build --release && tally plugin check target/release/lib{name}.so",
        sdk.told()
    ));
    Ok(())
}

fn checked(name: &str) -> Result<(), String> {
    if !is_metric_name(name) {
        let mut near: String = name
            .to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .take(64)
            .collect();
        near = near.trim_start_matches(|c: char| !c.is_ascii_lowercase()).into();
        let hint = if near.is_empty() { String::new() } else { format!("; {near}?") };
        return Err(format!(
            "{name:?} is not a metric name: a-z first, then a-z 0-9 _, at most 64{hint}"
        ));
    }
    if TAKEN.contains(&name) {
        return Err(format!("{name} cannot name a Rust crate; use {name}s?"));
    }
    Ok(())
}

/// `basket_size` → `BasketSize`.
fn camel(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(usize::from(!word.is_empty()));
        first.to_uppercase() + rest
    };
    name.split('_').map(word).collect()
}

/// A dependency in a folder. A text of TOML escapes what JSON escapes.
fn at_path(folder: &Path) -> String {
    format!("{{ path = {} }}", serde_json::json!(folder.to_string_lossy()))
}

/// Where `tally-plugin` comes from.
#[derive(Debug, PartialEq, Eq)]
enum Sdk {
    /// A folder that holds it.
    Folder(PathBuf),
    /// A git repository.
    Git(String),
    /// The registry.
    Registry,
}

impl Sdk {
    fn find(given: Option<&str>) -> Result<Sdk, String> {
        let Some(given) = given else {
            let own = Path::new(env!("CARGO_MANIFEST_DIR")).parent().and_then(Sdk::in_checkout);
            return Ok(own.map_or(Sdk::Registry, Sdk::Folder));
        };
        if given.contains("://") || given.starts_with("git@") {
            return Ok(Sdk::Git(given.into()));
        }
        let found = Sdk::in_checkout(Path::new(given)).map(Sdk::Folder);
        found.ok_or_else(|| {
            format!("--sdk {given}: no tally-plugin found; give a checkout of Tally, or its URL")
        })
    }

    /// A checkout, or the folder of the crate itself.
    fn in_checkout(folder: &Path) -> Option<PathBuf> {
        let is_it = |folder: &PathBuf| {
            let manifest =
                files::read_text(&folder.join("Cargo.toml"), 1 << 20).unwrap_or_default();
            manifest.lines().any(|line| line.trim() == "name = \"tally-plugin\"")
        };
        let found = [folder.join("plugin-api"), folder.to_path_buf()].into_iter().find(is_it)?;
        found.canonicalize().ok()
    }

    /// The value of `tally-plugin` in `[dependencies]`.
    fn dependency(&self) -> String {
        match self {
            Sdk::Folder(folder) => at_path(folder),
            Sdk::Git(url) => format!("{{ git = {} }}", serde_json::json!(url)),
            Sdk::Registry => "\"1\"".into(),
        }
    }

    /// The value of `tally-testkit` in `[dev-dependencies]`: it comes from where `tally-plugin`
    /// does.
    fn kit(&self) -> String {
        match self {
            Sdk::Folder(folder) => at_path(&folder.join("testkit")),
            Sdk::Git(_) | Sdk::Registry => self.dependency(),
        }
    }

    fn lock(&self) -> Option<PathBuf> {
        let Sdk::Folder(folder) = self else { return None };
        Some(folder.parent()?.join("Cargo.lock")).filter(|lock| lock.exists())
    }

    fn told(&self) -> String {
        let one = "one dependency: tally-plugin";
        match self {
            Sdk::Folder(folder) => format!("{one}, from {}", folder.display()),
            Sdk::Git(url) => format!("{one}, from {url}"),
            Sdk::Registry => {
                format!(
                    "{one} 1.x from the registry (this binary's checkout is gone; --sdk names \
                     another)"
                )
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing unwrap is a failing test")]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_metrics_and_of_crates() {
        for good in ["a", "basket_size", "top10_", &"a".repeat(64)] {
            assert_eq!(checked(good), Ok(()), "{good}");
        }
        for (bad, hint) in [
            ("Basket-Size", "; basket_size?"),
            ("", "at most 64"),
            ("9lives", "; lives?"),
            ("_x", "; x?"),
            ("../x", "; x?"),
            ("größe", "; gr__e?"),
            (&"a".repeat(65), &format!("; {}?", "a".repeat(64))),
            ("match", "use matchs?"),
            ("std", "cannot name a Rust crate"),
        ] {
            let fault = checked(bad).unwrap_err();
            assert!(fault.contains(hint), "{bad}: {fault}");
        }
        assert_eq!(
            (camel("basket_size"), camel("x"), camel("a__b_")),
            ("BasketSize".into(), "X".into(), "AB".into())
        );
    }

    #[test]
    fn the_sdk_comes_from_where_it_is_told() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let folder = checkout.join("plugin-api").canonicalize().unwrap();
        for given in [None, checkout.to_str(), folder.to_str()] {
            assert_eq!(Sdk::find(given).unwrap(), Sdk::Folder(folder.clone()), "{given:?}");
        }
        let git = Sdk::find(Some("https://git.example/tally")).unwrap();
        assert_eq!(git.dependency(), "{ git = \"https://git.example/tally\" }");
        assert_eq!(git.kit(), git.dependency());
        assert!(Sdk::Folder(folder).kit().ends_with("/plugin-api/testkit\" }"));
        assert!(Sdk::find(Some("/nowhere")).unwrap_err().contains("give a checkout of Tally"));
        assert_eq!(Sdk::Registry.dependency(), "\"1\"");
    }

    #[test]
    fn no_hole_is_left_in_a_template() {
        for (path, template) in FILES {
            let rest = HOLES.iter().fold(template.to_owned(), |text, hole| text.replace(hole, ""));
            assert!(!rest.contains('@'), "{path}");
        }
    }
}
