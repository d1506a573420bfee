//! How a guest is just now.

use std::net::IpAddr;

use super::answer::Vitals;
use crate::domain::id::GuestId;
use crate::domain::refusal::Refusal;
use crate::jobs::Engine;
use crate::pve::{Cluster, PveError};
use crate::store::GuestReads as _;

impl Engine {
    /// How a guest is just now, as its node reports it. A node that does not answer is a fact too.
    ///
    /// # Errors
    /// No such guest.
    pub async fn vitals(&self, id: GuestId) -> Result<Vitals, Refusal> {
        let guest = self
            .store()
            .read::<_, Refusal, _>(move |r| r.guest(id)?.ok_or_else(super::request::no_such_guest))
            .await?;
        let node = self.enrolled(&guest.node).await;
        let mut vitals = Vitals {
            status: "unknown".to_owned(),
            cpu: 0.0,
            memory: 0,
            memory_max: 0,
            disk: 0,
            disk_max: 0,
            network_in: 0,
            network_out: 0,
            uptime: 0,
            addresses: Vec::new(),
            console: String::new(),
            problem: String::new(),
        };
        let told = match node {
            Ok(node) => {
                let host = match node.address {
                    IpAddr::V4(v4) => v4.to_string(),
                    IpAddr::V6(v6) => format!("[{v6}]"),
                };
                vitals.console = format!(
                    "https://{host}:8006/?console=lxc&xtermjs=1&vmid={}&node={}",
                    guest.vmid, guest.node
                );
                match self.cluster().await {
                    Ok(cluster) => fill(&cluster, &guest, &mut vitals)
                        .await
                        .map_err(|e| super::failed(e).reason),
                    Err(refusal) => Err(refusal.detail),
                }
            }
            Err(refusal) => Err(refusal.detail),
        };
        if let Err(problem) = told {
            vitals.problem = problem;
        }
        Ok(vitals)
    }
}

async fn fill(
    cluster: &Cluster,
    guest: &crate::domain::guest::Guest,
    vitals: &mut Vitals,
) -> Result<(), PveError> {
    let status = cluster.status(&guest.node, guest.vmid).await?;
    vitals.status = if status.running { "running" } else { "stopped" }.to_owned();
    vitals.cpu = f64::from(status.cpu_permille) / 1000.0;
    vitals.memory = status.memory_used;
    vitals.memory_max = status.memory;
    vitals.disk = status.disk_used;
    vitals.disk_max = status.disk;
    vitals.network_in = status.network_in;
    vitals.network_out = status.network_out;
    vitals.uptime = status.uptime_secs;
    if status.running {
        let interfaces = cluster.interfaces(&guest.node, guest.vmid).await?;
        vitals.addresses = interfaces
            .iter()
            .flat_map(|i| &i.addresses)
            .map(|net| net.addr())
            .filter(|ip| !ip.is_loopback())
            .collect();
    }
    Ok(())
}
