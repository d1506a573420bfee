//! Where a life takes place: a network and file systems of its own, seen by its thread and by what the thread starts.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Moves the calling thread into namespaces of its own. `data` is the size of the data directory's file system, as
    /// mount(8) takes it.
    pub(crate) fn enter(data: &str) -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "the fault harness makes namespaces: run it as root"
        );
        let flags = nix::sched::CloneFlags::CLONE_NEWNET | nix::sched::CloneFlags::CLONE_NEWNS;
        nix::sched::unshare(flags).expect("namespaces");
        let dir = tempfile::Builder::new().prefix("faults-").tempdir_in("/tmp").unwrap();
        run("mount", &["--make-rprivate", "/"]);
        mount(dir.path(), "64m");
        let place = Self { dir };
        fs::create_dir(place.data()).unwrap();
        mount(&place.data(), data);
        // The daemon's own address and those of its machines.
        let mut batch = "link set lo up\n".to_owned();
        for last in 10..80 {
            batch += &format!("address add 192.0.2.{last}/32 dev lo\n");
        }
        ip_batch(&batch);
        place
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn filler(&self) -> PathBuf {
        self.data().join("filler")
    }

    /// Takes the last byte of the data directory's file system.
    pub(crate) fn fill(&self) {
        let file = fs::OpenOptions::new().create(true).append(true).open(self.filler());
        let Ok(mut file) = file else { return };
        for size in [1 << 20, 4096, 1] {
            let piece = vec![0x5A; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    pub(crate) fn free(&self) {
        let _ = fs::remove_file(self.filler());
    }

    /// Gives the data directory's file system another size.
    pub(crate) fn resize(&self, size: &str) {
        run("mount", &["-o", &format!("remount,size={size}"), self.data().to_str().unwrap()]);
    }

    /// Makes the data directory's file system read-only, or writable again. Nobody may have a file open for writing.
    pub(crate) fn set_read_only(&self, is: bool) {
        let how = if is { "remount,ro" } else { "remount,rw" };
        run("mount", &["-o", how, self.data().to_str().unwrap()]);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for path in [self.data(), self.path().to_owned()] {
            let _ = Command::new("umount").arg("-l").arg(path).status();
        }
    }
}

fn mount(at: &Path, size: &str) {
    let size = format!("size={size}");
    run("mount", &["-t", "tmpfs", "-o", &size, "ironhatch-faults", at.to_str().unwrap()]);
}

fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().expect(program);
    assert!(done.status.success(), "{program} {arguments:?}: {done:?}");
}

fn ip_batch(lines: &str) {
    let mut ip =
        Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("ip");
    ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success(), "ip -batch");
}
