//! Passwords of accounts: rules, hash, comparison, and the gate before it.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;

use super::limit::{Attempts, Uptime, Wait};
use super::lock::Locks;
use crate::domain::account::AccountName;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::limits::operator::{HASHES_AT_ONCE, PASSWORD_BYTES};

/// Shortest password, in characters.
const SHORTEST: usize = 10;

/// What stands between the network and the password's hash: attempts are counted, and only few are computed at once.
pub(crate) struct LoginGate {
    attempts: Mutex<Attempts>,
    locks: Mutex<Locks>,
    started: Instant,
    computing: Semaphore,
}

/// An attempt at a password.
pub(super) struct Guess {
    /// Of which account, as it was typed.
    pub(super) account: String,
    /// From where.
    pub(super) address: IpAddr,
    /// The account logged in from that network before.
    pub(super) is_known: bool,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Right,
    Wrong,
    /// Wrong, and one too many: strange networks must wait.
    WrongAndLocked,
}

impl LoginGate {
    pub(crate) fn new() -> Self {
        Self {
            attempts: Mutex::new(Attempts::new()),
            locks: Mutex::default(),
            started: Instant::now(),
            computing: Semaphore::new(HASHES_AT_ONCE),
        }
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locks(&self) -> std::sync::MutexGuard<'_, Locks> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn uptime(&self) -> Uptime {
        self.started.elapsed()
    }

    /// Lets strange networks try an account's password again.
    pub(super) fn unlock(&self, account: &AccountName) {
        self.locks().clear(account.as_str());
    }

    /// For how long an account is still locked for strange networks.
    pub(in crate::web) fn locked(&self, account: &AccountName) -> Option<std::time::Duration> {
        self.locks().rest(account.as_str(), self.uptime())
    }

    /// Whether `given` is the password with this hash. Without a hash the same work is done, and the answer is no: the time
    /// does not tell whether there is such an account.
    ///
    /// # Errors
    /// When this address, or everybody together, tried too often, or the account is locked for strange networks.
    pub(super) async fn check(
        &self,
        given: Secret<String>,
        hash: Option<String>,
        guess: &Guess,
    ) -> Result<Checked, Refusal> {
        let Guess { account, address, is_known } = guess;
        if !is_known {
            self.locks().check(account, self.uptime()).map_err(too_often)?;
        }
        self.attempts().take(*address, *is_known, self.uptime()).map_err(too_often)?;
        let right = {
            // The semaphore is never closed.
            let _permit = self.computing.acquire().await;
            tokio::task::spawn_blocking(move || verify(&given, hash.as_deref()))
                .await
                .unwrap_or(false)
        };
        self.attempts().note(*address, right, self.uptime());
        if right {
            // From a network that is known the strangers' failures stay counted.
            if !is_known {
                self.locks().clear(account);
            }
            return Ok(Checked::Right);
        }
        let locked = !is_known && self.locks().wrong(account, self.uptime());
        Ok(if locked { Checked::WrongAndLocked } else { Checked::Wrong })
    }

    /// Hashes a new password.
    ///
    /// # Errors
    /// When it breaks a rule, or the hash cannot be computed.
    pub(in crate::web) async fn hash(&self, password: Secret<String>) -> Result<String, Refusal> {
        check_rules(password.expose())?;
        let _permit = self.computing.acquire().await;
        let hashed = tokio::task::spawn_blocking(move || {
            Argon2::default().hash_password(password.expose().as_bytes()).map(|h| h.to_string())
        });
        match hashed.await {
            Ok(Ok(hash)) => Ok(hash),
            _ => Err(Refusal::new(
                RefusalKind::Internal,
                "The password could not be hashed.",
                "Try again; see the appliance's log if it stays so.",
            )),
        }
    }
}

/// A password is long enough, and not one repeated character.
pub fn check_rules(password: &str) -> Result<(), Refusal> {
    let refuse = |detail: String| {
        let hint = "Four random words make a good password.";
        Err(Refusal::new(RefusalKind::Unprocessable, detail, hint).about("password"))
    };
    let length = password.chars().count();
    if length < SHORTEST {
        return refuse(format!(
            "The password has {length} characters; at least {SHORTEST} are needed."
        ));
    }
    if password.len() > PASSWORD_BYTES {
        return refuse(format!("The password is longer than {PASSWORD_BYTES} bytes."));
    }
    let first = password.chars().next();
    if password.chars().all(|c| Some(c) == first) {
        return refuse("The password is one character repeated.".to_owned());
    }
    Ok(())
}

/// A hash of nothing in particular with the usual parameters, so that a missing password costs the same time.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$aXJvbmhhdGNoLW5vYm9keQ$\
                            AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn verify(given: &Secret<String>, hash: Option<&str>) -> bool {
    let too_long = given.expose().len() > PASSWORD_BYTES;
    let text = if too_long { "" } else { given.expose() };
    let right =
        Argon2::default().verify_password(text.as_bytes(), hash.unwrap_or(NOBODYS_HASH)).is_ok();
    right && hash.is_some() && !too_long
}

fn too_often(Wait(wait): Wait) -> Refusal {
    let secs = wait.as_secs().max(1);
    Refusal::new(
        RefusalKind::TooMany,
        "Too many wrong passwords.",
        format!("Wait {secs} seconds. On the appliance itself the command line needs no password."),
    )
}

#[cfg(test)]
mod test {
    use super::*;

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn only_the_right_password_opens() {
        let gate = LoginGate::new();
        let address = IpAddr::from([192, 0, 2, 1]);
        let here = Guess { account: "ann".to_owned(), address, is_known: false };
        let hash = gate.hash(secret("correct horse battery")).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        let check = |text| gate.check(secret(text), Some(hash.clone()), &here);
        assert_eq!(check("correct horse battery").await, Ok(Checked::Right));
        assert_eq!(check("correct horse batterz").await, Ok(Checked::Wrong));
        assert_eq!(gate.check(secret(""), None, &here).await, Ok(Checked::Wrong));
    }

    #[test]
    fn a_missing_password_costs_a_whole_hash() {
        // It parses with the same parameters as a new hash, so the same work is done before the answer is no.
        let parsed = argon2::PasswordHash::new(NOBODYS_HASH).unwrap();
        let params = argon2::Params::try_from(&parsed).unwrap();
        assert_eq!(params.m_cost(), argon2::Params::default().m_cost());
        assert_eq!(params.t_cost(), argon2::Params::default().t_cost());
        assert!(!verify(&secret(""), None));
    }

    #[test]
    fn short_and_trivial_passwords_are_refused_with_the_rule() {
        assert!(check_rules("short").unwrap_err().detail.contains("at least 10"));
        assert!(check_rules("aaaaaaaaaaaa").is_err());
        assert!(check_rules(&"ab".repeat(600)).is_err());
        assert!(check_rules("four random words").is_ok());
    }
}
