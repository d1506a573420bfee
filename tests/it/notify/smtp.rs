//! A strict mail server: each command must be the next one that RFC 5321, 3207 and 4954 allow, in the form they give it.
//! Whatever is not is written down as a fault.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub(crate) const USER: &str = "ironhatch";
pub(crate) const PASSWORD: &str = "planted-mail-word";
/// NUL, user, NUL, password.
pub(crate) const LOGIN_BASE64: &str = "AGlyb25oYXRjaABwbGFudGVkLW1haWwtd29yZA==";

/// How a server behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// Offers STARTTLS and takes nothing before it.
    StartTls,
    /// TLS from the first byte.
    Implicit,
    /// Offers neither TLS nor a login.
    Plain,
    /// As `StartTls`, but no login is good, and it repeats what it was told.
    RefusesLogin,
    /// Never ends its greeting.
    Endless,
}

/// One message that was taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Letter {
    pub(crate) logged_in: bool,
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) text: String,
}

#[derive(Default)]
struct Seen {
    letters: Vec<Letter>,
    faults: Vec<String>,
}

pub(crate) struct MailServer {
    seen: Arc<Mutex<Seen>>,
}

impl MailServer {
    pub(crate) fn listen(
        port: u16,
        certificate: &rcgen::CertifiedKey<rcgen::KeyPair>,
        greeting: Greeting,
    ) -> Self {
        let key = PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.cert.der().clone()], key.into())
            .unwrap();
        let tls = Arc::new(tls);
        let listener = TcpListener::bind(("192.0.2.10", port)).unwrap();
        let seen = Arc::<Mutex<Seen>>::default();
        let notes = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if let Err(fault) = serve(stream.unwrap(), &tls, greeting, &notes) {
                    notes.lock().unwrap().faults.push(fault);
                }
            }
        });
        Self { seen }
    }

    pub(crate) fn take(&self) -> Vec<Letter> {
        std::mem::take(&mut self.seen.lock().unwrap().letters)
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.seen.lock().unwrap().faults.clone()
    }
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// One line without its end, which must be CRLF; `None`: the other side is gone.
fn line(wire: &mut dyn Wire) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        match wire.read(&mut byte) {
            Ok(1) => bytes.push(byte[0]),
            _ if bytes.is_empty() => return Ok(None),
            _ => return Err(format!("a line without its end: {bytes:?}")),
        }
        if bytes.ends_with(b"\r\n") {
            bytes.truncate(bytes.len() - 2);
            let text = String::from_utf8(bytes).map_err(|_| "not text".to_owned())?;
            return Ok(Some(text));
        }
        if bytes.ends_with(b"\n") || bytes.len() > 1000 {
            return Err(format!("a line ends without CR, or not at all: {bytes:?}"));
        }
    }
}

fn say(wire: &mut dyn Wire, lines: &str) {
    for line in lines.lines() {
        let _ = write!(wire, "{line}\r\n");
    }
    let _ = wire.flush();
}

fn ehlo(wire: &mut dyn Wire, offers: &str) -> Result<bool, String> {
    match line(wire)? {
        None => Ok(false),
        Some(said) if said == "EHLO [192.0.2.10]" => {
            say(wire, offers);
            Ok(true)
        }
        Some(said) => Err(format!("EHLO with an address was expected: {said}")),
    }
}

const AFTER_TLS: &str = "250-mail.lab.test\n250-8BITMIME\n250 AUTH PLAIN";

fn serve(
    tcp: TcpStream,
    tls: &Arc<ServerConfig>,
    greeting: Greeting,
    seen: &Mutex<Seen>,
) -> Result<(), String> {
    let mut tcp = tcp;
    let over_tls = |tcp| StreamOwned::new(ServerConnection::new(Arc::clone(tls)).unwrap(), tcp);
    match greeting {
        Greeting::Endless => {
            let _ = tcp.write_all(b"220-");
            while tcp.write_all(&[b'x'; 4096]).is_ok() {}
            Ok(())
        }
        Greeting::Implicit => {
            let mut wire = over_tls(tcp);
            say(&mut wire, "220 mail.lab.test ESMTP");
            if ehlo(&mut wire, AFTER_TLS)? {
                letters(&mut wire, greeting, seen)?;
            }
            Ok(())
        }
        Greeting::Plain => {
            say(&mut tcp, "220 mail.lab.test ESMTP");
            if ehlo(&mut tcp, "250-mail.lab.test\n250 8BITMIME")? {
                letters(&mut tcp, greeting, seen)?;
            }
            Ok(())
        }
        Greeting::StartTls | Greeting::RefusesLogin => {
            say(&mut tcp, "220-mail.lab.test\n220 at your service");
            if !ehlo(&mut tcp, "250-mail.lab.test\n250 STARTTLS")? {
                return Ok(());
            }
            match line(&mut tcp)? {
                Some(said) if said == "STARTTLS" => say(&mut tcp, "220 go on"),
                other => return Err(format!("nothing may be said before STARTTLS: {other:?}")),
            }
            let mut wire = over_tls(tcp);
            // A client that does not trust us is gone now.
            if ehlo(&mut wire, AFTER_TLS)? {
                letters(&mut wire, greeting, seen)?;
            }
            Ok(())
        }
    }
}

/// Everything after the last EHLO.
fn letters(wire: &mut dyn Wire, greeting: Greeting, seen: &Mutex<Seen>) -> Result<(), String> {
    let mut letter = Letter::default();
    while let Some(said) = line(wire)? {
        let expects_login = greeting != Greeting::Plain && !letter.logged_in;
        if said == "QUIT" {
            say(wire, "221 bye");
            return Ok(());
        } else if expects_login {
            let Some(words) = said.strip_prefix("AUTH PLAIN ") else {
                return Err(format!("a login was expected: {said}"));
            };
            if greeting == Greeting::RefusesLogin {
                say(wire, &format!("535 {words} {PASSWORD} is not it"));
                continue;
            }
            if words != LOGIN_BASE64 {
                return Err(format!("another login: {words}"));
            }
            letter.logged_in = true;
            say(wire, "235 welcome");
        } else if let Some(from) = said.strip_prefix("MAIL FROM:<") {
            letter.from = from.split('>').next().unwrap().to_owned();
            say(wire, "250 ok");
        } else if let Some(to) = said.strip_prefix("RCPT TO:<") {
            if letter.from.is_empty() {
                return Err("a recipient before the sender".to_owned());
            }
            letter.to.push(to.trim_end_matches('>').to_owned());
            say(wire, "250 ok");
        } else if said == "DATA" {
            if letter.to.is_empty() {
                return Err("a message for nobody".to_owned());
            }
            say(wire, "354 go on");
            loop {
                let Some(text) = line(wire)? else { return Err("half a message".to_owned()) };
                if text == "." {
                    break;
                }
                letter.text += text.strip_prefix('.').unwrap_or(&text);
                letter.text += "\r\n";
            }
            let logged_in = letter.logged_in;
            seen.lock().unwrap().letters.push(std::mem::take(&mut letter));
            letter.logged_in = logged_in;
            say(wire, "250 taken");
        } else {
            return Err(format!("not a command that comes now: {said}"));
        }
    }
    Ok(())
}
