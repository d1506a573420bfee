//! `ironhatch account …`, `session …`, `token …` and `audit`: who may use the appliance, and what they did.

use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

use super::call::{Call, segment};
use super::client::ClientError;
use super::print;

/// Where a new password is looked for before it is asked for.
const PASSWORD_VARIABLE: &str = "IRONHATCH_NEW_PASSWORD";

/// `ironhatch account …`
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// List accounts
    List,
    /// Add an account
    #[command(after_help = "\
Examples:
  ironhatch account add ann
  pass generate ironhatch/ann | tail -1 | ironhatch account add ann --password-stdin

The password is asked for, or read from IRONHATCH_NEW_PASSWORD.")]
    Add {
        /// Its name
        name: String,
        /// Read the password from standard input
        #[arg(long, conflicts_with = "no_password")]
        password_stdin: bool,
        /// No password: it logs in through a trusted proxy only
        #[arg(long)]
        no_password: bool,
    },
    /// Set an account's password; its sessions end
    Password {
        /// Its name
        name: String,
        /// Read the password from standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Shut an account out: its sessions end at once, its tokens stop
    Disable {
        /// Its name
        name: String,
    },
    /// Let a disabled account in again
    Enable {
        /// Its name
        name: String,
    },
    /// Let strange networks try an account's password again
    Unlock {
        /// Its name
        name: String,
    },
    /// Remove an account with its sessions and tokens
    Remove {
        /// Its name
        name: String,
    },
}

/// `ironhatch session …`
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List browsers that are logged in
    List,
    /// End a session
    End {
        /// Its id, as the list shows it
        id: String,
    },
}

/// `ironhatch token …`
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// List API tokens
    List,
    /// Make an API token; it is printed this once
    #[command(after_help = "\
Examples:
  ironhatch token add backup-script --scope read --days 90
  IRONHATCH_TOKEN=… ironhatch --url http://192.0.2.10:8080 host list

Scopes: metrics (numbers and targets for Prometheus), read, operate (change hosts, guests, images, nodes), admin
(accounts, tokens, audit log).")]
    Add {
        /// What it is for
        name: String,
        /// What it may do
        #[arg(long, value_parser = ["metrics", "read", "operate", "admin"])]
        scope: String,
        /// Days until it ends; without it, until it is revoked
        #[arg(long)]
        days: Option<u32>,
    },
    /// Revoke a token: it opens nothing from now on
    Revoke {
        /// Its id, as the list shows it
        id: String,
    },
}

/// What was changed by whom, newest first.
#[derive(Debug, clap::Args)]
pub struct Audit {
    /// How many entries
    #[arg(long, default_value_t = 50)]
    limit: u16,
    /// Only entries with a smaller number
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
}

/// A new password: from standard input, from the environment, or asked for twice without echo.
fn new_password(from_stdin: bool) -> Result<String, ClientError> {
    let unread = |e: std::io::Error| ClientError::Usage(format!("no password could be read: {e}"));
    if from_stdin {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(unread)?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    if let Ok(password) = std::env::var(PASSWORD_VARIABLE) {
        return Ok(password);
    }
    let password = rpassword::prompt_password("New password: ").map_err(unread)?;
    if rpassword::prompt_password("Once more: ").map_err(unread)? != password {
        return Err(ClientError::Usage("the two passwords differ".to_owned()));
    }
    Ok(password)
}

fn change(name: &str, body: Value) -> Call {
    let path = format!("/api/accounts/{}", segment(name));
    Call { method: Method::PATCH, path, body: Some(body) }
}

impl AccountCommand {
    /// The request. Asks for a password where one is needed.
    pub(super) fn call(&self) -> Result<Call, ClientError> {
        Ok(match self {
            Self::List => Call::get("/api/accounts"),
            Self::Add { name, password_stdin, no_password } => {
                let password =
                    if *no_password { None } else { Some(new_password(*password_stdin)?) };
                Call::post("/api/accounts", json!({ "name": name, "password": password }))
            }
            Self::Password { name, password_stdin } => {
                change(name, json!({ "password": new_password(*password_stdin)? }))
            }
            Self::Disable { name } => change(name, json!({ "disabled": true })),
            Self::Enable { name } => change(name, json!({ "disabled": false })),
            Self::Unlock { name } => {
                Call::post(format!("/api/accounts/{}/unlock", segment(name)), json!({}))
            }
            Self::Remove { name } => Call::delete(format!("/api/accounts/{}", segment(name))),
        })
    }

    /// Prints the answer for people.
    pub(super) fn print(&self, value: &Value) {
        match self {
            Self::List => {
                let columns = [
                    ("NAME", "name"),
                    ("DISABLED", "disabled"),
                    ("PASSWORD", "has_password"),
                    ("LOCKED", "locked_secs"),
                    ("LAST LOGIN", "last_login"),
                ];
                let nothing = "there is no account; the link that the appliance printed at its start makes the first one";
                print::list(value, "accounts", &columns, nothing);
            }
            Self::Add { .. } => print::line(&format!("{} was added", print::text(value, "name"))),
            Self::Password { name, .. } => print::line(&format!("{name} has a new password")),
            Self::Disable { name } => print::line(&format!("{name} is disabled")),
            Self::Enable { name } => print::line(&format!("{name} is enabled")),
            Self::Unlock { name } => print::line(&format!("{name} is unlocked")),
            Self::Remove { name } => print::line(&format!("{name} is removed")),
        }
    }
}

impl SessionCommand {
    pub(super) fn call(&self) -> Call {
        match self {
            Self::List => Call::get("/api/sessions"),
            Self::End { id } => Call::delete(format!("/api/sessions/{}", segment(id))),
        }
    }

    pub(super) fn print(&self, value: &Value) {
        match self {
            Self::List => {
                let columns = [
                    ("ID", "id"),
                    ("ACCOUNT", "account"),
                    ("ADDRESS", "address"),
                    ("SINCE", "created"),
                    ("BROWSER", "agent"),
                ];
                print::list(value, "sessions", &columns, "no browser is logged in");
            }
            Self::End { .. } => print::line("the session is over"),
        }
    }
}

impl TokenCommand {
    pub(super) fn call(&self) -> Call {
        match self {
            Self::List => Call::get("/api/tokens"),
            Self::Add { name, scope, days } => {
                Call::post("/api/tokens", json!({ "name": name, "scope": scope, "days": days }))
            }
            Self::Revoke { id } => Call::delete(format!("/api/tokens/{}", segment(id))),
        }
    }

    pub(super) fn print(&self, value: &Value) {
        match self {
            Self::List => {
                let columns = [
                    ("ID", "id"),
                    ("NAME", "name"),
                    ("SCOPE", "scope"),
                    ("OWNER", "owner"),
                    ("EXPIRES", "expires"),
                    ("LAST USED", "last_used"),
                ];
                print::list(value, "tokens", &columns, "there is no token");
            }
            Self::Add { .. } => print::line(&print::text(value, "token")),
            Self::Revoke { .. } => print::line("the token is revoked"),
        }
    }
}

impl Audit {
    pub(super) fn call(&self) -> Call {
        let before = self.before.map(|seq| format!("&before={seq}")).unwrap_or_default();
        Call::get(format!("/api/audit?limit={}{before}", self.limit))
    }

    /// One line per entry, and one per change.
    pub(super) fn print(value: &Value) {
        let entries = value.get("entries").and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            let part = |path: &str| print::text(entry, path);
            print::line(&format!(
                "{:>6}  {}  {} {}  {}  {}",
                part("seq"),
                part("at"),
                part("who.kind"),
                part("who.name"),
                part("address"),
                part("action"),
            ));
            for change in entry.get("changes").and_then(Value::as_array).into_iter().flatten() {
                let what = print::text(change, "subject");
                print::line(&format!("        {} {what}", print::text(change, "fate")));
                for field in change.get("fields").and_then(Value::as_array).into_iter().flatten() {
                    let part = |path: &str| print::text(field, path);
                    let (before, after) = (part("before"), part("after"));
                    print::line(&format!("          {}: {before} -> {after}", part("field")));
                }
            }
        }
    }
}
