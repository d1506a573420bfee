//! One site, one app and one guest for tests.

use std::collections::BTreeMap;

use crate::domain::app::{
    CatalogApp, Choice, ContentHash, Expose, Feature, GpuNeed, HealthCheck, HealthKind, Input,
    InputKind, InputValue, LxcDefaults, Manifest, Mount, NodeExporter, Output, OutputKind,
    Provenance, Provision, ProvisionKind, ShowWhen,
};
use crate::domain::boundary::{Boundary, Caps, Defaults, GpuPolicy};
use crate::domain::discovery::{Discovery, NodeFacts, StorageFacts};
use crate::domain::gpu::{Gpu, GpuProfile, GpuReport, GpuVendor};
use crate::domain::guest::{Guest, InstalledApp, Volume};
use crate::domain::time::Timestamp;
use crate::domain::vmid::Vmid;

use super::order::Site;

/// Boundary, proposals and cluster of a site that publishes and trusts the source.
pub(crate) struct Place {
    pub(crate) boundary: Boundary,
    pub(crate) defaults: Defaults,
    pub(crate) discovery: Discovery,
}

impl Place {
    pub(crate) fn site(&self) -> Site<'_> {
        Site {
            boundary: &self.boundary,
            defaults: &self.defaults,
            discovery: &self.discovery,
            source_privileged: true,
            publishes: true,
        }
    }
}

/// Two nodes, three storages, a GPU in the first one; the boundary leaves out `pve3`, `ceph` and `vmbr9`.
pub(crate) fn place() -> Place {
    let parse = |ids: &[u32]| ids.iter().map(|n| Vmid::try_from(*n).unwrap()).collect();
    Place {
        boundary: Boundary {
            pool: "ironhatch".parse().unwrap(),
            nodes: vec!["pve1".parse().unwrap(), "pve2".parse().unwrap()],
            storages: vec!["local-zfs".parse().unwrap(), "tank".parse().unwrap()],
            backup_storages: vec!["backup".parse().unwrap()],
            template_storage: "local".parse().unwrap(),
            bridges: vec!["vmbr0".parse().unwrap(), "vmbr1".parse().unwrap()],
            zones: Default::default(),
            vlans: vec![20, 30],
            caps: Caps { cores: 4, memory_mb: 4096, disk_gb: 64 },
            vmids: Vmid::try_from(200).unwrap()..=Vmid::try_from(299).unwrap(),
            reserved_vmids: parse(&[210]),
            reserved_addresses: vec!["192.0.2.10".parse().unwrap()],
            features: vec![Feature::Nesting],
            allow_privileged: false,
            gpu: GpuPolicy::Nobody,
        },
        defaults: Defaults {
            node: None,
            storage: "local-zfs".parse().unwrap(),
            bridge: "vmbr0".parse().unwrap(),
            domain: Some("example.net".to_owned()),
            monitoring: true,
        },
        discovery: Discovery {
            seen: Timestamp(0),
            nodes: vec![node("pve1", 8192), node("pve2", 16384), node("pve3", 65536)],
            taken_vmids: parse(&[200]),
            taken_addresses: vec![("192.0.2.21".parse().unwrap(), "guest db (201)".to_owned())],
            taken_names: vec!["db".to_owned()],
            taken_domains: vec![("old.example.net".to_owned(), "services/old.yaml".to_owned())],
            problems: Vec::new(),
        },
    }
}

pub(crate) fn node(name: &str, free_memory_mb: u64) -> NodeFacts {
    let storage = |id: &str, kind: &str, content: &[&str], free_gb: u64| StorageFacts {
        id: id.parse().unwrap(),
        kind: kind.to_owned(),
        content: content.iter().map(|c| (*c).to_owned()).collect(),
        shared: false,
        free_gb,
        total_gb: 500,
    };
    let gpu = Gpu {
        address: "0000:01:00.0".parse().unwrap(),
        vendor: GpuVendor::Intel,
        device: 0x56a0,
        name: "Arc A770".to_owned(),
        driver: Some("i915".to_owned()),
        render_node: Some("/dev/dri/renderD128".to_owned()),
        card_node: None,
        nvidia_minor: None,
        driver_version: None,
    };
    NodeFacts {
        name: name.parse().unwrap(),
        address: "192.0.2.5".parse().unwrap(),
        usable: true,
        problem: String::new(),
        release: "9.1".to_owned(),
        cores: 8,
        memory_mb: 65536,
        free_memory_mb,
        storages: vec![
            storage("local", "dir", &["vztmpl", "backup", "iso"], 40),
            storage("local-zfs", "zfspool", &["rootdir", "images"], 200),
            storage("tank", "zfspool", &["rootdir"], 30),
            storage("ceph", "rbd", &["rootdir"], 9999),
        ],
        bridges: ["vmbr0", "vmbr1", "vmbr9"].map(|b| b.parse().unwrap()).to_vec(),
        templates: vec!["local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst".to_owned()],
        downloadable: Vec::new(),
        gpu: if name == "pve1" {
            GpuReport { gpus: vec![gpu], ..GpuReport::default() }
        } else {
            GpuReport::default()
        },
    }
}

fn input(key: &str, kind: InputKind) -> Input {
    Input {
        key: key.to_owned(),
        label: format!("The {key}"),
        kind,
        default: None,
        required: false,
        help: String::new(),
        group: String::new(),
        show_when: None,
        reconfigure: true,
    }
}

/// An app that uses everything that a manifest can say.
pub(crate) fn app() -> CatalogApp {
    let string = |regex: Option<&str>| InputKind::String {
        regex: regex.map(str::to_owned),
        regex_hint: regex.map(|_| "lower-case letters only".to_owned()),
        min_length: 1,
        max_length: 20,
    };
    let shown =
        |key: &str, value: InputValue| Some(ShowWhen { key: key.to_owned(), values: vec![value] });
    let secret = |generate| InputKind::Secret { min_length: 8, max_length: 64, generate };
    let choice = |v: &str| Choice { value: v.to_owned(), label: v.to_uppercase() };
    let title = Input { required: true, ..input("title", string(Some("[a-z]+"))) };
    let workers = Input {
        default: Some(InputValue::Number(2.0)),
        ..input("workers", InputKind::Number { min: Some(1.0), max: Some(16.0), integer: true })
    };
    let mail =
        Input { default: Some(InputValue::Boolean(false)), ..input("mail", InputKind::Boolean) };
    let relay = Input {
        required: true,
        show_when: shown("mail", InputValue::Boolean(true)),
        ..input("relay", string(None))
    };
    let relay_password = Input {
        required: true,
        show_when: shown("mail", InputValue::Boolean(true)),
        ..input("relay_password", secret(false))
    };
    let database = Input {
        default: Some(InputValue::Text("sqlite".to_owned())),
        reconfigure: false,
        ..input(
            "database",
            InputKind::Select { options: vec![choice("sqlite"), choice("postgres")] },
        )
    };
    let admin = Input { required: true, ..input("admin_password", secret(true)) };
    let manifest = Manifest {
        id: "wiki".parse().unwrap(),
        name: "Wiki".to_owned(),
        version: "1.2.0".to_owned(),
        description: "Pages for a team.".to_owned(),
        categories: vec!["Web".to_owned()],
        tags: Vec::new(),
        homepage: None,
        license: None,
        maintainers: Vec::new(),
        featured: false,
        min_pve: Some("8.2".to_owned()),
        lxc: LxcDefaults {
            ostemplate: "debian-12".to_owned(),
            unprivileged: true,
            cores: 2,
            memory_mb: 1024,
            swap_mb: 512,
            disk_gb: 8,
            min_memory_mb: 256,
            min_disk_gb: 4,
            bridge: None,
            storage: None,
            features: vec![Feature::Nesting],
            onboot: true,
        },
        inputs: vec![title, workers, mail, relay, relay_password, database, admin],
        provision: Provision {
            kind: ProvisionKind::Packages {
                packages: vec!["nginx-light".to_owned()],
                services: vec!["nginx.service".to_owned()],
                script: Some("provision/install.sh".to_owned()),
            },
            env: BTreeMap::from([(
                "WIKI_URL".to_owned(),
                "http://{{ guest.ip }}/{{ inputs.title }}".to_owned(),
            )]),
            assets: vec!["assets/site.conf".to_owned()],
            timeout_sec: 900,
            user: "root".to_owned(),
            redact_keys: vec!["relay".to_owned()],
            upgrade: Some("provision/upgrade.sh".to_owned()),
            uninstall: Some("provision/uninstall.sh".to_owned()),
            retry_safe: true,
            keep_assets: false,
        },
        healthcheck: Some(HealthCheck {
            kind: HealthKind::Http { port: 80, path: "/".to_owned(), status: Vec::new() },
            timeout_sec: 120,
            interval_sec: 3,
        }),
        outputs: vec![
            output("url", "http://{{ guest.ip }}/", OutputKind::Url),
            output("login", "admin / {{ secrets.admin_password }}", OutputKind::Secret),
            output("version", "{{ facts.version }}", OutputKind::Text),
        ],
        gpu: Some(GpuNeed {
            supported: vec![GpuVendor::Intel],
            required: false,
            profiles: vec![GpuProfile::DriRender],
            notes: String::new(),
            libraries: Vec::new(),
            user: "root".into(),
            check: Vec::new(),
        }),
        mounts: vec![mount("data", "/srv/data", 10, false), mount("media", "/srv/media", 20, true)],
        expose: Some(Expose { port: 80, public: false, health_path: Some("/".to_owned()) }),
        metrics: Vec::new(),
        node_exporter: NodeExporter::Ask,
    };
    CatalogApp {
        manifest,
        provenance: Provenance {
            source: "built-in".to_owned(),
            commit: None,
            hash: ContentHash("ab".repeat(32)),
            exercised: true,
            icon: false,
            updated: None,
        },
        readme: String::new(),
    }
}

fn output(key: &str, value: &str, kind: OutputKind) -> Output {
    Output { key: key.to_owned(), label: key.to_owned(), value: value.to_owned(), kind }
}

fn mount(key: &str, path: &str, size_gb: u32, optional: bool) -> Mount {
    Mount {
        key: key.to_owned(),
        label: key.to_owned(),
        path: path.to_owned(),
        size_gb,
        optional,
        backup: true,
    }
}

/// A guest that runs the app, monitored, with one volume.
pub(crate) fn guest() -> Guest {
    let app = app();
    let mut guest = crate::domain::guest::sample::guest(220);
    guest.name = "wiki".parse().unwrap();
    guest.app = Some(InstalledApp {
        id: app.manifest.id,
        version: "1.2.0".to_owned(),
        source: "built-in".to_owned(),
        hash: app.provenance.hash,
        inputs: BTreeMap::from([
            ("database".to_owned(), InputValue::Text("sqlite".to_owned())),
            ("mail".to_owned(), InputValue::Boolean(false)),
            ("title".to_owned(), InputValue::Text("home".to_owned())),
            ("workers".to_owned(), InputValue::Number(2.0)),
        ]),
    });
    guest.spec.storage = "local-zfs".parse().unwrap();
    guest.spec.monitored = true;
    guest.spec.volumes = vec![Volume {
        key: "data".to_owned(),
        slot: 0,
        path: "/srv/data".to_owned(),
        size_gb: 20,
        backup: true,
        volid: None,
    }];
    guest
}

/// The same with an address.
pub(crate) fn addressed_guest() -> Guest {
    Guest { address: Some("192.0.2.20".parse().unwrap()), ..guest() }
}
