//! The sockets of network boot, as the configuration asks for them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::{StartError, leases};
use crate::assets::BootFiles;
use crate::boot::{dhcp, tftp};
use crate::config::{Config, PxeMode, UnknownPolicy};
use crate::domain::boot::{BootDirectory, BootSink};
use crate::limits::over::Overruns;
use crate::plan::lease::{Lease, PoolConfig};
use crate::plan::offer::{BaseUrl, OfferPolicy, UnknownMachines};
use crate::store::{LeaseReads as _, Store};

pub(super) type BootServers = (Option<(dhcp::Server, dhcp::DhcpCounters)>, Option<tftp::Server>);

/// Binds DHCP and TFTP; nothing when network boot is off.
pub(super) async fn bind(
    config: &Config,
    store: &Store,
    files: &Arc<BootFiles>,
    sink: &Arc<dyn BootSink>,
    over: &Overruns,
) -> Result<BootServers, StartError> {
    let Some(pxe) = &config.pxe else { return Ok((None, None)) };
    let base_url = BaseUrl::fixed(&config.server.public_url)
        .map_err(|e| StartError::Config(format!("server.public_url: {e}")))?;
    let policy = OfferPolicy {
        unknown: match pxe.unknown {
            UnknownPolicy::Enroll => UnknownMachines::Enroll,
            UnknownPolicy::Ignore => UnknownMachines::Ignore,
        },
        base_url,
    };
    let settings = dhcp::DhcpConfig {
        interfaces: dhcp::Interfaces::Named(pxe.interfaces.clone()),
        policy,
        ports: dhcp::Ports::default(),
        advertised_address: None,
    };
    let mode = match &pxe.mode {
        PxeMode::Proxy => dhcp::Mode::Beside,
        PxeMode::Full(pool) => {
            let leases: Vec<Lease> = store.snapshot()?.leases()?;
            let own = addresses_of(&pxe.interfaces)
                .into_iter()
                .find(|a| pxe.subnet.contains(a))
                .ok_or_else(|| {
                    StartError::Config("pxe: no boot interface has an address in pxe.subnet".into())
                })?;
            let seconds = u32::try_from(pool.lease.as_secs()).unwrap_or(u32::MAX);
            let pool = PoolConfig::new(pxe.subnet, (pool.first, pool.last), own, seconds)
                .and_then(|p| p.with_routing(pool.gateway, pool.dns.clone()))
                .map_err(|e| StartError::Config(format!("pxe: {e}")))?;
            dhcp::Mode::Full {
                pool,
                leases,
                store: Arc::new(leases::Leases(store.clone())),
                rival: dhcp::RivalPolicy::Refuse,
            }
        }
    };
    let directory: Arc<dyn BootDirectory> = Arc::new(store.clone());
    let counters = dhcp::DhcpCounters::telling(over.clone());
    let dhcp =
        dhcp::Server::bind(settings, mode, directory, Arc::clone(sink), counters.clone()).await?;
    let addresses = addresses_of(&pxe.interfaces);
    let tftp =
        tftp::Server::bind(tftp::TftpConfig::on(addresses), Arc::clone(files), Arc::clone(sink))?
            .telling(over.clone());
    Ok((Some((dhcp, counters)), Some(tftp)))
}

fn addresses_of(interfaces: &[String]) -> Vec<Ipv4Addr> {
    let found = nix::ifaddrs::getifaddrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
    found
        .iter()
        .filter(|i| interfaces.contains(&i.interface_name))
        .filter_map(|i| i.address.as_ref()?.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::ip))
        .collect()
}
