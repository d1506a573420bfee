//! What a DHCP packet gets from us, as one pure function per mode.
//!
//! ```text
//! bytes -> proto::dhcp::parse -> proto::pxe::identify -> decide / full::decide -> Decision -> bytes
//!                                                              ^ standing, policy, local address
//! ```
//!
//! [`decide`] is the boot server beside the LAN's DHCP server: it names boot files and never an address, and keeps no
//! state. [`full::decide`] also lends addresses, on a segment of our own. Both say in plain words why; the only thing
//! that a caller adds is [`LoopGuard`], which needs to remember.

mod base_url;
pub mod full;
mod loop_guard;
mod reason;

use std::net::Ipv4Addr;

use crate::domain::boot::{
    BootFact, BootProfile, BootProgram, ClientFacts, OfferForm, OfferWay, Standing,
};
use crate::domain::identity::DmiUuid;
use crate::proto::dhcp::{BootFile, BootRequest, MessageType, Reply};
use crate::proto::pxe::{
    self, Architecture, BootItem, Client, HttpSupport, IpxeOrigin, Platform, Protocol, VendorClass,
};
pub use base_url::{BaseUrl, InvalidBaseUrl};
pub use loop_guard::LoopGuard;
pub use reason::Reason;

/// Which of our ports a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Channel {
    /// UDP 67: the DHCP server port.
    Port67,
    /// UDP 4011: the boot server port, asked by a client that already has its address.
    Port4011,
}

/// What machines get that nobody registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnknownMachines {
    /// They are offered iPXE, which reports them and shows a notice.
    Enroll,
    /// Silence.
    Ignore,
}

/// What the operator configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferPolicy {
    /// What machines get that nobody registered.
    pub unknown: UnknownMachines,
    /// Where our HTTP server is for the machines.
    pub base_url: BaseUrl,
}

/// Our address on the wire that a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address that the client can reach: siaddr, option 54 and 66, and the URLs unless a fixed one is set.
    pub address: Ipv4Addr,
    /// Length of its network prefix, 0 to 32.
    pub prefix_len: u8,
}

impl LocalAddress {
    /// Whether `other` is in the network of this address.
    #[must_use]
    pub fn is_neighbour(&self, other: Ipv4Addr) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_len.min(32))).unwrap_or(0);
        self.address.to_bits() & mask == other.to_bits() & mask
    }
}

/// Where a reply goes; ports are the shell's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// To the relay, on the server port.
    Relay(Ipv4Addr),
    /// To a client that has an address, on the client port.
    Client(Ipv4Addr),
    /// To 255.255.255.255 on the interface of arrival, client port.
    Broadcast,
    /// To the address and port that the request came from, from the port it came to.
    Sender,
}

/// What happens with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// No answer. It is the correct way to say no: the client goes on to its next boot device.
    Silent(Reason),
    /// An answer.
    Reply(Box<Answer>),
}

/// A reply with its way and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What is sent.
    pub reply: Reply,
    /// Where to.
    pub destination: Destination,
    /// The decision in plain words for the operator; `None` when the packet is only worth counting.
    pub why: Option<String>,
    /// Whether the client could come back with the same question for ever: [`LoopGuard`] counts these.
    pub may_loop: bool,
    /// What it means for the machine's boot, for its diagnosis.
    pub fact: Option<BootFact>,
}

impl Decision {
    /// The decision in plain words; `None` when the packet is only worth counting.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        match self {
            Self::Silent(reason) => reason.is_worth_telling().then(|| reason.to_string()),
            Self::Reply(answer) => answer.why.clone(),
        }
    }

    /// What it means for the machine's boot; `None` when nothing follows from it.
    #[must_use]
    pub fn fact(&self) -> Option<BootFact> {
        match self {
            Self::Silent(reason) => reason.fact(),
            Self::Reply(answer) => answer.fact.clone(),
        }
    }
}

/// Decides for the boot server beside the LAN's own DHCP server: boot data, never an address (`pxe-netboot` 4).
#[must_use]
pub fn decide(
    request: &BootRequest,
    channel: Channel,
    standing: &Standing,
    policy: &OfferPolicy,
    local: &LocalAddress,
) -> Decision {
    let client = pxe::identify(request);
    if client == Client::Ordinary {
        return Decision::Silent(Reason::NotNetboot);
    }
    let message = match answer_type(request, channel, local) {
        Ok(message) => message,
        Err(reason) => return Decision::Silent(reason),
    };
    let asked = Asked { request, channel, client, service: Service::Beside };
    match boot_data(&asked, standing, policy, local) {
        Err(reason) => Decision::Silent(reason),
        Ok(boot) => Decision::Reply(Box::new(Answer {
            reply: Reply::to(request, message, local.address).with_boot(boot.file),
            destination: destination(request, channel, local),
            why: Some(boot.why),
            may_loop: boot.may_loop,
            fact: Some(boot.fact),
        })),
    }
}

/// What a DHCP packet tells about a machine, for its sighting.
#[must_use]
pub fn client_facts(request: &BootRequest) -> ClientFacts {
    let architecture = pxe::identify(request).architecture();
    ClientFacts {
        uuid: request.machine_guid().and_then(|guid| DmiUuid::from_option_97(guid).ok()),
        firmware: architecture.and_then(Architecture::firmware),
        architecture: architecture.map(|a| a.to_string()),
    }
}

/// Which type of reply a message asks from a boot server, if any (`pxe-netboot` 4.2 and 4.7).
fn answer_type(
    request: &BootRequest,
    channel: Channel,
    local: &LocalAddress,
) -> Result<MessageType, Reason> {
    let message = request.message.ok_or(Reason::Bootp)?;
    match (channel, message) {
        (Channel::Port67, MessageType::Discover) => Ok(MessageType::Offer),
        (Channel::Port67, MessageType::Request) => match request.server_id {
            Some(server) if server == local.address => Ok(MessageType::Ack),
            Some(server) => Err(Reason::TookLease { server, address: request.requested_address }),
            None => Err(Reason::Renewal),
        },
        (_, MessageType::Inform) | (Channel::Port4011, MessageType::Request) => {
            Ok(MessageType::Ack)
        }
        (_, other) => Err(Reason::NotForUs(other)),
    }
}

/// Where a reply goes (`pxe-netboot` 5.2). A client's own claim of an address is believed only inside our network, so
/// that nobody can aim our replies at a stranger.
fn destination(request: &BootRequest, channel: Channel, local: &LocalAddress) -> Destination {
    if channel == Channel::Port4011 {
        Destination::Sender
    } else if request.is_relayed() {
        Destination::Relay(request.giaddr)
    } else if !request.ciaddr.is_unspecified() && local.is_neighbour(request.ciaddr) {
        Destination::Client(request.ciaddr)
    } else {
        Destination::Broadcast
    }
}

/// Whether addresses come from us, too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Beside,
    Full,
}

struct Asked<'a> {
    request: &'a BootRequest,
    channel: Channel,
    client: Client,
    service: Service,
}

struct BootData {
    file: BootFile,
    why: String,
    may_loop: bool,
    fact: BootFact,
}

/// What this client is told to boot, or why nothing.
fn boot_data(
    asked: &Asked<'_>,
    standing: &Standing,
    policy: &OfferPolicy,
    local: &LocalAddress,
) -> Result<BootData, Reason> {
    let (audience, profile) = admit(standing, policy)?;
    let item = BootItem::of(&asked.request.vendor_options);
    if item.is_some_and(BootItem::wants_credentials) {
        return Err(Reason::SignedBoot);
    }
    match asked.client {
        Client::Ordinary => Err(Reason::NotNetboot),
        Client::Ipxe { origin, architecture, http: HttpSupport::Yes } => {
            if let Some(architecture) = architecture.filter(|a| a.platform() == Platform::Unserved)
            {
                return Err(Reason::Unserved { architecture, protocol: Protocol::Pxe });
            }
            let url = policy.base_url.script(local.address);
            let whose = match origin {
                IpxeOrigin::Own => "our iPXE",
                IpxeOrigin::Foreign => "iPXE",
            };
            let why = format!("offered the boot script {url} to {audience} ({whose})");
            let file = BootFile {
                class: VendorClass::PxeClient,
                name: url,
                tftp: true,
                vendor_options: None,
                ipxe_priority: true,
            };
            Ok(BootData { file, why, may_loop: false, fact: BootFact::OfferedScript })
        }
        Client::Ipxe { architecture, http: HttpSupport::No, .. } => {
            let platform = served(architecture, Protocol::Pxe)?;
            let program = Program::choose(platform, profile.program);
            let why = format!(
                "offered {program} over TFTP to {audience} (iPXE without HTTP); it replaces that iPXE"
            );
            let file = tftp_file(program.file_name(), None);
            let fact = program.offered(OfferWay::Replacement);
            Ok(BootData { file, why, may_loop: true, fact })
        }
        Client::Firmware { protocol: Protocol::Http, architecture } => {
            let platform = served(architecture, Protocol::Http)?;
            let program = Program::choose(platform, profile.program);
            let url = policy.base_url.program(local.address, program.file_name());
            let why = format!("offered {url} to {audience} (UEFI HTTP boot){}", program.note());
            let file = BootFile {
                class: VendorClass::HttpClient,
                name: url,
                tftp: false,
                vendor_options: None,
                ipxe_priority: false,
            };
            let fact = program.offered(OfferWay::Http);
            Ok(BootData { file, why, may_loop: false, fact })
        }
        Client::Firmware { protocol: Protocol::Pxe, architecture } => {
            let platform = served(architecture, Protocol::Pxe)?;
            let program = Program::choose(platform, profile.program);
            let form = profile.form.unwrap_or_else(|| default_form(platform, asked.service));
            let vendor_options = match form {
                OfferForm::Direct => Some(pxe::boot_this_file(item)),
                // The client asks 4011; an asked-for menu item is echoed there.
                OfferForm::Discover => item
                    .filter(|_| asked.channel == Channel::Port4011)
                    .map(|item| pxe::boot_this_file(Some(item))),
            };
            let verb = match (asked.channel, form) {
                (Channel::Port4011, _) => "named",
                (Channel::Port67, OfferForm::Direct) => "offered",
                (Channel::Port67, OfferForm::Discover) => "offered (details on port 4011)",
            };
            let why = format!(
                "{verb} {program} over TFTP to {audience} ({}){}",
                architecture.map_or_else(|| "unknown".to_owned(), |a| a.to_string()),
                program.note()
            );
            let file = tftp_file(program.file_name(), vendor_options);
            let fact = match asked.channel {
                Channel::Port4011 => BootFact::Named { program: program.program },
                Channel::Port67 => program.offered(form.into()),
            };
            Ok(BootData { file, why, may_loop: false, fact })
        }
    }
}

fn tftp_file(name: &str, vendor_options: Option<Vec<u8>>) -> BootFile {
    BootFile {
        class: VendorClass::PxeClient,
        name: name.to_owned(),
        tftp: true,
        vendor_options,
        ipxe_priority: false,
    }
}

/// Beside another DHCP server UEFI vendors dislike option 43 in a proxy's offer (`pxe-netboot` 4.2); from the one DHCP
/// server the direct form ranks highest everywhere (4.8).
fn default_form(platform: Platform, service: Service) -> OfferForm {
    match (platform, service) {
        (Platform::UefiX64, Service::Beside) => OfferForm::Discover,
        _ => OfferForm::Direct,
    }
}

/// Who it is in words and how it wants to be spoken to, or why it gets nothing.
fn admit(standing: &Standing, policy: &OfferPolicy) -> Result<(String, BootProfile), Reason> {
    match standing {
        Standing::Armed { host, profile, .. } => {
            Ok((format!("{host}, which is armed for an installation"), *profile))
        }
        Standing::Unknown => admit_unknown(policy, BootProfile::default()),
        Standing::Sighted { profile } => admit_unknown(policy, *profile),
        Standing::Ignored => Err(Reason::Dismissed),
        Standing::Idle { host } => Err(Reason::Idle { host: host.clone() }),
    }
}

fn admit_unknown(
    policy: &OfferPolicy,
    profile: BootProfile,
) -> Result<(String, BootProfile), Reason> {
    match policy.unknown {
        UnknownMachines::Enroll => Ok((
            "an unregistered machine, which will show the enrolment notice".to_owned(),
            profile,
        )),
        UnknownMachines::Ignore => Err(Reason::UnknownIgnored),
    }
}

/// The platform of an architecture that we serve over this protocol.
fn served(architecture: Option<Architecture>, protocol: Protocol) -> Result<Platform, Reason> {
    let architecture = architecture.ok_or(Reason::NoArchitecture)?;
    match (architecture.platform(), protocol) {
        (Platform::Unserved, _) | (Platform::Bios, Protocol::Http) => {
            Err(Reason::Unserved { architecture, protocol })
        }
        (platform, _) => Ok(platform),
    }
}

/// A boot program and whether the host's override had to be passed over.
#[derive(Clone, Copy)]
struct Program {
    program: BootProgram,
    refused_override: Option<BootProgram>,
}

impl Program {
    /// The host's own choice where the firmware can run it, else the platform's default: BIOS firmware hangs on an EFI
    /// binary and the other way round.
    fn choose(platform: Platform, wanted: Option<BootProgram>) -> Self {
        let default = match platform {
            Platform::Bios => BootProgram::UndionlyKpxe,
            Platform::UefiX64 | Platform::Unserved => BootProgram::SnponlyEfi,
        };
        let runs = |program| (program == BootProgram::UndionlyKpxe) == (platform == Platform::Bios);
        match wanted {
            Some(program) if runs(program) => Self { program, refused_override: None },
            refused_override => Self { program: default, refused_override },
        }
    }

    fn file_name(self) -> &'static str {
        self.program.file_name()
    }

    fn offered(self, way: OfferWay) -> BootFact {
        BootFact::Offered { program: self.program, way }
    }

    fn note(self) -> String {
        match self.refused_override {
            Some(wanted) => format!(
                "; {} was passed over because this firmware cannot run it",
                wanted.file_name()
            ),
            None => String::new(),
        }
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.file_name())
    }
}

#[cfg(test)]
mod test;
