//! Enrolment by a command that the operator pastes on the node: a script that lets a short-lived key in and reports the
//! node's host keys, the command that fetches and checks it, and the report that comes back.
//!
//! The appliance makes a key and a code, keeps both for [`MINUTES`], serves the script at [`path`] to whoever has the code,
//! and takes one report there by POST. The report's sender is the node: its address is where the enrolment then logs in,
//! with the reported host keys pinned.

use askama::Template as _;
use sha2::{Digest as _, Sha256};

use crate::domain::id::NodeName;
pub use crate::limits::machine::MOST_REPORT;
use crate::plan::script::ScriptUrl;

/// How long code and key are good for.
pub const MINUTES: u32 = 15;
/// Comment of the short-lived key's line on the node.
pub const COMMENT: &str = "ironhatch-enroll";

/// Where the script is served (GET) and the report is taken (POST). `code` is a secret: at least 128 random bits in URL-safe
/// characters.
#[must_use]
pub fn path(code: &str) -> String {
    format!("/api/nodes/enroll/{code}")
}

/// The script for one code.
#[derive(Debug, Clone, askama::Template)]
#[template(path = "enroll.sh")]
pub struct EnrollScript<'a> {
    url: ScriptUrl<'a>,
    key: String,
    comment: &'static str,
    minutes: u32,
    /// Base64 of the appliance's certificate, when `url` is HTTPS with a self-signed one; else empty.
    certificate: &'a str,
}

impl<'a> EnrollScript<'a> {
    /// The script that reports to `url` (the appliance's address with [`path`]) and lets the key of `public_line`
    /// (`ssh-ed25519 BODY …`) in. The same values give the same text: its digest is in [`command`].
    #[must_use]
    pub fn new(url: ScriptUrl<'a>, public_line: &str, certificate: Option<&'a str>) -> Self {
        let key: Vec<&str> = public_line.split_whitespace().take(2).collect();
        Self {
            url,
            key: key.join(" "),
            comment: COMMENT,
            minutes: MINUTES,
            certificate: certificate.unwrap_or_default(),
        }
    }

    /// The script's text: POSIX shell, to be served as `text/plain`.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.render().expect("writing to a string and escaping cannot fail");
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    /// The line that the operator pastes on the node. It checks the script's digest before it runs it: who listens on the
    /// way, or answers in the appliance's place, cannot put another script under root's hands.
    #[must_use]
    pub fn command(&self) -> String {
        let digest: String =
            Sha256::digest(self.text()).iter().map(|b| format!("{b:02x}")).collect();
        // A self-signed certificate proves nothing to curl; the digest does.
        let insecure = if self.certificate.is_empty() { "" } else { "-k " };
        format!(
            "f=$(mktemp) && curl -fsS {insecure}-o \"$f\" '{}' && echo \"{digest}  $f\" | sha256sum -c --quiet && sh \"$f\"; rm -f \"$f\"",
            self.url
        )
    }
}

/// What a node reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its name.
    pub name: NodeName,
    /// SSH host keys as `type base64`.
    pub host_keys: Vec<String>,
}

/// Reads the body of a report; `None` for anything else.
#[must_use]
pub fn read_report(body: &[u8]) -> Option<Report> {
    if body.len() > MOST_REPORT {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let mut name = None;
    let mut host_keys = Vec::new();
    for line in text.lines() {
        match line.split_once('=')? {
            ("name", value) if name.is_none() => name = Some(value.parse().ok()?),
            ("host_key", value) if host_keys.len() < 8 => {
                let mut words = value.split_whitespace();
                let (kind, body) = (words.next()?, words.next()?);
                let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
                let known = matches!(kind, "ssh-ed25519" | "ssh-rsa");
                if !known || !body.bytes().all(base64) {
                    return None;
                }
                host_keys.push(format!("{kind} {body}"));
            }
            _ => return None,
        }
    }
    let name = name?;
    (!host_keys.is_empty()).then_some(Report { name, host_keys })
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;
    use crate::golden::assert_golden;

    const URL: &str = "https://192.0.2.10:8443/api/nodes/enroll/0123456789abcdef";

    fn script(certificate: Option<&str>) -> EnrollScript<'_> {
        EnrollScript::new(ScriptUrl::parse(URL).unwrap(), "ssh-ed25519 AAAAC3Nz x", certificate)
    }

    #[test]
    fn the_script_is_the_golden_one_and_its_command_names_its_digest() {
        assert_golden("firstboot/enroll.sh", &script(Some("MIIB")).text());
        let command = script(Some("MIIB")).command();
        let digest: String = Sha256::digest(script(Some("MIIB")).text())
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert!(
            command.contains(&digest) && command.contains(URL) && command.contains(" -k "),
            "{command}"
        );
        assert!(!script(None).command().contains(" -k "));
        assert!(!command.contains('\n'));
    }

    #[test]
    fn hostile_values_stay_inside_their_quotes() {
        let text = EnrollScript::new(
            ScriptUrl::parse(URL).unwrap(),
            "ssh-ed25519 A';reboot;'",
            Some("'$(id)"),
        )
        .text();
        assert!(text.contains("key='ssh-ed25519 A'\\'';reboot;'\\'''\n"), "{text}");
        assert!(text.contains("certificate=''\\''$(id)'\n"), "{text}");
    }

    #[test]
    fn only_a_report_is_a_report() {
        let good =
            "name=pve1\nhost_key=ssh-ed25519 AAAAC3 root@pve1\nhost_key=ssh-rsa AAAAB3 root@pve1\n";
        let report = read_report(good.as_bytes()).unwrap();
        assert_eq!(report.name.as_str(), "pve1");
        assert_eq!(report.host_keys, ["ssh-ed25519 AAAAC3", "ssh-rsa AAAAB3"]);
        for bad in [
            "",
            "name=pve1\n",
            "host_key=ssh-rsa AAAA\n",
            "name=pve1\nname=pve2\nhost_key=ssh-rsa AAAA\n",
            "name=PVE 1\nhost_key=ssh-rsa AAAA\n",
            "name=pve1\nhost_key=ecdsa-sha2-nistp256 AAAA\n",
            "name=pve1\nhost_key=ssh-rsa <script>\n",
            "name=pve1\nhost_key=ssh-rsa AAAA\nx\n",
        ] {
            assert_eq!(read_report(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(read_report(&vec![b'x'; MOST_REPORT + 1]), None);
    }

    proptest! {
        #[test]
        fn no_report_makes_the_reader_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_report(&body);
        }
    }
}
