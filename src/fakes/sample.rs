//! Records and an engine that tests begin with; each names only what it differs in.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::reload::Reloader;
use crate::config::{Config, ProcessSecrets};
use crate::domain::host::Host;
use crate::domain::id::HostId;
use crate::domain::image::{Image, Release};
use crate::domain::mac::Mac;
use crate::domain::time::Timestamp;
use crate::image::{ImageStore, ImportLimits};
use crate::jobs::{CallbackBase, Context, Engine};
use crate::limits::over::Overruns;
use crate::store::Store;

/// Host number `n` of the type `lab`, registered at the beginning of time.
#[must_use]
pub fn host(n: u8) -> Host {
    Host::new(
        HostId(Uuid::from_u128(u128::from(n))),
        format!("pve{n}").parse().expect("a name"),
        vec![Mac([0x52, 0x54, 0, 0, 0, n])],
        "lab".parse().expect("a name"),
        Timestamp(0),
    )
}

/// An image of release 9.2, imported at the beginning of time.
#[must_use]
pub fn image() -> Image {
    Image {
        id: "proxmox-ve-9.2-1".parse().expect("a name"),
        file_name: "proxmox-ve-9.2-1.iso".into(),
        size: 1_726_808_064,
        initrd_size: 58_720_256,
        sha256: "ab".repeat(32),
        release: Release {
            product: "pve".into(),
            product_long: "Proxmox VE".into(),
            release: "9.2".into(),
            iso_release: "1".into(),
        },
        source: "/srv/iso/proxmox-ve_9.2-1.iso".into(),
        imported_at: Timestamp(0),
        job: None,
    }
}

/// An engine that is not run: it composes answers, and reads these server types from files below `dir`, also when they
/// change. `more` is further text of its configuration.
///
/// # Panics
/// When the texts cannot be used or the files cannot be written.
#[must_use]
pub fn engine(dir: &Path, store: &Store, more: &str, types: &[(&str, &str)]) -> Engine {
    let text = format!(
        "data_dir = \"{}\"\n[server]\nlisten = \"192.0.2.10:8080\"\npublic_url = \"http://192.0.2.10:8080\"\n\
         [pxe]\nenabled = false\n{more}",
        dir.display()
    );
    let (config, _) =
        Config::parse(&dir.join("ironhatch.toml"), &text, &ProcessSecrets).expect("it is right");
    let folder = dir.join("server-types");
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, text) in types {
        std::fs::write(folder.join(format!("{name}.toml")), text).expect("a file");
    }
    // Reads them again when they change, as the daemon does.
    let (source, templates) = (config.server_types.clone(), config.answer_templates_dir.clone());
    let (reloader, view) =
        Reloader::new(source, templates, Duration::from_millis(20)).expect("file events");
    tokio::spawn(reloader.run(CancellationToken::new()));
    // In a thread of its own: the caller is inside a runtime.
    let images = std::thread::scope(|scope| {
        let open = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(ImageStore::open(dir.join("images"), ImportLimits::default()))
        };
        scope.spawn(open).join().expect("it does not panic")
    });
    let context = Context {
        over: Overruns::new(Arc::new(|| 0)),
        config: Arc::new(config),
        types: view,
        images: images.expect("a folder of images"),
        appliance: Default::default(),
        power: Default::default(),
        callbacks: CallbackBase { url: "http://192.0.2.10:8080".to_owned(), certificate: None },
        apps: None,
    };
    Engine::new(store.clone(), context, CancellationToken::new())
}
