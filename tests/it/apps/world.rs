//! One appliance with apps switched on, one enrolled node, and a catalog of small apps that really run in its containers.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ironhatch::domain::vmid::Vmid;
use ironhatch::fakes::pve::{FakePve, Options};
use serde_json::{Value, json};

use crate::join::lab::{Lab, Node};
use crate::node::lab::guests;
use crate::support::daemon::{Answer, Daemon};

/// Planted as a secret input; must not be found anywhere.
pub(crate) const PLANTED: &str = "planted-Sup3rSecret-value";
/// Where guests are: addresses of the story's network that nothing else uses.
const FIRST_GUEST: u8 = 22;
/// The first number that guests get.
pub(crate) const FIRST: u32 = 200;
/// How long one job may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct World {
    dir: tempfile::TempDir,
    pub(crate) daemon: Daemon,
    pub(crate) node: Node,
    pub(crate) pve: FakePve,
}

impl World {
    /// Everything up, the node enrolled with the appliance's own key.
    pub(crate) fn start(lab: &Lab) -> Self {
        Self::start_with(lab, "")
    }

    /// The same with more configuration.
    pub(crate) fn start_with(lab: &Lab, more: &str) -> Self {
        Self::start_among(lab, &[], more)
    }

    /// The same with other members of the cluster, at addresses that end like this; they only have an API.
    pub(crate) fn start_among(lab: &Lab, others: &[u8], more: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("apps-").tempdir_in("/tmp").unwrap();
        let node = lab.cluster("pve1", 20);
        let others = others.iter().map(|last| Ipv4Addr::new(192, 0, 2, *last).into());
        let members = [node.address].into_iter().chain(others).collect();
        let pve = serve(node.root().join("etc/pve"), members);
        prepare(&node, &pve);
        catalogs(dir.path());
        let config = format!(
            "[proxmox]\nexisting_node = \"{}\"\nmember_host_key = \"{}\"\n{}{more}",
            node.address,
            node.host_keys().into_iter().find(|k| k.starts_with("ssh-ed25519")).unwrap(),
            section(dir.path()),
        );
        let daemon = Daemon::start(dir.path(), &config);
        let key = daemon.get("/api/cluster/key");
        let key = key["public_key"].as_str().unwrap().to_owned();
        node.sh(&format!("printf '%s\\n' '{key}' >>/etc/pve/priv/authorized_keys"));
        let world = Self { dir, daemon, node, pve };
        let job = world.post("/api/nodes/enroll", &json!({ "address": "192.0.2.20" }));
        world.wait(&job, "succeeded");
        world
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Queues something; returns the job's id.
    pub(crate) fn post(&self, path: &str, body: &Value) -> String {
        let answer = self.daemon.post(path, body);
        answer["job"].as_str().unwrap_or_else(|| panic!("{path}: {answer}")).to_owned()
    }

    pub(crate) fn try_post(&self, path: &str, body: &Value) -> Answer {
        self.daemon.request("POST", path, Some(body))
    }

    pub(crate) fn job(&self, id: &str) -> Value {
        self.daemon.get(&format!("/api/jobs/{id}"))
    }

    /// Waits for the end of a job, which must be this one.
    pub(crate) fn wait(&self, id: &str, status: &str) -> Value {
        let begun = Instant::now();
        loop {
            let job = self.job(id);
            if ["succeeded", "failed", "cancelled"].contains(&job["status"].as_str().unwrap()) {
                assert_eq!(job["status"], status, "{job:#}\n{}", self.log(id));
                return job;
            }
            assert!(begun.elapsed() < PATIENCE, "{job:#}\n{}\n{}", self.log(id), self.daemon.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until a step of a job was begun.
    pub(crate) fn wait_for_step(&self, id: &str, step: &str) {
        let begun = Instant::now();
        loop {
            let job = self.job(id);
            let steps = job["steps"].as_array().unwrap();
            let at = steps.iter().find(|s| s["id"] == step).unwrap_or_else(|| panic!("{job:#}"));
            if at["status"] != "pending" {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{job:#}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn log(&self, id: &str) -> String {
        let log = self.daemon.get(&format!("/api/jobs/{id}/logs"));
        let lines = log["lines"].as_array().cloned().unwrap_or_default();
        lines.iter().map(|l| format!("{}\n", l["message"].as_str().unwrap_or_default())).collect()
    }

    /// Queues an installation of the small web app under this name.
    pub(crate) fn ask_for(&self, name: &str, more: &[(&str, &str)]) -> String {
        self.post("/api/install", &order(name, more))
    }

    /// Installs it and waits for the end.
    pub(crate) fn install(&self, name: &str) -> Value {
        let job = self.ask_for(name, &[]);
        self.wait(&job, "succeeded");
        self.guest(name)
    }

    pub(crate) fn guest(&self, name: &str) -> Value {
        self.find(name).unwrap_or_else(|| panic!("there is no guest {name}"))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Value> {
        let guests = self.daemon.get("/api/guests");
        let guests = guests["guests"].as_array().unwrap().clone();
        let id = guests.iter().find(|g| g["name"] == name)?["id"].as_str().unwrap().to_owned();
        Some(self.daemon.get(&format!("/api/guests/{id}")))
    }

    /// Asks for something about a guest and waits for its end.
    pub(crate) fn act(&self, name: &str, action: &str, body: &Value, status: &str) -> Value {
        let id = self.guest(name)["id"].as_str().unwrap().to_owned();
        let job = self.post(&format!("/api/guests/{id}/{action}"), body);
        self.wait(&job, status)
    }

    /// The other version of the catalog appears.
    pub(crate) fn publish_version(&self, version: &str) {
        link(self.dir(), version);
        let answer = self.daemon.post("/api/apps/refresh", &json!({}));
        for job in answer["jobs"].as_array().unwrap() {
            self.wait(job.as_str().unwrap(), "succeeded");
        }
    }

    pub(crate) fn vmid(&self, n: u32) -> Vmid {
        Vmid::try_from(FIRST + n).unwrap()
    }

    /// The configuration of a container as the cluster has it.
    pub(crate) fn conf(&self, n: u32) -> Option<ironhatch::proto::pve::ContainerConfig> {
        self.pve.config("pve1", self.vmid(n))
    }

    /// What the page of a guest's web server says.
    pub(crate) fn page(&self, address: &str) -> String {
        self.node.sh(&format!("busybox wget -q -O - http://{address}:8080/ 2>&1"))
    }
}

/// Makes a node hold guests: the stand-ins for its commands, and root directories for the first numbers.
pub(crate) fn prepare(node: &Node, pve: &FakePve) {
    // Where the double of the API keeps what runs, so that both see the same containers.
    guests(node, "PCT_RUN=/etc/pve/run\nPCT_DEV=/dev");
    // The machine's own /usr/local/lib is not the node's: the agent's program goes into a private one.
    node.sh("mkdir -p /run/lib && mount --bind /run/lib /usr/local/lib");
    for n in 0..4u8 {
        let vmid = Vmid::try_from(FIRST + u32::from(n)).unwrap();
        pve.set_address(vmid, Ipv4Addr::new(192, 0, 2, FIRST_GUEST + n));
        rootfs(node, vmid);
    }
}

/// Two versions of the catalog, the first one in place.
pub(crate) fn catalogs(dir: &Path) {
    for (version, page) in [("1.0.0", "one"), ("2.0.0", "two")] {
        catalog(&dir.join(format!("catalog-{version}")), version, page);
    }
    link(dir, "1.0.0");
}

/// The form of the small web app.
pub(crate) fn order(name: &str, more: &[(&str, &str)]) -> Value {
    let mut body = json!({
        "app": "hello", "name": name, "input.title": "a title", "input.password": PLANTED,
    });
    for (key, value) in more {
        body[key] = json!(value);
    }
    body
}

/// The configuration of the app layer.
pub(crate) fn section(dir: &Path) -> String {
    format!(
        "[apps]\nenabled = true\nbuilt_in = false\npool = \"ironhatch\"\nstorages = [\"local-zfs\"]\n\
         backup_storages = [\"tank\"]\nbridges = [\"vmbr0\"]\nvmids = \"200-203\"\nnode_binary = \"{}\"\n\
         [[apps.catalog]]\nname = \"test\"\nfolder = \"{}\"\n",
        env!("CARGO_BIN_EXE_ironhatch"),
        dir.join("catalog").display()
    )
}

/// The double of the API on a thread of its own: the story's thread waits for the daemon while it answers.
pub(crate) fn serve(root: PathBuf, members: Vec<std::net::IpAddr>) -> FakePve {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let schema = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../shared/reference/pve-api-schema.json");
            let pve = FakePve::start(Options {
                root,
                nodes: (1..=members.len()).map(|n| format!("pve{n}")).collect(),
                addresses: members.iter().map(|address| (*address, 8006).into()).collect(),
                schema: Some(schema),
                enrolled: false,
            })
            .await;
            sender.send(pve).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

/// A root directory with busybox, in which `bash` is busybox's shell.
fn rootfs(node: &Node, vmid: Vmid) {
    let root = format!("/var/lib/lxc-double/{vmid}");
    let made = node.sh(&format!(
        "mkdir -p {root}/bin {root}/sbin {root}/usr/bin {root}/usr/sbin {root}/etc {root}/tmp {root}/opt {root}/root {root}/srv {root}/dev && \
         cp /bin/busybox {root}/bin/busybox && chroot {root} /bin/busybox --install -s && \
         printf '#!/bin/sh\\nexec /bin/sh \"$@\"\\n' >{root}/bin/bash && chmod 755 {root}/bin/bash && \
         printf '#!/bin/sh\\nuser=$2; shift 3; exec su -m -s /usr/bin/env \"$user\" \"$@\"\\n' >{root}/usr/sbin/runuser && \
         chmod 755 {root}/usr/sbin/runuser && mknod -m 666 {root}/dev/null c 1 3; \
         echo 'root:x:0:0::/root:/bin/sh' >{root}/etc/passwd && \
         printf 'root:x:0:\\nrender:x:104:\\n' >{root}/etc/group && echo made"
    ));
    assert_eq!(made, "made\n");
}

fn link(dir: &Path, version: &str) {
    let catalog = dir.join("catalog");
    let _ = fs::remove_file(&catalog);
    std::os::unix::fs::symlink(dir.join(format!("catalog-{version}")), &catalog).unwrap();
}

/// A catalog with one app that serves a page, one whose script fails, and one that is broken.
fn catalog(dir: &Path, version: &str, page: &str) {
    let write = |path: &str, text: &str| {
        let path = dir.join("apps").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let manifest = |id: &str, more: &str| {
        format!(
            "id = \"{id}\"\nname = \"{id}\"\nversion = \"{version}\"\ndescription = \"A page.\"\ncategories = [\"web\"]\n\
             [lxc]\nostemplate = \"debian-12\"\n[lxc.defaults]\nmemory_mb = 256\ndisk_gb = 2\nfeatures = [\"nesting\"]\n\
             [[inputs]]\nkey = \"title\"\nlabel = \"Title\"\ntype = \"string\"\nreconfigure = true\n\
             [[inputs]]\nkey = \"password\"\nlabel = \"Password\"\ntype = \"secret\"\ngenerate = true\n\
             [provision]\nkind = \"script\"\nscript = \"provision/install.sh\"\n{more}\
             [healthcheck]\nkind = \"http\"\nport = 8080\npath = \"/\"\ntimeout_sec = 10\ninterval_sec = 1\n\
             [[outputs]]\nkey = \"url\"\nlabel = \"Page\"\nvalue = \"http://{{{{ guest.ip }}}}:8080/\"\ntype = \"url\"\n\
             [[outputs]]\nkey = \"made\"\nlabel = \"Made by\"\nvalue = \"{{{{ facts.made }}}}\"\ntype = \"text\"\n\
             [[outputs]]\nkey = \"login\"\nlabel = \"Password\"\nvalue = \"{{{{ secrets.password }}}}\"\ntype = \"secret\"\n\
             [[mounts]]\nkey = \"data\"\nlabel = \"Data\"\npath = \"/srv/data\"\nsize_gb = 1\noptional = true\n\
             [expose]\nport = 8080\npublic = true\n"
        )
    };
    let serve = format!(
        "#!/bin/bash\nset -eu\necho \"installing page {page}\"\n\
         echo \"the password is $(cat /opt/appstore/secrets/password)\"\ncat /opt/appstore/inputs.json\n\
         mkdir -p /srv\necho \"page {page}: $INPUT_TITLE\" >/srv/index.html\n\
         busybox wget -q -O /dev/null \"http://$GUEST_IP:8080/\" || busybox httpd -p \"$GUEST_IP:8080\" -h /srv\n"
    );
    write(
        "hello/app.toml",
        &manifest("hello", "retry_safe = true\nupgrade = \"provision/upgrade.sh\"\n"),
    );
    // Only an installation finds it out; what comes later does not write it again.
    let install = format!("{serve}echo 'made=by hand' >/opt/appstore/outputs.env\n");
    write("hello/provision/install.sh", &install);
    write("hello/provision/upgrade.sh", &serve);
    let gpu = "upgrade = \"provision/upgrade.sh\"
[gpu]
supported = [\"intel\", \"nvidia\"]
\
               profiles = [\"dri-render\", \"nvidia-basic\"]
user = \"svc\"
";
    write("gpu/app.toml", &manifest("gpu", gpu));
    let user = "grep -q ^svc: /etc/passwd || echo 'svc:x:1000:104::/:/bin/sh' >>/etc/passwd
";
    write("gpu/provision/install.sh", &format!("{install}{user}"));
    write("gpu/provision/upgrade.sh", &serve);
    write("fails/app.toml", &manifest("fails", ""));
    write(
        "fails/provision/install.sh",
        "#!/bin/bash\necho 'about to fail'\necho \"$(cat /opt/appstore/secrets/password)\" >&2\nexit 7\n",
    );
    write("broken/app.toml", "id = \"broken\"\nnme = \"x\"\n");
}
