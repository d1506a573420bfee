//! The marks of a guest that is ours, and the question before every change.
//!
//! A guest is changed only when it is in our pool, carries our tag and is in our database, on this node and under this
//! number. Two moments have rules of their own, because the tag cannot be there yet: right after a container was created
//! (its description says who made it: [`super::create::maker`]), and when an operator confirmed an adoption ([`may_adopt`]).

use crate::domain::app::AppId;
use crate::domain::boundary::{self, Boundary, Marks, Outside};
use crate::domain::guest::{Guest, GuestState};
use crate::domain::id::{NodeName, PoolId};
use crate::domain::vmid::{Tag, Vmid};

/// What the cluster says about a container just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub vmid: Vmid,
    /// The node that holds it.
    pub node: NodeName,
    /// The pool it is in.
    pub pool: Option<PoolId>,
    /// Its `tags` property, as it came.
    pub tags: String,
}

/// Whether a guest may be changed; `guest` is what our database has under this number.
///
/// # Errors
/// The first mark that is missing.
pub fn may_change(guest: Option<&Guest>, seen: &Seen, pool: &PoolId) -> Result<(), Outside> {
    boundary::may_change(seen.vmid, &marks(guest, seen), pool)
}

fn marks(guest: Option<&Guest>, seen: &Seen) -> Marks {
    let recorded = guest.is_some_and(|g| g.vmid == seen.vmid && g.node == seen.node && g.is_ours());
    Marks { pool: seen.pool.clone(), tags: Tag::list(&seen.tags), recorded }
}

/// Whether an observed container may be made ours now. It must lie inside the boundary, and nobody else's pool may hold
/// it: moving it out of there is not ours to decide.
///
/// # Errors
/// Which rule forbids it, and what would be allowed.
pub fn may_adopt(guest: &Guest, seen: &Seen, boundary: &Boundary) -> Result<(), String> {
    if guest.state != GuestState::Observed || guest.adopted.is_none() {
        return Err(format!("{} is not waiting for its adoption", guest.name));
    }
    if guest.vmid != seen.vmid || guest.node != seen.node {
        return Err(format!(
            "guest {} is on {} now; observe it there again first",
            seen.vmid, seen.node
        ));
    }
    if !boundary.allows_node(&seen.node) {
        return Err(format!("{} is not one of the approved nodes (apps.nodes)", seen.node));
    }
    match &seen.pool {
        Some(pool) if *pool != boundary.pool => {
            Err(format!("guest {} is in the pool '{pool}'; take it out of there first", seen.vmid))
        }
        _ => Ok(()),
    }
}

/// All tags of a guest with our marks among them: those that it has stay.
#[must_use]
pub fn tags(current: &str, app: Option<&AppId>) -> Vec<Tag> {
    let mut tags: Vec<Tag> = Tag::list(current);
    tags.retain(|tag| !is_app_tag(tag));
    tags.push(Tag::managed());
    tags.extend(app.map(Tag::app));
    sorted(tags)
}

/// The same with the mark of a failed installation.
#[must_use]
pub fn tags_when_failed(current: &str) -> Vec<Tag> {
    let mut tags = Tag::list(current);
    tags.push(Tag::failed());
    sorted(tags)
}

/// The same without it.
#[must_use]
pub fn tags_when_mended(current: &str) -> Vec<Tag> {
    let mut tags = Tag::list(current);
    tags.retain(|tag| *tag != Tag::failed());
    sorted(tags)
}

/// The `tags` property: joined by `;`.
#[must_use]
pub fn property(tags: &[Tag]) -> String {
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(";")
}

fn is_app_tag(tag: &Tag) -> bool {
    tag.as_str().starts_with("ironhatch-app-")
}

/// As Proxmox VE gives them back: sorted, without doubles.
fn sorted(mut tags: Vec<Tag>) -> Vec<Tag> {
    tags.sort();
    tags.dedup();
    tags
}

#[cfg(test)]
mod test;
