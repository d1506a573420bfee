//! HTTP/1.1 to the appliance, over its control socket or over TCP.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use super::{Reach, exit};

/// Longest time for one request. Long work is a job, so nothing takes long; a backup copies the database.
const PATIENCE: Duration = Duration::from_secs(120);
/// Largest answer that is read.
const MOST_ANSWER: usize = 64 << 20;

/// Why a command did not get an answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("the appliance cannot be reached at {place}: {reason}")]
    Unreachable {
        /// Socket or address.
        place: String,
        /// What the system says.
        reason: String,
    },
    /// The connection broke in the middle, or the answer makes no sense.
    #[error("the appliance gave no usable answer: {0}")]
    Broken(String),
    /// The arguments cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The appliance refused.
    #[error("{detail}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What happened.
        detail: String,
        /// What to do.
        hint: String,
        /// The whole problem document.
        problem: Value,
    },
}

impl ClientError {
    /// The exit code of this error; see [`exit`].
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } => exit::UNREACHABLE,
            Self::Broken(_) => exit::FAILED,
            Self::Usage(_) => exit::USAGE,
            Self::Refused { status: 404, .. } => exit::NOT_FOUND,
            Self::Refused { status, .. } if *status >= 500 => exit::FAILED,
            Self::Refused { .. } => exit::REFUSED,
        }
    }
}

#[derive(Debug, Clone)]
enum Place {
    Socket(PathBuf),
    Tcp(String),
}

/// A way to the appliance. Each request is a connection of its own: they are few.
#[derive(Debug)]
pub(super) struct Client {
    place: Place,
    /// Cookie and form token of a login over TCP.
    login: Option<(String, String)>,
    /// API token, as the header that carries it.
    token: Option<header::HeaderValue>,
}

impl Client {
    /// Finds the appliance; over TCP also logs in.
    pub(super) async fn connect(reach: &Reach, data_dir: &Path) -> Result<Self, ClientError> {
        let Some(url) = &reach.url else {
            let socket = reach.socket.clone().unwrap_or_else(|| data_dir.join("control.sock"));
            return Ok(Self { place: Place::Socket(socket), login: None, token: None });
        };
        let address = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
        let address = address.filter(|a| !a.is_empty() && !a.contains('/')).ok_or_else(|| {
            ClientError::Usage(format!("'{url}' is not an address like http://192.0.2.10:8080"))
        })?;
        let port = if address.contains(':') { "" } else { ":80" };
        let place = Place::Tcp(format!("{address}{port}"));
        let mut client = Self { place, login: None, token: None };
        if let Ok(token) = std::env::var("IRONHATCH_TOKEN") {
            let mut value =
                header::HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
                    ClientError::Usage("IRONHATCH_TOKEN does not hold a token".to_owned())
                })?;
            value.set_sensitive(true);
            client.token = Some(value);
            return Ok(client);
        }
        let password = std::env::var("IRONHATCH_PASSWORD").map_err(|_| {
            ClientError::Usage(
                "put an API token into IRONHATCH_TOKEN, or a password into IRONHATCH_PASSWORD"
                    .to_owned(),
            )
        })?;
        client.log_in(&password).await?;
        Ok(client)
    }

    fn shown(&self) -> String {
        match &self.place {
            Place::Socket(path) => path.display().to_string(),
            Place::Tcp(address) => address.clone(),
        }
    }

    async fn log_in(&mut self, password: &str) -> Result<(), ClientError> {
        let escaped = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
        let encoded = escaped(password);
        let name = escaped(&std::env::var("IRONHATCH_ACCOUNT").unwrap_or_default());
        let request = Request::builder()
            .method(Method::POST)
            .uri("/login")
            .header(header::HOST, self.shown())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(format!("username={name}&password={encoded}")))
            .map_err(|e| ClientError::Broken(e.to_string()))?;
        let (parts, _) = self.exchange(request).await?;
        let cookie = parts.headers.get(header::SET_COOKIE).and_then(|v| v.to_str().ok());
        let cookie = cookie.and_then(|v| v.split(';').next()).filter(|c| c.contains('='));
        let Some(cookie) = cookie else {
            return Err(ClientError::Refused {
                status: parts.status.as_u16(),
                detail: "the login was refused".to_owned(),
                hint: "check IRONHATCH_PASSWORD; after many wrong ones wait a minute".to_owned(),
                problem: Value::Null,
            });
        };
        self.login = Some((cookie.to_owned(), String::new()));
        let session = self.get("/api/session").await?;
        let token = session.get("csrf").and_then(Value::as_str).unwrap_or_default().to_owned();
        if let Some((_, known)) = &mut self.login {
            *known = token;
        }
        Ok(())
    }

    /// Reads.
    pub(super) async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.send(Method::GET, path, None).await
    }

    /// Changes.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let text = body.map(Value::to_string).unwrap_or_default();
        let request = self.request(method, path, text)?;
        let (parts, bytes) = self.exchange(request).await?;
        answer(parts.status, &bytes)
    }

    /// Reads what is no JSON: a download.
    pub(super) async fn fetch(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        let (parts, bytes) = self.exchange(self.request(Method::GET, path, String::new())?).await?;
        match parts.status.is_success() {
            true => Ok(bytes.to_vec()),
            false => Err(answer(parts.status, &bytes).err().unwrap_or_else(|| {
                ClientError::Broken(format!("the appliance answered {}", parts.status))
            })),
        }
    }

    /// Sends a form as a browser does; only a redirect tells that it was taken.
    pub(super) async fn post_form(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<(), ClientError> {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(fields);
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, "ironhatch")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form.finish()))
            .map_err(|e| ClientError::Usage(e.to_string()))?;
        let (parts, _) = self.exchange(request).await?;
        match parts.status.is_redirection() {
            true => Ok(()),
            false => Err(ClientError::Broken(format!("{path} answered {}", parts.status))),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "ironhatch")
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if let Some((cookie, token)) = &self.login {
            request = request.header(header::COOKIE, cookie).header("x-csrf-token", token);
        }
        request.body(Full::from(body)).map_err(|e| ClientError::Usage(e.to_string()))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(hyper::http::response::Parts, Bytes), ClientError> {
        let unreachable = |e: std::io::Error| ClientError::Unreachable {
            place: self.shown(),
            reason: e.to_string(),
        };
        let exchange = async {
            match &self.place {
                Place::Socket(path) => {
                    let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                    over(TokioIo::new(stream), request).await
                }
                Place::Tcp(address) => {
                    let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                    over(TokioIo::new(stream), request).await
                }
            }
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or_else(|_| {
            Err(ClientError::Broken(format!("nothing came within {} s", PATIENCE.as_secs())))
        })
    }
}

/// One request on a fresh connection.
async fn over<S>(
    stream: TokioIo<S>,
    request: Request<Full<Bytes>>,
) -> Result<(hyper::http::response::Parts, Bytes), ClientError>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let broken = |e: hyper::Error| ClientError::Broken(e.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(broken)?;
    let talk = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MOST_ANSWER).collect().await;
        let bytes = body.map_err(|e| ClientError::Broken(e.to_string()))?.to_bytes();
        Ok((parts, bytes))
    };
    tokio::pin!(talk);
    tokio::pin!(connection);
    // The connection is driven beside the exchange; whichever fails first ends it.
    tokio::select! {
        done = &mut talk => done,
        closed = &mut connection => match closed {
            Ok(()) => talk.await,
            Err(error) => Err(broken(error)),
        },
    }
}

fn answer(status: StatusCode, bytes: &Bytes) -> Result<Value, ClientError> {
    let value: Value = if bytes.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(bytes).unwrap_or(Value::Null)
    };
    if status.is_success() {
        return Ok(value);
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let detail = match text("detail") {
        detail if detail.is_empty() => format!("the appliance answered {status}"),
        detail => detail,
    };
    let hint = text("hint");
    Err(ClientError::Refused { status: status.as_u16(), detail, hint, problem: value })
}
