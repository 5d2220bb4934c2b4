//! The crates of the corpus: written, built once per run, found again by the next.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// Part of every crate.
const BROKEN: &str = include_str!("broken.rs.in");

/// Built as `cargo build` does without further words: opt-level 0, debug assertions, debug
/// information.
const PLAIN: [&str; 16] = [
    "good",
    "about",
    "create",
    "describe",
    "update",
    "answer",
    "destroy",
    "schema",
    "descriptor",
    "segfault",
    "exit",
    "loop",
    "print",
    "split",
    "views",
    "unexported",
];

/// Smallest code, whole-program optimisation, one codegen unit, checked arithmetic.
const SMALL: &str = "[profile.small]\ninherits = \"release\"\nopt-level = \"z\"\nlto = \"fat\"\ncodegen-units = 1\n\
    overflow-checks = true\nstrip = true\n";

const ABORTING: &str = "[profile.aborting]\ninherits = \"dev\"\npanic = \"abort\"\n";

/// What `export_metric!` writes, without its refusal of panic = "abort".
const BY_HAND: &str = r#"
const _: () = {
    #[unsafe(export_name = "tally_plugin_handshake")]
    static HANDSHAKE: tally_plugin::abi::Handshake = tally_plugin::abi::Handshake::own();
    #[unsafe(export_name = "_1as_0lib_1header_0root_bmodule_bloader")]
    static PLUGIN: tally_plugin::export::Header = tally_plugin::export::header::<Broken>();
};
"#;

/// One run builds each crate once, whatever its threads want at the same time.
static BUILT: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());

/// The plugin file of a crate of the corpus: one of the plain ones, or `small`, `abort`, `layout`.
///
/// # Errors
/// It does not build.
pub fn built(name: &str) -> Result<PathBuf> {
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, file)) = built.iter().find(|(of, _)| of == name) {
        return Ok(file.clone());
    }
    let new = match name {
        "small" => vec![(
            "small",
            build(&workspace()?, &["--profile", "small", "-p", "corpus_small"], "small")?,
        )],
        "abort" => vec![(
            "abort",
            build(&workspace()?, &["--profile", "aborting", "-p", "corpus_abort"], "aborting")?,
        )],
        "layout" => vec![("layout", build(&other_layout()?, &["-p", "corpus_layout"], "debug")?)],
        _ => {
            let mut arguments = Vec::new();
            let names: Vec<String> = PLAIN.iter().map(|name| format!("corpus_{name}")).collect();
            names.iter().for_each(|name| arguments.extend(["-p", name]));
            let folder = build(&workspace()?, &arguments, "debug")?;
            PLAIN.iter().map(|name| (*name, folder.clone())).collect()
        }
    };
    built.extend(
        new.into_iter()
            .map(|(of, folder)| (of.to_owned(), folder.join(format!("libcorpus_{of}.so")))),
    );
    let file = built.iter().find(|(of, _)| of == name).map(|(_, file)| file.clone());
    file.with_context(|| format!("the corpus has no crate {name}"))
}

/// What cargo says when a crate with `export_metric!` is built with `panic = "abort"`.
///
/// # Errors
/// It builds.
pub fn aborting_by_macro() -> Result<String> {
    let _one_at_a_time = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let output = cargo(&workspace()?, &["--profile", "aborting", "-p", "corpus_good"])?;
    ensure!(!output.status.success(), "export_metric! builds with panic = \"abort\"");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// `target/corpus` of the target folder in which the test lies.
pub(crate) fn home() -> Result<PathBuf> {
    // target/release/deps/gate-… → target/corpus
    let test = std::env::current_exe()?;
    let target = test.ancestors().nth(3).context("the test lies in no target folder")?;
    Ok(target.join("corpus"))
}

pub(crate) fn root() -> Result<&'static Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the tests have a folder above them")
}

/// Runs `cargo build` there; where the files of the profile lie.
fn build(workspace: &Path, arguments: &[&str], profile: &str) -> Result<PathBuf> {
    let output = cargo(workspace, arguments)?;
    ensure!(
        output.status.success(),
        "the corpus does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(home()?.join("target").join(profile))
}

fn cargo(workspace: &Path, arguments: &[&str]) -> Result<Output> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What the workspace itself needed is there already.
    command.args(["build", "--offline"]).args(arguments).current_dir(workspace);
    command.env("CARGO_TARGET_DIR", home()?.join("target")).env_remove("RUSTFLAGS");
    Ok(command.output()?)
}

/// Writes the workspace of the corpus, as far as it changed.
fn workspace() -> Result<PathBuf> {
    let home = home()?.join("crates");
    let sdk = root()?.join("plugin-api");
    let of = |name: &str, end: &str| Crate {
        name: format!("corpus_{name}"),
        breaks: name.into(),
        end: end.into(),
    };
    let mut crates: Vec<Crate> =
        PLAIN.iter().map(|name| of(name, "export_metric!(Broken);\n")).collect();
    crates.push(of("small", "export_metric!(Broken);\n"));
    crates.push(of("abort", BY_HAND));
    for one in &mut crates {
        if one.breaks == "unexported" {
            one.end.clear();
        }
        one.write(&home, &sdk)?;
    }
    let members: Vec<&str> = crates.iter().map(|one| one.name.as_str()).collect();
    let manifest =
        format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n{SMALL}{ABORTING}");
    write(&home.join("Cargo.toml"), &manifest)?;
    lock(&home)?;
    Ok(home)
}

/// A workspace with a contract of its own in which one pointer points to something else.
fn other_layout() -> Result<PathBuf> {
    let home = home()?.join("layout");
    let sdk = root()?.join("plugin-api");
    copy_tree(&sdk, &home.join("plugin-api"))?;
    let abi = fs::read_to_string(sdk.join("src/abi.rs"))?;
    let other =
        abi.replace("pub struct Instance(pub *mut ());", "pub struct Instance(pub *mut u8);");
    ensure!(
        abi != other,
        "the boundary has no Instance any more: change something else of its layout"
    );
    write(&home.join("plugin-api/src/abi.rs"), &other)?;
    let manifest = fs::read_to_string(root()?.join("Cargo.toml"))?;
    let members = manifest
        .lines()
        .find(|line| line.starts_with("members = "))
        .context("a workspace has members")?;
    let defaults =
        manifest.lines().find(|line| line.starts_with("default-members = ")).unwrap_or_default();
    let ours = "members = [\"plugin-api\", \"plugin-api/macros\", \"corpus_layout\"]";
    let kept = manifest.replace(defaults, "").replace(members, ours);
    // Path dependencies that are not there are not asked for by anyone; their lines may stay.
    write(&home.join("Cargo.toml"), &kept)?;
    let one = Crate {
        name: "corpus_layout".into(),
        breaks: String::new(),
        end: "export_metric!(Broken);\n".into(),
    };
    one.write(&home, &home.join("plugin-api"))?;
    lock(&home)?;
    Ok(home)
}

struct Crate {
    name: String,
    breaks: String,
    end: String,
}

impl Crate {
    fn write(&self, workspace: &Path, sdk: &Path) -> Result<()> {
        let Crate { name, breaks, end } = self;
        let folder = workspace.join(name);
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\npublish = false\n\n\
            [lib]\npath = \"lib.rs\"\ncrate-type = [\"cdylib\"]\n\n[dependencies]\ntally-plugin = {{ path = {sdk:?} }}\n"
        );
        write(&folder.join("Cargo.toml"), &manifest)?;
        let head = format!("const NAME: &str = \"{name}\";\nconst BREAKS: &str = \"{breaks}\";\n");
        let (about, code) =
            BROKEN.split_once("\n\n").context("the part of every crate begins with what it is")?;
        write(&folder.join("lib.rs"), &format!("{about}\n\n{head}{code}\n{end}"))
    }
}

/// The versions of the workspace, until cargo has made them its own.
fn lock(workspace: &Path) -> Result<()> {
    let (ours, theirs) = (root()?.join("Cargo.lock"), workspace.join("Cargo.lock"));
    let copied = workspace.join("Cargo.lock.of-workspace");
    let text = fs::read_to_string(ours)?;
    if fs::read_to_string(&copied).ok().as_deref() != Some(&text) {
        write(&theirs, &text)?;
        write(&copied, &text)?;
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            copy_tree(&path, &to.join(name))?;
        } else if path.file_name().is_none_or(|name| name != "abi.rs") {
            write(&to.join(name), &fs::read_to_string(&path)?)?;
        }
    }
    Ok(())
}

/// Writes a file whose content is another, so that what did not change is not built again.
fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).ok().as_deref() == Some(text) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("a file has a folder")?)?;
    fs::write(path, text).with_context(|| path.display().to_string())
}
