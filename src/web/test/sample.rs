//! Records with fixed values, for tests.

use crate::domain::host::{Host, HostState};
use crate::domain::id::HostId;
use crate::domain::mac::Mac;
use crate::domain::time::Timestamp;

/// 2026-11-20 18:53:20 UTC.
pub(crate) const NOW: Timestamp = Timestamp(1_795_200_800_000);

/// The instant `secs` before [`NOW`].
pub(crate) fn ago(secs: i64) -> Timestamp {
    Timestamp(NOW.0 - secs * 1000)
}

/// Host number `n`, changed by `with`.
pub(crate) fn host(n: u8, with: impl FnOnce(&mut Host)) -> Host {
    let mut host = Host {
        id: HostId(uuid::Uuid::from_u128(u128::from(n))),
        hostname: format!("pve{n}").parse().unwrap(),
        macs: vec![Mac([0x52, 0x54, 0, 0xaa, 0xbb, n])],
        uuid: None,
        server_type: "lab".parse().unwrap(),
        overrides: Default::default(),
        state: HostState::Registered,
        state_since: ago(300),
        failure: None,
        active_job: None,
        address: None,
        is_member: false,
        ssh_host_keys: vec![],
        inventory: Default::default(),
        boot: Default::default(),
        power: Default::default(),
        created: ago(86_400),
    };
    with(&mut host);
    host
}
