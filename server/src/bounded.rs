//! A reader with a bound on the bytes of a record, for parsers that would keep a record of any
//! length in memory.
//!
//! A quote that is never closed makes the rest of a CSV file one record: here it ends as an error.
//! A caller that reads records allows the next one when it begins; what the parser buffers (some
//! KiB) makes the bound a little larger, never smaller.

use std::io::{Error, ErrorKind, Read};

/// Reads up to `most` bytes, then fails, until it is allowed as many again.
pub struct Bounded<R> {
    inner: R,
    most: usize,
    left: usize,
}

impl<R> Bounded<R> {
    /// Allows `most` bytes at first, and again at each [`Bounded::allow`].
    pub fn new(inner: R, most: usize) -> Bounded<R> {
        Bounded { inner, most, left: most }
    }

    /// A record begins.
    pub fn allow(&mut self) {
        self.left = self.most;
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 && !buffer.is_empty() {
            let reason =
                format!("the record has more than {} bytes; is a quote unclosed?", self.most);
            return Err(Error::new(ErrorKind::InvalidData, reason));
        }
        let most = buffer.len().min(self.left);
        let read = self.inner.read(&mut buffer[..most])?;
        self.left -= read;
        Ok(read)
    }
}
