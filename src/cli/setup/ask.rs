//! The questions, in order. Each proposes what was found, answered before, or is configured; after each the answers are kept
//! in a draft, so that the set-up can be left and taken up again.

use std::path::Path;

use dialoguer::theme::ColorfulTheme;
use dialoguer::{Confirm, Input, MultiSelect, Password, Select};

use super::find::{self, Found};
use super::{Stop, print, write};
use crate::config::PxeMode;
use crate::config::check::NOBODY_GETS_IN;
use crate::plan::answer::access::check_public_key;
use crate::plan::setup::{self, Answers, FirstType, Mode, Nic};
use crate::web::check_password;

const MODES: [(Mode, &str); 3] = [
    (Mode::Proxy, "beside the segment's DHCP server (proxy)"),
    (Mode::Full, "as the segment's DHCP server (full): for an isolated segment"),
    (Mode::Off, "not at all: dashboard only"),
];

fn left(error: dialoguer::Error) -> Stop {
    format!("left ({error}); nothing was written, and what you answered is proposed the next time")
}

pub(super) fn confirm(question: &str, proposed: bool) -> Result<bool, Stop> {
    let theme = ColorfulTheme::default();
    Confirm::with_theme(&theme).with_prompt(question).default(proposed).interact().map_err(left)
}

fn choose(question: &str, items: &[String], proposed: usize) -> Result<usize, Stop> {
    let theme = ColorfulTheme::default();
    Select::with_theme(&theme)
        .with_prompt(question)
        .items(items)
        .default(proposed)
        .interact()
        .map_err(left)
}

fn line(
    question: &str,
    proposed: &str,
    rule: impl Fn(&str) -> Result<(), String>,
) -> Result<String, Stop> {
    let theme = ColorfulTheme::default();
    let input = Input::<String>::with_theme(&theme).with_prompt(question).allow_empty(true);
    let input = if proposed.is_empty() { input } else { input.default(proposed.to_owned()) };
    input.validate_with(|text: &String| rule(text.trim())).interact_text().map_err(left)
}

fn password(question: &str, rule: impl Fn(&str) -> Result<(), String>) -> Result<String, Stop> {
    let theme = ColorfulTheme::default();
    Password::with_theme(&theme)
        .with_prompt(question)
        .with_confirmation("The same again", "the two differ")
        .validate_with(|text: &String| rule(text))
        .interact()
        .map_err(left)
}

/// Asks everything.
pub(super) async fn all(
    mut answers: Answers,
    found: &Found,
    config: &Path,
    draft: &Path,
) -> Result<Answers, Stop> {
    use std::io::IsTerminal as _;
    if !std::io::stdin().is_terminal() {
        return Err("there is no terminal to ask on: use --answers FILE (see --help)".to_owned());
    }
    print::line(
        "Enter takes what is proposed; Ctrl-C leaves, and nothing is written before you agree.",
    );
    network(&mut answers, found, draft).await?;
    access(&mut answers, found)?;
    keep(draft, &answers);
    cluster(&mut answers, found).await?;
    keep(draft, &answers);
    machines(&mut answers, found)?;
    keep(draft, &answers);
    if write::service_manager(config) {
        let proposed = answers.start.unwrap_or(true);
        answers.start = Some(confirm("Start the service now and at each boot?", proposed)?);
        if answers.start == Some(true) && !found.is_configured {
            answers.operator_password =
                Some(password("Password of the dashboard (at least ten characters)", |text| {
                    check_password(text).map_err(|refusal| refusal.to_string())
                })?);
        }
    }
    Ok(answers)
}

/// Without what is secret. A draft that cannot be kept is only missed by who leaves.
fn keep(draft: &Path, answers: &Answers) {
    if let Ok(text) = toml::to_string(answers) {
        let _ = write::file(draft, &text);
    }
}

async fn network(answers: &mut Answers, found: &Found, draft: &Path) -> Result<(), Stop> {
    let configured = found.config.as_ref();
    let pxe = configured.and_then(|config| config.pxe.as_ref());
    if answers.interface.is_none() {
        answers.interface = pxe.and_then(|pxe| pxe.interfaces.first().cloned());
    }
    let Some(proposed) = setup::proposed_nic(&found.nics, answers) else {
        print::line("No interface has an IPv4 address: network boot stays off until one has.");
        answers.mode = Some(Mode::Off);
        return Ok(());
    };
    let items: Vec<String> =
        found.nics.iter().map(|nic| format!("{}  {}", nic.name, nic.address)).collect();
    let place = found.nics.iter().position(|nic| nic == proposed).unwrap_or(0);
    let chosen = choose("On which interface are the machines?", &items, place)?;
    let nic: &Nic = found.nics.get(chosen).unwrap_or(proposed);
    answers.interface = Some(nic.name.clone());

    print::line("Asking the segment which DHCP servers there are; this takes some seconds …");
    let servers = find::servers(nic).await;
    match &servers {
        Ok(servers) if servers.is_empty() => print::line("No DHCP server answered."),
        Ok(servers) => {
            let names: Vec<String> = servers.iter().map(ToString::to_string).collect();
            print::line(&format!("DHCP is served by {}.", names.join(", ")));
        }
        Err(why) => print::line(&format!("It could not be asked: {why}.")),
    }
    let known = pxe.map(|pxe| if pxe.mode == PxeMode::Proxy { Mode::Proxy } else { Mode::Full });
    let proposed = answers.mode.or(known);
    let proposed = proposed.unwrap_or_else(|| setup::proposed_mode(servers.as_deref().ok()));
    let items: Vec<String> = MODES.iter().map(|(_, text)| (*text).to_owned()).collect();
    let place = MODES.iter().position(|(mode, _)| *mode == proposed).unwrap_or(0);
    let mode = MODES.get(choose("How are they answered?", &items, place)?).map(|(mode, _)| *mode);
    answers.mode = mode;
    if mode == Some(Mode::Full) {
        let known = answers.pool.clone().or_else(|| match pxe.map(|pxe| &pxe.mode) {
            Some(PxeMode::Full(pool)) => Some(format!("{}-{}", pool.first, pool.last)),
            _ => setup::proposed_pool(nic),
        });
        answers.pool =
            Some(line("Addresses to lend (FIRST-LAST)", &known.unwrap_or_default(), |_| Ok(()))?);
    }
    let known =
        answers.public_url.clone().or_else(|| configured.map(|c| c.server.public_url.clone()));
    let known = known.unwrap_or_else(|| setup::proposed_url(nic));
    answers.public_url = Some(line("How do machines reach this appliance?", &known, |_| Ok(()))?);
    let known = answers.tls.or_else(|| configured.map(|c| c.server.tls_listen.is_some()));
    answers.tls = Some(confirm(
        "Serve answers and call-backs over HTTPS with a certificate of its own?",
        known.unwrap_or(true),
    )?);
    keep(draft, answers);
    Ok(())
}

fn access(answers: &mut Answers, found: &Found) -> Result<(), Stop> {
    let theme = ColorfulTheme::default();
    let configured = found.config.as_ref().map(|c| c.credentials.ssh_keys.clone());
    let wanted = answers.ssh_keys.clone().or(configured);
    let mut all = wanted.clone().unwrap_or_default();
    all.extend(found.ssh_keys.iter().filter(|key| !all.contains(key)).cloned().collect::<Vec<_>>());
    let mut chosen = Vec::new();
    if !all.is_empty() {
        let on: Vec<bool> = all
            .iter()
            .map(|key| wanted.as_ref().is_none_or(|wanted| wanted.contains(key)))
            .collect();
        let shown: Vec<String> = all.iter().map(|key| short(key)).collect();
        let picked = MultiSelect::with_theme(&theme)
            .with_prompt("SSH keys that open fresh nodes as root (space marks, Enter goes on)")
            .items(&shown)
            .defaults(&on)
            .interact()
            .map_err(left)?;
        chosen = picked.into_iter().filter_map(|place| all.get(place).cloned()).collect();
    }
    loop {
        let more = line("Another public key (empty: no)", "", |text| match text {
            "" => Ok(()),
            key => check_public_key(key).map_err(str::to_owned),
        })?;
        if more.trim().is_empty() {
            break;
        }
        chosen.push(more.trim().to_owned());
    }
    answers.ssh_keys = Some(chosen);
    let has = found.config.as_ref().is_some_and(|c| c.credentials.root_password_hash.is_some());
    let mut items = vec![
        "none: SSH keys only, with a random password per rebuild that nobody sees".to_owned(),
        "one that I type now".to_owned(),
    ];
    if has {
        items.push("as it is".to_owned());
    }
    let is_open = answers.ssh_keys.as_ref().is_some_and(|keys| !keys.is_empty());
    let nobody = format!("{NOBODY_GETS_IN}. Go on?");
    answers.root_password = loop {
        match choose("Root password of fresh nodes?", &items, if has { 2 } else { 0 })? {
            0 if !is_open && !confirm(&nobody, false)? => {}
            0 => break Some(String::new()),
            1 => {
                break Some(password("Root password", |text| match text.chars().count() {
                    0..8 => Err("at least eight characters".to_owned()),
                    _ => Ok(()),
                })?);
            }
            _ => break None,
        }
    };
    Ok(())
}

/// Kind, the key's end and its comment: enough to know it again.
fn short(key: &str) -> String {
    let mut words = key.split_whitespace();
    let (kind, body) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let end = body.char_indices().rev().nth(11).map_or(0, |(at, _)| at);
    format!(
        "{kind} …{} {}",
        body.get(end..).unwrap_or_default(),
        words.collect::<Vec<_>>().join(" ")
    )
}

async fn cluster(answers: &mut Answers, found: &Found) -> Result<(), Stop> {
    let proxmox = found.config.as_ref().map(|config| &config.proxmox);
    let known = answers
        .existing_node
        .clone()
        .or_else(|| proxmox.and_then(|p| p.existing_node.clone()))
        .unwrap_or_default();
    let items = ["none yet: the first host founds one".to_owned(), "one that exists".to_owned()];
    if choose("Which cluster do hosts join?", &items, usize::from(!known.is_empty()))? == 0 {
        answers.existing_node = Some(String::new());
        let name = answers.cluster_name.clone().or_else(|| proxmox.map(|p| p.cluster_name.clone()));
        let name = name.unwrap_or_else(|| "ironhatch".to_owned());
        answers.cluster_name = Some(line("Its name", &name, |_| Ok(()))?);
        return Ok(());
    }
    loop {
        let node = line("IP address of any of its nodes", &known, |text| {
            text.parse::<std::net::IpAddr>().map(drop).map_err(|e| e.to_string())
        })?;
        answers.existing_node = Some(node.clone());
        match find::host_key(&node).await {
            Ok(seen) => {
                print::line(&format!(
                    "{node} answers and shows this SSH host key:\n  {}",
                    seen.fingerprint
                ));
                print::line(
                    "Its console prints the real one: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub",
                );
                if confirm("Are the two the same?", false)? {
                    answers.member_host_key = Some(seen.key);
                    return Ok(());
                }
                return Err(
                    "another machine answers at that address: nothing was written".to_owned()
                );
            }
            Err(why) => {
                print::line(&format!("It cannot be reached: {why}."));
                if !confirm("Try again?", true)? {
                    print::line(
                        "Its host key is needed before hosts can join: run this again when it answers.",
                    );
                    return Ok(());
                }
            }
        }
    }
}

fn machines(answers: &mut Answers, found: &Found) -> Result<(), Stop> {
    if !found.has_types {
        let known = answers.server_type.take();
        let name = known.as_ref().map_or("small", |first| first.name.as_str());
        let name = line("Name of the first server type (hosts of one kind)", name, |text| {
            text.parse::<crate::domain::id::ServerTypeName>().map(drop).map_err(|e| e.to_string())
        })?;
        let told = known.as_ref().map(|first| first.display_name.clone());
        let told = told.filter(|name| !name.is_empty());
        let told = told.or_else(|| found.sighted.clone()).unwrap_or_else(|| found.product.clone());
        let display_name = line("What they are, for people", &told, |_| Ok(()))?;
        let mut items = vec!["each host names its own disk (the safe choice)".to_owned()];
        let like = if found.product.is_empty() { "this machine" } else { &found.product };
        items.extend(found.disks.iter().map(|(disk, gigabytes)| {
            format!("{disk}, on machines like {like} (here {gigabytes} GB)")
        }));
        let place = known
            .and_then(|first| found.disks.iter().position(|(disk, _)| first.disks.contains(disk)))
            .map_or(0, |place| place + 1);
        let chosen = choose("Which disk of such a host may be erased?", &items, place)?;
        let disk = chosen.checked_sub(1).and_then(|place| found.disks.get(place));
        answers.server_type = Some(FirstType {
            name,
            display_name,
            disks: disk.map(|(disk, _)| disk.clone()).into_iter().collect(),
        });
    }
    let known = answers.image.clone().unwrap_or_default();
    let image = line("Proxmox VE image: a path here or a URL (empty: later)", &known, |_| Ok(()))?;
    answers.image = Some(image).filter(|image| !image.is_empty());
    Ok(())
}
