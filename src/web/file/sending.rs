//! The bytes of one answer on their way: what is still to send, and what became of it.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::{FileContent, OnEnd, Transfer};
use crate::proto::iso9660::Segment;

/// A range of a file that is being sent. When it is dropped, the end is told.
pub struct Sending {
    content: Arc<FileContent>,
    next: u64,
    end: u64,
    transfer: Transfer,
    on_end: Option<OnEnd>,
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").field("rest", &self.rest()).finish_non_exhaustive()
    }
}

impl Sending {
    /// `range` must lie inside the content.
    pub(super) fn new(content: FileContent, range: Range<u64>, on_end: Option<OnEnd>) -> Self {
        let transfer = Transfer {
            start: range.start,
            asked: range.end - range.start,
            sent: 0,
            file_len: content.len(),
        };
        Self { content: Arc::new(content), next: range.start, end: range.end, transfer, on_end }
    }

    /// Where the bytes are.
    #[must_use]
    pub fn content(&self) -> &Arc<FileContent> {
        &self.content
    }

    /// What is still to send.
    #[must_use]
    pub fn rest(&self) -> Range<u64> {
        self.next..self.end
    }

    /// The first run of what is still to send, at most `most` bytes of it; `None` at the end.
    #[must_use]
    pub fn run(&self, most: u64) -> Option<Segment<'_>> {
        let mut first = None;
        // The first segment ends the walk.
        let _ = self.content.segments(self.next..self.end.min(self.next + most), |segment| {
            first = Some(segment);
            Err(())
        });
        first
    }

    /// `count` bytes have left.
    pub fn advance(&mut self, count: u64) {
        self.next += count;
        self.transfer.sent += count;
    }

    /// Nothing more will be sent.
    pub(super) fn give_up(&mut self) {
        self.next = self.end;
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if let Some(on_end) = self.on_end.take() {
            on_end(self.transfer);
        }
    }
}

/// How the bytes of a file reach the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As the body of the response.
    Body,
    /// The connection sends them itself: the response has no body, and [`Handed`] is among its extensions.
    Handed,
}

impl<S: Sync> FromRequestParts<S> for Way {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get().copied().unwrap_or(Self::Body))
    }
}

/// What a connection that sends files itself finds in a response. The first who asks gets it.
#[derive(Debug, Clone)]
pub struct Handed(Arc<Mutex<Option<Sending>>>);

impl Handed {
    pub(super) fn new(sending: Sending) -> Self {
        Self(Arc::new(Mutex::new(Some(sending))))
    }

    /// The bytes to send.
    #[must_use]
    pub fn take(&self) -> Option<Sending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
