//! Adds to an answer what the catalogue knows: the names of ids, and whether a user is known.
//!
//! The result is rewritten as text where its schema is annotated; everything else keeps its bytes
//! and order. There is one lookup per answer. If the catalogue is unavailable, the answer is given
//! all the same, with a warning.

use super::App;
use super::id_annotations::{Annotations, IdKind, Node};
use super::json_members::{self, push_text};
use super::metric_request::MetricRequest;
use crate::catalogue::{Names, Wanted, id};
use serde_json::value::RawValue;
use std::borrow::Cow;
use tally_engine::engine::Evaluated;
use tally_plugin::ask::Warning;
use tally_plugin::read::Id;
use tokio::time::timeout;

/// Code of the warning that the catalogue was not there to be asked.
pub(crate) const UNAVAILABLE: &str = "catalogue_unavailable";

/// Whether the catalogue may have to be asked for an answer.
pub(crate) fn may_look_up(app: &App, asked: &MetricRequest, evaluated: &Evaluated) -> bool {
    let annotations = app.annotations.of(&asked.question.name, &evaluated.result_schema);
    let root = annotations.root();
    root.known_below || asked.names && root.ids_below
}

/// The enriched result, or `None` if nothing changes.
pub(crate) async fn enrich(
    app: &App,
    annotations: &Annotations,
    result: &str,
    names: bool,
    warnings: &mut Vec<Warning>,
) -> Option<String> {
    let (known, ids) = (annotations.root().known_below, annotations.root().ids_below);
    // Without names, only ids that the plugin calls unknown are looked up, and most answers have
    // none.
    if !(names && ids || known && result.contains("false")) {
        return None;
    }
    let whole: &RawValue = serde_json::from_str(result).ok()?;
    let tree = build(annotations, annotations.root(), whole, names);
    let mut wanted = Wanted::default();
    tree.ids(names, &mut |kind, id| match kind {
        IdKind::User => wanted.users.push(id.clone()),
        IdKind::Product => wanted.products.push(id.clone()),
    });
    for ids in [&mut wanted.users, &mut wanted.products] {
        ids.sort_unstable();
        ids.dedup();
    }
    if wanted == Wanted::default() {
        return None;
    }
    let found = look_up(app, wanted).await;
    if found.is_none() {
        let detail = "the catalogue cannot be read now, so names are null and `known` is \
                      decided by events alone";
        warnings.push(Warning::new(UNAVAILABLE, detail));
    }
    let mut out = String::with_capacity(result.len() * 2);
    Writer { names, found: found.as_ref(), warnings, out: &mut out }.write(&tree);
    Some(out)
}

/// What the catalogue knows; `None`: it does not answer now.
async fn look_up(app: &App, wanted: Wanted) -> Option<Names> {
    // Known to be away, which was logged when it went, it is not waited for.
    if app.catalogue.health_error().is_some() {
        return None;
    }
    let reason = match timeout(app.limits.catalogue, app.catalogue.names(wanted)).await {
        Ok(Ok(found)) => return Some(found),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(reason, "an answer is sent without the catalogue");
    None
}

/// A result, parsed where it is annotated.
enum Tree<'a> {
    Raw(&'a str),
    Array(Vec<Tree<'a>>),
    Object(Vec<Member<'a>>),
}

struct Member<'a> {
    key: Cow<'a, str>,
    value: Tree<'a>,
    id: Option<(IdKind, Option<Id>)>,
    /// It says `false` for an id of this kind.
    unknown: Option<IdKind>,
}

fn build<'a>(annotations: &Annotations, node: &Node, json: &'a RawValue, names: bool) -> Tree<'a> {
    let text = json.get();
    if !(node.known_below || names && node.ids_below) {
        return Tree::Raw(text);
    }
    match text.as_bytes().first() {
        Some(b'[') => {
            let elements = json_members::elements(json).unwrap_or_default();
            Tree::Array(
                elements
                    .into_iter()
                    .map(|element| {
                        annotations.items(node).map_or(Tree::Raw(element.get()), |items| {
                            build(annotations, items, element, names)
                        })
                    })
                    .collect(),
            )
        }
        Some(b'{') => {
            let json_members::Members(members) =
                json_members::members(json).unwrap_or(json_members::Members(Vec::new()));
            let member =
                |(key, value): (Cow<'a, str>, &'a RawValue)| match annotations.member(node, &key) {
                    None => Member { key, value: Tree::Raw(value.get()), id: None, unknown: None },
                    Some(child) => Member {
                        key,
                        value: build(annotations, child, value, names),
                        id: child.id.map(|kind| (kind, serde_json::from_str(value.get()).ok())),
                        unknown: child.known.filter(|_| value.get() == "false"),
                    },
                };
            Tree::Object(members.into_iter().map(member).collect())
        }
        _ => Tree::Raw(text),
    }
}

impl Tree<'_> {
    /// Calls back for each id that has to be looked up.
    fn ids(&self, names: bool, call: &mut impl FnMut(IdKind, &Id)) {
        match self {
            Tree::Raw(_) => {}
            Tree::Array(elements) => elements.iter().for_each(|element| element.ids(names, call)),
            Tree::Object(members) => {
                for member in members {
                    if let (true, Some((kind, Some(id)))) = (names, &member.id) {
                        call(*kind, id);
                    }
                    if let Some((kind, id)) =
                        member.unknown.and_then(|kind| Some((kind, beside(members, kind)?)))
                    {
                        call(kind, id);
                    }
                    member.value.ids(names, call);
                }
            }
        }
    }
}

fn beside<'m>(members: &'m [Member<'_>], kind: IdKind) -> Option<&'m Id> {
    members.iter().find_map(|member| member.id.as_ref().filter(|(of, _)| *of == kind)?.1.as_ref())
}

struct Writer<'w> {
    names: bool,
    found: Option<&'w Names>,
    warnings: &'w mut Vec<Warning>,
    out: &'w mut String,
}

impl<'w> Writer<'w> {
    fn write(&mut self, tree: &Tree<'_>) {
        match tree {
            Tree::Raw(text) => self.out.push_str(text),
            Tree::Array(elements) => {
                self.out.push('[');
                for (n, element) in elements.iter().enumerate() {
                    if n > 0 {
                        self.out.push(',');
                    }
                    self.write(element);
                }
                self.out.push(']');
            }
            Tree::Object(members) => self.object(members),
        }
    }

    fn object(&mut self, members: &[Member<'_>]) {
        self.out.push('{');
        for (n, member) in members.iter().enumerate() {
            if n > 0 {
                self.out.push(',');
            }
            push_text(self.out, &member.key);
            self.out.push(':');
            match member.unknown.and_then(|kind| Some((kind, beside(members, kind)?))) {
                Some((kind, id)) => self.known(kind, id),
                None => self.write(&member.value),
            }
            if let (true, Some((kind, id))) = (self.names, &member.id) {
                self.out.push(',');
                push_text(self.out, &name_key(members, &member.key));
                self.out.push(':');
                match id.as_ref().and_then(|id| self.name(*kind, id)) {
                    Some(name) => push_text(self.out, name),
                    None => self.out.push_str("null"),
                }
            }
        }
        self.out.push('}');
    }

    fn known(&mut self, kind: IdKind, id: &Id) {
        let known = self.name(kind, id).is_some();
        self.out.push_str(if known { "true" } else { "false" });
        // Without a catalogue nothing is known about who is in it.
        if known || self.found.is_none() {
            return;
        }
        let (code, what) = match kind {
            IdKind::User => ("unknown_user", "user"),
            IdKind::Product => ("unknown_product", "product"),
        };
        let id = id::text(id);
        // The plugin may have warned of it in its own words.
        if !self.warnings.iter().any(|told| told.code == code && mentions(&told.detail, &id)) {
            let detail = format!("{what} {id} is not in the catalogue and has no events");
            self.warnings.push(Warning::new(code, detail));
        }
    }

    fn name(&self, kind: IdKind, id: &Id) -> Option<&'w str> {
        let names = self.found?;
        let names = if kind == IdKind::User { &names.users } else { &names.products };
        names.get(id).map(String::as_str)
    }
}

/// Whether a text contains an id as a word of its own.
fn mentions(text: &str, id: &str) -> bool {
    let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(id).any(|(at, _)| {
        apart(text[..at].chars().next_back()) && apart(text[at + id.len()..].chars().next())
    })
}

/// `name`; where an object holds several ids, or has a `name` of its own, `user_name` for
/// `user_id`.
fn name_key(members: &[Member<'_>], id_key: &str) -> String {
    let alone = members.iter().filter(|member| member.id.is_some()).count() == 1;
    if alone && members.iter().all(|member| member.key != "name") {
        return "name".into();
    }
    format!("{}_name", id_key.strip_suffix("_id").unwrap_or(id_key))
}
