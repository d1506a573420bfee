//! The debug bundle: what somebody else needs to see when something goes wrong, as text files in one archive.
//!
//! Secrets are kept out three times: what is gathered leaves them out, values whose name says that they are secret are
//! blanked ([`each_secret`]), and every text is cleared of each secret that this appliance knows and of whatever looks like one
//! ([`logging::redact`](super::logging::redact)).

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::logging::redact;
use crate::domain::audit::each_secret;
use crate::plan::guest::redaction::{BLANK, Redactor};

/// The folder in the archive.
const FOLDER: &str = "ironhatch-debug";

/// A bundle that is being filled.
#[derive(Debug)]
pub struct Bundle {
    files: Vec<(String, String)>,
    redactor: Redactor,
}

impl Bundle {
    /// An empty one that knows these secrets.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        Self { files: Vec::new(), redactor: Redactor::new(secrets) }
    }

    /// Adds a text. The name is a relative path of our own, or has passed [`file_name`].
    pub fn add(&mut self, name: impl Into<String>, text: &str) {
        let clear = redact(&self.redactor.text(text));
        self.files.push((name.into(), clear));
    }

    /// Adds a JSON document.
    pub fn add_json(&mut self, name: impl Into<String>, mut value: Value) {
        each_secret(&mut value, &blank);
        self.add(name, &format!("{value:#}\n"));
    }

    /// Adds JSON values, one on each line.
    pub fn add_lines(&mut self, name: impl Into<String>, values: impl IntoIterator<Item = Value>) {
        let mut text = String::new();
        for mut value in values {
            each_secret(&mut value, &blank);
            text.push_str(&value.to_string());
            text.push('\n');
        }
        self.add(name, &text);
    }

    /// The archive (tar, gzip); `seconds` since 1970 are the files' time.
    ///
    /// # Errors
    /// When a name is too long for a tar archive.
    pub fn pack(self, seconds: u64) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (name, text) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(text.len()).unwrap_or(u64::MAX));
            header.set_mode(0o600);
            header.set_mtime(seconds);
            tar.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes())?;
        }
        let mut gzip = tar.into_inner()?;
        gzip.flush()?;
        gzip.finish()
    }
}

/// A file's own name as a name in the archive: nothing that leads out of it.
#[must_use]
pub fn file_name(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = text.chars().take(80).map(plain).collect();
    name.trim_start_matches('.').to_owned()
}

/// Whether it was set can be seen; what it was cannot.
fn blank(value: &mut Value) {
    if !(value.is_null() || value.is_boolean() || value.as_str() == Some("")) {
        *value = Value::from(BLANK);
    }
}

#[cfg(test)]
mod test {
    use std::io::Read as _;

    use serde_json::json;

    use super::*;

    #[test]
    fn values_with_a_telling_name_known_secrets_and_what_looks_like_one_are_blanked() {
        let mut bundle = Bundle::new(["planted \"one\"", "two-lines\nof-a-secret"]);
        bundle.add_json(
            "a.json",
            json!({ "root_password": "x1", "subscription-key": "x3", "nested": [{ "apiToken": "x2", "name": "ok" }],
                "note": "the planted \"one\" and of-a-secret", "password": null }),
        );
        bundle.add(
            "b.txt",
            "Bearer abc and 0123456789abcdef0123456789abcdef, $6$salt$hashhashhashhashhash",
        );
        let packed = bundle.pack(0).unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let mut text = String::new();
        for entry in tar.entries().unwrap() {
            entry.unwrap().read_to_string(&mut text).unwrap();
        }
        for secret in
            ["x1", "x2", "x3", "planted", "of-a-secret", "abc", "0123456789abcdef", "hashhash"]
        {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(text.contains("\"name\": \"ok\"") && text.contains("\"password\": null"), "{text}");
    }

    #[test]
    fn no_name_leads_out_of_the_archive() {
        assert_eq!(file_name("../../etc/passwd"), "_.._etc_passwd");
        assert_eq!(file_name("small.toml"), "small.toml");
    }
}
