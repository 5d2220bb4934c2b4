//! Which metrics and revisions of them there are, and how one goes.
//!
//! A metric's keys and those of its revisions lie in different slots, so that no script sees both.
//! The list of revisions is therefore written before a revision is created and after it was
//! removed: it may name one that is not there, and is asked for nothing but what to look at. A
//! revision itself goes in one step.

use super::answers::{array, bytes, strange};
use super::keys::{self, RevisionKeys};
use super::scripts::{Call, Name};
use super::{LOOKS, RedisStore, text};
use crate::{Bucket, RevisionId, StoreError};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// Keys that a server goes through at a time: well below a millisecond.
const SCANNED: usize = 1_000;

impl RedisStore {
    /// Puts a revision on the list of its metric's.
    pub(super) fn list(&self, revision: &RevisionId) -> Result<(), StoreError> {
        let key = keys::revisions_key(&self.namespace, &revision.metric);
        // Sent twice it is as good as once.
        self.pool
            .read(redis::cmd("SADD").arg(key).arg(keys::revision_member(revision.fingerprint)))
            .map(drop)
    }

    /// The metrics that have a list, ascending: all keys of all servers are gone through.
    pub(super) fn all_lists(&self) -> Result<Vec<String>, StoreError> {
        let pattern = keys::revisions_pattern(&self.namespace);
        let mut names = BTreeSet::new();
        self.pool.each_server(|server| {
            let mut cursor = 0_u64;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCANNED);
                let found: Vec<Vec<u8>>;
                (cursor, found) = scan.query(server)?;
                names.extend(found.iter().filter_map(|key| keys::metric_of(&self.namespace, key)));
                if cursor == 0 {
                    return Ok(());
                }
            }
        })?;
        Ok(names.into_iter().collect())
    }

    /// The revisions on the list, ascending.
    pub(super) fn on_list(&self, metric: &str) -> Result<Vec<RevisionId>, StoreError> {
        let key = keys::revisions_key(&self.namespace, metric);
        let members = array(self.pool.read(redis::cmd("SMEMBERS").arg(&key))?)
            .ok_or_else(|| strange(&self.pool.at))?;
        let revision = |member: redis::Value| {
            let member = bytes(member).ok_or_else(|| strange(&self.pool.at))?;
            let fingerprint = keys::member_revision(&member);
            let why =
                || format!("member {:.40} names no revision", String::from_utf8_lossy(&member));
            let fingerprint = fingerprint.ok_or_else(|| keys::corrupt(&key, &why()))?;
            Ok(RevisionId { metric: metric.to_owned(), fingerprint })
        };
        let mut found =
            members.into_iter().map(revision).collect::<Result<Vec<_>, StoreError>>()?;
        found.sort();
        Ok(found)
    }

    /// Removes a revision's keys, then its name from the list. Whether it had a life.
    pub(super) fn take_away(&self, revision: &RevisionId) -> Result<bool, StoreError> {
        let keys = self.keys(revision);
        for _ in 0..LOOKS {
            let life = bytes(self.pool.read(redis::cmd("HGET").arg(&keys.state).arg("life"))?)
                .unwrap_or_default();
            let call = removal(&keys, &life, &self.listed(&keys)?);
            match &self.call(call)?.word[..] {
                b"OK" => {
                    self.hints.forget(revision);
                    self.unlist(revision)?;
                    return Ok(!life.is_empty());
                }
                b"AGAIN" => {}
                _ => return Err(strange(&self.pool.at)),
            }
        }
        Err(StoreError::Unavailable(format!(
            "Redis at {}: others kept writing to {:016x} of {} while it was being removed: another \
             engine counts it",
            self.pool.at, revision.fingerprint, revision.metric
        )))
    }

    fn unlist(&self, revision: &RevisionId) -> Result<(), StoreError> {
        let pointer = keys::current_key(&self.namespace, &revision.metric);
        let pointed = keys::current_value(&pointer, revision.fingerprint);
        let args = vec![
            Cow::Owned(keys::revision_member(revision.fingerprint).into_bytes()),
            Cow::Owned(pointed),
        ];
        let keys = vec![keys::revisions_key(&self.namespace, &revision.metric), pointer];
        self.call(Call { script: Name::Unlist, keys, args }).map(drop)
    }
}

fn removal<'a>(keys: &RevisionKeys, life: &[u8], buckets: &[(Bucket, bool)]) -> Call<'a> {
    let mut call = Call {
        script: Name::Remove,
        keys: vec![keys.state.clone(), keys.index.clone()],
        args: vec![Cow::Owned(life.to_vec()), text(buckets.len() as u64)],
    };
    call.keys.extend(buckets.iter().map(|(bucket, _)| keys.bucket(*bucket)));
    call.keys
        .extend(buckets.iter().filter(|(_, split)| *split).map(|(bucket, _)| keys.kept(*bucket)));
    call
}
