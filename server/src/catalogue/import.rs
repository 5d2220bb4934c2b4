//! Users or products from a CSV file.
//!
//! The first line names the columns, in any order. A bad line is reported with its number and the
//! reason, the good ones are written, 2,000 to a transaction; importing the same file again changes
//! nothing. Rows that the file does not name stay. A record of more than 1 MiB, as an unclosed
//! quote makes it, ends the import.

use super::{Catalogue, CatalogueError, Cost, Product, Upserted, User, id};
use crate::bounded::Bounded;
use crate::text;
use csv::ByteRecord;
use std::io::Read;
use thiserror::Error;

/// Rows written in one transaction.
const BATCH: usize = 2_000;

/// Most bytes of a record.
const LONGEST_RECORD: usize = 1 << 20;

/// Refused lines listed one by one; the rest is only counted.
pub const LISTED: usize = 100;

/// Longest name or e-mail address, in bytes.
const LONGEST: usize = 256;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `user_id,user_name,email`; e-mail may be left out.
    Users,
    /// `product_id,product_name,cost`.
    Products,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What became of the good lines.
    pub written: Upserted,
    /// How many lines were refused.
    pub refused: u64,
    /// The first [`LISTED`] of them.
    pub faults: Vec<LineFault>,
    /// Columns that mean nothing here.
    pub warnings: Vec<String>,
}

/// A line that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFault {
    /// Number of the line, the header being 1.
    pub line: u64,
    /// One sentence.
    pub reason: String,
}

/// Why an import did not finish.
#[derive(Debug, Error)]
pub enum ImportError {
    /// The header does not name what is needed.
    #[error("{0}")]
    Header(String),
    /// The file could not be read on.
    #[error(
        "line {line}: the file cannot be read: {reason}; the lines before it were imported; the \
         file can be imported again"
    )]
    Read {
        /// Where.
        line: u64,
        /// Why.
        reason: String,
    },
    /// The catalogue did not take the rows; transactions before stay.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl ImportError {
    /// Whether importing the same file again may succeed, without a change by a person.
    #[must_use]
    pub fn retry_helps(&self) -> bool {
        match self {
            ImportError::Header(_) | ImportError::Read { .. } => false,
            ImportError::Catalogue(fault) => fault.retry_helps(),
        }
    }
}

/// Imports a file. Reading blocks the caller's thread.
///
/// # Errors
/// [`ImportError`].
pub async fn import(
    kind: Kind,
    file: impl Read + Send,
    catalogue: &dyn Catalogue,
) -> Result<Report, ImportError> {
    match kind {
        Kind::Users => {
            run(file, ["user_id", "user_name", "email"], 2, user, |rows| {
                catalogue.upsert_users(rows)
            })
            .await
        }
        Kind::Products => {
            run(file, ["product_id", "product_name", "cost"], 3, product, |rows| {
                catalogue.upsert_products(rows)
            })
            .await
        }
    }
}

async fn run<'c, T>(
    file: impl Read + Send,
    names: [&str; 3],
    needed: usize,
    row: fn([&str; 3]) -> Result<T, String>,
    write: impl Fn(Vec<T>) -> super::CatalogueFuture<'c, Upserted>,
) -> Result<Report, ImportError> {
    let mut reader =
        csv::ReaderBuilder::new().flexible(true).from_reader(Bounded::new(file, LONGEST_RECORD));
    let mut report = Report::default();
    let header = reader.byte_headers().map_err(|error| read_error(1, &error))?.clone();
    if header.iter().any(|cell| cell.starts_with(b"\xFF\xFE") || cell.starts_with(b"\xFE\xFF")) {
        return Err(ImportError::Header("the file is UTF-16: save it as UTF-8".into()));
    }
    let header = text::header(&header).map_err(ImportError::Header)?;
    let columns = columns(&header, names, needed, &mut report.warnings)?;
    // With CRLF the reader is before the LF when a record ends, so it counts one line less.
    let behind = u64::from(reader.position().line() < 2);
    let mut rows = Vec::with_capacity(BATCH);
    let mut record = ByteRecord::new();
    loop {
        let line = reader.position().line() + behind;
        reader.get_mut().allow();
        match reader.read_byte_record(&mut record) {
            Ok(true) if text::is_blank(&record) => continue,
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                write(rows).await?;
                return Err(read_error(line, &error));
            }
        }
        let line = record.position().map_or(line, |position| position.line() + behind);
        match fields(&record, &header, columns).and_then(row) {
            Ok(row) => rows.push(row),
            Err(reason) => {
                report.refused += 1;
                if report.faults.len() < LISTED {
                    report.faults.push(LineFault { line, reason });
                }
            }
        }
        if rows.len() == BATCH {
            report.written +=
                write(std::mem::replace(&mut rows, Vec::with_capacity(BATCH))).await?;
        }
    }
    report.written += write(rows).await?;
    Ok(report)
}

/// The column of each of `names`; the first `needed` must exist.
fn columns(
    header: &[String],
    names: [&str; 3],
    needed: usize,
    warnings: &mut Vec<String>,
) -> Result<[Option<usize>; 3], ImportError> {
    let mut columns = [None; 3];
    for (n, cell) in header.iter().enumerate() {
        match names.iter().position(|name| name == cell) {
            Some(which) => columns[which] = Some(n),
            None => {
                warnings.push(format!("unknown column \"{}\" was ignored", cell.escape_debug()))
            }
        }
    }
    let missing: Vec<&str> = names
        .into_iter()
        .zip(columns)
        .take(needed)
        .filter(|(_, at)| at.is_none())
        .map(|(name, _)| name)
        .collect();
    if missing.is_empty() {
        return Ok(columns);
    }
    let (missing, all) = (missing.join(", "), names.join(","));
    Err(ImportError::Header(format!(
        "the first line does not name {missing}; it must name the columns, as in {all}"
    )))
}

fn fields<'r>(
    record: &'r ByteRecord,
    header: &[String],
    columns: [Option<usize>; 3],
) -> Result<[&'r str; 3], String> {
    if record.len() != header.len() {
        return Err(format!("{} fields, but the header names {}", record.len(), header.len()));
    }
    if text::repeats_header(record, header) {
        return Err("a repeated header".into());
    }
    let mut fields = [""; 3];
    for (field, at) in fields.iter_mut().zip(columns) {
        let bytes = at.and_then(|at| record.get(at)).unwrap_or_default();
        *field = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?.trim();
    }
    Ok(fields)
}

fn user([user_id, user_name, email]: [&str; 3]) -> Result<User, String> {
    Ok(User {
        user_id: id::parse(user_id).map_err(|fault| format!("user_id: {fault}"))?,
        user_name: name("user_name", user_name)?,
        email: if email.is_empty() { None } else { Some(name("email", email)?) },
    })
}

fn product([product_id, product_name, cost]: [&str; 3]) -> Result<Product, String> {
    Ok(Product {
        product_id: id::parse(product_id).map_err(|fault| format!("product_id: {fault}"))?,
        product_name: name("product_name", product_name)?,
        cost: Cost::parse(cost)
            .ok_or("cost: not a number from 0 to 9999999999.99 with at most two places")?,
    })
}

fn name(of: &str, text: &str) -> Result<String, String> {
    match text {
        "" => Err(format!("{of}: empty")),
        _ if text.len() > LONGEST => Err(format!("{of}: more than {LONGEST} bytes")),
        // PostgreSQL's text cannot hold NUL, and no name needs a control character.
        _ if text.chars().any(char::is_control) => Err(format!("{of}: control characters")),
        _ => Ok(text.to_owned()),
    }
}

fn read_error(line: u64, error: &csv::Error) -> ImportError {
    ImportError::Read { line, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;
    use crate::catalogue::embedded::Embedded;
    use tally_plugin::read::Id;

    fn opened() -> (tempfile::TempDir, Embedded) {
        let folder = tempfile::tempdir().unwrap();
        let catalogue = Embedded::open(&folder.path().join("c.db")).unwrap();
        (folder, catalogue)
    }

    #[tokio::test]
    async fn good_lines_are_written_and_bad_ones_named() {
        let (_folder, catalogue) = opened();
        let file = "\u{feff}email,shoe size,user_id,user_name\r\n\
            a@example.com,40,7,Ada\r\n\
            ,41,abc,\"Grace, Hopper\"\r\n\
            ,42,,Nobody\r\n\
            ,43,8,\r\n\
            x,y\r\n\
            ,44,9,Eve\r\n";
        let report = import(Kind::Users, file.as_bytes(), &catalogue).await.unwrap();
        assert_eq!(report.written, Upserted { inserted: 3, ..Upserted::default() });
        let lines: Vec<_> =
            report.faults.iter().map(|fault| (fault.line, fault.reason.as_str())).collect();
        assert_eq!(
            lines,
            [
                (4, "user_id: an id must not be empty"),
                (5, "user_name: empty"),
                (6, "2 fields, but the header names 4")
            ]
        );
        assert_eq!(report.refused, 3);
        assert_eq!(report.warnings, ["unknown column \"shoe size\" was ignored"]);
        let ada = catalogue.user(Id::Integer(7)).await.unwrap().unwrap();
        assert_eq!((ada.user_name.as_str(), ada.email.as_deref()), ("Ada", Some("a@example.com")));

        let again = import(Kind::Users, file.as_bytes(), &catalogue).await.unwrap();
        assert_eq!(again.written, Upserted { unchanged: 3, ..Upserted::default() });
    }

    /// Blanks, line ends, a byte order mark, empty lines and zeros behind the second place mean
    /// nothing; a header that comes again is no row.
    #[tokio::test]
    async fn files_are_read_by_what_they_say_not_by_how_it_is_written() {
        for ends in ["\n", "\r\n", "\r"] {
            let (_folder, catalogue) = opened();
            let lines = [
                "\u{feff}product_id , product_name,cost",
                "1, A ,19.9900",
                "  ",
                "2,B, 0012.5 ",
                "",
                "product_id,product_name,cost",
                "3,C,12.345",
                "4,D,7.0000000000000",
            ];
            let report =
                import(Kind::Products, lines.join(ends).as_bytes(), &catalogue).await.unwrap();
            let faults: Vec<&str> =
                report.faults.iter().map(|fault| fault.reason.as_str()).collect();
            assert_eq!(faults.len(), 2, "{ends:?}: {faults:?}");
            assert!(
                faults[0] == "a repeated header" && faults[1].starts_with("cost: "),
                "{ends:?}: {faults:?}"
            );
            for (id, name, cost) in [(1, "A", "19.99"), (2, "B", "12.50"), (4, "D", "7.00")] {
                let product = catalogue.product(Id::Integer(id)).await.unwrap().unwrap();
                assert_eq!(
                    (product.product_name.as_str(), product.cost.to_string().as_str()),
                    (name, cost),
                    "{ends:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn many_lines_go_in_several_transactions_and_the_list_of_faults_is_bounded() {
        let (_folder, catalogue) = opened();
        let mut file = String::from("product_id,product_name,cost\n");
        for id in 0..2_500 {
            file += &format!("{id},thing,{}\n", if id % 10 == 0 { "free" } else { "1.50" });
        }
        let report = import(Kind::Products, file.as_bytes(), &catalogue).await.unwrap();
        assert_eq!(
            (report.written.inserted, report.refused, report.faults.len()),
            (2_250, 250, LISTED)
        );
        assert!(report.faults[0].reason.starts_with("cost: "));
    }

    #[tokio::test]
    async fn a_header_without_what_is_needed_is_refused() {
        let (_folder, catalogue) = opened();
        for file in ["", "1,Ada\n", "user_id\n1\n", "user_id,user_id,user_name\n"] {
            let error = import(Kind::Users, file.as_bytes(), &catalogue).await.unwrap_err();
            assert!(matches!(error, ImportError::Header(_)), "{file:?}: {error}");
        }
    }

    #[tokio::test]
    async fn a_quote_that_is_never_closed_ends_the_import_where_it_stands() {
        let (_folder, catalogue) = opened();
        let file = b"user_id,user_name\n1,Ada\n2,\"Bob\n".chain(std::io::repeat(b'x'));
        let error = import(Kind::Users, file, &catalogue).await.unwrap_err();
        assert!(
            matches!(&error, ImportError::Read { line: 3, reason } if reason.contains("quote")),
            "{error}"
        );
        assert!(
            catalogue.user(Id::Integer(1)).await.unwrap().is_some(),
            "the lines before it were imported"
        );
    }

    #[tokio::test]
    async fn bytes_that_are_not_utf8_refuse_their_line_only() {
        let (_folder, catalogue) = opened();
        let file = b"user_id,user_name\n1,\xff\n2,Bob\n";
        let report = import(Kind::Users, file.as_slice(), &catalogue).await.unwrap();
        assert_eq!((report.written.inserted, report.refused), (1, 1));
        assert_eq!(report.faults[0], LineFault { line: 2, reason: "not UTF-8".into() });
    }
}
