//! `mode = "full"` on an isolated segment, with a real DHCP client: busybox' udhcpc.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::join::lab::story as in_namespace;
use crate::support::daemon::Daemon;
use crate::support::wire::{PXE, Wire};

const POOL: &str = "mode = \"full\"\npool = \"198.51.100.100-198.51.100.109\"\ngateway = \"198.51.100.10\"\n\
                    dns = [\"198.51.100.10\"]\nlease_secs = 600\n";

/// Options of a UEFI x64 firmware: vendor class and architecture (option 93).
const UEFI: [&str; 4] = ["-V", "PXEClient:Arch:00007:UNDI:003016", "-x", "0x5d:0007"];

/// What the client was given, as `name=value` words.
fn ask(wire: &Wire, dir: &Path, more: &'static [&'static str]) -> String {
    let script = dir.join("lease.sh");
    let text = "#!/bin/sh\n[ \"$1\" != bound ] || echo \"ip=$ip router=$router dns=$dns lease=$lease file=$boot_file\"\n";
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let done = wire.inside(move || {
        let mut client = Command::new("busybox");
        client
            .args(["udhcpc", "-i", "them0", "-f", "-q", "-n", "-t", "5", "-s"])
            .arg(&script)
            .args(more);
        client.output().expect("these tests need busybox")
    });
    assert!(done.status.success(), "{done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

#[test]
fn a_client_gets_a_lease_that_survives_a_crash_and_a_pxe_client_its_boot_file_too() {
    in_namespace(async |_lab| {
        let wire = Wire::plug();
        let dir = tempfile::Builder::new().prefix("full-").tempdir_in("/tmp").unwrap();
        let mut daemon =
            Daemon::start_with(dir.path(), &format!("{PXE}unknown = \"enroll\"\n{POOL}"), "");
        let plain = ask(&wire, dir.path(), &[]);
        assert!(
            plain.contains("router=198.51.100.10 dns=198.51.100.10 lease=600 file=\n"),
            "{plain}"
        );
        let address = plain.split([' ', '=']).nth(1).unwrap().to_owned();
        assert!(address.starts_with("198.51.100.10"), "{plain}");

        // Durable before it was acknowledged: the same machine gets the same address after a power cut.
        daemon.kill_and_restart();
        let again = ask(&wire, dir.path(), &UEFI);
        assert!(again.contains(&format!("ip={address} ")), "{plain}{again}");
        assert!(again.contains("file=snponly.efi"), "{again}");
    });
}
