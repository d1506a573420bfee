mod access;
mod recover;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::read::Order;
use super::schema::Table;
use super::*;
use crate::domain::account::{Account, AccountName};
use crate::domain::boot::{BootDirectory as _, Standing};
use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::host::{Host, HostEvent, HostState};
use crate::domain::mac::Mac;
use crate::domain::sighting::Sighting;
use crate::domain::time::Timestamp;
use crate::fakes::sample::host;

fn clock() -> Clock {
    let now = AtomicI64::new(1_000);
    Arc::new(move || Timestamp(now.fetch_add(1, Ordering::Relaxed)))
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("ironhatch.redb"), MasterKey::from_bytes(&[7; 32]), clock())
        .unwrap()
}

fn save(store: &Store, host: Host) -> Result<(), HostWriteError> {
    store.write_blocking(move |tx| tx.save_host(&host))
}

#[test]
fn a_failed_closure_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let result: Result<(), HostWriteError> = store.write_blocking(|tx| {
        tx.save_host(&host(1))?;
        assert!(tx.host(host(1).id)?.is_some(), "a write sees its own changes");
        Err(HostWriteError::NameTaken("pve1".parse().unwrap()))
    });
    assert!(result.is_err());
    let read = store.snapshot().unwrap();
    assert_eq!(read.hosts().unwrap(), vec![]);
    assert_eq!(read.last_event().unwrap(), 0);
    assert_eq!(store.standing(host(1).macs[0]), Standing::Unknown);
}

#[tokio::test]
async fn what_waits_for_a_write_to_be_kept_is_done_then_or_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (kept, was_kept) = std::sync::mpsc::channel();
    let denied = std::sync::mpsc::Sender::clone(&kept);
    let result: Result<(), HostWriteError> = store
        .write(move |tx| {
            tx.when_kept(move || denied.send("denied").unwrap());
            Err(HostWriteError::NameTaken("pve1".parse().unwrap()))
        })
        .await;
    assert!(result.is_err());
    // Nobody waits for this one: it is done all the same.
    let write = store.write::<_, HostWriteError, _>(move |tx| {
        tx.when_kept(move || kept.send("kept").unwrap());
        tx.save_host(&host(1))
    });
    assert!(futures_util::FutureExt::now_or_never(write).is_none_or(|done| done.is_ok()));
    assert_eq!(was_kept.recv(), Ok("kept"));
    assert_eq!(store.snapshot().unwrap().hosts().unwrap().len(), 1, "it was done after the commit");
    assert!(was_kept.recv().is_err(), "the other one is gone");
}

#[test]
fn a_panicking_write_does_not_stop_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result: Result<(), StoreError> = store.write_blocking(|_| panic!("on purpose"));
    std::panic::set_hook(hook);
    assert!(matches!(result, Err(StoreError::Closed)));
    save(&store, host(1)).unwrap();
}

#[test]
fn names_and_addresses_belong_to_one_host() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    save(&store, host(1)).unwrap();
    let mut same_name = host(2);
    same_name.hostname = host(1).hostname;
    assert!(matches!(save(&store, same_name), Err(HostWriteError::NameTaken(_))));
    let mut same_mac = host(2);
    same_mac.macs = host(1).macs;
    assert!(matches!(save(&store, same_mac), Err(HostWriteError::MacTaken { .. })));
    let mut renamed = host(1);
    renamed.hostname = "other".parse().unwrap();
    renamed.macs = vec![Mac([2; 6])];
    save(&store, renamed).unwrap();
    save(&store, host(2)).unwrap();
    let mut takes_freed = host(3);
    takes_freed.hostname = host(1).hostname;
    takes_freed.macs = host(1).macs;
    save(&store, takes_freed).unwrap();
}

#[test]
fn the_directory_follows_a_host_from_idle_to_armed_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mac = host(1).macs[0];
    save(&store, host(1)).unwrap();
    assert!(matches!(store.standing(mac), Standing::Idle { .. }));
    let step = |event| {
        store
            .write_blocking::<_, HostWriteError, _>(move |tx| {
                let mut h = tx.host(host(1).id)?.unwrap();
                tx.move_host(&mut h, event, "test")
            })
            .unwrap()
            .unwrap();
    };
    step(HostEvent::Armed);
    assert!(matches!(store.standing(mac), Standing::Armed { .. }));
    step(HostEvent::ScriptFetched);
    assert!(matches!(store.standing(mac), Standing::Armed { .. }));
    step(HostEvent::AnswerServed);
    assert!(
        matches!(store.standing(mac), Standing::Idle { .. }),
        "an answered host is never armed"
    );
    store.close();
    let again = open(&dir);
    assert!(matches!(again.standing(mac), Standing::Idle { .. }), "and stays so after a restart");
    again
        .write_blocking::<_, StoreError, _>(|tx| {
            let h = tx.host(host(1).id)?.unwrap();
            tx.delete_host(&h);
            Ok(())
        })
        .unwrap();
    assert_eq!(again.standing(mac), Standing::Unknown);
}

#[test]
fn the_roster_follows_those_who_join_and_those_who_are_members() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let named = |n: u8, name: &str, state, is_member| {
        let hostname = name.parse().unwrap();
        Host { hostname, state, is_member, ..host(n) }
    };
    let ids = |numbers: &[u8]| numbers.iter().map(|n| host(*n).id).collect::<Vec<_>>();
    for n in 1..=3 {
        save(&store, host(n)).unwrap();
    }
    assert!(store.joining().is_empty() && store.members().is_empty());
    save(&store, named(1, "pve1", HostState::Joining, false)).unwrap();
    save(&store, named(2, "pve2", HostState::Ready, true)).unwrap();
    save(&store, named(3, "pve3", HostState::Ready, true)).unwrap();
    assert_eq!(store.joining().into_iter().collect::<Vec<_>>(), ids(&[1]));
    assert_eq!(store.members(), ids(&[2, 3]), "by name");
    let refused = store.write_blocking(move |tx| {
        tx.save_host(&Host { is_member: true, ..host(1) })?;
        Err::<(), _>(HostWriteError::NameTaken("pve1".parse().unwrap()))
    });
    assert!(refused.is_err());
    assert_eq!(store.joining().len(), 1, "what was not written changes nothing");
    save(&store, named(1, "pve1", HostState::Ready, true)).unwrap();
    assert_eq!((store.joining().len(), store.members()), (0, ids(&[1, 2, 3])));
    // Two names change hands over a third one.
    save(&store, named(3, "spare", HostState::Ready, true)).unwrap();
    save(&store, named(1, "pve3", HostState::Ready, true)).unwrap();
    save(&store, named(3, "pve1", HostState::Ready, true)).unwrap();
    assert_eq!(store.members(), ids(&[3, 2, 1]));
    store
        .write_blocking::<_, StoreError, _>(|tx| {
            let gone = tx.host(host(2).id)?.unwrap();
            tx.delete_host(&gone);
            Ok(())
        })
        .unwrap();
    assert_eq!(store.members(), ids(&[3, 1]));
    let names = store.snapshot().unwrap().hostnames().unwrap();
    assert_eq!(names, ["pve1", "pve3"].map(|name| name.parse().unwrap()));
    save(&store, named(1, "pve3", HostState::Joining, true)).unwrap();
    store.close();
    let again = open(&dir);
    assert_eq!((again.joining().len(), again.members()), (1, ids(&[3, 1])), "after a restart");
}

#[test]
fn what_was_learned_shapes_offers_arms_nobody_and_outlives_a_restart() {
    use crate::domain::boot::{BootLesson, BootProfile, BootProgram, Finding, OfferForm};
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (mac, stranger) = (host(1).macs[0], Mac([0x52, 0x54, 0, 0xcc, 0, 1]));
    let finding = |used| Finding {
        used,
        changes: 1,
        proven: false,
        since: Timestamp(1),
        because: "a test".to_owned(),
    };
    let lesson = BootLesson { form: None, program: Some(finding(BootProgram::IpxeEfi)) };
    save(&store, host(1)).unwrap();
    store
        .write_blocking::<_, StoreError, _>(move |tx| {
            tx.save_boot_lesson(mac, &lesson)?;
            tx.save_boot_lesson(stranger, &lesson)?;
            tx.save_sighting(&Sighting::first_heard(stranger, Timestamp(1)))
        })
        .unwrap();
    let learned = BootProfile { form: None, program: Some(BootProgram::IpxeEfi) };
    assert!(matches!(store.standing(mac), Standing::Idle { .. }), "a lesson is no rebuild");
    assert_eq!(store.standing(stranger), Standing::Sighted { profile: learned });
    store.close();
    let store = open(&dir);
    assert!(matches!(store.standing(mac), Standing::Idle { .. }));
    assert_eq!(store.standing(stranger), Standing::Sighted { profile: learned });
    let change = |with: fn(&mut Host)| {
        store
            .write_blocking::<_, HostWriteError, _>(move |tx| {
                let mut h = tx.host(host(1).id)?.unwrap();
                with(&mut h);
                tx.save_host(&h)
            })
            .unwrap();
    };
    let profile = || match store.standing(mac) {
        Standing::Armed { profile, .. } => profile,
        other => panic!("{other:?}"),
    };
    change(|h| h.state = HostState::PxeReady);
    assert_eq!(profile(), learned);
    // The operator's setting outranks it; what they left open is taken from it.
    change(|h| h.boot.form = Some(OfferForm::Direct));
    assert_eq!(profile(), BootProfile { form: Some(OfferForm::Direct), ..learned });
    change(|h| h.boot.program = Some(BootProgram::SnponlyEfi));
    assert_eq!(profile().program, Some(BootProgram::SnponlyEfi));
    // A dismissed stranger is met with silence, and with the host goes what was learned of it.
    store
        .write_blocking::<_, StoreError, _>(move |tx| {
            let seen = Sighting::first_heard(stranger, Timestamp(1));
            tx.save_sighting(&Sighting { ignored: true, ..seen })?;
            let h = tx.host(host(1).id)?.unwrap();
            tx.delete_host(&h);
            Ok(())
        })
        .unwrap();
    assert_eq!(store.standing(stranger), Standing::Ignored);
    assert_eq!(store.standing(mac), Standing::Unknown);
    assert_eq!(store.snapshot().unwrap().boot_lesson(mac).unwrap(), None);
}

#[test]
fn a_refused_move_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    save(&store, host(1)).unwrap();
    let denied = store
        .write_blocking::<_, HostWriteError, _>(|tx| {
            let mut h = tx.host(host(1).id)?.unwrap();
            tx.move_host(&mut h, HostEvent::AnswerServed, "test")
        })
        .unwrap();
    assert!(denied.is_err());
    let read = store.snapshot().unwrap();
    assert_eq!(read.host(host(1).id).unwrap().unwrap().state, HostState::Registered);
    assert_eq!(read.last_event().unwrap(), 0);
}

#[tokio::test]
async fn concurrent_writers_all_become_durable_and_events_are_numbered_without_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..100u64 {
        let store = store.clone();
        tasks.spawn(async move {
            store
                .write::<_, StoreError, _>(move |tx| {
                    tx.emit(NewEvent {
                        level: Level::Info,
                        subject: Subject::default(),
                        kind: EventKind::System,
                        message: n.to_string(),
                    })
                })
                .await
                .unwrap()
        });
    }
    let mut seqs = tasks.join_all().await;
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=100).collect::<Vec<_>>());
    store.close();
    let read = open(&dir);
    assert_eq!(read.snapshot().unwrap().events_after(0, 1000).unwrap().len(), 100);
    let pruned = read.write::<_, StoreError, _>(|tx| tx.prune_events(10, 1000)).await.unwrap();
    assert_eq!(pruned, 89, "events below number 90 go");
    assert_eq!(read.snapshot().unwrap().events_after(0, 1000).unwrap().first().unwrap().seq, 90);
}

#[test]
fn secrets_are_sealed_in_the_file_and_open_with_the_right_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store
        .write_blocking::<_, StoreError, _>(|tx| {
            tx.put_secret("job/x/key", "planted-secret");
            let hash = Some("$argon2id$planted-hash".to_owned());
            tx.save_account(&Account::new(AccountName::first(), hash, tx.now()))?;
            Ok(())
        })
        .unwrap();
    let key = store.master_key();
    let read = store.snapshot().unwrap();
    assert_eq!(read.secret(&key, "job/x/key").unwrap().unwrap().as_str(), "planted-secret");
    let other = MasterKey::from_bytes(&[8; 32]);
    assert!(matches!(read.secret(&other, "job/x/key"), Err(StoreError::Unseal { .. })));
    store.close();
    let file = std::fs::read(dir.path().join("ironhatch.redb")).unwrap();
    assert!(!file.windows(14).any(|w| w == b"planted-secret"));
}

#[test]
fn a_range_inside_a_write_sees_stored_and_new_entries_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    store
        .write_blocking::<_, StoreError, _>(|tx| {
            for n in [2u8, 4, 6] {
                tx.put(Table::Settings, vec![n], vec![n]);
            }
            Ok(())
        })
        .unwrap();
    store
        .write_blocking::<_, StoreError, _>(|tx| {
            tx.put(Table::Settings, vec![5], vec![5]);
            tx.remove(Table::Settings, vec![6]);
            tx.remove(Table::Settings, vec![2]);
            let keys = |o, limit| -> Vec<u8> {
                let found = tx.range(Table::Settings, &[0], &[9], o, limit).unwrap();
                found.into_iter().map(|(k, _)| k[0]).collect()
            };
            assert_eq!(keys(Order::Ascending, 9), [4, 5]);
            assert_eq!(keys(Order::Descending, 1), [5]);
            assert_eq!(keys(Order::Ascending, 1), [4]);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_backup_of_a_live_store_verifies_and_restores() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    save(&store, host(1)).unwrap();
    let copy = dir.path().join("backup.redb");
    let made = store.backup(&copy).unwrap();
    assert_eq!(verify(&copy).unwrap(), made);
    save(&store, host(2)).unwrap();
    let database = store.path().to_owned();
    assert!(restore(&copy, &database).is_err(), "a running daemon holds the file");
    store.close();
    drop(store);
    restore(&copy, &database).unwrap();
    let names: Vec<_> = open(&dir).snapshot().unwrap().hosts().unwrap();
    assert_eq!(names.len(), 1);
    assert!(dir.path().join("ironhatch.redb.before-restore").exists());
}

#[test]
fn a_dump_shows_records_and_no_secret_in_any_form() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    save(&store, host(1)).unwrap();
    store
        .write_blocking::<_, StoreError, _>(|tx| {
            tx.put_secret("job/x/key", "planted-secret");
            tx.put(Table::Begun, b"planted-key".to_vec(), b"{}".to_vec());
            tx.save_setting("operator_password", &"$argon2id$planted-hash")
        })
        .unwrap();
    let mut out = Vec::new();
    dump(&store.snapshot().unwrap(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\"hostname\":\"pve1\""), "{text}");
    assert!(!text.contains("planted"), "{text}");
}

#[test]
fn what_is_not_a_whole_backup_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    save(&store, host(1)).unwrap();
    let copy = dir.path().join("backup.redb");
    store.backup(&copy).unwrap();
    store.close();
    let bytes = std::fs::read(&copy).unwrap();
    let mut damaged = 0;
    let needle = b"\"hostname\":\"pve1\"";
    let at = bytes.windows(needle.len()).position(|w| w == needle).unwrap();
    for (name, content) in [
        ("empty", vec![]),
        ("text", b"not a database".to_vec()),
        ("cut", bytes[..bytes.len() / 2].to_vec()),
        ("flipped", {
            let mut b = bytes.clone();
            b[at + 15] = b'9';
            b
        }),
    ] {
        let bad = dir.path().join(name);
        std::fs::write(&bad, content).unwrap();
        let refused = restore(&bad, &dir.path().join("ironhatch.redb"));
        assert!(matches!(refused, Err(StoreError::Backup { .. })), "{name}: {refused:?}");
        damaged += 1;
    }
    assert_eq!(damaged, 4);
    let live = dir.path().join("ironhatch.redb");
    assert!(
        matches!(verify(&live), Err(StoreError::Backup { .. })),
        "a live file carries no digest"
    );
    assert_eq!(open(&dir).snapshot().unwrap().hosts().unwrap().len(), 1, "and nothing changed");
}

#[test]
fn an_older_schema_is_migrated_once_with_a_copy_kept_and_a_newer_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.redb");
    let rename_setting: migrate::Migration = |txn| {
        let mut table = txn.open_table(Table::Settings.definition())?;
        table.insert(b"migrated".as_slice(), b"true".as_slice())?;
        Ok(())
    };
    let broken: migrate::Migration = |txn| {
        txn.open_table(Table::Settings.definition())?
            .insert(b"half".as_slice(), b"1".as_slice())?;
        Err(StoreError::Closed)
    };
    let setting = |name: &[u8]| {
        use redb::ReadableTable as _;
        let db = writer::open_offline(&path).unwrap();
        let txn = db.begin_write().unwrap();
        let table = txn.open_table(Table::Settings.definition()).unwrap();
        table.get(name).unwrap().is_some()
    };
    {
        let db = writer::open_offline(&path).unwrap();
        migrate::migrate_with(&db, &path, Timestamp(0), &[], 1).unwrap();
        assert!(migrate::migrate_with(&db, &path, Timestamp(0), &[broken], 2).is_err());
    }
    assert!(!setting(b"half"), "a migration that fails leaves the old version");
    {
        let db = writer::open_offline(&path).unwrap();
        migrate::migrate_with(&db, &path, Timestamp(0), &[rename_setting], 2).unwrap();
        migrate::migrate_with(&db, &path, Timestamp(0), &[rename_setting], 2).unwrap();
        let newer = migrate::migrate_with(&db, &path, Timestamp(0), &[], 1);
        assert!(matches!(newer, Err(StoreError::Schema { found: 2, supported: 1, .. })));
    }
    assert!(setting(b"migrated"));
    let kept = regular_backups(&path).unwrap();
    assert_eq!(kept.len(), 1, "one, although it was tried twice");
    assert_eq!(kept[0].before_migration, Some(1));
    assert_eq!(verify(&kept[0].path).unwrap().schema, 1);
}

#[test]
fn only_the_owner_can_read_the_database() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let mode =
        |store: &Store| std::fs::metadata(store.path()).unwrap().permissions().mode() & 0o777;
    let store = open(&dir);
    assert_eq!(mode(&store), 0o600);
    store.close();
    std::fs::set_permissions(store.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    drop(store);
    assert_eq!(mode(&open(&dir)), 0o600, "a file of an older version is restricted too");
}

#[test]
fn a_database_that_could_not_be_reopened_comes_back_without_a_write() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    save(&store, host(1)).unwrap();
    store.lose_handle();
    let begun = std::time::Instant::now();
    while store.snapshot().is_err() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(store.snapshot().unwrap().hosts().unwrap().len(), 1);
    assert!(matches!(store.standing(host(1).macs[0]), Standing::Idle { .. }));
}
