//! Notification targets: who is told what, and how it is reached.

use crate::domain::notice::NoticeKind;
use crate::domain::secret::Secret;

/// One target.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its name in pages, logs and commands; unique.
    pub name: String,
    /// How it is reached.
    pub receiver: Receiver,
    /// What it gets.
    pub events: Vec<NoticeKind>,
}

/// How a target is reached. Addresses are secret where knowing one is enough to write there.
#[derive(Debug, Clone)]
pub enum Receiver {
    /// Anything that takes the notice as it is.
    Webhook {
        /// Where to POST.
        url: Secret<String>,
        /// Sent as a bearer token; `None`: no authentication.
        token: Option<Secret<String>>,
    },
    /// A topic of an ntfy server.
    Ntfy {
        /// Base address of the server, with a slash at its end.
        server: String,
        /// The topic: who knows it can read and write it, unless the server asks for more.
        topic: Secret<String>,
        /// An access token; `None`: the topic is open.
        token: Option<Secret<String>>,
    },
    /// An incoming webhook of Slack, Mattermost or Rocket.Chat.
    Slack {
        /// Where to POST.
        url: Secret<String>,
    },
    /// A webhook of Discord.
    Discord {
        /// Where to POST.
        url: Secret<String>,
    },
    /// A Matrix room.
    Matrix {
        /// Base address of the homeserver, without a slash at its end.
        homeserver: String,
        /// Its id, `!…:example.org`.
        room: String,
        /// The sending account's access token.
        token: Secret<String>,
    },
    /// Email.
    Email(Email),
}

/// Email through an SMTP server.
#[derive(Debug, Clone)]
pub struct Email {
    /// The server's name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// User and password; `None`: the server asks for none.
    pub login: Option<(String, Secret<String>)>,
    /// The sender's address.
    pub from: String,
    /// The recipients' addresses; never empty.
    pub to: Vec<String>,
}

/// How a connection to an SMTP server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// Plain at first, then `STARTTLS`; without it nothing is sent.
    StartTls,
    /// TLS from the first byte.
    Implicit,
    /// Not at all.
    Off,
}

impl MailTls {
    /// As it is written in the file, with the port that is usual for it.
    pub const WORDS: [(&'static str, Self, u16); 3] = [
        ("starttls", Self::StartTls, 587),
        ("implicit", Self::Implicit, 465),
        ("off", Self::Off, 25),
    ];

    /// Its word in the file.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, tls, _)| *tls == self).map_or("off", |(word, ..)| word)
    }

    /// The port that is usual for it.
    #[must_use]
    pub fn usual_port(self) -> u16 {
        Self::WORDS.iter().find(|(_, tls, _)| *tls == self).map_or(25, |(.., port)| *port)
    }
}

impl Receiver {
    /// Its kind, as it is written in the file.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Ntfy { .. } => "ntfy",
            Self::Slack { .. } => "slack",
            Self::Discord { .. } => "discord",
            Self::Matrix { .. } => "matrix",
            Self::Email(_) => "email",
        }
    }

    /// Where it is, without what has to stay secret: `https://hooks.example.net`, `ops@example.net`.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Webhook { url, .. } | Self::Slack { url } | Self::Discord { url } => {
                origin(url.expose()).to_owned()
            }
            Self::Ntfy { server, .. } => origin(server).to_owned(),
            Self::Matrix { homeserver, room, .. } => format!("{room} at {}", origin(homeserver)),
            Self::Email(mail) => mail.to.join(", "),
        }
    }

    /// Everything of it that must not be told, also not by an error message of its own.
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Webhook { url, token } => {
                let token = token.iter().map(|token| token.expose().as_str());
                std::iter::once(url.expose().as_str()).chain(token).collect()
            }
            Self::Ntfy { topic, token, .. } => {
                let token = token.iter().map(|token| token.expose().as_str());
                std::iter::once(topic.expose().as_str()).chain(token).collect()
            }
            Self::Slack { url } | Self::Discord { url } => vec![url.expose()],
            Self::Matrix { token, .. } => vec![token.expose()],
            Self::Email(mail) => {
                mail.login.iter().map(|(_, word)| word.expose().as_str()).collect()
            }
        }
    }
}

/// Scheme, host and port of an address that was checked.
pub(super) fn origin(url: &str) -> &str {
    let Some(start) = url.find("://").map(|at| at + 3) else { return "" };
    let end = url.get(start..).and_then(|rest| rest.find(['/', '?', '#'])).map(|at| start + at);
    end.and_then(|end| url.get(..end)).unwrap_or(url)
}
