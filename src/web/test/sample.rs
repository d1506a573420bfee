//! Records with fixed values, for tests.

use crate::domain::host::Host;
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
        state_since: ago(300),
        ..Host::new(
            HostId(uuid::Uuid::from_u128(u128::from(n))),
            format!("pve{n}").parse().unwrap(),
            vec![Mac([0x52, 0x54, 0, 0xaa, 0xbb, n])],
            "lab".parse().unwrap(),
            ago(86_400),
        )
    };
    with(&mut host);
    host
}
