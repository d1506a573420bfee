//! Accounts: made, changed and ended by operators. Whatever takes access away takes it away at once: sessions and event
//! streams of the account end with the write.

use crate::domain::account::{Account, AccountName};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::secret::Secret;
use crate::limits::operator::ACCOUNTS;
use crate::store::{AccountReads as _, StoreError, Tx};
use crate::web::WebState;

fn no_such_account() -> Refusal {
    Refusal::new(
        RefusalKind::NotFound,
        "There is no such account.",
        "List them to see what there is.",
    )
}

/// A name as it was entered.
pub(in crate::web) fn parse_name(text: &str) -> Result<AccountName, Refusal> {
    text.parse().map_err(|e: crate::domain::id::InvalidId| {
        Refusal::new(RefusalKind::Unprocessable, e.to_string(), "An e-mail address is fine, too.")
            .about("name")
    })
}

/// Adds an account. Without a password it is for log-ins through a trusted proxy.
///
/// # Errors
/// When the name is taken, there are too many, or the password breaks a rule.
pub(in crate::web) async fn add(
    web: &WebState,
    name: AccountName,
    password: Option<Secret<String>>,
) -> Result<Account, Refusal> {
    let hash = match password {
        Some(password) => Some(web.gate.hash(password).await?),
        None => None,
    };
    web.store()
        .write(move |tx| {
            if tx.account(&name)?.is_some() {
                let detail = format!("There is an account '{name}' already.");
                return Err(
                    Refusal::new(RefusalKind::Conflict, detail, "Take another name.").about("name")
                );
            }
            if tx.accounts()?.len() >= ACCOUNTS {
                let detail = format!("There are {ACCOUNTS} accounts, which is the most.");
                let hint = "Remove one that nobody uses.";
                return Err(Refusal::new(RefusalKind::Conflict, detail, hint));
            }
            let account = Account::new(name, hash, tx.now());
            tx.save_account(&account)?;
            Ok(account)
        })
        .await
}

/// Sets an account's password; its sessions end, but for the one that is kept.
///
/// # Errors
/// When there is no such account, or the password breaks a rule.
pub(in crate::web) async fn set_password(
    web: &WebState,
    name: AccountName,
    password: Secret<String>,
    kept: Option<String>,
) -> Result<(), Refusal> {
    let hash = web.gate.hash(password).await?;
    let freed = name.clone();
    web.store()
        .write(move |tx| {
            let mut account = tx.account(&name)?.ok_or_else(no_such_account)?;
            account.password_hash = Some(hash);
            account.password_set = Some(tx.now());
            tx.save_account(&account)?;
            tx.end_sessions_of(&name, kept.as_deref())?;
            Ok::<_, Refusal>(())
        })
        .await?;
    web.gate.unlock(&freed);
    web.access_changed();
    Ok(())
}

/// Disables or enables an account. A disabled one's sessions end at once, and its API tokens stop.
///
/// # Errors
/// When there is no such account, or nobody could log in any more.
pub(in crate::web) async fn set_disabled(
    web: &WebState,
    name: AccountName,
    disabled: bool,
) -> Result<(), Refusal> {
    web.store()
        .write(move |tx| {
            let mut account = tx.account(&name)?.ok_or_else(no_such_account)?;
            account.disabled = disabled;
            tx.save_account(&account)?;
            if disabled {
                refuse_lockout(tx, "disabled")?;
                tx.end_sessions_of(&name, None)?;
            }
            Ok::<_, Refusal>(())
        })
        .await?;
    web.access_changed();
    Ok(())
}

/// Removes an account with its sessions and API tokens.
///
/// # Errors
/// As for [`set_disabled`].
pub(in crate::web) async fn remove(web: &WebState, name: AccountName) -> Result<(), Refusal> {
    web.store()
        .write(move |tx| {
            tx.account(&name)?.ok_or_else(no_such_account)?;
            tx.delete_account(&name);
            refuse_lockout(tx, "removed")?;
            tx.end_sessions_of(&name, None)?;
            tx.delete_api_tokens_of(&name)?;
            Ok::<_, Refusal>(())
        })
        .await?;
    web.access_changed();
    Ok(())
}

/// Lets strange networks try an account's password again.
///
/// # Errors
/// When there is no such account.
pub(in crate::web) async fn unlock(web: &WebState, name: AccountName) -> Result<(), Refusal> {
    let wanted = name.clone();
    let found: Result<_, StoreError> = web.store().read(move |read| read.account(&wanted)).await;
    found?.ok_or_else(no_such_account)?;
    web.gate.unlock(&name);
    Ok(())
}

/// The last account with which somebody can log in stays.
fn refuse_lockout(tx: &Tx<'_, '_>, fate: &str) -> Result<(), Refusal> {
    let someone = tx.accounts()?.iter().any(|a| !a.disabled && a.password_hash.is_some());
    if someone {
        return Ok(());
    }
    let detail = format!("It is the last account with a password; it cannot be {fate}.");
    Err(Refusal::new(RefusalKind::Conflict, detail, "Add another account first."))
}
