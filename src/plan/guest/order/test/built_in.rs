//! The apps that come with the program, through form, order and provisioning plan.

use std::path::Path;

use super::*;
use crate::apps::folder;
use crate::domain::app::{ContentHash, Feature, Provenance};
use crate::domain::boundary::{Caps, GpuPolicy};
use crate::domain::gpu::{Gpu, GpuVendor};
use crate::domain::id::GuestId;
use crate::domain::vmid::Vmid;
use crate::plan::guest::context::{SiteNames, Subject};
use crate::plan::guest::provision::{self, Content, Phase};
use crate::plan::guest::{outputs, review};
use crate::proto::verb::{Verb, check};

/// A site with room for everything that the apps ask for.
fn roomy() -> Place {
    let mut place = sample::place();
    place.boundary.caps = Caps { cores: 64, memory_mb: 65536, disk_gb: 4096 };
    place.boundary.features = vec![Feature::Nesting, Feature::Keyctl, Feature::Fuse];
    place.boundary.gpu = GpuPolicy::Everybody;
    for node in &mut place.discovery.nodes {
        node.storages.iter_mut().for_each(|s| s.free_gb = 9999);
        for template in ["debian-12-standard_12.7-1", "debian-13-standard_13.1-1"] {
            node.templates.push(format!("local:vztmpl/{template}_amd64.tar.zst"));
        }
        node.gpu.gpus.push(Gpu {
            address: "0000:02:00.0".parse().unwrap(),
            vendor: GpuVendor::Nvidia,
            device: 0x1f02,
            name: "RTX 2070".to_owned(),
            driver: Some("nvidia".to_owned()),
            render_node: None,
            card_node: None,
            nvidia_minor: Some(0),
            driver_version: Some("550.163.01".to_owned()),
        });
        node.gpu.shared_nodes = ["/dev/nvidiactl", "/dev/nvidia-uvm"].map(str::to_owned).to_vec();
    }
    place
}

/// Something that fits a required input without a default.
fn answer(input: &crate::domain::app::Input) -> &'static str {
    match input.kind {
        InputKind::Secret { .. } => "pl4nted-secret-0123456789abcdef0123456789abcdef",
        InputKind::Number { .. } => "1",
        _ => "admin",
    }
}

#[test]
fn every_app_that_comes_with_the_program_can_be_ordered_and_planned() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("apps");
    let place = roomy();
    let mut seen = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.is_dir() {
            continue;
        }
        let loaded = folder::load(&dir, &dir);
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let files = loaded.app.unwrap();
        let app = CatalogApp {
            manifest: files.manifest.clone(),
            provenance: Provenance {
                source: "built-in".to_owned(),
                commit: None,
                hash: ContentHash("0".repeat(64)),
                exercised: false,
                icon: false,
                updated: None,
            },
            readme: String::new(),
        };
        ordered_and_planned(&app, &place);
        seen += 1;
    }
    assert!(seen >= 8, "only {seen} apps");
}

fn ordered_and_planned(app: &CatalogApp, place: &Place) {
    let manifest = &app.manifest;
    let id = &manifest.id;
    let mut form = defaults(app, &place.site());
    form.set("name", "sample");
    for input in manifest.inputs.iter().filter(|i| i.required && i.default.is_none()) {
        form.set(&format!("input.{}", input.key), answer(input));
    }
    // What a manifest's own rule wants is not guessed here; everything else must fit.
    let order = match read(app, &place.site(), &form, &mut draw) {
        Ok(order) => order,
        Err(errors) => {
            let other = errors.iter().find(|e| !e.field.starts_with("input."));
            assert!(other.is_none(), "{id}: {errors:?}");
            return;
        }
    };
    let review = review::install(app, &order, &place.site(), None);
    assert!(review.lines.iter().all(|l| !l.detail.contains("pl4nted")), "{id}");
    let mut guest = crate::domain::guest::sample::guest(220);
    guest.id = GuestId(uuid::Uuid::from_u128(1));
    guest.spec = order.spec.clone();
    guest.app = Some(order.installed(app));
    guest.address = Some("192.0.2.30".parse().unwrap());
    let site = SiteNames { domain: "example.net", url: "http://192.0.2.2:8080" };
    let subject = Subject { manifest, guest: &guest, site };
    for phase in
        [Phase::Install, Phase::Reconfigure, Phase::Upgrade, Phase::Uninstall, Phase::Check]
    {
        let Ok(pushed) = provision::files(&subject, phase, &order.secrets) else { continue };
        assert!(pushed.iter().all(|f| match &f.content {
            Content::App(path) => !path.starts_with('/') && !path.contains(".."),
            Content::Library | Content::Text(_) => true,
        }));
        for run in provision::runs(&subject, phase).unwrap() {
            let text = format!("{run:?}");
            assert!(!text.contains("pl4nted") && !text.contains("xxxxxxxx"), "{id}: {text}");
            let (argv, env, user) = (run.argv, run.env, run.user);
            let verb =
                Verb::Exec { vmid: Vmid::MIN, argv, env, user, timeout_sec: run.timeout_sec };
            assert!(check(&verb).is_ok(), "{id}: {:?}", check(&verb).map_err(|e| e.to_string()));
        }
    }
    // Facts are the scripts' to write; a manifest whose outputs need none is complete.
    if let Err(error) = outputs::collect(&subject, &order.secrets, &BTreeMap::new()) {
        assert!(manifest.outputs.iter().any(|o| o.value.contains("facts.")), "{id}: {error}");
    }
}
