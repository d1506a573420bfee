//! `ironhatch setup`: asks what the appliance needs to know, or reads it from a file; shows what would change; writes it and
//! starts the service. What is proposed and which files come of it is decided in `plan::setup`.

mod ask;
mod find;
mod write;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::{exit, print};
use crate::config::check::NOBODY_GETS_IN;
use crate::config::{Config, ProcessSecrets};
use crate::domain::secret::Secret;
use crate::plan::answer::access::sha512_crypt;
use crate::plan::setup::{self, Answers, Mode, Nic};
use crate::web::check_password;
use find::Found;

/// What `--help` teaches.
const HELP: &str = "\
Asks for the network interface, the way machines are answered (it looks which DHCP servers are on
the segment), the address of this appliance, TLS, SSH keys, the cluster, the first server type, the
first image and the operator's password; then it shows what changes, writes it, and starts the
service. Enter takes what is proposed. It can be left with Ctrl-C and run again at any time: what was
answered is proposed again, and what it does not ask stays as it is.

Unattended, answers come from a TOML file; what is not in it is proposed as above:

  interface = \"eno1\"
  mode = \"proxy\"                             # \"full\" with pool = \"FIRST-LAST\", or \"off\"
  public_url = \"http://192.0.2.10:8080\"
  tls = true
  ssh_keys = [\"ssh-ed25519 AAAA… you@desk\"]
  root_password = \"file:/root/root.password\" # empty or left out: SSH keys only
  operator_password = \"env:OPERATOR\"         # left out: the first start prints a link
  existing_node = \"192.0.2.5\"                # left out: the first host founds a cluster
  member_fingerprint = \"SHA256:…\"            # that node's SSH host key
  cluster_name = \"home\"
  server_type = { name = \"small\", disks = [\"nvme0n1\"] }   # no disks: each host names its own
  image = \"/srv/proxmox-ve_9.2-1.iso\"
  start = true

Examples:
  sudo ironhatch setup
  sudo ironhatch setup --answers answers.toml
  sudo ironhatch setup --answers answers.toml --dry-run";

/// `ironhatch setup`
#[derive(Debug, Clone, Args)]
#[command(after_help = HELP)]
pub struct Setup {
    /// Take the answers from this file and ask nothing
    #[arg(long, value_name = "FILE")]
    pub answers: Option<PathBuf>,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Why the set-up ends without having written anything, in the operator's words.
type Stop = String;

/// What is to be written and done.
struct Plan {
    answers: Answers,
    /// Path, old text if there is one, new text.
    files: Vec<(PathBuf, Option<String>, String)>,
    /// What the operator should know of it.
    note: Option<&'static str>,
}

/// Carries the command out.
pub async fn run_setup(config: &Path, command: &Setup) -> ExitCode {
    match whole(config, command).await {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            print::error(&ClientError::Usage(why), false);
            ExitCode::from(exit::FAILED)
        }
    }
}

async fn whole(config: &Path, command: &Setup) -> Result<u8, Stop> {
    let draft = config.with_extension("setup-draft");
    let mut found = find::all(config);
    if let Some(config) = &found.config {
        found.sighted = find::sighted(config).await;
    }
    let answers = match &command.answers {
        Some(file) => unattended(read_answers(file)?, &found).await?,
        None => ask::all(read_draft(&draft), &found, config, &draft).await?,
    };
    let plan = plan(config, &found, answers)?;
    let changed = plan.files.iter().any(|(_, old, new)| old.as_deref() != Some(new));
    for (path, old, new) in &plan.files {
        print::line(write::diff(path, old.as_deref().unwrap_or_default(), new).trim_end());
    }
    if !changed {
        print::line("the files are as they should be already");
    }
    if let Some(note) = plan.note {
        print::line(&format!("note: {note}; run this again and give it one"));
    }
    if command.dry_run {
        return Ok(exit::OK);
    }
    if changed && command.answers.is_none() && !ask::confirm("Write this?", true)? {
        return Err("nothing was written; what you answered is proposed the next time".to_owned());
    }
    for (path, _, new) in &plan.files {
        write::file(path, new).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        print::line(&format!("wrote {}", path.display()));
    }
    let _ = std::fs::remove_file(&draft);
    finish(config, plan.answers).await
}

/// Everything that was not answered is what would be proposed.
async fn unattended(mut answers: Answers, found: &Found) -> Result<Answers, Stop> {
    let nic = setup::proposed_nic(&found.nics, &answers).cloned();
    if let (Some(name), Some(nic)) = (&answers.interface, &nic)
        && *name != nic.name
    {
        return Err(format!("there is no interface {name} with an IPv4 address"));
    }
    if answers.mode.is_none() && !found.is_configured {
        answers.mode = match &nic {
            Some(nic) => Some(setup::proposed_mode(find::servers(nic).await.as_deref().ok())),
            None => Some(Mode::Off),
        };
    }
    if answers.mode == Some(Mode::Full) && answers.pool.is_none() {
        answers.pool = nic.as_ref().and_then(setup::proposed_pool);
    }
    if !found.is_configured {
        answers.public_url = answers.public_url.or_else(|| nic.as_ref().map(setup::proposed_url));
        answers.tls = answers.tls.or(Some(true));
        answers.interface = answers.interface.or_else(|| nic.map(|nic| nic.name));
        answers.ssh_keys = answers.ssh_keys.or_else(|| Some(found.ssh_keys.clone()));
    }
    let node = answers.existing_node.clone().unwrap_or_default();
    if !node.is_empty() && answers.member_host_key.is_none() {
        let wanted = answers.member_fingerprint.clone().ok_or(
            "existing_node needs member_fingerprint (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub \
             on that node) or member_host_key",
        )?;
        let seen = find::host_key(&node).await?;
        if seen.fingerprint != wanted {
            return Err(format!(
                "{node} shows the SSH host key {}, not {wanted}: nothing was written",
                seen.fingerprint
            ));
        }
        answers.member_host_key = Some(seen.key);
    }
    answers.operator_password = secret(answers.operator_password.take())?;
    answers.root_password = secret(answers.root_password.take())?;
    if let Some(password) = &answers.operator_password {
        check_password(password).map_err(|refusal| refusal.to_string())?;
    }
    answers.start = answers.start.or(Some(true));
    Ok(answers)
}

fn secret(given: Option<String>) -> Result<Option<String>, Stop> {
    given
        .map(|text| crate::config::resolve_secret(&text, &ProcessSecrets))
        .transpose()
        .map(|secret| secret.map(|secret| secret.expose().clone()))
}

fn read_answers(file: &Path) -> Result<Answers, Stop> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    toml::from_str(&text).map_err(|e| format!("{}: {}", file.display(), e.message()))
}

/// A draft that cannot be read is no reason to stop: everything is asked again.
fn read_draft(draft: &Path) -> Answers {
    std::fs::read_to_string(draft)
        .ok()
        .and_then(|text| toml::from_str(&text).ok())
        .unwrap_or_default()
}

fn plan(config: &Path, found: &Found, answers: Answers) -> Result<Plan, Stop> {
    let nic: Option<&Nic> =
        answers.interface.as_ref().and_then(|name| found.nics.iter().find(|n| n.name == *name));
    let hash = match answers.root_password.as_deref() {
        None => None,
        Some("") => Some(String::new()),
        Some(password) => Some(
            sha512_crypt(password.as_bytes(), rand::random()).map_err(|error| error.to_string())?,
        ),
    };
    let old = std::fs::read_to_string(config).ok();
    let base = old.as_deref().unwrap_or(setup::TEMPLATE);
    let text = setup::configuration(base, &answers, nic, hash.as_deref())
        .map_err(|e| format!("{} is not valid TOML: {e}", config.display()))?;
    // The rules of the start, so that nothing is written that would not start.
    let credentials = match Config::parse(config, &text, &ProcessSecrets) {
        Ok((parsed, _)) => parsed.credentials,
        Err(errors) => {
            return Err(format!("with these answers the configuration is not valid:\n{errors}"));
        }
    };
    let mut files = vec![(config.to_owned(), old, text)];
    if let Some(first) = &answers.server_type {
        if first.name.parse::<crate::domain::id::ServerTypeName>().is_err() {
            return Err(format!("'{}' is no name of a server type: a-z, 0-9 and '-'", first.name));
        }
        let path = found.server_types.join(format!("{}.toml", first.name));
        // One that is there is the operator's.
        if !path.exists() {
            files.push((path, None, setup::server_type(first)));
        }
    }
    let note = credentials.lets_nobody_in().then_some(NOBODY_GETS_IN);
    Ok(Plan { answers, files, note })
}

/// Starts the service, and does what only a running appliance can.
async fn finish(config: &Path, answers: Answers) -> Result<u8, Stop> {
    let joins = answers.existing_node.as_ref().is_some_and(|node| !node.is_empty());
    if answers.start != Some(true) || !write::service_manager(config) {
        print::line(
            "next: start it (systemctl enable --now ironhatch); its log shows the link that sets your password",
        );
        if joins {
            print::line(
                "then let it into the cluster: add the key that `ironhatch cluster key` prints to /etc/pve/priv/authorized_keys there",
            );
        }
        if let Some(source) = answers.image.filter(|image| !image.is_empty()) {
            print::line(&format!("then import the image: ironhatch image import {source}"));
        }
        return Ok(exit::OK);
    }
    write::start_service()?;
    let (loaded, _) = Config::load(config, &ProcessSecrets).map_err(|e| e.to_string())?;
    let client = Client::connect(&super::Reach::default(), &loaded.data_dir)
        .await
        .map_err(|e| e.to_string())?;
    print::line(&format!("the service runs: {}", loaded.server.public_url));
    set_password(&client, answers.operator_password.map(Secret::new)).await?;
    if joins {
        let key = client.get("/api/cluster/key").await.map_err(|e| e.to_string())?;
        print::line(
            "let it into the cluster: add this line to /etc/pve/priv/authorized_keys there",
        );
        print::line(&format!("  {}", print::text(&key, "public_key")));
    }
    if let Some(source) = answers.image.filter(|image| !image.is_empty()) {
        let body = json!({ "source": source });
        let job = client.send(hyper::Method::POST, "/api/images", Some(&body)).await;
        match job {
            Ok(job) => print::line(&format!(
                "the image is being imported: ironhatch job follow {}",
                print::text(&job, "job")
            )),
            // The appliance runs; an image can be imported again.
            Err(error) => print::error(&error, false),
        }
    }
    print::line("next: switch a machine on with network boot first; the dashboard shows it");
    Ok(exit::OK)
}

/// Through the link of the first visit, so that there is one way to set it.
async fn set_password(client: &Client, password: Option<Secret<String>>) -> Result<(), Stop> {
    let link = client
        .send(hyper::Method::POST, "/api/setup-link", Some(&json!({})))
        .await
        .map_err(|e| e.to_string())?;
    let link = link.get("link").and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some((_, token)) = link.split_once("token=") else {
        if password.is_some() {
            print::line("the operator password was set before and stays");
        }
        return Ok(());
    };
    let Some(password) = password else {
        print::line(&format!("set the operator's password once at {link}"));
        return Ok(());
    };
    let text = password.expose().as_str();
    client
        .post_form("/setup", &[("token", token), ("password", text), ("repeated", text)])
        .await
        .map_err(|e| e.to_string())?;
    print::line("the operator password is set");
    Ok(())
}
