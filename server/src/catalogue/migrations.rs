//! The files of `migrations/`: which of them a database still needs, and when it must not be
//! touched.
//!
//! Says it from what the database's history holds; reading and applying are the implementation's.
//! An applied migration never changes: a database that says otherwise is refused.

use refinery_core::{Migration, Runner};

/// The table in which refinery keeps what was applied.
pub(super) const HISTORY: &str = "refinery_schema_history";

/// Reads the columns of [`Applied`], oldest first.
pub(super) const APPLIED: &str =
    "SELECT version, name, checksum FROM refinery_schema_history ORDER BY version";

/// The files, by their names. Listed, since the macro that would find them has everything that
/// refinery is made of built twice, once for the build alone; a test finds what is not listed.
const FILES: [(&str, &str); 3] = [
    ("V1__users", include_str!("../../../migrations/V1__users.sql")),
    ("V2__products", include_str!("../../../migrations/V2__products.sql")),
    ("V3__lower_id", include_str!("../../../migrations/V3__lower_id.sql")),
];

/// A migration that a database has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) version: i32,
    pub(super) name: String,
    pub(super) checksum: String,
}

/// All that there are.
pub(super) fn all() -> Vec<Migration> {
    let migration = |(name, sql): &(&str, &str)| {
        Migration::unapplied(name, sql).expect("a test sees that each name is one of a migration")
    };
    FILES.iter().map(migration).collect()
}

/// Applies `migrations`: each with its line of the history in a transaction of its own.
pub(super) fn runner(migrations: &[Migration]) -> Runner {
    Runner::new(migrations)
}

/// Those of `ours` that a database lacks, in order; or what is wrong with the others, and what to
/// do.
pub(super) fn pending(ours: &[Migration], applied: &[Applied]) -> Result<Vec<Migration>, String> {
    for applied in applied {
        let name = format!("V{}__{}", applied.version, applied.name);
        let Some(ours) = ours.iter().find(|ours| ours.version() == applied.version) else {
            return Err(format!(
                "migration {name} was applied by a newer program; use that program, or an empty \
                 database, and import again"
            ));
        };
        if ours.name() != applied.name || ours.checksum().to_string() != applied.checksum {
            return Err(format!(
                "migration {name} was applied, but this program's {ours} is different; an applied \
                 migration never changes: use the program that applied it, or an empty database, \
                 and import again"
            ));
        }
    }
    let newest = applied.iter().map(|applied| applied.version).max().unwrap_or(i32::MIN);
    let mut pending: Vec<Migration> = ours
        .iter()
        .filter(|ours| applied.iter().all(|applied| applied.version != ours.version()))
        .cloned()
        .collect();
    pending.sort();
    match pending.first() {
        Some(skipped) if skipped.version() < newest => Err(format!(
            "migration {skipped} is missing though V{newest} was applied; use the program that \
             applied that, or an empty database, and import again"
        )),
        _ => Ok(pending),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    fn ours(names: &[&str]) -> Vec<Migration> {
        names
            .iter()
            .map(|name| Migration::unapplied(name, "CREATE TABLE a (b INTEGER);").unwrap())
            .collect()
    }

    fn applied(ours: &[Migration]) -> Vec<Applied> {
        let applied = |ours: &Migration| Applied {
            version: ours.version(),
            name: ours.name().into(),
            checksum: ours.checksum().to_string(),
        };
        ours.iter().map(applied).collect()
    }

    #[test]
    fn each_file_is_there() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations");
        let file = |file: std::io::Result<std::fs::DirEntry>| file.unwrap().file_name();
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| file(entry).into_string().unwrap())
            .collect();
        files.sort();
        let mut ours: Vec<String> = all().iter().map(|ours| format!("{ours}.sql")).collect();
        ours.sort();
        assert_eq!(files, ours);
    }

    #[test]
    fn what_is_not_applied_is_pending_in_order() {
        let all = ours(&["V10__c", "V1__a", "V2__b"]);
        let names =
            |pending: Vec<Migration>| pending.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(pending(&all, &[]).unwrap()), ["V1__a", "V2__b", "V10__c"]);
        assert_eq!(names(pending(&all, &applied(&ours(&["V1__a"]))).unwrap()), ["V2__b", "V10__c"]);
        assert!(pending(&all, &applied(&all)).unwrap().is_empty());
    }

    #[test]
    fn a_history_that_is_not_ours_is_refused() {
        let all = ours(&["V1__a", "V2__b"]);
        let mut changed = applied(&all);
        changed[0].checksum = "1".into();
        let cases = [
            (changed, "V1__a was applied, but"),
            (applied(&ours(&["V1__z"])), "V1__z was applied, but"),
            (applied(&ours(&["V1__a", "V2__b", "V3__c"])), "V3__c was applied by a newer program"),
            (applied(&ours(&["V2__b"])), "V1__a is missing though V2"),
        ];
        for (history, words) in cases {
            let refused = pending(&all, &history).unwrap_err();
            assert!(refused.contains(words) && refused.contains("import again"), "{refused}");
        }
    }
}
