//! Guests on the nodes of the join's lab: the stand-in for `pct`, root directories with busybox, and the forced command
//! that runs the real agent.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ironhatch::domain::vmid::Vmid;
use ironhatch::node::{CallLimits, Channel, ChannelError, EphemeralKey, Outcome};
use ironhatch::proto::verb::{Request, Stream, Verb};

use crate::join::lab::Node;

/// Commands of a node that the stand-in plays.
const COMMANDS: [&str; 4] = ["pct", "pveum", "zpool", "nvidia-smi"];

/// What the appliance's key may do on a node in these tests.
pub(crate) const SERVE: &str = "node serve --pool ironhatch --bind-source /run/tank --zpool tank";

/// Puts the stand-ins onto a node, with `knobs` (shell assignments) and an empty log of calls in `/run/pct.log`.
pub(crate) fn guests(node: &Node, knobs: &str) {
    let double = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/pct");
    for command in COMMANDS {
        node.sh(&format!("cp {} /usr/local/sbin/{command}", double.display()));
    }
    let name = &node.name;
    let made = node.sh(&format!(
        "cat >/usr/local/sbin/pct-double.conf <<'X'\nPCT_RUN=/run\nPCT_LOG=/run/pct.log\n{knobs}\nX\n\
         ln -sfn nodes/{name} /etc/pve/local && mkdir -p /run/lxc /run/tank && touch /etc/pve/user.cfg && echo made"
    ));
    assert_eq!(made, "made\n");
}

/// A container that is ours and runs, with a root directory of busybox and a user `app`.
pub(crate) fn ours(node: &Node, vmid: u32) {
    guest(node, vmid, "ironhatch");
    node.sh(&format!(
        "sed -i '/^pool:ironhatch:/d' /etc/pve/user.cfg; ls /etc/pve/local/lxc | sed 's/.conf//' | paste -sd, | \
         sed 's/.*/pool:ironhatch:managed:&::/' >>/etc/pve/user.cfg; echo 192.0.2.29 >/run/lxc/{vmid}"
    ));
    // The static busybox of the package; the root directory needs nothing else.
    let rootfs = format!("/var/lib/lxc-double/{vmid}");
    let script = format!(
        "mkdir -p {rootfs}/bin {rootfs}/sbin {rootfs}/usr/bin {rootfs}/usr/sbin {rootfs}/etc {rootfs}/tmp {rootfs}/opt {rootfs}/root && \
         cp /bin/busybox {rootfs}/bin/busybox && chroot {rootfs} /bin/busybox --install -s && \
         echo 'root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh' >{rootfs}/etc/passwd && \
         printf '%s\\n' '#!/bin/sh' 'user=$2; shift 3' \
           'exec su -s /bin/sh \"$user\" -c '\\''exec \"$0\" \"$@\"'\\'' \"$@\"' >{rootfs}/usr/sbin/runuser && \
         chmod 755 {rootfs}/usr/sbin/runuser && chroot {rootfs} /usr/bin/env true && echo made"
    );
    assert_eq!(node.sh(&script), "made\n");
}

/// A stopped container with these tags, in no pool.
pub(crate) fn guest(node: &Node, vmid: u32, tags: &str) {
    let conf = format!(
        "arch: amd64\\nfeatures: nesting=1\\nhostname: g{vmid}\\nmemory: 512\\nrootfs: local:{vmid}/vm-{vmid}-disk-0.raw,size=1G\\ntags: {tags}\\nunprivileged: 1\\n"
    );
    node.sh(&format!("printf '{conf}' >/etc/pve/local/lxc/{vmid}.conf"));
}

/// Lets a new key run the agent and nothing else.
pub(crate) fn channel_key(node: &Node) -> EphemeralKey {
    let key = EphemeralKey::generate(&mut rand::rng(), "ironhatch-node test").unwrap();
    let program = env!("CARGO_BIN_EXE_ironhatch");
    let line = format!("command=\"{program} {SERVE}\",restrict {}", key.public_line());
    let add = format!("cat >>/root/.ssh/authorized_keys <<'X'\n{line}\nX");
    assert_eq!(node.sh(&add), "");
    key
}

pub(crate) async fn connect(node: &Node, key: &EphemeralKey) -> Channel {
    Channel::connect(&node.target(), key, Duration::from_secs(10)).await.unwrap()
}

pub(crate) fn vmid(number: u32) -> Vmid {
    Vmid::try_from(number).unwrap()
}

/// A program in a guest, as root, with half a minute.
pub(crate) fn exec(guest: u32, argv: &[&str]) -> Verb {
    Verb::Exec {
        vmid: vmid(guest),
        argv: argv.iter().map(|a| (*a).to_owned()).collect(),
        env: Default::default(),
        user: None,
        timeout_sec: 30,
    }
}

/// Calls a verb and returns what was printed with how it ended.
pub(crate) async fn call(
    channel: &Channel,
    verb: Verb,
    payload: &[u8],
) -> (String, Result<Outcome, ChannelError>) {
    let mut heard = String::new();
    let request = Request::new(verb);
    let limits = CallLimits::for_verb(&request.verb);
    let mut hear = |_: Stream, text: &str| heard.push_str(text);
    let outcome = channel.call(&request, payload, limits, &mut hear).await;
    (heard, outcome)
}

/// Calls a verb that must end with status 0.
pub(crate) async fn must(channel: &Channel, verb: Verb, payload: &[u8]) -> Outcome {
    let name = verb.name();
    let (heard, outcome) = call(channel, verb, payload).await;
    let outcome = outcome.unwrap_or_else(|e| panic!("{name}: {} {heard}", e.reason()));
    assert_eq!(outcome.status, 0, "{name}: {heard}");
    outcome
}

/// The private key as a file that OpenSSH's client takes.
pub(crate) fn key_file(dir: &Path, key: &EphemeralKey) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = dir.join("key");
    fs::write(&path, key.private_pem().unwrap().expose()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}
