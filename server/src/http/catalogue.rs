//! Users and products over HTTP: a page of them, or a single one.

use super::codes::Code;
use super::problem::Problem;
use super::query_pairs::{QueryPairs, RawPairs};
use super::rows::RowSource;
use super::{App, answer};
use crate::catalogue::{CatalogueError, CatalogueFuture, Page, id};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tally_plugin::read::Id;
use tokio::time::timeout;

/// Rows of a page by default.
const LIMIT: usize = 50;

/// Most rows of a page.
const MOST: usize = 1_000;

/// The known keys of a list's query.
const KEYS: [&str; 2] = ["limit", "cursor"];

type Named = Result<Path<String>, PathRejection>;

#[derive(Serialize)]
struct PageReply<T> {
    items: Vec<T>,
    next: Option<String>,
}

pub(crate) async fn users(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    query: RawPairs,
) -> Result<Response, Problem> {
    list_rows(
        (&headers, app.limits.catalogue),
        query,
        'u',
        |page| app.catalogue.users(page),
        |user| &user.user_id,
    )
    .await
}

pub(crate) async fn products(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    query: RawPairs,
) -> Result<Response, Problem> {
    list_rows(
        (&headers, app.limits.catalogue),
        query,
        'p',
        |page| app.catalogue.products(page),
        |product| &product.product_id,
    )
    .await
}

pub(crate) async fn user(State(app): State<Arc<App>>, named: Named) -> Result<Response, Problem> {
    find_row(app.limits.catalogue, named, "user", |id| app.catalogue.user(id)).await
}

pub(crate) async fn product(
    State(app): State<Arc<App>>,
    named: Named,
) -> Result<Response, Problem> {
    find_row(app.limits.catalogue, named, "product", |id| app.catalogue.product(id)).await
}

async fn list_rows<'c, T: Serialize>(
    (headers, limit): (&HeaderMap, Duration),
    query: RawPairs,
    kind: char,
    list: impl Fn(Page) -> CatalogueFuture<'c, Vec<T>>,
    id: impl Fn(&T) -> &Id,
) -> Result<Response, Problem> {
    let Page { after, limit: rows } = parse_page(query, kind)?;
    // One row more than requested shows whether there is a next page.
    let mut items = call_catalogue(limit, list(Page { after, limit: rows + 1 })).await?;
    let more = items.len() > rows;
    items.truncate(rows);
    let next = items.last().filter(|_| more).map(|last| encode_cursor(kind, id(last)));
    let page = PageReply { items, next };
    answer::list(headers, RowSource::ITEMS, &page, page.next.as_deref()).await
}

async fn find_row<'c, T: Serialize>(
    limit: Duration,
    named: Named,
    what: &str,
    find: impl Fn(Id) -> CatalogueFuture<'c, Option<T>>,
) -> Result<Response, Problem> {
    let pointer = format!("/{what}_id");
    let Path(text) =
        named.map_err(|_| Problem::fault(Code::InvalidParams, &pointer, "an id must be UTF-8"))?;
    let id = id::parse(&text)
        .map_err(|fault| Problem::fault(Code::InvalidParams, &pointer, fault.to_string()))?;
    match call_catalogue(limit, find(id)).await? {
        Some(row) => Ok(answer::json(&row)),
        None => {
            let code = if what == "user" { Code::UserNotFound } else { Code::ProductNotFound };
            Err(Problem::new(code, format!("{what} \"{text}\" not found in the catalogue")))
        }
    }
}

async fn call_catalogue<T>(limit: Duration, call: CatalogueFuture<'_, T>) -> Result<T, Problem> {
    let reason = match timeout(limit, call).await {
        Ok(Ok(done)) => return Ok(done),
        Ok(Err(CatalogueError::Unavailable(reason) | CatalogueError::Refused(reason))) => reason,
        Ok(Err(overloaded @ CatalogueError::Overloaded)) => {
            return Err(Problem::overloaded(&overloaded.to_string()));
        }
        Err(_) => format!("no answer within {limit:?}"),
    };
    tracing::warn!(reason, "the catalogue is unavailable");
    let detail = "the catalogue cannot be read now";
    Err(Problem::unavailable(Code::CatalogueUnavailable, detail, true))
}

fn parse_page(query: RawPairs, kind: char) -> Result<Page, Problem> {
    let mut query = QueryPairs::new(query, &KEYS, Code::InvalidParams)?;
    let limit = query.integer("limit", 1..=MOST).unwrap_or(LIMIT);
    let cursor = |text: &str| decode_cursor(kind, text);
    let detail = "cursor is not the `next` of a page of this listing";
    let after = query.read("cursor", cursor, detail);
    query.finish(Page { after, limit })
}

/// The position after a row, opaque to the caller: its kind and id in hexadecimal.
fn encode_cursor(kind: char, id: &Id) -> String {
    format!("{kind}{}", id::text(id)).bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn decode_cursor(kind: char, cursor: &str) -> Option<Id> {
    let bytes: Option<Vec<u8>> = cursor
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let text = String::from_utf8(bytes?).ok()?;
    let parsed = id::parse(text.strip_prefix(kind)?).ok()?;
    // Only cursors that were given out: no other spelling of one.
    (encode_cursor(kind, &parsed) == cursor).then_some(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_listing_only() {
        for id in [Id::Integer(7), Id::Text("é/1".into())] {
            assert_eq!(decode_cursor('u', &encode_cursor('u', &id)), Some(id.clone()));
            assert_eq!(decode_cursor('p', &encode_cursor('u', &id)), None);
        }
        for garbage in ["x", "7", "75", "+1", "7537a", "é", "75é", "7500", "753G"] {
            assert_eq!(decode_cursor('u', garbage), None, "{garbage}");
        }
    }
}
