//! What iPXE tells in the query of its script request. All of it is a claim: cut, cleaned, never trusted.

use serde::Deserialize;

use crate::domain::identity::usable_serial;
use crate::domain::inventory::{Firmware, Inventory};

/// Query of `GET /ipxe/{mac}`; iPXE leaves a parameter empty when it does not know it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct BootQuery {
    uuid: String,
    serial: String,
    vendor: String,
    product: String,
    asset: String,
    memory: String,
    platform: String,
    chip: String,
}

impl BootQuery {
    pub(super) fn into_inventory(self) -> Inventory {
        Inventory {
            vendor: usable_serial(&self.vendor),
            product: usable_serial(&self.product),
            serial: usable_serial(&self.serial),
            asset: usable_serial(&self.asset),
            uuid: self.uuid.parse().ok(),
            memory_mib: self.memory.trim().parse().ok().filter(|n| *n > 0),
            firmware: match self.platform.as_str() {
                "efi" => Some(Firmware::Uefi),
                "pcbios" => Some(Firmware::Bios),
                _ => None,
            },
            nic_chip: usable_serial(&self.chip),
            ..Inventory::default()
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn empty_and_hostile_values_become_nothing_or_harmless_text() {
        let query = BootQuery {
            uuid: "00000000-0000-0000-0000-000000000000".into(),
            vendor: "  ".into(),
            product: format!("a\nb\u{7}{}", "x".repeat(500)),
            memory: "-5".into(),
            platform: "efi; reboot".into(),
            ..BootQuery::default()
        };
        let found = query.into_inventory();
        assert_eq!(
            (found.uuid, found.vendor, found.memory_mib, found.firmware),
            (None, None, None, None)
        );
        let product = found.product.unwrap();
        assert!(product.len() <= 64 && !product.contains('\n'), "{product:?}");
    }
}
