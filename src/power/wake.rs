//! Sends magic packets.

use std::net::Ipv4Addr;

use tokio::net::UdpSocket;

use super::{Order, Outcome, PowerError, Target};
use crate::domain::power::{Action, PowerState};
use crate::limits::power::MAGIC_PACKETS;
use crate::proto::wake;

pub(super) async fn order(target: &Target, order: Order) -> Result<Outcome, PowerError> {
    match order {
        Order::Look => {
            let said = "a network card does not tell whether its machine runs".to_owned();
            Ok(Outcome { state: PowerState::Unknown, said })
        }
        Order::BootOnce => {
            Err(PowerError::Cannot("a magic packet cannot choose what is booted".to_owned()))
        }
        Order::Switch(Action::On) => send(target).await,
        Order::Switch(_) => Err(PowerError::Cannot("a magic packet only switches on".to_owned())),
    }
}

async fn send(target: &Target) -> Result<Outcome, PowerError> {
    let password = match &target.password {
        Some(text) => Some(
            text.expose()
                .parse()
                .map_err(|e: wake::InvalidSecureOn| PowerError::Cannot(e.to_string()))?,
        ),
        None => None,
    };
    let failed = |error: std::io::Error| PowerError::Unreachable {
        at: "the segment".to_owned(),
        reason: error.to_string(),
    };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.map_err(failed)?;
    socket.set_broadcast(true).map_err(failed)?;
    for mac in &target.macs {
        let packet = wake::packet(*mac, password.as_ref());
        for _ in 0..MAGIC_PACKETS {
            for to in &target.wake {
                socket.send_to(&packet, (*to, wake::PORT)).await.map_err(failed)?;
            }
        }
    }
    let list = |all: &mut dyn Iterator<Item = String>| all.collect::<Vec<_>>().join(", ");
    let said = format!(
        "a magic packet for {} was sent to {}",
        list(&mut target.macs.iter().map(ToString::to_string)),
        list(&mut target.wake.iter().map(ToString::to_string)),
    );
    Ok(Outcome { state: PowerState::Unknown, said })
}
