//! The audit log and what was begun under a key: written with the change, and bounded.

use super::super::*;
use super::{host, open, save};
use crate::domain::audit::{Author, Fate, Who};
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::id::JobId;
use crate::domain::job::{CatalogWork, Job, JobStatus, Work};
use crate::domain::time::Timestamp;

fn author() -> Author {
    let who = Who::Account("ann".to_owned());
    Author { who, address: None, action: "POST /api/x".to_owned() }
}

fn job(n: u128) -> Job {
    Job {
        id: JobId(uuid::Uuid::from_u128(n)),
        work: Work::Catalog(CatalogWork { source: "built-in".to_owned() }),
        status: JobStatus::Pending,
        created: Timestamp(1),
        started: None,
        finished: None,
        steps: Vec::new(),
        failure: None,
        cancel_requested: false,
    }
}

#[tokio::test]
async fn a_refused_write_leaves_neither_change_nor_entry() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let refused = store.write(|tx| -> Result<(), HostWriteError> {
        tx.save_host(&host(1))?;
        Err(StoreError::Closed.into())
    });
    assert!(as_author(author(), refused).await.is_err());
    assert!(store.snapshot().unwrap().audit(None, 10).unwrap().is_empty());
    assert!(store.snapshot().unwrap().hosts().unwrap().is_empty());
}

#[tokio::test]
async fn what_changes_no_record_is_told_by_its_event_and_the_oldest_entries_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for n in 0..5 {
        let told = store.write(move |tx| {
            let (level, subject) = (Level::Info, Subject::default());
            let message = format!("pve{n} was switched off");
            tx.emit(NewEvent { level, subject, kind: EventKind::System, message })
        });
        let written: Result<u64, StoreError> = as_author(author(), told).await;
        written.unwrap();
    }
    // Nobody asked for this one.
    tokio::task::spawn_blocking({
        let store = store.clone();
        move || save(&store, host(1)).unwrap()
    })
    .await
    .unwrap();
    let pruned = store.write::<_, StoreError, _>(|tx| tx.prune_audit(3, 100)).await.unwrap();
    assert_eq!(pruned, 2);
    let kept = store.snapshot().unwrap().audit(None, 10).unwrap();
    let told: Vec<_> = kept.iter().map(|e| (e.seq, e.changes[0].subject.as_str())).collect();
    assert_eq!(
        told,
        [(5, "pve4 was switched off"), (4, "pve3 was switched off"), (3, "pve2 was switched off")]
    );
    assert_eq!(kept[0].changes[0].fate, Fate::Done);
    // Numbers go on where they were.
    let before = store.snapshot().unwrap().audit(Some(5), 1).unwrap();
    assert_eq!(before[0].seq, 4);
}

#[tokio::test]
async fn a_key_is_noted_with_the_job_and_forgotten_in_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let once = |key: &str| Some(Once { key: key.to_owned(), request: "r".to_owned() });
    // What queues nothing notes nothing.
    let nothing = store.write(|tx| tx.save_setting("x", &1));
    let written: Result<(), StoreError> = as_author_once(author(), once("none"), nothing).await;
    written.unwrap();
    for n in 1..=4u128 {
        let queued = store.write(move |tx| tx.save_job(&job(n)));
        let key = format!("k{n}");
        let written: Result<(), StoreError> = as_author_once(author(), once(&key), queued).await;
        written.unwrap();
    }
    let read = store.snapshot().unwrap();
    assert_eq!(read.begun("none").unwrap(), None);
    let second = read.begun("k2").unwrap().unwrap();
    assert_eq!((second.job, second.request.as_str()), (job(2).id, "r"));
    // Going on with the job is no second beginning.
    let gone_on = store.write(|tx| tx.save_job(&Job { cancel_requested: true, ..job(2) }));
    let written: Result<(), StoreError> = as_author_once(author(), once("k9"), gone_on).await;
    written.unwrap();
    assert_eq!(store.snapshot().unwrap().begun("k9").unwrap(), None);
    let at = second.at;
    let forgotten = store.write::<_, StoreError, _>(move |tx| tx.prune_begun(at, 2)).await.unwrap();
    assert_eq!(forgotten, 2, "one is too old, another one too many");
    let read = store.snapshot().unwrap();
    let left: Vec<bool> =
        ["k1", "k2", "k3", "k4"].iter().map(|k| read.begun(k).unwrap().is_some()).collect();
    assert_eq!(left, [false, false, true, true]);
}
