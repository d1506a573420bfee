//! Bringing a source's bytes into the part, from where the last attempt stopped.

use std::os::unix::fs::FileExt;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::download::{Client, Download};
use super::part::Part;
use super::source::{Source, open_file};
use super::{ImageStore, ImportError, blocking};

/// A file that has arrived whole. Plain data, so that a job can store it between its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Where it came from.
    pub source: Source,
    /// Length in bytes.
    pub size: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

/// Bytes that are written, and reported, at a time.
const PIECE: usize = 1 << 20;

pub(super) async fn fetch(
    store: &ImageStore,
    source: &Source,
    cancel: &CancellationToken,
    progress: impl FnMut(u64, Option<u64>) + Send,
) -> Result<Fetched, ImportError> {
    let part = {
        let (place, dir, text) = (store.part_of(source), store.dir.clone(), source.to_string());
        let (margin, cancel) = (store.limits.margin, cancel.clone());
        blocking(move || Part::open(place, dir, &text, margin, &cancel)).await?
    };
    let outcome = match source {
        Source::Path(path) => copy(part, path, cancel, progress).await,
        Source::Url(url) => {
            let client = Client::new(&store.limits).await?;
            download(part, &client, url, cancel, progress).await
        }
    };
    // A full disk hurts everybody who shares it, and what is too big can never be used.
    if matches!(outcome, Err(ImportError::DiskFull { .. } | ImportError::TooBig)) {
        store.discard(source).await?;
    }
    let (size, sha256) = outcome?;
    Ok(Fetched { source: source.clone(), size, sha256 })
}

async fn copy(
    part: Part,
    path: &std::path::Path,
    cancel: &CancellationToken,
    mut progress: impl FnMut(u64, Option<u64>) + Send,
) -> Result<(u64, String), ImportError> {
    let from = path.to_owned();
    let (mut part, file, total, validator) = blocking(move || {
        let mut part = part;
        let (file, total, validator) = open_file(&from)?;
        if part.validator() != Some(&validator) {
            part.restart(Some(validator.clone()), Some(total))?;
        }
        part.check_rest()?;
        Ok((part, std::sync::Arc::new(file), total, validator))
    })
    .await?;
    progress(part.written(), Some(total));
    while part.written() < total {
        if cancel.is_cancelled() {
            return interrupted(part, ImportError::Cancelled).await;
        }
        let (file, from) = (file.clone(), path.to_owned());
        part = blocking(move || {
            let mut buffer = vec![0; PIECE];
            let n = file
                .read_at(&mut buffer, part.written())
                .and_then(|n| {
                    if n == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(n) }
                })
                .map_err(|source| ImportError::Unreadable { path: from, source })?;
            part.append(buffer.get(..n).unwrap_or_default())?;
            Ok(part)
        })
        .await?;
        progress(part.written(), Some(total));
    }
    let from = path.to_owned();
    blocking(move || {
        let now = open_file(&from)?.2;
        if now != validator {
            return Err(ImportError::Interrupted {
                url: from.display().to_string(),
                why: "the file was changed while it was copied",
                source: None,
            });
        }
        finish(part)
    })
    .await
}

async fn download(
    part: Part,
    client: &Client,
    url: &Url,
    cancel: &CancellationToken,
    mut progress: impl FnMut(u64, Option<u64>) + Send,
) -> Result<(u64, String), ImportError> {
    if part.total() == Some(part.written()) {
        // Everything came in an earlier attempt, which was stopped before it could say so.
        progress(part.written(), part.total());
        return blocking(move || finish(part)).await;
    }
    let from = part.validator().map(|validator| (part.written(), validator.to_owned()));
    let answer = tokio::select! {
        () = cancel.cancelled() => return interrupted(part, ImportError::Cancelled).await,
        answer = client.get(url, from) => answer,
    };
    let Download { url, start, total, validator, mut body } = match answer {
        Ok(download) => download,
        Err(error) => return interrupted(part, error).await,
    };
    let mut part = blocking(move || {
        let mut part = part;
        if start != part.written() || start == 0 || part.total() != total {
            part.restart(validator, total)?;
        }
        part.check_rest()?;
        Ok(part)
    })
    .await?;
    if part.written() != start {
        // The server has another file now and sent its second half; the next attempt asks for all of it.
        let why = "the file on the server has changed";
        let url = url.to_string();
        return interrupted(part, ImportError::Interrupted { url, why, source: None }).await;
    }
    progress(part.written(), total);
    let mut buffer = BytesMut::new();
    loop {
        let next = tokio::select! {
            () = cancel.cancelled() => Err(ImportError::Cancelled),
            next = next_piece(&mut body, &url, client) => next,
        };
        let (ended, outcome) = match next {
            Ok(Some(bytes)) => {
                buffer.extend_from_slice(&bytes);
                (false, Ok(()))
            }
            Ok(None) => (true, Ok(())),
            Err(error) => (true, Err(error)),
        };
        if buffer.len() >= PIECE || ended {
            let bytes = buffer.split();
            part = blocking(move || part.append(&bytes).map(|()| part)).await?;
            progress(part.written(), total);
        }
        if let Err(error) = outcome {
            return interrupted(part, error).await;
        }
        if ended {
            break;
        }
    }
    if total.is_some_and(|total| part.written() < total) {
        let (url, why) = (url.to_string(), "the connection ended too early");
        return interrupted(part, ImportError::Interrupted { url, why, source: None }).await;
    }
    blocking(move || finish(part)).await
}

/// The next bytes of the body; `None` at its end.
async fn next_piece(
    body: &mut Incoming,
    url: &Url,
    client: &Client,
) -> Result<Option<Bytes>, ImportError> {
    let broken = |why, source| ImportError::Interrupted { url: url.to_string(), why, source };
    match tokio::time::timeout(client.idle(), body.frame()).await {
        Err(_) => Err(broken("no byte came for too long", None)),
        Ok(None) => Ok(None),
        Ok(Some(Ok(frame))) => Ok(Some(frame.into_data().unwrap_or_default())),
        Ok(Some(Err(error))) => Err(broken("the connection broke", Some(error.into()))),
    }
}

fn finish(mut part: Part) -> Result<(u64, String), ImportError> {
    part.set_total(part.written());
    part.make_durable()?;
    Ok((part.written(), part.sha256()))
}

/// Keeps what has arrived, and reports why no more came.
async fn interrupted<T: Send + 'static>(part: Part, error: ImportError) -> Result<T, ImportError> {
    let kept = blocking(move || {
        let mut part = part;
        part.make_durable()
    })
    .await;
    match kept {
        Err(full @ ImportError::DiskFull { .. }) => Err(full),
        _ => Err(error),
    }
}
