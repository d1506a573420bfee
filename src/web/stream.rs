//! The event stream: what was missed from the database, then live; ends on shutdown.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use super::WebState;
use super::auth::{Operator, until_ended};
use super::problem::Problem;
use crate::domain::event::Event;
use crate::domain::id::{GuestId, HostId, JobId};
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::limits::operator::{EVENT_TEXTS, STREAM_BATCH, STREAM_TIME};
use crate::store::{EventReads as _, Store, StoreError};

/// Comments that keep proxies from closing a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Which events and from where on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StreamQuery {
    /// Begin behind this number; `Last-Event-ID` goes over it.
    after: Option<u64>,
    job: Option<String>,
    host: Option<String>,
    guest: Option<String>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Filter {
    job: Option<JobId>,
    host: Option<HostId>,
    guest: Option<GuestId>,
}

impl Filter {
    fn wants(&self, event: &Event) -> bool {
        self.job.is_none_or(|job| event.subject.job == Some(job))
            && self.host.is_none_or(|host| event.subject.host == Some(host))
            && self.guest.is_none_or(|guest| event.subject.guest == Some(guest))
    }
}

/// An event as the stream and the API publish it.
pub(super) fn published(event: &Event) -> serde_json::Value {
    let mut value = serde_json::to_value(&event.kind).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        let subject = &event.subject;
        map.insert("seq".into(), event.seq.into());
        map.insert("at".into(), super::api::time(event.at).into());
        map.insert("level".into(), serde_json::to_value(event.level).unwrap_or_default());
        map.insert("message".into(), event.message.clone().into());
        map.insert("host".into(), subject.host.map(|h| h.to_string()).into());
        map.insert("guest".into(), subject.guest.map(|g| g.to_string()).into());
        map.insert("job".into(), subject.job.map(|j| j.to_string()).into());
        map.insert("operation_id".into(), subject.job.map(|j| j.to_string()).into());
        map.insert("mac".into(), subject.mac.map(|m| m.to_string()).into());
        map.insert("image".into(), subject.image.as_ref().map(|i| i.to_string()).into());
    }
    value
}

/// The newest events as text, for all streams: hundreds of screens show the same event at the same moment.
#[derive(Debug, Default)]
pub(super) struct Texts(Mutex<VecDeque<(u64, Arc<str>)>>);

impl Texts {
    /// The event as a stream sends it.
    fn of(&self, event: &Event) -> Arc<str> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, text)) = kept.iter().rev().find(|(seq, _)| *seq == event.seq) {
            return Arc::clone(text);
        }
        let text: Arc<str> = published(event).to_string().into();
        if kept.len() == EVENT_TEXTS {
            kept.pop_front();
        }
        kept.push_back((event.seq, Arc::clone(&text)));
        text
    }
}

pub(super) async fn events(
    State(web): State<WebState>,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
    operator: Operator,
) -> Result<Response, Problem> {
    let permit = Arc::clone(&web.streams).try_acquire_owned().map_err(|_| {
        Refusal::new(
            RefusalKind::Unavailable,
            "All event streams of the appliance are in use.",
            "Close dashboards that nobody looks at; this one tries again by itself.",
        )
    })?;
    let filter = Filter {
        job: parsed(query.job.as_deref())?,
        host: parsed(query.host.as_deref())?,
        guest: parsed(query.guest.as_deref())?,
    };
    let given = headers.get("last-event-id").and_then(|v| v.to_str().ok());
    let after = given.and_then(|text| text.trim().parse().ok()).or(query.after);
    // Subscribed before the log is read: nothing can fall between.
    let live = web.store().subscribe();
    let last = match after {
        Some(after) => after,
        None => web.store().read(|read| read.last_event()).await?,
    };
    let reader = Reader {
        store: web.store().clone(),
        live,
        last,
        catching_up: true,
        waiting: VecDeque::new(),
        filter,
        _permit: permit,
    };
    let cancel = web.parts.cancel.clone();
    let ended = until_ended(web.clone(), operator);
    let stream = reader
        .into_stream()
        .map(move |event| {
            let data = web.texts.of(&event);
            Ok::<_, Infallible>(SseEvent::default().id(event.seq.to_string()).data(data))
        })
        .take_until(cancel.cancelled_owned())
        .take_until(Box::pin(ended))
        .take_until(Box::pin(tokio::time::sleep(STREAM_TIME)));
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    text: Option<&str>,
) -> Result<Option<T>, Refusal> {
    let invalid = |e: T::Err| Refusal::new(RefusalKind::Malformed, e.to_string(), "Leave it out.");
    text.filter(|t| !t.is_empty()).map(|t| t.parse().map_err(invalid)).transpose()
}

/// Where one stream stands in the log.
struct Reader {
    store: Store,
    live: broadcast::Receiver<Arc<Event>>,
    /// Newest number that was sent or skipped.
    last: u64,
    catching_up: bool,
    waiting: VecDeque<Arc<Event>>,
    filter: Filter,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    fn into_stream(self) -> impl Stream<Item = Arc<Event>> + Send {
        stream::unfold(self, |mut reader| async move {
            let event = reader.next().await?;
            Some((event, reader))
        })
    }

    /// The next wanted event; `None` ends the stream, and the browser comes back with the number it has.
    async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                if event.seq <= self.last {
                    continue;
                }
                self.last = event.seq;
                if self.filter.wants(&event) {
                    return Some(event);
                }
                continue;
            }
            if self.catching_up {
                let last = self.last;
                let read = self.store.read(move |read| read.events_after(last, STREAM_BATCH));
                let batch: Result<Vec<Event>, StoreError> = read.await;
                let batch = batch.ok()?;
                self.catching_up = batch.len() == STREAM_BATCH;
                self.waiting.extend(batch.into_iter().map(Arc::new));
                continue;
            }
            match self.live.recv().await {
                Ok(event) => self.waiting.push_back(event),
                Err(broadcast::error::RecvError::Lagged(_)) => self.catching_up = true,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
