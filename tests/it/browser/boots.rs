//! How a machine booted: the drawing follows what is heard, also what no event tells.

use ironhatch::domain::boot::{
    BootFact, BootObservation, BootProgram, BootStage, InstallerFile, OfferWay, ScriptGiven,
};
use ironhatch::domain::host::{Host, HostEvent, HostState};
use ironhatch::domain::mac::Mac;
use ironhatch::domain::sighting::Sighting;
use ironhatch::domain::time::Timestamp;
use ironhatch::store::{HostWriteError, Store, StoreError};

use super::{Screen, browser, dashboard, host, log_in, move_host, now, picture, see};

/// Writes what a machine did, each with its milliseconds before now.
async fn heard(store: &Store, mac: Mac, facts: Vec<(i64, BootStage, BootFact, &'static str)>) {
    let written: Result<(), StoreError> = store
        .write(move |tx| {
            for (before, stage, fact, message) in facts {
                let observation = BootObservation {
                    at: Timestamp(now().0 - before),
                    mac: Some(mac),
                    address: None,
                    stage,
                    answered: !matches!(fact, BootFact::TookAddress { .. }),
                    message: message.to_owned(),
                    fact: Some(fact),
                    client: None,
                };
                tx.append_boot_log(mac, observation, 1)?;
            }
            Ok(())
        })
        .await;
    written.unwrap();
}

/// A boot up to the boot program, which begins so long before now.
fn loads(before: i64) -> Vec<(i64, BootStage, BootFact, &'static str)> {
    let program = BootProgram::SnponlyEfi;
    let file = || "snponly.efi".to_owned();
    let server = [192, 0, 2, 1].into();
    vec![
        (
            before,
            BootStage::Dhcp,
            BootFact::Offered { program, way: OfferWay::Discover },
            "offered snponly.efi",
        ),
        (
            before - 4_000,
            BootStage::Dhcp,
            BootFact::TookAddress { server },
            "silent: the machine took address 192.0.2.21 from DHCP server 192.0.2.1",
        ),
        (before - 4_100, BootStage::Pxe, BootFact::Named { program }, "named snponly.efi"),
        (
            before - 4_300,
            BootStage::Tftp,
            BootFact::Sending { file: file() },
            "sending snponly.efi",
        ),
        (before - 4_900, BootStage::Tftp, BootFact::Sent { file: file() }, "sent snponly.efi"),
    ]
}

/// A machine that nobody registered.
pub(super) fn stranger() -> Mac {
    Mac([0x52, 0x54, 0, 0xcc, 0, 1])
}

/// A host and a stranger with failed boots, for pages that are looked at.
pub(super) async fn failed(store: &Store) -> Mac {
    let stranger = stranger();
    for mac in [host(1).macs[0], stranger] {
        heard(store, mac, loads(300_000)).await;
        heard(store, mac, loads(200_000)).await;
    }
    let saved: Result<(), HostWriteError> =
        store.write(move |tx| Ok(tx.save_sighting(&Sighting::first_heard(stranger, now()))?)).await;
    saved.unwrap();
    stranger
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_line_of_a_boot_grows_while_somebody_watches() {
    let (state, profile) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (store, address, cancel) = dashboard(&state).await;
    let saved: Result<(), HostWriteError> = store
        .write(|tx| {
            let state_since = Timestamp(now().0 - 60_000);
            tx.save_host(&Host { state: HostState::PxeReady, state_since, ..host(1) })
        })
        .await;
    saved.unwrap();
    let (mut driver, client) = browser(&profile, Screen::Desk).await;
    client.set_window_size(1100, 1500).await.unwrap();
    log_in(&client, &store, address).await;

    let mac = host(1).macs[0];
    client.goto(&format!("http://{address}/hosts/{}", host(1).id)).await.unwrap();
    see(&client, "html[data-live=yes]").await;
    see(&client, "#boot-story [data-verdict=waiting]").await;
    // No event tells of packets: the page reads them again by itself.
    heard(&store, mac, loads(10_000)).await;
    see(&client, "#boot-story [data-verdict=under-way]").await;
    see(&client, "#boot-story svg circle").await;

    // A change of state is an event.
    let given = ScriptGiven::Install;
    let file = InstallerFile::Iso;
    let (dhcp, http) = (BootStage::Dhcp, BootStage::Http);
    heard(
        &store,
        mac,
        vec![
            (3_000, dhcp, BootFact::OfferedScript, "offered the boot script"),
            (2_500, http, BootFact::Script { given }, "boot script: install"),
            (2_000, http, BootFact::Loading { file }, "sending proxmox.iso (1620 MiB)"),
        ],
    )
    .await;
    move_host(&store, 1, HostEvent::ScriptFetched).await;
    see(&client, "#boot-story svg g.busy circle").await;
    see(&client, "#boot-story summary").await.click().await.unwrap();
    see(&client, "#boot-story .marks-list tbody tr:nth-child(7)").await;
    // Everything that is drawn has its words for those who do not see it.
    let script = "const svg = document.querySelector('#boot-story svg');
        const said = svg.getAttribute('aria-labelledby').split(' ').map((id) => document.getElementById(id).textContent);
        return [said.every(Boolean), svg.querySelectorAll('g').length, svg.querySelectorAll('g > title').length];";
    let said = client.execute(script, vec![]).await.unwrap();
    assert_eq!(said, serde_json::json!([true, 7, 7]));
    client.execute("document.getElementById('story').scrollIntoView()", vec![]).await.unwrap();
    picture(&client, "boot-story").await;

    client.close().await.unwrap();
    cancel.cancel();
    driver.kill().await.unwrap();
}
