//! Asks a segment which servers answer a machine that boots from the network, and whether we hear such a machine.

use std::time::Duration;

use tokio::time::Instant;

use super::machine;
use crate::boot::dhcp::survey::Client;
use crate::boot::rehearsal::Rehearsals;
use crate::domain::boot::BootStage;
use crate::domain::mac::Mac;
use crate::plan::doctor::facts::{Heard, OwnEars, Segment, TimedOffer};
use crate::proto::dhcp::probe::{self, Asker, HeardOffer};

/// How long each of the two questions is waited for. Together they outlast a server that pings an address before it
/// offers it: dnsmasq 2.90 was measured to answer after 3.006 s.
const ROUND: Duration = Duration::from_millis(3_300);
/// When the second question leaves although the first was answered: never. It is for a lost packet.
const ROUNDS: u32 = 2;

/// Asks on one interface. `rehearsals` of a running daemon tell what it heard itself.
pub(super) async fn ask(segment: &Segment, rehearsals: Option<&Rehearsals>) -> Heard {
    let usable = segment.link.as_ref().is_some_and(|l| l.carries && !l.addresses.is_empty());
    if !usable {
        return Heard::Nothing;
    }
    let client = match Client::open(&segment.interface) {
        Ok(client) => client,
        Err(error) => return Heard::NotAsked(error.to_string()),
    };
    let xid: u32 = rand::random();
    let mac = Rehearsals::mac(rand::random());
    if let Some(rehearsals) = rehearsals {
        rehearsals.begin(mac);
    }
    match listen(&client, xid, mac).await {
        Ok((listened, offers)) => {
            let own = match rehearsals {
                Some(rehearsals) => Some(own_ears(&client, rehearsals, mac).await),
                None => None,
            };
            Heard::Answers { listened, offers, own }
        }
        Err(error) => Heard::NotAsked(error.to_string()),
    }
}

async fn listen(
    client: &Client,
    xid: u32,
    mac: Mac,
) -> std::io::Result<(Duration, Vec<TimedOffer>)> {
    let discover = probe::boot_request(xid, mac, Asker::Uefi, None);
    let begun = Instant::now();
    let mut offers: Vec<TimedOffer> = Vec::new();
    for round in 0..ROUNDS {
        client.ask(&discover, 67).await?;
        // What is asked on 4011 reaches nobody but us: other boot servers answer only what is sent to them.
        if round == 0 {
            client
                .ask(&probe::boot_request(xid, mac, Asker::Uefi, Some(client.address())), 4011)
                .await?;
        }
        let deadline = Instant::now() + ROUND;
        while let Some(replies) = client.hear(deadline).await {
            for reply in replies {
                let Some(offer) = HeardOffer::read(&reply.bytes, reply.source, xid, mac) else {
                    continue;
                };
                let known = offers.iter().any(|known| {
                    known.offer.server() == offer.server() && known.offer.lends() == offer.lends()
                });
                if !known {
                    let after = reply.at.duration_since(begun);
                    offers.push(TimedOffer { after, ours: reply.ours, offer });
                }
            }
        }
        // The second question is for packets that were lost; who was slow has had its time.
        if offers.iter().any(|heard| !heard.ours && heard.offer.lends()) {
            break;
        }
    }
    Ok((begun.elapsed(), offers))
}

async fn own_ears(client: &Client, rehearsals: &Rehearsals, mac: Mac) -> OwnEars {
    let observed = rehearsals.observed(mac);
    let heard = |stage: BootStage| observed.iter().any(|seen| seen.stage == stage);
    OwnEars {
        dhcp: heard(BootStage::Dhcp),
        boot_server: heard(BootStage::Pxe),
        tftp: machine::tftp_answers(client.address()).await,
    }
}
