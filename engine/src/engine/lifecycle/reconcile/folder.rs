//! Compares what the folders and the configuration hold with what is served.

use super::Action;
use crate::engine::lifecycle::snapshot::{
    Folder, FolderMetric, MetricSnapshot, RevisionSnapshot, Snapshot,
};

/// The actions for each metric of the folders, then for those that are no longer there.
pub(super) fn compare(folder: &Folder, now: &Snapshot) -> Vec<Action> {
    let mut actions = Vec::new();
    for (name, found) in folder {
        match now.metrics.get(name) {
            None => actions.push(Action::Admit(name.clone())),
            Some(served) => actions.extend(compare_one(name, found, served)),
        }
    }
    let gone = now.metrics.keys().filter(|name| !folder.contains_key(*name));
    actions.extend(gone.map(|name| Action::Retire(name.clone())));
    actions
}

fn compare_one(name: &str, found: &FolderMetric, served: &MetricSnapshot) -> Vec<Action> {
    let MetricSnapshot { answering, newer, previous } = served;
    let newer = newer.as_ref().map(|newer| &newer.version);
    let latest = newer.unwrap_or(answering);
    if latest.code == found.code {
        return Vec::new();
    }
    let drop_newer = newer.map(|_| Action::DropNewer(name.to_owned()));
    let is = |revision: &&RevisionSnapshot| revision.revision == found.revision;
    if is(&answering) {
        return drop_newer.into_iter().chain([give_code(name, answering)]).collect();
    }
    if let Some(newer) = newer.filter(is) {
        return vec![give_code(name, newer)];
    }
    if let Some(previous) = previous.as_ref().map(|previous| &previous.version).filter(is) {
        // Its file was put back.
        let name = name.to_owned();
        return vec![
            Action::Rollback(name.clone()),
            Action::DropNewer(name.clone()),
            give_code(&name, previous),
        ];
    }
    let admit = Action::AdmitNewer { metric: name.to_owned(), waits: found.manual };
    drop_newer.into_iter().chain([admit]).collect()
}

/// Other code of the same revision: its state stays as it is.
fn give_code(name: &str, revision: &RevisionSnapshot) -> Action {
    match revision.halt {
        None => Action::ReplaceCode(name.to_owned(), revision.no),
        Some(_) => Action::RestartWithCode(name.to_owned(), revision.no),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{
        failing, folder, metric, newer, over_max_cells, previous, revision, snapshot,
    };
    use super::super::{Action, Step, reconcile};
    use crate::engine::lifecycle::snapshot::{Folder, MetricSnapshot, RevisionSnapshot};
    use crate::progress::RevisionNo;

    const NAME: &str = "orders";

    fn decide(folder: &Folder, served: Option<MetricSnapshot>) -> Vec<Action> {
        reconcile(Step::Folder(folder), &snapshot(served.map(|served| (NAME, served))))
    }

    fn named(action: fn(String) -> Action) -> Action {
        action(NAME.to_owned())
    }

    fn replace(no: u32) -> Action {
        Action::ReplaceCode(NAME.to_owned(), RevisionNo(no))
    }

    fn restart(no: u32) -> Action {
        Action::RestartWithCode(NAME.to_owned(), RevisionNo(no))
    }

    fn admit_newer(waits: bool) -> Action {
        Action::AdmitNewer { metric: NAME.to_owned(), waits }
    }

    fn a() -> RevisionSnapshot {
        revision(1, 0xA, 10)
    }

    fn b() -> RevisionSnapshot {
        revision(2, 0xB, 20)
    }

    fn p() -> RevisionSnapshot {
        revision(3, 0xC, 30)
    }

    /// What happens, what the folder holds, what is served of the metric, and what follows.
    type Row = (&'static str, Folder, Option<MetricSnapshot>, Vec<Action>);

    fn check(rows: Vec<Row>) {
        for (what, folder, served, expected) in rows {
            assert_eq!(decide(&folder, served), expected, "{what}");
        }
    }

    /// One row for each way in which folders and what is served can differ. Revisions are told
    /// apart by their number (the second argument of `revision`), code by its own (the third).
    #[test]
    fn what_the_folder_holds_is_compared_with_what_is_served() {
        let with = |answering, newer, previous| {
            Some(MetricSnapshot { newer, previous, ..metric(answering) })
        };
        let rows: Vec<Row> = vec![
            ("appears", folder(NAME, 0xA, 10), None, vec![named(Action::Admit)]),
            ("the same code", folder(NAME, 0xA, 10), with(a(), None, None), vec![]),
            (
                "the same code as the newer one",
                folder(NAME, 0xB, 20),
                with(a(), Some(newer(b())), None),
                vec![],
            ),
            (
                "other code, same revision",
                folder(NAME, 0xA, 11),
                with(a(), None, None),
                vec![replace(1)],
            ),
            (
                "the answering revision again, while a newer one counts",
                folder(NAME, 0xA, 11),
                with(a(), Some(newer(b())), None),
                vec![named(Action::DropNewer), replace(1)],
            ),
            (
                "other code, same revision, which is stopped",
                folder(NAME, 0xA, 11),
                with(failing(a()), None, None),
                vec![restart(1)],
            ),
            (
                "a section changes a limit at which it is stopped",
                folder(NAME, 0xA, 11),
                with(over_max_cells(a()), Some(newer(b())), None),
                vec![named(Action::DropNewer), restart(1)],
            ),
            (
                "other code of the newer revision",
                folder(NAME, 0xB, 21),
                with(a(), Some(newer(b())), None),
                vec![replace(2)],
            ),
            (
                "other code of the newer revision, which is stopped",
                folder(NAME, 0xB, 21),
                with(a(), Some(newer(failing(b()))), None),
                vec![restart(2)],
            ),
        ];
        check(rows);
    }

    #[test]
    fn other_revisions_come_and_go() {
        let with = |answering, newer, previous| {
            Some(MetricSnapshot { newer, previous, ..metric(answering) })
        };
        let rows: Vec<Row> = vec![
            (
                "code of the previous revision, which is still fed",
                folder(NAME, 0xC, 31),
                with(a(), None, Some(previous(p(), 60))),
                vec![named(Action::Rollback), named(Action::DropNewer), replace(3)],
            ),
            (
                "code of the previous revision, which is stopped",
                folder(NAME, 0xC, 31),
                with(a(), Some(newer(b())), Some(previous(failing(p()), 60))),
                vec![named(Action::Rollback), named(Action::DropNewer), restart(3)],
            ),
            (
                "another revision",
                folder(NAME, 0xB, 20),
                with(a(), None, None),
                vec![admit_newer(false)],
            ),
            (
                "a third revision",
                folder(NAME, 0xD, 40),
                with(a(), Some(newer(b())), Some(previous(p(), 60))),
                vec![named(Action::DropNewer), admit_newer(false)],
            ),
            ("goes", Folder::new(), with(a(), Some(newer(b())), None), vec![named(Action::Retire)]),
            ("comes back after it went", folder(NAME, 0xA, 12), None, vec![named(Action::Admit)]),
        ];
        check(rows);
    }

    #[test]
    fn a_newer_revision_waits_for_a_person_where_its_section_says_so() {
        let mut found = folder(NAME, 0xB, 20);
        found.values_mut().for_each(|found| found.manual = true);
        assert_eq!(decide(&found, Some(metric(a()))), [admit_newer(true)]);
    }

    /// Content that the registry refuses leaves the previous code: then nothing changed.
    #[test]
    fn metrics_do_not_concern_each_other() {
        let served = [("a", metric(revision(1, 0xA, 10))), ("b", metric(revision(2, 0xB, 20)))];
        let mut found = folder("a", 0xA, 10);
        found.extend(folder("c", 0xC, 30));
        let actions = reconcile(Step::Folder(&found), &snapshot(served));
        assert_eq!(actions, [Action::Admit("c".to_owned()), Action::Retire("b".to_owned())]);
    }
}
