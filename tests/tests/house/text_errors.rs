//! Errors are types. Where a sentence is all that there is to say, an error may be a `String`:
//! these places are in a list, each with its number of them and its reason. The list only becomes
//! shorter.

use super::exceptions::Exceptions;
use super::none;
use super::reading::sources;

/// The files and folders whose errors may be texts.
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
    let sources = sources();
    let found = sources
        .iter()
        .filter(|source| !source.is_test() && FOLDERS.iter().any(|folder| source.is_in(folder)))
        .map(|source| (source.path.as_str(), texts(source.without_tests())));
    none(Exceptions::of(LIST).faults(found, "errors that are texts", "make them a type"));
}

#[test]
fn results_with_a_text_as_error_are_counted() {
    let code = "fn a(f: &dyn Fn() -> Result<(), String>) -> Result<u8, E>; fn b() -> Result<HashMap<Id, String>>;";
    assert_eq!(texts(code), 1);
    assert_eq!(texts("Option<Result<Vec<u8>, String>>"), 1);
}
