//! Operations on guests as the browser meets them: a small world that lives in the store, without a cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use ironhatch::domain::app::*;
use ironhatch::domain::boundary::{Boundary, Caps, GpuPolicy};
use ironhatch::domain::discovery::{
    ClusterLook, ClusterView, Discovery, MemberLook, NodeFacts, Review, ReviewLine, StorageFacts,
};
use ironhatch::domain::event::Level;
use ironhatch::domain::form::{Declined, FieldError, Submitted};
use ironhatch::domain::gpu::GpuReport;
use ironhatch::domain::guest::*;
use ironhatch::domain::id::{GuestId, JobId, NodeName, StorageId};
use ironhatch::domain::job::*;
use ironhatch::domain::refusal::{Refusal, RefusalKind};
use ironhatch::domain::secret::Secret;
use ironhatch::domain::vmid::Vmid;
use ironhatch::jobs::EnrollRequest;
use ironhatch::plan::guest::journal::{Journal, JournalAsk};
use ironhatch::store::{GuestReads as _, GuestWriteError, JobReads as _, Store};
use ironhatch::web::{Archives, GuestOperations, Site, Vitals};

use super::{now, refused};

/// One orange pixel, a PNG.
const ICON: &[u8] = b"\x89\x50\x4e\x47\x0d\x0a\x1a\x0a\x00\x00\x00\x0d\x49\x48\x44\x52\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90\x77\x53\xde\x00\x00\x00\x0c\x49\x44\x41\x54\x78\x9c\x63\xb8\x90\xa0\x00\x00\x03\x54\x01\x51\x66\xc7\xb1\x5e\x00\x00\x00\x00\x49\x45\x4e\x44\xae\x42\x60\x82";

/// The one guest of the walk.
pub(super) fn guest_id() -> GuestId {
    GuestId(uuid::Uuid::from_u128(0x61))
}

/// Its installation.
pub(super) fn install_id() -> JobId {
    JobId(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001))
}

fn uninstall_id() -> JobId {
    JobId(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0002))
}

pub(super) struct World {
    pub(super) store: Store,
}

async fn write<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&mut ironhatch::store::Tx<'_, '_>) -> Result<T, GuestWriteError> + Send + 'static,
) -> T {
    store.write(work).await.unwrap()
}

fn job(id: JobId, name: &str, task: GuestTask, steps: &[(&str, &str)]) -> Job {
    let step = |(id, title): &(&str, &str)| {
        Step::pending(id.parse().unwrap(), (*title).to_owned(), StepClass::Inspect)
    };
    Job {
        id,
        work: Work::Guest(GuestWork {
            guest: guest_id(),
            name: name.parse().unwrap(),
            task,
            parent: None,
            pending: None,
        }),
        status: JobStatus::Pending,
        created: now(),
        started: None,
        finished: None,
        steps: steps.iter().map(step).collect(),
        failure: None,
        cancel_requested: false,
    }
}

impl World {
    async fn begin_install(&self, form: &Submitted) -> JobId {
        let name = form.get("name").unwrap().to_owned();
        let job = job(
            install_id(),
            &name,
            GuestTask::Install { app: "static-website".parse().unwrap() },
            &[
                ("create_container", "Create the container"),
                ("provision", "Provision the app"),
                ("healthcheck", "Check that it answers"),
            ],
        );
        let guest = Guest {
            id: guest_id(),
            vmid: Vmid::MIN,
            node: "pve1".parse().unwrap(),
            name: name.parse().unwrap(),
            app: Some(InstalledApp {
                id: "static-website".parse().unwrap(),
                version: "1.0.0".into(),
                source: "built-in".into(),
                hash: ContentHash("a".repeat(64)),
                inputs: BTreeMap::new(),
            }),
            spec: GuestSpec {
                storage: "local-zfs".parse().unwrap(),
                cores: 1,
                memory_mb: 512,
                swap_mb: 512,
                disk_gb: 4,
                unprivileged: true,
                features: vec![],
                network: GuestNetwork {
                    bridge: "vmbr0".parse().unwrap(),
                    vlan: None,
                    ipv4: Ipv4Config::Dhcp,
                },
                volumes: vec![],
                gpu: vec![],
                onboot: true,
                start: true,
                monitored: false,
                description: String::new(),
                ostemplate: None,
            },
            state: GuestState::Installing,
            state_since: now(),
            failure: None,
            active_job: Some(job.id),
            address: None,
            outputs: vec![],
            restore_point: None,
            service: None,
            adopted: None,
            stack_of: None,
            created: now(),
        };
        let id = job.id;
        write(&self.store, move |tx| {
            tx.save_job(&job)?;
            tx.save_guest(&guest, "the installation began")
        })
        .await;
        id
    }

    /// A step of a job begins or ends, with a line in its log.
    pub(super) async fn step(
        &self,
        id: JobId,
        step: &'static str,
        status: StepStatus,
        line: &'static str,
    ) {
        write(&self.store, move |tx| {
            let mut job = tx.job(id)?.expect("the job is there");
            tx.set_step(&mut job, step, status, "")?;
            tx.log(&job, Some(&step.parse().unwrap()), Level::Info, line)?;
            Ok(())
        })
        .await;
    }

    /// The installation ends well.
    pub(super) async fn installed(&self) {
        write(&self.store, |tx| {
            let mut job = tx.job(install_id())?.expect("the job is there");
            job.status = JobStatus::Succeeded;
            job.finished = Some(now());
            tx.save_job(&job)?;
            let mut guest = tx.guest(guest_id())?.expect("the guest is there");
            guest.active_job = None;
            guest.address = Some([192, 0, 2, 60].into());
            guest.outputs = vec![OutputValue {
                key: "url".into(),
                label: "Address".into(),
                kind: OutputKind::Url,
                value: Some("http://192.0.2.60/".into()),
            }];
            guest.step(GuestEvent::Verified, tx.now()).expect("it was being installed");
            tx.save_guest(&guest, "it is ready")
        })
        .await;
    }

    /// A guest with a long name and a long way through its installation.
    pub(super) async fn fill(&self) {
        let mut form = Submitted::default();
        form.set("name", "a-guest-with-quite-a-long-name-in-the-second-rack-from-the-left");
        self.begin_install(&form).await;
        let line = "Unpacking /usr/lib/x86_64-linux-gnu/a/very/long/path/without/any/blank/in/it/libssl3.so.3";
        self.step(install_id(), "create_container", StepStatus::Running, line).await;
        self.installed().await;
    }

    /// The removal ends.
    pub(super) async fn removed(&self) {
        write(&self.store, |tx| {
            let guest = tx.guest(guest_id())?.expect("the guest is there");
            tx.delete_guest(&guest, "it is gone")?;
            Ok(())
        })
        .await;
    }
}

fn input(key: &str, label: &str, kind: InputKind) -> Input {
    Input {
        key: key.into(),
        label: label.into(),
        kind,
        default: None,
        required: false,
        help: String::new(),
        group: String::new(),
        show_when: None,
        reconfigure: true,
    }
}

fn app(id: &str, name: &str, description: &str, category: &str) -> CatalogApp {
    let text = InputKind::String { regex: None, regex_hint: None, min_length: 0, max_length: 80 };
    let mut password = input(
        "password",
        "Password",
        InputKind::Secret { min_length: 8, max_length: 80, generate: true },
    );
    password.show_when =
        Some(ShowWhen { key: "protect".into(), values: vec![InputValue::Boolean(true)] });
    CatalogApp {
        manifest: Manifest {
            id: id.parse().unwrap(),
            name: name.into(),
            version: "1.0.0".into(),
            description: description.into(),
            categories: vec![category.into()],
            tags: vec![if id == "static-website" { "profile" } else { "web" }.into()],
            homepage: None,
            license: None,
            maintainers: vec![],
            featured: id == "static-website",
            min_pve: None,
            lxc: LxcDefaults {
                ostemplate: "debian-12".into(),
                unprivileged: true,
                cores: 1,
                memory_mb: 512,
                swap_mb: 512,
                disk_gb: 4,
                min_memory_mb: 128,
                min_disk_gb: 2,
                bridge: None,
                storage: None,
                features: vec![],
                onboot: true,
            },
            inputs: vec![
                input("title", "Title", text),
                input("protect", "Ask for a password", InputKind::Boolean),
                password,
            ],
            provision: Provision {
                kind: ProvisionKind::Packages {
                    packages: vec!["nginx".into()],
                    services: vec!["nginx".into()],
                    script: None,
                },
                env: BTreeMap::new(),
                assets: vec![],
                timeout_sec: 600,
                user: "root".into(),
                redact_keys: vec![],
                upgrade: None,
                uninstall: None,
                retry_safe: true,
                keep_assets: false,
            },
            healthcheck: None,
            outputs: vec![],
            gpu: None,
            mounts: vec![],
            expose: Some(Expose { port: 80, public: true, health_path: None }),
            metrics: vec![],
            node_exporter: NodeExporter::Ask,
        },
        provenance: Provenance {
            source: "built-in".into(),
            commit: None,
            hash: ContentHash("a".repeat(64)),
            exercised: true,
            icon: id == "static-website",
            updated: None,
        },
        readme: format!("# {name}\n\nServes **files** from `/srv/site`.\n\n* quick\n* small\n"),
    }
}

impl GuestOperations for World {
    fn site(&self) -> Site {
        Site {
            boundary: Boundary {
                pool: "ironhatch".parse().unwrap(),
                nodes: vec![],
                storages: vec!["local-zfs".parse().unwrap()],
                backup_storages: vec!["backup".parse().unwrap()],
                template_storage: "local".parse().unwrap(),
                bridges: vec!["vmbr0".parse().unwrap()],
                zones: Default::default(),
                vlans: vec![],
                caps: Caps { cores: 8, memory_mb: 16_384, disk_gb: 200 },
                vmids: Vmid::MIN..=Vmid::MAX,
                reserved_vmids: vec![],
                reserved_addresses: vec![],
                features: vec![],
                allow_privileged: false,
                gpu: GpuPolicy::Nobody,
            },
            jobs_at_once: 2,
            publishes: true,
        }
    }
    fn catalog(&self) -> Arc<Catalog> {
        Arc::new(Catalog {
            apps: vec![
                app("static-website", "Static Website", "A web server with one site.", "Web"),
                app("redis", "Redis cache", "Keeps values in memory.", "database"),
                app("jellyfin", "Jellyfin", "Streams video and music to every room.", "media"),
            ],
            broken: vec![],
            sources: vec![],
        })
    }
    fn icon(&self, app: AppId) -> BoxFuture<'_, Result<Option<Vec<u8>>, Refusal>> {
        let icon = (app.as_str() == "static-website").then(|| ICON.to_vec());
        Box::pin(async { Ok(icon) })
    }
    fn refresh_catalog(&self, _: Option<String>) -> BoxFuture<'_, Result<Vec<JobId>, Refusal>> {
        refused()
    }
    fn discovery(&self) -> BoxFuture<'_, Result<Arc<Discovery>, Refusal>> {
        let storage = StorageFacts {
            id: "local-zfs".parse().unwrap(),
            kind: "zfspool".into(),
            content: vec!["rootdir".into()],
            shared: false,
            free_gb: 300,
            total_gb: 480,
        };
        let node = NodeFacts {
            name: "pve1".parse().unwrap(),
            address: [192, 0, 2, 21].into(),
            usable: true,
            problem: String::new(),
            release: "9.2".into(),
            cores: 8,
            memory_mb: 32_768,
            free_memory_mb: 20_480,
            storages: vec![storage],
            bridges: vec!["vmbr0".parse().unwrap()],
            templates: vec![],
            downloadable: vec![],
            gpu: GpuReport::default(),
        };
        let found = Discovery {
            seen: now(),
            nodes: vec![node],
            taken_vmids: vec![],
            taken_addresses: vec![],
            taken_names: vec![],
            taken_domains: vec![],
            problems: vec![],
        };
        Box::pin(async move { Ok(Arc::new(found)) })
    }
    fn defaults(&self, _: AppId) -> BoxFuture<'_, Result<Submitted, Refusal>> {
        let mut form = Submitted::default();
        for (name, value) in [
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
        ] {
            form.set(name, value);
        }
        Box::pin(async move { Ok(form) })
    }
    fn review(&self, _: AppId, form: Submitted) -> BoxFuture<'_, Result<Review, Declined>> {
        let title = form.get("input.title").unwrap_or_default().to_owned();
        let name = form.get("name").unwrap_or_default().to_owned();
        Box::pin(async move {
            if title.is_empty() {
                let error = FieldError::new("input.title", "Title is needed");
                return Err(Declined::Fields(vec![error]));
            }
            let line = |what: &str, detail: String| ReviewLine { what: what.into(), detail };
            Ok(Review {
                lines: vec![
                    line("Create the container", format!("{name} on pve1")),
                    line("Provision the app", "packages nginx".into()),
                    line("Check that it answers", "HTTP port 80".into()),
                ],
                service: Some(format!("name: {name}\ntype: proxy\n")),
                warnings: vec![],
            })
        })
    }
    fn install(&self, _: AppId, form: Submitted) -> BoxFuture<'_, Result<JobId, Declined>> {
        Box::pin(async move { Ok(self.begin_install(&form).await) })
    }
    fn retry_install(&self, _: GuestId) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn uninstall(
        &self,
        _: GuestId,
        _: bool,
        confirm: String,
    ) -> BoxFuture<'_, Result<JobId, Refusal>> {
        Box::pin(async move {
            let guest: Result<_, GuestWriteError> =
                self.store.read(|read| Ok(read.guest(guest_id())?)).await;
            let guest = guest.unwrap().unwrap();
            if confirm != guest.name.as_str() {
                let detail = "The guest's name was not typed as it is.";
                let hint = format!("Type {} to confirm.", guest.name);
                return Err(Refusal::new(RefusalKind::Unprocessable, detail, hint));
            }
            let task = GuestTask::Uninstall { keep_volumes: false, destroy_failed: false };
            let job = job(uninstall_id(), &confirm, task, &[("destroy", "Destroy the container")]);
            write(&self.store, move |tx| Ok(tx.save_job(&job)?)).await;
            Ok(uninstall_id())
        })
    }
    fn reconfigure(&self, _: GuestId, _: Submitted) -> BoxFuture<'_, Result<JobId, Declined>> {
        Box::pin(async { Err(refused::<JobId>().await.unwrap_err().into()) })
    }
    fn upgrade(&self, _: GuestId) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn return_to_restore_point(&self, _: GuestId) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn power(&self, _: GuestId, _: PowerAction) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn backup(&self, _: GuestId, _: Option<StorageId>) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn backups(&self, _: GuestId) -> BoxFuture<'_, Result<Archives, Refusal>> {
        Box::pin(async { Ok(Archives::default()) })
    }
    fn restore(
        &self,
        _: GuestId,
        _: String,
        _: Option<NodeName>,
        _: String,
    ) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn observe(&self, _: NodeName, _: Vmid) -> BoxFuture<'_, Result<Guest, Refusal>> {
        refused()
    }
    fn adopt(&self, _: GuestId, _: String) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn forget(&self, _: GuestId) -> BoxFuture<'_, Result<(), Refusal>> {
        refused()
    }
    fn forget_volumes(&self, _: Vmid, _: String) -> BoxFuture<'_, Result<(), Refusal>> {
        refused()
    }
    fn publish(&self, _: GuestId) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn journal(&self, _: GuestId, ask: JournalAsk) -> BoxFuture<'_, Result<Journal, Refusal>> {
        let line = |n: u32| format!("2026-11-20T18:00:{n:02}+0000 club nginx[{n}]: line {n}");
        let lines = (0..ask.lines().min(40)).map(line).collect();
        Box::pin(async { Ok(Journal { lines, cut: false, unit: None }) })
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
            uptime: 61,
            addresses: vec![[192, 0, 2, 60].into()],
            console: "https://192.0.2.21:8006/?console=lxc&vmid=100".into(),
            problem: String::new(),
        };
        Box::pin(async move { Ok(vitals) })
    }
    fn reveal(&self, _: GuestId, _: String) -> BoxFuture<'_, Result<Secret<String>, Refusal>> {
        refused()
    }
    fn enroll_node(&self, _: EnrollRequest) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
    fn enroll_command(&self) -> BoxFuture<'_, Result<Secret<String>, Refusal>> {
        refused()
    }
    fn revoke_node(&self, _: NodeName) -> BoxFuture<'_, Result<JobId, Refusal>> {
        refused()
    }
}

/// Two members, one of them away.
pub(super) fn cluster_view() -> ClusterView {
    let member = MemberLook {
        name: "pve1".into(),
        online: true,
        version: "9.2.11".into(),
        cores: 8,
        memory_mb: 32_768,
        used_memory_mb: 12_288,
        uptime_secs: 273_600,
        guests: 3,
        running: 2,
    };
    let away = MemberLook { name: "pve2".into(), online: false, ..member.clone() };
    let look = ClusterLook { seen: now(), quorate: Some(true), members: vec![member, away] };
    ClusterView { look: Some(Arc::new(look)), error: None, is_named: false }
}
