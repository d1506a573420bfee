use std::sync::Arc;

use crate::domain::guest::sample::guest;
use crate::domain::guest::{GuestEvent, GuestState};
use crate::domain::host::Failure;
use crate::domain::time::Timestamp;
use crate::domain::vmid::Vmid;
use crate::store::{
    GuestReads as _, GuestWriteError, MasterKey, SecretReads as _, Store, StoreError, of_guest,
};

fn open(dir: &tempfile::TempDir) -> Store {
    let clock = Arc::new(|| Timestamp(5));
    Store::open(&dir.path().join("db.redb"), MasterKey::from_bytes(&[7; 32]), clock).unwrap()
}

#[test]
fn names_and_numbers_belong_to_one_guest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.write_blocking(|tx| tx.save_guest(&guest(101), "made")).unwrap();
    let mut same_name = guest(102);
    same_name.name = guest(101).name;
    let refused = store.write_blocking(move |tx| tx.save_guest(&same_name, ""));
    assert!(matches!(refused, Err(GuestWriteError::NameTaken(_))), "{refused:?}");
    let mut same_number = guest(102);
    same_number.vmid = guest(101).vmid;
    let refused = store.write_blocking(move |tx| tx.save_guest(&same_number, ""));
    assert!(matches!(refused, Err(GuestWriteError::VmidTaken { .. })), "{refused:?}");
    let read = store.snapshot().unwrap();
    assert_eq!(read.guests().unwrap(), [guest(101)]);
    assert_eq!(read.guest_by_vmid(guest(101).vmid).unwrap(), Some(guest(101)));
}

#[test]
fn a_renamed_guest_leaves_its_old_name_free() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.write_blocking(|tx| tx.save_guest(&guest(101), "")).unwrap();
    let mut renamed = guest(101);
    renamed.name = "other".parse().unwrap();
    store.write_blocking(move |tx| tx.save_guest(&renamed, "")).unwrap();
    let mut heir = guest(102);
    heir.name = guest(101).name;
    store.write_blocking(move |tx| tx.save_guest(&heir, "")).unwrap();
    let read = store.snapshot().unwrap();
    assert_eq!(
        read.guest_by_name(&guest(101).name).unwrap().map(|g| g.vmid),
        Some(guest(102).vmid)
    );
}

#[test]
fn a_deleted_guest_takes_its_secrets_and_its_number_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (mine, other) = (guest(101), guest(102));
    store
        .write_blocking::<_, GuestWriteError, _>(move |tx| {
            for guest in [guest(101), guest(102)] {
                tx.save_guest(&guest, "")?;
                tx.put_secret(&of_guest(guest.id, "input/password"), "hunter2");
                tx.hold_vmid(guest.vmid, guest.id)?;
            }
            Ok(())
        })
        .unwrap();
    store.write_blocking::<_, StoreError, _>(move |tx| tx.delete_guest(&mine, "gone")).unwrap();
    let read = store.snapshot().unwrap();
    assert_eq!(read.guests().unwrap().len(), 1);
    assert_eq!(read.secret_names("guest/").unwrap(), [of_guest(other.id, "input/password")]);
    let held: Vec<Vmid> = read.held_vmids().unwrap().into_iter().map(|h| h.vmid).collect();
    assert_eq!(held, [other.vmid]);
}

#[test]
fn only_work_that_began_fails_a_guest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store.write_blocking(|tx| tx.save_guest(&guest(101), "")).unwrap();
    let failure = Failure { from: None, reason: "no disk".into(), hint: String::new() };
    let reason = failure.clone();
    store.write_blocking(move |tx| tx.fail_guest(&mut guest(101), reason)).unwrap();
    assert_eq!(store.snapshot().unwrap().guests().unwrap(), [guest(101)], "nothing was at work");
    store
        .write_blocking::<_, GuestWriteError, _>(move |tx| {
            let mut guest = guest(101);
            guest.step(GuestEvent::ChangeStarted, tx.now()).unwrap();
            tx.fail_guest(&mut guest, failure)
        })
        .unwrap();
    let read = store.snapshot().unwrap().guests().unwrap();
    assert_eq!(read[0].state, GuestState::Failed);
    assert_eq!(read[0].failure.as_ref().unwrap().reason, "no disk");
}
