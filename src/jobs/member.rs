//! The cluster's member that is asked over SSH, and the way into it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::engine::Engine;
use super::reach::{self, SSH_PORT};
use super::runner::StepFailure;
use crate::domain::id::HostId;
use crate::domain::refusal::{Refusal, RefusalKind, with_causes};
use crate::node::EphemeralKey;
use crate::node::ssh::{ErrorClass, Session, Target};
use crate::store::HostReads as _;

/// The member that joins go through: the configured one, or a host of ours that became a node of the cluster we founded.
pub(super) async fn find(
    engine: &Engine,
    except: Option<HostId>,
) -> Result<Option<Target>, Refusal> {
    let proxmox = &engine.context().config.proxmox;
    if let Some(name) = &proxmox.existing_node {
        let address: IpAddr = name.parse().map_err(|_| {
            Refusal::new(
                RefusalKind::Unprocessable,
                format!("proxmox.existing_node is '{name}'"),
                "give the member's address as an IP literal",
            )
        })?;
        let host_keys = proxmox.member_host_key.iter().cloned().collect();
        return Ok(Some(target(address, host_keys)));
    }
    first_reachable(engine, except).await
}

/// The first member of ours whose SSH port answers; when none does, the first one, so that the failure names it.
async fn first_reachable(
    engine: &Engine,
    except: Option<HostId>,
) -> Result<Option<Target>, Refusal> {
    let mut first = None;
    let members: Vec<HostId> =
        engine.store().members().into_iter().filter(|id| Some(*id) != except).collect();
    let is_only = members.len() == 1;
    for id in members {
        let host = engine.store().read::<_, Refusal, _>(move |r| Ok(r.host(id)?)).await?;
        let Some((address, host)) = host.and_then(|h| Some((h.address?, h))) else { continue };
        let member = target(IpAddr::V4(address), host.ssh_host_keys);
        if is_only || reach::refusal_of(member.address).await.is_none() {
            return Ok(Some(member));
        }
        first = first.or(Some(member));
    }
    Ok(first)
}

/// A node of the cluster as root logs in to it.
pub(super) fn target(address: IpAddr, host_keys: Vec<String>) -> Target {
    Target { address: SocketAddr::new(address, SSH_PORT), user: "root".to_owned(), host_keys }
}

/// Logs in to the member with the key that opens it.
///
/// # Errors
/// Why it does not let us in, and what to do.
pub(super) async fn log_in(
    member: &Target,
    key: &EphemeralKey,
    timeout: Duration,
) -> Result<Session, StepFailure> {
    let hint = "put Ironhatch's public key (ironhatch cluster key) into root's authorized_keys of the member, and its \
                SSH host key into proxmox.member_host_key";
    Session::connect(member, key, timeout).await.map_err(|e| {
        let why = format!("does not let us in: {}", with_causes(&e));
        failed(member, &why, hint, e.class() == ErrorClass::Transient)
    })
}

/// What went wrong at the member.
pub(super) fn failed(member: &Target, reason: &str, hint: &str, is_transient: bool) -> StepFailure {
    StepFailure {
        reason: format!("the cluster's member {} {reason}", member.address.ip()),
        hint: hint.to_owned(),
        is_transient,
    }
}
