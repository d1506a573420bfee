//! Boots for the golden pages: one that goes well, one whose program never speaks, one that another server leads astray.

use super::sample::ago;
use super::scene::HOSTILE;
use crate::domain::boot::{
    BootFact as F, BootLesson, BootObservation, BootProgram, BootStage as S, Finding,
    InstallerFile, OfferWay, ScriptGiven,
};
use crate::domain::mac::Mac;
use crate::store::Tx;

const PROGRAM: BootProgram = BootProgram::SnponlyEfi;

/// Writes what was seen `secs` before now.
fn seen(tx: &mut Tx<'_, '_>, mac: Mac, secs: i64, stage: S, fact: Option<F>, message: &str) {
    let quiet = matches!(fact, None | Some(F::TookAddress { .. } | F::NoSuchFile { .. }));
    let observation = BootObservation {
        at: ago(secs),
        mac: Some(mac),
        address: Some([192, 0, 2, 22].into()),
        stage,
        answered: !quiet,
        message: message.into(),
        fact,
        client: None,
    };
    tx.append_boot_log(mac, observation, if stage == S::Dhcp { 2 } else { 1 }).unwrap();
}

fn begins(tx: &mut Tx<'_, '_>, mac: Mac, secs: i64) {
    let offered = F::Offered { program: PROGRAM, way: OfferWay::Discover };
    seen(tx, mac, secs, S::Dhcp, Some(offered), "offered snponly.efi (UEFI x64)");
    let took = F::TookAddress { server: [192, 0, 2, 1].into() };
    let message = "silent: the machine took address 192.0.2.22 from DHCP server 192.0.2.1";
    seen(tx, mac, secs - 4, S::Dhcp, Some(took), message);
}

fn loads(tx: &mut Tx<'_, '_>, mac: Mac, secs: i64) {
    let named = F::Named { program: PROGRAM };
    seen(tx, mac, secs, S::Pxe, Some(named), "named snponly.efi over TFTP");
    let file = || "snponly.efi".to_owned();
    seen(tx, mac, secs, S::Tftp, Some(F::Sending { file: file() }), "sending snponly.efi");
    let sent = "sent snponly.efi, 241 KiB in 40 ms";
    seen(tx, mac, secs - 1, S::Tftp, Some(F::Sent { file: file() }), sent);
}

pub(super) fn installing(tx: &mut Tx<'_, '_>, mac: Mac) {
    begins(tx, mac, 184);
    loads(tx, mac, 180);
    seen(tx, mac, 177, S::Dhcp, Some(F::OfferedScript), "offered the boot script");
    seen(tx, mac, 176, S::Dhcp, None, "silent: not a network boot request");
    let script = F::Script { given: ScriptGiven::Install };
    seen(tx, mac, 174, S::Http, Some(script), "sent the installer script");
    for (secs, file) in [(173, InstallerFile::Kernel), (172, InstallerFile::Initrd)] {
        let name = file.file_name();
        seen(tx, mac, secs, S::Http, Some(F::Loading { file }), &format!("sending {name}"));
        let loaded = F::Loaded { file, whole: true };
        seen(tx, mac, secs - 1, S::Http, Some(loaded), &format!("{name} fetched (56 MiB)"));
    }
}

pub(super) fn never_speaks(tx: &mut Tx<'_, '_>, mac: Mac) {
    for secs in [300, 200] {
        begins(tx, mac, secs);
        loads(tx, mac, secs - 5);
    }
    let finding = Finding {
        used: BootProgram::IpxeEfi,
        changes: 1,
        proven: false,
        since: ago(130),
        because: "snponly.efi was loaded twice and iPXE never spoke".to_owned(),
    };
    tx.save_boot_lesson(mac, &BootLesson { form: None, program: Some(finding) }).unwrap();
}

pub(super) fn asks_elsewhere(tx: &mut Tx<'_, '_>, mac: Mac) {
    begins(tx, mac, 40);
    let name = HOSTILE.to_owned();
    let message = format!("192.0.2.22:1025 asked for '{HOSTILE}', which is no boot file");
    seen(tx, mac, 35, S::Tftp, Some(F::NoSuchFile { name }), &message);
}
