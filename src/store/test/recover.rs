//! Damaged databases and what takes their place.

use std::fs;

use super::*;
use crate::limits::record::{BACKUP_EVERY, DAMAGED_KEPT};

/// A store whose clock can be put forward.
struct Site {
    dir: tempfile::TempDir,
    now: Arc<AtomicI64>,
}

impl Site {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), now: Arc::new(AtomicI64::new(1_795_715_000_000)) }
    }

    fn database(&self) -> std::path::PathBuf {
        self.dir.path().join("ironhatch.redb")
    }

    fn open(&self) -> Result<Store, StoreError> {
        let now = Arc::clone(&self.now);
        let clock: Clock = Arc::new(move || Timestamp(now.load(Ordering::Relaxed)));
        Store::open(&self.database(), MasterKey::from_bytes(&[7; 32]), clock)
    }

    fn later(&self) {
        let step = i64::try_from(BACKUP_EVERY.as_millis()).unwrap();
        self.now.fetch_add(step, Ordering::Relaxed);
    }

    /// Two backups, with one and two hosts, and a third host that is in none of them.
    fn filled() -> Self {
        let site = Self::new();
        let store = site.open().unwrap();
        for n in 1..=2 {
            save(&store, host(n)).unwrap();
            assert_eq!(store.back_up_when_due().unwrap().unwrap().number, u64::from(n));
            site.later();
        }
        save(&store, host(3)).unwrap();
        store.close();
        site
    }

    fn hosts(&self) -> usize {
        let store = self.open().unwrap();
        let hosts = store.snapshot().unwrap().hosts().unwrap().len();
        store.close();
        hosts
    }

    fn spoil(&self, path: &std::path::Path) {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }
}

/// The ways in which a file is damaged.
fn damages(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let needle = b"\"hostname\":\"pve3\"";
    let at = good.windows(needle.len()).rposition(|w| w == needle).unwrap();
    let mut flipped = good.to_vec();
    flipped[at + 15] ^= 1;
    let mut head = good.to_vec();
    head[..512].fill(0xA5);
    let mut hole = good.to_vec();
    hole[at / 4096 * 4096..][..4096].fill(0);
    vec![
        ("one flipped bit in a record", flipped),
        ("a head of garbage", head),
        ("a page of zeros", hole),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("cut to a few bytes", good[..7].to_vec()),
        ("text", b"not a database".to_vec()),
    ]
}

#[test]
fn every_damage_is_found_at_the_start_and_the_newest_backup_takes_its_place() {
    let site = Site::filled();
    let good = fs::read(site.database()).unwrap();
    for (what, bytes) in damages(&good) {
        fs::write(site.database(), &bytes).unwrap();
        let reason = match site.open() {
            Err(StoreError::Damaged { reason, .. }) => reason,
            other => panic!("{what}: {other:?}"),
        };
        let (backup, restored) = recover(&site.database(), &reason).unwrap();
        assert_eq!(backup.number, 2, "{what}");
        let aside = std::path::PathBuf::from(restored.aside.clone().unwrap());
        assert_eq!(
            fs::metadata(&aside).unwrap().len(),
            bytes.len() as u64,
            "{what}: kept as it was"
        );
        fs::remove_file(&aside).unwrap();
        let store = site.open().unwrap();
        let note: Option<Restored> = store.snapshot().unwrap().setting(RESTORED).unwrap();
        assert_eq!(note, Some(restored), "{what}: the next start must know");
        store.close();
        assert_eq!(site.hosts(), 2, "{what}");
        assert!(verify(&site.database()).is_err(), "a database in use is no backup");
    }
    // A file of no length is a new database for redb: who opens it has to ask before.
    fs::write(site.database(), b"").unwrap();
    recover(&site.database(), "it is empty").unwrap();
    assert_eq!(site.hosts(), 2);
}

#[test]
fn a_damaged_backup_is_passed_over_for_the_next_older_one() {
    let site = Site::filled();
    let newest = regular_backups(&site.database()).unwrap().remove(0);
    site.spoil(&newest.path);
    site.spoil(&site.database());
    assert_eq!(recover(&site.database(), "cut").unwrap().0.number, 1);
    assert_eq!(site.hosts(), 1);
    assert!(newest.path.exists(), "nothing is deleted that was damaged");
}

#[test]
fn without_a_whole_backup_the_damaged_file_stays_where_it_is() {
    let site = Site::filled();
    for backup in regular_backups(&site.database()).unwrap() {
        site.spoil(&backup.path);
    }
    site.spoil(&site.database());
    let before = fs::read(site.database()).unwrap();
    let refused = recover(&site.database(), "cut").unwrap_err();
    assert!(matches!(&refused, StoreError::Damaged { .. }), "{refused}");
    assert!(refused.to_string().contains("ironhatch db restore"), "{refused}");
    assert_eq!(fs::read(site.database()).unwrap(), before);
    let names: Vec<_> =
        fs::read_dir(site.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "the database and the folder: {names:?}");
}

#[test]
fn a_disk_that_damages_again_and_again_is_not_covered_up() {
    let site = Site::filled();
    for _ in 0..DAMAGED_KEPT {
        site.spoil(&site.database());
        recover(&site.database(), "cut").unwrap();
    }
    site.spoil(&site.database());
    let refused = recover(&site.database(), "cut").unwrap_err();
    assert!(refused.to_string().contains("look at the disk"), "{refused}");
}

#[test]
fn a_backup_is_made_when_it_is_due_and_there_is_something_to_keep() {
    let site = Site::new();
    let store = site.open().unwrap();
    assert_eq!(store.back_up_when_due().unwrap(), None, "a new database");
    save(&store, host(1)).unwrap();
    let folder = backup_folder(store.path());
    // An attempt that was killed left a part.
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("000001-20260101T000000Z.redb.part"), "half").unwrap();
    let made = store.back_up_when_due().unwrap().unwrap();
    assert_eq!(verify(&made.path).unwrap().schema, SCHEMA_VERSION);
    assert_eq!(store.back_up_when_due().unwrap(), None, "not due again");
    let state = store.backup_state().unwrap();
    assert_eq!((state.kept.as_slice(), state.failures), ([made.clone()].as_slice(), 0));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "the part is gone");
    site.later();
    fs::remove_file(&made.path).unwrap();
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    assert!(store.back_up_when_due().is_err());
    fs::remove_file(&folder).unwrap();
    assert!(store.back_up_when_due().unwrap().is_some());
    let state = store.backup_state().unwrap();
    assert_eq!((state.failures, state.failure), (1, None), "counted, and over");
}
