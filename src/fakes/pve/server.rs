//! Sockets, TLS and HTTP of the double's nodes, with the refusals of the real server's HTTP layer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::format::Place;
use super::route::{self, Raw};
use super::world::{Outcome, Refusal, World};
use super::{Script, Seen};
use crate::proto::pve::encode;
use crate::proto::pve::value;

/// One node's server.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    name: String,
    tls: Arc<Mutex<Arc<ServerConfig>>>,
}

impl Listener {
    /// Binds an address, or a port of loopback. Gives the certificate's fingerprint and its PEM form too.
    pub(super) async fn bind(
        name: &str,
        at: Option<SocketAddr>,
    ) -> ((Self, TcpListener, SocketAddr), [u8; 32], String) {
        let at = at.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let socket = TcpListener::bind(at).await.expect("the address is free");
        let address = socket.local_addr().expect("a bound socket has an address");
        let (config, fingerprint, pem) = certificate(name);
        let tls = Arc::new(Mutex::new(Arc::new(config)));
        ((Self { name: name.to_owned(), tls }, socket, address), fingerprint, pem)
    }

    /// Takes another certificate for connections from now on.
    pub(super) fn renew(&self, name: &str) -> [u8; 32] {
        let (config, fingerprint, _) = certificate(name);
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        fingerprint
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self, socket: TcpListener, world: Arc<Mutex<World>>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = socket.accept() => {
                    let Ok((stream, _)) = accepted else { return };
                    let up = world.lock().unwrap_or_else(PoisonError::into_inner).is_up(&self.name);
                    if up {
                        connections.spawn(self.clone().connection(stream, Arc::clone(&world)));
                    }
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn connection(self, stream: TcpStream, world: Arc<Mutex<World>>) {
        let tls = Arc::clone(&self.tls.lock().unwrap_or_else(PoisonError::into_inner));
        let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
        let service = service_fn(|request| respond(&self.name, &world, request));
        let http = hyper::server::conn::http1::Builder::new();
        // A dropped connection is an error here, and is what a test asked for.
        let _ = http.serve_connection(TokioIo::new(stream), service).await;
    }
}

fn certificate(name: &str) -> (ServerConfig, [u8; 32], String) {
    let names = vec![name.to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("names are valid");
    let fingerprint = Sha256::digest(made.cert.der()).into();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("the key belongs to the certificate");
    (config, fingerprint, made.cert.pem())
}

/// Ends a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is closed because a test asked for it")]
pub(super) struct Dropped;

/// Answers one request that reached a node which is up.
pub(super) async fn respond(
    member: &str,
    world: &Mutex<World>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Dropped> {
    let (head, body) = request.into_parts();
    let method = head.method.as_str().to_owned();
    let length =
        head.headers.get(CONTENT_LENGTH).and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
    if !matches!(method.as_str(), "GET" | "POST" | "PUT" | "DELETE") {
        return Ok(bare(501, &format!("method '{method}' not available")));
    }
    if head.headers.contains_key(TRANSFER_ENCODING) {
        note(world, format!("{method} {}: a chunked body", head.uri.path()));
        return Ok(bare(501, "chunked transfer encoding not supported"));
    }
    if matches!(method.as_str(), "GET" | "DELETE") && length.unwrap_or(0) > 0 {
        note(world, format!("{method} {}: a body", head.uri.path()));
        return Ok(bare(501, &format!("Unexpected content for method '{method}'")));
    }
    if head.headers.contains_key(COOKIE) {
        note(world, format!("{method} {}: a cookie, where a token was expected", head.uri.path()));
    }
    let Ok(body) = body.collect().await else { return Err(Dropped) };
    let header = |name| head.headers.get(name).and_then(|h| h.to_str().ok()).map(str::to_owned);
    let path = head.uri.path().strip_prefix("/api2/json").unwrap_or_default();
    let Some(path) = encode::decode(path) else { return Ok(bare(400, "bad request")) };
    let query = encode::read_pairs(head.uri.query().unwrap_or_default());
    let kind = header(CONTENT_TYPE);
    let (params, place) = match read_body(kind.as_deref(), &body.to_bytes()) {
        Ok(read) => read,
        Err((status, reason)) => return Ok(bare(status, &reason)),
    };
    let Some(mut all) = query else { return Ok(bare(400, "bad request")) };
    all.extend(params);
    let authorization = header(AUTHORIZATION);
    let raw = Raw { method, path, params: all, place, authorization };
    let (outcome, older, delay) = {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = carry_out(&mut world, member, &raw)?;
        (outcome, world.is_older_than(8, 3), world.denied_delay)
    };
    let outcome = match outcome {
        Done::Answered(outcome) => outcome,
        Done::Scripted(status, reason) => return Ok(bare(status, &reason)),
    };
    if matches!(&outcome, Err(refusal) if refusal.status == 401) {
        tokio::time::sleep(delay).await;
    }
    Ok(written(outcome, older))
}

enum Done {
    Answered(Outcome),
    Scripted(u16, String),
}

fn carry_out(world: &mut World, member: &str, raw: &Raw) -> Result<Done, Dropped> {
    world.settle();
    let fits = |s: &super::Scripted| s.method == raw.method && raw.path.contains(&s.path);
    let at = world.scripts.iter().position(fits);
    let script = at.and_then(|at| world.scripts.remove(at)).map(|s| s.what);
    let done = match &script {
        Some(Script::Answer(status, reason)) => Done::Scripted(*status, reason.clone()),
        _ => Done::Answered(route::answer(world, raw)),
    };
    let status = match &done {
        Done::Answered(Ok(_)) => 200,
        Done::Answered(Err(refusal)) => refusal.status,
        Done::Scripted(status, _) => *status,
    };
    world.seen.push(Seen {
        member: member.to_owned(),
        method: raw.method.clone(),
        path: raw.path.clone(),
        params: raw.params.iter().cloned().collect::<BTreeMap<_, _>>(),
        status,
    });
    match script {
        Some(Script::Dropped) => Err(Dropped),
        _ => Ok(done),
    }
}

fn note(world: &Mutex<World>, problem: String) {
    world.lock().unwrap_or_else(PoisonError::into_inner).problems.push(problem);
}

type Params = Vec<(String, String)>;

fn read_body(kind: Option<&str>, body: &[u8]) -> Result<(Params, Place), (u16, String)> {
    if body.is_empty() {
        return Ok((Vec::new(), Place::Form));
    }
    match kind.and_then(|k| k.split(';').next()).unwrap_or_default() {
        "application/x-www-form-urlencoded" => {
            let text = std::str::from_utf8(body).ok().and_then(encode::read_pairs);
            text.map(|pairs| (pairs, Place::Form)).ok_or((400, "bad request".to_owned()))
        }
        "application/json" => {
            let json: Value = serde_json::from_slice(body)
                .map_err(|_| (500, "malformed JSON string".to_owned()))?;
            let members = json.as_object().into_iter().flatten();
            let text = |v: &Value| match v {
                Value::Bool(flag) => flag.to_string(),
                _ => value::text(v).unwrap_or_default(),
            };
            Ok((members.map(|(k, v)| (k.clone(), text(v))).collect(), Place::Json))
        }
        other => Err((506, format!("upload 'Content-Type '{other}' not implemented"))),
    }
}

/// An answer with an empty body.
fn bare(status: u16, reason: &str) -> Response<Full<Bytes>> {
    response(status, reason, String::new())
}

fn written(outcome: Outcome, older: bool) -> Response<Full<Bytes>> {
    match outcome {
        Ok(data) => response(200, "OK", json!({ "data": data }).to_string()),
        // These two come without a body.
        Err(Refusal { status: status @ (401 | 595..=599), text, .. }) => bare(status, &text),
        Err(refusal) => {
            let mut body = json!({ "data": null });
            if !older {
                body["message"] = json!(format!("{}\n", refusal.text));
            }
            if !refusal.errors.is_empty() {
                body["errors"] = json!(refusal.errors);
            }
            response(refusal.status, &refusal.text, body.to_string())
        }
    }
}

fn response(status: u16, reason: &str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    let line = reason.lines().next().unwrap_or_default();
    if let Ok(reason) = ReasonPhrase::try_from(line.as_bytes().to_vec()) {
        response.extensions_mut().insert(reason);
    }
    let json = hyper::header::HeaderValue::from_static("application/json;charset=UTF-8");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
