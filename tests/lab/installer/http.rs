//! One HTTP/1.1 exchange per call, plain or over TLS: no retry, no redirect, 60 seconds for everything.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Failure;

mod tls;

/// From connect to the last byte of the body.
const LIMIT: Duration = Duration::from_secs(60);
/// Bodies of answers beyond this are refused by the vendor's client.
const BODY_LIMIT: usize = 10_000_000;

/// Where to ask: a URL, and what its certificate must be. A fingerprint means nothing to a plain `http://` URL.
pub(crate) struct Endpoint<'a> {
    pub url: &'a str,
    /// SHA-256 of the leaf certificate in hex; without one the machine's CA store decides.
    pub cert_fingerprint: Option<&'a str>,
}

pub(crate) struct Response {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn content_type(&self) -> &str {
        self.header("content-type").unwrap_or("no type")
    }
}

/// POST with the header names, order and case of the vendor's client.
pub(crate) fn post(
    endpoint: &Endpoint<'_>,
    what: &str,
    body: &[u8],
    accept: &str,
    content_type: &str,
) -> Result<Response, Failure> {
    let url = Url::parse(endpoint.url)?;
    let head = format!(
        "POST {} HTTP/1.1\r\naccept-encoding: gzip\r\ncontent-length: {}\r\nuser-agent: ureq/3.0.12\r\nhost: {}\r\n\
         content-type: {content_type}\r\naccept: {accept}\r\n\r\n",
        url.path,
        body.len(),
        url.authority
    );
    exchange(&url, endpoint.cert_fingerprint, head.as_bytes(), body)
        .map_err(|error| format!("{what}: {error}"))
}

pub(crate) fn get(endpoint: &Endpoint<'_>, what: &str) -> Result<Response, Failure> {
    let url = Url::parse(endpoint.url)?;
    let head = format!(
        "GET {} HTTP/1.1\r\naccept-encoding: gzip\r\nuser-agent: ureq/3.0.12\r\nhost: {}\r\naccept: */*\r\n\r\n",
        url.path, url.authority
    );
    exchange(&url, endpoint.cert_fingerprint, head.as_bytes(), &[])
        .map_err(|error| format!("{what}: {error}"))
}

struct Url {
    secure: bool,
    authority: String,
    address: SocketAddr,
    path: String,
}

impl Url {
    /// Only what machines are given: an address literal. The lab has no name server.
    fn parse(text: &str) -> Result<Self, Failure> {
        let (secure, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(format!("{text}: neither http:// nor https://")),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let usual_port = if secure { 443 } else { 80 };
        let address = authority
            .parse()
            .or_else(|_| format!("{authority}:{usual_port}").parse())
            .map_err(|_| format!("{text}: {authority} is not an IP address"))?;
        Ok(Self { secure, authority: authority.to_owned(), address, path: format!("/{path}") })
    }
}

/// A socket with one deadline for all that is done with it.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn connect(address: &SocketAddr) -> io::Result<Self> {
        let deadline = Instant::now() + LIMIT;
        let stream = TcpStream::connect_timeout(address, LIMIT)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, deadline })
    }

    fn left(&self) -> io::Result<Duration> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(time_is_up()),
            left => Ok(left),
        }
    }
}

fn time_is_up() -> io::Error {
    io::Error::new(ErrorKind::TimedOut, "no complete response within 60 seconds")
}

fn late(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { time_is_up() } else { error }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer).map_err(late)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes).map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn exchange(
    url: &Url,
    cert_fingerprint: Option<&str>,
    head: &[u8],
    body: &[u8],
) -> Result<Response, String> {
    let mut socket = Timed::connect(&url.address).map_err(|error| format!("connect: {error}"))?;
    if url.secure {
        let mut stream = tls::shake_hands(socket, url.address.ip(), cert_fingerprint)?;
        ask(&mut stream, head, body)
    } else {
        ask(&mut socket, head, body)
    }
}

fn ask<S: Read + Write>(stream: &mut S, head: &[u8], body: &[u8]) -> Result<Response, String> {
    // An early refusal (413) may arrive while the body is still being sent: read it before giving up.
    let sent =
        stream.write_all(head).and_then(|()| stream.write_all(body)).and_then(|()| stream.flush());
    let mut reader = Reader { stream, buffer: Vec::new() };
    match (reader.response(), sent) {
        (Ok(response), _) => Ok(response),
        (Err(_), Err(error)) => Err(format!("send: {error}")),
        (Err(error), Ok(())) => Err(error),
    }
}

struct Reader<'a, S> {
    stream: &'a mut S,
    buffer: Vec<u8>,
}

impl<S: Read> Reader<'_, S> {
    fn response(&mut self) -> Result<Response, String> {
        let head =
            String::from_utf8(self.until(b"\r\n\r\n")?).map_err(|_| "headers are not text")?;
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| format!("not HTTP/1: {status_line:?}"))?;
        let headers = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
            .collect();
        let mut response = Response { status, headers, body: Vec::new() };
        if response.header("content-encoding").is_some_and(|encoding| encoding != "identity") {
            return Err("compressed bodies are not part of the lab".to_owned());
        }
        response.body = if response
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
        {
            self.chunks()?
        } else if let Some(length) = response.header("content-length") {
            self.exactly(length.parse().map_err(|_| format!("content-length {length:?}"))?)?
        } else {
            self.until_closed()?
        };
        Ok(response)
    }

    fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8_lossy(&self.until(b"\r\n")?).into_owned();
            let size = line.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(size, 16).map_err(|_| format!("chunk size {line:?}"))?;
            if size == 0 {
                return Ok(body);
            }
            body.extend(self.exactly(size)?);
            if body.len() > BODY_LIMIT {
                return Err("body over 10 MB".to_owned());
            }
            self.until(b"\r\n")?;
        }
    }

    fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>, String> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                let mut found: Vec<u8> = self.buffer.drain(..at + mark.len()).collect();
                found.truncate(at);
                return Ok(found);
            }
            if self.fill()? == 0 {
                return Err("connection closed before the response was complete".to_owned());
            }
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, String> {
        if length > BODY_LIMIT {
            return Err("body over 10 MB".to_owned());
        }
        while self.buffer.len() < length {
            if self.fill()? == 0 {
                return Err(format!(
                    "connection closed after {} of {length} bytes",
                    self.buffer.len()
                ));
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn until_closed(&mut self) -> Result<Vec<u8>, String> {
        while self.fill()? != 0 {
            if self.buffer.len() > BODY_LIMIT {
                return Err("body over 10 MB".to_owned());
            }
        }
        Ok(std::mem::take(&mut self.buffer))
    }

    fn fill(&mut self) -> Result<usize, String> {
        let mut block = [0; 16384];
        let count = self.stream.read(&mut block).map_err(|error| format!("receive: {error}"))?;
        self.buffer.extend_from_slice(block.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod test;
