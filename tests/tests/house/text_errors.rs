//! Errors are types. Where a sentence is all that there is to say, an error may be a `String`:
//! these places are in a list, each with its number of them and its reason. The list only becomes
//! shorter.

use super::none;
use super::reading::{read, sources};
use std::collections::BTreeMap;

/// The files and folders whose errors may be texts: `path number reason`. A path that ends with `/`
/// is a folder.
const LIST: &str = "tests/tests/house/text_errors.txt";

/// Where errors are types.
const FOLDERS: [&str; 3] = ["engine/", "server/src/", "plugin-api/"];

/// How many results have a text as their error.
fn texts(code: &str) -> usize {
    let results =
        code.match_indices("Result<").map(|(at, start)| type_parameters(&code[at + start.len()..]));
    results.filter(|parameters| parameters.ends_with(", String")).count()
}

/// What stands before the `>` that ends a list of type parameters.
fn type_parameters(code: &str) -> &str {
    let mut open = 1;
    for (at, character) in code.char_indices() {
        match character {
            '<' => open += 1,
            // The end of an arrow ends no list.
            '>' if !code[..at].ends_with('-') => open -= 1,
            _ => {}
        }
        if open == 0 {
            return &code[..at];
        }
    }
    code
}

#[test]
fn errors_are_texts_only_where_that_is_all_there_is() {
    let list = read(LIST);
    let mut listed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut faults = Vec::new();
    for line in list.lines() {
        let mut words = line.splitn(3, ' ');
        let (path, number) = (words.next(), words.next().and_then(|number| number.parse().ok()));
        let (Some(path), Some(number)) = (path, number) else { panic!("{LIST}: {line}") };
        if words.next().is_none_or(|reason| reason.trim().is_empty()) {
            faults.push(format!("{LIST}: {path} gives no reason"));
        }
        listed.insert(path, number);
    }
    let sources = sources();
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for source in sources.iter().filter(|source| FOLDERS.iter().any(|folder| source.is_in(folder)))
    {
        let covers =
            |path: &&&str| source.path == **path || path.ends_with('/') && source.is_in(path);
        let place = listed.keys().find(covers).copied().unwrap_or(&source.path);
        *found.entry(place).or_default() +=
            if source.is_test() { 0 } else { texts(source.without_tests()) };
    }
    for (place, found) in found {
        let allowed = if found == 0 { 0 } else { listed.remove(place).unwrap_or(0) };
        if found > allowed {
            faults.push(format!(
                "{place}: {found} errors are texts, not {allowed}: make them a type"
            ));
        } else if found < allowed {
            faults.push(format!(
                "{place}: {found} errors are texts, not {allowed}: say so in {LIST}"
            ));
        }
    }
    faults.extend(listed.keys().map(|path| format!("{path} is gone; take it off {LIST}")));
    none(faults);
}

#[test]
fn results_with_a_text_as_error_are_counted() {
    let code = "fn a(f: &dyn Fn() -> Result<(), String>) -> Result<u8, E>; fn b() -> Result<HashMap<Id, String>>;";
    assert_eq!(texts(code), 1);
    assert_eq!(texts("Option<Result<Vec<u8>, String>>"), 1);
}
