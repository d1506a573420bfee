//! A start that cannot succeed says why, and with what to do, before anything is answered.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::join::lab::story as in_namespace;
use crate::rebuild::story::World;
use crate::support::appliance::{ADDRESS, configure};
use crate::support::wire::{PXE, US, Wire};

/// Runs a start that must be refused; returns exit code and what was said.
fn refused(mut command: Command) -> (i32, String) {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let mut ended = None;
    while ended.is_none() && begun.elapsed() < Duration::from_secs(20) {
        ended = child.try_wait().unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let said = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    let ended = ended.unwrap_or_else(|| panic!("it started: {said}"));
    assert!(!said.contains("panicked"), "{said}");
    (ended.code().expect("an exit code"), said)
}

fn serve(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironhatch"));
    command.arg("--config").arg(dir.join("ironhatch.toml")).arg("serve");
    command
}

fn place() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("start-").tempdir_in("/tmp").unwrap()
}

#[test]
fn a_taken_port_is_refused_with_the_name_of_its_holder() {
    in_namespace(async |lab| {
        let _wire = Wire::plug();
        let dir = place();
        configure(dir.path(), PXE, "");
        let me = format!("(process {})", std::process::id());
        for (at, port) in [("0.0.0.0", 67), ("0.0.0.0", 4011), (&US.to_string(), 69)] {
            let _holder = UdpSocket::bind((at, port)).unwrap();
            let (code, said) = refused(serve(dir.path()));
            assert_eq!(code, 1, "{said}");
            assert!(said.contains(&format!("UDP port {port}")) && said.contains(&me), "{said}");
        }
        {
            let _holder = TcpListener::bind((ADDRESS, 8080)).unwrap();
            let (code, said) = refused(serve(dir.path()));
            assert_eq!(code, 1, "{said}");
            assert!(said.contains(":8080") && said.contains(&me), "{said}");
        }
        // Another appliance holds it.
        let world = World::start(&lab, "");
        let (code, said) = refused(serve(dir.path()));
        assert_eq!(code, 1, "{said}");
        let holder = format!("ironhatch (process {})", world.daemon.pid());
        assert!(said.contains(&holder), "{said}");
        assert_eq!(world.daemon.get("/api/health")["status"], "ok");
    });
}

#[test]
fn a_missing_interface_is_refused_with_those_that_exist() {
    in_namespace(async |_| {
        let _wire = Wire::plug();
        let dir = place();
        configure(dir.path(), &PXE.replace("us0", "eth77"), "");
        let (code, said) = refused(serve(dir.path()));
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("'eth77'") && said.contains("us0"), "{said}");
    });
}

#[test]
fn a_process_without_rights_is_told_which_one_it_needs() {
    in_namespace(async |_| {
        let _wire = Wire::plug();
        let dir = place();
        configure(dir.path(), PXE, "");
        // Where nobody may go, with a program that nobody may read elsewhere.
        let program = dir.path().join("ironhatch");
        fs::copy(env!("CARGO_BIN_EXE_ironhatch"), &program).unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        for path in ["", "data", "server-types", "ironhatch.toml"] {
            std::os::unix::fs::chown(dir.path().join(path), Some(65534), Some(65534)).unwrap();
        }
        let as_nobody = || {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
            command.arg("--config").arg(dir.path().join("ironhatch.toml")).arg("serve");
            command
        };
        let (code, said) = refused(as_nobody());
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("port 67") && said.contains("CAP_NET_BIND_SERVICE"), "{said}");
        // A data directory of somebody else.
        let data = dir.path().join("data");
        fs::remove_dir_all(&data).unwrap();
        fs::create_dir(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
        let (code, said) = refused(as_nobody());
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(data.to_str().unwrap()) && said.contains("ermission"), "{said}");
    });
}

#[test]
fn a_broken_configuration_is_refused_with_everything_that_is_wrong() {
    let dir = place();
    let file = dir.path().join("ironhatch.toml");
    fs::create_dir(dir.path().join("server-types")).unwrap();
    let text = format!(
        "data_dri = \"{}/data\"\n[server]\nlisten = \"nowhere\"\npublic_url = \"http://example.net:8080\"\n\
         [pxe]\nenabled = \"yes\"\nmode = \"both\"\nsubnet = \"192.0.2.0/33\"\n[proxmox]\ncluster_name = \"-\"\n",
        dir.path().display()
    );
    fs::write(&file, text).unwrap();
    for verb in ["serve", "check"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ironhatch"));
        command.arg("--config").arg(&file).arg(verb);
        let (code, said) = refused(command);
        assert_eq!(code, 64, "{said}");
        for (line, words) in [
            (1, "data_dir"),
            (3, "ADDRESS:PORT"),
            (4, "IP address"),
            (6, "enabled"),
            (7, "proxy"),
            (8, "192.0.2.0/33"),
            (10, "cluster"),
        ] {
            let place = format!("{}:{line}", file.display());
            let told = said.lines().any(|l| l.contains(&place) && l.contains(words));
            assert!(told, "nothing about line {line} ({words}):\n{said}");
        }
    }
    assert!(!dir.path().join("data").exists(), "nothing is made for a wrong configuration");
    for (text, words) in
        [("[server\n", "ironhatch.toml:1"), ("\u{0}\u{1}", "ironhatch.toml"), ("", "public_url")]
    {
        fs::write(&file, text).unwrap();
        let (code, said) = refused(serve(dir.path()));
        assert_eq!(code, 64, "{said}");
        assert!(said.contains(words), "{said}");
    }
    fs::remove_file(&file).unwrap();
    let (code, said) = refused(serve(dir.path()));
    assert_eq!(code, 64, "{said}");
    assert!(said.contains(file.to_str().unwrap()), "{said}");
}

#[test]
fn a_database_that_is_not_one_is_refused_and_left_as_it_is() {
    in_namespace(async |_| {
        let dir = place();
        configure(dir.path(), "enabled = false\n", "");
        fs::create_dir(dir.path().join("data")).unwrap();
        let database = dir.path().join("data/ironhatch.redb");
        let strange = b"this is somebody's diary\n".repeat(1000);
        fs::write(&database, &strange).unwrap();
        let (code, said) = refused(serve(dir.path()));
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("ironhatch.redb"), "{said}");
        assert!(fs::read(&database).unwrap() == strange, "the file was changed");
    });
}
