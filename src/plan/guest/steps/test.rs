//! Tests of the step tables, and the pages that document them.

use super::super::sample;
use super::*;
use crate::domain::app::{AppId, ProvisionKind};
use crate::domain::guest::{GuestEvent, GuestState, transition};
use crate::domain::job::PowerAction;

fn tasks() -> Vec<GuestTask> {
    let app: AppId = "wiki".parse().unwrap();
    vec![
        GuestTask::Install { app },
        GuestTask::Uninstall { keep_volumes: false, destroy_failed: false },
        GuestTask::Reconfigure(crate::domain::job::Reconfigure::default()),
        GuestTask::Upgrade {
            to: crate::domain::job::AppVersion {
                id: "wiki".parse().unwrap(),
                version: "1.3.0".to_owned(),
                source: "built-in".to_owned(),
                hash: crate::domain::app::ContentHash("0".repeat(64)),
            },
        },
        GuestTask::Return,
        GuestTask::Power { action: PowerAction::Start },
        GuestTask::Backup { storage: "backup".parse().unwrap(), scheduled: false },
        GuestTask::Restore {
            archive: String::new(),
            node: "pve1".parse().unwrap(),
            storage: "local-zfs".parse().unwrap(),
        },
        GuestTask::Adopt,
        GuestTask::Publish,
    ]
}

/// The names are a contract with pages and scripts.
#[test]
fn an_installation_has_the_steps_that_were_promised_in_their_order() {
    let ids: Vec<&str> = INSTALL.iter().map(|row| row.id).collect();
    assert_eq!(
        ids,
        [
            "validate_request",
            "validate_manifest",
            "validate_placement",
            "validate_gpu",
            "allocate_ctid",
            "create_container",
            "configure_container",
            "attach_gpu",
            "start_container",
            "wait_for_network",
            "push_assets",
            "provision",
            "verify_gpu",
            "healthcheck",
            "collect_outputs",
            "publish_service",
        ]
    );
}

#[test]
fn every_task_has_steps_with_an_id_of_their_own_and_a_limit() {
    for task in tasks() {
        let steps = steps(&task);
        assert_eq!(steps.len(), rows(&task).len());
        assert_eq!(steps[0].id.as_str(), step::VALIDATE_REQUEST);
        for (n, row) in rows(&task).iter().enumerate() {
            assert!(row.limit > Duration::ZERO && !row.title.is_empty() && !row.leaves.is_empty());
            assert!(rows(&task)[..n].iter().all(|other| other.id != row.id), "{}", row.id);
        }
    }
}

#[test]
fn nothing_is_made_or_destroyed_before_everything_was_checked() {
    let place = |rows: &[StepRow], id: &str| rows.iter().position(|r| r.id == id).unwrap();
    for check in [step::VALIDATE_MANIFEST, step::VALIDATE_PLACEMENT, step::VALIDATE_GPU] {
        assert!(place(INSTALL, check) < place(INSTALL, step::CREATE_CONTAINER));
    }
    for (rows, change) in [(RECONFIGURE, step::CONFIGURE_CONTAINER), (UPGRADE, step::UPGRADE)] {
        assert!(place(rows, step::RESTORE_POINT) < place(rows, change));
    }
    // The start refuses software for another driver than the node's: the entries are renewed before it.
    assert!(place(UPGRADE, step::RESTORE_POINT) < place(UPGRADE, step::ATTACH_GPU));
    assert!(place(UPGRADE, step::ATTACH_GPU) < place(UPGRADE, step::START_CONTAINER));
    assert!(place(UNINSTALL, step::KEEP_VOLUMES) < place(UNINSTALL, step::DESTROY_CONTAINER));
    for (id, rows) in [(step::CREATE_CONTAINER, INSTALL), (step::DESTROY_CONTAINER, UNINSTALL)] {
        assert_eq!(rows[place(rows, id)].class, Inspect, "{id} is never blindly repeated");
    }
}

#[test]
fn scripts_run_twice_only_when_the_manifest_says_so() {
    let mut manifest = sample::app().manifest;
    let row = |id: &str| INSTALL.iter().find(|row| row.id == id).unwrap();
    for (safe, script) in [(true, true), (false, false)] {
        manifest.provision.retry_safe = safe;
        let after = after_restart(row(step::PROVISION), Some(&manifest));
        assert_eq!(after == AfterRestart::Repeat, script, "{after:?}");
        assert_eq!(may_resume(step::PROVISION, &manifest), script);
        // What is no script of the app does not depend on it.
        assert_eq!(after_restart(row(step::PUSH_ASSETS), Some(&manifest)), AfterRestart::Repeat);
        assert_eq!(after_restart(row(step::CREATE_CONTAINER), Some(&manifest)), AfterRestart::Look);
        assert!(may_resume(step::HEALTHCHECK, &manifest));
        assert!(may_resume(step::CREATE_CONTAINER, &manifest));
    }
    assert!(matches!(after_restart(row(step::PROVISION), None), AfterRestart::Fail(_)));
}

#[test]
fn a_manifests_own_limits_go_before() {
    let mut manifest = sample::app().manifest;
    manifest.provision.timeout_sec = 7200;
    manifest.provision.kind = ProvisionKind::Script { script: "provision/install.sh".to_owned() };
    let of = |id: &str, manifest| limit(INSTALL.iter().find(|r| r.id == id).unwrap(), manifest);
    assert!(of(step::PROVISION, Some(&manifest)) >= Duration::from_secs(7200));
    assert_eq!(of(step::HEALTHCHECK, Some(&manifest)), Duration::from_secs(123));
    assert_eq!(of(step::HEALTHCHECK, None), Duration::from_secs(600));
}

#[test]
fn the_documented_states_are_the_table() {
    let mut text = String::from(
        "# Guest states\n\nGenerated from `src/domain/guest.rs` by the test `the_documented_states_are_the_table`; do not edit.\n\n\
         Rows are the state a guest's record is in, columns what happens to it. Empty: refused with a reason; nothing\n\
         changes. Whether the container runs is the cluster's to say and is no state here.\n\n|",
    );
    for event in GuestEvent::ALL {
        text.push_str(&format!(" | {event}"));
    }
    text.push_str(" |\n|---");
    text.push_str(&"|---".repeat(GuestEvent::ALL.len()));
    text.push_str("|\n");
    for state in GuestState::ALL {
        text.push_str(&format!("| **{state}**"));
        for event in GuestEvent::ALL {
            text.push_str(&match transition(state, event) {
                Ok(next) => format!(" | {next}"),
                Err(_) => " |".to_owned(),
            });
        }
        text.push_str(" |\n");
    }
    crate::golden::assert_file("docs/guest-states.md", &text);
}

#[test]
fn the_documented_steps_are_the_tables() {
    let mut text = String::from(
        "# Steps of jobs on guests\n\nGenerated from `src/plan/guest/steps.rs` by the test `the_documented_steps_are_the_tables`; do not edit.\n\n\
         After a restart of Ironhatch in the middle of a step: `pure`, `safe-to-repeat` and `wait` steps run again; an\n\
         `inspect` step looks first at what the earlier attempt left. Scripts of an app (`provision`, `upgrade`,\n\
         `uninstall_script`) run again only when its manifest says `retry_safe`; otherwise the job ends with that reason.\n\
         Steps that a guest does not need are skipped. The limits of scripts and health checks are the manifest's.\n",
    );
    for task in tasks() {
        text.push_str(&format!(
            "\n## {}\n\n| step | what | class | at most | if it stops here |\n|---|---|---|---|---|\n",
            task.kind()
        ));
        for row in rows(&task) {
            let class = serde_json::to_value(row.class).unwrap();
            let minutes = row.limit.as_secs() / 60;
            text.push_str(&format!(
                "| `{}` | {} | {} | {minutes} min | {} |\n",
                row.id,
                row.title,
                class.as_str().unwrap(),
                row.leaves
            ));
        }
    }
    crate::golden::assert_file("docs/guest-steps.md", &text);
}
