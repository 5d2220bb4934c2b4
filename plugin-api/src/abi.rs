//! The binary boundary, generation 1: what crosses as memory rather than as text.
//!
//! Frozen: a layout that differs is refused when a file is loaded, so nothing here is ever edited.
//! It grows by the JSON texts, by [`Host::extension`], or by a second generation beside this one.
//! The hot path is columns in and row deltas out; everything else is JSON. No author sees these
//! types and nothing here has policy.
#![allow(unsafe_code, missing_docs)] // the derive of the layout description writes both

use crate::description::PropertyType;
use abi_stable::StableAbi;
use abi_stable::library::RootModule;
use abi_stable::sabi_types::VersionStrings;
use abi_stable::std_types::{RResult, RSlice, RStr, RString, RVec};

/// Generation of this interface.
pub const GENERATION: u32 = 1;

/// Name of the symbol that holds a [`Handshake`].
pub const HANDSHAKE_SYMBOL: &str = "tally_plugin_handshake";

/// First bytes of a [`Handshake`].
pub const MAGIC: [u8; 16] = *b"tally-plugin\0\0\0\x01";

/// What a call across the boundary returns: a value, or a sentence.
pub type Fallible<T> = RResult<T, RString>;

/// Root of a plugin file: its entry points. None of them unwinds.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRef, prefix_fields = PluginFields)))]
pub struct Plugin {
    /// `AboutText` as JSON.
    pub about: extern "C" fn(Host) -> Fallible<RString>,
    /// `Description` as JSON, for a configuration in JSON.
    pub describe: extern "C" fn(RStr<'_>, Host) -> Fallible<RString>,
    /// A metric for a configuration in JSON.
    pub create: extern "C" fn(RStr<'_>, Host) -> Fallible<Instance>,
    /// Adds the deltas of a batch. After an error, what was added is to be discarded.
    pub update: extern "C" fn(Instance, &Columns<'_>, &mut DeltaBuffer) -> Fallible<()>,
    /// `Reply` as JSON for an `Ask` in JSON; the number is handed back with each call of
    /// [`Host::read`].
    pub answer: extern "C" fn(Instance, RStr<'_>, usize) -> Fallible<RString>,
    /// Ends a metric. The instance must not be used again.
    #[sabi(last_prefix_field)]
    pub destroy: extern "C" fn(Instance),
}

impl RootModule for PluginRef {
    abi_stable::declare_root_module_statics! {PluginRef}
    const BASE_NAME: &'static str = "tally_plugin";
    const NAME: &'static str = "tally_plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

/// A metric inside the plugin. Its calls may come from several threads at once.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug)]
pub struct Instance(pub *mut ());

/// What the host offers. It stays valid as long as the process lives.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Host {
    /// Handed back to `log` and `extension`.
    pub context: usize,
    /// A line for the host's log: level 1 (error) … 5 (trace), text.
    pub log: extern "C" fn(usize, u8, RStr<'_>),
    /// `ReadAnswer` as JSON for a `ReadRequest` in JSON; the number is that of the `answer` call.
    pub read: extern "C" fn(usize, RStr<'_>) -> Fallible<RString>,
    /// What the host offers beyond this generation, by name; null where it has nothing of that
    /// name.
    pub extension: extern "C" fn(usize, RStr<'_>) -> *const (),
}

/// The extension that is asked while an answer is written.
pub const WRITING: &str = "writing";

/// What is behind [`WRITING`]: the number of the `answer` call, and how many bytes of the reply
/// there are; `false`: the host wants no more of it.
pub type Writing = extern "C" fn(usize, usize) -> bool;

/// Events of one partition in offset order, as columns of equal length.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Columns<'a> {
    /// `user_id`: an integer below 2⁵³, bit 63 and the number of a text of this batch, or all ones
    /// where absent.
    pub users: RSlice<'a, u64>,
    /// `product_id`, likewise.
    pub products: RSlice<'a, u64>,
    /// Event type: index into `kind_names`.
    pub kinds: RSlice<'a, u16>,
    /// Event time, Unix milliseconds.
    pub times: RSlice<'a, i64>,
    /// Event types of this batch.
    pub kind_names: RSlice<'a, RStr<'a>>,
    /// Texts of this batch, end to end.
    pub text_bytes: RSlice<'a, u8>,
    /// End of each text.
    pub text_ends: RSlice<'a, u32>,
    /// Declared properties, in the order of the declaration.
    pub properties: RSlice<'a, Property<'a>>,
    /// For a later minor version of this generation; null.
    pub reserved: *const (),
}

/// A declared property.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct Property<'a> {
    /// 0 text (`low` is the text's number), 1 integer, 2 float (bits), 3 decimal, 4 bool, 5 time
    /// (ms).
    pub kind: u8,
    /// Of a decimal: digits after the point.
    pub scale: u8,
    /// Per row 1, or 0 where the value is null.
    pub present: RSlice<'a, u8>,
    /// The value; of a decimal its lower 64 bits.
    pub low: RSlice<'a, u64>,
    /// Of a decimal its upper 64 bits; empty otherwise.
    pub high: RSlice<'a, i64>,
    /// For a later minor version of this generation; null.
    pub reserved: *const (),
}

/// Merge a value into a cell of the table's row that the event belongs to.
#[repr(C)]
#[derive(StableAbi, Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawDelta {
    /// Row of the batch.
    pub row: u32,
    /// Index of the table.
    pub table: u16,
    /// Index of the cell in its table.
    pub cell: u16,
    /// Lower 64 bits of the value.
    pub low: u64,
    /// Upper 64 bits.
    pub high: i64,
}

impl RawDelta {
    /// With its value in one piece.
    #[must_use]
    pub fn new(row: u32, table: u16, cell: u16, value: i128) -> Self {
        RawDelta { row, table, cell, low: value as u64, high: (value >> 64) as i64 }
    }

    /// The value in one piece.
    #[must_use]
    pub fn value(&self) -> i128 {
        (i128::from(self.high) << 64) | i128::from(self.low)
    }
}

/// What `update` hands over.
#[repr(C)]
#[derive(StableAbi, Default)]
pub struct DeltaBuffer {
    /// The deltas.
    pub deltas: RVec<RawDelta>,
    /// Key columns of the plugin's own, in the order of their declaration; none where it declares
    /// none.
    pub keys: RVec<KeyColumn>,
    /// For a later minor version of this generation; 0.
    pub reserved: usize,
}

/// A key column of the plugin's own: a dictionary of texts and a number per row.
#[repr(C)]
#[derive(StableAbi, Default)]
pub struct KeyColumn {
    /// Per row the number of a text; all ones where the row has no key.
    pub rows: RVec<u32>,
    /// The texts, end to end.
    pub bytes: RVec<u8>,
    /// End of each text.
    pub ends: RVec<u32>,
}

/// The columns of a batch as plain slices: how a host makes [`Columns`] without naming the types of
/// the boundary.
#[derive(Clone, Copy, Debug)]
pub struct ColumnParts<'a> {
    /// As in [`Columns`].
    pub users: &'a [u64],
    /// As in [`Columns`].
    pub products: &'a [u64],
    /// As in [`Columns`].
    pub kinds: &'a [u16],
    /// As in [`Columns`].
    pub times: &'a [i64],
    /// As in [`Columns`].
    pub kind_names: &'a [Box<str>],
    /// As in [`Columns`].
    pub text_bytes: &'a [u8],
    /// As in [`Columns`].
    pub text_ends: &'a [u32],
    /// As in [`Columns`].
    pub properties: &'a [PropertyParts<'a>],
}

/// A declared property as plain slices, as in [`Property`].
#[derive(Clone, Copy, Debug)]
pub struct PropertyParts<'a> {
    /// As in [`Property`], with its scale.
    pub kind: PropertyType,
    /// As in [`Property`].
    pub present: &'a [u8],
    /// As in [`Property`].
    pub low: &'a [u64],
    /// As in [`Property`].
    pub high: &'a [i64],
}

impl PropertyType {
    /// The number by which a property's type crosses the boundary, and its scale.
    pub(crate) const fn code(self) -> (u8, u8) {
        match self {
            PropertyType::Text => (0, 0),
            PropertyType::Integer => (1, 0),
            PropertyType::Float => (2, 0),
            PropertyType::Decimal(scale) => (3, scale),
            PropertyType::Bool => (4, 0),
            PropertyType::Time => (5, 0),
        }
    }
}

/// A key column that a plugin handed over, as plain slices.
#[derive(Clone, Copy, Debug)]
pub struct KeyParts<'a> {
    /// As in [`KeyColumn`].
    pub rows: &'a [u32],
    /// As in [`KeyColumn`].
    pub bytes: &'a [u8],
    /// As in [`KeyColumn`].
    pub ends: &'a [u32],
}

impl KeyColumn {
    /// As plain slices.
    #[must_use]
    pub fn parts(&self) -> KeyParts<'_> {
        KeyParts {
            rows: self.rows.as_slice(),
            bytes: self.bytes.as_slice(),
            ends: self.ends.as_slice(),
        }
    }
}

/// Calls `f` with the columns of a batch.
pub fn with_columns<'a, T>(parts: ColumnParts<'a>, f: impl FnOnce(&Columns<'_>) -> T) -> T {
    let kind_names: Vec<RStr<'_>> =
        parts.kind_names.iter().map(|name| RStr::from_str(name)).collect();
    let property = |parts: &PropertyParts<'a>| {
        let (kind, scale) = parts.kind.code();
        Property {
            kind,
            scale,
            present: RSlice::from_slice(parts.present),
            low: RSlice::from_slice(parts.low),
            high: RSlice::from_slice(parts.high),
            reserved: std::ptr::null(),
        }
    };
    let properties: Vec<Property<'_>> = parts.properties.iter().map(property).collect();
    f(&Columns {
        users: RSlice::from_slice(parts.users),
        products: RSlice::from_slice(parts.products),
        kinds: RSlice::from_slice(parts.kinds),
        times: RSlice::from_slice(parts.times),
        kind_names: RSlice::from_slice(&kind_names),
        text_bytes: RSlice::from_slice(parts.text_bytes),
        text_ends: RSlice::from_slice(parts.text_ends),
        properties: RSlice::from_slice(&properties),
        reserved: std::ptr::null(),
    })
}

/// What a plugin file says of how it was built. Only bytes, so that it can be read out of a file
/// that is not loaded; it is read before anything else. Texts are padded with NUL.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// [`MAGIC`].
    pub magic: [u8; 16],
    /// Length of this structure in bytes, little-endian.
    pub length: [u8; 4],
    /// Generation of the interface, little-endian.
    pub generation: [u8; 4],
    /// Target triple.
    pub target: [u8; 64],
    /// Panic strategy.
    pub panic: [u8; 16],
    /// Version of `tally-plugin`; information only.
    pub sdk: [u8; 32],
    /// Version of the compiler; information only.
    pub rustc: [u8; 128],
}

/// A [`Handshake`] as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeText {
    /// Generation of the interface.
    pub generation: u32,
    /// Target triple.
    pub target: String,
    /// Panic strategy.
    pub panic: String,
    /// Version of `tally-plugin`.
    pub sdk: String,
    /// Version of the compiler.
    pub rustc: String,
}

impl Handshake {
    /// That of code compiled here.
    #[must_use]
    pub const fn own() -> Self {
        Handshake {
            magic: MAGIC,
            length: (size_of::<Handshake>() as u32).to_le_bytes(),
            generation: GENERATION.to_le_bytes(),
            target: padded(env!("TALLY_TARGET")),
            panic: padded(if cfg!(panic = "unwind") { "unwind" } else { "abort" }),
            sdk: padded(env!("CARGO_PKG_VERSION")),
            rustc: padded(env!("TALLY_RUSTC")),
        }
    }

    /// Reads one. `None` if these bytes are not a handshake.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<HandshakeText> {
        let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if bytes.get(..16)? != MAGIC || (number(16)? as usize) < size_of::<Handshake>() {
            return None;
        }
        let text = |from: usize, length: usize| {
            let field = bytes.get(from..from + length)?;
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(length);
            Some(String::from_utf8_lossy(&field[..end]).into_owned())
        };
        Some(HandshakeText {
            generation: number(20)?,
            target: text(24, 64)?,
            panic: text(88, 16)?,
            sdk: text(104, 32)?,
            rustc: text(136, 128)?,
        })
    }
}

/// A text cut or padded with NUL to `N` bytes.
const fn padded<const N: usize>(text: &str) -> [u8; N] {
    let (bytes, mut field, mut n) = (text.as_bytes(), [0; N], 0);
    while n < N && n < bytes.len() {
        field[n] = bytes[n];
        n += 1;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_128_bits_survives_its_halves() {
        for value in [0, 1, -1, i128::MIN, i128::MAX, 1 << 64, -(1 << 64), i128::from(u64::MAX)] {
            assert_eq!(RawDelta::new(0, 0, 0, value).value(), value);
        }
    }

    #[test]
    fn a_handshake_reads_back() {
        let own = Handshake::own();
        let mut bytes = Vec::new();
        bytes.extend(own.magic);
        for part in
            [&own.length[..], &own.generation, &own.target, &own.panic, &own.sdk, &own.rustc]
        {
            bytes.extend(part);
        }
        assert_eq!(bytes.len(), size_of::<Handshake>());
        let read = Handshake::read(&bytes);
        assert_eq!(read.as_ref().map(|read| read.generation), Some(GENERATION));
        assert_eq!(read.map(|read| read.sdk).as_deref(), Some(env!("CARGO_PKG_VERSION")));
        assert_eq!(Handshake::read(&bytes[..200]), None);
        bytes[0] = b'T';
        assert_eq!(Handshake::read(&bytes), None);
    }
}
