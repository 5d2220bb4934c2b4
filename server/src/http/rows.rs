//! Lists, series and other answers as rows: CSV (RFC 4180, with a header line), or NDJSON.
//!
//! Rows are the elements of a list; the steps of a series; where groups have a series each, the
//! steps of each group with the group before them; else the elements of the one array of objects in
//! a result, or of several arrays, each under the array's name; else the result itself. Columns
//! are named by the path of what they hold, joined by dots; no two have one name. Numbers keep
//! their digits. What a cell says is in `csv_cells`. Knows no metric and no list by name; decides
//! nothing about sizes but the one bound that it is given.

use super::csv_cells::CellReader;
use super::json_members::{self, Members, in_one_line, push_text};
use super::{accept, csv_cells};
use axum::http::{HeaderMap, HeaderValue, header};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use thiserror::Error;

const CSV: &str = "text/csv";
const NDJSON: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// How deep objects are taken apart into columns; what lies deeper is shown as JSON.
const DEPTH: usize = 16;

/// The member in which results and groups have their steps.
const SERIES: &str = "series";

/// What rows are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowForm {
    Csv,
    Ndjson,
}

impl RowForm {
    /// The one that a client prefers to JSON as it is; `None`: JSON.
    pub(crate) fn preferred(headers: &HeaderMap) -> Option<RowForm> {
        let accept = headers.get(header::ACCEPT)?;
        // Nearly all that is asked.
        if accept == "*/*" || accept == "application/json" {
            return None;
        }
        let [first, second, third] = NDJSON;
        let preferred = accept::preferred(headers, &[CSV, first, second, third])?;
        Some(if preferred == CSV { RowForm::Csv } else { RowForm::Ndjson })
    }

    /// Its media type.
    pub(crate) fn kind(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            RowForm::Csv => "text/csv; charset=utf-8; header=present",
            RowForm::Ndjson => NDJSON[0],
        })
    }
}

/// Where a body has its rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowSource {
    /// The member that is the list; `None`: wherever a result has them.
    list: Option<&'static str>,
    /// Members of a row that are one column, whatever they hold.
    whole: &'static [&'static str],
}

impl RowSource {
    /// The result of a metric.
    pub(crate) const RESULT: RowSource = RowSource { list: None, whole: &[] };

    /// A page of a list.
    pub(crate) const ITEMS: RowSource = RowSource { list: Some("items"), whole: &[] };

    /// The list of metrics: schemas are not columns.
    pub(crate) const METRICS: RowSource =
        RowSource { list: Some("metrics"), whole: &["params_schema", "result_schema", "config"] };

    /// The list of sections.
    pub(crate) const SECTIONS: RowSource =
        RowSource { list: Some("sections"), whole: &["section"] };
}

/// Why there are no rows. No retry helps.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum RowsFault {
    /// They would have more bytes than this.
    #[error("as rows the answer would have more than {0} bytes: ask for less, or for JSON")]
    TooLarge(usize),
    /// What should be JSON is none.
    #[error("the answer is not JSON")]
    NotJson,
}

/// The rows of a body, at most so many bytes of them.
pub(crate) fn text(
    form: RowForm,
    source: RowSource,
    json: &str,
    most: usize,
) -> Result<String, RowsFault> {
    let whole: &RawValue = serde_json::from_str(json).map_err(|_| RowsFault::NotJson)?;
    match form {
        RowForm::Csv => csv_text(source, whole, CellReader::Spreadsheet, most),
        RowForm::Ndjson => lines_text(source, whole, most),
    }
}

/// The rows of a result as CSV of any length, for a reader that shows them to a person: texts are as
/// they are, also those that a spreadsheet would take for formulas. Nothing where there are none.
pub(crate) fn rows_for_people(result: &str) -> String {
    let rows = |whole| csv_text(RowSource::RESULT, whole, CellReader::Person, usize::MAX).ok();
    serde_json::from_str(result).ok().and_then(rows).unwrap_or_default()
}

/// What is called with each row.
type EachRow<'c, 'a> = &'c mut dyn FnMut(&Members<'a>) -> Result<(), RowsFault>;

fn each_row<'a>(
    source: RowSource,
    whole: &'a RawValue,
    call: EachRow<'_, 'a>,
) -> Result<(), RowsFault> {
    let Some(Members(members)) = members_of(whole) else {
        let elements = json_members::elements(whole).unwrap_or_else(|| vec![whole]);
        return elements.into_iter().try_for_each(|element| call(&row(element)));
    };
    if let Some(list) = source.list {
        let found = members.into_iter().find(|(name, _)| name == list);
        let elements = found.and_then(|(_, list)| json_members::elements(list));
        return elements.into_iter().flatten().try_for_each(|element| call(&row(element)));
    }
    let arrays: Vec<(Cow<'a, str>, Vec<&'a RawValue>)> = members
        .into_iter()
        .filter_map(|(name, value)| objects(value).map(|elements| (name, elements)))
        .collect();
    if let Some((_, steps)) = arrays.iter().find(|(name, _)| name == SERIES) {
        return steps.iter().copied().try_for_each(|step| call(&row(step)));
    }
    match arrays.as_slice() {
        [] => call(&row(whole)),
        [(_, elements)] => {
            elements.iter().copied().try_for_each(|element| each_step(element, call))
        }
        several => several.iter().try_for_each(|(name, elements)| {
            let named = |element| Members(vec![(name.clone(), element)]);
            elements.iter().copied().try_for_each(|element| call(&named(element)))
        }),
    }
}

/// The steps of a group, with what else the group has before each; without steps, the group.
fn each_step<'a>(group: &'a RawValue, call: EachRow<'_, 'a>) -> Result<(), RowsFault> {
    let Members(mut members) = row(group);
    let at = members.iter().position(|(name, _)| name == SERIES);
    let Some((at, steps)) = at.and_then(|at| Some((at, objects(members[at].1)?))) else {
        return call(&Members(members));
    };
    let (name, _) = members.remove(at);
    for step in steps {
        members.push((name.clone(), step));
        let row = Members(members);
        call(&row)?;
        members = row.0;
        members.pop();
    }
    Ok(())
}

/// A row for an element: its members, or a single one where it has none.
fn row(element: &RawValue) -> Members<'_> {
    members_of(element).unwrap_or_else(|| Members(vec![("value".into(), element)]))
}

fn members_of(value: &RawValue) -> Option<Members<'_>> {
    value.get().starts_with('{').then(|| json_members::members(value)).flatten()
}

/// The elements of an array, if all of them are objects.
fn objects(value: &RawValue) -> Option<Vec<&RawValue>> {
    let elements = value.get().starts_with('[').then(|| json_members::elements(value)).flatten()?;
    elements.iter().all(|element| element.get().starts_with('{')).then_some(elements)
}

fn lines_text(source: RowSource, whole: &RawValue, most: usize) -> Result<String, RowsFault> {
    let mut out = String::new();
    each_row(source, whole, &mut |Members(members)| {
        out.push('{');
        for (n, (name, value)) in members.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            push_text(&mut out, name);
            out.push(':');
            out.push_str(&in_one_line(value));
        }
        out.push_str("}\n");
        bounded(out.len(), most)
    })?;
    Ok(out)
}

fn bounded(bytes: usize, most: usize) -> Result<(), RowsFault> {
    if bytes > most { Err(RowsFault::TooLarge(most)) } else { Ok(()) }
}

fn csv_text(
    source: RowSource,
    whole: &RawValue,
    reader: CellReader,
    most: usize,
) -> Result<String, RowsFault> {
    let mut columns = Columns::default();
    each_row(source, whole, &mut |row| {
        columns.add_row(row, source);
        Ok(())
    })?;
    let mut names = Vec::new();
    columns.number(None, reader, &mut names);
    if names.is_empty() {
        return Ok(String::new());
    }
    let mut out =
        csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    let too_large = |_| RowsFault::TooLarge(most);
    out.write_record(&names).map_err(too_large)?;
    let mut cells = Vec::new();
    each_row(source, whole, &mut |row| {
        cells.clear();
        cells.resize(names.len(), Cow::Borrowed(""));
        columns.fill_row(row, source, reader, &mut cells);
        out.write_record(cells.iter().map(|cell| cell.as_bytes())).map_err(too_large)?;
        bounded(out.get_ref().len(), most)
    })?;
    // The writer has kept some of it back.
    let bytes = out.into_inner().map_err(|_| RowsFault::TooLarge(most))?;
    bounded(bytes.len(), most)?;
    String::from_utf8(bytes).map_err(|_| RowsFault::NotJson)
}

/// The columns below a name, in the order in which rows brought them.
#[derive(Default)]
struct Columns {
    /// Its place in a row, if rows have a value here and not only below.
    place: Option<usize>,
    below: Vec<(String, Columns)>,
    /// Where each of them is.
    places: HashMap<String, usize>,
}

impl Columns {
    fn below(&mut self, name: &str) -> &mut Columns {
        let at = match self.places.get(name) {
            Some(at) => *at,
            None => {
                self.places.insert(name.to_owned(), self.below.len());
                self.below.push((name.to_owned(), Columns::default()));
                self.below.len() - 1
            }
        };
        &mut self.below[at].1
    }

    fn add_row(&mut self, Members(members): &Members<'_>, source: RowSource) {
        for (name, value) in members {
            let depth = if source.whole.contains(&&**name) { DEPTH } else { 1 };
            self.below(name).add(value, depth);
        }
    }

    fn add(&mut self, value: &RawValue, depth: usize) {
        match taken_apart(value, depth) {
            Some(Members(members)) => {
                members.iter().for_each(|(name, value)| self.below(name).add(value, depth + 1));
            }
            None => self.place = Some(0),
        }
    }

    /// Gives each its place in a row, and lists their names.
    fn number(&mut self, path: Option<&str>, reader: CellReader, names: &mut Vec<String>) {
        if let (Some(place), Some(path)) = (&mut self.place, path) {
            *place = names.len();
            names.push(csv_cells::column_name(path, reader));
        }
        for (name, columns) in &mut self.below {
            let part = csv_cells::column_part(name);
            let path = path.map_or_else(|| part.clone(), |path| format!("{path}.{part}"));
            columns.number(Some(&path), reader, names);
        }
    }

    fn fill_row<'a>(
        &self,
        Members(members): &Members<'a>,
        source: RowSource,
        reader: CellReader,
        cells: &mut [Cow<'a, str>],
    ) {
        for (name, value) in members {
            let depth = if source.whole.contains(&&**name) { DEPTH } else { 1 };
            if let Some(at) = self.places.get(&**name) {
                self.below[*at].1.fill(value, depth, reader, cells);
            }
        }
    }

    fn fill<'a>(
        &self,
        value: &'a RawValue,
        depth: usize,
        reader: CellReader,
        cells: &mut [Cow<'a, str>],
    ) {
        match taken_apart(value, depth) {
            Some(Members(members)) => {
                for (name, value) in members {
                    if let Some(at) = self.places.get(&*name) {
                        self.below[*at].1.fill(value, depth + 1, reader, cells);
                    }
                }
            }
            None => {
                if let Some(place) = self.place {
                    cells[place] = csv_cells::cell_text(value, reader);
                }
            }
        }
    }
}

/// The members of an object that are columns of their own.
fn taken_apart(value: &RawValue, depth: usize) -> Option<Members<'_>> {
    if depth < DEPTH { members_of(value) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv_of(source: RowSource, json: &str) -> String {
        text(RowForm::Csv, source, json, 1 << 20).expect("there are rows")
    }

    fn lines_of(source: RowSource, json: &str) -> String {
        text(RowForm::Ndjson, source, json, 1 << 20).expect("there are rows")
    }

    #[test]
    fn steps_of_a_series_are_rows() {
        let json = r#"{"total":3,"by_type":{"view":3},"series":[
            {"start":"a","total":1,"by_type":{}},
            {"start":"b","total":2.50,"by_type":{"view":1,"buy":1},"partial":true}],"products":[{"x":1}]}"#;
        assert_eq!(
            csv_of(RowSource::RESULT, json),
            "start,total,by_type.view,by_type.buy,partial\r\na,1,,,\r\nb,2.50,1,1,true\r\n"
        );
        assert_eq!(
            lines_of(RowSource::RESULT, json),
            "{\"start\":\"a\",\"total\":1,\"by_type\":{}}\n\
             {\"start\":\"b\",\"total\":2.50,\"by_type\":{\"view\":1,\"buy\":1},\"partial\":true}\n"
        );
    }

    #[test]
    fn groups_with_a_series_each_are_a_row_for_each_step() {
        let json = r#"{"total":3,"products":[
            {"product_id":10,"series":[{"start":"a","total":1},{"start":"b","total":2}],"share":0.5},
            {"product_id":"x","series":[]},{"product_id":7}]}"#;
        assert_eq!(
            csv_of(RowSource::RESULT, json),
            "product_id,share,series.start,series.total\r\n10,0.5,a,1\r\n10,0.5,b,2\r\n7,,,\r\n"
        );
        let first = "{\"product_id\":10,\"share\":0.5,\"series\":{\"start\":\"a\",\"total\":1}}\n";
        assert!(lines_of(RowSource::RESULT, json).starts_with(first));
    }

    #[test]
    fn else_the_arrays_of_objects_are_rows_or_the_result_is() {
        let one = r#"{"total":3,"products":[{"rank":1,"id":"a"},{"rank":2,"id":null}]}"#;
        assert_eq!(csv_of(RowSource::RESULT, one), "rank,id\r\n1,a\r\n2,\r\n");
        assert_eq!(csv_of(RowSource::RESULT, r#"{"total":0,"products":[]}"#), "");
        let several = r#"{"stages":[{"n":1}],"products":[{"n":2},{"n":3}]}"#;
        assert_eq!(csv_of(RowSource::RESULT, several), "stages.n,products.n\r\n1,\r\n,2\r\n,3\r\n");
        assert_eq!(
            lines_of(RowSource::RESULT, several).lines().next(),
            Some(r#"{"stages":{"n":1}}"#)
        );
        let none = r#"{"total":11,"share":{"buy":0.1,"view":0.9},"types":["a","b;c"]}"#;
        assert_eq!(
            csv_of(RowSource::RESULT, none),
            "total,share.buy,share.view,types\r\n11,0.1,0.9,a;b;c\r\n"
        );
        assert_eq!(csv_of(RowSource::RESULT, "42"), "value\r\n42\r\n");
        assert_eq!(
            csv_of(RowSource::RESULT, "[1,\"x\",{\"value\":2}]"),
            "value\r\n1\r\nx\r\n2\r\n"
        );
        assert_eq!(lines_of(RowSource::RESULT, "[1,\"x\"]"), "{\"value\":1}\n{\"value\":\"x\"}\n");
    }

    #[test]
    fn no_two_columns_have_one_name() {
        let json = r#"{"items":[{"a.b":1,"a":{"b":2,"c\\d":"-3"},"":{"x":4},"x":5,"=1":-6}]}"#;
        let expected = "a\\.b,a.b,a.c\\\\d,.x,x,'=1\r\n1,2,'-3,4,5,-6\r\n";
        assert_eq!(csv_of(RowSource::ITEMS, json), expected);
    }

    #[test]
    fn lists_are_rows_and_schemas_are_not_columns() {
        let page = r#"{"items":[{"id":1,"cost":290.00},{"id":2,"cost":1}],"next":"x"}"#;
        assert_eq!(csv_of(RowSource::ITEMS, page), "id,cost\r\n1,290.00\r\n2,1\r\n");
        assert_eq!(
            lines_of(RowSource::ITEMS, page),
            "{\"id\":1,\"cost\":290.00}\n{\"id\":2,\"cost\":1}\n"
        );
        let metrics = r#"{"metrics":[{"name":"a","config":{"x":1},"cost":{"cells":1},"tiers":[{"keep":"all"}]}],"rejected":[{}]}"#;
        assert_eq!(
            csv_of(RowSource::METRICS, metrics),
            "name,config,cost.cells,tiers\r\na,\"{\"\"x\"\":1}\",1,\"[{\"\"keep\"\":\"\"all\"\"}]\"\r\n"
        );
        assert_eq!(csv_of(RowSource::ITEMS, r#"{"items":[]}"#), "");
    }

    #[test]
    fn texts_are_quoted_where_they_have_to_be_and_columns_of_one_name_stay_together() {
        let json = r#"{"items":[{"a":{"x":1},"n":"c,d"},{"a":7,"n":"say \"hi\""},{"a":{"y":2},"n":"two\nlines"}]}"#;
        assert_eq!(
            csv_of(RowSource::ITEMS, json),
            "a,a.x,a.y,n\r\n,1,,\"c,d\"\r\n7,,,\"say \"\"hi\"\"\"\r\n,,2,\"two\nlines\"\r\n"
        );
        let broken = "{\"items\":[{\"a\":{\"x\" :\n1}}]}";
        assert_eq!(lines_of(RowSource::ITEMS, broken), "{\"a\":{\"x\" : 1}}\n");
    }

    #[test]
    fn what_is_too_large_or_too_deep_is_neither_cut_nor_followed() {
        let row = format!("{{\"k{{n}}\":\"{}\"}}", "x".repeat(10));
        let rows: Vec<String> = (0..1_000).map(|n| row.replace("{n}", &n.to_string())).collect();
        let json = format!("{{\"items\":[{}]}}", rows.join(","));
        for form in [RowForm::Csv, RowForm::Ndjson] {
            let refused = text(form, RowSource::ITEMS, &json, 10_000);
            assert_eq!(refused, Err(RowsFault::TooLarge(10_000)));
        }
        assert_eq!(text(RowForm::Csv, RowSource::RESULT, "{", 1), Err(RowsFault::NotJson));
        let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        let shown = csv_of(RowSource::RESULT, &deep);
        assert!(
            shown.starts_with(&format!("{}\r\n\"{{\"\"a\"\":", ["a"; DEPTH].join("."))),
            "{shown}"
        );
    }

    #[test]
    fn rows_are_given_only_to_who_prefers_them() {
        let form = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            RowForm::preferred(&headers)
        };
        assert_eq!(form("text/csv"), Some(RowForm::Csv));
        for lines in NDJSON {
            assert_eq!(form(lines), Some(RowForm::Ndjson));
        }
        for json in ["*/*", "application/json", "text/html", "application/json, text/csv"] {
            assert_eq!(form(json), None, "{json}");
        }
        assert_eq!(RowForm::preferred(&HeaderMap::new()), None);
    }
}
