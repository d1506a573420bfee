//! The scripts that machines run: iPXE scripts on the way to the installer, and the first-boot script of the
//! installed system. Pure: values in, text out. The templates are in `ipxe/` and `firstboot/`.
//!
//! What a machine said about itself can appear in these scripts, so each value is typed or escaped for its language
//! ([`escape`]); a property test feeds hostile text and checks with a model of iPXE's parser that no command was added.
//! Words in `${...}` are iPXE's own variables and are expanded on the machine.

use std::fmt;

use askama::Template;

use crate::domain::id::{HostId, Hostname};
use crate::domain::mac::Mac;
use crate::domain::secret::InstallToken;

pub mod escape;

/// A script for iPXE.
#[derive(Debug, Clone)]
pub enum BootScript<'a> {
    /// The first script: brings up the network and asks for the machine's own script.
    Start(Start<'a>),
    /// Loads the installer and starts it.
    Install(Install<'a>),
    /// Starts the machine's own disk.
    LocalBoot(LocalBoot<'a>),
    /// Tells an unregistered machine's console what to do, then starts its disk.
    Unknown(Unknown<'a>),
    /// Says why not, then starts the machine's disk.
    Refused(Refused<'a>),
}

/// The script that iPXE runs first: boot file of an offer to iPXE, and `autoexec.ipxe`.
///
/// It chains `{base}/ipxe/{mac with hyphens}` with these query parameters, each possibly empty: `uuid`, `serial`, `vendor`,
/// `product`, `asset`, `memory` (MiB), `platform` (`pcbios` or `efi`), `arch`, `chip`, `busid`, `ip`. Without DHCP it
/// gives up after about 50 s, without an answer of the appliance after about 30 s.
#[derive(Debug, Clone, Template)]
#[template(path = "start.ipxe")]
pub struct Start<'a> {
    /// The appliance as machines reach it.
    pub base: ScriptUrl<'a>,
}

/// The installer in memory (installer 8.2 to 9.2).
#[derive(Debug, Clone, Template)]
#[template(path = "install.ipxe")]
pub struct Install<'a> {
    /// Whose machine it is, for the console.
    pub hostname: &'a Hostname,
    /// Which address it booted from, for the console.
    pub mac: Mac,
    /// The image in words, for the console: `Proxmox VE 9.2-1`.
    pub image: &'a str,
    /// `/boot/linux26` of the ISO.
    pub kernel: ScriptUrl<'a>,
    /// `/boot/initrd.img` of the ISO, as it is.
    pub initrd: ScriptUrl<'a>,
    /// The ISO view of this rebuild.
    pub iso: ScriptUrl<'a>,
    /// More words for the kernel command line.
    pub arguments: &'a [KernelArgument],
}

/// Local boot with its reason.
#[derive(Debug, Clone, Template)]
#[template(path = "local-boot.ipxe")]
pub struct LocalBoot<'a> {
    /// One line for the console.
    pub reason: &'a str,
}

/// The notice for a machine that nobody registered.
#[derive(Debug, Clone, Template)]
#[template(path = "unknown.ipxe")]
pub struct Unknown<'a> {
    /// The machine.
    pub mac: Mac,
    /// Where the operator registers it.
    pub dashboard: &'a str,
    /// How long the notice stays on the screen.
    pub seconds: u8,
}

/// A refusal with its reason.
#[derive(Debug, Clone, Template)]
#[template(path = "refused.ipxe")]
pub struct Refused<'a> {
    /// One line for the console: which rule, and what would be allowed.
    pub reason: &'a str,
}

/// The script that the installed system runs once on its first boot (installer 8.3 and later).
///
/// POSTs JSON to `{base_url}/api/hosts/{host}/phone-home` with the token as bearer: strings `address` (IPv4), `hostname`,
/// `machine_id`, `uuid`, `serial`, `booted_from` (`efi` or `bios`), arrays of strings `macs`, `ssh_host_keys` (lines of the
/// public keys, with comment). Unknown strings are empty. Any status 2xx ends it; otherwise it tries ten times in about
/// three minutes and again on the next boot.
#[derive(Debug, Clone, Template)]
#[template(path = "first-boot.sh")]
pub struct FirstBoot<'a> {
    base_url: ScriptUrl<'a>,
    host: HostId,
    token: String,
    /// Base64 of the appliance's certificate, when `base_url` is HTTPS with a self-signed one; else empty.
    certificate: &'a str,
}

/// An `http://` or `https://` URL that can stand in a script as one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptUrl<'a>(&'a str);

/// The text is no URL for a boot script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' cannot stand in a boot script: http:// or https://, a host, and at most 1000 printable ASCII characters \
     without blanks are expected"
)]
pub struct BadUrl {
    /// What was given, cut to a printable length.
    pub text: String,
}

/// One word of the kernel command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelArgument(String);

/// The word may not be on the installer's command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' cannot be a kernel argument: {rule}")]
pub struct BadArgument {
    /// What was given, cut to a printable length.
    pub text: String,
    /// Which rule it breaks, and what would be allowed.
    pub rule: &'static str,
}

impl BootScript<'_> {
    /// The script's text, to be served as `text/plain`. Begins with `#!ipxe`, ends with a line feed.
    #[must_use]
    pub fn render(&self) -> String {
        match self {
            Self::Start(script) => text_of(script),
            Self::Install(script) => text_of(script),
            Self::LocalBoot(script) => text_of(script),
            Self::Unknown(script) => text_of(script),
            Self::Refused(script) => text_of(script),
        }
    }
}

impl<'a> FirstBoot<'a> {
    /// The script of one host. With a token the text is a secret; without one the script takes it from the environment
    /// variable `IRONHATCH_TOKEN` and says so when that is missing.
    #[must_use]
    pub fn new(
        base_url: ScriptUrl<'a>,
        host: HostId,
        token: Option<&InstallToken>,
        certificate: Option<&'a str>,
    ) -> Self {
        let token = token.map(InstallToken::reveal).unwrap_or_default();
        Self { base_url, host, token, certificate: certificate.unwrap_or_default() }
    }

    /// The script's text: POSIX shell, far below the installer's limit of 1 MiB.
    #[must_use]
    pub fn render(&self) -> String {
        text_of(self)
    }
}

/// Renders; askama cuts the template's last line feed, which scripts need.
fn text_of(template: &impl Template) -> String {
    let mut text = template.render().expect("writing to a string and escaping cannot fail");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

impl<'a> ScriptUrl<'a> {
    /// Checks a URL; one `/` at the end is cut, so that a path can be appended.
    ///
    /// # Errors
    /// [`BadUrl`] when it is not an absolute HTTP URL in plain ASCII.
    pub fn parse(text: &'a str) -> Result<Self, BadUrl> {
        let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
        let host_follows =
            rest.is_some_and(|r| r.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['));
        // Quotes and the like are legal nowhere in a URL; `$`, `#`, `;` and `\` mean something to iPXE or the shell.
        let plain =
            text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:/?[]@!()*+,=%&".contains(&b));
        if host_follows && plain && text.len() <= 1000 {
            Ok(Self(text.strip_suffix('/').unwrap_or(text)))
        } else {
            Err(BadUrl { text: printable(text) })
        }
    }
}

impl fmt::Display for ScriptUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl KernelArgument {
    /// Checks one word, for example `console=ttyS0,115200`.
    ///
    /// # Errors
    /// [`BadArgument`] when iPXE or the kernel would not see one plain word, or when the installer would carry a word
    /// into the installed system that keeps it from booting (`proxmox-auto-install` 1.3).
    pub fn parse(text: &str) -> Result<Self, BadArgument> {
        let fail = |rule| Err(BadArgument { text: printable(text), rule });
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._=,:/@+%".contains(&b);
        if text.is_empty() || text.len() > 200 || !text.bytes().all(plain) {
            return fail("1 to 200 letters, digits and -._=,:/@+% without blanks are allowed");
        }
        let key = text.split('=').next().unwrap_or_default();
        match key {
            "root" => fail("root= would start a rescue boot instead of the installer"),
            "rdinit" | "rootfstype" | "init" => fail(
                "the installer would copy it into the installed system, which then could not boot",
            ),
            "initrd" => fail("iPXE hands the initrd over by itself"),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for KernelArgument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

#[cfg(test)]
mod test;
