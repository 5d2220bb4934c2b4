//! Numbers as few bytes: LEB128, zigzag for signs. Reading never panics on any bytes.
//!
//! Not the encoding of frames: there a number may have several forms, while equal sketches must
//! have equal bytes, so that only the shortest form is accepted here.

pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number in its one shortest form from the front; `None` where there is none.
pub(super) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (n, &byte) in bytes.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7f);
        if n == 9 && part > 1 {
            return None;
        }
        value |= part << (7 * n);
        if byte < 0x80 {
            *bytes = &bytes[n + 1..];
            return (n == 0 || byte != 0).then_some(value);
        }
    }
    None
}

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
