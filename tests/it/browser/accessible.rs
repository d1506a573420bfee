//! What an accessibility engine says of a page, in light and in dark, and whether a phone shows it whole.

use std::path::Path;

use axum::http::Method;
use base64::Engine as _;
use fantoccini::Client;
use fantoccini::wd::WebDriverCompatibleCommand;
use serde_json::{Value, json};
use url::{ParseError, Url};

use super::{PHONE_WIDTH, picture};

/// A command of Chromium's own, beside WebDriver's.
#[derive(Debug)]
struct DevTools(Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, ParseError> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.0.to_string()))
    }
}

async fn tools(client: &Client, command: &str, params: Value) -> Value {
    client.issue_cmd(DevTools(json!({ "cmd": command, "params": params }))).await.unwrap()
}

/// Keeps a picture for a document when `IRONHATCH_SHOTS` names a folder: some ten KB.
pub(crate) async fn small_picture(client: &Client, name: &str) {
    if let Some(folder) = std::env::var_os("IRONHATCH_SHOTS") {
        let form = json!({ "format": "webp", "quality": 60 });
        let shot = tools(client, "Page.captureScreenshot", form).await;
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap());
        std::fs::write(Path::new(&folder).join(format!("{name}.webp")), bytes.unwrap()).unwrap();
    }
}

/// The engine's script, which `.ci/packages test` installs.
pub(crate) fn engine() -> String {
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(target)
        .join("axe/scripts/axe_playwright_python/axe.min.js");
    std::fs::read_to_string(&script)
        .unwrap_or_else(|e| panic!("{}: {e} (see .ci/packages test)", script.display()))
}

/// Everything that a press of a key would show is looked at as well.
const OPEN: &str = "for (const d of document.querySelectorAll('details')) d.open = true;";

/// Runs the engine with these options; what it found, worst first, each with the places.
const RUN: &str = "const [options, done] = arguments;
    axe.run(document, { resultTypes: ['violations'], ...options }).then(
        (found) => done(found.violations.map((v) => ({ id: v.id, impact: v.impact,
            text: v.help + ': ' + v.nodes.map((n) => n.target.join(' ') + ' ' + n.any.concat(n.all, n.none).map((c) => c.message).join('; ')).join(' | ') }))),
        (error) => done([{ id: 'engine', impact: 'critical', text: String(error) }]));";

/// How bad a finding may be: what hinders nobody from using the page.
const TOLERATED: [&str; 2] = ["minor", "moderate"];

async fn findings(client: &Client, options: Value) -> Vec<String> {
    let found = client.execute_async(RUN, vec![options]).await.unwrap();
    let found = found.as_array().expect("a list of findings").iter();
    let bad = found.filter(|f| !TOLERATED.contains(&f["impact"].as_str().unwrap_or_default()));
    bad.map(|f| format!("{} ({}): {}", f["id"], f["impact"], f["text"])).collect()
}

/// Looks at the page that is shown; what is wrong with it, one line each. Afterwards it looks as before.
pub(crate) async fn examine(client: &Client, engine: &str, name: &str) -> Vec<String> {
    client.execute(OPEN, vec![]).await.unwrap();
    client.execute(engine, vec![]).await.unwrap();
    picture(client, &format!("{name}-light")).await;
    let mut wrong =
        findings(client, json!({ "rules": { "target-size": { "enabled": true } } })).await;

    // Only colours differ in the dark.
    let scheme =
        |value: &str| json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
    tools(client, "Emulation.setEmulatedMedia", scheme("dark")).await;
    let is_dark = "return matchMedia('(prefers-color-scheme: dark)').matches;";
    assert_eq!(client.execute(is_dark, vec![]).await.unwrap(), json!(true));
    picture(client, &format!("{name}-dark")).await;
    let colours = findings(client, json!({ "runOnly": ["color-contrast"] })).await;
    wrong.extend(colours.into_iter().map(|f| format!("in the dark, {f}")));
    tools(client, "Emulation.setEmulatedMedia", scheme("")).await;

    // On a phone things move: whatever is too wide scrolls in its own box, and can be reached with the keyboard.
    let phone =
        json!({ "width": PHONE_WIDTH, "height": 844, "deviceScaleFactor": 2, "mobile": true });
    tools(client, "Emulation.setDeviceMetricsOverride", phone).await;
    picture(client, &format!("{name}-phone")).await;
    let width =
        client.execute("return document.documentElement.scrollWidth;", vec![]).await.unwrap();
    if width != json!(PHONE_WIDTH) {
        wrong.push(format!("{width} wide on a phone of {PHONE_WIDTH}"));
    }
    let moved = json!({ "runOnly": ["scrollable-region-focusable", "target-size"] });
    let moved = findings(client, moved).await;
    wrong.extend(moved.into_iter().map(|f| format!("on a phone, {f}")));
    tools(client, "Emulation.clearDeviceMetricsOverride", json!({})).await;
    wrong
}
