//! A job engine that writes down what it was asked.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;

use crate::domain::host::Host;
use crate::domain::id::{HostId, ImageId, JobId};
use crate::domain::mac::Mac;
use crate::domain::refusal::Refusal;
use crate::jobs::{HostChange, ImportRequest, NewHost, RebuildRequest};
use crate::web::Operations;

/// Records every request; refuses all of them when told so.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recorder {
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    pub(crate) refusal: Arc<Mutex<Option<Refusal>>>,
}

impl Recorder {
    fn note<T: Send + 'static>(
        &self,
        asked: String,
        answer: T,
    ) -> BoxFuture<'_, Result<T, Refusal>> {
        self.asked.lock().unwrap().push(asked);
        let refusal = self.refusal.lock().unwrap().clone();
        Box::pin(async move { refusal.map_or(Ok(answer), Err) })
    }
}

fn job() -> JobId {
    JobId(uuid::Uuid::from_u128(0x4e))
}

impl Operations for Recorder {
    fn register_host(&self, new: NewHost) -> BoxFuture<'_, Result<Host, Refusal>> {
        let host = super::sample::host(9, |h| {
            h.hostname = new.hostname.clone();
            h.macs = new.macs.clone();
        });
        self.note(format!("register {} {:?}", new.hostname, new.macs), host)
    }
    fn change_host(&self, id: HostId, change: HostChange) -> BoxFuture<'_, Result<Host, Refusal>> {
        let host = super::sample::host(9, |h| h.id = id);
        self.note(format!("change {id} {:?}", change.macs), host)
    }
    fn member_public_key(&self) -> BoxFuture<'_, Result<String, Refusal>> {
        self.note("member key".to_owned(), "ssh-ed25519 AAAA appliance".to_owned())
    }
    fn delete_host(&self, host: HostId) -> BoxFuture<'_, Result<(), Refusal>> {
        self.note(format!("delete {host}"), ())
    }
    fn rebuild(&self, _: HostId, request: RebuildRequest) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("rebuild {} {}", request.confirm, request.replace_node), job())
    }
    fn cancel(&self, id: JobId) -> BoxFuture<'_, Result<(), Refusal>> {
        self.note(format!("cancel {id}"), ())
    }
    fn retry(&self, id: JobId, confirm: String) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("retry {id} {confirm}"), job())
    }
    fn import_image(&self, request: ImportRequest) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("import {} {:?}", request.source, request.sha256), job())
    }
    fn delete_image(&self, image: ImageId) -> BoxFuture<'_, Result<(), Refusal>> {
        self.note(format!("delete image {image}"), ())
    }
    fn set_sighting_ignored(&self, mac: Mac, ignored: bool) -> BoxFuture<'_, Result<(), Refusal>> {
        self.note(format!("ignore {mac} {ignored}"), ())
    }
}
