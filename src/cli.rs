//! The command line: the only place that parses arguments. Commands that act on a running appliance go through
//! [`run_client`]; the others are the caller's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigErrors};

mod access;
mod app;
mod bulk;
mod bundle;
mod call;
mod client;
mod command;
mod doctor;
mod guest;
mod node;
mod notify;
mod power;
mod print;
mod setup;
mod types;

pub use access::{AccountCommand, Audit, SessionCommand, TokenCommand};
pub use app::{AppCommand, Install};
pub use bulk::RebuildMany;
pub use bundle::{DebugBundle, run_bundle};
pub use client::ClientError;
pub use doctor::{Doctor, run_doctor};
pub use guest::{GuestCommand, Target};
pub use node::NodeCommand;
pub use notify::NotifyCommand;
pub use power::PowerCommand;
pub use setup::{Setup, run_setup};

/// Exit codes of every command.
pub mod exit {
    /// Done.
    pub const OK: u8 = 0;
    /// It failed: an error on our side, or a job that did not succeed.
    pub const FAILED: u8 = 1;
    /// The arguments are wrong (as clap says it).
    pub const USAGE: u8 = 2;
    /// The appliance refused, with the reason.
    pub const REFUSED: u8 = 3;
    /// There is no such host, guest, job or image.
    pub const NOT_FOUND: u8 = 4;
    /// The appliance cannot be reached.
    pub const UNREACHABLE: u8 = 5;
    /// `doctor` found warnings and no errors.
    pub const WARNINGS: u8 = 8;
    /// The configuration is wrong (`EX_USAGE` family, as other appliances do).
    pub const CONFIGURATION: u8 = 64;
}

const EXAMPLES: &str = "\
Examples:
  ironhatch setup
  ironhatch image import /srv/iso/proxmox-ve_9.2-1.iso --wait
  ironhatch sighting list
  ironhatch host add --name pve1 --mac 52:54:00:aa:bb:01 --type lab
  ironhatch host rebuild pve1 --confirm pve1 --wait
  ironhatch app install static-website club --set title='The club' --wait
  ironhatch guest upgrade club --wait
  ironhatch job list --status failed
  ironhatch doctor

Exit codes: 0 done, 1 failed, 2 wrong arguments, 3 refused, 4 not found, 5 appliance not reachable,
8 only warnings (doctor), 64 wrong configuration";

/// Turns a blank machine on the LAN into a working Proxmox VE node.
#[derive(Debug, Parser)]
#[command(name = "ironhatch", version, about, after_help = EXAMPLES, disable_help_subcommand = true)]
pub struct Cli {
    /// Configuration file
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        default_value = "/etc/ironhatch/ironhatch.toml",
        env = "IRONHATCH_CONFIG"
    )]
    pub config: PathBuf,
    /// How to reach the appliance
    #[command(flatten)]
    pub reach: Reach,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// How a client command reaches the appliance, and how it answers.
#[derive(Debug, Clone, Default, Args)]
pub struct Reach {
    /// Control socket; normally `control.sock` in the configured data directory
    #[arg(long, global = true, value_name = "PATH", env = "IRONHATCH_SOCKET")]
    pub socket: Option<PathBuf>,
    /// Address of a remote appliance (http://…); a token is read from IRONHATCH_TOKEN, else the password of IRONHATCH_ACCOUNT from IRONHATCH_PASSWORD
    #[arg(
        long,
        global = true,
        value_name = "URL",
        conflicts_with = "socket",
        env = "IRONHATCH_URL"
    )]
    pub url: Option<String>,
    /// Print JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
}

impl Reach {
    /// Whether the appliance is the one of this machine's configuration.
    fn is_configured(&self) -> bool {
        self.socket.is_none() && self.url.is_none()
    }

    /// The folder with its control socket; empty when it is named in another way.
    ///
    /// # Errors
    /// The configuration is needed and cannot be read.
    pub fn data_dir(&self, config: &Path) -> Result<PathBuf, ConfigErrors> {
        if self.is_configured() { Config::data_dir_of(config) } else { Ok(PathBuf::new()) }
    }
}

/// Everything that can be asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the appliance
    Serve,
    /// Configure and start the appliance on this machine, question by question or from a file of answers
    Setup(Setup),
    /// Check the configuration without starting, and print what is in effect (secrets masked)
    Check {
        /// Print only what is wrong
        #[arg(long)]
        quiet: bool,
    },
    /// Find out what is wrong with the LAN and the installation, and what to do about it
    Doctor(Doctor),
    /// Gather what somebody who helps needs to see, without secrets, into one archive
    DebugBundle(DebugBundle),
    /// Import, list and delete Proxmox VE images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Register, list, rebuild and delete hosts
    #[command(subcommand)]
    Host(HostCommand),
    /// Watch and steer jobs
    #[command(subcommand)]
    Job(JobCommand),
    /// Machines that were heard on the network and are not registered
    #[command(subcommand)]
    Sighting(SightingCommand),
    /// Server types as the appliance read them
    #[command(subcommand, name = "server-type")]
    ServerType(ServerTypeCommand),
    /// The cluster that hosts join
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Apps of the catalog: list, check, install
    #[command(subcommand)]
    App(AppCommand),
    /// Containers that were made or adopted: turn on and off, upgrade, back up, take away
    #[command(subcommand)]
    Guest(GuestCommand),
    /// Nodes that guests are made on
    #[command(subcommand)]
    Node(NodeCommand),
    /// The cluster as the appliance sees it
    #[command(subcommand)]
    System(SystemCommand),
    /// Operator accounts: add, change the password, disable, remove
    #[command(subcommand)]
    Account(AccountCommand),
    /// Browsers that are logged in
    #[command(subcommand)]
    Session(SessionCommand),
    /// API tokens for programs
    #[command(subcommand)]
    Token(TokenCommand),
    /// Who is told what happened, and whether it arrives
    #[command(subcommand)]
    Notify(NotifyCommand),
    /// What was changed by whom, newest first
    Audit(Audit),
    /// Back up and restore the database
    #[command(subcommand)]
    Db(DbCommand),
}

/// `ironhatch image …`
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Import an installer ISO
    #[command(
        after_help = "Example:\n  ironhatch image import https://192.0.2.9/proxmox-ve_9.2-1.iso --sha256 4e88… --wait"
    )]
    Import {
        /// Path on the appliance, or http(s) URL
        source: String,
        /// SHA-256 that the file must have
        #[arg(long, value_name = "HEX")]
        sha256: Option<String>,
        /// Wait for the end and show progress
        #[arg(long)]
        wait: bool,
    },
    /// List images
    List,
    /// Delete an image and its file
    Delete {
        /// The image's id
        id: String,
    },
}

/// What can be said about a host's disk and network.
#[derive(Debug, Clone, Default, Args)]
pub struct HostSettings {
    /// Serial number of the disk to be erased (ID_SERIAL_SHORT)
    #[arg(long, value_name = "SERIAL", conflicts_with_all = ["disk_property", "disk_device"])]
    pub disk_serial: Option<String>,
    /// Disk to be erased by another exact property, as NAME=VALUE
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "disk_device")]
    pub disk_property: Option<String>,
    /// Disk to be erased by kernel name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub disk_device: Vec<String>,
    /// Fixed address of the installed node with its prefix
    #[arg(long, value_name = "CIDR", requires = "gateway", requires = "dns")]
    pub address: Option<String>,
    /// Default gateway
    #[arg(long, value_name = "IP", requires = "address")]
    pub gateway: Option<String>,
    /// DNS server
    #[arg(long, value_name = "IP", requires = "address")]
    pub dns: Option<String>,
}

/// Which hosts are meant; all that is given must fit.
#[derive(Debug, Clone, Default, Args)]
pub struct Which {
    /// Only hosts in this state; busy: while a rebuild runs
    #[arg(long)]
    pub state: Option<String>,
    /// Only hosts of this server type
    #[arg(long = "type", value_name = "TYPE")]
    pub server_type: Option<String>,
    /// Only hosts with a problem
    #[arg(long)]
    pub problem: bool,
    /// Only hosts with these words in name, addresses or serial numbers
    #[arg(long, value_name = "WORDS")]
    pub search: Option<String>,
}

/// `ironhatch host …`
#[derive(Debug, Subcommand)]
pub enum HostCommand {
    /// Register a host
    #[command(
        after_help = "Example:\n  ironhatch host add --name pve1 --mac 52:54:00:aa:bb:01 --type lab --disk-serial S6B0NX0T1"
    )]
    Add {
        /// Its name, later the node's name
        #[arg(long)]
        name: String,
        /// Its MAC address; several times for several, the one it boots from first
        #[arg(long, required = true)]
        mac: Vec<String>,
        /// Its server type
        #[arg(long = "type", value_name = "TYPE")]
        server_type: String,
        /// Disk and network
        #[command(flatten)]
        settings: HostSettings,
    },
    /// List hosts
    #[command(after_help = "Example:\n  ironhatch host list --state failed --search rack1")]
    List {
        /// Which
        #[command(flatten)]
        which: Which,
    },
    /// Show one host
    Show {
        /// Name or id
        host: String,
    },
    /// Tell how a host's newest boots went, why one failed, and what to do
    #[command(after_help = "Example:\n  ironhatch host boot pve1")]
    Boot {
        /// Name or id
        host: String,
    },
    /// Show the answer that a host would be sent: each value with its layer, each rule, secrets blanked
    #[command(after_help = "Example:\n  ironhatch host answer pve1")]
    Answer {
        /// Name or id
        host: String,
        /// For this image; the running rebuild's or the newest one when left out
        #[arg(long)]
        image: Option<String>,
        /// Print only the answer's text
        #[arg(long)]
        text: bool,
    },
    /// Erase a host's disk and make it a node
    #[command(after_help = "Example:\n  ironhatch host rebuild pve1 --confirm pve1 --wait")]
    Rebuild {
        /// Name or id
        host: String,
        /// Image; the newest one when left out
        #[arg(long)]
        image: Option<String>,
        /// The host's name once more: its disk is going to be erased
        #[arg(long, value_name = "NAME")]
        confirm: String,
        /// Remove a dead node of the same name from the cluster first
        #[arg(long)]
        replace_node: bool,
        /// Wait for the end and show the log
        #[arg(long)]
        wait: bool,
    },
    /// Erase the disks of many hosts and make them nodes, some at a time; looks first, and tells how to confirm
    RebuildMany(RebuildMany),
    /// Print all hosts as a file
    #[command(after_help = "Example:\n  ironhatch host export --format csv > hosts.csv")]
    Export {
        /// csv or toml
        #[arg(long, value_parser = ["csv", "toml"], default_value = "csv")]
        format: String,
    },
    /// Register and change hosts as a file says: all of it or nothing
    #[command(after_help = "Example:\n  ironhatch host import hosts.csv --dry-run")]
    Import {
        /// The file; its ending says its form
        file: PathBuf,
        /// csv or toml, when the ending does not say it
        #[arg(long, value_parser = ["csv", "toml"])]
        format: Option<String>,
        /// Only tell what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// See and switch a host's power
    #[command(subcommand)]
    Power(PowerCommand),
    /// Change a host
    Edit {
        /// Name or id
        host: String,
        /// New MAC addresses, all of them
        #[arg(long)]
        mac: Vec<String>,
        /// New server type
        #[arg(long = "type", value_name = "TYPE")]
        server_type: Option<String>,
        /// Disk and network
        #[command(flatten)]
        settings: HostSettings,
        /// Choose the disk by server type again
        #[arg(long, conflicts_with_all = ["disk_serial", "disk_property", "disk_device"])]
        no_disk: bool,
        /// Keep the address that DHCP gives
        #[arg(long, conflicts_with = "address")]
        no_address: bool,
        /// The hardware was changed (mainboard, memory): forget what it told of itself
        #[arg(long)]
        forget_uuid: bool,
    },
    /// Forget a host
    Delete {
        /// Name or id
        host: String,
    },
}

/// `ironhatch job …`
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// List jobs, newest first
    #[command(after_help = "Example:\n  ironhatch job list --kind install --status failed")]
    List {
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u16,
        /// Only of this kind: rebuild, install, upgrade, …
        #[arg(long)]
        kind: Option<String>,
        /// Only with this status: pending, running, succeeded, failed, cancelled
        #[arg(long)]
        status: Option<String>,
    },
    /// Show one job with its steps
    Show {
        /// The job's id
        job: String,
    },
    /// Print the job's log until it ends; the exit code is 0 when it succeeded
    Follow {
        /// The job's id
        job: String,
    },
    /// Ask a job to stop
    Cancel {
        /// The job's id
        job: String,
    },
    /// Do the work of a failed job again
    Retry {
        /// The job's id
        job: String,
        /// For a rebuild: the host's name
        #[arg(long, default_value = "", value_name = "NAME")]
        confirm: String,
        /// Wait for the end and show the log
        #[arg(long)]
        wait: bool,
    },
}

/// `ironhatch sighting …`
#[derive(Debug, Subcommand)]
pub enum SightingCommand {
    /// List machines that are not registered
    List,
    /// Tell how a machine's newest boots went, why one failed, and what to do
    Boot {
        /// Its MAC address
        mac: String,
    },
    /// Stay silent towards a machine
    Ignore {
        /// Its MAC address
        mac: String,
        /// Show it again
        #[arg(long)]
        undo: bool,
    },
}

/// `ironhatch server-type …`
#[derive(Debug, Subcommand)]
pub enum ServerTypeCommand {
    /// List server types and what is wrong with broken ones
    List,
    /// Print the text of a server type's file
    Show {
        /// Its name
        name: String,
    },
    /// Tell what a file would change in the answer of a host, without writing anything
    #[command(after_help = "Example:\n  ironhatch server-type try lab lab.toml --host pve1")]
    Try {
        /// Its name
        name: String,
        /// The text
        file: PathBuf,
        /// For this host, by name or id
        #[arg(long)]
        host: Option<String>,
    },
    /// Put a file in place as a server type; arms nothing
    #[command(
        after_help = "Example:\n  ironhatch server-type show lab > lab.toml\n  ironhatch server-type put lab lab.toml --replaces $(ironhatch server-type show lab --json | jq -r .hash)"
    )]
    Put {
        /// Its name
        name: String,
        /// The text
        file: PathBuf,
        /// Hash of the text that is replaced, as `show --json` tells; without it a new type is made
        #[arg(long, value_name = "HASH")]
        replaces: Option<String>,
    },
    /// Delete a server type that no host has
    Delete {
        /// Its name
        name: String,
    },
}

/// `ironhatch cluster …`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// The cluster's members: state, version, guests, and what disagrees with what is recorded here
    Show,
    /// Print the public key that an existing member must have in /etc/pve/priv/authorized_keys
    #[command(
        after_help = "Example:\n  ironhatch cluster key | ssh root@192.0.2.5 'cat >>/etc/pve/priv/authorized_keys'"
    )]
    Key,
}

/// `ironhatch system …`
#[derive(Debug, Subcommand)]
pub enum SystemCommand {
    /// Look at the cluster: nodes, storages, bridges, GPUs
    #[command(
        after_help = "Example:\n  ironhatch system discovery --json | jq '.nodes[].storages'"
    )]
    Discovery,
}

/// `ironhatch db …`
#[derive(Debug, Subcommand)]
pub enum DbCommand {
    /// Copy the database of the running appliance to a new file
    Backup {
        /// Where to
        path: PathBuf,
    },
    /// List the backups that the appliance makes by itself, and check each
    List,
    /// Put a backup in place; the appliance must not run
    Restore {
        /// The backup
        path: PathBuf,
    },
    /// Print all records as JSON lines; the appliance must not run
    Dump,
    /// Check a backup
    Verify {
        /// The backup
        path: PathBuf,
    },
}

impl Command {
    /// Whether the command acts on a running appliance, and so belongs to [`run_client`].
    #[must_use]
    pub fn is_client(&self) -> bool {
        !matches!(
            self,
            Self::Serve
                | Self::Check { .. }
                | Self::Doctor(_)
                | Self::DebugBundle(_)
                | Self::Setup(_)
                | Self::App(AppCommand::Lint { .. } | AppCommand::Schema)
                | Self::Node(NodeCommand::Serve(_))
                | Self::Db(
                    DbCommand::List
                        | DbCommand::Restore { .. }
                        | DbCommand::Dump
                        | DbCommand::Verify { .. }
                )
        )
    }
}

/// Carries out a command on a running appliance and prints what came of it. `data_dir` is where the control socket is
/// looked for, unless `reach` names it.
pub async fn run_client(reach: &Reach, data_dir: &Path, command: &Command) -> ExitCode {
    let ended = match client::Client::connect(reach, data_dir).await {
        Ok(client) => command::run(&client, reach.json, command).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            print::error(&error, reach.json);
            ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(test)]
mod test;
