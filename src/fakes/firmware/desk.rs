//! One packet's way through parser, decision and encoder, judged by the client that sent it.

use std::net::Ipv4Addr;

use super::{Asked, Client, Dropped, Reply, Taken, rule};
use crate::domain::boot::{OfferForm, Standing};
use crate::domain::mac::Mac;
use crate::domain::time::Timestamp;
use crate::plan::lease::{LeaseState, Pool, PoolConfig};
use crate::plan::offer::full::{self, FullDecision};
use crate::plan::offer::{
    self, BaseUrl, Channel, Decision, Destination, LocalAddress, OfferPolicy, Reason,
    UnknownMachines,
};
use crate::proto::dhcp;

/// The daemon's address at this desk.
pub const US: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

/// The DHCP side of a daemon: a standing that all machines have, and a pool in full mode.
#[derive(Debug)]
pub struct Desk {
    standing: Standing,
    policy: OfferPolicy,
    pool: Option<Pool>,
    now: Timestamp,
}

/// What came of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Not a request of an Ethernet client.
    Ignored,
    /// Silence, for this reason.
    Silent(Reason),
    /// The client took the reply.
    Taken(Taken),
}

impl Desk {
    /// A boot server beside another DHCP server.
    #[must_use]
    pub fn beside(standing: Standing, unknown: UnknownMachines) -> Self {
        let policy = OfferPolicy { unknown, base_url: BaseUrl::Arrival { port: 8080 } };
        Self { standing, policy, pool: None, now: Timestamp(1_000_000) }
    }

    /// The one DHCP server of 192.0.2.0/24, with twenty addresses.
    ///
    /// # Panics
    /// Never: the pool is a valid one.
    #[must_use]
    pub fn full(standing: Standing, unknown: UnknownMachines) -> Self {
        let desk = Self::beside(standing, unknown);
        let subnet = "192.0.2.0/24".parse().expect("a network");
        let range = (Ipv4Addr::new(192, 0, 2, 70), Ipv4Addr::new(192, 0, 2, 89));
        let config = PoolConfig::new(subnet, range, US, 600).expect("a valid pool");
        Self { pool: Some(Pool::new(config, &[], desk.now)), ..desk }
    }

    /// Another standing from now on.
    pub fn becomes(&mut self, standing: Standing) {
        self.standing = standing;
    }

    /// Time goes on.
    pub fn wait(&mut self, secs: u16) {
        self.now = self.now.after(std::time::Duration::from_secs(secs.into()));
    }

    /// Gives one packet to the daemon, and what it says to the client.
    ///
    /// # Errors
    /// [`Dropped`]: the daemon sent what this client would not take, or was silent without a reason.
    pub fn hand_in(&mut self, packet: &[u8], channel: Channel) -> Result<Outcome, Dropped> {
        let Ok(request) = dhcp::parse(packet) else { return Ok(Outcome::Ignored) };
        let asked = Asked::read(packet).ok_or("the parser took what has no header")?;
        let local = LocalAddress { address: US, prefix_len: 24 };
        let (standing, policy) = (&self.standing, &self.policy);
        let FullDecision { decision, persist } = match &mut self.pool {
            None => offer::decide(&request, channel, standing, policy, &local).into(),
            Some(pool) => full::decide(&request, channel, standing, policy, &local, pool, self.now),
        };
        let told = decision.sentence();
        rule(told.is_none_or(|text| text.len() < 1000), "a sentence without end")?;
        let answer = match decision {
            Decision::Silent(reason) => {
                self.may_be_silent(&asked, channel, &reason)?;
                return Ok(Outcome::Silent(reason));
            }
            Decision::Reply(answer) => answer,
        };
        let client = Client::of(&asked);
        let reply = Reply::read(&answer.reply.encode())?;
        reply.keeps_house_rules(&asked)?;
        reaches(&asked, channel, answer.destination, &reply)?;
        let taken = match channel {
            Channel::Port67 => client.take(&asked, &reply)?,
            Channel::Port4011 => client.take_on_4011(&asked, &reply)?,
        };
        if let Some(lease) = persist {
            rule(lease.mac == Mac(mac(packet)), "a lease of another machine")?;
            let lent = lease.state != LeaseState::Bound || lease.address == reply.yiaddr();
            rule(lent, "the lease that is stored is not the one that is lent")?;
        } else if reply.message() == Some(5) {
            // Rule of the design: durable before it is confirmed.
            rule(reply.yiaddr().is_unspecified(), "an ACK of a lease that nobody stores")?;
        }
        self.may_be_told(&asked, client, &taken, &reply)?;
        Ok(Outcome::Taken(taken))
    }

    /// Silence towards a machine that asked properly would be a machine that never boots.
    fn may_be_silent(
        &self,
        asked: &Asked,
        channel: Channel,
        reason: &Reason,
    ) -> Result<(), Dropped> {
        let is_told =
            reason.is_worth_telling() || matches!(reason, Reason::NotNetboot | Reason::Bootp);
        rule(is_told, "a silence that nobody hears of")?;
        let asks = match channel {
            Channel::Port67 => asked.message() == Some(1),
            Channel::Port4011 => matches!(asked.message(), Some(3 | 8)),
        };
        let excuse = matches!(
            reason,
            Reason::SignedBoot
                | Reason::OtherNetwork
                | Reason::PoolExhausted
                | Reason::Unserved { .. }
                | Reason::NoArchitecture
        );
        let armed = matches!(self.standing, Standing::Armed { .. });
        let boots = Client::of(asked) != Client::Laptop;
        rule(
            !(asks && armed && boots) || excuse,
            &format!("an armed machine that asked is left alone ({reason})"),
        )
    }

    /// Who may be told what: rule 1 of the design, and whether the file is one that the client can run.
    fn may_be_told(
        &self,
        asked: &Asked,
        client: Client,
        taken: &Taken,
        reply: &Reply,
    ) -> Result<(), Dropped> {
        if self.pool.is_none() {
            rule(reply.yiaddr().is_unspecified(), "a proxy lends an address")?;
            for tag in [1, 3, 6, 51, 58, 59] {
                rule(reply.option(tag).is_none(), &format!("a proxy sends option {tag}"))?;
            }
        }
        let (file, from) = match taken {
            Taken::Address(_) | Taken::Restarts | Taken::Informed => {
                return rule(self.pool.is_some(), "a boot server that answers without boot data");
            }
            Taken::Asks(server) => (None, *server),
            Taken::Loads(server, file) => (Some(file.as_str()), *server),
            Taken::Fetches(url) => (Some(url.as_str()), US),
        };
        let may_boot = match &self.standing {
            Standing::Armed { .. } => true,
            Standing::Unknown | Standing::Sighted { .. } => {
                self.policy.unknown == UnknownMachines::Enroll
            }
            Standing::Idle { .. } | Standing::Ignored => false,
        };
        rule(may_boot, "a machine that is not armed is offered something to boot")?;
        rule(from == US, "another server than us")?;
        let named =
            file.map_or_else(|| reply.boot_file().map(|(_, name)| name), |f| Ok(f.into()))?;
        let name = named.rsplit('/').next().unwrap_or_default();
        match client {
            Client::Laptop => Err("a laptop is offered something to boot".into()),
            Client::Ipxe => rule(name == "start.ipxe", "iPXE with HTTP gets its script"),
            Client::Edk2 | Client::Edk2Http => {
                rule(matches!(name, "snponly.efi" | "ipxe.efi"), "a program for UEFI")?;
                let wanted = match (&self.standing, &self.pool) {
                    (Standing::Armed { profile, .. } | Standing::Sighted { profile }, _)
                        if profile.form.is_some() =>
                    {
                        profile.form
                    }
                    (_, None) => Some(OfferForm::Discover),
                    (_, Some(_)) => Some(OfferForm::Direct),
                };
                let asks = matches!(taken, Taken::Asks(_));
                let first = client == Client::Edk2 && asked.message() == Some(1);
                rule(
                    !first || asks == (wanted == Some(OfferForm::Discover)),
                    "not the form that suits this firmware",
                )
            }
            Client::Rom => rule(name == "undionly.kpxe", "a program for a BIOS"),
            Client::IpxeWithoutHttp => {
                rule(matches!(name, "undionly.kpxe" | "snponly.efi" | "ipxe.efi"), "a program")
            }
        }
    }
}

fn mac(packet: &[u8]) -> [u8; 6] {
    let mut mac = [0; 6];
    mac.copy_from_slice(&packet[28..34]);
    mac
}

/// Reference `pxe-netboot` 5.2: a relay gets its packets back, a client with an address hears unicast, all others only
/// broadcasts, and who asks on 4011 listens on the port that it asked from.
fn reaches(asked: &Asked, channel: Channel, to: Destination, reply: &Reply) -> Result<(), Dropped> {
    let relayed = !asked.giaddr().is_unspecified();
    let kept = match (channel, to) {
        (Channel::Port4011, to) => to == Destination::Sender,
        (Channel::Port67, Destination::Relay(relay)) => relayed && relay == asked.giaddr(),
        (Channel::Port67, Destination::Client(client)) => {
            // RFC 2131 section 4.3.2: a client that is refused its address has none that works.
            !relayed
                && client == asked.ciaddr()
                && !client.is_unspecified()
                && client.octets()[..3] == US.octets()[..3]
                && reply.message() != Some(6)
        }
        (Channel::Port67, Destination::Broadcast) => !relayed,
        (Channel::Port67, Destination::Sender) => false,
    };
    rule(kept, &format!("a reply to {to:?} is not heard"))
}
