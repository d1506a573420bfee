//! A small catalog and cluster with fixed values, for tests.

use std::sync::Arc;

use super::sample::{NOW, ago};
use crate::domain::app::*;
use crate::domain::boundary::{Boundary, Caps, GpuPolicy};
use crate::domain::discovery::{
    ClusterLook, ClusterView, Discovery, MemberLook, NodeFacts, StorageFacts,
};
use crate::domain::gpu::{Gpu, GpuProfile, GpuReport, GpuVendor};
use crate::domain::node::EnrolledNode;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::domain::vmid::Vmid;
use crate::web::Site;

fn text(key: &str, label: &str) -> Input {
    Input {
        key: key.into(),
        label: label.into(),
        kind: InputKind::String { regex: None, regex_hint: None, min_length: 0, max_length: 80 },
        default: None,
        required: false,
        help: String::new(),
        group: String::new(),
        show_when: None,
        reconfigure: true,
    }
}

fn manifest(id: &str, name: &str, description: &str, category: &str, tag: &str) -> Manifest {
    Manifest {
        id: id.parse().unwrap(),
        name: name.into(),
        version: "1.1.0".into(),
        description: description.into(),
        categories: vec![category.into()],
        tags: vec![tag.into()],
        homepage: Some("https://example.org/".into()),
        license: Some("MIT".into()),
        maintainers: vec![],
        featured: false,
        min_pve: Some("8.2".into()),
        lxc: LxcDefaults {
            ostemplate: "debian-12".into(),
            unprivileged: true,
            cores: 1,
            memory_mb: 512,
            swap_mb: 512,
            disk_gb: 4,
            min_memory_mb: 256,
            min_disk_gb: 2,
            bridge: None,
            storage: None,
            features: vec![Feature::Nesting],
            onboot: true,
        },
        inputs: vec![],
        provision: Provision {
            kind: ProvisionKind::Packages {
                packages: vec!["nginx".into()],
                services: vec!["nginx".into()],
                script: None,
            },
            env: Default::default(),
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
        expose: None,
        metrics: vec![],
        node_exporter: NodeExporter::Ask,
    }
}

fn entry(manifest: Manifest, source: &str, exercised: bool, readme: &str) -> CatalogApp {
    let hash = ContentHash(format!("{:0<64}", manifest.id.as_str().len()));
    let commit = (source != "built-in").then(|| "4f1c".repeat(10));
    let icon = manifest.id.as_str() == "jellyfin";
    let updated = (source != "built-in").then(|| ago(86_400));
    let provenance = Provenance { source: source.into(), commit, hash, exercised, icon, updated };
    CatalogApp { manifest, provenance, readme: readme.into() }
}

fn website() -> CatalogApp {
    let mut manifest =
        manifest("static-website", "Static Website", "A web server with one site.", "Web", "web");
    manifest.tags.push("profile".into());
    manifest.featured = true;
    manifest.expose = Some(Expose { port: 80, public: true, health_path: Some("/".into()) });
    let protect = Input {
        kind: InputKind::Boolean,
        default: Some(InputValue::Boolean(false)),
        group: "Access".into(),
        ..text("protect", "Ask for a password")
    };
    let password = Input {
        kind: InputKind::Secret { min_length: 8, max_length: 100, generate: true },
        required: true,
        group: "Access".into(),
        show_when: Some(ShowWhen {
            key: "protect".into(),
            values: vec![InputValue::Boolean(true)],
        }),
        ..text("admin_password", "Password")
    };
    let theme = Input {
        kind: InputKind::Select {
            options: vec![
                Choice { value: "plain".into(), label: "Plain".into() },
                Choice { value: "dark".into(), label: "Dark".into() },
            ],
        },
        default: Some(InputValue::Text("plain".into())),
        required: true,
        ..text("theme", "Theme")
    };
    let workers = Input {
        kind: InputKind::Number { min: Some(1.0), max: Some(16.0), integer: true },
        default: Some(InputValue::Number(2.0)),
        help: "Processes that answer at once.".into(),
        ..text("workers", "Workers")
    };
    let title = Input { required: true, ..text("title", "Title") };
    manifest.inputs = vec![title, theme, workers, protect, password];
    manifest.mounts = vec![Mount {
        key: "site".into(),
        label: "Site's files".into(),
        path: "/srv/site".into(),
        size_gb: 8,
        optional: true,
        backup: true,
    }];
    let readme = "# Static Website\n\nServes **files**.\n\n<script>alert(1)</script>\n\n\
                  [docs](https://example.org/docs) and [bad](javascript:alert(1))\n";
    entry(manifest, "built-in", true, readme)
}

/// Three apps of two sources, one of them broken in part.
pub(crate) fn catalog() -> Catalog {
    let redis = manifest("redis", "Redis cache", "Keeps values in memory.", "database", "cache");
    let mut jellyfin =
        manifest("jellyfin", "Jellyfin", "Streams video and music.", "media", "video");
    jellyfin.provision.kind = ProvisionKind::Script { script: "provision/install.sh".into() };
    jellyfin.gpu = Some(GpuNeed {
        supported: vec![GpuVendor::Intel, GpuVendor::Amd],
        required: false,
        profiles: vec![GpuProfile::DriRender],
        notes: "Transcodes in hardware.".into(),
        libraries: vec!["vaapi".into()],
        user: "root".into(),
        check: Vec::new(),
    });
    let source = |name: &str, location: &str, secs, problem: Option<&str>| SourceStatus {
        name: name.into(),
        location: location.into(),
        commit: (name != "built-in").then(|| "4f1c".repeat(10)),
        refreshed: Some(ago(secs)),
        problem: problem.map(str::to_owned),
    };
    Catalog {
        apps: vec![
            website(),
            entry(redis, "lab", true, ""),
            entry(jellyfin, "built-in", false, "Streams."),
        ],
        broken: vec![BrokenApp {
            folder: "apps/gitea".into(),
            source: "lab".into(),
            problems: vec!["app.toml:12:3: unknown field 'imputs', did you mean 'inputs'?".into()],
        }],
        sources: vec![
            source("built-in", "built in", 90_000, None),
            source(
                "lab",
                "https://git.example.net/apps.git main",
                600,
                Some("The server did not answer within 30 s."),
            ),
        ],
    }
}

/// An Intel GPU that works.
pub(crate) fn gpu() -> Gpu {
    Gpu {
        address: "0000:00:02.0".parse().unwrap(),
        vendor: GpuVendor::Intel,
        device: 0x9bc5,
        name: "UHD Graphics 630".into(),
        driver: Some("i915".into()),
        render_node: Some("/dev/dri/renderD128".into()),
        card_node: Some("/dev/dri/card0".into()),
        nvidia_minor: None,
        driver_version: None,
    }
}

/// An NVIDIA GPU that works.
pub(crate) fn nvidia() -> Gpu {
    Gpu {
        address: "0000:01:00.0".parse().unwrap(),
        vendor: GpuVendor::Nvidia,
        device: 0x1f02,
        name: "GeForce RTX 2070".into(),
        driver: Some("nvidia".into()),
        render_node: None,
        card_node: None,
        nvidia_minor: Some(0),
        driver_version: Some("550.163.01".into()),
    }
}

fn report(gpus: Vec<Gpu>) -> GpuReport {
    GpuReport { gpus, shared_nodes: vec![], nvidia_problem: String::new() }
}

fn node(n: u8, gpus: Vec<Gpu>) -> NodeFacts {
    NodeFacts {
        name: format!("pve{n}").parse().unwrap(),
        address: [192, 0, 2, 20 + n].into(),
        usable: true,
        problem: String::new(),
        release: "9.2".into(),
        cores: 8,
        memory_mb: 32_768,
        free_memory_mb: 20_480,
        storages: vec![StorageFacts {
            id: "local-zfs".parse().unwrap(),
            kind: "zfspool".into(),
            content: vec!["rootdir".into()],
            shared: false,
            free_gb: 300,
            total_gb: 480,
        }],
        bridges: vec!["vmbr0".parse().unwrap()],
        templates: vec![],
        downloadable: vec![],
        gpu: report(gpus),
    }
}

/// Three members that do not agree with what is recorded, seen before the cluster stopped to answer.
pub(crate) fn cluster_view() -> ClusterView {
    let member = |name: &str, online: bool, version: &str| MemberLook {
        name: name.into(),
        online,
        version: version.into(),
        cores: 8,
        memory_mb: 32_768,
        used_memory_mb: if online { 12_288 } else { 0 },
        uptime_secs: if online { 273_600 } else { 0 },
        guests: 3,
        running: if online { 2 } else { 0 },
    };
    let members = vec![
        member("pve1", true, "9.2.11"),
        member("pve2", true, "9.1.4"),
        member("pve9", false, ""),
    ];
    let look = ClusterLook { seen: ago(12), quorate: Some(false), members };
    let error = Refusal::new(
        RefusalKind::Unavailable,
        "no member of the cluster answered",
        "see whether its nodes are reachable",
    );
    ClusterView { look: Some(Arc::new(look)), error: Some(error), is_named: false }
}

/// Two nodes, one of them with two GPUs.
pub(crate) fn discovery() -> Discovery {
    Discovery {
        seen: NOW,
        nodes: vec![node(1, vec![gpu(), nvidia()]), node(2, vec![])],
        taken_vmids: vec![],
        taken_addresses: vec![],
        taken_names: vec![],
        taken_domains: vec![],
        problems: vec![],
    }
}

/// What the configuration approves.
pub(crate) fn site() -> Site {
    Site {
        boundary: Boundary {
            pool: "ironhatch".parse().unwrap(),
            nodes: vec![],
            storages: vec!["local-zfs".parse().unwrap()],
            backup_storages: vec!["backup".parse().unwrap()],
            template_storage: "local".parse().unwrap(),
            bridges: vec!["vmbr0".parse().unwrap()],
            zones: Default::default(),
            vlans: vec![0, 20],
            caps: Caps { cores: 8, memory_mb: 16_384, disk_gb: 200 },
            vmids: Vmid::MIN..=Vmid::try_from(999).unwrap(),
            reserved_vmids: vec![],
            reserved_addresses: vec![],
            features: vec![Feature::Nesting],
            allow_privileged: false,
            gpu: GpuPolicy::Everybody,
        },
        jobs_at_once: 2,
        publishes: true,
    }
}

/// The first node of [`discovery`], as it was enrolled.
pub(crate) fn enrolled(n: u8, problem: &str) -> EnrolledNode {
    EnrolledNode {
        name: format!("pve{n}").parse().unwrap(),
        address: [192, 0, 2, 20 + n].into(),
        api_fingerprint: "ab".repeat(32),
        ssh_host_keys: vec!["ssh-ed25519 AAAA".into()],
        release: "9.2".into(),
        token_id: "ironhatch@pve!apps".into(),
        host: None,
        enrolled: ago(5_000),
        gpu: report(if n == 1 { vec![gpu(), nvidia()] } else { vec![] }),
        gpu_seen: Some(ago(300)),
        problem: problem.into(),
    }
}

/// The catalog as operations give it.
pub(crate) fn shared() -> Arc<Catalog> {
    Arc::new(catalog())
}
