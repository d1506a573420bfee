//! Tests of changes to an existing guest.

use std::collections::BTreeSet;

use super::super::reorder::{self, Change};
use super::*;
use crate::domain::guest::Guest;

fn change_at(
    place: &Place,
    app: Option<&CatalogApp>,
    guest: &Guest,
    fields: &[(&str, &str)],
) -> Result<Change, Vec<FieldError>> {
    let mut form = Submitted::default();
    for (field, value) in fields {
        form.set(field, value);
    }
    let stored = BTreeSet::from(["admin_password".to_owned()]);
    reorder::read(app, guest, &place.site(), &form, &stored, &mut draw)
}

fn change(fields: &[(&str, &str)]) -> Result<Change, Vec<FieldError>> {
    change_at(&sample::place(), Some(&sample::app()), &sample::guest(), fields)
}

fn refused(result: Result<Change, Vec<FieldError>>) -> String {
    let errors = result.unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    format!("{}: {}", errors[0].field, errors[0].message)
}

#[test]
fn what_is_left_out_stays_and_what_is_the_same_is_no_change() {
    let guest = sample::guest();
    let present = reorder::present(Some(&sample::app()), &guest);
    assert_eq!(present.get("input.workers"), Some("2"));
    assert_eq!(present.raw("input.admin_password"), None);
    let unchanged: Vec<(String, String)> = present
        .fields()
        .map(|f| (f.to_owned(), present.raw(f).unwrap().to_owned()))
        .filter(|(f, _)| !f.starts_with("gpu"))
        .collect();
    let pairs: Vec<(&str, &str)> =
        unchanged.iter().map(|(f, v)| (f.as_str(), v.as_str())).collect();
    assert_eq!(refused(change(&pairs)), "description: nothing would change");
    let made = change(&[("cores", "3"), ("description", "for all")]).unwrap();
    assert_eq!(made.reconfigure.cores, Some(3));
    assert_eq!(made.reconfigure.description.as_deref(), Some("for all"));
    assert!(made.reconfigure.memory_mb.is_none() && made.reconfigure.inputs.is_none());
    assert!(!made.provisions);
}

#[test]
fn resources_keep_to_the_caps_and_a_disk_only_grows() {
    let grown = change(&[("disk_gb", "10"), ("memory_mb", "300"), ("onboot", "false")]).unwrap();
    assert_eq!(grown.reconfigure.disk_gb, Some(10));
    assert_eq!(grown.reconfigure.onboot, Some(false));
    assert!(grown.warnings[0].contains("with less memory"));
    for (field, value, text) in [
        ("disk_gb", "3", "a disk only grows, so enter at least 4 GiB"),
        // Its volume has 20 GiB, 64 are allowed.
        ("disk_gb", "45", "with its volumes, at most 44 GiB"),
        ("cores", "5", "at most 4 cores"),
        ("memory_mb", "5000", "at most 4096 MiB"),
        ("memory_mb", "255", "at least 256 MiB"),
        ("storage", "tank", "there is no such field"),
        ("node", "pve2", "there is no such field"),
        ("name", "other", "there is no such field"),
        ("input.database", "postgres", "there is no such field"),
        ("volume.data", "30", "there is no such field"),
    ] {
        let refused = refused(change(&[(field, value)]));
        assert!(refused.contains(text), "{field}={value}: {refused}");
    }
    let mut place = sample::place();
    place.discovery.nodes[0].storages[1].free_gb = 2;
    let full = change_at(&place, Some(&sample::app()), &sample::guest(), &[("disk_gb", "7")]);
    assert!(refused(full).contains("local-zfs has 2 GiB free on pve1, 3 GiB are needed"));
    place.discovery.nodes.clear();
    let away = change_at(&place, Some(&sample::app()), &sample::guest(), &[("disk_gb", "7")]);
    assert!(refused(away).contains("local-zfs is not active on pve1 now"));
}

#[test]
fn inputs_change_as_a_whole_and_secrets_only_when_entered() {
    let made = change(&[("input.title", "pages")]).unwrap();
    let values = made.reconfigure.inputs.unwrap();
    let all: Vec<String> = values.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(all, ["database=sqlite", "mail=false", "title=pages", "workers=2"]);
    assert!(made.provisions && made.secrets.is_empty());
    let secret = change(&[("input.admin_password", "a-new-secret")]).unwrap();
    assert!(secret.provisions && secret.reconfigure.inputs.is_none());
    assert_eq!(secret.secrets["admin_password"].expose(), "a-new-secret");
    assert!(!format!("{secret:?}").contains("a-new-secret"));
    // What becomes visible is asked for, what becomes hidden goes.
    let errors = change(&[("input.mail", "true")]).unwrap_err();
    let fields: Vec<&str> = errors.iter().map(|e| e.field.as_str()).collect();
    assert_eq!(fields, ["input.relay", "input.relay_password"]);
    let mut guest = sample::guest();
    let inputs = &mut guest.app.as_mut().unwrap().inputs;
    inputs.insert("mail".to_owned(), InputValue::Boolean(true));
    inputs.insert("relay".to_owned(), InputValue::Text("r".to_owned()));
    let off = change_at(
        &sample::place(),
        Some(&sample::app()),
        &guest,
        &[("input.mail", "false"), ("input.relay", "x")],
    );
    assert!(!off.unwrap().reconfigure.inputs.unwrap().contains_key("relay"));
}

#[test]
fn inputs_of_an_app_whose_script_may_not_run_twice_stay() {
    let mut app = sample::app();
    app.manifest.provision.retry_safe = false;
    let place = sample::place();
    let at = |fields: &[(&str, &str)]| change_at(&place, Some(&app), &sample::guest(), fields);
    assert!(refused(at(&[("input.title", "pages")])).starts_with("input.title: the app's script"));
    assert!(at(&[("cores", "3")]).is_ok());
}

#[test]
fn gpus_change_within_the_same_boundary() {
    let mut place = sample::place();
    let app = sample::app();
    let at = |place: &Place, guest: &Guest, fields: &[(&str, &str)]| {
        change_at(place, Some(&app), guest, fields)
    };
    let denied = at(&place, &sample::guest(), &[("gpu", "best")]);
    assert!(refused(denied).contains("does not let wiki have it"));
    place.boundary.gpu = GpuPolicy::Everybody;
    let made = at(&place, &sample::guest(), &[("gpu", "best")]).unwrap();
    let gpu = made.reconfigure.gpu.unwrap();
    assert_eq!(gpu.len(), 1);
    let mut with = sample::guest();
    with.spec.gpu = gpu;
    assert_eq!(at(&place, &with, &[("gpu", "none")]).unwrap().reconfigure.gpu, Some(vec![]));
    let adopted = Guest { app: None, ..sample::guest() };
    let bare = change_at(&place, None, &adopted, &[("gpu", "best")]);
    assert!(refused(bare).contains("a guest without an app gets no GPU"));
}

#[test]
fn an_adopted_guest_without_an_app_has_resources_only() {
    let adopted = Guest { app: None, ..sample::guest() };
    let made = change_at(&sample::place(), None, &adopted, &[("cores", "4")]).unwrap();
    assert_eq!(made.reconfigure.cores, Some(4));
    let no = change_at(&sample::place(), None, &adopted, &[("input.title", "x")]);
    assert!(refused(no).contains("there is no such field"));
}
