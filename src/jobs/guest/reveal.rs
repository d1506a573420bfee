//! Secrets of a guest: sealed for its scripts, shown once on demand.

use zeroize::Zeroizing;

use crate::domain::event::{EventKind, Level, Subject};
use crate::domain::id::GuestId;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::jobs::Engine;
use crate::store::{GuestReads as _, NewEvent, SHOWN_ONCE, Tx, of_guest};

/// Name of the sealed value of an input, which scripts need for as long as the guest lives.
pub(super) fn input(key: &str) -> String {
    format!("input/{key}")
}

/// Name of the sealed value that is shown once: a drawn input or a secret output.
pub(super) fn output(key: &str) -> String {
    format!("{SHOWN_ONCE}{key}")
}

impl Engine {
    /// A secret of a guest, shown once: afterwards it cannot be asked for again.
    ///
    /// # Errors
    /// No such guest, no such secret, or it was shown before.
    pub async fn reveal(&self, guest: GuestId, key: String) -> Result<Secret<String>, Refusal> {
        self.store()
            .write(move |tx| {
                let record = tx.guest(guest)?.ok_or_else(super::request::no_such_guest)?;
                let name = of_guest(guest, &output(&key));
                let Some(value) = tx.open_secret(&name)? else {
                    return Err(Refusal::new(
                        RefusalKind::NotFound,
                        format!("'{key}' is no secret of {}, or was shown already", record.name),
                        "a secret is shown once; set a new value by reconfiguring the guest",
                    ));
                };
                tx.delete_secret(&name);
                tx.emit(NewEvent {
                    level: Level::Warn,
                    subject: Subject { guest: Some(guest), ..Subject::default() },
                    kind: EventKind::GuestChanged,
                    message: format!("the secret '{key}' of {} was shown", record.name),
                })?;
                Ok(Secret::new(value.to_string()))
            })
            .await
    }
}

/// Seals the secret inputs of a guest: for its scripts, and those that we drew for being shown once.
pub(super) fn seal(
    tx: &mut Tx<'_, '_>,
    guest: GuestId,
    secrets: &[(String, Zeroizing<String>)],
    drawn: &[String],
) {
    for (key, value) in secrets {
        tx.put_secret(&of_guest(guest, &input(key)), value);
        if drawn.contains(key) {
            tx.put_secret(&of_guest(guest, &output(key)), value);
        }
    }
}
