//! Tests of the provisioning plan.

use super::super::context::SiteNames;
use super::super::sample;
use super::*;
use crate::domain::guest::Guest;
use crate::domain::vmid::Vmid;
use crate::proto::verb::{Verb, check};

const PLANTED: &str = "pl4nted \"secret\"";

fn secrets() -> BTreeMap<String, Secret<String>> {
    ["admin_password", "of_an_older_version"]
        .map(|key| (key.to_owned(), Secret::new(PLANTED.to_owned())))
        .into()
}

fn subject<'a>(manifest: &'a Manifest, guest: &'a Guest) -> Subject<'a> {
    let site = SiteNames { domain: "example.net", url: "http://192.0.2.2:8080" };
    Subject { manifest, guest, site }
}

const PHASES: [Phase; 5] =
    [Phase::Install, Phase::Reconfigure, Phase::Upgrade, Phase::Uninstall, Phase::Check];

#[test]
fn what_is_pushed_and_run_in_each_phase() {
    let mut manifest = sample::app().manifest;
    let guest = sample::addressed_guest();
    let mut text = String::new();
    let mut show = |title: &str, manifest: &Manifest| {
        let subject = subject(manifest, &guest);
        for phase in PHASES {
            text.push_str(&format!("== {title}: {}\n", phase.as_str()));
            for file in files(&subject, phase, &secrets()).unwrap() {
                let content = match &file.content {
                    Content::App(path) => format!("the app's {path}"),
                    Content::Library => "our library".to_owned(),
                    Content::Text(text) => format!("{} bytes", text.expose().len()),
                };
                let mode = String::from(file.mode);
                text.push_str(&format!("push {} {mode} {content}\n", file.path));
            }
            for run in runs(&subject, phase).unwrap() {
                let user = run.user.as_deref().unwrap_or("root");
                text.push_str(&format!("run {} ({} s, {user})\n", run.title, run.timeout_sec));
                text.push_str(&format!("    {}\n", run.argv.join(" ")));
                for (name, value) in &run.env {
                    text.push_str(&format!("    {name}={value}\n"));
                }
            }
        }
    };
    show("packages", &manifest);
    manifest.provision.kind = ProvisionKind::Script { script: "provision/install.sh".to_owned() };
    manifest.provision.user = "wiki".to_owned();
    manifest.healthcheck.as_mut().unwrap().kind =
        crate::domain::app::HealthKind::Command { script: "provision/healthcheck.sh".to_owned() };
    show("script", &manifest);
    assert!(!text.contains("pl4nted"), "a secret is an argument or variable");
    crate::golden::assert_golden("guest/provision.txt", &text);
}

/// The node refuses what it does not know: everything that is planned must pass its check.
#[test]
fn the_nodes_agent_accepts_everything_that_is_planned() {
    let mut manifest = sample::app().manifest;
    manifest.provision.user = "wiki".to_owned();
    let guest = sample::addressed_guest();
    let subject = subject(&manifest, &guest);
    let vmid = Vmid::MIN;
    for phase in PHASES {
        for run in runs(&subject, phase).unwrap() {
            let (argv, env, user) = (run.argv, run.env, run.user);
            let timeout_sec = run.timeout_sec;
            let verb = Verb::Exec { vmid, argv, env, user, timeout_sec };
            assert_eq!(check(&verb).map_err(|e| e.to_string()), Ok(()));
        }
        for file in files(&subject, phase, &secrets()).unwrap() {
            let (path, mode) = (file.path, file.mode);
            let verb = Verb::Push { vmid, path, mode, uid: 0, gid: 0, size: 1 };
            assert_eq!(check(&verb).map_err(|e| e.to_string()), Ok(()));
        }
    }
}

#[test]
fn inputs_are_one_json_object_with_the_secrets_that_the_app_asks_for() {
    let manifest = sample::app().manifest;
    let guest = sample::guest();
    let text = inputs_json(&manifest, subject(&manifest, &guest).inputs(), &secrets());
    let read: serde_json::Value = serde_json::from_str(text.expose()).unwrap();
    let want = serde_json::json!({
        "database": "sqlite", "mail": false, "title": "home", "workers": 2, "admin_password": PLANTED,
    });
    assert_eq!(read, want);
    let nothing = inputs_json(&manifest, &BTreeMap::new(), &BTreeMap::new());
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(nothing.expose()).unwrap(),
        serde_json::json!({})
    );
}

#[test]
fn an_app_that_may_not_run_twice_is_neither_reconfigured_nor_upgraded_by_its_install_script() {
    let mut manifest = sample::app().manifest;
    manifest.provision.retry_safe = false;
    assert!(script(&manifest, Phase::Reconfigure).is_err());
    assert_eq!(script(&manifest, Phase::Upgrade), Ok(Some("provision/upgrade.sh")));
    manifest.provision.upgrade = None;
    assert!(script(&manifest, Phase::Upgrade).is_err());
    manifest.provision.retry_safe = true;
    assert_eq!(script(&manifest, Phase::Upgrade), Ok(Some("provision/install.sh")));
    assert_eq!(script(&manifest, Phase::Check), Ok(None));
}

#[test]
fn a_template_in_the_environment_cannot_reach_a_secret() {
    let mut manifest = sample::app().manifest;
    manifest.provision.env.insert("LEAK".to_owned(), "{{ secrets.admin_password }}".to_owned());
    let guest = sample::guest();
    let error = environment(&subject(&manifest, &guest), Phase::Install).unwrap_err();
    assert!(error.starts_with("provision.env.LEAK: the template names something"), "{error}");
}

#[test]
fn secret_results_and_the_facts_in_them_are_blanked_afterwards() {
    let mut manifest = sample::app().manifest;
    manifest.outputs = vec![crate::domain::app::Output {
        key: "login".into(),
        label: "Login".into(),
        value: "admin:{{ facts.token }}".into(),
        kind: crate::domain::app::OutputKind::Secret,
    }];
    let guest = sample::addressed_guest();
    let facts = [("token", "drawn-inside"), ("release", "1.2.3.4")];
    let facts = facts.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let redactor = redactor_with_outputs(&subject(&manifest, &guest), &secrets(), &facts);
    let clean = redactor.text(&format!("token drawn-inside of 1.2.3.4, {PLANTED}"));
    assert_eq!(clean, "token [secret] of 1.2.3.4, [secret]");
}

#[test]
fn what_the_manifest_names_is_redacted_too() {
    let manifest = sample::app().manifest;
    let mut guest = sample::guest();
    let relay = InputValue::Text("mail.example.net".to_owned());
    guest.app.as_mut().unwrap().inputs.insert("relay".to_owned(), relay);
    let redactor = redactor(&subject(&manifest, &guest), &secrets());
    let clean = redactor.text(&format!("relay mail.example.net, password {PLANTED}, title home"));
    assert_eq!(clean, "relay [secret], password [secret], title home");
}

#[test]
fn staged_secrets_go_even_when_the_app_keeps_its_files() {
    let mut manifest = sample::app().manifest;
    assert_eq!(tidy(&manifest), Tidy::All);
    manifest.provision.keep_assets = true;
    let Tidy::Secrets(run) = tidy(&manifest) else { panic!("the folder stays") };
    assert_eq!(
        run.argv.join(" "),
        "/bin/rm -rf -- /opt/appstore/inputs.json /opt/appstore/secrets /opt/appstore/outputs.env"
    );
}
