//! Watches over the appliance's health for who wants to be told: a checkup each hour, and a notice of what fails and did
//! not before. Checkups that operators ask for count too. Without a target for it nothing is looked at by itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::live::ConfigView;
use crate::domain::notice::NoticeKind;
use crate::plan::doctor::Report;
use crate::report::queue;
use crate::store::{Store, StoreError};
use crate::web::Doctor;

/// The first checkup comes when everything had time to start, the network included.
const FIRST: Duration = Duration::from_mins(5);
/// A look asks the segment's DHCP servers, which takes seconds and stands in their logs.
const EVERY: Duration = Duration::from_hours(1);

/// What it needs.
pub(super) struct Watch {
    pub(super) doctor: Arc<dyn Doctor>,
    /// Each report, whoever asked for it.
    pub(super) found: watch::Receiver<Option<Arc<Report>>>,
    pub(super) store: Store,
    pub(super) config: watch::Receiver<Arc<ConfigView>>,
}

impl Watch {
    /// Runs until the stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut pause = FIRST;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.found.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.tell().await;
                }
                () = tokio::time::sleep(pause) => {
                    pause = EVERY;
                    if self.is_wanted() {
                        tokio::select! {
                            () = stop.cancelled() => return,
                            _ = self.doctor.check() => {}
                        }
                    }
                }
            }
        }
    }

    fn is_wanted(&self) -> bool {
        let view = self.config.borrow();
        view.targets().iter().any(|target| target.events.contains(&NoticeKind::HealthError))
    }

    async fn tell(&mut self) {
        let Some(report) = self.found.borrow_and_update().clone() else { return };
        // What nobody hears now is not told: a target that is added later hears it.
        if !self.is_wanted() {
            return;
        }
        let url = self.config.borrow().running.server.public_url.clone();
        let told =
            self.store.write::<_, StoreError, _>(move |tx| queue::health(tx, &url, &report)).await;
        if let Err(error) = told {
            tracing::error!(%error, "what the doctor found could not be queued to be told");
        }
    }
}
