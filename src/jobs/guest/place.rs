//! Finds a container in the cluster through any member, also when the node that holds it is down.

use crate::domain::vmid::Vmid;
use crate::plan::guest::whereabouts::{Place, Standing};
use crate::pve::{Cluster, GuestKind, GuestRow, PveError};

/// Where the container of a number is.
///
/// # Errors
/// The cluster cannot be asked.
pub(super) async fn find(cluster: &Cluster, vmid: Vmid) -> Result<Place, PveError> {
    let is_it = |row: &GuestRow| row.vmid == vmid && row.kind == GuestKind::Container;
    let Some(row) = cluster.guests().await?.into_iter().find(is_it) else {
        // A guest outside the pool and one that does not exist look alike to a token that sees its pool only. Whether the
        // number is free is the one answer that tells them apart.
        let free = cluster.is_free(vmid).await?;
        return Ok(if free { Place::Nowhere } else { Place::Hidden });
    };
    let nodes = cluster.cluster_nodes().await?;
    let standing = match nodes.iter().find(|node| node.name == row.node) {
        Some(node) if node.online => Standing::Online,
        Some(_) => Standing::Down,
        None => Standing::Removed,
    };
    Ok(Place::On(row.node, standing))
}
