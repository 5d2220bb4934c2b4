//! The layout in Redis: which key holds what, and the sealed values of hashes and pointers. No I/O.
//!
//! A sealed value is text and then bytes: `1:CHECKSUM:BODY`, the checksum a CRC-32 in hexadecimal
//! over the place (key and field) and the body, so that a value that was moved or damaged is
//! noticed. One content has one sealed form: scripts compare whole values and never look inside.

use super::hints::Entry;
use crate::{BEGUN, Bucket, FrameId, Life, RevisionId, StoreError, StoredProgress};
use std::fmt::Write as _;

/// Format of everything written; another one is refused.
pub(super) const FORMAT: &str = "1";

/// The keys of one revision.
#[derive(Clone, Debug)]
pub(super) struct RevisionKeys {
    /// Hash: `format`, `life`, `meta`, and `p:N` for the progress of partition N.
    pub(super) state: String,
    /// Hash: per bucket `TABLE:BUCKET` the length of its snapshot and what to add to a place in it
    /// for the logical one; of one that was split what readers of it go on with.
    pub(super) index: String,
}

impl RevisionKeys {
    pub(super) fn new(namespace: &str, revision: &RevisionId) -> Self {
        let tag = format!(
            "{{{}:{}:{:016x}}}",
            namespace,
            escaped(&revision.metric),
            revision.fingerprint
        );
        Self { state: format!("{tag}:state"), index: format!("{tag}:b") }
    }

    /// String: the frames of a bucket.
    pub(super) fn bucket(&self, bucket: Bucket) -> String {
        format!("{}:{}", self.index, bucket_field(bucket))
    }

    /// String: the newest frames of a bucket that was split, for a while.
    pub(super) fn kept(&self, bucket: Bucket) -> String {
        format!("{}:was", self.bucket(bucket))
    }
}

/// String: which revision of a metric answers.
pub(super) fn current_key(namespace: &str, metric: &str) -> String {
    format!("{{{}:{}}}:current", namespace, escaped(metric))
}

/// How counting begins.
pub(super) fn begun_key(namespace: &str) -> String {
    format!("{{{namespace}}}:begun")
}

/// Set: the revisions of a metric, each as [`revision_member`].
pub(super) fn revisions_key(namespace: &str, metric: &str) -> String {
    format!("{{{}:{}}}:revisions", namespace, escaped(metric))
}

/// What finds the lists of all metrics, and of which metric one is. `None`: it is no such list of a
/// metric's name.
pub(super) fn revisions_pattern(namespace: &str) -> String {
    format!("{{{namespace}:*}}:revisions")
}

pub(super) fn metric_of(namespace: &str, key: &[u8]) -> Option<String> {
    let name =
        key.strip_prefix(format!("{{{namespace}:").as_bytes())?.strip_suffix(b"}:revisions")?;
    // No metric has a name that would have to be escaped.
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    String::from_utf8(name.to_vec()).ok().filter(|name| name.as_bytes().iter().all(plain))
}

pub(super) fn revision_member(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

pub(super) fn member_revision(member: &[u8]) -> Option<u64> {
    hexadecimal(member, 16).and_then(|fingerprint| u64::try_from(fingerprint).ok())
}

/// A name that cannot end the hash tag or look like two names.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') {
            out.push(byte.into());
        } else {
            // Writing to a string does not fail.
            let _ = write!(out, "%{byte:02x}");
        }
    }
    out
}

pub(super) fn progress_field(partition: u32) -> String {
    format!("p:{partition}")
}

/// Partition of a field of the state; `None`: the field is not progress.
pub(super) fn partition_of(field: &[u8]) -> Option<u32> {
    number(field.strip_prefix(b"p:")?)
}

/// Field of the index of a bucket: `TABLE:NUMBER`, one made by splits `TABLE:NUMBER.SPLITS`.
pub(super) fn bucket_field(bucket: Bucket) -> String {
    let (table, number, splits) = (bucket.table, bucket.bucket % BEGUN, bucket.bucket / BEGUN);
    if splits == 0 { format!("{table}:{number}") } else { format!("{table}:{number}.{splits}") }
}

/// Bucket of a field of the index.
pub(super) fn bucket_of(field: &[u8]) -> Option<Bucket> {
    let at = field.iter().position(|byte| *byte == b':')?;
    let (table, rest) = (number(&field[..at])?, &field[at + 1..]);
    let bucket = match rest.iter().position(|byte| *byte == b'.') {
        None => number::<u32>(rest).filter(|bucket| *bucket < BEGUN)?,
        Some(at) => {
            let (bucket, splits) = (number::<u32>(&rest[..at])?, number::<u8>(&rest[at + 1..])?);
            u32::from(splits) * BEGUN
                + Some(bucket).filter(|bucket| *bucket < BEGUN && splits > 0)?
        }
    };
    Some(Bucket { table, bucket })
}

/// Of a bucket that was split: what both halves begin with. `None`: it was not.
pub(super) fn split_entry(value: &[u8]) -> Option<(FrameId, u64)> {
    let mut words = std::str::from_utf8(value).ok()?.strip_prefix("split ")?.split(' ');
    let (_, end, id) = (words.next()?, words.next()?, words.next()?);
    Some((FrameId(hexadecimal(id.as_bytes(), 32)?.swap_bytes()), end.parse().ok()?))
}

/// What the index says of a bucket.
pub(super) fn index_entry(value: &[u8]) -> Option<Entry> {
    let at = value.iter().position(|byte| *byte == b' ')?;
    Some(Entry { snapshot: number(&value[..at])?, shift: number(&value[at + 1..])?, looked: 0 })
}

/// Numbers with a space between them.
pub(super) fn numbers(text: &[u8]) -> Option<Vec<u64>> {
    text.split(|byte| *byte == b' ').filter(|text| !text.is_empty()).map(number).collect()
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Progress, sealed: `NEXT:RECORD` inside.
pub(super) fn progress_value(
    keys: &RevisionKeys,
    partition: u32,
    next: u64,
    bytes: &[u8],
) -> Vec<u8> {
    let mut body = format!("{next}:").into_bytes();
    body.extend_from_slice(bytes);
    sealed(&keys.state, &progress_field(partition), &body)
}

pub(super) fn progress_of(
    keys: &RevisionKeys,
    partition: u32,
    value: &[u8],
) -> Result<StoredProgress, StoreError> {
    let field = progress_field(partition);
    let body = unsealed(&keys.state, &field, value)?;
    let read = || {
        let at = body.iter().position(|byte| *byte == b':')?;
        Some(StoredProgress { next: number(&body[..at])?, bytes: body[at + 1..].to_vec() })
    };
    read().ok_or_else(|| corrupt(&keys.state, &format!("field {field} has no offset")))
}

/// Life, sealed: 32 hexadecimal digits inside.
pub(super) fn life_value(keys: &RevisionKeys, life: Life) -> Vec<u8> {
    sealed(&keys.state, "life", format!("{:032x}", life.0).as_bytes())
}

pub(super) fn life_of(keys: &RevisionKeys, value: &[u8]) -> Result<Life, StoreError> {
    let body = unsealed(&keys.state, "life", value)?;
    hexadecimal(body, 32).map(Life).ok_or_else(|| corrupt(&keys.state, "field life is not valid"))
}

pub(super) fn meta_value(keys: &RevisionKeys, meta: &[u8]) -> Vec<u8> {
    sealed(&keys.state, "meta", meta)
}

pub(super) fn meta_of(keys: &RevisionKeys, value: &[u8]) -> Result<Vec<u8>, StoreError> {
    unsealed(&keys.state, "meta", value).map(<[u8]>::to_vec)
}

/// A metric's pointer, sealed: its fingerprint, 16 hexadecimal digits.
pub(super) fn current_value(key: &str, fingerprint: u64) -> Vec<u8> {
    sealed(key, "", format!("{fingerprint:016x}").as_bytes())
}

pub(super) fn begun_value(key: &str, how: &[u8]) -> Vec<u8> {
    sealed(key, "", how)
}

pub(super) fn begun_of(key: &str, value: &[u8]) -> Result<Vec<u8>, StoreError> {
    unsealed(key, "", value).map(<[u8]>::to_vec)
}

pub(super) fn current_of(key: &str, value: &[u8]) -> Result<u64, StoreError> {
    let body = unsealed(key, "", value)?;
    let fingerprint = hexadecimal(body, 16).and_then(|number| u64::try_from(number).ok());
    fingerprint.ok_or_else(|| corrupt(key, "it is not a fingerprint"))
}

fn hexadecimal(text: &[u8], digits: usize) -> Option<u128> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() == digits)?;
    u128::from_str_radix(text, 16).ok()
}

fn sealed(key: &str, field: &str, body: &[u8]) -> Vec<u8> {
    let mut value = format!("{FORMAT}:{:08x}:", checksum(key, field, body)).into_bytes();
    value.extend_from_slice(body);
    value
}

fn unsealed<'a>(key: &str, field: &str, value: &'a [u8]) -> Result<&'a [u8], StoreError> {
    let what = || if field.is_empty() { "it".to_owned() } else { format!("field {field}") };
    let mut parts = value.splitn(3, |byte| *byte == b':');
    let (Some(format), Some(crc), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(corrupt(key, &format!("{} is not a value written by Tally", what())));
    };
    if format != FORMAT.as_bytes() {
        let found = String::from_utf8_lossy(format);
        return Err(corrupt(
            key,
            &format!("{} has format {found:.16}; this engine reads {FORMAT}", what()),
        ));
    }
    if crc != format!("{:08x}", checksum(key, field, body)).as_bytes() {
        return Err(corrupt(key, &format!("the checksum of {} differs", what())));
    }
    Ok(body)
}

fn checksum(key: &str, field: &str, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in [key.as_bytes(), b"\0", field.as_bytes(), b"\0", body] {
        crc.update(part);
    }
    crc.finalize()
}

/// What is wrong at a key, and what to do about it.
pub(super) fn corrupt(key: &str, why: &str) -> StoreError {
    let revision = key.split_once('}').map_or(key, |(tag, _)| tag).trim_start_matches('{');
    StoreError::Corrupt(format!(
        "Redis key {key}: {why}; inspect it with redis-cli, and delete all keys that begin with \
         {{{revision}}} to count the log again"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failing unwrap fails the test")]
    use super::*;

    fn keys() -> RevisionKeys {
        RevisionKeys::new("tally", &RevisionId { metric: "m}:{x".to_owned(), fingerprint: 0xab })
    }

    #[test]
    fn names_cannot_leave_the_hash_tag() {
        let keys = keys();
        assert_eq!(keys.state, "{tally:m%7d%3a%7bx:00000000000000ab}:state");
        let bucket = keys.bucket(Bucket { table: 3, bucket: 70_000 });
        assert_eq!(bucket, "{tally:m%7d%3a%7bx:00000000000000ab}:b:3:70000");
        assert_eq!(
            bucket_of(&bucket.as_bytes()[keys.index.len() + 1..]),
            Some(Bucket { table: 3, bucket: 70_000 })
        );
        assert_eq!(current_key("tally", "m"), "{tally:m}:current");
    }

    #[test]
    fn buckets_made_by_splits_have_names_of_their_own() {
        for (number, field) in
            [(5, "3:5"), (BEGUN + 10, "3:10.1"), (12 * BEGUN + 65_535, "3:65535.12")]
        {
            let bucket = Bucket { table: 3, bucket: number };
            assert_eq!(bucket_field(bucket), field);
            assert_eq!(bucket_of(field.as_bytes()), Some(bucket));
        }
        assert!(
            ["3:5.0", "3:16777216", "3:", "3:5.", "3:.1", "35"]
                .iter()
                .all(|bad| bucket_of(bad.as_bytes()).is_none())
        );
        let entry = split_entry(b"split 10 70 000102030405060708090a0b0c0d0e0f");
        assert_eq!(
            entry,
            Some((FrameId(u128::from_le_bytes(std::array::from_fn(|at| at as u8))), 70))
        );
        assert_eq!(split_entry(b"40 70"), None);
    }

    #[test]
    fn sealed_values_come_back_and_damage_is_noticed() {
        let keys = keys();
        let value = progress_value(&keys, 3, 9_007_199_254_740_993, b"a:\0b");
        let progress = progress_of(&keys, 3, &value).unwrap();
        assert_eq!((progress.next, &progress.bytes[..]), (9_007_199_254_740_993, &b"a:\0b"[..]));
        assert!(progress_of(&keys, 4, &value).is_err(), "moved");
        let life = life_value(&keys, Life(u128::MAX - 1));
        assert_eq!(life_of(&keys, &life).unwrap(), Life(u128::MAX - 1));
        assert_eq!(meta_of(&keys, &meta_value(&keys, b"")).unwrap(), b"");
        let current = current_value("k", 0xfedc_ba98_7654_3210);
        assert_eq!(current_of("k", &current).unwrap(), 0xfedc_ba98_7654_3210);
        for at in 0..value.len() {
            let mut bad = value.clone();
            bad[at] ^= 0x11;
            assert!(
                matches!(progress_of(&keys, 3, &bad), Err(StoreError::Corrupt(_))),
                "byte {at}"
            );
        }
        for at in 0..life.len() {
            assert!(
                life_of(&keys, &life[..at]).is_err()
                    && life_of(&keys, &[&life[..at], &b"?"[..]].concat()).is_err()
            );
        }
    }
}
