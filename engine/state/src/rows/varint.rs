//! Numbers in few bytes: LEB128 for 64 and 128 bits, zigzag for signed ones. Reading never panics,
//! whatever the bytes.
//!
//! Not the encoding of sketches: there equal values must have equal bytes, so only the shortest
//! form of a number is accepted. Nothing compares frames, and those on disk may hold any form.

/// Appends `value`, 1–10 bytes.
#[inline(always)]
pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
    // Most numbers are short: these take no loop.
    if value < 0x80 {
        return out.push(value as u8);
    }
    if value < 0x4000 {
        return out.extend_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]);
    }
    if value < 0x20_0000 {
        return out.extend_from_slice(&[
            value as u8 | 0x80,
            (value >> 7) as u8 | 0x80,
            (value >> 14) as u8,
        ]);
    }
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes a number from the front; `None` if there is none.
#[inline]
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(u64::from(first));
    }
    let mut value = 0u64;
    for (n, &byte) in bytes.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7f);
        if n == 9 && part > 1 {
            return None;
        }
        value |= part << (7 * n);
        if byte < 0x80 {
            *bytes = &bytes[n + 1..];
            return Some(value);
        }
    }
    None
}

/// Appends a signed 128-bit number, 1–19 bytes.
pub(crate) fn put_wide(out: &mut Vec<u8>, value: i128) {
    let mut value = ((value << 1) ^ (value >> 127)) as u128;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Takes what `put_wide` appended.
pub(crate) fn take_wide(bytes: &mut &[u8]) -> Option<i128> {
    let mut value = 0u128;
    for (n, &byte) in bytes.iter().take(19).enumerate() {
        let part = u128::from(byte & 0x7f);
        if n == 18 && part > 3 {
            return None;
        }
        value |= part << (7 * n);
        if byte < 0x80 {
            *bytes = &bytes[n + 1..];
            return Some((value >> 1) as i128 ^ -((value & 1) as i128));
        }
    }
    None
}

/// Maps small numbers of either sign to small unsigned ones.
#[inline]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Reverses `zigzag`.
#[inline]
pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(a in any::<u64>(), b in any::<i128>(), c in any::<i64>()) {
            let mut bytes = Vec::new();
            put(&mut bytes, a);
            put_wide(&mut bytes, b);
            put(&mut bytes, zigzag(c));
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take(&mut rest), Some(a));
            prop_assert_eq!(take_wide(&mut rest), Some(b));
            prop_assert_eq!(take(&mut rest).map(unzigzag), Some(c));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut rest = bytes.as_slice();
            while take(&mut rest).is_some() {}
            let mut rest = bytes.as_slice();
            while take_wide(&mut rest).is_some() {}
        }
    }
}
