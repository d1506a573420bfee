//! HTTP as machines and operators send it, over a link that loses, cuts and doubles.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::support::appliance::ADDRESS;

/// What the link does to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    None,
    /// It never arrives.
    Lost,
    /// Its first bytes arrive, then the connection is gone.
    Cut,
    /// It arrives, its answer does not.
    AnswerLost,
    /// It arrives twice, at the same time.
    Doubled,
    /// It comes in small pieces.
    Dribble,
}

/// How long a machine waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// When it was made, by the daemon's clock, in seconds since 1970.
    pub(crate) date: Option<i64>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// What came of a request: what the machine got, and everything that left the building for it.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) got: Option<Reply>,
    pub(crate) left: Vec<Reply>,
}

pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: &'a [u8],
}

impl Request<'_> {
    fn bytes(&self) -> Vec<u8> {
        let base = format!("http://{ADDRESS}:8080");
        let path = self.path.strip_prefix(base.as_str()).unwrap_or(self.path);
        let mut head = format!(
            "{} {path} HTTP/1.1\r\nhost: {ADDRESS}:8080\r\nconnection: close\r\n",
            self.method
        );
        if self.method != "GET" && self.method != "HEAD" {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        for (name, value) in self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend_from_slice(self.body);
        bytes
    }

    /// Sends it as a machine does.
    pub(crate) async fn send(&self, trouble: Trouble) -> Sent {
        let bytes = self.bytes();
        match trouble {
            Trouble::Lost => Sent::default(),
            Trouble::Cut => {
                if let Ok(mut stream) = TcpStream::connect((ADDRESS, 8080)).await {
                    let _ = stream.write_all(&bytes[..bytes.len() / 2]).await;
                }
                Sent::default()
            }
            Trouble::AnswerLost => {
                Sent { got: None, left: over_tcp(&bytes, usize::MAX).await.into_iter().collect() }
            }
            Trouble::Doubled => {
                let (one, two) =
                    tokio::join!(over_tcp(&bytes, usize::MAX), over_tcp(&bytes, usize::MAX));
                // The machine takes the better one: the other is a duplicate that its TCP never sees.
                let is_good = |r: &&Reply| r.status == 200;
                let both: Vec<Reply> = [one, two].into_iter().flatten().collect();
                let got = both.iter().find(is_good).or(both.first()).cloned();
                Sent { got, left: both }
            }
            Trouble::None | Trouble::Dribble => {
                let piece = if trouble == Trouble::None { usize::MAX } else { 90 };
                let got = over_tcp(&bytes, piece).await;
                Sent { left: got.iter().cloned().collect(), got }
            }
        }
    }
}

async fn over_tcp(bytes: &[u8], piece: usize) -> Option<Reply> {
    let stream = TcpStream::connect((ADDRESS, 8080)).await.ok()?;
    let _ = stream.set_nodelay(true);
    tokio::time::timeout(PATIENCE, exchange(stream, bytes, piece)).await.ok().flatten()
}

/// One request over the control socket; `None` when no whole answer comes.
pub(crate) async fn control(
    socket: &std::path::Path,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Option<Reply> {
    let stream = UnixStream::connect(socket).await.ok()?;
    let text = body.map(Value::to_string).unwrap_or_default();
    let headers = [("content-type", "application/json")];
    let bytes = Request { method, path, headers: &headers, body: text.as_bytes() }.bytes();
    tokio::time::timeout(Duration::from_secs(60), exchange(stream, &bytes, usize::MAX))
        .await
        .ok()
        .flatten()
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    bytes: &[u8],
    piece: usize,
) -> Option<Reply> {
    for piece in bytes.chunks(piece.min(bytes.len()).max(1)) {
        // A refusal may come before the whole body is sent.
        if stream.write_all(piece).await.is_err() {
            break;
        }
        if piece.len() < bytes.len() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    parse(&answer)
}

/// An answer with its whole body; `None` for one that was cut off.
fn parse(bytes: &[u8]) -> Option<Reply> {
    let split = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let written = String::from_utf8_lossy(&bytes[..split]);
    let head = written.to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let rest = &bytes[split + 4..];
    let field = |name: &str| head.lines().find_map(|l| l.strip_prefix(name).map(str::trim));
    let body = if field("transfer-encoding:") == Some("chunked") {
        unchunk(rest)?
    } else if let Some(length) = field("content-length:") {
        rest.get(..length.parse().ok()?)?.to_vec()
    } else {
        rest.to_vec()
    };
    let is_date =
        |line: &&str| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case("date:"));
    let date = written.lines().find(is_date).map(|line| line[5..].trim());
    let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    Some(Reply { status, body, date: date.map(|date| date.timestamp().as_second()) })
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size =
            usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
