//! Requests of machines to the real router, with one host that waits for its installation: nothing is released and
//! nothing changes without the right token or address, the answer leaves at most once, and boot files come as firmware
//! wants them.
//!
//! Input: text of requests, divided by lines `---`: method and path, headers, an empty line, the body. `TOKEN`, `HOST` and
//! `MAC` stand for the real ones, so that it is known whether a request has them.

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderName, HeaderValue, Method, Request};
use http_body_util::BodyExt as _;
use ironhatch::domain::host::HostState;
use ironhatch::fakes::firmware::http::{self, Answer};
use ironhatch::proto::iso9660::sample;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

use super::appliance::{Appliance, Armed, MAC, boot_files, from_machine};
use super::{Seeds, texts};

/// Requests of one input.
const MOST: usize = 8;

struct World {
    runtime: Runtime,
    appliance: Appliance,
    router: Router,
    armed: Armed,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
    iso: Vec<u8>,
}

thread_local! {
    static WORLD: World = world();
}

fn world() -> World {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let appliance = Appliance::new();
    let armed = runtime.block_on(appliance.arm());
    let router = appliance.machine();
    // The first look at the view is the yardstick for all later ones; what it must contain is the target `iso`'s matter.
    let path = format!("/boot/{}/proxmox.iso", armed.token.reveal());
    let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
    let iso = runtime.block_on(async {
        let answer = router.clone().oneshot(from_machine(request)).await.expect("an answer");
        answer.into_body().collect().await.expect("the view").to_bytes().to_vec()
    });
    assert!(iso.len() > sample::installer("9.2").len());
    let (kernel, initrd) = (vec![0x4B; 5000], vec![0x49; 9001]);
    World { runtime, appliance, router, armed, kernel, initrd, iso }
}

/// One request of an input.
struct Asked {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    fn read(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut lines = head.lines();
        let (method, path) = lines.next()?.split_once(' ')?;
        let headers = lines.filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        });
        Some(Self {
            method: Method::from_bytes(method.as_bytes()).ok()?,
            path: path.trim().to_owned(),
            headers: headers.take(32).collect(),
            body: body.as_bytes().to_vec(),
        })
    }

    fn request(&self) -> Option<Request<Body>> {
        let mut request = Request::builder().method(&self.method).uri(&self.path);
        for (name, value) in &self.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            request = request.header(name, HeaderValue::from_str(value).ok()?);
        }
        request.body(Body::from(self.body.clone())).ok().map(from_machine)
    }

    /// Everything that is in it, with escapes of URLs and of JSON undone, in lower case.
    fn text(&self) -> String {
        let mut text = unescape(&self.path);
        self.headers.iter().for_each(|(_, value)| text.push_str(value));
        match serde_json::from_slice::<serde_json::Value>(&self.body) {
            Ok(value) => text.push_str(&value.to_string()),
            Err(_) => text.push_str(&String::from_utf8_lossy(&self.body)),
        }
        text.to_ascii_lowercase()
    }
}

fn unescape(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        rest = match (first, code) {
            (b'%', Some(code)) => {
                bytes.push(code);
                &tail[2..]
            }
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    WORLD.with(|world| world.play(text));
}

impl World {
    fn play(&self, text: &str) {
        let token = self.armed.token.reveal();
        let text = text
            .replace("TOKEN", &token)
            .replace("HOST", &self.armed.host.id.to_string())
            .replace("MAC", &MAC.to_string());
        let mut answers = 0;
        let mut touched = false;
        for part in text.split("\n---\n").take(MOST) {
            let Some((asked, request)) =
                Asked::read(part).and_then(|a| Some((a.request()?, a)).map(|(r, a)| (a, r)))
            else {
                continue;
            };
            let before = self.appliance.host(&self.armed.host);
            let answer = self.runtime.block_on(send(&self.router, request));
            let after = self.appliance.host(&self.armed.host);
            let job = self.appliance.job(self.armed.job.id);
            touched |= before != after || job != self.armed.job;
            let said = asked.text();
            let has_token = said.contains(&token);
            let digits: String = said.chars().filter(char::is_ascii_hexdigit).collect();
            let has_mac = digits.contains("525400aabb01");
            self.judge(&asked, &answer, has_token, has_mac, before.state);
            answers += usize::from(is_the_answer(&asked, &answer));
            assert!(answers <= 1, "the answer left twice");
            may_change(&asked, before.state, after.state, has_token, has_mac);
        }
        if touched {
            self.appliance.reset(&self.armed);
        }
    }

    fn judge(
        &self,
        asked: &Asked,
        answer: &Answer,
        has_token: bool,
        has_mac: bool,
        before: HostState,
    ) {
        let body = String::from_utf8_lossy(&answer.body);
        let path = unescape(&asked.path);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let told = body.to_ascii_lowercase().contains(&self.armed.token.reveal());
        let script = path.starts_with("/ipxe/");
        assert!(!told || has_token || script && has_mac, "the token is told to a stranger");
        assert!(answer.status != 500, "{} {}: {body}", asked.method, asked.path);
        let request =
            http::Request { head: asked.method == Method::HEAD, path, headers: &asked.headers };
        if asked.method != Method::GET && asked.method != Method::HEAD {
            return;
        }
        if script || path.starts_with("/boot/") {
            http::take_any(&request, answer)
                .unwrap_or_else(|e| panic!("{e}: {asked:?} {answer:?}", asked = asked.path));
        }
        let installer =
            [("linux26", &self.kernel), ("initrd.img", &self.initrd), ("proxmox.iso", &self.iso)];
        if answer.status >= 400 && !matches!(answer.status, 412 | 416) {
            return;
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        if let Some((_, file)) =
            installer.iter().find(|(n, _)| path.starts_with("/boot/") && *n == name)
        {
            assert!(has_token && before.is_armed(), "an installer for a stranger: {path}");
            http::take_file(&request, answer, file)
                .unwrap_or_else(|e| panic!("{e}: {path} {:?}", answer.headers));
        } else if path.starts_with("/boot/ipxe/") {
            let file = boot_files().get(name).expect("a file that is served exists");
            http::take_file(&request, answer, &file)
                .unwrap_or_else(|e| panic!("{e}: {path} {:?}", answer.headers));
        }
    }
}

/// The document that lets an installer erase a disk.
fn is_the_answer(asked: &Asked, answer: &Answer) -> bool {
    let text = String::from_utf8_lossy(&answer.body);
    let is = text.contains("disk-setup") || text.contains("disk_setup");
    assert!(!is || (asked.method == Method::POST && answer.status == 200), "an answer, astray");
    is
}

/// Rule 1 of the design, seen from outside: which requests may move the host.
fn may_change(asked: &Asked, before: HostState, after: HostState, has_token: bool, has_mac: bool) {
    if before == after {
        return;
    }
    let allowed = match after {
        HostState::PxeBooted => has_mac && asked.path.starts_with("/ipxe/"),
        HostState::Installing => has_token && has_mac && asked.method == Method::POST,
        HostState::Installed | HostState::FirstBoot => has_token && asked.method == Method::POST,
        // Too little memory for the image, by its own word.
        HostState::Failed => has_mac && asked.path.starts_with("/ipxe/"),
        _ => false,
    };
    assert!(allowed, "{} {} moved the host from {before} to {after}", asked.method, asked.path);
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let exact = body.size_hint().exact();
    let body = body.collect().await.map(|b| b.to_bytes().to_vec()).expect("a whole body");
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut headers: Vec<_> =
        parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    // As hyper does for a body whose length is known; any other would be sent in chunks.
    if let (Some(length), false) = (exact, parts.headers.contains_key("content-length")) {
        headers.push(("content-length".to_owned(), length.to_string()));
    }
    Answer { status: parts.status.as_u16(), headers, body }
}

pub(crate) fn seeds() -> Seeds {
    let facts = r#"{"$schema":{"version":"1.0"},"product":{"product":"pve"},"iso":{"release":"9.2","isorelease":"1"},"dmi":{"system":{"uuid":"4c4c4544-0042-3010-8054-b5c04f4e5932"}},"network_interfaces":[{"link":"eno1","mac":"MAC"}]}"#;
    let report = r#"{"$schema":{"version":"1.2"},"network-interfaces":[{"name":"eno1","mac":"MAC","address":"192.0.2.21/24","is-management":true}],"ssh-public-host-keys":{"ed25519":"ssh-ed25519 AAAA root@node"}}"#;
    let home = r#"{"address":"192.0.2.21","uuid":"x","macs":["MAC"],"ssh_host_keys":["ssh-ed25519 AAAA root@node"],"booted_from":"efi"}"#;
    let script = "GET /ipxe/52-54-00-aa-bb-01?uuid=4c4c4544-0042-3010-8054-b5c04f4e5932&memory=16384&platform=efi\n\n";
    let whole = format!(
        "{script}\n---\nPOST /api/boot/answer/TOKEN\naccept: application/toml\n\n{facts}\n---\n\
         GET /api/hosts/HOST/first-boot-script?token=TOKEN\n\n\n---\n\
         POST /api/hosts/HOST/installed?token=TOKEN\n\n{report}\n---\n\
         POST /api/hosts/HOST/phone-home\nauthorization: Bearer TOKEN\n\n{home}"
    );
    let twice = format!(
        "{script}\n---\nPOST /api/boot/answer/TOKEN\n\n{facts}\n---\nPOST /api/boot/answer?token=TOKEN\n\n{facts}"
    );
    let mut seeds = texts([
        ("script", script),
        ("script-poor", "GET /ipxe/52-54-00-aa-bb-01?memory=64\n\n"),
        (
            "script-stranger",
            "GET /ipxe/52-54-00-00-00-09?uuid=%ff%fe&memory=99999999999999999999\n\n",
        ),
        ("start", "GET /boot/start.ipxe\n\n\n---\nHEAD /boot/start.ipxe\n\n"),
        (
            "program",
            "HEAD /boot/ipxe/snponly.efi\n\n\n---\nGET /boot/ipxe/undionly.kpxe\nrange: bytes=100-299\n\n",
        ),
        ("kernel", "GET /boot/TOKEN/linux26\n\n\n---\nHEAD /boot/TOKEN/initrd.img\n\n"),
        (
            "view",
            "GET /boot/TOKEN/proxmox.iso\nrange: bytes=32768-40960\nif-range: \"x\"\n\n\n---\nGET /boot/TOKEN/proxmox.iso\nrange: bytes=-2048\n\n",
        ),
        (
            "conditions",
            "GET /boot/TOKEN/linux26\nif-none-match: *\n\n\n---\nGET /boot/TOKEN/linux26\nif-match: \"x\"\n\n\n---\nGET /boot/TOKEN/linux26\nrange: bytes=99999-\n\n",
        ),
        ("wrong-token", "GET /boot/00000000000000000000000000000000/proxmox.iso\n\n"),
        (
            "climbing",
            "GET /boot/ipxe/..%2f..%2fmaster.key\n\n\n---\nGET //boot//ipxe/snponly.efi\n\n",
        ),
        ("enroll", "GET /api/nodes/enroll/x\n\n\n---\nPOST /api/nodes/enroll/x\n\n{}"),
    ]);
    seeds.push(("whole".into(), whole.into_bytes()));
    seeds.push(("twice".into(), twice.into_bytes()));
    seeds
}
