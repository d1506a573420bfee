//! What network boot adds to DHCP: architectures, vendor classes, iPXE's fingerprint, and option 43.
//!
//! [`identify`] turns a parsed request into one [`Client`]; what to send to it is decided in `plan::offer`.

mod architecture;

use super::dhcp::BootRequest;
pub use architecture::{Architecture, Platform};

/// User class (option 77) by which iPXE says that one of our own scripts is driving it: `set user-class ironhatch`.
pub const OWN_USER_CLASS: &str = "ironhatch";

/// User class of every iPXE that no script renamed (iPXE `net/udp/dhcp.c`).
const IPXE_USER_CLASS: &[u8] = b"iPXE";

/// Sub-option of option 175 that says "HTTP is compiled in" (iPXE `dhcp_features.h`).
const IPXE_FEATURE_HTTP: u8 = 0x13;

/// How a boot program travels to the client; the prefix of option 60 says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Classic PXE: TFTP.
    Pxe,
    /// UEFI HTTP boot.
    Http,
}

/// Value of option 60 in our replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VendorClass {
    /// For PXE ROMs, UEFI PXE and iPXE.
    PxeClient,
    /// For UEFI HTTP boot, which drops every offer without it.
    HttpClient,
}

impl VendorClass {
    /// The bytes on the wire, without a terminator.
    #[must_use]
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::PxeClient => b"PXEClient",
            Self::HttpClient => b"HTTPClient",
        }
    }
}

/// Who drives an iPXE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpxeOrigin {
    /// It announced [`OWN_USER_CLASS`]: one of our scripts runs in it.
    Own,
    /// Any other: in a NIC's ROM, in a virtual machine, or ours before its first script.
    Foreign,
}

/// Who is asking, as far as network boot is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Client {
    /// An ordinary DHCP client: laptop, phone, installed system.
    Ordinary,
    /// Firmware that wants a boot program.
    Firmware {
        /// How it wants to fetch it.
        protocol: Protocol,
        /// For which processor and firmware interface; `None` when it did not say.
        architecture: Option<Architecture>,
    },
    /// iPXE, which wants a script.
    Ipxe {
        /// Whose.
        origin: IpxeOrigin,
        /// For which processor and firmware interface; `None` when it did not say.
        architecture: Option<Architecture>,
        /// Whether it can take an `http://` URL.
        http: HttpSupport,
    },
}

/// Whether an iPXE can fetch by HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpSupport {
    /// It said so, or it said nothing at all about its features: HTTP is in every default build.
    Yes,
    /// It listed its features, and HTTP is not among them.
    No,
}

impl Client {
    /// The architecture that the client named, if it is a network boot client.
    #[must_use]
    pub fn architecture(&self) -> Option<Architecture> {
        match *self {
            Self::Ordinary => None,
            Self::Firmware { architecture, .. } | Self::Ipxe { architecture, .. } => architecture,
        }
    }
}

/// Classifies a request by options 60, 77, 93 and 175 (first match wins, `pxe-netboot` 4.1).
#[must_use]
pub fn identify(request: &BootRequest) -> Client {
    let class = request.vendor_class.as_slice();
    if class.starts_with(VendorClass::HttpClient.as_bytes()) {
        let architecture = architecture_of(request, Protocol::Http);
        return Client::Firmware { protocol: Protocol::Http, architecture };
    }
    let pxe_class = class.starts_with(VendorClass::PxeClient.as_bytes());
    if !pxe_class && request.architectures.is_empty() {
        return Client::Ordinary;
    }
    let architecture = architecture_of(request, Protocol::Pxe);
    let user_class = UserClass::of(&request.user_class);
    if user_class != UserClass::Other || request.ipxe.is_some() {
        let origin = match user_class {
            UserClass::Own => IpxeOrigin::Own,
            UserClass::Ipxe | UserClass::Other => IpxeOrigin::Foreign,
        };
        // Our own scripts run only in an iPXE that fetched them by HTTP.
        let http = match &request.ipxe {
            Some(features) if origin == IpxeOrigin::Foreign && !has_http(features) => {
                HttpSupport::No
            }
            _ => HttpSupport::Yes,
        };
        return Client::Ipxe { origin, architecture, http };
    }
    if pxe_class {
        Client::Firmware { protocol: Protocol::Pxe, architecture }
    } else {
        // Option 93 alone is sent by boot loaders that do not speak PXE (U-Boot's own DHCP, for one).
        Client::Ordinary
    }
}

/// Chooses among the architectures of option 93 the first that fits the protocol of this attempt, else the first;
/// without option 93 the digits of option 60 count. When both exist, 93 is right (`pxe-netboot` 2.3).
fn architecture_of(request: &BootRequest, protocol: Protocol) -> Option<Architecture> {
    let listed = || request.architectures.iter().copied().map(Architecture::from_code);
    listed()
        .find(|a| a.protocol() == protocol)
        .or_else(|| listed().next())
        .or_else(|| class_digits(&request.vendor_class).map(Architecture::from_code))
}

/// The `aaaaa` of `PXEClient:Arch:aaaaa:UNDI:mmmnnn` (Intel PXE 2.1, 2.2.2).
fn class_digits(class: &[u8]) -> Option<u16> {
    let at = class.windows(6).position(|w| w == b":Arch:")?;
    let digits = class.get(at + 6..at + 11)?;
    std::str::from_utf8(digits).ok().filter(|d| d.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum UserClass {
    Own,
    Ipxe,
    Other,
}

impl UserClass {
    /// iPXE sends raw bytes; others send RFC 3004's list of length-prefixed classes. Both are read.
    fn of(value: &[u8]) -> Self {
        let raw = Self::of_text(value);
        if raw != Self::Other {
            return raw;
        }
        let mut rest = value;
        while let Some((&length, tail)) = rest.split_first() {
            let Some(text) = tail.get(..usize::from(length)) else { break };
            let class = Self::of_text(text);
            if class != Self::Other {
                return class;
            }
            rest = tail.get(usize::from(length)..).unwrap_or(&[]);
        }
        Self::Other
    }

    fn of_text(text: &[u8]) -> Self {
        // Some builds terminate the text.
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        if text == IPXE_USER_CLASS || text == b"gPXE" {
            Self::Ipxe
        } else if text == OWN_USER_CLASS.as_bytes() {
            Self::Own
        } else {
            Self::Other
        }
    }
}

/// Whether the feature list of option 175 has HTTP with a value other than zero.
fn has_http(features: &[u8]) -> bool {
    SubOptions(features)
        .any(|(tag, value)| tag == IPXE_FEATURE_HTTP && value.first().is_some_and(|&v| v != 0))
}

/// Walks encapsulated options (43, 175): tag, length, value; 0 pads, 255 ends; stops at the first that does not fit.
#[derive(Debug, Clone)]
pub struct SubOptions<'a>(pub &'a [u8]);

impl<'a> Iterator for SubOptions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&tag, rest) = self.0.split_first()?;
            if tag == 0 {
                self.0 = rest;
                continue;
            }
            if tag == 255 {
                self.0 = &[];
                return None;
            }
            let (&length, rest) = rest.split_first()?;
            let Some(value) = rest.get(..usize::from(length)) else {
                self.0 = &[];
                return None;
            };
            self.0 = rest.get(usize::from(length)..).unwrap_or(&[]);
            return Some((tag, value));
        }
    }
}

/// Sub-option 71 of option 43: which entry of a boot menu is asked for (Intel PXE 2.1, table 2-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootItem {
    /// Boot server type.
    pub kind: u16,
    /// Layer; bit 15 asks for signed credentials.
    pub layer: u16,
}

impl BootItem {
    const TAG: u8 = 71;

    /// Reads it from the value of option 43.
    #[must_use]
    pub fn of(vendor_options: &[u8]) -> Option<Self> {
        SubOptions(vendor_options).find_map(|(tag, value)| match (tag, value) {
            (Self::TAG, &[a, b, c, d]) => {
                Some(Self { kind: u16::from_be_bytes([a, b]), layer: u16::from_be_bytes([c, d]) })
            }
            _ => None,
        })
    }

    /// Whether the client wants a signature that we cannot give (boot integrity services): silence is the answer.
    #[must_use]
    pub fn wants_credentials(self) -> bool {
        self.layer & 0x8000 != 0
    }
}

/// Value of option 43 that says "boot the file named in this packet": discovery control (6) with bit 3, no menu, no
/// multicast, no 4011 round; with the asked-for menu item echoed when there is one (`pxe-netboot` 2.5).
#[must_use]
pub fn boot_this_file(item: Option<BootItem>) -> Vec<u8> {
    let mut value = vec![6, 1, 8];
    if let Some(BootItem { kind, layer }) = item {
        value.extend([BootItem::TAG, 4]);
        value.extend(kind.to_be_bytes());
        value.extend(layer.to_be_bytes());
    }
    value.push(255);
    value
}

#[cfg(test)]
mod test;
