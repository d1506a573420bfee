//! A machine that the appliance plays is a stranger, whatever its MAC.

use super::Site;
use crate::domain::host::HostState;
use crate::jobs::{BootDecision, ScriptRequest};
use crate::store::{HostReads as _, SightingReads as _};
use crate::web::test::sample::host;

#[tokio::test]
async fn a_played_machine_with_the_mac_of_an_armed_host_is_a_stranger() {
    let site = Site::start().await;
    let armed = host(1, |host| host.state = HostState::PxeReady);
    let (id, mac) = (armed.id, armed.macs[0]);
    let saved = armed.clone();
    site.write(move |tx| Ok(tx.save_host(&saved)?)).await;
    let request = |mac| ScriptRequest {
        mac,
        address: None,
        inventory: Default::default(),
        is_rehearsal: true,
    };
    for mac in [mac, host(9, |_| ()).macs[0]] {
        let decision = site.engine.boot_decision(request(mac)).await.unwrap();
        assert!(matches!(decision, BootDecision::Unknown), "{decision:?}");
    }
    let read = site.engine.store().snapshot().unwrap();
    assert_eq!(read.host(id).unwrap(), Some(armed), "nothing was written down");
    assert!(read.sightings().unwrap().is_empty());
}
