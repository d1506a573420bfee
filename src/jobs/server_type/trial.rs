//! What an edited text would do, before it is saved: what is wrong with it, how an answer would differ, whom it concerns.
//! Nothing is written.

use schemars::JsonSchema;
use serde::Serialize;

use super::super::engine::Engine;
use super::super::preview::{AnswerPreview, Subject, look, subject_in};
use super::{Finding, check_length};
use crate::config::check::{self, TypeReport};
use crate::config::reload::ServerTypesView;
use crate::domain::host::{Host, HostState};
use crate::domain::id::{HostId, ServerTypeName};
use crate::domain::image::{Image, Release};
use crate::domain::refusal::Refusal;
use crate::domain::time::Timestamp;
use crate::limits::operator::TYPE_HOSTS;
use crate::plan::answer::Dialect;
use crate::plan::answer::preview::{Line, lines_between};
use crate::store::ImageReads as _;

/// What an edited text would do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TypeTrial {
    /// What is wrong with it.
    pub errors: Vec<Finding>,
    /// What is probably not meant.
    pub warnings: Vec<Finding>,
    /// Whom the answers are for; `None`: a made-up machine.
    pub host: Option<String>,
    /// The answer's release.
    pub release: String,
    /// The answer now; `None` for a new type.
    pub before: Option<AnswerPreview>,
    /// The answer after the change; `None` while the text has errors.
    pub after: Option<AnswerPreview>,
    /// Lines of the answer that go and come.
    pub difference: Vec<Line>,
    /// Hosts whose answer would be refused after the change and is not now.
    pub refused: Vec<Lost>,
    /// Hosts that are being rebuilt and whose named disk would be another: their rebuild would be refused.
    pub other_disk: Vec<String>,
}

/// A host that would have no answer any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Lost {
    /// Its name.
    pub hostname: String,
    /// Which rule would be broken.
    pub reason: String,
}

impl Engine {
    /// What a text would do as the file of this type: what is wrong with it, and how the answer for a host of the type
    /// would differ. Without a host it is the first of the type's, or a made-up one.
    ///
    /// # Errors
    /// No such host, a text that is too long, a failing database.
    pub async fn try_type(
        &self,
        name: ServerTypeName,
        text: String,
        host: Option<HostId>,
    ) -> Result<TypeTrial, Refusal> {
        check_length(&text)?;
        let text = self.uncovered(&name, text).await?;
        let path = self.context().config.server_types.file_of(&name);
        let view = self.context().types.borrow().clone();
        let TypeReport { server_type, errors, warnings } = self.judge(&view, &path, &text);
        let errors: Vec<Finding> = errors.into_iter().map(Finding::from).collect();
        let warnings = warnings.into_iter().map(Finding::from).collect();
        let candidate = server_type.filter(|_| errors.is_empty()).map(|edited| {
            let mut candidate = ServerTypesView::clone(&view);
            candidate.types.insert(name.clone(), edited);
            candidate
        });
        let hosts = self.hosts_of(&name).await?;
        let asked = match host.or_else(|| hosts.first().map(|host| host.id)) {
            Some(id) => Some(self.subject(id, None).await?),
            None => None,
        };
        let image = match &asked {
            Some(subject) => subject.image.clone(),
            None => self.newest_image().await?,
        };
        let image = image.or_else(made_up_image);
        let told = asked.as_ref().map(|subject| subject.host.hostname.to_string());
        let subject = match asked {
            // Of another type until now: as if it had this one.
            Some(Subject { host, job, .. }) => {
                let host = Host { server_type: name.clone(), ..host };
                Some(Subject { host, image: image.clone(), job })
            }
            None => {
                self.made_up_subject(candidate.as_ref().unwrap_or(&view), &name, image.as_ref())
            }
        };
        let shown = |view: &ServerTypesView| {
            let known = view.types.contains_key(&name);
            subject.as_ref().filter(|_| known).map(|subject| look(self, view, subject))
        };
        let (before, after) = (shown(&view), candidate.as_ref().and_then(shown));
        let text_of = |shown: &Option<AnswerPreview>| {
            shown.as_ref().and_then(|shown| shown.text.clone()).unwrap_or_default()
        };
        let difference = match &after {
            Some(_) => lines_between(&text_of(&before), &text_of(&after)),
            None => Vec::new(),
        };
        let (refused, other_disk) = match &candidate {
            Some(candidate) => self.consequences(&view, candidate, hosts).await?,
            None => Default::default(),
        };
        let release = image.map(|image| image.release.release).unwrap_or_default();
        Ok(TypeTrial {
            errors,
            warnings,
            host: told,
            release,
            before,
            after,
            difference,
            refused,
            other_disk,
        })
    }

    async fn newest_image(&self) -> Result<Option<Image>, Refusal> {
        let images = self.store().read::<_, Refusal, _>(|read| Ok(read.images()?)).await?;
        Ok(images.into_iter().next())
    }

    /// A machine that does not exist, with disks that fit the type's file system.
    fn made_up_subject(
        &self,
        view: &ServerTypesView,
        name: &ServerTypeName,
        image: Option<&Image>,
    ) -> Option<Subject> {
        let server_type = view.types.get(name)?;
        let mut first = None;
        for host in check::specimen_hosts(server_type) {
            let subject = Subject { host, image: image.cloned(), job: None };
            if look(self, view, &subject).is_sendable {
                return Some(subject);
            }
            first.get_or_insert(subject);
        }
        first
    }

    /// Which hosts of a type a change would be the end of an answer for, and which running rebuild it would stop.
    async fn consequences(
        &self,
        view: &ServerTypesView,
        candidate: &ServerTypesView,
        hosts: Vec<Host>,
    ) -> Result<(Vec<Lost>, Vec<String>), Refusal> {
        let subjects = self
            .store()
            .read(move |read| {
                let hosts = hosts.iter().take(TYPE_HOSTS);
                hosts.map(|host| subject_in(read, host.id, None)).collect::<Result<Vec<_>, _>>()
            })
            .await?;
        let (mut refused, mut other_disk) = (Vec::new(), Vec::new());
        for subject in subjects {
            // Others get a turn on the thread.
            tokio::task::yield_now().await;
            let (old, new) = (look(self, view, &subject), look(self, candidate, &subject));
            let hostname = subject.host.hostname.to_string();
            let waits = matches!(subject.host.state, HostState::PxeReady | HostState::PxeBooted);
            if waits && old.disk != new.disk {
                other_disk.push(hostname);
            } else if let (true, Some(reason)) = (old.is_sendable, new.first_broken()) {
                refused.push(Lost { hostname, reason });
            }
        }
        Ok((refused, other_disk))
    }
}

/// An image of the newest release, when none is imported yet.
fn made_up_image() -> Option<Image> {
    let newest = Dialect::ALL.last().map(ToString::to_string).unwrap_or_default();
    Some(Image {
        id: format!("proxmox-ve-{newest}").parse().ok()?,
        file_name: String::new(),
        size: 0,
        initrd_size: 0,
        sha256: String::new(),
        release: Release {
            product: "pve".to_owned(),
            product_long: "Proxmox VE".to_owned(),
            release: newest,
            iso_release: "1".to_owned(),
        },
        source: String::new(),
        imported_at: Timestamp(0),
        job: None,
    })
}
