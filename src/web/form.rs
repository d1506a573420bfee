//! What operators type about a host, parsed into typed values; pages and API share it, so they share its words.

use serde::Deserialize;

use crate::domain::boot::{BootProfile, BootProgram, OfferForm};
use crate::domain::host::{Host, HostOverrides};
use crate::domain::mac::Mac;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::server_type::DiskSelection;
use crate::jobs::{HostChange, NewHost};
pub(super) use crate::plan::host_text::{hostname, macs, network, server_type};

/// A host's form as it was typed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct HostForm {
    pub(super) hostname: String,
    /// Separated by white space or commas.
    pub(super) macs: String,
    pub(super) server_type: String,
    /// Empty: by server type; `property`; `devices`.
    pub(super) disk_by: String,
    pub(super) disk_property: String,
    pub(super) disk_value: String,
    pub(super) cidr: String,
    pub(super) gateway: String,
    pub(super) dns: String,
    pub(super) boot_form: String,
    pub(super) boot_program: String,
    pub(super) forget_uuid: Option<String>,
}

fn refuse(field: &'static str, detail: impl ToString, hint: &str) -> Refusal {
    Refusal::new(RefusalKind::Unprocessable, detail.to_string(), hint).about(field)
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

impl HostForm {
    /// The form of an existing host.
    pub(super) fn of(host: &Host) -> Self {
        let network = host.overrides.network.as_ref();
        let (disk_by, disk_property, disk_value) = match &host.overrides.boot_disk {
            Some(DiskSelection::Property { property, value }) => {
                ("property", property.clone(), value.clone())
            }
            Some(DiskSelection::Devices { names }) => ("devices", String::new(), names.join(" ")),
            Some(DiskSelection::PerHost) | None => ("", String::new(), String::new()),
        };
        let macs: Vec<String> = host.macs.iter().map(Mac::to_string).collect();
        Self {
            hostname: host.hostname.to_string(),
            macs: macs.join("\n"),
            server_type: host.server_type.to_string(),
            disk_by: disk_by.to_owned(),
            disk_property,
            disk_value,
            cidr: network.map(|n| n.cidr.clone()).unwrap_or_default(),
            gateway: network.map(|n| n.gateway.to_string()).unwrap_or_default(),
            dns: network.map(|n| n.dns.to_string()).unwrap_or_default(),
            boot_form: match host.boot.form {
                Some(OfferForm::Discover) => "discover",
                Some(OfferForm::Direct) => "direct",
                None => "",
            }
            .to_owned(),
            boot_program: match host.boot.program {
                Some(program) => program.file_name(),
                None => "",
            }
            .to_owned(),
            forget_uuid: None,
        }
    }

    fn parsed_macs(&self) -> Result<Vec<Mac>, Refusal> {
        macs(self.macs.split(|c: char| c.is_whitespace() || c == ',' || c == ';'))
    }

    fn boot_disk(&self) -> Result<Option<DiskSelection>, Refusal> {
        let value = self.disk_value.trim();
        match self.disk_by.as_str() {
            "" => Ok(None),
            _ if value.is_empty() => Err(refuse(
                "disk_value",
                "No disk is named.",
                "Give the exact value, or choose “as the server type says”.",
            )),
            "property" => {
                let property = match self.disk_property.trim() {
                    "" => "ID_SERIAL_SHORT",
                    given => given,
                };
                Ok(Some(DiskSelection::Property {
                    property: property.to_owned(),
                    value: value.to_owned(),
                }))
            }
            "devices" => {
                let names = value.split_whitespace();
                let names = names.map(|n| n.trim_start_matches("/dev/").to_owned()).collect();
                Ok(Some(DiskSelection::Devices { names }))
            }
            other => {
                let detail = format!("'{}' is not a way to name a disk.", short(other));
                Err(refuse("disk_by", detail, "'property' and 'devices' are known."))
            }
        }
    }

    fn boot(&self) -> Result<BootProfile, Refusal> {
        let form = match self.boot_form.as_str() {
            "" => None,
            "discover" => Some(OfferForm::Discover),
            "direct" => Some(OfferForm::Direct),
            _ => return Err(refuse("boot_form", "This offer form is not known.", "")),
        };
        let program = match self.boot_program.as_str() {
            "" => None,
            "undionly.kpxe" => Some(BootProgram::UndionlyKpxe),
            "snponly.efi" => Some(BootProgram::SnponlyEfi),
            "ipxe.efi" => Some(BootProgram::IpxeEfi),
            _ => return Err(refuse("boot_program", "This boot program is not known.", "")),
        };
        Ok(BootProfile { form, program })
    }

    /// The host to be registered, or everything that is wrong with the form.
    pub(super) fn parse_new(&self) -> Result<NewHost, Vec<Refusal>> {
        let mut wrong = Vec::new();
        let hostname = keep(hostname(&self.hostname), &mut wrong);
        let macs = keep(self.parsed_macs(), &mut wrong);
        let server_type = keep(server_type(&self.server_type), &mut wrong);
        let boot_disk = keep(self.boot_disk(), &mut wrong);
        let network = keep(network(&self.cidr, &self.gateway, &self.dns), &mut wrong);
        match (hostname, macs, server_type, boot_disk, network) {
            (Some(hostname), Some(macs), Some(server_type), Some(boot_disk), Some(network)) => {
                let overrides = HostOverrides { boot_disk, network, ..HostOverrides::default() };
                Ok(NewHost { hostname, macs, server_type, overrides })
            }
            _ => Err(wrong),
        }
    }

    /// The change of an existing host, or everything that is wrong with the form. Answer keys stay as they are.
    pub(super) fn parse_change(&self, host: &Host) -> Result<HostChange, Vec<Refusal>> {
        let mut wrong = Vec::new();
        let macs = keep(self.parsed_macs(), &mut wrong);
        let server_type = keep(server_type(&self.server_type), &mut wrong);
        let boot_disk = keep(self.boot_disk(), &mut wrong);
        let network = keep(network(&self.cidr, &self.gateway, &self.dns), &mut wrong);
        let boot = keep(self.boot(), &mut wrong);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        let overrides = HostOverrides {
            boot_disk: boot_disk.flatten(),
            network: network.flatten(),
            answer: host.overrides.answer.clone(),
        };
        Ok(HostChange {
            macs,
            server_type,
            overrides: Some(overrides),
            boot,
            forget_uuid: self.forget_uuid.is_some(),
        })
    }
}

fn keep<T>(parsed: Result<T, Refusal>, wrong: &mut Vec<Refusal>) -> Option<T> {
    parsed.map_err(|refusal| wrong.push(refusal)).ok()
}

#[cfg(test)]
mod test {
    use super::*;

    fn form() -> HostForm {
        HostForm {
            hostname: " pve1 ".into(),
            macs: "52:54:00:00:00:01, 52-54-00-00-00-02\n".into(),
            server_type: "lab".into(),
            ..HostForm::default()
        }
    }

    #[test]
    fn a_plain_form_is_a_host() {
        let new = form().parse_new().unwrap();
        assert_eq!(new.hostname.as_str(), "pve1");
        assert_eq!(new.macs.len(), 2);
        assert_eq!(new.overrides, HostOverrides::default());
    }

    #[test]
    fn everything_wrong_is_told_at_once_beside_its_field() {
        let bad = HostForm {
            hostname: "PVE_1".into(),
            macs: "nonsense".into(),
            server_type: String::new(),
            disk_by: "property".into(),
            cidr: "192.0.2.21".into(),
            ..HostForm::default()
        };
        let wrong = bad.parse_new().unwrap_err();
        let fields: Vec<_> = wrong.iter().filter_map(|r| r.field).collect();
        assert_eq!(fields, ["hostname", "macs", "server_type", "disk_value", "cidr"]);
    }

    #[test]
    fn a_gateway_outside_the_network_is_refused() {
        let bad = network("192.0.2.21/24", "198.51.100.1", "192.0.2.1").unwrap_err();
        assert_eq!(bad.field, Some("gateway"));
        assert!(network("192.0.2.21/24", "192.0.2.1", "9.9.9.9").unwrap().is_some());
        assert_eq!(network("", " ", ""), Ok(None));
    }

    #[test]
    fn a_hosts_form_says_the_same_again() {
        let mut typed = form();
        typed.disk_by = "property".into();
        typed.disk_value = "S1".into();
        typed.cidr = "192.0.2.21/24".into();
        (typed.gateway, typed.dns) = ("192.0.2.1".into(), "192.0.2.1".into());
        let new = typed.parse_new().unwrap();
        let host = crate::web::test::sample::host(1, |h| {
            h.macs = new.macs.clone();
            h.overrides = new.overrides.clone();
        });
        let change = HostForm::of(&host).parse_change(&host).unwrap();
        assert_eq!(change.overrides, Some(new.overrides));
        assert_eq!(change.macs, Some(new.macs));
    }
}
