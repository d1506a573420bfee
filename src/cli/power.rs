//! `ironhatch host power …`: whether a machine runs, switching it, and how it is reached.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::call::{Call, segment};
use super::client::ClientError;
use super::node::typed_line;

/// Where the controller's password is looked for.
const PASSWORD_VARIABLE: &str = "IRONHATCH_POWER_PASSWORD";

/// `ironhatch host power …`
#[derive(Debug, Subcommand)]
pub enum PowerCommand {
    /// Ask whether the machine runs; also tests address, certificate and login
    Status {
        /// Name or id
        host: String,
    },
    /// Turn it on
    On {
        /// Name or id
        host: String,
    },
    /// Ask its system to shut down
    Shutdown(Confirmed),
    /// Cut the power
    Off(Confirmed),
    /// Off and on again
    Cycle(Confirmed),
    /// Show how it is reached
    Show {
        /// Name or id
        host: String,
    },
    /// Say how it is reached
    #[command(after_help = "\
Examples:
  ironhatch host power set pve1 --by wake-on-lan --boot yes
  pass show bmc/pve1 | ironhatch host power set pve1 --by redfish --address 192.0.2.60 --user admin --password-stdin
  ironhatch host power status pve1

A controller's certificate is trusted by its fingerprint: `status` tells what it shows; compare it, then set it with
--fingerprint. The password is read from standard input or from IRONHATCH_POWER_PASSWORD; without either the stored one stays.")]
    Set(Box<Settings>),
}

/// A host that may be a node with what runs on it.
#[derive(Debug, Clone, Args)]
pub struct Confirmed {
    /// Name or id
    pub host: String,
    /// The host's name once more, when it is a node
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub confirm: String,
}

/// How a host is reached.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Name or id
    pub host: String,
    /// What switches it
    #[arg(long, value_parser = ["none", "wake-on-lan", "redfish", "ipmi"])]
    pub by: String,
    /// Whether a rebuild boots it by itself; left out: as its server type says
    #[arg(long, value_parser = ["yes", "no"])]
    pub boot: Option<String>,
    /// Wake-on-LAN: only this NIC
    #[arg(long)]
    pub mac: Option<String>,
    /// Wake-on-LAN: broadcast address of another segment
    #[arg(long, value_name = "IP")]
    pub directed: Option<String>,
    /// Address of the controller
    #[arg(long, value_name = "IP[:PORT]")]
    pub address: Option<String>,
    /// User of the controller
    #[arg(long)]
    pub user: Option<String>,
    /// Redfish: the certificate that is trusted
    #[arg(long, value_name = "SHA256")]
    pub fingerprint: Option<String>,
    /// Redfish: id of the system, when there are several
    #[arg(long)]
    pub system: Option<String>,
    /// How it boots from the network
    #[arg(long, value_parser = ["keep", "uefi", "legacy"])]
    pub mode: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "forget_password")]
    pub password_stdin: bool,
    /// Forget the stored password
    #[arg(long)]
    pub forget_password: bool,
}

fn path(host: &str) -> String {
    format!("/api/hosts/{}/power", segment(host))
}

fn switch(host: &str, action: &str, confirm: &str) -> Call {
    Call::post(path(host), json!({ "action": action, "confirm": confirm }))
}

impl PowerCommand {
    pub(super) fn call(&self) -> Result<Call, ClientError> {
        Ok(match self {
            Self::Status { host } => switch(host, "look", ""),
            Self::On { host } => switch(host, "on", ""),
            Self::Shutdown(Confirmed { host, confirm }) => switch(host, "shutdown", confirm),
            Self::Off(Confirmed { host, confirm }) => switch(host, "off", confirm),
            Self::Cycle(Confirmed { host, confirm }) => switch(host, "cycle", confirm),
            Self::Show { host } => Call::get(path(host)),
            Self::Set(settings) => {
                let mut body = settings.body();
                if let Some(password) = settings.password()? {
                    body.insert("password".to_owned(), json!(password));
                }
                Call {
                    method: Method::PUT,
                    path: path(&settings.host),
                    body: Some(Value::Object(body)),
                }
            }
        })
    }
}

impl Settings {
    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("method".to_owned(), json!(self.by));
        for (key, value) in [
            ("boot", &self.boot),
            ("mac", &self.mac),
            ("directed", &self.directed),
            ("address", &self.address),
            ("user", &self.user),
            ("fingerprint", &self.fingerprint),
            ("system", &self.system),
            ("mode", &self.mode),
        ] {
            if let Some(value) = value {
                body.insert(key.to_owned(), json!(value));
            }
        }
        if self.forget_password {
            body.insert("forget_password".to_owned(), json!("yes"));
        }
        body
    }

    fn password(&self) -> Result<Option<String>, ClientError> {
        if !self.password_stdin {
            return Ok(std::env::var(PASSWORD_VARIABLE)
                .ok()
                .filter(|p| !p.is_empty() && !self.forget_password));
        }
        let password = typed_line()
            .map_err(|e| ClientError::Usage(format!("no password could be read: {e}")))?;
        if password.is_empty() {
            return Err(ClientError::Usage("no password came from standard input".to_owned()));
        }
        Ok(Some(password))
    }
}
