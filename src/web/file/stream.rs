//! The body: one piece at a time, read on a blocking thread when it is asked for.

use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::FileContent;
use super::sending::Sending;
pub(super) use crate::limits::http::BODY_PIECE;
use crate::proto::iso9660::Segment;

/// A body of exactly the bytes of one range.
pub(super) struct FileStream {
    sending: Sending,
    /// Handed to the reading thread and back, so that its memory is used again once the piece has left.
    buffer: BytesMut,
    reading: Option<JoinHandle<(BytesMut, io::Result<Bytes>)>>,
}

impl FileStream {
    pub(super) fn new(sending: Sending) -> Self {
        Self { sending, buffer: BytesMut::new(), reading: None }
    }
}

impl Body for FileStream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let rest = this.sending.rest();
        if rest.is_empty() {
            return Poll::Ready(None);
        }
        let piece = if let FileContent::Bytes(bytes) = &**this.sending.content() {
            let at = |n| usize::try_from(n).unwrap_or(usize::MAX);
            Ok(bytes.slice(at(rest.start)..at(rest.end)))
        } else {
            let (content, range) =
                (this.sending.content(), rest.start..rest.end.min(rest.start + BODY_PIECE));
            let buffer = &mut this.buffer;
            let reading = this.reading.get_or_insert_with(|| {
                let (content, mut buffer) = (content.clone(), std::mem::take(buffer));
                tokio::task::spawn_blocking(move || {
                    let piece = read(&content, range, &mut buffer);
                    (buffer, piece)
                })
            });
            let outcome = ready!(Pin::new(reading).poll(context));
            this.reading = None;
            match outcome {
                Ok((buffer, piece)) => {
                    this.buffer = buffer;
                    piece
                }
                Err(stopped) => Err(io::Error::other(stopped)),
            }
        };
        match piece {
            Ok(bytes) => {
                this.sending.advance(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Err(error) => {
                // The connection breaks: an end without an error would pass a short file for a whole one.
                this.sending.give_up();
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.sending.rest().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.sending.rest();
        SizeHint::with_exact(rest.end - rest.start)
    }
}

/// Reads one piece, which may come from several places.
fn read(content: &FileContent, range: Range<u64>, buffer: &mut BytesMut) -> io::Result<Bytes> {
    let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    buffer.resize(len, 0);
    let mut rest: &mut [u8] = buffer;
    content.segments(range, |segment| {
        let len = match segment {
            Segment::Original { len, .. } => usize::try_from(len).map_err(io::Error::other)?,
            Segment::Bytes(bytes) => bytes.len(),
        };
        let (target, after) = std::mem::take(&mut rest)
            .split_at_mut_checked(len)
            .ok_or_else(|| io::Error::other("more bytes than were asked for"))?;
        rest = after;
        match segment {
            Segment::Original { offset, .. } => content
                .file()
                .ok_or_else(|| io::Error::other("no file behind an extent"))?
                .read_exact_at(target, offset),
            Segment::Bytes(bytes) => {
                target.copy_from_slice(bytes);
                Ok(())
            }
        }
    })?;
    if !rest.is_empty() {
        return Err(io::Error::other("fewer bytes than were asked for"));
    }
    Ok(buffer.split().freeze())
}
