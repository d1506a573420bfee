//! Talks to a management controller over Redfish.
//!
//! ```text
//!  GET /redfish/v1/ ── sessions? ─ yes ─> POST Sessions ──> X-Auth-Token ─┐
//!        (no login)               └ no ──> Basic on each request ─────────┤
//!                                                                         v
//!              GET Systems, GET each ──> the host's ──> PATCH Boot (If-Match), POST Reset ──> DELETE session
//! ```
//!
//! Each request has a connection of its own: controllers close kept ones without a word.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, ETAG, HOST, HeaderValue, IF_MATCH, LOCATION};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::Zeroizing;

use super::{Order, Outcome, PowerError, Target};
use crate::domain::fingerprint::Fingerprint;
use crate::domain::identity::DmiUuid;
use crate::domain::power::{PowerState, Redfish};
use crate::limits::power::{CONTROLLER_ANSWER, CONTROLLER_BYTES, CONTROLLER_CONNECT};
use crate::outbound::{cause, pinned};
use crate::proto::redfish::{self, Link, ROOT, System};

/// The header of a session's token (DSP0266 section 13.3.4).
const TOKEN: &str = "x-auth-token";

pub(super) async fn order(
    at: &Redfish,
    target: &Target,
    order: Order,
) -> Result<Outcome, PowerError> {
    let Some(trusted) = at.fingerprint else {
        let shown = certificate(at.address).await?;
        return Err(PowerError::Untrusted { at: name(at.address), shown });
    };
    let mut session = Session::open(at, trusted, target).await?;
    let outcome = carry_out(&session, at, target, order).await;
    session.close().await;
    outcome
}

async fn carry_out(
    session: &Session,
    at: &Redfish,
    target: &Target,
    order: Order,
) -> Result<Outcome, PowerError> {
    let (link, system) = session.system(at, target).await?;
    match order {
        Order::Look => {
            let named = if system.name.is_empty() { link.name() } else { system.name.as_str() };
            let said = format!("{named}: the power is {}", system.state.as_str());
            Ok(Outcome { state: system.state, said })
        }
        Order::BootOnce => {
            let change =
                redfish::boot_once(&system, at.mode).map_err(|reason| session.refused(reason))?;
            session.patch(&link, system.etag.as_deref(), &change).await?;
            Ok(Outcome { state: system.state, said: "the next boot is a network boot".to_owned() })
        }
        Order::Switch(action) => {
            let kind =
                redfish::reset_type(&system, action).map_err(|reason| session.refused(reason))?;
            let reset = system.reset.ok_or_else(|| {
                session.refused("it offers no way to switch the machine".to_owned())
            })?;
            let body = json!({ "ResetType": kind });
            session
                .send(Method::POST, reset.as_str(), Some(&body), None)
                .await?
                .accepted(session)?;
            let said = format!("the controller took \"{kind}\"");
            Ok(Outcome { state: PowerState::Unknown, said })
        }
    }
}

/// The certificate that a controller shows. Nothing but a TLS greeting is sent.
pub(super) async fn certificate(at: SocketAddr) -> Result<Fingerprint, PowerError> {
    // No certificate has this digest, so the connection ends with what was shown.
    match connect(at, Fingerprint([0; 32])).await {
        Err(PowerError::Certificate { shown, .. }) => Ok(shown),
        Err(error) => Err(error),
        Ok(_) => Err(PowerError::Unreachable {
            at: name(at),
            reason: "it showed no certificate".to_owned(),
        }),
    }
}

fn name(at: SocketAddr) -> String {
    format!("the controller {at}")
}

/// How requests say who we are.
enum Login {
    /// Not yet, or no more.
    Nobody,
    /// A session: its token, and where it is ended.
    Token(HeaderValue, Option<Link>),
    /// User and password each time.
    Basic(HeaderValue),
}

struct Session {
    address: SocketAddr,
    trusted: Fingerprint,
    login: Login,
    systems: Link,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn accepted(self, session: &Session) -> Result<Self, PowerError> {
        let said = || match redfish::complaint(&self.body) {
            said if said.is_empty() => format!("status {}", self.status),
            said => format!("{said} (status {})", self.status),
        };
        let at = name(session.address);
        match self.status {
            200..=204 => Ok(self),
            401 | 403 => Err(PowerError::Login { at, reason: said() }),
            _ => Err(PowerError::Refused { at, reason: said() }),
        }
    }

    fn document(self, session: &Session) -> Result<Value, PowerError> {
        let answer = self.accepted(session)?;
        serde_json::from_slice(&answer.body)
            .map_err(|_| session.refused("its answer is no JSON document".to_owned()))
    }
}

impl Session {
    async fn open(at: &Redfish, trusted: Fingerprint, target: &Target) -> Result<Self, PowerError> {
        let systems = Link::parse(ROOT).ok_or_else(|| PowerError::Cannot("no root".to_owned()))?;
        let mut session = Self { address: at.address, trusted, login: Login::Nobody, systems };
        let password = target.password.as_ref().map_or("", |p| p.expose().as_str());
        let basic = basic(&at.user, password)?;
        // Some controllers ask for a login here already, against the standard.
        let mut first = session.send(Method::GET, ROOT, None, None).await?;
        if first.status == 401 {
            session.login = Login::Basic(basic.clone());
            first = session.send(Method::GET, ROOT, None, None).await?;
        }
        let document = first.document(&session)?;
        let root = redfish::root(&document).map_err(|e| session.refused(e.to_string()))?;
        session.systems = root.systems;
        session.login = Login::Basic(basic);
        if let Some(sessions) = root.sessions {
            session.log_in(&sessions, &at.user, password).await?;
        }
        Ok(session)
    }

    /// Trades the password for a token, where sessions can be made.
    async fn log_in(
        &mut self,
        sessions: &Link,
        user: &str,
        password: &str,
    ) -> Result<(), PowerError> {
        let who = Zeroizing::new(json!({ "UserName": user, "Password": password }).to_string());
        let basic = std::mem::replace(&mut self.login, Login::Nobody);
        let body = Bytes::copy_from_slice(who.as_bytes());
        let answer = self.exchange(Method::POST, sessions.as_str(), body, None).await?;
        if matches!(answer.status, 404 | 405 | 501) {
            self.login = basic;
            return Ok(());
        }
        // A wrong password is 401 by the standard; older controllers say 400.
        if matches!(answer.status, 400 | 401 | 403) {
            let reason = match redfish::complaint(&answer.body) {
                said if said.is_empty() => format!("status {}", answer.status),
                said => said,
            };
            return Err(PowerError::Login { at: name(self.address), reason });
        }
        let answer = answer.accepted(self)?;
        let Some(token) = answer.headers.get(TOKEN) else {
            return Err(self.refused("it made a session without a token".to_owned()));
        };
        let mut token = token.clone();
        token.set_sensitive(true);
        let place =
            answer.headers.get(LOCATION).and_then(|l| l.to_str().ok()).and_then(Link::parse);
        self.login = Login::Token(token, place);
        Ok(())
    }

    /// Ends the session: controllers have room for a handful. One that cannot be ended runs out by itself.
    async fn close(&mut self) {
        if let Login::Token(_, Some(place)) = &self.login
            && let Err(error) = self.send(Method::DELETE, place.as_str(), None, None).await
        {
            tracing::debug!(%error, "a session at a controller was not ended");
        }
        self.login = Login::Nobody;
    }

    /// The host's system: the named one, the only one, or the one with its UUID.
    async fn system(&self, at: &Redfish, target: &Target) -> Result<(Link, System), PowerError> {
        let list =
            self.send(Method::GET, self.systems.as_str(), None, None).await?.document(self)?;
        let mut members = redfish::members(&list);
        if let Some(wanted) = &at.system {
            members.retain(|m| m.name() == wanted);
        }
        if let [only] = members.as_slice() {
            let system = self.read(only).await?;
            let is_other =
                |wanted: DmiUuid| system.uuid.is_some_and(|uuid| !uuid.is_same_machine(wanted));
            // A name was chosen by the operator; an address may be that of the machine beside it.
            if at.system.is_none() && target.uuid.is_some_and(is_other) {
                return Err(self.another_machine("its only system has another UUID than the host"));
            }
            self.refuse_own(&system, target)?;
            return Ok((only.clone(), system));
        }
        for member in &members {
            let system = self.read(member).await?;
            let both = system.uuid.zip(target.uuid);
            if both.is_some_and(|(uuid, wanted)| uuid.is_same_machine(wanted)) {
                self.refuse_own(&system, target)?;
                return Ok((member.clone(), system));
            }
        }
        let names: Vec<&str> = members.iter().map(Link::name).collect();
        let reason = match (&at.system, names.is_empty()) {
            (Some(wanted), true) => format!("it has no system '{wanted}'"),
            (_, true) => "it has no system".to_owned(),
            _ => format!(
                "it has several systems and none has the host's UUID; name one: {}",
                names.join(", ")
            ),
        };
        Err(PowerError::Cannot(format!("{}: {reason}", name(self.address))))
    }

    /// The appliance is not switched, whatever a host's settings say.
    fn refuse_own(&self, system: &System, target: &Target) -> Result<(), PowerError> {
        let is_own =
            system.uuid.zip(target.never).is_some_and(|(uuid, own)| uuid.is_same_machine(own));
        if is_own {
            return Err(self.another_machine("it is the machine that Ironhatch runs on"));
        }
        Ok(())
    }

    fn another_machine(&self, why: &str) -> PowerError {
        PowerError::Cannot(format!(
            "{} belongs to another machine: {why}; correct the controller's address",
            name(self.address)
        ))
    }

    async fn read(&self, link: &Link) -> Result<System, PowerError> {
        let answer = self.send(Method::GET, link.as_str(), None, None).await?;
        let header = answer.headers.get(ETAG).and_then(|e| e.to_str().ok()).and_then(redfish::etag);
        let mut system = redfish::system(&answer.document(self)?);
        system.etag = header.or(system.etag);
        Ok(system)
    }

    /// Changes a document, once more when somebody else changed it in between or when its version has to be named.
    async fn patch(
        &self,
        link: &Link,
        etag: Option<&str>,
        change: &Value,
    ) -> Result<(), PowerError> {
        let answer = self.send(Method::PATCH, link.as_str(), Some(change), etag).await?;
        if !matches!(answer.status, 412 | 428) {
            return answer.accepted(self).map(|_| ());
        }
        let fresh = self.read(link).await?.etag.unwrap_or_else(|| "*".to_owned());
        // QUIRK(weak-etag): If-Match compares strongly (RFC 9110 section 13.1.1), and controllers that only have weak
        // versions then take the same text as a strong one.
        let strong = fresh.strip_prefix("W/").unwrap_or(&fresh);
        self.send(Method::PATCH, link.as_str(), Some(change), Some(strong))
            .await?
            .accepted(self)
            .map(|_| ())
    }

    fn refused(&self, reason: String) -> PowerError {
        PowerError::Refused { at: name(self.address), reason }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        version: Option<&str>,
    ) -> Result<Answer, PowerError> {
        let body = body.map_or_else(Bytes::new, |b| Bytes::from(b.to_string()));
        self.exchange(method, path, body, version).await
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        version: Option<&str>,
    ) -> Result<Answer, PowerError> {
        let unreachable =
            |reason: String| PowerError::Unreachable { at: name(self.address), reason };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.address.to_string())
            .header("accept", "application/json")
            .header("odata-version", "4.0")
            .header("user-agent", "ironhatch")
            .header("connection", "close");
        request = match &self.login {
            Login::Nobody => request,
            Login::Token(token, _) => request.header(TOKEN, token.clone()),
            Login::Basic(basic) => request.header(AUTHORIZATION, basic.clone()),
        };
        if let Some(version) = version {
            request = request.header(IF_MATCH, version);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(body)).map_err(|e| unreachable(e.to_string()))?;
        let stream = connect(self.address, self.trusted).await?;
        let answer = async {
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let answer = async {
                let response = sender.send_request(request).await?;
                let (head, body) = response.into_parts();
                let body = Limited::new(body, CONTROLLER_BYTES).collect().await;
                Ok::<_, hyper::Error>((head, body))
            };
            // Beside what uses it, so that no task outlives the call.
            let mut connection = std::pin::pin!(connection);
            let mut answer = std::pin::pin!(answer);
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                _ = &mut connection => {}
            }
            answer.await
        };
        let answered = timeout(CONTROLLER_ANSWER, answer).await;
        let (head, body) = answered
            .map_err(|_| {
                unreachable(format!("no answer within {} s", CONTROLLER_ANSWER.as_secs()))
            })?
            .map_err(|e| unreachable(cause(&e)))?;
        let body = body.map_err(|e| unreachable(cause(e.as_ref())))?.to_bytes();
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
    }
}

/// Marked as sensitive, so that no debug output of headers shows it.
fn basic(user: &str, password: &str) -> Result<HeaderValue, PowerError> {
    let plain = Zeroizing::new(format!("{user}:{password}"));
    let text = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(plain.as_bytes())));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| PowerError::Cannot("the user cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn connect(at: SocketAddr, trusted: Fingerprint) -> Result<TlsStream<TcpStream>, PowerError> {
    let unreachable = |reason: String| PowerError::Unreachable { at: name(at), reason };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (config, seen) =
        pinned::config(&provider, trusted.0).map_err(|e| unreachable(e.to_string()))?;
    let connecting = async {
        let tcp = TcpStream::connect(at).await?;
        tcp.set_nodelay(true)?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::from(at.ip()), tcp).await
    };
    match timeout(CONTROLLER_CONNECT, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match seen.other() {
            Some(shown) => PowerError::Certificate { at: name(at), shown: Fingerprint(shown) },
            None => unreachable(error.to_string()),
        }),
        Err(_) => {
            Err(unreachable(format!("no connection within {} s", CONTROLLER_CONNECT.as_secs())))
        }
    }
}
