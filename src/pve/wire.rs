//! One request on one connection: TLS, limits, and the reason phrase, which older releases say everything with.
//!
//! A connection carries one request. A kept one may just be closing on the other side, and then nobody could say whether a
//! change was made.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Inner, Member};
use crate::outbound::{cause, pinned};

/// What a member answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) body: Bytes,
}

/// No answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// No connection; nothing was sent.
    NotSent(String),
    /// Another certificate; nothing was sent.
    Certificate { seen: [u8; 32] },
    /// The request may have arrived.
    Lost(String),
    /// An answer came and is longer than allowed.
    TooLong,
}

type Connection =
    hyper::client::conn::http1::Connection<TokioIo<TlsStream<TcpStream>>, Full<Bytes>>;

/// Sends a request to a member and reads its answer.
pub(super) async fn exchange(
    inner: &Inner,
    member: &Member,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Failure> {
    let stream = connect(inner, member).await?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|e| Failure::NotSent(cause(&e)))?;
    let limits = inner.limits;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| Failure::Lost(cause(&e)))?;
        let status = response.status();
        let reason = response.extensions().get::<ReasonPhrase>();
        let reason = match reason {
            Some(reason) => String::from_utf8_lossy(reason.as_bytes()).into_owned(),
            None => status.canonical_reason().unwrap_or_default().to_owned(),
        };
        let body = read(response.into_body(), limits.answer_bytes).await?;
        Ok(Answer { status: status.as_u16(), reason, body })
    };
    drive(connection, answer, limits.call).await
}

/// Runs the connection beside what uses it, so that no task outlives the call.
async fn drive(
    connection: Connection,
    answer: impl Future<Output = Result<Answer, Failure>>,
    limit: Duration,
) -> Result<Answer, Failure> {
    let deadline = Instant::now() + limit;
    let mut answer = std::pin::pin!(answer);
    let mut connection = std::pin::pin!(connection);
    let both = async {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            // The end of the connection reaches the answer by itself, with what was read until then.
            _ = &mut connection => {}
        }
        answer.await
    };
    timeout_at(deadline, both)
        .await
        .unwrap_or_else(|_| Err(Failure::Lost(format!("no answer within {} s", limit.as_secs()))))
}

async fn connect(inner: &Inner, member: &Member) -> Result<TlsStream<TcpStream>, Failure> {
    let (config, seen) = pinned::config(&inner.provider, member.fingerprint)
        .map_err(|e| Failure::NotSent(e.to_string()))?;
    let limit = inner.limits.connect;
    let connecting = async {
        let tcp = TcpStream::connect(member.address).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::from(member.address.ip());
        TlsConnector::from(std::sync::Arc::new(config)).connect(name, tcp).await
    };
    match timeout(limit, connecting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(match seen.other() {
            Some(seen) => Failure::Certificate { seen },
            None => Failure::NotSent(error.to_string()),
        }),
        Err(_) => Err(Failure::NotSent(format!("no connection within {} s", limit.as_secs()))),
    }
}

async fn read(body: Incoming, most: usize) -> Result<Bytes, Failure> {
    match Limited::new(body, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Failure::TooLong),
        Err(error) => Err(Failure::Lost(cause(error.as_ref()))),
    }
}
