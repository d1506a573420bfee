//! Where a guest's container is, as any member of the cluster tells, and what may be made in its place.
//!
//! A number must never run twice. What holds it is the file `/etc/pve/nodes/NODE/lxc/VMID.conf`: while that file belongs to
//! a node that is down, the container comes up again with the node, and nothing can stop or remove it there. So nothing is
//! made anew before a person has made sure that the node is off and has moved the file (the vendor's way to rescue a guest).

use crate::domain::id::NodeName;
use crate::domain::vmid::Vmid;

/// Where the container of a number is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// No guest has the number, on no node.
    Nowhere,
    /// A guest has it that the token may not see: it is not in our pool.
    Hidden,
    /// It is on a node, as the cluster spells it.
    On(String, Standing),
}

/// How a node stands in the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It takes part.
    Online,
    /// It is down, or cut off.
    Down,
    /// It was removed from the cluster; what it held is still listed under its name.
    Removed,
}

/// Where a guest is that may be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replace {
    /// There is no container: it is made anew.
    Nothing,
    /// It is on the node of the record.
    Here,
    /// It is where it shall be, and the record does not know that yet: somebody moved it.
    Moved,
}

/// A container that must not be replaced: what it is, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Stuck {
    /// Why, in one sentence.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

/// Whether a guest that is recorded on `recorded` may be put anew on `target`.
///
/// # Errors
/// [`Stuck`]: the number could run twice, or the container is somebody else's.
pub fn replace(
    vmid: Vmid,
    recorded: &NodeName,
    target: &NodeName,
    place: &Place,
) -> Result<Replace, Stuck> {
    let (node, standing) = match place {
        Place::Nowhere => return Ok(Replace::Nothing),
        Place::Hidden => return Err(hidden(vmid, recorded)),
        Place::On(node, standing) => (node.as_str(), *standing),
    };
    let mend = format!(
        "see that {node} is off and stays off; then, as root on {target}: \
         mv /etc/pve/nodes/{node}/lxc/{vmid}.conf /etc/pve/nodes/{target}/lxc/"
    );
    match standing {
        Standing::Down => Err(Stuck {
            reason: format!(
                "container {vmid} still belongs to {node}, which is down: it would come up with it, and a number must \
                 not run twice"
            ),
            hint: format!(
                "bring {node} back; or, when it is gone for good, {mend} (and pvecm delnode {node})"
            ),
        }),
        Standing::Removed => Err(Stuck {
            reason: format!(
                "container {vmid} still belongs to {node}, which was removed from the cluster"
            ),
            hint: mend,
        }),
        Standing::Online if node == recorded.as_str() => Ok(Replace::Here),
        Standing::Online if node == target.as_str() => Ok(Replace::Moved),
        Standing::Online => Err(Stuck {
            reason: format!("container {vmid} is on {node} now, not on {recorded}"),
            hint: format!("restore it on {node}, or migrate it to {target} first"),
        }),
    }
}

/// Whether the container of a guest is on the node of its record; not: it is gone.
///
/// # Errors
/// [`Stuck`]: it is somewhere else, out of our sight, or what is left of a node that was removed.
pub fn present(vmid: Vmid, recorded: &NodeName, place: &Place) -> Result<bool, Stuck> {
    match place {
        Place::Nowhere => Ok(false),
        Place::Hidden => Err(hidden(vmid, recorded)),
        Place::On(node, Standing::Removed) => Err(Stuck {
            reason: format!(
                "container {vmid} still belongs to {node}, which was removed from the cluster"
            ),
            hint: format!(
                "when {node} does not come back: as root on a member, rm /etc/pve/nodes/{node}/lxc/{vmid}.conf"
            ),
        }),
        Place::On(node, _) if node == recorded.as_str() => Ok(true),
        Place::On(node, _) => Err(Stuck {
            reason: format!("container {vmid} is on {node} now, not on {recorded}"),
            hint: format!("migrate it back to {recorded}"),
        }),
    }
}

fn hidden(vmid: Vmid, recorded: &NodeName) -> Stuck {
    Stuck {
        reason: format!("container {vmid} exists, but is not in our pool on {recorded}"),
        hint: "if it is this guest, move it back to the node or put it back into the pool"
            .to_owned(),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn ask(place: &Place) -> Result<Replace, String> {
        let vmid = Vmid::try_from(200).unwrap();
        let (recorded, target) = ("pve1".parse().unwrap(), "pve2".parse().unwrap());
        replace(vmid, &recorded, &target, place).map_err(|stuck| stuck.hint)
    }

    fn on(node: &str, standing: Standing) -> Place {
        Place::On(node.to_owned(), standing)
    }

    #[test]
    fn only_what_cannot_run_twice_is_replaced() {
        assert_eq!(ask(&Place::Nowhere), Ok(Replace::Nothing));
        assert_eq!(ask(&on("pve1", Standing::Online)), Ok(Replace::Here));
        assert_eq!(ask(&on("pve2", Standing::Online)), Ok(Replace::Moved));
        assert!(ask(&Place::Hidden).is_err());
        assert!(ask(&on("pve3", Standing::Online)).is_err());
        for standing in [Standing::Down, Standing::Removed] {
            for node in ["pve1", "pve2", "pve3"] {
                assert!(ask(&on(node, standing)).is_err(), "{node} {standing:?}");
            }
        }
    }

    #[test]
    fn only_what_is_nowhere_is_gone() {
        let vmid = Vmid::try_from(200).unwrap();
        let present = |place: Place| present(vmid, &"pve1".parse().unwrap(), &place).ok();
        assert_eq!(present(Place::Nowhere), Some(false));
        assert_eq!(present(on("pve1", Standing::Online)), Some(true));
        assert_eq!(present(on("pve1", Standing::Down)), Some(true), "it comes up with its node");
        for elsewhere in
            [Place::Hidden, on("pve2", Standing::Online), on("pve1", Standing::Removed)]
        {
            assert_eq!(present(elsewhere), None);
        }
    }

    #[test]
    fn the_way_out_is_named() {
        let hint = ask(&on("pve1", Standing::Down)).unwrap_err();
        let mv = "mv /etc/pve/nodes/pve1/lxc/200.conf /etc/pve/nodes/pve2/lxc/";
        assert!(hint.contains(mv) && hint.contains("pvecm delnode pve1"), "{hint}");
        assert!(ask(&on("pve1", Standing::Removed)).unwrap_err().contains(mv));
    }
}
