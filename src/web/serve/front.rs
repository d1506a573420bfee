//! A connection's first owner: it answers what booting machines fetch itself, and hands all else to hyper.
//!
//! ```text
//!            bytes        look: ours        router (the same that hyper calls)
//!   client ─────────> buffer ───────> request ───────> response ──> head, then file by sendfile
//!                        │                                            │ next request
//!                        │ look: other, or in doubt                   └──────> buffer
//!                        └─────────────> hyper, with what was read (Rewound), for the rest of the connection
//! ```
//!
//! The router decides who gets what, records it and makes all fields of the answer, whoever carries the bytes. Only this
//! differs: its response names the bytes' place ([`Handed`]) where hyper gets a body to read.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Limited};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::head::{self, After, Head, Look};
use super::rewound::Rewound;
use super::sendfile::{self, More, Sender};
use super::{HEAD_TIMEOUT, collapse_slashes};
use crate::domain::time::Timestamp;
use crate::limits::http::{HEAD_BYTES, TEXT_BYTES};
use crate::limits::over::Over;
use crate::web::Traffic;
use crate::web::file::{self, Handed, Way};

/// First size of the buffer that heads are read into.
const FIRST_READ: usize = 1 << 10;

/// What answers.
#[derive(Debug, Clone)]
pub(super) struct Front {
    pub(super) router: Router,
    pub(super) peer: SocketAddr,
    pub(super) sender: Sender,
    pub(super) traffic: Traffic,
    pub(super) stop: CancellationToken,
}

impl Front {
    /// Answers requests until one is not ours. `None`: the connection is over.
    pub(super) async fn run(self, socket: TcpStream) -> Option<Rewound> {
        let socket = Arc::new(socket);
        let mut buffer = BytesMut::new();
        loop {
            let found = tokio::select! {
                biased;
                found = tokio::time::timeout(HEAD_TIMEOUT, read_head(&socket, &mut buffer)) => found,
                // A request that has arrived is answered, as hyper does.
                () = self.stop.cancelled() => return None,
            };
            match found {
                Ok(Ok(Found::Ours(head))) => {
                    buffer.advance(head.len);
                    match self.answer(&socket, *head).await {
                        Ok(After::KeepAlive) => {}
                        Ok(After::Close) | Err(_) => return None,
                    }
                }
                Ok(Ok(Found::Other)) => {
                    // Threads that wait for the disk hold the socket too, but none is left behind by an answer.
                    let socket = Arc::into_inner(socket)?;
                    return Some(Rewound::new(buffer.freeze(), socket));
                }
                // Gone, broken or too slow: as with hyper, nothing is said.
                Ok(Ok(Found::End) | Err(_)) => return None,
                Err(_) => {
                    if !buffer.is_empty() {
                        self.traffic.over().met(Over::Head);
                    }
                    return None;
                }
            }
        }
    }

    async fn answer(&self, socket: &Arc<TcpStream>, head: Head) -> io::Result<After> {
        let (method, keep_alive) = (head.method.clone(), head.keep_alive);
        let mut parts = head.into_parts();
        collapse_slashes(&mut parts.uri);
        parts.extensions.insert(ConnectInfo(self.peer));
        parts.extensions.insert(Way::Handed);
        let asked = self.router.clone().oneshot(Request::from_parts(parts, Body::empty()));
        let response = asked.await.unwrap_or_else(|never: Infallible| match never {});
        let (mut parts, body) = response.into_parts();
        let mut sending = parts.extensions.remove::<Handed>().and_then(|handed| handed.take());
        let (text, len, more) = match &sending {
            Some(sending) => {
                let rest = sending.rest();
                (Bytes::new(), rest.end - rest.start, More::Yes)
            }
            None => {
                let text = collect(body).await?;
                let len = u64::try_from(text.len()).unwrap_or(u64::MAX);
                (text, len, More::No)
            }
        };
        let goes_on = keep_alive && !self.stop.is_cancelled();
        let after = if goes_on { After::KeepAlive } else { After::Close };
        let mut bytes = head::write(&parts, &method, len, after, &date());
        if method != Method::HEAD {
            bytes.extend_from_slice(&text);
        }
        sendfile::write(socket, &bytes, more).await?;
        if let Some(sending) = &mut sending {
            let outcome = self.sender.send(socket, sending).await;
            self.traffic.sent_file(len - (sending.rest().end - sending.rest().start));
            outcome?;
        }
        Ok(after)
    }
}

enum Found {
    Ours(Box<Head>),
    Other,
    End,
}

/// Reads until it is clear whose the request is.
async fn read_head(socket: &TcpStream, buffer: &mut BytesMut) -> io::Result<Found> {
    loop {
        if !buffer.is_empty() {
            match head::look(buffer) {
                Look::Ours(head) => return Ok(Found::Ours(head)),
                Look::Other => return Ok(Found::Other),
                Look::More => {}
            }
        }
        socket.readable().await?;
        buffer.reserve(FIRST_READ);
        match socket.try_read_buf(&mut bytes::BufMut::limit(&mut *buffer, HEAD_BYTES)) {
            Ok(0) => return Ok(Found::End),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

async fn collect(body: Body) -> io::Result<Bytes> {
    let whole = Limited::new(body, TEXT_BYTES).collect().await.map_err(io::Error::other)?;
    Ok(whole.to_bytes())
}

/// The time of day for `Date`; empty when the clock is beyond all calendars.
fn date() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
    file::http_date(Timestamp(now)).unwrap_or_default()
}

#[cfg(test)]
mod test;
