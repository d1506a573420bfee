//! A guest's own journal, read over the root channel. No job: nothing changes.

use std::collections::BTreeMap;

use super::provision::redactor_of;
use crate::domain::id::GuestId;
use crate::domain::refusal::{Refusal, RefusalKind};
use crate::jobs::Engine;
use crate::jobs::runner::StepFailure;
use crate::node::channel::{CallLimits, ChannelError};
use crate::plan::guest::journal::{Gathered, Journal, JournalAsk, TIMEOUT_SEC};
use crate::plan::guest::redaction::Lines;
use crate::proto::verb::{Request, Rule, Stream, Verb};
use crate::store::GuestReads as _;

impl Engine {
    /// Reads a running guest's own journal, with what is known to be secret blanked.
    ///
    /// # Errors
    /// No such guest, one that is only observed, one that does not run or keeps no journal, or a node that cannot be
    /// reached.
    pub async fn journal(&self, id: GuestId, ask: JournalAsk) -> Result<Journal, Refusal> {
        let guest = self
            .store()
            .read::<_, Refusal, _>(move |r| r.guest(id)?.ok_or_else(super::request::no_such_guest))
            .await?;
        if !guest.is_ours() {
            return Err(Refusal::new(
                RefusalKind::Conflict,
                format!("The journal of {} is not read: it is only observed.", guest.name),
                "Adopt it first.",
            ));
        }
        let _place = self.layer()?.reading()?;
        let redactor = redactor_of(self, &guest).await?;
        let channel = self.channel(&guest.node).await.map_err(unavailable)?;
        let request = Request::new(Verb::Exec {
            vmid: guest.vmid,
            argv: ask.argv(),
            env: BTreeMap::new(),
            user: None,
            timeout_sec: TIMEOUT_SEC,
        });
        let limits = CallLimits::for_verb(&request.verb);
        let mut gathered = Gathered::default();
        let (mut printed, mut complained) = (Lines::default(), Lines::default());
        let ended = channel
            .call(&request, &[], limits, &mut |stream, text| match stream {
                Stream::Stdout => {
                    printed.push(text, &redactor).iter().for_each(|l| gathered.line(l));
                }
                Stream::Stderr => {
                    complained.push(text, &redactor).iter().for_each(|l| gathered.complaint(l));
                }
            })
            .await;
        printed.finish(&redactor).iter().for_each(|l| gathered.line(l));
        complained.finish(&redactor).iter().for_each(|l| gathered.complaint(l));
        channel.close().await;
        match ended {
            Ok(outcome) => gathered.end(&guest.name, &ask, outcome.status),
            Err(ChannelError::Refused { rule: Some(Rule::State), detail }) => {
                Err(Refusal::new(RefusalKind::Conflict, detail, "Start the guest first."))
            }
            Err(error) => Err(unavailable(super::refused(error))),
        }
    }
}

fn unavailable(failure: StepFailure) -> Refusal {
    Refusal::new(RefusalKind::Unavailable, failure.reason, failure.hint)
}
