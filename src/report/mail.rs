//! Email through the operator's SMTP server, by `lettre`. The connection is ours: names are resolved without libc, and a
//! server can neither keep us waiting nor fill the memory.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::notify::{Email, MailTls};
use crate::outbound;
use crate::plan::notice::{Notice, preset};

/// The whole conversation. Servers that greet late to annoy senders of spam take half of it.
const TIMEOUT: Duration = Duration::from_secs(45);
/// What a server may say in one conversation; it is less than 2 KiB, certificates included less than 32.
const MOST_BYTES: usize = 256 * 1024;

/// Sends a notice once. Done when the server has taken it.
///
/// # Errors
/// Why not, in one line; may contain words of the server.
pub(super) async fn send(email: &Email, notice: &Notice, key: &str) -> Result<(), String> {
    let message = message(email, notice, key, SystemTime::now())?;
    let (mut connection, local) = match tokio::time::timeout(TIMEOUT, open(email)).await {
        Ok(opened) => opened?,
        Err(_) => return Err(too_late()),
    };
    let envelope = message.envelope().clone();
    let bytes = message.formatted();
    let conversation = async {
        secure(&mut connection, email, &local).await?;
        if let Some((user, password)) = &email.login {
            let login = Credentials::new(user.clone(), password.expose().clone());
            let known = [Mechanism::Plain, Mechanism::Login];
            connection.auth(&known, &login).await.map_err(|e| words(&e, Stage::Login))?;
        }
        let stage = if email.login.is_some() { Stage::KnownMessage } else { Stage::Message };
        connection.send(&envelope, &bytes).await.map_err(|e| words(&e, stage))
    };
    match tokio::time::timeout(TIMEOUT, conversation).await {
        Ok(Ok(_)) => {
            // It has the message; whether it says goodbye is its own affair.
            let _ = tokio::time::timeout(Duration::from_secs(2), connection.quit()).await;
            Ok(())
        }
        Ok(Err(reason)) => Err(reason),
        Err(_) => Err(too_late()),
    }
}

fn too_late() -> String {
    format!("the mail server did not finish within {} s", TIMEOUT.as_secs())
}

/// Connects, up to the server's greeting.
async fn open(email: &Email) -> Result<(AsyncSmtpConnection, ClientId), String> {
    let tcp = outbound::connect(&email.host, email.port).await.map_err(|e| e.to_string())?;
    let (Ok(peer), Ok(local)) = (tcp.peer_addr(), tcp.local_addr()) else {
        return Err("the connection is gone".to_owned());
    };
    // An address literal is always right (RFC 5321, 4.1.4); a name of ours may not exist for the server.
    let hello = match local.ip() {
        IpAddr::V4(ip) => ClientId::Ipv4(ip),
        IpAddr::V6(ip) => ClientId::Ipv6(ip),
    };
    let stream: Box<dyn AsyncTokioStream> = if email.tls == MailTls::Implicit {
        let tls = outbound::tls_over(tcp, &email.host).await.map_err(|e| e.to_string())?;
        Box::new(Bounded { inner: tls, peer, left: MOST_BYTES })
    } else {
        Box::new(Bounded { inner: tcp, peer, left: MOST_BYTES })
    };
    let connection = AsyncSmtpConnection::connect_with_transport(stream, &hello).await;
    Ok((connection.map_err(|e| words(&e, Stage::Greeting))?, hello))
}

/// `STARTTLS`, when that is how the connection is protected.
async fn secure(
    connection: &mut AsyncSmtpConnection,
    email: &Email,
    hello: &ClientId,
) -> Result<(), String> {
    if email.tls != MailTls::StartTls {
        return Ok(());
    }
    if !connection.can_starttls() {
        return Err("the mail server does not offer STARTTLS; nothing was sent".to_owned());
    }
    let host = email.host.clone();
    // Reads the machine's CA store.
    let parameters = tokio::task::spawn_blocking(move || TlsParameters::new_rustls(host))
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| words(&e, Stage::Tls))?;
    connection.starttls(parameters, hello).await.map_err(|e| words(&e, Stage::Tls))
}

fn message(email: &Email, notice: &Notice, key: &str, date: SystemTime) -> Result<Message, String> {
    let address = |text: &str| text.parse::<Address>().map_err(|e| format!("{text}: {e}"));
    let from = address(&email.from)?;
    // The same for each try: a mailbox shows a double as one.
    let id = format!("<{key}@{}>", from.domain());
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    let mut builder = Message::builder()
        .from(from.into())
        .subject(format!("[Ironhatch] {}", notice.title))
        .date(date)
        .message_id(Some(id))
        // RFC 3834: no out-of-office answers to this.
        .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
        .header(ContentType::TEXT_PLAIN);
    for to in &email.to {
        builder = builder.to(address(to)?.into());
    }
    builder.body(preset::letter(notice)).map_err(|e| e.to_string())
}

/// Where in the conversation it ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Tls,
    Login,
    Message,
    /// The message, to a server that was told a password.
    KnownMessage,
}

/// An error for people: the server's code and words, or what became of the connection.
fn words(error: &lettre::transport::smtp::Error, stage: Stage) -> String {
    let what = match stage {
        Stage::Greeting => "the mail server did not greet",
        Stage::Tls => "the connection could not be protected",
        Stage::Login => "the mail server did not accept the login",
        Stage::Message | Stage::KnownMessage => "the mail server did not take the message",
    };
    let said = outbound::cause(error);
    match error.status() {
        // Not its words: a hostile one could repeat what it was told.
        Some(code) if matches!(stage, Stage::Login | Stage::KnownMessage) => {
            format!("{what}: {code}")
        }
        Some(code) => format!("{what}: {code} {said}"),
        None => format!("{what}: {said}"),
    }
}

/// A connection on which a server can say so much and no more.
#[derive(Debug)]
struct Bounded<S> {
    inner: S,
    peer: SocketAddr,
    left: usize,
}

impl<S> AsyncTokioStream for Bounded<S>
where
    S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug,
{
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("it says more than any mail server does")));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.left = self.left.saturating_sub(buf.filled().len().saturating_sub(before));
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod test {
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::golden::assert_golden;
    use crate::plan::notice::Place;

    fn email() -> Email {
        Email {
            host: "smtp.example.net".to_owned(),
            port: 587,
            tls: MailTls::StartTls,
            login: None,
            from: "ironhatch@example.net".to_owned(),
            to: vec!["ops@example.net".to_owned(), "night@example.org".to_owned()],
        }
    }

    #[test]
    fn a_message_says_what_where_and_what_to_do() {
        let place = Place { at: Timestamp(0), public_url: "http://192.0.2.10:8080" };
        let date = SystemTime::UNIX_EPOCH;
        let message = message(&email(), &place.test(), "ironhatch-1-test", date).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        assert_golden("notices/message.eml", &text.replace("\r\n", "\n"));
    }

    #[test]
    fn no_title_makes_another_header() {
        let place = Place { at: Timestamp(0), public_url: "http://192.0.2.10:8080" };
        let mut notice = place.test();
        notice.title = "x\r\nBcc: thief@example.com\r\n\r\nä".to_owned();
        let message = message(&email(), &notice, "k", SystemTime::UNIX_EPOCH).unwrap();
        let text = String::from_utf8(message.formatted()).unwrap();
        assert!(!text.contains("\r\nBcc:"), "{text}");
        assert_eq!(message.envelope().to().len(), 2);
    }

    #[tokio::test]
    async fn a_server_that_never_stops_is_cut_off() {
        let peer = SocketAddr::from(([192, 0, 2, 1], 25));
        let mut stream = Bounded { inner: tokio::io::repeat(b'2'), peer, left: 1000 };
        let mut heard = Vec::new();
        let end = stream.read_to_end(&mut heard).await;
        assert!(end.is_err() && heard.len() < 100_000, "{} bytes", heard.len());
    }
}
