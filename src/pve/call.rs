//! One call: its parameters in the place where the server reads them, the member that is asked, and what is repeated.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use serde_json::Value;
use zeroize::Zeroize as _;

use super::error::{Call, PveError};
use super::wire::{self, Answer, Failure};
use super::{ApiToken, Cluster, Member};
use crate::domain::fault::ErrorClass;
use crate::domain::fingerprint::Fingerprint;
use crate::domain::id::NodeName;
use crate::domain::vmid::Vmid;
use crate::proto::pve::{Complaint, Upid, encode};

/// A request before it is known which member gets it.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    method: Method,
    path: String,
    params: Vec<(String, String)>,
    /// The node that the path names.
    node: Option<String>,
}

impl Ask {
    fn new(method: Method, path: &[&str]) -> Self {
        let node = match path {
            ["nodes", node, ..] => Some((*node).to_owned()),
            _ => None,
        };
        let segments: String = path.iter().map(|s| format!("/{}", encode::segment(s))).collect();
        Self { method, path: segments, params: Vec::new(), node }
    }

    /// A read of the resource with these path segments.
    pub(super) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }
    /// A call.
    pub(super) fn post(path: &[&str]) -> Self {
        Self::new(Method::POST, path)
    }
    /// A change.
    pub(super) fn put(path: &[&str]) -> Self {
        Self::new(Method::PUT, path)
    }
    /// A removal.
    pub(super) fn delete(path: &[&str]) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// The same with one more parameter.
    pub(super) fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.params.push((key.to_owned(), value.to_string()));
        self
    }

    /// The same with a boolean; forms know 1 and 0 only.
    pub(super) fn flag(self, key: &str, value: bool) -> Self {
        self.with(key, u8::from(value))
    }

    /// The same with one more parameter when there is a value.
    pub(super) fn with_some(self, key: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    fn is_read(&self) -> bool {
        self.method == Method::GET
    }

    fn call(&self, member: &Member, status: Option<u16>) -> Call {
        let method = match self.method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            _ => "DELETE",
        };
        Call { member: member.name.clone(), method, path: self.path.clone(), status }
    }

    /// The request as a member gets it. Reads and removals have their parameters in the query: a body there is refused.
    fn request(
        &self,
        member: &Member,
        token: &ApiToken,
    ) -> Result<hyper::Request<Full<Bytes>>, hyper::http::Error> {
        let params = self.params.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let text = encode::pairs(params);
        let has_body = self.method == Method::POST || self.method == Method::PUT;
        let query = if has_body || text.is_empty() { String::new() } else { format!("?{text}") };
        let mut request = hyper::Request::builder()
            .method(self.method.clone())
            .uri(format!("/api2/json{}{query}", self.path))
            .header(HOST, member.address.to_string())
            .header(AUTHORIZATION, authorization(token)?)
            .header("accept", "application/json")
            .header("connection", "close");
        let mut body = Bytes::new();
        if has_body {
            body = Bytes::from(text);
            request = request
                .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(CONTENT_LENGTH, body.len());
        }
        request.body(Full::new(body))
    }
}

/// Marked as sensitive, so that no debug output of headers shows it.
fn authorization(token: &ApiToken) -> Result<HeaderValue, hyper::http::Error> {
    let mut text = format!("PVEAPIToken={}={}", token.id, token.secret.expose());
    let value = HeaderValue::from_str(&text);
    text.zeroize();
    let mut value = value?;
    value.set_sensitive(true);
    Ok(value)
}

/// What one try at one member came to.
pub(super) enum Try {
    /// The call is over.
    Over(Result<(Value, Call), PveError>),
    /// Another member, or another round, may do better.
    Next(PveError),
}

impl Cluster {
    /// Makes a call and gives the `data` of its answer.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Value, PveError> {
        self.ask_at(ask).await.map(|(data, _)| data)
    }

    /// Makes a call that starts a task.
    pub(super) async fn ask_task(&self, ask: Ask) -> Result<Upid, PveError> {
        let (data, call) = self.ask_at(ask).await?;
        // Carried out, but as what?
        upid(&data).ok_or_else(|| PveError::Unknown {
            call: Box::new(call),
            message: "a task's name was expected".to_owned(),
        })
    }

    /// Makes a read and gives its rows, each through `read`; rows that it gives `None` for are left out.
    pub(super) async fn ask_rows<T>(
        &self,
        ask: Ask,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, PveError> {
        let (data, call) = self.ask_at(ask).await?;
        match data.as_array() {
            Some(rows) => Ok(rows.iter().filter_map(read).collect()),
            None => Err(unreadable(call, "a list was expected")),
        }
    }

    /// Makes a read and gives what `read` makes of it.
    pub(super) async fn ask_one<T>(
        &self,
        ask: Ask,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<T, PveError> {
        let (data, call) = self.ask_at(ask).await?;
        read(&data).ok_or_else(|| unreadable(call, "it has another form"))
    }

    async fn ask_at(&self, ask: Ask) -> Result<(Value, Call), PveError> {
        let limits = self.inner.limits;
        let rounds = if ask.is_read() { limits.rounds } else { 1 };
        let mut pause = limits.pause;
        let mut failed = None;
        for round in 0..rounds {
            if round > 0 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            match self.ask_members(&ask).await {
                Ok(answer) => return answer,
                Err(error) => {
                    let is_final = error.class() != ErrorClass::Transient;
                    failed = Some(error);
                    if is_final {
                        break;
                    }
                }
            }
        }
        Err(failed.unwrap_or_else(|| PveError::Unreachable { detail: "none is known".to_owned() }))
    }

    /// Asks one member after the other. An error: none of them did better.
    async fn ask_members(&self, ask: &Ask) -> Result<Result<(Value, Call), PveError>, PveError> {
        let mut unreachable = Vec::new();
        let mut failed: Option<PveError> = None;
        for index in self.order(ask.node.as_deref()) {
            let Some(member) = self.inner.members.get(index) else { continue };
            match self.try_member(ask, member).await {
                Try::Over(result) => {
                    self.inner.answered.store(index, Ordering::Relaxed);
                    return Ok(result);
                }
                Try::Next(PveError::Unreachable { detail }) => unreachable.push(detail),
                // A wrong certificate needs a person; it must not hide behind what another member says.
                Try::Next(error) => {
                    if !matches!(failed, Some(PveError::Certificate { .. })) {
                        failed = Some(error);
                    }
                }
            }
        }
        Err(failed.unwrap_or_else(|| PveError::Unreachable { detail: unreachable.join("; ") }))
    }

    async fn try_member(&self, ask: &Ask, member: &Member) -> Try {
        let request = match ask.request(member, &self.inner.token) {
            Ok(request) => request,
            Err(error) => {
                return Try::Over(Err(PveError::Unsendable { message: error.to_string() }));
            }
        };
        match wire::exchange(&self.inner, member, request).await {
            Ok(answer) => judge(ask, member, answer),
            Err(Failure::NotSent(why)) => Try::Next(PveError::Unreachable {
                detail: format!("{} ({}): {why}", member.name, member.address),
            }),
            Err(Failure::Certificate { seen }) => Try::Next(PveError::Certificate {
                member: member.name.clone(),
                seen: Fingerprint(seen).to_string(),
                expected: Fingerprint(member.fingerprint).to_string(),
            }),
            Err(Failure::Lost(message)) => lost(ask, ask.call(member, None), message),
            Err(Failure::TooLong) => {
                garbled(ask, ask.call(member, None), "the answer is longer than allowed")
            }
        }
    }
}

pub(super) fn judge(ask: &Ask, member: &Member, answer: Answer) -> Try {
    let call = ask.call(member, Some(answer.status));
    if (200..300).contains(&answer.status) {
        let json: Result<Value, _> = serde_json::from_slice(&answer.body);
        return match json {
            Ok(Value::Object(mut envelope)) if envelope.contains_key("data") => {
                Try::Over(Ok((envelope.remove("data").unwrap_or_default(), call)))
            }
            Ok(_) => garbled(ask, call, "the answer has no data"),
            Err(error) => garbled(ask, call, &format!("the answer is no JSON: {error}")),
        };
    }
    let (complaint, message) = Complaint::read(answer.status, &answer.reason, &answer.body);
    match complaint {
        Complaint::Interrupted => lost(ask, call, message),
        Complaint::NotConnected => Try::Next(PveError::refused(call, complaint, message)),
        _ => Try::Over(Err(PveError::refused(call, complaint, message))),
    }
}

/// The request arrived perhaps. A read can simply be repeated.
fn lost(ask: &Ask, call: Call, message: String) -> Try {
    if ask.is_read() {
        Try::Next(PveError::refused(call, Complaint::Interrupted, message))
    } else {
        Try::Over(Err(PveError::Unknown { call: Box::new(call), message }))
    }
}

/// An answer came that cannot be read; a change was probably made.
fn garbled(ask: &Ask, call: Call, message: &str) -> Try {
    Try::Over(Err(if ask.is_read() {
        unreadable(call, message)
    } else {
        PveError::Unknown { call: Box::new(call), message: message.to_owned() }
    }))
}

fn unreadable(call: Call, message: &str) -> PveError {
    PveError::Unreadable { call: Box::new(call), message: message.to_owned() }
}

/// A task's name in an answer.
pub(super) fn upid(data: &Value) -> Option<Upid> {
    data.as_str()?.parse().ok()
}

/// Path of a container, with more segments behind.
pub(super) fn container<'a>(node: &'a NodeName, vmid: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut path = vec!["nodes", node.as_str(), "lxc", vmid];
    path.extend_from_slice(more);
    path
}

/// A guest's number as a path segment.
pub(super) fn number(vmid: Vmid) -> String {
    vmid.to_string()
}
