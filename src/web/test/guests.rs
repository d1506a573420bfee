//! Operations on guests that write down what they were asked and answer from the small catalog.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;

use super::catalog::{discovery, shared, site};
use super::sample::ago;
use crate::domain::app::{AppId, Catalog};
use crate::domain::discovery::{Discovery, Review, ReviewLine};
use crate::domain::form::{Declined, Submitted};
use crate::domain::guest::{Guest, sample};
use crate::domain::id::{GuestId, JobId, NodeName, StorageId};
use crate::domain::job::PowerAction;
use crate::domain::refusal::Refusal;
use crate::domain::secret::Secret;
use crate::domain::vmid::Vmid;
use crate::jobs::EnrollRequest;
use crate::plan::guest::journal::{Journal, JournalAsk};
use crate::web::{Archive, Archives, GuestOperations, Site, Vitals};

/// What `reveal` gives out: must be nowhere else.
pub(crate) const REVEALED: &str = "r3v34led-s3cret";

/// Records every request; refuses all changes when told so.
#[derive(Default, Clone)]
pub(crate) struct GuestRecorder {
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    pub(crate) refusal: Arc<Mutex<Option<Declined>>>,
    /// The last form that was reviewed or installed.
    pub(crate) form: Arc<Mutex<Submitted>>,
}

impl GuestRecorder {
    fn declined(&self, asked: String) -> Option<Declined> {
        self.asked.lock().unwrap().push(asked);
        self.refusal.lock().unwrap().clone()
    }

    fn note<T: Send + 'static>(
        &self,
        asked: String,
        answer: T,
    ) -> BoxFuture<'_, Result<T, Refusal>> {
        let refusal = match self.declined(asked) {
            Some(Declined::Refused(refusal)) => Some(refusal),
            _ => None,
        };
        Box::pin(async move { refusal.map_or(Ok(answer), Err) })
    }

    fn form<T: Send + 'static>(
        &self,
        asked: String,
        form: Submitted,
        answer: T,
    ) -> BoxFuture<'_, Result<T, Declined>> {
        *self.form.lock().unwrap() = form;
        let declined = self.declined(asked);
        Box::pin(async move { declined.map_or(Ok(answer), Err) })
    }
}

pub(crate) fn job() -> JobId {
    super::scene::job_id(0x4e)
}

fn review() -> Review {
    let line = |what: &str, detail: &str| ReviewLine { what: what.into(), detail: detail.into() };
    Review {
        lines: vec![
            line("Choose a number", "from 100 to 999"),
            line("Create the container", "web1 on pve1, 1 core, 512 MiB, 4 GiB on local-zfs"),
            line("Provision Static Website 1.1.0", "packages nginx"),
            line("Check that it answers", "HTTP port 80, /"),
        ],
        service: Some(
            "name: web1\ntype: proxy\ndomain: web1.example.net\nbackend: 192.0.2.60:80\n".into(),
        ),
        warnings: vec!["The volume 'site' is left out.".into()],
    }
}

impl GuestOperations for GuestRecorder {
    fn site(&self) -> Site {
        site()
    }
    fn catalog(&self) -> Arc<Catalog> {
        shared()
    }
    fn icon(&self, app: AppId) -> BoxFuture<'_, Result<Option<Vec<u8>>, Refusal>> {
        let icon = (app.as_str() == "jellyfin").then(|| b"\x89PNG\r\n\x1a\n".to_vec());
        Box::pin(async { Ok(icon) })
    }
    fn refresh_catalog(
        &self,
        source: Option<String>,
    ) -> BoxFuture<'_, Result<Vec<JobId>, Refusal>> {
        self.note(format!("refresh {source:?}"), vec![job()])
    }
    fn discovery(&self) -> BoxFuture<'_, Result<Arc<Discovery>, Refusal>> {
        Box::pin(async { Ok(Arc::new(discovery())) })
    }
    fn defaults(&self, app: AppId) -> BoxFuture<'_, Result<Submitted, Refusal>> {
        let mut form = Submitted::default();
        for (name, value) in [
            ("name", app.as_str()),
            ("storage", "local-zfs"),
            ("cores", "1"),
            ("memory_mb", "512"),
            ("swap_mb", "512"),
            ("disk_gb", "4"),
            ("onboot", "true"),
            ("start", "true"),
            ("bridge", "vmbr0"),
            ("ipv4", "dhcp"),
            ("expose", "none"),
            ("monitoring", "false"),
            ("gpu", "none"),
            ("input.theme", "plain"),
            ("input.workers", "2"),
            ("input.protect", "false"),
        ] {
            form.set(name, value);
        }
        Box::pin(async move { Ok(form) })
    }
    fn review(&self, app: AppId, form: Submitted) -> BoxFuture<'_, Result<Review, Declined>> {
        self.form(format!("review {app}"), form, review())
    }
    fn install(&self, app: AppId, form: Submitted) -> BoxFuture<'_, Result<JobId, Declined>> {
        self.form(format!("install {app}"), form, job())
    }
    fn retry_install(&self, guest: GuestId) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("retry {guest}"), job())
    }
    fn uninstall(
        &self,
        _: GuestId,
        keep_volumes: bool,
        confirm: String,
    ) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("uninstall {confirm} {keep_volumes}"), job())
    }
    fn reconfigure(&self, _: GuestId, form: Submitted) -> BoxFuture<'_, Result<JobId, Declined>> {
        self.form("reconfigure".to_owned(), form, job())
    }
    fn upgrade(&self, guest: GuestId) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("upgrade {guest}"), job())
    }
    fn return_to_restore_point(&self, guest: GuestId) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("return {guest}"), job())
    }
    fn power(&self, _: GuestId, action: PowerAction) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("power {}", action.as_str()), job())
    }
    fn backup(
        &self,
        _: GuestId,
        storage: Option<StorageId>,
    ) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("backup {storage:?}"), job())
    }
    fn backups(&self, _: GuestId) -> BoxFuture<'_, Result<Archives, Refusal>> {
        let archive = Archive {
            volid: "backup:backup/vzdump-lxc-101-2026_11_19-03_00_00.tar.zst".into(),
            storage: "backup".parse().unwrap(),
            node: "pve1".parse().unwrap(),
            size: 268_435_456,
            made: ago(86_400),
        };
        let problems = vec!["tank: pve2 is down".to_owned()];
        Box::pin(async move { Ok(Archives { found: vec![archive], problems }) })
    }
    fn restore(
        &self,
        _: GuestId,
        archive: String,
        node: Option<NodeName>,
        confirm: String,
    ) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("restore {archive} {node:?} {confirm}"), job())
    }
    fn observe(&self, node: NodeName, vmid: Vmid) -> BoxFuture<'_, Result<Guest, Refusal>> {
        self.note(format!("observe {node} {vmid}"), sample::guest(vmid.get()))
    }
    fn adopt(&self, _: GuestId, confirm: String) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("adopt {confirm}"), job())
    }
    fn forget(&self, guest: GuestId) -> BoxFuture<'_, Result<(), Refusal>> {
        self.note(format!("forget {guest}"), ())
    }
    fn forget_volumes(&self, vmid: Vmid, confirm: String) -> BoxFuture<'_, Result<(), Refusal>> {
        self.note(format!("forget volumes {vmid} {confirm}"), ())
    }
    fn publish(&self, guest: GuestId) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("publish {guest}"), job())
    }
    fn vitals(&self, _: GuestId) -> BoxFuture<'_, Result<Vitals, Refusal>> {
        let vitals = Vitals {
            status: "running".into(),
            cpu: 0.034,
            memory: 100 << 20,
            memory_max: 512 << 20,
            disk: 900 << 20,
            disk_max: 4 << 30,
            network_in: 12 << 20,
            network_out: 3 << 20,
            uptime: 3_700,
            addresses: vec![[192, 0, 2, 60].into()],
            console: "https://192.0.2.21:8006/?console=lxc&vmid=101".into(),
            problem: String::new(),
        };
        Box::pin(async move { Ok(vitals) })
    }
    fn journal(&self, guest: GuestId, ask: JournalAsk) -> BoxFuture<'_, Result<Journal, Refusal>> {
        let unit = ask.unit().map(str::to_owned);
        let lines = vec![
            "2026-11-20T18:00:01+0000 web101 systemd[1]: Started nginx.service".to_owned(),
            "2026-11-20T18:00:02+0000 web101 nginx[33]: <b>not markup</b>".to_owned(),
        ];
        self.note(format!("journal {guest} {ask:?}"), Journal { lines, cut: false, unit })
    }
    fn reveal(&self, _: GuestId, key: String) -> BoxFuture<'_, Result<Secret<String>, Refusal>> {
        self.note(format!("reveal {key}"), Secret::new(REVEALED.to_owned()))
    }
    fn enroll_node(&self, request: EnrollRequest) -> BoxFuture<'_, Result<JobId, Refusal>> {
        let length = request.password.map_or(0, |p| p.expose().len());
        self.note(format!("enroll {} {length}", request.address), job())
    }
    fn enroll_command(&self) -> BoxFuture<'_, Result<Secret<String>, Refusal>> {
        let command = "curl -fsS http://192.0.2.10:8080/enroll/once | sh";
        self.note("enroll command".to_owned(), Secret::new(command.to_owned()))
    }
    fn revoke_node(&self, node: NodeName) -> BoxFuture<'_, Result<JobId, Refusal>> {
        self.note(format!("revoke {node}"), job())
    }
}
