//! What host key a machine shows, for a person to compare before anything is entrusted to it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client;
use russh::keys::{HashAlg, PublicKeyOrCertificate};
use tokio::time::timeout;

use super::ssh::{ConnectError, dial};

/// A host key that nobody has confirmed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenHostKey {
    /// As `type base64`, the form in which keys are pinned.
    pub key: String,
    /// As `ssh-keygen -l` shows it: `SHA256:…`.
    pub fingerprint: String,
}

/// Asks a machine for its host key and goes away before any login. The answer proves nothing: show it to the operator, who
/// compares it with what the machine's console prints (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`).
///
/// # Errors
/// [`ConnectError`]: it is not reachable, or it shows no key.
pub async fn look(address: SocketAddr, limit: Duration) -> Result<SeenHostKey, ConnectError> {
    let seen = Arc::new(Mutex::new(None));
    let asked = async {
        let stream = dial(address).await?;
        let handler = Onlooker { seen: Arc::clone(&seen) };
        // It always ends with an error: the onlooker accepts nothing.
        let _ = client::connect_stream(Arc::default(), stream, handler).await;
        Ok(())
    };
    timeout(limit, asked)
        .await
        .unwrap_or(Err(ConnectError::Timeout { address, seconds: limit.as_secs() }))?;
    let key = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    key.ok_or(ConnectError::NoHostKey { address })
}

struct Onlooker {
    seen: Arc<Mutex<Option<SeenHostKey>>>,
}

impl client::Handler for Onlooker {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        if let PublicKeyOrCertificate::PublicKey { key, .. } = shown
            && let Ok(line) = key.to_openssh()
        {
            let line: Vec<&str> = line.split_whitespace().take(2).collect();
            let fingerprint = key.fingerprint(HashAlg::Sha256).to_string();
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(SeenHostKey { key: line.join(" "), fingerprint });
        }
        Ok(false)
    }
}
