//! The file that tells the installer where its answer is.

use serde::Serialize;

/// Name of the file in the image's root. Its presence is what makes the automated installation start (installer 8.2 to
/// 9.2).
pub const MODE_FILE_NAME: &str = "auto-installer-mode.toml";

#[derive(Serialize)]
struct ModeFile<'a> {
    mode: &'static str,
    http: Http<'a>,
}

#[derive(Serialize)]
struct Http<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_fingerprint: Option<&'a str>,
}

/// Content of [`MODE_FILE_NAME`] for an answer behind `url`.
///
/// `cert_fingerprint` is the SHA-256 of the server's leaf certificate (hex pairs with colons) when the URL is HTTPS.
/// The keys are the smallest set, and the same text is accepted by every installer from 8.2 to 9.2: unknown top-level keys
/// abort it, and 8.2 does not know `partition_label`. The install token is part of the URL, because the `token` key is
/// ignored before 9.2.
#[must_use]
pub fn mode_file(url: &str, cert_fingerprint: Option<&str>) -> String {
    toml::to_string(&ModeFile { mode: "http", http: Http { url, cert_fingerprint } })
        .expect("two tables of strings always serialise")
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_mode_file_has_only_keys_that_every_installer_knows() {
        assert_eq!(
            mode_file("http://192.0.2.10:8080/api/boot/answer/7f3c", None),
            "mode = \"http\"\n\n[http]\nurl = \"http://192.0.2.10:8080/api/boot/answer/7f3c\"\n"
        );
        assert_eq!(
            mode_file("https://192.0.2.10/a", Some("AA:BB")),
            "mode = \"http\"\n\n[http]\nurl = \"https://192.0.2.10/a\"\ncert_fingerprint = \"AA:BB\"\n"
        );
    }

    #[test]
    fn a_url_cannot_add_keys() {
        let text = mode_file("http://x/\"\nmode = \"iso\"", None);
        let parsed: toml::Table = text.parse().unwrap();
        assert_eq!(parsed["mode"].as_str(), Some("http"));
        assert_eq!(parsed["http"]["url"].as_str(), Some("http://x/\"\nmode = \"iso\""));
    }
}
