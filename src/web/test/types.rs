//! Answers and server types, with an engine that composes and reads them as the daemon's does.

use std::path::Path;

use super::golden::without_hashes;
use super::scene::{Answer, CSRF, HOSTILE, PLANTED_HASH, Scene, json};
use crate::golden::assert_golden;
use crate::jobs::Engine;
use crate::store::Store;

/// A subscription key that no page may show.
const SUBSCRIPTION: &str = "pve2c-5ec7e75ec7";

const LAB: &str = "\
# Machines of the test rack.
display_name = \"Lab machine\"
boot_disk = \"per-host\"
domain = \"lab.example\"
answer_template = \"zfs-single\"

[answer.global]
country = \"de\"           # the rack stands in Hamburg
timezone = \"Europe/Berlin\"
";

/// An engine with a server type, and a file that is none.
pub(crate) fn engine(dir: &Path, store: &Store) -> Engine {
    let keys = "[credentials]\nssh_keys = [\"ssh-ed25519 \
         AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f you@desk\"]\n";
    let types = [("lab", LAB), ("gpu", "boot_dsik = \"per-host\"\n")];
    crate::fakes::sample::engine(dir, store, keys, &types)
}

fn host(n: u8) -> String {
    super::sample::host(n, |_| ()).id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_shown_with_its_layers_and_without_secrets() {
    use crate::store::HostReads as _;
    let scene = Scene::fleet();
    scene.write(0, |tx| {
        let mut host = tx.host(super::sample::host(2, |_| ()).id).unwrap().unwrap();
        let own = serde_json::json!({ "global": { "timezone": "Europe/Vienna", "mailto": "pve2@example.net",
            "subscription-key": SUBSCRIPTION } });
        host.overrides.answer = own.as_object().unwrap().clone();
        tx.save_host(&host).unwrap();
    });
    let page = scene.get(&format!("/hosts/{}/answer", host(2))).await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains(SUBSCRIPTION) && !page.body.contains(PLANTED_HASH));
    assert_golden("pages/answer.html", &without_hashes(&page.body));

    let told = scene.get("/api/hosts/pve2/answer").await;
    assert!(!told.body.contains(SUBSCRIPTION), "{}", told.body);
    let told: serde_json::Value = serde_json::from_str(&told.body).unwrap();
    assert_eq!(told["is_sendable"], true, "{told:#}");
    let values = told["values"].as_array().unwrap();
    let zone = values.iter().find(|v| v["key"] == "global.timezone").unwrap();
    assert_eq!((&zone["value"], &zone["layer"]), (&"Europe/Vienna".into(), &"host".into()));
    let below: Vec<&str> = zone["overridden"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["layer"].as_str().unwrap())
        .collect();
    assert_eq!(below, ["template", "server-type"]);
    assert!(told["disk"]["why"].as_str().unwrap().contains("exact text"), "{told:#}");

    // Without a disk there is no answer, and the rule says what to do.
    let page = scene.get(&format!("/hosts/{}/answer", host(3))).await;
    assert_eq!(page.status, 200);
    assert!(!page.body.contains(HOSTILE));
    assert_golden("pages/answer-refused.html", &without_hashes(&page.body));
    let unknown = scene.get("/api/hosts/pve2/answer?image=no-such-image").await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    assert_eq!(scene.get("/api/hosts/pve2/answer?image=..%2Fx").await.status, 400);
    assert_eq!(scene.get("/hosts/nobody/answer").await.status, 404);
}

/// A text as a form sends it.
fn encoded(text: &str) -> String {
    text.bytes().map(|b| format!("%{b:02X}")).collect()
}

fn form(action: &str, hash: &str, text: &str) -> String {
    format!("csrf={CSRF}&action={action}&hash={hash}&text={}", encoded(text))
}

impl Scene {
    async fn json(&self, method: &str, path: &str, body: &serde_json::Value) -> Answer {
        self.send(json(method, path, &body.to_string())).await
    }

    fn types(&self) -> std::path::PathBuf {
        self.dir.path().join("server-types")
    }

    /// A page without what differs from run to run.
    fn steady(&self, answer: &Answer) -> String {
        let place = self.dir.path().display().to_string();
        without_hashes(&answer.body).replace(&place, "/etc/ironhatch")
    }

    async fn hash(&self, name: &str) -> String {
        let told = self.get(&format!("/api/server-types/{name}")).await;
        let told: serde_json::Value = serde_json::from_str(&told.body).unwrap();
        told["hash"].as_str().unwrap().to_owned()
    }

    /// State and job of every host.
    async fn states(&self) -> Vec<String> {
        let told: serde_json::Value =
            serde_json::from_str(&self.get("/api/hosts").await.body).unwrap();
        let hosts = told["hosts"].as_array().unwrap();
        hosts.iter().map(|h| format!("{} {} {}", h["hostname"], h["state"], h["job"])).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn server_types_look_as_they_were_last_reviewed() {
    let scene = Scene::fleet();
    let list = scene.get("/server-types").await;
    assert_golden("pages/server-types.html", &scene.steady(&list));
    let shown = scene.get("/server-types/lab").await;
    assert_golden("pages/server-type.html", &scene.steady(&shown));
    let new = scene.get("/new-server-type?from=lab").await;
    assert_golden("pages/server-type-new.html", &scene.steady(&new));

    let hash = scene.hash("lab").await;
    let edited = LAB
        .replace("\"per-host\"", "{ devices = [\"sdb\"] }")
        .replace("country = \"de\"", "country = \"at\"")
        + "subscription-key = \"pve2c-5ec7e75ec7\"\n";
    let host = super::sample::host(4, |_| ()).id;
    let looked = scene
        .post("/server-types/lab", &format!("{}&host={host}", form("look", &hash, &edited)))
        .await;
    assert_eq!(looked.status, 200, "{}", looked.body);
    let trial = looked.body.split_once("id=\"trial\"").unwrap().1;
    assert!(!trial.contains(SUBSCRIPTION), "{trial}");
    assert_golden("pages/server-type-look.html", &scene.steady(&looked));

    let wrong = format!("{LAB}contry = \"{HOSTILE}\"\nkeyboard = 7\n");
    let refused = scene.post("/server-types/lab", &form("save", &hash, &wrong)).await;
    assert_eq!(refused.status, 422);
    assert!(!refused.body.contains(HOSTILE));
    assert_golden("pages/server-type-wrong.html", &scene.steady(&refused));
    let named = scene.post("/new-server-type", &form("save", "", LAB)).await;
    assert_eq!(named.status, 422, "a name is needed");
    assert_eq!(std::fs::read_to_string(scene.types().join("lab.toml")).unwrap(), LAB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_type_is_saved_only_over_the_text_that_was_opened_and_arms_nothing() {
    let scene = Scene::fleet();
    let (states, hash) = (scene.states().await, scene.hash("lab").await);
    let path = scene.types().join("lab.toml");
    // Somebody else is quicker.
    let theirs = LAB.replace("Lab machine", "Rack machine");
    std::fs::write(&path, &theirs).unwrap();
    let edited = LAB.replace("country = \"de\" ", "country = \"at\" ");
    let stale = scene.post("/server-types/lab", &form("save", &hash, &edited)).await;
    assert_eq!(stale.status, 409, "{}", stale.body);
    assert!(stale.body.contains("was changed since it was opened"));
    assert!(stale.body.contains("country = &#34;at&#34;"), "what was typed is not lost");
    for without in ["", "none"] {
        let lost = scene.post("/server-types/lab", &form("save", without, &edited)).await;
        assert_eq!(lost.status, 409, "{without}");
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), theirs);

    // Over what is there now, with the line ends of a browser.
    let edited = theirs.replace("country = \"de\" ", "country = \"at\" ")
        + &format!("subscription-key = \"{SUBSCRIPTION}\"\n");
    let typed = edited.replace('\n', "\r\n");
    let saved =
        scene.post("/server-types/lab", &form("save", &scene.hash("lab").await, &typed)).await;
    assert_eq!(saved.header("location"), "/server-types/lab?done=saved", "{}", saved.body);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), edited, "comments and all");
    let told = scene.get("/api/hosts/pve2/answer").await.body;
    assert!(told.contains("\"key\":\"global.country\",\"value\":\"at\""), "in use at once: {told}");
    // The key is on no page and in no answer, and an edit around its cover keeps it.
    let page = scene.get("/server-types/lab?done=saved").await.body;
    assert!(page.contains("It was saved.") && page.contains("subscription-key = &#34;(not shown)"));
    for path in ["/server-types/lab", "/new-server-type?from=lab", "/server-types"] {
        let page = scene.get(path).await.body;
        assert!(!page.contains(SUBSCRIPTION), "{path}: {page}");
    }
    let list = scene.get("/api/server-types").await.body;
    let told = scene.get("/api/server-types/lab").await.body;
    assert!(!list.contains(SUBSCRIPTION) && !told.contains(SUBSCRIPTION), "{list} {told}");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let text = told["text"].as_str().unwrap().replace("Hamburg", "Kiel");
    let looked = serde_json::json!({ "text": text });
    let looked = scene.json("POST", "/api/server-types/lab/preview", &looked).await.body;
    assert!(looked.contains("\"errors\":[]") && !looked.contains(SUBSCRIPTION), "{looked}");
    let body = serde_json::json!({ "text": text, "replaces": told["hash"] });
    let saved = scene.json("PUT", "/api/server-types/lab", &body).await;
    assert_eq!(saved.status, 200, "{}", saved.body);
    assert!(!saved.body.contains(SUBSCRIPTION), "{}", saved.body);
    let kept = edited.replace("Hamburg", "Kiel");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), kept);
    // A copy has no key to keep.
    let copied = serde_json::json!({ "text": text });
    let copied = scene.json("PUT", "/api/server-types/copy", &copied).await;
    assert_eq!(copied.status, 422, "{}", copied.body);
    assert!(copied.body.contains("subscription"), "{}", copied.body);

    // A new one, a name that is taken, and the end of one.
    let named = |name: &str| format!("{}&name={name}", form("save", "", LAB));
    assert_eq!(scene.post("/new-server-type", &named("lab")).await.status, 409);
    let made = scene.post("/new-server-type", &named("other")).await;
    assert_eq!(made.header("location"), "/server-types/other?done=made", "{}", made.body);
    let used =
        scene.post("/server-types/lab/delete", &form("", &scene.hash("lab").await, "")).await;
    assert_eq!(used.status, 409);
    assert!(used.body.contains("is used by pve"), "{}", used.body);
    let stale = scene.post("/server-types/other/delete", &form("", &hash[1..], "")).await;
    assert_eq!(stale.status, 409);
    let gone =
        scene.post("/server-types/other/delete", &form("", &scene.hash("other").await, "")).await;
    assert_eq!(gone.header("location"), "/server-types", "{}", gone.body);
    assert_eq!(scene.get("/api/server-types/other").await.status, 404);
    let left: Vec<_> =
        std::fs::read_dir(scene.types()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");

    assert_eq!(scene.states().await, states, "nothing is armed, nothing is queued");
    let audit: serde_json::Value =
        serde_json::from_str(&scene.get("/api/audit").await.body).unwrap();
    let entries = audit["entries"].as_array().unwrap();
    let told: Vec<String> = entries
        .iter()
        .map(|e| format!("{} {}", e["changes"][0]["fate"], e["changes"][0]["subject"]))
        .collect();
    let kinds = [
        "removed\" \"server type other",
        "added\" \"server type other",
        "changed\" \"server type lab",
        "changed\" \"server type lab",
    ];
    for (told, kind) in told.iter().zip(kinds) {
        assert!(told.contains(kind), "{told} is not {kind}");
    }
    let changed = entries[3]["changes"][0]["fields"].to_string();
    assert!(
        changed.contains("answer.global.country") && changed.contains("\"after\":\"at\""),
        "{changed}"
    );
    assert!(changed.contains("subscription-key"), "{changed}");
    assert!(!audit.to_string().contains(SUBSCRIPTION), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_looks_at_saves_and_deletes_server_types() {
    let scene = Scene::fleet();
    let told =
        |answer: &Answer| -> serde_json::Value { serde_json::from_str(&answer.body).unwrap() };
    let list = told(&scene.get("/api/server-types").await);
    assert_eq!(list["uses"]["lab"], 4, "{list:#}");
    assert_eq!(list["read_only"], serde_json::Value::Null);
    let text = LAB.replace("zfs-single", "ext4-lvm");
    let body = serde_json::json!({ "text": text, "host": "pve2" });
    let looked = scene.json("POST", "/api/server-types/lab/preview", &body).await;
    let looked = told(&looked);
    let lines = looked["difference"].to_string();
    assert!(lines.contains("filesystem = \\\"ext4\\\""), "{lines}");
    assert_eq!(looked["host"], "pve2");
    let bad = serde_json::json!({ "text": "boot_disk = \"ID_MODEL=x\"" });
    let looked = told(&scene.json("POST", "/api/server-types/lab/preview", &bad).await);
    assert_eq!(
        (&looked["errors"][0]["line"], &looked["after"]),
        (&1.into(), &serde_json::Value::Null)
    );
    let new = serde_json::json!({ "text": text });
    let refused = scene.json("PUT", "/api/server-types/lab", &new).await;
    assert_eq!(refused.status, 409, "a text that replaces nothing is a new type");
    let bad = serde_json::json!({ "text": "boot_disk = \"ID_MODEL=x\"", "replaces": scene.hash("lab").await });
    let refused = scene.json("PUT", "/api/server-types/lab", &bad).await;
    assert_eq!(refused.status, 422);
    assert!(told(&refused)["errors"]["line 1, boot_disk"].is_string(), "{}", refused.body);
    let good = serde_json::json!({ "text": text, "replaces": scene.hash("lab").await });
    assert_eq!(scene.json("PUT", "/api/server-types/lab", &good).await.status, 200);
    assert_eq!(scene.json("PUT", "/api/server-types/lab", &good).await.status, 409, "not twice");
    assert_eq!(
        scene.json("DELETE", "/api/server-types/lab", &serde_json::json!({})).await.status,
        409
    );
    let long = serde_json::json!({ "text": "#".repeat(70_000) });
    assert_eq!(scene.json("PUT", "/api/server-types/long", &long).await.status, 413);
    let new = serde_json::json!({ "text": "boot_disk = \"per-host\"" });
    assert_eq!(scene.json("PUT", "/api/server-types/new", &new).await.status, 200);
    assert_eq!(
        std::fs::read_to_string(scene.types().join("new.toml")).unwrap(),
        "boot_disk = \"per-host\"\n"
    );
    assert_eq!(
        scene.json("DELETE", "/api/server-types/new?hash=0", &serde_json::json!({})).await.status,
        409
    );
    assert_eq!(
        scene.json("DELETE", "/api/server-types/new", &serde_json::json!({})).await.status,
        204
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_of_a_server_type_leaves_its_directory() {
    let scene = Scene::fleet();
    let config = scene.dir.path().join("ironhatch.toml");
    std::fs::write(&config, "# planted-in-the-configuration\n").unwrap();
    let before = std::fs::read_dir(scene.dir.path()).unwrap().count();
    for name in [
        "..%2Fironhatch",
        "..%2f..%2fironhatch",
        "%2e%2e%2Fironhatch",
        "..",
        "%2e%2e",
        ".",
        ".hidden",
        "a%2Fb",
        "a%5Cb",
        "LAB",
        "lab%00",
        "lab%0a",
        "%20lab",
        "l\u{e4}b",
        "%2Fetc%2Fpasswd",
        "-lab",
        &"a".repeat(65),
    ] {
        let path = name.replace('\u{e4}', "%C3%A4");
        let body = serde_json::json!({ "text": LAB });
        for (method, path) in [
            ("GET", format!("/server-types/{path}")),
            ("GET", format!("/api/server-types/{path}")),
            ("GET", format!("/new-server-type?from={path}")),
            ("PUT", format!("/api/server-types/{path}")),
            ("POST", format!("/api/server-types/{path}/preview")),
            ("DELETE", format!("/api/server-types/{path}")),
        ] {
            let answer = scene.json(method, &path, &body).await;
            assert!(
                [404, 400, 405].contains(&answer.status.as_u16()),
                "{method} {path}: {}",
                answer.status
            );
            assert!(!answer.body.contains("planted-in-the"), "{method} {path}");
        }
        let typed = format!("{}&name={path}", form("save", "", LAB));
        let answer = scene.post("/new-server-type", &typed).await;
        // Blanks around a name are no part of it.
        let expected = if name == "%20lab" || name == "lab%0a" { 409 } else { 422 };
        assert_eq!(answer.status, expected, "{name}: {}", answer.body);
    }
    assert_eq!(std::fs::read_dir(scene.dir.path()).unwrap().count(), before);
    assert_eq!(std::fs::read_dir(scene.types()).unwrap().count(), 2);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "# planted-in-the-configuration\n");
}
