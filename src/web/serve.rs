//! Accept loops: one task per connection under a limit, header time-outs, a drain with an end.
//!
//! On plain HTTP a connection belongs to [`front`] first, which sends boot files without copying them; hyper gets what is
//! not a boot file, HTTPS and the control socket.

mod front;
pub mod head;
mod rewound;
mod sendfile;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Extensions, Request, Uri};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::front::Front;
use self::sendfile::Sender;
use super::file::{CONNECTION_BUFFER, limit_stall};
use super::{ControlSocket, LocalUser, TlsTransport, Traffic};
use crate::limits::over::Over;

use crate::limits::http::{CONNECTIONS, DRAIN, HEAD_TIMEOUT, STALL};

/// Pause after a failed accept, usually out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How a listener speaks.
#[derive(Clone)]
pub enum Transport {
    /// Plain HTTP.
    Plain,
    /// HTTPS with this certificate.
    Tls(TlsAcceptor),
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Tls(_) => "Tls",
        })
    }
}

/// Serves HTTP on a TCP listener until the stop, then drains.
pub async fn tcp(
    listener: TcpListener,
    transport: Transport,
    router: Router,
    traffic: Traffic,
    stop: CancellationToken,
) {
    let graceful = GracefulShutdown::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut tasks = tokio::task::JoinSet::new();
    let sender = Sender::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let permit = match Arc::clone(&permits).try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(_) => {
                traffic.over().met(Over::Connections);
                tokio::select! {
                    permit = Arc::clone(&permits).acquire_owned() => permit,
                    () = stop.cancelled() => break,
                }
            }
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let _ = limit_stall(&stream, STALL);
        // A broken connection or handshake is the peer's matter.
        match transport.clone() {
            Transport::Plain => {
                let (watcher, router) = (graceful.watcher(), router.clone());
                let (sender, traffic, stop) = (sender.clone(), traffic.clone(), stop.clone());
                tasks.spawn(async move {
                    let living = traffic.connected();
                    let (router_too, traffic_too) = (router.clone(), traffic.clone());
                    let front =
                        Front { router: router_too, peer, sender, traffic: traffic_too, stop };
                    if let Some(stream) = front.run(stream).await {
                        let via = Via::Plain(peer);
                        let ended = watcher.watch(connection(stream, router, via)).await;
                        note_end(&traffic, ended);
                    }
                    drop((living, permit));
                });
            }
            Transport::Tls(acceptor) => {
                let (watcher, router) = (graceful.watcher(), router.clone());
                let traffic = traffic.clone();
                tasks.spawn(async move {
                    let living = traffic.connected();
                    let handshake = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream));
                    if let Ok(Ok(stream)) = handshake.await {
                        let via = Via::Tls(peer);
                        let ended = watcher.watch(connection(stream, router, via)).await;
                        note_end(&traffic, ended);
                    }
                    drop((living, permit));
                });
            }
        }
    }
    drop(listener);
    drain(graceful).await;
}

/// A head that did not come in time is counted; however else a connection breaks is the peer's matter.
fn note_end(traffic: &Traffic, ended: Result<(), hyper::Error>) {
    if ended.is_err_and(|error| error.is_timeout()) {
        traffic.over().met(Over::Head);
    }
}

/// Serves HTTP on the control socket: who may open the file is the operator.
pub async fn unix(listener: UnixListener, router: Router, stop: CancellationToken) {
    let graceful = GracefulShutdown::new();
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (watcher, router) = (graceful.watcher(), router.clone());
                tasks.spawn(async move {
                    let via = Via::Control(LocalUser(user_of(&stream).await));
                    let _ = watcher.watch(connection(stream, router, via)).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket could not accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drain(graceful).await;
}

/// Who opened the other end, for the audit log. The account files of the machine are text; a static program cannot ask
/// the C library.
async fn user_of(stream: &UnixStream) -> String {
    let Ok(peer) = stream.peer_cred() else { return "somebody".to_owned() };
    let users = tokio::fs::read_to_string("/etc/passwd").await.unwrap_or_default();
    let uid = peer.uid().to_string();
    let name = users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == uid).then_some(name)
    });
    name.map_or_else(|| format!("user {uid}"), |name| name.chars().take(64).collect())
}

async fn drain(graceful: GracefulShutdown) {
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still open at the end of the drain and were cut");
    }
}

/// How a connection reached us. Each of its requests is marked with it, which costs less than a router of its own for each
/// connection: a layer copies every route.
#[derive(Debug, Clone)]
enum Via {
    Plain(SocketAddr),
    Tls(SocketAddr),
    Control(LocalUser),
}

impl Via {
    fn mark(&self, request: &mut Extensions) {
        match self {
            Self::Plain(peer) => drop(request.insert(ConnectInfo(*peer))),
            Self::Tls(peer) => {
                request.insert(ConnectInfo(*peer));
                request.insert(TlsTransport);
            }
            Self::Control(user) => {
                request.insert(ControlSocket);
                request.insert(user.clone());
            }
        }
    }
}

/// One connection, as a future that can be asked to finish its request and stop.
fn connection<S>(
    stream: S,
    router: Router,
    via: Via,
) -> impl GracefulConnection<Error = hyper::Error, Output = Result<(), hyper::Error>> + Send
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        via.mark(request.extensions_mut());
        collapse_slashes(request.uri_mut());
        router.clone().oneshot(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(true)
        .max_buf_size(CONNECTION_BUFFER)
        .serve_connection(TokioIo::new(stream), service)
}

/// Firmware builds paths like `//boot/x`, and cannot follow a redirect to the clean one (`pxe-netboot` 9).
fn collapse_slashes(uri: &mut Uri) {
    if !uri.path().contains("//") {
        return;
    }
    let mut path = String::with_capacity(uri.path().len());
    for c in uri.path().chars() {
        if !(c == '/' && path.ends_with('/')) {
            path.push(c);
        }
    }
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    if let Ok(clean) = path.parse() {
        *uri = clean;
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn doubled_slashes_are_one_and_the_query_stays() {
        for (given, want) in
            [("//boot///x?a=//b", "/boot/x?a=//b"), ("/boot/x", "/boot/x"), ("//", "/")]
        {
            let mut uri: Uri = given.parse().unwrap();
            collapse_slashes(&mut uri);
            assert_eq!(uri.to_string(), want);
        }
    }
}
