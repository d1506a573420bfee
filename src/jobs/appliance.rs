//! Who we are: the machine this daemon runs on must never be the machine that gets wiped.

use std::net::Ipv4Addr;

use nix::net::if_::InterfaceFlags;

use crate::domain::host::Host;
use crate::domain::identity::DmiUuid;
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};

/// Identity of the machine the daemon runs on.
#[derive(Debug, Clone, Default)]
pub struct Appliance {
    /// Hardware addresses of all its interfaces.
    pub macs: Vec<Mac>,
    /// Its system UUID, when it could be read.
    pub uuid: Option<DmiUuid>,
    /// Its IPv4 addresses.
    pub addresses: Vec<Ipv4Addr>,
}

/// Where the system UUID is: the kernel's file is for root only, so the unit copies it for the daemon.
const OWN_UUID: [&str; 2] = ["/sys/class/dmi/id/product_uuid", "/run/ironhatch/product_uuid"];

impl Appliance {
    /// Reads the identity from the kernel. What cannot be read is left out: each property alone is enough to refuse.
    #[must_use]
    pub fn read() -> Self {
        let mut macs = Vec::new();
        if let Ok(interfaces) = std::fs::read_dir("/sys/class/net") {
            for interface in interfaces.flatten() {
                let text = std::fs::read_to_string(interface.path().join("address"));
                macs.extend(text.ok().and_then(|t| t.trim().parse::<Mac>().ok()));
            }
        }
        let uuid =
            OWN_UUID.iter().find_map(|path| std::fs::read_to_string(path).ok()?.parse().ok());
        if uuid.is_none() {
            tracing::warn!(
                "this machine's system UUID cannot be read; it is recognised by MAC and address only"
            );
        }
        let mut addresses = Vec::new();
        if let Ok(found) = nix::ifaddrs::getifaddrs() {
            let loopback = InterfaceFlags::IFF_LOOPBACK;
            for interface in found.filter(|i| !i.flags.contains(loopback)) {
                // sysfs shows the interfaces of the namespace it was mounted in, which need not be ours.
                let link = interface.address.as_ref().and_then(|a| a.as_link_addr());
                let mac = link.and_then(|a| a.addr()).map(Mac).filter(|m| m.is_unicast());
                macs.extend(mac);
                let ip =
                    interface.address.as_ref().and_then(|a| a.as_sockaddr_in()).map(|a| a.ip());
                addresses.extend(ip);
            }
        }
        Self { macs, uuid, addresses }
    }

    /// Why a host is this very machine; `None` when nothing says so.
    #[must_use]
    pub fn recognises(&self, host: &Host) -> Option<String> {
        if let Some(mac) = host.macs.iter().find(|m| self.macs.contains(m)) {
            return Some(format!("its MAC {mac} is on this machine"));
        }
        let uuid = host.known_uuid();
        if let Some(uuid) = uuid.filter(|u| self.uuid == Some(*u)) {
            return Some(format!("its system UUID {uuid} is this machine's"));
        }
        let address = host.address.filter(|a| self.addresses.contains(a))?;
        Some(format!("its address {address} is on this machine"))
    }

    /// Refuses a machine that asks for its answer and shows one of our own identities.
    ///
    /// # Errors
    /// What of it is ours.
    pub(super) fn refuse_machine(
        &self,
        host: &Host,
        macs: &[Mac],
        uuid: Option<DmiUuid>,
    ) -> Result<(), Refusal> {
        let asking =
            Host { macs: macs.to_vec(), uuid: uuid.or(host.uuid), address: None, ..host.clone() };
        let Some(why) = self.recognises(&asking) else { return Ok(()) };
        Err(Refusal::new(
            RefusalKind::Forbidden,
            format!("{} is the machine that Ironhatch runs on: {why}", host.hostname),
            "run Ironhatch on another machine to rebuild this one",
        ))
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn host() -> Host {
        let macs = ["52:54:00:00:00:01", "52:54:00:00:00:02"];
        let macs = macs.map(|mac| mac.parse().unwrap()).to_vec();
        Host { macs, ..crate::fakes::sample::host(1) }
    }

    #[test]
    fn one_matching_property_is_enough() {
        let uuid: DmiUuid = "4c4c4544-0042-3010-8054-b5c04f4e5932".parse().unwrap();
        let me = Appliance {
            macs: vec!["52:54:00:00:00:02".parse().unwrap()],
            uuid: Some(uuid),
            addresses: vec![Ipv4Addr::new(192, 0, 2, 10)],
        };
        assert!(me.recognises(&host()).unwrap().contains("52:54:00:00:00:02"));
        let mut other = host();
        other.macs.truncate(1);
        assert_eq!(me.recognises(&other), None);
        other.inventory.uuid = Some(uuid);
        assert!(me.recognises(&other).is_some());
        other.inventory.uuid = None;
        other.address = Some(Ipv4Addr::new(192, 0, 2, 10));
        assert!(me.recognises(&other).is_some());
    }

    #[test]
    fn a_machine_that_shows_one_of_our_macs_gets_no_answer() {
        let ours: Mac = "52:54:00:00:00:09".parse().unwrap();
        let me = Appliance { macs: vec![ours], ..Appliance::default() };
        let host = host();
        assert!(me.refuse_machine(&host, &host.macs, None).is_ok());
        let refused = me.refuse_machine(&host, &[host.macs[0], ours], None).unwrap_err();
        assert!(refused.detail.contains("52:54:00:00:00:09"), "{refused}");
    }

    #[test]
    fn an_unreadable_own_identity_matches_nobody_by_accident() {
        assert_eq!(Appliance::default().recognises(&host()), None);
    }
}
