//! HTTP(S) to the outside world: names resolved without libc, the machine's own CA store, ring as the only crypto library.
//!
//! Used by image downloads, reporters and email. Connections to machines with pinned certificates are made where they are used;
//! [`pinned`] says whom they trust.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hickory_resolver::TokioResolver;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

pub(crate) mod pinned;

/// What an HTTP client of ours connects with.
pub type Connector = HttpsConnector<HttpConnector<Names>>;

/// A connector for `http` and `https`. Reads the CA store and the resolver's files: call it where blocking is allowed.
///
/// # Errors
/// When rustls cannot be set up.
pub fn connector(connect_timeout: Duration) -> Result<Connector, rustls::Error> {
    let tls = tls_config()?;
    let mut http = HttpConnector::new_with_resolver(Names::new());
    http.enforce_http(false);
    http.set_connect_timeout(Some(connect_timeout));
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(http))
}

/// TLS that trusts the machine's CA store. Reads it.
fn tls_config() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    // An unreadable store fails each https request with an unknown issuer; plain http needs none of it.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Connects to a host by name or address, for protocols other than HTTP. The caller sets the deadline.
///
/// # Errors
/// The name is not known, or no address of it lets us in.
pub(crate) async fn connect(host: &str, port: u16) -> Result<TcpStream, RequestError> {
    let found = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => Names::new().addresses(host).await.map_err(|e| {
            RequestError::Connection(format!("{host} is not found: {}", cause(&*e)))
        })?,
    };
    let mut last = RequestError::Connection(format!("{host} has no address"));
    for address in found {
        match TcpStream::connect((address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = RequestError::Connection(error.to_string()),
        }
    }
    Err(last)
}

/// TLS on a connection, with a certificate for this name that the machine's CA store vouches for.
///
/// # Errors
/// No such certificate, or no TLS.
pub(crate) async fn tls_over(
    stream: TcpStream,
    host: &str,
) -> Result<TlsStream<TcpStream>, RequestError> {
    let config = tokio::task::spawn_blocking(tls_config)
        .await
        .map_err(|e| RequestError::Connection(e.to_string()))??;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|e| RequestError::Malformed(e.to_string()))?;
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|e| RequestError::Connection(e.to_string()))
}

/// Why a request did not come to a good end; one line, without the URL's query.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The URL or a header cannot be sent.
    #[error("the request cannot be made: {0}")]
    Malformed(String),
    /// No TLS.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// Nobody answered in time.
    #[error("no answer within {0} s")]
    Timeout(u64),
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// The other side said no.
    #[error("the answer was status {0}")]
    Status(u16),
}

/// Sends a JSON document once. Any 2xx is success; redirects are not followed, a report goes where it was told to go.
///
/// # Errors
/// [`RequestError`].
pub async fn send_json(
    method: Method,
    url: &str,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
    timeout: Duration,
) -> Result<(), RequestError> {
    let mut request = Request::builder()
        .method(method)
        .uri(url)
        .header("content-type", "application/json")
        .header("user-agent", "ironhatch")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| RequestError::Malformed(e.to_string()))?;
    request.headers_mut().extend(headers);
    let status = send(request, timeout).await?;
    if (200..300).contains(&status) { Ok(()) } else { Err(RequestError::Status(status)) }
}

/// Asks for a page once and tells the status that it answers with; redirects are not followed, the body is not read.
///
/// # Errors
/// [`RequestError`], never its variant `Status`.
pub async fn status_of(url: &str, timeout: Duration) -> Result<u16, RequestError> {
    let request = Request::builder()
        .method(Method::GET)
        .uri(url)
        .header("user-agent", "ironhatch")
        .body(Full::default())
        .map_err(|e| RequestError::Malformed(e.to_string()))?;
    send(request, timeout).await
}

/// Fetches a document once, at most `most` bytes of it; redirects are not followed.
///
/// # Errors
/// [`RequestError`]; `Status` for any other than 200.
pub async fn fetch(
    method: Method,
    url: &str,
    timeout: Duration,
    most: usize,
) -> Result<(HeaderMap, Bytes), RequestError> {
    let request = Request::builder()
        .method(method)
        .uri(url)
        .header("user-agent", "ironhatch")
        .body(Full::default())
        .map_err(|e| RequestError::Malformed(e.to_string()))?;
    let whole = async {
        let response = exchange(request, timeout).await?;
        if response.status() != StatusCode::OK {
            return Err(RequestError::Status(response.status().as_u16()));
        }
        let (head, body) = response.into_parts();
        let body = Limited::new(body, most).collect().await;
        let body = body.map_err(|e| RequestError::Connection(e.to_string()))?;
        Ok((head.headers, body.to_bytes()))
    };
    tokio::time::timeout(timeout, whole)
        .await
        .unwrap_or_else(|_| Err(RequestError::Timeout(timeout.as_secs())))
}

async fn send(request: Request<Full<Bytes>>, timeout: Duration) -> Result<u16, RequestError> {
    Ok(exchange(request, timeout).await?.status().as_u16())
}

async fn exchange(
    request: Request<Full<Bytes>>,
    timeout: Duration,
) -> Result<Response<Incoming>, RequestError> {
    let connector = tokio::task::spawn_blocking(move || connector(timeout))
        .await
        .map_err(|e| RequestError::Connection(e.to_string()))??;
    let client: legacy::Client<Connector, Full<Bytes>> =
        legacy::Client::builder(TokioExecutor::new()).build(connector);
    tokio::time::timeout(timeout, client.request(request))
        .await
        .map_err(|_| RequestError::Timeout(timeout.as_secs()))?
        .map_err(|e| RequestError::Connection(cause(&e)))
}

/// The innermost reason of an error: "connection refused" says more than "client error".
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    let mut last: &dyn std::error::Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Names to addresses without libc, whose resolver loads libraries of the host into a static program.
#[derive(Debug, Clone)]
pub struct Names {
    /// Absent when the machine has no resolver configuration; IP literals work without it.
    resolver: Option<TokioResolver>,
}

type Addresses = std::vec::IntoIter<SocketAddr>;
/// Why a name was not found.
type NameError = Box<dyn std::error::Error + Send + Sync>;

impl Names {
    fn new() -> Self {
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build()).ok();
        Self { resolver }
    }

    async fn addresses(self, name: &str) -> Result<Vec<IpAddr>, NameError> {
        let resolver = self.resolver.ok_or(
            "this machine has no usable /etc/resolv.conf; use an IP address instead of a name",
        )?;
        Ok(resolver.lookup_ip(name).await?.iter().collect())
    }
}

impl tower::Service<Name> for Names {
    type Response = Addresses;
    type Error = NameError;
    type Future = Pin<Box<dyn Future<Output = Result<Addresses, NameError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NameError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let names = self.clone();
        Box::pin(async move {
            let found = names.addresses(name.as_str()).await?;
            let found = found.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(found.collect::<Vec<_>>().into_iter())
        })
    }
}
