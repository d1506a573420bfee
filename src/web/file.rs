//! Files as HTTP answers: kernel, initrd, boot programs, ISO views.
//!
//! Built for firmware as clients: exact `Content-Length`, never chunked, `HEAD` with the headers of `GET`, single ranges,
//! strong entity tags, few headers and none of them empty (EDK2 hangs on one), no compression.
//!
//! A body reads one piece of 256 KiB at a time, on a blocking thread, when the connection asks for it, so memory is
//! bounded by the number of connections and not by the size of files or the speed of clients. How many pieces wait in a
//! connection is [`CONNECTION_BUFFER`]. A client that stops reading stops the reading; [`limit_stall`] ends it.
//!
//! [`FileContent::segments`] says where the bytes of any range are without reading them: a connection that sends files
//! itself ([`Way::Handed`], `serve::front`) gets the same answer, and the bytes' whereabouts in the body's place.

mod range;
mod sending;
mod stream;
#[cfg(test)]
mod test;

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use bytes::Bytes;
use nix::sys::socket::{setsockopt, sockopt};

use crate::domain::time::Timestamp;
pub use crate::limits::http::CONNECTION_BUFFER;
use crate::proto::iso9660::{Extent, IsoView, Segment};

pub(super) use range::http_date;
pub use sending::{Handed, Sending, Way};

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub enum FileContent {
    /// In memory.
    Bytes(Bytes),
    /// A run of bytes of an open file.
    Extent {
        /// The open file.
        file: Arc<File>,
        /// Which bytes of it.
        extent: Extent,
    },
    /// An image as one machine sees it.
    View {
        /// The original image.
        file: Arc<File>,
        /// The additions.
        view: Arc<IsoView>,
    },
}

impl FileContent {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::Extent { extent, .. } => extent.len,
            Self::View { view, .. } => view.len(),
        }
    }

    /// Whether there is no byte.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file behind [`Segment::Original`], if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Arc<File>> {
        match self {
            Self::Bytes(_) => None,
            Self::Extent { file, .. } | Self::View { file, .. } => Some(file),
        }
    }

    /// Calls `each` with the segments of `range` in order: bytes of [`FileContent::file`], or bytes from memory. What lies
    /// beyond the end is left out.
    ///
    /// # Errors
    /// The first error of `each`, which ends the walk.
    pub fn segments<'a, E>(
        &'a self,
        range: Range<u64>,
        mut each: impl FnMut(Segment<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = range.end.min(self.len());
        if range.start >= end {
            return Ok(());
        }
        match self {
            Self::Bytes(bytes) => {
                let at = |n| usize::try_from(n).unwrap_or(usize::MAX);
                let bytes = bytes.get(at(range.start)..at(end)).unwrap_or_default();
                each(Segment::Bytes(bytes))
            }
            Self::Extent { extent, .. } => each(Segment::Original {
                offset: extent.offset + range.start,
                len: end - range.start,
            }),
            Self::View { view, .. } => view.segments(range.start..end).try_for_each(each),
        }
    }
}

/// A file with what its answer says about it.
#[derive(Debug, Clone)]
pub struct FileBody {
    /// The bytes.
    pub content: FileContent,
    /// From [`content_type`].
    pub content_type: &'static str,
    /// Text that is another one when a byte is another one: letters, digits, `.`, `_`, `-`. Quoted by [`respond`].
    pub tag: String,
    /// When the bytes last changed.
    pub modified: Timestamp,
}

/// How a transfer ended; told once per `GET` with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// First byte that was asked for.
    pub start: u64,
    /// Bytes that were asked for.
    pub asked: u64,
    /// Bytes that were handed to the connection. The last few hundred KiB may not have reached the client.
    pub sent: u64,
    /// Length of the whole file.
    pub file_len: u64,
}

impl Transfer {
    /// Whether the client was handed everything that it asked for.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.sent == self.asked
    }

    /// Whether this transfer alone brought the client the end of the file.
    #[must_use]
    pub fn reached_the_end(&self) -> bool {
        self.is_complete() && self.start + self.asked == self.file_len
    }
}

/// Called with the outcome of a transfer, on a worker thread: must not block.
pub type OnEnd = Box<dyn FnOnce(Transfer) + Send + Sync>;

/// Answers a request for `file`. `on_end` is called when the body is done or the client is gone; for answers without a
/// body (`HEAD`, 304, 405, 412, 416) it is not called.
#[must_use]
pub fn respond(
    file: FileBody,
    method: &Method,
    request: &HeaderMap,
    way: Way,
    on_end: Option<OnEnd>,
) -> Response<Body> {
    let file_len = file.content.len();
    let Some(facts) = Facts::of(&file) else {
        // A tag that cannot be a header value is a bug of the caller; better no file than a wrong one from a cache.
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    };
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = status(StatusCode::METHOD_NOT_ALLOWED);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let choice = range::choose(request, &facts.tag, file.modified, file_len);
    let (code, bytes) = match choice {
        range::Choice::NotModified => {
            let mut response = status(StatusCode::NOT_MODIFIED);
            // No length and no type here: they would be those of the empty body.
            response.headers_mut().remove(header::CONTENT_LENGTH);
            response.headers_mut().insert(header::ETAG, facts.tag);
            return response;
        }
        range::Choice::Failed => return status(StatusCode::PRECONDITION_FAILED),
        range::Choice::Unsatisfiable => {
            let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE);
            insert(&mut response, header::CONTENT_RANGE, &format!("bytes */{file_len}"));
            return response;
        }
        range::Choice::Whole => (StatusCode::OK, 0..file_len),
        range::Choice::Part(part) => (StatusCode::PARTIAL_CONTENT, part),
    };
    let mut response = status(code);
    if code == StatusCode::PARTIAL_CONTENT {
        let last = bytes.end.saturating_sub(1);
        let value = format!("bytes {}-{last}/{file_len}", bytes.start);
        insert(&mut response, header::CONTENT_RANGE, &value);
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.end - bytes.start));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::ETAG, facts.tag);
    headers.insert(header::LAST_MODIFIED, facts.modified);
    if *method == Method::GET {
        let sending = Sending::new(file.content, bytes, on_end);
        match way {
            Way::Body => *response.body_mut() = Body::new(stream::FileStream::new(sending)),
            Way::Handed => {
                response.extensions_mut().insert(Handed::new(sending));
            }
        }
    }
    response
}

/// Ends a connection whose peer takes no byte for `longest`, or that vanished without a word: a machine that was
/// switched off in the middle of a download holds its memory no longer than that.
///
/// The kernel does it (RFC 5482; it also counts a peer that keeps its window shut), so no timer runs here.
///
/// # Errors
/// The socket is not TCP or already closed.
pub fn limit_stall(socket: &impl AsFd, longest: Duration) -> io::Result<()> {
    let millis = u32::try_from(longest.as_millis()).unwrap_or(u32::MAX);
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    setsockopt(socket, sockopt::TcpUserTimeout, &millis)?;
    Ok(())
}

/// Content type by the file's name: UEFI HTTP boot looks at it (UEFI 2.10, 24.7.2).
#[must_use]
pub fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("efi") => "application/efi",
        Some("iso") => "application/vnd.efi-iso",
        Some("img") => "application/vnd.efi-img",
        Some("ipxe" | "txt" | "sh") => "text/plain",
        _ => "application/octet-stream",
    }
}

/// Header values that each answer needs.
struct Facts {
    tag: HeaderValue,
    modified: HeaderValue,
}

impl Facts {
    fn of(file: &FileBody) -> Option<Self> {
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        if file.tag.is_empty() || !file.tag.bytes().all(plain) {
            return None;
        }
        Some(Self {
            tag: HeaderValue::from_str(&format!("\"{}\"", file.tag)).ok()?,
            modified: HeaderValue::from_str(&http_date(file.modified)?).ok()?,
        })
    }
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
