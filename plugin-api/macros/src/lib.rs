//! The attributes of `tally-plugin`: each stands for derives that find serde and schemars inside
//! `tally-plugin`.
//!
//! Without them an author would have to depend on both crates, in the versions that `tally-plugin`
//! uses. They put derives before the type and change nothing in it, so that every attribute of
//! serde and schemars works as documented there.

use proc_macro::TokenStream;

/// On a struct or enum that is asked with: `Deserialize` and `JsonSchema`; unknown keys are
/// refused.
///
/// Types inside of it take the same attribute.
#[proc_macro_attribute]
pub fn params(arguments: TokenStream, item: TokenStream) -> TokenStream {
    with(INPUT, "params", &arguments, item)
}

/// On a struct or enum of `[metrics.NAME.config]`: as [`macro@params`].
#[proc_macro_attribute]
pub fn config(arguments: TokenStream, item: TokenStream) -> TokenStream {
    with(INPUT, "config", &arguments, item)
}

/// On a struct or enum that is answered: `Serialize` and `JsonSchema`.
///
/// Types inside of it take the same attribute.
#[proc_macro_attribute]
pub fn answer(arguments: TokenStream, item: TokenStream) -> TokenStream {
    with(OUTPUT, "answer", &arguments, item)
}

const INPUT: &str = "
    #[derive(::tally_plugin::serde::Deserialize, ::tally_plugin::schemars::JsonSchema)]
    #[serde(crate = \"::tally_plugin::serde\", deny_unknown_fields)]
    #[schemars(crate = \"::tally_plugin::schemars\")]";

const OUTPUT: &str = "
    #[derive(::tally_plugin::serde::Serialize, ::tally_plugin::schemars::JsonSchema)]
    #[serde(crate = \"::tally_plugin::serde\")]
    #[schemars(crate = \"::tally_plugin::schemars\")]";

fn with(derives: &str, name: &str, arguments: &TokenStream, item: TokenStream) -> TokenStream {
    let before = if arguments.is_empty() {
        derives.to_owned()
    } else {
        format!("compile_error!(\"#[{name}] takes no arguments\");")
    };
    // Cannot fail: the texts above are Rust.
    let mut tokens: TokenStream = before.parse().unwrap_or_default();
    tokens.extend(item);
    tokens
}
