//! Management controllers: OpenIPMI's simulator, OpenStack's Redfish service, and our own double of one.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ironhatch::fakes::redfish;

/// Of the controllers' user.
pub(crate) const PASSWORD: &str = "Pl4nted-S3cret";
/// The double's address.
pub(crate) const DOUBLE: &str = "192.0.2.20:8443";

const PATIENCE: Duration = Duration::from_secs(60);

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} does not start");
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Process(Child);

impl Process {
    fn spawn(dir: &Path, command: &mut Command) -> Self {
        let log = fs::File::create(dir.join("peer.log")).unwrap();
        let spawned =
            command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        Self(spawned.unwrap_or_else(|e| panic!("{command:?}: {e} (see .ci/packages test)")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// OpenIPMI's simulator of a controller; its chassis is a script that keeps what it was told.
pub(crate) struct Simulator {
    dir: PathBuf,
    _process: Process,
}

const CHASSIS: &str = r#"#!/bin/sh
# Called as: chassis.sh get power boot | set power 1 boot pxe | check power
cd "$(dirname "$0")" || exit 1
verb=$1
shift
while [ $# -gt 0 ]; do
    case $verb in
    get) [ -f "$1" ] || case $1 in boot) echo none >boot ;; *) echo 0 >"$1" ;; esac
        echo "$1:$(cat "$1")"
        shift ;;
    set) echo "$2" >"$1"
        echo "$1 $2" >>switched
        shift 2 ;;
    *) shift ;;
    esac
done
"#;

impl Simulator {
    pub(crate) fn start(world: &Path) -> Self {
        let dir = world.join("ipmi");
        fs::create_dir_all(dir.join("state")).unwrap();
        let script = dir.join("chassis.sh");
        fs::write(&script, CHASSIS).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let auth = "none md2 md5 straight";
        let lan = format!(
            "name \"bmc\"\nstartlan 1\n  addr 192.0.2.20 623\n  priv_limit admin\n  allowed_auths_callback {auth}\n  \
             allowed_auths_user {auth}\n  allowed_auths_operator {auth}\n  allowed_auths_admin {auth}\n  \
             guid a123456789abcdefa123456789abcdef\nendlan\nchassis_control \"{}\"\n\
             user 1 true \"\" \"test\" user 10 {auth}\nuser 2 true \"admin\" \"{PASSWORD}\" admin 10 {auth}\n",
            script.display()
        );
        fs::write(dir.join("lan.conf"), lan).unwrap();
        let commands = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                        sel_enable 0x20 1000 0x0a\nmc_enable 0x20\n";
        fs::write(dir.join("commands"), commands).unwrap();
        let process = Process::spawn(
            &dir,
            Command::new("ipmi_sim")
                .arg("-n")
                .arg("-c")
                .arg(dir.join("lan.conf"))
                .arg("-f")
                .arg(dir.join("commands"))
                .arg("-s")
                .arg(dir.join("state")),
        );
        // 192.0.2.20, port 623, as the kernel prints it.
        wait_until("ipmi_sim", || {
            fs::read_to_string("/proc/thread-self/net/udp").unwrap().contains("140200C0:026F")
        });
        Self { dir, _process: process }
    }

    pub(crate) fn address(&self) -> &'static str {
        "192.0.2.20"
    }

    /// What the chassis was told, in order.
    pub(crate) fn switched(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.join("switched")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// OpenStack's Redfish service with its made-up machine: HTTPS, a login with each request.
pub(crate) struct Sushy {
    _process: Process,
}

impl Sushy {
    pub(crate) fn start(world: &Path) -> Self {
        let dir = world.join("redfish");
        fs::create_dir_all(&dir).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["bmc".to_owned()]).unwrap();
        fs::write(dir.join("certificate.pem"), made.cert.pem()).unwrap();
        fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
        let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join("redfish-peer/bin");
        let hashed = Command::new(peer.join("python"))
            .args(["-c", "import bcrypt, sys; print(bcrypt.hashpw(sys.argv[1].encode(), bcrypt.gensalt(4)).decode())", PASSWORD])
            .output()
            .unwrap_or_else(|e| panic!("{}: {e} (see .ci/packages test)", peer.display()));
        let hashed = String::from_utf8(hashed.stdout).unwrap();
        fs::write(dir.join("users"), format!("admin:{hashed}")).unwrap();
        let path = |name: &str| dir.join(name).display().to_string();
        let config = format!(
            "SUSHY_EMULATOR_FAKE_DRIVER = True\nSUSHY_EMULATOR_LISTEN_IP = '192.0.2.20'\n\
             SUSHY_EMULATOR_LISTEN_PORT = 8443\nSUSHY_EMULATOR_SSL_CERT = '{}'\nSUSHY_EMULATOR_SSL_KEY = '{}'\n\
             SUSHY_EMULATOR_AUTH_FILE = '{}'\nSUSHY_EMULATOR_STATE_DIR = '{}'\n",
            path("certificate.pem"),
            path("key.pem"),
            path("users"),
            dir.display()
        );
        fs::write(dir.join("sushy.conf"), config).unwrap();
        let mut command = Command::new(peer.join("sushy-emulator"));
        let process = Process::spawn(&dir, command.arg("--config").arg(dir.join("sushy.conf")));
        wait_until("sushy-emulator", || TcpStream::connect("192.0.2.20:8443").is_ok());
        Self { _process: process }
    }

    pub(crate) fn address(&self) -> String {
        "192.0.2.20:8443".to_owned()
    }
}

/// Our own double, on a thread of its own.
pub(crate) struct Controller {
    at: SocketAddr,
    state: Arc<Mutex<redfish::Controller>>,
}

impl Controller {
    pub(crate) fn start(at: &str) -> Self {
        let at: SocketAddr = at.parse().unwrap();
        let state =
            Arc::new(Mutex::new(redfish::Controller::new("admin", PASSWORD, "437XR1138R2")));
        let served = Arc::clone(&state);
        // The daemon is asked from the story's own thread, which blocks meanwhile. It ends with the test's process.
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(redfish::serve(at, served)).unwrap();
        });
        wait_until("the double", || TcpStream::connect(at).is_ok());
        Self { at, state }
    }

    pub(crate) fn address(&self) -> String {
        self.at.to_string()
    }

    pub(crate) fn changes(&self) -> Vec<String> {
        self.state.lock().unwrap().changes()
    }

    pub(crate) fn forget(&self) {
        self.state.lock().unwrap().forget();
    }

    pub(crate) fn open_sessions(&self) -> usize {
        self.state.lock().unwrap().open_sessions()
    }
}
