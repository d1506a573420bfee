//! The lasting key that opens the cluster's members: the operator's own, or one that this appliance made at its first
//! start and keeps sealed.

use super::engine::Engine;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::node::key::EphemeralKey;
use crate::store::SecretReads as _;

const SECRET: &str = "cluster/member-key";

fn unusable(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        RefusalKind::Unprocessable,
        format!("the key that opens the cluster's members cannot be used: {error}"),
        "proxmox.member_key must be an unencrypted OpenSSH private key",
    )
}

/// The key, when there is one. Writes nothing.
///
/// # Errors
/// A configured key that is no Ed25519 key in OpenSSH form, or the database.
pub(super) async fn existing(engine: &Engine) -> Result<Option<EphemeralKey>, Refusal> {
    if let Some(pem) = &engine.context().config.proxmox.member_key {
        return EphemeralKey::from_pem(pem).map(Some).map_err(unusable);
    }
    let key = engine.store().master_key();
    let pem = engine.store().read::<_, Refusal, _>(move |r| Ok(r.secret(&key, SECRET)?)).await?;
    pem.map(|pem| EphemeralKey::from_pem(&Secret::new(pem.to_string())).map_err(unusable))
        .transpose()
}

/// The key; made and sealed when there is none yet.
///
/// # Errors
/// As above.
pub(super) async fn open(engine: &Engine) -> Result<EphemeralKey, Refusal> {
    if let Some(key) = existing(engine).await? {
        return Ok(key);
    }
    let fresh =
        EphemeralKey::generate(&mut rand::rng(), "ironhatch appliance").map_err(unusable)?;
    let fresh_pem = fresh.private_pem().map_err(unusable)?;
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
    EphemeralKey::from_pem(&Secret::new(pem.to_string())).map_err(unusable)
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
