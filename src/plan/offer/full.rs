//! Decisions of `mode = "full"`: the one DHCP server of an isolated segment, which lends addresses and names boot files
//! in the same packets (`pxe-netboot` 4.8).
//!
//! Everybody on the segment gets a lease; boot data only where [`super::decide`] would give them. Several ROMs read boot
//! data only from the ACK, so both packets carry them.

use super::{
    Answer, Asked, BootData, Channel, Decision, Destination, LocalAddress, OfferPolicy, Reason,
    Service, boot_data, decide as decide_beside, destination,
};
use crate::domain::boot::{BootFact, Standing};
use crate::domain::time::Timestamp;
use crate::plan::lease::{Lease, Pool};
use crate::proto::dhcp::{BootRequest, LeaseTerms, MessageType, Reply};
use crate::proto::pxe::{self, Client};

/// A decision, and what must be durable before it is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullDecision {
    /// What happens with the request.
    pub decision: Decision,
    /// The lease that must be stored first; when that fails, nothing is sent and the client asks again.
    pub persist: Option<Lease>,
}

impl From<Decision> for FullDecision {
    fn from(decision: Decision) -> Self {
        Self { decision, persist: None }
    }
}

/// Decides for the one DHCP server of a segment.
pub fn decide(
    request: &BootRequest,
    channel: Channel,
    standing: &Standing,
    policy: &OfferPolicy,
    local: &LocalAddress,
    pool: &mut Pool,
    now: Timestamp,
) -> FullDecision {
    if channel == Channel::Port4011 {
        return decide_beside(request, channel, standing, policy, local).into();
    }
    let Some(message) = request.message else {
        return Decision::Silent(Reason::Bootp).into();
    };
    let subnet = pool.config().subnet();
    let here = if request.is_relayed() { request.giaddr } else { local.address };
    if !subnet.contains(&here) {
        return Decision::Silent(Reason::OtherNetwork).into();
    }
    let desk = Desk { request, standing, policy, local };
    match message {
        MessageType::Discover => desk.offer(pool, now).into(),
        MessageType::Request => desk.lend(pool, now),
        MessageType::Inform => desk.inform(pool).into(),
        MessageType::Release => match pool.release(request.mac, request.ciaddr, now) {
            None => Decision::Silent(Reason::NotForUs(message)).into(),
            lease @ Some(_) => FullDecision {
                decision: Decision::Silent(Reason::Released { address: request.ciaddr }),
                persist: lease,
            },
        },
        MessageType::Decline => {
            let address = request.requested_address.unwrap_or(request.ciaddr);
            match pool.decline(request.mac, address, now) {
                None => Decision::Silent(Reason::NotForUs(message)).into(),
                lease @ Some(_) => FullDecision {
                    decision: Decision::Silent(Reason::Declined { address }),
                    persist: lease,
                },
            }
        }
        other => Decision::Silent(Reason::NotForUs(other)).into(),
    }
}

struct Desk<'a> {
    request: &'a BootRequest,
    standing: &'a Standing,
    policy: &'a OfferPolicy,
    local: &'a LocalAddress,
}

impl Desk<'_> {
    fn offer(&self, pool: &mut Pool, now: Timestamp) -> Decision {
        let request = self.request;
        match pool.offer(request.mac, request.requested_address, now) {
            None => Decision::Silent(Reason::PoolExhausted),
            Some(address) => {
                let terms = LeaseTerms { address, ..terms(pool, Some(pool.config().lease_secs())) };
                self.reply(MessageType::Offer, terms)
            }
        }
    }

    fn lend(&self, pool: &mut Pool, now: Timestamp) -> FullDecision {
        let request = self.request;
        if let Some(server) = request.server_id.filter(|&server| server != self.local.address) {
            pool.withdraw(request.mac);
            let address = request.requested_address;
            return Decision::Silent(Reason::TookLease { server, address }).into();
        }
        // RFC 2131 section 4.3.2: selecting and init-reboot use option 50, renewing and rebinding ciaddr.
        let wanted = request
            .requested_address
            .or((!request.ciaddr.is_unspecified()).then_some(request.ciaddr));
        let Some(address) = wanted else {
            return Decision::Silent(Reason::NotForUs(MessageType::Request)).into();
        };
        match pool.commit(request.mac, address, now) {
            Ok(lease) => {
                let terms = LeaseTerms { address, ..terms(pool, Some(pool.config().lease_secs())) };
                FullDecision { decision: self.reply(MessageType::Ack, terms), persist: Some(lease) }
            }
            Err(refusal) => Decision::Reply(Box::new(Answer {
                reply: Reply::to(request, MessageType::Nak, self.local.address),
                // A client that is told "not that address" has none that works: RFC 2131 section 4.3.2 wants a broadcast.
                destination: if request.is_relayed() {
                    Destination::Relay(request.giaddr)
                } else {
                    Destination::Broadcast
                },
                why: self
                    .is_netboot()
                    .then(|| format!("refused the address that the machine asked for: {refusal}")),
                may_loop: false,
                fact: None,
            }))
            .into(),
        }
    }

    fn inform(&self, pool: &Pool) -> Decision {
        self.reply(MessageType::Ack, terms(pool, None))
    }

    fn reply(&self, message: MessageType, terms: LeaseTerms) -> Decision {
        let request = self.request;
        let asked = Asked {
            request,
            channel: Channel::Port67,
            client: pxe::identify(request),
            service: Service::Full,
        };
        let lent = match terms.secs {
            Some(_) => format!("lent {}", terms.address),
            None => "answered an INFORM".to_owned(),
        };
        let mut reply = Reply::to(request, message, self.local.address).with_lease(terms);
        let mut may_loop = false;
        let mut fact = None;
        let why = match boot_data(&asked, self.standing, self.policy, self.local) {
            Ok(BootData { file, why, may_loop: again, fact: offered }) => {
                reply = reply.with_boot(file);
                may_loop = again;
                fact = Some(offered);
                Some(format!("{lent} and {why}"))
            }
            Err(reason) if reason.is_worth_telling() => {
                fact = reason.fact();
                Some(format!("{lent} without boot data ({reason})"))
            }
            Err(_) => None,
        };
        let destination = destination(request, Channel::Port67, self.local);
        // The offer told what is booted; the confirmation tells that the machine took it.
        if message == MessageType::Ack && request.message == Some(MessageType::Request) {
            fact = why.as_ref().map(|_| BootFact::TookAddress { server: self.local.address });
        }
        Decision::Reply(Box::new(Answer { reply, destination, why, may_loop, fact }))
    }

    fn is_netboot(&self) -> bool {
        pxe::identify(self.request) != Client::Ordinary
    }
}

fn terms(pool: &Pool, secs: Option<u32>) -> LeaseTerms {
    let config = pool.config();
    LeaseTerms {
        address: std::net::Ipv4Addr::UNSPECIFIED,
        netmask: config.subnet().netmask(),
        router: config.router(),
        dns: config.dns().to_vec(),
        secs,
    }
}
