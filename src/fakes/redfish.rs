//! A management controller that speaks Redfish as the standard says (DSP0266 1.20) and forgives nothing.
//!
//! Logins by session only, few of them at a time; changes only with the document's version, compared strongly; a system is
//! switched only to where it is not. It has two systems, so that the right one has to be found.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Sessions at a time: as few as small controllers have.
const MOST_SESSIONS: usize = 4;
const SYSTEMS: &str = "/redfish/v1/Systems";
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// Who may do what, and what was done.
#[derive(Debug)]
pub struct Controller {
    user: String,
    password: String,
    /// The system that is switched.
    name: String,
    on: bool,
    version: u32,
    made: u32,
    sessions: Vec<(String, u32)>,
    changes: Vec<String>,
}

/// A status with a body.
struct Reply {
    status: u16,
    body: Value,
    headers: Vec<(&'static str, String)>,
}

impl Reply {
    fn ok(body: Value) -> Self {
        Self { status: 200, body, headers: Vec::new() }
    }

    fn refuse(status: u16, message: &str) -> Self {
        let body = json!({ "error": { "code": "Base.1.18.GeneralError", "message": "See @Message.ExtendedInfo.",
            "@Message.ExtendedInfo": [{ "Message": message }] } });
        Self { status, body, headers: Vec::new() }
    }

    fn with(mut self, header: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((header, value.into()));
        self
    }
}

impl Controller {
    /// A controller of a system of this name that is off.
    #[must_use]
    pub fn new(user: &str, password: &str, name: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            name: name.to_owned(),
            on: false,
            version: 1,
            made: 0,
            sessions: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// What was changed and switched, in order.
    #[must_use]
    pub fn changes(&self) -> Vec<String> {
        self.changes.clone()
    }

    /// Forgets what was changed.
    pub fn forget(&mut self) {
        self.changes.clear();
    }

    /// Logins that were not ended.
    #[must_use]
    pub fn open_sessions(&self) -> usize {
        self.sessions.len()
    }

    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        headers: &hyper::HeaderMap,
        body: &[u8],
    ) -> Reply {
        let header =
            |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let document: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
        if path == "/redfish/v1/" && method == Method::GET {
            return Reply::ok(json!({ "@odata.id": path, "Systems": { "@odata.id": SYSTEMS },
                "Links": { "Sessions": { "@odata.id": SESSIONS } } }));
        }
        if path == SESSIONS && method == Method::POST {
            return self.log_in(&document);
        }
        let token = header("x-auth-token");
        if token.is_empty() || !self.sessions.iter().any(|(known, _)| known == token) {
            return Reply::refuse(401, "There is no valid session established.");
        }
        if let Some(number) = path.strip_prefix(SESSIONS).and_then(|rest| rest.strip_prefix('/')) {
            let before = self.sessions.len();
            self.sessions.retain(|(_, n)| n.to_string() != number);
            let gone = method == Method::DELETE && self.sessions.len() < before;
            return if gone {
                Reply { status: 204, body: Value::Null, headers: Vec::new() }
            } else {
                Reply::refuse(404, "No such session.")
            };
        }
        let own = format!("{SYSTEMS}/{}", self.name);
        let reset = format!("{own}/Actions/ComputerSystem.Reset");
        match (method, path) {
            (&Method::GET, SYSTEMS) => Reply::ok(json!({ "Members": [
                { "@odata.id": format!("{SYSTEMS}/other") }, { "@odata.id": own } ] })),
            (&Method::GET, path) if path == own => {
                let etag = format!("W/\"{}\"", self.version);
                Reply::ok(self.system(&own, &reset)).with("etag", etag)
            }
            (&Method::GET, path) if path == format!("{SYSTEMS}/other") => {
                Reply::ok(json!({ "Id": "other", "PowerState": "On" }))
            }
            (&Method::PATCH, path) if path == own => self.patch(header("if-match"), &document),
            (&Method::POST, path) if path == reset => self.reset(&document),
            _ => Reply::refuse(404, "The resource was not found."),
        }
    }

    fn log_in(&mut self, who: &Value) -> Reply {
        if who["UserName"] != self.user.as_str() || who["Password"] != self.password.as_str() {
            return Reply::refuse(401, "Invalid user name or password.");
        }
        if self.sessions.len() >= MOST_SESSIONS {
            return Reply::refuse(503, "The maximum number of sessions is reached.");
        }
        self.made += 1;
        let token = format!("token-{}", self.made);
        self.sessions.push((token.clone(), self.made));
        let place = format!("{SESSIONS}/{}", self.made);
        Reply { status: 201, body: json!({ "@odata.id": place }), headers: Vec::new() }
            .with("x-auth-token", token)
            .with("location", place)
    }

    fn system(&self, own: &str, reset: &str) -> Value {
        json!({ "@odata.id": own, "Id": self.name, "Manufacturer": "Contoso", "Model": "3500",
            "PowerState": if self.on { "On" } else { "Off" },
            "Boot": { "BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None",
                "BootSourceOverrideMode": "UEFI",
                "BootSourceOverrideTarget@Redfish.AllowableValues": ["None", "Pxe", "Hdd"] },
            "Actions": { "#ComputerSystem.Reset": { "target": reset,
                "ResetType@Redfish.AllowableValues": ["On", "ForceOff", "GracefulShutdown", "ForceRestart"] } } })
    }

    fn patch(&mut self, version: &str, change: &Value) -> Reply {
        if version.is_empty() {
            return Reply::refuse(428, "If-Match is required.");
        }
        // Weak versions never match (RFC 9110 section 13.1.1).
        if version != format!("\"{}\"", self.version) {
            return Reply::refuse(412, "The ETag supplied did not match.");
        }
        let known =
            ["BootSourceOverrideEnabled", "BootSourceOverrideTarget", "BootSourceOverrideMode"];
        let boot =
            change["Boot"].as_object().filter(|_| change.as_object().is_some_and(|c| c.len() == 1));
        let Some(boot) = boot.filter(|b| b.keys().all(|key| known.contains(&key.as_str()))) else {
            return Reply::refuse(400, "The property is not known.");
        };
        let words: Vec<&str> = known.iter().filter_map(|key| boot.get(*key)?.as_str()).collect();
        self.changes.push(words.join(" "));
        self.version += 1;
        Reply { status: 204, body: Value::Null, headers: Vec::new() }
    }

    fn reset(&mut self, asked: &Value) -> Reply {
        let kind = asked["ResetType"].as_str().unwrap_or_default();
        match (kind, self.on) {
            ("On", false) => self.on = true,
            ("ForceOff" | "GracefulShutdown", true) => self.on = false,
            ("ForceRestart", true) => {}
            ("On" | "ForceOff" | "GracefulShutdown" | "ForceRestart", _) => {
                return Reply::refuse(
                    409,
                    "The operation is not possible in the current power state.",
                );
            }
            _ => return Reply::refuse(400, "The value is not in the list of acceptable values."),
        }
        self.version += 1;
        self.changes.push(kind.to_owned());
        Reply { status: 204, body: Value::Null, headers: Vec::new() }
    }
}

/// Serves it at an address until it is dropped.
///
/// # Errors
/// When the address is taken.
pub async fn serve(at: SocketAddr, controller: Arc<Mutex<Controller>>) -> std::io::Result<()> {
    let made = rcgen::generate_simple_self_signed(vec!["bmc".to_owned()])
        .expect("a certificate can be made");
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key fits");
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let socket = TcpListener::bind(at).await?;
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = socket.accept().await?;
        let (acceptor, controller) = (acceptor.clone(), Arc::clone(&controller));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(|request| respond(&controller, request));
            // A client that goes away is its own affair.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn respond(
    controller: &Mutex<Controller>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let reply = controller.lock().unwrap_or_else(PoisonError::into_inner).answer(
        &head.method,
        head.uri.path(),
        &head.headers,
        &body,
    );
    let mut response = Response::builder().status(reply.status).header("odata-version", "4.0");
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    let text = if reply.body.is_null() { String::new() } else { reply.body.to_string() };
    Ok(response.body(Full::new(Bytes::from(text))).expect("the headers are plain"))
}
