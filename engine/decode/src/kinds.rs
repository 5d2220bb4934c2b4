//! Event types as numbers of a batch, found again fast.

use super::reason::Reason;
use super::rules::Rules;
use super::verdict::resolve;
use hashbrown::HashMap;

/// Slots of the cache of texts: a dozen event types rarely meet in 64.
const CACHED: usize = 64;
/// Longest text that is cached, bytes.
const TEXT: usize = 32;

/// Numbers the event types of a batch.
#[derive(Debug)]
pub(super) struct Kinds {
    /// Texts as records have them, before aliases. One batch's number is no other's: `batch` says
    /// whose it is.
    cache: Vec<Cached>,
    batch: u64,
    /// All names of the batch; at most one per record.
    numbers: HashMap<Box<str>, u16, foldhash::fast::RandomState>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Cached {
    text: [u8; TEXT],
    length: u8,
    number: u16,
    batch: u64,
}

impl Default for Kinds {
    fn default() -> Self {
        Kinds { cache: vec![Cached::default(); CACHED], batch: 0, numbers: HashMap::default() }
    }
}

impl Kinds {
    /// Begins a batch with an empty dictionary.
    pub(super) fn begin(&mut self) {
        self.batch += 1;
        self.numbers.clear();
    }

    /// The number of the type that a text stands for.
    #[inline(always)]
    pub(super) fn code(
        &mut self,
        text: &[u8],
        rules: &Rules,
        names: &mut Vec<Box<str>>,
    ) -> Result<u16, Reason> {
        let slot = slot(text);
        let cached = &self.cache[slot];
        if cached.batch == self.batch && cached.text.get(..usize::from(cached.length)) == Some(text)
        {
            return Ok(cached.number);
        }
        self.learn(text, slot, rules, names)
    }

    #[cold]
    fn learn(
        &mut self,
        text: &[u8],
        slot: usize,
        rules: &Rules,
        names: &mut Vec<Box<str>>,
    ) -> Result<u16, Reason> {
        let number = self.number(resolve(text, rules)?, names);
        if text.len() <= TEXT {
            let mut padded = [0; TEXT];
            padded[..text.len()].copy_from_slice(text);
            self.cache[slot] =
                Cached { text: padded, length: text.len() as u8, number, batch: self.batch };
        }
        Ok(number)
    }

    /// The number of a name.
    pub(super) fn number(&mut self, name: &str, names: &mut Vec<Box<str>>) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        // A batch has at most 65,535 records, so at most as many names.
        let number = names.len() as u16;
        names.push(name.into());
        self.numbers.insert(name.into(), number);
        number
    }
}

/// By length, first and last letter: enough to keep a handful of words apart.
#[inline(always)]
fn slot(text: &[u8]) -> usize {
    let first = text.first().copied().unwrap_or(0);
    let last = text.last().copied().unwrap_or(0);
    (text.len().wrapping_mul(7) ^ usize::from(first) ^ usize::from(last).wrapping_mul(5)) % CACHED
}
