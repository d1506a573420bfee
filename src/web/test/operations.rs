//! A job engine that writes down what it was asked.

use std::sync::{Arc, Mutex, OnceLock};

use futures_util::future::BoxFuture;

use crate::domain::discovery::ClusterView;
use crate::domain::form::Declined;
use crate::domain::host::Host;
use crate::domain::id::{HostId, ImageId, JobId};
use crate::domain::mac::Mac;
use crate::domain::power::{Action, PowerState};
use crate::domain::refusal::Refusal;
use crate::jobs::{
    BulkChoice, BulkRequest, BulkReview, Engine, HostChange, ImportMode, ImportRequest, NewHost,
    PowerAnswer, PowerChange, RebuildRequest,
};
use crate::plan::roster::{Change, Format};
use crate::web::{AskCluster, Operations, TypeOperations};

/// Records every request; refuses all of them when told so.
#[derive(Debug, Default, Clone)]
pub(crate) struct Recorder {
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    pub(crate) refusal: Arc<Mutex<Option<Refusal>>>,
    /// Composes answers and reads server types.
    pub(crate) engine: Arc<OnceLock<Engine>>,
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
    fn export_hosts(&self, format: Format) -> BoxFuture<'_, Result<String, Refusal>> {
        self.note(format!("export {format:?}"), "hostname,macs,server_type\r\n".to_owned())
    }
    fn import_hosts(
        &self,
        text: String,
        format: Format,
        mode: ImportMode,
    ) -> BoxFuture<'_, Result<Vec<Change>, Declined>> {
        self.asked.lock().unwrap().push(format!("import {format:?} {mode:?}"));
        let hosts = [super::sample::host(1, |_| ()), super::sample::host(2, |_| ())];
        let read = crate::plan::roster::read(&text, format).and_then(|entries| {
            crate::plan::roster::compare(&entries, &hosts, &|name| name.as_str() == "lab")
        });
        Box::pin(std::future::ready(read.map_err(Declined::Fields)))
    }
    fn change_host(&self, id: HostId, change: HostChange) -> BoxFuture<'_, Result<Host, Refusal>> {
        let host = super::sample::host(9, |h| h.id = id);
        self.note(format!("change {id} {:?}", change.macs), host)
    }
    fn types(&self) -> &dyn TypeOperations {
        self.engine.get().unwrap()
    }
    fn cluster(&self, ask: AskCluster) -> BoxFuture<'_, ClusterView> {
        let view = match ask {
            AskCluster::Now => super::catalog::cluster_view(),
            AskCluster::Never => ClusterView::default(),
        };
        Box::pin(async { view })
    }
    fn member_public_key(&self) -> BoxFuture<'_, Result<String, Refusal>> {
        self.note("member key".to_owned(), "ssh-ed25519 AAAA appliance".to_owned())
    }
    fn set_power(&self, id: HostId, change: PowerChange) -> BoxFuture<'_, Result<Host, Refusal>> {
        let host = super::sample::host(9, |h| {
            h.id = id;
            h.power = change.power.clone();
        });
        self.note(format!("power {} {:?}", change.power.method.name(), change.password), host)
    }
    fn power_state(&self, id: HostId) -> BoxFuture<'_, Result<PowerAnswer, Refusal>> {
        let untrusted = Some(crate::domain::fingerprint::Fingerprint([0xab; 32]));
        let said = "no certificate is trusted yet".to_owned();
        self.note(
            format!("power state {id}"),
            PowerAnswer { state: PowerState::Unknown, said, untrusted },
        )
    }
    fn switch_power(
        &self,
        _: HostId,
        action: Action,
        confirm: String,
    ) -> BoxFuture<'_, Result<PowerAnswer, Refusal>> {
        let said = "the controller took it".to_owned();
        let answer = PowerAnswer { state: PowerState::Unknown, said, untrusted: None };
        self.note(format!("switch {} {confirm}", action.as_str()), answer)
    }
    fn delete_host(&self, host: HostId) -> BoxFuture<'_, Result<(), Refusal>> {
        self.note(format!("delete {host}"), ())
    }
    fn rebuild(&self, _: HostId, request: RebuildRequest) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("rebuild {} {}", request.confirm, request.replace_node), job())
    }
    fn review_rebuilds(&self, choice: BulkChoice) -> BoxFuture<'_, Result<BulkReview, Refusal>> {
        self.note(format!("review {} hosts", choice.hosts.len()), super::bulk::review(&choice))
    }
    fn rebuild_many(&self, request: BulkRequest) -> BoxFuture<'_, Result<JobId, Refusal>> {
        let BulkRequest { choice, seal, confirm, at_once, stop_after } = request;
        let hosts = choice.hosts.len();
        let asked = format!("rebuild {hosts} hosts {seal} {confirm} {at_once} {stop_after}");
        let refusal = super::bulk::refusal(&choice, &seal, &confirm);
        self.asked.lock().unwrap().push(asked);
        Box::pin(async move { refusal.map_or(Ok(job()), Err) })
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
