//! What the token may do.

use std::collections::BTreeMap;

use super::call::Ask;
use super::{Cluster, PveError};
use crate::proto::pve::value;

/// Privileges by path of the access control list; the flag says whether it holds below the path too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permissions(pub BTreeMap<String, BTreeMap<String, bool>>);

impl Permissions {
    /// Whether there is this privilege on exactly this path, or on one above it that passes it down.
    #[must_use]
    pub fn allow(&self, path: &str, privilege: &str) -> bool {
        let mut at = path;
        loop {
            if let Some(propagates) = self.0.get(at).and_then(|p| p.get(privilege)) {
                return *propagates || at == path;
            }
            if at == "/" {
                return false;
            }
            at = match at.rsplit_once('/') {
                Some(("", _)) | None => "/",
                Some((above, _)) => above,
            };
        }
    }
}

impl Cluster {
    /// All privileges of the token, for a look whether its rights are what they should be (`GET /access/permissions`).
    ///
    /// # Errors
    /// [`PveError`].
    pub async fn permissions(&self) -> Result<Permissions, PveError> {
        self.ask_one(Ask::get(&["access", "permissions"]), |data| {
            let paths = data.as_object()?.iter().map(|(path, privileges)| {
                let held = privileges.as_object().into_iter().flatten();
                let held = held.map(|(name, flag)| (name.clone(), value::flag(flag) == Some(true)));
                (path.clone(), held.collect())
            });
            Some(Permissions(paths.collect()))
        })
        .await
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_privilege_reaches_down_only_when_it_propagates() {
        let held = |flag: bool| BTreeMap::from([("VM.Audit".to_owned(), flag)]);
        let permissions = Permissions(BTreeMap::from([
            ("/pool/p".to_owned(), held(true)),
            ("/nodes".to_owned(), held(false)),
        ]));
        assert!(permissions.allow("/pool/p", "VM.Audit"));
        assert!(permissions.allow("/pool/p/below", "VM.Audit"));
        assert!(permissions.allow("/nodes", "VM.Audit"));
        assert!(!permissions.allow("/nodes/n", "VM.Audit"));
        assert!(!permissions.allow("/pool/p", "VM.Allocate"));
        assert!(!permissions.allow("/", "VM.Audit"));
    }
}
