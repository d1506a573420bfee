//! The lasting key that opens the cluster's members: the operator's own, or one that this appliance made at its first
//! start and keeps sealed.

use super::engine::Engine;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::node::key::EphemeralKey;

const SECRET: &str = "cluster/member-key";

/// The key; made and sealed when there is none yet.
///
/// # Errors
/// A configured key that is no Ed25519 key in OpenSSH form, or the database.
pub(super) async fn open(engine: &Engine) -> Result<EphemeralKey, Refusal> {
    let unusable = |reason: String| {
        Refusal::new(
            RefusalKind::Unprocessable,
            format!("the key that opens the cluster's members cannot be used: {reason}"),
            "proxmox.member_key must be an unencrypted OpenSSH private key",
        )
    };
    if let Some(pem) = &engine.context().config.proxmox.member_key {
        return EphemeralKey::from_pem(pem).map_err(|e| unusable(e.to_string()));
    }
    let fresh = EphemeralKey::generate(&mut rand::rng(), "ironhatch appliance")
        .map_err(|e| unusable(e.to_string()))?;
    let fresh_pem = fresh.private_pem().map_err(|e| unusable(e.to_string()))?;
    let pem = engine
        .store()
        .write::<_, Refusal, _>(move |tx| {
            if let Some(pem) = tx.open_secret(SECRET)? {
                return Ok(pem);
            }
            tx.put_secret(SECRET, fresh_pem.expose());
            Ok(zeroize::Zeroizing::new(fresh_pem.expose().clone()))
        })
        .await?;
    EphemeralKey::from_pem(&Secret::new(pem.to_string())).map_err(|e| unusable(e.to_string()))
}

impl Engine {
    /// The public line that an existing cluster's member must have in `/etc/pve/priv/authorized_keys`.
    ///
    /// # Errors
    /// As for opening the key.
    pub async fn member_public_key(&self) -> Result<String, Refusal> {
        Ok(open(self).await?.public_line().to_owned())
    }
}
