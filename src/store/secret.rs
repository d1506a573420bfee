//! Sealed secrets by name. Reading one needs the master key; a backup contains only sealed bytes.

use zeroize::Zeroizing;

use super::backup::HASHED;
use super::error::StoreError;
use super::read::{Order, Read, end_of};
use super::schema::Table;
use super::seal::MasterKey;
use super::tx::Tx;
use crate::domain::id::{HostId, JobId};

/// Typed reads of secrets.
pub trait SecretReads: Read {
    /// Opens a secret; `None` when there is none of this name.
    ///
    /// # Errors
    /// [`StoreError::Unseal`] when the master key is not the one it was sealed with.
    fn secret(&self, key: &MasterKey, name: &str) -> Result<Option<Zeroizing<String>>, StoreError> {
        let Some(sealed) = self.get(Table::Secrets, name.as_bytes())? else { return Ok(None) };
        key.open(name, &sealed)
            .and_then(|plain| String::from_utf8(plain.to_vec()).ok())
            .map(|plain| Some(Zeroizing::new(plain)))
            .ok_or_else(|| StoreError::Unseal { name: name.to_owned() })
    }

    /// Every secret that is stored, opened, and the hashes that settings hold: what must not leave the appliance. What was
    /// sealed with another key is left out: nobody here can write it down.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn all_secrets(&self, key: &MasterKey) -> Result<Vec<Zeroizing<String>>, StoreError> {
        let mut found = Vec::new();
        for name in self.secret_names("")? {
            match self.secret(key, &name) {
                Ok(secret) => found.extend(secret),
                Err(StoreError::Unseal { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for setting in HASHED {
            let value = self.get(Table::Settings, setting)?;
            let text = value.and_then(|v| serde_json::from_slice::<String>(&v).ok());
            found.extend(text.map(Zeroizing::new));
        }
        Ok(found)
    }

    /// Names of all stored secrets that begin with `prefix`.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn secret_names(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let prefix = prefix.as_bytes();
        let found =
            self.range(Table::Secrets, prefix, &end_of(prefix), Order::Ascending, usize::MAX)?;
        Ok(found.into_iter().map(|(name, _)| String::from_utf8_lossy(&name).into_owned()).collect())
    }
}

impl<T: Read + ?Sized> SecretReads for T {}

/// Name of a secret that belongs to one job and dies with it.
#[must_use]
pub fn of_job(job: JobId, what: &str) -> String {
    format!("job/{job}/{what}")
}

/// Name of a secret that belongs to one host and goes with it.
#[must_use]
pub fn of_host(host: HostId, what: &str) -> String {
    format!("host/{host}/{what}")
}

impl Tx<'_, '_> {
    /// Seals and stores a secret.
    pub fn put_secret(&mut self, name: &str, plain: &str) {
        let sealed = self.key.seal(name, plain.as_bytes());
        self.put(Table::Secrets, name.as_bytes().to_vec(), sealed);
    }

    /// Opens a secret from inside a write.
    ///
    /// # Errors
    /// As [`SecretReads::secret`].
    pub fn open_secret(&self, name: &str) -> Result<Option<Zeroizing<String>>, StoreError> {
        self.secret(self.key, name)
    }

    /// Removes a secret.
    pub fn delete_secret(&mut self, name: &str) {
        self.remove(Table::Secrets, name.as_bytes().to_vec());
    }

    /// Destroys everything secret that belonged to a job: its purpose is gone.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn delete_job_secrets(&mut self, job: JobId) -> Result<(), StoreError> {
        for name in self.secret_names(&of_job(job, ""))? {
            self.delete_secret(&name);
        }
        Ok(())
    }

    /// Destroys everything secret that belonged to a host.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn delete_host_secrets(&mut self, host: HostId) -> Result<(), StoreError> {
        for name in self.secret_names(&of_host(host, ""))? {
            self.delete_secret(&name);
        }
        Ok(())
    }
}
