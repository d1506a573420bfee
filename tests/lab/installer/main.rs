//! Stand-in for the vendor's automated installer, for the virtual bare-metal lab.
//!
//! It does on the wire what installers 8.2 to 9.2 do, in the formats of the ISO's own release: reads the mode file from the
//! mounted ISO, posts the machine's facts once, parses the answer strictly, fetches the first-boot executable, picks a
//! disk, writes a bootable system, posts the installation report once. It never retries. Every failure ends in
//! `installer: aborted: ...` on the console and a non-zero exit status, where the real one opens a shell.
//!
//! It shares no code with the appliance on purpose: what both understand the same way is proved by talking.
//! Not covered: gzip bodies, redirects (they abort), bearer tokens, DHCP option 250/251 and DNS TXT, ZFS and Btrfs on disk.

#![allow(clippy::print_stdout, missing_docs)] // it speaks to the console, as the vendor's does

mod answer;
mod disk;
mod hardware;
mod http;
mod report;
mod system;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::json;

/// What went wrong, as one line for the console.
type Failure = String;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(iso), Some(image)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: lab-installer MOUNTED_ISO DISK_IMAGE");
        return ExitCode::from(64);
    };
    match install(&iso, &image) {
        Ok(mode) => {
            println!("installer: done, {mode}");
            // The caller does what the answer says about the end.
            if mode == "power-off" { ExitCode::from(3) } else { ExitCode::SUCCESS }
        }
        Err(failure) => {
            println!("installer: aborted: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// The whole installation; returns the reboot mode of the answer.
fn install(iso: &Path, image: &Path) -> Result<String, Failure> {
    let release = Release::read(iso)?;
    let mode = HttpMode::read(iso, &release)?;
    let machine = hardware::Machine::probe()?;

    let body = answer_request(&release, &machine);
    let endpoint = mode.endpoint()?;
    println!("installer: asking {}", endpoint.url);
    let response =
        http::post(&endpoint, "installer/answer", &body, release.accept(), release.content_type())?;
    release.accept_status(&response).map_err(|why| format!("answer request: {why}"))?;
    println!(
        "installer: answer received, {} bytes of {}",
        response.body.len(),
        response.content_type()
    );
    let answer = answer::parse(&response, &release)?;
    println!("installer: answer is valid for release {}.{}", release.major, release.minor);

    let first_boot = match &answer.first_boot {
        Some(first_boot) => Some(system::FirstBoot::fetch(first_boot, iso)?),
        None => None,
    };
    let target = disk::choose(&answer.disk_setup, &machine)?;
    println!("installer: writing {} ({})", target.path.display(), target.serial());
    disk::write_image(image, &target)?;
    println!("installer: disk written");
    let installed = system::customise(&target, &answer, &machine, first_boot.as_ref())?;
    println!("installer: system written");

    if let Some(webhook) = &answer.post_installation_webhook {
        let body = report::body(&release, &answer, &machine, &target, &installed);
        println!("installer: reporting {} bytes to {}", body.len(), webhook.url);
        let response = http::post(
            &webhook.endpoint(),
            "installer/report",
            &body,
            "*/*",
            "application/json; charset=utf-8",
        )?;
        release
            .accept_status(&response)
            .map_err(|why| format!("webhook, although the installation is complete: {why}"))?;
        println!("installer: report accepted");
    }
    Ok(answer.global.reboot_mode.unwrap_or_else(|| "reboot".to_owned()))
}

/// Release of the ISO the installer runs from, out of `/.cd-info`.
struct Release {
    major: u32,
    minor: u32,
    iso_release: String,
    product: String,
    full_name: String,
}

impl Release {
    fn read(iso: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(iso.join(".cd-info"))
            .map_err(|error| format!(".cd-info: {error}"))?;
        let values: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key, value.trim_matches('\'')))
            .collect();
        let get =
            |key: &str| values.get(key).copied().ok_or_else(|| format!(".cd-info has no {key}"));
        let release = get("RELEASE")?;
        let (major, minor) = release.split_once('.').ok_or("RELEASE is not MAJOR.MINOR")?;
        let number = |text: &str| text.parse().map_err(|_| format!("RELEASE: {release}"));
        Ok(Self {
            major: number(major)?,
            minor: number(minor)?,
            iso_release: get("ISORELEASE")?.to_owned(),
            product: get("PRODUCT")?.to_owned(),
            full_name: get("PRODUCTLONG")?.to_owned(),
        })
    }

    fn at_least(&self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    fn accept(&self) -> &'static str {
        if self.at_least(9, 2) { "application/json, application/toml;q=0.5" } else { "*/*" }
    }

    /// The missing 8 is the vendor's: 8.2 sends exactly this.
    fn content_type(&self) -> &'static str {
        if self.at_least(8, 3) {
            "application/json; charset=utf-8"
        } else {
            "application/json; charset=utf-"
        }
    }

    /// 9.2 takes 200 and 201 only, older ones any status below 400. From 9.2 the body of a refusal is shown.
    fn accept_status(&self, response: &http::Response) -> Result<(), Failure> {
        let accepted = if self.at_least(9, 2) {
            matches!(response.status, 200 | 201)
        } else {
            response.status < 300
        };
        if accepted {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&response.body);
        let shown = if self.at_least(9, 2) { text.trim() } else { "" };
        Err(format!("status {} {shown}", response.status))
    }
}

/// `/auto-installer-mode.toml`: unknown keys at the top are errors, inside `[http]` they are ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeFile {
    mode: String,
    partition_label: Option<String>,
    http: Option<HttpMode>,
}

#[derive(Default, Deserialize)]
struct HttpMode {
    url: Option<String>,
    cert_fingerprint: Option<String>,
}

impl HttpMode {
    fn read(iso: &Path, release: &Release) -> Result<Self, Failure> {
        let path = iso.join("auto-installer-mode.toml");
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("auto-installer-mode.toml: {error}"))?;
        let mode: ModeFile =
            toml::from_str(&text).map_err(|error| format!("auto-installer-mode.toml: {error}"))?;
        if mode.partition_label.is_some() && !release.at_least(8, 3) {
            return Err("auto-installer-mode.toml: unknown field partition_label".to_owned());
        }
        if mode.mode != "http" {
            return Err(format!(
                "auto-installer-mode.toml: mode {:?} is not part of the lab",
                mode.mode
            ));
        }
        Ok(mode.http.unwrap_or_default())
    }

    fn endpoint(&self) -> Result<http::Endpoint<'_>, Failure> {
        let url = self.url.as_deref().ok_or("auto-installer-mode.toml: no http.url")?;
        Ok(http::Endpoint { url, cert_fingerprint: self.cert_fingerprint.as_deref() })
    }
}

/// The facts that the fetcher posts. Keys are snake_case here; MACs are upper case from 9.2.
fn answer_request(release: &Release, machine: &hardware::Machine) -> Vec<u8> {
    let links: Vec<_> = machine
        .nics
        .iter()
        .map(|nic| {
            let mac = if release.at_least(9, 2) { nic.mac.to_uppercase() } else { nic.mac.clone() };
            json!({ "link": nic.name, "mac": mac })
        })
        .collect();
    let mut body = json!({
        "product": { "fullname": release.full_name, "product": release.product, "enable_btrfs": true },
        "iso": { "release": format!("{}.{}", release.major, release.minor), "isorelease": release.iso_release },
        "dmi": machine.dmi,
        "network_interfaces": links,
    });
    if release.at_least(8, 3) {
        body["$schema"] = json!({ "version": "1.0" });
    }
    body.to_string().into_bytes()
}
