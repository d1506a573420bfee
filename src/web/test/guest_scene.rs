//! A fleet with guests of every state in a real database.

use std::ops::Deref;
use std::sync::Arc;

use super::catalog::enrolled;
use super::guests::GuestRecorder;
use super::sample::ago;
use super::scene::{HOSTILE, Scene, job_id};
use crate::domain::app::{InputValue, OutputKind};
use crate::domain::event::Level;
use crate::domain::guest::{
    Adoption, Guest, GuestState, OutputValue, PublishedService, RestoreKind, RestorePoint, sample,
};
use crate::domain::host::Failure;
use crate::domain::id::GuestId;
use crate::domain::job::{GuestTask, GuestWork, Job, JobStatus, Step, StepClass, StepStatus, Work};
use crate::store::{SHOWN_ONCE, of_guest};

/// A secret as it is typed into forms: must come back in no page.
pub(crate) const TYPED: &str = "typ3d-s3cret-value";
/// A secret as it is kept for a guest.
pub(crate) const SEALED: &str = "s34l3d-s3cret-value";

pub(crate) struct GuestScene {
    scene: Scene,
    pub(crate) guests: GuestRecorder,
}

impl Deref for GuestScene {
    type Target = Scene;
    fn deref(&self) -> &Scene {
        &self.scene
    }
}

pub(crate) fn guest_id(number: u32) -> GuestId {
    sample::guest(number).id
}

fn guest(number: u32, with: impl FnOnce(&mut Guest)) -> Guest {
    let mut guest = sample::guest(number);
    guest.state_since = ago(400);
    guest.created = ago(90_000);
    with(&mut guest);
    guest
}

fn ready() -> Guest {
    guest(101, |g| {
        g.address = Some([192, 0, 2, 60].into());
        g.spec.description = format!("The club's pages {HOSTILE}");
        g.spec.monitored = true;
        g.outputs = vec![
            OutputValue {
                key: "url".into(),
                label: "Address".into(),
                kind: OutputKind::Url,
                value: Some("http://192.0.2.60/".into()),
            },
            OutputValue {
                key: "bad_url".into(),
                label: "Bad address".into(),
                kind: OutputKind::Url,
                value: Some("javascript:alert(1)".into()),
            },
            OutputValue {
                key: "token".into(),
                label: "API token".into(),
                kind: OutputKind::Secret,
                value: None,
            },
            OutputValue {
                key: "seen".into(),
                label: "Old token".into(),
                kind: OutputKind::Secret,
                value: None,
            },
        ];
        let app = g.app.as_mut().unwrap();
        app.inputs.insert("title".into(), InputValue::Text("The club".into()));
        g.restore_point = Some(RestorePoint {
            kind: RestoreKind::Snapshot { name: "ironhatch-before".into() },
            made: ago(3_600),
            before: "upgrade 0.9.0 to 1.0.0".into(),
            app: None,
            spec: None,
        });
        g.service = Some(PublishedService {
            domain: "club.example.net".into(),
            public: true,
            path: "services/web101.yaml".into(),
            commit: Some("9b2e".repeat(10)),
            branch: Some("main".into()),
        });
    })
}

/// An installation of a guest.
pub(super) fn installed(n: u128, number: u32, status: JobStatus, statuses: [StepStatus; 4]) -> Job {
    let titles = [
        ("allocate_ctid", "Choose a number"),
        ("create_container", "Create the container"),
        ("provision", "Provision the app"),
        ("healthcheck", "Check that it answers"),
    ];
    let begun = |status| status != StepStatus::Pending;
    let over = |status| !matches!(status, StepStatus::Pending | StepStatus::Running);
    let step = |((id, title), status): ((&str, &str), StepStatus)| Step {
        id: id.parse().unwrap(),
        title: title.into(),
        class: StepClass::Inspect,
        status,
        attempts: u32::from(begun(status)),
        started: begun(status).then(|| ago(300)),
        finished: over(status).then(|| ago(280)),
        detail: String::new(),
    };
    let record = sample::guest(number);
    Job {
        id: job_id(n),
        work: Work::Guest(GuestWork {
            guest: record.id,
            name: record.name,
            task: GuestTask::Install { app: "static-website".parse().unwrap() },
            parent: None,
            pending: None,
        }),
        status,
        created: ago(300),
        started: Some(ago(300)),
        finished: status.is_terminal().then(|| ago(200)),
        steps: titles.into_iter().zip(statuses).map(step).collect(),
        failure: None,
        cancel_requested: false,
    }
}

impl GuestScene {
    /// No guest and no node yet, but apps are switched on.
    pub(crate) fn empty() -> Self {
        let guests = GuestRecorder::default();
        Self { scene: Scene::with(Some(Arc::new(guests.clone()))), guests }
    }

    /// The fleet of the pages' golden files.
    pub(crate) fn fleet() -> Self {
        use StepStatus as S;
        let scene = Self::empty();
        scene.write(4_000, |tx| {
            tx.save_node(&enrolled(1, ""), "pve1 is enrolled").unwrap();
            let problem = "The API token was revoked on the node.";
            tx.save_node(&enrolled(2, problem), "pve2 is not usable").unwrap();
        });
        scene.write(400, |tx| {
            let ready = ready();
            tx.save_guest(&ready, "web101 is ready").unwrap();
            let secret = |what: &str| of_guest(ready.id, what);
            tx.put_secret(&secret("input/admin_password"), SEALED);
            tx.put_secret(&secret(&format!("{SHOWN_ONCE}token")), SEALED);
            tx.put_secret(&secret(&format!("{SHOWN_ONCE}admin_password")), SEALED);
            tx.save_job(&installed(11, 101, JobStatus::Succeeded, [S::Succeeded; 4])).unwrap();
            let installing = guest(102, |g| {
                g.state = GuestState::Installing;
                g.active_job = Some(job_id(12));
            });
            tx.save_guest(&installing, "web102 is being installed").unwrap();
            let states = [S::Succeeded, S::Succeeded, S::Running, S::Pending];
            let job = installed(12, 102, JobStatus::Running, states);
            tx.save_job(&job).unwrap();
            let step = "provision".parse().unwrap();
            for line in ["Setting up nginx", HOSTILE, "Setting up libssl3"] {
                tx.log(&job, Some(&step), Level::Info, line).unwrap();
            }
            let failed = guest(103, |g| {
                g.state = GuestState::Failed;
                g.node = "pve2".parse().unwrap();
                g.failure = Some(Failure {
                    from: None,
                    reason: "Port 80 did not answer within 60 s.".into(),
                    hint: "Look at the log, then try again or destroy it.".into(),
                });
            });
            tx.save_guest(&failed, "web103 failed").unwrap();
            let mut job = installed(
                13,
                103,
                JobStatus::Failed,
                [S::Succeeded, S::Succeeded, S::Succeeded, S::Failed],
            );
            job.failure.clone_from(&failed.failure);
            tx.save_job(&job).unwrap();
            let observed = guest(104, |g| {
                g.state = GuestState::Observed;
                g.app = None;
                let config = [("hostname", "old-box"), ("memory", "512"), ("env", SEALED)];
                let config = config.map(|(k, v)| (k.to_owned(), v.to_owned()));
                g.adopted = Some(Adoption { config: config.into(), pool: None, confirmed: None });
            });
            tx.save_guest(&observed, "web104 is observed").unwrap();
            let left = vec!["tank:203/vm-203-disk-0.raw".to_owned()];
            tx.hold_for_volumes(&guest(203, |_| {}), left).unwrap();
        });
        scene
    }
}
