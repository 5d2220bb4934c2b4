//! Reads texts of files and callers by one set of rules: byte order marks, blanks, line ends,
//! headers, and events as lines or as an array over any number of lines.
//!
//! Nothing in a text is skipped silently: a piece that is not a value is returned as it is, and the
//! caller judges it. It does not judge JSON.

use csv::ByteRecord;
use std::io::{BufRead, Error, ErrorKind};

/// What a text in UTF-8 may begin with.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// A text without a byte order mark.
#[must_use]
pub fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(MARK).unwrap_or(text)
}

/// The lines of a text that hold anything, without blanks around them: they end with LF, CR LF or
/// CR.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let line = |line| without_mark(<[u8]>::trim_ascii(line)).trim_ascii();
    text.split(|byte| matches!(byte, b'\n' | b'\r')).map(line).filter(|line| !line.is_empty())
}

/// The names of columns in the first line of a CSV file, without blanks around them.
///
/// # Errors
/// A header names a column twice, so that one of the two would be lost.
pub fn header(cells: &ByteRecord) -> Result<Vec<String>, String> {
    let name = |cell: &[u8]| String::from_utf8_lossy(without_mark(cell)).trim().to_owned();
    let names: Vec<String> = cells.iter().map(name).collect();
    for (n, name) in names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
        if names[..n].contains(name) {
            return Err(format!("the header names {name} twice"));
        }
    }
    Ok(names)
}

/// Whether a line of a CSV file holds nothing: it is no row.
#[must_use]
pub fn is_blank(row: &ByteRecord) -> bool {
    row.len() <= 1 && row.iter().all(|cell| cell.trim_ascii().is_empty())
}

/// Whether a row repeats the header, as where files were put together.
#[must_use]
pub fn repeats_header(row: &ByteRecord, header: &[String]) -> bool {
    row.len() == header.len()
        && row
            .iter()
            .zip(header)
            .all(|(cell, name)| without_mark(cell).trim_ascii() == name.as_bytes())
}

/// A value of a text, unchanged.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Its bytes; `None`: they are more than may be.
    pub bytes: Option<Vec<u8>>,
    /// The line on which it begins, from 1 on.
    pub line: u64,
    /// Which element of an array it is, from 0 on, counted over all arrays of the text; `None`: it
    /// is a line.
    pub element: Option<u64>,
}

/// The values of a text: each line is one, and each element of an array that begins where a line
/// does. Holds one at a time.
pub struct Values<R> {
    reader: R,
    longest: usize,
    line: u64,
    begun: bool,
    /// Whether an array is open.
    in_array: bool,
    elements: u64,
}

impl<R: BufRead> Values<R> {
    /// The values of a text; longer ones than so many bytes are named and passed over.
    pub fn new(reader: R, longest: usize) -> Values<R> {
        Values { reader, longest, line: 1, begun: false, in_array: false, elements: 0 }
    }

    /// The next one; `None`: there are no more.
    ///
    /// # Errors
    /// The text cannot be read, or ends within an array. The line is that of [`Values::line`].
    pub fn read(&mut self) -> std::io::Result<Option<Found>> {
        if !std::mem::replace(&mut self.begun, true) {
            self.refuse_utf16()?;
        }
        loop {
            self.skip_blanks()?;
            match (self.peek()?, self.in_array) {
                (None, false) => return Ok(None),
                (None, true) => {
                    return Err(Error::new(ErrorKind::InvalidData, "it ends within an array"));
                }
                (Some(b'['), false) => {
                    self.bump()?;
                    self.in_array = true;
                }
                (Some(b']'), true) => {
                    self.bump()?;
                    self.in_array = false;
                }
                (Some(_), false) => return self.take_line().map(Some),
                (Some(_), true) => return self.take_element().map(Some),
            }
        }
    }

    /// Its line.
    pub fn line(&self) -> u64 {
        self.line
    }

    fn peek(&mut self) -> std::io::Result<Option<u8>> {
        Ok(self.reader.fill_buf()?.first().copied())
    }

    /// Consumes a byte that was read ahead. A line ends with LF, CR LF or CR.
    fn bump(&mut self) -> std::io::Result<()> {
        let byte = self.peek()?;
        self.reader.consume(1);
        match byte {
            Some(b'\r') if self.peek()? == Some(b'\n') => self.reader.consume(1),
            Some(b'\r' | b'\n') => {}
            _ => return Ok(()),
        }
        self.line += 1;
        Ok(())
    }

    /// Blanks and byte order marks; the latter are also found between files that were concatenated.
    fn skip_blanks(&mut self) -> std::io::Result<()> {
        loop {
            match self.peek()? {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.bump()?,
                Some(first) if first == MARK[0] => {
                    for expected in MARK {
                        if self.peek()? != Some(*expected) {
                            return Err(Error::new(ErrorKind::InvalidData, "it is not UTF-8"));
                        }
                        self.reader.consume(1);
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn refuse_utf16(&mut self) -> std::io::Result<()> {
        match self.reader.fill_buf()? {
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
                Err(Error::new(ErrorKind::InvalidData, "it is UTF-16: save it as UTF-8"))
            }
            _ => Ok(()),
        }
    }

    fn take_line(&mut self) -> std::io::Result<Found> {
        let (line, mut taken) = (self.line, Taken::new(self.longest));
        while let Some(byte) = self.peek()? {
            if matches!(byte, b'\n' | b'\r') {
                break;
            }
            taken.push(byte);
            self.reader.consume(1);
        }
        Ok(Found { bytes: taken.done(), line, element: None })
    }

    /// Up to the comma or the bracket after it, whatever is in between.
    fn take_element(&mut self) -> std::io::Result<Found> {
        let (line, element, mut taken) = (self.line, self.elements, Taken::new(self.longest));
        let (mut depth, mut quoted, mut escaped) = (0_u32, false, false);
        loop {
            let Some(byte) = self.peek()? else {
                return Err(Error::new(ErrorKind::InvalidData, "it ends within an array"));
            };
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ if quoted => {}
                b'{' | b'[' => depth += 1,
                b',' if depth == 0 => {
                    self.reader.consume(1);
                    break;
                }
                b']' if depth == 0 => break,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            taken.push(byte);
            self.bump()?;
        }
        self.elements += 1;
        Ok(Found { bytes: taken.done(), line, element: Some(element) })
    }
}

/// Bytes up to some number.
struct Taken {
    bytes: Vec<u8>,
    longest: usize,
    too_many: bool,
}

impl Taken {
    fn new(longest: usize) -> Taken {
        Taken { bytes: Vec::new(), longest, too_many: false }
    }

    fn push(&mut self, byte: u8) {
        self.too_many |= self.bytes.len() == self.longest;
        if !self.too_many {
            self.bytes.push(byte);
        }
    }

    fn done(mut self) -> Option<Vec<u8>> {
        let end = self.bytes.trim_ascii_end().len();
        self.bytes.truncate(end);
        (!self.too_many).then_some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn values(text: &[u8]) -> Vec<(u64, String, Option<u64>)> {
        // Two bytes at a time, so that nothing rests on where a buffer ends.
        let mut values = Values::new(std::io::BufReader::with_capacity(2, text), 20);
        let mut all = Vec::new();
        while let Some(Found { bytes, line, element }) = values.read().unwrap() {
            let text =
                bytes.map_or("too long".to_owned(), |bytes| String::from_utf8(bytes).unwrap());
            all.push((line, text, element));
        }
        all
    }

    fn lined(text: &str) -> Vec<(u64, String)> {
        values(text.as_bytes()).into_iter().map(|(line, text, _)| (line, text)).collect()
    }

    #[test]
    fn line_ends_blanks_and_marks_mean_nothing() {
        let expected =
            [(1, "{\"a\":1}".to_owned()), (3, "{\"b\" :2}".to_owned()), (4, "7".to_owned())];
        for text in [
            "{\"a\":1}\n\n{\"b\" :2}\n7\n",
            "\u{feff}{\"a\":1}\r\n \t\r\n  {\"b\" :2}  \r\n7",
            "\u{feff}{\"a\":1}\r\r{\"b\" :2}\r\u{feff}7\r",
        ] {
            assert_eq!(lined(text), expected, "{text:?}");
            let texts: Vec<&[u8]> = lines(text.as_bytes()).collect();
            assert_eq!(texts, ["{\"a\":1}", "{\"b\" :2}", "7"].map(str::as_bytes), "{text:?}");
        }
        assert!(lined("\u{feff}").is_empty() && lined(" \n\r\n").is_empty());
    }

    #[test]
    fn an_array_over_any_number_of_lines_is_its_elements() {
        let found = values(b"[\n {\"a\":\n \"],[\"},\r\n 7,[1,2]] \n{\"b\":1}\n[\"x\\\"]\", {}]");
        let expected = [
            (2, "{\"a\":\n \"],[\"}", Some(0)),
            (4, "7", Some(1)),
            (4, "[1,2]", Some(2)),
            (5, "{\"b\":1}", None),
            (6, "\"x\\\"]\"", Some(3)),
            (6, "{}", Some(4)),
        ];
        assert_eq!(found, expected.map(|(line, text, element)| (line, text.to_owned(), element)));
        assert!(lined("[]").is_empty() && lined(" [ ] \n[]").is_empty());
        assert_eq!(
            lined("[{\"a\":1} {\"b\":2}]")[0].1,
            "{\"a\":1} {\"b\":2}",
            "for whoever judges it"
        );
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let fault = |text: &[u8]| {
            let mut values = Values::new(text, 100);
            loop {
                match values.read() {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(error) => return Some(error.to_string()),
                }
            }
        };
        assert!(fault(b"[1,\n2").is_some_and(|fault| fault.contains("within an array")));
        assert!(fault(b"\xFF\xFE{\0}\0").is_some_and(|fault| fault.contains("UTF-16")));
        assert!(fault(b"\xEFx").is_some_and(|fault| fault.contains("UTF-8")));
        assert_eq!(fault(b"{not json"), None, "others judge that");
        assert_eq!(lined("123456789012345678901\n1")[0].1, "too long");
        assert_eq!(lined("[123456789012345678901,1]"), [(1, "too long".into()), (1, "1".into())]);
    }

    #[test]
    fn a_header_that_names_a_column_twice_is_refused_and_one_that_comes_again_is_known() {
        let record = |cells: &[&str]| ByteRecord::from(cells.to_vec());
        let names = header(&record(&["\u{feff}user_id", " cost ", ""])).unwrap();
        assert_eq!(names, ["user_id", "cost", ""]);
        assert!(header(&record(&["a", " a"])).unwrap_err().contains("names a twice"));
        assert!(repeats_header(&record(&["user_id ", "cost", " "]), &names));
        assert!(!repeats_header(&record(&["1", "cost", ""]), &names));
        assert!(
            is_blank(&record(&["  "])) && is_blank(&record(&[])) && !is_blank(&record(&["", ""]))
        );
    }
}
